/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o hw/state.o hw/state-show.o util/copy.o util/json.o util/log.o */

/*
 * FUSE: a session that is saved and goes on elsewhere: what is the same, what is gone, and that nothing
 * that somebody may write there leads out of the folder.
 */
#include "unit.h"

#include <linux/capability.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "../../fs/fuse-internal.h"
#include "../../fs/locks-internal.h"
#include "folder-state.h"
#include "fuse-rig.h"
#include "lkvm/copy.h"
#include "lkvm/log.h"

#define ROOT FUSE_ROOT_ID

static struct fs_config config;

static void save(struct state_buf *ret)
{
	ck_assert_int_eq(fuse_save(fuse, ret), 0);
}

static int load(const struct state_buf *saved, struct state_reader *in)
{
	*in = state_reader_of(saved);
	return fuse_load(fuse, in);
}

static void load_new(const struct state_buf *saved)
{
	struct state_reader in;

	fuse_free(fuse);
	ck_assert_int_eq(fuse_new(&config, &fuse), 0);
	ck_assert_msg(!load(saved, &in), "%s", in.why);
	ck_assert_ptr_eq(in.at, in.end);
}

static void setup(void)
{
	folder_make();
	rig_new(config.read_only, config.cache, 0);
	fuse_free(fuse);
	config.path = folder;
	config.tag = "tag";
	ck_assert_int_eq(fuse_new(&config, &fuse), 0);
	ck_assert_int_eq(rig_init(), 0);
	log_hold_errors(true);
}

static void teardown(void)
{
	folder_check_outside();
	rig_free();
	folder_remove();
}

static int getattr(uint64_t node)
{
	const struct fuse_getattr_in arg = { 0 };

	return RIG(FUSE_GETATTR, node, sizeof(struct fuse_attr_out), RIG_ARG(arg));
}

static uint64_t opened(uint64_t node, uint32_t flags)
{
	uint64_t fh;

	ck_assert_int_eq(rig_open(node, flags, &fh), 0);
	return fh;
}

static uint64_t opened_folder(uint64_t node)
{
	const struct fuse_open_in arg = { 0 };
	struct fuse_open_out out;

	ck_assert_int_eq(RIG(FUSE_OPENDIR, node, sizeof(out), RIG_ARG(arg)), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	return out.fh;
}

static int flush(uint64_t node, uint64_t fh)
{
	const struct fuse_flush_in arg = { .fh = fh };

	return RIG(FUSE_FLUSH, node, 0, RIG_ARG(arg));
}

static void forget(uint64_t node, uint64_t lookups)
{
	struct {
		struct fuse_in_header in;
		struct fuse_forget_in arg;
	} msg = { { sizeof(msg), FUSE_FORGET, 1, node, 0, 0, 0, 0, 0 }, { lookups } };
	struct iovec msg_iov = { &msg, sizeof(msg) };
	struct file_request req = { .out = &msg_iov, .n_out = 1, .done = rig_is_done };

	ck_assert(fuse_quick(fuse, &req));
}

/* Of what a folder has, from @off on, the first few; Return: where the next ones are, 0 at the end */
static uint64_t list(uint64_t node, uint64_t fh, uint64_t off, char *names)
{
	size_t at = 0;

	ck_assert_int_eq(rig_read(FUSE_READDIR, node, fh, off, 100), 0);
	off = 0;
	while (at < rig_body_bytes()) {
		const struct fuse_dirent *e = (const void *)(RIG_BODY + at);

		sprintf(names + strlen(names), "%.*s ", (int)e->namelen, e->name);
		off = e->off;
		at += FUSE_DIRENT_SIZE(e);
	}
	return off;
}

/* Without them files are found again by their names. */
static void drop_handles(void)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2];

	ck_assert_int_eq((int)syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(1U << CAP_DAC_READ_SEARCH);
	data[0].permitted &= ~(1U << CAP_DAC_READ_SEARCH);
	ck_assert_int_eq((int)syscall(SYS_capset, &head, data), 0);
}

/* ---- what goes on ---- */

