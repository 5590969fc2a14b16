/* 9P: names in folders, and fids of them. */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "p9-internal.h"

#define NO_UID UINT32_MAX /* it does not say who it is */

/* Who mounts without saying as whom is the guest's root. */
int p9_attach(struct p9_call *c)
{
	const uint32_t uid = c->n[2] == NO_UID ? 0 : (uint32_t)c->n[2];
	struct p9_fid *fid;
	struct node *root;
	struct statx st;
	int err;

	if (c->n[1] != P9_NOFID)
		return -EINVAL;
	if (*c->s[1] && strcmp(c->s[1], "/") != 0)
		return -ENOENT;
	err = node_get(c->tree, TREE_ROOT, &root);
	if (err)
		return err;
	err = tree_stat(c->tree, root, &st);
	node_put(c->tree, root);
	if (err)
		return err;
	fid = fid_new(c->p9, uid, TREE_ROOT);
	if (!fid)
		return -ENOMEM;
	put_qid(c, &st);
	return fid_add(c->p9, fid, (uint32_t)c->n[0]);
}

/* A step of a walk. */
static int step(struct p9_call *c, uint64_t from, const char *name, struct tree_entry *ret)
{
	struct node *n;
	int err = node_get(c->tree, from, &n);

	if (err)
		return err;
	err = tree_lookup(c->tree, n, name, ret);
	node_put(c->tree, n);
	return err;
}

/* All names, or up to the first that is not there: @node is then the last, looked up, and @dir its folder. */
static unsigned steps(struct p9_call *c, uint64_t *dir, uint64_t *node, int *ret_err)
{
	struct tree_entry e;
	unsigned i;

	*ret_err = 0;
	for (i = 0; i < c->n_names; i++) {
		*ret_err = step(c, *node, c->s[i], &e);
		if (*ret_err)
			break;
		if (i > 1)
			tree_forget(c->tree, *dir, 1);
		*dir = *node;
		*node = e.id;
		put_qid(c, &e.st);
	}
	return i;
}

static int walk_to(struct p9_call *c, struct p9_fid *fid)
{
	if (!fid)
		return -ENOMEM;
	/* A fid may walk away from where it is. */
	if (c->n[0] == c->fid->number)
		return fid_replace(c->p9, c->fid, fid);
	return fid_add(c->p9, fid, (uint32_t)c->n[0]);
}

/* Only a walk of all names makes a fid. */
int p9_walk(struct p9_call *c)
{
	uint64_t node = c->fid->node, dir = 0;
	struct p9_fid *fid = NULL;
	unsigned did;
	int err;

	if (c->room < 2 + c->n_names * PUT_QID_BYTES)
		return -EMSGSIZE;
	put_int(c, c->n_names, 2);
	if (!c->n_names)
		return walk_to(c, fid_again(c->p9, c->fid));
	did = steps(c, &dir, &node, &err);
	if (!did)
		return err;
	c->w->out[0] = (uint8_t)did;
	if (did == c->n_names) {
		fid = fid_new(c->p9, c->fid->uid, node);
		if (fid && fid_named(c->p9, fid, dir, c->s[did - 1])) {
			fid_free(c->p9, fid);
			fid = NULL;
		}
		err = walk_to(c, fid);
	} else {
		tree_forget(c->tree, node, 1);
		err = 0;
	}
	if (did > 1)
		tree_forget(c->tree, dir, 1);
	return err;
}

/* Made, and not looked up by the guest. */
static int reply_made(struct p9_call *c, int err, const struct tree_entry *e)
{
	if (err)
		return err;
	put_qid(c, &e->st);
	tree_forget(c->tree, e->id, 1);
	return 0;
}

int p9_mkdir(struct p9_call *c)
{
	struct tree_ids ids = p9_ids(c, c->n[1]);
	struct tree_entry e;
	int err = tree_mkdir(c->tree, c->node, c->s[0], (mode_t)c->n[0], &ids, &e);

	return reply_made(c, err, &e);
}

int p9_mknod(struct p9_call *c)
{
	struct tree_ids ids = p9_ids(c, c->n[3]);
	dev_t dev = makedev((unsigned)c->n[1], (unsigned)c->n[2]);
	struct tree_entry e;
	int err = tree_mknod(c->tree, c->node, c->s[0], (mode_t)c->n[0], dev, &ids, &e);

	return reply_made(c, err, &e);
}

int p9_symlink(struct p9_call *c)
{
	struct tree_ids ids = p9_ids(c, c->n[0]);
	struct tree_entry e;
	int err = tree_symlink(c->tree, c->node, c->s[0], c->s[1], &ids, &e);

	return reply_made(c, err, &e);
}

int p9_link(struct p9_call *c)
{
	struct tree_entry e;
	int err = tree_link(c->tree, c->node2, c->node, c->s[0], &e);

	if (!err)
		tree_forget(c->tree, e.id, 1);
	return err;
}

int p9_renameat(struct p9_call *c)
{
	return tree_rename(c->tree, c->node, c->s[0], c->node2, c->s[1], 0);
}

int p9_unlinkat(struct p9_call *c)
{
	return tree_unlink(c->tree, c->node, c->s[0], (int)c->n[0]);
}

/* ---- by the fid of the file itself: Linux does so only where there is nothing better ---- */

/* The folder of a fid, in use, if the file is still there by its name. */
static int folder_of(struct p9 *p9, const struct p9_fid *fid, struct node **ret)
{
	struct tree_entry e;
	int err = fid->dir ? node_get(p9->tree, fid->dir, ret) : -EBUSY;

	if (err)
		return err;
	err = tree_lookup(p9->tree, *ret, fid->name, &e);
	if (!err) {
		tree_forget(p9->tree, e.id, 1);
		err = e.id == fid->node ? 0 : -ENOENT;
	}
	if (err)
		node_put(p9->tree, *ret);
	return err;
}

int p9_rename(struct p9_call *c)
{
	struct node *dir;
	int err = folder_of(c->p9, c->fid, &dir);

	if (err)
		return err;
	err = tree_rename(c->tree, dir, c->fid->name, c->node2, c->s[0], 0);
	node_put(c->tree, dir);
	return err;
}

static int remove_file(struct p9_call *c, const struct p9_fid *fid)
{
	struct node *dir, *n;
	int err = node_get(c->tree, fid->node, &n);
	bool is_dir;

	if (err)
		return err;
	is_dir = node_type(n) == S_IFDIR;
	node_put(c->tree, n);
	err = folder_of(c->p9, fid, &dir);
	if (err)
		return err;
	err = tree_unlink(c->tree, dir, fid->name, is_dir ? AT_REMOVEDIR : 0);
	node_put(c->tree, dir);
	return err;
}

/* The fid is gone in any case. */
int p9_remove(struct p9_call *c)
{
	struct p9_fid *fid = fid_remove(c->p9, (uint32_t)c->n[0]);
	int err;

	if (!fid)
		return -EBADF;
	err = remove_file(c, fid);
	fid_put(c->p9, fid);
	return err;
}
