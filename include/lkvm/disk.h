/*
 * The host end of a disk: what virtio/blk.c asks of a raw file, a block device, or an NBD server.
 *
 * A back end belongs to one worker thread: every function but disk_open() and disk_close() is
 * called there. Requests are asynchronous; completions come by disk_ops.reap() once the back end's
 * fd is readable. Buffers stay valid until then. Nothing is reordered around a flush that was
 * submitted after the completion of what it is to cover.
 */
#ifndef LKVM_DISK_H
#define LKVM_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lkvm/loop.h"

#define DISK_SECTOR_BYTES 512
#define DISK_MAX_SEGS     1024

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/* What `-d PATH,...` says. */
struct disk_config {
	const char *path;   /* file, block device, nbd://..., nbd+unix://... */
	const char *format; /* "raw", "qcow2", ... or NULL: by the file's extension */
	const char *serial; /* up to 20 bytes, or NULL */
	bool read_only, direct, ephemeral;
	unsigned queues; /* 0: one */
};

struct disk_request {
	enum disk_op op;
	bool unmap;          /* DISK_WRITE_ZEROES: may deallocate */
	uint64_t off, len;   /* bytes; multiples of DISK_SECTOR_BYTES; within the disk */
	const struct iovec *iov; /* READ, WRITE: their sum is len */
	unsigned n_iov;
	/* Called on the worker thread, from submit() or reap(). @ret: 0 or -errno; never short. */
	void (*done)(struct disk_request *req, int ret);
	/* The back end's own */
	struct disk_request *next;
	uint64_t done_bytes;
	void *priv;
};

struct disk;

struct disk_ops {
	/* Queue requests; nothing need happen before commit(). */
	void (*submit)(struct disk *disk, struct disk_request *req);
	/* The batch is complete: start it with as few system calls as possible. */
	void (*commit)(struct disk *disk);
	/* Wait until nothing is in flight; done() was called for everything. */
	void (*drain)(struct disk *disk);
	/* Between activate and reset: the worker's loop watches the back end's fds. */
	int (*attach)(struct disk *disk, struct loop *loop);
	void (*detach)(struct disk *disk, struct loop *loop);
	void (*close)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	const char *name;       /* for messages */
	uint64_t size_bytes;    /* multiple of DISK_SECTOR_BYTES */
	unsigned block_bytes;   /* logical block size that the guest is told: 512 or 4096 */
	unsigned physical_bytes; /* preferred alignment */
	bool read_only, can_discard, can_zero;
	/* The size changed (a grown file); main thread, or NULL */
	void (*resized)(void *ctx);
	void *ctx;
};

/**
 * disk_open() - choose the back end by format and path, lock, open
 * Return: 0, or -errno after one logged line that names the file and, where it helps, the option
 */
int disk_open(const struct disk_config *cfg, struct disk **ret);
void disk_close(struct disk *disk);

#endif
