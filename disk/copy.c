/*
 * Copying the contents of a disk to a file; see disk.h. As a clone if the file system can do that; else what
 * is no hole is copied, by the kernel where it does so. Nothing is allocated: a child of a process with
 * threads runs this.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/types.h"

#define PAGE_BYTES 4096

struct copy {
	int to_fd;
	uint8_t *buf; /* DISK_COPY_BYTES */
	bool by_hand; /* the kernel does not copy between these files */
	bool all;     /* zeros, too: there may be something else in their place */
};

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

/*
 * At most DISK_COPY_BYTES, and of those what the file has. It is asked for in whole pages: it may be open for
 * direct I/O. Return: how many, or -errno
 */
static int64_t copy_by_hand(const struct copy *c, int fd, uint64_t at, uint64_t len)
{
	ssize_t n;
	int err;

	do {
		n = pread(fd, c->buf, ALIGN_UP(len, PAGE_BYTES), (off_t)at);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((uint64_t)n > len)
		n = (ssize_t)len;
	err = !c->all && is_zero(c->buf, (uint64_t)n) ? 0 : file_write(c->to_fd, c->buf, (size_t)n, at);
	return err ? err : n;
}

/* Return: how many of @len, 0: the kernel does not, or -errno */
static int64_t copy_by_kernel(const struct copy *c, int fd, uint64_t at, uint64_t len)
{
	off_t from = (off_t)at, to = (off_t)at;
	ssize_t n;

	do {
		n = copy_file_range(fd, &from, c->to_fd, &to, len, 0);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == ENOSPC || errno == EFBIG || errno == EIO || errno == EDQUOT ? -errno : 0;
}

/* Files that are shorter than they were said to be are zeros from there on. */
static int copy_range(struct copy *c, int fd, uint64_t at, uint64_t end)
{
	while (at < end) {
		const uint64_t left = end - at, part = left < DISK_COPY_BYTES ? left : DISK_COPY_BYTES;
		int64_t n = c->by_hand ? copy_by_hand(c, fd, at, part) : copy_by_kernel(c, fd, at, left);

		if (n < 0)
			return (int)n;
		if (c->by_hand && (uint64_t)n < part)
			return 0;
		c->by_hand |= !n;
		at += (uint64_t)n;
	}
	return 0;
}

/* What is no hole; a file that does not tell has none. */
static int copy_file(struct copy *c, int fd, uint64_t bytes)
{
	uint64_t at = 0;
	int err = 0;

	while (!err && at < bytes) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			return copy_range(c, fd, at, bytes);
		at = (uint64_t)hole;
		err = copy_range(c, fd, (uint64_t)data, at < bytes ? at : bytes);
	}
	return err;
}

/* What was written since the base was opened. */
static int copy_top(struct copy *c, const struct disk_source *from)
{
	const uint64_t sectors = from->bytes / DISK_SECTOR_BYTES;
	uint64_t first;
	int err = 0;

	c->by_hand = false;
	c->all = true;
	for (uint64_t i = 0; !err && i < sectors; i++) {
		if (!from->written[i / 64]) {
			i |= 63; /* the last one of this word */
			continue;
		}
		for (first = i; i < sectors && from->written[i / 64] >> i % 64 & 1; i++)
			;
		err = copy_range(c, from->top_fd, first * DISK_SECTOR_BYTES, i * DISK_SECTOR_BYTES);
	}
	return err;
}

int disk_copy(const struct disk_source *from, int to_fd, void *buf, bool *ret_shared)
{
	struct copy c = { .to_fd = to_fd, .buf = buf };
	int err;

	*ret_shared = !ioctl(to_fd, FICLONE, from->fd);
	err = *ret_shared ? 0 : copy_file(&c, from->fd, from->bytes);
	if (!err && from->top_fd >= 0)
		err = copy_top(&c, from);
	if (!err && ftruncate(to_fd, (off_t)from->bytes))
		err = -errno;
	return err;
}
