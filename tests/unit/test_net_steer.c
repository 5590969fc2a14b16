/* Links: virtio/net.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o util/log.o util/loop.o tests/unit/fake-ring.o tests/unit/fake-driver.o */

/* A network device that steers by itself: hashes, where frames go, what a driver may say of that, and what they wait for. */
#include "unit.h"

#include <arpa/inet.h>
#include <endian.h>

#include "../../virtio/net-internal.h"
#include "fake-driver.h"
#include "lkvm/clock.h"
#include "net-rig.h"

#define BIT(n)  (1ULL << (n))
#define WAIT_MS 10000
#define CTRL    (BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_MRG_RXBUF))
#define RSS     (CTRL | BIT(VIRTIO_NET_F_RSS))
#define HASHES  (CTRL | BIT(VIRTIO_NET_F_HASH_REPORT))
#define PAIRS   4
#define CONTROL (2 * PAIRS)
#define ROOM    1600

/* The key and the values that Microsoft has published for who writes such a function */
static const uint8_t key[NET_KEY_BYTES] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
	0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static const struct published {
	int family;
	const char *to, *from;
	uint16_t to_port, from_port;
	uint32_t addresses, ports; /* hashes */
} published[] = {
	{ AF_INET, "161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178 },
	{ AF_INET, "65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea },
	{ AF_INET, "12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a },
	{ AF_INET, "209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f },
	{ AF_INET, "202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2 },
	{ AF_INET6, "3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d },
	{ AF_INET6, "ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf },
	{ AF_INET6, "fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251, 0x4b61e985, 0x02d1feef },
};

static const uint8_t mac[NET_MAC_BYTES] = { 2, 0, 0, 0, 0, 9 };

/* ---- frames ---- */

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* @between: so many bytes of headers between that of IP and the ports, which @next is the first of. Return: bytes */
static size_t packet(uint8_t *frame, const struct published *p, uint8_t next, const uint8_t *between, size_t n_between)
{
	const size_t head = p->family == AF_INET ? 20 : 40, addresses = p->family == AF_INET ? 4 : 16;
	uint8_t *ip = frame + 14, *at = ip + (p->family == AF_INET ? 12 : 8);

	memset(frame, 0, 200);
	memcpy(frame, mac, sizeof(mac));
	put16(frame + 12, p->family == AF_INET ? 0x0800 : 0x86dd);
	ip[0] = p->family == AF_INET ? 0x45 : 0x60;
	ip[p->family == AF_INET ? 9 : 6] = next;
	ck_assert_int_eq(inet_pton(p->family, p->from, at), 1);
	ck_assert_int_eq(inet_pton(p->family, p->to, at + addresses), 1);
	if (n_between)
		memcpy(ip + head, between, n_between);
	put16(ip + head + n_between, p->from_port);
	put16(ip + head + n_between + 2, p->to_port);
	return 14 + head + n_between + 20;
}

/* ---- hashes ---- */

static struct net_hash hash;

static void assert_hash(const uint8_t *frame, size_t n, uint16_t report, uint32_t value)
{
	uint32_t got = 0xee;

	ck_assert_uint_eq(net_hash_frame(&hash, frame, n, &got), report);
	ck_assert_uint_eq(got, value);
}

START_TEST(test_published)
{
	uint8_t frame[200];

	for (size_t i = 0; i < ARRAY_SIZE(published); i++) {
		const struct published *p = &published[i];
		const bool v6 = p->family == AF_INET6;
		const uint16_t more = v6 ? VIRTIO_NET_HASH_REPORT_IPv6 - VIRTIO_NET_HASH_REPORT_IPv4 : 0;
		size_t n;

		net_hash_set(&hash, NET_HASH_TYPES, key, sizeof(key));
		n = packet(frame, p, 6, NULL, 0);
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_TCPv4 + more, p->ports);
		n = packet(frame, p, 17, NULL, 0);
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_UDPv4 + more, p->ports);
		n = packet(frame, p, 1, NULL, 0);
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_IPv4 + more, p->addresses);
		n = packet(frame, p, 17, NULL, 0);
		net_hash_set(&hash, NET_HASH_TYPES & ~0x24U, key, sizeof(key)); /* of UDP the addresses alone */
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_IPv4 + more, p->addresses);
		net_hash_set(&hash, v6 ? 0x10 : 0x02, key, sizeof(key)); /* TCP alone */
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_NONE, 0);
		net_hash_set(&hash, 0, key, sizeof(key));
		assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_NONE, 0);
	}
}
END_TEST

/* A key that is short is one with zeros behind it. */
START_TEST(test_key)
{
	uint8_t frame[200], padded[NET_KEY_BYTES] = { 0 };
	const size_t n = packet(frame, &published[5], 6, NULL, 0);
	uint32_t want, got;

	memcpy(padded, key, 7);
	net_hash_set(&hash, NET_HASH_TYPES, padded, sizeof(padded));
	net_hash_frame(&hash, frame, n, &want);
	net_hash_set(&hash, NET_HASH_TYPES, key, sizeof(key));
	net_hash_set(&hash, NET_HASH_TYPES, key, 7);
	net_hash_frame(&hash, frame, n, &got);
	ck_assert_uint_eq(got, want);
	net_hash_set(&hash, NET_HASH_TYPES, NULL, 0);
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_TCPv6, 0);
}
END_TEST

/* What stands between the addresses of Ethernet and the ports */
START_TEST(test_headers)
{
	static const struct {
		unsigned of;
		uint8_t next, n, between[24];
		uint16_t report;
	} table[] = {
		{ 5, 0, 8, { 6 }, VIRTIO_NET_HASH_REPORT_TCPv6 },
		{ 5, 60, 16, { 17, 1 }, VIRTIO_NET_HASH_REPORT_UDPv6 },
		{ 5, 43, 16, { 60, 0, 0, 0, 0, 0, 0, 0, 6 }, VIRTIO_NET_HASH_REPORT_TCPv6 },
		{ 5, 44, 8, { 6, 0, 0, 0 }, VIRTIO_NET_HASH_REPORT_TCPv6 }, /* a fragment that is all */
		{ 5, 44, 8, { 6, 0, 0, 1 }, VIRTIO_NET_HASH_REPORT_IPv6 },
		{ 5, 44, 8, { 6, 0, 0, 8 }, VIRTIO_NET_HASH_REPORT_IPv6 },
		{ 5, 44, 8, { 6, 255, 0, 0 }, VIRTIO_NET_HASH_REPORT_TCPv6 }, /* it has no length */
		{ 5, 0, 8, { 6, 255 }, VIRTIO_NET_HASH_REPORT_IPv6 },
		{ 5, 0, 8, { 59 }, VIRTIO_NET_HASH_REPORT_IPv6 },
		{ 5, 50, 8, { 6 }, VIRTIO_NET_HASH_REPORT_IPv6 },
	};
	uint8_t frame[200], tagged[200];

	net_hash_set(&hash, NET_HASH_TYPES, key, sizeof(key));
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct published *p = &published[table[i].of];
		const size_t n = packet(frame, p, table[i].next, table[i].between, table[i].n);

		assert_hash(frame, n, table[i].report,
			    table[i].report == VIRTIO_NET_HASH_REPORT_IPv6 ? p->addresses : p->ports);
	}
	for (unsigned tags = 1; tags <= 3; tags++) {
		const size_t n = packet(frame, &published[0], 6, NULL, 0);

		memcpy(tagged, frame, 12);
		for (unsigned i = 0; i < tags; i++)
			put16(tagged + 12 + 4 * i, i + 1 < tags ? 0x88a8 : 0x8100);
		memcpy(tagged + 12 + 4 * tags, frame + 12, n - 12);
		if (tags <= 2)
			assert_hash(tagged, n + 4 * tags, VIRTIO_NET_HASH_REPORT_TCPv4, published[0].ports);
		else
			assert_hash(tagged, n + 4 * tags, VIRTIO_NET_HASH_REPORT_NONE, 0);
	}
}
END_TEST

