/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/log.o */

/* FUSE: every operation against what the host says itself; malformed ones; locks; bounds. */
#include "unit.h"

#include <dirent.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "fuse-rig.h"

#define ROOT FUSE_ROOT_ID

static struct fuse_attr attr_of(uint64_t node)
{
	const struct fuse_getattr_in arg = { 0 };
	struct fuse_attr_out out;

	ck_assert_int_eq(RIG(FUSE_GETATTR, node, sizeof(out), RIG_ARG(arg)), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	return out.attr;
}

static int setattr(uint64_t node, struct fuse_setattr_in arg)
{
	return RIG(FUSE_SETATTR, node, sizeof(struct fuse_attr_out), RIG_ARG(arg));
}

START_TEST(test_init)
{
	struct fuse_init_in init = { .major = 8, .minor = 1, .flags = UINT32_MAX };
	struct fuse_init_out out;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	ck_assert_int_eq(RIG(FUSE_DESTROY, 0, 0), 0);
	ck_assert(!rig_look(ROOT, "file") && errno == EPROTO); /* not begun */
	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out), RIG_ARG(init)), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	ck_assert_uint_eq(out.major, 7);
	ck_assert(!rig_look(ROOT, "file") && errno == EPROTO);
	init.major = 7;
	init.minor = 30;
	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out), RIG_ARG(init)), -EPROTO);
	init.minor = 31;
	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out) - 1, RIG_ARG(init)), -EINVAL);
	/* An older guest's is short. */
	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out), { &init, 15 }), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out), { &init, 16 }), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	ck_assert_uint_eq(out.max_write, 1 << 20);
	ck_assert_uint_eq(out.max_pages, 256);
	ck_assert(out.flags & FUSE_POSIX_LOCKS && !(out.flags & FUSE_WRITEBACK_CACHE));
	ck_assert_uint_ne(rig_look(ROOT, "file"), 0);
	/* It mounts anew: what it knew is gone. */
	ck_assert_uint_gt(fuse_count(fuse).nodes, 1);
	ck_assert_int_eq(rig_init(), 0);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_malformed)
{
	const struct fuse_mkdir_in mk = { .mode = 0755 };
	const char two[] = "a\0b";
	struct fuse_in_header in = { .opcode = FUSE_LOOKUP, .nodeid = ROOT };
	const size_t room = sizeof(struct fuse_entry_out);
	struct iovec iov = { &in, sizeof(in) };
	struct file_request req = { .out = &iov, .done = rig_is_done };
	static uint8_t large[128 << 10];

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	for (uint32_t op = 0; op < 70; op++) {
		if (op == FUSE_INIT || op == FUSE_DESTROY || op == FUSE_STATFS || op == FUSE_READLINK ||
		    op == FUSE_INTERRUPT)
			continue;
		ck_assert_msg(RIG(op, ROOT, 256) < 0, "empty %u", op);
	}
	ck_assert_int_eq(RIG(FUSE_POLL, ROOT, 64), -ENOSYS);
	ck_assert_int_eq(RIG(UINT32_MAX, ROOT, 64), -ENOSYS);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room, { "file", 4 }), -EINVAL); /* no NUL */
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room, { two, 4 }), -EINVAL);    /* two names */
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room - 1, RIG_NAME("file")), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room, RIG_NAME("..")), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room, RIG_NAME("dir/file")), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, 99, room, RIG_NAME("file")), -ESTALE);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, 0, room, RIG_NAME("file")), -ESTALE);
	ck_assert_int_eq(RIG(FUSE_MKDIR, ROOT, room - 1, RIG_ARG(mk), RIG_NAME("x")), -EINVAL);
	ck_assert_int_eq(faccessat(folder_fd, "x", F_OK, 0), -1); /* refused before it was made */
	memset(large, 'x', sizeof(large));
	ck_assert_int_eq(RIG(FUSE_LOOKUP, ROOT, room, { large, sizeof(large) }), -E2BIG);
	/* A header that lies, and none */
	in.len = sizeof(in) + 1;
	req.n_out = 1;
	rig_written = 1;
	fuse_serve(fuse, worker, &req);
	ck_assert_uint_eq(rig_written, 0);
	in.len = 3;
	rig_written = 1;
	fuse_serve(fuse, worker, &req);
	ck_assert_uint_eq(rig_written, 0);
	iov.iov_len = 39;
	rig_written = 1;
	ck_assert(!fuse_quick(fuse, &req));
	fuse_serve(fuse, worker, &req);
	ck_assert_uint_eq(rig_written, 0);
	folder_check_outside();
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_names)
{
	const size_t room = sizeof(struct fuse_entry_out);
	const struct fuse_mknod_in nod = { .mode = S_IFIFO | 0666, .umask = 022 };
	const struct fuse_mkdir_in dir = { .mode = 0777, .umask = 027 };
	struct fuse_rename_in mv = { .newdir = ROOT };
	struct fuse_rename2_in mv2 = { .newdir = ROOT, .flags = RENAME_NOREPLACE };
	struct fuse_link_in link;
	char to[64] = "";
	uint64_t file, made;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	ck_assert_uint_eq(rig_entry().attr.ino, folder_stat("file").st_ino);
	ck_assert_uint_eq(rig_entry().attr_valid, 1);
	ck_assert(!rig_look(ROOT, "none") && errno == ENOENT);
	ck_assert_int_eq(RIG(FUSE_MKNOD, ROOT, room, RIG_ARG(nod), RIG_NAME("p")), 0);
	ck_assert_uint_eq(folder_stat("p").st_mode, S_IFIFO | 0644);
	ck_assert_int_eq(RIG(FUSE_MKNOD, ROOT, room, RIG_ARG(nod), RIG_NAME("p")), -EEXIST);
	ck_assert_int_eq(RIG(FUSE_MKDIR, ROOT, room, RIG_ARG(dir), RIG_NAME("d")), 0);
	made = rig_entry().nodeid;
	ck_assert_uint_eq(folder_stat("d").st_mode & 07777, 0750);
	ck_assert_int_eq(RIG(FUSE_SYMLINK, ROOT, room, RIG_NAME("s"), RIG_NAME("/etc/passwd")), 0);
	ck_assert_int_eq(RIG(FUSE_READLINK, rig_entry().nodeid, 64), 0);
	ck_assert_uint_eq(rig_body_bytes(), 11);
	ck_assert_int_eq(readlinkat(folder_fd, "s", to, sizeof(to)), 11);
	ck_assert_int_eq(RIG(FUSE_READLINK, file, 64), -EINVAL);
	link.oldnodeid = file;
	ck_assert_int_eq(RIG(FUSE_LINK, made, room, RIG_ARG(link), RIG_NAME("l")), 0);
	ck_assert_uint_eq(rig_entry().nodeid, file);
	ck_assert_uint_eq(rig_entry().attr.nlink, 2);
	ck_assert_int_eq(RIG(FUSE_RMDIR, ROOT, 0, RIG_NAME("d")), -ENOTEMPTY);
	ck_assert_int_eq(RIG(FUSE_UNLINK, ROOT, 0, RIG_NAME("d")), -EISDIR);
	ck_assert_int_eq(RIG(FUSE_RMDIR, ROOT, 0, RIG_NAME("file")), -ENOTDIR);
	ck_assert_int_eq(RIG(FUSE_RENAME, made, 0, RIG_ARG(mv), RIG_NAME("l"), RIG_NAME("m")), 0);
	ck_assert_uint_eq(folder_stat("m").st_ino, folder_stat("file").st_ino);
	ck_assert_int_eq(RIG(FUSE_RENAME2, ROOT, 0, RIG_ARG(mv2), RIG_NAME("m"), RIG_NAME("big")),
			 -EEXIST);
	mv.newdir = made;
	ck_assert_int_eq(RIG(FUSE_RENAME, ROOT, 0, RIG_ARG(mv), RIG_NAME("d"), RIG_NAME("e")), -EINVAL);
	mv.newdir = 4711;
	ck_assert_int_eq(RIG(FUSE_RENAME, ROOT, 0, RIG_ARG(mv), RIG_NAME("m"), RIG_NAME("e")), -ESTALE);
	ck_assert_int_eq(RIG(FUSE_UNLINK, ROOT, 0, RIG_NAME("m")), 0);
	ck_assert_int_eq(RIG(FUSE_UNLINK, ROOT, 0, RIG_NAME("m")), -ENOENT);
	ck_assert_int_eq(RIG(FUSE_RMDIR, ROOT, 0, RIG_NAME("d")), 0);
	folder_check_outside();
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_attributes)
{
	struct fuse_setattr_in set = { .valid = FATTR_MODE, .mode = 04711 };
	struct stat st;
	struct statfs fs;
	struct fuse_statfs_out fs_out;
	struct fuse_attr attr;
	uint64_t file, fh;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	st = folder_stat("file");
	attr = attr_of(file);
	ck_assert_uint_eq(attr.size, 5);
	ck_assert_uint_eq(attr.mode, st.st_mode);
	ck_assert_uint_eq(attr.mtimensec, (uint64_t)st.st_mtim.tv_nsec);
	ck_assert_uint_eq(attr.blocks, (uint64_t)st.st_blocks);
	ck_assert_int_eq(setattr(file, set), 0);
	ck_assert_uint_eq(folder_stat("file").st_mode & 07777, 04711);
	set.valid = FATTR_UID | FATTR_GID;
	set.uid = getuid();
	set.gid = getgid();
	ck_assert_int_eq(setattr(file, set), 0);
	ck_assert_uint_eq(folder_stat("file").st_mode & 07777, 0711);
	set = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = 3 };
	ck_assert_int_eq(setattr(file, set), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 3);
	ck_assert_int_eq(setattr(ROOT, set), -EISDIR);
	ck_assert_int_eq(setattr(rig_look(ROOT, "fifo"), set), -EINVAL);
	set.size = 1ULL << 63;
	ck_assert_int_eq(setattr(file, set), -EINVAL);
	/* Open for writing, it can be cut though its mode no longer allows it. */
	ck_assert_int_eq(rig_open(file, O_RDWR, &fh), 0);
	folder_chmod("file", 0);
	set = (struct fuse_setattr_in){ .valid = FATTR_SIZE | FATTR_FH, .size = 1ULL << 33, .fh = fh };
	ck_assert_int_eq(setattr(file, set), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 1LL << 33);
	set.fh = fh + 1;
	ck_assert_int_eq(setattr(file, set), -EBADF);
	set = (struct fuse_setattr_in){ .valid = FATTR_MTIME | FATTR_ATIME_NOW, .mtime = 77, .mtimensec = 5 };
	ck_assert_int_eq(setattr(file, set), 0);
	ck_assert_int_eq(folder_stat("file").st_mtim.tv_sec, 77);
	ck_assert_int_eq(folder_stat("file").st_mtim.tv_nsec, 5);
	ck_assert_int_eq(RIG(FUSE_STATFS, ROOT, sizeof(fs_out)), 0);
	memcpy(&fs_out, RIG_BODY, sizeof(fs_out));
	ck_assert_int_eq(fstatfs(folder_fd, &fs), 0);
	ck_assert_uint_eq(fs_out.st.blocks, fs.f_blocks);
	ck_assert_uint_eq(fs_out.st.namelen, (uint64_t)fs.f_namelen);
	ck_assert_int_eq(RIG(FUSE_SYNCFS, ROOT, 0, { "\0\0\0\0\0\0\0\0", 8 }), 0);
	rig_free();
	folder_remove();
}
END_TEST

