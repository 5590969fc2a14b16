/* Links: console/scan.o console/keys.o util/log.o */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "lkvm/console/keys.h"
#include "lkvm/console/scan.h"
#include "lkvm/types.h"

static struct console_scan scan;

static void feed(const char *text)
{
	console_scan_feed(&scan, (const uint8_t *)text, strlen(text));
}

static void restart(void)
{
	memset(&scan, 0, sizeof(scan));
}

#define PANIC "Kernel panic - not syncing: Oh no"
#define END   "---[ end " PANIC " ]---"
#define AT    "[    1.234567] "
#define GARBLED "Kernel panic - not syncing (why is mixed with other output)"

START_TEST(test_panic_lines)
{
	static const struct {
		const char *text, *panic;
		bool halted;
	} cases[] = {
		{ PANIC "\n", PANIC, false },
		{ "\r\n" PANIC "\r\n", PANIC, false },
		{ "Kernel panic - not syncing\n", "Kernel panic - not syncing", false },
		{ "[    1.234567] " PANIC "\n", PANIC, false },
		{ "[12345.678901] " PANIC "\n", PANIC, false },
		{ "<0>" PANIC "\n", PANIC, false },
		{ "<0>[    1.234567] " PANIC "\n", PANIC, false },
		{ "[    1.234567][    T1] " PANIC "\n", PANIC, false },
		{ "[    1.234567][   C12] " PANIC "\n", PANIC, false },
		{ "[    T1] " PANIC "\n", PANIC, false },
		{ "<0>[    1.234567][    T1] " PANIC "\n", PANIC, false },
		{ "\033[31m[    1.234567] " PANIC "\033[0m\n", PANIC, false },
		{ "bye[    1.234567] " PANIC "\n", PANIC, false },
		{ "a [b] [    1.234567][    T1] " PANIC "\n", PANIC, false },
		{ "[    1.2] " PANIC "\n[    1.3] " END "\n", PANIC, true },
		{ "[    1.3] " END "\n", PANIC " ]---", true },
		{ END "\n", PANIC " ]---", true },
		{ END "\n" PANIC "\n", PANIC " ]---", true },
		{ PANIC "\nKernel panic - not syncing: second\n", PANIC, false },

		/* mixed with user space's output, but for the notifier behind it */
		{ AT "Keruser textnel panic - not\n syncing: Oh no\n" AT "Kernel Offset: disabled\n",
		  GARBLED, false },
		{ "use" AT "Kernel Offset: 0x13c00000 from 0xffffffff81000000 (relocation range:)\n",
		  GARBLED, false },
		{ "Kernel Offset: disabled\n", GARBLED, false },
		{ AT PANIC "\n" AT "Kernel Offset: disabled\n", PANIC, false },
		{ AT "Kernel Offset: disabled\n" AT END "\n", PANIC " ]---", true },

		{ "Kernel Offset: unknown\n", NULL, false },
		{ "# Kernel Offset: disabled\n", NULL, false },
		{ AT "kdump: Kernel Offset: 0x13c00000\n", NULL, false },

		/* an old log, then an orderly end */
		{ PANIC "\n" AT "reboot: Restarting system\n", NULL, false },
		{ END "\n" AT "reboot: Restarting system\n", NULL, false },
		{ END "\n" AT "reboot: Restarting system\n" AT PANIC "\n", PANIC, false },
		{ PANIC "\n" AT "reboot: Power down\n", NULL, false },
		{ PANIC "\n" AT "System halted\n", NULL, false },

		/* as long as it can have been one */
		{ "Linux version 6.1 (x)\n" PANIC "\n" AT "reboot: Power down\n", PANIC, false },
		{ "Linux version 6.1 (x)\n" END "\n" AT "Restarting system\n", PANIC " ]---", true },
		{ PANIC "\n" AT "Linux version 6.1 (x)\n" AT "reboot: Power down\n", PANIC, false },
		{ AT "x\nLinux version 6.1 (x)\n" PANIC "\n" AT "reboot: Power down\n", NULL, false },
		{ AT "Linux version 6.1 (x)\n" PANIC "\n" AT "reboot: Power down\n", NULL, false },
		{ "Linux version %s\n" PANIC "\n" AT "reboot: Power down\n", NULL, false },

		/* a panic, then the orderly end of a crash kernel */
		{ AT PANIC "\nreboot: Restarting system\n", PANIC, false },
		{ AT PANIC "\n" AT "reboot: Restarting system\n", PANIC, false },
		{ AT END "\n" AT "reboot: Power down\n", PANIC " ]---", true },
		{ PANIC "\nreboot: Power down\n", PANIC, false },

		/* a kernel that could not be unpacked */
		{ "\n\nXZ-compressed data is corrupt\n\n -- System halted", NULL, false },
		{ "\n\nXZ-compressed data is corrupt\n\n -- System halted\n",
		  "XZ-compressed data is corrupt", true },
		{ " -- System halted\n", " -- System halted", true },
		{ "x -- System halted\n", NULL, false },

		{ PANIC "\n# reboot: Restarting system\n", PANIC, false },
		{ PANIC "\n" AT "x reboot: Restarting system\n", PANIC, false },

		{ "", NULL, false },
		{ PANIC, NULL, false }, /* not complete yet */
		{ "# echo " PANIC "\n", NULL, false },
		{ "# echo \"[x] " PANIC "\"\n", NULL, false },
		{ " " PANIC "\n", NULL, false },
		{ "x" END "\n", NULL, false },
		{ "x[    T1] " PANIC "\n", NULL, false },
		{ "[    1.234567] systemd[1]: " PANIC "\n", NULL, false },
		{ "[    1.234567] systemd[1]: " END "\n", NULL, false },
		{ "[    1.] " PANIC "\n", NULL, false },
		{ "[    .1] " PANIC "\n", NULL, false },
		{ "[    1.1 " PANIC "\n", NULL, false },
		{ "[] " PANIC "\n", NULL, false },
		{ "[   X1] " PANIC "\n", NULL, false },
		{ "[    T] " PANIC "\n", NULL, false },
		{ "<>" PANIC "\n", NULL, false },
		{ "<0 " PANIC "\n", NULL, false },
		{ "Kernel panic - not syncin\n", NULL, false },
		{ "Kernel panic\n", NULL, false },
		{ "kernel panic - not syncing: x\n", NULL, false },
		{ "---[ end trace 0123456789abcdef ]---\n", NULL, false },
		{ "---[ end Kernel\n", NULL, false },
		{ "Kernel panic -\n not syncing: x\n", NULL, false },
		{ "[", NULL, false },
		{ "[\n<\n[[[[\n", NULL, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restart();
		feed(cases[i].text);
		ck_assert_msg(!strcmp(scan.panic, cases[i].panic ? cases[i].panic : ""),
			      "case %zu '%s': '%s'", i, cases[i].text, scan.panic);
		ck_assert_msg(scan.halted == cases[i].halted, "case %zu: halted", i);
	}
}
END_TEST

START_TEST(test_endings)
{
	static const struct {
		const char *text;
		enum console_ending want;
	} cases[] = {
		{ "reboot: Restarting system\n", SCAN_RESTARTS },
		{ AT "reboot: Restarting system\r\n", SCAN_RESTARTS },
		{ AT "reboot: Restarting system with command 'x'\n", SCAN_RESTARTS },
		{ AT "Restarting system.\n", SCAN_RESTARTS },
		{ AT "reboot: machine restart\n", SCAN_RESTARTS },
		{ "bye" AT "reboot: Restarting system\n", SCAN_RESTARTS },
		{ "[    1.234567][    T1] reboot: System halted\n", SCAN_HALTS },
		{ "reboot: System halted\r\n", SCAN_HALTS },
		{ AT "System halted.\n", SCAN_HALTS },
		{ "The operating system has halted.\n", SCAN_HALTS },
		{ AT "reboot: Power down\n", SCAN_POWERS_OFF },
		{ "<0>" AT "Power down.\n", SCAN_POWERS_OFF },
		{ AT "reboot: System halted\nlogin: ", SCAN_HALTS },
		{ AT "reboot: System halted\n1\n2\n3\n4\n", SCAN_HALTS },
		{ AT "reboot: System halted\n1\n2\n3\n4\n5\n", SCAN_GOES_ON },
		{ AT "reboot: Restarting system\nreboot: System halted\n", SCAN_HALTS },

		{ "", SCAN_GOES_ON },
		{ "reboot: System halted", SCAN_GOES_ON }, /* not complete yet */
		{ "System halted\n", SCAN_GOES_ON },
		{ "Restarting system\n", SCAN_GOES_ON },
		{ "Power down.\n", SCAN_GOES_ON },
		{ AT "machine restart\n", SCAN_GOES_ON },
		{ AT "reboot: System halted?\n", SCAN_GOES_ON },
		{ AT "reboot: System halted..\n", SCAN_GOES_ON },
		{ "# reboot: System halted\n", SCAN_GOES_ON },
		{ AT "systemd[1]: reboot: Power down\n", SCAN_GOES_ON },
		{ " The operating system has halted.\n", SCAN_GOES_ON },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restart();
		feed(cases[i].text);
		ck_assert_msg(console_scan_ending(&scan) == cases[i].want, "case %zu '%s'", i,
			      cases[i].text);
	}
	feed("x\n" AT "reboot: System halted\n");
	ck_assert(console_scan_silent(&scan));
	feed("\r\n\033[0m");
	ck_assert(console_scan_silent(&scan));
	feed("x");
	ck_assert(!console_scan_silent(&scan));
	feed("\n");
	ck_assert(!console_scan_silent(&scan));
}
END_TEST

/* The kernel's line arrives in pieces of any size. */
START_TEST(test_pieces)
{
	static const char text[] =
		"login: x\n[    1.234567][    T1] " PANIC "\r\n[    1.4] " END "\r\n";

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		restart();
		for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
			size_t n = sizeof(text) - 1 - at;

			console_scan_feed(&scan, (const uint8_t *)text + at, n < piece ? n : piece);
		}
		ck_assert_str_eq(scan.panic, PANIC);
		ck_assert(scan.halted);
	}
}
END_TEST

