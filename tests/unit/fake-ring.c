/* Guest memory and rings as a driver handles them; see fake-driver.h. */
#include "fake-driver.h"
#include "ram-base.h"

#include <stdlib.h>
#include <string.h>

#define load(ptr)     __atomic_load_n(ptr, __ATOMIC_SEQ_CST)
#define store(ptr, v) __atomic_store_n(ptr, v, __ATOMIC_SEQ_CST)

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* ---- guest memory ---- */

struct ram_region fake_region;

void fake_init(struct fake_driver *d, unsigned mib)
{
	static struct ram_config advice = { .no_merge = true, .no_thp = true };
	struct ram_backing backing = { .fd = -1, .advice = &advice };

	advice.region = fake_region;

	*d = (struct fake_driver){ .next = 4 * KIB };
	must(!ram_new(mib * MIB, &backing, &d->ram));
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->irq, NULL);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		d->notify_fd[i] = -1;
}

void fake_fini(struct fake_driver *d)
{
	free(d->queue);
	pthread_cond_destroy(&d->irq);
	pthread_mutex_destroy(&d->lock);
	ram_free(d->ram);
}

gpa_t fake_alloc(struct fake_driver *d, uint64_t bytes, uint64_t align)
{
	gpa_t at = GPA(ALIGN_UP(d->next, align));

	d->next = at.v + bytes;
	must(ram_host(d->ram, at, bytes));
	memset(fake_at(d, at), 0, bytes);
	return at;
}

void *fake_at(const struct fake_driver *d, gpa_t at)
{
	return ram_base(d->ram) + at.v;
}

/* ---- a ring ---- */

void fake_queue_init(struct fake_queue *q, struct fake_driver *d, uint16_t size, uint64_t features)
{
	bool packed = features & FAKE_PACKED;

	*q = (struct fake_queue){ .d = d, .avail_wrap = true, .used_wrap = true, .n_free = size };
	q->setup = (struct virtq_setup){
		.size = size,
		.packed = packed,
		.event_idx = features & FAKE_EVENT_IDX,
		.indirect = features & FAKE_INDIRECT,
		.desc = fake_alloc(d, 16UL * size, 16),
		.avail = fake_alloc(d, packed ? 4 : 6 + 2UL * size, packed ? 4 : 2),
		.used = fake_alloc(d, packed ? 4 : 6 + 8UL * size, 4),
	};
	for (q->n_ids = 0; q->n_ids < size; q->n_ids++)
		q->free_desc[q->n_ids] = (uint16_t)(size - 1 - q->n_ids);
	if (packed) {
		q->ring = fake_at(d, q->setup.desc);
		q->driver_event = fake_at(d, q->setup.avail);
		q->device_event = fake_at(d, q->setup.used);
	} else {
		q->desc = fake_at(d, q->setup.desc);
		q->avail = fake_at(d, q->setup.avail);
		q->used = fake_at(d, q->setup.used);
	}
}

static uint16_t buf_flags(const struct fake_buf *buf, bool more)
{
	return (uint16_t)((buf->writable ? VRING_DESC_F_WRITE : 0) |
			  (more ? VRING_DESC_F_NEXT : 0));
}

static void split_publish(struct fake_queue *q, uint16_t head)
{
	q->avail->ring[q->next_avail % q->setup.size] = head;
	store(&q->avail->idx, ++q->next_avail);
	q->added++;
}

static int split_add(struct fake_queue *q, const struct fake_buf *bufs, unsigned n)
{
	uint16_t head = q->free_desc[q->n_ids - 1];

	for (unsigned i = 0; i < n; i++) {
		uint16_t at = q->free_desc[--q->n_ids];
		bool more = i + 1 < n;

		q->desc[at] = (struct vring_desc){
			.addr = bufs[i].at.v,
			.len = bufs[i].len,
			.flags = buf_flags(&bufs[i], more),
			.next = more ? q->free_desc[q->n_ids - 1] : 0,
		};
	}
	q->n_free = (uint16_t)(q->n_free - n);
	q->entries[head] = (uint16_t)n;
	split_publish(q, head);
	return head;
}

