/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o util/log.o */

/* The safe tree: what is found, what is not, and that nothing leads out of the folder. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../../fs/tree.h"
#include "lkvm/fs.h"
#include "folder.h"

#define MANY 500

static const struct tree_ids me = { .umask = 022 };

static struct tree *open_tree(unsigned max_fds, bool no_handles, bool read_only)
{
	const struct tree_config cfg = { folder, read_only, max_fds, no_handles, 0, NULL };
	struct tree *t;

	ck_assert_int_eq(tree_thread_begin(), 0);
	ck_assert_int_eq(tree_open(&cfg, &t), 0);
	return t;
}

static struct node *get(struct tree *t, uint64_t id)
{
	struct node *n;

	ck_assert_int_eq(node_get(t, id, &n), 0);
	return n;
}

static struct tree_entry look(struct tree *t, struct node *dir, const char *name)
{
	struct tree_entry e;

	ck_assert_msg(!tree_lookup(t, dir, name, &e), "%s", name);
	return e;
}

START_TEST(test_names)
{
	char longest[NAME_MAX + 2];
	struct tree_entry e;
	struct tree *t;
	struct node *root;

	folder_make();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	memset(longest, 'x', sizeof(longest));
	longest[NAME_MAX + 1] = '\0';
	ck_assert_int_eq(tree_lookup(t, root, "", &e), -EINVAL);
	ck_assert_int_eq(tree_lookup(t, root, ".", &e), -EINVAL);
	ck_assert_int_eq(tree_lookup(t, root, "..", &e), -EINVAL);
	ck_assert_int_eq(tree_lookup(t, root, "dir/file", &e), -EINVAL);
	ck_assert_int_eq(tree_lookup(t, root, "/etc", &e), -EINVAL);
	ck_assert_int_eq(tree_lookup(t, root, longest, &e), -ENAMETOOLONG);
	ck_assert_int_eq(tree_lookup(t, root, "none", &e), -ENOENT);
	ck_assert_int_eq(tree_mkdir(t, root, "../x", 0700, &me, &e), -EINVAL);
	ck_assert_int_eq(tree_mknod(t, root, "..", S_IFREG, 0, &me, &e), -EINVAL);
	ck_assert_int_eq(tree_symlink(t, root, "a/b", "x", &me, &e), -EINVAL);
	ck_assert_int_eq(tree_link(t, root, root, "..", &e), -EINVAL);
	ck_assert_int_eq(tree_unlink(t, root, "dir/file", 0), -EINVAL);
	ck_assert_int_eq(tree_unlink(t, root, "..", AT_REMOVEDIR), -EINVAL);
	ck_assert_int_eq(tree_rename(t, root, "..", root, "x", 0), -EINVAL);
	ck_assert_int_eq(tree_rename(t, root, "file", root, "../../x", 0), -EINVAL);
	ck_assert_int_eq(tree_create(t, root, "../x", O_RDWR, 0600, &me, &e), -EINVAL);
	longest[NAME_MAX] = '\0';
	ck_assert(tree_name_ok(longest) && tree_name_ok("...") && tree_name_ok("\n"));
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

START_TEST(test_lookup)
{
	struct tree_entry e, again;
	struct tree *t;
	struct node *root, *dir, *n;

	folder_make();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	e = look(t, root, "dir");
	ck_assert_uint_eq(e.st.stx_ino, folder_stat("dir").st_ino);
	ck_assert(!e.submount);
	dir = get(t, e.id);
	e = look(t, dir, "file");
	folder_link("dir/file", "other");
	again = look(t, root, "other");
	ck_assert_uint_eq(e.id, again.id);
	ck_assert_uint_eq(tree_count(t).nodes, 3);
	tree_forget(t, e.id, 1);
	ck_assert_int_eq(node_get(t, e.id, &n), 0);
	tree_forget(t, e.id, 1);
	ck_assert_uint_eq(tree_count(t).nodes, 3); /* in use */
	node_put(t, n);
	ck_assert(tree_has_dead(t));
	tree_reap(t);
	ck_assert_uint_eq(tree_count(t).nodes, 2);
	ck_assert_uint_eq(tree_count(t).fds, 2);
	ck_assert_int_eq(node_get(t, e.id, &n), -ESTALE);
	ck_assert_uint_ne(look(t, root, "other").id, e.id);
	tree_forget(t, TREE_ROOT, UINT64_MAX);
	tree_forget(t, 12345, 1);
	node_put(t, dir);
	tree_forget_all(t);
	ck_assert_uint_eq(tree_count(t).nodes, 1);
	ck_assert_uint_eq(tree_count(t).fds, 1);
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

