/* Guest RAM: layout, mapping and access; see ram.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ram-internal.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

unsigned ram_layout(uint64_t size_bytes, struct ram_part ret_parts[RAM_MAX_PARTS],
		    uint64_t *ret_span)
{
	ret_parts[0] = (struct ram_part){ GPA(0), size_bytes };
	*ret_span = size_bytes;
	if (size_bytes < RAM_GAP_START)
		return 1;
	/* From here on the mapping has the gap, even where no RAM follows it. */
	*ret_span = size_bytes + RAM_GAP_SIZE;
	ret_parts[0].size_bytes = RAM_GAP_START;
	ret_parts[1] = (struct ram_part){ GPA(RAM_GAP_END), size_bytes - RAM_GAP_START };
	return ret_parts[1].size_bytes ? 2 : 1;
}

/*
 * One inaccessible stretch for all of it, so that nothing else can ever be mapped in the gap. Its
 * base is aligned for the largest page that may back it.
 */
static int ram_reserve(struct ram *ram, uint64_t page_bytes)
{
	const uint64_t align = page_bytes > RAM_GUARD ? page_bytes : RAM_GUARD;
	uintptr_t first;
	void *at;

	if (ram->span_bytes > SIZE_MAX - 2 * RAM_GUARD - align)
		return -ENOMEM;
	ram->reserved_bytes = ram->span_bytes + 2 * RAM_GUARD + align;
	at = mmap(NULL, ram->reserved_bytes, PROT_NONE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	ram->reservation = at;
	first = (uintptr_t)at + RAM_GUARD;
	ram->map.base = (uint8_t *)at + (ALIGN_UP(first, align) - (uintptr_t)at);
	return 0;
}

static int map_flags(const struct ram_backing *backing, uint64_t page_bytes)
{
	int flags = MAP_FIXED | (backing->shared ? MAP_SHARED : MAP_PRIVATE);

	if (backing->fd < 0)
		flags |= MAP_ANONYMOUS;
	if (page_bytes && backing->fd < 0)
		flags |= MAP_HUGETLB | __builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT;
	/* Huge pages are reserved at once: a shortage is an error now and no SIGBUS later. */
	if (!page_bytes)
		flags |= MAP_NORESERVE;
	return flags;
}

static int map_range(const struct ram *ram, uint64_t start, uint64_t len, uint64_t page_bytes,
		     off_t offset, const struct ram_backing *backing)
{
	if (len && mmap(ram->map.base + start, len, PROT_READ | PROT_WRITE,
			map_flags(backing, page_bytes), backing->fd,
			backing->fd < 0 ? 0 : offset) == MAP_FAILED)
		return -errno;
	return 0;
}

/* Before anything touches it, as a page stays where it is. */
int ram_bind(const struct ram *ram, uint64_t start, uint64_t bytes)
{
	for (unsigned i = 0; i < ram->advice->n_policies; i++) {
		const struct ram_policy *p = &ram->advice->policy[i];
		uint64_t from = p->start > start ? p->start : start;
		uint64_t end = p->start + p->bytes < start + bytes ? p->start + p->bytes : start + bytes;

		/* The number of bits is counted from one. */
		if (from < end && syscall(SYS_mbind, ram->map.base + from, end - from, p->mode, p->nodes,
					  RAM_HOST_NODES + 1, 0))
			return -errno;
	}
	return 0;
}

void ram_advise(const struct ram *ram, uint8_t *host, uint64_t bytes, char *refused, size_t cap)
{
	const struct ram_config *cfg = ram->advice;
	const struct {
		bool off;
		int advice;
		const char *name;
	} all[] = {
		{ cfg->no_merge, MADV_MERGEABLE, "MERGEABLE" },
		{ cfg->no_thp, MADV_HUGEPAGE, "HUGEPAGE" },
		{ cfg->fork, MADV_DONTFORK, "DONTFORK" },
		{ cfg->dump, MADV_DONTDUMP, "DONTDUMP" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		size_t len = strlen(refused);

		if (!all[i].off && madvise(host, bytes, all[i].advice) && !strstr(refused, all[i].name))
			snprintf(refused + len, cap - len, " %s", all[i].name);
	}
}

/*
 * The lowest 2 MB begin in small pages: little of them is ever touched, tables and a real mode for a
 * moment, and to clear a huge page for that is what a short run would feel most. A page table that is
 * there keeps the host from making one.
 */
static void begin_small(const struct ram *ram, const struct ram_backing *backing)
{
	if (backing->fd >= 0 || backing->page_bytes || backing->prealloc)
		return;
	/* A host that has huge pages everywhere would make one now. The advice for them comes next. */
	madvise(ram->map.base, ram->map.part[0].size_bytes, MADV_NOHUGEPAGE);
	*(volatile uint8_t *)ram->map.base = 0;
}

static void advise_part(const struct ram *ram, unsigned i, struct ram_backing *backing)
{
	const struct ram_part *part = &ram->map.part[i];

	if (!ram->advice->no_thp && !i)
		begin_small(ram, backing);
	ram_advise(ram, ram->map.base + part->start.v, part->size_bytes, backing->refused,
		   sizeof(backing->refused));
}

/*
 * The file holds the parts back to back: the gap takes no space in it. The gap starts at 3.25 GB,
 * so what is left of a part of 1 GB pages is mapped in pages of 2 MB.
 */
static int map_part(struct ram *ram, unsigned i, struct ram_backing *backing)
{
	const struct ram_part *part = &ram->map.part[i];
	const uint64_t page = backing->page_bytes;
	uint64_t rest = page > RAM_GUARD ? part->size_bytes & (page - 1) : 0;
	uint64_t most = part->size_bytes - rest;
	off_t offset = i ? (off_t)ram->map.part[0].size_bytes : 0;
	int err;

	err = map_range(ram, part->start.v, most, page, offset, backing);
	if (!err)
		err = map_range(ram, part->start.v + most, rest, 2 * MIB, offset + (off_t)most,
				backing);
	if (err)
		return err;
	err = ram_bind(ram, part->start.v, part->size_bytes);
	backing->unbound = err;
	if (err)
		return err;
	advise_part(ram, i, backing);
	if (backing->prealloc &&
	    madvise(ram->map.base + part->start.v, part->size_bytes, MADV_POPULATE_WRITE))
		return -errno;
	return 0;
}

/* Those that a snapshot has; the others stay as they were reserved. Pages of its file are read as they are needed. */
static int map_block(struct ram *ram, unsigned n, struct ram_backing *backing)
{
	const struct ram_region *region = &ram->map.region;
	const uint64_t at = region->start + n * region->block_bytes;
	int err = map_range(ram, at, region->block_bytes, 0, (off_t)ram_file_at(ram, GPA(at)), backing);

	if (!err)
		err = ram_bind(ram, at, region->block_bytes);
	if (err)
		return err;
	ram_advise(ram, ram->map.base + at, region->block_bytes, backing->refused, sizeof(backing->refused));
	atomic_fetch_or(&ram->from_file[n / 64], 1ULL << n % 64);
	atomic_fetch_or(&ram->map.plugged[n / 64], 1ULL << n % 64);
	return 0;
}

static int map_blocks(struct ram *ram, struct ram_backing *backing)
{
	const struct ram_region *region = &ram->map.region;
	int err = 0;

	for (unsigned n = 0; !err && region->bytes && n < region->bytes / region->block_bytes; n++)
		if (backing->advice->plugged[n / 64] >> n % 64 & 1)
			err = map_block(ram, n, backing);
	return err;
}

int ram_new(uint64_t size_bytes, struct ram_backing *backing, struct ram **ret)
{
	struct ram *ram;
	int err;

	backing->refused[0] = '\0';
	backing->unbound = false;
	if (size_bytes > UINT64_MAX - RAM_GAP_SIZE)
		return -ENOMEM;
	ram = calloc(1, sizeof(*ram));
	if (!ram)
		return -ENOMEM;
	pthread_mutex_init(&ram->besides.lock, NULL);
	ram->fd = backing->fd;
	ram->advice = backing->advice;
	ram->shared = backing->shared;
	ram->page_bytes = backing->page_bytes ? backing->page_bytes : RAM_PAGE_BYTES;
	ram->map.n_parts = ram_layout(size_bytes, ram->map.part, &ram->span_bytes);
	ram->map.region = backing->advice->region;
	if (ram->map.region.bytes)
		ram->span_bytes = ram->map.region.start + ram->map.region.bytes;
	err = ram_reserve(ram, backing->page_bytes);
	for (unsigned i = 0; !err && i < ram->map.n_parts; i++)
		err = map_part(ram, i, backing);
	if (!err)
		err = map_blocks(ram, backing);
	if (err)
		ram_free(ram);
	else
		*ret = ram;
	return err;
}

void ram_free(struct ram *ram)
{
	if (!ram)
		return;
	if (ram->reservation)
		munmap(ram->reservation, ram->reserved_bytes);
	free(ram->log);
	pthread_mutex_destroy(&ram->besides.lock);
	free(ram);
}

const struct ram_part *ram_parts(const struct ram *ram, unsigned *ret_n)
{
	*ret_n = ram->map.n_parts;
	return ram->map.part;
}

uint64_t ram_bytes(const struct ram *ram)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ram->map.n_parts; i++)
		sum += ram->map.part[i].size_bytes;
	return sum;
}

