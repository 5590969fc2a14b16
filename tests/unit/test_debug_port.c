/* Links: hw/debug-port.o util/log.o */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chip.h"
#include "lkvm/log.h"

static const struct debug_port_config ports[] = { { "0x80", 0xff }, { "0xe9", 0xe9 }, { "0x402", 0xe9 } };
static int err_fd;

/* Messages go to a file from here on. */
static void capture(void)
{
	err_fd = memfd_create("stderr", 0);
	ck_assert_int_ge(err_fd, 0);
	ck_assert_int_eq(dup2(err_fd, STDERR_FILENO), STDERR_FILENO);
}

static void assert_logged(const char *want)
{
	char text[4096];
	ssize_t n = pread(err_fd, text, sizeof(text) - 1, 0);

	ck_assert_int_ge((int)n, 0);
	text[n] = '\0';
	ck_assert_str_eq(text, want);
	ck_assert_int_eq(ftruncate(err_fd, 0), 0);
	ck_assert_int_eq((int)lseek(err_fd, 0, SEEK_SET), 0);
}

static void out_text(const char *text)
{
	for (; *text; text++)
		out8(0, (uint8_t)*text);
}

START_TEST(test_topic_off)
{
	capture();
	for (unsigned index = 0; index < 3; index++) {
		new_chip(&debug_port_type, NULL, &ports[index]);
		out_text("nobody reads this\n");
		ck_assert_uint_eq(in8(0), 0xff);
		ck_assert_uint_eq(in_len(0, 4), 0xffffffff);
		free_chip();
	}
	assert_logged("");
}
END_TEST

START_TEST(test_present)
{
	static const uint8_t want[] = { 0xff, 0xe9, 0xe9 };

	log_set_topics(LOG_DEVICE);
	for (unsigned index = 0; index < 3; index++) {
		new_chip(&debug_port_type, NULL, &ports[index]);
		ck_assert_uint_eq(in8(0), want[index]);
		ck_assert_uint_eq(in_len(0, 2), 0xff00U | want[index]);
		free_chip();
	}
}
END_TEST

START_TEST(test_lines)
{
	capture();
	new_chip(&debug_port_type, NULL, &ports[1]);
	out_text("from before");
	log_set_topics(LOG_DEVICE);
	out_text("hello\r\n\nwor");
	assert_logged("lkvm: debug: port 0xe9: hello\n");
	out_text("ld\n");
	assert_logged("lkvm: debug: port 0xe9: world\n");
	out_text("the rest");
	assert_logged("");
	free_chip();
	assert_logged("lkvm: debug: port 0xe9: the rest\n");
}
END_TEST

START_TEST(test_not_printable)
{
	capture();
	log_set_topics(LOG_DEVICE);
	new_chip(&debug_port_type, NULL, &ports[0]);
	out_text("a\x1b[2J\x80\xff");
	out8(0, 0);
	out_len(0, 0x0a414243, 4);
	assert_logged("lkvm: debug: port 0x80: a\\x1b[2J\\x80\\xff\\x00CBA\n");
	free_chip();
}
END_TEST

/* A line of 128 characters is full; one of 125 has no room for four more. */
START_TEST(test_full)
{
	static const struct {
		unsigned before;
		uint8_t last;
		bool flushed;
	} cases[] = {
		{ 127, 'b', false },
		{ 128, 'b', true },
		{ 124, 0x01, false },
		{ 125, 0x01, true },
	};

	capture();
	log_set_topics(LOG_DEVICE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char want[256];

		new_chip(&debug_port_type, NULL, &ports[2]);
		for (unsigned n = 0; n < cases[i].before; n++)
			out8(0, 'a');
		assert_logged("");
		out8(0, cases[i].last);
		snprintf(want, sizeof(want), "lkvm: debug: port 0x402: %.*s\n",
			 (int)cases[i].before,
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
		assert_logged(cases[i].flushed ? want : "");
		free_chip();
		ck_assert_int_eq(ftruncate(err_fd, 0), 0);
		ck_assert_int_eq((int)lseek(err_fd, 0, SEEK_SET), 0);
	}
}
END_TEST

UNIT_MAIN("debug-port", test_topic_off, test_present, test_lines,
	  test_not_printable, test_full)
