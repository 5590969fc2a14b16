/*
 * Which pages of RAM hold anything; see ram.h. The host is asked, and no page is looked at: to read one that
 * was never written would have the host make it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "ram-internal.h"

#define ASKED_PAGES   512
#define PAGE_IS_THERE (3ULL << 62) /* in memory, or swapped out */

/* Pages of the file that RAM is, or began as, for which there is something in it */
static void add_file_data(const struct ram *ram, off_t at, unsigned n, uint8_t *ret)
{
	const off_t end = at + (off_t)n * RAM_PAGE_BYTES;
	off_t data = at, hole;

	while (data < end && (data = lseek(ram->fd, data, SEEK_DATA)) >= 0 && data < end) {
		hole = lseek(ram->fd, data, SEEK_HOLE);
		if (hole < 0 || hole > end)
			hole = end;
		memset(ret + (data - at) / RAM_PAGE_BYTES, 1,
		       (size_t)((hole + RAM_PAGE_BYTES - 1) / RAM_PAGE_BYTES - data / RAM_PAGE_BYTES));
		data = hole;
	}
	if (data < 0 && errno != ENXIO) /* this file system does not tell */
		memset(ret, 1, n);
}

static int add_host_pages(const uint8_t *host, unsigned n, uint8_t *ret)
{
	const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry[ASKED_PAGES];
	int err = fd < 0 ? -errno : 0;

	for (unsigned page = 0; !err && page < n; page += ASKED_PAGES) {
		const unsigned some = n - page < ASKED_PAGES ? n - page : ASKED_PAGES;
		const size_t bytes = some * sizeof(entry[0]);
		const off_t at = (off_t)(((uintptr_t)host / RAM_PAGE_BYTES + page) * sizeof(entry[0]));

		if (pread(fd, entry, bytes, at) != (ssize_t)bytes)
			err = -EIO;
		for (unsigned i = 0; !err && i < some; i++)
			ret[page + i] |= (entry[i] & PAGE_IS_THERE) != 0;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

int ram_touched(const struct ram *ram, gpa_t at, unsigned n, uint8_t *ret)
{
	const uint8_t *host = ram_host(ram, at, (uint64_t)n * RAM_PAGE_BYTES);

	if (!host || at.v & (RAM_PAGE_BYTES - 1))
		return -EFAULT;
	memset(ret, 0, n);
	if (ram->fd >= 0)
		add_file_data(ram, (off_t)ram_file_at(ram, at), n, ret);
	if (add_host_pages(host, n, ret))
		memset(ret, 1, n); /* the host does not tell */
	return 0;
}
