/*
 * `ephemeral`: what the guest writes goes to a file without a name and is gone at the end; what it
 * has not written is read from the base, which is only read.
 *
 *	guest's request -> child on the top (written sectors) or on the base (all others)
 *
 * A bitmap has one bit a sector, so a write never needs what is around it. The map and the file are
 * as large as the disk, but only what is used takes memory and space. A read of both kinds is one
 * child after the other.
 */
#include "disk-internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

struct overlay {
	struct disk disk;
	struct disk *base, *top;
	uint64_t *written; /* a bit a sector: it is in @top */
	size_t map_bytes;

	struct disk_fifo todo;
	unsigned n_flying;
	bool submitted; /* something that is not committed yet */
	struct child *all, *free;
};

/* What is asked of base or top for a request. */
struct child {
	struct disk_request req;
	struct disk_request *parent; /* NULL: it is free */
	struct overlay *o;
	struct child *next, *next_free;
	struct iovec *iov; /* heap: of a part of the request; else NULL */
};

static struct overlay *overlay_of(struct disk *disk)
{
	return container_of(disk, struct overlay, disk);
}

/* ---- the map ---- */

static bool is_written(const struct overlay *o, uint64_t sector)
{
	return o->written[sector / 64] >> sector % 64 & 1;
}

/* How many sectors from @sector on, up to @most, are where it is */
static uint64_t run_sectors(const struct overlay *o, uint64_t sector, uint64_t most)
{
	bool where = is_written(o, sector);
	uint64_t n = 0;

	while (n < most) {
		unsigned bit = (sector + n) % 64, left = 64 - bit, same;
		uint64_t word = o->written[(sector + n) / 64];
		uint64_t other = (where ? ~word : word) >> bit;

		same = other ? (unsigned)__builtin_ctzll(other) : left;
		n += same < left ? same : left;
		if (same < left)
			break;
	}
	return n < most ? n : most;
}

static void set_written(struct overlay *o, uint64_t sector, uint64_t n)
{
	while (n) {
		unsigned bit = sector % 64, here = n < 64 - bit ? (unsigned)n : 64 - bit;

		o->written[sector / 64] |= (here == 64 ? ~0ULL : (1ULL << here) - 1) << bit;
		sector += here;
		n -= here;
	}
}

/* ---- children ---- */

static struct child *child_new(struct overlay *o)
{
	struct child *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->o = o;
	c->next = o->all;
	o->all = c;
	return c;
}

static struct child *child_get(struct overlay *o, struct disk_request *parent)
{
	struct child *c = o->free;

	if (c)
		o->free = c->next_free;
	else
		c = child_new(o);
	if (!c)
		return NULL;
	c->parent = parent;
	o->n_flying++;
	return c;
}

static void child_put(struct child *c)
{
	free(c->iov);
	c->iov = NULL;
	c->parent = NULL;
	c->o->n_flying--;
	c->next_free = c->o->free;
	c->o->free = c;
}

static void child_submit(struct child *c, struct disk *disk)
{
	c->o->submitted = true;
	disk->ops->submit(disk, &c->req);
}

/* Some of the request's buffers. They are made once: a part has no more of them than the whole. */
static int cut_part(struct child *c, uint64_t bytes)
{
	const struct disk_request *req = c->parent;

	if (!c->iov)
		c->iov = reallocarray(NULL, req->n_iov, sizeof(*c->iov));
	if (!c->iov)
		return -ENOMEM;
	c->req.iov = c->iov;
	c->req.n_iov = disk_iov_part(req->iov, req->n_iov, req->done_bytes, bytes, c->iov,
				     req->n_iov, &c->req.len);
	assert(c->req.len == bytes);
	return 0;
}

static void end_read(struct child *c, int ret)
{
	struct disk_request *parent = c->parent;

	child_put(c);
	parent->done(parent, ret);
}

