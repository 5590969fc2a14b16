/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/p9.o fs/p9-session.o fs/p9-fid.o fs/p9-names.o fs/p9-attr.o fs/p9-xattr.o fs/p9-file.o fs/p9-lock.o hw/state.o hw/state-show.o util/json.o util/log.o */

/* 9P: a session that is saved and goes on elsewhere: what is the same, and what is gone. */
#include "unit.h"

#include <sys/xattr.h>

#include "../../fs/p9-internal.h"
#include "folder-state.h"
#include "lkvm/log.h"
#include "p9-rig.h"

static void save(struct state_buf *ret)
{
	ck_assert_int_eq(p9_save(p9, ret), 0);
}

static int load(const struct state_buf *saved, struct state_reader *in)
{
	*in = state_reader_of(saved);
	return p9_load(p9, in);
}

static void load_new(const struct state_buf *saved)
{
	const struct fs_config cfg = { .path = folder, .tag = "tag" };
	struct state_reader in;

	p9_free(p9);
	ck_assert_int_eq(p9_new(&cfg, &p9), 0);
	ck_assert_msg(!load(saved, &in), "%s", in.why);
	ck_assert_ptr_eq(in.at, in.end);
}

static void setup(void)
{
	folder_make();
	rig_new(false, 0);
	log_hold_errors(true);
}

static void teardown(void)
{
	folder_check_outside();
	rig_free();
	folder_remove();
}

static int getattr(uint32_t fid)
{
	return RIG(TGETATTR, "dq", fid, (uint64_t)0x7ff);
}

START_TEST(test_same)
{
	unsigned nodes;

	setup();
	go_on();
	ck_assert_int_eq(RIG(TWALK, "ddwss", 0, 7, 2, "dir", "file"), 0); /* of dir there is no fid */
	ck_assert_int_eq(rig_open(8, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_open(9, "dir", O_RDONLY), 0);
	ck_assert_int_eq(rig_walk(10, "up"), 0);
	ck_assert_int_eq(rig_walk(1 << 14 | 8, NULL), 0); /* of the same bucket */
	ck_assert_int_eq(rig_lock(&rig_one, 8, 1, 0, 77), 0);
	ck_assert_int_eq(RIG_BODY[0], 0);
	nodes = p9_count(p9).nodes;
	for (unsigned i = 0; i < 3; i++) {
		go_on();
		ck_assert_uint_eq(p9_count(p9).nodes, nodes);
		ck_assert_uint_eq(p9_count(p9).fids, 6);
		ck_assert_uint_eq(p9_count(p9).msize, 512 << 10);
		ck_assert_int_eq(getattr(10), 0);
		ck_assert_int_eq(rig_write(8, i, "xyz", 3), 0);
		ck_assert_int_eq(rig_read(7, 0, 10), -EBADF);
		ck_assert_int_eq(RIG(TREADDIR, "dqd", 9, (uint64_t)0, 4096), 0);
		ck_assert_ptr_nonnull(memmem(RIG_BODY, rig_body_bytes(), "file", 4));
		ck_assert_int_eq(rig_lock(&rig_one, 8, 1, 0, 78), 0);
		ck_assert_int_eq(RIG_BODY[0], 1); /* another has it */
	}
	ck_assert_int_eq(RIG(TREMOVE, "d", 7), 0); /* by its name */
	ck_assert_int_lt(faccessat(folder_fd, "dir/file", F_OK, 0), 0);
	for (uint32_t fid = 8; fid <= 10; fid++)
		ck_assert_int_eq(rig_clunk(fid), 0);
	ck_assert_int_eq(rig_clunk(1 << 14 | 8), 0);
	ck_assert_int_eq(rig_lock(&rig_one, 0, 1, 0, 77), -EBADF);
	ck_assert_int_eq(rig_version(8192), 0); /* it begins anew */
	ck_assert_uint_eq(p9_count(p9).nodes, 1);
	teardown();
}
END_TEST

START_TEST(test_many)
{
	char name[32];

	setup();
	for (unsigned i = 1; i <= 1000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		folder_write(name, name, strlen(name) + 1);
		ck_assert_int_eq(rig_open(i, name, O_RDWR), 0);
	}
	go_on();
	for (unsigned i = 1; i <= 1000; i++) {
		ck_assert_int_eq(rig_read(i, 0, 8), 0);
		ck_assert_int_eq(atoi((char *)RIG_BODY + 4), (int)i);
	}
	teardown();
}
END_TEST

/* The value comes in parts, and is set in the end. */
START_TEST(test_xattrs)
{
	char value[8] = "";
	int fd;

	setup();
	fd = openat(folder_fd, "file", O_RDONLY);
	if (fsetxattr(fd, "user.read", "old", 3, 0)) { /* not on this file system */
		close(fd);
		teardown();
		return;
	}
	ck_assert_int_eq(rig_walk(1, "file"), 0);
	ck_assert_int_eq(rig_walk(2, "file"), 0);
	ck_assert_int_eq(RIG(TXATTRWALK, "dds", 1, 3, "user.read"), 0);
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 2, "user.set", (uint64_t)5, 0), 0);
	ck_assert_int_eq(rig_write(2, 0, "va", 2), 0);
	go_on();
	ck_assert_uint_eq(p9_count(p9).xattrs, 2);
	ck_assert_int_eq(rig_read(3, 0, 10), 0);
	ck_assert_mem_eq(RIG_BODY + 4, "old", 3);
	ck_assert_int_eq(rig_write(2, 2, "lue", 3), 0);
	ck_assert_int_eq(rig_clunk(2), 0);
	ck_assert_int_eq((int)fgetxattr(fd, "user.set", value, sizeof(value)), 5);
	ck_assert_str_eq(value, "value");
	memset(rig_bytes[2], 'x', 300);
	rig_bytes[2][300] = '\0';
	ck_assert_int_eq(RIG(TXATTRCREATE, "dsqd", 1, rig_bytes[2], (uint64_t)5, 0), -ERANGE);
	close(fd);
	teardown();
}
END_TEST