START_TEST(test_links_lead_nowhere)
{
	char to[PATH_MAX];
	struct tree_entry e;
	struct tree *t;
	struct node *root, *n;
	int fd;

	folder_make();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	e = look(t, root, "up"); /* -> .. */
	ck_assert(S_ISLNK(e.st.stx_mode));
	n = get(t, e.id);
	ck_assert_int_eq(tree_readlink(t, n, to, sizeof(to)), 2);
	ck_assert_int_eq(tree_lookup(t, n, "secret", &e), -ENOTDIR);
	ck_assert_int_eq(tree_unlink(t, n, "secret", 0), -ENOTDIR);
	ck_assert_int_eq(tree_mkdir(t, n, "made", 0700, &me, &e), -ENOTDIR);
	ck_assert_int_eq(tree_open_node(t, n, O_RDONLY), -ELOOP);
	ck_assert_int_eq(tree_chmod(t, n, 0777), -EOPNOTSUPP);
	node_put(t, n);
	/* A link to a file outside is not opened, whoever asks in whatever way. */
	ck_assert_int_eq(tree_create(t, root, "out", O_RDWR, 0600, &me, &e), -ELOOP);
	ck_assert_int_eq(tree_create(t, root, "out", O_RDWR | O_EXCL, 0600, &me, &e), -EEXIST);
	/* Nor is one to nothing filled, and what is made of a link is the link. */
	ck_assert_int_eq(tree_create(t, root, "dangling", O_RDWR, 0600, &me, &e), -ELOOP);
	n = get(t, look(t, root, "out").id);
	ck_assert_int_eq(tree_truncate(t, n, 0, false), -EINVAL);
	ck_assert_int_eq(tree_link(t, n, root, "out2", &e), 0);
	ck_assert(S_ISLNK(e.st.stx_mode));
	ck_assert_int_eq(tree_utimes(t, n, (struct timespec[2]){ { 5, 0 }, { 6, 7 } }), 0);
	ck_assert_int_eq(tree_stat(t, n, &e.st), 0);
	ck_assert_int_eq(e.st.stx_mtime.tv_sec, 6);
	node_put(t, n);
	/* A FIFO is not opened: nobody would ever come. */
	n = get(t, look(t, root, "fifo").id);
	ck_assert_int_eq(tree_open_node(t, n, O_RDONLY), -ENXIO);
	ck_assert_int_eq(tree_create(t, root, "fifo", O_RDONLY, 0600, &me, &e), -ENXIO);
	node_put(t, n);
	fd = tree_create(t, root, "new", O_RDWR | O_EXCL, 0640, &me, &e);
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(folder_stat("new").st_ino, e.st.stx_ino);
	close(fd);
	folder_check_outside();
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

static atomic_bool racing;

/* "swap" is a folder, a link to one outside, a folder, ... */
static void *race(void *arg)
{
	(void)arg;
	while (atomic_load(&racing))
		folder_exchange("swap", "swap-link");
	return NULL;
}

START_TEST(test_race)
{
	uint64_t secret;
	struct tree_entry e, f;
	struct tree *t;
	struct node *root, *n;
	pthread_t thread;
	unsigned found = 0;
	int err;

	folder_make();
	secret = folder_outside_ino();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	atomic_store(&racing, true);
	ck_assert_int_eq(pthread_create(&thread, NULL, race, NULL), 0);
	for (unsigned i = 0; i < 3000; i++) {
		if (tree_lookup(t, root, "swap", &e))
			continue;
		err = node_get(t, e.id, &n);
		ck_assert(!err || err == -ESTALE); /* something else is there by now */
		if (!err && !tree_lookup(t, n, "secret", &f)) {
			ck_assert_uint_ne(f.st.stx_ino, secret);
			found++;
			tree_forget(t, f.id, 1);
		}
		if (!err)
			node_put(t, n);
		tree_forget(t, e.id, 1);
	}
	atomic_store(&racing, false);
	pthread_join(thread, NULL);
	ck_assert_uint_gt(found, 0);
	folder_check_outside();
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

static void fill_many(void)
{
	char name[32];

	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "dir/%u", i);
		folder_write(name, "x", 1);
	}
}

