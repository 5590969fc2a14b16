/*
 * Console ports, their data and the control messages: virtio 1.2, 5.3. The victim has two ports. On
 * the first one somebody types all the time; what the second one prints nobody reads.
 */
#include "hostile.h"

#define F_SIZE      F(0)
#define F_MULTIPORT F(1)
#define ONE_PORT    (F_VERSION_1 | F_SIZE) /* then what is typed comes without being asked for */
#define N_PORTS     2

#define RX(t)         (&(t)->d->ring[0])
#define TX(t)         (&(t)->d->ring[1])
#define CONTROL_RX(t) (&(t)->d->ring[2])
#define CONTROL_TX(t) (&(t)->d->ring[3])
#define RX1(t)        (&(t)->d->ring[4])
#define TX1(t)        (&(t)->d->ring[5])
#define BUF(t, off)   ((uint64_t)(t)->d->buf + (off))

static bool done(struct vring *r, unsigned n)
{
	return r->packed ? packed_answered(r, n) : answered(r);
}

/* Add one buffer and notify. */
static void give(struct vring *r, uint64_t addr, uint32_t len, uint16_t flags)
{
	vring_add(r, &(struct vbuf){ addr, len, flags }, 1);
	kick(r);
}

static void give_two(struct vring *r, uint64_t first, uint16_t first_flags, uint64_t second,
		     uint16_t second_flags)
{
	const struct vbuf chain[] = { { first, 16, first_flags }, { second, 16, second_flags } };

	vring_add(r, chain, 2);
	kick(r);
}

static bool ports_added(const struct trial *t)
{
	if (!port_control(t->d, 0, PORT_DEVICE_READY, 1))
		return false;
	for (uint32_t id = 0; id < N_PORTS; id++)
		if (!port_told(t->d, id, PORT_ADD))
			return false;
	return true;
}

static bool port_set_up(const struct trial *t, uint32_t id)
{
	return port_control(t->d, id, PORT_READY, 1) && port_told(t->d, id, PORT_NAME) &&
	       port_told(t->d, id, PORT_CONSOLE) && port_told(t->d, id, PORT_OPEN) &&
	       port_told(t->d, id, PORT_RESIZE);
}

/* The device has nothing to say. */
static bool silent(const struct trial *t)
{
	give(CONTROL_RX(t), BUF(t, 0x200), 64, D_WRITE);
	return quiet(CONTROL_RX(t));
}

/* ---- input ---- */

static void rx_readable(const struct trial *t)
{
	if (t->a)
		give_two(RX(t), BUF(t, 0), 0, BUF(t, 0x100), D_WRITE);
	else
		give(RX(t), BUF(t, 0), 16, 0);
	EXPECT(needs_reset(t->d));
}

