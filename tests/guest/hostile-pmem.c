/* Persistent memory: requests, and the memory, which other devices use too: virtio 1.2, 5.19 */
#include "hostile.h"

#define PAGE   0x1000U
#define FLUSH  0U
#define DONE   0U
#define FAILED 1U
#define OPEN   0x77777777U /* no answer has come */

static uint64_t start(const struct trial *t)
{
	return mem_read(t->d->config, 8);
}

static uint64_t bytes(const struct trial *t)
{
	return mem_read(t->d->config + 8, 8);
}

static volatile uint64_t *word_at(const struct trial *t, uint64_t off)
{
	return mem64(start(t) + off);
}

static uint64_t request(const struct trial *t)
{
	return (uint64_t)t->d->buf;
}

static uint64_t answer(const struct trial *t)
{
	return (uint64_t)t->d->buf + PAGE;
}

/* The request at @from, the answer to @to; Return: answered? */
static bool send(const struct trial *t, uint64_t from, uint64_t to)
{
	return vring_do(t->r, (struct vbuf[]){ { from, 4, 0 }, { to, 4, D_WRITE } }, 2);
}

static void give(const struct trial *t, uint64_t from, uint64_t to)
{
	vring_add(t->r, (struct vbuf[]){ { from, 4, 0 }, { to, 4, D_WRITE } }, 2);
	kick(t->r);
}

static void prepare(const struct trial *t, uint32_t type)
{
	*mem32(request(t)) = type;
	*mem32(answer(t)) = OPEN;
}

/* ---- requests ---- */

static void flush(const struct trial *t)
{
	for (unsigned i = 0; i < t->a; i++) {
		prepare(t, FLUSH);
		EXPECT(send(t, request(t), answer(t)));
		EXPECT_EQ(t->r->used_len, 4);
		EXPECT_EQ(*mem32(answer(t)), DONE);
	}
}

static void bad_type(const struct trial *t)
{
	prepare(t, (uint32_t)t->a);
	EXPECT(send(t, request(t), answer(t)));
	EXPECT_EQ(*mem32(answer(t)), FAILED);
	EXPECT(vdev_works(t->d));
}

/* A request of @a bytes with room for @b */
static void lengths(const struct trial *t)
{
	struct vbuf chain[2];
	unsigned n = 0;

	prepare(t, FLUSH);
	if (t->a)
		chain[n++] = (struct vbuf){ request(t), (uint32_t)t->a, 0 };
	if (t->b)
		chain[n++] = (struct vbuf){ answer(t), (uint32_t)t->b, D_WRITE };
	vring_add(t->r, chain, n);
	kick(t->r);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(*mem32(answer(t)), OPEN);
}

/* In buffers of a byte each, or of one byte and three */
static void in_pieces(const struct trial *t)
{
	struct vbuf chain[8];
	unsigned n = 0;

	prepare(t, FLUSH);
	for (unsigned part = 0; part < 2; part++)
		for (uint32_t off = 0, len = 1; off < 4; off += len, len = (uint32_t)t->a)
			chain[n++] = (struct vbuf){ (part ? answer(t) : request(t)) + off, off ? (uint32_t)t->a : 1,
						    part ? D_WRITE : 0 };
	EXPECT(vring_do(t->r, chain, n));
	EXPECT_EQ(*mem32(answer(t)), DONE);
}

/* The answer first */
static void wrong_order(const struct trial *t)
{
	prepare(t, FLUSH);
	vring_add(t->r, (struct vbuf[]){ { answer(t), 4, D_WRITE }, { request(t), 4, 0 } }, 2);
	kick(t->r);
	EXPECT(needs_reset(t->d));
}

static void bad_request(const struct trial *t)
{
	prepare(t, FLUSH);
	give(t, t->a, answer(t));
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(*mem32(answer(t)), OPEN);
}

static void bad_answer(const struct trial *t)
{
	prepare(t, FLUSH);
	give(t, request(t), t->a);
	EXPECT(needs_reset(t->d));
}