static int set_xattr(uint64_t node, const char *name, const void *value, uint32_t len, uint32_t flags)
{
	const uint32_t arg[2] = { len, flags };

	return RIG(FUSE_SETXATTR, node, 0, RIG_ARG(arg), RIG_NAME(name), { value, len });
}

static int get_xattr(uint64_t node, const char *name, uint32_t size)
{
	const struct fuse_getxattr_in arg = { .size = size };

	return RIG(FUSE_GETXATTR, node, size ? size : 8, RIG_ARG(arg), RIG_NAME(name));
}

START_TEST(test_xattrs)
{
	struct fuse_getxattr_in arg = { .size = 0 };
	struct fuse_getxattr_out out;
	const uint32_t lies[2] = { 100, 0 };
	char value[8];
	uint64_t file;
	int err;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	err = fsetxattr(openat(folder_fd, "big", O_RDONLY), "user.probe", "x", 1, 0) ? -errno : 0;
	ck_assert_int_eq(set_xattr(file, "user.a", "v", 1, 0), err);
	if (!err) { /* tmpfs has none before Linux 6.6 */
		ck_assert_int_eq(set_xattr(file, "user.a", "v", 1, XATTR_CREATE), -EEXIST);
		ck_assert_int_eq(set_xattr(file, "user.b", "v", 1, XATTR_REPLACE), -ENODATA);
		ck_assert_int_eq(get_xattr(file, "user.a", 0), 0);
		memcpy(&out, RIG_BODY, sizeof(out));
		ck_assert_uint_eq(out.size, 1);
		ck_assert_int_eq(get_xattr(file, "user.a", 1), 0);
		ck_assert_uint_eq(rig_body_bytes(), 1);
		ck_assert_int_eq(RIG_BODY[0], 'v');
		ck_assert_int_eq(set_xattr(file, "user.a", "longer", 6, 0), 0);
		ck_assert_int_eq(get_xattr(file, "user.a", 1), -ERANGE);
		ck_assert_int_eq(RIG(FUSE_LISTXATTR, file, 8, RIG_ARG(arg)), 0);
		memcpy(&out, RIG_BODY, sizeof(out));
		ck_assert_uint_ge(out.size, 7);
		arg.size = 256;
		ck_assert_int_eq(RIG(FUSE_LISTXATTR, file, 256, RIG_ARG(arg)), 0);
		ck_assert_uint_eq(rig_body_bytes(), out.size);
		arg.size = 3;
		ck_assert_int_eq(RIG(FUSE_LISTXATTR, file, 3, RIG_ARG(arg)), -ERANGE);
		ck_assert_int_eq(RIG(FUSE_REMOVEXATTR, file, 0, RIG_NAME("user.a")), 0);
		ck_assert_int_eq(get_xattr(file, "user.a", 8), -ENODATA);
		ck_assert_int_eq(fgetxattr(openat(folder_fd, "file", O_RDONLY), "user.a", value, 8), -1);
	}
	ck_assert_int_eq(RIG(FUSE_SETXATTR, file, 0, RIG_ARG(lies), RIG_NAME("user.a"), { "x", 1 }), -EINVAL);
	ck_assert_int_eq(set_xattr(file, "user.a", "x", 1, 4), -EINVAL);
	ck_assert_int_eq(set_xattr(file, "", "x", 1, 0), -ERANGE);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_data)
{
	static uint8_t host[FOLDER_BIG];
	struct fuse_fallocate_in alloc = { .length = 1 << 20, .mode = 3 }; /* a hole */
	struct fuse_lseek_in seek = { .whence = SEEK_DATA };
	struct fuse_lseek_out at;
	struct fuse_copy_file_range_in copy = { .len = UINT64_MAX };
	struct fuse_flush_in flush = { 0 };
	struct fuse_fsync_in sync = { 0 };
	struct fuse_write_out wrote;
	uint64_t big, file, fh, to;
	int fd;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	rig_cut = 4099;
	fd = openat(folder_fd, "big", O_RDWR);
	ck_assert_int_eq(read(fd, host, sizeof(host)), FOLDER_BIG);
	big = rig_look(ROOT, "big");
	ck_assert_int_eq(rig_open(big, O_RDWR | O_DIRECT | O_APPEND | O_CREAT | O_EXCL, &fh), 0);
	for (uint32_t off = 0; off < FOLDER_BIG; off += 1 << 20) {
		ck_assert_int_eq(rig_read(FUSE_READ, big, fh, off, 1 << 20), 0);
		ck_assert_uint_eq(rig_body_bytes(), 1 << 20);
		ck_assert_int_eq(memcmp(RIG_BODY, host + off, 1 << 20), 0);
	}
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh, FOLDER_BIG - 10, 100), 0);
	ck_assert_uint_eq(rig_body_bytes(), 10);
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh, FOLDER_BIG, 100), 0);
	ck_assert_uint_eq(rig_body_bytes(), 0);
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh, 0, (1 << 20) + 1), -EINVAL);
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh, UINT64_MAX, 10), -EINVAL);
	ck_assert_int_eq(rig_read(FUSE_READ, ROOT, fh, 0, 10), -EBADF);
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh + 1, 0, 10), -EBADF);
	ck_assert_int_eq(rig_read(FUSE_READ, big, UINT64_MAX, 0, 10), -EBADF);
	/* What the guest's page cache writes stays where it is, also of a file that is appended to. */
	ck_assert_int_eq(rig_write(big, fh, 5, host, 1 << 20, FUSE_WRITE_CACHE, O_APPEND), 0);
	memcpy(&wrote, RIG_BODY, sizeof(wrote));
	ck_assert_uint_eq(wrote.size, 1 << 20);
	ck_assert_int_eq(folder_stat("big").st_size, FOLDER_BIG);
	ck_assert_int_eq(rig_write(big, fh, 5, "xyz", 3, 0, O_APPEND), 0);
	ck_assert_int_eq(folder_stat("big").st_size, FOLDER_BIG + 3);
	ck_assert_int_eq(rig_write(big, fh, 5ULL << 30, "far", 3, 0, 0), 0);
	ck_assert_int_eq(folder_stat("big").st_size, (5LL << 30) + 3);
	ck_assert_int_eq(rig_write(big, fh, UINT64_MAX, "far", 3, 0, 0), -EINVAL);
	alloc.fh = seek.fh = copy.fh_in = flush.fh = sync.fh = fh;
	ck_assert_int_eq(RIG(FUSE_FALLOCATE, big, 0, RIG_ARG(alloc)), 0);
	ck_assert_int_eq(RIG(FUSE_LSEEK, big, sizeof(at), RIG_ARG(seek)), 0);
	memcpy(&at, RIG_BODY, sizeof(at));
	ck_assert_int_eq((off_t)at.offset, lseek(fd, 0, SEEK_DATA));
	seek.whence = SEEK_SET;
	ck_assert_int_eq(RIG(FUSE_LSEEK, big, sizeof(at), RIG_ARG(seek)), -EINVAL);
	file = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_open(file, O_WRONLY | O_TRUNC, &to), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 0);
	ck_assert_int_eq(rig_read(FUSE_READ, file, to, 0, 10), -EBADF);
	copy.nodeid_out = file;
	copy.fh_out = to;
	ck_assert_int_eq(RIG(FUSE_COPY_FILE_RANGE, big, sizeof(wrote), RIG_ARG(copy)), 0);
	memcpy(&wrote, RIG_BODY, sizeof(wrote));
	ck_assert_int_eq(folder_stat("file").st_size, wrote.size);
	ck_assert_uint_gt(wrote.size, 0);
	ck_assert_int_eq(RIG(FUSE_FLUSH, big, 0, RIG_ARG(flush)), 0);
	ck_assert_int_eq(RIG(FUSE_FSYNC, big, 0, RIG_ARG(sync)), 0);
	sync.fsync_flags = FUSE_FSYNC_FDATASYNC;
	ck_assert_int_eq(RIG(FUSE_FSYNC, big, 0, RIG_ARG(sync)), 0);
	/* Open, unlinked, and still there */
	ck_assert_int_eq(RIG(FUSE_UNLINK, ROOT, 0, RIG_NAME("big")), 0);
	ck_assert_uint_eq(attr_of(big).nlink, 0);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, big, fh), 0);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, big, fh), -EBADF);
	ck_assert_uint_eq(fuse_count(fuse).handles, 1);
	ck_assert_int_eq(rig_open(ROOT, O_RDONLY, &fh), -EISDIR);
	ck_assert_int_eq(rig_open(rig_look(ROOT, "fifo"), O_RDONLY, &fh), -ENXIO);
	ck_assert_int_eq(rig_open(rig_look(ROOT, "out"), O_RDONLY, &fh), -ELOOP);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_create)
{
	struct fuse_create_in arg = { .flags = O_RDWR | O_EXCL, .mode = 0666, .umask = 077 };
	const size_t room = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	struct fuse_counts before;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	before = fuse_count(fuse);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("new")), 0);
	entry = rig_entry();
	memcpy(&open, RIG_BODY + sizeof(entry), sizeof(open));
	ck_assert_uint_eq(folder_stat("new").st_mode, S_IFREG | 0600);
	ck_assert_int_eq(rig_write(entry.nodeid, open.fh, 0, "data", 4, 0, 0), 0);
	ck_assert_int_eq(folder_stat("new").st_size, 4);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("new")), -EEXIST);
	arg.flags = O_RDWR | O_TRUNC;
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("new")), 0);
	ck_assert_uint_eq(rig_entry().nodeid, entry.nodeid);
	ck_assert_uint_eq(rig_entry().attr.size, 0);
	ck_assert_int_eq(folder_stat("new").st_size, 0);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("dir")), -EISDIR);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("out")), -ELOOP);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("fifo")), -ENXIO);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(arg), RIG_NAME("../made")), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_TMPFILE, ROOT, room, RIG_ARG(arg), RIG_NAME("/")), 0);
	ck_assert_uint_eq(rig_entry().attr.nlink, 0);
	ck_assert_uint_eq(fuse_count(fuse).handles, 3);
	/* What failed has left nothing: a descriptor for each node, and for each open file. */
	ck_assert_uint_eq(fuse_count(fuse).fds, fuse_count(fuse).nodes + 3);
	ck_assert_int_eq(rig_init(), 0);
	ck_assert_uint_eq(fuse_count(fuse).fds, before.fds);
	folder_check_outside();
	rig_free();
	folder_remove();
}
END_TEST