static void rx_at(const struct trial *t)
{
	give(RX(t), t->a, (uint32_t)t->b, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void rx_no_room(const struct trial *t)
{
	give(RX(t), BUF(t, 0), 0, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void rx_not_a_byte_more(const struct trial *t)
{
	volatile uint8_t *buf = t->d->buf;

	for (unsigned i = 0; i < 64; i++)
		buf[i] = 0x5a;
	give(RX(t), BUF(t, 16), (uint32_t)t->a, D_WRITE);
	EXPECT(done(RX(t), 1));
	EXPECT(RX(t)->used_len && RX(t)->used_len <= t->a);
	for (unsigned i = 0; i < 64; i++)
		EXPECT(buf[i] == 0x5a || (i >= 16 && i < 16 + RX(t)->used_len));
}

static void rx_large(const struct trial *t)
{
	give(RX(t), 32 << 20, 64 << 20, D_WRITE);
	EXPECT(done(RX(t), 1));
	EXPECT(RX(t)->used_len && RX(t)->used_len <= 64 << 20);
}

/* What is typed waits for a buffer; nothing else does. */
static void rx_none(const struct trial *t)
{
	for (unsigned i = 0; i < 100; i++)
		kick(RX(t));
	EXPECT(vdev_works(other_device()));
	EXPECT(quiet(RX(t)));
	rx_not_a_byte_more(t);
}

/* Input is for a port that the driver has open. */
static void rx_not_open(const struct trial *t)
{
	give(RX(t), BUF(t, 0), 16, D_WRITE);
	EXPECT(quiet(RX(t)));
	EXPECT(port_control(t->d, 0, PORT_OPEN, 1)); /* there is no port yet */
	EXPECT(quiet(RX(t)));
	EXPECT(ports_added(t));
	EXPECT(port_control(t->d, 0, PORT_OPEN, 1)); /* it is not ready */
	EXPECT(quiet(RX(t)));
	EXPECT(port_set_up(t, 0));
	EXPECT(quiet(RX(t)));
	EXPECT(port_control(t->d, 0, PORT_OPEN, 1));
	EXPECT(done(RX(t), 1));
	EXPECT(port_control(t->d, 0, PORT_OPEN, 0));
	give(RX(t), BUF(t, 0), 16, D_WRITE);
	EXPECT(quiet(RX(t)));
}

static void rx_reset(const struct trial *t)
{
	volatile uint64_t *word = mem64(BUF(t, 0));

	for (unsigned i = 0; i < 20; i++) {
		give(RX(t), BUF(t, 0), 8, D_WRITE);
		if (t->a) {
			reg_write(t->d, R_QUEUE_SELECT, 0);
			reg_write(t->d, R_QUEUE_RESET, 1);
			EXPECT(queue_is_reset(t->d));
		} else {
			vdev_reset(t->d);
		}
		*word = 0;
		pause_ms(2);
		EXPECT_EQ(*word, 0);
		EXPECT(vdev_start(t->d, t->d->features));
	}
}

/* ---- output ---- */

static void tx_writable(const struct trial *t)
{
	if (t->b)
		give_two(&t->d->ring[t->a], BUF(t, 0), 0, BUF(t, 0x100), D_WRITE);
	else
		give(&t->d->ring[t->a], BUF(t, 0), 16, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void tx_at(const struct trial *t)
{
	give(TX1(t), t->a, (uint32_t)t->b, 0);
	EXPECT(needs_reset(t->d));
}

static void tx_empty(const struct trial *t)
{
	give(TX1(t), BUF(t, 0), 0, 0);
	EXPECT(done(TX1(t), 1));
	EXPECT_EQ(TX1(t)->used_len, 0);
}

/* Nobody has said that the port is there. It leads somewhere all the same. */
static void tx_not_added(const struct trial *t)
{
	give(TX1(t), BUF(t, 0), 100, 0);
	EXPECT(done(TX1(t), 1));
	EXPECT_EQ(TX1(t)->used_len, 0);
}

/* More than the host keeps, and nobody reads: the driver has its buffer back all the same. */
static void tx_large(const struct trial *t)
{
	struct vbuf chain[8];

	for (unsigned i = 0; i < 8; i++)
		chain[i] = (struct vbuf){ 32 << 20, 90 << 20, 0 };
	vring_add(TX1(t), chain, 8);
	kick(TX1(t));
	EXPECT(vdev_works(other_device()));
	EXPECT(done(TX1(t), 8));
	EXPECT_EQ(TX1(t)->used_len, 0);
}

/* While the host waits for a reader, the driver takes everything away. */
static void tx_reset(const struct trial *t)
{
	uint16_t used;

	for (unsigned i = 0; i < 5; i++) {
		give(TX1(t), 32 << 20, 4 << 20, 0);
		vdev_reset(t->d);
		used = TX1(t)->used->idx;
		pause_ms(2);
		EXPECT_EQ(TX1(t)->used->idx, used);
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	}
}

static void tx_queue_reset(const struct trial *t)
{
	struct vring *r = TX1(t);

	for (unsigned i = 0; i < 5; i++) {
		give(r, 32 << 20, 4 << 20, 0);
		reg_write(t->d, R_QUEUE_SELECT, r->index);
		reg_write(t->d, R_QUEUE_RESET, 1);
		EXPECT(queue_is_reset(t->d));
		vring_setup(r, 0);
		reg_write(t->d, R_QUEUE_READY, 1);
	}
	EXPECT(vdev_works(t->d));
}

/* A ring full of it, many times over. */
static void tx_flood(const struct trial *t)
{
	struct vring *r = TX1(t);

	for (unsigned i = 0; i < 20; i++) {
		for (uint16_t k = 0; k < r->size; k++) {
			put_desc(r, k, 32 << 20, 1 << 20, 0, 0);
			r->avail->ring[(r->avail->idx + k) % r->size] = k;
		}
		r->avail->idx = (uint16_t)(r->avail->idx + r->size);
		kick(r);
		for (uint16_t k = 0; k < r->size; k++)
			EXPECT(answered(r));
	}
	EXPECT(vdev_works(other_device()));
}

/* ---- control messages ---- */

static void control_length(const struct trial *t)
{
	give(CONTROL_TX(t), BUF(t, 0), (uint32_t)t->a, 0);
	EXPECT(needs_reset(t->d));
}

static void control_writable(const struct trial *t)
{
	if (t->a)
		give_two(CONTROL_TX(t), BUF(t, 0), 0, BUF(t, 0x100), D_WRITE);
	else
		give(CONTROL_TX(t), BUF(t, 0), 8, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void control_at(const struct trial *t)
{
	give(CONTROL_TX(t), t->a, (uint32_t)t->b, 0);
	EXPECT(needs_reset(t->d));
}

static void control_in_bytes(const struct trial *t)
{
	struct vbuf chain[8];

	port_message(t->d, 0, PORT_DEVICE_READY, 1);
	for (unsigned i = 0; i < 8; i++)
		chain[i] = (struct vbuf){ PORT_MESSAGE(t->d) + i, 1, 0 };
	EXPECT(vring_do(CONTROL_TX(t), chain, 8));
	EXPECT(port_told(t->d, 0, PORT_ADD));
}

static void control_long(const struct trial *t)
{
	port_message(t->d, 0, PORT_DEVICE_READY, 1);
	give(CONTROL_TX(t), PORT_MESSAGE(t->d), 0x1000, 0);
	EXPECT(done(CONTROL_TX(t), 1));
	EXPECT(port_told(t->d, 0, PORT_ADD));
}

/* Message a, about a port that there is not, or that makes no sense from a driver. */
static void control_nonsense(const struct trial *t)
{
	EXPECT(ports_added(t));
	EXPECT(port_control(t->d, (uint32_t)t->b, (uint16_t)t->a, 1));
	EXPECT(silent(t));
	EXPECT(port_control(t->d, (uint32_t)t->b, (uint16_t)t->a, 0));
	EXPECT(port_control(t->d, (uint32_t)t->b, (uint16_t)t->a, 0xffff));
	EXPECT(quiet(CONTROL_RX(t)));
}

static void ready_before_added(const struct trial *t)
{
	EXPECT(port_control(t->d, 1, PORT_READY, 1));
	EXPECT(silent(t));
}

static void device_not_ready(const struct trial *t)
{
	EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 0));
	EXPECT(silent(t));
}

static void port_failed(const struct trial *t)
{
	EXPECT(ports_added(t));
	EXPECT(port_control(t->d, 1, PORT_READY, 0));
	EXPECT(silent(t));
}

static void device_ready_twice(const struct trial *t)
{
	EXPECT(ports_added(t));
	EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 1));
	EXPECT(silent(t));
}

static void ready_twice(const struct trial *t)
{
	EXPECT(ports_added(t));
	EXPECT(port_set_up(t, 1));
	EXPECT(port_control(t->d, 1, PORT_READY, 1));
	EXPECT(silent(t));
}

/* The device has to keep what it is to say, but not for each time that it is asked. */
static void never_listens(const struct trial *t)
{
	for (unsigned i = 0; i < 200; i++) {
		EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 1));
		EXPECT(port_control(t->d, i % N_PORTS, PORT_READY, 1));
	}
	EXPECT(port_told(t->d, 0, PORT_ADD));
	EXPECT(port_told(t->d, 1, PORT_ADD));
	EXPECT(silent(t));
}

static void told_readable(const struct trial *t)
{
	if (t->a)
		give_two(CONTROL_RX(t), BUF(t, 0), 0, BUF(t, 0x100), D_WRITE);
	else
		give(CONTROL_RX(t), BUF(t, 0), 64, 0);
	EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 1));
	EXPECT(needs_reset(t->d));
}

