/* Links: net/forward.o util/options.o util/log.o */
#include "lkvm/net-forward.h"

#include <arpa/inet.h>
#include <errno.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "unit.h"

static const char *text_of(int (*parse)(const char *option, const char *text, struct net_forward *ret),
			   const char *text, char buf[static NET_FORWARD_TEXT_BYTES])
{
	struct in_addr own;
	struct net_forward f;

	inet_aton("10.0.2.15", &own);
	return parse("toy", text, &f) ? NULL : net_forward_text(&f, own, buf);
}

struct right {
	const char *text, *means;
};

static void check_right(int (*parse)(const char *option, const char *text, struct net_forward *ret),
			const struct right *cases, size_t n)
{
	char buf[NET_FORWARD_TEXT_BYTES];

	for (size_t i = 0; i < n; i++) {
		const char *got = text_of(parse, cases[i].text, buf);

		ck_assert_msg(got, "%s", cases[i].text);
		ck_assert_str_eq(got, cases[i].means);
	}
}

static void check_wrong(int (*parse)(const char *option, const char *text, struct net_forward *ret),
			const char *const *cases, size_t n)
{
	char buf[NET_FORWARD_TEXT_BYTES], why[256];
	struct net_forward f = { .host_port = 7 };

	log_hold_errors(true);

	for (size_t i = 0; i < n; i++) {
		ck_assert_msg(!text_of(parse, cases[i], buf), "%s", cases[i]);
		log_last_error(why, sizeof(why));
		ck_assert_ptr_nonnull(strstr(why, "option '--toy': '"));
		ck_assert_int_eq(parse("toy", cases[i], &f), -EINVAL);
		ck_assert_uint_eq(f.host_port, 7);
	}
}

START_TEST(test_long)
{
	static const struct right cases[] = {
		{ "tcp::2222-:22", "tcp 127.0.0.1:2222 to 10.0.2.15:22" },
		{ "::2222-:22", "tcp 127.0.0.1:2222 to 10.0.2.15:22" },
		{ "udp::53-:5353", "udp 127.0.0.1:53 to 10.0.2.15:5353" },
		{ "tcp:0.0.0.0:80-:8080", "tcp 0.0.0.0:80 to 10.0.2.15:8080" },
		{ "tcp:192.168.1.2:80-10.0.2.16:8080", "tcp 192.168.1.2:80 to 10.0.2.16:8080" },
		{ "tcp::0-:65535", "tcp 127.0.0.1:0 to 10.0.2.15:65535" },
	};

	check_right(net_forward_parse, cases, ARRAY_SIZE(cases));
}
END_TEST

START_TEST(test_long_wrong)
{
	static const char *const cases[] = {
		"", "tcp", "tcp:", "tcp::", "tcp::2222", "tcp::2222-", "tcp::2222-:", "tcp::-:22", "tcp:2222-:22",
		"tcp::2222-22", "sctp::1-:2", "TCP::1-:2", "tcp::1-:0", "tcp::65536-:1", "tcp::1-:65536", "tcp::-1-:1",
		"tcp:: 1-:1", "tcp::1-:1 ", "tcp:x:1-:1", "tcp:1.2.3:1-:1", "tcp::1-1.2.3.4.5:1", "tcp::1-:1-:1",
		"tcp::1-:1:1", "tcp:[::1]:1-:1", "tcp::0x1-:1",
		"tcp::00000000000000000000000000000000000000000000000000000000000000001-:1",
	};

	check_wrong(net_forward_parse, cases, ARRAY_SIZE(cases));
}
END_TEST

START_TEST(test_short)
{
	static const struct right cases[] = {
		{ "80", "tcp 127.0.0.1:80 to 10.0.2.15:80" },
		{ "8080:80", "tcp 127.0.0.1:8080 to 10.0.2.15:80" },
		{ "0:22", "tcp 127.0.0.1:0 to 10.0.2.15:22" },
		{ "0.0.0.0:80", "tcp 0.0.0.0:80 to 10.0.2.15:80" },
		{ "127.0.0.2:8080:80", "tcp 127.0.0.2:8080 to 10.0.2.15:80" },
		{ "5353:53/udp", "udp 127.0.0.1:5353 to 10.0.2.15:53" },
		{ "80/tcp", "tcp 127.0.0.1:80 to 10.0.2.15:80" },
	};

	check_right(net_forward_parse_short, cases, ARRAY_SIZE(cases));
}
END_TEST

START_TEST(test_short_wrong)
{
	static const char *const cases[] = {
		"", "0", ":80", "80:", "80:0", "a", "80:a", "80/", "80/sctp", "/udp", "80/udp/", "65536", "1:2:3",
		"127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0:80", "127.0.0.1:1:2:3", "1.2.3.4:1:", "-1", "1 ", "+1:1",
	};

	check_wrong(net_forward_parse_short, cases, ARRAY_SIZE(cases));
}
END_TEST

UNIT_MAIN("forward", test_long, test_long_wrong, test_short, test_short_wrong)
