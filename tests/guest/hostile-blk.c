/*
 * Block requests: virtio 1.2, 5.2. The disk's sectors say which they are, and still do afterwards:
 * bad writes and discards go to sector 7, which aftermath reads, good ones write what is there.
 */
#include "hostile.h"

#define F_RO           F(5)
#define F_FLUSH        F(9)
#define F_CONFIG_WCE   F(11)
#define F_DISCARD      F(13)
#define F_WRITE_ZEROES F(14)

#define CONFIG_WCE   32
#define CONFIG_BYTES 60

#define HEADER(d)                                                                                  \
	{                                                                                          \
		BLK_HEADER(d), 16, 0                                                               \
	}
#define ANSWER(d)                                                                                  \
	{                                                                                          \
		BLK_STATUS(d), 1, D_WRITE                                                          \
	}

struct range {
	uint64_t sector;
	uint32_t sectors, flags;
};

static uint64_t capacity(const struct vdev *d)
{
	return *mem64(d->config);
}

static void spoil_data(const struct trial *t)
{
	for (unsigned i = 0; i < 128; i++)
		((volatile uint64_t *)BLK_DATA(t->d))[i] = 0xeeeeeeeeeeeeeeee;
}

/* ---- type, sector, length ---- */

static void unknown_type(const struct trial *t)
{
	spoil_data(t);
	EXPECT_EQ(blk_do(t->r, (uint32_t)t->a, 7, SECTOR), BLK_UNSUPP);
}

static void at_sector(const struct trial *t)
{
	spoil_data(t);
	EXPECT_EQ(blk_do(t->r, (uint32_t)t->a, t->b, SECTOR), BLK_IOERR);
}

/* Two sectors, so that one may be inside. */
static void past_end(const struct trial *t)
{
	spoil_data(t);
	EXPECT_EQ(blk_do(t->r, (uint32_t)t->a, capacity(t->d) + t->b, 2 * SECTOR), BLK_IOERR);
}

static void odd_length(const struct trial *t)
{
	spoil_data(t);
	EXPECT_EQ(blk_do(t->r, (uint32_t)t->a, 7, (uint32_t)t->b), BLK_IOERR);
}

static void no_data(const struct trial *t)
{
	EXPECT(blk_do(t->r, (uint32_t)t->a, t->b, 0) != BLK_NO_ANSWER);
	EXPECT_EQ(status(t->d), S_LIVE);
}

static void with_data(const struct trial *t)
{
	EXPECT_EQ(blk_do(t->r, (uint32_t)t->a, t->b, SECTOR), BLK_OK);
}

/* ---- shape of the chain ---- */

static void refused(const struct trial *t, const struct vbuf *buf, unsigned n)
{
	vring_add(t->r, buf, n);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void no_status(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d), { BLK_DATA(t->d), SECTOR, 0 } };

	spoil_data(t);
	blk_header(t->d, (uint32_t)t->a, 7);
	refused(t, chain, (unsigned)t->b);
}

static void empty_status(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d), { BLK_STATUS(t->d), 0, D_WRITE } };

	blk_header(t->d, BLK_FLUSH, 0);
	refused(t, chain, 2);
}

static void status_at(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d), { t->a, (uint32_t)t->b, D_WRITE } };

	blk_header(t->d, BLK_FLUSH, 0);
	refused(t, chain, 2);
}

static void data_at(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d),
				      { t->a, (uint32_t)t->b, D_WRITE },
				      ANSWER(t->d) };

	blk_header(t->d, BLK_IN, 0);
	refused(t, chain, 3);
}

static void header_at(const struct trial *t)
{
	const struct vbuf chain[] = { { t->a, 16, 0 }, ANSWER(t->d) };

	refused(t, chain, 2);
}

static void status_first(const struct trial *t)
{
	const struct vbuf chain[] = { ANSWER(t->d), HEADER(t->d) };

	blk_header(t->d, BLK_FLUSH, 0);
	refused(t, chain, 2);
}

static void short_header(const struct trial *t)
{
	const struct vbuf chain[] = { { BLK_HEADER(t->d), (uint32_t)t->a, 0 }, ANSWER(t->d) };

	blk_header(t->d, BLK_FLUSH, 0);
	EXPECT_EQ(blk_send(t->r, chain, 2), BLK_IOERR);
}

