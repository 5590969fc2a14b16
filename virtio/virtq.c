/* Virtqueues: what both formats of the ring have in common; see virtq.h. */
#include "virtq-ring.h"

#include <string.h>

int virtq_init(struct virtq *q, const struct ram *ram, const struct virtq_setup *setup)
{
	*q = (struct virtq){ .ram = ram, .watched = ram_logging(ram), .unplugs = ram_unplugs(ram), .setup = *setup,
			     .avail_wrap = true, .used_wrap = true };
	q->unplugs_seen = atomic_load(q->unplugs);
	if (!setup->size || setup->size > VIRTQ_MAX_SIZE)
		q->broken = -EINVAL;
	else
		q->broken = setup->packed ? virtq_packed_init(q) : virtq_split_init(q);
	return q->broken;
}

void virtq_watch(struct virtq *q, struct virtq_watch *watch)
{
	static const atomic_bool always = true;

	q->watch = watch;
	q->watched = watch ? &always : ram_logging(q->ram);
}

/* A split ring's indexes run freely: each is a place. */
static bool is_place(const struct virtq_setup *setup, struct virtq_place place)
{
	return setup->packed ? place.next < setup->size : place.wrap;
}

int virtq_init_at(struct virtq *q, const struct ram *ram, const struct virtq_setup *setup,
		  struct virtq_place place)
{
	if (virtq_init(q, ram, setup))
		return q->broken;
	if (!is_place(setup, place))
		return q->broken = -ERANGE;
	q->next_avail = q->seen_avail = q->next_used = place.next;
	q->avail_wrap = q->used_wrap = place.wrap;
	return 0;
}

struct virtq_place virtq_place(const struct virtq *q)
{
	assert(!q->unflushed);
	return (struct virtq_place){ q->next_used, q->used_wrap };
}

void virtq_move(struct virtq *q, struct virtq_place place)
{
	const struct virtq_setup setup = q->setup;
	struct virtq_watch *watch = q->watch;
	const struct ram *ram = q->ram;

	if (q->broken)
		return;
	virtq_fini(q);
	virtq_init_at(q, ram, &setup, place); /* which it was before, but for its place */
	if (watch)
		virtq_watch(q, watch);
}

void virtq_put_back(struct virtq *q)
{
	virtq_move(q, virtq_place(q));
}

/* Is RAM logged, or is there a watch? One test for both, on a way that is gone millions of times a second. */
static inline bool is_watched(const struct virtq *q)
{
	return __builtin_expect(atomic_load_explicit(q->watched, memory_order_relaxed), false);
}

/* What of RAM the device may write, from now until it pushes the chain; see ram_log(). */
static void log_buffers(const struct virtq *q, const struct virtq_chain *c)
{
	gpa_t at;

	for (unsigned i = c->n_out; !q->setup.only_names && i < c->n_out + c->n_in; i++)
		if (!ram_gpa_of(q->ram, c->iov[i].iov_base, &at))
			ram_wrote(q->ram, c->iov[i].iov_base, c->iov[i].iov_len);
}

/* What the device writes of a ring: used elements in the descriptors' place, or behind one another. */
static void log_ring(const struct virtq *q)
{
	const struct virtq_setup *s = &q->setup;

	if (s->packed)
		ram_wrote(q->ram, q->desc, sizeof(struct vring_packed_desc) * s->size);
	ram_wrote(q->ram, q->used, s->packed ? 4 : 6 + 8ULL * s->size);
}

static inline int pop(struct virtq *q, struct virtq_chain *c)
{
	return q->setup.packed ? virtq_packed_pop(q, c) : virtq_split_pop(q, c);
}

static __attribute__((cold)) void popped(const struct virtq *q, struct virtq_chain *c)
{
	log_buffers(q, c);
	if (q->watch)
		c->token |= WATCH_TOKEN(q->watch->popped(q->watch, c));
}

bool virtq_is_gone(const struct virtq *q)
{
	struct virtq now = { .ram = q->ram, .setup = q->setup };

	return q->setup.packed ? virtq_packed_init(&now) : virtq_split_init(&now);
}

static __attribute__((cold)) int look_at_ring(struct virtq *q)
{
	q->unplugs_seen = atomic_load(q->unplugs);
	if (virtq_is_gone(q))
		q->broken = -EFAULT;
	return q->broken;
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	int ret;

	if (q->broken)
		return q->broken;
	if (__builtin_expect(atomic_load_explicit(q->unplugs, memory_order_relaxed) != q->unplugs_seen, false) &&
	    look_at_ring(q))
		return q->broken;
	ret = pop(q, c);
	/* In this order: what the driver makes available once the log has begun is in it. */
	if (is_watched(q) && ret == 1)
		popped(q, c);
	return ret;
}

static __attribute__((cold)) int push_more(struct virtq *q, uint64_t token, uint32_t written)
{
	const int ret = TOKEN_LOAN(token) ? virtq_take_back(q, TOKEN_LOAN(token), written) : 0;

	if (TOKEN_WATCH(token) && q->watch)
		q->watch->pushed(q->watch, TOKEN_WATCH(token), written);
	return ret;
}

int virtq_push(struct virtq *q, uint64_t token, uint32_t written)
{
	int ret = 0;

	assert(TOKEN_ENTRIES(token) && TOKEN_ENTRIES(token) <= q->taken);
	if (__builtin_expect(TOKEN_MORE(token), false))
		ret = push_more(q, token, written);
	if (ret < 0)
		return ret;
	if (q->setup.packed)
		virtq_packed_push(q, token, written);
	else
		virtq_split_push(q, token, written);
	return ret;
}

bool virtq_flush(struct virtq *q)
{
	if (!q->unflushed)
		return false;
	if (is_watched(q))
		log_ring(q);
	return q->setup.packed ? virtq_packed_flush(q) : virtq_split_flush(q);
}

void virtq_notify_off(struct virtq *q)
{
	if (q->broken)
		return;
	if (is_watched(q))
		log_ring(q);
	if (q->setup.packed)
		virtq_packed_notify_off(q);
	else
		virtq_split_notify_off(q);
}

bool virtq_notify_on(struct virtq *q)
{
	if (q->broken || q->starved)
		return false;
	if (is_watched(q))
		log_ring(q);
	return q->setup.packed ? virtq_packed_notify_on(q) : virtq_split_notify_on(q);
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
