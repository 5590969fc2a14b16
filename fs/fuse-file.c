/*
 * FUSE: open files. Data goes from and to the guest's buffers directly.
 *
 * O_APPEND is not the host's flag: it would also move what the guest's page cache writes back. A
 * write that is one of the program's own says so each time.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuse-internal.h"

#define MOST_COPY (16U << 20) /* at a time, so that no request takes for ever */

/* The flags with which the guest is told of an open file. @st: of it, NULL: not known yet */
static uint32_t cache_flags(struct call *c, struct node *n, const struct statx *st)
{
	struct statx now;

	if (c->fuse->cache == FS_CACHE_NONE)
		return FOPEN_DIRECT_IO;
	if (c->fuse->keep)
		return node_first_seen(c->tree, n) ? 0 : FOPEN_KEEP_CACHE;
	if (!st && !tree_stat(c->tree, n, &now))
		st = &now;
	return st && node_seen(c->tree, n, st) ? FOPEN_KEEP_CACHE : 0;
}

static int reply_open(struct call *c, struct node *n, int fd, uint32_t flags, const struct statx *st,
		      struct fuse_open_out *out)
{
	*out = (struct fuse_open_out){ .open_flags = cache_flags(c, n, st) };
	return handle_new(c->fuse, n, fd, (flags & O_ACCMODE) != O_RDONLY, &out->fh);
}

int op_open(struct call *c)
{
	const struct fuse_open_in *arg = c->arg;
	bool was = false;
	int err, fd;

	if (node_type(c->node) == S_IFDIR)
		return -EISDIR;
	err = tree_fd_take(c->tree);
	if (err)
		return err;
	if (arg->open_flags & FUSE_OPEN_KILL_SUIDGID)
		was = ids_plain_begin();
	fd = tree_open_node(c->tree, c->node, (int)arg->flags);
	ids_plain_end(was);
	if (fd < 0) {
		tree_fd_give(c->tree);
		return fd;
	}
	err = reply_open(c, c->node, fd, arg->flags, NULL, c->out);
	return err ? err : (int)sizeof(struct fuse_open_out);
}

/* Made, or opened; with a number of its own and an open file. */
static int reply_create(struct call *c, int fd, uint32_t flags, const struct tree_entry *e)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} *out = c->out;
	struct node *n;
	int err;

	if (fd < 0) {
		tree_fd_give(c->tree);
		return fd;
	}
	err = node_get(c->tree, e->id, &n);
	if (err) {
		close(fd);
		tree_fd_give(c->tree);
	} else {
		err = reply_open(c, n, fd, flags, &e->st, &out->open);
		node_put(c->tree, n);
	}
	if (err) {
		tree_forget(c->tree, e->id, 1);
		return err;
	}
	fuse_fill_entry(c->fuse, &out->entry, e);
	return sizeof(*out);
}

static int create(struct call *c, bool named)
{
	const struct fuse_create_in *arg = c->arg;
	struct tree_ids ids = fuse_ids(c, arg->umask);
	int flags = (int)arg->flags, fd = tree_fd_take(c->tree);
	struct tree_entry e;

	if (fd)
		return fd;
	ids.plain = arg->open_flags & FUSE_OPEN_KILL_SUIDGID;
	fd = named ? tree_create(c->tree, c->node, c->name[0], flags, arg->mode, &ids, &e) :
		     tree_tmpfile(c->tree, c->node, flags, arg->mode, &ids, &e);
	return reply_create(c, fd, arg->flags, &e);
}

int op_create(struct call *c)
{
	return create(c, true);
}

int op_tmpfile(struct call *c)
{
	return create(c, false);
}

/* ---- data ---- */

int op_read(struct call *c)
{
	const struct fuse_read_in *arg = c->arg;
	struct fuse_handle *h;
	uint64_t size = arg->size;
	ssize_t got = 0;
	unsigned n;
	int err;

	if (size > c->wide_room || size > FUSE_MAX_IO || arg->offset > (uint64_t)INT64_MAX - size)
		return -EINVAL;
	err = handle_get(c->fuse, arg->fh, c->node, &h);
	if (err)
		return err;
	n = iov_part(c->req->in, c->req->n_in, sizeof(struct fuse_out_header), size, c->w->iov);
	got = preadv(h->fd, c->w->iov, (int)n, (off_t)arg->offset);
	if (got < 0)
		got = -errno;
	handle_put(c->fuse, h);
	return got < 0 ? (int)got : IN_PLACE + (int)got;
}

/* More than one call only where the host takes less than all. */
static ssize_t write_all(struct call *c, int fd, const struct fuse_write_in *arg)
{
	const uint64_t data = sizeof(struct fuse_in_header) + sizeof(*arg);
	bool append = arg->flags & O_APPEND && !(arg->write_flags & FUSE_WRITE_CACHE);
	uint32_t done = 0;

	do {
		unsigned n = iov_part(c->req->out, c->req->n_out, data + done, arg->size - done,
				      c->w->iov);
		ssize_t got = pwritev2(fd, c->w->iov, (int)n, (off_t)(arg->offset + done),
				       append ? RWF_APPEND : 0);

		if (got < 0)
			return done ? (ssize_t)done : -errno;
		if (!got)
			break;
		done += (uint32_t)got;
	} while (done < arg->size);
	return done;
}

