/*
 * 9P: extended attributes. One is read and written as a file: a fid is made that has its value, or
 * will have it and sets it when it is clunked. 9P has no request to remove one: Linux sets it to
 * nothing, if it is there, so that this is what that means.
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "p9-internal.h"

/* Without a name: the list of all */
static ssize_t look(struct p9_call *c, void *ret, size_t cap)
{
	if (*c->s[0])
		return tree_getxattr(c->tree, c->node, c->s[0], ret, cap);
	return tree_listxattr(c->tree, c->node, ret, cap);
}

int p9_xattrwalk(struct p9_call *c)
{
	const ssize_t len = look(c, c->w->out, FILE_OUT_MAX);
	struct p9_fid *fid;

	if (len < 0)
		return (int)len;
	fid = fid_again(c->p9, c->fid);
	if (!fid)
		return -ENOMEM;
	fid->xattr = xattr_new(c->p9, (size_t)len);
	if (!fid->xattr) {
		fid_free(c->p9, fid);
		return -ENFILE;
	}
	memcpy(fid->xattr->value, c->w->out, (size_t)len);
	put_int(c, (uint64_t)len, 8);
	return fid_add(c->p9, fid, (uint32_t)c->n[0]);
}

int p9_xattrcreate(struct p9_call *c)
{
	struct p9_fid *fid;

	if (tree_is_read_only(c->tree))
		return -EROFS;
	if (c->n[0] > P9_XATTR_MAX)
		return -E2BIG;
	if (strlen(c->s[0]) > XATTR_NAME_MAX)
		return -ERANGE;
	if (c->n[1] & ~(uint64_t)(XATTR_CREATE | XATTR_REPLACE) || c->fid->fd >= 0 || c->fid->xattr)
		return -EINVAL;
	fid = fid_again(c->p9, c->fid);
	if (!fid)
		return -ENOMEM;
	fid->xattr = xattr_new(c->p9, (size_t)c->n[0]);
	if (fid->xattr)
		fid->xattr->name = strdup(c->s[0]);
	if (!fid->xattr || !fid->xattr->name) {
		fid_free(c->p9, fid);
		return -ENFILE;
	}
	fid->xattr->flags = (int)c->n[1];
	return fid_replace(c->p9, c->fid, fid);
}

int xattr_read(struct p9_call *c)
{
	const struct p9_xattr *x = c->fid->xattr;
	uint64_t left = c->n[0] < x->bytes ? x->bytes - c->n[0] : 0;

	if (x->name)
		return -EBADF;
	left = left < c->n[1] ? left : c->n[1];
	left = left < c->room - 4 ? left : c->room - 4;
	put_int(c, left, 4);
	if (left)
		put_bytes(c, x->value + c->n[0], (size_t)left);
	return 0;
}

/* In order, as a stream. */
int xattr_write(struct p9_call *c)
{
	struct p9_xattr *x = c->fid->xattr;
	uint32_t len = (uint32_t)c->n[1];
	int err = 0;

	if (!x->name)
		return -EBADF;
	if (len > P9_XATTR_MAX || len > c->data_bytes)
		return -EINVAL;
	iov_read(c->req->out, c->req->n_out, P9_HEADER + 16, c->w->out, len);
	pthread_mutex_lock(&c->p9->lock);
	if (c->n[0] != x->written || len > x->bytes - x->written) {
		err = -EINVAL;
	} else {
		memcpy(x->value + x->written, c->w->out, len);
		x->written += len;
	}
	pthread_mutex_unlock(&c->p9->lock);
	if (!err)
		put_int(c, len, 4);
	return err;
}

int xattr_apply(struct p9 *p9, const struct p9_fid *fid)
{
	const struct p9_xattr *x = fid->xattr;
	struct node *n;
	int err;

	if (!x || !x->name)
		return 0;
	if (x->written != x->bytes)
		return -EINVAL;
	err = node_get(p9->tree, fid->node, &n);
	if (err)
		return err;
	if (!x->bytes && x->flags == XATTR_REPLACE)
		err = tree_removexattr(p9->tree, n, x->name);
	else
		err = tree_setxattr(p9->tree, n, x->name, x->value, x->bytes, x->flags);
	node_put(p9->tree, n);
	return err;
}
