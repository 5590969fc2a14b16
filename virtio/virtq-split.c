/* The split ring; see virtq.h. Spec: virtio 1.2, 2.7 */
#include "virtq-ring.h"

int virtq_split_init(struct virtq *q)
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
static int split_walk(struct virtq *q, struct virtq_chain *c, unsigned head)
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
				return err ? err : finish_chain(q, c, &b);
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
	c->token |= TOKEN(1, head);
	return 1;
}

int virtq_split_pop(struct virtq *q, struct virtq_chain *c)
{
	return check_pop(q, split_pop(q, c));
}

void virtq_split_push(struct virtq *q, uint64_t token, uint32_t written)
{
	const uint16_t id = TOKEN_ID(token);
	struct vring_used *used = q->used;

	assert(id < q->setup.size && q->out[id]);
	q->out[id] = false;
	used->ring[q->next_used & (q->setup.size - 1)] = (struct vring_used_elem){ id, written };
	q->next_used++;
	count_push(q, 1);
}

bool virtq_split_flush(struct virtq *q)
{
	const struct vring_avail *avail = q->avail;
	const uint16_t before = (uint16_t)(q->next_used - q->unflushed);
	struct vring_used *used = q->used;

	q->unflushed = 0;
	store_sync(&used->idx, q->next_used);
	if (!q->setup.event_idx)
		return !(load_sync(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(load_sync(&avail->ring[q->setup.size]), q->next_used, before);
}

void virtq_split_notify_off(struct virtq *q)
{
	struct vring_used *used = q->used;

	/* An event index that the driver has left behind asks for nothing. */
	if (q->setup.event_idx)
		store((uint16_t *)&used->ring[q->setup.size], (uint16_t)(q->next_avail - 1));
	else
		store(&used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_split_notify_on(struct virtq *q)
{
	const struct vring_avail *avail = q->avail;
	struct vring_used *used = q->used;

	if (q->setup.event_idx)
		store_sync((uint16_t *)&used->ring[q->setup.size], q->next_avail);
	else
		store_sync(&used->flags, 0);
	return load_sync(&avail->idx) != q->next_avail;
}