static void check_same(void)
{
	static const char *const names[] = { "file", "big", "fifo", "dir", "swap", "up", "dangling" };
	uint64_t node[7], in_dir, fh, fd, at, old;
	char want[256] = "", got[256] = "";

	setup();
	go_on();
	for (unsigned i = 0; i < 7; i++)
		node[i] = rig_look(ROOT, names[i]);
	in_dir = rig_look(node[3], "file");
	ck_assert(in_dir);
	go_on();
	fh = opened(node[0], O_RDWR);
	ck_assert_uint_ne(opened(node[0], O_RDONLY), fh);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, node[0], fh), 0);
	fh = opened(in_dir, O_WRONLY | O_SYNC); /* takes that place */
	ck_assert_uint_eq(fh, 0);
	fd = opened_folder(ROOT);
	for (at = 0; (at = list(ROOT, fd, at, want));)
		;
	old = list(ROOT, fd, 0, got);
	for (unsigned i = 0; i < 3; i++) {
		go_on();
		for (unsigned j = 0; j < 7; j++)
			ck_assert_int_eq(getattr(node[j]), 0);
		ck_assert_int_eq(rig_write(in_dir, fh, i, "xyz", 3, 0, 0), 0);
		ck_assert_int_eq(rig_read(FUSE_READ, node[0], 1, 0, 100), 0);
		ck_assert_mem_eq(RIG_BODY, "hello", 5);
	}
	for (at = old; (at = list(ROOT, fd, at, got));)
		;
	ck_assert_str_eq(got, want);
	/* Numbers are never given twice. */
	forget(in_dir, 1);
	go_on();
	ck_assert_int_eq(rig_release(FUSE_RELEASE, in_dir, fh), 0);
	go_on();
	ck_assert_int_eq(getattr(in_dir), -ESTALE);
	ck_assert_uint_gt(rig_look(node[3], "file"), in_dir);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(rig_look(ROOT, "file"), node[0]);
		go_on();
	}
	forget(node[0], 4);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, node[0], 1), 0);
	ck_assert_int_eq(getattr(node[0]), -ESTALE);
	ck_assert_int_eq(rig_init(), 0); /* mounted anew */
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	ck_assert_uint_eq(fuse_count(fuse).fds, 1);
	teardown();
}

START_TEST(test_same)
{
	check_same();
}
END_TEST

START_TEST(test_same_by_name)
{
	drop_handles();
	check_same();
}
END_TEST

/* More of each than one record has, and below many folders */
START_TEST(test_many)
{
	enum { FILES = 1000, DEEP = 20 };
	uint64_t node[FILES], dir = ROOT, fh[FILES];
	char name[300];

	drop_handles();
	setup();
	for (unsigned i = 0; i < DEEP; i++) {
		int fd;

		memset(name, 'n', sizeof(name));
		snprintf(name + 200, sizeof(name) - 200, "%u", i);
		ck_assert_int_eq(mkdirat(folder_fd, name, 0755), 0);
		fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY);
		ck_assert_int_eq(dup2(fd, folder_fd), folder_fd);
		close(fd);
		dir = rig_look(dir, name);
		ck_assert(dir);
	}
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		folder_write(name, name, 4);
		node[i] = rig_look(dir, name);
		fh[i] = opened(node[i], i % 2 ? O_RDWR : O_RDONLY);
		if (i % 3 == 0)
			ck_assert_int_eq(rig_lock(FUSE_SETLK, node[i], fh[i], i, F_RDLCK, i, 2UL * i, 0), 0);
	}
	go_on();
	for (unsigned i = 0; i < FILES; i++) {
		ck_assert_int_eq(rig_read(FUSE_READ, node[i], fh[i], 0, 4), 0);
		ck_assert_int_eq(atoi((char *)RIG_BODY), (int)i);
	}
	close(folder_fd);
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	teardown();
}
END_TEST

/* The host has moved what the guest has open: it is found where it is now, in the end. */
START_TEST(test_moved)
{
	uint64_t dir, node, fh;

	drop_handles();
	setup();
	dir = rig_look(ROOT, "dir");
	node = rig_look(dir, "file");
	fh = opened(node, O_RDONLY);
	ck_assert_int_eq(renameat(folder_fd, "dir/file", folder_fd, "swap/moved"), 0);
	go_on();
	ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 0, 6), 0);
	ck_assert_int_eq(getattr(node), 0);
	teardown();
}
END_TEST

/* ---- locks ---- */

static short in_the_way(const char *name, off_t start, off_t len)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
	int fd = openat(folder_fd, name, O_RDWR);

	ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
	close(fd);
	return lock.l_type;
}

