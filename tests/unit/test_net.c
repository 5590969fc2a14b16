/* Links: virtio/net.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* The network device: frames both ways in every layout, the control queue, and what a driver may do wrong. */
#include "unit.h"

#include <endian.h>

#include "fake-driver.h"
#include "lkvm/clock.h"
#include "lkvm/virtio-net.h"
#include "net-rig.h"

#define BIT(n)  (1ULL << (n))
#define HDR     NET_HDR_BYTES
#define WAIT_MS 10000
#define SOON_MS 30 /* for what does not come */

#define CTRL (BIT(VIRTIO_NET_F_CTRL_VQ))
#define MRG  (BIT(VIRTIO_NET_F_MRG_RXBUF))
#define OFFLOADS                                                                                                  \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |                   \
	 BIT(VIRTIO_NET_F_HOST_TSO4))

static const uint8_t mac[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 9 };
static const uint8_t other[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 10 };
static const uint8_t group[NET_MAC_BYTES] = { 1, 0, 0x5e, 0, 0, 1 };
static const uint8_t broadcast[NET_MAC_BYTES] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static struct fake_driver drv;
static struct virtio_dev *dev;

static void make(unsigned pairs, uint64_t features)
{
	fake_init(&drv, 16);
	rig_config = (struct net_config){ .packed = features & FAKE_PACKED };
	memcpy(rig_config.mac, mac, sizeof(mac));
	ck_assert_int_eq(virtio_net_new(drv.ram, "net0", rig_open(pairs, 1500), &dev), 0);
	fake_attach(&drv, dev);
}

static void setup_pairs(unsigned pairs, uint64_t features)
{
	make(pairs, features);
	ck_assert(fake_probe(&drv, features, 64));
}

static void setup(uint64_t features)
{
	setup_pairs(1, features);
}

static void teardown(void)
{
	virtio_net_free(dev);
	fake_fini(&drv);
}

static bool is_broken(void)
{
	return virtio_get_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- configuration ---- */

START_TEST(test_config)
{
	setup_pairs(4, CTRL | BIT(VIRTIO_NET_F_MQ));
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_NET);
	ck_assert_uint_eq(dev->n_queues, 9);
	for (unsigned i = 0; i < NET_MAC_BYTES; i++)
		ck_assert_uint_eq(virtio_config_read(dev, i, 1), mac[i]);
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 2), 4);
	ck_assert_uint_eq(virtio_config_read(dev, 10, 2), 1500);
	ck_assert_uint_eq(virtio_config_read(dev, 12, 4), 0);
	teardown();
	virtio_net_free(NULL);
}
END_TEST

/* 5.1.3.1 */
START_TEST(test_features)
{
	static const struct {
		uint64_t features;
		bool good;
	} table[] = {
		{ 0, true },
		{ BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_ECN), true },
		{ BIT(VIRTIO_NET_F_HOST_TSO4), false },
		{ BIT(VIRTIO_NET_F_HOST_TSO6), false },
		{ BIT(56), false },
		{ BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_ECN), false },
		{ BIT(VIRTIO_NET_F_GUEST_TSO4), false },
		{ BIT(VIRTIO_NET_F_GUEST_TSO6), false },
		{ BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_ECN), false },
		{ BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(54) | BIT(55), true },
		{ BIT(54), false },
		{ BIT(VIRTIO_NET_F_CTRL_RX), false },
		{ BIT(VIRTIO_NET_F_CTRL_VLAN), false },
		{ BIT(VIRTIO_NET_F_MQ), false },
		{ BIT(VIRTIO_NET_F_CTRL_MAC_ADDR), false },
		{ BIT(VIRTIO_NET_F_GUEST_ANNOUNCE), false },
		{ BIT(VIRTIO_NET_F_RSS) | CTRL, false },
		{ BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_GUEST_CSUM), false },
	};

	make(2, 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(fake_negotiate(&drv, table[i].features) == table[i].good, "%zu", i);
	teardown();
}
END_TEST

START_TEST(test_offloads)
{
	setup(OFFLOADS | BIT(VIRTIO_NET_F_GUEST_ECN));
	ck_assert_uint_eq(rig_end->offloads, NET_CSUM | NET_TSO4 | NET_ECN);
	ck_assert_uint_eq(rig_end->pairs, 1);
	ck_assert(fake_probe(&drv, 0, 64));
	ck_assert_uint_eq(rig_end->offloads, 0);
	teardown();
}
END_TEST

/* An end that does not do as it is told breaks the device, not lkvm. */
START_TEST(test_refused)
{
	make(1, 0);
	rig_end->refuse = 1;
	ck_assert(!fake_probe(&drv, 0, 64));
	ck_assert(is_broken());
	ck_assert(fake_probe(&drv, 0, 64));
	teardown();
}
END_TEST

/* ---- the guest sends ---- */