/* As many as there is room for, at once */
static void many(const struct trial *t)
{
	struct vring *r = t->r;
	const unsigned n = r->size / 2;

	for (unsigned i = 0; i < n; i++) {
		*mem32(request(t) + i * 4) = t->a && i % 2 ? 7 : FLUSH;
		*mem32(answer(t) + i * 4) = OPEN;
		put_desc(r, i * 2, request(t) + i * 4, 4, D_NEXT, (uint16_t)(i * 2 + 1));
		put_desc(r, i * 2 + 1, answer(t) + i * 4, 4, D_WRITE, 0);
		r->avail->ring[i] = (uint16_t)(i * 2);
	}
	r->avail->idx = (uint16_t)n;
	kick(r);
	for (unsigned i = 0; i < n; i++)
		EXPECT(answered(r));
	for (unsigned i = 0; i < n; i++)
		EXPECT_EQ(*mem32(answer(t) + i * 4), t->a && i % 2 ? FAILED : DONE);
}

/* Tables, so that each entry of the ring is a flush */
static void many_indirect(const struct trial *t)
{
	volatile struct vdesc *table = (volatile struct vdesc *)(uint64_t)(48 << 20);
	struct vring *r = t->r;

	for (unsigned i = 0; i < r->size; i++) {
		const struct vbuf chain[] = { { request(t), 4, 0 }, { answer(t) + i * 4, 4, D_WRITE } };

		put_table((struct vdesc *)(uint64_t)&table[i * 2], chain, 2);
		*mem32(answer(t) + i * 4) = OPEN;
		put_desc(r, i, (uint64_t)&table[i * 2], 32, D_INDIRECT, 0);
		r->avail->ring[i] = (uint16_t)i;
	}
	*mem32(request(t)) = FLUSH;
	r->avail->idx = r->size;
	kick(r);
	for (unsigned i = 0; i < r->size; i++)
		EXPECT(answered(r));
	for (unsigned i = 0; i < r->size; i++)
		EXPECT_EQ(*mem32(answer(t) + i * 4), DONE);
}

/* One that cannot be answered behind others that can */
static void bad_among_good(const struct trial *t)
{
	struct vring *r = t->r;

	prepare(t, FLUSH);
	for (unsigned i = 0; i < 3; i++) {
		put_desc(r, i * 2, request(t), 4, D_NEXT, (uint16_t)(i * 2 + 1));
		put_desc(r, i * 2 + 1, answer(t) + i * 4, i == t->a ? 3 : 4, D_WRITE, 0);
		r->avail->ring[i] = (uint16_t)(i * 2);
	}
	r->avail->idx = 3;
	kick(r);
	EXPECT(needs_reset(t->d));
}

static void same_head_twice(const struct trial *t)
{
	prepare(t, FLUSH);
	put_desc(t->r, 0, request(t), 4, D_NEXT, 1);
	put_desc(t->r, 1, answer(t), 4, D_WRITE, 0);
	t->r->avail->idx = 2;
	kick(t->r);
	pause_ms(5); /* both may have their answer */
}

static void reset_in_flight(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++) {
		*word_at(t, (i + 1) * PAGE) = i;
		prepare(t, FLUSH);
		give(t, request(t), answer(t));
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	}
}

static void queue_reset_in_flight(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++) {
		prepare(t, FLUSH);
		give(t, request(t), answer(t));
		reg_write(t->d, R_QUEUE_SELECT, 0);
		reg_write(t->d, R_QUEUE_RESET, 1);
		EXPECT(queue_is_reset(t->d));
		vring_setup(t->r, 0);
		reg_write(t->d, R_QUEUE_READY, 1);
		EXPECT(vdev_works(t->d));
	}
}

/* ---- requests in the memory itself ---- */

static void request_there(const struct trial *t)
{
	prepare(t, FLUSH);
	*mem32(start(t) + t->a) = FLUSH;
	EXPECT(send(t, start(t) + t->a, answer(t)));
	EXPECT_EQ(*mem32(answer(t)), DONE);
}

static void answer_there(const struct trial *t)
{
	prepare(t, FLUSH);
	*mem32(start(t) + t->a) = OPEN;
	EXPECT(send(t, request(t), start(t) + t->a));
	EXPECT_EQ(*mem32(start(t) + t->a), DONE);
}

