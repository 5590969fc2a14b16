/* The memory device, its requests and its blocks, which other devices use too: virtio 1.2, 5.15 */
#include "hostile.h"

#define F_PXM F(0)
#define PAGE  0x1000U

static volatile uint8_t *at(const struct trial *t, unsigned block, unsigned off)
{
	return (volatile uint8_t *)(mem_start(t->d) + block * mem_block(t->d) + off);
}

static unsigned plug(const struct trial *t, unsigned first, unsigned n)
{
	return mem_ask(t->d, MEM_PLUG, (uint64_t)at(t, first, 0), n);
}

static unsigned unplug(const struct trial *t, unsigned first, unsigned n)
{
	return mem_ask(t->d, MEM_UNPLUG, (uint64_t)at(t, first, 0), n);
}

static unsigned plugged(const struct trial *t)
{
	return (unsigned)(mem_read(t->d->config + 40, 8) / mem_block(t->d));
}

/* ---- requests ---- */

/* Request @a at @b bytes from where the region begins, for as many blocks as the upper half of @a says */
static void bad_range(const struct trial *t)
{
	EXPECT_EQ(plug(t, 0, 1), MEM_ACK);
	EXPECT_EQ(mem_ask(t->d, (unsigned)(t->a & 0xffff), mem_start(t->d) + t->b, (unsigned)(t->a >> 16)), MEM_ERROR);
	EXPECT_EQ(plugged(t), 1);
}

static void bad_address(const struct trial *t)
{
	EXPECT_EQ(mem_ask(t->d, (unsigned)t->a, t->b, 1), MEM_ERROR);
	EXPECT_EQ(plugged(t), 0);
}

static void bad_type(const struct trial *t)
{
	EXPECT_EQ(mem_ask(t->d, (unsigned)t->a, mem_start(t->d), 1), MEM_ERROR);
	EXPECT_EQ(plugged(t), 0);
}

/* One behind the last that there is */
static void behind(const struct trial *t)
{
	const unsigned n = (unsigned)(mem_read(t->d->config + 24, 8) / mem_block(t->d));

	EXPECT_EQ(mem_ask(t->d, (unsigned)t->a, (uint64_t)at(t, n, 0), 1), MEM_ERROR);
	EXPECT_EQ(mem_ask(t->d, (unsigned)t->a, (uint64_t)at(t, n - 1, 0), 2), MEM_ERROR);
	EXPECT_EQ(mem_ask(t->d, (unsigned)t->a, (uint64_t)at(t, 0, 0), n + 1), MEM_ERROR);
}

static void too_much(const struct trial *t)
{
	const unsigned most = (unsigned)(mem_read(t->d->config + 48, 8) / mem_block(t->d));

	EXPECT_EQ(plug(t, 0, most + 1), MEM_NACK);
	EXPECT_EQ(plug(t, 1, most), MEM_ACK);
	EXPECT_EQ(plug(t, 0, 1), MEM_NACK);
	EXPECT_EQ(plugged(t), most);
}

static void twice(const struct trial *t)
{
	EXPECT_EQ(plug(t, 1, 2), MEM_ACK);
	*at(t, 1, 0) = 0x5a;
	EXPECT_EQ(plug(t, 1, 1), MEM_ERROR);
	EXPECT_EQ(plug(t, 0, 2), MEM_ERROR);
	EXPECT_EQ(plug(t, 2, 2), MEM_ERROR);
	EXPECT_EQ(plug(t, 0, 4), MEM_ERROR);
	EXPECT_EQ(*at(t, 1, 0), 0x5a);
	EXPECT_EQ(plugged(t), 2);
}