static void no_header(const struct trial *t)
{
	const struct vbuf chain[] = { ANSWER(t->d) };

	EXPECT_EQ(blk_send(t->r, chain, 1), BLK_IOERR);
}

static void split_header(const struct trial *t)
{
	struct vbuf chain[20];
	unsigned n = 0;

	blk_header(t->d, BLK_IN, 9);
	for (unsigned i = 0; i < 16; i += (unsigned)t->a)
		chain[n++] = (struct vbuf){ BLK_HEADER(t->d) + i, (uint32_t)t->a, 0 };
	chain[n++] = (struct vbuf){ BLK_DATA(t->d), SECTOR, D_WRITE };
	chain[n++] = (struct vbuf)ANSWER(t->d);
	EXPECT_EQ(blk_send(t->r, chain, n), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)BLK_DATA(t->d), 9));
}

static void status_behind_data(const struct trial *t)
{
	const uint64_t data = BLK_STATUS(t->d) - SECTOR;
	const struct vbuf chain[] = { HEADER(t->d), { data, SECTOR + 1, D_WRITE } };

	blk_header(t->d, BLK_IN, 9);
	EXPECT_EQ(blk_send(t->r, chain, 2), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)data, 9));
}

/* The last writable byte is the status, wherever the driver thinks that it is. */
static void status_in_the_middle(const struct trial *t)
{
	volatile uint8_t *last = mem8(BLK_DATA(t->d) + SECTOR - 1);
	const struct vbuf chain[] = { HEADER(t->d),
				      ANSWER(t->d),
				      { BLK_DATA(t->d), SECTOR, D_WRITE } };

	blk_header(t->d, BLK_IN, 9);
	*last = BLK_NO_ANSWER;
	blk_send(t->r, chain, 3);
	EXPECT_EQ(*last, BLK_OK);
	EXPECT_EQ(*mem8(BLK_STATUS(t->d)), '0');
}

static void long_status(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d), { BLK_STATUS(t->d) - 15, 16, D_WRITE } };

	blk_header(t->d, BLK_IN, 9);
	EXPECT_EQ(blk_send(t->r, chain, 2), BLK_IOERR);
}

/* Data in the wrong direction is not there: nothing is transferred. */
static void wrong_direction(const struct trial *t)
{
	const uint16_t direction = t->a == BLK_IN ? 0 : D_WRITE;
	const struct vbuf chain[] = { HEADER(t->d),
				      { BLK_DATA(t->d), SECTOR, direction },
				      ANSWER(t->d) };

	spoil_data(t);
	blk_header(t->d, (uint32_t)t->a, 7);
	EXPECT(blk_send(t->r, chain, 3) != BLK_NO_ANSWER);
	EXPECT_EQ(*mem64(BLK_DATA(t->d)), 0xeeeeeeeeeeeeeeee);
}

static void data_over_header(const struct trial *t)
{
	const struct vbuf chain[] = { HEADER(t->d),
				      { BLK_HEADER(t->d), SECTOR, D_WRITE },
				      ANSWER(t->d) };

	blk_header(t->d, BLK_IN, 9);
	EXPECT_EQ(blk_send(t->r, chain, 3), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)BLK_HEADER(t->d), 9));
}

static void data_over_ring(const struct trial *t)
{
	const uint64_t at = (uint64_t)t->r->desc + t->a;
	const struct vbuf chain[] = { HEADER(t->d), { at, 8 * SECTOR, D_WRITE }, ANSWER(t->d) };

	blk_header(t->d, BLK_IN, 0);
	vring_add(t->r, chain, 3);
	kick(t->r);
	pause_ms(10);
	kick(t->r);
	pause_ms(2);
}

#define LARGEST 1024

static void whole_ring(const struct trial *t)
{
	const unsigned n = t->r->size;
	static struct vbuf chain[LARGEST];

	blk_header(t->d, BLK_IN, 0);
	chain[0] = (struct vbuf)HEADER(t->d);
	for (unsigned i = 1; i < n - 1; i++)
		chain[i] = (struct vbuf){ (32 << 20) + i * SECTOR, SECTOR, D_WRITE };
	chain[n - 1] = (struct vbuf)ANSWER(t->d);
	EXPECT_EQ(blk_send(t->r, chain, n), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)(32 << 20) + 5 * SECTOR, 4));
}