START_TEST(test_ipv4_headers)
{
	const struct published *p = &published[0];
	uint8_t frame[200], *ip = frame + 14;
	static const uint8_t options[4];
	size_t n;

	net_hash_set(&hash, NET_HASH_TYPES, key, sizeof(key));
	n = packet(frame, p, 6, options, 4);
	ip[0] = 0x46;
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_TCPv4, p->ports);
	n = packet(frame, p, 6, NULL, 0);
	put16(ip + 6, 0x4000); /* it must not be fragmented */
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_TCPv4, p->ports);
	put16(ip + 6, 0x2000);
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_IPv4, p->addresses);
	put16(ip + 6, 1);
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_IPv4, p->addresses);
	put16(ip + 6, 0);
	ip[0] = 0x44; /* shorter than it can be */
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_NONE, 0);
	ip[0] = 0x55;
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_NONE, 0);
	ip[0] = 0x4f; /* longer than the frame */
	assert_hash(frame, n, VIRTIO_NET_HASH_REPORT_NONE, 0);
}
END_TEST

/* Each frame that is shorter than all, in memory that ends with it */
START_TEST(test_short)
{
	static const uint8_t extensions[16] = { 60, 0, 0, 0, 0, 0, 0, 0, 6 };

	net_hash_set(&hash, NET_HASH_TYPES, key, sizeof(key));
	for (unsigned i = 0; i < 3; i++) {
		uint8_t frame[200];
		const size_t n = packet(frame, &published[i ? 5 : 0], i == 2 ? 0 : 6, extensions, i == 2 ? 16 : 0);

		for (size_t cut = NET_MIN_FRAME; cut <= n; cut++) {
			const size_t ip = i ? 54 : 34, ports = ip + (i == 2 ? 16 : 0) + 4;
			uint8_t *part = malloc(cut);
			uint32_t value;
			uint16_t report;

			memcpy(part, frame, cut);
			report = net_hash_frame(&hash, part, cut, &value);
			ck_assert_uint_eq(report != VIRTIO_NET_HASH_REPORT_NONE, cut >= ip);
			ck_assert_uint_eq(value == published[i ? 5 : 0].ports, cut >= ports);
			free(part);
		}
	}
}
END_TEST

