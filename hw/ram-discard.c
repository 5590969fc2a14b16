/* Giving the guest's memory back to the host; see ram.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "ram-internal.h"

/* In the file the parts stand back to back. */
static off_t file_offset(const struct ram *ram, gpa_t at)
{
	return (off_t)(at.v < RAM_GAP_END ? at.v : at.v - RAM_GAP_END + ram->map.part[0].size_bytes);
}

/* A page of a file that only began as the RAM would come back as it was. */
static int forget_file(const struct ram *ram, uint8_t *host, uint64_t bytes)
{
	char refused[64] = "";

	if (mmap(host, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	ram_advise(ram, host, bytes, refused, sizeof(refused));
	return 0;
}

static int discard_pages(struct ram *ram, gpa_t at, uint8_t *host, uint64_t bytes)
{
	/* Dropping our mapping of a shared file would leave the pages to the file. */
	if (ram->fd >= 0 && ram->shared)
		return fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 file_offset(ram, at), (off_t)bytes) ? -errno : 0;
	if (ram->fd >= 0 && ram->page_bytes == RAM_PAGE_BYTES)
		return forget_file(ram, host, bytes);
	return madvise(host, bytes, MADV_DONTNEED) ? -errno : 0;
}

int ram_discard(struct ram *ram, gpa_t at, uint64_t bytes)
{
	const uint64_t page = ram->page_bytes;
	uint64_t first = ALIGN_UP(at.v, page), end;
	uint8_t *host;

	if (!ram_host(ram, at, bytes))
		return -EFAULT;
	end = ALIGN_DOWN(at.v + bytes, page);
	if (first >= end)
		return 0;
	host = ram->map.base + first;
	ram_wrote(ram, host, end - first);
	return discard_pages(ram, GPA(first), host, end - first);
}
