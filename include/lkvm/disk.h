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
 *
 * A back end does a bounded amount of work in a turn of the loop and goes on in the next one by
 * itself. What it has in flight, and its own memory, are bounded, too, whatever it is asked for: large
 * requests are done in pieces.
 */
#ifndef LKVM_DISK_H
#define LKVM_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lkvm/keys.h"
#include "lkvm/loop.h"

#define DISK_SECTOR_BYTES 512
#define DISK_MAX_SEGS     1024
#define DISK_MAX_QUEUES   16
#define DISK_SERIAL_BYTES 20
#define DISK_MAX_BACKING  16

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/* What `-d PATH,...` says. */
struct disk_config {
	const char *path;   /* file, block device, nbd://..., nbd+unix://... */
	const char *format; /* "raw", "qcow2", ... or NULL: by the file's extension */
	const char *serial; /* up to DISK_SERIAL_BYTES, or NULL */
	bool read_only, direct, ephemeral;
	bool packed;     /* the device offers packed rings */
	unsigned queues; /* 0: one */
	/* Which files an image may name: those in its own folder and below; others, or what is below them. */
	bool backing_on;
	const char *backing[DISK_MAX_BACKING];
	unsigned n_backing;
	const char *key_file; /* of an encrypted image, or NULL */
};

extern const struct opt_key disk_keys[]; /* disk/keys.c: of struct disk_config, but for its path */

struct disk_request {
	enum disk_op op;
	bool unmap;              /* DISK_WRITE_ZEROES: may deallocate */
	bool cancelled;          /* nobody wants it any more: see drain() */
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

/* Where the contents of a disk are, for who copies them. */
struct disk_source {
	int fd;                  /* of a file or block device */
	uint64_t bytes;          /* of the disk; behind the file's end there are zeros */
	int top_fd;              /* of what was written since, which is on top of it; -1: nothing is */
	const uint64_t *written; /* of that, a bit a sector */
};

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
	 * Wait for what is in flight, and begin nothing more: disk->held is set. Then what is marked
	 * as cancelled (@all: everything) fails with -ECANCELED; the rest waits, until the user clears
	 * disk->held and calls commit(). A peer that does not answer is given up after a while.
	 */
	void (*drain)(struct disk *disk, bool all);
	/* The end of attach(); nothing is in flight. */
	void (*detach)(struct disk *disk, struct loop *loop);
	/* No request will come any more: what close() would wait for is to begin now. NULL: nothing. */
	void (*leave)(struct disk *disk);
	void (*close)(struct disk *disk);
	/* NULL: they are on a server */
	void (*source)(struct disk *disk, struct disk_source *ret);
};

struct disk {
	const struct disk_ops *ops;
	const char *name;        /* for messages */
	uint64_t size_bytes;     /* multiple of DISK_SECTOR_BYTES */
	unsigned block_bytes;    /* logical block size that the guest is told: 512 or 4096 */
	unsigned physical_bytes; /* preferred alignment, a power of two, at least block_bytes */
	bool read_only, can_discard;
	bool eager;              /* set by the device: commit() may end what it begins */
	bool held;               /* nothing is begun: see drain() */
	unsigned failed_ops;     /* 1 << op: its failure was logged once */

	/* Set by the device before attach(); called on the worker (or within attach()); may be NULL */
	void (*reaped)(struct disk *disk); /* the loop has called done() for all that was ready */
	void (*resized)(struct disk *disk); /* size_bytes has changed */
	void *ctx;
	/* Likewise: somebody waits for this worker; there is no use for answers any more. */
	const atomic_bool *asked, *last;
};

/** disk_is_asked() - is it time to return to the loop? */
static inline bool disk_is_asked(const struct disk *disk)
{
	return disk->asked && atomic_load_explicit(disk->asked, memory_order_relaxed);
}

/**
 * disk_open() - choose the back end by format and path, lock, open
 * @cfg: its strings live as long as the disk
 * Return: 0, or -errno after one logged line that names the file and, where it helps, the option
 */
int disk_open(const struct disk_config *cfg, struct disk **ret);
/** disk_none() - a disk that is never attached: its file is not touched; Return: 0 or -ENOMEM, logged */
int disk_none(const struct disk_config *cfg, struct disk **ret);
/**
 * disk_leave() - nothing is in flight, and nothing but disk_close() comes
 * Before several disks are closed: their servers write what they have cached at the same time.
 */
void disk_leave(struct disk *disk);
/** disk_close() - nothing is in flight; takes NULL */
void disk_close(struct disk *disk);

/**
 * disk_format() - by `format=` or the extension of the path, never by content
 * Return: "raw", "qcow2", ..., "nbd" for a URI, or NULL: format= names none that goes with the path
 */
const char *disk_format(const struct disk_config *cfg);

/** disk_format_known(), disk_format_names() - what `format=` may be; the names for messages */
bool disk_format_known(const char *format);
const char *disk_format_names(void);

/**
 * disk_source() - where the contents are; valid until disk_close()
 * They change as long as requests are in flight.
 * Return: 0, or -EOPNOTSUPP: they are on a server
 */
int disk_source(struct disk *disk, struct disk_source *ret);

/* disk/copy.c */

#define DISK_COPY_BYTES (256 * 1024)

/**
 * disk_copy() - copy the contents to an empty file, by the means of the file system if it has any
 * Async-signal-safe: for a child of a process with threads. What is a hole, or zeros, becomes a hole.
 * @buf: DISK_COPY_BYTES, page aligned
 * @ret_shared: the copy shares the blocks of the file
 * Return: 0 or -errno
 */
int disk_copy(const struct disk_source *from, int to_fd, void *buf, bool *ret_shared);

/** disk_failed() - log that @req failed with @err; the first failure of each kind, by disk */
void disk_failed(struct disk *disk, const struct disk_request *req, int err);

/** disk_nbd_usable() - is libnbd on this host, and lkvm built for it? */
bool disk_nbd_usable(void);
/** disk_images_usable() - does it also have the qemu-nbd that images other than raw ones need? */
bool disk_images_usable(void);

#endif