/* Many more files than descriptors. */
static void check_many(bool no_handles)
{
	static struct tree_entry e[MANY];
	char name[32];
	struct tree *t;
	struct node *root, *dir, *n, *used[16];
	struct statx st;
	unsigned k = 0;

	folder_make();
	fill_many();
	t = open_tree(16, no_handles, false);
	root = get(t, TREE_ROOT);
	dir = get(t, look(t, root, "dir").id);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "%u", i);
		e[i] = look(t, dir, name);
		ck_assert_uint_le(tree_count(t).fds, 16);
	}
	node_put(t, dir);
	for (unsigned i = 0; i < MANY; i++) {
		n = get(t, e[i].id);
		ck_assert_int_eq(tree_stat(t, n, &st), 0);
		ck_assert_uint_eq(st.stx_ino, e[i].st.stx_ino);
		node_put(t, n);
	}
	/* Another file has its name, and may have its number. */
	folder_unlink("dir/7");
	folder_write("dir/7", "y", 1);
	ck_assert_int_eq(node_get(t, e[7].id, &n), -ESTALE);
	/* As many as there are descriptors can be in use. */
	while (k < 16 && !node_get(t, e[100 + k].id, &used[k]))
		k++;
	ck_assert_uint_ge(k, 13);
	ck_assert_uint_lt(k, 16);
	/* By name it takes two: the folder's, too. */
	ck_assert_int_eq(tree_fd_take(t), k == 15 ? -ENFILE : 0);
	ck_assert_int_eq(node_get(t, e[200].id, &n), -ENFILE);
	ck_assert_int_eq(node_get(t, look(t, root, "file").id, &n), -ENFILE);
	ck_assert_int_eq(tree_fd_take(t), -ENFILE);
	if (k < 15)
		tree_fd_give(t);
	while (k)
		node_put(t, used[--k]);
	ck_assert_int_eq(node_get(t, e[200].id, &n), 0);
	node_put(t, n);
	node_put(t, root);
	tree_forget_all(t);
	ck_assert_uint_eq(tree_count(t).nodes, 1);
	ck_assert_uint_eq(tree_count(t).fds, 1);
	tree_close(t);
	folder_remove();
}

START_TEST(test_many_by_handle)
{
	check_many(false);
}
END_TEST

START_TEST(test_many_by_name)
{
	check_many(true);
}
END_TEST