static uint16_t packed_flags(const struct fake_queue *q, uint16_t flags)
{
	return flags | (uint16_t)(q->avail_wrap ? 1U << VRING_PACKED_DESC_F_AVAIL
						: 1U << VRING_PACKED_DESC_F_USED);
}

/*
 * All but the first get their flags at once, the first when all others have theirs. Only the last
 * one's id counts.
 */
static void packed_put(struct fake_queue *q, const struct vring_packed_desc *desc, unsigned n,
		       uint16_t id)
{
	struct vring_packed_desc *first = &q->ring[q->next_avail];
	uint16_t first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct vring_packed_desc *at = &q->ring[q->next_avail];
		uint16_t flags = packed_flags(q, desc[i].flags);

		at->addr = desc[i].addr;
		at->len = desc[i].len;
		at->id = (uint16_t)((i + 1 < n ? ~id : id) ^ q->id_flip);
		if (i)
			store(&at->flags, flags);
		else
			first_flags = flags;
		if (++q->next_avail == q->setup.size) {
			q->next_avail = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	store(&first->flags, first_flags);
	q->n_free = (uint16_t)(q->n_free - n);
	q->entries[id] = (uint16_t)n;
	q->added = (uint16_t)(q->added + n);
}

static int packed_add(struct fake_queue *q, const struct fake_buf *bufs, unsigned n)
{
	struct vring_packed_desc desc[VIRTQ_MAX_SIZE];
	uint16_t id = q->free_desc[--q->n_ids];

	for (unsigned i = 0; i < n; i++)
		desc[i] = (struct vring_packed_desc){ bufs[i].at.v, bufs[i].len, 0,
						      buf_flags(&bufs[i], i + 1 < n) };
	packed_put(q, desc, n, id);
	return id;
}

int fake_add(struct fake_queue *q, const struct fake_buf *bufs, unsigned n)
{
	if (!n || n > q->n_free)
		return -1;
	return q->setup.packed ? packed_add(q, bufs, n) : split_add(q, bufs, n);
}

static gpa_t table_of(struct fake_queue *q, uint16_t id, unsigned n)
{
	if (q->table_len[id] < n) {
		q->table[id] = fake_alloc(q->d, 16UL * n, 16);
		q->table_len[id] = n;
	}
	return q->table[id];
}

static void fill_table(struct fake_queue *q, gpa_t table, const struct fake_buf *bufs, unsigned n)
{
	struct vring_packed_desc *packed = fake_at(q->d, table);
	struct vring_desc *split = fake_at(q->d, table);

	for (unsigned i = 0; i < n; i++)
		if (q->setup.packed)
			packed[i] = (struct vring_packed_desc){ bufs[i].at.v, bufs[i].len, 0,
								buf_flags(&bufs[i], false) };
		else
			split[i] = (struct vring_desc){ bufs[i].at.v, bufs[i].len,
							buf_flags(&bufs[i], i + 1 < n),
							(uint16_t)(i + 1) };
}

int fake_add_indirect(struct fake_queue *q, const struct fake_buf *bufs, unsigned n)
{
	uint16_t id;
	gpa_t table;

	if (!q->n_free)
		return -1;
	id = q->free_desc[--q->n_ids];
	table = table_of(q, id, n);
	fill_table(q, table, bufs, n);
	if (q->setup.packed) {
		struct vring_packed_desc desc = { table.v, 16 * n, 0, VRING_DESC_F_INDIRECT };

		packed_put(q, &desc, 1, id);
	} else {
		q->desc[id] = (struct vring_desc){ table.v, 16 * n, VRING_DESC_F_INDIRECT, 0 };
		q->n_free--;
		q->entries[id] = 1;
		split_publish(q, id);
	}
	return id;
}

/* A device may only give back what it has. */
static uint16_t entries_of(const struct fake_queue *q, uint32_t id)
{
	must(id < q->setup.size && q->entries[id]);
	return q->entries[id];
}

static int split_used(struct fake_queue *q, uint32_t *ret_written)
{
	struct vring_used_elem *e = &q->used->ring[q->next_used % q->setup.size];
	uint16_t id, n, at;

	if (load(&q->used->idx) == q->next_used)
		return -1;
	n = entries_of(q, e->id);
	id = (uint16_t)e->id;
	at = id;
	for (unsigned i = 0; i < n; i++, at = q->desc[at].next)
		q->free_desc[q->n_ids++] = at;
	*ret_written = e->len;
	q->next_used++;
	q->n_free = (uint16_t)(q->n_free + n);
	q->entries[id] = 0;
	return id;
}

static int packed_used(struct fake_queue *q, uint32_t *ret_written)
{
	struct vring_packed_desc *e = &q->ring[q->next_used];
	uint16_t flags = load(&e->flags), id, n;

	if (!!(flags & 1 << VRING_PACKED_DESC_F_USED) != q->used_wrap ||
	    !!(flags & 1 << VRING_PACKED_DESC_F_AVAIL) != q->used_wrap)
		return -1;
	id = e->id ^ q->id_flip;
	n = entries_of(q, id);
	*ret_written = flags & VRING_DESC_F_WRITE ? e->len : 0;
	q->next_used = (uint16_t)(q->next_used + n);
	if (q->next_used >= q->setup.size) {
		q->next_used = (uint16_t)(q->next_used - q->setup.size);
		q->used_wrap = !q->used_wrap;
	}
	q->free_desc[q->n_ids++] = id;
	q->n_free = (uint16_t)(q->n_free + n);
	q->entries[id] = 0;
	return id;
}

int fake_used(struct fake_queue *q, uint32_t *ret_written)
{
	return q->setup.packed ? packed_used(q, ret_written) : split_used(q, ret_written);
}

static bool packed_must_notify(const struct fake_queue *q)
{
	const uint32_t *words = (const uint32_t *)(const void *)q->device_event;
	uint32_t want = load(words);
	unsigned at = want & 0x7fff, wrap = want >> 15 & 1, seen;

	if (want >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return want >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	/* How many entries ago, counted from the newest, did we make that one available? */
	seen = q->next_avail + q->setup.size - at;
	if (wrap == q->avail_wrap)
		seen = q->next_avail > at ? q->next_avail - at : 0;
	return seen && seen <= q->added;
}

bool fake_must_notify(struct fake_queue *q)
{
	const unsigned size = q->setup.size;
	bool must_notify;

	if (!q->added)
		return false;
	if (q->setup.packed)
		must_notify = packed_must_notify(q);
	else if (q->setup.event_idx)
		must_notify = (uint16_t)(q->next_avail - 1 -
					 load((uint16_t *)&q->used->ring[size])) < q->added;
	else
		must_notify = !(load(&q->used->flags) & VRING_USED_F_NO_NOTIFY);
	q->added = 0;
	return must_notify;
}

void fake_irq_off(struct fake_queue *q)
{
	if (q->setup.packed)
		store(&q->driver_event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	else if (!q->setup.event_idx)
		store(&q->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
	else /* one that is never reached soon */
		store(&q->avail->ring[q->setup.size], (uint16_t)(q->next_used + 0x8000));
}

void fake_irq_on(struct fake_queue *q, uint16_t after)
{
	unsigned at = (unsigned)q->next_used + after;
	bool wrap = q->used_wrap ^ (at >= q->setup.size);

	if (q->setup.packed && q->setup.event_idx) {
		at = at >= q->setup.size ? at - q->setup.size : at;
		store(&q->driver_event->off_wrap, (uint16_t)(at | (unsigned)wrap << 15));
		store(&q->driver_event->flags, VRING_PACKED_EVENT_FLAG_DESC);
	} else if (q->setup.packed) {
		store(&q->driver_event->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	} else if (q->setup.event_idx) {
		store(&q->avail->ring[q->setup.size], (uint16_t)at);
	} else {
		store(&q->avail->flags, 0);
	}
}
