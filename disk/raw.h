/*
 * A raw file or block device: disk/raw.c opens it, disk/raw-io.c does the I/O.
 */
#ifndef DISK_RAW_H
#define DISK_RAW_H

#include <libaio.h>

#include "disk-internal.h"
#include "lkvm/types.h"

#define RAW_DEPTH       256 /* requests in flight */
#define RAW_ZEROS_BYTES (64 * KIB)

struct raw {
	struct disk disk;
	int fd;
	uint64_t file_bytes; /* size_bytes, before it was rounded up to a sector */
	unsigned align;      /* O_DIRECT: of offsets, lengths and addresses; else 1 */
	bool device;         /* a block device */
	bool guard;          /* no header of another format may be written */
	bool guard_logged;
	bool no_fdsync;                    /* this kernel's AIO cannot flush */
	bool no_zero_range, no_punch_hole; /* this file system cannot */
	bool late;   /* io_submit() has returned before the data was there */
	bool lost;   /* a flush failed: the kernel may have dropped what was written before */
	void *zeros; /* RAW_ZEROS_BYTES to write from, once needed */

	struct disk_fifo todo;
	unsigned n_flying, n_flushing; /* in flight, and how many of them are flushes */
	uint64_t flying_bytes, bounce_bytes;
	unsigned turn; /* of the loop, */
	uint64_t turn_bytes; /* and what was begun in it, perhaps ended, too */
	struct loop *loop;   /* attached to */
	unsigned no_linger; /* so many times: there was no point in it */
	io_context_t aio;
	struct loop_source event, watch; /* eventfd of the completions; inotify on the file */

	/* Scratch of one batch */
	unsigned n_batch, n_iov;
	struct iocb iocb[RAW_DEPTH];
	struct iocb *batch[RAW_DEPTH];
	struct iovec iov[DISK_MAX_SEGS];
	struct io_event events[RAW_DEPTH];
};

static inline struct raw *raw_of(struct disk *disk)
{
	return container_of(disk, struct raw, disk);
}

/** raw_update_size() - look whether the file has another size by now */
void raw_update_size(struct raw *raw);

/** raw_take_events() - disk/raw-ring.c: completions that are there; Return: how many */
unsigned raw_take_events(io_context_t aio, struct io_event *events, unsigned max);

/** raw_has_events() - is one there? False where it would take a system call to know */
bool raw_has_events(io_context_t aio);

/* As in struct disk_ops */
void raw_submit(struct disk *disk, struct disk_request *req);
void raw_commit(struct disk *disk);
void raw_drain(struct disk *disk, bool all);
/** raw_completions_ready() - of the eventfd's source */
void raw_completions_ready(struct loop_source *src, uint32_t events);

#endif
