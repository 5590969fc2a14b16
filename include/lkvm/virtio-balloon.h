/*
 * virtio memory balloon: memory that the guest gives back to the host.
 *
 *	inflate:   the host wants memory; the driver takes pages from the guest and tells which
 *	deflate:   the guest may have them back; with DEFLATE_ON_OOM it takes them when it runs out
 *	reporting: what is free in the guest, without anybody asking; it is the guest's all the same
 *	hints:     likewise, when somebody asks, and all at once: for who saves memory
 *	stats:     how the guest does with what it has; the driver sends them when its buffer comes back
 *
 * What is given back is given to the host at once (ram_drop(), ram_discard()), and is there again as soon
 * as somebody touches it.
 *
 * A page of a hint the driver may use again before the device has seen the hint (Linux's does when memory is short), so
 * hints give no memory back. But one that nobody has written to since the driver was asked was free then, and nobody can
 * want to know what is in it: who saves memory leaves it out, by a log that begins before he asks (vm/snapshot-hint.c).
 *
 *	who asks             driver
 *	log begins
 *	id in config    ->   id, pages..., STOP; these pages it keeps for the time being, unless memory is short
 *	guest stands still, what the log has is taken off
 *	DONE in config  ->   has them back
 *
 * Spec: virtio 1.2, 5.5
 */
#ifndef LKVM_VIRTIO_BALLOON_H
#define LKVM_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "lkvm/keys.h"
#include "lkvm/ram.h"
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

/**
 * virtio_balloon_hint_begin() - have the driver tell which pages are free; a log of what is written is on
 * Nothing waits for it, and one that is hostile says anything, or nothing.
 * @into: gets them until virtio_balloon_hint_end(), from the worker
 * @told_fd: an eventfd, which is signalled as soon as nothing more comes; -1: none
 * Return: 0; -ENODEV: there is no driver, or it does not know hints; -EPERM: it wants its free pages to stay as they are
 */
int virtio_balloon_hint_begin(struct virtio_dev *dev, struct ram_spare *into, int told_fd);
/**
 * virtio_balloon_hint_end() - it may have its pages back
 * While the device stands still the driver hears of it when it goes on, also the one of a machine that is saved now.
 * Return: false: of what came nothing is true any more. Else what came so far is, but for what was written meanwhile.
 */
bool virtio_balloon_hint_end(struct virtio_dev *dev);

/** virtio_balloon_stat_name() - of VIRTIO_BALLOON_S_..., as JSON has it: "free_bytes"; NULL: it has none */
const char *virtio_balloon_stat_name(unsigned tag);

#endif
