/* The files that a guest has open, by the number that it was given. See fuse-internal.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuse-internal.h"

static void handle_free(struct fuse *f, struct fuse_handle *h)
{
	if (h->fd >= 0) {
		close(h->fd);
		tree_fd_give(f->tree);
	}
	node_put(f->tree, h->node);
	dir_fini(&h->dir);
	free(h);
}

/* With the lock held: a place in the table; -1: no memory */
static int find_place(struct fuse *f)
{
	unsigned cap = f->cap_handles ? 2 * f->cap_handles : 64;
	struct fuse_handle **more;

	for (unsigned i = f->first_free; i < f->cap_handles; i++)
		if (!f->handles[i])
			return (int)i;
	more = reallocarray(f->handles, cap, sizeof(struct fuse_handle *));
	if (!more)
		return -1;
	for (unsigned i = f->cap_handles; i < cap; i++)
		more[i] = NULL;
	f->handles = more;
	cap = f->cap_handles;
	f->cap_handles = cap ? 2 * cap : 64;
	return (int)cap;
}

int handle_new(struct fuse *f, struct node *node, int fd, bool may_write, uint64_t *ret_fh)
{
	struct fuse_handle *h = calloc(1, sizeof(*h));
	int at = -1;

	if (h) {
		dir_init(&h->dir);
		h->fd = fd;
		h->node = node;
		h->uses = 1;
		h->may_write = may_write;
		pthread_mutex_lock(&f->lock);
		at = find_place(f);
		if (at >= 0) {
			f->handles[at] = h;
			f->first_free = (unsigned)at + 1;
			f->n_handles++;
			node_again(f->tree, node);
		}
		pthread_mutex_unlock(&f->lock);
	}
	if (at >= 0) {
		*ret_fh = (uint64_t)at;
		return 0;
	}
	if (h)
		dir_fini(&h->dir);
	free(h);
	close(fd);
	tree_fd_give(f->tree);
	return -ENOMEM;
}

static bool make_room(struct fuse *f, uint32_t fh)
{
	while (fh >= f->cap_handles) {
		const unsigned first = f->first_free;

		f->first_free = f->cap_handles;
		if (find_place(f) < 0)
			return false;
		f->first_free = first;
	}
	return true;
}

int handle_revive(struct fuse *f, uint32_t fh, struct node *node, int fd, uint32_t flags, bool has_flock)
{
	struct fuse_handle *h = calloc(1, sizeof(*h));
	int err = h && make_room(f, fh) ? 0 : -ENOMEM;

	if (!err && f->handles[fh])
		err = -EINVAL;
	if (err) {
		free(h);
		if (fd >= 0) {
			close(fd);
			tree_fd_give(f->tree);
		}
		return err;
	}
	dir_init(&h->dir);
	h->fd = fd;
	h->node = node;
	h->uses = 1;
	h->may_write = (flags & O_ACCMODE) != O_RDONLY;
	h->had_flock = has_flock;
	h->lost_flags = flags;
	node_again(f->tree, node);
	f->handles[fh] = h;
	f->n_handles++;
	while (f->first_free < f->cap_handles && f->handles[f->first_free])
		f->first_free++;
	return 0;
}

/* With the lock held */
static struct fuse_handle *find(const struct fuse *f, uint64_t fh, const struct node *node)
{
	struct fuse_handle *h = fh < f->cap_handles ? f->handles[fh] : NULL;

	return h && h->node == node ? h : NULL;
}

int handle_get(struct fuse *f, uint64_t fh, const struct node *node, struct fuse_handle **ret)
{
	struct fuse_handle *h;
	int err = 0;

	pthread_mutex_lock(&f->lock);
	h = find(f, fh, node);
	if (!h)
		err = -EBADF;
	else if (h->fd < 0)
		err = -ESTALE;
	else
		h->uses++;
	pthread_mutex_unlock(&f->lock);
	*ret = err ? NULL : h;
	return err;
}

bool handle_is_lost(struct fuse *f, uint64_t fh)
{
	bool is;

	pthread_mutex_lock(&f->lock);
	is = fh < f->cap_handles && f->handles[fh] && f->handles[fh]->fd < 0;
	pthread_mutex_unlock(&f->lock);
	return is;
}

struct fuse_handle *handle_of(struct fuse *f, const struct node *node, bool writable)
{
	struct fuse_handle *h = NULL;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; !h && i < f->cap_handles; i++) {
		h = find(f, i, node);
		if (h && (h->fd < 0 || h->may_write < writable))
			h = NULL;
	}
	if (h)
		h->uses++;
	pthread_mutex_unlock(&f->lock);
	return h;
}

void handle_put(struct fuse *f, struct fuse_handle *h)
{
	bool last;

	pthread_mutex_lock(&f->lock);
	last = !--h->uses;
	pthread_mutex_unlock(&f->lock);
	if (last)
		handle_free(f, h);
}

/* With the lock held */
static void take_out(struct fuse *f, unsigned at)
{
	f->handles[at] = NULL;
	f->n_handles--;
	if (at < f->first_free)
		f->first_free = at;
}

int handle_close(struct fuse *f, uint64_t fh, const struct node *node)
{
	struct fuse_handle *h;

	pthread_mutex_lock(&f->lock);
	h = find(f, fh, node);
	if (h)
		take_out(f, (unsigned)fh);
	pthread_mutex_unlock(&f->lock);
	if (!h)
		return -EBADF;
	handle_put(f, h);
	return 0;
}

bool handle_leave(struct fuse *f, uint64_t fh, uint64_t node)
{
	struct fuse_handle *h;

	pthread_mutex_lock(&f->lock);
	h = fh < f->cap_handles ? f->handles[fh] : NULL;
	if (h && node_id(h->node) != node)
		h = NULL;
	if (h) {
		take_out(f, (unsigned)fh);
		h->next = f->left;
		f->left = h;
	}
	pthread_mutex_unlock(&f->lock);
	return h;
}

bool handle_has_left(struct fuse *f)
{
	bool has;

	pthread_mutex_lock(&f->lock);
	has = f->left;
	pthread_mutex_unlock(&f->lock);
	return has;
}

void handle_close_left(struct fuse *f)
{
	struct fuse_handle *h, *next;

	pthread_mutex_lock(&f->lock);
	h = f->left;
	f->left = NULL;
	pthread_mutex_unlock(&f->lock);
	for (; h; h = next) {
		next = h->next;
		handle_put(f, h);
	}
}

void handle_close_all(struct fuse *f)
{
	struct fuse_handle *h;
	bool more = true;

	handle_close_left(f);
	for (unsigned i = 0; more; i++) {
		pthread_mutex_lock(&f->lock);
		more = i < f->cap_handles;
		h = more ? f->handles[i] : NULL;
		if (h)
			take_out(f, i);
		pthread_mutex_unlock(&f->lock);
		if (h)
			handle_put(f, h);
	}
}
