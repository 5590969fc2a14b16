/* Links: fs/tree.o fs/tree-fd.o fs/tree-ops.o fs/ids.o fs/server.o fs/dir.o fs/locks.o fs/fuse.o fs/fuse-reply.o fs/fuse-handle.o fs/fuse-names.o fs/fuse-attr.o fs/fuse-file.o fs/fuse-dir.o fs/fuse-lock.o util/copy.o util/log.o */
/* Wraps: mremap */
/*
 * FUSE: files as memory of the guest's. What a guest would find there is asked for by copies that do
 * not fail if there is nothing.
 */
#include "unit.h"

#include <pthread.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "fuse-rig.h"
#include "lkvm/copy.h"

#define ROOT  FUSE_ROOT_ID
#define UNIT  ((uint64_t)FS_WINDOW_UNIT)
#define UNITS 8
#define ANY   UINT64_MAX
#define READ  FUSE_SETUPMAPPING_FLAG_READ
#define WRITE FUSE_SETUPMAPPING_FLAG_WRITE

void *__real_mremap(void *from, size_t old_bytes, size_t bytes, int flags, void *to);
void *__wrap_mremap(void *from, size_t old_bytes, size_t bytes, int flags, ...);

static bool fail_mremap;

/* As some kernels fail: what was there is gone. */
void *__wrap_mremap(void *from, size_t old_bytes, size_t bytes, int flags, ...)
{
	va_list args;
	void *to;

	va_start(args, flags);
	to = va_arg(args, void *);
	va_end(args);
	if (!fail_mremap)
		return __real_mremap(from, old_bytes, bytes, flags, to);
	ck_assert_int_eq(munmap(to, bytes), 0);
	errno = ENOMEM;
	return MAP_FAILED;
}

static uint8_t big[FOLDER_BIG];

static void setup(bool read_only)
{
	int fd;

	folder_make();
	fd = openat(folder_fd, "big", O_RDONLY);
	ck_assert(fd >= 0 && read(fd, big, sizeof(big)) == sizeof(big));
	close(fd);
	rig_window = UNITS * UNIT;
	rig_new(read_only, FS_CACHE_AUTO, 0);
}

static void teardown(void)
{
	rig_free();
	folder_check_outside();
	folder_remove();
}

static int map_with(uint64_t node, uint64_t fh, uint64_t off, uint64_t len, uint64_t flags, uint64_t at)
{
	const struct fuse_setupmapping_in arg = { fh, off, len, flags, at };

	return RIG(FUSE_SETUPMAPPING, node, 0, RIG_ARG(arg));
}

static int map(uint64_t node, uint64_t off, uint64_t flags, uint64_t at)
{
	return map_with(node, ANY, off, UNIT, flags, at);
}

static int unmap(uint64_t at, uint64_t len)
{
	const struct fuse_removemapping_in arg = { 1 };
	const struct fuse_removemapping_one one = { at, len };

	return RIG(FUSE_REMOVEMAPPING, ROOT, 0, RIG_ARG(arg), RIG_ARG(one));
}

static uint8_t *memory(uint64_t at)
{
	return (uint8_t *)fuse_memory(fuse) + at;
}

/* What is there: a byte, or -1: nothing */
static int byte_at(uint64_t at)
{
	uint8_t byte;

	return copy_read(&byte, memory(at), 1) ? -1 : byte;
}

static bool can_write(uint64_t at)
{
	const uint8_t byte = 'W';

	return !copy_write(memory(at), &byte, 1);
}

static void cut(const char *name, off_t bytes)
{
	int fd = openat(folder_fd, name, O_WRONLY);

	ck_assert(fd >= 0 && !ftruncate(fd, bytes));
	close(fd);
}

static int host_byte(const char *name, off_t off)
{
	int fd = openat(folder_fd, name, O_RDONLY);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, off), 1);
	close(fd);
	return byte;
}

static struct fuse_init_out init_again(uint32_t flags, uint32_t flags2)
{
	const struct fuse_init_in in = { .major = 7, .minor = 36, .flags = flags, .flags2 = flags2 };
	struct fuse_init_out out;

