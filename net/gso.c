/*
 * A frame is cut in the memory that it is in: of its headers, which each segment begins with, those fields are written anew
 * that differ. See lkvm/net-gso.h. Spec: RFC 791 and 9293
 */
#include "lkvm/net-gso.h"

#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "lkvm/net.h"

#define IPV4_LENGTH 2
#define IPV4_ID     4
#define IPV4_PROTO  9
#define IPV4_CHECK  10
#define IPV6_LENGTH 4
#define IPV6_BYTES  40
#define PROTO_TCP   6
#define TCP_SEQ     4
#define TCP_OFFSET  12
#define TCP_FLAGS   13
#define TCP_CHECK   16
#define TCP_BYTES   20
#define TCP_FIN     0x01
#define TCP_PSH     0x08
#define TCP_CWR     0x80
/* One large frame is not to become much more than it is by headers: */
#define MAX_HEAD 256 /* bytes of them, in front of each segment's payload, */
#define MIN_SIZE 8   /* and at least so many of that; Linux sends no less */

/* ---- the header ---- */

static bool csum_good(const struct virtio_net_hdr_v1 *h, size_t bytes)
{
	return (size_t)le16toh(h->csum_start) + le16toh(h->csum_offset) + sizeof(uint16_t) <= bytes;
}

/* What it asks for; ~0: nobody can be asked for that */
static unsigned needs(const struct virtio_net_hdr_v1 *h)
{
	const unsigned csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_CSUM : 0;
	const unsigned ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN ? NET_ECN : 0;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return ecn ? ~0u : csum;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return NET_TSO4 | csum | ecn;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return NET_TSO6 | csum | ecn;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return ecn ? ~0u : NET_USO | csum;
	default:
		return ~0u;
	}
}

bool gso_judge(struct virtio_net_hdr_v1 *h, size_t bytes, unsigned offloads)
{
	if (bytes < NET_MIN_FRAME || bytes > NET_MAX_FRAME)
		return false;
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (!h->flags)
		h->csum_start = h->csum_offset = 0;
	if (needs(h) & ~offloads || !csum_good(h, bytes))
		return false;
	/* What is cut needs a size to be cut to, and checksums. */
	return h->gso_type == VIRTIO_NET_HDR_GSO_NONE || (h->gso_size && h->flags);
}

/* ---- numbers ---- */

static uint16_t get16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void put16(uint8_t *at, uint16_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void add_be32(uint8_t *at, uint32_t more)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	value = htobe32(be32toh(value) + more);
	memcpy(at, &value, sizeof(value));
}

/* A sum of words as they are in memory, without its carries added yet */
static uint64_t add_bytes(uint64_t sum, const uint8_t *at, size_t n)
{
	uint32_t word = 0;

	for (; n >= sizeof(word); at += sizeof(word), n -= sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, at, n);
	return sum + word;
}

