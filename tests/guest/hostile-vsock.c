/* Sockets: virtio 1.2, 5.10. Somebody of the host listens on its port 1, and on no other. */
#include "hostile.h"

#define RX(t)       (&(t)->d->ring[0])
#define TX(t)       (&(t)->d->ring[1])
#define OUT(t)      ((uint64_t)(t)->d->buf)
#define IN(t)       ((uint64_t)(t)->d->buf + 0x1000)
#define IN_BYTES    0x1000
#define GUEST_PORT  1000
#define NOBODY      9
#define LISTENER    1

/* One packet and its end: the device has taken it. */
static void say(const struct trial *t, struct vsock_header hdr, uint32_t bytes)
{
	*(volatile struct vsock_header *)OUT(t) = hdr;
	EXPECT(vring_do(TX(t), &(struct vbuf){ OUT(t), bytes, 0 }, 1));
}

static void say_op(const struct trial *t, uint16_t op, uint32_t port)
{
	say(t, vsock_packet(t->d, op, GUEST_PORT, port), VSOCK_HEADER);
}

static volatile const struct vsock_header *heard(const struct trial *t)
{
	return (volatile const struct vsock_header *)IN(t);
}

static void expect_packet(const struct trial *t, uint16_t op)
{
	EXPECT(vring_do(RX(t), &(struct vbuf){ IN(t), IN_BYTES, D_WRITE }, 1));
	EXPECT_EQ(RX(t)->used_len, VSOCK_HEADER);
	EXPECT_EQ(heard(t)->op, op);
	EXPECT_EQ(heard(t)->len, 0);
}

static void expect_silence(const struct trial *t)
{
	vring_add(RX(t), &(struct vbuf){ IN(t), IN_BYTES, D_WRITE }, 1);
	kick(RX(t));
	EXPECT(quiet(RX(t)));
}

/* ---- what is no packet ---- */

static void tx_short(const struct trial *t)
{
	vring_add(TX(t), &(struct vbuf){ OUT(t), (uint32_t)t->a, 0 }, 1);
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
	const struct vbuf chain[] = { { OUT(t), VSOCK_HEADER, 0 }, { IN(t), 64, D_WRITE } };

	*(volatile struct vsock_header *)OUT(t) = vsock_packet(t->d, VSOCK_RW, GUEST_PORT, NOBODY);
	vring_add(TX(t), t->a ? &chain[1] : chain, t->a ? 1 : 2);
	kick(TX(t));
	EXPECT(needs_reset(t->d));
}

static void tx_longer_than_it_is(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, (uint16_t)t->b, GUEST_PORT, NOBODY);

	hdr.len = (uint32_t)t->a;
	*(volatile struct vsock_header *)OUT(t) = hdr;
	vring_add(TX(t), &(struct vbuf){ OUT(t), VSOCK_HEADER, 0 }, 1);
	kick(TX(t));
	EXPECT(needs_reset(t->d));
}

static void tx_byte_by_byte(const struct trial *t)
{
	struct vbuf chain[VSOCK_HEADER];

	*(volatile struct vsock_header *)OUT(t) = vsock_packet(t->d, VSOCK_RW, GUEST_PORT, NOBODY);
	for (unsigned i = 0; i < VSOCK_HEADER; i++)
		chain[i] = (struct vbuf){ OUT(t) + i, 1, 0 };
	EXPECT(vring_do(TX(t), chain, VSOCK_HEADER));
	expect_packet(t, VSOCK_RST);
}

/* ---- packets of no connection ---- */

static void no_connection(const struct trial *t)
{
	say_op(t, (uint16_t)t->a, NOBODY);
	expect_packet(t, VSOCK_RST);
	EXPECT_EQ(heard(t)->src_port, NOBODY);
	EXPECT_EQ(heard(t)->dst_port, GUEST_PORT);
}

static void reset_of_nothing(const struct trial *t)
{
	say_op(t, VSOCK_RST, (uint32_t)t->a);
	expect_silence(t);
}