/* In buffers of these lengths, the last of which is what is left; 0 ends them */
static void send_cut(unsigned queue, const struct virtio_net_hdr_v1 *header, const uint8_t *frame, size_t n,
		     const unsigned *cuts)
{
	const gpa_t at = fake_alloc(&drv, HDR + n, 1);
	struct fake_buf bufs[16];
	unsigned n_bufs = 0;
	size_t done = 0;

	memcpy(fake_at(&drv, at), header, HDR);
	memcpy((char *)fake_at(&drv, at) + HDR, frame, n);
	for (; *cuts; done += *cuts++)
		bufs[n_bufs++] = FAKE_OUT(GPA(at.v + done), *cuts);
	bufs[n_bufs++] = FAKE_OUT(GPA(at.v + done), (uint32_t)(HDR + n - done));
	ck_assert_int_eq(fake_request(&drv, queue, bufs, n_bufs), 0);
}

static void send_frame(const struct virtio_net_hdr_v1 *header, const uint8_t *frame, size_t n)
{
	static const unsigned cuts[] = { HDR, 0 };

	send_cut(1, header, frame, n, cuts);
}

static void assert_sent(unsigned pair, const uint8_t *frame, size_t n)
{
	static uint8_t got[NET_MAX_FRAME];
	struct virtio_net_hdr_v1 header;

	ck_assert_int_eq(rig_get(pair, &header, got, sizeof(got), WAIT_MS), (ssize_t)n);
	ck_assert_mem_eq(got, frame, n);
	ck_assert_uint_eq(header.num_buffers, 0);
}

START_TEST(test_send)
{
	static const unsigned cuts[][6] = { { 0 }, { HDR, 0 }, { HDR - 1, 0 }, { 1, 1, 1, 20, 0 }, { HDR + 3, 10, 0 } };
	static const uint64_t formats[] = { 0, FAKE_EVENT_IDX | FAKE_INDIRECT, FAKE_PACKED,
					    FAKE_PACKED | FAKE_INDIRECT | FAKE_EVENT_IDX };
	const struct virtio_net_hdr_v1 header = { .num_buffers = 7 };
	uint8_t frame[1514];

	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		setup(formats[f]);
		for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
			const size_t n = i & 1 ? sizeof(frame) : NET_MIN_FRAME + 46;

			rig_fill(frame, n, other, (uint8_t)i);
			send_cut(1, &header, frame, n, cuts[i]);
			assert_sent(0, frame, n);
		}
		ck_assert_uint_eq(rig_end->net.counters.sent, ARRAY_SIZE(cuts));
		ck_assert_uint_eq(rig_end->net.counters.sent_bytes, 2 * 1514 + 3 * 60);
		teardown();
	}
}
END_TEST

/* A frame in more buffers than a system call takes */
START_TEST(test_send_scattered)
{
	const unsigned n = 1100;
	struct virtio_net_hdr_v1 header = { 0 };
	struct fake_buf bufs[1024];
	uint8_t frame[2 * 1024];
	gpa_t at;

	setup(FAKE_INDIRECT);
	rig_fill(frame, n, other, 3);
	at = fake_alloc(&drv, HDR + n, 1);
	memcpy(fake_at(&drv, at), &header, HDR);
	memcpy((char *)fake_at(&drv, at) + HDR, frame, n);
	for (unsigned i = 0; i < 1023; i++)
		bufs[i] = FAKE_OUT(GPA(at.v + i), 1);
	bufs[1023] = FAKE_OUT(GPA(at.v + 1023), HDR + n - 1023);
	ck_assert_int_eq(fake_request(&drv, 1, bufs, 1024), 0);
	assert_sent(0, frame, n);
	teardown();
}
END_TEST

START_TEST(test_send_header)
{
	static const struct {
		uint64_t features;
		struct virtio_net_hdr_v1 header;
		bool passes;
	} table[] = {
		{ 0, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 }, false },
		{ OFFLOADS, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 }, true },
		{ OFFLOADS, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 98, .csum_offset = 0 }, true },
		{ OFFLOADS, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 99, .csum_offset = 0 }, false },
		{ OFFLOADS, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 65535 }, false },
		{ OFFLOADS, { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 65535, .csum_offset = 1 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 50, .csum_start = 34,
			      .csum_offset = 16 }, true },
		{ OFFLOADS, { .flags = 0, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 50 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 0 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV6, .gso_size = 50 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 50 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = 5, .gso_size = 50 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | 0x80, .gso_size = 50 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = 0x80 }, false },
		{ OFFLOADS, { .flags = 1, .gso_type = 0x7f, .gso_size = 50 }, false },
		{ OFFLOADS | BIT(VIRTIO_NET_F_HOST_ECN),
		  { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4 | 0x80, .gso_size = 50 }, true },
		{ OFFLOADS | BIT(56), { .flags = 1, .gso_type = 5, .gso_size = 50 }, true },
		/* flags that nobody may ask for are left out */
		{ 0, { .flags = 0xfe, .csum_start = 65535, .csum_offset = 65535 }, true },
	};
	static const uint8_t last[60] = { 2 };
	uint8_t frame[100];

	rig_fill(frame, sizeof(frame), other, 1);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(table[i].features);
		send_frame(&table[i].header, frame, sizeof(frame));
		if (table[i].passes)
			assert_sent(0, frame, sizeof(frame));
		send_frame(&(struct virtio_net_hdr_v1){ 0 }, last, sizeof(last));
		assert_sent(0, last, sizeof(last)); /* nothing came before it */
		ck_assert_msg(rig_end->net.counters.sent_dropped == !table[i].passes, "%zu", i);
		ck_assert(!is_broken());
		teardown();
	}
}
END_TEST