START_TEST(test_endless_line)
{
	char last[SCAN_LINE_BYTES + 100];

	restart();
	for (unsigned i = 0; i < 100000; i++)
		feed("0123456789");
	console_scan_last(&scan, last, sizeof(last));
	ck_assert_uint_eq(strlen(last), SCAN_LINE_BYTES); /* cut, and a newline */
	feed(PANIC "\n");
	ck_assert_str_eq(scan.panic, "");
	feed(PANIC "\n");
	ck_assert_str_eq(scan.panic, PANIC);

	restart();
	feed("Kernel panic - not syncing: ");
	for (unsigned i = 0; i < 1000; i++)
		feed("0123456789");
	feed("\n");
	ck_assert_uint_eq(strlen(scan.panic), SCAN_LINE_BYTES - 1);
}
END_TEST

START_TEST(test_last_lines)
{
	char last[4096], line[32], want[4096] = "";

	restart();
	console_scan_last(&scan, last, sizeof(last));
	ck_assert_str_eq(last, "");
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "line %u\r\n\r\n", i);
		feed(line);
		console_scan_last(&scan, last, sizeof(last));
		snprintf(line, sizeof(line), "line %u\n", i);
		ck_assert_str_eq(last + strlen(last) - strlen(line), line);
		ck_assert_msg(i < SCAN_LINES - 1 ? !strncmp(last, "line 0\n", 7) : true,
			      "line 0 lost at %u", i);
	}
	feed("login: ");
	for (unsigned i = 1000 - (SCAN_LINES - 1); i < 1000; i++)
		sprintf(want + strlen(want), "line %u\n", i);
	strcat(want, "login: \n");
	console_scan_last(&scan, last, sizeof(last));
	ck_assert_str_eq(last, want);
}
END_TEST