static void other_type(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_REQUEST, GUEST_PORT, LISTENER);

	hdr.type = (uint16_t)t->a;
	say(t, hdr, VSOCK_HEADER);
	expect_packet(t, VSOCK_RST);
	EXPECT_EQ(heard(t)->type, t->a);
}

static void other_source(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_REQUEST, GUEST_PORT, LISTENER);

	hdr.src_cid = t->b ? hdr.src_cid ^ t->a : t->a;
	say(t, hdr, VSOCK_HEADER);
	expect_packet(t, VSOCK_RST);
	EXPECT_EQ(heard(t)->dst_cid, hdr.src_cid);
}

static void other_target(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_REQUEST, GUEST_PORT, LISTENER);

	hdr.dst_cid = t->b ? hdr.src_cid : t->a;
	say(t, hdr, VSOCK_HEADER);
	expect_packet(t, VSOCK_RST);
	EXPECT_EQ(heard(t)->src_cid, hdr.dst_cid);
}

/* More than can be answered: the rest waits, and nobody else does. */
static void flood(const struct trial *t)
{
	*(volatile struct vsock_header *)OUT(t) = vsock_packet(t->d, VSOCK_RW, GUEST_PORT, NOBODY);
	for (uint16_t i = 0; i < TX(t)->size; i++) {
		put_desc(TX(t), i, OUT(t), VSOCK_HEADER, 0, 0);
		TX(t)->avail->ring[i] = i;
	}
	TX(t)->avail->idx = TX(t)->size;
	kick(TX(t));
	EXPECT(vdev_works(other_device()));
	EXPECT(TX(t)->used->idx < TX(t)->size);
	for (unsigned i = 0; i < TX(t)->size; i++)
		expect_packet(t, VSOCK_RST);
	expect_silence(t);
}

/* ---- buffers for packets ---- */

static void rx_bad(const struct trial *t, const struct vbuf *buf, unsigned n)
{
	say_op(t, VSOCK_RW, NOBODY); /* has an answer */
	vring_add(RX(t), buf, n);
	kick(RX(t));
	EXPECT(needs_reset(t->d));
}

static void rx_short(const struct trial *t)
{
	rx_bad(t, &(struct vbuf){ IN(t), (uint32_t)t->a, D_WRITE }, 1);
}

static void rx_at(const struct trial *t)
{
	rx_bad(t, &(struct vbuf){ t->a, (uint32_t)t->b, D_WRITE }, 1);
}

static void rx_readable(const struct trial *t)
{
	const struct vbuf chain[] = { { OUT(t), 64, 0 }, { IN(t), IN_BYTES, D_WRITE } };

	rx_bad(t, chain, t->a ? 2 : 1);
}

static void rx_byte_by_byte(const struct trial *t)
{
	struct vbuf chain[60];

	for (unsigned i = 0; i < 60; i++)
		chain[i] = (struct vbuf){ IN(t) + i, 1, D_WRITE };
	say_op(t, VSOCK_RW, NOBODY);
	EXPECT(vring_do(RX(t), chain, 60));
	EXPECT_EQ(RX(t)->used_len, VSOCK_HEADER);
	EXPECT_EQ(heard(t)->op, VSOCK_RST);
}

static void not_a_byte_more(const struct trial *t)
{
	volatile uint8_t *in = (volatile uint8_t *)IN(t);

	for (unsigned i = 0; i < 128; i++)
		in[i] = 0x5a;
	say_op(t, VSOCK_RW, NOBODY);
	EXPECT(vring_do(RX(t), &(struct vbuf){ IN(t), 64, D_WRITE }, 1));
	for (unsigned i = VSOCK_HEADER; i < 128; i++)
		EXPECT_EQ(in[i], 0x5a);
}

/* ---- a connection ---- */

static void connect(const struct trial *t)
{
	say_op(t, VSOCK_REQUEST, LISTENER);
	expect_packet(t, VSOCK_RESPONSE);
}

/* An operation that has no business there ends it. */
static void wrong_op(const struct trial *t)
{
	connect(t);
	say_op(t, (uint16_t)t->a, LISTENER);
	expect_packet(t, VSOCK_RST);
	say_op(t, VSOCK_CREDIT_REQUEST, LISTENER); /* it is gone */
	expect_packet(t, VSOCK_RST);
}