/* ---- the device ---- */

static struct fake_driver drv;
static struct virtio_dev *dev;
static size_t head;

static void make(unsigned pairs)
{
	fake_init(&drv, 16);
	rig_config = (struct net_config){ .rss = true };
	memcpy(rig_config.mac, mac, sizeof(mac));
	rig_open(1, 1500)->steered = pairs;
	ck_assert_int_eq(virtio_net_new(drv.ram, "net0", &rig_end->net, &dev), 0);
	fake_attach(&drv, dev);
}

static void setup(uint64_t features)
{
	make(PAIRS);
	ck_assert(fake_probe(&drv, features, 64));
	head = features & BIT(VIRTIO_NET_F_HASH_REPORT) ? NET_HASH_HDR_BYTES : NET_HDR_BYTES;
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

START_TEST(test_config)
{
	static const struct {
		uint64_t features;
		bool good;
	} table[] = {
		{ RSS, true }, { RSS | HASHES, true }, { HASHES, true }, { BIT(VIRTIO_NET_F_HASH_REPORT), true },
		{ BIT(VIRTIO_NET_F_RSS), false }, { RSS | BIT(VIRTIO_NET_F_MQ), true },
	};

	setup(RSS);
	ck_assert_uint_eq(dev->n_queues, 2 * PAIRS + 1);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 2), PAIRS);
	ck_assert_uint_eq(virtio_config_read(dev, 16, 1), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 17, 1), 40);
	ck_assert_uint_eq(virtio_config_read(dev, 18, 2), 128);
	ck_assert_uint_eq(virtio_config_read(dev, 20, 4), 0x3f);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_msg(fake_negotiate(&drv, table[i].features) == table[i].good, "%zu", i);
	teardown();
	make(1); /* hashes alone */
	ck_assert(!fake_negotiate(&drv, BIT(VIRTIO_NET_F_MQ) | CTRL));
	ck_assert(fake_negotiate(&drv, HASHES | RSS));
	teardown();
}
END_TEST