/* Only whole lines, the newest, and never a byte too many. */
START_TEST(test_last_lines_cap)
{
	static const struct {
		size_t cap;
		const char *want;
	} cases[] = {
		{ 1, "" },
		{ 2, "" },
		{ 4, "" },
		{ 5, "ccc\n" },
		{ 7, "ccc\n" },
		{ 8, "bb\nccc\n" },
		{ 9, "bb\nccc\n" },
		{ 10, "a\nbb\nccc\n" },
		{ 100, "a\nbb\nccc\n" },
	};
	char last[101];

	restart();
	feed("a\nbb\nccc");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(last, '#', sizeof(last));
		console_scan_last(&scan, last, cases[i].cap);
		ck_assert_str_eq(last, cases[i].want);
		ck_assert_int_eq(last[cases[i].cap], '#');
	}
	last[0] = '#';
	console_scan_last(&scan, last, 0);
	ck_assert_int_eq(last[0], '#');
}
END_TEST

START_TEST(test_only_text)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "[\033[0;32m  OK  \033[0m] Started\n", "[  OK  ] Started\n" },
		{ "a\tb\n", "a b\n" },
		{ "a\bb\ac\rd\177e\n", "abcde\n" },
		{ "\303\244\n", "??\n" },
		{ "\033]0;title\aprompt\n", "prompt\n" },
		{ "\033]0;title\033\\prompt\n", "prompt\n" },
		{ "\033(Btext\n", "text\n" },
		{ "\033[31", "" },
		{ "\033[31\nnext\n", "next\n" },
		{ "\033]0;never ended\nnext\n", "next\n" },
		{ "\033\033[1mbold\n", "bold\n" },
		{ "\033[1\tm\n", "" },
	};
	char last[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restart();
		feed(cases[i].text);
		console_scan_last(&scan, last, sizeof(last));
		ck_assert_msg(!strcmp(last, cases[i].want), "case %zu: '%s'", i, last);
	}
}
END_TEST