/* From where the request has come to, as far as all is in one place. */
static void read_on(struct child *c)
{
	struct overlay *o = c->o;
	const struct disk_request *req = c->parent;
	uint64_t off = req->off + req->done_bytes, left = req->len - req->done_bytes;
	uint64_t run = run_sectors(o, off / DISK_SECTOR_BYTES, left / DISK_SECTOR_BYTES) *
		       DISK_SECTOR_BYTES;

	c->req.off = off;
	c->req.len = run;
	if (run == req->len) {
		c->req.iov = req->iov;
		c->req.n_iov = req->n_iov;
	} else if (cut_part(c, run)) {
		end_read(c, -ENOMEM);
		return;
	}
	child_submit(c, is_written(o, off / DISK_SECTOR_BYTES) ? o->top : o->base);
}

static void read_done(struct disk_request *req, int ret)
{
	struct child *c = container_of(req, struct child, req);
	struct disk_request *parent = c->parent;

	parent->done_bytes += req->len;
	if (ret || parent->done_bytes == parent->len)
		end_read(c, ret);
	else if (parent->cancelled)
		end_read(c, -ECANCELED);
	else
		read_on(c);
}

/* Only now: who reads meanwhile gets the old data, not a hole. */
static void write_done(struct disk_request *req, int ret)
{
	struct child *c = container_of(req, struct child, req);
	struct disk_request *parent = c->parent;

	if (!ret)
		set_written(c->o, req->off / DISK_SECTOR_BYTES, req->len / DISK_SECTOR_BYTES);
	child_put(c);
	parent->done(parent, ret);
}

static void start(struct overlay *o, struct disk_request *req)
{
	struct child *c;

	/* Nothing of it is to last. */
	if (req->op == DISK_FLUSH || !req->len) {
		req->done(req, 0);
		return;
	}
	c = child_get(o, req);
	if (!c) {
		req->done(req, -ENOMEM);
		return;
	}
	c->req = (struct disk_request){ .op = req->op,
					.unmap = true,
					.off = req->off,
					.len = req->len,
					.iov = req->iov,
					.n_iov = req->n_iov,
					.done = write_done };
	if (req->op == DISK_READ) {
		c->req.done = read_done;
		read_on(c);
		return;
	}
	/* What is discarded must not show the base again. */
	if (req->op == DISK_DISCARD)
		c->req.op = DISK_WRITE_ZEROES;
	child_submit(c, o->top);
}

/* ---- disk_ops ---- */

static void overlay_submit(struct disk *disk, struct disk_request *req)
{
	req->done_bytes = 0;
	disk_fifo_push(&overlay_of(disk)->todo, req);
}

static void overlay_commit(struct disk *disk)
{
	struct overlay *o = overlay_of(disk);
	struct disk_request *req;

	if (disk->held)
		return;
	o->base->held = o->top->held = false;
	/* What fails at once, or is done in parts, may submit more. */
	do {
		while ((req = disk_fifo_pop(&o->todo)))
			start(o, req);
		o->submitted = false;
		o->base->ops->commit(o->base);
		o->top->ops->commit(o->top);
	} while (o->submitted || o->todo.first);
}

static void part_reaped(struct disk *part)
{
	struct overlay *o = part->ctx;

	overlay_commit(&o->disk);
	if (o->disk.reaped)
		o->disk.reaped(&o->disk);
}

static void cancelled(struct disk_request *req, int ret)
{
	req->done(req, ret);
}

static void overlay_drain(struct disk *disk, bool all)
{
	struct overlay *o = overlay_of(disk);

	disk->held = true;
	for (struct child *c = o->all; c; c = c->next)
		if (c->parent && (all || c->parent->cancelled))
			c->parent->cancelled = c->req.cancelled = true;
	/* The base's part of a request may be followed by one of the top's, or the other way round. */
	do {
		disk_fifo_cancel(&o->todo, all, cancelled);
		o->base->ops->drain(o->base, all);
		o->top->ops->drain(o->top, all);
	} while (all && (o->todo.first || o->n_flying));
}

