/* What virtio/balloon*.c share; nobody else includes this. */
#ifndef VIRTIO_BALLOON_INTERNAL_H
#define VIRTIO_BALLOON_INTERNAL_H

#include <pthread.h>

#include "lkvm/types.h"
#include "lkvm/virtio-balloon.h"

#define REQUEST_PAGES 16384 /* addresses in one request at most; Linux has 256 */

/* Free pages that the driver is asked for; under the balloon's lock, but for what it is asked */
struct balloon_hints {
	atomic_uint command; /* the configuration's: VIRTIO_BALLOON_CMD_ID_STOP, _DONE, or an id; the driver obeys it, */
	uint32_t last;       /* and the last id that there was; 0: none */
	struct ram_spare *into; /* who has asked; NULL: nobody */
	int told_fd;            /* his, -1: he does not want to know */
	bool is_current; /* what comes is an answer to that id; */
	bool ended;      /* nothing more comes, */
	bool lost;       /* or the driver, or what is in such a page is not to be lost */
};

struct virtio_balloon {
	struct virtio_dev dev;
	struct ram *ram;
	/* The configuration, in pages */
	atomic_uint target, actual, poison;
	struct balloon_hints hints;
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

/* balloon-hint.c */

/** balloon_hint() - on the worker: a chain of the queue for hints; see virtio_serve() */
void balloon_hint(struct virtio_dev *dev, unsigned index);
/** balloon_hint_reset() - the driver is gone; balloon_hint_poison() - it has written something into its free pages */
void balloon_hint_reset(struct virtio_balloon *b);
void balloon_hint_poison(struct virtio_balloon *b);

#endif
