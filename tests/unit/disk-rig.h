/*
 * What the tests of the disk back ends share: an image, one disk on it, a loop, and requests that are
 * waited for. Set @cfg, then use_memory() or use_file(), start(), ..., stop().
 */
#ifndef TESTS_DISK_RIG_H
#define TESTS_DISK_RIG_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/types.h"
#include "unit.h"

#define SECTOR 512U

static struct loop loop;
static struct disk_config cfg;
static struct disk *disk;
static char path[64];
static int image = -1;
static unsigned n_done, n_reaped;

/* ---- images: in memory, or in a file ---- */

static inline void use_memory(uint64_t bytes)
{
	image = memfd_create("image", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(image, (off_t)bytes), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	cfg.path = path;
}

/* On the file system of the working directory, without a name */
static inline void use_file(uint64_t bytes)
{
	image = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_ge(image, 0);
	ck_assert_int_eq(ftruncate(image, (off_t)bytes), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	cfg.path = path;
}

static inline void reaped(struct disk *d)
{
	ck_assert_ptr_eq(d, disk);
	n_reaped++;
}

static inline void start(void)
{
	ck_assert_int_eq(disk_open(&cfg, &disk), 0);
	disk->reaped = reaped;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(disk->ops->attach(disk, &loop), 0);
}

/* As at a reset; what follows may begin things again */
static inline void cancel_all(void)
{
	disk->ops->drain(disk, true);
	disk->held = false;
}

static inline void stop(void)
{
	disk->ops->drain(disk, true);
	disk->ops->detach(disk, &loop);
	loop_fini(&loop);
	disk_close(disk);
	close(image);
}

struct waited {
	struct disk_request req;
	bool done;
	int ret;
};

static inline void done(struct disk_request *req, int ret)
{
	struct waited *w = container_of(req, struct waited, req);

	ck_assert(!w->done);
	w->done = true;
	w->ret = ret;
	n_done++;
}

static inline void submit(struct waited *w, enum disk_op op, uint64_t off, uint64_t len,
		   const struct iovec *iov, unsigned n)
{
	*w = (struct waited){ .req = { .op = op, .off = off, .len = len, .iov = iov, .n_iov = n,
				       .done = done } };
	disk->ops->submit(disk, &w->req);
}

static inline int finish(struct waited *w)
{
	disk->ops->commit(disk);
	while (!w->done)
		loop_once(&loop, -1);
	return w->ret;
}

static inline int request(enum disk_op op, uint64_t off, uint64_t len, const struct iovec *iov, unsigned n)
{
	struct waited w;

	submit(&w, op, off, len, iov, n);
	return finish(&w);
}

static inline int transfer(enum disk_op op, uint64_t off, void *buf, size_t len)
{
	struct iovec iov = { buf, len };

	return request(op, off, len, &iov, 1);
}

static inline int zero(uint64_t off, uint64_t len, bool unmap)
{
	struct waited w;

	submit(&w, DISK_WRITE_ZEROES, off, len, NULL, 0);
	w.req.unmap = unmap;
	return finish(&w);
}

static inline void fill(void *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(i * 31 + i / 256 + seed);
}

static inline void assert_image(uint64_t off, const void *expected, size_t len)
{
	void *bytes = malloc(len);

	ck_assert_int_eq(pread(image, bytes, len, (off_t)off), (ssize_t)len);
	ck_assert(!memcmp(bytes, expected, len));
	free(bytes);
}

/* Run @part as somebody who is not root, where we are. */
static inline void as_other_user(void (*part)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!getuid() && setuid(65534))
			_exit(2);
		part();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* What is printed to standard error from now on can be read there. */
static int log_fd = -1;

static inline void catch_log(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	ck_assert_int_eq(dup2(log_fd, STDERR_FILENO), STDERR_FILENO);
}

static inline bool logged(const char *what)
{
	char text[4096] = "";

	ck_assert_int_ge(pread(log_fd, text, sizeof(text) - 1, 0), 0);
	ck_assert_int_eq(ftruncate(log_fd, 0), 0);
	lseek(log_fd, 0, SEEK_SET);
	if (!strstr(text, what))
		printf("# '%s' is not in: %s\n", what, text);
	return strstr(text, what);
}

#endif