START_TEST(test_send_sizes)
{
	static const struct {
		size_t n;
		bool passes;
	} table[] = { { 0, false }, { NET_MIN_FRAME - 1, false }, { NET_MIN_FRAME, true }, { NET_MAX_FRAME, true },
		      { NET_MAX_FRAME + 1, false }, { 1 << 20, false } };
	static uint8_t frame[1 << 20];
	const struct virtio_net_hdr_v1 header = { 0 };
	const unsigned whole[] = { 0 };

	rig_fill(frame, sizeof(frame), other, 1);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(0);
		send_cut(1, &header, frame, table[i].n, whole);
		if (table[i].passes)
			assert_sent(0, frame, table[i].n);
		ck_assert_uint_eq(rig_end->net.counters.sent_dropped, !table[i].passes);
		teardown();
	}
}
END_TEST

START_TEST(test_send_broken)
{
	for (unsigned i = 0; i < 3; i++) {
		struct fake_buf bufs[2];

		setup(0);
		bufs[0] = FAKE_OUT(fake_alloc(&drv, 100, 1), i == 0 ? HDR - 1 : 100);
		bufs[1] = FAKE_IN(fake_alloc(&drv, 100, 1), 100);
		if (i == 2)
			bufs[0] = bufs[1];
		ck_assert_int_eq(fake_request(&drv, 1, bufs, i == 1 ? 2 : 1), -1);
		ck_assert(is_broken());
		ck_assert(fake_probe(&drv, 0, 64));
		bufs[0] = FAKE_OUT(fake_alloc(&drv, 100, 1), 100);
		ck_assert_int_eq(fake_request(&drv, 1, bufs, 1), 0);
		teardown();
	}
}
END_TEST

/* ---- the guest receives ---- */

static int offer(unsigned queue, const struct fake_buf *bufs, unsigned n)
{
	const int id = fake_add(&drv.queue[queue], bufs, n);

	ck_assert_int_ge(id, 0);
	if (fake_must_notify(&drv.queue[queue]))
		fake_notify(&drv, queue);
	return id;
}

/* Buffers of @bytes, one a chain */
static gpa_t offer_many(unsigned queue, unsigned n, uint32_t bytes)
{
	const gpa_t at = fake_alloc(&drv, (uint64_t)n * bytes, 1);

	for (unsigned i = 0; i < n; i++)
		offer(queue, &FAKE_IN(GPA(at.v + (uint64_t)i * bytes), bytes), 1);
	return at;
}

/* The next frame: in how many buffers of @bytes it came; its bytes, header included, are at *@at, which moves on */
static unsigned take(unsigned queue, gpa_t *at, uint32_t bytes, uint8_t *ret, size_t *ret_n)
{
	struct virtio_net_hdr_v1 header;
	uint32_t written;

	ck_assert_int_ge(fake_wait_used(&drv, queue, &written), 0);
	memcpy(&header, fake_at(&drv, *at), HDR);
	*ret_n = 0;
	for (unsigned i = 0; i < header.num_buffers; i++) {
		if (i)
			ck_assert_int_ge(fake_wait_used(&drv, queue, &written), 0);
		ck_assert_uint_le(written, bytes);
		memcpy(ret + *ret_n, fake_at(&drv, *at), written);
		*ret_n += written;
		at->v += bytes;
	}
	return header.num_buffers;
}

START_TEST(test_receive)
{
	static const uint64_t formats[] = { 0, MRG, FAKE_EVENT_IDX | MRG, FAKE_PACKED | FAKE_EVENT_IDX | MRG, FAKE_PACKED };
	const struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID, .num_buffers = 99 };
	uint8_t frame[1514], got[2048];

	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		size_t n;
		gpa_t at;

		setup(formats[f]);
		at = offer_many(0, 8, 1600);
		for (uint8_t i = 0; i < 8; i++) {
			const size_t len = 60 + i * 200u;

			rig_fill(frame, len, mac, i);
			rig_put(0, &header, frame, len);
			ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
			ck_assert_uint_eq(n, HDR + len);
			ck_assert_mem_eq(got + HDR, frame, len);
			ck_assert_uint_eq(got[0], 0); /* no flags without GUEST_CSUM */
		}
		ck_assert_uint_eq(rig_end->net.counters.received, 8);
		teardown();
	}
}
END_TEST

