/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/p9.o fs/p9-session.o fs/p9-fid.o fs/p9-names.o fs/p9-attr.o fs/p9-xattr.o fs/p9-file.o fs/p9-lock.o util/log.o */

/* 9P: every operation against what the host says itself; malformed ones; locks, flushes, bounds. */
#include "unit.h"

#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "p9-rig.h"

#define NOBODY UINT32_MAX

START_TEST(test_version)
{
	folder_make();
	rig_new(false, 0);
	ck_assert_uint_eq(p9_count(p9).msize, 512 << 10);
	ck_assert_int_eq(rig_walk(1, "file"), 0);
	ck_assert_uint_eq(p9_count(p9).fids, 2);
	/* It mounts anew: what it knew is gone. */
	ck_assert_int_eq(rig_version(UINT32_MAX), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 4), 512 << 10);
	ck_assert_int_eq(memcmp(RIG_BODY + 6, "9P2000.L", 8), 0);
	ck_assert_uint_eq(p9_count(p9).fids, 0);
	ck_assert_uint_eq(p9_count(p9).nodes, 1);
	ck_assert_int_eq(rig_walk(1, "file"), -EBADF);
	ck_assert_int_eq(rig_version(4095), -EMSGSIZE);
	/* Another dialect is answered, and does not begin. */
	ck_assert_int_eq(RIG(TVERSION, "ds", 8192, "9P2000.u"), 0);
	ck_assert_int_eq(memcmp(RIG_BODY + 6, "unknown", 7), 0);
	ck_assert_int_eq(rig_attach(0, NOBODY), -EPROTO);
	ck_assert_int_eq(rig_version(4096), 0);
	ck_assert_int_eq(RIG(TAUTH, "dssd", 0, "", "", 0), -EOPNOTSUPP);
	ck_assert_int_eq(RIG(TATTACH, "ddssd", 0, 0, "", "", 0), -EINVAL);
	ck_assert_int_eq(RIG(TATTACH, "ddssd", 0, NOBODY, "", "dir", 0), -ENOENT);
	ck_assert_int_eq(rig_attach(NOBODY, 0), -EBADF);
	ck_assert_int_eq(rig_attach(0, 0), 0);
	ck_assert_int_eq(rig_attach(0, 0), -EBADF);
	ck_assert_uint_eq(RIG_BODY[0], EBADF);
	/* No reply has more than was agreed. */
	ck_assert_int_eq(rig_open(1, "big", O_RDONLY), 0);
	ck_assert_int_eq(rig_read(1, 0, 100000), 0);
	ck_assert_uint_eq(rig_one.written, 4096);
	rig_free();
	folder_remove();
}
END_TEST

/* What each type's body is; as parse() has it */
static const struct {
	uint8_t type;
	unsigned bytes; /* with empty strings */
} bodies[] = {
	{ TSTATFS, 4 }, { TLOPEN, 8 }, { TLCREATE, 18 }, { TSYMLINK, 12 }, { TMKNOD, 22 }, { TRENAME, 10 },
	{ TREADLINK, 4 }, { TGETATTR, 12 }, { TSETATTR, 60 }, { TXATTRWALK, 10 }, { TXATTRCREATE, 18 },
	{ TREADDIR, 16 }, { TFSYNC, 8 }, { TLOCK, 31 }, { TGETLOCK, 27 }, { TLINK, 10 }, { TMKDIR, 14 },
	{ TRENAMEAT, 12 }, { TUNLINKAT, 10 }, { TVERSION, 6 }, { TAUTH, 12 }, { TATTACH, 16 }, { TFLUSH, 2 },
	{ TWALK, 10 }, { TREAD, 16 }, { TWRITE, 16 }, { TCLUNK, 4 }, { TREMOVE, 4 },
};