/* ---- commands ---- */

struct words {
	uint8_t bytes[400];
	uint32_t n;
};

static void add(struct words *w, uint64_t value, unsigned bytes)
{
	value = htole64(value);
	memcpy(w->bytes + w->n, &value, bytes);
	w->n += bytes;
}

static int command(unsigned queue, uint8_t cmd, const struct words *w)
{
	const gpa_t at = fake_alloc(&drv, 2 + w->n, 1), answer = fake_alloc(&drv, 1, 1);
	const struct fake_buf bufs[] = { FAKE_OUT(at, 2 + w->n), FAKE_IN(answer, 1) };
	uint8_t *bytes = fake_at(&drv, at);

	bytes[0] = VIRTIO_NET_CTRL_MQ;
	bytes[1] = cmd;
	memcpy(bytes + 2, w->bytes, w->n);
	*(uint8_t *)fake_at(&drv, answer) = 0xee;
	ck_assert_int_eq(fake_request(&drv, queue, bufs, 2), 1);
	return *(uint8_t *)fake_at(&drv, answer);
}

struct rss {
	uint32_t types;
	unsigned mask, unclassified, entries, entry, pairs, key_says, key_bytes;
};

static const struct rss good_rss = { 0x3f, 127, 3, 128, 0, PAIRS, 40, 40 };

/* Its table is 0, 1, 2, 3, 0, ..., and its last entry @entry, if that is not 0 */
static struct words words_of(const struct rss *rss)
{
	struct words w = { .n = 0 };

	add(&w, rss->types, 4);
	add(&w, rss->mask, 2);
	add(&w, rss->unclassified, 2);
	for (unsigned i = 0; i < rss->entries; i++)
		add(&w, i + 1 == rss->entries && rss->entry ? rss->entry : i % PAIRS, 2);
	add(&w, rss->pairs, 2);
	add(&w, rss->key_says, 1);
	for (unsigned i = 0; i < rss->key_bytes; i++)
		add(&w, i < sizeof(key) ? key[i] : 0, 1);
	return w;
}

static int steer(const struct rss *rss)
{
	const struct words w = words_of(rss);

	return command(CONTROL, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &w);
}

START_TEST(test_rss_command)
{
	static const struct {
		struct rss rss;
		bool good;
	} table[] = {
		{ { 0x3f, 127, 3, 128, 0, 4, 40, 40 }, true }, { { 0, 0, 0, 1, 0, 1, 0, 0 }, true },
		{ { 0x3f, 1, 0, 2, 3, 4, 1, 1 }, true }, { { 0x40, 127, 3, 128, 0, 4, 40, 40 }, false },
		{ { 0x80000000, 127, 3, 128, 0, 4, 40, 40 }, false }, { { 0x3f, 2, 3, 3, 0, 4, 40, 40 }, false },
		{ { 0x3f, 128, 3, 129, 0, 4, 40, 40 }, false }, { { 0x3f, 255, 3, 128, 0, 4, 40, 40 }, false },
		{ { 0x3f, 65535, 3, 128, 0, 4, 40, 40 }, false }, { { 0x3f, 127, 4, 128, 0, 4, 40, 40 }, false },
		{ { 0x3f, 127, 65535, 128, 0, 4, 40, 40 }, false }, { { 0x3f, 127, 0, 128, 4, 4, 40, 40 }, false },
		{ { 0x3f, 127, 0, 128, 65535, 4, 40, 40 }, false }, { { 0x3f, 127, 0, 128, 0, 0, 40, 40 }, false },
		{ { 0x3f, 127, 0, 128, 0, 5, 40, 40 }, false }, { { 0x3f, 127, 0, 128, 0, 65535, 40, 40 }, false },
		{ { 0x3f, 127, 0, 128, 0, 4, 41, 41 }, false }, { { 0x3f, 127, 0, 128, 0, 4, 255, 40 }, false },
		{ { 0x3f, 127, 0, 128, 0, 4, 40, 39 }, false }, { { 0x3f, 127, 0, 128, 0, 4, 40, 41 }, true }, /* as Linux's */
		{ { 0x3f, 127, 0, 127, 0, 4, 40, 40 }, false },
	};

	for (unsigned none = 0; none < 2; none++) {
		setup(none ? HASHES | BIT(VIRTIO_NET_F_MQ) : RSS);
		for (size_t i = 0; i < ARRAY_SIZE(table); i++)
			ck_assert_msg(steer(&table[i].rss) == !(table[i].good && !none), "%zu", i);
		ck_assert(!is_broken());
		teardown();
	}
	/* Cut off at each byte */
	setup(RSS);
	for (struct words w = words_of(&good_rss); w.n--;)
		ck_assert_int_eq(command(CONTROL, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &w), VIRTIO_NET_ERR);
	ck_assert_int_eq(steer(&good_rss), VIRTIO_NET_OK);
	teardown();
}
END_TEST

