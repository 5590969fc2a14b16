/*
 * RAM is where it should be for ram=MB on the command line, every edge of it to the byte, and
 * nowhere else: the gap below 4 GB and everything past the end read all ones and ignore writes.
 */
#include "multiboot.h"

#define MIB     (1ULL << 20)
#define FOUR_GB (4096 * MIB)

struct part {
	uint64_t start, end;
};

static unsigned expected_parts(uint64_t bytes, struct part ret[2])
{
	ret[0].start = 0;
	ret[0].end = bytes < GAP_START ? bytes : GAP_START;
	ret[1].start = FOUR_GB;
	ret[1].end = FOUR_GB + bytes - ret[0].end;
	return bytes > GAP_START ? 2 : 1;
}

/* Different values everywhere first, then all are read back: an alias would overwrite another. */
static void edges_write(const struct part *part, uint64_t seed)
{
	*mem64(part->start) = seed | 1;
	*mem8(part->start) = 0x5a;
	*mem64(part->end - 8) = seed | 2;
	*mem8(part->end - 1) = 0xa5;
}

static void edges_read(const struct part *part, uint64_t seed)
{
	CHECK_EQ(*mem64(part->start), (seed & ~0xffULL) | 0x5a);
	CHECK_EQ(*mem8(part->end - 1), 0xa5);
	CHECK_EQ(*mem64(part->end - 8), (seed & (UINT64_MAX >> 8)) | 2 | 0xa5ULL << 56);
}

static void nothing_at(uint64_t at)
{
	CHECK_EQ(*mem8(at), 0xff);
	CHECK_EQ(*mem64(at), UINT64_MAX);
	*mem64(at) = 0x1122334455667788;
	CHECK_EQ(*mem64(at), UINT64_MAX);
}

/* Half in RAM, half out of it: each half behaves as what it is. */
static void straddle(uint64_t end)
{
	*mem64(end - 8) = 0;
	CHECK_EQ(*mem64(end - 4), 0xffffffff00000000);
	*mem64(end - 4) = 0x1111111122222222;
	CHECK_EQ(*mem64(end - 8), 0x2222222200000000);
	CHECK_EQ(*mem32(end), 0xffffffff);
}

static uint64_t map_total(const struct mb_info *info, uint64_t *ret_end)
{
	uint64_t at = info->mmap_addr, end = at + info->mmap_length, total = 0, previous = 0;

	CHECK(info->flags & MB_INFO_MMAP);
	while (at < end) {
		const struct mb_mmap *entry = (const struct mb_mmap *)at;

		CHECK(entry->base >= previous);
		previous = entry->base + entry->length;
		if (entry->type == 1) {
			CHECK(entry->base + entry->length <= GAP_START || entry->base >= FOUR_GB);
			total += entry->length;
			*ret_end = previous;
		}
		at += entry->size + sizeof(entry->size);
	}
	return total;
}

void guest_main(void)
{
	const uint64_t bytes = param(mb_cmdline(), "ram") * MIB;
	uint64_t end = 0, total = map_total(mb_info(), &end);
	struct part part[2];
	unsigned n = expected_parts(bytes, part);

	CHECK_EQ(end, part[n - 1].end);
	CHECK(total <= bytes && total >= bytes - MIB); /* less the holes below 1 MB */

	for (unsigned i = 0; i < n; i++)
		edges_write(&part[i], 0x1234567812345600 + (i << 16));
	for (unsigned i = 0; i < n; i++)
		edges_read(&part[i], 0x1234567812345600 + (i << 16));

	nothing_at(part[0].end);
	nothing_at(part[0].end + 0x1000);
	nothing_at(GAP_START);
	nothing_at(FOUR_GB - 8);
	nothing_at(part[1].end);
	straddle(part[0].end);
	if (n == 2)
		straddle(part[1].end);
}
