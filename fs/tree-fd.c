/* Descriptors of a tree: how they are opened, counted, given up and opened again. See tree.h. */
#include "tree-internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/fs.h"

#define MOST_FDS  65536
#define SPARE_FDS 256 /* left to the rest of lkvm */
#define FIRST_FDS 4096 /* a table of 32 KiB */

/*
 * Each time that the table of descriptors of a process with threads becomes twice as large, Linux waits until all
 * CPUs have seen it, for some ms. A table is never made smaller.
 */
void folders_expect(void)
{
	const uint64_t most = file_raise_limit();
	int fd = open("/", O_PATH | O_CLOEXEC), high = -1;

	if (fd >= 0 && most)
		high = fcntl(fd, F_DUPFD_CLOEXEC, most < FIRST_FDS ? (int)most - 1 : FIRST_FDS - 1);
	if (high >= 0)
		close(high);
	if (fd >= 0)
		close(fd);
}

/* Half of them, whatever is open already. What is not there after all is -ENFILE for a request. */
unsigned tree_default_fds(unsigned n_trees)
{
	uint64_t most = file_raise_limit();

	if (!most)
		return 256;
	most -= most > 2 * SPARE_FDS ? SPARE_FDS : most / 2;
	most /= 2 * (n_trees ? n_trees : 1);
	return most < MOST_FDS ? (unsigned)most : MOST_FDS;
}

int tree_stat_fd(int fd, struct statx *ret)
{
	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, TREE_STATX, ret) < 0)
		return -errno;
	return 0;
}

struct tree_path tree_proc(int fd)
{
	struct tree_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

/* ---- as many as there may be ---- */

/*
 * The one that was not used for longest loses its descriptor, if there will be a way back. Return: it,
 * or -1
 */
static bool may_lose(struct node *n)
{
	struct file_handle *handle, *shrunk;
	int mount_id;

	if (n->pinned || n->handle || n->mount->fd < 0)
		return !n->pinned && (n->handle || n->parent);
	handle = malloc(sizeof(*handle) + MAX_HANDLE_SZ);
	if (!handle)
		return false;
	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(n->fd, "", handle, &mount_id, AT_EMPTY_PATH) < 0) {
		free(handle);
		return false;
	}
	shrunk = realloc(handle, sizeof(*handle) + handle->handle_bytes);
	if (shrunk)
		handle = shrunk;
	n->handle = handle;
	return true;
}

static int evict(struct tree *t)
{
	while (t->lru.newer != &t->lru) {
		struct node *n = t->lru.newer;
		int fd = n->fd;

		tree_unlist(n);
		if (!may_lose(n)) {
			n->pinned = true;
			continue;
		}
		n->fd = -1;
		return fd;
	}
	return -1;
}

int tree_take_locked(struct tree *t)
{
	while (t->n_fds >= t->max_fds) {
		int fd = evict(t);

		if (fd < 0)
			return -ENFILE;
		t->n_fds--;
		pthread_mutex_unlock(&t->lock);
		close(fd);
		pthread_mutex_lock(&t->lock);
	}
	t->n_fds++;
	return 0;
}

int tree_fd_take(struct tree *t)
{
	int err;

	pthread_mutex_lock(&t->lock);
	err = tree_take_locked(t);
	pthread_mutex_unlock(&t->lock);
	return err;
}

void tree_fd_give(struct tree *t)
{
	pthread_mutex_lock(&t->lock);
	t->n_fds--;
	pthread_mutex_unlock(&t->lock);
}