static uint16_t checksum(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* ---- a frame ---- */

/* Of UDP 0 would say that there is none; of others both values are one. */
static void write_checksum(uint8_t *at, uint64_t sum)
{
	const uint16_t value = checksum(sum);

	put16(at, value ? value : 0xffff);
}

static void finish_checksum(const struct gso *gso, const struct virtio_net_hdr_v1 *h)
{
	const size_t start = le16toh(h->csum_start);

	if (h->flags)
		write_checksum(gso->frame + start + le16toh(h->csum_offset),
			       add_bytes(0, gso->frame + start, gso->bytes - start));
}

/* Return: are the headers there that are to be written? */
static bool find_headers(struct gso *gso, const struct virtio_net_hdr_v1 *h)
{
	const uint8_t *const frame = gso->frame;
	const bool v6 = (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6;
	const size_t ip = net_ip_at(frame, gso->bytes, &gso->v6), tcp = le16toh(h->csum_start);

	if (!ip || gso->v6 != v6 || le16toh(h->csum_offset) != TCP_CHECK)
		return false;
	if (v6 ? tcp < ip + IPV6_BYTES : tcp != ip + 4u * (frame[ip] & 0xf) || frame[ip + IPV4_PROTO] != PROTO_TCP)
		return false;
	if (tcp > gso->bytes || gso->bytes - tcp < TCP_BYTES)
		return false;
	gso->ip = ip;
	gso->tcp = tcp;
	gso->head = tcp + 4u * (frame[tcp + TCP_OFFSET] >> 4);
	return gso->head >= tcp + TCP_BYTES && gso->head <= gso->bytes && gso->head <= MAX_HEAD &&
	       le16toh(h->gso_size) >= MIN_SIZE;
}

int gso_begin(struct gso *gso, uint8_t *buf, size_t bytes, unsigned offloads)
{
	struct virtio_net_hdr_v1 h;

	*gso = (struct gso){ .frame = buf + NET_HDR_BYTES, .bytes = bytes, .size = bytes };
	memcpy(&h, buf, sizeof(h));
	if (!(needs(&h) & ~offloads))
		return 0;
	memset(buf, 0, NET_HDR_BYTES);
	if (h.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
		if (!find_headers(gso, &h)) {
			*gso = (struct gso){ .frame = NULL };
			return -EINVAL;
		}
		if (le16toh(h.gso_size) < bytes - gso->head) {
			gso->at = gso->head;
			gso->size = le16toh(h.gso_size);
			gso->check = get16(gso->frame + gso->tcp + TCP_CHECK);
			gso->flags = gso->frame[gso->tcp + TCP_FLAGS];
			return 0;
		}
		gso->head = 0;
	}
	finish_checksum(gso, &h);
	return 0;
}

/* ---- a segment ---- */

static void write_ip(const struct gso *gso, size_t n)
{
	uint8_t *const ip = gso->frame + gso->ip;

	if (gso->v6) {
		put16(ip + IPV6_LENGTH, htobe16((uint16_t)(gso->head - gso->ip - IPV6_BYTES + n)));
		return;
	}
	put16(ip + IPV4_LENGTH, htobe16((uint16_t)(gso->head - gso->ip + n)));
	if (gso->at > gso->head)
		put16(ip + IPV4_ID, htobe16((uint16_t)(be16toh(get16(ip + IPV4_ID)) + 1)));
	put16(ip + IPV4_CHECK, 0);
	put16(ip + IPV4_CHECK, checksum(add_bytes(0, ip, gso->tcp - gso->ip)));
}

/* The sum that the sender has left is of addresses, protocol and the whole length, in whose place a segment's is put. */
static void write_tcp(const struct gso *gso, size_t n)
{
	uint8_t *const tcp = gso->frame + gso->tcp;
	const size_t head = gso->head - gso->tcp;
	uint8_t flags = gso->flags;
	uint64_t sum = gso->check;

	if (gso->at > gso->head) {
		add_be32(tcp + TCP_SEQ, (uint32_t)gso->size);
		flags &= (uint8_t)~TCP_CWR;
	}
	if (n < gso->bytes - gso->at)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	tcp[TCP_FLAGS] = flags;
	sum += (uint16_t)~htobe16((uint16_t)(gso->bytes - gso->tcp));
	sum += htobe16((uint16_t)(head + n));
	put16(tcp + TCP_CHECK, 0);
	write_checksum(tcp + TCP_CHECK, add_bytes(add_bytes(sum, tcp, head), gso->frame + gso->at, n));
}

ssize_t gso_next(struct gso *gso, const struct iovec *iov, unsigned n_iov)
{
	const size_t left = gso->bytes - gso->at, n = left < gso->size ? left : gso->size;
	const size_t head = NET_HDR_BYTES + gso->head;
	size_t done;

	if (gso->head) {
		write_ip(gso, n);
		write_tcp(gso, n);
	}
	done = net_scatter(iov, n_iov, 0, gso->frame - NET_HDR_BYTES, head);
	done += net_scatter(iov, n_iov, head, gso->frame + gso->at, n);
	gso->at += n;
	return done < head + n ? -EMSGSIZE : (ssize_t)done;
}