/* @a: of an answer; @b: from the end of the region on */
static void over_the_edge(const struct trial *t)
{
	const uint64_t at = start(t) + bytes(t) + t->b;

	prepare(t, FLUSH);
	give(t, t->a ? request(t) : at, t->a ? at : answer(t));
	EXPECT(needs_reset(t->d));
}

/* Parts of its own ring */
static void ring_there(const struct trial *t)
{
	struct vring *r = t->r;
	const struct vring usual = *r;
	bool lives;

	if (t->a & 1)
		r->desc = (volatile struct vdesc *)(start(t) + PAGE);
	if (t->a & 2)
		r->avail = (volatile struct vavail *)(start(t) + 2 * PAGE);
	if (t->a & 4)
		r->used = (volatile struct vused *)(start(t) + 3 * PAGE);
	lives = vdev_start(t->d, usual_features(t->d));
	if (lives) {
		prepare(t, FLUSH);
		give(t, request(t), answer(t));
		lives = !needs_reset(t->d);
	}
	r->desc = usual.desc;
	r->avail = usual.avail;
	r->used = usual.used;
	EXPECT(!lives);
}

static void one_table_there(const struct trial *t)
{
	const struct vbuf chain[] = { { request(t), 4, 0 }, { answer(t), 4, D_WRITE } };

	prepare(t, FLUSH);
	put_table((struct vdesc *)(start(t) + PAGE), chain, 2);
	put_desc(t->r, 0, start(t) + PAGE, 32, D_INDIRECT, 0);
	offer(t->r, 0);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(*mem32(answer(t)), OPEN);
}

/* ---- the memory ---- */

static void keeps(const struct trial *t)
{
	const uint64_t off = t->a ? bytes(t) - 8 : 200 * PAGE;

	*word_at(t, off) = 0x5a5a5a5a12345678;
	EXPECT(vdev_works(t->d));
	EXPECT(vdev_start(t->d, usual_features(t->d)));
	EXPECT_EQ(*word_at(t, off), 0x5a5a5a5a12345678);
}

/* A word, half of which is memory */
static void over_the_end(const struct trial *t)
{
	const uint64_t end = bytes(t);

	*mem32(start(t) + end - 4) = 7;
	EXPECT_EQ(*word_at(t, end - 4), 0xffffffff00000007);
	*word_at(t, end - 4) = 0x900000008;
	EXPECT_EQ(*mem32(start(t) + end - 4), 8);
	EXPECT_EQ(*mem32(start(t) + end), UINT32_MAX);
}

static void behind(const struct trial *t)
{
	EXPECT_EQ(*word_at(t, bytes(t) + t->a), UINT64_MAX);
	*word_at(t, bytes(t) + t->a) = 7;
	EXPECT_EQ(*word_at(t, bytes(t) + t->a), UINT64_MAX);
}

static void all_of_it(const struct trial *t)
{
	const uint64_t end = bytes(t);

	for (uint64_t off = 4 * PAGE; off < end; off += PAGE)
		*word_at(t, off + 64) = off;
	EXPECT(vdev_works(t->d));
	for (uint64_t off = 4 * PAGE; off < end; off += PAGE)
		EXPECT_EQ(*word_at(t, off + 64), off);
}

static void executed(const struct trial *t)
{
	*mem8(start(t) + PAGE) = 0xc3;
	((void (*)(void))(start(t) + PAGE))();
}

static void read_only(const struct trial *t)
{
	volatile uint64_t *word = word_at(t, t->a ? bytes(t) - 8 : 0);
	volatile uint64_t *to = word;
	const uint64_t before = *word;
	uint64_t n = 8;

	EXPECT_EQ(before, t->a ? 0 : 0x3030303030303030);
	*word = 7;
	EXPECT_EQ(*word, before);
	*mem8((uint64_t)word) = 7;
	EXPECT_EQ(*word, before);
	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(7) : "memory");
	EXPECT_EQ(*word, before);
	EXPECT(vdev_works(t->d));
}

/* ---- what others do with it ---- */

static bool start_other(void)
{
	return vdev_start(other_device(), usual_features(other_device())) && vdev_works(other_device());
}