	ck_assert_int_eq(RIG(FUSE_INIT, 0, sizeof(out), RIG_ARG(in)), 0);
	memcpy(&out, RIG_BODY, sizeof(out));
	return out;
}

static uint32_t flags_of(const char *name)
{
	ck_assert_uint_ne(rig_look(ROOT, name), 0);
	return rig_entry().attr.flags;
}

START_TEST(test_init)
{
	struct fuse_init_out out;

	setup(false);
	out = init_again(UINT32_MAX, UINT32_MAX);
	ck_assert(out.flags & FUSE_MAP_ALIGNMENT);
	ck_assert_uint_eq(1ULL << out.map_alignment, UNIT);
	ck_assert_uint_eq(out.flags2, FUSE_HAS_INODE_DAX >> 32);
	ck_assert_uint_eq(flags_of("file"), FUSE_ATTR_DAX);
	ck_assert_uint_eq(flags_of("dir"), 0);
	ck_assert_uint_eq(flags_of("fifo"), 0);
	/* One that does not know of flags2, and one that asks for nothing */
	out = init_again(UINT32_MAX & ~(uint32_t)FUSE_INIT_EXT, UINT32_MAX);
	ck_assert_uint_eq(out.flags2, 0);
	ck_assert_uint_eq(flags_of("file"), 0);
	ck_assert(!(init_again(0, 0).flags & FUSE_MAP_ALIGNMENT));
	ck_assert_uint_eq((uintptr_t)memory(0) % UNIT, 0);
	rig_free();

	rig_window = 0;
	rig_new(false, FS_CACHE_AUTO, 0);
	out = init_again(UINT32_MAX, UINT32_MAX);
	ck_assert(!(out.flags & FUSE_MAP_ALIGNMENT) && !out.map_alignment && !out.flags2);
	ck_assert_uint_eq(flags_of("file"), 0);
	ck_assert_ptr_null(fuse_memory(fuse));
	ck_assert(!fuse_mend(fuse));
	ck_assert_int_eq(map(rig_look(ROOT, "file"), 0, READ, 0), -ENOSYS);
	ck_assert_int_eq(unmap(0, UNIT), -ENOSYS);
	teardown();
}
END_TEST

/* Linux wants blocks to be pages where it has files as memory; those of /proc are not. */
START_TEST(test_blocks)
{
	struct fs_config cfg = { .path = "/proc", .tag = "tag", .window_bytes = UNITS * UNIT };
	struct stat st;

	ck_assert(!stat("/proc/version", &st) && st.st_blksize != 4096);
	worker = file_worker_new();
	ck_assert_int_eq(fuse_new(&cfg, &fuse), 0);
	for (int dax = 0; dax < 2; dax++) {
		init_again(dax ? UINT32_MAX : 0, 0);
		ck_assert_uint_ne(rig_look(ROOT, "version"), 0);
		ck_assert_uint_eq(rig_entry().attr.blksize, dax ? 4096U : (unsigned)st.st_blksize);
	}
	rig_free();
}
END_TEST

START_TEST(test_read)
{
	static uint8_t got[UNIT];
	uint64_t node;

	setup(false);
	node = rig_look(ROOT, "big");
	for (unsigned i = 0; i < UNITS; i++)
		ck_assert_int_eq(byte_at(i * UNIT), -1);
	ck_assert_int_eq(map(node, 0, READ, 2 * UNIT), 0);
	ck_assert_int_eq(map(node, UNIT, READ, 7 * UNIT), 0);
	ck_assert_uint_eq(fuse_count(fuse).mapped, 2);
	ck_assert_int_eq(copy_read(got, memory(2 * UNIT), UNIT), 0);
	ck_assert_mem_eq(got, big, UNIT);
	ck_assert_int_eq(copy_read(got, memory(7 * UNIT), FOLDER_BIG - UNIT), 0);
	ck_assert_mem_eq(got, big + UNIT, FOLDER_BIG - UNIT);
	ck_assert_int_eq(byte_at(8 * UNIT - 1), 0); /* behind its end */
	ck_assert(byte_at(2 * UNIT - 1) == -1 && byte_at(3 * UNIT) == -1);
	ck_assert(!can_write(2 * UNIT));

	/* Others in their place, several units at a time; a number that nobody knows any more */
	ck_assert_int_eq(map_with(node, ANY, 0, 2 * UNIT, READ, UNIT), 0);
	ck_assert_uint_eq(fuse_count(fuse).mapped, 3);
	ck_assert_int_eq(byte_at(2 * UNIT + 1), big[UNIT + 1]);
	ck_assert_int_eq(unmap(7 * UNIT, UNIT), 0);
	ck_assert_int_eq(unmap(7 * UNIT, UNIT), 0);
	ck_assert(byte_at(7 * UNIT) == -1 && byte_at(UNIT) == big[0]);
	ck_assert_uint_eq(fuse_count(fuse).mapped, 2);
	ck_assert_uint_eq(fuse_count(fuse).fds, 2);
	ck_assert_uint_eq(fuse_count(fuse).handles, 0);
	teardown();
}
END_TEST

