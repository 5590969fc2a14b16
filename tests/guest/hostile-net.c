/*
 * Frames, receive buffers and commands of the network device: virtio 1.2, 5.1. There are two devices in one network,
 * and the second one, which follows the rules, sends what the victim is to receive.
 */
#include "hostile.h"

#define F_MRG    F(15)
#define F_CTRL   F(17)
#define PLAIN    (F_VERSION_1) /* nothing is negotiated */
#define MERGE    (F_VERSION_1 | F_MRG)
#define COMMANDS (F_VERSION_1 | F_CTRL | F(18) | F(19) | F(20) | F(21) | F(23))

#define HEADER 12
#define FRAME  60

#define RX(t)      (&(t)->d->ring[0])
#define TX(t)      (&(t)->d->ring[1])
#define CONTROL(t) (&(t)->d->ring[2])
#define BUF(t, off) ((uint64_t)(t)->d->buf + (off))

static void zero(const struct trial *t)
{
	for (unsigned i = 0; i < VDEV_BUF_SIZE; i++)
		t->d->buf[i] = 0;
}

/* ---- sending ---- */

/* A good one is taken after what came before. */
static bool sends(const struct trial *t)
{
	zero(t);
	return vring_do(TX(t), &(struct vbuf){ BUF(t, 0), HEADER + FRAME, 0 }, 1);
}

static void tx_short(const struct trial *t)
{
	vring_add(TX(t), &(struct vbuf){ BUF(t, 0), (uint32_t)t->a, 0 }, 1);
	kick(TX(t));
	EXPECT(needs_reset(t->d));
}

static void tx_at(const struct trial *t)
{
	vring_add(TX(t), &(struct vbuf){ t->a, (uint32_t)t->b, 0 }, 1);
	kick(TX(t));
	EXPECT(needs_reset(t->d));
}

static void tx_writable(const struct trial *t)
{
	const struct vbuf chain[] = { { BUF(t, 0), HEADER + FRAME, t->a ? 0 : D_WRITE }, { BUF(t, 0x1000), 64, D_WRITE } };

	vring_add(TX(t), chain, t->a ? 2 : 1);
	kick(TX(t));
	EXPECT(needs_reset(t->d));
}

/* It is taken, and dropped or sent: that is the host's business. */
static void tx_length(const struct trial *t)
{
	zero(t);
	EXPECT(vring_do(TX(t), &(struct vbuf){ t->b ? t->b : BUF(t, 0), (uint32_t)t->a, 0 }, 1));
	EXPECT(sends(t));
}

/* @a: flags, type of segmentation; @b: length of headers, size of segments, start and offset of the checksum */
static void tx_header(const struct trial *t)
{
	zero(t);
	t->d->buf[0] = (uint8_t)t->a;
	t->d->buf[1] = (uint8_t)(t->a >> 8);
	for (unsigned i = 0; i < 8; i++)
		t->d->buf[2 + i] = (uint8_t)(t->b >> 8 * i);
	EXPECT(vring_do(TX(t), &(struct vbuf){ BUF(t, 0), HEADER + FRAME, 0 }, 1));
	EXPECT(sends(t));
}

static void tx_pieces(const struct trial *t)
{
	zero(t);
	for (unsigned i = 0; i < TX(t)->size; i++)
		put_desc(TX(t), i, BUF(t, i), (uint32_t)t->a, D_NEXT, (uint16_t)(i + 1));
	TX(t)->desc[TX(t)->size - 1].flags = 0;
	offer(TX(t), 0);
	EXPECT(answered(TX(t)));
}

/* All of the ring at once */
static void tx_flood(const struct trial *t)
{
	struct vring *r = TX(t);

	zero(t);
	for (unsigned round = 0; round < 20; round++) {
		for (uint16_t i = 0; i < r->size; i++) {
			put_desc(r, i, t->b ? t->b : BUF(t, 0), (uint32_t)t->a, 0, 0);
			r->avail->ring[(uint16_t)(r->avail->idx + i) % r->size] = i;
		}
		r->avail->idx = (uint16_t)(r->avail->idx + r->size);
		kick(r);
		for (uint16_t i = 0; i < r->size; i++)
			EXPECT(answered(r));
	}
	EXPECT(vdev_works(other_device()));
}

