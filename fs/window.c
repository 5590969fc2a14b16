/*
 * A window into files; see window.h.
 *
 * No address of it may be free for a moment: another thread's memory could come to lie there, and the
 * guest would have it. So a mapping is made elsewhere first, where it may fail, and then moved into its
 * place. The kernel does that in one step: a CPU that reads what was there before, and may go on to do so
 * (it was mapped read-only, and now is to be written to), finds it at any time.
 */
#include "window.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "lkvm/types.h"

#define PAGE 4096U

/* The file's are [0, there), zeros [there, bytes), nothing the rest. */
struct unit {
	uint64_t node, off;
	uint32_t bytes, there; /* multiples of PAGE; bytes 0: nothing */
	bool writable;
};

#define FILTER 1024

struct window {
	uint8_t *base;
	uint64_t bytes;
	void *reservation;
	pthread_mutex_t lock; /* of all that follows, and of what is mapped */
	unsigned n_mapped;
	uint16_t n_short[FILTER]; /* units with zeros, by their node: most files have none */
	struct unit unit[];
};

static size_t reserved(const struct window *w)
{
	return w->bytes + WINDOW_UNIT;
}

/* ---- mappings, all within the window; under the lock ---- */

/* Some kernels take away what was there before they find that they cannot do what was asked. */
static int keep_reserved(void *at, size_t bytes, int err)
{
	void *got = at;

	if (msync(at, bytes, MS_ASYNC) && errno == ENOMEM)
		got = mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	assert(got == at);
	return err;
}

static int put_nothing(struct window *w, uint64_t at, size_t bytes)
{
	void *to = w->base + at;

	if (!bytes || mmap(to, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
			   -1, 0) != MAP_FAILED)
		return 0;
	return keep_reserved(to, bytes, -errno);
}

static int prot_of(bool writable)
{
	return writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

static int put_zeros(struct window *w, uint64_t at, size_t bytes, bool writable)
{
	void *to = w->base + at;

	if (!bytes || mmap(to, bytes, prot_of(writable), MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
			      MAP_FAILED)
		return 0;
	return keep_reserved(to, bytes, -errno);
}

static int put_file(struct window *w, uint64_t at, size_t bytes, const struct window_file *file)
{
	void *to = w->base + at;
	void *from;
	int err;

	if (!bytes)
		return 0;
	from = mmap(NULL, bytes, prot_of(file->writable), MAP_SHARED, file->fd, (off_t)file->off);
	if (from == MAP_FAILED)
		return -errno;
	if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
		return 0;
	err = keep_reserved(to, bytes, -errno);
	munmap(from, bytes);
	return err;
}

/* ---- units; under the lock ---- */

static void count(struct window *w, const struct unit *u, int add)
{
	if (u->bytes)
		w->n_mapped += (unsigned)add;
	if (u->there < u->bytes)
		w->n_short[u->node % FILTER] += (uint16_t)add;
}

static void unit_set(struct window *w, uint64_t i, const struct unit *unit)
{
	count(w, &w->unit[i], -1);
	w->unit[i] = *unit;
	count(w, unit, 1);
}

static int empty(struct window *w, uint64_t at, uint64_t bytes)
{
	static const struct unit nothing;
	int err = put_nothing(w, at, bytes);

	for (uint64_t off = 0; !err && off < bytes; off += WINDOW_UNIT)
		unit_set(w, (at + off) / WINDOW_UNIT, &nothing);
	return err;
}

/* How much of @bytes from @off on a file of @size has, in whole pages. */
static uint64_t part_there(uint64_t off, uint64_t bytes, uint64_t size)
{
	uint64_t left = size <= off ? 0 : size - off;

	return left >= bytes ? bytes : ALIGN_UP(left, (uint64_t)PAGE);
}

static void units_fill(struct window *w, uint64_t at, uint64_t bytes, const struct window_file *file, uint64_t size)
{
	for (uint64_t off = 0; off < bytes; off += WINDOW_UNIT) {
		struct unit unit = { .node = file->node, .off = file->off + off, .writable = file->writable };

		unit.bytes = bytes - off < WINDOW_UNIT ? (uint32_t)(bytes - off) : WINDOW_UNIT;
		unit.there = (uint32_t)part_there(unit.off, unit.bytes, size);
		unit_set(w, (at + off) / WINDOW_UNIT, &unit);
	}
}

static bool is_in(const struct window *w, uint64_t at, uint64_t bytes)
{
	return bytes && !(at % WINDOW_UNIT) && !(bytes % PAGE) && at <= w->bytes && bytes <= w->bytes - at;
}

/* As it is known: nobody is to wait for a server while he has the lock. */
static int file_size(int fd, uint64_t *ret)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &st) < 0)
		return -errno;
	*ret = st.stx_size;
	return 0;
}

/* A size that grows meanwhile is known to window_grown() next. */
static int map(struct window *w, uint64_t at, uint64_t bytes, const struct window_file *file)
{
	const uint64_t whole = ALIGN_UP(bytes, (uint64_t)WINDOW_UNIT);
	uint64_t size = 0, have;
	int err = 0;

	if (file->fd >= 0)
		err = file_size(file->fd, &size);
	if (err)
		return err;
	have = part_there(file->off, bytes, size);
	err = put_file(w, at, have, file);
	if (err)
		return err;
	err = put_zeros(w, at + have, bytes - have, file->writable);
	if (!err)
		err = put_nothing(w, at + bytes, whole - bytes);
	if (err)
		empty(w, at, whole);
	else
		units_fill(w, at, bytes, file, size);
	return err;
}