START_TEST(test_receive_flags)
{
	const struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	uint8_t frame[60], got[2048];
	size_t n;
	gpa_t at;

	setup(OFFLOADS | MRG);
	at = offer_many(0, 60, 1600);
	rig_fill(frame, sizeof(frame), mac, 1);
	rig_put(0, &header, frame, sizeof(frame));
	ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
	ck_assert_uint_eq(got[0], VIRTIO_NET_HDR_F_DATA_VALID);
	teardown();
}
END_TEST

/* Over several buffers, the smallest that there may be; what is left is for the next frame. */
START_TEST(test_receive_merged)
{
	static const uint32_t sizes[] = { HDR, 13, 100, 256 };
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[600], got[1024];

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		const uint32_t size = sizes[s];
		const unsigned per_frame = (unsigned)((HDR + sizeof(frame) + size - 1) / size);
		size_t n;
		gpa_t at;

		setup(MRG | FAKE_EVENT_IDX);
		for (uint8_t i = 0; i < 6; i++) {
			at = offer_many(0, per_frame, size);
			rig_fill(frame, sizeof(frame), mac, i);
			rig_put(0, &header, frame, sizeof(frame));
			ck_assert_uint_eq(take(0, &at, size, got, &n), per_frame);
			ck_assert_uint_eq(n, HDR + sizeof(frame));
			ck_assert_mem_eq(got + HDR, frame, sizeof(frame));
		}
		teardown();
	}
}
END_TEST

/* A header over several buffers of one chain */
START_TEST(test_receive_scattered)
{
	const struct virtio_net_hdr_v1 header = { .flags = 2, .gso_size = 5 };
	uint8_t frame[300];
	struct fake_buf bufs[5];
	uint32_t written;
	gpa_t at;

	setup(0);
	at = fake_alloc(&drv, 400, 1);
	bufs[0] = FAKE_IN(at, 1);
	bufs[1] = FAKE_IN(GPA(at.v + 1), 9);
	bufs[2] = FAKE_IN(GPA(at.v + 10), 1);
	bufs[3] = FAKE_IN(GPA(at.v + 11), 2);
	bufs[4] = FAKE_IN(GPA(at.v + 13), 380);
	offer(0, bufs, 5);
	rig_fill(frame, sizeof(frame), mac, 4);
	rig_put(0, &header, frame, sizeof(frame));
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	ck_assert_uint_eq(written, HDR + sizeof(frame));
	ck_assert_mem_eq((uint8_t *)fake_at(&drv, at) + HDR, frame, sizeof(frame));
	ck_assert_uint_eq(((uint8_t *)fake_at(&drv, at))[0], 0);
	ck_assert_uint_eq(((uint8_t *)fake_at(&drv, at))[4], 5);
	ck_assert_uint_eq(((uint8_t *)fake_at(&drv, at))[10], 1);
	teardown();
}
END_TEST

/* It waits for buffers, and for enough of them. */
START_TEST(test_receive_late)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[1000], got[2048];
	size_t n;
	gpa_t at;

	for (unsigned i = 0; i < 2; i++) {
		setup(MRG | (i ? FAKE_EVENT_IDX : 0));
		rig_fill(frame, sizeof(frame), mac, 4);
		rig_put(0, &header, frame, sizeof(frame));
		poll(NULL, 0, SOON_MS);
		at = offer_many(0, 3, 300); /* one more is needed */
		poll(NULL, 0, SOON_MS);
		ck_assert_int_lt(fake_used(&drv.queue[0], &(uint32_t){ 0 }), 0);
		offer_many(0, 1, 300);
		ck_assert_uint_eq(take(0, &at, 300, got, &n), 4);
		ck_assert_uint_eq(n, HDR + sizeof(frame));
		ck_assert_mem_eq(got + HDR, frame, sizeof(frame));
		teardown();
	}
}
END_TEST

/* It does not fit, however many there are; the next one does. */
START_TEST(test_receive_too_large)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[1400], got[2048];
	size_t n;
	gpa_t at;

	for (unsigned i = 0; i < 2; i++) {
		const uint32_t size = i ? 20 : 100;

		setup(i ? MRG : 0);
		at = offer_many(0, 64, size); /* the whole ring, which is less than the frame with MRG, too */
		rig_fill(frame, sizeof(frame), mac, 4);
		rig_put(0, &header, frame, sizeof(frame));
		rig_put(0, &header, frame, 60);
		ck_assert_uint_eq(take(0, &at, size, got, &n), i ? 4 : 1);
		ck_assert_uint_eq(n, HDR + 60);
		ck_assert_uint_eq(rig_end->net.counters.received_dropped, 1);
		ck_assert_uint_eq(rig_end->net.counters.received, 1);
		teardown();
	}
}
END_TEST