/* In memory of its own, as the usual place has room for VRING_MOST descriptors. */
static void largest_ring(const struct trial *t)
{
	const struct vring usual = *t->r;
	const uint64_t at = 48 << 20;

	vdev_features(t->d, usual_features(t->d));
	t->r->desc = (void *)at;
	t->r->avail = (void *)(at + LARGEST * sizeof(struct vdesc));
	t->r->used = (void *)(at + 2 * LARGEST * sizeof(struct vdesc));
	vring_setup(t->r, LARGEST);
	if (reg_read(t->d, R_QUEUE_SIZE) == LARGEST || !t->d->pci) {
		reg_write(t->d, R_QUEUE_READY, 1);
		set_status(t->d, S_LIVE);
		whole_ring(t);
	} else {
		expect_failed("largest_ring", "queue size", reg_read(t->d, R_QUEUE_SIZE), LARGEST);
	}
	vdev_reset(t->d);
	*t->r = usual;
}

static void pieces(const struct trial *t)
{
	struct vbuf chain[40] = { HEADER(t->d) };
	unsigned n = 1;

	blk_header(t->d, BLK_IN, 9);
	for (unsigned off = 0; off < SECTOR; n++) {
		uint32_t len = SECTOR - off < t->a ? SECTOR - off : (uint32_t)t->a;

		chain[n] = (struct vbuf){ BLK_DATA(t->d) + off, len, D_WRITE };
		off += len;
	}
	chain[n++] = (struct vbuf)ANSWER(t->d);
	EXPECT_EQ(blk_send(t->r, chain, n), BLK_OK);
	EXPECT(blk_pattern((uint8_t *)BLK_DATA(t->d), 9));
}

/* One chain that becomes available twice at once: the first cannot be over when the second comes.
 */
static void same_head_twice(const struct trial *t)
{
	blk_header(t->d, BLK_IN, 9);
	put_desc(t->r, 0, BLK_HEADER(t->d), 16, D_NEXT, 1);
	put_desc(t->r, 1, BLK_DATA(t->d), SECTOR, D_WRITE | D_NEXT, 2);
	put_desc(t->r, 2, BLK_STATUS(t->d), 1, D_WRITE, 0);
	t->r->avail->idx = 2;
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

/* ---- ranges ---- */

static uint8_t send_ranges(const struct trial *t, uint32_t type, const struct range *range,
			   unsigned n, uint32_t bytes)
{
	for (unsigned i = 0; i < n; i++)
		((volatile struct range *)BLK_DATA(t->d))[i] = range[i];
	return blk_do(t->r, type, 0, bytes);
}

/* a: type << 32 | number of sectors, b: first sector */
static void bad_range(const struct trial *t)
{
	const struct range range = { t->b, (uint32_t)t->a, 0 };

	EXPECT_EQ(send_ranges(t, (uint32_t)(t->a >> 32), &range, 1, 16), BLK_IOERR);
}

static void range_past_end(const struct trial *t)
{
	const struct range range = { capacity(t->d) - 1, 2, 0 };

	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, &range, 1, 16), BLK_IOERR);
}

static void range_flags(const struct trial *t)
{
	const struct range range = { 7, 1, (uint32_t)t->b };

	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, &range, 1, 16), BLK_UNSUPP);
}

static void range_bytes(const struct trial *t)
{
	const struct range range = { 7, 1, 0 };

	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, &range, 1, (uint32_t)t->b), BLK_IOERR);
}

static void many_ranges(const struct trial *t)
{
	struct range range[200];

	for (unsigned i = 0; i < t->b; i++)
		range[i] = (struct range){ 7, 1, 0 };
	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, range, (unsigned)t->b, (uint32_t)t->b * 16),
		  BLK_IOERR);
}

/* Nothing of the request is done, also not what comes before. */
static void second_range_bad(const struct trial *t)
{
	const struct range range[2] = { { 7, 1, 0 }, { capacity(t->d), 1, 0 } };

	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, range, 2, 32), BLK_IOERR);
}

static void ranges_not_negotiated(const struct trial *t)
{
	const struct range range = { 7, 1, 0 };

	EXPECT_EQ(send_ranges(t, (uint32_t)t->a, &range, 1, 16), BLK_UNSUPP);
}

/* ---- configuration ---- */