START_TEST(test_write)
{
	uint64_t node, fh;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map(node, 0, READ | WRITE, 0), 0);
	ck_assert(can_write(5000));
	ck_assert_int_eq(host_byte("big", 5000), 'W');
	ck_assert_int_eq(rig_open(node, O_RDWR, &fh), 0);
	ck_assert_int_eq(rig_read(FUSE_READ, node, fh, 5000, 1), 0);
	ck_assert_uint_eq(*RIG_BODY, 'W');
	ck_assert_int_eq(rig_write(node, fh, 6000, "x", 1, 0, O_RDWR), 0);
	ck_assert_int_eq(byte_at(6000), 'x');
	ck_assert(!can_write(UNIT));
	/* It stays when its name and its last handle go. */
	ck_assert_int_eq(rig_release(FUSE_RELEASE, node, fh), 0);
	folder_unlink("big");
	ck_assert_int_eq(byte_at(6000), 'x');
	teardown();
}
END_TEST

/* A file in a read-only export, or one that was opened so, is never written to. */
START_TEST(test_read_only)
{
	uint64_t node, fh, other;

	setup(true);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map(node, 0, READ | WRITE, 0), -EROFS);
	ck_assert_int_eq(rig_open(node, O_RDONLY, &fh), 0);
	ck_assert_int_eq(map_with(node, fh, 0, UNIT, WRITE, 0), -EROFS);
	ck_assert_int_eq(map(node, 0, READ, 0), 0);
	ck_assert(!can_write(0) && byte_at(0) == big[0]);
	teardown();

	setup(false);
	node = rig_look(ROOT, "big");
	other = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_open(node, O_RDONLY, &fh), 0);
	ck_assert_int_eq(map_with(node, fh, 0, UNIT, READ | WRITE, 0), -EACCES);
	ck_assert_int_eq(map_with(other, fh, 0, UNIT, READ, 0), -EBADF);
	ck_assert_int_eq(map_with(node, fh + 1, 0, UNIT, READ, 0), -EBADF);
	ck_assert_int_eq(byte_at(0), -1);
	ck_assert_int_eq(map_with(node, fh, 0, UNIT, READ, 0), 0);
	ck_assert_int_eq(byte_at(0), big[0]);
	ck_assert_int_eq(rig_release(FUSE_RELEASE, node, fh), 0);
	ck_assert_int_eq(map_with(node, fh, 0, UNIT, READ, 0), -EBADF);
	teardown();
}
END_TEST

