/* Links: util/json-read.o util/json.o */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/json-read.h"
#include "lkvm/json.h"
#include "lkvm/types.h"
#include "unit.h"

static char *text;
static struct json_tree tree;
static struct json_error why;

/* In a piece of the heap of its own, so that no byte behind its end is read unnoticed. */
static int read_bytes(const char *bytes, size_t len)
{
	json_tree_free(&tree);
	free(text);
	text = malloc(len ? len : 1);
	memcpy(text, bytes, len);
	return json_read(text, len, &tree, &why);
}

static int read_text(const char *bytes)
{
	return read_bytes(bytes, strlen(bytes));
}

static void refused(const char *bytes, const char *what, unsigned line)
{
	ck_assert_int_eq(read_text(bytes), -EINVAL);
	ck_assert_msg(!strcmp(why.what, what), "%s: %s", bytes, why.what);
	ck_assert_uint_eq(why.line, line);
}

START_TEST(test_kinds)
{
	static const struct {
		const char *text;
		enum json_kind kind;
	} all[] = {
		{ "null", JSON_NULL }, { "true", JSON_BOOL }, { " false ", JSON_BOOL }, { "0", JSON_NUMBER },
		{ "-12.5e+3", JSON_NUMBER }, { "1E9", JSON_NUMBER }, { "\"\"", JSON_STRING }, { "[]", JSON_ARRAY },
		{ "\n{ }\t", JSON_OBJECT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		ck_assert_int_eq(read_text(all[i].text), 0);
		ck_assert_uint_eq(tree.n, 1);
		ck_assert_int_eq(tree.value[0].kind, all[i].kind);
		ck_assert_ptr_null(tree.value[0].key);
		ck_assert_ptr_null(json_first(&tree, &tree.value[0]));
	}
}
END_TEST

START_TEST(test_tree)
{
	const struct json_value *list, *v;
	uint64_t n;

	ck_assert_int_eq(read_text("{\"a\":[1,[],{\"b\":2},\"x\"],\n \"c\" : true , \"a\": 9}"), 0);
	list = json_member(&tree, &tree.value[0], "a");
	ck_assert_int_eq(list->kind, JSON_ARRAY);
	v = json_first(&tree, list);
	ck_assert_int_eq(json_number(v, 10, &n), 0);
	ck_assert_uint_eq(n, 1);
	v = json_next(&tree, v);
	ck_assert_int_eq(v->kind, JSON_ARRAY);
	v = json_next(&tree, v);
	ck_assert_int_eq(json_number(json_member(&tree, v, "b"), 10, &n), 0);
	ck_assert_uint_eq(n, 2);
	v = json_next(&tree, v);
	ck_assert_str_eq(v->text, "x");
	ck_assert_ptr_null(json_next(&tree, v));
	ck_assert_int_eq(json_member(&tree, &tree.value[0], "c")->kind, JSON_BOOL);
	ck_assert_ptr_null(json_member(&tree, &tree.value[0], "b"));
	ck_assert_ptr_null(json_member(&tree, list, "b"));
	ck_assert_ptr_null(json_member(&tree, NULL, "b"));
}
END_TEST

START_TEST(test_strings)
{
	ck_assert_int_eq(read_text("\"\\\"\\\\\\/\\b\\f\\n\\r\\t \\u0041\\u00e4\\u20ac\\ud83d\\ude00\xc3\xa4\""), 0);
	ck_assert_str_eq(tree.value[0].text, "\"\\/\b\f\n\r\t A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa4");
	ck_assert_uint_eq(tree.value[0].len, strlen(tree.value[0].text));
	refused("\"a", "a string does not end", 1);
	refused("\"a\\", "unknown escape in a string", 1);
	refused("\"\\x\"", "unknown escape in a string", 1);
	refused("\"\\u12g4\"", "\\u wants four hexadecimal digits", 1);
	refused("\"\\u12", "\\u wants four hexadecimal digits", 1);
	refused("\"\\u0000\"", "a string has a NUL in it", 1);
	refused("\"\\ud800\"", "half of a surrogate pair", 1);
	refused("\"\\ud800\\u0041\"", "half of a surrogate pair", 1);
	refused("\"\\udc00\"", "half of a surrogate pair", 1);
	refused("\n\"a\nb\"", "a control character in a string", 2);
	ck_assert_int_eq(read_bytes("\"a\0b\"", 5), -EINVAL);
	ck_assert_str_eq(why.what, "a string has a NUL in it");
}
END_TEST

START_TEST(test_wrong)
{
	refused("", "there is no value", 1);
	refused("\n\n  ", "there is no value", 3);
	refused("nul", "there is no value", 1);
	refused("x", "there is no value", 1);
	refused("01", "a number begins with 0", 1);
	refused("-", "a number wants a digit", 1);
	refused("1.", "a number wants a digit", 1);
	refused("1e+", "a number wants a digit", 1);
	refused("1 2", "something stands behind its end", 1);
	refused("[1", "',' or ']' is missing", 1);
	refused("[1,]", "there is no value", 1);
	refused("[\n1}", "',' or ']' is missing", 2);
	refused("{", "the name of a member is missing", 1);
	refused("{1:2}", "the name of a member is missing", 1);
	refused("{\"a\"}", "':' is missing", 1);
	refused("{\"a\":1,}", "the name of a member is missing", 1);
	refused("{\"a\":1]", "',' or '}' is missing", 1);
}
END_TEST

START_TEST(test_limits)
{
	static char bytes[2 * JSON_READ_VALUES + 8];

	memset(bytes, '[', JSON_READ_DEPTH);
	memset(bytes + JSON_READ_DEPTH, ']', JSON_READ_DEPTH);
	ck_assert_int_eq(read_bytes(bytes, 2 * JSON_READ_DEPTH), 0);
	memset(bytes, '[', JSON_READ_DEPTH + 1);
	ck_assert_int_eq(read_bytes(bytes, JSON_READ_DEPTH + 1), -EINVAL);
	ck_assert_str_eq(why.what, "too many containers in each other");
	for (unsigned i = 0; i < JSON_READ_VALUES; i++)
		memcpy(bytes + 1 + 2 * i, "1,", 2);
	bytes[2 * JSON_READ_VALUES] = ']';
	ck_assert_int_eq(read_bytes(bytes, 2 * JSON_READ_VALUES + 1), -EINVAL);
	ck_assert_str_eq(why.what, "too many values");
	bytes[2 * JSON_READ_VALUES - 2] = ']';
	ck_assert_int_eq(read_bytes(bytes, 2 * JSON_READ_VALUES - 1), 0);
	ck_assert_uint_eq(tree.n, JSON_READ_VALUES);
}
END_TEST

static int number(const char *bytes, uint64_t max, uint64_t want)
{
	uint64_t n = 77;
	int err;

	ck_assert_int_eq(read_text(bytes), 0);
	err = json_number(&tree.value[0], max, &n);
	ck_assert_uint_eq(n, err ? 77 : want);
	return err;
}

START_TEST(test_numbers)
{
	uint64_t n;

	ck_assert_int_eq(number("0", 0, 0), 0);
	ck_assert_int_eq(number("1", 0, 0), -ERANGE);
	ck_assert_int_eq(number("4294967295", UINT32_MAX, UINT32_MAX), 0);
	ck_assert_int_eq(number("4294967296", UINT32_MAX, 0), -ERANGE);
	ck_assert_int_eq(number("18446744073709551615", UINT64_MAX, UINT64_MAX), 0);
	ck_assert_int_eq(number("18446744073709551616", UINT64_MAX, 0), -ERANGE);
	ck_assert_int_eq(number("\"0xFFFFffff\"", UINT32_MAX, UINT32_MAX), 0);
	ck_assert_int_eq(number("\"0x100000000\"", UINT32_MAX, 0), -ERANGE);
	ck_assert_int_eq(number("\"0xffffffffffffffff\"", UINT64_MAX, UINT64_MAX), 0);
	ck_assert_int_eq(number("\"0x10000000000000000\"", UINT64_MAX, 0), -ERANGE);
	ck_assert_int_eq(number("\"0x\"", 9, 0), -EINVAL);
	ck_assert_int_eq(number("\"0xg\"", 9, 0), -EINVAL);
	ck_assert_int_eq(number("\"12\"", 99, 0), -EINVAL);
	ck_assert_int_eq(number("-1", 9, 0), -EINVAL);
	ck_assert_int_eq(number("1.5", 9, 0), -EINVAL);
	ck_assert_int_eq(number("1e1", 99, 0), -EINVAL);
	ck_assert_int_eq(number("true", 9, 0), -EINVAL);
	ck_assert_int_eq(json_number(NULL, 9, &n), -EINVAL);
}
END_TEST

/* What the writer writes */
START_TEST(test_written)
{
	char *out;
	size_t len;
	struct json json;
	uint64_t n;

	json_init(&json, open_memstream(&out, &len));
	json_object(&json, NULL);
	json_str(&json, "s", "\x1b\"\\\n\xc2\x9b");
	json_hex(&json, "h", UINT64_MAX);
	json_str(&json, "none", NULL);
	json_end(&json);
	ck_assert_int_eq(fclose(json.out), 0);
	ck_assert_int_eq(read_bytes(out, len), 0);
	ck_assert_str_eq(json_member(&tree, &tree.value[0], "s")->text, "\x1b\"\\\n\xc2\x9b");
	ck_assert_int_eq(json_number(json_member(&tree, &tree.value[0], "h"), UINT64_MAX, &n), 0);
	ck_assert_uint_eq(n, UINT64_MAX);
	ck_assert_int_eq(json_member(&tree, &tree.value[0], "none")->kind, JSON_NULL);
	free(out);
}
END_TEST

UNIT_MAIN("json-read", test_kinds, test_tree, test_strings, test_wrong, test_limits, test_numbers, test_written)