static void told_without_room(const struct trial *t)
{
	give(CONTROL_RX(t), BUF(t, 0), (uint32_t)t->a, D_WRITE);
	EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 1));
	EXPECT(needs_reset(t->d));
}

/* There is room for the message that adds the port, but not for its name. */
static void name_without_room(const struct trial *t)
{
	EXPECT(ports_added(t));
	EXPECT(port_control(t->d, 0, PORT_READY, 1));
	give(CONTROL_RX(t), BUF(t, 0), 16, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void told_at(const struct trial *t)
{
	give(CONTROL_RX(t), t->a, (uint32_t)t->b, D_WRITE);
	EXPECT(port_control(t->d, 0, PORT_DEVICE_READY, 1));
	EXPECT(needs_reset(t->d));
}

/* Queues that there are not without MULTIPORT. */
static void not_negotiated(const struct trial *t)
{
	port_message(t->d, 0, PORT_DEVICE_READY, 1);
	give(CONTROL_RX(t), BUF(t, 0x200), 64, D_WRITE);
	give(CONTROL_TX(t), PORT_MESSAGE(t->d), 8, 0);
	give(TX1(t), BUF(t, 0), 16, 0);
	give(RX1(t), BUF(t, 0), 16, D_WRITE);
	EXPECT(quiet(CONTROL_TX(t)) && quiet(CONTROL_RX(t)) && quiet(TX1(t)) && quiet(RX1(t)));
	EXPECT_EQ(status(t->d), S_LIVE);
}

static void no_such_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_MAX), 0);
	notify(t->d, (unsigned)t->a);
	EXPECT_EQ(status(t->d), S_LIVE);
}

