/*
 * Which hash a frame has, by the function of Toeplitz; see net-internal.h. Spec: virtio 1.2, 5.1.6.4.3
 *
 * It is the sum, without carries, of 32 bits of the key for each bit of the input that is set: those that begin where the
 * bit stands. For each value of each half of a byte of the input that sum is made beforehand.
 *
 * Frames come from outside: nothing that they say of their lengths is believed.
 */
#include "net-internal.h"

#include <string.h>

#define MAX_EXTENSIONS 8

enum { NEXT_HOP_BY_HOP = 0, NEXT_TCP = 6, NEXT_UDP = 17, NEXT_ROUTING = 43, NEXT_FRAGMENT = 44, NEXT_OPTIONS = 60 };

/* ---- the key ---- */

/* 32 bits of the key from bit @at on; behind its end are zeros */
static uint32_t window(const uint8_t *key, unsigned at)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < 5; i++)
		bits = bits << 8 | (at / 8 + i < NET_KEY_BYTES ? key[at / 8 + i] : 0);
	return (uint32_t)(bits >> (8 - at % 8));
}

void net_hash_set(struct net_hash *h, uint32_t types, const uint8_t *key, uint32_t n)
{
	h->types = types;
	h->key_bytes = n;
	memset(h->key, 0, sizeof(h->key));
	if (n)
		memcpy(h->key, key, n);
	for (unsigned half = 0; half < 2 * NET_HASH_INPUT; half++)
		for (unsigned value = 0; value < 16; value++) {
			h->sum[half][value] = 0;
			for (unsigned bit = 0; bit < 4; bit++)
				if (value & 8 >> bit)
					h->sum[half][value] ^= window(h->key, 4 * half + bit);
		}
}

/* ---- the input ---- */

/* What of a frame may be hashed */
struct input {
	uint8_t bytes[NET_HASH_INPUT]; /* both addresses, both ports */
	unsigned addresses, ports;     /* bytes of them */
	bool v6, tcp;
};

static unsigned be16(const uint8_t *p)
{
	return (unsigned)(p[0] << 8 | p[1]);
}

/* Ports, if @next is a protocol that has some */
static void take_ports(struct input *in, unsigned next, const uint8_t *at, size_t n)
{
	if ((next != NEXT_TCP && next != NEXT_UDP) || n < 4)
		return;
	in->tcp = next == NEXT_TCP;
	in->ports = 4;
	memcpy(in->bytes + in->addresses, at, in->ports);
}

/* A part of a packet is hashed by its addresses, be it the first: so all of them have one hash. */
static void take_ipv4(struct input *in, const uint8_t *at, size_t n)
{
	const size_t header = 4u * (at[0] & 0xf);

	in->addresses = 8;
	memcpy(in->bytes, at + 12, in->addresses);
	if (!(be16(at + 6) & 0x3fff))
		take_ports(in, at[9], at + header, n - header);
}

/* Extension headers are stepped over. */
static void take_ipv6(struct input *in, const uint8_t *at, size_t n)
{
	size_t done = 40;
	unsigned next;

	in->addresses = 32;
	memcpy(in->bytes, at + 8, in->addresses);
	next = at[6];
	for (unsigned i = 0; i < MAX_EXTENSIONS; i++) {
		const uint8_t *extension = at + done;

		if (next != NEXT_HOP_BY_HOP && next != NEXT_ROUTING && next != NEXT_OPTIONS && next != NEXT_FRAGMENT)
			break;
		if (n - done < 8 || (next == NEXT_FRAGMENT && be16(extension + 2) & 0xfff9))
			return;
		done += next == NEXT_FRAGMENT ? 8 : 8 + 8u * extension[1];
		if (done > n)
			return;
		next = extension[0];
	}
	take_ports(in, next, at + done, n - done);
}

/* Return: is there anything? */
static bool take(struct input *in, const uint8_t *frame, size_t n)
{
	const size_t at = net_ip_at(frame, n, &in->v6);

	if (!at)
		return false;
	if (in->v6)
		take_ipv6(in, frame + at, n - at);
	else
		take_ipv4(in, frame + at, n - at);
	return true;
}

static uint32_t hash(const struct net_hash *h, const uint8_t *bytes, unsigned n)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum ^= h->sum[2 * i][bytes[i] >> 4] ^ h->sum[2 * i + 1][bytes[i] & 0xf];
	return sum;
}

uint16_t net_hash_frame(const struct net_hash *h, const uint8_t *frame, size_t n, uint32_t *ret)
{
	static const struct {
		uint32_t type;
		uint16_t report;
	} of[2][3] = { /* by version of IP: TCP, UDP, addresses alone */
		{ { VIRTIO_NET_RSS_HASH_TYPE_TCPv4, VIRTIO_NET_HASH_REPORT_TCPv4 },
		  { VIRTIO_NET_RSS_HASH_TYPE_UDPv4, VIRTIO_NET_HASH_REPORT_UDPv4 },
		  { VIRTIO_NET_RSS_HASH_TYPE_IPv4, VIRTIO_NET_HASH_REPORT_IPv4 } },
		{ { VIRTIO_NET_RSS_HASH_TYPE_TCPv6, VIRTIO_NET_HASH_REPORT_TCPv6 },
		  { VIRTIO_NET_RSS_HASH_TYPE_UDPv6, VIRTIO_NET_HASH_REPORT_UDPv6 },
		  { VIRTIO_NET_RSS_HASH_TYPE_IPv6, VIRTIO_NET_HASH_REPORT_IPv6 } },
	};
	struct input in = { .addresses = 0 };

	*ret = 0;
	if (!h->types || !take(&in, frame, n))
		return VIRTIO_NET_HASH_REPORT_NONE;
	if (in.ports && (h->types & of[in.v6][!in.tcp].type)) {
		*ret = hash(h, in.bytes, in.addresses + in.ports);
		return of[in.v6][!in.tcp].report;
	}
	if (!(h->types & of[in.v6][2].type))
		return VIRTIO_NET_HASH_REPORT_NONE;
	*ret = hash(h, in.bytes, in.addresses);
	return of[in.v6][2].report;
}
