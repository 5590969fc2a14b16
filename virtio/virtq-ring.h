/*
 * What virtq.c and the two ring formats share: fetching descriptors and building a chain of them.
 * The formats are chosen by a branch, not by a pointer: it is predicted, and nothing is faster.
 *
 * Memory order, in both formats: what the driver wrote before it made a chain available is read
 * after an acquiring load of the field that says so; what we wrote is published by a store that
 * releases. Where each side writes its own field and then reads the other's (our index, their wish
 * for an interrupt; our wish for a notification, their index), both accesses are sequentially
 * consistent, or each could miss the other.
 */
#ifndef VIRTQ_RING_H
#define VIRTQ_RING_H

#include "lkvm/virtq.h"

#include <assert.h>
#include <errno.h>

#define CHAIN_MAX_BYTES (1ULL << 32) /* virtio 1.2, 2.7.5.2 */

#define load(ptr)           __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define load_acquire(ptr)   __atomic_load_n(ptr, __ATOMIC_ACQUIRE)
#define load_sync(ptr)      __atomic_load_n(ptr, __ATOMIC_SEQ_CST)
#define store(ptr, v)       __atomic_store_n(ptr, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define store_sync(ptr, v)  __atomic_store_n(ptr, v, __ATOMIC_SEQ_CST)

/*
 * What a chain is called until it is pushed: the driver's name for it, the entries it takes; and where there is
 * more to do with it than that, its loan and its watch's number.
 */
#define TOKEN(entries, id)   ((uint32_t)(entries) << 16 | (id))
#define TOKEN_ENTRIES(token) ((uint16_t)((token) >> 16))
#define TOKEN_ID(token)      ((uint16_t)(token))
#define TOKEN_MORE(token)    ((uint32_t)((token) >> 32))
#define TOKEN_LOAN(token)    ((uint16_t)((token) >> 32)) /* 0: it has none */
#define TOKEN_WATCH(token)   ((uint16_t)((token) >> 48)) /* likewise */
#define LOAN_TOKEN(loan)     ((uint64_t)(loan) << 32)
#define WATCH_TOKEN(number)  ((uint64_t)(number) << 48)

/* ---- virtq-loan.c: off the usual way ---- */

/**
 * virtq_lend() - buffer @i of the chain that is being built is not in RAM
 * Return: 0: virtq_lend_chain() is to follow; -EFAULT, -ENOMEM
 */
int virtq_lend(struct virtq *q, unsigned i, uint64_t addr, uint32_t len, bool writable)
	__attribute__((cold));
/**
 * virtq_lend_chain() - the chain is complete but for those buffers and its token; copy what is to be read
 * Return: 0; -EAGAIN: once others have come back; -EFAULT, -E2BIG, -ENOMEM
 */
int virtq_lend_chain(struct virtq *q, struct virtq_chain *c) __attribute__((cold));
/** virtq_take_back() - the end of a loan; Return: as virtq_push() */
int virtq_take_back(struct virtq *q, unsigned loan, uint32_t written) __attribute__((cold));

/* ---- building a chain ---- */

/* A descriptor of either format, fetched once. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t link; /* split: next; packed: id */
};

/* What was found so far; the chain gets it when it is complete. */
struct builder {
	unsigned n, n_out;
	uint64_t bytes, out_bytes;
	bool writable; /* the last buffer is */
	bool lent;     /* some buffers will be */
};

static inline int add_buffer(struct virtq *q, struct virtq_chain *c, struct builder *b,
			     const struct desc *d)
{
	const bool writable = d->flags & VRING_DESC_F_WRITE;
	uint8_t *host;

	if (!d->len)
		return 0;
	if (writable != b->writable) {
		if (!writable)
			return -EPROTO;
		b->writable = true;
		b->n_out = b->n;
		b->out_bytes = b->bytes;
	}
	if (b->n == VIRTQ_MAX_SEGS)
		return -EPROTO;
	host = ram_host(q->ram, GPA(d->addr), d->len);
	if (__builtin_expect(!host, false)) {
		int err = virtq_lend(q, b->n, d->addr, d->len, writable);

		if (err)
			return err;
		b->lent = true;
	}
	c->iov[b->n++] = (struct iovec){ host, d->len };
	b->bytes += d->len;
	return 0;
}