/* ---- configuration ---- */

/* 4: how many ports there may be; 0: the size of the terminal. The emergency byte is elsewhere. */
static void write_config(const struct trial *t)
{
	const uint64_t before = mem_read(t->d->config, 8);

	mem_write(t->d->config + t->a, (unsigned)t->b, UINT64_MAX);
	EXPECT_EQ(mem_read(t->d->config, 8), before);
	EXPECT_EQ(mem_read(t->d->config + 4, 4), N_PORTS);
}

static void odd_config(const struct trial *t)
{
	EXPECT_EQ(mem_read(t->d->config + t->a, (unsigned)t->b), 0);
	mem_write(t->d->config + t->a, (unsigned)t->b, UINT64_MAX);
	EXPECT_EQ(mem_read(t->d->config + 4, 4), N_PORTS);
}

static const struct hostile cases[] = {
	{ "5.3.6.1 a readable buffer on a receive queue", rx_readable, 0, .features = ONE_PORT },
	{ "5.3.6.1 a readable buffer before a writable one on a receive queue", rx_readable, 1,
	  .features = ONE_PORT },
	{ "5.3.6 a receive buffer without room", rx_no_room, .features = ONE_PORT },
	{ "5.3.6 a receive buffer in the gap", rx_at, GAP_START, 16, .features = ONE_PORT },
	{ "5.3.6 a receive buffer over the end of RAM", rx_at, RAM_END - 8, 16,
	  .features = ONE_PORT },
	{ "5.3.6 a receive buffer of 2^32 - 1 bytes", rx_at, 0, UINT32_MAX, .features = ONE_PORT },
	{ "5.3.6 a receive buffer of one byte", rx_not_a_byte_more, 1, .features = ONE_PORT },
	{ "5.3.6 a receive buffer of 15 bytes", rx_not_a_byte_more, 15, .features = ONE_PORT },
	{ "5.3.6 a receive buffer of 64 MB", rx_large, .features = ONE_PORT },
	{ "5.3.6 no receive buffer for what is typed", rx_none, 15, .features = ONE_PORT },
	{ "5.3.6.2 receive buffers before the port is open", rx_not_open },
	{ "2.4.1 reset with receive buffers", rx_reset, 0, .features = ONE_PORT },
	{ "2.6.1.1 queue reset with receive buffers", rx_reset, 1,
	  .features = ONE_PORT | F_RING_RESET },
	{ "5.3.6.1 a writable buffer on transmit queue 0", tx_writable, 1, 0 },
	{ "5.3.6.1 a writable buffer on transmit queue 1", tx_writable, 5, 0 },
	{ "5.3.6.1 a writable buffer behind a readable one on transmit queue 1", tx_writable, 5,
	  1 },
	{ "5.3.6 output in the gap", tx_at, GAP_START, 16 },
	{ "5.3.6 output over the end of RAM", tx_at, RAM_END - 8, 16 },
	{ "5.3.6 output of 2^32 - 1 bytes", tx_at, 0, UINT32_MAX },
	{ "5.3.6 output from the local APIC", tx_at, LAPIC, 16 },
	{ "5.3.6 output of nothing", tx_empty },
	{ "5.3.5 output on a port that was not added", tx_not_added },
	{ "5.3.6 output of 720 MB that nobody reads", tx_large },
	{ "5.3.6.2 a control message of 0 bytes", control_length, 0 },
	{ "5.3.6.2 a control message of 7 bytes", control_length, 7 },
	{ "5.3.6.2 a control message of 8 single bytes", control_in_bytes },
	{ "5.3.6.2 a control message of 4096 bytes", control_long },
	{ "5.3.6.2 a control message in a writable buffer", control_writable, 0 },
	{ "5.3.6.2 a control message before a writable buffer", control_writable, 1 },
	{ "5.3.6.2 a control message in the gap", control_at, GAP_START, 8 },
	{ "5.3.6.2 a control message over the end of RAM", control_at, RAM_END - 4, 8 },
	{ "5.3.6.2 PORT_READY for port 2 of 2", control_nonsense, PORT_READY, 2 },
	{ "5.3.6.2 PORT_READY for port 2^31", control_nonsense, PORT_READY, 1U << 31 },
	{ "5.3.6.2 PORT_READY for port 2^32 - 1", control_nonsense, PORT_READY, UINT32_MAX },
	{ "5.3.6.2 PORT_OPEN for port 2 of 2", control_nonsense, PORT_OPEN, 2 },
	{ "5.3.6.2 PORT_OPEN for port 2^32 - 1", control_nonsense, PORT_OPEN, UINT32_MAX },
	{ "5.3.6.2 PORT_ADD from the driver", control_nonsense, PORT_ADD, 1 },
	{ "5.3.6.2 PORT_REMOVE from the driver", control_nonsense, PORT_REMOVE, 1 },
	{ "5.3.6.2 CONSOLE_PORT from the driver", control_nonsense, PORT_CONSOLE, 1 },
	{ "5.3.6.2 RESIZE from the driver", control_nonsense, PORT_RESIZE, 1 },
	{ "5.3.6.2 PORT_NAME from the driver", control_nonsense, PORT_NAME, 1 },
	{ "5.3.6.2 event 8", control_nonsense, 8, 1 },
	{ "5.3.6.2 event 65535", control_nonsense, UINT16_MAX, 1 },
	{ "5.3.6.2.2 DEVICE_READY with value 0", device_not_ready },
	{ "5.3.6.2.2 DEVICE_READY twice", device_ready_twice },
	{ "5.3.6.2 PORT_READY before the port was added", ready_before_added },
	{ "5.3.6.2 PORT_READY with value 0", port_failed },
	{ "5.3.6.2 PORT_READY twice", ready_twice },
	{ "5.3.6.2 400 control messages and no buffer for an answer", never_listens },
	{ "5.3.6.2 a readable buffer on the control receive queue", told_readable, 0 },
	{ "5.3.6.2 a readable buffer before a writable one there", told_readable, 1 },
	{ "5.3.6.2 a buffer of 0 bytes there", told_without_room, 0 },
	{ "5.3.6.2 a buffer of 7 bytes there", told_without_room, 7 },
	{ "5.3.6.2 a buffer too small for a name there", name_without_room },
	{ "5.3.6.2 a buffer in the gap there", told_at, GAP_START, 64 },
	{ "5.3.6.2 a buffer over the end of RAM there", told_at, RAM_END - 4, 64 },
	{ "5.3.2 control queues and port 1 without MULTIPORT", not_negotiated,
	  .features = ONE_PORT },
	{ "5.3.2 queue 6 of 6", no_such_queue, 6 },
	{ "5.3.2 queue 65535", no_such_queue, UINT16_MAX },
	{ "5.3.4 writing the size in words", write_config, 2, 2 },
	{ "5.3.4 writing the size in doublewords", write_config, 0, 4 },
	{ "5.3.4 writing the number of ports", write_config, 4, 4 },
	{ "5.3.4 writing both", write_config, 0, 8 },
	{ "2.5.1 a quadword over the end of the configuration", odd_config, 12, 8 },
	{ "2.5.1 a misaligned doubleword of the configuration", odd_config, 6, 4 },
	{ "2.5.1 behind the configuration", odd_config, 16, 4 },
	/* Split rings only */
	{ "2.4.1 reset with output that waits for its reader", tx_reset },
	{ "2.6.1.1 queue reset with output that waits for its reader", tx_queue_reset },
	{ "5.3.6 1280 MB of output, a ring full of it at a time", tx_flood },
};

#define N_SPLIT 3

const struct suite console_suite = { .name = "console",
				     .victim = VIRTIO_CONSOLE,
				     .must_not_offer = F_PACKED,
				     .cases = cases,
				     .n = N_CASES(cases) };

const struct suite console_packed_suite = { .name = "console-packed",
					    .victim = VIRTIO_CONSOLE,
					    .must_offer = F_PACKED,
					    .extra = F_PACKED,
					    .cases = cases,
					    .n = N_CASES(cases) - N_SPLIT };