START_TEST(test_every_byte)
{
	char last[1024];

	restart();
	for (unsigned c = 0; c < 256; c++) {
		uint8_t byte = (uint8_t)c;

		console_scan_feed(&scan, &byte, 1);
		console_scan_feed(&scan, (const uint8_t *)"\n", 1);
	}
	console_scan_last(&scan, last, sizeof(last));
	for (const char *s = last; *s; s++)
		ck_assert_msg(*s == '\n' || (*s >= ' ' && *s <= '~'), "byte %#x", *s);
}
END_TEST

static void type(struct console_keys keys, const char *typed, const char *sent, enum key_action last)
{
	enum key_action action = KEY_NOTHING;
	char got[16] = "";
	size_t n = 0;

	for (const char *s = typed; *s; s++) {
		uint8_t byte;

		action = console_keys_feed(&keys, (uint8_t)*s, &byte);
		if (action == KEY_SEND)
			got[n++] = (char)byte;
	}
	ck_assert_msg(action == last, "'%s': action %d", typed, action);
	ck_assert_str_eq(got, sent);
}

START_TEST(test_keys)
{
	static const struct {
		const char *typed, *sent;
		enum key_action last;
	} cases[] = {
		{ "abc\003\004\032", "abc\003\004\032", KEY_SEND },
		{ "\001", "", KEY_NOTHING },
		{ "\001x", "", KEY_QUIT },
		{ "a\001x", "a", KEY_QUIT },
		{ "\001b", "", KEY_BREAK },
		{ "\001?", "", KEY_HELP },
		{ "\001h", "", KEY_HELP },
		{ "\001a", "\001", KEY_SEND },
		{ "\001\001", "\001", KEY_SEND },
		{ "\001ax", "\001x", KEY_SEND },
		{ "\001\001x", "\001x", KEY_SEND },
		{ "\001c", "", KEY_NOTHING },
		{ "\001cx", "x", KEY_SEND },
		{ "\001X", "", KEY_NOTHING },
		{ "x?hb", "x?hb", KEY_SEND },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct console_keys keys = { 0 };

		type(keys, cases[i].typed, cases[i].sent, cases[i].last);
	}
}
END_TEST