static void write_config(const struct trial *t)
{
	const unsigned width = (unsigned)t->a;
	uint64_t before[CONFIG_BYTES / 4];

	for (unsigned i = 0; i < CONFIG_BYTES / 4; i++)
		before[i] = mem_read(t->d->config + i * 4, 4);
	for (unsigned off = 0; off + width <= CONFIG_BYTES; off += width)
		if (off != CONFIG_WCE || width != 1)
			mem_write(t->d->config + off, width, UINT64_MAX);
	for (unsigned i = 0; i < CONFIG_BYTES / 4; i++)
		EXPECT_EQ(mem_read(t->d->config + i * 4, 4), before[i]);
}

static void misaligned_config(const struct trial *t)
{
	EXPECT_EQ(mem_read(t->d->config + t->a, (unsigned)t->b), 0);
	mem_write(t->d->config + t->a, (unsigned)t->b, UINT64_MAX);
	EXPECT(capacity(t->d) > 100);
}

static void write_wce(const struct trial *t)
{
	uint8_t old = *mem8(t->d->config + CONFIG_WCE);

	*mem8(t->d->config + CONFIG_WCE) = (uint8_t)(t->a == 1 ? !old : t->a);
	EXPECT_EQ(*mem8(t->d->config + CONFIG_WCE), old);
}

/* ---- in flight ---- */

#define IN_FLIGHT 16

/* Reads of 128 KB each, into memory that is looked at. */
static void many_reads(const struct trial *t)
{
	for (uint16_t i = 0; i < IN_FLIGHT; i++) {
		put_desc(t->r, i * 3U, BLK_HEADER(t->d), 16, D_NEXT, (uint16_t)(i * 3 + 1));
		put_desc(t->r, i * 3U + 1, (32 << 20) + i * 0x20000U, 0x20000, D_NEXT | D_WRITE,
			 (uint16_t)(i * 3 + 2));
		put_desc(t->r, i * 3U + 2, BLK_STATUS(t->d), 1, D_WRITE, 0);
		t->r->avail->ring[(t->r->avail->idx + i) % t->r->size] = (uint16_t)(i * 3);
	}
	blk_header(t->d, BLK_IN, 0);
	t->r->avail->idx = (uint16_t)(t->r->avail->idx + IN_FLIGHT);
	kick(t->r);
}

/* Marks where each read ends, and sees to it that the marks stay. */
static bool memory_is_left_alone(void)
{
	for (unsigned i = 1; i <= IN_FLIGHT; i++)
		*mem64((32 << 20) + i * 0x20000U - 8) = i;
	pause_ms(3);
	for (unsigned i = 1; i <= IN_FLIGHT; i++)
		if (*mem64((32 << 20) + i * 0x20000U - 8) != i)
			return false;
	return true;
}

static void reset_in_flight(const struct trial *t)
{
	uint16_t used;

	for (unsigned i = 0; i < 10; i++) {
		many_reads(t);
		vdev_reset(t->d);
		used = t->r->used->idx;
		EXPECT(memory_is_left_alone());
		EXPECT_EQ(t->r->used->idx, used);
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	}
}

static void queue_reset_in_flight(const struct trial *t)
{
	uint16_t used;

	for (unsigned i = 0; i < 10; i++) {
		many_reads(t);
		reg_write(t->d, R_QUEUE_RESET, 1);
		EXPECT(queue_is_reset(t->d));
		used = t->r->used->idx;
		EXPECT(memory_is_left_alone());
		EXPECT_EQ(t->r->used->idx, used);
		vring_setup(t->r, 0);
		reg_write(t->d, R_QUEUE_READY, 1);
	}
	EXPECT(vdev_works(t->d));
}

/* What is in flight when bus mastering ends is over by then, and nothing begins before it is back.
 */
static void master_off_in_flight(const struct trial *t)
{
	uint16_t used;

	for (unsigned i = 1; i <= 10; i++) {
		many_reads(t);
		pci_write(t->d->devfn, 4, 2, 2);
		used = t->r->used->idx;
		EXPECT(memory_is_left_alone());
		EXPECT_EQ(t->r->used->idx, used);
		pci_write(t->d->devfn, 4, 2, 6);
		EXPECT(used_reaches(t->r, (uint16_t)(i * IN_FLIGHT)));
	}
	t->r->next = t->r->used->idx;
	EXPECT(vdev_works(t->d));
}