/* Without handles a file is found where it was put; one that was removed stays open, if it was. */
START_TEST(test_moved)
{
	struct tree_entry a, b, deep, gone, fifo, never, e;
	struct tree *t;
	struct node *root, *dir, *n;
	struct statx st;
	char name[16];

	folder_make();
	t = open_tree(8, true, false);
	root = get(t, TREE_ROOT);
	a = look(t, root, "file");
	b = look(t, root, "swap");
	dir = get(t, b.id);
	deep = look(t, dir, "secret");
	gone = look(t, root, "big");
	node_put(t, get(t, gone.id));
	ck_assert_int_eq(tree_unlink(t, root, "big", 0), 0);
	fifo = look(t, root, "fifo");
	ck_assert_int_eq(tree_unlink(t, root, "fifo", 0), 0);
	ck_assert_int_eq(tree_mknod(t, root, "never", S_IFREG | 0600, 0, &me, &never), 0);
	ck_assert_int_eq(tree_unlink(t, root, "never", 0), 0);
	ck_assert_int_eq(tree_rename(t, root, "file", dir, "moved", 0), 0);
	ck_assert_int_eq(tree_rename(t, root, "swap", root, "dir", RENAME_EXCHANGE), 0);
	node_put(t, dir);
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		ck_assert_int_eq(tree_mknod(t, root, name, S_IFREG | 0600, 0, &me, &e), 0);
	}
	n = get(t, deep.id);
	node_put(t, n);
	n = get(t, a.id);
	ck_assert_int_eq(tree_stat(t, n, &st), 0);
	ck_assert_uint_eq(st.stx_ino, folder_stat("dir/moved").st_ino);
	node_put(t, n);
	n = get(t, gone.id);
	ck_assert_int_eq(tree_stat(t, n, &st), 0);
	ck_assert_uint_eq(st.stx_nlink, 0);
	node_put(t, n);
	node_put(t, get(t, fifo.id));
	ck_assert_int_eq(node_get(t, never.id, &n), -ESTALE);
	ck_assert_int_eq(tree_stat_id(t, never.id, &st), -ESTALE);
	node_put(t, root);
	tree_forget_all(t);
	ck_assert_uint_eq(tree_count(t).nodes, 1);
	tree_close(t);
	folder_remove();
}
END_TEST

/* What is only looked up and asked about is not opened. */
static void check_unopened(bool no_handles)
{
	struct tree_entry file, dir, below, other;
	struct tree *t;
	struct node *root, *n;
	struct statx st;

	folder_make();
	t = open_tree(0, no_handles, false);
	root = get(t, TREE_ROOT);
	file = look(t, root, "file");
	dir = look(t, root, "dir");
	ck_assert_uint_eq(look(t, root, "file").id, file.id);
	ck_assert_int_eq(tree_stat_id(t, file.id, &st), 0);
	ck_assert_uint_eq(st.stx_ino, file.st.stx_ino);
	ck_assert_uint_eq(tree_count(t).fds, 1);
	/* One that is renamed here is found there; another in its place is not taken for it. */
	ck_assert_int_eq(tree_rename(t, root, "file", root, "renamed", 0), 0);
	ck_assert_int_eq(tree_stat_id(t, file.id, &st), 0);
	n = get(t, dir.id);
	below = look(t, n, "file");
	node_put(t, n);
	ck_assert_uint_eq(tree_count(t).fds, 2);
	folder_unlink("dir/file");
	ck_assert_int_eq(tree_stat_id(t, below.id, &st), -ESTALE);
	folder_write("dir/file", "y", 1);
	ck_assert_int_eq(tree_stat_id(t, below.id, &st), -ESTALE);
	ck_assert_int_eq(node_get(t, below.id, &n), -ESTALE);
	/* A file that the other name still leads to stays what it was. */
	folder_link("renamed", "other");
	other = look(t, root, "other");
	ck_assert_uint_eq(other.id, file.id);
	ck_assert_int_eq(tree_unlink(t, root, "other", 0), 0);
	ck_assert_int_eq(tree_stat_id(t, file.id, &st), 0);
	ck_assert_int_eq(tree_stat_id(t, 12345, &st), -ESTALE);
	node_put(t, root);
	tree_forget_all(t);
	ck_assert_uint_eq(tree_count(t).nodes, 1);
	ck_assert_uint_eq(tree_count(t).fds, 1);
	tree_close(t);
	folder_remove();
}

START_TEST(test_unopened)
{
	check_unopened(false);
	check_unopened(true);
}
END_TEST