START_TEST(test_receive_broken)
{
	for (unsigned i = 0; i < 3; i++) {
		const struct virtio_net_hdr_v1 header = { 0 };
		uint8_t frame[60];
		struct fake_buf bufs[2];

		setup(i == 1 ? MRG : 0);
		bufs[0] = FAKE_IN(fake_alloc(&drv, 2000, 1), HDR - 1);
		bufs[1] = FAKE_IN(fake_alloc(&drv, 2000, 1), 2000);
		if (i == 2)
			bufs[0] = FAKE_OUT(bufs[0].at, 20);
		rig_fill(frame, sizeof(frame), mac, 4);
		rig_put(0, &header, frame, sizeof(frame));
		fake_add(&drv.queue[0], bufs, i == 2 ? 2 : 1);
		fake_notify(&drv, 0);
		fake_wait_config_irq(&drv, 1);
		ck_assert(is_broken());
		ck_assert(fake_probe(&drv, 0, 64));
		teardown();
	}
}
END_TEST

/* ---- the control queue ---- */

/* Return: the answer, or -1: the device is broken */
static int command(unsigned queue, uint8_t class, uint8_t cmd, const void *data, uint32_t n)
{
	const gpa_t at = fake_alloc(&drv, 2 + n, 1), answer = fake_alloc(&drv, 1, 1);
	struct fake_buf bufs[3] = { FAKE_OUT(at, 2), FAKE_OUT(GPA(at.v + 2), n), FAKE_IN(answer, 1) };
	uint8_t *bytes = fake_at(&drv, at);

	bytes[0] = class;
	bytes[1] = cmd;
	if (n)
		memcpy(bytes + 2, data, n);
	*(uint8_t *)fake_at(&drv, answer) = 0xee;
	if (!n)
		bufs[1] = bufs[2];
	return fake_request(&drv, queue, bufs, n ? 3 : 2) == 1 ? *(uint8_t *)fake_at(&drv, answer) : -1;
}

START_TEST(test_control)
{
	static const uint64_t every = CTRL | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
				      BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
				      BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
				      BIT(VIRTIO_NET_F_MQ) | OFFLOADS;
	static const struct {
		uint8_t class, cmd, n, data[16];
		bool good;
	} table[] = {
		{ 0, 0, 1, { 1 }, true }, { 0, 1, 1, { 0 }, true }, { 0, 2, 1, { 1 }, true }, { 0, 3, 1, { 1 }, true },
		{ 0, 4, 1, { 1 }, true }, { 0, 5, 1, { 1 }, true }, { 0, 0, 1, { 2 }, false }, { 0, 0, 0, { 0 }, false },
		{ 0, 0, 2, { 1, 0 }, false }, { 0, 6, 1, { 1 }, false }, { 0, 255, 1, { 1 }, false },
		{ 1, 0, 8, { 0 }, true }, { 1, 0, 14, { 1 }, true }, { 1, 0, 14, { 0, 0, 0, 0, 1 }, true },
		{ 1, 0, 0, { 0 }, false }, { 1, 0, 4, { 0 }, false }, { 1, 0, 7, { 0 }, false }, { 1, 0, 9, { 0 }, false },
		{ 1, 0, 8, { 1 }, false }, { 1, 0, 13, { 1 }, false }, { 1, 0, 8, { 255, 255, 255, 255 }, false },
		{ 1, 0, 14, { 0, 0, 0, 0, 2 }, false }, { 1, 0, 14, { 0, 0, 0, 0, 255, 255, 255, 255 }, false },
		{ 1, 1, 6, { 2, 0, 0, 0, 0, 3 }, true }, { 1, 1, 5, { 2 }, false }, { 1, 1, 7, { 2 }, false },
		{ 1, 1, 0, { 0 }, false }, { 1, 2, 6, { 2 }, false },
		{ 2, 0, 2, { 255, 15 }, true }, { 2, 1, 2, { 255, 15 }, true }, { 2, 0, 2, { 0, 16 }, false },
		{ 2, 0, 2, { 255, 255 }, false }, { 2, 0, 1, { 1 }, false }, { 2, 0, 3, { 1 }, false },
		{ 2, 2, 2, { 1 }, false },
		{ 3, 0, 0, { 0 }, true }, { 3, 0, 1, { 0 }, false }, { 3, 1, 0, { 0 }, false },
		{ 4, 0, 2, { 2 }, true }, { 4, 0, 2, { 1 }, true }, { 4, 0, 2, { 0 }, false }, { 4, 0, 2, { 3 }, false },
		{ 4, 0, 2, { 0, 128 }, false }, { 4, 0, 1, { 1 }, false }, { 4, 0, 4, { 1 }, false },
		{ 4, 1, 2, { 1 }, false }, { 4, 2, 2, { 1 }, false },
		{ 5, 0, 8, { 2 }, true }, { 5, 0, 8, { 0x82 }, true }, { 5, 0, 8, { 0 }, true }, { 5, 0, 8, { 4 }, false },
		{ 5, 0, 8, { 1 }, false }, { 5, 0, 8, { 0, 0, 0, 0, 0, 0, 0, 128 }, false }, { 5, 0, 7, { 2 }, false },
		{ 5, 0, 9, { 2 }, false }, { 5, 1, 8, { 2 }, false },
		{ 6, 0, 8, { 0 }, false }, { 255, 0, 0, { 0 }, false },
	};
	const unsigned queue = 4;

	for (unsigned few = 0; few < 2; few++) {
		setup_pairs(2, few ? CTRL | BIT(VIRTIO_NET_F_MQ) : every);
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			const bool good = table[i].good && (!few || table[i].class == 4);

			ck_assert_msg(command(queue, table[i].class, table[i].cmd, table[i].data, table[i].n) == !good,
				      "%zu", i);
		}
		ck_assert(!is_broken());
		ck_assert_uint_eq(rig_end->pairs, 1);
		teardown();
	}
}
END_TEST