static int ask_hashes(unsigned queue, uint32_t types, unsigned key_says, unsigned key_bytes)
{
	struct words w = { .n = 0 };

	add(&w, types, 4);
	add(&w, 0x1234, 8);
	add(&w, key_says, 1);
	for (unsigned i = 0; i < key_bytes; i++)
		add(&w, i < sizeof(key) ? key[i] : 0, 1);
	return command(queue, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, &w);
}

/* Without MQ and RSS the control queue comes behind the first pair. */
START_TEST(test_hash_command)
{
	setup(HASHES);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 40, 40), VIRTIO_NET_OK);
	ck_assert_int_eq(ask_hashes(2, 0, 0, 0), VIRTIO_NET_OK);
	ck_assert_int_eq(ask_hashes(2, 0x1ff, 40, 40), VIRTIO_NET_ERR);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 41, 41), VIRTIO_NET_ERR);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 40, 39), VIRTIO_NET_ERR);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 39, 40), VIRTIO_NET_OK); /* a struct that is filled up */
	teardown();
	setup(HASHES | RSS); /* which has one for both */
	ck_assert_int_eq(ask_hashes(CONTROL, 0x3f, 40, 40), VIRTIO_NET_ERR);
	teardown();
	setup(CTRL);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 40, 40), VIRTIO_NET_ERR);
	teardown();
}
END_TEST

/* ---- frames come ---- */

static gpa_t at[PAIRS];

/* Buffers of ROOM bytes */
static void offer(unsigned pair, unsigned n)
{
	const gpa_t memory = fake_alloc(&drv, (uint64_t)n * ROOM, 1);

	at[pair] = memory;
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_ge(fake_add(&drv.queue[2 * pair], &FAKE_IN(GPA(memory.v + i * ROOM), ROOM), 1), 0);
	if (fake_must_notify(&drv.queue[2 * pair]))
		fake_notify(&drv, 2 * pair);
}

static void comes(const uint8_t *frame, size_t n)
{
	static const struct virtio_net_hdr_v1 header;

	rig_put(0, &header, frame, n);
}

/* It is at queue @pair, with its header. */
static void assert_comes(unsigned pair, const uint8_t *frame, size_t n, uint16_t report, uint32_t value)
{
	const uint8_t *got = fake_at(&drv, at[pair]);
	struct virtio_net_hdr_v1_hash header;
	uint32_t written;

	ck_assert_int_ge(fake_wait_used(&drv, 2 * pair, &written), 0);
	ck_assert_uint_eq(written, head + n);
	memcpy(&header, got, head);
	ck_assert_uint_eq(le16toh(header.hdr.num_buffers), 1);
	if (head > NET_HDR_BYTES) {
		ck_assert_uint_eq(le16toh(header.hash_report), report);
		ck_assert_uint_eq(le32toh(header.hash_value), value);
		ck_assert_uint_eq(header.padding, 0);
	}
	ck_assert_mem_eq(got + head, frame, n);
	at[pair].v += ROOM;
}

