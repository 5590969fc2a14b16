/*
 * fs-random FILE SEED COUNT: COUNT operations at random on FILE, which are also done on a copy of it in memory;
 * whatever is read has to be the same. The same seed does the same. Prints the file's length and a
 * checksum of what it has to hold.
 *
 * fs-random FILE: the same of what it holds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST  (512u << 10) /* bytes of the file */
#define PIECE (96u << 10)  /* bytes that one operation touches */
#define PAGE  4096u

static const char *path;
static char other_name[4096];
static int fd, appending;
static uint8_t want[MOST], buf[MOST] __attribute__((aligned(PAGE)));
static size_t size;
static uint64_t state;
static unsigned long number; /* of the operation */

static uint32_t any(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return below ? (uint32_t)(state >> 33) % below : 0;
}

static _Noreturn void fail(const char *what, size_t at)
{
	int err = errno;

	printf("operation %lu, %s: at %zu of %zu: %s\n", number, what, at, size, err ? strerror(err) : "wrong");
	exit(1);
}

/* A mapped page could not be read */
static void bus_error(int signal)
{
	(void)signal;
	errno = EIO;
	fail("SIGBUS", 0);
}

static void need(bool good, const char *what, size_t at)
{
	if (!good)
		fail(what, at);
}

static void check(const uint8_t *got, size_t at, size_t len, const char *what)
{
	errno = 0;
	for (size_t i = 0; i < len; i++)
		need(got[i] == want[at + i], what, at + i);
}

/* New bytes at @at of the copy, where there may be a gap before; Return: them */
static const uint8_t *renew(size_t at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		want[at + i] = (uint8_t)any(256);
	if (at + len > size)
		size = at + len;
	return want + at;
}

/* What is behind the end of the copy is always zero. */
static void cut(size_t len)
{
	if (len < size)
		memset(want + len, 0, size - len);
	size = len;
}

static size_t any_len(size_t at)
{
	size_t len = any(any(4) ? PAGE * 2 : PIECE) + 1;

	return len < MOST - at ? len : MOST - at;
}

static size_t inside(size_t at)
{
	size_t len = any_len(at);

	return at >= size ? 0 : len < size - at ? len : size - at;
}

static void reopen(void)
{
	need(!close(fd) && !close(appending), "close", 0);
	fd = open(path, O_RDWR);
	appending = open(path, O_WRONLY | O_APPEND);
	need(fd >= 0 && appending >= 0, "open", 0);
}

/* ---- operations ---- */

static void op_write(size_t at)
{
	size_t len = any_len(at);

	need(pwrite(fd, renew(at, len), len, (off_t)at) == (ssize_t)len, "write", at);
}

static void op_append(size_t at)
{
	size_t len = any_len(size);

	at = size;
	need(write(appending, renew(at, len), len) == (ssize_t)len, "append", at);
}

static void op_read(size_t at)
{
	size_t len = any_len(at), there = at >= size ? 0 : len < size - at ? len : size - at;

	need(pread(fd, buf, len, (off_t)at) == (ssize_t)there, "read", at);
	check(buf, at, there, "read");
}

static void op_map(size_t at)
{
	size_t len = inside(at);
	uint8_t *map = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : NULL;

	if (!map)
		return;
	need(map != MAP_FAILED, "mmap", at);
	check(map, 0, size, "map");
	if (len)
		memcpy(map + at, renew(at, len), len);
	if (any(2))
		need(!msync(map, size, MS_SYNC), "msync", at);
	need(!munmap(map, size), "munmap", at);
}

static void op_map_private(size_t at)
{
	uint8_t *map = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) : NULL;

	if (!map)
		return;
	need(map != MAP_FAILED, "mmap", at);
	check(map, 0, size, "private map");
	memset(map + at % size, 'p', 1);
	need(!munmap(map, size), "munmap", at);
}

static void op_ftruncate(size_t at)
{
	cut(at);
	need(!ftruncate(fd, (off_t)at), "ftruncate", at);
}

static void op_truncate(size_t at)
{
	cut(at);
	need(!truncate(path, (off_t)at), "truncate", at);
}

static void allocate(int mode, size_t at, size_t len)
{
	if (!fallocate(fd, mode, (off_t)at, (off_t)len)) {
		if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
			memset(want + at, 0, len);
		if (!(mode & FALLOC_FL_KEEP_SIZE) && at + len > size)
			size = at + len;
		return;
	}
	need(errno == EOPNOTSUPP, "fallocate", at);
}

