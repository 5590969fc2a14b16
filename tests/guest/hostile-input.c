/* A keyboard, at which somebody presses 'a' all the time: virtio 1.2, 5.8 */
#include "hostile.h"

enum { EVENTS, STATUS };

static struct vring *ring(const struct trial *t, unsigned index)
{
	return &t->d->ring[index];
}

static uint32_t event_word(const struct trial *t, unsigned i)
{
	return ((volatile uint32_t *)t->d->buf)[i];
}

/* ---- events ---- */

static void room(const struct trial *t)
{
	const struct vbuf chain = { (uint64_t)t->d->buf, (uint32_t)t->a, D_WRITE };

	for (unsigned i = 0; i < 8; i++)
		((volatile uint32_t *)t->d->buf)[i] = 0x5a5a5a5a;
	EXPECT(vring_do(ring(t, EVENTS), &chain, 1));
	EXPECT_EQ(ring(t, EVENTS)->used_len, 8);
	EXPECT_EQ(event_word(t, 0), 1 | 30 << 16); /* EV_KEY, KEY_A */
	EXPECT(event_word(t, 1) < 2);
	EXPECT_EQ(event_word(t, 2), 0x5a5a5a5a);
}

static void in_pieces(const struct trial *t)
{
	const uint64_t at = (uint64_t)t->d->buf;
	const struct vbuf chain[] = { { at + 100, 1, D_WRITE }, { at + 200, 5, D_WRITE }, { at + 300, 2, D_WRITE } };

	EXPECT(vring_do(ring(t, EVENTS), chain, 3));
	EXPECT_EQ(ring(t, EVENTS)->used_len, 8);
	EXPECT_EQ(t->d->buf[100], 1);
	EXPECT_EQ(t->d->buf[201], 30);
}

static void no_room(const struct trial *t)
{
	put_desc(ring(t, EVENTS), 0, (uint64_t)t->d->buf, (uint32_t)t->a, D_WRITE, 0);
	offer(ring(t, EVENTS), 0);
	EXPECT(needs_reset(t->d));
}

static void readable(const struct trial *t)
{
	put_desc(ring(t, EVENTS), 0, (uint64_t)t->d->buf, 8, (uint16_t)t->a, 1);
	put_desc(ring(t, EVENTS), 1, (uint64_t)t->d->buf, 8, D_WRITE, 0);
	offer(ring(t, EVENTS), 0);
	EXPECT(needs_reset(t->d));
}

static void nowhere(const struct trial *t)
{
	put_desc(ring(t, (unsigned)t->b), 0, t->a, 8, t->b == EVENTS ? D_WRITE : 0, 0);
	offer(ring(t, (unsigned)t->b), 0);
	EXPECT(needs_reset(t->d));
}

/* Buffers come when it pleases the guest: what was typed meanwhile is there, in its order. */
static void late(const struct trial *t)
{
	const struct vbuf chain = { (uint64_t)t->d->buf, 8, D_WRITE };
	unsigned down = 0;

	for (volatile unsigned i = 0; i < 100000; i++)
		;
	for (unsigned i = 0; i < 8; i++) {
		EXPECT(vring_do(ring(t, EVENTS), &chain, 1));
		if (i % 2) {
			EXPECT_EQ(event_word(t, 0), 0);
			continue;
		}
		EXPECT_EQ(event_word(t, 0), 1 | 30 << 16);
		EXPECT_EQ(event_word(t, 1), down ^ 1);
		down ^= 1;
	}
}

/* ---- lights ---- */

static void status_event(const struct trial *t)
{
	((volatile uint32_t *)t->d->buf)[0] = (uint32_t)t->a;
	((volatile uint32_t *)t->d->buf)[1] = (uint32_t)t->b;
	EXPECT(vring_do(ring(t, STATUS), &(struct vbuf){ (uint64_t)t->d->buf, 8, 0 }, 1));
	EXPECT_EQ(ring(t, STATUS)->used_len, 0);
}

static void status_length(const struct trial *t)
{
	put_desc(ring(t, STATUS), 0, (uint64_t)t->d->buf, (uint32_t)t->a, (uint16_t)t->b, 0);
	offer(ring(t, STATUS), 0);
	EXPECT(needs_reset(t->d));
}