/* ---- receiving ---- */

/* The other device sends a frame to all. */
static bool frame_comes(void)
{
	struct vdev *d = peer_device();
	volatile uint8_t *buf = d->buf;

	for (unsigned i = 0; i < HEADER + FRAME; i++)
		buf[i] = i >= HEADER && i < HEADER + 6 ? 0xff : 0;
	return vring_do(&d->ring[1], &(struct vbuf){ (uint64_t)d->buf, HEADER + FRAME, 0 }, 1);
}

/* Only with a frame does it look at them. */
static void give(const struct trial *t, const struct vbuf *chain, unsigned n)
{
	vring_add(RX(t), chain, n);
	kick(RX(t));
	EXPECT(frame_comes());
}

static void rx_short(const struct trial *t)
{
	give(t, &(struct vbuf){ BUF(t, 0), (uint32_t)t->a, D_WRITE }, 1);
	EXPECT(needs_reset(t->d));
}

static void rx_at(const struct trial *t)
{
	give(t, &(struct vbuf){ t->a, (uint32_t)t->b, D_WRITE }, 1);
	EXPECT(needs_reset(t->d));
}

static void rx_readable(const struct trial *t)
{
	const struct vbuf chain[] = { { BUF(t, 0), 2048, 0 }, { BUF(t, 0x1000), 2048, D_WRITE } };

	give(t, chain, t->a ? 2 : 1);
	EXPECT(needs_reset(t->d));
}

/* Not a byte more than the buffer has */
static void rx_bound(const struct trial *t)
{
	for (unsigned i = 0; i < 4096; i++)
		t->d->buf[i] = 0x5a;
	give(t, &(struct vbuf){ BUF(t, 1024), (uint32_t)t->a, D_WRITE }, 1);
	if (t->a >= HEADER + FRAME)
		EXPECT(answered(RX(t)));
	else
		EXPECT(quiet(RX(t)));
	for (unsigned i = 0; i < 4096; i++)
		EXPECT((i >= 1024 && i < 1024 + t->a) || t->d->buf[i] == 0x5a);
}

/* Buffers as small as they may be; then there are enough of them. */
static void rx_small(const struct trial *t)
{
	const unsigned n = (HEADER + FRAME + (unsigned)t->a - 1) / (unsigned)t->a;

	for (unsigned i = 0; i < n; i++)
		put_desc(RX(t), i, BUF(t, i * 64), (uint32_t)t->a, D_WRITE, 0);
	for (uint16_t i = 0; i + 1U < n; i++)
		offer(RX(t), i);
	EXPECT(frame_comes());
	EXPECT(quiet(RX(t)));
	offer(RX(t), (uint16_t)(n - 1));
	for (unsigned i = 0; i < n; i++)
		EXPECT(answered(RX(t)));
	EXPECT_EQ(t->d->buf[10], n);
}

/* Frames for which there is no buffer at all: what is sent goes on. */
static void rx_none(const struct trial *t)
{
	for (unsigned i = 0; i < 300; i++)
		EXPECT(frame_comes());
	EXPECT(sends(t));
	give(t, &(struct vbuf){ BUF(t, 0), 4096, D_WRITE }, 1);
	EXPECT(answered(RX(t)));
}

static void rx_reset(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned n = 0; n < 8; n++)
			vring_add(RX(t), &(struct vbuf){ BUF(t, n * 2048), 2048, D_WRITE }, 1);
		kick(RX(t));
		EXPECT(frame_comes());
		EXPECT(vdev_start(t->d, t->d->features));
	}
}

/* ---- commands ---- */

#define NO_ANSWER 0xee

/* @a: class and command; @n bytes of data. Return: the answer */
static uint8_t command(const struct trial *t, uint64_t what, uint32_t n)
{
	const struct vbuf chain[] = { { BUF(t, 0), 2 + n, 0 }, { BUF(t, 0x4000), 1, D_WRITE } };

	t->d->buf[0] = (uint8_t)(what >> 8);
	t->d->buf[1] = (uint8_t)what;
	t->d->buf[0x4000] = NO_ANSWER;
	return vring_do(CONTROL(t), chain, 2) ? t->d->buf[0x4000] : NO_ANSWER;
}