START_TEST(test_locks)
{
	uint64_t node, fh, other;

	setup();
	node = rig_look(ROOT, "file");
	fh = opened(node, O_RDWR);
	other = opened(node, O_RDWR);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 10, 19, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_UNLCK, 14, 15, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, UINT64_MAX, F_RDLCK, 100, INT64_MAX, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 3, F_WRLCK, 0, 0, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 3, F_UNLCK, 0, 0, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, other, 0, F_RDLCK, 0, 0, FUSE_LK_FLOCK), 0);
	for (unsigned i = 0; i < 2; i++) {
		go_on();
		ck_assert_int_eq(in_the_way("file", 0, 10), F_UNLCK);
		ck_assert_int_eq(in_the_way("file", 10, 4), F_WRLCK);
		ck_assert_int_eq(in_the_way("file", 14, 2), F_UNLCK);
		ck_assert_int_eq(in_the_way("file", 16, 4), F_WRLCK);
		ck_assert_int_eq(in_the_way("file", 1L << 40, 0), F_RDLCK);
		ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 2, F_WRLCK, 10, 10, 0), -EAGAIN);
		ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 0, F_WRLCK, 0, 0, FUSE_LK_FLOCK), -EAGAIN);
		ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 0, F_RDLCK, 0, 0, FUSE_LK_FLOCK), 0);
	}
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_UNLCK, 0, INT64_MAX, 0), 0);
	ck_assert_int_eq(in_the_way("file", 0, 50), F_UNLCK);
	teardown();
}
END_TEST

/* Who was saved still has them, as the guest does of which this is a copy. */
START_TEST(test_locks_of_others)
{
	struct fuse *first;
	struct state_buf saved = { 0 };
	struct state_reader in;
	uint64_t node, fh;

	setup();
	node = rig_look(ROOT, "file");
	fh = opened(node, O_RDWR);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 0, F_WRLCK, 0, 0, FUSE_LK_FLOCK), 0);
	save(&saved);
	first = fuse;
	ck_assert_int_eq(fuse_new(&config, &fuse), 0);
	ck_assert_int_eq(load(&saved, &in), 0);
	ck_assert_int_eq(rig_write(node, fh, 0, "x", 1, 0, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), -EAGAIN);
	fuse_free(first);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 0, F_WRLCK, 0, 0, FUSE_LK_FLOCK), 0);
	state_buf_free(&saved);
	teardown();
}
END_TEST

START_TEST(test_waiter)
{
	struct state_buf saved = { 0 };
	uint64_t node, fh;

	setup();
	node = rig_look(ROOT, "file");
	fh = opened(node, O_RDWR);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLKW, node, fh, 2, F_WRLCK, 0, 9, 0), -EINPROGRESS);
	ck_assert_int_eq(fuse_save(fuse, &saved), -EBUSY);
	ck_assert_uint_eq(saved.len, 0);
	teardown();
}
END_TEST

/* ---- what is not there any more ---- */

/* Whatever is done with it; at last it can be closed and forgotten, and leaves nothing. */
static void assert_stale(uint64_t node, uint64_t fh, bool has_fh)
{
	const struct fuse_setattr_in to = { .valid = FATTR_SIZE };

	ck_assert_int_eq(getattr(node), -ESTALE);
	ck_assert_int_eq(RIG(FUSE_SETATTR, node, sizeof(struct fuse_attr_out), RIG_ARG(to)), -ESTALE);
	ck_assert_int_eq(rig_open(node, O_RDONLY, &(uint64_t){ 0 }), -ESTALE);
	if (has_fh) {
		ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 0, 10), -ESTALE);
		ck_assert_int_eq(rig_write(node, fh, 0, "x", 1, 0, 0), -ESTALE);
		ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), -ESTALE);
		ck_assert_int_eq(flush(node, fh), -ESTALE);
	}
}

static void close_quickly(uint64_t node, uint64_t fh)
{
	struct {
		struct fuse_in_header in;
		struct fuse_release_in arg;
	} msg = { { sizeof(msg), FUSE_RELEASE, 1, node, 0, 0, 0, 0, 0 },
		  { .fh = fh, .release_flags = FUSE_RELEASE_FLOCK_UNLOCK } };
	struct fuse_out_header out;
	struct iovec msg_iov = { &msg, sizeof(msg) }, out_iov = { &out, sizeof(out) };
	struct file_request req = { .out = &msg_iov, .in = &out_iov, .n_out = 1, .n_in = 1, .done = rig_is_done };

	ck_assert(fuse_quick(fuse, &req));
	ck_assert_int_eq(out.error, 0);
}

/* A new file in its place, as editors make it */
static void replace(const char *name)
{
	folder_write("new", "other", 5);
	ck_assert_int_eq(renameat(folder_fd, "new", folder_fd, name), 0);
}

