/*
 * A virtqueue, as the device sees it: split or packed ring, mechanics only. It never logs and knows
 * no device.
 *
 *	split ring                          packed ring
 *	desc[]   driver: buffers            desc[]   both: buffers and their return, in laps
 *	avail    driver: heads to take      driver   driver: when it wants interrupts
 *	used     device: heads given back   device   device: when it wants notifications
 *
 * One thread owns a queue: the vCPU while the driver configures it, the device's worker while it is
 * live. The rings are guest memory: everything read from them is fetched once and judged on the
 * copy. After an error the queue is broken until virtq_init(): pop gives the same error again; what is
 * out may still be pushed.
 *
 * A buffer in memory beside RAM (lkvm/ram.h) may be gone while it is used, so the device is lent
 * another one: virtq-loan.c. What is in it was copied when the chain was popped, or will be when it is pushed.
 *
 * The life of a batch:
 *
 *	do {
 *		virtq_notify_off(q);
 *		while (virtq_pop(q, &chain) == 1)
 *			... virtq_push(q, chain.token, written);
 *		if (virtq_flush(q))
 *			interrupt;
 *	} while (virtq_notify_on(q));
 */
#ifndef LKVM_VIRTQ_H
#define LKVM_VIRTQ_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "lkvm/ram.h"

#define VIRTQ_MAX_SIZE 1024 /* descriptors a ring */
#define VIRTQ_MAX_SEGS 1024 /* buffers a chain, its indirect table included */
#define VIRTQ_MAX_LOAN (16 * MIB) /* bytes that are lent at a time, and so what a chain may have of such */

/* What the driver set up, and the features that change the ring's format. */
struct virtq_setup {
	uint16_t size;
	gpa_t desc, avail, used; /* packed: descriptor ring, driver and device event suppression */
	bool packed;             /* VIRTIO_F_RING_PACKED */
	bool event_idx;          /* VIRTIO_F_EVENT_IDX */
	bool indirect;           /* VIRTIO_F_INDIRECT_DESC */
	bool only_names;         /* the device's: the driver's buffers to write are not written, and not in ram_log() */
};

struct virtq_lender; /* virtq-loan.c */

struct virtq;
struct virtq_chain;

/* Who looks on what becomes of chains, for lkvm run --trace: called by the queue's owner. */
struct virtq_watch {
	/* Return: a number for this chain, from 1 to VIRTQ_MAX_SIZE, that none has which is out */
	unsigned (*popped)(struct virtq_watch *watch, const struct virtq_chain *c);
	void (*pushed)(struct virtq_watch *watch, unsigned number, uint32_t written);
	/* What is out will not be pushed any more. */
	void (*ended)(struct virtq_watch *watch);
};

struct virtq {
	const struct ram *ram;
	const atomic_bool *watched; /* ram_logging(), or always: there is a watch */
	const atomic_uint *unplugs; /* ram_unplugs(), */
	unsigned unplugs_seen;      /* as it was when the ring was known to be RAM */
	struct virtq_setup setup;
	int broken; /* 0 or the -errno that broke it */
	void *desc, *avail, *used;
	uint16_t next_avail; /* split: free running; packed: index */
	uint16_t seen_avail; /* split: the driver's index when last looked at */
	uint16_t next_used;  /* as next_avail */
	uint16_t unflushed;  /* ring entries used since the last virtq_flush() */
	uint16_t taken;      /* ring entries that are out: never more than the ring has */
	uint16_t held_flags; /* packed: what makes the first unflushed entry visible */
	bool avail_wrap, used_wrap; /* packed */
	bool starved;               /* the next chain waits until a loan comes back */
	struct virtq_lender *lender; /* NULL: nothing was lent yet */
	struct virtq_watch *watch;   /* NULL: none */
	bool out[VIRTQ_MAX_SIZE];   /* split: by head */
};

/* Where a ring goes on: the next entry and, of a packed ring, whether its wrap counter is 1. */
struct virtq_place {
	uint16_t next; /* split: free running; packed: index */
	bool wrap;     /* split: always true */
};
#define VIRTQ_BEGIN ((struct virtq_place){ 0, true })

/* One request: iov[0..n_out) to read, n_in behind it to write. Large: not for small stacks. */
struct virtq_chain {
	uint64_t token;       /* for virtq_push() */
	unsigned n_out, n_in; /* buffers */
	uint64_t out_bytes, in_bytes;
	struct iovec iov[VIRTQ_MAX_SEGS];
};

/**
 * virtq_init() - take over a ring that the driver has set up
 * @setup: size 1..VIRTQ_MAX_SIZE, a power of two for a split ring; addresses aligned as by the text
 * Return: 0; -EINVAL (size, alignment); -EFAULT (a ring is not all in RAM); @q is then broken
 * Spec: virtio 1.2, 2.7 and 2.8
 */
