/*
 * The block device's own: blk.c is the device, blk-parse.c judges requests, blk-state.c saves and
 * loads.
 */
#ifndef BLK_INTERNAL_H
#define BLK_INTERNAL_H

#include <linux/virtio_blk.h>

#include "lkvm/types.h"
#include "lkvm/virtio-blk.h"

#define MAX_RANGES          16 /* of one discard or write zeroes request */
#define MAX_DISCARD_SECTORS (GIB / DISK_SECTOR_BYTES)
#define MAX_ZERO_SECTORS    (128 * MIB / DISK_SECTOR_BYTES)
#define MOST_REQUESTS       256 /* out of the rings at a time */

/* What blk_parse() says of a request that is to be started. */
#define PENDING (-1)

typedef struct virtio_blk_discard_write_zeroes blk_range;

/* One request in flight. Found by its own address only: what the guest calls it is never an index.
 */
struct blk_request {
	struct disk_request io;
	struct virtio_blk *blk;
	struct blk_request *next; /* free ones */
	bool used;
	unsigned segs;  /* as counted in virtio_blk, */
	uint64_t bytes; /* likewise */
	unsigned queue;
	uint64_t token;  /* of the chain */
	uint8_t *status; /* guest memory, or lent */
	uint64_t room;   /* writable bytes in front of the status, and how many of them */
	uint64_t filled; /* a success fills */
	bool stable;     /* writethrough: a flush must follow */
	unsigned range, n_ranges;
	blk_range ranges[MAX_RANGES];
	struct iovec *iov;
	unsigned cap_iov;
};

struct virtio_blk {
	struct virtio_dev dev;
	struct disk *disk;
	bool attached;
	char serial[DISK_SERIAL_BYTES]; /* padded with NUL */
	struct virtio_blk_config config;
	atomic_int writeback; /* as the driver wrote it, -1: it did not */

	/* The worker's */
	struct blk_request *all[MOST_REQUESTS], *free;
	unsigned n_all, n_used, used_segs;
	uint64_t used_bytes;
	unsigned turn;       /* of the loop, */
	uint64_t turn_bytes; /* and what was taken in it */
	bool serving;        /* within virtio_serve() */
	bool silent;       /* held, and nothing is in flight: the guest's memory is out of reach */
	uint64_t starved;  /* queues that were left because there was no room, */
	unsigned fed_next; /* and whose turn it is */
	uint64_t to_publish; /* queues with answers that the driver does not see yet */
};

static inline struct virtio_blk *blk_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* ---- blk-parse.c ---- */

/** blk_is_writeback() - may a write be left in the host's cache? */
bool blk_is_writeback(const struct virtio_blk *blk);
/**
 * blk_parse() - worker: judge a request, once, on copies
 * @r: queue, token and status are filled in
 * Return: a status, or PENDING: r->io is filled in, or r->ranges
 */
int blk_parse(struct blk_request *r, const struct virtq_chain *c);

/** blk_describe() - for struct virtio_type */
void blk_describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret);

/* ---- blk-state.c: of a struct virtio_dev that is one ---- */

extern const struct state_type blk_state_type;

#endif
