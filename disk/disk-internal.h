/*
 * What the back ends share. They include nothing of the machine: only util and disk.h.
 */
#ifndef DISK_INTERNAL_H
#define DISK_INTERNAL_H

#include <sys/types.h>

#include "lkvm/disk.h"

/* ---- disk/request.c: requests in memory ---- */

/* Requests that wait, in order. */
struct disk_fifo {
	struct disk_request *first, **end;
};

void disk_fifo_init(struct disk_fifo *fifo);
void disk_fifo_push(struct disk_fifo *fifo, struct disk_request *req);
/** disk_fifo_unpop() - put back in front */
void disk_fifo_unpop(struct disk_fifo *fifo, struct disk_request *req);
/** disk_fifo_pop() - Return: NULL if none waits */
struct disk_request *disk_fifo_pop(struct disk_fifo *fifo);
/** disk_fifo_cancel() - done(-ECANCELED) for those that are marked, or for all of them */
void disk_fifo_cancel(struct disk_fifo *fifo, bool all, void (*finish)(struct disk_request *, int));

/**
 * disk_iov_part() - the bytes [off, off + len) of an iovec, as far as @cap elements reach
 * @ret_bytes: how many that are
 * Return: number of elements
 */
unsigned disk_iov_part(const struct iovec *iov, unsigned n, uint64_t off, uint64_t len,
		       struct iovec *ret, unsigned cap, uint64_t *ret_bytes);
/** disk_gather(), disk_scatter() - copy @len bytes from (to) an iovec, @off bytes into it */
void disk_gather(const struct iovec *iov, unsigned n, uint64_t off, void *dst, uint64_t len);
void disk_scatter(const struct iovec *iov, unsigned n, uint64_t off, const void *src, uint64_t len);

/* ---- disk/format.c: what an image is ---- */

#define DISK_HEADER_BYTES 512

/** disk_foreign_uri() - is it a URI, but none of a network block device, and no file of that name? */
bool disk_foreign_uri(const char *path);

/**
 * disk_foreign_header() - does this, at offset 0, look like an image that is not raw?
 * @len: as much of the disk's first DISK_HEADER_BYTES as there is
 * Return: the name of its format, or NULL
 */
const char *disk_foreign_header(const void *header, size_t len);

/* ---- disk/lock.c ---- */

/**
 * disk_lock() - keep other guests off an image, until the last copy of @fd is closed
 * @exclusive: nobody else at all, otherwise no other writer
 * Return: 0, or -errno after one logged line, which names the process that has the lock
 */
int disk_lock(int fd, const char *name, bool exclusive);

/** disk_lock_bytes() - the same towards QEMU and its tools; @writes: to a file that nobody else uses */
int disk_lock_bytes(int fd, const char *name, bool writes);

/* ---- disk/qemu-nbd.c: the server for images that are not raw ---- */

#define DISK_KEY_ID "key" /* what the key of an encrypted image is called there */

struct qemu_nbd {
	pid_t pid;  /* 0: none */
	int64_t until_ms; /* of now_ms(): when it has to have ended; 0: it serves */
	int log_fd; /* what it says on standard error */
	const char *name; /* of the disk */
};

/**
 * qemu_nbd_start() - it ends when the connection is closed, and with this process in any case
 * @ret: also set on failure; qemu_nbd_stop() in either case
 * Return: a connected socket, or -errno after one logged line
 */
int qemu_nbd_start(const struct disk_config *cfg, const char *format, struct qemu_nbd *ret);
/** qemu_nbd_words() - the last line that it said, for a message; "" if there is none */
const char *qemu_nbd_words(const struct qemu_nbd *server, char *buf, size_t len);
/** qemu_nbd_leave() - the connection was closed: from now on it has its time to write the image */
void qemu_nbd_leave(struct qemu_nbd *server);
/** qemu_nbd_wait() - qemu_nbd_leave(), and wait until that is done */
void qemu_nbd_wait(struct qemu_nbd *server);
/** qemu_nbd_stop() - qemu_nbd_wait(), and free all */
void qemu_nbd_stop(struct qemu_nbd *server);

/* ---- the back ends: 0, or -errno after one logged line ---- */

int raw_open(const struct disk_config *cfg, struct disk **ret);
/** raw_open_fd() - @fd is an unlocked regular file; the disk closes it, also on failure */
int raw_open_fd(int fd, const char *name, struct disk **ret);
/** nbd_open() - a server's URI, or an image of @format by a qemu-nbd of our own */
int nbd_open(const struct disk_config *cfg, const char *format, struct disk **ret);
/** overlay_open() - @base is read only, and closed with the overlay, also on failure */
int overlay_open(struct disk *base, struct disk **ret);

#endif
