/* Links: util/key-names.o */
#include <linux/input-event-codes.h>
#include <string.h>

#include "lkvm/key-names.h"
#include "lkvm/types.h"
#include "unit.h"

static unsigned named(const char *name)
{
	return key_by_name(name, strlen(name));
}

START_TEST(test_names)
{
	ck_assert_uint_eq(named("a"), KEY_A);
	ck_assert_uint_eq(named("F12"), KEY_F12);
	ck_assert_uint_eq(named("f24"), KEY_F24);
	ck_assert_uint_eq(named("Ctrl"), KEY_LEFTCTRL);
	ck_assert_uint_eq(named("del"), KEY_DELETE);
	ck_assert_uint_eq(named("Delete"), KEY_DELETE);
	ck_assert_uint_eq(named("esc"), KEY_ESC);
	ck_assert_uint_eq(key_by_name("alt-f1", 3), KEY_LEFTALT);
	ck_assert_uint_eq(named(""), 0);
	ck_assert_uint_eq(named("f25"), 0);
	ck_assert_uint_eq(named("es"), 0);
	ck_assert_uint_eq(key_by_name("esc", 2), 0);
	ck_assert_uint_eq(named("reserved"), 0);
}
END_TEST

/* A character is on the key of its own name, so the tables' places are right. */
START_TEST(test_characters)
{
	static const struct {
		char c;
		unsigned code;
		bool shift;
	} table[] = {
		{ '1', KEY_1, false },	       { '!', KEY_1, true },	    { '0', KEY_0, false },     { ')', KEY_0, true },
		{ '-', KEY_MINUS, false },     { '+', KEY_EQUAL, true },    { '\b', KEY_BACKSPACE, false },
		{ '\t', KEY_TAB, false },      { '{', KEY_LEFTBRACE, true }, { ']', KEY_RIGHTBRACE, false },
		{ '\n', KEY_ENTER, false },    { '\r', KEY_ENTER, false },  { ':', KEY_SEMICOLON, true },
		{ '"', KEY_APOSTROPHE, true }, { '~', KEY_GRAVE, true },    { '|', KEY_BACKSLASH, true },
		{ '\\', KEY_BACKSLASH, false }, { '/', KEY_SLASH, false },  { '<', KEY_COMMA, true },
		{ ' ', KEY_SPACE, false },     { '\033', KEY_ESC, false },
	};
	unsigned n = 0;
	bool shift;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_uint_eq(key_of_char((unsigned char)table[i].c, &shift), table[i].code);
		ck_assert(shift == table[i].shift);
	}
	for (char c = 'a'; c <= 'z'; c++) {
		ck_assert_uint_eq(key_of_char((unsigned)c, &shift), key_by_name(&c, 1));
		ck_assert(!shift);
		ck_assert_uint_eq(key_of_char((unsigned)c - 32, &shift), key_by_name(&c, 1));
		ck_assert(shift);
	}
	for (unsigned c = 33; c < 127; c++)
		n += key_of_char(c, &shift) != 0;
	ck_assert_uint_eq(n, 94);
	ck_assert_uint_eq(key_of_char(0, &shift), 0);
	ck_assert_uint_eq(key_of_char(7, &shift), 0);
	ck_assert_uint_eq(key_of_char(127, &shift), 0);
	ck_assert_uint_eq(key_of_char(0xe4, &shift), 0);
	ck_assert_uint_eq(key_of_char(0x161, &shift), 0);
}
END_TEST

UNIT_MAIN("key-names", test_names, test_characters)
