/* What all operations of the FUSE server share: replies, attributes. */
#include <string.h>
#include <sys/sysmacros.h>

#include "fuse-internal.h"

void fuse_reply(struct file_request *req, uint64_t unique, int len, const void *body)
{
	struct fuse_out_header out = { .unique = unique, .len = sizeof(out) };

	if (iov_bytes(req->in, req->n_in) < sizeof(out)) {
		req->done(req, 0);
		return;
	}
	if (len < 0)
		out.error = len;
	else
		out.len += (uint32_t)len;
	iov_write(req->in, req->n_in, 0, &out, sizeof(out));
	if (len > 0 && body)
		iov_write(req->in, req->n_in, sizeof(out), body, (size_t)len);
	req->done(req, out.len);
}

struct tree_ids fuse_ids(const struct call *c, uint32_t umask)
{
	return (struct tree_ids){ .uid = c->in.uid, .gid = c->in.gid, .umask = umask };
}

static uint32_t attr_flags(const struct fuse *f, const struct statx *st, bool submount)
{
	if (S_ISREG(st->stx_mode))
		return atomic_load(&f->tell_dax) ? FUSE_ATTR_DAX : 0;
	return submount && !f->one_mount && S_ISDIR(st->stx_mode) ? FUSE_ATTR_SUBMOUNT : 0;
}

/* Linux's DAX fails to write back a file whose blocks are not pages, and with that to close it. */
static uint32_t block_bytes(const struct fuse *f, const struct statx *st)
{
	return S_ISREG(st->stx_mode) && atomic_load(&f->use_dax) ? 4096 : st->stx_blksize;
}

void fuse_fill_attr(const struct fuse *f, struct fuse_attr *ret, const struct statx *st, bool submount)
{
	*ret = (struct fuse_attr){
		.ino = f->one_mount ? file_number(st, f->root_dev) : st->stx_ino,
		.size = st->stx_size,
		.blocks = st->stx_blocks,
		.atime = (uint64_t)st->stx_atime.tv_sec,
		.mtime = (uint64_t)st->stx_mtime.tv_sec,
		.ctime = (uint64_t)st->stx_ctime.tv_sec,
		.atimensec = st->stx_atime.tv_nsec,
		.mtimensec = st->stx_mtime.tv_nsec,
		.ctimensec = st->stx_ctime.tv_nsec,
		.mode = st->stx_mode,
		.nlink = st->stx_nlink,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.rdev = file_dev(st->stx_rdev_major, st->stx_rdev_minor),
		.blksize = block_bytes(f, st),
		.flags = attr_flags(f, st, submount),
	};
}

void fuse_fill_entry(struct fuse *f, struct fuse_entry_out *ret, const struct tree_entry *e)
{
	*ret = (struct fuse_entry_out){
		.nodeid = e->id,
		.entry_valid = f->valid_s,
		.attr_valid = f->valid_s,
	};
	fuse_fill_attr(f, &ret->attr, &e->st, e->submount);
	fuse_has_size(f, e->id, e->st.stx_size);
}
