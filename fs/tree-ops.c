/* What can be done with the files of a tree. See tree.h. Nodes given are in use. */
#include "tree-internal.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lkvm/fs.h"
#include "lkvm/types.h"

#define OPEN_FLAGS (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC)
#define RENAME_FLAGS ((unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))

bool tree_name_ok(const char *name)
{
	size_t len = strnlen(name, NAME_MAX + 1);

	return len && len <= NAME_MAX && strcmp(name, ".") && strcmp(name, "..") &&
	       !memchr(name, '/', len);
}

static int judge_name(const char *name)
{
	if (strnlen(name, NAME_MAX + 1) > NAME_MAX)
		return -ENAMETOOLONG;
	return tree_name_ok(name) ? 0 : -EINVAL;
}

/* May @name in @dir be changed? */
static int judge_change(const struct tree *t, const struct node *dir, const char *name)
{
	int err = judge_name(name);

	if (err)
		return err;
	if (t->read_only)
		return -EROFS;
	return S_ISDIR(dir->type) ? 0 : -ENOTDIR;
}

/* ---- looking up ---- */

static int lookup_open(struct tree *t, struct node *dir, const char *name, struct tree_entry *e)
{
	int fd = tree_open_child(t, dir->fd, name);

	return fd < 0 ? fd : tree_enter(t, dir, name, fd, e);
}

/* By which name it is made again, elsewhere. */
static void note_made(struct tree *t, uint64_t id, const char *name)
{
	char *copy = strdup(name);
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = tree_find_id(t, id);
	if (n && copy && !n->name) {
		n->made = true;
		n->name = copy;
		copy = NULL;
	}
	pthread_mutex_unlock(&t->lock);
	free(copy);
}

/* Nothing leads back to it but its descriptor: it is entered without a name, and keeps that. */
static int lookup_made(struct tree *t, struct node *dir, const char *name, struct tree_entry *ret)
{
	int fd, err;

	if (!t->made || dir->key.dev != t->made->dev || dir->key.ino != t->made->ino)
		return -ENOENT;
	err = tree_fd_take(t);
	if (err)
		return err;
	fd = t->made->open(t->made->ctx, name);
	if (fd < 0) {
		tree_fd_give(t);
		return fd;
	}
	err = tree_enter(t, dir, NULL, fd, ret);
	if (!err)
		note_made(t, ret->id, name);
	return err;
}

int tree_lookup(struct tree *t, struct node *dir, const char *name, struct tree_entry *ret)
{
	int err = judge_name(name);
	struct tree_entry e;

	if (err)
		return err;
	if (!S_ISDIR(dir->type))
		return -ENOTDIR;
	if (statx(dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, TREE_STATX, &e.st) < 0)
		return errno == ENOENT ? lookup_made(t, dir, name, ret) : -errno;
	if (!tree_enter_seen(t, dir, name, &e))
		err = lookup_open(t, dir, name, &e);
	if (!err)
		*ret = e;
	return err;
}

/*
 * What is known of @name, in use, or NULL: nobody needs to know that the name goes. @removed: the file goes
 * with it. Then it is opened, as long as there is a way to it, if the guest may go on using it: as another
 * name of the same file, as its own FIFO, or as a folder that it stands in.
 */
static struct node *peek(struct tree *t, const struct node *dir, const char *name, bool removed)
{
	struct tree_key key;
	struct node *n;
	struct statx st;

