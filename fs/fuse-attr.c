/* FUSE: attributes of files and filesystems, extended ones, symbolic links. */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fuse-internal.h"

static int reply_attr(struct call *c, int err, const struct statx *st)
{
	struct fuse_attr_out *out = c->out;

	if (err)
		return err;
	*out = (struct fuse_attr_out){ .attr_valid = c->fuse->valid_s };
	fuse_fill_attr(c->fuse, &out->attr, st, false);
	fuse_has_size(c->fuse, c->in.nodeid, st->stx_size);
	return sizeof(*out);
}

int op_getattr(struct call *c)
{
	struct statx st;

	return reply_attr(c, tree_stat_id(c->tree, c->in.nodeid, &st), &st);
}

static struct timespec which_time(uint32_t valid, uint32_t set, uint32_t now, uint64_t sec, uint32_t nsec)
{
	if (valid & now)
		return (struct timespec){ 0, UTIME_NOW };
	if (valid & set)
		return (struct timespec){ (time_t)sec, nsec };
	return (struct timespec){ 0, UTIME_OMIT };
}

int op_setattr(struct call *c)
{
	const struct fuse_setattr_in *arg = c->arg;
	const uint32_t valid = arg->valid;
	struct fuse_handle *h = NULL;
	struct file_change change = {
		.has_mode = valid & FATTR_MODE,
		.mode = arg->mode,
		.uid = valid & FATTR_UID ? arg->uid : UINT32_MAX,
		.gid = valid & FATTR_GID ? arg->gid : UINT32_MAX,
		.has_size = valid & FATTR_SIZE,
		.size = arg->size,
		.fd = -1,
		.plain = valid & FATTR_KILL_SUIDGID,
		.times = { which_time(valid, FATTR_ATIME, FATTR_ATIME_NOW, arg->atime, arg->atimensec),
			   which_time(valid, FATTR_MTIME, FATTR_MTIME_NOW, arg->mtime, arg->mtimensec) },
	};
	struct statx st;
	int err;

	if ((valid & FATTR_SIZE) && (valid & FATTR_FH)) {
		err = handle_get(c->fuse, arg->fh, c->node, &h);
		if (err)
			return err;
		change.fd = h->fd;
	}
	err = file_change(c->tree, c->node, &change);
	if (h)
		handle_put(c->fuse, h);
	if (!err)
		err = tree_stat(c->tree, c->node, &st);
	return reply_attr(c, err, &st);
}

int op_readlink(struct call *c)
{
	size_t cap = c->room < PATH_MAX ? c->room : PATH_MAX;

	return tree_readlink(c->tree, c->node, c->out, cap);
}

int op_statfs(struct call *c)
{
	struct fuse_statfs_out *out = c->out;
	struct statfs st;
	int err = tree_statfs(c->tree, c->node, &st);

	if (err)
		return err;
	*out = (struct fuse_statfs_out){ .st = {
		.blocks = st.f_blocks,
		.bfree = st.f_bfree,
		.bavail = st.f_bavail,
		.files = st.f_files,
		.ffree = st.f_ffree,
		.bsize = (uint32_t)st.f_bsize,
		.namelen = (uint32_t)st.f_namelen,
		.frsize = (uint32_t)st.f_frsize,
	} };
	return sizeof(*out);
}

int op_syncfs(struct call *c)
{
	return tree_syncfs(c->tree, c->node);
}

/* ---- extended attributes ---- */

/* Without SETXATTR_EXT its two last fields are not sent. */
int op_setxattr(struct call *c)
{
	const struct fuse_setxattr_in *arg = c->arg;

	if (arg->size != c->rest_bytes)
		return -EINVAL;
	if (arg->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	return tree_setxattr(c->tree, c->node, c->name[0], c->rest, arg->size, (int)arg->flags);
}

/* @size 0 asks how much it would be. */
static int reply_xattr(struct call *c, uint32_t size, ssize_t len)
{
	struct fuse_getxattr_out *out = c->out;

	if (len < 0 || size)
		return (int)len;
	if (c->room < sizeof(*out))
		return -EINVAL;
	*out = (struct fuse_getxattr_out){ .size = (uint32_t)len };
	return sizeof(*out);
}

static size_t xattr_cap(const struct call *c, uint32_t size)
{
	return size < c->room ? size : c->room;
}

int op_getxattr(struct call *c)
{
	const struct fuse_getxattr_in *arg = c->arg;

	return reply_xattr(c, arg->size, tree_getxattr(c->tree, c->node, c->name[0],
						       arg->size ? c->out : NULL,
						       xattr_cap(c, arg->size)));
}

int op_listxattr(struct call *c)
{
	const struct fuse_getxattr_in *arg = c->arg;

	return reply_xattr(c, arg->size, tree_listxattr(c->tree, c->node,
							arg->size ? c->out : NULL,
							xattr_cap(c, arg->size)));
}

int op_removexattr(struct call *c)
{
	return tree_removexattr(c->tree, c->node, c->name[0]);
}
