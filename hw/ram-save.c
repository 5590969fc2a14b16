/*
 * RAM as a file; see ram.h. Nothing is allocated and no lock is taken: a child of a process with threads
 * runs this, while those go on elsewhere.
 *
 * What the host has never given the guest is not looked at. Of what is left, pages that hold nothing but
 * zeros are not written, nor those that need not be saved.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "ram-internal.h"

#define CHUNK_PAGES   512
#define CHUNK_BYTES   (CHUNK_PAGES * RAM_PAGE_BYTES)
#define PAGE_IS_THERE (3ULL << 62) /* in memory, or swapped out */

struct walker {
	const struct ram *ram;
	const struct ram_spare *spare; /* NULL: no page is */
	ram_run_fn run;
	void *ctx;
	int pagemap_fd; /* -1: the host does not tell */
	uint64_t pagemap[CHUNK_PAGES];
};

static const uint8_t zeros[RAM_PAGE_BYTES];

/* Does the file that RAM is, or began as, have anything here? */
static bool is_in_file(const struct ram *ram, gpa_t gpa, uint64_t bytes)
{
	const off_t at = (off_t)ram_file_at(ram, gpa);
	off_t data;

	if (ram->fd < 0)
		return false;
	data = lseek(ram->fd, at, SEEK_DATA);
	return data < 0 ? errno != ENXIO : data < at + (off_t)bytes;
}

/* Which pages of a chunk need not be looked at: those whose pagemap is 0 then. */
static void look_up(struct walker *s, const uint8_t *host, unsigned n, gpa_t at)
{
	const off_t where = (off_t)((uintptr_t)host / RAM_PAGE_BYTES * sizeof(s->pagemap[0]));
	const ssize_t bytes = (ssize_t)(n * sizeof(s->pagemap[0]));

	if (s->pagemap_fd < 0 || pread(s->pagemap_fd, s->pagemap, (size_t)bytes, where) != bytes ||
	    is_in_file(s->ram, at, n * RAM_PAGE_BYTES))
		memset(s->pagemap, 0xff, sizeof(s->pagemap));
	for (unsigned page = 0; s->spare && page < n; page++)
		if (ram_spare_has(s->spare, GPA(at.v + page * RAM_PAGE_BYTES)))
			s->pagemap[page] = 0;
}

static bool has_data(const struct walker *s, const uint8_t *host, unsigned page)
{
	return (s->pagemap[page] & PAGE_IS_THERE) &&
	       memcmp(host + page * RAM_PAGE_BYTES, zeros, RAM_PAGE_BYTES);
}

/* At most CHUNK_PAGES; as few calls as there are runs of pages */
static int walk_chunk(struct walker *s, const uint8_t *host, unsigned n)
{
	const uint64_t gpa = (uint64_t)(host - s->ram->map.base);
	unsigned first;
	int err = 0;

	look_up(s, host, n, GPA(gpa));
	for (unsigned page = 0; !err && page < n; page++) {
		for (first = page; page < n && has_data(s, host, page); page++)
			;
		if (page > first)
			err = s->run(s->ctx, GPA(gpa + first * RAM_PAGE_BYTES), host + first * RAM_PAGE_BYTES,
				     (page - first) * RAM_PAGE_BYTES);
	}
	return err;
}

static int walk_part(struct walker *s, const struct ram_part *part)
{
	const uint8_t *host = s->ram->map.base + part->start.v;
	int err = 0;

	for (uint64_t off = 0; !err && off < part->size_bytes; off += CHUNK_BYTES) {
		uint64_t left = part->size_bytes - off;
		unsigned n = left < CHUNK_BYTES ? (unsigned)(left / RAM_PAGE_BYTES) : CHUNK_PAGES;

		err = walk_chunk(s, host + off, n);
	}
	return err;
}

static int walk(struct walker *s)
{
	struct ram_part area[RAM_MAX_AREAS];
	const unsigned n = ram_areas(s->ram, area);
	int err = 0;

	s->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; !err && i < n; i++)
		err = walk_part(s, &area[i]);
	if (s->pagemap_fd >= 0)
		close(s->pagemap_fd);
	return err;
}

int ram_each_run(const struct ram *ram, ram_run_fn run, void *ctx)
{
	struct walker s = { .ram = ram, .run = run, .ctx = ctx };

	return walk(&s);
}

struct saver {
	const struct ram *ram;
	int fd;
	uint64_t at, written;
};

static int save_run(void *ctx, gpa_t at, const uint8_t *host, size_t bytes)
{
	struct saver *s = ctx;

	s->written += bytes;
	return file_write(s->fd, host, bytes, s->at + ram_file_at(s->ram, at));
}

int ram_save(const struct ram *ram, const struct ram_spare *spare, int fd, uint64_t at, uint64_t *ret_bytes)
{
	struct saver s = { .ram = ram, .fd = fd, .at = at };
	struct walker w = { .ram = ram, .spare = spare, .run = save_run, .ctx = &s };
	int err;

	if (ftruncate(fd, (off_t)(at + ram_file_bytes(ram))))
		return -errno;
	err = walk(&w);
	*ret_bytes = s.written;
	return err;
}

int ram_file(const struct ram *ram)
{
	return ram->fd;
}

int ram_let_fork(const struct ram *ram, bool on)
{
	if (ram->advice->fork)
		return 0;
	for (unsigned i = 0; i < ram->map.n_parts; i++)
		if (madvise(ram->map.base + ram->map.part[i].start.v, ram->map.part[i].size_bytes,
			    on ? MADV_DOFORK : MADV_DONTFORK))
			return -errno;
	/* Of blocks that are not there it does not matter. */
	if (ram->map.region.bytes && madvise(ram->map.base + ram->map.region.start, ram->map.region.bytes,
					     on ? MADV_DOFORK : MADV_DONTFORK))
		return -errno;
	return 0;
}