static void check_gone(void (*change)(void), bool before)
{
	uint64_t node, fh, dir, other, other_fh;
	struct state_buf saved = { 0 };
	unsigned nodes;

	setup();
	node = rig_look(ROOT, "file");
	fh = opened(node, O_RDWR);
	dir = rig_look(ROOT, "dir");
	other = rig_look(dir, "file");
	other_fh = opened(other, O_RDWR);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_WRLCK, 0, 9, 0), 0);
	if (before)
		change();
	save(&saved);
	if (!before)
		change();
	load_new(&saved);
	nodes = fuse_count(fuse).nodes;
	ck_assert_uint_eq(nodes, 4);
	assert_stale(node, fh, true);
	go_on(); /* it stays so */
	assert_stale(node, fh, true);
	/* The rest is as it was. */
	ck_assert_int_eq(rig_write(other, other_fh, 0, "of another", 10, 0, 0), 0);
	ck_assert_int_eq(rig_read(FUSE_READ, other, other_fh, 0, 100), 0);
	ck_assert_mem_eq(RIG_BODY, "of another", 10);
	close_quickly(node, fh);
	forget(node, 1);
	fuse_chores(fuse);
	ck_assert_uint_eq(fuse_count(fuse).handles, 1);
	ck_assert_uint_eq(fuse_count(fuse).nodes, nodes - 1);
	state_buf_free(&saved);
}

static void replace_file(void)
{
	replace("file");
}

static void unlink_file(void)
{
	folder_unlink("file");
}

static void make_it_a_folder(void)
{
	folder_unlink("file");
	ck_assert_int_eq(mkdirat(folder_fd, "file", 0755), 0);
}

static void make_it_a_link(void)
{
	folder_unlink("file");
	folder_symlink("../secret", "file");
}

START_TEST(test_replaced)
{
	uint64_t node;

	check_gone(replace_file, false);
	/* By its name the new one is found. */
	node = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_read(FUSE_READ, node, opened(node, O_RDONLY), 0, 100), 0);
	ck_assert_mem_eq(RIG_BODY, "other", 5);
	teardown();
	drop_handles();
	check_gone(replace_file, false);
	teardown();
}
END_TEST

START_TEST(test_unlinked)
{
	check_gone(unlink_file, false);
	teardown();
	check_gone(unlink_file, true);
	teardown();
	check_gone(make_it_a_folder, false);
	teardown();
	check_gone(make_it_a_link, false);
	teardown();
	drop_handles();
	check_gone(unlink_file, true);
	teardown();
}
END_TEST

/* A link in place of a folder above it leads nowhere, not even to the same file. */
START_TEST(test_link_above)
{
	struct state_buf saved = { 0 };
	uint64_t dir, node, fh;

	setup();
	dir = rig_look(ROOT, "dir");
	node = rig_look(dir, "file");
	fh = opened(node, O_RDWR);
	save(&saved);
	ck_assert_int_eq(renameat(folder_fd, "dir", folder_fd, "../dir"), 0);
	folder_symlink("../dir", "dir");
	load_new(&saved);
	assert_stale(node, fh, true);
	assert_stale(dir, 0, false);
	ck_assert_int_eq(RIG(FUSE_LOOKUP, dir, sizeof(struct fuse_entry_out), RIG_NAME("file")), -ESTALE);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* The same file, that is longer now, or was renamed to where another one was */
START_TEST(test_changed)
{
	struct state_buf saved = { 0 };
	struct fuse_open_out out;
	const struct fuse_open_in arg = { 0 };
	uint64_t node, fh;

	config = (struct fs_config){ .cache = FS_CACHE_ALWAYS };
	setup();
	node = rig_look(ROOT, "file");
	fh = opened(node, O_RDONLY);
	ck_assert_int_eq(RIG(FUSE_OPEN, node, sizeof(out), RIG_ARG(arg)), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	ck_assert_uint_eq(out.open_flags, FOPEN_KEEP_CACHE);
	save(&saved);
	folder_write("file", "longer than it was", 18);
	load_new(&saved);
	ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 0, 100), 0);
	ck_assert_uint_eq(rig_body_bytes(), 18);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(RIG(FUSE_OPEN, node, sizeof(out), RIG_ARG(arg)), 0);
		memcpy(&out, RIG_BODY, sizeof(out));
		ck_assert_uint_eq(out.open_flags, i ? FOPEN_KEEP_CACHE : 0);
	}
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* Names of which the end is what the host says of files that are deleted */
START_TEST(test_strange_names)
{
	struct state_buf saved = { 0 };
	uint64_t node, fh;

	setup();
	folder_write("x (deleted)", "there", 5);
	node = rig_look(ROOT, "x (deleted)");
	fh = opened(node, O_RDWR);
	go_on();
	ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 0, 5), 0);
	folder_unlink("x (deleted)");
	save(&saved);
	load_new(&saved);
	assert_stale(node, fh, true);
	state_buf_free(&saved);
	teardown();
}
END_TEST

