/*
 * Virtqueues, split and packed; see virtq.h.
 *
 * Memory order, in both formats: what the driver wrote before it made a chain available is read
 * after an acquiring load of the field that says so; what we wrote is published by a store that
 * releases. Where each side writes its own field and then reads the other's (our index, their wish
 * for an interrupt; our wish for a notification, their index), both accesses are sequentially
 * consistent, or each could miss the other.
 */
#include "lkvm/virtq.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define CHAIN_MAX_BYTES (1ULL << 32) /* virtio 1.2, 2.7.5.2 */

#define load(ptr)           __atomic_load_n(ptr, __ATOMIC_RELAXED)
#define load_acquire(ptr)   __atomic_load_n(ptr, __ATOMIC_ACQUIRE)
#define load_sync(ptr)      __atomic_load_n(ptr, __ATOMIC_SEQ_CST)
#define store(ptr, v)       __atomic_store_n(ptr, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define store_sync(ptr, v)  __atomic_store_n(ptr, v, __ATOMIC_SEQ_CST)

/* What a chain is called until it is pushed: the driver's name for it, and the entries it takes. */
#define TOKEN(entries, id)   ((uint32_t)(entries) << 16 | (id))
#define TOKEN_ENTRIES(token) ((uint16_t)((token) >> 16))
#define TOKEN_ID(token)      ((uint16_t)(token))

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
};

static inline int add_buffer(const struct virtq *q, struct virtq_chain *c, struct builder *b,
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
	if (!host)
		return -EFAULT;
	c->iov[b->n++] = (struct iovec){ host, d->len };
	b->bytes += d->len;
	return 0;
}

static inline int finish_chain(struct virtq_chain *c, const struct builder *b)
{
	if (b->bytes > CHAIN_MAX_BYTES)
		return -EPROTO;
	c->n_out = b->writable ? b->n_out : b->n;
	c->n_in = b->n - c->n_out;
	c->out_bytes = b->writable ? b->out_bytes : b->bytes;
	c->in_bytes = b->bytes - c->out_bytes;
	return 0;
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

/* ---- split ring ---- */

static int split_window(struct virtq *q)
{
	const struct virtq_setup *s = &q->setup;
	int err;

	if (s->size & (s->size - 1))
		return -EINVAL;
	err = ram_window(q->ram, s->desc, sizeof(struct vring_desc) * s->size,
			 VRING_DESC_ALIGN_SIZE, &q->desc);
	if (!err)
		err = ram_window(q->ram, s->avail, 6 + 2ULL * s->size, VRING_AVAIL_ALIGN_SIZE,
				 &q->avail);
	if (!err)
		err = ram_window(q->ram, s->used, 6 + 8ULL * s->size, VRING_USED_ALIGN_SIZE,
				 &q->used);
	return err;
}

/* Entries that the driver may fill: it has not got back what is out or not flushed. */
static inline unsigned free_entries(const struct virtq *q)
{
	return (unsigned)q->setup.size - q->taken - q->unflushed;
}

static int split_look(struct virtq *q)
{
	const struct vring_avail *avail = q->avail;
	uint16_t idx = load_acquire(&avail->idx);

	if ((uint16_t)(idx - q->next_avail) > free_entries(q))
		return -EPROTO;
	q->seen_avail = idx;
	return idx != q->next_avail;
}

/*
 * Through the ring's table, then perhaps through an indirect one; more steps than a table has
 * entries are a loop. An indirect table may well be the ring's own memory: its address tells
 * nothing.
 */
static int split_walk(const struct virtq *q, struct virtq_chain *c, unsigned head)
{
	const void *table = q->desc;
	unsigned n = q->setup.size, at = head, steps = 0;
	struct builder b = { 0 };
	bool indirect = false;

	for (;;) {
		struct desc d;
		int err;

		if (at >= n || steps++ == n)
			return -EPROTO;
		d = fetch_desc(table, at);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			err = indirect ? -EPROTO : open_table(q, &d, &table, &n);
			indirect = true;
			at = steps = 0;
		} else {
			err = add_buffer(q, c, &b, &d);
			if (!(d.flags & VRING_DESC_F_NEXT))
				return err ? err : finish_chain(c, &b);
			at = d.link;
		}
		if (err)
			return err;
	}
}

static int split_pop(struct virtq *q, struct virtq_chain *c)
{
	const struct vring_avail *avail = q->avail;
	uint16_t head;
	int ret;

	if (q->next_avail == q->seen_avail) {
		ret = split_look(q);
		if (ret <= 0)
			return ret;
	}
	head = load(&avail->ring[q->next_avail & (q->setup.size - 1)]);
	if (head >= q->setup.size || q->out[head])
		return -EPROTO;
	ret = split_walk(q, c, head);
	if (ret)
		return ret;
	q->out[head] = true;
	q->taken++;
	q->next_avail++;
	c->token = TOKEN(1, head);
	return 1;
}

static void split_push(struct virtq *q, uint16_t id, uint32_t written)
{
	struct vring_used *used = q->used;

	assert(id < q->setup.size && q->out[id]);
	q->out[id] = false;
	used->ring[q->next_used & (q->setup.size - 1)] = (struct vring_used_elem){ id, written };
	q->next_used++;
}