START_TEST(test_flows)
{
	static const uint64_t features[] = { RSS, RSS | HASHES, RSS | HASHES | FAKE_EVENT_IDX };
	const struct words one = { .bytes = { 1 }, .n = 2 };
	uint8_t frame[200], odd[60];

	for (size_t f = 0; f < ARRAY_SIZE(features); f++) {
		setup(features[f] | BIT(VIRTIO_NET_F_MQ));
		for (unsigned i = 0; i < PAIRS; i++)
			offer(i, 20);
		rig_fill(odd, sizeof(odd), mac, 1);
		comes(odd, sizeof(odd)); /* nothing was asked for */
		assert_comes(0, odd, sizeof(odd), VIRTIO_NET_HASH_REPORT_NONE, 0);
		ck_assert_int_eq(steer(&good_rss), VIRTIO_NET_OK);
		for (size_t i = 0; i < ARRAY_SIZE(published); i++) {
			const struct published *p = &published[i];
			const size_t n = packet(frame, p, 6, NULL, 0);

			comes(frame, n);
			assert_comes(p->ports % PAIRS, frame, n, p->family == AF_INET ? 2 : 5, p->ports);
			packet(frame, p, 1, NULL, 0);
			comes(frame, n);
			assert_comes(p->addresses % PAIRS, frame, n, p->family == AF_INET ? 1 : 4, p->addresses);
		}
		comes(odd, sizeof(odd));
		assert_comes(3, odd, sizeof(odd), VIRTIO_NET_HASH_REPORT_NONE, 0); /* unclassified */
		/* By pairs again: hashes stay */
		ck_assert_int_eq(command(CONTROL, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &one), VIRTIO_NET_OK);
		packet(frame, &published[1], 6, NULL, 0);
		comes(frame, 60);
		assert_comes(0, frame, 60, 2, published[1].ports);
		ck_assert_uint_eq(rig_end->net.counters.received_dropped, 0);
		teardown();
	}
}
END_TEST

/* A mask of fewer entries */
START_TEST(test_table)
{
	const struct rss two = { 0x3f, 1, 0, 2, 3, PAIRS, 40, 40 };
	uint8_t frame[200];

	setup(RSS);
	for (unsigned i = 0; i < PAIRS; i++)
		offer(i, 20);
	ck_assert_int_eq(steer(&two), VIRTIO_NET_OK); /* 0, 3 */
	for (size_t i = 0; i < ARRAY_SIZE(published); i++) {
		const size_t n = packet(frame, &published[i], 6, NULL, 0);

		comes(frame, n);
		assert_comes(published[i].ports & 1 ? 3 : 0, frame, n, 0, 0);
	}
	teardown();
}
END_TEST

/* A header of 20 bytes over small buffers, and in a chain of one byte each */
START_TEST(test_merged)
{
	struct fake_buf bufs[64];
	uint8_t frame[200], got[300];
	const struct published *p = &published[0];
	const size_t n = packet(frame, p, 6, NULL, 0);
	uint32_t written, done = 0;
	gpa_t to;

	setup(HASHES);
	ck_assert_int_eq(ask_hashes(2, 0x3f, 40, 40), VIRTIO_NET_OK);
	to = fake_alloc(&drv, 200, 1);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_ge(fake_add(&drv.queue[0], &FAKE_IN(GPA(to.v + 20 * i), 20), 1), 0);
	fake_notify(&drv, 0);
	comes(frame, n);
	while (done < head + n) {
		ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
		done += written;
	}
	memcpy(got, fake_at(&drv, to), done);
	ck_assert_uint_eq(got[10], 4);
	ck_assert_uint_eq(le32toh(((struct virtio_net_hdr_v1_hash *)got)->hash_value), p->ports);
	ck_assert_mem_eq(got + head, frame, n);
	teardown();
	setup(HASHES & ~BIT(VIRTIO_NET_F_MRG_RXBUF));
	ck_assert_int_eq(ask_hashes(2, 0x3f, 40, 40), VIRTIO_NET_OK);
	to = fake_alloc(&drv, 200, 1);
	for (unsigned i = 0; i < 24; i++)
		bufs[i] = FAKE_IN(GPA(to.v + i), 1);
	bufs[24] = FAKE_IN(GPA(to.v + 24), 100);
	ck_assert_int_ge(fake_add(&drv.queue[0], bufs, 25), 0);
	fake_notify(&drv, 0);
	comes(frame, n);
	ck_assert_int_ge(fake_wait_used(&drv, 0, &written), 0);
	memcpy(got, fake_at(&drv, to), written);
	ck_assert_uint_eq(le32toh(((struct virtio_net_hdr_v1_hash *)got)->hash_value), p->ports);
	ck_assert_mem_eq(got + head, frame, n);
	teardown();
	/* and one that has no room for it */
	setup(HASHES);
	ck_assert_int_ge(fake_add(&drv.queue[0], &FAKE_IN(fake_alloc(&drv, 20, 1), 19), 1), 0);
	fake_notify(&drv, 0);
	comes(frame, n);
	fake_wait_config_irq(&drv, 1);
	ck_assert(is_broken());
	ck_assert(fake_probe(&drv, HASHES, 64));
	offer(0, 1);
	comes(frame, n);
	assert_comes(0, frame, n, 0, 0);
	teardown();
}
END_TEST