/* Who has it open need not be allowed to open it. */
START_TEST(test_as_it_was_opened)
{
	const struct fuse_create_in arg = { .flags = O_RDWR | O_CREAT, .mode = 0400 };
	struct fuse_open_out open;
	uint64_t node;
	int status;
	pid_t pid;

	folder_make();
	folder_need(!fchmod(folder_fd, 0777) && !chmod(folder_outside, 0777));
	pid = fork();
	if (!pid) {
		ck_assert(getuid() || !setuid(65534));
		rig_window = UNITS * UNIT;
		rig_new(false, FS_CACHE_AUTO, 0);
		ck_assert_int_eq(RIG(FUSE_CREATE, ROOT, sizeof(struct fuse_entry_out) + sizeof(open),
				     RIG_ARG(arg), RIG_NAME("made")), 0);
		node = rig_entry().nodeid;
		memcpy(&open, RIG_BODY + sizeof(struct fuse_entry_out), sizeof(open));
		ck_assert_int_eq(map(node, 0, READ | WRITE, 0), 0);
		ck_assert_int_eq(rig_release(FUSE_RELEASE, node, open.fh), 0);
		ck_assert_int_eq(map(node, 0, READ | WRITE, 0), -EACCES);
		ck_assert_int_eq(map(node, 0, READ, 0), 0);
		rig_free();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	folder_remove();
}
END_TEST

START_TEST(test_bad)
{
	static const struct {
		uint64_t off, len, flags, at;
	} bad[] = {
		{ 0, 0, READ, 0 },
		{ 0, 4095, READ, 0 },
		{ 0, UNIT + 1, READ, 0 },
		{ 4096, UNIT, READ, 0 },
		{ UNIT - 1, UNIT, READ, 0 },
		{ 0, UNIT, READ, 4096 },
		{ 0, UNIT, READ, UNITS * UNIT },
		{ 0, 2 * UNIT, READ, (UNITS - 1) * UNIT },
		{ 0, (UNITS + 1) * UNIT, READ, 0 },
		{ 0, UNIT, READ, 0 - UNIT },
		{ 0, 0 - UNIT, READ, UNIT },
		{ 0, 0 - (uint64_t)4096, READ, 0 },
		{ 1ULL << 63, UNIT, READ, 0 },
		{ (1ULL << 63) - UNIT, UNIT, READ, 0 },
		{ 0 - UNIT, UNIT, READ, 0 },
		{ 0, UNIT, READ | 4, 0 },
		{ 0, UNIT, 1ULL << 63, 0 },
	};
	const struct fuse_removemapping_in none = { 0 }, two = { 2 }, most = { UINT32_MAX };
	const struct fuse_removemapping_one one[2] = { { 0, UNIT }, { UNITS * UNIT, UNIT } };
	uint64_t node;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map_with(node, ANY, 0, UNITS * UNIT, READ, 0), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(map_with(node, ANY, bad[i].off, bad[i].len, bad[i].flags, bad[i].at) == -EINVAL,
			      "%u", i);
	ck_assert_int_eq(map(ROOT, 0, READ, 0), -EINVAL);
	ck_assert_int_eq(map(rig_look(ROOT, "fifo"), 0, READ, 0), -EINVAL);
	ck_assert_int_eq(map(rig_look(ROOT, "out"), 0, READ, 0), -EINVAL);
	ck_assert_int_eq(map(99, 0, READ, 0), -ESTALE);
	ck_assert_int_eq(unmap(4096, UNIT), -EINVAL);
	ck_assert_int_eq(unmap(0, 0), -EINVAL);
	ck_assert_int_eq(unmap(0, (UNITS + 1) * UNIT), -EINVAL);
	ck_assert_int_eq(unmap(0 - UNIT, UNIT), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_REMOVEMAPPING, ROOT, 0, RIG_ARG(none)), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_REMOVEMAPPING, ROOT, 0, RIG_ARG(two), RIG_ARG(one[0])), -EINVAL);
	ck_assert_int_eq(RIG(FUSE_REMOVEMAPPING, ROOT, 0, RIG_ARG(most), RIG_ARG(one)), -EINVAL);
	ck_assert_uint_eq(fuse_count(fuse).mapped, UNITS);
	/* One after the other, up to the first that is wrong */
	ck_assert_int_eq(RIG(FUSE_REMOVEMAPPING, ROOT, 0, RIG_ARG(two), RIG_ARG(one)), -EINVAL);
	ck_assert_uint_eq(fuse_count(fuse).mapped, UNITS - 1);
	ck_assert(byte_at(0) == -1 && byte_at(UNIT) == big[UNIT]);
	teardown();
}
END_TEST