static void not_there(const struct trial *t)
{
	EXPECT_EQ(unplug(t, 0, 1), MEM_ERROR);
	EXPECT_EQ(plug(t, 1, 2), MEM_ACK);
	*at(t, 1, 0) = 0x5a;
	EXPECT_EQ(unplug(t, 0, 2), MEM_ERROR);
	EXPECT_EQ(unplug(t, 2, 2), MEM_ERROR);
	EXPECT_EQ(unplug(t, 0, 4), MEM_ERROR);
	EXPECT_EQ(*at(t, 1, 0), 0x5a);
	EXPECT_EQ(unplug(t, 1, 2), MEM_ACK);
	EXPECT_EQ(unplug(t, 1, 2), MEM_ERROR);
}

static void states(const struct trial *t)
{
	EXPECT_EQ(plug(t, 1, 2), MEM_ACK);
	EXPECT_EQ(mem_ask(t->d, MEM_STATE, (uint64_t)at(t, 1, 0), 2), MEM_ACK);
	EXPECT_EQ(mem_state(t->d), 0);
	EXPECT_EQ(mem_ask(t->d, MEM_STATE, (uint64_t)at(t, 3, 0), 3), MEM_ACK);
	EXPECT_EQ(mem_state(t->d), 1);
	EXPECT_EQ(mem_ask(t->d, MEM_STATE, (uint64_t)at(t, 0, 0), 3), MEM_ACK);
	EXPECT_EQ(mem_state(t->d), 2);
}

/* A request of @a bytes with room for @b */
static void lengths(const struct trial *t)
{
	struct vbuf chain[2];
	unsigned n = 0;

	for (unsigned i = 0; i < 64; i++)
		t->d->buf[i] = 0;
	if (t->a)
		chain[n++] = (struct vbuf){ (uint64_t)t->d->buf, (uint32_t)t->a, 0 };
	if (t->b)
		chain[n++] = (struct vbuf){ (uint64_t)t->d->buf + PAGE, (uint32_t)t->b, D_WRITE };
	vring_add(t->r, chain, n);
	kick(t->r);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(plugged(t), 0);
}

/* In buffers of a byte each */
static void in_pieces(const struct trial *t)
{
	struct vbuf chain[34];

	mem_request(t->d, MEM_PLUG, mem_start(t->d), 1);
	for (unsigned i = 0; i < 34; i++)
		chain[i] = (struct vbuf){ (uint64_t)t->d->buf + (i < 24 ? i : PAGE + i - 24), 1, i < 24 ? 0 : D_WRITE };
	EXPECT(vring_do(t->r, chain, 34));
	EXPECT_EQ(t->d->buf[PAGE], MEM_ACK);
	EXPECT_EQ(plugged(t), 1);
}

/* ---- what is there, and what is not ---- */

static void is_nothing(const struct trial *t)
{
	volatile uint64_t *word = (volatile uint64_t *)at(t, (unsigned)t->a, 0x100);

	EXPECT_EQ(*word, UINT64_MAX);
	*word = 7;
	EXPECT_EQ(*word, UINT64_MAX);
	EXPECT_EQ(plug(t, (unsigned)t->a, 1), MEM_ACK);
	EXPECT_EQ(*word, 0);
	*word = 7;
	EXPECT_EQ(unplug(t, (unsigned)t->a, 1), MEM_ACK);
	EXPECT_EQ(*word, UINT64_MAX);
}

static void zeros_again(const struct trial *t)
{
	const unsigned bytes = (unsigned)mem_block(t->d);

	for (unsigned round = 0; round < 2; round++) {
		EXPECT_EQ(plug(t, 2, 1), MEM_ACK);
		for (unsigned off = 0; off < bytes; off += PAGE) {
			EXPECT_EQ(*at(t, 2, off), 0);
			*at(t, 2, off) = 0x5a;
		}
		EXPECT_EQ(t->a ? mem_ask(t->d, MEM_UNPLUG_ALL, 0, 0) : unplug(t, 2, 1), MEM_ACK);
	}
}