static void op_fallocate(size_t at)
{
	static const int mode[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    FALLOC_FL_ZERO_RANGE };

	allocate(mode[any(4)], at, any_len(at));
}

static void op_copy(size_t at)
{
	size_t len = inside(at), to = any(MOST - (uint32_t)len);
	loff_t in = (loff_t)at, out = (loff_t)to;

	while (len && (at + len <= to || to + len <= at)) {
		ssize_t got = copy_file_range(fd, &in, fd, &out, len, 0);

		need(got > 0, "copy_file_range", at);
		memcpy(want + to, want + at, (size_t)got);
		at += (size_t)got;
		to += (size_t)got;
		len -= (size_t)got;
		if (to > size)
			size = to;
	}
}

/* In and out around the page cache */
static void op_direct(size_t at)
{
	int direct = open(path, O_RDWR | O_DIRECT);
	size_t len = (any(8) + 1) * PAGE;

	if (direct < 0 && errno == EINVAL)
		return;
	need(direct >= 0, "open direct", at);
	at -= at % PAGE;
	if (at + len > MOST)
		at = MOST - len;
	memcpy(buf, renew(at, len), len);
	need(pwrite(direct, buf, len, (off_t)at) == (ssize_t)len, "write direct", at);
	memset(buf, 0, len);
	need(pread(direct, buf, len, (off_t)at) == (ssize_t)len, "read direct", at);
	check(buf, at, len, "read direct");
	close(direct);
}

static void op_rename(size_t at)
{
	if (any(2)) {
		need(!rename(path, other_name) && !rename(other_name, path), "rename", at);
		return;
	}
	need(!link(path, other_name) && !unlink(path) && !rename(other_name, path), "link", at);
}

/* As editors do: a new file in place of the old one */
static void op_replace(size_t at)
{
	int new = open(other_name, O_RDWR | O_CREAT | O_EXCL, 0600);

	need(new >= 0 && write(new, want, size) == (ssize_t)size, "write anew", at);
	if (any(2))
		need(!fsync(new), "fsync", at);
	need(!close(new) && !rename(other_name, path), "replace", at);
	reopen();
}

static void op_reopen(size_t at)
{
	(void)at;
	reopen();
}

static void op_empty(size_t at)
{
	int new = any(8) ? -2 : open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (new == -2)
		return;
	need(new >= 0, "empty", at);
	cut(0);
	close(new);
}

static void op_sync(size_t at)
{
	need(!(any(2) ? fsync(fd) : fdatasync(fd)), "fsync", at);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void step(void)
{
	static void (*const ops[])(size_t at) = {
		op_write, op_write, op_write, op_read, op_read, op_read, op_map, op_map, op_map_private,
		op_append, op_ftruncate, op_truncate, op_fallocate, op_fallocate, op_copy, op_direct,
		op_rename, op_replace, op_reopen, op_empty, op_sync,
	};
	struct stat st;

	ops[any(sizeof(ops) / sizeof(*ops))](any(4) ? any((uint32_t)size + 1) % MOST : any(MOST));
	need(!stat(path, &st), "stat", 0);
	errno = 0;
	need((size_t)st.st_size == size, "length", (size_t)st.st_size);
}

/* ---- all of it ---- */

static void say(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 14695981039346656037u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * 1099511628211u;
	printf("%zu bytes, %016llx\n", len, (unsigned long long)sum);
}

int main(int argc, char **argv)
{
	unsigned long count;
	ssize_t len;

	if (argc != 2 && argc != 4)
		return 2;
	path = argv[1];
	if (argc == 2) {
		fd = open(path, O_RDONLY);
		len = read(fd, buf, MOST);
		need(len >= 0, "read", 0);
		say(buf, (size_t)len);
		return 0;
	}
	signal(SIGBUS, bus_error);
	snprintf(other_name, sizeof(other_name), "%s.other", path);
	state = strtoul(argv[2], NULL, 10);
	count = strtoul(argv[3], NULL, 10);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	appending = open(path, O_WRONLY | O_APPEND);
	need(fd >= 0 && appending >= 0, "create", 0);
	while (number++ < count)
		step();
	say(want, size);
	return 0;
}