/* Good requests are on their way when a bad one breaks the device. */
static void break_in_flight(const struct trial *t)
{
	many_reads(t);
	offer(t->r, t->r->size);
	EXPECT(needs_reset(t->d));
}

#define READ(s)    BLK_IN, s
#define WRITE(s)   BLK_OUT, s
#define DISCARD(n) ((uint64_t)BLK_DISCARD << 32 | (n))
#define ZEROES(n)  ((uint64_t)BLK_WRITE_ZEROES << 32 | (n))

static const struct hostile cases[] = {
	{ "5.2.6 request type 2", unknown_type, 2 },
	{ "5.2.6 request type 3", unknown_type, 3 },
	{ "5.2.6 request type 5", unknown_type, 5 },
	{ "5.2.6 GET_LIFETIME, not offered", unknown_type, 10 },
	{ "5.2.6 SECURE_ERASE, not offered", unknown_type, 14 },
	{ "5.2.6 a write with the old barrier flag", unknown_type, 0x80000001 },
	{ "5.2.6 request type 2^32 - 1", unknown_type, UINT32_MAX },
	{ "5.2.6.1 read behind the end", past_end, READ(0) },
	{ "5.2.6.1 read over the end", past_end, READ(UINT64_MAX) },
	{ "5.2.6.1 write behind the end", past_end, WRITE(0) },
	{ "5.2.6.1 write over the end", past_end, WRITE(UINT64_MAX) },
	{ "5.2.6.1 read of sector 2^64 - 1", at_sector, READ(UINT64_MAX) },
	{ "5.2.6.1 read of sector 2^55, byte 2^64", at_sector, READ(1ULL << 55) },
	{ "5.2.6.1 read of sector 2^55 + 7, byte 7 * 512", at_sector, READ((1ULL << 55) + 7) },
	{ "5.2.6.1 read of sector 2^54, byte 2^63", at_sector, READ(1ULL << 54) },
	{ "5.2.6.1 write of sector 2^64 - 1", at_sector, WRITE(UINT64_MAX) },
	{ "5.2.6.1 write of sector 2^55 + 7, byte 7 * 512", at_sector, WRITE((1ULL << 55) + 7) },
	{ "5.2.6.1 write of sector 2^63 + 7", at_sector, WRITE((1ULL << 63) + 7) },
	{ "5.2.6.1 read of 1 byte", odd_length, BLK_IN, 1 },
	{ "5.2.6.1 read of 511 bytes", odd_length, BLK_IN, 511 },
	{ "5.2.6.1 read of 513 bytes", odd_length, BLK_IN, 513 },
	{ "5.2.6.1 write of 1 byte", odd_length, BLK_OUT, 1 },
	{ "5.2.6.1 write of 511 bytes", odd_length, BLK_OUT, 511 },
	{ "5.2.6.1 write of 1000 bytes", odd_length, BLK_OUT, 1000 },
	{ "5.2.6.1 read of nothing", no_data, READ(7) },
	{ "5.2.6.1 read of nothing behind the end", no_data, READ(UINT64_MAX) },
	{ "5.2.6.1 write of nothing", no_data, WRITE(7) },
	{ "5.2.6.1 flush of sector 2^64 - 1", no_data, BLK_FLUSH, UINT64_MAX },
	{ "5.2.6.1 flush with data", with_data, BLK_FLUSH, 0 },
	{ "5.2.6.1 GET_ID without room", no_data, BLK_GET_ID, 0 },
	{ "5.2.6.1 GET_ID with more room than it has", with_data, BLK_GET_ID, 0 },
	{ "5.2.6 no status, a header only", no_status, BLK_FLUSH, 1 },
	{ "5.2.6 no status behind a write's data", no_status, BLK_OUT, 2 },
	{ "5.2.6 status of 0 bytes", empty_status },
	{ "5.2.6 status in the gap", status_at, GAP_START, 1 },
	{ "5.2.6 status behind RAM", status_at, RAM_END, 1 },
	{ "5.2.6 data in the gap", data_at, GAP_START, SECTOR },
	{ "5.2.6 data over the end of RAM", data_at, RAM_END - 256, SECTOR },
	{ "5.2.6 data of 2^32 - 512 bytes", data_at, 0, 0xfffffe00 },
	{ "5.2.6 data on the local APIC", data_at, LAPIC, SECTOR },
	{ "5.2.6 header in the gap", header_at, GAP_START },
	{ "5.2.6 header over the end of RAM", header_at, RAM_END - 8 },
	{ "2.7.4.2 status before the header", status_first },
	{ "5.2.6 header of 15 bytes", short_header, 15 },
	{ "5.2.6 header of 4 bytes", short_header, 4 },
	{ "5.2.6 no header", no_header },
	{ "2.7.4.1 header in two buffers", split_header, 8 },
	{ "2.7.4.1 header in 16 buffers", split_header, 1 },
	{ "2.7.4.1 data and status in one buffer", status_behind_data },
	{ "5.2.6 status between header and data", status_in_the_middle },
	{ "5.2.6 status of 16 bytes", long_status },
	{ "5.2.6 read into a readable buffer", wrong_direction, BLK_IN },
	{ "5.2.6 write from a writable buffer", wrong_direction, BLK_OUT },
	{ "5.2.6 data over the header", data_over_header },
	{ "2.7.5 disk read over the descriptor table", data_over_ring, 0 },
	{ "2.7.5 disk read over the available ring", data_over_ring, 0x1000 },
	{ "2.7.5 disk read over the used ring", data_over_ring, 0x2000 },
	{ "2.7.4.1 a buffer for each descriptor of the ring", whole_ring },
	{ "2.7.4.1 a chain through all of a ring of 1024", largest_ring, .raw = true },
	{ "2.7.4.1 data in pieces of 17 bytes", pieces, 17 },
	{ "2.7.4.1 data in pieces of 511 bytes", pieces, 511 },
	{ "2.7.13 one chain twice", same_head_twice },
	{ "5.2.6.1 discard of 2^32 - 1 sectors", bad_range, DISCARD(UINT32_MAX), 7 },
	{ "5.2.6.1 discard up to sector 2^64", bad_range, DISCARD(1), UINT64_MAX },
	{ "5.2.6.1 discard round sector 2^64", bad_range, DISCARD(9), UINT64_MAX - 1 },
	{ "5.2.6.1 discard of sector 2^55 + 7", bad_range, DISCARD(1), (1ULL << 55) + 7 },
	{ "5.2.6.1 discard over the end", range_past_end, BLK_DISCARD },
	{ "5.2.6.1 discard with the unmap flag", range_flags, BLK_DISCARD, 1 },
	{ "5.2.6.1 discard with a reserved flag", range_flags, BLK_DISCARD, 1U << 31 },
	{ "5.2.6.1 discard of 15 bytes of ranges", range_bytes, BLK_DISCARD, 15 },
	{ "5.2.6.1 discard of 24 bytes of ranges", range_bytes, BLK_DISCARD, 24 },
	{ "5.2.6.1 discard without a range", range_bytes, BLK_DISCARD, 0 },
	{ "5.2.6.1 discard of too many ranges", many_ranges, BLK_DISCARD, 17 },
	{ "5.2.6.1 discard of far too many ranges", many_ranges, BLK_DISCARD, 200 },
	{ "5.2.6.1 discard whose second range is bad", second_range_bad, BLK_DISCARD },
	{ "5.2.6.1 discard, not negotiated", ranges_not_negotiated, BLK_DISCARD,
	  .features = F_VERSION_1 },
	{ "5.2.6.1 write zeroes of 2^32 - 1 sectors", bad_range, ZEROES(UINT32_MAX), 7 },
	{ "5.2.6.1 write zeroes round sector 2^64", bad_range, ZEROES(9), UINT64_MAX - 1 },
	{ "5.2.6.1 write zeroes of sector 2^55 + 7", bad_range, ZEROES(1), (1ULL << 55) + 7 },
	{ "5.2.6.1 write zeroes over the end", range_past_end, BLK_WRITE_ZEROES },
	{ "5.2.6.1 write zeroes with a reserved flag", range_flags, BLK_WRITE_ZEROES, 2 },
	{ "5.2.6.1 write zeroes with all flags", range_flags, BLK_WRITE_ZEROES, UINT32_MAX },
	{ "5.2.6.1 write zeroes of 17 bytes of ranges", range_bytes, BLK_WRITE_ZEROES, 17 },
	{ "5.2.6.1 write zeroes without a range", range_bytes, BLK_WRITE_ZEROES, 0 },
	{ "5.2.6.1 write zeroes of too many ranges", many_ranges, BLK_WRITE_ZEROES, 17 },
	{ "5.2.6.1 write zeroes whose second range is bad", second_range_bad, BLK_WRITE_ZEROES },
	{ "5.2.6.1 write zeroes, not negotiated", ranges_not_negotiated, BLK_WRITE_ZEROES,
	  .features = F_VERSION_1 },
	{ "5.2.4 writing the configuration in bytes", write_config, 1 },
	{ "5.2.4 writing the configuration in words", write_config, 2 },
	{ "5.2.4 writing the configuration in doublewords", write_config, 4 },
	{ "5.2.4 writing the configuration in quadwords", write_config, 8 },
	{ "2.5.1 a misaligned doubleword of the configuration", misaligned_config, 2, 4 },
	{ "2.5.1 a misaligned quadword of the configuration", misaligned_config, 4, 8 },
	{ "2.5.1 a quadword over the end of the configuration", misaligned_config, 56, 8 },
	{ "2.5.1 behind the configuration", misaligned_config, 64, 4 },
	{ "5.2.5.1 write cache set to 2", write_wce, 2 },
	{ "5.2.5.1 write cache set to 255", write_wce, 255 },
	{ "5.2.5.1 write cache set, not negotiated", write_wce, 1,
	  .features = F_VERSION_1 | F_FLUSH },
	{ "2.4.1 reset with reads in flight", reset_in_flight },
	{ "2.6.1.1 queue reset with reads in flight", queue_reset_in_flight },
	{ "2.7.6 a bad head behind reads in flight", break_in_flight },
};