#define FILES 3000

/* Every entry once, whatever the buffers' size, while others come and go; offsets stay good. */
/* The guest does not wait for it: it is answered at once, and closed later. */
START_TEST(test_quick_release)
{
	struct {
		struct fuse_in_header in;
		struct fuse_release_in arg;
	} rq = { .in = { .len = sizeof(rq), .opcode = FUSE_RELEASE } };
	struct fuse_out_header out;
	struct iovec to = { &rq, sizeof(rq) }, from = { &out, sizeof(out) };
	struct file_request req = { .out = &to, .in = &from, .n_out = 1, .n_in = 1, .done = rig_is_done };
	unsigned fds;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	rq.in.nodeid = rig_look(ROOT, "big");
	ck_assert_int_eq(rig_open(rq.in.nodeid, O_RDONLY, &rq.arg.fh), 0);
	fds = fuse_count(fuse).fds;
	/* Not if it was locked: the next request may be for that lock. Nor if it is another's, or too short. */
	rq.arg.release_flags = FUSE_RELEASE_FLOCK_UNLOCK;
	ck_assert(!fuse_quick(fuse, &req));
	rq.arg.release_flags = 0;
	rq.arg.fh++;
	ck_assert(!fuse_quick(fuse, &req));
	rq.arg.fh--;
	rq.in.nodeid++;
	ck_assert(!fuse_quick(fuse, &req));
	rq.in.nodeid--;
	rq.in.len--;
	ck_assert(!fuse_quick(fuse, &req));
	rq.in.len++;
	ck_assert_uint_eq(fuse_count(fuse).handles, 1);
	for (int chore = 0; chore < 2; chore++) {
		ck_assert(fuse_quick(fuse, &req));
		ck_assert_int_eq(out.error, 0);
		ck_assert_uint_eq(fuse_count(fuse).handles, 0);
		ck_assert_uint_eq(fuse_count(fuse).fds, fds);
		ck_assert(!fuse_quick(fuse, &req)); /* once too often */
		ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_NOW);
		if (chore)
			fuse_chores(fuse);
		else
			ck_assert_int_eq(rig_release(FUSE_RELEASE, rq.in.nodeid, rq.arg.fh), -EBADF);
		ck_assert_uint_eq(fuse_count(fuse).fds, fds - 1);
		ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_NONE);
		ck_assert_int_eq(rig_open(rq.in.nodeid, O_RDONLY, &rq.arg.fh), 0);
	}
	ck_assert(fuse_quick(fuse, &req)); /* and never closed, but for the end */
	rig_free();
	folder_remove();
}
END_TEST