	if (statx(dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, TREE_STATX, &st) < 0)
		return NULL;
	key = tree_key_of(&st);
	pthread_mutex_lock(&t->lock);
	n = tree_find_key(t, &key);
	if (n && (!tree_same(n, &st) || (removed && !tree_goes_by_name(n))))
		n = NULL;
	if (n && removed && n->fd < 0 && st.stx_nlink == 1 && (S_ISREG(n->type) || S_ISLNK(n->type)))
		n = NULL;
	if (n)
		tree_hold(n);
	if (n && removed && n->fd < 0 && tree_reopen(t, n)) {
		tree_drop(t, n);
		n = NULL;
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* It has lost this name: there may be no way back to it. */
static void unpeek(struct tree *t, struct node *n, bool pin)
{
	if (!n)
		return;
	pthread_mutex_lock(&t->lock);
	n->pinned |= pin;
	tree_drop(t, n);
	pthread_mutex_unlock(&t->lock);
}

/* ---- making and removing ---- */

int tree_mknod(struct tree *t, struct node *dir, const char *name, mode_t mode, dev_t rdev,
	       const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = judge_change(t, dir, name);

	/* A device node would be one of the host's. */
	if (!err && (S_ISBLK(mode) || (S_ISCHR(mode) && rdev != makedev(0, 0))))
		err = -EPERM;
	if (!err)
		err = ids_begin(ids, t->change_ids);
	if (err)
		return err;
	err = mknodat(dir->fd, name, mode, rdev) < 0 ? -errno : 0;
	ids_end(ids, t->change_ids);
	return err ? err : tree_lookup(t, dir, name, ret);
}

int tree_mkdir(struct tree *t, struct node *dir, const char *name, mode_t mode,
	       const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = judge_change(t, dir, name);

	if (!err)
		err = ids_begin(ids, t->change_ids);
	if (err)
		return err;
	err = mkdirat(dir->fd, name, mode & 07777) < 0 ? -errno : 0;
	ids_end(ids, t->change_ids);
	return err ? err : tree_lookup(t, dir, name, ret);
}

int tree_symlink(struct tree *t, struct node *dir, const char *name, const char *target,
		 const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = judge_change(t, dir, name);

	if (!err)
		err = ids_begin(ids, t->change_ids);
	if (err)
		return err;
	err = symlinkat(target, dir->fd, name) < 0 ? -errno : 0;
	ids_end(ids, t->change_ids);
	return err ? err : tree_lookup(t, dir, name, ret);
}

int tree_link(struct tree *t, struct node *n, struct node *dir, const char *name,
	      struct tree_entry *ret)
{
	int err = judge_change(t, dir, name);
	struct tree_path path = tree_proc(n->fd);

	if (err)
		return err;
	if (linkat(AT_FDCWD, path.text, dir->fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return tree_lookup(t, dir, name, ret);
}

int tree_unlink(struct tree *t, struct node *dir, const char *name, int flags)
{
	int err = judge_change(t, dir, name);
	struct node *n;

	if (err)
		return err;
	n = peek(t, dir, name, true);
	err = unlinkat(dir->fd, name, flags & AT_REMOVEDIR) < 0 ? -errno : 0;
	unpeek(t, n, !err);
	return err;
}

/* Where they can be found from now on. */
static void renamed(struct tree *t, struct node *n, struct node *dir, const char *name)
{
	if (!n)
		return;
	pthread_mutex_lock(&t->lock);
	tree_place(t, n, dir, name);
	pthread_mutex_unlock(&t->lock);
}

int tree_rename(struct tree *t, struct node *from, const char *old, struct node *to,
		const char *name, unsigned flags)
{
	int err = judge_change(t, from, old);
	struct node *a, *b;

	if (!err)
		err = judge_change(t, to, name);
	if (!err && flags & ~RENAME_FLAGS)
		err = -EINVAL;
	if (err)
		return err;
	a = peek(t, from, old, false);
	b = peek(t, to, name, !(flags & RENAME_EXCHANGE));
	err = renameat2(from->fd, old, to->fd, name, flags) < 0 ? -errno : 0;
	if (!err) {
		renamed(t, a, to, name);
		if (flags & RENAME_EXCHANGE)
			renamed(t, b, from, old);
	}
	unpeek(t, a, false);
	unpeek(t, b, !err && a != b && !(flags & RENAME_EXCHANGE));
	return err;
}

/* ---- opening ---- */

int tree_open_node(struct tree *t, struct node *n, int flags)
{
	if (t->read_only && ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC))
		return -EROFS;
	if (S_ISDIR(n->type))
		return (flags & O_ACCMODE) != O_RDONLY ?
			       -EISDIR :
			       tree_open_proc(t, n->fd, O_RDONLY | O_DIRECTORY, 0);
	/* FIFOs, sockets and devices are the guest's own affair: opening them here might hang. */
	if (!S_ISREG(n->type))
		return S_ISLNK(n->type) ? -ELOOP : -ENXIO;
	return tree_open_proc(t, n->fd, (flags & OPEN_FLAGS) | O_NONBLOCK, 0);
}

/* The node of a file that is open. */
static int enter_open(struct tree *t, struct node *dir, const char *name, int fd,
		      struct tree_entry *ret)
{
	int path = tree_fd_take(t);

	if (path)
		return path;
	path = tree_open_proc(t, fd, O_PATH, 0);
	if (path < 0) {
		tree_fd_give(t);
		return path;
	}
	return tree_enter(t, dir, name, path, ret);
}

static int create_new(struct tree *t, struct node *dir, const char *name, int flags, mode_t mode,
		      const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = ids_begin(ids, t->change_ids), fd;

	if (err)
		return err;
	fd = openat(dir->fd, name,
		    (flags & OPEN_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
		    mode & 07777);
	fd = fd < 0 ? -errno : fd;
	ids_end(ids, t->change_ids);
	if (fd < 0)
		return fd == -EMFILE ? -ENFILE : fd;
	err = enter_open(t, dir, name, fd, ret);
	if (err)
		close(fd);
	return err ? err : fd;
}

static int open_old(struct tree *t, struct node *dir, const char *name, int flags, bool plain,
		    struct tree_entry *ret)
{
	int err = tree_lookup(t, dir, name, ret), fd;
	struct node *n;
	bool was;

	if (err)
		return err;
	fd = node_get(t, ret->id, &n);
	if (!fd) {
		was = plain && ids_plain_begin();
		fd = tree_open_node(t, n, flags);
		ids_plain_end(was);
		if (fd >= 0 && flags & O_TRUNC)
			(void)tree_stat_fd(n->fd, &ret->st);
		node_put(t, n);
	}
	if (fd < 0)
		tree_forget(t, ret->id, 1);
	return fd;
}

int tree_create(struct tree *t, struct node *dir, const char *name, int flags, mode_t mode,
		const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = judge_change(t, dir, name), fd;

	if (err)
		return err;
	fd = create_new(t, dir, name, flags, mode, ids, ret);
	return fd == -EEXIST && !(flags & O_EXCL) ? open_old(t, dir, name, flags, ids->plain, ret) : fd;
}

int tree_tmpfile(struct tree *t, struct node *dir, int flags, mode_t mode,
		 const struct tree_ids *ids, struct tree_entry *ret)
{
	int err = judge_change(t, dir, "x"), fd;

	if (!err && (flags & O_ACCMODE) == O_RDONLY)
		err = -EINVAL;
	if (!err)
		err = ids_begin(ids, t->change_ids);
	if (err)
		return err;
	fd = tree_open_proc(t, dir->fd, (flags & (O_ACCMODE | O_EXCL)) | O_TMPFILE, mode & 07777);
	ids_end(ids, t->change_ids);
	if (fd < 0)
		return fd;
	err = enter_open(t, dir, NULL, fd, ret);
	if (err)
		close(fd);
	return err ? err : fd;
}

/* ---- attributes ---- */

int tree_stat(struct tree *t, struct node *n, struct statx *ret)
{
	(void)t;
	return tree_stat_fd(n->fd, ret);
}

int tree_statfs(struct tree *t, struct node *n, struct statfs *ret)
{
	(void)t;
	return fstatfs(n->fd, ret) < 0 ? -errno : 0;
}

int tree_syncfs(struct tree *t, struct node *n)
{
	int fd = tree_fd_take(t), err;

	if (fd)
		return fd;
	fd = tree_open_node(t, n, O_RDONLY);
	err = fd < 0 ? fd : syncfs(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	tree_fd_give(t);
	return err;
}

int tree_readlink(struct tree *t, struct node *n, char *ret, size_t cap)
{
	ssize_t len;

	(void)t;
	if (!S_ISLNK(n->type))
		return -EINVAL;
	len = readlinkat(n->fd, "", ret, cap);
	return len < 0 ? -errno : (int)len;
}

int tree_chmod(struct tree *t, struct node *n, mode_t mode)
{
	struct tree_path path = tree_proc(n->fd);

	if (t->read_only)
		return -EROFS;
	if (S_ISLNK(n->type))
		return -EOPNOTSUPP;
	return chmod(path.text, mode & 07777) < 0 ? -errno : 0;
}

int tree_chown(struct tree *t, struct node *n, uint32_t uid, uint32_t gid)
{
	if (t->read_only)
		return -EROFS;
	return fchownat(n->fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int tree_truncate(struct tree *t, struct node *n, off_t bytes, bool kill_ids)
{
	struct tree_path path = tree_proc(n->fd);
	bool was = false;
	int err;

	if (t->read_only)
		return -EROFS;
	if (!S_ISREG(n->type))
		return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
	if (kill_ids)
		was = ids_plain_begin();
	err = truncate(path.text, bytes) < 0 ? -errno : 0;
	ids_plain_end(was);
	return err;
}

int tree_utimes(struct tree *t, struct node *n, const struct timespec times[2])
{
	struct tree_path path = tree_proc(n->fd);

	if (t->read_only)
		return -EROFS;
	/* That path ends at a symbolic link, too. */
	return utimensat(AT_FDCWD, path.text, times, 0) < 0 ? -errno : 0;
}

ssize_t tree_getxattr(struct tree *t, struct node *n, const char *name, void *ret, size_t cap)
{
	struct tree_path path = tree_proc(n->fd);
	ssize_t len = getxattr(path.text, name, ret, cap);

	(void)t;
	return len < 0 ? -errno : len;
}

ssize_t tree_listxattr(struct tree *t, struct node *n, char *ret, size_t cap)
{
	struct tree_path path = tree_proc(n->fd);
	ssize_t len = listxattr(path.text, ret, cap);

	(void)t;
	return len < 0 ? -errno : len;
}

int tree_setxattr(struct tree *t, struct node *n, const char *name, const void *value, size_t len,
		  int flags)
{
	struct tree_path path = tree_proc(n->fd);

	if (t->read_only)
		return -EROFS;
	return setxattr(path.text, name, value, len, flags) < 0 ? -errno : 0;
}

int tree_removexattr(struct tree *t, struct node *n, const char *name)
{
	struct tree_path path = tree_proc(n->fd);

	if (t->read_only)
		return -EROFS;
	return removexattr(path.text, name) < 0 ? -errno : 0;
}
