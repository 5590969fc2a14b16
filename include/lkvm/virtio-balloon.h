/*
 * virtio memory balloon: memory that the guest gives back to the host.
 *
 *	inflate:   the host wants memory; the driver takes pages from the guest and tells which
 *	deflate:   the guest may have them back; with DEFLATE_ON_OOM it takes them when it runs out
 *	reporting: what is free in the guest, without anybody asking; it is the guest's all the same
 *	stats:     how the guest does with what it has; the driver sends them when its buffer comes back
 *
 * What is given back is given to the host at once (ram_drop(), ram_discard()), and is there again as soon
 * as somebody touches it.
 *
 * Spec: virtio 1.2, 5.5. Of what the text has, FREE_PAGE_HINT is not offered: a driver may use a page again before the
 * device has seen the hint (Linux's does when memory is short), so such a page cannot be given back to the host, but only
 * left out where memory is copied while the guest runs on. lkvm saves memory as it was at one instant, without what was
 * reported.
 */
#ifndef LKVM_VIRTIO_BALLOON_H
#define LKVM_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "lkvm/keys.h"
#include "lkvm/virtio.h"

#define BALLOON_PAGE_BYTES 4096 /* of all counts and addresses, whatever the host's or the guest's page is */
#define BALLOON_STATS      16   /* kinds of statistics, by VIRTIO_BALLOON_S_... */

struct virtio_balloon_options {
	bool packed; /* offers packed rings */
};

extern const struct opt_key virtio_balloon_keys[];

struct balloon_view {
	uint64_t ram_bytes;      /* the guest's RAM, the balloon included */
	uint64_t target_bytes;   /* of the balloon; what the driver is asked for */
	uint64_t actual_bytes;   /* what it has said last: at most ram_bytes */
	uint64_t reported_bytes; /* that were reported as free, all together; some of them often */
	bool driver;             /* is there one? */
	bool answers;            /* and will it send statistics when it is asked? */
	uint32_t n_stats;        /* how often they have come */
	uint32_t stats;          /* 1 << VIRTIO_BALLOON_S_...: those that have */
	uint64_t stat[BALLOON_STATS];
};

/** virtio_balloon_new() - @name is not copied; Return: 0 or -errno, not logged */
int virtio_balloon_new(struct ram *ram, const char *name, const struct virtio_balloon_options *options,
		       struct virtio_dev **ret);
/** virtio_balloon_free() - takes NULL */
void virtio_balloon_free(struct virtio_dev *dev);

/* Main thread: */

/** virtio_balloon_set() - how large it is to be; @bytes: whole pages, at most the guest's RAM */
void virtio_balloon_set(struct virtio_dev *dev, uint64_t bytes);
void virtio_balloon_view(struct virtio_dev *dev, struct balloon_view *ret);
/** virtio_balloon_ask() - let the driver send its statistics, where balloon_view.answers; that may take it a while */
void virtio_balloon_ask(struct virtio_dev *dev);
/** virtio_balloon_watch() - signal this eventfd whenever actual_bytes or statistics have come; -1: no more */
void virtio_balloon_watch(struct virtio_dev *dev, int fd);

/** virtio_balloon_stat_name() - of VIRTIO_BALLOON_S_..., as JSON has it: "free_bytes"; NULL: it has none */
const char *virtio_balloon_stat_name(unsigned tag);

#endif