_Static_assert(offsetof(struct ram, map) == 0, "ram_host() looks at the beginning");

unsigned ram_areas(const struct ram *ram, struct ram_part ret[RAM_MAX_AREAS])
{
	const struct ram_region *region = &ram->map.region;
	const unsigned n_blocks = region->bytes ? (unsigned)(region->bytes / region->block_bytes) : 0;
	unsigned n = ram->map.n_parts;
	bool before = false;

	memcpy(ret, ram->map.part, n * sizeof(*ret));
	for (unsigned i = 0; i < n_blocks; i++) {
		const bool is = ram_block_get(ram, i);

		if (is && before)
			ret[n - 1].size_bytes += region->block_bytes;
		else if (is && n < RAM_MAX_AREAS) /* more there cannot be but by a race */
			ret[n++] = (struct ram_part){ GPA(region->start + i * region->block_bytes), region->block_bytes };
		before = is;
	}
	return n;
}

uint64_t ram_end(const struct ram *ram)
{
	const struct ram_part *last = &ram->map.part[ram->map.n_parts - 1];

	return ram->map.region.bytes ? ram->span_bytes : last->start.v + last->size_bytes;
}

uint64_t ram_file_at(const struct ram *ram, gpa_t at)
{
	if (ram_in_region(ram, at.v))
		return ram_bytes(ram) + (at.v - ram->map.region.start);
	return at.v < RAM_GAP_END ? at.v : at.v - RAM_GAP_SIZE;
}