/* One waits for buffers, and all behind it; none is lost. */
START_TEST(test_waits)
{
	uint8_t frame[200], other[60];
	const struct published *p = &published[0]; /* to queue 0 */
	const size_t n = packet(frame, p, 6, NULL, 0);
	uint32_t written;

	setup(RSS | FAKE_EVENT_IDX);
	ck_assert_int_eq(steer(&good_rss), VIRTIO_NET_OK);
	rig_fill(other, sizeof(other), mac, 1);
	offer(3, 4);
	comes(frame, n);
	comes(other, sizeof(other));
	poll(NULL, 0, 20);
	ck_assert_int_lt(fake_used(&drv.queue[6], &written), 0);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + WAIT_MS));
	ck_assert(virtq_rests(&dev->queue[6].vq));
	virtio_dev_hold_end(dev);
	offer(p->ports % PAIRS, 4);
	assert_comes(p->ports % PAIRS, frame, n, 0, 0);
	assert_comes(3, other, sizeof(other), 0, 0);
	ck_assert_uint_eq(rig_end->net.counters.received_dropped, 0);
	/* without a link it is lost, and with it what comes */
	while (fake_used(&drv.queue[6], &written) >= 0)
		;
	for (unsigned i = 0; i < 8; i++)
		comes(other, sizeof(other)); /* three have a buffer */
	virtio_net_set_link(dev, false);
	comes(frame, n);
	while (rig_end->net.counters.received + rig_end->net.counters.received_dropped < 2 + 9)
		poll(NULL, 0, 1);
	virtio_net_set_link(dev, true);
	comes(frame, n);
	assert_comes(p->ports % PAIRS, frame, n, 0, 0);
	teardown();
}
END_TEST

/* What is for a queue that is not there is lost, and holds up nothing; a reset forgets all. */
START_TEST(test_no_queue)
{
	const struct rss two = { 0x3f, 1, 2, 2, 3, PAIRS, 40, 40 }; /* 0, 3; 2 */
	uint8_t frame[200], other[60];
	size_t n;

	make(PAIRS);
	head = NET_HDR_BYTES;
	ck_assert(fake_negotiate(&drv, RSS));
	for (unsigned i = 0; i <= CONTROL; i++)
		if (i != 4)
			fake_setup_queue(&drv, i, 64);
	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
				       VIRTIO_CONFIG_S_DRIVER_OK);
	fake_wait_up(&drv);
	rig_fill(other, sizeof(other), mac, 1);
	ck_assert_int_eq(steer(&two), VIRTIO_NET_OK);
	offer(0, 8);
	comes(other, sizeof(other));
	n = packet(frame, &published[0], 6, NULL, 0);
	comes(frame, n);
	assert_comes(0, frame, n, 0, 0);
	ck_assert_uint_eq(rig_end->net.counters.received_dropped, 1);
	/* One that waits for ever, and a driver that comes anew */
	n = packet(frame, &published[3], 6, NULL, 0);
	ck_assert_uint_eq(published[3].ports & 1, 1);
	comes(frame, n);
	poll(NULL, 0, 20);
	ck_assert(fake_probe(&drv, RSS, 64));
	offer(0, 8);
	comes(other, sizeof(other));
	assert_comes(0, other, sizeof(other), 0, 0);
	teardown();
}
END_TEST

