/*
 * 9P: open files and folders. Data goes from and to the guest's buffers directly.
 *
 * O_APPEND is the guest's affair, which says for each write where it goes: it would also move what
 * newer guests write back from their page cache by such a fid.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "p9-internal.h"

#define DATA_OFFSET 11 /* of Rread's */
#define WRITE_FIXED 23 /* Twrite's, before the data */

static bool may_write(uint64_t flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

/* @fid, open now, in place of the request's; @fd was counted. */
static int reply_open(struct p9_call *c, struct p9_fid *fid, int fd, struct node *n, const struct statx *st)
{
	if (!fid) {
		close(fd);
		tree_fd_give(c->tree);
		return -ENOMEM;
	}
	fid_opened(c->p9, fid, fd, n, may_write(c->n[0]));
	put_qid(c, st);
	put_int(c, 0, 4); /* as much at a time as there is room for */
	return fid_replace(c->p9, c->fid, fid);
}

int p9_lopen(struct p9_call *c)
{
	struct statx st;
	bool was = false;
	int err, fd;

	if (c->fid->fd >= 0 || c->fid->xattr)
		return -EINVAL;
	err = tree_fd_take(c->tree);
	if (err)
		return err;
	if (c->fid->uid)
		was = ids_plain_begin();
	fd = tree_open_node(c->tree, c->node, (int)c->n[0]);
	ids_plain_end(was);
	err = fd < 0 ? fd : tree_stat(c->tree, c->node, &st);
	if (!err)
		return reply_open(c, fid_again(c->p9, c->fid), fd, c->node, &st);
	if (fd >= 0)
		close(fd);
	tree_fd_give(c->tree);
	return err;
}

/* The fid was the folder and is the file. */
int p9_lcreate(struct p9_call *c)
{
	struct tree_ids ids = p9_ids(c, c->n[2]);
	struct tree_entry e;
	struct p9_fid *fid;
	struct node *n;
	int err, fd;

	if (c->fid->fd >= 0 || c->fid->xattr)
		return -EINVAL;
	err = tree_fd_take(c->tree);
	if (err)
		return err;
	fd = tree_create(c->tree, c->node, c->s[0], (int)c->n[0], (mode_t)c->n[1], &ids, &e);
	if (fd < 0) {
		tree_fd_give(c->tree);
		return fd;
	}
	fid = fid_new(c->p9, c->fid->uid, e.id);
	err = fid ? fid_named(c->p9, fid, c->fid->node, c->s[0]) : -ENOMEM;
	if (!err)
		err = node_get(c->tree, e.id, &n);
	if (!err) {
		err = reply_open(c, fid, fd, n, &e.st);
		node_put(c->tree, n);
		return err;
	}
	close(fd);
	tree_fd_give(c->tree);
	if (fid)
		fid_free(c->p9, fid);
	return err;
}

int p9_clunk(struct p9_call *c)
{
	struct p9_fid *fid = fid_remove(c->p9, (uint32_t)c->n[0]);
	int err;

	if (!fid)
		return -EBADF;
	err = xattr_apply(c->p9, fid);
	fid_put(c->p9, fid);
	return err;
}

/* ---- data ---- */

int p9_read(struct p9_call *c)
{
	const uint64_t most = c->n[1] < c->wide_room - 4 ? c->n[1] : c->wide_room - 4;
	ssize_t got;
	unsigned n;
	int err;

	if (c->fid->xattr)
		return xattr_read(c);
	err = fid_judge_open(c->fid);
	if (err)
		return err;
	if (c->n[0] > INT64_MAX - most)
		return -EINVAL;
	n = iov_part(c->req->in, c->req->n_in, DATA_OFFSET, most, c->w->iov);
	got = preadv(c->fid->fd, c->w->iov, (int)n, (off_t)c->n[0]);
	if (got < 0)
		return -errno;
	put_int(c, (uint64_t)got, 4);
	c->in_place = (uint32_t)got;
	return 0;
}

int p9_write(struct p9_call *c)
{
	bool was = false;
	ssize_t got;
	unsigned n;
	int err;

	if (c->fid->xattr)
		return xattr_write(c);
	err = fid_judge_open(c->fid);
	if (err)
		return err;
	if (c->n[1] > c->data_bytes || c->n[1] > P9_MSIZE_MAX || c->n[0] > INT64_MAX - c->n[1])
		return -EINVAL;
	n = iov_part(c->req->out, c->req->n_out, WRITE_FIXED, c->n[1], c->w->iov);
	if (c->fid->uid)
		was = ids_plain_begin();
	got = pwritev(c->fid->fd, c->w->iov, (int)n, (off_t)c->n[0]);
	got = got < 0 ? -errno : got;
	ids_plain_end(was);
	if (got < 0)
		return (int)got;
	put_int(c, (uint64_t)got, 4);
	return 0;
}

int p9_fsync(struct p9_call *c)
{
	const int err = fid_judge_open(c->fid);

	if (err)
		return err;
	return (c->n[0] ? fdatasync(c->fid->fd) : fsync(c->fid->fd)) < 0 ? -errno : 0;
}

/* ---- folders ---- */

static void put_entry(struct p9_call *c, const struct statx *dir, const struct dir_entry *e)
{
	/* What the root lies in is nobody's business. */
	bool above = node_id(c->node) == TREE_ROOT && !strcmp(e->name, "..");
	struct statx st = *dir;

	/* Of the entry the number and the type are known, and it is most likely on the folder's device. */
	st.stx_mode = (uint16_t)(e->type << 12);
	st.stx_btime = (struct statx_timestamp){ 0 };
	if (!above)
		st.stx_ino = e->ino;
	put_qid(c, &st);
	put_int(c, (uint64_t)e->off, 8);
	put_int(c, e->type, 1);
	put_int(c, strlen(e->name), 2);
	put_bytes(c, e->name, strlen(e->name));
}

static int put_entries(struct p9_call *c, const struct statx *dir, uint32_t most)
{
	struct dir_reader *d = &c->fid->reader;
	const struct dir_entry *e;
	int err;

	while ((e = dir_peek(d, c->fid->fd, &err))) {
		if (PUT_QID_BYTES + 8 + 1 + 2 + strlen(e->name) > most - c->out_bytes)
			break;
		put_entry(c, dir, e);
		dir_take(d, e);
	}
	if (c->out_bytes > 4)
		return 0;
	return e ? -EINVAL : err; /* not even one has room, or the end */
}

int p9_readdir(struct p9_call *c)
{
	const uint32_t most = c->n[1] < c->room - 4 ? (uint32_t)c->n[1] + 4 : c->room;
	struct statx st;
	uint32_t count;
	int err = fid_judge_open(c->fid);

	if (!err)
		err = tree_stat(c->tree, c->node, &st);
	if (err)
		return err;
	put_int(c, 0, 4);
	pthread_mutex_lock(&c->fid->reader.lock);
	err = dir_seek(&c->fid->reader, c->fid->fd, c->n[0]);
	if (!err)
		err = put_entries(c, &st, most);
	pthread_mutex_unlock(&c->fid->reader.lock);
	count = c->out_bytes - 4;
	c->out_bytes = 0;
	put_int(c, count, 4);
	c->out_bytes += count;
	return err;
}