/* Without MQ the control queue comes behind the first pair, and without CTRL_VQ there is none. */
START_TEST(test_control_queue)
{
	static const uint8_t on = 1;

	setup_pairs(2, CTRL | BIT(VIRTIO_NET_F_CTRL_RX));
	ck_assert_int_eq(command(2, 0, 0, &on, 1), 0);
	teardown();
	setup_pairs(2, 0);
	for (unsigned i = 2; i < 5; i++) {
		offer(i, &FAKE_OUT(fake_alloc(&drv, 100, 1), 100), 1);
		poll(NULL, 0, SOON_MS);
		ck_assert_int_lt(fake_used(&drv.queue[i], &(uint32_t){ 0 }), 0);
	}
	ck_assert(!is_broken());
	teardown();
}
END_TEST

START_TEST(test_control_broken)
{
	for (unsigned i = 0; i < 3; i++) {
		struct fake_buf bufs[2];

		setup(CTRL);
		bufs[0] = FAKE_OUT(fake_alloc(&drv, 100, 1), i == 1 ? 1 : 100);
		bufs[1] = FAKE_IN(fake_alloc(&drv, 100, 1), 1);
		if (i == 2)
			bufs[0] = bufs[1];
		ck_assert_int_eq(fake_request(&drv, 2, bufs, i == 1 ? 2 : 1), -1);
		ck_assert(is_broken());
		teardown();
	}
}
END_TEST

START_TEST(test_control_refused)
{
	static const uint64_t none = 0;
	static const uint16_t two = 2;

	setup_pairs(2, CTRL | BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | OFFLOADS);
	rig_end->refuse = 2;
	ck_assert_int_eq(command(4, 4, 0, &two, 2), VIRTIO_NET_ERR);
	ck_assert_int_eq(command(4, 5, 0, &none, 8), VIRTIO_NET_ERR);
	ck_assert_uint_eq(rig_end->offloads, NET_CSUM | NET_TSO4);
	ck_assert_int_eq(command(4, 5, 0, &none, 8), VIRTIO_NET_OK);
	ck_assert_uint_eq(rig_end->offloads, 0);
	teardown();
}
END_TEST

/* ---- filters ---- */

#define FILTERS (CTRL | MRG | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

/* Does a frame reach the guest, which has room for it? */
static bool comes(const uint8_t *frame, size_t n)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	const struct net_counters *counters = &rig_end->net.counters;
	const uint64_t received = counters->received, dropped = counters->received_dropped;

	rig_put(0, &header, frame, n);
	while (counters->received == received && counters->received_dropped == dropped)
		poll(NULL, 0, 1);
	return counters->received != received;
}

/* Which of these four come: bits from the lowest on */
static unsigned passing(const uint8_t *own)
{
	const uint8_t *to[] = { own, other, group, broadcast };
	uint8_t frame[60];
	unsigned bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(to); i++) {
		rig_fill(frame, sizeof(frame), to[i], (uint8_t)i);
		bits |= (unsigned)comes(frame, sizeof(frame)) << i;
	}
	return bits;
}

static void mode(uint8_t cmd, uint8_t on)
{
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_RX, cmd, &on, 1), VIRTIO_NET_OK);
}

static void table(const uint8_t *uni, const uint8_t *multi)
{
	uint8_t data[2 * (4 + NET_MAC_BYTES)] = { 0 };
	uint32_t n = 4;

	data[0] = uni != NULL;
	if (uni)
		memcpy(data + n, uni, NET_MAC_BYTES), n += NET_MAC_BYTES;
	data[n] = multi != NULL;
	n += 4;
	if (multi)
		memcpy(data + n, multi, NET_MAC_BYTES), n += NET_MAC_BYTES;
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_MAC, 0, data, n), VIRTIO_NET_OK);
}

