/*
 * The files that make up a boot: opened once, read with pread(2) so that a file cut short meanwhile
 * is an error and not a SIGBUS, and no byte is copied twice on its way into the guest. A pipe is the
 * exception: all of it is read first.
 *
 * Nothing is mapped into the guest's RAM. A page of such a mapping follows the file until the guest
 * writes to it, and is gone when the file is cut short, so the next `make` would pull a vmlinux from
 * under a guest that runs; and the guest would pay for small pages what lkvm saves by not copying.
 */
#include "boot-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"

void *boot_reserve(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Return: bytes, 0 at the end, or -errno */
static ssize_t read_some(int fd, void *dst, size_t len)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	ssize_t n;

	do {
		n = read(fd, dst, len);
		if (n < 0 && errno == EAGAIN)
			poll(&ready, 1, -1);
	} while (n < 0 && (errno == EAGAIN || errno == EINTR));
	return n < 0 ? -errno : n;
}

/* All of a pipe: it cannot be read at an offset, and its writer may still be at work. */
static int read_pipe(struct boot_file *file, uint64_t cap)
{
	ssize_t n;

	file->mem = boot_reserve(cap);
	if (!file->mem)
		return log_err(-ENOMEM, "%s '%s'", file->what, file->name);
	file->mem_bytes = cap;
	while ((n = read_some(file->fd, file->mem + file->size_bytes, cap - file->size_bytes)) > 0)
		file->size_bytes += (uint64_t)n;
	if (n < 0)
		return log_err((int)n, "%s '%s': read", file->what, file->name);
	if (file->size_bytes == cap)
		return file_err(file, -EFBIG, "more than %" PRIu64 " bytes come out of it", cap - 1);
	if (!file->size_bytes)
		return file_err(file, -ENOEXEC, "is a pipe that nothing comes out of");
	return 0;
}

static int judge(struct boot_file *file, uint64_t cap)
{
	struct stat st;

	if (fstat(file->fd, &st))
		return log_err(-errno, "%s '%s'", file->what, file->name);
	if (S_ISDIR(st.st_mode))
		return log_err(-EISDIR, "%s '%s'", file->what, file->name);
	if (S_ISFIFO(st.st_mode))
		return read_pipe(file, cap);
	if (!S_ISREG(st.st_mode))
		return file_err(file, -ENOEXEC, "neither a regular file nor a pipe");
	file->size_bytes = (uint64_t)st.st_size;
	return 0;
}

int boot_file_open(const struct ram *ram, struct boot_file *file, const char *what,
		   const char *name)
{
	int err;

	*file = (struct boot_file){ .what = what, .name = name };
	/*
	 * O_NONBLOCK: open() must not wait until somebody opens the other end of a FIFO. A writer that
	 * is there is waited for.
	 */
	file->fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0)
		return log_err(-errno, "%s '%s'", what, name);
	err = judge(file, boot_file_most(ram) + 1);
	if (err)
		boot_file_close(file);
	return err;
}

uint64_t boot_file_most(const struct ram *ram)
{
	return BOOT_FILE_RAM_MULTIPLE * ram_bytes(ram);
}

void boot_file_part(const struct boot_file *whole, uint64_t off, uint64_t len, const char *what,
		    struct boot_file *ret)
{
	*ret = *whole;
	ret->what = what;
	ret->base += off;
	ret->size_bytes = len;
	ret->borrowed = true;
}

void boot_file_close(struct boot_file *file)
{
	if (!file->borrowed) {
		if (file->mem)
			munmap(file->mem, file->mem_bytes);
		if (file->fd >= 0)
			close(file->fd);
	}
	file->mem = NULL;
	file->fd = -1;
}

static int read_fd(const struct boot_file *file, uint64_t off, uint8_t *dst, uint64_t len)
{
	ssize_t n = file_read(file->fd, dst, len, off);

	if (n < 0)
		return log_err((int)n, "%s '%s': read", file->what, file->name);
	return (uint64_t)n == len ? 0 : file_err(file, -ENOEXEC, "shrank while it was read");
}

int boot_file_read(const struct boot_file *file, uint64_t off, void *dst, uint64_t len)
{
	if (off > file->size_bytes || len > file->size_bytes - off)
		return file_err(file, -ENOEXEC,
				"is truncated: bytes up to %#" PRIx64 " needed, it has %#" PRIx64,
				off + len, file->size_bytes);
	if (!file->mem)
		return read_fd(file, file->base + off, dst, len);
	if (len)
		memcpy(dst, file->mem + file->base + off, len);
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