/* @a bytes at @b from where it begins */
static void others_buffer(const struct trial *t)
{
	struct vring *r = &other_device()->ring[0];
	volatile uint64_t *last = word_at(t, t->b + t->a - 8);

	*last = 0;
	EXPECT(vring_do(r, &(struct vbuf){ start(t) + t->b, (uint32_t)t->a, D_WRITE }, 1));
	EXPECT_EQ(r->used_len, t->a);
	EXPECT(*last);
}

/* @b: from where it begins, or from its end on */
static void others_bad_buffer(const struct trial *t)
{
	struct vdev *other = other_device();
	const uint64_t at = (int64_t)t->b < 0 ? start(t) + bytes(t) + t->b : start(t) + t->b;

	vring_add(&other->ring[0], &(struct vbuf){ at, (uint32_t)t->a, D_WRITE }, 1);
	kick(&other->ring[0]);
	EXPECT(needs_reset(other));
	EXPECT(start_other());
}

/* While flushes go on */
static void others_race(const struct trial *t)
{
	struct vring *r = &other_device()->ring[0];

	for (unsigned i = 0; i < 50; i++) {
		vring_add(r, &(struct vbuf){ start(t) + (64 + i) * PAGE, PAGE, D_WRITE }, 1);
		kick(r);
		EXPECT(vdev_works(t->d));
		EXPECT(answered(r));
	}
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
	EXPECT(vdev_works(t->d));
}

