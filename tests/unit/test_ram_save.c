/* Links: hw/ram.o hw/ram-save.o hw/ram-discard.o util/file.o */
/* RAM as a file, by a child too, and RAM that begins as one. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/ram.h"
#include "ram-base.h"
#include "unit.h"

#define SMALL (64 * MIB)
#define LARGE (3329 * MIB) /* a MiB above the gap */

static const struct ram_config plain;

static struct ram *make(uint64_t bytes, int fd)
{
	struct ram_backing backing = { .fd = fd, .advice = &plain };
	struct ram *ram;

	ck_assert_int_eq(ram_new(bytes, &backing, &ram), 0);
	return ram;
}

static int saved_without(const struct ram *ram, const struct ram_spare *spare, uint64_t want_written)
{
	int fd = memfd_create("saved", MFD_CLOEXEC);
	uint64_t written;
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ram_save(ram, spare, fd, 0, &written), 0);
	ck_assert_uint_eq(written, want_written);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, ram_bytes(ram));
	ck_assert_uint_le((uint64_t)st.st_blocks * 512, want_written);
	return fd;
}

static int saved(const struct ram *ram, uint64_t want_written)
{
	return saved_without(ram, NULL, want_written);
}

static void put(struct ram *ram, uint64_t at, const char *text)
{
	ck_assert_int_eq(ram_write(ram, GPA(at), text, strlen(text) + 1), 0);
}

static void assert_text(const struct ram *ram, uint64_t at, const char *want)
{
	char text[16];

	ck_assert_int_eq(ram_read(ram, GPA(at), text, sizeof(text)), 0);
	ck_assert_str_eq(text, want);
}

static void assert_in_file(int fd, uint64_t at, const char *want)
{
	char text[16];

	ck_assert_int_eq(pread(fd, text, sizeof(text), (off_t)at), sizeof(text));
	ck_assert_str_eq(text, want);
}

START_TEST(test_pages_that_hold_something)
{
	struct ram *ram = make(LARGE, -1);
	int fd;

	put(ram, 0, "first");
	put(ram, 5 * MIB + RAM_PAGE_BYTES - 3, "across"); /* two pages */
	put(ram, 9 * MIB, ""); /* there, but zeros */
	put(ram, RAM_GAP_START - 16, "below");
	put(ram, RAM_GAP_END, "above");
	put(ram, RAM_GAP_END + MIB - 16, "last");
	fd = saved(ram, 6 * RAM_PAGE_BYTES);
	assert_in_file(fd, 0, "first");
	assert_in_file(fd, 5 * MIB + RAM_PAGE_BYTES - 3, "across");
	assert_in_file(fd, RAM_GAP_START - 16, "below");
	assert_in_file(fd, RAM_GAP_START, "above");
	assert_in_file(fd, LARGE - 16, "last");
	close(fd);
	ram_free(ram);
}
END_TEST

/* What the file has is there; what is written to RAM is not in the file. */
START_TEST(test_begins_as_a_file)
{
	struct ram *ram = make(LARGE, -1), *again;
	int fd, next;

	put(ram, 3 * MIB, "old");
	put(ram, 7 * MIB, "kept");
	put(ram, RAM_GAP_END, "above");
	fd = saved(ram, 3 * RAM_PAGE_BYTES);
	ram_free(ram);

	again = make(LARGE, fd);
	put(again, 3 * MIB, "new");
	assert_text(again, 3 * MIB, "new");
	assert_text(again, 7 * MIB, "kept");
	assert_text(again, RAM_GAP_END, "above");
	assert_in_file(fd, 3 * MIB, "old");
	/* Saved again: both what was touched and what was not. */
	put(again, 2000 * MIB, "far");
	next = saved(again, 4 * RAM_PAGE_BYTES);
	assert_in_file(next, 3 * MIB, "new");
	assert_in_file(next, 7 * MIB, "kept");
	assert_in_file(next, RAM_GAP_START, "above");
	assert_in_file(next, 2000 * MIB, "far");
	/* What is given back does not come back as it was in the file. */
	ck_assert_int_eq(ram_discard(again, GPA(7 * MIB), 2 * RAM_PAGE_BYTES), 0);
	assert_text(again, 7 * MIB, "");
	put(again, 7 * MIB, "more");
	assert_text(again, 7 * MIB, "more");
	ram_free(again);
	close(fd);
	close(next);
}
END_TEST

