/* FUSE: files as the guest's memory; window.h. What a mapping needs is an open file for a moment. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fuse-internal.h"

#define ANY_HANDLE UINT64_MAX /* what Linux says: whoever may have opened the file */

/* As it was opened, even if lkvm itself could not open it any more; else anew. */
static int map_open_file(struct call *c, const struct fuse_setupmapping_in *arg, struct window_file *file)
{
	struct fuse_handle *h;
	int err = 0;

	if (arg->fh == ANY_HANDLE)
		h = handle_of(c->fuse, c->node, file->writable);
	else
		err = handle_get(c->fuse, arg->fh, c->node, &h);
	if (err || !h)
		return err ? err : -EBADF;
	file->fd = h->fd;
	err = -EACCES;
	if (h->may_write >= file->writable)
		err = window_map(c->fuse->window, arg->moffset, arg->len, file);
	handle_put(c->fuse, h);
	return err;
}

static int map_anew(struct call *c, const struct fuse_setupmapping_in *arg, struct window_file *file)
{
	int err = tree_fd_take(c->tree);

	if (err)
		return err;
	file->fd = tree_open_node(c->tree, c->node, file->writable ? O_RDWR : O_RDONLY);
	if (file->fd < 0) {
		err = file->fd;
	} else {
		err = window_map(c->fuse->window, arg->moffset, arg->len, file);
		close(file->fd);
	}
	tree_fd_give(c->tree);
	return err;
}

int op_setupmapping(struct call *c)
{
	const struct fuse_setupmapping_in *arg = c->arg;
	struct window_file file = { .node = c->in.nodeid, .off = arg->foffset,
				    .writable = arg->flags & FUSE_SETUPMAPPING_FLAG_WRITE };
	int err;

	if (!c->fuse->window)
		return -ENOSYS;
	if (arg->flags & ~(FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE) ||
	    node_type(c->node) != S_IFREG)
		return -EINVAL;
	if (file.writable && tree_is_read_only(c->tree))
		return -EROFS;
	if (arg->fh != ANY_HANDLE)
		return map_open_file(c, arg, &file);
	err = map_anew(c, arg, &file);
	return err == -EACCES && !map_open_file(c, arg, &file) ? 0 : err;
}

int op_removemapping(struct call *c)
{
	const struct fuse_removemapping_in *arg = c->arg;
	struct fuse_removemapping_one one;
	int err = 0;

	if (!c->fuse->window)
		return -ENOSYS;
	if (!arg->count || c->rest_bytes / sizeof(one) < arg->count)
		return -EINVAL;
	for (uint32_t i = 0; !err && i < arg->count; i++) {
		memcpy(&one, c->rest + i * sizeof(one), sizeof(one));
		err = window_unmap(c->fuse->window, one.moffset, one.len);
	}
	return err;
}

/* ---- files that were cut short ---- */

static uint64_t size_of(void *arg, uint64_t node)
{
	struct fuse *f = arg;
	struct node *n;
	struct statx st;
	int err = node_get(f->tree, node, &n);

	if (err)
		return UINT64_MAX;
	err = tree_stat(f->tree, n, &st);
	node_put(f->tree, n);
	return err ? UINT64_MAX : st.stx_size;
}

bool fuse_mend(struct fuse *f)
{
	return f->window && window_look(f->window, size_of, f);
}

/* One thread at a time: it may have to wait for the host. */
void fuse_look(struct fuse *f)
{
	if (!f->window || atomic_exchange(&f->looking, true))
		return;
	window_look(f->window, size_of, f);
	atomic_store(&f->looking, false);
}

static void extend(struct fuse *f, struct node *n)
{
	struct window_file file = { .node = node_id(n), .writable = true };

	if (tree_fd_take(f->tree))
		return;
	file.fd = tree_open_node(f->tree, n, O_RDWR);
	if (file.fd < 0) {
		file.writable = false;
		file.fd = tree_open_node(f->tree, n, O_RDONLY);
	}
	if (file.fd >= 0) {
		window_grown(f->window, &file);
		close(file.fd);
	}
	tree_fd_give(f->tree);
}

void fuse_has_size(struct fuse *f, uint64_t node, uint64_t size)
{
	struct node *n;

	if (!f->window || !window_is_behind(f->window, node, size) || node_get(f->tree, node, &n))
		return;
	extend(f, n);
	node_put(f->tree, n);
}

void *fuse_memory(const struct fuse *f)
{
	return window_memory(f->window);
}