int window_map(struct window *w, uint64_t at, uint64_t bytes, const struct window_file *file)
{
	int err;

	if (!is_in(w, at, bytes) || file->off % WINDOW_UNIT || file->off > INT64_MAX - bytes)
		return -EINVAL;
	pthread_mutex_lock(&w->lock);
	err = map(w, at, bytes, file);
	pthread_mutex_unlock(&w->lock);
	return err;
}

int window_unmap(struct window *w, uint64_t at, uint64_t bytes)
{
	const uint64_t whole = ALIGN_UP(bytes, (uint64_t)WINDOW_UNIT);
	int err;

	if (!is_in(w, at, bytes))
		return -EINVAL;
	pthread_mutex_lock(&w->lock);
	err = empty(w, at, whole);
	pthread_mutex_unlock(&w->lock);
	return err;
}

void window_clear(struct window *w)
{
	window_unmap(w, 0, w->bytes);
}

unsigned window_mapped(struct window *w)
{
	unsigned n;

	pthread_mutex_lock(&w->lock);
	n = w->n_mapped;
	pthread_mutex_unlock(&w->lock);
	return n;
}

static struct unit unit_get(struct window *w, uint64_t i)
{
	struct unit unit;

	pthread_mutex_lock(&w->lock);
	unit = w->unit[i];
	pthread_mutex_unlock(&w->lock);
	return unit;
}

int window_each(struct window *w, int (*each)(void *arg, uint64_t at, uint32_t bytes, const struct window_file *file),
		void *arg)
{
	int err = 0;

	for (uint64_t i = 0; !err && i < w->bytes / WINDOW_UNIT; i++) {
		const struct unit u = unit_get(w, i);
		const struct window_file file = { .node = u.node, .fd = -1, .off = u.off, .writable = u.writable };

		if (u.bytes)
			err = each(arg, i * WINDOW_UNIT, u.bytes, &file);
	}
	return err;
}

/* ---- what is missing ---- */

/* Is it shorter than the unit knows? */
static bool is_short(const struct unit *u, uint64_t size)
{
	return part_there(u->off, u->bytes, size) < u->there;
}

/* Under the lock. Return: was something missing? */
static bool mend(struct window *w, uint64_t i, uint64_t size)
{
	struct unit u = w->unit[i];
	const uint32_t now = (uint32_t)part_there(u.off, u.bytes, size);

	if (!is_short(&u, size) || put_zeros(w, i * WINDOW_UNIT + now, u.bytes - now, u.writable))
		return false;
	u.there = now;
	unit_set(w, i, &u);
	return true;
}

/*
 * Nobody waits for who waits for the host. What seems to have been cut is asked for once more when it can
 * not grow unseen.
 */
bool window_look(struct window *w, uint64_t (*size_of)(void *arg, uint64_t node), void *arg)
{
	uint64_t last = 0, size = UINT64_MAX;
	bool any = false;

	for (uint64_t i = 0; i < w->bytes / WINDOW_UNIT; i++) {
		const struct unit unit = unit_get(w, i);

		if (unit.bytes && unit.node != last) {
			size = size_of(arg, unit.node);
			last = unit.node;
		}
		if (!unit.bytes || !is_short(&unit, size))
			continue;
		pthread_mutex_lock(&w->lock);
		if (w->unit[i].node == unit.node)
			any |= mend(w, i, size_of(arg, unit.node));
		pthread_mutex_unlock(&w->lock);
	}
	return any;
}

/* With the lock held: has a file of @size more than is there now? */
static bool has_grown(const struct window *w, uint64_t i, uint64_t node, uint64_t size)
{
	const struct unit *u = &w->unit[i];

	return u->there < u->bytes && u->node == node && part_there(u->off, u->bytes, size) > u->there;
}

bool window_is_behind(struct window *w, uint64_t node, uint64_t size)
{
	bool any = false;

	pthread_mutex_lock(&w->lock);
	if (w->n_short[node % FILTER])
		for (uint64_t i = 0; !any && i < w->bytes / WINDOW_UNIT; i++)
			any = has_grown(w, i, node, size);
	pthread_mutex_unlock(&w->lock);
	return any;
}

static void extend(struct window *w, uint64_t i, struct window_file file, uint64_t size)
{
	struct unit u = w->unit[i];

	file.off = u.off;
	file.writable = u.writable;
	u.there = (uint32_t)part_there(u.off, u.bytes, size);
	if (!put_file(w, i * WINDOW_UNIT, u.there, &file))
		unit_set(w, i, &u);
}

int window_grown(struct window *w, const struct window_file *file)
{
	uint64_t size;
	int err;

	pthread_mutex_lock(&w->lock);
	err = file_size(file->fd, &size);
	for (uint64_t i = 0; !err && i < w->bytes / WINDOW_UNIT; i++)
		if (has_grown(w, i, file->node, size) && w->unit[i].writable <= file->writable)
			extend(w, i, *file, size);
	pthread_mutex_unlock(&w->lock);
	return err;
}

/* ---- making one ---- */

int window_new(uint64_t bytes, struct window **ret)
{
	struct window *w = calloc(1, sizeof(*w) + bytes / WINDOW_UNIT * sizeof(w->unit[0]));

	if (!w)
		return -ENOMEM;
	w->bytes = bytes;
	w->reservation = mmap(NULL, reserved(w), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			      -1, 0);
	if (w->reservation == MAP_FAILED) {
		free(w);
		return -ENOMEM;
	}
	w->base = (uint8_t *)ALIGN_UP((uintptr_t)w->reservation, (uintptr_t)WINDOW_UNIT);
	pthread_mutex_init(&w->lock, NULL);
	*ret = w;
	return 0;
}

void window_free(struct window *w)
{
	if (!w)
		return;
	munmap(w->reservation, reserved(w));
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void *window_memory(const struct window *w)
{
	return w ? w->base : NULL;
}