static const struct hostile cases[] = {
	{ "5.19.6 a thousand flushes", flush, 1000 },
	{ "5.19.6 request 1", bad_type, 1 },
	{ "5.19.6 request 256", bad_type, 256 },
	{ "5.19.6 request 2^31", bad_type, 1U << 31 },
	{ "5.19.6 request 2^32 - 1", bad_type, UINT32_MAX },
	{ "5.19.6 a request of 3 bytes", lengths, 3, 4 },
	{ "5.19.6 a request of a byte", lengths, 1, 4 },
	{ "5.19.6 a request of 5 bytes", lengths, 5, 4 },
	{ "5.19.6 a request of a page", lengths, PAGE, 4 },
	{ "5.19.6 a request without a request", lengths, 0, 4 },
	{ "5.19.6 room for 3 bytes", lengths, 4, 3 },
	{ "5.19.6 room for 5 bytes", lengths, 4, 5 },
	{ "5.19.6 room for a page", lengths, 4, PAGE },
	{ "5.19.6 a request without room for an answer", lengths, 4, 0 },
	{ "5.19.6 a request in buffers of a byte", in_pieces, 1 },
	{ "5.19.6 a request in buffers of one byte and three", in_pieces, 3 },
	{ "2.7.4.2 the answer before the request", wrong_order },
	{ "2.7 a request behind RAM", bad_request, RAM_END },
	{ "2.7 a request over the end of RAM", bad_request, RAM_END - 3 },
	{ "2.7 a request over the end of all addresses", bad_request, UINT64_MAX - 2 },
	{ "2.7 an answer behind RAM", bad_answer, RAM_END },
	{ "2.7 an answer over the end of RAM", bad_answer, RAM_END - 3 },
	{ "2.7 an answer over the end of all addresses", bad_answer, UINT64_MAX - 2 },
	{ "5.19.6 a ring full of flushes", many, 0 },
	{ "5.19.6 a ring full of flushes and what is none", many, 1 },
	{ "2.7.5.3 a flush in each entry of the ring", many_indirect, .features = F_VERSION_1 | F_INDIRECT },
	{ "5.19.6 a bad request before others", bad_among_good, 0 },
	{ "5.19.6 a bad request behind others", bad_among_good, 2 },
	{ "2.7.6 one chain that is available twice", same_head_twice },
	{ "2.4.1 resets while it flushes", reset_in_flight },
	{ "2.6.1 resets of the queue while it flushes", queue_reset_in_flight },
	{ "5.19.6 the request in the memory itself", request_there, PAGE },
	{ "5.19.6 the request where the file is no more", request_there, 0x300000 },
	{ "5.19.6 the answer in the memory itself", answer_there, PAGE },
	{ "5.19.6 the answer over the end of a page", answer_there, 2 * PAGE - 2 },
	{ "5.19.6 the answer where the file is no more", answer_there, 0x300000 },
	{ "5.19.6 a request behind the region", over_the_edge, 0, 0 },
	{ "5.19.6 a request over the end of the region", over_the_edge, 0, -(uint64_t)2 },
	{ "5.19.6 an answer behind the region", over_the_edge, 1, 0 },
	{ "5.19.6 an answer over the end of the region", over_the_edge, 1, -(uint64_t)1 },
	{ "2.7 its descriptors in the memory itself", ring_there, 1 },
	{ "2.7 its available ring in the memory itself", ring_there, 2 },
	{ "2.7 its used ring in the memory itself", ring_there, 4 },
	{ "2.7 its queue in the memory itself", ring_there, 7 },
	{ "2.7.5.3 a table in the memory itself", one_table_there, .features = F_VERSION_1 | F_INDIRECT },
	{ "5.19.5 a reset keeps what was written", keeps, 0 },
	{ "5.19.5 and what was written where the file is no more", keeps, 1 },
	{ "5.19.5 a word over the end of the region", over_the_end },
	{ "5.19.5 a word behind the region", behind, 0 },
	{ "5.19.5 a word far behind the region", behind, 100 << 20 },
	{ "5.19.5 all of its pages", all_of_it },
	{ "5.19.5 code in it", executed },
	{ "5.19.5 another device's buffer of a page in it", others_buffer, PAGE, 2 * PAGE },
	{ "5.19.5 another device's buffer over the end of a page", others_buffer, PAGE, 2 * PAGE + 13 },
	{ "5.19.5 another device's buffer where the file is no more", others_buffer, PAGE, 0x300000 },
	{ "5.19.5 another device's buffer over the file's end", others_buffer, PAGE, 0x300000 - 13 },
	{ "5.19.5 another device's buffer behind the region", others_bad_buffer, 16, 4 << 20 },
	{ "5.19.5 another device's buffer over the end of the region", others_bad_buffer, 16, -(uint64_t)8 },
	{ "5.19.5 another device's buffers while it flushes", others_race },
	{ "6.1 a driver without VERSION_1", features, 0, .raw = true },
	{ "5.19.3 a region in shared memory, which it has not", features, F_VERSION_1 | F(0), .raw = true },
	{ "5.19.4 writing the address", write_config, 0, 8 },
	{ "5.19.4 writing half of the address", write_config, 4, 4 },
	{ "5.19.4 writing the size", write_config, 8, 8 },
	{ "5.19.4 writing a byte of the size", write_config, 15, 1 },
	{ "2.5.1 a quadword over the end of the configuration", case_odd_config, 12, 8 },
	{ "2.5.1 behind the configuration", case_odd_config, 16, 4 },
	{ "5.19.2 queue 1 of 1", case_no_queue, 1 },
	{ "5.19.2 queue 65535", case_no_queue, 65535 },
};

static const struct hostile ro_cases[] = {
	{ "5.19.6 flushes of what is only read", flush, 100 },
	{ "5.19.5 writing what is only read", read_only, 0 },
	{ "5.19.5 writing it where the file is no more", read_only, 1 },
	{ "5.19.5 a word behind the region that is only read", behind, 0 },
	{ "5.19.6 another request", bad_type, 1 },
	{ "5.19.6 the answer in memory that is only read", over_the_edge, 1, -(uint64_t)(4 << 20) },
	{ "5.19.6 and where the file is no more", over_the_edge, 1, -(uint64_t)8 },
	{ "5.19.5 another device's buffer in memory that is only read", others_bad_buffer, PAGE, 0 },
	{ "5.19.5 another device's buffer of a byte in it", others_bad_buffer, 1, 5 },
	{ "5.19.5 another device's buffer where the file is no more", others_bad_buffer, 16, -(uint64_t)16 },
	{ "2.7 its used ring in memory that is only read", ring_there, 4 },
};

const struct suite pmem_suite = { .name = "pmem", .victim = VIRTIO_PMEM, .cases = cases, .n = N_CASES(cases) };
const struct suite pmem_ro_suite = { .name = "pmem-ro", .victim = VIRTIO_PMEM, .cases = ro_cases, .n = N_CASES(ro_cases) };