/* Mappings do not add up: a unit has one, and then nothing. */
START_TEST(test_one_a_unit)
{
	uint64_t node, file;
	unsigned before;

	setup(false);
	node = rig_look(ROOT, "big");
	file = rig_look(ROOT, "file");
	ck_assert_int_eq(map(node, 0, READ, 0), 0);
	before = unit_entries("/proc/self/map_files");
	for (uint64_t len = UNIT - 4096; len; len -= 4096)
		ck_assert_int_eq(map_with(len % 8192 ? file : node, ANY, 0, len, READ, 0), 0);
	ck_assert_uint_le(unit_entries("/proc/self/map_files"), before);
	ck_assert(byte_at(0) == 'h' && byte_at(4096) == -1 && byte_at(UNIT - 1) == -1); /* the last is short */
	ck_assert_int_eq(unmap(0, 4096), 0);
	ck_assert_int_eq(byte_at(0), -1);
	teardown();
}
END_TEST

static bool reader_end;

static void *reader(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&reader_end, __ATOMIC_SEQ_CST))
		ck_assert_int_eq(byte_at(123), big[123]);
	return NULL;
}

/* Who reads a file does not notice that it is to be written as well. */
START_TEST(test_upgrade)
{
	pthread_t thread;
	uint64_t node;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map(node, 0, READ, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, reader, NULL), 0);
	for (unsigned i = 0; i < 500; i++)
		ck_assert_int_eq(map(node, 0, i & 1 ? READ : READ | WRITE, 0), 0);
	__atomic_store_n(&reader_end, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	teardown();
}
END_TEST

/* No address is ever free for others. */
START_TEST(test_kept)
{
	uint64_t node;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map(node, 0, READ, UNIT), 0);
	fail_mremap = true;
	ck_assert_int_eq(map(node, UNIT, READ, UNIT), -ENOMEM);
	fail_mremap = false;
	ck_assert_int_eq(msync(memory(0), UNITS * UNIT, MS_ASYNC), 0);
	ck_assert_int_eq(byte_at(UNIT), -1);
	ck_assert_int_eq(map(node, UNIT, READ, UNIT), 0);
	ck_assert_int_eq(byte_at(UNIT), big[UNIT]);
	ck_assert_int_eq(RIG(FUSE_DESTROY, 0, 0), 0);
	ck_assert_int_eq(msync(memory(0), UNITS * UNIT, MS_ASYNC), 0);
	teardown();
}
END_TEST

START_TEST(test_reset)
{
	setup(false);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(map(rig_look(ROOT, "big"), 0, READ | WRITE, UNIT), 0);
		ck_assert_int_eq(byte_at(UNIT), big[0]);
		if (i == 0)
			ck_assert_int_eq(RIG(FUSE_DESTROY, 0, 0), 0);
		else if (i == 1)
			fuse_reset(fuse);
		ck_assert_int_eq(rig_init(), 0);
		ck_assert_int_eq(byte_at(UNIT), -1);
		ck_assert_uint_eq(fuse_count(fuse).mapped, 0);
	}
	teardown();
}
END_TEST