/* All but what virtq.c calls TOKEN() of its token. */
static inline int finish_chain(struct virtq *q, struct virtq_chain *c, const struct builder *b)
{
	if (b->bytes > CHAIN_MAX_BYTES)
		return -EPROTO;
	c->n_out = b->writable ? b->n_out : b->n;
	c->n_in = b->n - c->n_out;
	c->out_bytes = b->writable ? b->out_bytes : b->bytes;
	c->in_bytes = b->bytes - c->out_bytes;
	c->token = 0;
	return __builtin_expect(b->lent, false) ? virtq_lend_chain(q, c) : 0;
}

/*
 * The table that an indirect descriptor points to. WRITE on that descriptor is ignored; the text
 * asks for no alignment of the table.
 */
static inline int open_table(const struct virtq *q, const struct desc *d, const void **ret_table,
			     unsigned *ret_n)
{
	const unsigned n = d->len / sizeof(struct vring_desc);
	const void *table;

	if (!q->setup.indirect || (d->flags & VRING_DESC_F_NEXT))
		return -EPROTO;
	if (!n || n > VIRTQ_MAX_SEGS || d->len % sizeof(struct vring_desc))
		return -EPROTO;
	table = ram_host(q->ram, GPA(d->addr), d->len);
	if (!table)
		return -EFAULT;
	*ret_table = table;
	*ret_n = n;
	return 0;
}

/* Volatile, so that no field is loaded a second time behind its check; packed, for odd tables. */
struct raw_desc {
	uint64_t addr;
	uint64_t rest;
} __attribute__((packed));

/*
 * As a split ring has it; the packed ring's tables have the last two fields the other way round. A
 * driver that writes it at this moment is no race of ours.
 */
__attribute__((no_sanitize("thread"))) static inline struct desc fetch_desc(const void *table,
									    unsigned i)
{
	const volatile struct raw_desc *raw = (const struct raw_desc *)table + i;
	uint64_t addr = raw->addr, rest = raw->rest;

	return (struct desc){
		.addr = addr,
		.len = (uint32_t)rest,
		.flags = (uint16_t)(rest >> 32),
		.link = (uint16_t)(rest >> 48),
	};
}

/* Entries that the driver may fill: it has not got back what is out or not flushed. */
static inline unsigned free_entries(const struct virtq *q)
{
	return (unsigned)q->setup.size - q->taken - q->unflushed;
}

/* They are out no longer, and the driver does not know yet. */
static inline void count_push(struct virtq *q, unsigned entries)
{
	q->taken = (uint16_t)(q->taken - entries);
	q->unflushed = (uint16_t)(q->unflushed + entries);
}

static inline int check_pop(struct virtq *q, int ret)
{
	if (ret == -EAGAIN) {
		q->starved = true;
		return 0;
	}
	if (ret < 0)
		q->broken = ret;
	return ret;
}

/*
 * The two formats: the functions of virtq.h, for a queue that is not broken; push is given a token
 * of the right number of entries, and there is something to flush.
 */
int virtq_split_init(struct virtq *q);
int virtq_split_pop(struct virtq *q, struct virtq_chain *c);
void virtq_split_push(struct virtq *q, uint64_t token, uint32_t written);
bool virtq_split_flush(struct virtq *q);
void virtq_split_notify_off(struct virtq *q);
bool virtq_split_notify_on(struct virtq *q);

int virtq_packed_init(struct virtq *q);
int virtq_packed_pop(struct virtq *q, struct virtq_chain *c);
void virtq_packed_push(struct virtq *q, uint64_t token, uint32_t written);
bool virtq_packed_flush(struct virtq *q);
void virtq_packed_notify_off(struct virtq *q);
bool virtq_packed_notify_on(struct virtq *q);

#endif