/* @b: how much data, and what its first eight bytes are */
#define DATA(n, bytes) ((uint64_t)(n) << 32 | (bytes))

static void refused(const struct trial *t)
{
	zero(t);
	for (unsigned i = 0; i < 4; i++)
		t->d->buf[2 + i] = t->d->buf[6 + i] = (uint8_t)(t->b >> 8 * i);
	EXPECT_EQ(command(t, t->a, (uint32_t)(t->b >> 32)), 1);
	zero(t);
	EXPECT_EQ(command(t, 0x0000, 1), 0); /* the next one is taken */
}

static void command_short(const struct trial *t)
{
	const struct vbuf chain[] = { { BUF(t, 0), (uint32_t)t->a, 0 }, { BUF(t, 64), 1, D_WRITE } };

	vring_add(CONTROL(t), t->a ? chain : chain + 1, t->a ? 2 : 1);
	kick(CONTROL(t));
	EXPECT(needs_reset(t->d));
}

static void command_unanswered(const struct trial *t)
{
	vring_add(CONTROL(t), &(struct vbuf){ BUF(t, 0), 3, 0 }, 1);
	kick(CONTROL(t));
	EXPECT(needs_reset(t->d));
}

static void command_at(const struct trial *t)
{
	const struct vbuf chain[] = { { t->a, (uint32_t)t->b, 0 }, { BUF(t, 64), 1, D_WRITE } };

	vring_add(CONTROL(t), chain, 2);
	kick(CONTROL(t));
	EXPECT(needs_reset(t->d));
}

static void many_commands(const struct trial *t)
{
	for (unsigned i = 0; i < 1000; i++)
		command(t, i * 37 & 0x7ff, i % 40);
	zero(t);
	EXPECT_EQ(command(t, 0x0000, 1), 0);
}

/* ---- what is not there ---- */

static void no_such_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_MAX), 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 0);
	EXPECT(sends(t));
}

static void not_negotiated(const struct trial *t)
{
	vring_add(CONTROL(t), &(struct vbuf){ BUF(t, 0), 2, 0 }, 1);
	kick(CONTROL(t));
	EXPECT(quiet(CONTROL(t)));
	EXPECT(sends(t));
}

static void bad_features(const struct trial *t)
{
	EXPECT(!(vdev_features(t->d, F_VERSION_1 | t->a) & S_FEATURES_OK));
}

static void write_config(const struct trial *t)
{
	const uint64_t before = mem_read(t->d->config, 4);

	mem_write(t->d->config + t->a, (unsigned)t->b, 0xa5a5a5a5a5a5a5a5);
	EXPECT_EQ(mem_read(t->d->config, 4), before);
	EXPECT(sends(t));
}

static void odd_config(const struct trial *t)
{
	mem_read(t->d->config + t->a, (unsigned)t->b);
	EXPECT(sends(t));
}

#define GAP 0xd0000000ULL