static bool split_flush(struct virtq *q)
{
	const struct vring_avail *avail = q->avail;
	struct vring_used *used = q->used;

	store_sync(&used->idx, q->next_used);
	if (!q->setup.event_idx)
		return !(load_sync(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(load_sync(&avail->ring[q->setup.size]), q->next_used,
				(uint16_t)(q->next_used - q->unflushed));
}

static void split_notify_off(struct virtq *q)
{
	struct vring_used *used = q->used;

	/* An event index that is left behind asks for nothing. */
	if (!q->setup.event_idx)
		store(&used->flags, VRING_USED_F_NO_NOTIFY);
}

static bool split_notify_on(struct virtq *q)
{
	const struct vring_avail *avail = q->avail;
	struct vring_used *used = q->used;

	if (q->setup.event_idx)
		store_sync((uint16_t *)&used->ring[q->setup.size], q->next_avail);
	else
		store_sync(&used->flags, 0);
	return load_sync(&avail->idx) != q->next_avail;
}

/* ---- packed ring ---- */

#define PACKED_AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1U << VRING_PACKED_DESC_F_USED)

/* The event suppression structure in one piece: offset and wrap counter low, flags high. */
#define EVENT(off_wrap, flags) ((uint32_t)(flags) << 16 | (off_wrap))

static int packed_window(struct virtq *q)
{
	const struct virtq_setup *s = &q->setup;
	int err;

	err = ram_window(q->ram, s->desc, sizeof(struct vring_packed_desc) * s->size,
			 VRING_DESC_ALIGN_SIZE, &q->desc);
	if (!err)
		err = ram_window(q->ram, s->avail, 4, 4, &q->avail);
	if (!err)
		err = ram_window(q->ram, s->used, 4, 4, &q->used);
	return err;
}

static inline bool packed_is_avail(uint16_t flags, bool wrap)
{
	return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) != wrap;
}

static inline void packed_step(const struct virtq *q, uint16_t *at, bool *wrap, unsigned n)
{
	unsigned next = *at + n;

	*wrap ^= next >= q->setup.size;
	*at = (uint16_t)(next >= q->setup.size ? next - q->setup.size : next);
}

/* Flags first: only they say that the rest is there to be read. */
static inline bool packed_fetch(const struct virtq *q, unsigned at, bool wrap, struct desc *ret)
{
	const struct vring_packed_desc *d = (const struct vring_packed_desc *)q->desc + at;
	uint16_t flags = load_acquire(&d->flags);

	if (!packed_is_avail(flags, wrap))
		return false;
	*ret = (struct desc){ load(&d->addr), load(&d->len), flags, load(&d->id) };
	return true;
}

/* All of the table, in order. Flags other than WRITE are reserved there, and ignored. */
static inline int packed_table(const struct virtq *q, struct virtq_chain *c, struct builder *b,
			       const struct desc *d)
{
	const void *table;
	unsigned n;
	int err = open_table(q, d, &table, &n);

	for (unsigned i = 0; !err && i < n; i++) {
		struct desc entry = fetch_desc(table, i);

		entry.flags = entry.link;
		err = add_buffer(q, c, b, &entry);
	}
	return err;
}

static int packed_pop(struct virtq *q, struct virtq_chain *c)
{
	const unsigned max = free_entries(q);
	uint16_t at = q->next_avail;
	struct builder b = { 0 };
	bool wrap = q->avail_wrap;
	unsigned n = 0;
	struct desc d;
	int err;

	do {
		if (!packed_fetch(q, at, wrap, &d))
			return n ? -EPROTO : 0;
		if (n == max)
			return -EPROTO;
		if (d.flags & VRING_DESC_F_INDIRECT)
			err = n ? -EPROTO : packed_table(q, c, &b, &d);
		else
			err = add_buffer(q, c, &b, &d);
		if (err)
			return err;
		packed_step(q, &at, &wrap, 1);
		n++;
	} while (d.flags & VRING_DESC_F_NEXT);
	err = finish_chain(c, &b);
	if (err)
		return err;
	q->next_avail = at;
	q->avail_wrap = wrap;
	q->taken = (uint16_t)(q->taken + n);
	c->token = TOKEN(n, d.link); /* the last one's id counts: 2.8.6 */
	return 1;
}

/*
 * The driver looks at the first entry of a batch, then at the others: holding back the flags of the
 * first holds back all.
 */
static void packed_push(struct virtq *q, uint16_t id, uint32_t written, unsigned n)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->next_used;
	unsigned flags = (written ? VRING_DESC_F_WRITE : 0U) |
			 (q->used_wrap ? PACKED_AVAIL | PACKED_USED : 0U);

	d->id = id;
	d->len = written;
	if (q->unflushed)
		store_release(&d->flags, (uint16_t)flags);
	else
		q->held_flags = (uint16_t)flags;
	packed_step(q, &q->next_used, &q->used_wrap, n);
}