/* It waits until the parent has changed RAM. */
static void child(const struct ram *ram, int go_fd, int to_fd)
{
	uint64_t written;
	char text[16];

	if (read(go_fd, text, 1) != 1 || ram_save(ram, NULL, to_fd, 0, &written))
		_exit(2);
	_exit(pread(to_fd, text, sizeof(text), 0) != sizeof(text) || strcmp(text, "before"));
}

/* It has what was there when it was made, whatever came after that. */
START_TEST(test_child)
{
	struct ram *ram = make(SMALL, -1);
	int fd = memfd_create("saved", MFD_CLOEXEC), go[2], status;
	pid_t pid;

	ck_assert_int_eq(pipe(go), 0);
	put(ram, 0, "before");
	ck_assert_int_eq(ram_let_fork(ram, true), 0);
	pid = fork();
	if (!pid)
		child(ram, go[0], fd);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(ram_let_fork(ram, false), 0);
	put(ram, 0, "after");
	ck_assert_int_eq(write(go[1], "x", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_text(ram, 0, "after");
	/* Others have none of it. */
	pid = fork();
	if (!pid)
		_exit(msync((void *)ALIGN_DOWN((uintptr_t)ram_host(ram, GPA(0), 1), RAM_PAGE_BYTES),
			    RAM_PAGE_BYTES, MS_ASYNC) != -1 || errno != ENOMEM);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	close(fd);
	close(go[0]);
	close(go[1]);
	ram_free(ram);
}
END_TEST

START_TEST(test_shared_with_others)
{
	int fd = memfd_create("ram", MFD_CLOEXEC), to = memfd_create("saved", MFD_CLOEXEC), status;
	uint64_t written;
	struct stat st;
	pid_t pid;
	struct ram_backing backing = { .fd = fd, .shared = true, .advice = &plain };
	struct ram *ram;

	ck_assert_int_eq(ftruncate(fd, SMALL), 0);
	ck_assert_int_eq(ram_new(SMALL, &backing, &ram), 0);
	put(ram, MIB, "text");
	/* A child has it, too, and finds its holes by the file. */
	ck_assert_int_eq(ram_let_fork(ram, true), 0);
	pid = fork();
	if (!pid)
		_exit(ram_save(ram, NULL, to, 0, &written) || written != RAM_PAGE_BYTES);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_in_file(to, MIB, "text");
	ck_assert_int_eq(fstat(ram_file(ram), &st), 0);
	ck_assert_int_le(st.st_blocks, 4 * MIB / 512); /* no hole of it was filled */
	close(to);
	ram_free(ram);
	close(fd);
}
END_TEST

/* No room: an error, and no signal. */
START_TEST(test_no_room)
{
	struct ram *ram = make(SMALL, -1);
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC), sealed;
	uint64_t written;

	put(ram, 0, "text");
	ck_assert_int_lt(ram_save(ram, NULL, fd, 0, &written), 0);
	close(fd);
	sealed = memfd_create("saved", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(sealed, SMALL), 0);
	ck_assert_int_eq(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_int_eq(ram_save(ram, NULL, sealed, 0, &written), -EPERM);
	close(sealed);
	ram_free(ram);
}
END_TEST

/* ---- pages that need not be saved ---- */

static struct ram_spare *spare_of(const struct ram *ram)
{
	struct ram_spare *spare;

	ck_assert_int_eq(ram_spare_new(ram, &spare), 0);
	return spare;
}

/* They are holes, in RAM that began as a file, too. */
START_TEST(test_spare_pages)
{
	struct ram *ram = make(LARGE, -1), *again;
	struct ram_spare *spare = spare_of(ram);
	int fd, next;

	put(ram, 3 * MIB, "spare");
	put(ram, 3 * MIB + RAM_PAGE_BYTES, "kept");
	put(ram, RAM_GAP_END, "above");
	put(ram, RAM_GAP_END + MIB - RAM_PAGE_BYTES, "last");
	ram_spare_add(spare, GPA(3 * MIB), RAM_PAGE_BYTES);
	ram_spare_add(spare, GPA(RAM_GAP_END + MIB - RAM_PAGE_BYTES), RAM_PAGE_BYTES);
	fd = saved_without(ram, spare, 2 * RAM_PAGE_BYTES);
	assert_in_file(fd, 3 * MIB, "");
	assert_in_file(fd, 3 * MIB + RAM_PAGE_BYTES, "kept");
	assert_in_file(fd, RAM_GAP_START, "above");
	assert_in_file(fd, LARGE - RAM_PAGE_BYTES, "");
	assert_text(ram, 3 * MIB, "spare"); /* they are the guest's all the same */
	ram_free(ram);

	again = make(LARGE, fd);
	assert_text(again, 3 * MIB, "");
	ram_spare_add(spare, GPA(3 * MIB + RAM_PAGE_BYTES), RAM_PAGE_BYTES);
	next = saved_without(again, spare, RAM_PAGE_BYTES);
	assert_in_file(next, 3 * MIB + RAM_PAGE_BYTES, "");
	ram_spare_free(spare);
	ram_spare_free(NULL);
	ram_free(again);
	close(fd);
	close(next);
}
END_TEST

/* Only whole pages, only of RAM or of what is between, whatever a guest says */
START_TEST(test_spare_bounds)
{
	static const struct {
		uint64_t at, bytes, want_first, want_pages;
	} table[] = {
		{ 0, 4096, 0, 1 }, { 1, 4096, 0, 0 }, { 1, 8191, 1, 1 }, { 4095, 2, 0, 0 }, { 4096, 4095, 0, 0 },
		{ 0, 0, 0, 0 }, { 63 * 4096, 3 * 4096, 63, 3 }, { 64 * 4096, 64 * 4096, 64, 64 },
		{ 100 * 4096 + 1, 1000 * 4096, 101, 999 }, { SMALL - 4096, 4096, SMALL / 4096 - 1, 1 },
		{ SMALL - 4096, UINT64_MAX, SMALL / 4096 - 1, 1 }, { SMALL, 4096, 0, 0 },
		{ SMALL - 1, 4096, 0, 0 }, { UINT64_MAX - 4095, 4096, 0, 0 }, { UINT64_MAX, UINT64_MAX, 0, 0 },
		{ 0, UINT64_MAX, 0, SMALL / 4096 },
	};
	struct ram *ram = make(SMALL, -1);

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const uint64_t first = table[i].want_first, n = table[i].want_pages;
		struct ram_spare *spare = spare_of(ram);

		ram_spare_add(spare, GPA(table[i].at), table[i].bytes);
		ck_assert_uint_eq(ram_spare_bytes(spare), n * 4096);
		for (uint64_t page = first; page < first + n; page++)
			ck_assert(ram_spare_has(spare, GPA(page * 4096)));
		ck_assert(!ram_spare_has(spare, GPA(SMALL)) && !ram_spare_has(spare, GPA(UINT64_MAX)));
		ram_spare_free(spare);
	}
	ram_free(ram);
}
END_TEST

/* Of a part only what is in neither log, nothing beside the part */
START_TEST(test_spare_unwritten)
{
	static const uint64_t written[] = { 1ULL << 1 | 1ULL << 63, 1ULL << 2 }, none[SMALL / 4096 / 64];
	struct ram *ram = make(SMALL, -1);
	struct ram_spare *from = spare_of(ram), *to = spare_of(ram);

	ram_spare_add(from, GPA(0), SMALL);
	ram_spare_add_unwritten(to, from, GPA(64 * 4096), 70 * 4096, written);
	ck_assert_uint_eq(ram_spare_bytes(to), 67 * 4096);
	for (unsigned page = 64; page < 64 + 70; page++)
		ck_assert(ram_spare_has(to, GPA(page * 4096)) == (page != 65 && page != 127 && page != 130));
	ck_assert(!ram_spare_has(to, GPA(63 * 4096)) && !ram_spare_has(to, GPA(134 * 4096)));
	/* What is not free does not become so by not being written. */
	ram_spare_free(from);
	from = spare_of(ram);
	ram_spare_add_unwritten(to, from, GPA(0), SMALL, none);
	ck_assert_uint_eq(ram_spare_bytes(to), 67 * 4096);
	ram_spare_free(from);
	ram_spare_free(to);
	ram_free(ram);
}
END_TEST

UNIT_MAIN("ram_save", test_spare_pages, test_spare_bounds, test_spare_unwritten, test_pages_that_hold_something, test_begins_as_a_file, test_child,
	  test_shared_with_others, test_no_room)