START_TEST(test_another_folder)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	setup();
	save(&saved);
	fuse_free(fuse);
	ck_assert_int_eq(renameat(folder_fd, "../share", folder_fd, "../old"), 0);
	ck_assert_int_eq(mkdirat(folder_fd, "../share", 0755), 0);
	ck_assert_int_eq(fuse_new(&config, &fuse), 0);
	ck_assert_int_eq(load(&saved, &in), -ESTALE);
	ck_assert_ptr_nonnull(strstr(in.why, "is another one than when"));
	ck_assert(!fuse_is_mounted(fuse));
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* ---- files that are made ---- */

static unsigned n_made;

static int make_file(void *ctx, const char *name)
{
	int fd = strcmp(name, "made-file") != 0 || ctx ? -ENOENT : memfd_create(name, MFD_CLOEXEC);

	n_made += fd >= 0;
	ck_assert(fd < 0 || write(fd, "made", 4) == 4);
	return fd;
}

START_TEST(test_made)
{
	struct fs_made made = { .open = make_file };
	struct state_buf saved = { 0 };
	uint64_t node, fh;
	struct stat st;

	setup();
	ck_assert_int_eq(stat(folder, &st), 0);
	made.dev = st.st_dev;
	made.ino = st.st_ino;
	config.made = &made;
	fuse_free(fuse);
	ck_assert_int_eq(fuse_new(&config, &fuse), 0);
	ck_assert_int_eq(rig_init(), 0);
	node = rig_look(ROOT, "made-file");
	fh = opened(node, O_RDONLY);
	save(&saved);
	load_new(&saved);
	ck_assert_uint_eq(n_made, 2);
	ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 0, 10), 0);
	ck_assert_mem_eq(RIG_BODY, "made", 4);
	made.ctx = &made; /* not there any more */
	load_new(&saved);
	assert_stale(node, fh, false);
	config.made = NULL;
	load_new(&saved);
	assert_stale(node, fh, false);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* ---- files as memory ---- */

static int map(uint64_t node, uint64_t fh, uint64_t off, uint64_t at, uint64_t flags)
{
	const struct fuse_setupmapping_in arg = { .fh = fh, .foffset = off, .len = FS_WINDOW_UNIT, .flags = flags,
						  .moffset = at };

	return RIG(FUSE_SETUPMAPPING, node, 0, RIG_ARG(arg));
}

static uint8_t mapped(uint64_t at)
{
	uint8_t byte = 0xff;

	ck_assert_int_eq(copy_read(&byte, (uint8_t *)fuse_memory(fuse) + at, 1), 0);
	return byte;
}

