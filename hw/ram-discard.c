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

/* Each may be a mapping more, and a process has 65530: a guest must not use them up. */
#define MOST_HOLES 8192

static bool began_as_file(const struct ram *ram)
{
	return ram->fd >= 0 && !ram->shared && ram->page_bytes == RAM_PAGE_BYTES;
}

static bool began_in_file(const struct ram *ram, uint64_t first, uint64_t end)
{
	if (!began_as_file(ram) || !ram_in_region(ram, first))
		return began_as_file(ram);
	for (unsigned n = ram_block_at(ram, first); n <= ram_block_at(ram, end - 1); n++)
		if (atomic_load(&ram->from_file[n / 64]) >> n % 64 & 1)
			return true;
	return false;
}

/* A page of a file that only began as the RAM would come back as it was. */
static int forget_file(struct ram *ram, uint8_t *host, uint64_t bytes)
{
	char refused[64] = "";
	int err;

	if (atomic_fetch_add(&ram->holes, 1) >= MOST_HOLES) {
		atomic_store(&ram->holes, MOST_HOLES);
		return -ENOSPC;
	}
	if (mmap(host, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return -errno;
	err = ram_bind(ram, (uint64_t)(host - ram->map.base), bytes);
	if (err)
		return err;
	ram_advise(ram, host, bytes, refused, sizeof(refused));
	return 0;
}

static int drop_pages(struct ram *ram, gpa_t at, uint8_t *host, uint64_t bytes)
{
	/* Dropping our mapping of a shared file would leave the pages to the file. */
	if (ram->fd >= 0 && ram->shared)
		return fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 file_offset(ram, at), (off_t)bytes) ? -errno : 0;
	return madvise(host, bytes, MADV_DONTNEED) ? -errno : 0;
}

static int give_back(struct ram *ram, gpa_t at, uint64_t bytes, bool zeros)
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
	if (zeros && began_in_file(ram, first, end))
		return forget_file(ram, host, end - first);
	return drop_pages(ram, GPA(first), host, end - first);
}

int ram_discard(struct ram *ram, gpa_t at, uint64_t bytes)
{
	return give_back(ram, at, bytes, true);
}

int ram_drop(struct ram *ram, gpa_t at, uint64_t bytes)
{
	return give_back(ram, at, bytes, false);
}