static const struct hostile cases[] = {
	{ "5.1.6.2 a frame of 1 byte", tx_short, 1 },
	{ "5.1.6.2 a frame with half a header", tx_short, 6 },
	{ "5.1.6.2 a frame with all but a byte of a header", tx_short, HEADER - 1 },
	{ "5.1.6.2 a frame in the gap", tx_at, GAP, 100 },
	{ "5.1.6.2 a frame over the end of RAM", tx_at, RAM_END - 50, 100 },
	{ "5.1.6.2 a frame at the last address", tx_at, UINT64_MAX - 50, 100 },
	{ "5.1.6.2 a frame in a writable buffer", tx_writable, 0 },
	{ "5.1.6.2 a frame before a writable buffer", tx_writable, 1 },
	{ "5.1.6.2 a header without a frame", tx_length, HEADER },
	{ "5.1.6.2 a frame of 1 byte behind its header", tx_length, HEADER + 1 },
	{ "5.1.6.2 a frame of 13 bytes", tx_length, HEADER + 13 },
	{ "5.1.6.2 a frame of 65554 bytes", tx_length, HEADER + 65554, 32 << 20 },
	{ "5.1.6.2 a frame of 64 MB", tx_length, 64 << 20, 32 << 20 },
	{ "5.1.6.2.1 all flags", tx_header, 0xff },
	{ "5.1.6.2.1 a checksum that was not negotiated", tx_header, 1, 0x0010002200000000 },
	{ "5.1.6.2.1 a checksum behind the frame", tx_header, 1, 0xffffffff00000000 },
	{ "5.1.6.2.1 segments of TCP over IPv4", tx_header, 0x0101, 0x0010002200320022 },
	{ "5.1.6.2.1 segments of UDP", tx_header, 0x0301, 0x0010002200320022 },
	{ "5.1.6.2.1 segments of TCP over IPv6", tx_header, 0x0401, 0x0010002200320022 },
	{ "5.1.6.2.1 segments of UDP, each a frame", tx_header, 0x0501, 0x0010002200320022 },
	{ "5.1.6.2.1 segments of an unknown kind", tx_header, 0x7f01, 0xffffffffffffffff },
	{ "5.1.6.2.1 segments of all kinds", tx_header, 0xff01, 0xffffffffffffffff },
	{ "5.1.6.2.1 segments of 0 bytes", tx_header, 0x0101, 0 },
	{ "5.1.6.2 a byte in each descriptor of the ring", tx_pieces, 1 },
	{ "5.1.6.2 90 MB in all of the ring", tx_pieces, 360000 },
	{ "5.1.6.2 20 rings full of small frames", tx_flood, HEADER + FRAME },
	{ "5.1.6.2 20 rings full of the largest frames", tx_flood, HEADER + 65553, 32 << 20 },
	{ "5.1.6.3.1 a receive buffer of 1 byte", rx_short, 1, .features = MERGE },
	{ "5.1.6.3.1 a receive buffer with all but a byte for a header", rx_short, HEADER - 1, .features = MERGE },
	{ "5.1.6.3.1 a receive buffer of 11 bytes that are not merged", rx_short, HEADER - 1, .features = PLAIN },
	{ "5.1.6.3 a receive buffer in the gap", rx_at, GAP, 2048 },
	{ "5.1.6.3 a receive buffer over the end of RAM", rx_at, RAM_END - 50, 2048 },
	{ "5.1.6.3 a receive buffer at the last address", rx_at, UINT64_MAX - 50, 2048 },
	{ "5.1.6.3 a readable receive buffer", rx_readable, 0 },
	{ "5.1.6.3 a readable receive buffer before a writable one", rx_readable, 1 },
	{ "5.1.6.3.1 a receive buffer with room for the frame", rx_bound, HEADER + FRAME, .features = PLAIN },
	{ "5.1.6.3.1 a receive buffer that lacks a byte", rx_bound, HEADER + FRAME - 1, .features = PLAIN },
	{ "5.1.6.3.1 a receive buffer for a header alone", rx_bound, HEADER, .features = PLAIN },
	{ "5.1.6.3.1 merged buffers of 12 bytes, one too few", rx_small, HEADER, .features = MERGE },
	{ "5.1.6.3.1 merged buffers of 13 bytes, one too few", rx_small, 13, .features = MERGE },
	{ "5.1.6.3.1 merged buffers of 50 bytes, one too few", rx_small, 50, .features = MERGE },
	{ "5.1.6.3 300 frames and no buffer for them", rx_none, .features = MERGE },
	{ "2.4.1 reset with buffers that wait for frames", rx_reset, .features = MERGE },
	{ "5.1.6.5 a command of 0 bytes", command_short, 0, .features = COMMANDS },
	{ "5.1.6.5 a command of 1 byte", command_short, 1, .features = COMMANDS },
	{ "5.1.6.5 a command without room for its answer", command_unanswered, .features = COMMANDS },
	{ "5.1.6.5 a command in the gap", command_at, GAP, 3, .features = COMMANDS },
	{ "5.1.6.5 a command over the end of RAM", command_at, RAM_END - 1, 3, .features = COMMANDS },
	{ "5.1.6.5.1 a mode without its value", refused, 0x0000, DATA(0, 0), .features = COMMANDS },
	{ "5.1.6.5.1 a mode with two values", refused, 0x0000, DATA(2, 0), .features = COMMANDS },
	{ "5.1.6.5.1 a mode that is neither on nor off", refused, 0x0001, DATA(1, 2), .features = COMMANDS },
	{ "5.1.6.5.1 an unknown mode", refused, 0x0006, DATA(1, 1), .features = COMMANDS },
	{ "5.1.6.5.2 a table of addresses of 0 bytes", refused, 0x0100, DATA(0, 0), .features = COMMANDS },
	{ "5.1.6.5.2 a table of addresses with half of its length", refused, 0x0100, DATA(2, 0), .features = COMMANDS },
	{ "5.1.6.5.2 one table of addresses of two", refused, 0x0100, DATA(4, 0), .features = COMMANDS },
	{ "5.1.6.5.2 tables of addresses with more behind them", refused, 0x0100, DATA(9, 0), .features = COMMANDS },
	{ "5.1.6.5.2 tables of 1 address that have none", refused, 0x0100, DATA(8, 1), .features = COMMANDS },
	{ "5.1.6.5.2 tables of 2^32 - 1 addresses", refused, 0x0100, DATA(8, 0xffffffff), .features = COMMANDS },
	{ "5.1.6.5.2 tables of 2^31 addresses", refused, 0x0100, DATA(16000, 0x80000000), .features = COMMANDS },
	{ "5.1.6.5.2 tables of 715827883 addresses, 2 bytes by 32 bits", refused, 0x0100, DATA(8, 0x2aaaaaab),
	  .features = COMMANDS },
	{ "5.1.6.5.2 an address of 5 bytes", refused, 0x0101, DATA(5, 2), .features = COMMANDS },
	{ "5.1.6.5.2 an address of 16000 bytes", refused, 0x0101, DATA(16000, 2), .features = COMMANDS },
	{ "5.1.6.5.3 VLAN 4096", refused, 0x0200, DATA(2, 4096), .features = COMMANDS },
	{ "5.1.6.5.3 VLAN 65535", refused, 0x0201, DATA(2, 65535), .features = COMMANDS },
	{ "5.1.6.5.3 a VLAN of 1 byte", refused, 0x0200, DATA(1, 1), .features = COMMANDS },
	{ "5.1.6.5.3 an unknown command about VLANs", refused, 0x0202, DATA(2, 1), .features = COMMANDS },
	{ "5.1.6.5.4 an announcement with data", refused, 0x0300, DATA(1, 0), .features = COMMANDS },
	{ "5.1.6.5.5 pairs of queues that were not negotiated", refused, 0x0400, DATA(2, 1), .features = COMMANDS },
	{ "5.1.6.5.6 steering that was not offered", refused, 0x0401, DATA(40, 1), .features = COMMANDS },
	{ "5.1.6.5.8 offloads that were not negotiated", refused, 0x0500, DATA(8, 0xffffffff), .features = COMMANDS },
	{ "5.1.6.5 an unknown class", refused, 0x0600, DATA(8, 0), .features = COMMANDS },
	{ "5.1.6.5 class 255", refused, 0xff00, DATA(8, 0), .features = COMMANDS },
	{ "5.1.6.5 1000 commands of all kinds", many_commands, .features = COMMANDS },
	{ "5.1.2 the control queue without CTRL_VQ", not_negotiated, .features = PLAIN },
	{ "5.1.2 queue 3 of 3", no_such_queue, 3 },
	{ "5.1.2 queue 65535", no_such_queue, UINT16_MAX },
	{ "5.1.3.1 CTRL_RX without CTRL_VQ", bad_features, F(18), .raw = true },
	{ "5.1.3.1 CTRL_VLAN without CTRL_VQ", bad_features, F(19), .raw = true },
	{ "5.1.3.1 GUEST_ANNOUNCE without CTRL_VQ", bad_features, F(21), .raw = true },
	{ "5.1.3.1 RSS, which is not offered", bad_features, F(60) | F_CTRL, .raw = true },
	{ "5.1.4 writing the address", write_config, 0, 4 },
	{ "5.1.4 writing the status", write_config, 6, 2 },
	{ "2.5.1 a misaligned doubleword of the configuration", odd_config, 6, 4 },
	{ "2.5.1 a quadword over the end of the configuration", odd_config, 8, 8 },
	{ "2.5.1 behind the configuration", odd_config, 12, 4 },
};