START_TEST(test_window)
{
	struct state_buf saved = { 0 };
	uint64_t big, file, fh;
	uint8_t byte;

	config.window_bytes = 8 * FS_WINDOW_UNIT;
	setup();
	big = rig_look(ROOT, "big");
	file = rig_look(ROOT, "file");
	fh = opened(big, O_RDWR);
	ck_assert_int_eq(map(big, UINT64_MAX, FS_WINDOW_UNIT, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
	ck_assert_int_eq(map(big, fh, 0, 3 * FS_WINDOW_UNIT,
			     FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE), 0);
	ck_assert_int_eq(map(file, UINT64_MAX, 0, 4 * FS_WINDOW_UNIT, FUSE_SETUPMAPPING_FLAG_READ), 0);
	go_on();
	ck_assert_uint_eq(fuse_count(fuse).mapped, 3);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_uint_eq(mapped(3 * FS_WINDOW_UNIT + i), (uint8_t)(i * 7));
		ck_assert_uint_eq(mapped(4 * FS_WINDOW_UNIT + i), i < 5 ? (uint8_t)"hello"[i] : 0);
	}
	byte = 99;
	ck_assert_int_eq(copy_write((uint8_t *)fuse_memory(fuse) + 3 * FS_WINDOW_UNIT, &byte, 1), 0);
	ck_assert_int_lt(copy_write(fuse_memory(fuse), &byte, 1), 0);
	ck_assert_int_eq(rig_read(FUSE_READ, big, fh, 0, 1), 0);
	ck_assert_uint_eq(*RIG_BODY, 99);
	/* What is gone is zeros, as what was cut. */
	save(&saved);
	replace("file");
	load_new(&saved);
	ck_assert_uint_eq(fuse_count(fuse).mapped, 3);
	ck_assert_uint_eq(mapped(4 * FS_WINDOW_UNIT), 0);
	ck_assert_uint_eq(mapped(3 * FS_WINDOW_UNIT), 99);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* ---- hostile ---- */

START_TEST(test_tables)
{
	state_test_table(&fuse_session_type);
	state_test_table(&fuse_handles_type);
	state_test_table(&tree_head_type);
	state_test_table(&tree_files_type);
	state_test_table(&locks_state_type);
	state_test_table(&window_state_type);
}
END_TEST

/* Whatever it takes, a guest can use it, or mount anew. */
static void use(void)
{
	for (uint64_t node = 1; node < 8; node++) {
		getattr(node);
		rig_look(node, "file");
		rig_read(FUSE_READ, node, node % 3, 0, 100);
		rig_read(FUSE_READDIR, node, node % 3, 0, 100);
	}
	ck_assert_int_eq(rig_init(), 0);
	ck_assert_uint_eq(fuse_count(fuse).nodes, 1);
	ck_assert_uint_eq(fuse_count(fuse).handles, 0);
}

static void make_busy(void)
{
	uint64_t node = rig_look(ROOT, "file"), dir = rig_look(ROOT, "dir"), fh = opened(node, O_RDWR);

	rig_look(dir, "file");
	opened_folder(dir);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_RDLCK, 1, 8, 0), 0);
	ck_assert_int_eq(rig_lock(FUSE_SETLK, node, fh, 1, F_RDLCK, 0, 0, FUSE_LK_FLOCK), 0);
	if (config.window_bytes)
		ck_assert_int_eq(map(node, UINT64_MAX, 0, 0, FUSE_SETUPMAPPING_FLAG_READ), 0);
}

START_TEST(test_damage)
{
	static const uint8_t flips[] = { 0x01, 0x80, 0xff };
	struct state_buf saved = { 0 };
	struct state_reader in;

	config.window_bytes = 2 * FS_WINDOW_UNIT;
	setup();
	make_busy();
	save(&saved);
	for (size_t at = 0; at < saved.len * sizeof(flips); at++) {
		uint8_t *byte = &saved.data[at / sizeof(flips)];

		*byte ^= flips[at % sizeof(flips)];
		if (load(&saved, &in))
			ck_assert_str_ne(in.why, "");
		use();
		*byte ^= flips[at % sizeof(flips)];
	}
	for (size_t len = 0; len < saved.len; len++) {
		in = (struct state_reader){ .at = saved.data, .end = saved.data + len };
		ck_assert_int_lt(fuse_load(fuse, &in), 0);
		ck_assert(!fuse_is_mounted(fuse));
	}
	load_new(&saved);
	state_buf_free(&saved);
	teardown();
}
END_TEST

/* Other paths in the place of one, as long */
START_TEST(test_paths)
{
	static const char *const paths[] = { "../secret", "./swap/se", "/swap/sec", "swap//sec", "swap/../x",
					     "swap/secr", "secret\0.a", "up/secret", "swap/secr/" };
	struct state_buf saved = { 0 };
	struct state_reader in;
	uint64_t node, fh;
	uint8_t *at;

	setup();
	folder_write("swap/long", "long", 4);
	node = rig_look(rig_look(ROOT, "swap"), "long");
	fh = opened(node, O_RDONLY);
	save(&saved);
	at = memmem(saved.data, saved.len, "swap/long", 9);
	ck_assert_ptr_nonnull(at);
	for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int err;

		memcpy(at, paths[i], 9);
		err = load(&saved, &in);
		if (err)
			ck_assert_int_eq(err, -ERANGE);
		else
			assert_stale(node, fh, true);
		ck_assert_int_eq(err, i == 5 || i >= 7 ? 0 : -ERANGE);
	}
	state_buf_free(&saved);
	teardown();
}
END_TEST

UNIT_MAIN("fuse-state", test_same, test_same_by_name, test_many, test_moved, test_locks, test_locks_of_others,
	  test_waiter, test_replaced, test_unlinked, test_link_above, test_changed, test_strange_names,
	  test_another_folder, test_made, test_window, test_tables, test_damage, test_paths)