static void shut(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_SHUTDOWN, GUEST_PORT, LISTENER);

	connect(t);
	hdr.flags = (uint32_t)t->a;
	say(t, hdr, VSOCK_HEADER);
	if ((t->a & 3) == 3)
		expect_packet(t, VSOCK_RST);
	else
		say_op(t, VSOCK_CREDIT_REQUEST, LISTENER), expect_packet(t, VSOCK_CREDIT_UPDATE);
}

static void bytes_after_the_end(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_RW, GUEST_PORT, LISTENER);

	shut(t);
	hdr.len = 10;
	say(t, hdr, VSOCK_HEADER + 10);
	expect_packet(t, VSOCK_RST);
}

static void other_type_of_connection(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_RW, GUEST_PORT, LISTENER);

	connect(t);
	hdr.type = 2;
	say(t, hdr, VSOCK_HEADER);
	expect_packet(t, VSOCK_RST);
	EXPECT_EQ(heard(t)->type, 2);
}

static void strange_credit(const struct trial *t)
{
	struct vsock_header hdr = vsock_packet(t->d, VSOCK_CREDIT_REQUEST, GUEST_PORT, LISTENER);

	connect(t);
	hdr.buf_alloc = (uint32_t)t->a;
	hdr.fwd_cnt = (uint32_t)t->b;
	say(t, hdr, VSOCK_HEADER);
	expect_packet(t, VSOCK_CREDIT_UPDATE);
	EXPECT_EQ(heard(t)->fwd_cnt, 0);
}

