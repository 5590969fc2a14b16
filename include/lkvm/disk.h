/*
 * The host end of a disk: what virtio/blk.c asks of a raw file, a block device, an NBD server, or an
 * overlay over one of these.
 *
 *	disk_open() -> attach() -> submit() submit() ... commit() -> done() done() ... reaped()
 *	                  ^            |                                                  |
 *	                  |            +------------------- the next batch <--------------+
 *	                  +-- detach() <- drain()                              -> disk_close()
 *
 * Between attach() and detach() a back end belongs to one worker thread. Requests are asynchronous
 * and may complete in any order. A flush covers what was completed before it was submitted.
 */
#ifndef LKVM_DISK_H
#define LKVM_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lkvm/loop.h"

#define DISK_SECTOR_BYTES 512
#define DISK_MAX_SEGS     1024
#define DISK_MAX_QUEUES   16
#define DISK_SERIAL_BYTES 20

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/* What `-d PATH,...` says. */
struct disk_config {
	const char *path;   /* file, block device, nbd://..., nbd+unix://... */
	const char *format; /* "raw", "qcow2", ... or NULL: by the file's extension */
	const char *serial; /* up to DISK_SERIAL_BYTES, or NULL */
	bool read_only, direct, ephemeral;
	bool packed;     /* the device offers packed rings */
	unsigned queues; /* 0: one */
};

struct disk_request {
	enum disk_op op;
	bool unmap;              /* DISK_WRITE_ZEROES: may deallocate */
	uint64_t off, len;       /* bytes; multiples of DISK_SECTOR_BYTES; within the disk */
	const struct iovec *iov; /* READ, WRITE: their sum is len; up to DISK_MAX_SEGS */
	unsigned n_iov;
	/*
	 * On the worker, from commit(), drain(), or the loop. @ret: 0 or -errno; never short. May
	 * submit() this or another request; a commit() then follows by itself.
	 */
	void (*done)(struct disk_request *req, int ret);

	/* The back end's own */
	struct disk_request *next;
	void *bounce;
	uint64_t done_bytes, piece_start, piece_bytes;
	void *owner;
	int result;
};

struct disk;

struct disk_ops {
	/*
	 * From now on the worker's loop watches the back end's fds. On the thread that starts the
	 * worker. Return: 0, or -errno, logged
	 */
	int (*attach)(struct disk *disk, struct loop *loop);
	/* Queue a request; nothing need happen before commit(). */
	void (*submit)(struct disk *disk, struct disk_request *req);
	/* The batch is complete: start it with as few system calls as possible. */
	void (*commit)(struct disk *disk);
	/*
	 * Wait until done() was called for everything. @cancel: what has not been started yet fails
	 * with -ECANCELED, so that the wait is short.
	 */
	void (*drain)(struct disk *disk, bool cancel);
	/* The end of attach(); nothing is in flight. */
	void (*detach)(struct disk *disk, struct loop *loop);
	void (*close)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	const char *name;        /* for messages */
	uint64_t size_bytes;     /* multiple of DISK_SECTOR_BYTES */
	unsigned block_bytes;    /* logical block size that the guest is told: 512 or 4096 */
	unsigned physical_bytes; /* preferred alignment, a power of two, at least block_bytes */
	bool read_only, can_discard;
	bool eager;              /* set by the device: commit() may end what it begins */
	unsigned failed_ops;     /* 1 << op: its failure was logged once */

	/* Set by the device before attach(); called on the worker (or within attach()); may be NULL */
	void (*reaped)(struct disk *disk); /* the loop has called done() for all that was ready */
	void (*resized)(struct disk *disk); /* size_bytes has changed */
	void *ctx;
};

/**
 * disk_open() - choose the back end by format and path, lock, open
 * @cfg: its strings live as long as the disk
 * Return: 0, or -errno after one logged line that names the file and, where it helps, the option
 */
int disk_open(const struct disk_config *cfg, struct disk **ret);
/** disk_close() - nothing is in flight; takes NULL */
void disk_close(struct disk *disk);

/** disk_format_known(), disk_format_names() - what `format=` may be; the names for messages */
bool disk_format_known(const char *format);
const char *disk_format_names(void);

/** disk_failed() - log that @req failed with @err; the first failure of each kind, by disk */
void disk_failed(struct disk *disk, const struct disk_request *req, int err);

#endif