/* Every type with each length up to one more than it should have; none but the right one is served. */
START_TEST(test_lengths)
{
	static const uint8_t zeros[64];

	folder_make();
	rig_new(false, 0);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		for (size_t len = 0; len <= bodies[i].bytes + 1; len++) {
			int err = RIG(bodies[i].type, "*", zeros, len);

			if (len == bodies[i].bytes || (bodies[i].type == TWRITE && len > 16))
				continue;
			ck_assert_msg(err == -EINVAL, "type %u, %zu bytes: %d", bodies[i].type, len, err);
		}
	folder_check_outside();
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_malformed)
{
	static uint8_t bytes[200 << 10];
	unsigned seed = 1;

	folder_make();
	rig_new(false, 0);
	for (unsigned type = 0; type < 256; type++)
		if (type % 2)
			ck_assert_int_eq(RIG((uint8_t)type, "d", 0), -EOPNOTSUPP);
	ck_assert_int_eq(RIG(TWALK, "ddws", 0, 1, 1, ".."), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddws", 0, 1, 1, "."), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddws", 0, 1, 1, ""), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddws", 0, 1, 1, "dir/file"), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddww*", 0, 1, 1, 5, "fi\0le", (size_t)5), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddww*", 0, 1, 1, 6, "file", (size_t)4), -EINVAL);
	ck_assert_int_eq(RIG(TWALK, "ddws", 0, 1, 2, "file"), -EINVAL);
	ck_assert_int_eq(RIG(TMKDIR, "dsdd", 0, "../made", 0755, 0), -EINVAL);
	ck_assert_int_eq(RIG(TRENAMEAT, "dsds", 0, "file", 0, "../made"), -EINVAL);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "../secret", 0), -EINVAL);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 0, "up/made", O_RDWR, 0644, 0), -EINVAL);
	ck_assert_int_eq(RIG(TMKDIR, "d*", 0, bytes, sizeof(bytes)), -E2BIG);
	ck_assert_int_eq(RIG(TSTATFS, "d", 77), -EBADF);
	ck_assert_int_eq(RIG(TLINK, "dds", 0, 77, "x"), -EBADF);
	/* A header that lies, and half of one */
	ck_assert_int_eq(RIG(TSTATFS, "d", 0), 0);
	rig_one.out[0]++;
	ck_assert_int_eq(rig_serve(&rig_one, 100), -EINVAL);
	rig_one.out[0] = 6;
	ck_assert_int_eq(rig_serve(&rig_one, 100), -EINVAL);
	rig_one.bytes = 6;
	rig_serve(&rig_one, 100);
	ck_assert_uint_eq(rig_one.in[4], 7);
	/* No room: for all, for an error, for nothing */
	RIG(TSTATFS, "d", 0);
	ck_assert_int_eq(rig_serve(&rig_one, 7 + 59), -EMSGSIZE);
	ck_assert_int_eq(rig_serve(&rig_one, 10), -EIO);
	ck_assert_int_eq(rig_serve(&rig_one, 0), -EIO);
	RIG(TMKDIR, "dsdd", 0, "none", 0755, 0);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "none", AT_REMOVEDIR), 0);
	RIG(TMKDIR, "dsdd", 0, "/", 0755, 0);
	rig_one.out[RIG_HEAD + 6] = 'x';
	ck_assert_int_eq(rig_serve(&rig_one, 7 + 12), -EMSGSIZE);
	ck_assert_int_eq(faccessat(folder_fd, "x", F_OK, 0), -1); /* refused before it was made */
	/* Anything: a clunk of the root may be among it */
	for (unsigned i = 0; i < 20000; i++) {
		size_t len = (size_t)rand_r(&seed) % 70;

		for (size_t k = 0; k < len; k++)
			bytes[k] = rand_r(&seed) % 3 ? 0 : (uint8_t)rand_r(&seed);
		RIG((uint8_t)(rand_r(&seed) % 128), "*", bytes, len);
		if (rig_attach(0, NOBODY) == -EPROTO)
			rig_version(8192);
	}
	folder_check_outside();
	p9_reset(p9);
	ck_assert_uint_eq(p9_count(p9).nodes, 1);
	ck_assert_uint_eq(p9_count(p9).fds, 1);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_walk)
{
	char names[51];

	folder_make();
	rig_new(false, 0);
	ck_assert_int_eq(RIG(TWALK, "ddwss", 0, 1, 2, "dir", "file"), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 2), 2);
	ck_assert_uint_eq(RIG_BODY[2], 0x80);
	ck_assert_uint_eq(RIG_BODY[15], 0);
	ck_assert_uint_ne(rig_int(RIG_BODY + 16, 4), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY + 20, 8), folder_stat("dir/file").st_ino);
	/* A part of the way is told, and makes no fid. */
	ck_assert_int_eq(RIG(TWALK, "ddwss", 0, 2, 2, "dir", "none"), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 2), 1);
	ck_assert_uint_eq(rig_body_bytes(), 2 + 13);
	ck_assert_int_eq(rig_clunk(2), -EBADF);
	ck_assert_int_eq(RIG(TWALK, "ddwss", 0, 2, 2, "none", "dir"), -ENOENT);
	/* Links are the guest's to follow. */
	ck_assert_int_eq(RIG(TWALK, "ddwss", 0, 2, 2, "up", "secret"), 0);
	ck_assert_uint_eq(RIG_BODY[2], 0x02);
	ck_assert_uint_eq(rig_int(RIG_BODY, 2), 1);
	ck_assert_int_eq(rig_walk(1, "big"), -EBADF); /* it is used */
	ck_assert_int_eq(rig_walk(NOBODY, "big"), -EBADF);
	ck_assert_int_eq(rig_walk(2, "dir"), 0);
	ck_assert_int_eq(RIG(TWALK, "ddws", 2, 2, 1, "none"), -ENOENT);
	ck_assert_int_eq(RIG(TWALK, "ddws", 2, 2, 1, "file"), 0); /* in its own place */
	ck_assert_int_eq(RIG(TWALK, "ddws", 2, 3, 1, "x"), -ENOTDIR);
	ck_assert_int_eq(RIG(TWALK, "ddw", 2, 3, 0), 0);
	/* From where it is, which stays */
	folder_need(!mkdirat(folder_fd, "swap/a", 0755) && !mkdirat(folder_fd, "swap/a/b", 0755));
	ck_assert_int_eq(rig_walk(5, "swap"), 0); /* which nothing else keeps */
	ck_assert_int_eq(RIG(TWALK, "ddwss", 5, 6, 2, "a", "b"), 0);
	ck_assert_int_eq(rig_clunk(6), 0);
	ck_assert_int_eq(RIG(TGETATTR, "dq", 5, UINT64_MAX), 0);
	ck_assert_int_eq(rig_clunk(5), 0);
	/* As many names as there may be, and one more */
	for (unsigned i = 0; i < 17; i++)
		memcpy(names + 3 * i, "\1\0a", 3);
	ck_assert_int_eq(RIG(TWALK, "ddw*", 0, 4, 16, names, (size_t)48), -ENOENT);
	ck_assert_int_eq(RIG(TWALK, "ddw*", 0, 4, 17, names, (size_t)51), -EINVAL);
	/* No room for all that it finds: it makes no fid */
	rig_send(&rig_two, TWALK, "ddwss", 0, 4, 2, "dir", "file");
	ck_assert_int_eq(rig_clunk(4), 0);
	ck_assert_int_eq(rig_serve(&rig_two, RIG_HEAD + 2 + 25), -EMSGSIZE);
	ck_assert_int_eq(rig_clunk(4), -EBADF);
	ck_assert_int_eq(rig_serve(&rig_two, RIG_HEAD + 2 + 26), 0);
	ck_assert_int_eq(rig_clunk(4), 0);
	ck_assert_uint_eq(p9_count(p9).fids, 4);
	for (uint32_t fid = 0; fid < 4; fid++)
		ck_assert_int_eq(rig_clunk(fid), 0);
	ck_assert_uint_eq(p9_count(p9).fids, 0);
	ck_assert_uint_eq(p9_count(p9).nodes, 1);
	ck_assert_uint_eq(p9_count(p9).fds, 1);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_names)
{
	char to[64] = "";

	folder_make();
	rig_new(false, 0);
	ck_assert_int_eq(RIG(TMKDIR, "dsdd", 0, "d", 02750, 0), 0);
	ck_assert_uint_eq(RIG_BODY[0], 0x80);
	ck_assert_uint_eq(folder_stat("d").st_mode & 05777, 0750);
	ck_assert_int_eq(RIG(TMKDIR, "dsdd", 0, "d", 0750, 0), -EEXIST);
	ck_assert_int_eq(RIG(TMKNOD, "dsdddd", 0, "p", S_IFIFO | 0622, 0, 0, 0), 0);
	ck_assert_uint_eq(folder_stat("p").st_mode, S_IFIFO | 0622);
	ck_assert_int_eq(RIG(TMKNOD, "dsdddd", 0, "n", S_IFCHR | 0666, 1, 3, 0), -EPERM);
	ck_assert_int_eq(RIG(TSYMLINK, "dssd", 0, "s", "/etc/passwd", 0), 0);
	ck_assert_uint_eq(RIG_BODY[0], 0x02);
	ck_assert_int_eq(readlinkat(folder_fd, "s", to, sizeof(to)), 11);
	ck_assert_int_eq(rig_walk(1, "s"), 0);
	ck_assert_int_eq(RIG(TREADLINK, "d", 1), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 2), 11);
	ck_assert_int_eq(memcmp(RIG_BODY + 2, "/etc/passwd", 11), 0);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1, O_RDONLY), -ELOOP);
	ck_assert_int_eq(rig_walk(2, "file"), 0);
	ck_assert_int_eq(RIG(TREADLINK, "d", 2), -EINVAL);
	ck_assert_int_eq(rig_walk(3, "d"), 0);
	ck_assert_int_eq(RIG(TLINK, "dds", 3, 2, "l"), 0);
	ck_assert_uint_eq(folder_stat("d/l").st_ino, folder_stat("file").st_ino);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "d", AT_REMOVEDIR), -ENOTEMPTY);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "d", 0), -EISDIR);
	ck_assert_int_eq(RIG(TRENAMEAT, "dsds", 3, "l", 0, "m"), 0);
	ck_assert_uint_eq(folder_stat("m").st_nlink, 2);
	/* By the fid: under the name by which it was found, and if it still is there */
	ck_assert_int_eq(RIG(TRENAME, "dds", 2, 3, "moved"), 0);
	ck_assert_uint_eq(folder_stat("d/moved").st_nlink, 2);
	ck_assert_int_eq(RIG(TRENAME, "dds", 2, 3, "again"), -ENOENT);
	folder_write("file", "another", 7);
	ck_assert_int_eq(RIG(TREMOVE, "d", 2), -ENOENT);
	ck_assert_int_eq(folder_stat("file").st_size, 7);
	ck_assert_int_eq(rig_clunk(2), -EBADF); /* it is gone all the same */
	ck_assert_int_eq(rig_walk(2, "m"), 0);
	ck_assert_int_eq(RIG(TREMOVE, "d", 2), 0);
	ck_assert_int_eq(faccessat(folder_fd, "m", F_OK, 0), -1);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 3, "moved", 0), 0);
	ck_assert_int_eq(RIG(TREMOVE, "d", 3), 0);
	ck_assert_int_eq(faccessat(folder_fd, "d", F_OK, 0), -1);
	ck_assert_int_eq(RIG(TREMOVE, "d", 0), -EBUSY); /* the root has no name */
	folder_check_outside();
	rig_free();
	folder_remove();
}
END_TEST