static void check_dir(uint32_t op, uint32_t room)
{
	static bool seen[FILES];
	const struct fuse_open_in arg = { 0 };
	struct fuse_open_out open;
	uint64_t dir = rig_look(ROOT, "dir"), off = 0, half = 0;
	unsigned n = 0, others = 0, after_half = 0;
	const size_t skip = op == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;

	memset(seen, 0, sizeof(seen));
	ck_assert_int_eq(RIG(FUSE_OPENDIR, dir, sizeof(open), RIG_ARG(arg)), 0);
	memcpy(&open, RIG_BODY, sizeof(open));
	for (;;) {
		ck_assert_int_eq(rig_read(op, dir, open.fh, off, room), 0);
		if (!rig_body_bytes())
			break;
		for (size_t at = 0; at < rig_body_bytes();) {
			const struct fuse_dirent *e = (const void *)(RIG_BODY + at + skip);
			unsigned i;

			if (sscanf(e->name, "%u", &i) == 1) {
				ck_assert(!seen[i]);
				seen[i] = true;
				n++;
			} else {
				others++;
			}
			off = e->off;
			after_half += half != 0;
			if (n == FILES / 2)
				half = off;
			at += FUSE_REC_ALIGN(skip + FUSE_NAME_OFFSET + e->namelen);
		}
	}
	ck_assert_uint_eq(n, FILES);
	ck_assert_uint_eq(others, 3); /* ., .., file */
	/* Back to the middle */
	for (off = half, n = 0;;) {
		ck_assert_int_eq(rig_read(op, dir, open.fh, off, room), 0);
		if (!rig_body_bytes())
			break;
		for (size_t at = 0; at < rig_body_bytes(); n++) {
			const struct fuse_dirent *e = (const void *)(RIG_BODY + at + skip);

			off = e->off;
			at += FUSE_REC_ALIGN(skip + FUSE_NAME_OFFSET + e->namelen);
		}
	}
	ck_assert_uint_eq(n, after_half);
	ck_assert_int_eq(rig_read(op, dir, open.fh, 0, 16), -EINVAL);
	ck_assert_int_eq(rig_read(op, ROOT, open.fh, 0, 512), -EBADF);
	ck_assert_int_eq(rig_release(FUSE_RELEASEDIR, dir, open.fh), 0);
}

