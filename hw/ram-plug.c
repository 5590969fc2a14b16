/* Blocks of memory that come and go while the guest runs; see ram.h. */
#include <errno.h>
#include <sys/mman.h>

#include "ram-internal.h"

static uint8_t *host_of(const struct ram *ram, unsigned n)
{
	return ram->map.base + ram->map.region.start + n * ram->map.region.block_bytes;
}

static void mark(_Atomic(uint64_t) *bitmap, unsigned first, unsigned n, bool on)
{
	for (unsigned i = first; i < first + n; i++) {
		if (on)
			atomic_fetch_or(&bitmap[i / 64], 1ULL << i % 64);
		else
			atomic_fetch_and(&bitmap[i / 64], ~(1ULL << i % 64));
	}
}

/* As they were reserved: whatever is there goes. */
static int map_nothing(const struct ram *ram, unsigned first, unsigned n)
{
	return mmap(host_of(ram, first), n * ram->map.region.block_bytes, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED ? -errno : 0;
}

/* What ram_mend() has made is not looked for any more, or will be made again. */
static void sweep(struct ram *ram)
{
	for (unsigned i = 0; i < RAM_BLOCK_WORDS; i++) {
		uint64_t soiled = atomic_exchange(&ram->soiled[i], 0);

		for (; soiled; soiled &= soiled - 1) {
			const unsigned n = i * 64 + (unsigned)__builtin_ctzll(soiled);

			if (!ram_block_get(ram, n))
				map_nothing(ram, n, 1);
		}
	}
}

static int map_memory(const struct ram *ram, unsigned first, unsigned n)
{
	const uint64_t bytes = n * ram->map.region.block_bytes;
	uint8_t *host = host_of(ram, first);
	char refused[64] = "";
	int err;

	if (mmap(host, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
	    MAP_FAILED)
		return -errno;
	err = ram_bind(ram, (uint64_t)(host - ram->map.base), bytes);
	if (err)
		return err;
	ram_advise(ram, host, bytes, refused, sizeof(refused));
	return ram->advice->prealloc && madvise(host, bytes, MADV_POPULATE_WRITE) ? -errno : 0;
}

int ram_plug(struct ram *ram, unsigned first, unsigned n)
{
	int err;

	sweep(ram);
	err = map_memory(ram, first, n);
	if (err) {
		map_nothing(ram, first, n);
		return err;
	}
	/* What is there now is not what was there before. */
	ram_wrote(ram, host_of(ram, first), n * ram->map.region.block_bytes);
	mark(ram->map.plugged, first, n, true);
	return 0;
}

int ram_unplug(struct ram *ram, unsigned first, unsigned n)
{
	int err;

	sweep(ram);
	mark(ram->map.plugged, first, n, false);
	err = map_nothing(ram, first, n);
	if (err) {
		mark(ram->map.plugged, first, n, true);
		return err;
	}
	mark(ram->from_file, first, n, false);
	atomic_fetch_add(&ram->unplugs, 1);
	return 0;
}

/*
 * The whole block, so that a guest cannot have more mappings than there are blocks. To allow what is allowed is
 * no harm: it may have been plugged meanwhile.
 */
bool ram_mend(const struct ram *ram, const void *host)
{
	const uint64_t at = (uint64_t)((const uint8_t *)host - ram->map.base);
	unsigned n;

	if ((const uint8_t *)host < ram->map.base || !ram_in_region(ram, at))
		return false;
	n = ram_block_at(ram, at);
	if (mprotect(host_of(ram, n), ram->map.region.block_bytes, PROT_READ | PROT_WRITE))
		return false;
	atomic_fetch_or(&((struct ram *)(uintptr_t)ram)->soiled[n / 64], 1ULL << n % 64);
	return true;
}

unsigned ram_plugged(const struct ram *ram, unsigned first, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = first; i < RAM_MAX_BLOCKS && i - first < n; i++)
		count += ram_block_get(ram, i);
	return count;
}

uint64_t ram_plugged_bytes(const struct ram *ram)
{
	return ram_plugged(ram, 0, RAM_MAX_BLOCKS) * ram->map.region.block_bytes;
}