static void status_long(const struct trial *t)
{
	EXPECT(vring_do(ring(t, STATUS), &(struct vbuf){ (uint64_t)t->d->buf, (uint32_t)t->a, 0 }, 1));
}

/* ---- what it says of itself ---- */

static unsigned ask(const struct trial *t, unsigned select, unsigned subsel)
{
	*(volatile uint8_t *)t->d->config = (uint8_t)select;
	*(volatile uint8_t *)(t->d->config + 1) = (uint8_t)subsel;
	return *(volatile uint8_t *)(t->d->config + 2);
}

static void every_question(const struct trial *t)
{
	unsigned sum = 0;

	for (unsigned select = 0; select < 256; select += select < 32 ? 1 : 7)
		for (unsigned subsel = 0; subsel < 256; subsel += subsel < 32 ? 1 : 31) {
			const unsigned size = ask(t, select, subsel);

			EXPECT(size <= 128);
			sum += size;
		}
	EXPECT(sum > 0);
	EXPECT_EQ(ask(t, 0, 0), 0);
	EXPECT_EQ(status(t->d), S_LIVE);
}

/* Writes of @a at @b: of what is no question, and too wide */
static void odd_write(const struct trial *t)
{
	const uint64_t at = t->d->config + t->b;

	EXPECT_EQ(ask(t, 1, 0), 13);
	switch (t->a) {
	case 2:
		*(volatile uint16_t *)at = 0xffff;
		break;
	case 4:
		*(volatile uint32_t *)at = 0xffffffff;
		break;
	default:
		*(volatile uint8_t *)at = 0xff;
	}
	EXPECT_EQ(*(volatile uint8_t *)(t->d->config + 2), 13);
	EXPECT_EQ(*(volatile uint8_t *)(t->d->config + 8), 'l');
}

static const struct hostile cases[] = {
	{ "5.8.6.1 an event in a buffer of its size", room, 8 },
	{ "5.8.6.1 an event in one of 1000 bytes", room, 1000 },
	{ "5.8.6.1 an event in pieces", in_pieces },
	{ "5.8.6.1 buffers that come late", late },
	{ "5.8.6.1 a buffer of 7 bytes", no_room, 7 },
	{ "5.8.6.1 a buffer of none", no_room, 0 },
	{ "5.8.6.1 a readable buffer", readable, 0 },
	{ "5.8.6.1 a readable buffer before a writable one", readable, D_NEXT },
	{ "5.8.6.1 a buffer behind RAM", nowhere, RAM_END, EVENTS },
	{ "5.8.6.1 a buffer that ends behind RAM", nowhere, RAM_END - 4, EVENTS },
	{ "5.8.6.1 a buffer at the last address", nowhere, UINT64_MAX - 3, EVENTS },
	{ "5.8.6.1 a light that there is", status_event, 0x11 | 1 << 16, 1 },
	{ "5.8.6.1 a light that there is not", status_event, 0x11 | 40 << 16, 1 },
	{ "5.8.6.1 light 65535", status_event, 0x11 | 0xffff0000, 1 },
	{ "5.8.6.1 a status of another type", status_event, 0xffff, 0xffffffff },
	{ "5.8.6.1 a status of 7 bytes", status_length, 7, 0 },
	{ "5.8.6.1 a status of none", status_length, 0, 0 },
	{ "5.8.6.1 a status in a writable buffer", status_length, 8, D_WRITE },
	{ "5.8.6.1 a status of 32 MB", status_long, 32 << 20 },
	{ "5.8.6.1 a status behind RAM", nowhere, RAM_END, STATUS },
	{ "5.8.5 every question", every_question },
	{ "5.8.5 a write of the size", odd_write, 1, 2 },
	{ "5.8.5 a write of the answer", odd_write, 1, 8 },
	{ "5.8.5 a question two bytes wide", odd_write, 2, 0 },
	{ "5.8.5 a question four bytes wide", odd_write, 4, 0 },
	{ "5.8.5 a write of the last bytes", odd_write, 4, 132 },
};

const struct suite input_suite = { .name = "input", .victim = VIRTIO_INPUT, .cases = cases, .n = N_CASES(cases) };