static const struct hostile cases[] = {
	{ "5.10.6 a packet of no bytes", tx_short, 0 },
	{ "5.10.6 a packet of one byte", tx_short, 1 },
	{ "5.10.6 a packet of 20 bytes", tx_short, 20 },
	{ "5.10.6 a packet of 43 bytes", tx_short, 43 },
	{ "5.10.6 a packet at the end of RAM", tx_at, RAM_END - 10, VSOCK_HEADER },
	{ "5.10.6 a packet behind RAM", tx_at, RAM_END, VSOCK_HEADER },
	{ "5.10.6 a packet at 4 GB", tx_at, FOUR_GB, VSOCK_HEADER },
	{ "5.10.6 a packet at the end of all addresses", tx_at, UINT64_MAX - 10, VSOCK_HEADER },
	{ "5.10.6 a packet with a writable buffer", tx_writable, 0 },
	{ "5.10.6 a packet that is writable", tx_writable, 1 },
	{ "5.10.6 one byte more than the buffer has", tx_longer_than_it_is, 1, VSOCK_RW },
	{ "5.10.6 a page more than the buffer has", tx_longer_than_it_is, 4096, VSOCK_RW },
	{ "5.10.6 2 GB more than the buffer has", tx_longer_than_it_is, 0x7fffffff, VSOCK_RW },
	{ "5.10.6 4 GB more than the buffer has", tx_longer_than_it_is, 0xffffffff, VSOCK_RW },
	{ "5.10.6 a request that is longer than its buffer", tx_longer_than_it_is, 1, VSOCK_REQUEST },
	{ "5.10.6 a reset that is longer than its buffer", tx_longer_than_it_is, 0xffffffd4, VSOCK_RST },
	{ "5.10.6 a header in 44 buffers", tx_byte_by_byte },
	{ "5.10.6.4 a request for nobody", no_connection, VSOCK_REQUEST },
	{ "5.10.6.4 a response to nothing", no_connection, VSOCK_RESPONSE },
	{ "5.10.6.4 the end of nothing", no_connection, VSOCK_SHUTDOWN },
	{ "5.10.6.4 bytes of nothing", no_connection, VSOCK_RW },
	{ "5.10.6.3 credit of nothing", no_connection, VSOCK_CREDIT_UPDATE },
	{ "5.10.6.3 a request for credit of nothing", no_connection, VSOCK_CREDIT_REQUEST },
	{ "5.10.6 operation 0", no_connection, 0 },
	{ "5.10.6 operation 8", no_connection, 8 },
	{ "5.10.6 operation 255", no_connection, 255 },
	{ "5.10.6 operation 65535", no_connection, 65535 },
	{ "5.10.6.4 a reset of nothing", reset_of_nothing, NOBODY },
	{ "5.10.6.4 a reset of what could be", reset_of_nothing, LISTENER },
	{ "5.10.6.4.2 type 0", other_type, 0 },
	{ "5.10.6.4.2 type 3", other_type, 3 },
	{ "5.10.6.4.2 type 256", other_type, 256 },
	{ "5.10.6.4.2 type 257", other_type, 257 },
	{ "5.10.6.4.2 type 65535", other_type, 65535 },
	{ "5.10.6.4.2 a type that was not accepted", other_type, 2, .features = F_VERSION_1 },
	{ "5.10.6 from CID 0", other_source, 0 },
	{ "5.10.6 from CID 1", other_source, 1 },
	{ "5.10.6 from the host's CID", other_source, 2 },
	{ "5.10.6 from another guest", other_source, 1, 1 },
	{ "5.10.6 from a CID of more than 32 bits", other_source, FOUR_GB, 1 },
	{ "5.10.6 from CID 2^64-1", other_source, UINT64_MAX },
	{ "5.10.6 to CID 0", other_target, 0 },
	{ "5.10.6 to CID 1", other_target, 1 },
	{ "5.10.6 to itself", other_target, 0, 1 },
	{ "5.10.6 to any", other_target, 0xffffffff },
	{ "5.10.6 to the host and 2^32", other_target, FOUR_GB | 2 },
	{ "5.10.6 to CID 2^64-1", other_target, UINT64_MAX },
	{ "5.10.6.1 a ring of packets, and no buffer for an answer", flood },
	{ "5.10.6 a buffer of no bytes", rx_short, 0 },
	{ "5.10.6 a buffer of one byte", rx_short, 1 },
	{ "5.10.6 a buffer of 43 bytes", rx_short, 43 },
	{ "5.10.6 a buffer for a header alone", rx_short, 44 },
	{ "5.10.6 a buffer at the end of RAM", rx_at, RAM_END - 10, IN_BYTES },
	{ "5.10.6 a buffer behind RAM", rx_at, RAM_END, IN_BYTES },
	{ "5.10.6 a buffer at 4 GB", rx_at, FOUR_GB, IN_BYTES },
	{ "5.10.6 a buffer at the end of all addresses", rx_at, UINT64_MAX - 10, IN_BYTES },
	{ "5.10.6 a readable buffer", rx_readable, 0 },
	{ "5.10.6 a readable buffer before a writable one", rx_readable, 1 },
	{ "5.10.6 a buffer in 60 pieces", rx_byte_by_byte },
	{ "5.10.6 no byte behind the packet", not_a_byte_more },
	{ "5.10.6.4 a second request", wrong_op, VSOCK_REQUEST },
	{ "5.10.6.4 a response to a response", wrong_op, VSOCK_RESPONSE },
	{ "5.10.6 operation 0 of a connection", wrong_op, 0 },
	{ "5.10.6 operation 65535 of a connection", wrong_op, 65535 },
	{ "5.10.6.5 an end of nothing", shut, 0 },
	{ "5.10.6.5 an end of one way", shut, 1 },
	{ "5.10.6.5 an end of the other way", shut, 2 },
	{ "5.10.6.5 an end of all that there could be", shut, 0xffffffff },
	{ "5.10.6.5 bytes after the end", bytes_after_the_end, 2 },
	{ "5.10.6.4 a connection's packet of another type", other_type_of_connection },
	{ "5.10.6.3 no room at all", strange_credit, 0, 0 },
	{ "5.10.6.3 more taken than was sent", strange_credit, 4096, 0x80000000 },
	{ "5.10.6.3 room for 4 GB", strange_credit, 0xffffffff, 0xffffffff },
};

const struct suite vsock_suite = { .name = "vsock", .victim = VIRTIO_VSOCK, .cases = cases, .n = N_CASES(cases) };