const struct suite net_suite = { .name = "net", .victim = VIRTIO_NET, .cases = cases, .n = N_CASES(cases) };

/* ---- a device that steers, with one pair of queues ---- */

#define F_HASH   F(57)
#define F_RSS    F(60)
#define STEERS   (F_VERSION_1 | F_MRG | F_CTRL | F(18) | F_RSS | F_HASH)
#define HASHES   (F_VERSION_1 | F_MRG | F_CTRL | F(18) | F_HASH)
#define HASH_HEADER 20

static unsigned put(const struct trial *t, unsigned at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		t->d->buf[at + i] = (uint8_t)(value >> 8 * i);
	return at + bytes;
}

/* @a: mask, entries of the table, what its last one is, pairs that send; @b: the queue of what is not classified, how long
 * the key is to be, and is, and types */
#define TABLE(mask, entries, last, pairs) \
	((uint64_t)(mask) << 48 | (uint64_t)(entries) << 32 | (uint64_t)(last) << 16 | (pairs))
#define REST(unclassified, says, is, types) \
	((uint64_t)(unclassified) << 48 | (uint64_t)(says) << 40 | (uint64_t)(is) << 32 | (types))

static uint8_t steer(const struct trial *t, uint64_t a, uint64_t b)
{
	const unsigned entries = (uint16_t)(a >> 32), key = (uint8_t)(b >> 32);
	unsigned at = 2;

	zero(t);
	at = put(t, at, b, 4);
	at = put(t, at, a >> 48, 2);
	at = put(t, at, b >> 48, 2);
	for (unsigned i = 0; i < entries; i++)
		at = put(t, at, i + 1 == entries ? a >> 16 : 0, 2);
	at = put(t, at, a, 2);
	at = put(t, at, b >> 40, 1);
	for (unsigned i = 0; i < key; i++)
		at = put(t, at, i, 1);
	return command(t, 0x0401, at - 2);
}