int op_write(struct call *c)
{
	const struct fuse_write_in *arg = c->arg;
	struct fuse_write_out *out = c->out;
	struct fuse_handle *h;
	bool was = false;
	ssize_t got;
	int err;

	if (arg->size > c->data_bytes || arg->size > FUSE_MAX_IO ||
	    arg->offset > (uint64_t)INT64_MAX - arg->size)
		return -EINVAL;
	err = handle_get(c->fuse, arg->fh, c->node, &h);
	if (err)
		return err;
	if (arg->write_flags & FUSE_WRITE_KILL_SUIDGID)
		was = ids_plain_begin();
	got = write_all(c, h->fd, arg);
	ids_plain_end(was);
	handle_put(c->fuse, h);
	if (got < 0)
		return (int)got;
	fuse_has_size(c->fuse, c->in.nodeid, arg->offset + (uint64_t)got);
	*out = (struct fuse_write_out){ .size = (uint32_t)got };
	return sizeof(*out);
}

/* One of those who have it open closes it. */
int op_flush(struct call *c)
{
	const struct fuse_flush_in *arg = c->arg;
	struct fuse_handle *h;
	int err = handle_get(c->fuse, arg->fh, c->node, &h), again = -1;

	if (err)
		return err;
	locks_drop(&c->fuse->locks, node_id(c->node), arg->lock_owner);
	/* Some filesystems say only then what became of the data. */
	if (h->may_write)
		again = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
	if (again >= 0 && close(again) < 0)
		err = -errno;
	handle_put(c->fuse, h);
	return err;
}

int op_release(struct call *c)
{
	const struct fuse_release_in *arg = c->arg;
	int err = handle_close(c->fuse, arg->fh, c->node);

	locks_retry(&c->fuse->locks, true); /* with the file its flock() is gone */
	return err;
}

int op_fsync(struct call *c)
{
	const struct fuse_fsync_in *arg = c->arg;
	struct fuse_handle *h;
	int err = handle_get(c->fuse, arg->fh, c->node, &h);

	if (err)
		return err;
	err = arg->fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	err = err < 0 ? -errno : 0;
	handle_put(c->fuse, h);
	return err;
}

/* Of these requests no flag says whether set-user-ID bits go: all but root's take them away. */
static bool plain_for_user(const struct call *c)
{
	return c->in.uid && ids_plain_begin();
}

int op_fallocate(struct call *c)
{
	const struct fuse_fallocate_in *arg = c->arg;
	struct fuse_handle *h;
	bool was;
	int err;

	if (arg->offset > INT64_MAX || arg->length > INT64_MAX || arg->mode > INT_MAX)
		return -EINVAL;
	err = handle_get(c->fuse, arg->fh, c->node, &h);
	if (err)
		return err;
	was = plain_for_user(c);
	err = fallocate(h->fd, (int)arg->mode, (off_t)arg->offset, (off_t)arg->length) < 0 ? -errno :
											     0;
	ids_plain_end(was);
	handle_put(c->fuse, h);
	if (!err)
		fuse_has_size(c->fuse, c->in.nodeid, arg->offset + arg->length);
	return err;
}

int op_lseek(struct call *c)
{
	const struct fuse_lseek_in *arg = c->arg;
	struct fuse_lseek_out *out = c->out;
	struct fuse_handle *h;
	off_t at;
	int err;

	/* A folder's position is its reader's. */
	if (node_type(c->node) != S_IFREG || (arg->whence != SEEK_DATA && arg->whence != SEEK_HOLE) ||
	    arg->offset > INT64_MAX)
		return -EINVAL;
	err = handle_get(c->fuse, arg->fh, c->node, &h);
	if (err)
		return err;
	at = lseek(h->fd, (off_t)arg->offset, (int)arg->whence);
	at = at < 0 ? -errno : at;
	handle_put(c->fuse, h);
	if (at < 0)
		return (int)at;
	*out = (struct fuse_lseek_out){ .offset = (uint64_t)at };
	return sizeof(*out);
}

static ssize_t copy_between(struct call *c, const struct fuse_copy_file_range_in *arg,
			    struct node *to_node)
{
	struct fuse_handle *from, *to = NULL;
	off_t in = (off_t)arg->off_in, out = (off_t)arg->off_out;
	size_t len = arg->len < MOST_COPY ? (size_t)arg->len : MOST_COPY;
	ssize_t got = handle_get(c->fuse, arg->fh_in, c->node, &from);

	if (!got)
		got = handle_get(c->fuse, arg->fh_out, to_node, &to);
	if (!got) {
		const bool was = plain_for_user(c);

		got = copy_file_range(from->fd, &in, to->fd, &out, len, 0);
		got = got < 0 ? -errno : got;
		ids_plain_end(was);
	}
	if (from)
		handle_put(c->fuse, from);
	if (to)
		handle_put(c->fuse, to);
	return got;
}

int op_copy(struct call *c)
{
	const struct fuse_copy_file_range_in *arg = c->arg;
	struct fuse_write_out *out = c->out;
	struct node *to;
	ssize_t got;
	int err;

	if (arg->flags || arg->off_in > INT64_MAX || arg->off_out > INT64_MAX)
		return -EINVAL;
	err = node_get(c->tree, arg->nodeid_out, &to);
	if (err)
		return err;
	got = copy_between(c, arg, to);
	node_put(c->tree, to);
	if (got < 0)
		return (int)got;
	fuse_has_size(c->fuse, arg->nodeid_out, arg->off_out + (uint64_t)got);
	*out = (struct fuse_write_out){ .size = (uint32_t)got };
	return sizeof(*out);
}
