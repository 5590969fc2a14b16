/* Links: vm/initramfs.o util/crc32c.o */
/* The archive as busybox's cpio unpacks it, and byte by byte where that does not tell. */
#include "lkvm/vm/initramfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/crc32c.h"
#include "own-folder.h"

static void write_to(const struct initramfs *fs, const char *path)
{
	uint64_t len = initramfs_bytes(fs);
	uint8_t *bytes = malloc(len + 1);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	memset(bytes, 0xa5, len + 1); /* RAM need not be zero */
	initramfs_write(fs, bytes);
	ck_assert_int_eq(bytes[len], 0xa5);
	ck_assert_uint_eq(initramfs_sum(fs), crc32c(0, bytes, len));
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	free(bytes);
}

START_TEST(test_unpacks)
{
	static uint8_t big[1000003];
	struct initramfs fs = { 0 };
	struct stat st;
	int fd;

	enter_own_folder();
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 7 + (i >> 9));
	fd = open("big", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, big, sizeof(big)), (ssize_t)sizeof(big));
	close(fd);
	ck_assert_int_eq(initramfs_add(&fs, "init", S_IFREG | 0755, "12345", 5), 0);
	ck_assert_int_eq(initramfs_add(&fs, "empty", S_IFREG | 0600, NULL, 0), 0);
	ck_assert_int_eq(initramfs_add(&fs, "a/b/c/big", S_IFREG | 0644, big, sizeof(big)), 0);
	ck_assert_int_eq(initramfs_add(&fs, "a/b/link", S_IFLNK | 0777, "c/big", 5), 0);
	ck_assert_int_eq(initramfs_add_node(&fs, "tmp", S_IFDIR | 01777, 0), 0);
	write_to(&fs, "cpio");
	initramfs_free(&fs);
	ck_assert_int_eq(system("mkdir out && cd out && busybox cpio -idm <../cpio 2>/dev/null && cmp a/b/link ../big && "
				"test ! -s empty -a -f empty && test \"$(cat init)\" = 12345"), 0);
	ck_assert(!stat("out/init", &st) && st.st_mode == (S_IFREG | 0755) && st.st_nlink == 1);
	ck_assert(!stat("out/tmp", &st) && st.st_mode == (S_IFDIR | 01777));
	ck_assert(!stat("out/a/b", &st) && st.st_mode == (S_IFDIR | 0755));
	leave_own_folder();
}
END_TEST

/* Busybox needs to be root for these. */
START_TEST(test_device)
{
	struct initramfs fs = { 0 };
	char bytes[1024];

	ck_assert_int_eq(initramfs_add_node(&fs, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	ck_assert_uint_le(initramfs_bytes(&fs), sizeof(bytes));
	initramfs_write(&fs, bytes);
	ck_assert(!memcmp(bytes, "070701" "00000001" "000021b6" "00000000" "00000000" "00000001" "00000000"
				 "00000000" "00000000" "00000000" "00000001" "00000003" "00000005" "00000000"
				 "null\0\0", 116));
	ck_assert(!memcmp(bytes + 116, "070701", 6) && !memcmp(bytes + 116 + 110, "TRAILER!!!", 11));
	initramfs_free(&fs);
}
END_TEST

START_TEST(test_names)
{
	static const char *const bad[] = { "", "/init", "a//b", "a/", "../a", "a/../b", ".", "./a", "TRAILER!!!" };
	struct initramfs fs = { 0 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(initramfs_add(&fs, bad[i], S_IFREG, "x", 1), -EINVAL);
	ck_assert_int_eq(initramfs_add(&fs, "a", S_IFREG, "x", 1), 0);
	ck_assert_int_eq(initramfs_add(&fs, "a", S_IFREG, "x", 1), -EEXIST);
	ck_assert_int_eq(initramfs_add(&fs, "a/b", S_IFREG, "x", 1), -EEXIST);
	ck_assert_int_eq(initramfs_add(&fs, "big", S_IFREG, "x", 1ULL << 32), -EFBIG);
	initramfs_free(&fs);
}
END_TEST

/* 2 MB in 200 files; it is to take less than 10 ms, but a test machine may be busy. */
START_TEST(test_quick)
{
	static uint8_t bytes[10000], out[3 << 20];
	struct initramfs fs = { 0 };
	struct timespec from, to;
	char name[32];

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "modules/%d.ko", i);
		ck_assert_int_eq(initramfs_add(&fs, name, S_IFREG | 0644, bytes, sizeof(bytes)), 0);
	}
	ck_assert_uint_le(initramfs_bytes(&fs), sizeof(out));
	initramfs_write(&fs, out);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	ck_assert_int_lt((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000, 100);
	initramfs_free(&fs);
}
END_TEST

UNIT_MAIN("initramfs", test_unpacks, test_device, test_names, test_quick)
