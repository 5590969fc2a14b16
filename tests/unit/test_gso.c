/* Links: net/gso.o net/net.o */

/* What a frame's header leaves to who does not do it: headers judged, checksums, segments, and headers that lie. */
#include "unit.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>

#include "lkvm/net.h"
#include "lkvm/net-gso.h"
#include "lkvm/types.h"

#define TSO4   VIRTIO_NET_HDR_GSO_TCPV4
#define TSO6   VIRTIO_NET_HDR_GSO_TCPV6
#define USO    VIRTIO_NET_HDR_GSO_UDP_L4
#define ECN    VIRTIO_NET_HDR_GSO_ECN
#define ALL    (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO)
#define FIN    0x01
#define PSH    0x08
#define ACK    0x10
#define CWR    0x80
#define SEQ    0xfffffff0
#define ID     0xffff

/* Header and frame, as gso_begin() takes them */
static uint8_t buf[NET_HDR_BYTES + NET_MAX_FRAME];
static uint8_t *const frame = buf + NET_HDR_BYTES;
static uint8_t out[NET_HDR_BYTES + NET_MAX_FRAME];

/* ---- headers ---- */

START_TEST(test_judge)
{
	static const struct {
		struct virtio_net_hdr_v1 h;
		size_t bytes;
		unsigned offloads;
		bool good;
	} cases[] = {
		{ { .flags = 0 }, 60, 0, true },
		{ { .flags = 0 }, NET_MIN_FRAME - 1, ALL, false },
		{ { .flags = 0 }, NET_MAX_FRAME, ALL, true },
		{ { .flags = 0 }, NET_MAX_FRAME + 1, ALL, false },
		{ { .flags = 1, .csum_start = 34, .csum_offset = 6 }, 60, 0, false },
		{ { .flags = 1, .csum_start = 34, .csum_offset = 6 }, 60, NET_CSUM, true },
		{ { .flags = 1, .csum_start = 34, .csum_offset = 24 }, 60, NET_CSUM, true },
		{ { .flags = 1, .csum_start = 34, .csum_offset = 25 }, 60, NET_CSUM, false },
		{ { .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff }, 60, NET_CSUM, false },
		{ { .flags = 0xfe, .csum_start = 0xffff, .csum_offset = 0xffff, .num_buffers = 7 }, 60, 0, true },
		{ { .flags = 1, .gso_type = TSO4, .gso_size = 50 }, 60, ALL, true },
		{ { .flags = 1, .gso_type = TSO4, .gso_size = 50 }, 60, ALL & ~NET_TSO4, false },
		{ { .flags = 1, .gso_type = TSO4, .gso_size = 50 }, 60, ALL & ~NET_CSUM, false },
		{ { .flags = 0, .gso_type = TSO4, .gso_size = 50 }, 60, ALL, false },
		{ { .flags = 1, .gso_type = TSO4, .gso_size = 0 }, 60, ALL, false },
		{ { .flags = 1, .gso_type = TSO4 | ECN, .gso_size = 50 }, 60, ALL, true },
		{ { .flags = 1, .gso_type = TSO4 | ECN, .gso_size = 50 }, 60, ALL & ~NET_ECN, false },
		{ { .flags = 1, .gso_type = TSO6, .gso_size = 50 }, 60, ALL, true },
		{ { .flags = 1, .gso_type = TSO6, .gso_size = 50 }, 60, ALL & ~NET_TSO6, false },
		{ { .flags = 1, .gso_type = USO, .gso_size = 50 }, 60, ALL, true },
		{ { .flags = 1, .gso_type = USO, .gso_size = 50 }, 60, ALL & ~NET_USO, false },
		{ { .flags = 1, .gso_type = USO | ECN, .gso_size = 50 }, 60, ALL, false },
		{ { .flags = 1, .gso_type = ECN }, 60, ALL, false },
		{ { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_UDP, .gso_size = 50 }, 60, ALL, false },
		{ { .flags = 1, .gso_type = 0x7f, .gso_size = 50 }, 60, ALL, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct virtio_net_hdr_v1 h = cases[i].h;

		ck_assert_msg(gso_judge(&h, cases[i].bytes, cases[i].offloads) == cases[i].good, "case %u", i);
		ck_assert_uint_eq(h.flags, cases[i].h.flags & 1);
		ck_assert_uint_eq(h.num_buffers, 0);
		ck_assert(h.flags || (!h.csum_start && !h.csum_offset));
	}
}
END_TEST

/* ---- frames ---- */

/* A sum as RFC 1071 has it, byte by byte. Over what has a right checksum in it, it is 0xffff. */
static uint32_t sum_of(uint32_t sum, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? at[i] : (uint32_t)at[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put(size_t at, unsigned n, uint32_t value)
{
	while (n--) {
		frame[at + n] = (uint8_t)value;
		value >>= 8;
	}
}

static uint32_t get(const uint8_t *at, unsigned n)
{
	uint32_t value = 0;

	while (n--)
		value = value << 8 | *at++;
	return value;
}

/* What is sent: by IPv4 with options, or IPv6 with a header of options, behind so many tags; TCP has options, too. */
static const struct shape {
	bool v6;
	unsigned tags, options, tcp_options;
} shapes[] = { { false, 0, 0, 0 }, { false, 1, 8, 12 }, { false, 2, 40, 40 }, { true, 0, 0, 12 }, { true, 2, 16, 0 } };

static size_t ip_of(const struct shape *s)
{
	return NET_MIN_FRAME + 4 * s->tags;
}

static size_t tcp_of(const struct shape *s)
{
	return ip_of(s) + (s->v6 ? 40 : 20) + s->options;
}

static size_t head_of(const struct shape *s)
{
	return tcp_of(s) + 20 + s->tcp_options;
}

/* The sum of what is not in TCP's own header */
static uint32_t pseudo(const struct shape *s, const uint8_t *at, size_t length)
{
	const uint8_t tail[] = { 0, 6, (uint8_t)(length >> 8), (uint8_t)length };
	const uint32_t sum = s->v6 ? sum_of(0, at + ip_of(s) + 8, 32) : sum_of(0, at + ip_of(s) + 12, 8);

	return sum_of(sum, tail, sizeof(tail));
}

/* Return: bytes of the frame; its header is in @buf, too */
static size_t make(const struct shape *s, size_t payload, size_t size, uint8_t flags)
{
	const size_t ip = ip_of(s), tcp = tcp_of(s), head = head_of(s);
	struct virtio_net_hdr_v1 h = { .flags = 1, .gso_type = s->v6 ? TSO6 : TSO4, .gso_size = htole16((uint16_t)size),
				       .hdr_len = htole16((uint16_t)head), .csum_start = htole16((uint16_t)tcp),
				       .csum_offset = htole16(16) };

	if (flags & CWR)
		h.gso_type |= ECN;
	memset(buf, 0xee, sizeof(buf));
	for (size_t i = 0; i < payload; i++)
		frame[head + i] = (uint8_t)(i * 7 + (i >> 8));
	for (unsigned i = 0; i < s->tags; i++)
		put(12 + 4 * i, 2, i ? 0x8100 : s->tags > 1 ? 0x88a8 : 0x8100);
	put(ip - 2, 2, s->v6 ? 0x86dd : 0x0800);
	frame[ip] = (uint8_t)(s->v6 ? 0x60 : 0x40 | (20 + s->options) / 4);
	if (s->v6) {
		frame[ip + 6] = s->options ? 60 : 6;
	} else {
		put(ip + 4, 2, ID);
		frame[ip + 9] = 6;
	}
	put(tcp + 4, 4, SEQ);
	frame[tcp + 12] = (uint8_t)((20 + s->tcp_options) / 4 << 4);
	frame[tcp + 13] = flags;
	put(tcp + 16, 2, pseudo(s, frame, 20 + s->tcp_options + payload));
	memcpy(buf, &h, sizeof(h));
	ck_assert(gso_judge(&h, head + payload, ALL));
	return head + payload;
}

/* @n bytes of payload from @at on, with those flags: is that what @out has? */
static void check_segment(const struct shape *s, ssize_t got, unsigned number, size_t at, size_t n, uint8_t flags)
{
	static const uint8_t none[NET_HDR_BYTES];
	const uint8_t *const seg = out + NET_HDR_BYTES;
	const size_t ip = ip_of(s), tcp = tcp_of(s), head = head_of(s);

	ck_assert_int_eq(got, (ssize_t)(NET_HDR_BYTES + head + n));
	ck_assert_mem_eq(out, none, sizeof(none));
	ck_assert_mem_eq(seg, frame, ip);
	if (s->v6) {
		ck_assert_uint_eq(get(seg + ip + 4, 2), head + n - ip - 40);
	} else {
		ck_assert_uint_eq(get(seg + ip + 2, 2), head + n - ip);
		ck_assert_uint_eq(get(seg + ip + 4, 2), (ID + number) & 0xffff);
		ck_assert_uint_eq(sum_of(0, seg + ip, tcp - ip), 0xffff);
	}
	ck_assert_uint_eq(get(seg + tcp + 4, 4), (uint32_t)(SEQ + at));
	ck_assert_uint_eq(seg[tcp + 13], flags);
	ck_assert_uint_eq(sum_of(pseudo(s, seg, head + n - tcp), seg + tcp, head + n - tcp), 0xffff);
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_eq(seg[head + i], (uint8_t)((at + i) * 7 + ((at + i) >> 8)));
}

static ssize_t next(struct gso *gso)
{
	const struct iovec iov[] = { { out, 7 }, { out + 7, 50 }, { out + 57, sizeof(out) - 57 } };

	ck_assert(gso_left(gso));
	memset(out, 0xcc, sizeof(out));
	return gso_next(gso, iov, ARRAY_SIZE(iov));
}

/* Each length of payload about the borders of segments, also odd ones */
START_TEST(test_segments)
{
	static const size_t payloads[] = { 101, 199, 200, 201, 299, 300, 301, 65000 };
	static const uint8_t first = ACK | CWR;
	struct gso gso;

	for (unsigned i = 0; i < ARRAY_SIZE(shapes) * ARRAY_SIZE(payloads); i++) {
		const struct shape *s = &shapes[i / ARRAY_SIZE(payloads)];
		const size_t payload = payloads[i % ARRAY_SIZE(payloads)], size = payload > 1000 ? 1447 : 100;
		const size_t bytes = make(s, payload, size, ACK | CWR | PSH | FIN);
		unsigned number = 0;

		ck_assert_int_eq(gso_begin(&gso, buf, bytes, NET_CSUM | NET_ECN), 0);
		for (size_t at = 0; at < payload; at += size, number++) {
			const size_t n = payload - at < size ? payload - at : size;
			const bool last = n == payload - at;

			check_segment(s, next(&gso), number, at, n, (at ? ACK : first) | (last ? PSH | FIN : 0));
		}
		ck_assert(!gso_left(&gso));
	}
}
END_TEST

/* One that is no longer than a segment: it is as it was, with its checksum */
START_TEST(test_uncut)
{
	struct gso gso;

	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		for (size_t payload = 0; payload <= 100; payload += 25) {
			const struct shape *s = &shapes[i];
			const size_t bytes = make(s, payload, 100, ACK | PSH);
			ssize_t n;

			ck_assert_int_eq(gso_begin(&gso, buf, bytes, 0), 0);
			n = next(&gso);
			ck_assert_int_eq(n, (ssize_t)(NET_HDR_BYTES + bytes));
			ck_assert(!gso_left(&gso));
			ck_assert_uint_eq(sum_of(pseudo(s, frame, bytes - tcp_of(s)), out + NET_HDR_BYTES + tcp_of(s),
						 bytes - tcp_of(s)), 0xffff);
			ck_assert_uint_eq(out[0] | out[1], 0);
		}
}
END_TEST

/* Who takes it gets it with its header, and what has no header is left alone. */
START_TEST(test_taken)
{
	struct virtio_net_hdr_v1 h = { .flags = 1, .csum_start = htole16(34), .csum_offset = htole16(6) };
	const size_t bytes = make(&shapes[0], 3000, 1000, ACK | CWR);
	struct gso gso;

	ck_assert_int_eq(gso_begin(&gso, buf, bytes, NET_CSUM | NET_TSO4 | NET_ECN), 0);
	ck_assert_int_eq(next(&gso), (ssize_t)(NET_HDR_BYTES + bytes));
	ck_assert_mem_eq(out, buf, NET_HDR_BYTES + bytes);
	ck_assert_uint_eq(out[1], TSO4 | ECN);
	ck_assert(!gso_left(&gso));
	memcpy(buf, &h, sizeof(h));
	ck_assert_int_eq(gso_begin(&gso, buf, 60, NET_CSUM), 0);
	ck_assert_int_eq(next(&gso), NET_HDR_BYTES + 60);
	ck_assert_uint_eq(out[0], 1);
	memset(buf, 0, NET_HDR_BYTES);
	memset(frame, 0x5a, 60);
	ck_assert_int_eq(gso_begin(&gso, buf, 60, 0), 0);
	ck_assert_int_eq(next(&gso), NET_HDR_BYTES + 60);
	ck_assert_mem_eq(out, buf, NET_HDR_BYTES + 60);
	ck_assert(!gso_left(&(struct gso){ .frame = NULL }));
}
END_TEST

/* UDP's checksum 0 says that there is none: the other zero is written. */
START_TEST(test_checksum)
{
	struct virtio_net_hdr_v1 h = { .flags = 1, .csum_start = htole16(34), .csum_offset = htole16(6) };
	struct gso gso;

	memcpy(buf, &h, sizeof(h));
	memset(frame, 0, 61);
	ck_assert_int_eq(gso_begin(&gso, buf, 61, 0), 0);
	ck_assert_uint_eq(get(frame + 40, 2), 0xffff);
	memcpy(buf, &h, sizeof(h));
	memset(frame, 0, 61);
	put(34, 2, 0x80ff);
	frame[60] = 0x7f; /* it sums up to 0xffff */
	ck_assert_int_eq(gso_begin(&gso, buf, 61, 0), 0);
	ck_assert_uint_eq(get(frame + 40, 2), 0xffff);
	memcpy(buf, &h, sizeof(h));
	memset(frame, 0, 61);
	put(34, 2, 0x1234);
	frame[60] = 1;
	ck_assert_int_eq(gso_begin(&gso, buf, 61, 0), 0);
	ck_assert_uint_eq(get(frame + 40, 2), (uint16_t)~0x1334);
	ck_assert_uint_eq(buf[0], 0);
}
END_TEST

/* Headers that are not there, or of something else */
START_TEST(test_lies)
{
	static const struct {
		unsigned shape;
		size_t at; /* in @buf */
		unsigned n;
		uint32_t value;
	} cases[] = {
		{ 0, 6, 2, 0 },		  /* where TCP is: not behind IP's header */
		{ 0, 6, 2, 0x2300 },	  { 0, 6, 2, 0x2100 },
		{ 0, 8, 2, 0x0600 },	  /* where its checksum is: that of UDP */
		{ 0, 12 + 12, 2, 0x86dd },  { 0, 12 + 12, 2, 0x0806 }, { 0, 12 + 14, 1, 0x65 }, { 0, 12 + 14, 1, 0x44 },
		{ 0, 12 + 14, 1, 0x4f },  { 0, 12 + 14 + 9, 1, 17 },
		{ 0, 12 + 34 + 12, 1, 0x40 }, /* its header is too short, or longer than the frame */
		{ 3, 6, 2, 0x3500 },	  { 3, 12 + 14, 1, 0x40 }, { 3, 12 + 12, 2, 0x0800 }, { 1, 12 + 12, 2, 0x0800 },
	};
	struct gso gso;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const size_t bytes = make(&shapes[cases[i].shape], 300, 100, ACK);

		for (unsigned k = 0; k < cases[i].n; k++)
			buf[cases[i].at + k] = (uint8_t)(cases[i].value >> 8 * (cases[i].n - 1 - k));
		ck_assert_msg(gso_begin(&gso, buf, bytes, 0) == -EINVAL, "case %u", i);
		ck_assert(!gso_left(&gso));
	}
	/* So many headers, or so small segments, that it would become much more than it is */
	for (unsigned size = 7; size <= 8; size++)
		ck_assert_int_eq(gso_begin(&gso, buf, make(&shapes[0], 300, size, ACK), 0), size < 8 ? -EINVAL : 0);
	for (unsigned options = 176; options <= 184; options += 8) {
		const struct shape s = { .v6 = true, .options = options };
		const size_t bytes = make(&s, 300, 100, ACK);

		ck_assert_int_eq(gso_begin(&gso, buf, bytes, 0), head_of(&s) > 256 ? -EINVAL : 0);
	}
	/* All of them are there, of a frame that ends within. */
	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++)
		for (size_t bytes = tcp_of(&shapes[i]) + 18; bytes < head_of(&shapes[i]); bytes++) {
			make(&shapes[i], 300, 100, ACK);
			ck_assert_int_eq(gso_begin(&gso, buf, bytes, 0), -EINVAL);
		}
}
END_TEST

/* What has no room is lost, and the rest comes. */
START_TEST(test_no_room)
{
	const size_t bytes = make(&shapes[0], 150, 100, ACK), head = head_of(&shapes[0]);
	const struct iovec small = { out, NET_HDR_BYTES + head + 99 };
	struct gso gso;

	ck_assert_int_eq(gso_begin(&gso, buf, bytes, 0), 0);
	ck_assert_int_eq(gso_next(&gso, &small, 1), -EMSGSIZE);
	ck_assert(gso_left(&gso));
	check_segment(&shapes[0], next(&gso), 1, 100, 50, ACK);
	ck_assert(!gso_left(&gso));
}
END_TEST

UNIT_MAIN("gso", test_judge, test_segments, test_uncut, test_taken, test_checksum, test_lies, test_no_room)