static void neighbours(const struct trial *t)
{
	EXPECT_EQ(plug(t, 0, 3), MEM_ACK);
	*at(t, 0, (unsigned)mem_block(t->d) - 1) = *at(t, 2, 0) = 0x5a;
	for (unsigned i = 0; i < 10; i++) {
		EXPECT_EQ(unplug(t, 1, 1), MEM_ACK);
		EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	}
	EXPECT(*at(t, 0, (unsigned)mem_block(t->d) - 1) == 0x5a && *at(t, 2, 0) == 0x5a);
}

static void again_and_again(const struct trial *t)
{
	for (unsigned i = 0; i < 40; i++) {
		EXPECT_EQ(plug(t, i % 4, 2), MEM_ACK);
		*at(t, i % 4, 0) = 1;
		EXPECT_EQ(t->a ? mem_ask(t->d, MEM_UNPLUG_ALL, 0, 0) : unplug(t, i % 4, 2), MEM_ACK);
	}
}

/* What is plugged outlives its driver. */
static void reset_keeps(const struct trial *t)
{
	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	*at(t, 1, 5) = 0x5a;
	for (unsigned i = 0; i < 10; i++)
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	EXPECT_EQ(plugged(t), 1);
	EXPECT_EQ(*at(t, 1, 5), 0x5a);
}

/* ---- what it talks by goes ---- */

static void put_request(const struct trial *t, uint64_t to)
{
	mem_request(t->d, MEM_UNPLUG, (uint64_t)at(t, 1, 0), 1);
	for (unsigned i = 0; i < 24; i++)
		*(volatile uint8_t *)(to + i) = t->d->buf[i];
}

/* The block in which its request (@a & 1) and its answer (@a & 2) are */
static void buffers_go(const struct trial *t)
{
	uint64_t request = (uint64_t)t->d->buf, answer = request + PAGE;

	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	if (t->a & 1)
		request = (uint64_t)at(t, 1, 0);
	if (t->a & 2)
		answer = (uint64_t)at(t, 1, 2 * PAGE);
	put_request(t, request);
	EXPECT(vring_do(t->r, (struct vbuf[]){ { request, 24, 0 }, { answer, 10, D_WRITE } }, 2));
	EXPECT_EQ(*(volatile uint8_t *)answer, t->a & 2 ? 0xff : MEM_ACK);
	EXPECT_EQ(plugged(t), 0);
}

