/* Links: vm/warm-cache.o vm/snapshot-folder.o util/crc32c.o util/file.o util/file-sample.o hw/state.o hw/state-show.o util/json.o hw/ram-size.o disk/format.o */
#include "lkvm/vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/vm/snapshot.h"
#include "state.h"
#include "unit.h"

static char folder[] = "/tmp/test_warm.XXXXXX";
static char kernel[64];

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(kernel, sizeof(kernel), "%s/kernel", folder);
	write_file(kernel, "a kernel");
}

static void teardown(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* ---- the cache ---- */

START_TEST(test_folder)
{
	char below[100], *path;
	struct stat st;
	int fd;

	setup();
	snprintf(below, sizeof(below), "%s/a/b", folder);
	setenv("XDG_CACHE_HOME", below, 1);
	fd = warm_folder(&path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(chmod(path, 0770), 0);
	close(fd);
	ck_assert_int_eq(warm_folder(&(char *){ NULL }), -EPERM);
	ck_assert_int_eq(chmod(path, 0755), 0);
	free(path);
	fd = warm_folder(&path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	free(path);
	setenv("XDG_CACHE_HOME", "relative", 1);
	setenv("HOME", folder, 1);
	fd = warm_folder(&path);
	ck_assert_int_ge(fd, 0);
	ck_assert_str_eq(path + strlen(folder), "/.cache/lkvm/warm");
	close(fd);
	free(path);
	unsetenv("HOME");
	ck_assert_int_eq(warm_folder(&path), -ENOENT);
	setenv("XDG_CACHE_HOME", kernel, 1); /* a file */
	ck_assert_int_eq(warm_folder(&path), -ENOTDIR);
	teardown();
}
END_TEST

static void add_entry(const char *key, size_t blocks, time_t used)
{
	const struct timespec times[2] = { { .tv_sec = used }, { .tv_sec = used } };
	char path[100], *text = calloc(1, blocks * 4096 + 1);

	memset(text, 'x', blocks * 4096);
	snprintf(path, sizeof(path), "%s/%s", folder, key);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/state", folder, key);
	write_file(path, SNAPSHOT_MAGIC);
	snprintf(path, sizeof(path), "%s/%s/ram", folder, key);
	write_file(path, text);
	free(text);
	snprintf(path, sizeof(path), "%s/%s", folder, key);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void expect_entries(int fd, const char *first_digits)
{
	struct warm_entry *list;
	const int n = warm_entries(fd, &list);

	ck_assert_int_eq(n, (int)strlen(first_digits));
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(list[i].key[0], first_digits[i]);
	free(list);
}

START_TEST(test_shrink)
{
	const size_t block = 100;
	struct warm_entry *list;
	uint64_t each;
	int fd;

	setup();
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	add_entry("1000000000000000", block, 5000);
	add_entry("2000000000000000", block, 7000);
	add_entry("3000000000000000", block, 6000);
	add_entry("not-a-key", block, 1);
	expect_entries(fd, "231");
	ck_assert_int_eq(warm_entries(fd, &list), 3);
	each = list[0].bytes;
	free(list);
	ck_assert_uint_ge(each, block * 4096);
	warm_shrink(fd, 3 * each, NULL);
	expect_entries(fd, "231");
	warm_shrink(fd, 2 * each, NULL);
	expect_entries(fd, "23");
	warm_shrink(fd, each, "3000000000000000");
	expect_entries(fd, "23"); /* the older one is the one that is kept */
	warm_shrink(fd, 0, NULL);
	expect_entries(fd, "");
	ck_assert_int_eq(faccessat(fd, "not-a-key/ram", F_OK, 0), 0);
	close(fd);
	teardown();
}
END_TEST

START_TEST(test_limit)
{
	uint64_t limit;

	unsetenv("LKVM_WARM_LIMIT");
	ck_assert_int_eq(warm_limit(&limit), 0);
	ck_assert_uint_eq(limit, WARM_DEFAULT_LIMIT);
	setenv("LKVM_WARM_LIMIT", "300M", 1);
	ck_assert_int_eq(warm_limit(&limit), 0);
	ck_assert_uint_eq(limit, 300 << 20);
	setenv("LKVM_WARM_LIMIT", "0", 1);
	ck_assert_int_eq(warm_limit(&limit), 0);
	ck_assert_uint_eq(limit, 0);
	setenv("LKVM_WARM_LIMIT", "much", 1);
	ck_assert_int_eq(warm_limit(&limit), -EINVAL);
}
END_TEST

/* ---- the section ---- */

START_TEST(test_section)
{
	struct warm_section *st = calloc(1, sizeof(*st)), *got = calloc(1, sizeof(*got));
	struct state_buf buf = { 0 };
	struct state_reader in;

	state_test_table(&warm_section_type);
	st->recipe_n = st->cmdline_n = 1;
	st->release_n = 4;
	memcpy(st->release, "6.1", 4);
	ck_assert_int_eq(state_pack(&buf, &warm_section_type, st), 0);
	in = state_reader_of(&buf);
	ck_assert_int_eq(state_unpack(&in, &warm_section_type, got), 0);
	ck_assert_mem_eq(st, got, sizeof(*st));
	state_buf_free(&buf);
	st->release[1] = '\0'; /* a NUL in it */
	ck_assert_int_eq(state_pack(&buf, &warm_section_type, st), 0);
	in = state_reader_of(&buf);
	ck_assert_int_eq(state_unpack(&in, &warm_section_type, got), -ERANGE);
	state_buf_free(&buf);
	st->release[1] = '.';
	st->cmdline_n = 0;
	ck_assert_int_eq(state_pack(&buf, &warm_section_type, st), 0);
	in = state_reader_of(&buf);
	ck_assert_int_eq(state_unpack(&in, &warm_section_type, got), -ERANGE);
	state_buf_free(&buf);
	free(st);
	free(got);
}
END_TEST

UNIT_MAIN("warm", test_folder, test_shrink, test_limit, test_section)