START_TEST(test_other_escape_keys)
{
	static const struct {
		struct console_keys keys;
		const char *typed, *sent;
		enum key_action last;
		const char *name;
	} cases[] = {
		{ { .escape = 0x1d }, "\001x", "\001x", KEY_SEND, "Ctrl-]" },
		{ { .escape = 0x1d }, "\035x", "", KEY_QUIT, "Ctrl-]" },
		{ { .escape = 0x1d }, "\035]", "\035", KEY_SEND, "Ctrl-]" },
		{ { .escape = 0x1d }, "\035\035", "\035", KEY_SEND, "Ctrl-]" },
		{ { .escape = 0x1d }, "\035a", "", KEY_NOTHING, "Ctrl-]" },
		{ { .escape = 0x1b }, "\033[", "\033", KEY_SEND, "Ctrl-[" },
		/* Its letter is a command. */
		{ { .escape = 0x18 }, "\030x", "", KEY_QUIT, "Ctrl-x" },
		{ { .escape = 0x18 }, "\030\030", "\030", KEY_SEND, "Ctrl-x" },
		{ { .escape = 0x02 }, "\002b", "", KEY_BREAK, "Ctrl-b" },
		{ { .escape = 0x08 }, "\010h", "", KEY_HELP, "Ctrl-h" },
		{ { .off = true }, "\001x\001?", "\001x\001?", KEY_SEND, "Ctrl-a" },
		/* What can be left */
		{ { .can_detach = true }, "ad\001d", "ad", KEY_DETACH, "Ctrl-a" },
		{ { 0 }, "ad\001d", "ad", KEY_NOTHING, "Ctrl-a" },
		{ { .escape = 0x04, .can_detach = true }, "\004d", "", KEY_DETACH, "Ctrl-d" },
		{ { .escape = 0x04, .can_detach = true }, "\004\004", "\004", KEY_SEND, "Ctrl-d" },
		{ { .escape = 0x04 }, "\004d", "\004", KEY_SEND, "Ctrl-d" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char name[CONSOLE_KEY_NAME];

		type(cases[i].keys, cases[i].typed, cases[i].sent, cases[i].last);
		console_keys_name(&cases[i].keys, name);
		ck_assert_str_eq(name, cases[i].name);
	}
}
END_TEST

START_TEST(test_strip)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "", "" },
		{ "a\tb\bc\r\nd", "a\tb\bc\r\nd" },
		{ "\001a\a\x7f" "b\016\005", "ab" },
		{ "\033[1;31mred\033[0m", "red" },
		{ "a\033[6nb\033[c", "ab" },
		{ "\033]0;title\ax\033]11;?\033\\y", "xy" },
		{ "\033(Bx\0337y", "xy" },
		{ "cut\033[12", "cut" },
		{ "[6n\303\244\377", "[6n\303\244\377" },
		{ "\033[1\n2m", "\n2m" }, /* nothing goes on over a line's end */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[64];
		size_t n;

		strcpy(text, cases[i].text);
		n = console_scan_strip(text, strlen(text));
		ck_assert_uint_eq(n, strlen(cases[i].want));
		ck_assert_mem_eq(text, cases[i].want, n);
	}
}
END_TEST

/* Where the kernel writes times, a line without one is not its own. */
static char messages[256];

static void message(void *ctx, const char *text)
{
	ck_assert_ptr_eq(ctx, messages);
	strcat(strcat(messages, text), "|");
}

START_TEST(test_messages)
{
	restart();
	scan.message = message;
	scan.ctx = messages;
	feed("<4>one\nlogin: \n");
	feed(AT "two\n" "user space\n" "its [ 1.5]     three\r\n");
	feed("\033[31m" "[    2.5][   T12] four\n" AT "cut off");
	ck_assert_str_eq(messages, "one|login: |two|    three|four|");
}
END_TEST

UNIT_MAIN("console-scan", test_panic_lines, test_messages, test_endings, test_pieces, test_endless_line, test_last_lines,
	  test_last_lines_cap, test_only_text, test_every_byte, test_keys,
	  test_other_escape_keys, test_strip)
