/* See slirp-guard.h. Frames that are no packets pass: the library judges them. */
#include "slirp-guard.h"

#include <net/ethernet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#define IP4_BYTES 20
#define IP6_BYTES 40

static unsigned type_of(const uint8_t *frame, size_t len)
{
	return len >= ETH_HLEN ? (unsigned)frame[12] << 8 | frame[13] : 0;
}

static bool is_ip4(const uint8_t *frame, size_t len)
{
	return type_of(frame, len) == ETHERTYPE_IP && len >= ETH_HLEN + IP4_BYTES;
}

static bool is_ip6(const uint8_t *frame, size_t len)
{
	return type_of(frame, len) == ETHERTYPE_IPV6 && len >= ETH_HLEN + IP6_BYTES;
}

/* The library forbids the gateway, but whoever makes his own frames may name 127.0.0.1. */
static bool is_loopback(const uint8_t *frame, size_t len)
{
	static const uint8_t zeros[10];
	const uint8_t *to4 = frame + ETH_HLEN + 16, *to6 = frame + ETH_HLEN + 24;

	if (is_ip4(frame, len))
		return to4[0] == 127 || !to4[0];
	/* ::, ::1, and IPv4's in disguise */
	return is_ip6(frame, len) && !memcmp(to6, zeros, sizeof(zeros));
}

/* Does it make the library open a socket, unless it has one for that? Not what goes on in a connection. */
static bool may_open(const uint8_t *frame, size_t len)
{
	size_t at = ETH_HLEN + IP6_BYTES;
	unsigned protocol;

	if (is_ip4(frame, len)) {
		at = ETH_HLEN + 4U * (frame[ETH_HLEN] & 15);
		protocol = frame[ETH_HLEN + 9];
	} else if (is_ip6(frame, len)) {
		protocol = frame[ETH_HLEN + 6];
	} else {
		return false;
	}
	if (protocol == IPPROTO_ICMPV6)
		return false;
	return protocol != IPPROTO_TCP || at + sizeof(struct tcphdr) > len ||
	       (frame[at + 13] & (TH_SYN | TH_ACK)) == TH_SYN;
}

/* The library has none of IPv6. */
static bool is_fragment(const uint8_t *frame, size_t len)
{
	return is_ip4(frame, len) && ((frame[ETH_HLEN + 6] & 0x3f) || frame[ETH_HLEN + 7]);
}

static bool count_fragment(struct slirp_guard *g, int64_t now_ms)
{
	if (now_ms - g->since_ms >= GUARD_FRAGMENT_MS) {
		g->since_ms = now_ms;
		g->n_fragments = 0;
	}
	return g->n_fragments++ < GUARD_FRAGMENTS;
}

bool guard_passes(struct slirp_guard *g, const uint8_t *frame, size_t len, unsigned n_sockets, int64_t now_ms)
{
	if (g->no_loopback && is_loopback(frame, len))
		return false;
	if (n_sockets >= g->most_sockets && may_open(frame, len))
		return false;
	return !is_fragment(frame, len) || count_fragment(g, now_ms);
}

bool guard_teaches(const uint8_t *frame, size_t len)
{
	return type_of(frame, len) == ETHERTYPE_ARP || (is_ip6(frame, len) && frame[ETH_HLEN + 6] == IPPROTO_ICMPV6);
}