static int setattr(uint32_t fid, uint32_t valid, uint32_t mode, uint64_t size, uint64_t sec, uint64_t nsec)
{
	return RIG(TSETATTR, "dddddqqqqq", fid, valid, mode, getuid(), getgid(), size, sec, nsec, sec, nsec);
}

START_TEST(test_attributes)
{
	struct stat st;
	struct statfs fs;

	folder_make();
	rig_new(false, 0);
	ck_assert_int_eq(rig_walk(1, "file"), 0);
	ck_assert_int_eq(RIG(TGETATTR, "dq", 1, UINT64_MAX), 0);
	st = folder_stat("file");
	ck_assert_uint_eq(rig_body_bytes(), 153);
	ck_assert_uint_eq(rig_int(RIG_BODY, 8) & 0x7ff, 0x7ff);
	ck_assert_uint_eq(rig_int(RIG_BODY + 21, 4), st.st_mode);
	ck_assert_uint_eq(rig_int(RIG_BODY + 25, 4), st.st_uid);
	ck_assert_uint_eq(rig_int(RIG_BODY + 33, 8), st.st_nlink);
	ck_assert_uint_eq(rig_int(RIG_BODY + 49, 8), 5);
	ck_assert_uint_eq(rig_int(RIG_BODY + 65, 8), (uint64_t)st.st_blocks);
	ck_assert_uint_eq(rig_int(RIG_BODY + 89, 8), (uint64_t)st.st_mtim.tv_sec);
	ck_assert_uint_eq(rig_int(RIG_BODY + 97, 8), (uint64_t)st.st_mtim.tv_nsec);
	ck_assert_int_eq(setattr(1, 1, 04711, 0, 0, 0), 0);
	ck_assert_uint_eq(folder_stat("file").st_mode & 07777, 04711);
	ck_assert_int_eq(setattr(1, 2 | 4, 0, 0, 0, 0), 0); /* the owner, which takes the bit away */
	ck_assert_uint_eq(folder_stat("file").st_mode & 07777, 0711);
	ck_assert_int_eq(setattr(1, 8, 0, 3, 0, 0), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 3);
	ck_assert_int_eq(setattr(1, 8, 0, 1ULL << 63, 0, 0), -EINVAL);
	ck_assert_int_eq(setattr(0, 8, 0, 3, 0, 0), -EISDIR);
	ck_assert_int_eq(setattr(1, 16 | 32 | 128 | 256, 0, 0, 77, 5), 0);
	ck_assert_int_eq(folder_stat("file").st_mtim.tv_sec, 77);
	ck_assert_int_eq(folder_stat("file").st_mtim.tv_nsec, 5);
	ck_assert_int_eq(setattr(1, 32, 0, 0, 77, 5), 0); /* now */
	ck_assert_int_gt(folder_stat("file").st_mtim.tv_sec, 77);
	ck_assert_int_eq(folder_stat("file").st_atim.tv_sec, 77);
	ck_assert_int_eq(setattr(1, 32 | 256, 0, 0, 77, UTIME_NOW), -EINVAL);
	/* Open for writing, it can be cut though its mode no longer allows it. */
	ck_assert_int_eq(rig_open(2, "file", O_RDWR), 0);
	folder_chmod("file", 0);
	ck_assert_int_eq(setattr(2, 8, 0, 1ULL << 33, 0, 0), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 1LL << 33);
	ck_assert_int_eq(RIG(TSTATFS, "d", 0), 0);
	ck_assert_int_eq(fstatfs(folder_fd, &fs), 0);
	ck_assert_uint_eq(rig_body_bytes(), 60);
	ck_assert_uint_eq(rig_int(RIG_BODY + 8, 8), fs.f_blocks);
	ck_assert_uint_eq(rig_int(RIG_BODY + 56, 4), (uint64_t)fs.f_namelen);
	rig_free();
	folder_remove();
}
END_TEST

