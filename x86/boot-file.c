/*
 * The files that make up a boot: opened once, read with pread(2) so that a file cut short meanwhile
 * is an error and not a SIGBUS, and no byte is copied twice on its way into the guest.
 */
#include "boot-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int judge(struct boot_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return log_err(-errno, "%s '%s'", file->what, file->name);
	if (S_ISDIR(st.st_mode))
		return log_err(-EISDIR, "%s '%s'", file->what, file->name);
	if (!S_ISREG(st.st_mode))
		return file_err(file, -ENOEXEC, "not a regular file");
	file->size_bytes = (uint64_t)st.st_size;
	return 0;
}

int boot_file_open(struct boot_file *file, const char *what, const char *name)
{
	int err;

	*file = (struct boot_file){ .what = what, .name = name };
	/* O_NONBLOCK: a FIFO that nobody writes to must not hang us. Regular files ignore it. */
	file->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0)
		return log_err(-errno, "%s '%s'", what, name);
	err = judge(file);
	if (err)
		boot_file_close(file);
	return err;
}

void boot_file_close(struct boot_file *file)
{
	if (file->mem)
		munmap(file->mem, file->size_bytes);
	if (file->fd >= 0)
		close(file->fd);
	file->mem = NULL;
	file->fd = -1;
}

static int read_fd(const struct boot_file *file, uint64_t off, uint8_t *dst, uint64_t len)
{
	while (len) {
		ssize_t n = pread(file->fd, dst, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return log_err(-errno, "%s '%s': read", file->what, file->name);
		if (n == 0)
			return file_err(file, -ENOEXEC, "shrank while it was read");
		dst += n;
		off += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return 0;
}

int boot_file_read(const struct boot_file *file, uint64_t off, void *dst, uint64_t len)
{
	if (off > file->size_bytes || len > file->size_bytes - off)
		return file_err(file, -ENOEXEC,
				"is truncated: bytes up to %#" PRIx64 " needed, it has %#" PRIx64,
				off + len, file->size_bytes);
	if (!file->mem)
		return read_fd(file, off, dst, len);
	if (len)
		memcpy(dst, file->mem + off, len);
	return 0;
}

int boot_segment_to_ram(const struct boot_file *file, uint64_t off, uint64_t filesz,
			const struct ram *ram, gpa_t dst, uint64_t memsz)
{
	void *window;
	int err;

	if (ram_window(ram, dst, memsz, 1, &window))
		return file_err(file, -EFBIG, "no guest RAM at [%#" PRIx64 ", %#" PRIx64 ")", dst.v,
				dst.v + memsz);
	err = boot_file_read(file, off, window, filesz);
	/* RAM that comes from a file need not be zero. */
	if (!err)
		memset((uint8_t *)window + filesz, 0, memsz - filesz);
	return err;
}

int boot_file_to_ram(const struct boot_file *file, uint64_t off, const struct ram *ram, gpa_t dst,
		     uint64_t len)
{
	return boot_segment_to_ram(file, off, len, ram, dst, len);
}