static bool packed_flush(struct virtq *q)
{
	unsigned lap = q->next_used < q->unflushed ? q->setup.size : 0;
	unsigned first = q->next_used + lap - q->unflushed;
	uint32_t want, flags;
	uint16_t event;

	store_sync(&((struct vring_packed_desc *)q->desc)[first].flags, q->held_flags);
	want = load_sync((const uint32_t *)q->avail);
	flags = want >> 16 & 3;
	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->setup.event_idx)
		return true;
	event = want & 0x7fff;
	if ((want >> 15 & 1) != q->used_wrap)
		event = (uint16_t)(event - q->setup.size);
	return vring_need_event(event, q->next_used, (uint16_t)(q->next_used - q->unflushed));
}

static void packed_notify_off(struct virtq *q)
{
	store((uint32_t *)q->used, EVENT(0, VRING_PACKED_EVENT_FLAG_DISABLE));
}

static bool packed_notify_on(struct virtq *q)
{
	const struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->next_avail;
	unsigned wrap = q->avail_wrap;
	unsigned off_wrap = q->next_avail | wrap << VRING_PACKED_EVENT_F_WRAP_CTR;

	if (q->setup.event_idx)
		store_sync((uint32_t *)q->used, EVENT(off_wrap, VRING_PACKED_EVENT_FLAG_DESC));
	else
		store_sync((uint32_t *)q->used, EVENT(0, VRING_PACKED_EVENT_FLAG_ENABLE));
	return packed_is_avail(load_sync(&d->flags), q->avail_wrap);
}

/* ---- either ---- */

int virtq_init(struct virtq *q, const struct ram *ram, const struct virtq_setup *setup)
{
	*q = (struct virtq){ .ram = ram, .setup = *setup, .avail_wrap = true, .used_wrap = true };
	if (!setup->size || setup->size > VIRTQ_MAX_SIZE)
		q->broken = -EINVAL;
	else
		q->broken = setup->packed ? packed_window(q) : split_window(q);
	return q->broken;
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	int ret;

	if (q->broken)
		return q->broken;
	ret = q->setup.packed ? packed_pop(q, c) : split_pop(q, c);
	if (ret < 0)
		q->broken = ret;
	return ret;
}

void virtq_push(struct virtq *q, uint32_t token, uint32_t written)
{
	const uint16_t n = TOKEN_ENTRIES(token);

	assert(n && n <= q->taken);
	if (q->setup.packed)
		packed_push(q, TOKEN_ID(token), written, n);
	else
		split_push(q, TOKEN_ID(token), written);
	q->taken = (uint16_t)(q->taken - n);
	q->unflushed = (uint16_t)(q->unflushed + n);
}

bool virtq_flush(struct virtq *q)
{
	bool interrupt;

	if (!q->unflushed)
		return false;
	interrupt = q->setup.packed ? packed_flush(q) : split_flush(q);
	q->unflushed = 0;
	return interrupt;
}

void virtq_notify_off(struct virtq *q)
{
	if (q->broken)
		return;
	if (q->setup.packed)
		packed_notify_off(q);
	else
		split_notify_off(q);
}

bool virtq_notify_on(struct virtq *q)
{
	if (q->broken)
		return false;
	return q->setup.packed ? packed_notify_on(q) : split_notify_on(q);
}

/* ---- a chain's bytes ---- */

/* What of one buffer lies in the next @left bytes; @off counts down to where the range begins. */
static struct iovec part_of(const struct iovec *iov, uint64_t *off, uint64_t left)
{
	uint64_t skip = *off < iov->iov_len ? *off : iov->iov_len;
	uint64_t rest = iov->iov_len - skip;

	*off -= skip;
	return (struct iovec){ (char *)iov->iov_base + skip, rest < left ? rest : left };
}

size_t virtq_read(const struct virtq_chain *c, uint64_t off, void *dst, size_t len)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->n_out && done < len; i++) {
		struct iovec part = part_of(&c->iov[i], &off, len - done);

		memcpy((char *)dst + done, part.iov_base, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

size_t virtq_write(const struct virtq_chain *c, uint64_t off, const void *src, size_t len)
{
	size_t done = 0;

	for (unsigned i = c->n_out; i < c->n_out + c->n_in && done < len; i++) {
		struct iovec part = part_of(&c->iov[i], &off, len - done);

		memcpy(part.iov_base, (const char *)src + done, part.iov_len);
		done += part.iov_len;
	}
	return done;
}

int virtq_slice(const struct virtq_chain *c, bool writable, uint64_t off, uint64_t len,
		struct iovec *ret_iov, unsigned cap)
{
	const struct iovec *iov = writable ? c->iov + c->n_out : c->iov;
	uint64_t total = writable ? c->in_bytes : c->out_bytes;
	unsigned n = 0;

	if (off > total || len > total - off)
		return -ENODATA;
	for (; len; iov++) {
		struct iovec part = part_of(iov, &off, len);

		if (!part.iov_len)
			continue;
		if (n == cap)
			return -E2BIG;
		ret_iov[n++] = part;
		len -= part.iov_len;
	}
	return (int)n;
}