static void steer_refused(const struct trial *t)
{
	EXPECT_EQ(steer(t, t->a, t->b), 1);
	EXPECT_EQ(steer(t, TABLE(127, 128, 0, 1), REST(0, 40, 40, 0x3f)), 0); /* the next one is taken */
}

static void hash_refused(const struct trial *t)
{
	unsigned at = 2;

	zero(t);
	at = put(t, at, t->b, 4);
	at = put(t, at, UINT64_MAX, 8);
	at = put(t, at, t->b >> 40, 1);
	for (unsigned i = 0; i < (uint8_t)(t->b >> 32); i++)
		at = put(t, at, i, 1);
	EXPECT_EQ(command(t, 0x0402, at - 2), 1);
}

static void many_steerings(const struct trial *t)
{
	uint64_t random = 1;

	for (unsigned i = 0; i < 300; i++) {
		random = random * 6364136223846793005 + 1442695040888963407;
		steer(t, random & 0x00ff00ff000f000f, random >> 7 & 0x000f3f3f0000007f);
		EXPECT(frame_comes());
	}
	EXPECT_EQ(steer(t, TABLE(127, 128, 0, 1), REST(0, 40, 40, 0x3f)), 0);
}

/* It is broadcast, and no IP: no hash, and all of the header says so. Not a byte more than the buffer has */
static void rx_hash_bound(const struct trial *t)
{
	EXPECT_EQ(steer(t, TABLE(0, 1, 0, 1), REST(0, 40, 40, 0x3f)), 0);
	for (unsigned i = 0; i < 4096; i++)
		t->d->buf[i] = 0x5a;
	give(t, &(struct vbuf){ BUF(t, 1024), HASH_HEADER + FRAME, D_WRITE }, 1);
	EXPECT(answered(RX(t)));
	for (unsigned i = 0; i < 4096; i++)
		EXPECT((i >= 1024 && i < 1024 + HASH_HEADER + FRAME) || t->d->buf[i] == 0x5a);
	for (unsigned i = 12; i < HASH_HEADER; i++)
		EXPECT_EQ(t->d->buf[1024 + i], 0);
}