START_TEST(test_filter)
{
	static const uint8_t third[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 11 };
	static uint8_t many[8 + 100 * NET_MAC_BYTES] = { 100 };

	setup(FILTERS);
	offer_many(0, 60, 100);
	ck_assert_uint_eq(passing(mac), 15); /* until the driver says something */
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(passing(mac), 9);
	mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	ck_assert_uint_eq(passing(mac), 13);
	mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 0);
	mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1);
	ck_assert_uint_eq(passing(mac), 11);
	mode(VIRTIO_NET_CTRL_RX_ALLUNI, 0);
	table(other, NULL);
	ck_assert_uint_eq(passing(mac), 11);
	table(NULL, group);
	ck_assert_uint_eq(passing(mac), 13);
	mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1);
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	ck_assert_uint_eq(passing(mac), 1);
	mode(VIRTIO_NET_CTRL_RX_NOUNI, 1);
	ck_assert_uint_eq(passing(mac), 0);
	mode(VIRTIO_NET_CTRL_RX_NOMULTI, 0);
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, 0);
	mode(VIRTIO_NET_CTRL_RX_NOUNI, 0);
	table(NULL, NULL);
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_MAC, 1, third, NET_MAC_BYTES), VIRTIO_NET_OK);
	ck_assert_uint_eq(passing(mac), 8);
	ck_assert_uint_eq(passing(third), 9);
	ck_assert_uint_eq(virtio_config_read(dev, 5, 1), 11);
	/* More than there is room for: all pass. */
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_MAC, 0, many, sizeof(many)), VIRTIO_NET_OK);
	ck_assert_uint_eq(passing(mac), 11);
	teardown();
}
END_TEST

static bool vlan_passes(uint16_t id)
{
	uint8_t frame[64];

	rig_fill(frame, sizeof(frame), mac, 1);
	frame[12] = 0x81;
	frame[13] = 0;
	frame[14] = (uint8_t)(id >> 8 | 0xe0);
	frame[15] = (uint8_t)id;
	return comes(frame, sizeof(frame));
}

START_TEST(test_vlan)
{
	uint16_t id = 4095;

	setup(CTRL | MRG | BIT(VIRTIO_NET_F_CTRL_VLAN));
	offer_many(0, 60, 100);
	ck_assert(!vlan_passes(0) && !vlan_passes(4095));
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_VLAN, 0, &id, 2), VIRTIO_NET_OK);
	ck_assert(!vlan_passes(0) && vlan_passes(4095) && !vlan_passes(4094));
	ck_assert_int_eq(command(2, VIRTIO_NET_CTRL_VLAN, 1, &id, 2), VIRTIO_NET_OK);
	ck_assert(!vlan_passes(4095));
	teardown();
	setup(CTRL | MRG);
	offer_many(0, 60, 100);
	ck_assert(vlan_passes(0) && vlan_passes(4095));
	teardown();
}
END_TEST

/* ---- pairs, link, room, standing still ---- */

START_TEST(test_pairs)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	static const uint16_t two = 2, one = 1;
	uint8_t frame[100], got[2048];
	size_t n;
	gpa_t at;

	setup_pairs(2, CTRL | MRG | BIT(VIRTIO_NET_F_MQ));
	at = offer_many(2, 8, 1600);
	rig_fill(frame, sizeof(frame), mac, 1);
	rig_put(1, &header, frame, sizeof(frame));
	send_cut(3, &header, frame, sizeof(frame), (const unsigned[]){ 0 }); /* not in use yet: dropped */
	ck_assert_uint_eq(rig_end->net.counters.sent_dropped, 1);
	ck_assert_int_lt(fake_used(&drv.queue[2], &(uint32_t){ 0 }), 0);
	ck_assert_int_eq(command(4, VIRTIO_NET_CTRL_MQ, 0, &two, 2), VIRTIO_NET_OK);
	ck_assert_uint_eq(rig_end->pairs, 2);
	ck_assert_uint_eq(take(2, &at, 1600, got, &n), 1);
	send_cut(3, &header, frame, sizeof(frame), (const unsigned[]){ 0 });
	assert_sent(1, frame, sizeof(frame));
	ck_assert_int_eq(command(4, VIRTIO_NET_CTRL_MQ, 0, &one, 2), VIRTIO_NET_OK);
	send_frame(&header, frame, sizeof(frame));
	assert_sent(0, frame, sizeof(frame));
	teardown();
}
END_TEST

START_TEST(test_link)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[100], got[2048];
	unsigned irqs;
	size_t n;
	gpa_t at;

	setup(MRG | BIT(VIRTIO_NET_F_STATUS));
	at = offer_many(0, 8, 1600);
	rig_fill(frame, sizeof(frame), mac, 1);
	irqs = fake_config_irqs(&drv);
	virtio_net_set_link(dev, false);
	fake_wait_config_irq(&drv, irqs + 1);
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), 0);
	ck_assert(!virtio_net_link(dev));
	send_frame(&header, frame, sizeof(frame));
	ck_assert_uint_eq(rig_end->net.counters.sent_dropped, 1);
	rig_put(0, &header, frame, sizeof(frame));
	while (!rig_end->net.counters.received_dropped)
		poll(NULL, 0, 1);
	virtio_net_set_link(dev, false); /* again: no change */
	ck_assert_uint_eq(fake_config_irqs(&drv), irqs + 1);
	virtio_net_set_link(dev, true);
	fake_wait_config_irq(&drv, irqs + 2);
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	rig_put(0, &header, frame, sizeof(frame));
	ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
	send_frame(&header, frame, sizeof(frame));
	assert_sent(0, frame, sizeof(frame));
	/* and the other end's own */
	close(rig_end->peer[0]);
	rig_end->peer[0] = -1;
	fake_wait_config_irq(&drv, irqs + 3);
	ck_assert_uint_eq(virtio_config_read(dev, 6, 2), 0);
	ck_assert(rig_end->net.broken);
	teardown();
}
END_TEST