uint64_t ram_file_bytes(const struct ram *ram)
{
	return ram_bytes(ram) + ram->map.region.bytes;
}

uint8_t *ram_host_plugged(const struct ram *ram, gpa_t at, uint64_t len)
{
	const struct ram_region *region = &ram->map.region;
	unsigned last;

	if (!ram_in_region(ram, at.v) || len > region->bytes - (at.v - region->start))
		return NULL;
	last = ram_block_at(ram, at.v + (len ? len - 1 : 0));
	for (unsigned n = ram_block_at(ram, at.v); n <= last; n++)
		if (!ram_block_get(ram, n))
			return NULL;
	return ram->map.base + at.v;
}

const struct ram_region *ram_region(const struct ram *ram)
{
	return &ram->map.region;
}

void *ram_region_host(const struct ram *ram)
{
	return ram->map.base + ram->map.region.start;
}

const atomic_uint *ram_unplugs(const struct ram *ram)
{
	return &ram->unplugs;
}

int ram_read(const struct ram *ram, gpa_t src, void *dst, size_t len)
{
	const uint8_t *host = ram_host(ram, src, len);

	if (!host)
		return -EFAULT;
	memcpy(dst, host, len);
	return 0;
}

int ram_write(struct ram *ram, gpa_t dst, const void *src, size_t len)
{
	uint8_t *host = ram_host(ram, dst, len);

	if (!host)
		return -EFAULT;
	memcpy(host, src, len);
	ram_wrote(ram, host, len);
	return 0;
}

int ram_window(const struct ram *ram, gpa_t at, uint64_t len, uint64_t align, void **ret)
{
	uint8_t *host;

	if (at.v & (align - 1))
		return -EINVAL;
	host = ram_host(ram, at, len);
	if (!host)
		return -EFAULT;
	*ret = host;
	return 0;
}

int ram_gpa_of(const struct ram *ram, const void *host, gpa_t *ret)
{
	uintptr_t addr = (uintptr_t)host, base = (uintptr_t)ram->map.base;

	if (addr < base || addr - base >= ram->span_bytes)
		return -EFAULT;
	*ret = GPA(addr - base);
	return 0;
}