/* As Linux does it: a fid of its own, which is clunked */
static int set_xattr(const char *name, const void *value, uint32_t bytes, uint32_t flags)
{
	int err = rig_walk(9, "file");

	ck_assert_int_eq(err, 0);
	err = RIG(TXATTRCREATE, "dsqd", 9, name, (uint64_t)bytes, flags);
	if (!err && bytes)
		err = rig_write(9, 0, value, bytes);
	if (err) {
		rig_clunk(9);
		return err;
	}
	return rig_clunk(9);
}

static int get_xattr(const char *name)
{
	int err = RIG(TXATTRWALK, "dds", 1, 8, name);

	rig_clunk(8);
	return err;
}

START_TEST(test_xattrs)
{
	int fd, err;

	folder_make();
	rig_new(false, 0);
	fd = openat(folder_fd, "big", O_RDONLY);
	err = fsetxattr(fd, "user.probe", "x", 1, 0) ? -errno : 0;
	close(fd);
	ck_assert_int_eq(rig_walk(1, "file"), 0);
	ck_assert_int_eq(set_xattr("user.a", "value", 5, 0), err);
	if (!err) { /* tmpfs has none before Linux 6.6 */
		ck_assert_int_eq(set_xattr("user.a", "v", 1, XATTR_CREATE), -EEXIST);
		ck_assert_int_eq(set_xattr("user.b", "v", 1, XATTR_REPLACE), -ENODATA);
		ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 8, "user.a"), 0);
		ck_assert_uint_eq(rig_int(RIG_BODY, 8), 5);
		ck_assert_uint_eq(p9_count(p9).xattrs, 1);
		ck_assert_int_eq(rig_read(8, 1, 3), 0);
		ck_assert_uint_eq(rig_int(RIG_BODY, 4), 3);
		ck_assert_int_eq(memcmp(RIG_BODY + 4, "alu", 3), 0);
		ck_assert_int_eq(rig_read(8, UINT64_MAX, 3), 0);
		ck_assert_uint_eq(rig_int(RIG_BODY, 4), 0);
		ck_assert_int_eq(rig_write(8, 0, "x", 1), -EBADF);
		ck_assert_int_eq(RIG(TLOPEN, "dd", 8, O_RDONLY), -EINVAL);
		ck_assert_int_eq(rig_clunk(8), 0);
		ck_assert_uint_eq(p9_count(p9).xattrs, 0);
		ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 8, ""), 0);
		ck_assert_uint_ge(rig_int(RIG_BODY, 8), 7);
		ck_assert_int_eq(rig_clunk(8), 0);
		/* Set to nothing, and removed */
		ck_assert_int_eq(set_xattr("user.e", "", 0, 0), 0);
		ck_assert_int_eq(get_xattr("user.e"), 0);
		ck_assert_int_eq(set_xattr("user.a", "", 0, XATTR_REPLACE), 0);
		ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 8, "user.a"), -ENODATA);
	}
	/* Not all of it has come, or more */
	ck_assert_int_eq(rig_walk(9, "file"), 0);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 9, "user.c", (uint64_t)4, 0), 0);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 9, "user.c", (uint64_t)4, 0), -EINVAL);
	ck_assert_int_eq(rig_write(9, 0, "123", 3), 0);
	ck_assert_int_eq(rig_write(9, 3, "45", 2), -EINVAL);
	ck_assert_int_eq(rig_write(9, 2, "4", 1), -EINVAL);
	ck_assert_int_eq(rig_read(9, 0, 1), -EBADF);
	ck_assert_int_eq(rig_clunk(9), -EINVAL);
	ck_assert_int_eq(rig_clunk(9), -EBADF);
	ck_assert_int_eq(rig_walk(9, "file"), 0);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 9, "user.c", (uint64_t)65537, 0), -E2BIG);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 9, "user.c", (uint64_t)1, 4), -EINVAL);
	/* They cost the host memory. */
	for (uint32_t i = 0; i < 256; i++)
		ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 100 + i, ""), 0);
	ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 99, ""), -ENFILE);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 9, "user.c", (uint64_t)1, 0), -ENFILE);
	ck_assert_int_eq(rig_clunk(100), 0);
	ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 99, ""), 0);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_data)
{
	static uint8_t host[FOLDER_BIG];
	int fd;

	folder_make();
	rig_new(false, 0);
	fd = openat(folder_fd, "big", O_RDWR);
	ck_assert_int_eq(read(fd, host, sizeof(host)), FOLDER_BIG);
	ck_assert_int_eq(rig_open(1, "big", O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_DIRECT), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY + 13, 4), 0);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1, O_RDONLY), -EINVAL);
	for (uint64_t off = 0; off < FOLDER_BIG; off += 1 << 18) {
		ck_assert_int_eq(rig_read(1, off, 1 << 18), 0);
		ck_assert_uint_eq(rig_int(RIG_BODY, 4), 1 << 18);
		ck_assert_int_eq(memcmp(RIG_BODY + 4, host + off, 1 << 18), 0);
	}
	ck_assert_int_eq(rig_read(1, 0, UINT32_MAX), 0);
	ck_assert_uint_eq(rig_one.written, 512 << 10); /* what was agreed */
	ck_assert_int_eq(rig_read(1, FOLDER_BIG - 10, 100), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 4), 10);
	ck_assert_int_eq(rig_read(1, UINT64_MAX, 10), -EINVAL);
	ck_assert_int_eq(rig_read(0, 0, 10), -EBADF);
	/* Where the guest says, also in a file that is appended to */
	ck_assert_int_eq(rig_write(1, 5, host, 1 << 18), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 4), 1 << 18);
	ck_assert_int_eq(folder_stat("big").st_size, FOLDER_BIG);
	ck_assert_int_eq(pread(fd, host, 2, 5), 2);
	ck_assert_int_eq(rig_write(1, 5ULL << 30, "far", 3), 0);
	ck_assert_int_eq(folder_stat("big").st_size, (5LL << 30) + 3);
	ck_assert_int_eq(rig_write(1, UINT64_MAX, "far", 3), -EINVAL);
	ck_assert_int_eq(RIG(TWRITE, "dqd*", 1, (uint64_t)0, 4, "abc", (size_t)3), -EINVAL);
	ck_assert_int_eq(rig_write(0, 0, "x", 1), -EBADF);
	ck_assert_int_eq(RIG(TFSYNC, "dd", 1, 0), 0);
	ck_assert_int_eq(RIG(TFSYNC, "dd", 1, 1), 0);
	ck_assert_int_eq(RIG(TFSYNC, "dd", 0, 0), -EBADF);
	ck_assert_int_eq(rig_open(2, "file", O_WRONLY | O_TRUNC), 0);
	ck_assert_int_eq(folder_stat("file").st_size, 0);
	ck_assert_int_eq(rig_read(2, 0, 10), -EBADF);
	ck_assert_int_eq(rig_open(3, "dir", O_RDONLY), 0);
	ck_assert_int_eq(rig_read(3, 0, 10), -EISDIR);
	ck_assert_int_eq(rig_open(4, "fifo", O_RDWR), -ENXIO);
	/* The fid of the folder becomes the file's. */
	ck_assert_int_eq(rig_walk(5, NULL), 0);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 5, "made", O_RDWR | O_CREAT | O_EXCL, 0640, getgid()), 0);
	ck_assert_uint_eq(folder_stat("made").st_mode & 07777, 0640);
	ck_assert_int_eq(rig_write(5, 0, "made", 4), 0);
	ck_assert_int_eq(folder_stat("made").st_size, 4);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 5, "made", O_RDWR, 0640, getgid()), -EINVAL);
	ck_assert_int_eq(rig_walk(6, NULL), 0);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 6, "made", O_RDWR | O_EXCL, 0640, getgid()), -EEXIST);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 6, "dangling", O_RDWR, 0640, getgid()), -ELOOP);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 6, "made", O_RDWR, 0640, getgid()), 0);
	/* Open, unlinked, and still there */
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "made", 0), 0);
	ck_assert_int_eq(RIG(TGETATTR, "dq", 5, UINT64_MAX), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY + 33, 8), 0);
	ck_assert_int_eq(rig_read(5, 0, 10), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY, 4), 4);
	folder_check_outside();
	close(fd);
	for (uint32_t fid = 0; fid < 7; fid++)
		ck_assert_int_eq(rig_clunk(fid), 0);
	ck_assert_uint_eq(p9_count(p9).fds, 1);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_folders)
{
	uint64_t off = 0, middle = 0;
	unsigned n = 0, behind = 0;
	char name[32];

	folder_make();
	rig_new(false, 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "dir/%u", i);
		folder_write(name, "", 0);
	}
	ck_assert_int_eq(RIG(TREADDIR, "dqd", 0, (uint64_t)0, 512), -EBADF);
	ck_assert_int_eq(rig_open(1, "dir", O_RDONLY), 0);
	for (;;) {
		uint32_t bytes;

		ck_assert_int_eq(RIG(TREADDIR, "dqd", 1, off, 512), 0);
		bytes = (uint32_t)rig_int(RIG_BODY, 4);
		ck_assert_uint_le(bytes, 512);
		ck_assert_uint_eq(rig_body_bytes(), bytes + 4);
		for (const uint8_t *at = RIG_BODY + 4; at < RIG_BODY + 4 + bytes; n++) {
			off = rig_int(at + 13, 8);
			ck_assert_uint_eq(at[0] == 0x80, at[21] == 4);
			at += 24 + rig_int(at + 22, 2);
		}
		if (n > 150 && !middle) {
			middle = off;
			behind = 303 - n;
		}
		if (!bytes)
			break;
	}
	ck_assert_uint_eq(n, 303);
	for (n = 0, off = middle;; n++) {
		ck_assert_int_eq(RIG(TREADDIR, "dqd", 1, off, 40), 0);
		if (!rig_int(RIG_BODY, 4))
			break;
		off = rig_int(RIG_BODY + 4 + 13, 8);
	}
	ck_assert_uint_eq(n, behind);
	ck_assert_int_eq(RIG(TREADDIR, "dqd", 1, (uint64_t)0, 20), -EINVAL);
	ck_assert_int_eq(RIG(TREADDIR, "dqd", 1, UINT64_MAX, 512), -EINVAL);
	/* What the root lies in is not told. */
	ck_assert_int_eq(rig_open(2, NULL, O_RDONLY), 0);
	ck_assert_int_eq(RIG(TREADDIR, "dqd", 2, (uint64_t)0, 8000), 0);
	for (const uint8_t *at = RIG_BODY + 4; at < RIG_BODY + rig_body_bytes(); at += 24 + rig_int(at + 22, 2))
		if (!memcmp(at + 22, "\2\0..", 4))
			ck_assert_uint_eq(rig_int(at + 5, 8), folder_stat(".").st_ino);
	ck_assert_int_eq(rig_open(3, "file", O_RDONLY), 0);
	ck_assert_int_eq(RIG(TREADDIR, "dqd", 3, (uint64_t)0, 512), -ENOTDIR);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_locks)
{
	struct flock lock = { .l_type = F_RDLCK };
	int fd;

	folder_make();
	rig_new(false, 0);
	fd = openat(folder_fd, "file", O_RDWR);
	ck_assert_int_eq(rig_open(1, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_lock(&rig_one, 0, 1, 0, 7), -EBADF);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 3, 0, 7), -EINVAL);
	ck_assert_int_eq(RIG(TLOCK, "dbdqqds", 1, 1, 0, 1ULL << 63, (uint64_t)0, 7, ""), -EINVAL);
	ck_assert_int_eq(RIG(TLOCK, "dbdqqds", 1, 1, 0, (uint64_t)1, (uint64_t)INT64_MAX, 7, ""), -EINVAL);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 1, 0, 7), 0);
	ck_assert_uint_eq(RIG_BODY[0], 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), -1); /* the host sees it */
	ck_assert_int_eq(rig_lock(&rig_one, 1, 0, 0, 8), 0);
	ck_assert_uint_eq(RIG_BODY[0], 1); /* somebody else has it */
	ck_assert_int_eq(RIG(TGETLOCK, "dbqqds", 1, 0, (uint64_t)5, (uint64_t)1, 8, "host"), 0);
	ck_assert_uint_eq(RIG_BODY[0], 1);
	ck_assert_uint_eq(rig_int(RIG_BODY + 1, 8), 0);
	ck_assert_uint_eq(rig_int(RIG_BODY + 9, 8), 0);
	ck_assert_int_eq(RIG(TGETLOCK, "dbqqds", 1, 0, (uint64_t)5, (uint64_t)1, 7, "host"), 0);
	ck_assert_uint_eq(RIG_BODY[0], 2);
	ck_assert_uint_eq(rig_int(RIG_BODY + 1, 8), 5);
	ck_assert_int_eq(rig_serve(&rig_one, RIG_HEAD + 23 + 3), -EMSGSIZE);
	/* One that waits is answered when the other is gone. */
	ck_assert_int_eq(rig_lock(&rig_two, 1, 1, 1, 8), -EINPROGRESS);
	ck_assert_uint_eq(p9_count(p9).waiters, 1);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 2, 0, 7), 0);
	ck_assert_int_eq(rig_result(&rig_two), 0);
	ck_assert_uint_eq(rig_two.in[RIG_HEAD], 0);
	/* And one that is taken back before its Tflush */
	ck_assert_int_eq(rig_lock(&rig_two, 1, 1, 1, 9), -EINPROGRESS);
	ck_assert_int_eq(RIG(TFLUSH, "w", rig_tag), 0);
	ck_assert_int_eq(rig_result(&rig_two), -EINTR);
	ck_assert_uint_eq(p9_count(p9).begun, 0);
	ck_assert_int_eq(RIG(TFLUSH, "w", 4711), 0);
	ck_assert_int_eq(RIG(TFLUSH, "w", (uint16_t)(rig_tag + 1)), 0); /* of itself */
	/* Nor does it keep a reset. */
	ck_assert_int_eq(rig_lock(&rig_two, 1, 1, 1, 9), -EINPROGRESS);
	p9_reset(p9);
	ck_assert_int_eq(rig_result(&rig_two), -EINTR);
	ck_assert_uint_eq(p9_count(p9).fds, 1);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
	close(fd);
	rig_free();
	folder_remove();
}
END_TEST