START_TEST(test_read_only)
{
	struct tree_entry e;
	struct tree *t;
	struct node *root, *n;
	int fd;

	folder_make();
	t = open_tree(0, false, true);
	root = get(t, TREE_ROOT);
	n = get(t, look(t, root, "file").id);
	ck_assert_int_eq(tree_mkdir(t, root, "x", 0700, &me, &e), -EROFS);
	ck_assert_int_eq(tree_mknod(t, root, "x", S_IFREG, 0, &me, &e), -EROFS);
	ck_assert_int_eq(tree_symlink(t, root, "x", "y", &me, &e), -EROFS);
	ck_assert_int_eq(tree_link(t, n, root, "x", &e), -EROFS);
	ck_assert_int_eq(tree_unlink(t, root, "file", 0), -EROFS);
	ck_assert_int_eq(tree_rename(t, root, "file", root, "x", 0), -EROFS);
	ck_assert_int_eq(tree_create(t, root, "x", O_RDWR, 0600, &me, &e), -EROFS);
	ck_assert_int_eq(tree_tmpfile(t, root, O_RDWR, 0600, &me, &e), -EROFS);
	ck_assert_int_eq(tree_open_node(t, n, O_RDWR), -EROFS);
	ck_assert_int_eq(tree_open_node(t, n, O_WRONLY), -EROFS);
	ck_assert_int_eq(tree_open_node(t, n, O_RDONLY | O_TRUNC), -EROFS);
	ck_assert_int_eq(tree_chmod(t, n, 0600), -EROFS);
	ck_assert_int_eq(tree_chown(t, n, 0, 0), -EROFS);
	ck_assert_int_eq(tree_truncate(t, n, 0, false), -EROFS);
	ck_assert_int_eq(tree_utimes(t, n, NULL), -EROFS);
	ck_assert_int_eq(tree_setxattr(t, n, "user.a", "b", 1, 0), -EROFS);
	ck_assert_int_eq(tree_removexattr(t, n, "user.a"), -EROFS);
	fd = tree_open_node(t, n, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	close(fd);
	node_put(t, n);
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

/* As root new files belong to the guest's user; else to the one who runs lkvm. */
START_TEST(test_ids)
{
	const struct tree_ids guest = { .uid = 12345, .gid = 23456, .umask = 027 };
	bool change = ids_may_change();
	uid_t uid = change ? 12345 : getuid();
	struct tree_entry e;
	struct tree *t;
	struct node *root;
	struct statx st;
	int fd;

	folder_make();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	ck_assert_int_eq(tree_mkdir(t, root, "d", 0777, &guest, &e), 0);
	ck_assert_uint_eq(e.st.stx_uid, uid);
	ck_assert_uint_eq(e.st.stx_mode & 07777, 0750);
	ck_assert_int_eq(tree_mknod(t, root, "n", S_IFIFO | 0666, 0, &guest, &e), 0);
	ck_assert_uint_eq(e.st.stx_uid, uid);
	ck_assert_uint_eq(e.st.stx_mode, S_IFIFO | 0640);
	ck_assert_int_eq(tree_symlink(t, root, "s", "x", &guest, &e), 0);
	ck_assert_uint_eq(e.st.stx_uid, uid);
	fd = tree_create(t, root, "f", O_WRONLY | O_EXCL, 0666, &guest, &e);
	ck_assert_int_ge(fd, 0);
	ck_assert_uint_eq(e.st.stx_uid, uid);
	ck_assert(!change || e.st.stx_gid == 23456);
	close(fd);
	/* Not for what comes behind */
	ck_assert_int_eq(tree_mkdir(t, root, "mine", 0777, &me, &e), 0);
	ck_assert_uint_eq(e.st.stx_uid, getuid());
	ck_assert_uint_eq(e.st.stx_mode & 07777, 0755);
	ck_assert_int_eq(tree_mknod(t, root, "b", S_IFBLK | 0600, makedev(7, 0), &me, &e), -EPERM);
	ck_assert_int_eq(tree_mknod(t, root, "c", S_IFCHR | 0600, makedev(1, 3), &me, &e), -EPERM);
	ck_assert_int_eq(tree_mknod(t, root, "w", S_IFCHR, 0, &me, &e), 0);
	/* A set-user-ID bit goes, as it would for one who may not keep it. */
	folder_chmod("file", 06755);
	struct node *n = get(t, look(t, root, "file").id);

	ck_assert_int_eq(tree_truncate(t, n, 3, true), 0);
	ck_assert_int_eq(tree_stat(t, n, &st), 0);
	ck_assert_uint_eq(st.stx_mode & 07777, 0755);
	node_put(t, n);
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

START_TEST(test_open_and_tmpfile)
{
	struct tree_entry e, f;
	struct tree *t;
	struct node *root, *n;
	char byte;
	int fd;

	folder_make();
	t = open_tree(0, false, false);
	root = get(t, TREE_ROOT);
	fd = tree_tmpfile(t, root, O_RDWR, 0600, &me, &e);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	n = get(t, e.id);
	ck_assert_int_eq(tree_link(t, n, root, "named", &f), 0);
	ck_assert_uint_eq(e.id, f.id);
	ck_assert_int_eq(folder_stat("named").st_size, 1);
	close(fd);
	fd = tree_open_node(t, n, O_RDONLY);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	close(fd);
	node_put(t, n);
	ck_assert_int_eq(tree_open_node(t, root, O_RDWR), -EISDIR);
	fd = tree_open_node(t, root, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(tree_rename(t, root, "file", root, "dir", RENAME_NOREPLACE), -EEXIST);
	ck_assert_int_eq(tree_rename(t, root, "file", root, "dir", 1 << 7), -EINVAL);
	node_put(t, root);
	tree_close(t);
	folder_remove();
}
END_TEST

static int open_made(void *ctx, const char *name)
{
	if (!strcmp(name, "none"))
		return -ENOENT;
	ck_assert(!strcmp(name, "made")); /* "file" is there */
	return fcntl(*(int *)ctx, F_DUPFD_CLOEXEC, 0);
}

/* Files that only seem to be in the folder */
START_TEST(test_made)
{
	int made = memfd_create("made", 0), fd;
	struct fs_made m = { .open = open_made, .ctx = &made };
	const struct tree_config cfg = { .path = folder, .read_only = true, .max_fds = 4, .made = &m };
	char text[8] = "";
	struct tree_entry e;
	struct stat st;
	struct tree *t;
	struct node *root, *dir, *n;

	folder_make();
	ck_assert_int_eq(stat(folder, &st), 0);
	m.dev = st.st_dev;
	m.ino = st.st_ino;
	ck_assert_int_eq(write(made, "text", 4), 4);
	ck_assert_int_eq(tree_open(&cfg, &t), 0);
	root = get(t, TREE_ROOT);
	e = look(t, root, "made");
	ck_assert(S_ISREG(e.st.stx_mode));
	ck_assert_uint_eq(e.st.stx_size, 4);
	ck_assert_uint_eq(look(t, root, "made").id, e.id);
	ck_assert_int_eq(tree_lookup(t, root, "none", &e), -ENOENT);
	look(t, root, "file");
	dir = get(t, look(t, root, "dir").id);
	ck_assert_int_eq(tree_lookup(t, dir, "made", &e), -ENOENT);
	node_put(t, dir);
	/* It cannot be opened again: others lose their descriptors. */
	for (int i = 0; i < 4; i++)
		look(t, root, (const char *[]){ "file", "dir", "up", "out" }[i]);
	n = get(t, look(t, root, "made").id);
	fd = tree_open_node(t, n, O_RDONLY);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 4);
	ck_assert_str_eq(text, "text");
	close(fd);
	node_put(t, n);
	tree_forget_all(t);
	ck_assert_uint_eq(tree_count(t).fds, 1);
	node_put(t, root);
	tree_close(t);
	close(made);
	folder_remove();
}
END_TEST

/* The table of descriptors is large before there are many. */
START_TEST(test_expect)
{
	struct rlimit limit;
	unsigned slots = 0;
	char line[128];
	FILE *f;

	folders_expect();
	f = fopen("/proc/self/status", "r");
	ck_assert_ptr_nonnull(f);
	while (!slots && fgets(line, sizeof(line), f))
		sscanf(line, "FDSize: %u", &slots);
	fclose(f);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_ge(slots, limit.rlim_cur < 4096 ? limit.rlim_cur : 4096);
}
END_TEST

UNIT_MAIN("tree", test_expect, test_names, test_lookup, test_links_lead_nowhere, test_race, test_many_by_handle,
	  test_many_by_name, test_moved, test_unopened, test_read_only, test_ids, test_open_and_tmpfile,
	  test_made)