static const struct hostile rss_cases[] = {
	{ "5.1.6.5.6.1 a mask that is none", steer_refused, TABLE(2, 3, 0, 1), REST(0, 40, 40, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 a table of 256 entries", steer_refused, TABLE(255, 256, 0, 1), REST(0, 40, 40, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 a table of 65536 entries that is not there", steer_refused, TABLE(65535, 0, 0, 1), REST(0, 0, 0, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 a table that lacks an entry", steer_refused, TABLE(127, 127, 0, 1), REST(0, 40, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 a queue in the table that is none", steer_refused, TABLE(127, 128, 1, 1), REST(0, 40, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 queue 65535 in the table", steer_refused, TABLE(0, 1, 65535, 1), REST(0, 40, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 a queue for the rest that is none", steer_refused, TABLE(0, 1, 0, 1), REST(1, 40, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 queue 65535 for the rest", steer_refused, TABLE(0, 1, 0, 1), REST(65535, 40, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 no queue that sends", steer_refused, TABLE(0, 1, 0, 0), REST(0, 40, 40, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 65535 queues that send", steer_refused, TABLE(0, 1, 0, 65535), REST(0, 40, 40, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 a key of 41 bytes", steer_refused, TABLE(0, 1, 0, 1), REST(0, 41, 41, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 a key of 255 bytes that has 40", steer_refused, TABLE(0, 1, 0, 1), REST(0, 255, 40, 0x3f),
	  .features = STEERS },
	{ "5.1.6.5.6.1 a key that lacks a byte", steer_refused, TABLE(0, 1, 0, 1), REST(0, 40, 39, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.1 hashes that are not offered", steer_refused, TABLE(0, 1, 0, 1), REST(0, 40, 40, 0x40), .features = STEERS },
	{ "5.1.6.5.6.1 all hashes", steer_refused, TABLE(0, 1, 0, 1), REST(0, 40, 40, 0xffffffff), .features = STEERS },
	{ "5.1.6.5.6.1 300 of them, with frames between", many_steerings, .features = STEERS },
	{ "5.1.6.5.6.4 hashes beside RSS", hash_refused, 0, REST(0, 40, 40, 0x3f), .features = STEERS },
	{ "5.1.6.5.6.4 a key of 41 bytes", hash_refused, 0, REST(0, 41, 41, 0x3f), .features = HASHES },
	{ "5.1.6.5.6.4 a key that lacks a byte", hash_refused, 0, REST(0, 40, 39, 0x3f), .features = HASHES },
	{ "5.1.6.5.6.4 hashes that are not offered", hash_refused, 0, REST(0, 40, 40, 0x80000000), .features = HASHES },
	{ "5.1.6.4 a buffer with room for a header and its hash", rx_hash_bound, .features = STEERS },
	{ "5.1.6.3.1 a receive buffer that lacks a byte for the hash", rx_short, HASH_HEADER - 1, .features = STEERS },
	{ "5.1.6.2 a frame whose header lacks a byte of the hash", tx_short, HASH_HEADER - 1, .features = STEERS },
	{ "5.1.6.2 a header with its hash, and no frame", tx_length, HASH_HEADER, .features = STEERS },
	{ "5.1.6.3 300 frames and no buffer for them", rx_none, .features = STEERS },
	{ "2.4.1 reset with buffers that wait for frames", rx_reset, .features = STEERS },
	{ "5.1.3.1 RSS without CTRL_VQ", bad_features, F_RSS, .raw = true },
	{ "5.1.4 writing how long a key may be", write_config, 17, 1 },
	{ "2.5.1 behind the configuration", odd_config, 24, 4 },
};

const struct suite net_rss_suite = {
	.name = "net-rss", .victim = VIRTIO_NET, .must_offer = F_RSS, .cases = rss_cases, .n = N_CASES(rss_cases),
};