/* Taken, but not yet served: the Tflush is answered behind it. */
START_TEST(test_flush)
{
	struct rig_request *old = &rig_two;

	folder_make();
	rig_new(false, 0);
	rig_send(old, TSTATFS, "d", 0);
	old->done = false;
	p9_begin(p9, &old->req);
	ck_assert_int_eq(RIG(TFLUSH, "w", rig_tag), -EINPROGRESS);
	ck_assert(!old->done);
	p9_serve(p9, worker, &old->req);
	ck_assert_int_eq(rig_result(old), 0);
	ck_assert_int_eq(rig_result(&rig_one), 0);
	/* A lock that is taken back before it is looked at */
	ck_assert_int_eq(rig_open(1, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_lock(old, 1, 1, 1, 9), 0);
	old->done = false;
	p9_begin(p9, &old->req);
	ck_assert_int_eq(RIG(TFLUSH, "w", rig_tag), -EINPROGRESS);
	p9_serve(p9, worker, &old->req);
	ck_assert_int_eq(rig_result(old), -EINTR);
	ck_assert_int_eq(rig_result(&rig_one), 0);
	ck_assert_uint_eq(p9_count(p9).begun, 0);
	rig_free();
	folder_remove();
}
END_TEST

static uint8_t third_bytes[2][RIG_BYTES + 64];
static struct rig_request third = { .out = third_bytes[0], .in = third_bytes[1] };

/* The reply of rig_two is on its way out; one Tflush comes for it, and one for that. */
static void flush_late(struct file_request *req, uint32_t written)
{
	ck_assert_int_eq(RIG(TFLUSH, "w", (unsigned)rig_int(rig_two.out + 5, 2)), -EINPROGRESS);
	ck_assert_int_eq(rig_send(&third, TFLUSH, "w", rig_tag), -EINPROGRESS);
	ck_assert_uint_eq(p9_count(p9).begun, 2);
	rig_done(req, written);
	ck_assert(!rig_one.done);
}

/* A Tflush that comes when the reply is being given out is answered behind it all the same. */
START_TEST(test_late_flush)
{
	folder_make();
	rig_new(false, 0);
	rig_send(&rig_two, TSTATFS, "d", 0);
	rig_two.done = false;
	rig_two.req.done = flush_late;
	p9_begin(p9, &rig_two.req);
	p9_serve(p9, worker, &rig_two.req);
	ck_assert_int_eq(rig_result(&rig_two), 0);
	ck_assert_int_eq(rig_result(&rig_one), 0);
	ck_assert_int_eq(rig_result(&third), 0);
	ck_assert_uint_eq(p9_count(p9).begun, 0);
	rig_free();
	folder_remove();
}
END_TEST

START_TEST(test_read_only)
{
	folder_make();
	rig_new(true, 0);
	ck_assert_int_eq(RIG(TMKDIR, "dsdd", 0, "d", 0755, 0), -EROFS);
	ck_assert_int_eq(RIG(TMKNOD, "dsdddd", 0, "p", S_IFIFO | 0622, 0, 0, 0), -EROFS);
	ck_assert_int_eq(RIG(TSYMLINK, "dssd", 0, "s", "x", 0), -EROFS);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 0, "f", O_RDWR, 0640, 0), -EROFS);
	ck_assert_int_eq(RIG(TRENAMEAT, "dsds", 0, "file", 0, "f"), -EROFS);
	ck_assert_int_eq(RIG(TUNLINKAT, "dsd", 0, "file", 0), -EROFS);
	ck_assert_int_eq(rig_walk(1, "file"), 0);
	ck_assert_int_eq(RIG(TLINK, "dds", 0, 1, "l"), -EROFS);
	ck_assert_int_eq(RIG(TRENAME, "dds", 1, 0, "f"), -EROFS);
	ck_assert_int_eq(setattr(1, 1, 0711, 0, 0, 0), -EROFS);
	ck_assert_int_eq(setattr(1, 2, 0, 0, 0, 0), -EROFS);
	ck_assert_int_eq(setattr(1, 8, 0, 0, 0, 0), -EROFS);
	ck_assert_int_eq(setattr(1, 32, 0, 0, 0, 0), -EROFS);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 1, "user.a", (uint64_t)1, 0), -EROFS);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1, O_RDWR), -EROFS);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1, O_RDONLY | O_TRUNC), -EROFS);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1, O_RDONLY), 0);
	ck_assert_int_eq(rig_write(1, 0, "x", 1), -EBADF);
	ck_assert_int_eq(RIG(TREMOVE, "d", 1), -EROFS);
	ck_assert_int_eq(folder_stat("file").st_size, 5);
	rig_free();
	folder_remove();
}
END_TEST