/* What another user than root changes is no set-user-ID program any more, what root changes still is. */
START_TEST(test_plain)
{
	struct fuse_create_in create = { .flags = O_RDWR | O_TRUNC };
	struct fuse_copy_file_range_in copy = { .len = 3 };
	const size_t room = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);
	const mode_t bits[] = { 06777, 0777 };

	if (geteuid())
		return;
	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	copy.nodeid_out = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_open(copy.nodeid_out, O_WRONLY, &copy.fh_out), 0);
	ck_assert_int_eq(rig_open(rig_look(ROOT, "big"), O_RDONLY, &copy.fh_in), 0);
	for (int user = 0; user < 2; user++) {
		rig_uid = rig_gid = user ? 1234 : 0;
		create.open_flags = user ? FUSE_OPEN_KILL_SUIDGID : 0;
		folder_chmod("file", 06777);
		ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room, RIG_ARG(create), RIG_NAME("file")), 0);
		ck_assert_uint_eq(folder_stat("file").st_mode & 07777, bits[user]);
		ck_assert_uint_eq(rig_entry().attr.mode & 07777, bits[user]);
		folder_chmod("file", 06777);
		ck_assert_int_eq(RIG(FUSE_COPY_FILE_RANGE, rig_look(ROOT, "big"), sizeof(struct fuse_write_out),
				     RIG_ARG(copy)), 0);
		ck_assert_uint_eq(folder_stat("file").st_mode & 07777, bits[user]);
	}
	rig_uid = rig_gid = 0;
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_dirs)
{
	char name[32];

	folder_make();
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "dir/%u", i);
		folder_write(name, "", 0);
	}
	rig_new(false, FS_CACHE_AUTO, 64);
	rig_cut = 1000;
	check_dir(FUSE_READDIR, 4096);
	ck_assert_uint_lt(fuse_count(fuse).nodes, 4);
	check_dir(FUSE_READDIR, 300);
	check_dir(FUSE_READDIRPLUS, 4096);
	check_dir(FUSE_READDIRPLUS, 65536);
	ck_assert_uint_ge(fuse_count(fuse).nodes, FILES);
	ck_assert_uint_le(fuse_count(fuse).fds, 64);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_forget)
{
	struct fuse_in_header in = { .len = sizeof(in) + 8, .opcode = FUSE_FORGET };
	struct {
		struct fuse_in_header in;
		struct fuse_batch_forget_in arg;
		struct fuse_forget_one one[2];
	} batch = { { .len = sizeof(batch), .opcode = FUSE_BATCH_FORGET }, { .count = 1000 }, { { 0 } } };
	uint64_t n = 1;
	struct iovec iov[2] = { { &in, sizeof(in) }, { &n, 8 } }, one = { &batch, sizeof(batch) };
	struct file_request req = { .out = iov, .n_out = 2, .done = rig_is_done };
	struct file_request many = { .out = &one, .n_out = 1, .done = rig_is_done };

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	in.nodeid = rig_look(ROOT, "file");
	ck_assert_uint_eq(rig_look(ROOT, "file"), in.nodeid);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 2);
	ck_assert(fuse_quick(fuse, &req));
	ck_assert_uint_eq(fuse_count(fuse).nodes, 2);
	ck_assert(fuse_quick(fuse, &req));
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	ck_assert(fuse_quick(fuse, &req)); /* once too often */
	ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_NOW);
	fuse_chores(fuse);
	ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_NONE);
	ck_assert_uint_eq(fuse_count(fuse).fds, 1);
	batch.one[0] = (struct fuse_forget_one){ rig_look(ROOT, "file"), 5 };
	batch.one[1] = (struct fuse_forget_one){ rig_look(ROOT, "dir"), 1 };
	ck_assert(fuse_quick(fuse, &many));
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	batch.in.len = sizeof(batch.in) + 3;
	ck_assert(fuse_quick(fuse, &many));
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_locks)
{
	struct fuse_flush_in flush = { .lock_owner = 1 };
	struct flock host = { .l_type = F_WRLCK, .l_start = 100, .l_len = 10 };
	struct fuse_lk_out lk;
	struct fuse_in_header in = { .len = sizeof(in) + 8, .opcode = FUSE_INTERRUPT };
	uint64_t unique;
	struct iovec iov[2] = { { &in, sizeof(in) }, { &unique, 8 } };
	struct file_request req = { .out = iov, .n_out = 2, .done = rig_is_done };
	struct fuse_out_header out;
	struct file_request second;
	struct fuse_in_header *head = (void *)rig_out;
	uint64_t file, fh, fh2;
	int fd;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_open(file, O_RDWR, &fh), 0);
	ck_assert_int_eq(rig_open(file, O_RDWR, &fh2), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_WRLCK, 0, 9, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 2, F_RDLCK, 5, 5, 0), -EAGAIN);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 2, F_RDLCK, 10, INT64_MAX, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_RDLCK, 10, 20, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_GETLK, file, fh, 2, F_WRLCK, 0, INT64_MAX, 0), 0);
	memcpy(&lk, RIG_BODY, sizeof(lk));
	ck_assert_uint_eq(lk.lk.type, F_WRLCK);
	ck_assert_uint_eq(lk.lk.end, 9);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_RDLCK, 9, 5, 0), -EINVAL);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, 17, 0, 5, 0), -EINVAL);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_RDLCK, 0, UINT64_MAX, 0), -EINVAL);
	/* The host sees them, and they see the host's. */
	fd = openat(folder_fd, "file", O_RDWR);
	host.l_start = 0;
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &host), -1);
	/* Who waits gets it as soon as it is free. */
	ck_assert_int_eq(rig_lock(FUSE_SETLKW, file, fh, 3, F_WRLCK, 3, 4, 0), -EINPROGRESS);
	ck_assert_uint_eq(fuse_count(fuse).waiters, 1);
	ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_SOON);
	fuse_chores(fuse);
	ck_assert(!rig_done);
	flush.fh = fh;
	/* The rig has one set of buffers: the second request's are the first's, too. */
	head->opcode = FUSE_FLUSH;
	head->len = sizeof(*head) + sizeof(flush);
	memcpy(head + 1, &flush, sizeof(flush));
	second = rig_request;
	fuse_serve(fuse, worker, &second);
	ck_assert_uint_eq(fuse_count(fuse).waiters, 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_WRLCK, 3, 4, 0), -EAGAIN);
	/* Interrupted */
	ck_assert_int_eq(rig_lock(FUSE_SETLKW, file, fh, 1, F_WRLCK, 3, 4, 0), -EINPROGRESS);
	unique = rig_unique + 1;
	fuse_serve(fuse, worker, &req);
	ck_assert_uint_eq(fuse_count(fuse).waiters, 1);
	unique = rig_unique;
	fuse_serve(fuse, worker, &req);
	ck_assert_uint_eq(fuse_count(fuse).waiters, 0);
	memcpy(&out, rig_in, sizeof(out));
	ck_assert_int_eq(out.error, -EINTR);
	/* The host's own goes away. */
	host.l_start = 100;
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 2, F_UNLCK, 0, INT64_MAX, 0), 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &host), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLKW, file, fh, 1, F_WRLCK, 100, 100, 0), -EINPROGRESS);
	fuse_chores(fuse);
	ck_assert(!rig_done);
	close(fd);
	fuse_chores(fuse);
	ck_assert(rig_done);
	memcpy(&out, rig_in, sizeof(out));
	ck_assert_int_eq(out.error, 0);
	/* flock() */
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 0, F_WRLCK, 0, 0, FUSE_LK_FLOCK), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh2, 0, F_RDLCK, 0, 0, FUSE_LK_FLOCK), -EAGAIN);
	fd = openat(folder_fd, "file", O_RDWR);
	ck_assert_int_eq(flock(fd, LOCK_SH | LOCK_NB), -1);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, file, fh), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh2, 0, F_RDLCK, 0, 0, FUSE_LK_FLOCK), 0);
	/* Too many who wait; all end with a reset. */
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh2, 9, F_WRLCK, 500, 500, 0), 0);
	for (unsigned i = 0; i < 32; i++)
		ck_assert_int_eq(rig_lock(FUSE_SETLKW, file, fh2, 10 + i, F_WRLCK, 500, 500, 0),
				 -EINPROGRESS);
	ck_assert_int_eq(rig_lock(FUSE_SETLKW, file, fh2, 99, F_WRLCK, 500, 500, 0), -ENOLCK);
	fuse_reset(fuse);
	ck_assert_uint_eq(fuse_count(fuse).waiters, 0);
	ck_assert_uint_eq(fuse_count(fuse).fds, 1);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_read_only)
{
	const size_t room = sizeof(struct fuse_entry_out);
	const struct fuse_mkdir_in dir = { .mode = 0777 };
	const struct fuse_rename_in mv = { .newdir = ROOT };
	const struct fuse_create_in create = { .flags = O_RDONLY };
	const struct fuse_setattr_in set = { .valid = FATTR_MTIME_NOW };
	struct fuse_open_out open;
	uint64_t file, fh;

	folder_make();
	rig_new(true, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	ck_assert_uint_gt(rig_entry().attr_valid, 1000);
	/* What is not there stays so. */
	ck_assert_uint_eq(rig_look(ROOT, "none"), 0);
	ck_assert_int_eq(errno, 0);
	ck_assert_uint_gt(rig_entry().entry_valid, 1000);
	ck_assert_int_eq(RIG(FUSE_MKDIR, ROOT, room, RIG_ARG(dir), RIG_NAME("x")), -EROFS);
	ck_assert_int_eq(RIG(FUSE_UNLINK, ROOT, 0, RIG_NAME("file")), -EROFS);
	ck_assert_int_eq(RIG(FUSE_RENAME, ROOT, 0, RIG_ARG(mv), RIG_NAME("file"), RIG_NAME("x")), -EROFS);
	ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, room + 16, RIG_ARG(create), RIG_NAME("x")), -EROFS);
	ck_assert_int_eq(setattr(file, set), -EROFS);
	ck_assert_int_eq(set_xattr(file, "user.a", "v", 1, 0), -EROFS);
	ck_assert_int_eq(rig_open(file, O_RDWR, &fh), -EROFS);
	ck_assert_int_eq(rig_open(file, O_RDONLY | O_TRUNC, &fh), -EROFS);
	ck_assert_int_eq(rig_open(file, O_RDONLY, &fh), 0);
	memcpy(&open, RIG_BODY, sizeof(open));
	ck_assert_uint_eq(open.open_flags, FOPEN_KEEP_CACHE);
	ck_assert_int_eq(rig_write(file, fh, 0, "x", 1, 0, 0), -EROFS);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_RDLCK, 0, 9, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, file, fh, 1, F_WRLCK, 0, 9, 0), -EBADF);
	rig_free();
	folder_remove();
}
END_TEST

