/* FUSE: names in folders. */
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include "fuse-internal.h"

static int reply_entry(struct call *c, int err, const struct tree_entry *e)
{
	if (err)
		return err;
	fuse_fill_entry(c->fuse, c->out, e);
	return sizeof(struct fuse_entry_out);
}

/* What is not there stays so, too, as long as all else. */
int op_lookup(struct call *c)
{
	struct tree_entry e;
	int err = tree_lookup(c->tree, c->node, c->name[0], &e);

	if (err != -ENOENT || !c->fuse->keep)
		return reply_entry(c, err, &e);
	*(struct fuse_entry_out *)c->out = (struct fuse_entry_out){ .entry_valid = c->fuse->valid_s };
	return sizeof(struct fuse_entry_out);
}

int op_symlink(struct call *c)
{
	struct tree_ids ids = fuse_ids(c, 0);
	struct tree_entry e;

	return reply_entry(c, tree_symlink(c->tree, c->node, c->name[0], c->name[1], &ids, &e), &e);
}

int op_mknod(struct call *c)
{
	const struct fuse_mknod_in *arg = c->arg;
	struct tree_ids ids = fuse_ids(c, arg->umask);
	dev_t dev = makedev(arg->rdev >> 8 & 0xfff, (arg->rdev & 0xff) | (arg->rdev >> 12 & 0xfff00));
	struct tree_entry e;

	return reply_entry(c, tree_mknod(c->tree, c->node, c->name[0], arg->mode, dev, &ids, &e), &e);
}

int op_mkdir(struct call *c)
{
	const struct fuse_mkdir_in *arg = c->arg;
	struct tree_ids ids = fuse_ids(c, arg->umask);
	struct tree_entry e;

	return reply_entry(c, tree_mkdir(c->tree, c->node, c->name[0], arg->mode, &ids, &e), &e);
}

int op_unlink(struct call *c)
{
	return tree_unlink(c->tree, c->node, c->name[0], 0);
}

int op_rmdir(struct call *c)
{
	return tree_unlink(c->tree, c->node, c->name[0], AT_REMOVEDIR);
}

static int rename_to(struct call *c, uint64_t newdir, unsigned flags)
{
	struct node *to;
	int err = node_get(c->tree, newdir, &to);

	if (err)
		return err;
	err = tree_rename(c->tree, c->node, c->name[0], to, c->name[1], flags);
	node_put(c->tree, to);
	return err;
}

int op_rename(struct call *c)
{
	const struct fuse_rename_in *arg = c->arg;

	return rename_to(c, arg->newdir, 0);
}

int op_rename2(struct call *c)
{
	const struct fuse_rename2_in *arg = c->arg;

	return rename_to(c, arg->newdir, arg->flags);
}

int op_link(struct call *c)
{
	const struct fuse_link_in *arg = c->arg;
	struct tree_entry e;
	struct node *n;
	int err = node_get(c->tree, arg->oldnodeid, &n);

	if (err)
		return err;
	err = tree_link(c->tree, n, c->node, c->name[0], &e);
	node_put(c->tree, n);
	return reply_entry(c, err, &e);
}