/* What is made belongs to who has attached; what he writes is no set-user-ID program any more. */
START_TEST(test_users)
{
	if (geteuid())
		return;
	folder_make();
	rig_new(false, 0);
	ck_assert_int_eq(rig_attach(1, 1234), 0);
	ck_assert_int_eq(RIG(TMKDIR, "dsdd", 1, "d", 0750, 2345), 0);
	ck_assert_uint_eq(folder_stat("d").st_uid, 1234);
	ck_assert_uint_eq(folder_stat("d").st_gid, 2345);
	ck_assert_int_eq(RIG(TWALK, "ddw", 1, 2, 0), 0);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 2, "f", O_RDWR, 0777, 2345), 0);
	ck_assert_uint_eq(folder_stat("f").st_uid, 1234);
	folder_chmod("f", 06777);
	ck_assert_int_eq(rig_write(2, 0, "x", 1), 0);
	ck_assert_uint_eq(folder_stat("f").st_mode & 07777, 0777);
	folder_chmod("f", 06777);
	ck_assert_int_eq(setattr(2, 8, 0, 0, 0, 0), 0);
	ck_assert_uint_eq(folder_stat("f").st_mode & 07777, 0777);
	folder_chmod("f", 06777);
	ck_assert_int_eq(RIG(TWALK, "ddws", 1, 3, 1, "f"), 0);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 3, O_WRONLY | O_TRUNC), 0);
	ck_assert_uint_eq(folder_stat("f").st_mode & 07777, 0777);
	folder_chmod("f", 06777);
	ck_assert_int_eq(RIG(TWALK, "ddw", 1, 5, 0), 0);
	ck_assert_int_eq(RIG(TLCREATE, "dsddd", 5, "f", O_WRONLY | O_TRUNC, 0777, 2345), 0);
	ck_assert_uint_eq(folder_stat("f").st_mode & 07777, 0777);
	folder_chmod("f", 06777);
	ck_assert_int_eq(rig_open(4, "f", O_RDWR), 0); /* as root */
	ck_assert_int_eq(rig_write(4, 0, "x", 1), 0);
	ck_assert_uint_eq(folder_stat("f").st_mode & 07777, 06777);
	ck_assert_int_eq(RIG(TSYMLINK, "dssd", 0, "s", "x", 0), 0);
	ck_assert_uint_eq(folder_stat("s").st_uid, 0);
	rig_free();
	folder_remove();
}
END_TEST

