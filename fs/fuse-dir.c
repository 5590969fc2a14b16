/*
 * FUSE: reading folders. The guest's offsets are the host's own (d_off), so they are as stable as
 * those, however many files come and go between two requests.
 */
#include <errno.h>
#include <string.h>

#include "fuse-internal.h"

int op_opendir(struct call *c)
{
	struct fuse_open_out *out = c->out;
	int err = tree_fd_take(c->tree), fd;

	if (err)
		return err;
	fd = node_type(c->node) == S_IFDIR ? tree_open_node(c->tree, c->node, 0) : -ENOTDIR;
	if (fd < 0) {
		tree_fd_give(c->tree);
		return fd;
	}
	*out = (struct fuse_open_out){ .open_flags = c->fuse->keep ? FOPEN_CACHE_DIR : 0 };
	if (c->fuse->keep && !node_first_seen(c->tree, c->node))
		out->open_flags |= FOPEN_KEEP_CACHE;
	err = handle_new(c->fuse, c->node, fd, false, &out->fh);
	return err ? err : (int)sizeof(*out);
}

static void put_dirent(const struct call *c, struct fuse_dirent *to, const struct dir_entry *e,
		       size_t len)
{
	/* What the root lies in is nobody's business. */
	bool above = node_id(c->node) == TREE_ROOT && !strcmp(e->name, "..");

	to->ino = above ? TREE_ROOT : e->ino;
	to->off = (uint64_t)e->off;
	to->namelen = (uint32_t)len;
	to->type = e->type;
	memcpy(to->name, e->name, len);
}

/* An entry, looked up as well. One that is gone meanwhile is still named: the guest looks itself. */
static void put_plus(struct call *c, struct fuse_direntplus *to, const struct dir_entry *e,
		     size_t len)
{
	struct tree_entry found;

	put_dirent(c, &to->dirent, e, len);
	if (!dir_is_dots(e->name) && !tree_lookup(c->tree, c->node, e->name, &found))
		fuse_fill_entry(c->fuse, &to->entry_out, &found);
}

static int read_entries(struct call *c, struct fuse_handle *h, size_t room, bool plus)
{
	const size_t fixed = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
	const struct dir_entry *e;
	uint8_t *out = c->out;
	size_t done = 0;
	int err;

	while ((e = dir_peek(&h->dir, h->fd, &err))) {
		size_t len = strlen(e->name), bytes = FUSE_REC_ALIGN(fixed + len);

		if (bytes > room - done)
			break;
		memset(out + done, 0, bytes);
		if (plus)
			put_plus(c, (void *)(out + done), e, len);
		else
			put_dirent(c, (void *)(out + done), e, len);
		done += bytes;
		dir_take(&h->dir, e);
	}
	if (e && !done)
		return -EINVAL; /* not even one has room */
	return done ? (int)done : err;
}

static int readdir_of(struct call *c, bool plus)
{
	const struct fuse_read_in *arg = c->arg;
	struct fuse_handle *h;
	int ret = handle_get(c->fuse, arg->fh, c->node, &h);

	if (ret)
		return ret;
	if (node_type(h->node) != S_IFDIR) {
		ret = -ENOTDIR;
	} else {
		pthread_mutex_lock(&h->dir.lock);
		ret = dir_seek(&h->dir, h->fd, arg->offset);
		if (!ret)
			ret = read_entries(c, h, arg->size < c->room ? arg->size : c->room, plus);
		pthread_mutex_unlock(&h->dir.lock);
	}
	handle_put(c->fuse, h);
	return ret;
}

int op_readdir(struct call *c)
{
	return readdir_of(c, false);
}

int op_readdirplus(struct call *c)
{
	return readdir_of(c, true);
}
