/* What virtio/balloon*.c share; nobody else includes this. */
#ifndef VIRTIO_BALLOON_INTERNAL_H
#define VIRTIO_BALLOON_INTERNAL_H

#include <pthread.h>

#include "lkvm/types.h"
#include "lkvm/virtio-balloon.h"

#define REQUEST_PAGES 16384 /* addresses in one request at most; Linux has 256 */

struct virtio_balloon {
	struct virtio_dev dev;
	struct ram *ram;
	/* The configuration, in pages */
	atomic_uint target, actual, poison;
	atomic_uint_fast64_t reported_bytes;

	/* The worker's: the driver's buffer for statistics is here until they are wanted */
	bool has_buffer;
	uint64_t buffer; /* token */
	uint32_t page[REQUEST_PAGES];

	struct loop_source ask; /* eventfd: send it back */
	atomic_bool asked;
	atomic_int watch_fd; /* -1: nobody wants to know */

	pthread_mutex_t lock; /* of what has come; nothing waits under it */
	uint32_t n_stats, stats;
	uint64_t stat[BALLOON_STATS];
};

static inline struct virtio_balloon *balloon_of(const struct virtio_dev *dev)
{
	return container_of((struct virtio_dev *)(uintptr_t)dev, struct virtio_balloon, dev);
}

extern const struct state_type balloon_state_type; /* balloon-state.c */

#endif
