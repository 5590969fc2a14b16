/* The packed ring; see virtq.h. Spec: virtio 1.2, 2.8 */
#include "virtq-ring.h"

#define PACKED_AVAIL (1U << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_USED  (1U << VRING_PACKED_DESC_F_USED)

/* The event suppression structure in one piece: offset and wrap counter low, flags high. */
#define EVENT(off_wrap, flags) ((uint32_t)(flags) << 16 | (off_wrap))

int virtq_packed_init(struct virtq *q)
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
static inline int packed_table(struct virtq *q, struct virtq_chain *c, struct builder *b,
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
	err = finish_chain(q, c, &b);
	if (err)
		return err;
	q->next_avail = at;
	q->avail_wrap = wrap;
	q->taken = (uint16_t)(q->taken + n);
	c->token |= TOKEN(n, d.link); /* the last one's id counts: 2.8.6 */
	return 1;
}

int virtq_packed_pop(struct virtq *q, struct virtq_chain *c)
{
	return check_pop(q, packed_pop(q, c));
}

/*
 * The driver looks at the first entry of a batch, then at the others: holding back the flags of the
 * first holds back all.
 */
void virtq_packed_push(struct virtq *q, uint64_t token, uint32_t written)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->next_used;
	unsigned flags = (written ? VRING_DESC_F_WRITE : 0U) |
			 (q->used_wrap ? PACKED_AVAIL | PACKED_USED : 0U);

	d->id = TOKEN_ID(token);
	d->len = written;
	if (q->unflushed)
		store_release(&d->flags, (uint16_t)flags);
	else
		q->held_flags = (uint16_t)flags;
	packed_step(q, &q->next_used, &q->used_wrap, TOKEN_ENTRIES(token));
	count_push(q, TOKEN_ENTRIES(token));
}

bool virtq_packed_flush(struct virtq *q)
{
	unsigned lap = q->next_used < q->unflushed ? q->setup.size : 0;
	unsigned first = q->next_used + lap - q->unflushed;
	const uint16_t before = (uint16_t)(q->next_used - q->unflushed);
	uint32_t want, flags;
	uint16_t event;

	q->unflushed = 0;
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
	return vring_need_event(event, q->next_used, before);
}

void virtq_packed_notify_off(struct virtq *q)
{
	store((uint32_t *)q->used, EVENT(0, VRING_PACKED_EVENT_FLAG_DISABLE));
}

bool virtq_packed_notify_on(struct virtq *q)
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