/* The process has less than was thought: make do with that. */
static bool make_room(struct tree *t)
{
	int fd;

	pthread_mutex_lock(&t->lock);
	fd = evict(t);
	if (fd >= 0) {
		t->n_fds--;
		if (t->max_fds > t->n_fds + 1)
			t->max_fds = t->n_fds + 1;
	}
	pthread_mutex_unlock(&t->lock);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool is_shortage(int err)
{
	return err == -EMFILE || err == -ENFILE;
}

/* ---- opening ---- */

int tree_open_beneath(int dir, const char *path)
{
	/* And not what it leads to: no way out of the folder. */
	const struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int tree_open_child(struct tree *t, int dir, const char *name)
{
	int err = tree_fd_take(t), fd;

	if (err)
		return err;
	do {
		fd = tree_open_beneath(dir, name);
	} while (is_shortage(fd) && make_room(t));
	if (fd < 0)
		tree_fd_give(t);
	return is_shortage(fd) ? -ENFILE : fd;
}

int tree_open_proc(struct tree *t, int fd, int flags, mode_t mode)
{
	struct tree_path path = tree_proc(fd);
	int ret;

	do {
		ret = open(path.text, flags | O_CLOEXEC | O_NOCTTY, mode);
		ret = ret < 0 ? -errno : ret;
	} while (is_shortage(ret) && make_room(t));
	return is_shortage(ret) ? -ENFILE : ret;
}

/* ---- mounts ---- */

const struct tree_mount *tree_find_mount(struct tree *t, uint64_t id)
{
	const struct tree_mount *mount = t->mounts;

	while (mount && mount->id != id)
		mount = mount->next;
	return mount;
}

/* Can files on this mount be opened by their handles? Then a descriptor for that is returned, else -1. */
static int try_handles(int fd, mode_t type)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} h = { .handle.handle_bytes = MAX_HANDLE_SZ };
	struct tree_path path = tree_proc(fd);
	int mount_id, mount, back = -1;

	if (!S_ISDIR(type) || name_to_handle_at(fd, "", &h.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return -1;
	mount = open(path.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount >= 0)
		back = open_by_handle_at(mount, &h.handle, O_PATH | O_CLOEXEC);
	if (back >= 0) {
		close(back);
		return mount;
	}
	if (mount >= 0)
		close(mount);
	return -1;
}

/* There are few: their descriptors are not counted. */
const struct tree_mount *tree_mount_of(struct tree *t, const struct statx *st, int fd)
{
	uint64_t id = tree_key_of(st).mount;
	const struct tree_mount *mount = tree_find_mount(t, id);
	struct tree_mount *made;

	if (mount)
		return mount;
	made = calloc(1, sizeof(*made));
	if (!made)
		return NULL;
	made->id = id;
	made->fd = -1;
	pthread_mutex_unlock(&t->lock);
	if (!t->no_handles)
		made->fd = try_handles(fd, st->stx_mode);
	pthread_mutex_lock(&t->lock);
	mount = tree_find_mount(t, id);
	if (mount) {
		if (made->fd >= 0)
			close(made->fd);
		free(made);
		return mount;
	}
	made->next = t->mounts;
	t->mounts = made;
	return made;
}

bool tree_same_handle(const struct node *n, int fd)
{
	struct {
		struct file_handle handle;
		char bytes[MAX_HANDLE_SZ];
	} h = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id;

	if (!n->handle)
		return true;
	return !name_to_handle_at(fd, "", &h.handle, &mount_id, AT_EMPTY_PATH) &&
	       h.handle.handle_type == n->handle->handle_type &&
	       h.handle.handle_bytes == n->handle->handle_bytes &&
	       !memcmp(h.bytes, n->handle->f_handle, n->handle->handle_bytes);
}

/* ---- opening again ---- */

int tree_open_handle(const struct node *n)
{
	int fd = open_by_handle_at(n->mount->fd, n->handle, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Of the folders above @n that have lost their descriptor the topmost; NULL: too many. */
static struct node *topmost(struct node *n)
{
	for (unsigned depth = 0; depth < TREE_DEPTH; depth++) {
		if (n->handle || !n->parent || n->parent->fd >= 0)
			return n;
		n = n->parent;
	}
	return NULL;
}

/* Of what was found by the name of @n. Return: @err, or -ESTALE: that is another file */
static int judge_found(const struct node *n, int err, const struct statx *st)
{
	struct tree_key key;

	if (err)
		return err == -ENOENT || err == -ENOTDIR ? -ESTALE : err;
	key = tree_key_of(st);
	if (key.ino != n->key.ino || key.dev != n->key.dev || key.mount != n->key.mount || !tree_same(n, st))
		return -ESTALE;
	return 0;
}

static int open_by_name(const struct node *n, int parent, const char *name)
{
	int fd = tree_open_beneath(parent, name), err;
	struct statx st;

	if (fd < 0)
		return judge_found(n, fd, NULL);
	err = judge_found(n, tree_stat_fd(fd, &st), &st);
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Without the lock; @n and its parent are in use. */
static int open_again(struct tree *t, const struct node *n, int parent, const char *name)
{
	int fd;

	do {
		fd = n->handle ? tree_open_handle(n) : open_by_name(n, parent, name);
	} while (is_shortage(fd) && make_room(t));
	return is_shortage(fd) ? -ENFILE : fd;
}

static int reopen_one(struct tree *t, struct node *n)
{
	struct node *parent = n->handle ? NULL : n->parent;
	char *name = parent ? strdup(n->name) : NULL;
	int fd = parent && !name ? -ENOMEM : 0;

	if (!n->handle && !parent)
		return -ESTALE;
	tree_hold(n);
	if (parent)
		tree_hold(parent);
	if (!fd)
		fd = tree_take_locked(t);
	if (!fd) {
		pthread_mutex_unlock(&t->lock);
		fd = open_again(t, n, parent ? parent->fd : -1, name);
		pthread_mutex_lock(&t->lock);
		if (fd < 0 || n->fd >= 0)
			t->n_fds--;
		if (fd >= 0 && n->fd >= 0)
			close(fd); /* somebody else has opened it meanwhile: the file stays */
		else if (fd >= 0)
			n->fd = fd;
	}
	free(name);
	if (parent)
		tree_drop(t, parent);
	tree_drop(t, n);
	return fd < 0 ? fd : 0;
}

int tree_reopen(struct tree *t, struct node *n)
{
	while (n->fd < 0) {
		struct node *top = topmost(n);
		int err = top ? reopen_one(t, top) : -ESTALE;

		if (err)
			return err;
	}
	return 0;
}

/* ---- without opening ---- */

/* With the lock held. Return: the folder of @n, which has no descriptor, and which is reached by its name there */
static struct node *folder_of(const struct node *n)
{
	if (n->fd >= 0 || n->handle || !n->parent || n->parent->fd < 0)
		return NULL;
	return n->parent;
}

static int stat_open(struct tree *t, uint64_t id, struct statx *ret)
{
	struct node *n;
	int err = node_get(t, id, &n);

	if (err)
		return err;
	err = tree_stat(t, n, ret);
	node_put(t, n);
	return err;
}

int tree_stat_id(struct tree *t, uint64_t id, struct statx *ret)
{
	struct node *n, *dir = NULL;
	char name[NAME_MAX + 1];
	int err;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n)
		dir = folder_of(n);
	if (dir) {
		tree_hold(n);
		tree_hold(dir);
		snprintf(name, sizeof(name), "%s", n->name);
	}
	pthread_mutex_unlock(&t->lock);
	if (!dir)
		return stat_open(t, id, ret);
	err = statx(dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, TREE_STATX, ret) < 0 ? -errno : 0;
	err = judge_found(n, err, ret);
	pthread_mutex_lock(&t->lock);
	tree_drop(t, dir);
	tree_drop(t, n);
	pthread_mutex_unlock(&t->lock);
	return err;
}
