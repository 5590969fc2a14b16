/* Links: net/slirp-guard.o */
#include "../../net/slirp-guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "lkvm/types.h"
#include "unit.h"

static uint8_t frame[100];

static void start(unsigned type)
{
	memset(frame, 0, sizeof(frame));
	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
}

static void make4(const char *to, uint8_t protocol)
{
	start(0x0800);
	frame[14] = 0x45;
	frame[23] = protocol;
	ck_assert_int_eq(inet_pton(AF_INET, to, frame + 30), 1);
}

static void make6(const char *to, uint8_t protocol)
{
	start(0x86dd);
	frame[14] = 0x60;
	frame[20] = protocol;
	ck_assert_int_eq(inet_pton(AF_INET6, to, frame + 38), 1);
}

static bool passes(struct slirp_guard *g)
{
	return guard_passes(g, frame, sizeof(frame), 10, 1000);
}

START_TEST(test_loopback)
{
	static const struct {
		const char *to;
		bool passes;
	} cases[] = {
		{ "127.0.0.1", false },	 { "127.255.255.255", false }, { "0.0.0.0", false },   { "0.1.2.3", false },
		{ "126.255.255.255", true }, { "128.0.0.0", true },    { "10.0.2.2", true },   { "1.0.0.0", true },
		{ "::", false },	 { "::1", false },	       { "::127.0.0.1", false }, { "::ffff:10.0.0.1", false },
		{ "fec0::2", true },	 { "0:0:0:0:1::", true },     { "64:ff9b::1", true },
	};
	struct slirp_guard off = { .no_loopback = true, .most_sockets = 100 }, on = { .most_sockets = 100 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (strchr(cases[i].to, ':'))
			make6(cases[i].to, IPPROTO_UDP);
		else
			make4(cases[i].to, IPPROTO_UDP);
		ck_assert_msg(passes(&off) == cases[i].passes, "%s", cases[i].to);
		ck_assert(passes(&on));
	}
	/* Not all of it is there: it is no packet */
	make4("127.0.0.1", IPPROTO_UDP);
	ck_assert(guard_passes(&off, frame, 33, 0, 0));
	ck_assert(!guard_passes(&off, frame, 34, 0, 0));
	make6("::1", IPPROTO_UDP);
	ck_assert(guard_passes(&off, frame, 53, 0, 0));
	ck_assert(!guard_passes(&off, frame, 54, 0, 0));
}
END_TEST

START_TEST(test_sockets)
{
	struct slirp_guard g = { .most_sockets = 10 }, more = { .most_sockets = 11 };
	static const struct {
		unsigned flags;
		bool passes;
	} tcp[] = { { TH_SYN, false }, { TH_SYN | TH_ACK, true }, { TH_ACK, true }, { TH_RST, true }, { TH_SYN | TH_PUSH, false } };

	for (size_t i = 0; i < ARRAY_SIZE(tcp); i++) {
		make4("1.2.3.4", IPPROTO_TCP);
		frame[34 + 13] = (uint8_t)tcp[i].flags;
		ck_assert(passes(&g) == tcp[i].passes);
		ck_assert(passes(&more));
		frame[14] = 0x4f; /* the longest header */
		frame[34 + 13] = 0;
		frame[74 + 13] = (uint8_t)tcp[i].flags;
		ck_assert(passes(&g) == tcp[i].passes);
		make6("fec0::2", IPPROTO_TCP);
		frame[54 + 13] = (uint8_t)tcp[i].flags;
		ck_assert(passes(&g) == tcp[i].passes);
	}
	frame[54 + 13] = TH_ACK;
	ck_assert(!guard_passes(&g, frame, 54 + 19, 10, 0)); /* it is cut off */
	make4("1.2.3.4", IPPROTO_UDP);
	ck_assert(!passes(&g));
	make4("1.2.3.4", IPPROTO_ICMP);
	ck_assert(!passes(&g));
	make6("fec0::2", IPPROTO_UDP);
	ck_assert(!passes(&g));
	make6("fec0::2", IPPROTO_ICMPV6);
	ck_assert(passes(&g));
	start(0x0806);
	ck_assert(passes(&g));
}
END_TEST

START_TEST(test_fragments)
{
	struct slirp_guard g = { .most_sockets = 100 };

	make4("1.2.3.4", IPPROTO_UDP);
	for (unsigned i = 0; i <= GUARD_FRAGMENTS; i++) {
		frame[20] = i & 1 ? 0x20 : 0; /* more follow, or an offset */
		frame[21] = !(i & 1);
		ck_assert(guard_passes(&g, frame, sizeof(frame), 0, 50000) == (i < GUARD_FRAGMENTS));
	}
	ck_assert(!guard_passes(&g, frame, sizeof(frame), 0, 50000 + GUARD_FRAGMENT_MS - 1));
	frame[20] = 0x40; /* must not be cut: it is whole */
	frame[21] = 0;
	ck_assert(guard_passes(&g, frame, sizeof(frame), 0, 50000));
	frame[20] = 0x20;
	ck_assert(guard_passes(&g, frame, sizeof(frame), 0, 50000 + GUARD_FRAGMENT_MS));
}
END_TEST

START_TEST(test_teaches)
{
	start(0x0806);
	ck_assert(guard_teaches(frame, 14));
	ck_assert(!guard_teaches(frame, 13));
	make6("ff02::1", IPPROTO_ICMPV6);
	ck_assert(guard_teaches(frame, 54));
	ck_assert(!guard_teaches(frame, 53));
	make6("ff02::1", IPPROTO_UDP);
	ck_assert(!guard_teaches(frame, sizeof(frame)));
	make4("10.0.2.2", IPPROTO_ICMPV6);
	ck_assert(!guard_teaches(frame, sizeof(frame)));
}
END_TEST

UNIT_MAIN("slirp-guard", test_loopback, test_sockets, test_fragments, test_teaches)