int virtq_init(struct virtq *q, const struct ram *ram, const struct virtq_setup *setup);
/**
 * virtq_init_at() - virtq_init() of a ring of which another virtq has served all before @place
 * Return: likewise; -ERANGE (no such place is in the ring; @q is then broken)
 */
int virtq_init_at(struct virtq *q, const struct ram *ram, const struct virtq_setup *setup,
		  struct virtq_place place);

/**
 * virtq_put_back() - nothing that is out is used any more: it will be popped again
 * As virtq_place() wants it: all of it was popped after what was pushed, and that has been flushed.
 */
void virtq_put_back(struct virtq *q);
/** virtq_move() - likewise, after somebody else has served all before @place, which is one of the ring's */
void virtq_move(struct virtq *q, struct virtq_place place);

/** virtq_watch() - after virtq_init(), before the first pop; NULL: @q is watched no more */
void virtq_watch(struct virtq *q, struct virtq_watch *watch);

/** virtq_fini() - nothing that is out is used any more, nor will it be pushed; takes a zeroed struct */
void virtq_fini(struct virtq *q);

/** virtq_is_gone() - is some of the ring no RAM any more? The driver has unplugged it: the next pop breaks the queue */
bool virtq_is_gone(const struct virtq *q);

/**
 * virtq_rests() - is nothing out?
 * Then all that a queue needs to go on is its setup and its place: what it has taken is what it has
 * given back, and what it asked the driver for (flags, event index) stands in the ring.
 */
static inline bool virtq_rests(const struct virtq *q)
{
	return !q->taken;
}

/**
 * virtq_place() - where it goes on
 * All that was pushed has been flushed. If it does not rest, all that is out must have been popped after
 * what was pushed: then it will be popped again.
 */
struct virtq_place virtq_place(const struct virtq *q);

/**
 * virtq_pop() - take the next chain off the ring
 * @c: filled on 1; its iov stays valid until the chain is pushed
 * Malformed are: a writable buffer before a readable one, a loop, an index out of range, a head or
 * an entry that is already out, more than 2^32 bytes or VIRTQ_MAX_SEGS buffers, an indirect table
 * inside another, with a bad length, together with NEXT, or without the feature. The text forbids
 * no buffer of zero bytes: it is skipped, wherever it points. In a packed ring the driver's buffer
 * ids are its own business: any value will do, and one that names several chains comes back as
 * often.
 * Return: 1 chain; 0 empty, or the next one waits for a loan (virtq_push() tells); -EPROTO malformed;
 *	-EFAULT neither in RAM nor, whole and there, beside it; -E2BIG more than VIRTQ_MAX_LOAN beside it; -ENOMEM
 * Spec: virtio 1.2, 2.7.5, 2.7.13, 2.8.6 to 2.8.21
 */
int virtq_pop(struct virtq *q, struct virtq_chain *c);

/**
 * virtq_push() - give a chain back; the driver sees it at the next virtq_flush()
 * @token:   of a chain that is out; anything else is our own bug, which is asserted as far as it
 *           could write to ring entries that are not out
 * @written: bytes written into its writable buffers, from their beginning. Of what was lent these are
 *           copied, and the last writable byte: some devices have their verdict there.
 * Return: 0; 1 if the chain that pop has left can be popped now; -EFAULT if what was lent has no place
 *	any more: the queue is broken, and the driver will not see this chain again
 */
int virtq_push(struct virtq *q, uint64_t token, uint32_t written);

/** virtq_flush() - publish what was pushed; Return: does the driver want an interrupt for it? */
bool virtq_flush(struct virtq *q);

/** virtq_notify_off() - tell the driver that we are looking anyway */
void virtq_notify_off(struct virtq *q);
/**
 * virtq_notify_on() - ask for a notification of the next chain
 * Return: true if one came meanwhile: look again
 */
bool virtq_notify_on(struct virtq *q);

/* A chain's bytes, however they are cut; @off counts from the first readable (writable) one. */

/** virtq_read() - Return: bytes copied, less than @len only at the end of the readable buffers */
size_t virtq_read(const struct virtq_chain *c, uint64_t off, void *dst, size_t len);
/** virtq_write() - Return: bytes copied, less than @len only at the end of the writable buffers */
size_t virtq_write(const struct virtq_chain *c, uint64_t off, const void *src, size_t len);
/**
 * virtq_slice() - the part [off, off + len) of the readable or writable buffers as an iovec
 * Return: number of elements, or -E2BIG (@cap), -ENODATA (the buffers end before)
 */
int virtq_slice(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len,
		struct iovec *ret_iov, unsigned cap);

#endif