static uint32_t open_flags(uint64_t file)
{
	struct fuse_open_out open;
	uint64_t fh;

	ck_assert_int_eq(rig_open(file, O_RDONLY, &fh), 0);
	memcpy(&open, RIG_BODY, sizeof(open));
	ck_assert_int_eq(rig_release(FUSE_RELEASE, file, fh), 0);
	return open.open_flags;
}

START_TEST(test_cache)
{
	struct timespec old[2] = { { 0, UTIME_OMIT }, { 1000, 0 } };
	uint64_t file;

	folder_make();
	rig_new(false, FS_CACHE_NONE, 0);
	file = rig_look(ROOT, "file");
	ck_assert_uint_eq(rig_entry().attr_valid, 0);
	ck_assert_uint_eq(open_flags(file), FOPEN_DIRECT_IO);
	rig_free();
	rig_new(false, FS_CACHE_ALWAYS, 0);
	file = rig_look(ROOT, "file");
	ck_assert_uint_gt(rig_entry().attr_valid, 1000);
	ck_assert_uint_eq(open_flags(file), FOPEN_KEEP_CACHE);
	rig_free();
	/* From close to open: kept if nothing has changed, and that can be told. */
	rig_new(false, FS_CACHE_AUTO, 0);
	file = rig_look(ROOT, "file");
	ck_assert_uint_eq(open_flags(file), 0);
	ck_assert_uint_eq(open_flags(file), 0); /* changed too shortly before */
	ck_assert_int_eq(utimensat(folder_fd, "file", old, 0), 0);
	usleep(2100 * 1000); /* the host's clock is what is asked */
	ck_assert_uint_eq(open_flags(file), 0);
	ck_assert_uint_eq(open_flags(file), FOPEN_KEEP_CACHE);
	folder_write("file", "HELLO", 5);
	ck_assert_uint_eq(open_flags(file), 0);
	rig_free();
	folder_remove();
}
END_TEST

