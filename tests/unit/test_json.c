/* Links: util/json.o */
#include <stdio.h>
#include <string.h>

#include "lkvm/json.h"
#include "lkvm/types.h"
#include "unit.h"

static char *text;
static size_t text_bytes;

static struct json *start(void)
{
	static struct json json;

	json_init(&json, open_memstream(&text, &text_bytes));
	ck_assert_ptr_nonnull(json.out);
	return &json;
}

static void expect(struct json *json, const char *want)
{
	ck_assert_int_eq(ferror(json->out), 0);
	ck_assert_int_eq(fclose(json->out), 0);
	ck_assert_str_eq(text, want);
	free(text);
}

START_TEST(test_containers)
{
	struct json *json = start();

	json_object(json, NULL);
	json_str(json, "name", "a");
	json_array(json, "list");
	json_u64(json, NULL, 1);
	json_object(json, NULL);
	json_end(json);
	json_array(json, NULL);
	json_end(json);
	json_end(json);
	json_bool(json, "last", true);
	json_end(json);
	expect(json, "{\n  \"name\": \"a\",\n  \"list\": [\n    1,\n    {},\n    []\n  ],\n"
		     "  \"last\": true\n}\n");
}
END_TEST

START_TEST(test_flat)
{
	struct json *json = start();

	json->flat_depth = 2;
	json_object(json, NULL);
	json_array(json, "list");
	for (unsigned i = 0; i < 2; i++) {
		json_object(json, NULL);
		json_u64(json, "i", i);
		json_array(json, "a");
		json_u64(json, NULL, i);
		json_u64(json, NULL, i);
		json_end(json);
		json_end(json);
	}
	json_end(json);
	json_end(json);
	expect(json, "{\n  \"list\": [\n    {\"i\": 0, \"a\": [0, 0]},\n"
		     "    {\"i\": 1, \"a\": [1, 1]}\n  ]\n}\n");
}
END_TEST

START_TEST(test_empty)
{
	struct json *json = start();

	json_array(json, NULL);
	json_end(json);
	expect(json, "[]\n");
}
END_TEST

START_TEST(test_scalars)
{
	struct json *json = start();

	json_array(json, NULL);
	json_u64(json, NULL, UINT64_MAX);
	json_i64(json, NULL, INT64_MIN);
	json_hex(json, NULL, UINT64_MAX);
	json_hex(json, NULL, 0);
	json_bool(json, NULL, false);
	json_str(json, NULL, NULL);
	json_end(json);
	expect(json, "[\n  18446744073709551615,\n  -9223372036854775808,\n  \"0xffffffffffffffff\",\n"
		     "  \"0x0\",\n  false,\n  null\n]\n");
}
END_TEST

START_TEST(test_strings)
{
	static const struct {
		const char *in, *want;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "\"\\/", "\\\"\\\\/" },
		{ "\x01\t\n\x1f\x7f", "\\u0001\\t\\n\\u001f\\u007f" },
		{ "\b\f\r\033[2J", "\\b\\f\\r\\u001b[2J" },
		{ "btnfr", "btnfr" },
		{ "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\\u0080\\u009b\\u009f\xc2\xa0" }, /* C1 */
		{ "\xd8\x9c\xe2\x80\x8d\xe2\x80\x8e\xe2\x80\x8f", "\\u061c\xe2\x80\x8d\\u200e\\u200f" },
		{ "\xe2\x80\xa7\xe2\x80\xa8\xe2\x80\xa9", "\xe2\x80\xa7\\u2028\\u2029" },
		{ "\xe2\x80\xaa\xe2\x80\xae\xe2\x80\xaf", "\\u202a\\u202e\xe2\x80\xaf" },
		{ "\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", "\\u2066\\u2069\xe2\x81\xaa" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7" },
		{ "\xc2\xa0\xef\xbf\xbf\xf4\x8f\xbf\xbf", "\xc2\xa0\xef\xbf\xbf\xf4\x8f\xbf\xbf" },
		{ "a\xff" "b", "a\\ufffdb" },                       /* never in UTF-8 */
		{ "\x80", "\\ufffd" },                              /* continuation without a start */
		{ "\xc3", "\\ufffd" },                              /* cut by the end */
		{ "\xe2\x82", "\\ufffd\\ufffd" },
		{ "\xc3(", "\\ufffd(" },
		{ "\xc1\xbf", "\\ufffd\\ufffd" },                   /* overlong */
		{ "\xe0\x9f\xbf", "\\ufffd\\ufffd\\ufffd" },        /* overlong */
		{ "\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd" },        /* surrogate */
		{ "\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd" },
		{ "\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" }, /* above U+10FFFF */
		{ "\xf5\x80\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json *json = start();
		char want[128];

		snprintf(want, sizeof(want), "\"%s\"", cases[i].want);
		json_str(json, NULL, cases[i].in);
		expect(json, want);
	}
}
END_TEST

START_TEST(test_key_escaped)
{
	struct json *json = start();

	json_object(json, NULL);
	json_u64(json, "a\"b", 1);
	json_end(json);
	expect(json, "{\n  \"a\\\"b\": 1\n}\n");
}
END_TEST

UNIT_MAIN("json", test_containers, test_flat, test_empty, test_scalars, test_strings, test_key_escaped)