/* The other end takes nothing: what is sent waits, what is received does not. */
START_TEST(test_full)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[1000], got[2048];
	unsigned added = 0;
	size_t n;
	gpa_t at;

	setup(MRG);
	at = offer_many(0, 8, 1600);
	while (!rig_end->full[0]) {
		const gpa_t out = fake_alloc(&drv, HDR + sizeof(frame), 1);

		rig_fill(frame, sizeof(frame), other, (uint8_t)added);
		memcpy((char *)fake_at(&drv, out) + HDR, frame, sizeof(frame));
		while (fake_used(&drv.queue[1], &(uint32_t){ 0 }) >= 0)
			;
		if (fake_add(&drv.queue[1], &FAKE_OUT(out, HDR + sizeof(frame)), 1) < 0)
			continue;
		added++;
		fake_notify(&drv, 1);
	}
	rig_fill(frame, sizeof(frame), mac, 9);
	rig_put(0, &header, frame, sizeof(frame));
	ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
	for (unsigned i = 0; i < added; i++) {
		rig_fill(frame, sizeof(frame), other, (uint8_t)i);
		assert_sent(0, frame, sizeof(frame));
	}
	ck_assert_uint_eq(rig_end->net.counters.sent, added);
	teardown();
}
END_TEST

/* What was taken off the rings is put back, and nothing moves; then all goes on. */
START_TEST(test_hold)
{
	static const uint64_t formats[] = { MRG, MRG | FAKE_EVENT_IDX, MRG | FAKE_PACKED | FAKE_EVENT_IDX, 0 };
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[100], got[2048];
	size_t n;

	for (size_t f = 0; f < ARRAY_SIZE(formats); f++) {
		gpa_t at;

		setup(formats[f]);
		at = offer_many(0, 32, 1600);
		rig_fill(frame, sizeof(frame), mac, 1);
		for (unsigned i = 0; i < 6; i++) {
			rig_put(0, &header, frame, sizeof(frame));
			ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
			virtio_dev_hold_begin(dev);
			ck_assert(virtio_dev_hold_wait(dev, now_ms() + WAIT_MS));
			ck_assert(virtq_rests(&dev->queue[0].vq));
			rig_put(0, &header, frame, sizeof(frame));
			poll(NULL, 0, 5);
			ck_assert_int_lt(fake_used(&drv.queue[0], &(uint32_t){ 0 }), 0);
			virtio_dev_hold_end(dev);
			ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
			ck_assert_mem_eq(got + HDR, frame, sizeof(frame));
		}
		teardown();
	}
}
END_TEST

/* A driver that goes away and comes back, while frames come */
START_TEST(test_reset)
{
	const struct virtio_net_hdr_v1 header = { 0 };
	uint8_t frame[100], got[2048];
	size_t n;

	setup(MRG);
	rig_fill(frame, sizeof(frame), mac, 1);
	for (unsigned i = 0; i < 10; i++) {
		gpa_t at = offer_many(0, 8, 1600);

		rig_put(0, &header, frame, sizeof(frame));
		ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
		rig_put(0, &header, frame, sizeof(frame));
		ck_assert(fake_probe(&drv, i % 2 ? MRG : MRG | FAKE_EVENT_IDX, 64));
		/* what came meanwhile is there, or was given to the driver that went */
		at = offer_many(0, 8, 1600);
		rig_put(0, &header, frame, sizeof(frame));
		ck_assert_uint_eq(take(0, &at, 1600, got, &n), 1);
		ck_assert(fake_probe(&drv, MRG, 64));
	}
	teardown();
}
END_TEST

START_TEST(test_mac)
{
	uint8_t a[NET_MAC_BYTES], b[NET_MAC_BYTES];

	net_mac("one", 0, a);
	net_mac("one", 0, b);
	ck_assert_mem_eq(a, b, sizeof(a));
	ck_assert_uint_eq(a[0], 2);
	net_mac("one", 1, b);
	ck_assert(memcmp(a, b, sizeof(a)));
	net_mac("two", 0, b);
	ck_assert(memcmp(a, b, sizeof(a)));
}
END_TEST

UNIT_MAIN("net", test_config, test_features, test_offloads, test_refused, test_send, test_send_scattered,
	  test_send_header, test_send_sizes, test_send_broken, test_receive, test_receive_flags, test_receive_merged,
	  test_receive_scattered, test_receive_late, test_receive_too_large, test_receive_broken, test_control,
	  test_control_queue, test_control_broken, test_control_refused, test_filter, test_vlan, test_pairs, test_link,
	  test_full, test_hold, test_reset, test_mac)