/* No descriptor is left for one request, and there is again for the next. */
START_TEST(test_shortage)
{
	uint64_t file, big, fh[64];
	unsigned n = 0;

	folder_make();
	rig_new(false, FS_CACHE_AUTO, 16);
	file = rig_look(ROOT, "file");
	while (n < 64 && !rig_open(file, O_RDONLY, &fh[n]))
		n++;
	ck_assert_uint_ge(n, 10);
	ck_assert_uint_lt(n, 16);
	ck_assert_int_eq(rig_open(file, O_RDONLY, &fh[n]), -ENFILE);
	big = rig_look(ROOT, "big"); /* for that it need not be opened */
	ck_assert_int_eq(rig_open(big, O_RDONLY, &fh[n]), -ENFILE);
	ck_assert_int_eq(rig_read(FUSE_READ, file, fh[0], 0, 5), 0);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, file, fh[0]), 0);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, file, fh[1]), 0);
	ck_assert_int_eq(rig_open(big, O_RDONLY, &fh[0]), 0);
	rig_free();
	folder_remove();
}
END_TEST

/* What is mounted within: a mount of the guest's, or a folder as others with a number of its own */
START_TEST(test_mounts)
{
	struct fs_config cfg = { .path = "/", .tag = "tag", .read_only = true };
	const uint64_t high = UINT64_MAX << 48;
	struct fuse_attr attr;
	struct stat root, proc;

	ck_assert_int_eq(stat("/", &root), 0);
	ck_assert_int_eq(stat("/proc", &proc), 0);
	ck_assert_uint_ne(root.st_dev, proc.st_dev);
	worker = file_worker_new();
	for (int one = 0; one < 2; one++) {
		cfg.one_mount = one;
		ck_assert_int_eq(fuse_new(&cfg, &fuse), 0);
		ck_assert_int_eq(rig_init(), 0);
		ck_assert_uint_ne(rig_look(ROOT, "proc"), 0);
		attr = rig_entry().attr;
		ck_assert_uint_eq(attr.flags, one ? 0 : FUSE_ATTR_SUBMOUNT);
		ck_assert_uint_eq(attr.ino & ~high, proc.st_ino);
		ck_assert_int_eq((attr.ino & high) != 0, one);
		ck_assert_uint_ne(rig_look(ROOT, "etc"), 0);
		ck_assert_int_eq(stat("/etc", &root), 0);
		ck_assert_uint_eq(rig_entry().attr.ino, root.st_ino);
		fuse_free(fuse);
	}
	file_worker_free(worker);
}
END_TEST

UNIT_MAIN("fuse", test_mounts, test_init, test_malformed, test_names, test_attributes, test_xattrs, test_data,
	  test_create, test_plain, test_quick_release, test_dirs, test_forget, test_locks, test_read_only, test_cache, test_shortage)