const struct suite blk_suite = { .name = "blk",
				 .victim = VIRTIO_BLK,
				 .must_not_offer = F_RO,
				 .cases = cases,
				 .n = N_CASES(cases) };

static const struct hostile pci_cases[] = {
	{ "PCI 6.2.2 bus mastering switched off with reads in flight", master_off_in_flight },
};

const struct suite blk_pci_suite = { .name = "blk-pci",
				     .victim = VIRTIO_BLK,
				     .on = ON_PCI,
				     .must_not_offer = F_RO,
				     .cases = pci_cases,
				     .n = N_CASES(pci_cases) };

/* ---- a read-only disk ---- */

static void write_read_only(const struct trial *t)
{
	spoil_data(t);
	EXPECT_EQ(blk_do(t->r, BLK_OUT, 7, SECTOR), BLK_IOERR);
}

static void range_read_only(const struct trial *t)
{
	const struct range range = { 7, 1, (uint32_t)t->b };
	uint8_t answer = send_ranges(t, (uint32_t)t->a, &range, 1, 16);

	EXPECT(answer == BLK_IOERR || answer == BLK_UNSUPP);
}

static void accept_discard(const struct trial *t)
{
	EXPECT(!(vdev_features(t->d, F_VERSION_1 | F_RO | t->a) & S_FEATURES_OK));
}

static const struct hostile read_only_cases[] = {
	{ "5.2.6.2 write to a read-only disk", write_read_only },
	{ "5.2.5.2 write to a read-only disk, RO not accepted", write_read_only,
	  .features = F_VERSION_1 },
	{ "5.2.6.2 discard on a read-only disk", range_read_only, BLK_DISCARD },
	{ "5.2.6.2 write zeroes to a read-only disk", range_read_only, BLK_WRITE_ZEROES },
	{ "5.2.6.2 unmapping write zeroes to a read-only disk", range_read_only, BLK_WRITE_ZEROES,
	  1 },
	{ "5.2.3 DISCARD accepted for a read-only disk", accept_discard, F_DISCARD, .raw = true },
	{ "5.2.3 WRITE_ZEROES accepted for a read-only disk", accept_discard, F_WRITE_ZEROES,
	  .raw = true },
	{ "5.2.6 flush of a read-only disk", no_data, BLK_FLUSH },
};

const struct suite blk_ro_suite = { .name = "read-only",
				    .victim = VIRTIO_BLK,
				    .must_offer = F_RO,
				    .cases = read_only_cases,
				    .n = N_CASES(read_only_cases) };