static void not_memory(const struct trial *t)
{
	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	mem_request(t->d, MEM_STATE, mem_start(t->d), 1);
	vring_add(t->r, (struct vbuf[]){ { t->a ? (uint64_t)t->d->buf : (uint64_t)at(t, t->b ? 1 : 2, 0) - (t->b ? 8 : 0), 24, 0 },
					 { t->a ? (uint64_t)at(t, 2, 0) - t->b : (uint64_t)t->d->buf + PAGE, 10, D_WRITE } }, 2);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

struct places {
	volatile struct vdesc *desc;
	volatile struct vavail *avail;
	volatile struct vused *used;
};

/* Parts @which of a ring into block 1; Return: where they were */
static struct places move_ring(const struct trial *t, struct vring *r, uint64_t which)
{
	const struct places was = { r->desc, r->avail, r->used };

	if (which & 1)
		r->desc = (volatile struct vdesc *)at(t, 1, PAGE);
	if (which & 2)
		r->avail = (volatile struct vavail *)at(t, 1, 2 * PAGE);
	if (which & 4)
		r->used = (volatile struct vused *)at(t, 1, 3 * PAGE);
	return was;
}

static void move_back(struct vring *r, struct places was)
{
	r->desc = was.desc;
	r->avail = was.avail;
	r->used = was.used;
}

/* Its own ring's. It is told nothing any more, and starts anew with another one. */
static void ring_goes(const struct trial *t)
{
	struct places was;

	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	was = move_ring(t, t->r, t->a);
	if (vdev_start(t->d, usual_features(t->d))) {
		mem_request(t->d, MEM_UNPLUG, (uint64_t)at(t, 1, 0), 1);
		vring_add(t->r, (struct vbuf[]){ { (uint64_t)t->d->buf, 24, 0 }, { (uint64_t)t->d->buf + PAGE, 10, D_WRITE } }, 2);
		kick(t->r);
		for (unsigned i = 0; i < 100 && plugged(t); i++)
			pause_ms(1);
		kick(t->r);
	}
	move_back(t->r, was);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(plugged(t), 0);
}

/* ---- what others use goes ---- */

static bool start_other(void)
{
	return vdev_start(other_device(), usual_features(other_device())) && vdev_works(other_device());
}

/* Parts of another device's ring */
static void others_ring_goes(const struct trial *t)
{
	struct vdev *other = other_device();
	struct places was;
	bool lives, told;

	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	was = move_ring(t, &other->ring[0], t->a);
	lives = start_other();
	told = lives && unplug(t, 1, 1) == MEM_ACK;
	notify(other, 0);
	if (told)
		told = needs_reset(other);
	move_back(&other->ring[0], was);
	EXPECT(start_other());
	EXPECT(lives && told);
}

/* A buffer of it: there, used, gone, and used all the same */
static void others_buffer_goes(const struct trial *t)
{
	struct vdev *other = other_device();
	const struct vbuf buf = { (uint64_t)at(t, 1, 0), 4096, D_WRITE };

	EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
	EXPECT(vring_do(&other->ring[0], &buf, 1));
	EXPECT_EQ(unplug(t, 1, 1), MEM_ACK);
	vring_add(&other->ring[0], &buf, 1);
	kick(&other->ring[0]);
	EXPECT(needs_reset(other));
	EXPECT(start_other());
}

/* Many of its buffers are under way while the block goes. */
static void others_buffers_race(const struct trial *t)
{
	struct vdev *other = other_device();
	struct vbuf buf = { 0, 65536, D_WRITE };

	for (unsigned round = 0; round < 10; round++) {
		EXPECT_EQ(plug(t, 1, 1), MEM_ACK);
		EXPECT(vdev_start(other, usual_features(other)));
		for (unsigned i = 0; i < 16; i++) {
			buf.addr = (uint64_t)at(t, 1, i * 65536);
			vring_add(&other->ring[0], &buf, 1);
		}
		kick(&other->ring[0]);
		EXPECT_EQ(unplug(t, 1, 1), MEM_ACK);
	}
	EXPECT(start_other());
}

/* ---- features and configuration ---- */

static void features(const struct trial *t)
{
	EXPECT(!(vdev_features(t->d, t->a) & S_FEATURES_OK));
}

static void write_config(const struct trial *t)
{
	const uint64_t before = mem_read(t->d->config + t->a, (unsigned)t->b);

	mem_write(t->d->config + t->a, (unsigned)t->b, 0x1234567812345678);
	EXPECT_EQ(mem_read(t->d->config + t->a, (unsigned)t->b), before);
}

#define BLOCKS(n) ((uint64_t)(n) << 16)

#define EACH(what, type)                                                                           \
	{ "5.15.6 " what " of no block", bad_range, type },                                        \
	{ "5.15.6 " what " of 65535 blocks", bad_range, type | BLOCKS(65535) },                    \
	{ "5.15.6 " what " a byte behind a block's begin", bad_range, type | BLOCKS(1), 1 },       \
	{ "5.15.6 " what " a page behind a block's begin", bad_range, type | BLOCKS(1), PAGE },    \
	{ "5.15.6 " what " before the region", bad_range, type | BLOCKS(2), -(uint64_t)0x200000 }, \
	{ "5.15.6 " what " behind the region", behind, type },                                     \
	{ "5.15.6 " what " of RAM", bad_address, type, 0x200000 },                                 \
	{ "5.15.6 " what " at the end of all addresses", bad_address, type, UINT64_MAX - 0x1fffff }

static const struct hostile cases[] = {
	EACH("plug", MEM_PLUG),
	EACH("unplug", MEM_UNPLUG),
	EACH("state", MEM_STATE),
	{ "5.15.6 request 4", bad_type, 4 },
	{ "5.15.6 request 65535", bad_type, 65535 },
	{ "5.15.6.1 plug more than was asked for", too_much },
	{ "5.15.6.1 plug what is plugged", twice },
	{ "5.15.6.2 unplug what is not plugged", not_there },
	{ "5.15.6.4 states", states },
	{ "5.15.6 a request of 23 bytes", lengths, 23, 10 },
	{ "5.15.6 a request of a byte", lengths, 1, 10 },
	{ "5.15.6 a request without a request", lengths, 0, 10 },
	{ "5.15.6 room for 9 bytes", lengths, 24, 9 },
	{ "5.15.6 a request without room for an answer", lengths, 24, 0 },
	{ "5.15.6 a request in buffers of a byte", in_pieces },
	{ "5.15.5 the first block that is not plugged", is_nothing, 0 },
	{ "5.15.5 another one", is_nothing, 3 },
	{ "5.15.5 a block that comes again is zeros", zeros_again, 0 },
	{ "5.15.5 and so are all", zeros_again, 1 },
	{ "5.15.6.2 what is beside a block that goes", neighbours },
	{ "5.15.6 plug and unplug, 40 times", again_and_again, 0 },
	{ "5.15.6.3 plug and unplug all, 40 times", again_and_again, 1 },
	{ "2.4.1 a reset keeps memory", reset_keeps },
	{ "5.15.6.2 unplug the request", buffers_go, 1 },
	{ "5.15.6.2 unplug the answer", buffers_go, 2 },
	{ "5.15.6.2 unplug the request and its answer", buffers_go, 3 },
	{ "5.15.6 a request in a block that is not plugged", not_memory, 0, 0 },
	{ "5.15.6 a request over the begin of a block that is", not_memory, 0, 1 },
	{ "5.15.6 an answer in a block that is not plugged", not_memory, 1, 0 },
	{ "5.15.6 an answer over the end of a block that is", not_memory, 1, 5 },
	{ "5.15.6.2 unplug its own descriptors", ring_goes, 1 },
	{ "5.15.6.2 unplug its own available ring", ring_goes, 2 },
	{ "5.15.6.2 unplug its own used ring", ring_goes, 4 },
	{ "5.15.6.2 unplug its own queue", ring_goes, 7 },
	{ "5.15.6.2 unplug another device's descriptors", others_ring_goes, 1 },
	{ "5.15.6.2 unplug another device's available ring", others_ring_goes, 2 },
	{ "5.15.6.2 unplug another device's used ring", others_ring_goes, 4 },
	{ "5.15.6.2 unplug another device's queue", others_ring_goes, 7 },
	{ "5.15.6.2 unplug another device's buffer", others_buffer_goes },
	{ "5.15.6.2 unplug buffers that are being filled", others_buffers_race },
	{ "5.15.4 a driver that looks at what is not plugged", features, F_VERSION_1, .raw = true },
	{ "5.15.3 a node where there are none", features, F_VERSION_1 | F(1) | F_PXM, .raw = true },
	{ "5.15.4 writing the size of a block", write_config, 0, 8 },
	{ "5.15.4 writing the address", write_config, 16, 8 },
	{ "5.15.4 writing the plugged size", write_config, 40, 8 },
	{ "5.15.4 writing half of the requested size", write_config, 52, 4 },
	{ "2.5.1 a quadword over the end of the configuration", case_odd_config, 52, 8 },
	{ "2.5.1 behind the configuration", case_odd_config, 56, 4 },
	{ "5.15.2 queue 1 of 1", case_no_queue, 1 },
};

const struct suite mem_suite = { .name = "mem", .victim = VIRTIO_MEM, .cases = cases, .n = N_CASES(cases) };