static int overlay_attach(struct disk *disk, struct loop *loop)
{
	struct overlay *o = overlay_of(disk);
	int err;

	disk->held = false;
	o->base->asked = o->top->asked = disk->asked;
	o->base->last = o->top->last = disk->last;
	err = o->base->ops->attach(o->base, loop);
	return err ? err : o->top->ops->attach(o->top, loop);
}

static void overlay_detach(struct disk *disk, struct loop *loop)
{
	struct overlay *o = overlay_of(disk);

	o->base->ops->detach(o->base, loop);
	o->top->ops->detach(o->top, loop);
}

static void overlay_leave(struct disk *disk)
{
	struct overlay *o = overlay_of(disk);

	disk_leave(o->base);
	disk_leave(o->top);
}

static void overlay_close(struct disk *disk)
{
	struct overlay *o = overlay_of(disk);

	assert(!o->n_flying && !o->todo.first);
	while (o->all) {
		struct child *c = o->all;

		o->all = c->next;
		free(c);
	}
	if (o->written)
		munmap(o->written, o->map_bytes);
	disk_close(o->base);
	disk_close(o->top);
	free(o);
}

static void overlay_source(struct disk *disk, struct disk_source *ret)
{
	struct overlay *o = overlay_of(disk);
	struct disk_source top;

	if (disk_source(o->top, &top) || disk_source(o->base, ret))
		return;
	ret->bytes = disk->size_bytes; /* of when it was opened: the map is no larger */
	ret->top_fd = top.fd;
	ret->written = o->written;
}

static const struct disk_ops overlay_ops = { overlay_attach, overlay_submit, overlay_commit,
					     overlay_drain,  overlay_detach, overlay_leave,
					     overlay_close,  overlay_source };

/* ---- opening ---- */

/* @ret_where: the user's folder, or "" */
static int open_unnamed(const char **ret_where)
{
	const char *folders[FILE_TEMP_FOLDERS];
	const unsigned n = file_temp_folders(folders);
	int fd = -1;

	*ret_where = n == 1 ? folders[0] : "";
	for (unsigned i = 0; fd < 0 && i < n; i++)
		fd = open(folders[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 && n > 1 ? memfd_create("ephemeral", MFD_CLOEXEC) : fd;
}

static int make_map(struct overlay *o)
{
	uint64_t sectors = o->disk.size_bytes / DISK_SECTOR_BYTES;
	void *map;

	o->map_bytes = (sectors / 64 + 1) * sizeof(uint64_t);
	map = mmap(NULL, o->map_bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return log_err(-errno, "disk '%s': map of written sectors", o->disk.name);
	o->written = map;
	return 0;
}

static int make_top(struct overlay *o)
{
	const char *where;
	int fd = open_unnamed(&where);
	int err;

	if (fd < 0 || ftruncate(fd, (off_t)o->disk.size_bytes)) {
		err = -errno;
		if (fd >= 0)
			close(fd);
		return log_err(err, "disk '%s': temporary file%s%s%s", o->disk.name,
			       *where ? " in TMPDIR '" : "", where, *where ? "'" : "");
	}
	return raw_open_fd(fd, o->disk.name, &o->top);
}

int overlay_open(struct disk *base, struct disk **ret)
{
	struct overlay *o = calloc(1, sizeof(*o));
	int err;

	if (!o) {
		err = log_err(-ENOMEM, "disk '%s'", base->name);
		disk_close(base);
		return err;
	}
	o->base = base;
	o->disk = (struct disk){ .ops = &overlay_ops,
				 .name = base->name,
				 .size_bytes = base->size_bytes,
				 .block_bytes = base->block_bytes,
				 .physical_bytes = base->physical_bytes,
				 .can_discard = true };
	disk_fifo_init(&o->todo);
	err = make_map(o);
	if (!err)
		err = make_top(o);
	if (err) {
		overlay_close(&o->disk);
		return err;
	}
	base->reaped = o->top->reaped = part_reaped;
	base->ctx = o->top->ctx = o;
	*ret = &o->disk;
	return 0;
}
