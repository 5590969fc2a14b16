/* Links: disk/copy.o util/file.o */
/* Contents of a disk in a file of their own: holes, overlays, files that end early. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "unit.h"

#define BYTES (1024 * 1024)

static uint8_t want[BYTES], got[BYTES];
static uint8_t buf[DISK_COPY_BYTES] __attribute__((aligned(4096)));

static int file(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static void put(int fd, uint64_t at, uint8_t byte, uint64_t len)
{
	memset(buf, byte, len);
	ck_assert_int_eq(pwrite(fd, buf, len, (off_t)at), (ssize_t)len);
}

static void assert_copy(const struct disk_source *from, uint64_t most_blocks)
{
	int to = file();
	struct stat st;
	bool shared;

	ck_assert_int_eq(disk_copy(from, to, buf, &shared), 0);
	ck_assert(!shared); /* memory cannot */
	ck_assert_int_eq(fstat(to, &st), 0);
	ck_assert_uint_eq((uint64_t)st.st_size, from->bytes);
	ck_assert_uint_le((uint64_t)st.st_blocks, most_blocks);
	ck_assert_int_eq(pread(to, got, from->bytes, 0), (ssize_t)from->bytes);
	ck_assert(!memcmp(got, want, from->bytes));
	close(to);
}

START_TEST(test_holes)
{
	const struct disk_source from = { .fd = file(), .bytes = BYTES, .top_fd = -1 };

	ck_assert_int_eq(ftruncate(from.fd, BYTES), 0);
	put(from.fd, 4096, 1, 4096);
	put(from.fd, 600 * 1024, 2, 100 * 1024);
	put(from.fd, BYTES - 512, 3, 512);
	ck_assert_int_eq(pread(from.fd, want, BYTES, 0), BYTES);
	assert_copy(&from, 8 + 200 + 8);
	close(from.fd);
}
END_TEST

/* The disk is as long as it was opened; its file is shorter by now, or was no whole sector. */
START_TEST(test_short_file)
{
	const struct disk_source from = { .fd = file(), .bytes = BYTES, .top_fd = -1 };

	put(from.fd, 0, 1, 1000);
	memset(want, 0, BYTES);
	memset(want, 1, 1000);
	assert_copy(&from, 8);
	close(from.fd);
}
END_TEST

/* What was written is from the top: zeros, too, and nothing else of it. */
START_TEST(test_overlay)
{
	static uint64_t written[BYTES / DISK_SECTOR_BYTES / 64 + 1];
	const struct disk_source from = { .fd = file(), .bytes = BYTES, .top_fd = file(), .written = written };

	memset(want, 1, BYTES);
	for (unsigned i = 0; i < 4; i++)
		put(from.fd, i * DISK_COPY_BYTES, 1, DISK_COPY_BYTES);
	ck_assert_int_eq(ftruncate(from.top_fd, BYTES), 0);
	put(from.top_fd, 0, 2, 8 * 512);
	/* Sector 3; 63 to 65, across a word; the last one. Sectors 64 and 65 are a hole of the top. */
	written[0] = 1ULL << 3 | 1ULL << 63;
	written[1] = 3;
	written[BYTES / 512 / 64 - 1] = 1ULL << 63;
	put(from.top_fd, 63 * 512, 3, 512);
	put(from.top_fd, BYTES - 512, 4, 512);
	memset(want + 3 * 512, 2, 512);
	memset(want + 63 * 512, 3, 512);
	memset(want + 64 * 512, 0, 2 * 512);
	memset(want + BYTES - 512, 4, 512);
	assert_copy(&from, BYTES / 512);
	close(from.fd);
	close(from.top_fd);
}
END_TEST

START_TEST(test_no_room)
{
	const struct disk_source from = { .fd = file(), .bytes = BYTES, .top_fd = -1 };
	int to = memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool shared;

	put(from.fd, 0, 1, 4096);
	ck_assert_int_eq(fcntl(to, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE), 0);
	ck_assert_int_eq(disk_copy(&from, to, buf, &shared), -EPERM);
	close(to);
	close(from.fd);
}
END_TEST

UNIT_MAIN("disk_copy", test_holes, test_short_file, test_overlay, test_no_room)