static void assert_stale(uint32_t fid)
{
	ck_assert_int_eq(getattr(fid), -ESTALE);
	ck_assert_int_eq(rig_read(fid, 0, 10), -ESTALE);
	ck_assert_int_eq(rig_write(fid, 0, "x", 1), -ESTALE);
	ck_assert_int_eq(RIG(TFSYNC, "dd", fid, 0), -ESTALE);
	ck_assert_int_eq(rig_lock(&rig_one, fid, 1, 0, 1), -ESTALE);
}

START_TEST(test_gone)
{
	struct state_buf saved = { 0 };

	setup();
	ck_assert_int_eq(rig_open(1, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_open(2, "big", O_RDWR), 0);
	ck_assert_int_eq(rig_open(3, "swap", O_RDONLY), 0);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 1, 0, 1), 0);
	ck_assert_int_eq(rig_lock(&rig_one, 2, 1, 0, 1), 0);
	folder_unlink("big");
	save(&saved);
	folder_write("new", "other", 5);
	ck_assert_int_eq(renameat(folder_fd, "new", folder_fd, "file"), 0);
	load_new(&saved);
	for (unsigned i = 0; i < 2; i++) {
		assert_stale(1);
		assert_stale(2);
		ck_assert_int_eq(RIG(TREADDIR, "dqd", 3, (uint64_t)0, 4096), 0);
		go_on(); /* it stays so */
	}
	ck_assert_int_eq(rig_clunk(1), 0);
	ck_assert_int_eq(rig_clunk(2), 0);
	ck_assert_int_eq(rig_open(1, "file", O_RDONLY), 0);
	ck_assert_int_eq(rig_read(1, 0, 10), 0);
	ck_assert_mem_eq(RIG_BODY + 4, "other", 5);
	ck_assert_uint_eq(p9_count(p9).nodes, 3);
	state_buf_free(&saved);
	teardown();
}
END_TEST

START_TEST(test_waiter)
{
	struct state_buf saved = { 0 };

	setup();
	ck_assert_int_eq(rig_open(1, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 1, 1, 1), 0);
	ck_assert_int_eq(rig_lock(&rig_two, 1, 1, 1, 2), -EINPROGRESS);
	ck_assert_int_eq(p9_save(p9, &saved), -EBUSY);
	ck_assert_uint_eq(saved.len, 0);
	teardown();
}
END_TEST

START_TEST(test_tables)
{
	state_test_table(&p9_session_type);
	state_test_table(&p9_fids_type);
	state_test_table(&p9_xattr_type);
}
END_TEST

START_TEST(test_damage)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff };
	struct state_buf saved = { 0 };
	struct state_reader in;

	setup();
	ck_assert_int_eq(rig_open(1, "file", O_RDWR), 0);
	ck_assert_int_eq(rig_open(2, "dir", O_RDONLY), 0);
	ck_assert_int_eq(rig_walk(3, "swap"), 0);
	RIG(TXATTRCREATE, "dsqd", 3, "user.set", (uint64_t)5, 0);
	ck_assert_int_eq(rig_lock(&rig_one, 1, 1, 0, 1), 0);
	save(&saved);
	for (size_t at = 0; at < saved.len * sizeof(flips); at++) {
		uint8_t *byte = &saved.data[at / sizeof(flips)];

		*byte ^= flips[at % sizeof(flips)];
		if (load(&saved, &in))
			ck_assert_str_ne(in.why, "");
		for (uint32_t fid = 0; fid < 4; fid++) {
			getattr(fid);
			rig_read(fid, 0, 10);
			RIG(TREADDIR, "dqd", fid, (uint64_t)0, 100);
			rig_clunk(fid);
		}
		ck_assert_int_eq(rig_version(8192), 0);
		ck_assert_uint_eq(p9_count(p9).fids, 0);
		ck_assert_uint_eq(p9_count(p9).xattrs, 0);
		*byte ^= flips[at % sizeof(flips)];
	}
	for (size_t len = 0; len < saved.len; len++) {
		in = (struct state_reader){ .at = saved.data, .end = saved.data + len };
		ck_assert_int_lt(p9_load(p9, &in), 0);
		ck_assert_uint_eq(p9_count(p9).msize, 0);
	}
	load_new(&saved);
	state_buf_free(&saved);
	teardown();
}
END_TEST

UNIT_MAIN("p9-state", test_same, test_many, test_xattrs, test_gone, test_waiter, test_tables, test_damage)
