/* Entropy requests: virtio 1.2, 5.4 */
#include "hostile.h"

static void readable(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 16, (uint16_t)t->a, 1);
	put_desc(t->r, 1, (uint64_t)t->d->buf, 16, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void no_room(const struct trial *t)
{
	put_desc(t->r, 0, (uint64_t)t->d->buf, 0, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
}

static void large(const struct trial *t)
{
	put_desc(t->r, 0, 32 << 20, (uint32_t)t->a, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(answered(t->r));
	EXPECT(t->r->used_len && t->r->used_len <= t->a);
}

/* All of the ring at once, 4 GB and more in sum: the others still get their turn. */
static void ring_of_large(const struct trial *t)
{
	for (uint16_t i = 0; i < t->r->size; i++) {
		put_desc(t->r, i, 32 << 20, 90 << 20, D_WRITE, 0);
		t->r->avail->ring[i] = i;
	}
	t->r->avail->idx = t->r->size;
	kick(t->r);
	EXPECT(vdev_works(other_device()));
	for (uint16_t i = 0; i < t->r->size; i++)
		EXPECT(answered(t->r));
}

static void not_a_byte_more(const struct trial *t)
{
	volatile uint8_t *buf = t->d->buf;

	for (unsigned i = 0; i < 64; i++)
		buf[i] = 0x5a;
	put_desc(t->r, 0, (uint64_t)buf + 16, (uint32_t)t->a, D_WRITE, 0);
	offer(t->r, 0);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, t->a);
	for (unsigned i = 0; i < 64; i++)
		EXPECT(buf[i] == 0x5a || (i >= 16 && i < 16 + t->a));
}

static void byte_by_byte(const struct trial *t)
{
	for (unsigned i = 0; i < t->r->size; i++)
		put_desc(t->r, i, (uint64_t)t->d->buf + i * 2, 1, D_WRITE | D_NEXT,
			 (uint16_t)(i + 1));
	t->r->desc[t->r->size - 1].flags = D_WRITE;
	offer(t->r, 0);
	EXPECT(answered(t->r));
	EXPECT_EQ(t->r->used_len, t->r->size);
}

static const struct hostile cases[] = {
	{ "5.4.6.1 a readable buffer", readable, 0 },
	{ "5.4.6.1 a readable buffer before a writable one", readable, D_NEXT },
	{ "5.4.6.1 no room for a single byte", no_room },
	{ "5.4.6.2 a request for 64 MB", large, 64 << 20 },
	{ "5.4.6.2 a ring full of requests for 90 MB", ring_of_large },
	{ "5.4.6.2 a request for one byte", not_a_byte_more, 1 },
	{ "5.4.6.2 a request for 15 bytes", not_a_byte_more, 15 },
	{ "5.4.6.2 a byte in each descriptor of the ring", byte_by_byte },
};

const struct suite rng_suite = { .name = "rng", .victim = VIRTIO_RNG, .cases = cases,
				 .n = N_CASES(cases) };