/* Where a file was cut there are zeros when the guest has looked, and the file when it has grown again. */
START_TEST(test_cut)
{
	const struct fuse_getattr_in get = { 0 };
	uint64_t node, fh;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map_with(node, ANY, 0, 2 * UNIT, READ | WRITE, 0), 0);
	ck_assert_int_eq(map(rig_look(ROOT, "file"), 0, READ, 3 * UNIT), 0);
	ck_assert(!fuse_mend(fuse)); /* they are as they were */
	ck_assert_int_eq(byte_at(2 * UNIT - 1), 0);
	ck_assert_int_eq(fuse_has_chores(fuse), FILE_CHORES_LATER);

	cut("big", 5000);
	ck_assert_int_eq(byte_at(8192), -1);
	fuse_chores(fuse);
	ck_assert(!fuse_mend(fuse));
	ck_assert(byte_at(0) == big[0] && byte_at(8191) == 0 && byte_at(8192) == 0 && byte_at(UNIT) == 0);
	ck_assert(can_write(UNIT) && byte_at(UNIT) == 'W'); /* which nobody else sees */
	ck_assert(byte_at(2 * UNIT) == -1 && byte_at(3 * UNIT) == 'h');
	cut("file", 0);
	ck_assert(fuse_mend(fuse));
	ck_assert(byte_at(3 * UNIT) == 0 && !can_write(3 * UNIT));

	/* By somebody else, of which the guest learns; and by its own hand */
	folder_write("big", big, UNIT + 8192);
	ck_assert_int_eq(byte_at(8192), 0);
	ck_assert_int_eq(RIG(FUSE_GETATTR, node, sizeof(struct fuse_attr_out), RIG_ARG(get)), 0);
	ck_assert(byte_at(8192) == big[8192] && byte_at(UNIT) == big[UNIT] && byte_at(UNIT + 8192) == 0);
	ck_assert_int_eq(rig_open(node, O_RDWR, &fh), 0);
	ck_assert_int_eq(rig_write(node, fh, UNIT + 8192, "more", 4, 0, O_RDWR), 0);
	ck_assert_int_eq(byte_at(UNIT + 8192), 'm');
	ck_assert(can_write(UNIT + 8193));
	ck_assert_int_eq(host_byte("big", (off_t)UNIT + 8193), 'W');
	ck_assert_uint_eq(fuse_count(fuse).fds, 4);

	/* It has grown since it was mapped, and is cut again. */
	ck_assert_int_eq(map(node, 0, READ, 5 * UNIT), 0);
	cut("big", (off_t)(2 * UNIT));
	ck_assert_int_eq(RIG(FUSE_GETATTR, node, sizeof(struct fuse_attr_out), RIG_ARG(get)), 0);
	cut("big", 2000000);
	ck_assert_int_eq(byte_at(6 * UNIT - 4096), -1);
	ck_assert(fuse_mend(fuse) && !fuse_mend(fuse));
	ck_assert_int_eq(byte_at(6 * UNIT - 4096), 0);
	teardown();
}
END_TEST

static void *looker(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&reader_end, __ATOMIC_SEQ_CST))
		fuse_mend(fuse);
	return NULL;
}

/* Who looks for what was cut does not take for that what grows meanwhile. */
START_TEST(test_grows_while_looked_at)
{
	static const uint8_t page[4096] = { 'p' };
	pthread_t thread;
	uint64_t node, fh;

	setup(false);
	node = rig_look(ROOT, "file");
	ck_assert_int_eq(rig_open(node, O_RDWR, &fh), 0);
	ck_assert_int_eq(map_with(node, ANY, 0, UNITS * UNIT, READ | WRITE, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, looker, NULL), 0);
	for (uint64_t at = 4096; at < UNITS * UNIT; at += 4096) {
		ck_assert_int_eq(rig_write(node, fh, at, page, sizeof(page), 0, O_RDWR), 0);
		ck_assert_int_eq(byte_at(at), 'p');
		ck_assert(can_write(at));
	}
	__atomic_store_n(&reader_end, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	for (uint64_t at = 4096; at < UNITS * UNIT; at += 4096)
		ck_assert_int_eq(byte_at(at), 'W');
	teardown();
}
END_TEST

/* One that the guest has forgotten is left alone. */
START_TEST(test_cut_and_forgotten)
{
	const struct fuse_forget_in forget = { 1 };
	uint64_t node;

	setup(false);
	node = rig_look(ROOT, "big");
	ck_assert_int_eq(map(node, 0, READ, 0), 0);
	RIG(FUSE_FORGET, node, 0, RIG_ARG(forget));
	ck_assert(fuse_quick(fuse, &rig_request));
	fuse_chores(fuse);
	cut("big", 0);
	ck_assert(!fuse_mend(fuse));
	ck_assert_int_eq(byte_at(0), -1);
	teardown();
}
END_TEST

UNIT_MAIN("fuse_window", test_init, test_blocks, test_read, test_write, test_read_only, test_as_it_was_opened, test_bad,
	  test_one_a_unit, test_upgrade, test_kept, test_reset, test_cut, test_grows_while_looked_at,
	  test_cut_and_forgotten)
