/* Links: util/mask.o */
#include "unit.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/mask.h"
#include "lkvm/types.h"

static const char *masked(const char *text, const char *keep)
{
	static char buf[256];
	size_t len = strlen(text);

	memcpy(buf, text, len);
	buf[mask_text(buf, len, keep)] = '\0';
	return buf;
}

/* Text in any script stays as it is. */
START_TEST(test_kept)
{
	static const char *const good[] = {
		"", "plain ~", "gr\303\274n", "\320\272\320\270\321\200", "\346\227\245\346\234\254",
		"\360\237\220\247", "\302\240", "\342\200\215", "\342\200\260", "\364\217\277\275",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ck_assert_str_eq(masked(good[i], ""), good[i]);
	ck_assert_str_eq(masked("a\n\tb", "\n\t"), "a\n\tb");
}
END_TEST

START_TEST(test_masked)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "a\nb\rc\td\033[2Je\177f\001", "a?b?c?d?[2Je?f?" },
		{ "\302\233" "2J", "?2J" },                /* CSI as UTF-8 */
		{ "\302\200\302\237", "??" },              /* first and last of C1 */
		{ "\2332J", "?2J" },                       /* CSI as a single byte */
		{ "\342\200\256live\342\200\254", "?live?" }, /* override, and its end */
		{ "\342\201\246x\342\201\251", "?x?" },    /* isolates */
		{ "\342\200\216\342\200\217\330\234", "???" }, /* marks */
		{ "\342\200\250\342\200\251", "??" },      /* separators */
		{ "\300\233", "??" },                      /* ESC, overlong */
		{ "\340\200\233", "???" },
		{ "\355\240\200", "???" },                 /* a surrogate */
		{ "\364\220\200\200", "????" },            /* above the last one */
		{ "\370\210\200\200\200", "?????" },
		{ "cut\342\200", "cut??" },
		{ "\302", "?" },
		{ "\377\376", "??" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_str_eq(masked(cases[i].text, ""), cases[i].want);
	ck_assert_str_eq(masked("a\n\033b\r", "\n\t"), "a\n?b?");
}
END_TEST

/* Every code point: what is left is itself, or a question mark in the ranges that are named. */
START_TEST(test_every_character)
{
	unsigned n = 0;

	for (uint32_t c = 0x80; c < 0x110000; c++) {
		char s[4];
		size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		uint32_t rest = c;

		for (size_t i = len; i-- > 1; rest >>= 6)
			s[i] = (char)(0x80 | (rest & 0x3f));
		s[0] = (char)((0xf00 >> len & 0xf0) | rest);
		n += mask_text(s, len, "\n\t") != len;
	}
	/* 32 of C1, U+061C, 2 marks, 7 and 4 of U+20xx; the 2048 surrogates keep their length. */
	ck_assert_uint_eq(n, 32 + 1 + 2 + 7 + 4);
}
END_TEST

/* NUL is no character of @keep, though strchr() finds it there. */
START_TEST(test_nul)
{
	char s[] = { 'a', '\0', 'b' };

	ck_assert_uint_eq(mask_text(s, sizeof(s), "\n"), 3);
	ck_assert_int_eq(memcmp(s, "a?b", 3), 0);
}
END_TEST

UNIT_MAIN("mask", test_kept, test_masked, test_every_character, test_nul)