/* More fids than descriptors: those that are not open need none. */
START_TEST(test_many)
{
	char name[32];
	unsigned open = 0;

	folder_make();
	rig_new(false, 24);
	for (uint32_t i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "%u", i);
		folder_write(name, name, strlen(name));
		ck_assert_int_eq(rig_walk(1000 + i, name), 0);
	}
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_int_eq(RIG(TGETATTR, "dq", 1000 + i, UINT64_MAX), 0);
		ck_assert_uint_le(p9_count(p9).fds, 24);
	}
	while (open < 200 && !RIG(TLOPEN, "dd", 1000 + open, O_RDONLY))
		open++;
	ck_assert_uint_lt(open, 24);
	ck_assert_uint_gt(open, 5);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1100, O_RDONLY), -ENFILE);
	ck_assert_int_eq(rig_clunk(1000), 0);
	ck_assert_int_eq(RIG(TLOPEN, "dd", 1100, O_RDONLY), 0);
	p9_reset(p9);
	ck_assert_uint_eq(p9_count(p9).fds, 1);
	ck_assert_uint_eq(p9_count(p9).fids, 0);
	rig_free();
	folder_remove();
}
END_TEST

/* A guest that never forgets any */
START_TEST(test_most)
{
	folder_make();
	rig_new(false, 0);
	rig_walk(1, NULL);
	for (uint32_t i = 2; i < 1 << 20; i++) {
		memcpy(rig_one.out + RIG_HEAD + 4, &i, 4);
		folder_need(!rig_serve(&rig_one, 16));
	}
	ck_assert_uint_eq(p9_count(p9).fids, 1 << 20);
	ck_assert_int_eq(rig_walk(1 << 20, NULL), -ENFILE);
	ck_assert_int_eq(rig_clunk(7), 0);
	ck_assert_int_eq(rig_walk(1 << 20, NULL), 0);
	rig_free();
	folder_remove();
}
END_TEST

UNIT_MAIN("p9", test_version, test_lengths, test_malformed, test_walk, test_names, test_attributes, test_xattrs,
	  test_data, test_folders, test_locks, test_flush, test_late_flush, test_read_only, test_users, test_many,
	  test_most)