/* ---- frames go ---- */

/* Also of queues beyond those that the driver has told of, as Linux's does */
START_TEST(test_send)
{
	const struct rss two = { 0x3f, 0, 0, 1, 0, 2, 40, 40 };

	for (unsigned hashes = 0; hashes < 2; hashes++) {
		uint8_t frame[60], got[100];
		struct virtio_net_hdr_v1 header;

		setup(hashes ? RSS | HASHES : RSS);
		ck_assert_int_eq(steer(&two), VIRTIO_NET_OK);
		for (unsigned pair = 0; pair < PAIRS; pair++) {
			const gpa_t from = fake_alloc(&drv, head + sizeof(frame), 1);

			rig_fill(frame, sizeof(frame), mac, (uint8_t)pair);
			memset(fake_at(&drv, from), 0xff, head);
			memset(fake_at(&drv, from), 0, NET_HDR_BYTES);
			memcpy((uint8_t *)fake_at(&drv, from) + head, frame, sizeof(frame));
			ck_assert_int_eq(fake_request(&drv, 2 * pair + 1,
						      &FAKE_OUT(from, (uint32_t)(head + sizeof(frame))), 1), 0);
			ck_assert_int_eq(rig_get(0, &header, got, sizeof(got), WAIT_MS), sizeof(frame));
			ck_assert_mem_eq(got, frame, sizeof(frame));
		}
		ck_assert_uint_eq(rig_end->net.counters.sent_dropped, 0);
		ck_assert_int_eq(fake_request(&drv, 1, &FAKE_OUT(fake_alloc(&drv, 20, 1), (uint32_t)head - 1), 1), -1);
		ck_assert(is_broken());
		teardown();
	}
}
END_TEST

/* The end takes nothing: frames of all queues wait, and go in their turn. */
START_TEST(test_full)
{
	uint8_t frame[1000], got[2048];
	struct virtio_net_hdr_v1 header;
	unsigned added = 0;

	setup(RSS);
	ck_assert_int_eq(steer(&good_rss), VIRTIO_NET_OK);
	rig_fill(frame, sizeof(frame), mac, 1);
	while (added < 4000 && !rig_end->full[0]) {
		const unsigned queue = 2 * (added % PAIRS) + 1;
		static gpa_t from;

		if (!added) {
			from = fake_alloc(&drv, NET_HDR_BYTES + sizeof(frame), 1);
			memset(fake_at(&drv, from), 0, NET_HDR_BYTES);
			memcpy((uint8_t *)fake_at(&drv, from) + NET_HDR_BYTES, frame, sizeof(frame));
		}
		while (fake_used(&drv.queue[queue], &(uint32_t){ 0 }) >= 0)
			;
		if (fake_add(&drv.queue[queue], &FAKE_OUT(from, NET_HDR_BYTES + sizeof(frame)), 1) < 0)
			continue;
		added++;
		fake_notify(&drv, queue);
	}
	ck_assert(rig_end->full[0]);
	for (unsigned i = 0; i < added; i++)
		ck_assert_int_eq(rig_get(0, &header, got, sizeof(got), WAIT_MS), sizeof(frame));
	ck_assert_int_eq(rig_get(0, &header, got, sizeof(got), 20), -1);
	teardown();
}
END_TEST

UNIT_MAIN("net-steer", test_published, test_key, test_headers, test_ipv4_headers, test_short, test_config,
	  test_rss_command, test_hash_command, test_flows, test_table, test_merged, test_waits, test_no_queue, test_send,
	  test_full)
