/* JSON reader; see json-read.h. */
#include "lkvm/json-read.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	char *at, *end;
	unsigned line;    /* of @at: no value has a line end in it */
	struct json_tree tree;
	unsigned room;    /* of tree.value */
	unsigned depth;
	const char *what; /* is wrong at @at; NULL: nothing yet */
};

static bool failed(struct reader *r, const char *what)
{
	if (!r->what)
		r->what = what;
	return false;
}

static char peek(const struct reader *r)
{
	return r->at < r->end ? *r->at : '\0';
}

static void skip_blanks(struct reader *r)
{
	for (; r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'); r->at++)
		r->line += *r->at == '\n';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- strings ---- */

static int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind "\u" */
static bool read_unit(struct reader *r, uint32_t *ret)
{
	*ret = 0;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(peek(r));

		if (digit < 0)
			return failed(r, "\\u wants four hexadecimal digits");
		*ret = *ret << 4 | (uint32_t)digit;
		r->at++;
	}
	return true;
}

/* @c as UTF-8, which is never longer than the "\u" that it stood as. Return: behind it */
static char *put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	if (c >= 0x10000) {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
	} else if (c >= 0x800) {
		*to++ = (char)(0xe0 | c >> 12);
	}
	*to++ = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3f) : 0xc0 | c >> 6);
	*to++ = (char)(0x80 | (c & 0x3f));
	return to;
}

static bool read_code(struct reader *r, char **to)
{
	uint32_t c, low;

	if (!read_unit(r, &c))
		return false;
	if (!c)
		return failed(r, "a string has a NUL in it");
	if (c >= 0xd800 && c < 0xdc00) {
		if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
			return failed(r, "half of a surrogate pair");
		r->at += 2;
		if (!read_unit(r, &low))
			return false;
		if (low < 0xdc00 || low > 0xdfff)
			return failed(r, "half of a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	} else if (c >= 0xdc00 && c < 0xe000) {
		return failed(r, "half of a surrogate pair");
	}
	*to = put_utf8(*to, c);
	return true;
}

/* Behind a backslash */
static bool read_escape(struct reader *r, char **to)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char c = peek(r);
	const char *at = c ? strchr(names, c) : NULL;

	if (at) {
		*(*to)++ = values[at - names];
		r->at++;
		return true;
	}
	if (c != 'u')
		return failed(r, "unknown escape in a string");
	r->at++;
	return read_code(r, to);
}

/* The quote is the next byte. A NUL takes the place of the one at the end, or of what was longer before it. */
static bool read_string(struct reader *r, const char **ret, size_t *ret_len)
{
	char *const from = ++r->at, *to = from;

	while (r->at < r->end && *r->at != '"') {
		if ((unsigned char)*r->at < 0x20)
			return failed(r, *r->at ? "a control character in a string" : "a string has a NUL in it");
		if (*r->at != '\\') {
			*to++ = *r->at++;
			continue;
		}
		r->at++;
		if (!read_escape(r, &to))
			return false;
	}
	if (r->at == r->end)
		return failed(r, "a string does not end");
	*to = '\0';
	r->at++;
	*ret = from;
	*ret_len = (size_t)(to - from);
	return true;
}

/* ---- values ---- */

/* Return: its index, or 0 */
static unsigned add(struct reader *r, enum json_kind kind, const char *key)
{
	if (r->tree.n == JSON_READ_VALUES)
		return failed(r, "too many values");
	if (r->tree.n == r->room) {
		unsigned room = r->room ? r->room * 2 : 64;
		struct json_value *more = reallocarray(r->tree.value, room, sizeof(*more));

		if (!more)
			return failed(r, "out of memory");
		r->tree.value = more;
		r->room = room;
	}
	r->tree.value[r->tree.n] = (struct json_value){ .kind = kind, .key = key };
	return r->tree.n++;
}

static bool read_digits(struct reader *r)
{
	if (!is_digit(peek(r)))
		return failed(r, "a number wants a digit");
	while (is_digit(peek(r)))
		r->at++;
	return true;
}

static bool read_number(struct reader *r)
{
	if (peek(r) == '-')
		r->at++;
	if (peek(r) == '0' && r->end - r->at > 1 && is_digit(r->at[1]))
		return failed(r, "a number begins with 0");
	if (!read_digits(r))
		return false;
	if (peek(r) == '.') {
		r->at++;
		if (!read_digits(r))
			return false;
	}
	if (peek(r) == 'e' || peek(r) == 'E') {
		r->at++;
		if (peek(r) == '+' || peek(r) == '-')
			r->at++;
		return read_digits(r);
	}
	return true;
}

static bool read_word(struct reader *r, const char *word)
{
	const size_t len = strlen(word);

	if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len))
		return failed(r, "there is no value");
	r->at += len;
	return true;
}

static enum json_kind kind_at(char c)
{
	switch (c) {
	case '{':
		return JSON_OBJECT;
	case '[':
		return JSON_ARRAY;
	case '"':
		return JSON_STRING;
	case 'n':
		return JSON_NULL;
	case 't':
	case 'f':
		return JSON_BOOL;
	default:
		return JSON_NUMBER;
	}
}

static bool read_value(struct reader *r, const char *key);

static bool read_key(struct reader *r, const char **ret)
{
	size_t len;

	if (peek(r) != '"')
		return failed(r, "the name of a member is missing");
	if (!read_string(r, ret, &len))
		return false;
	skip_blanks(r);
	if (peek(r) != ':')
		return failed(r, "':' is missing");
	r->at++;
	skip_blanks(r);
	return true;
}

static bool read_members(struct reader *r, unsigned container, char close)
{
	unsigned last = 0;

	for (;;) {
		const unsigned here = r->tree.n;
		const char *key = NULL;

		skip_blanks(r);
		if (close == '}' && !read_key(r, &key))
			return false;
		if (!read_value(r, key))
			return false;
		if (last)
			r->tree.value[last].next = here;
		else
			r->tree.value[container].first = here;
		last = here;
		skip_blanks(r);
		if (peek(r) != ',')
			break;
		r->at++;
	}
	if (peek(r) != close)
		return failed(r, close == '}' ? "',' or '}' is missing" : "',' or ']' is missing");
	r->at++;
	return true;
}

/* Its depth is bounded. */
static bool read_container(struct reader *r, unsigned container, char close)
{
	bool ok = true;

	if (r->depth == JSON_READ_DEPTH)
		return failed(r, "too many containers in each other");
	r->depth++;
	r->at++;
	skip_blanks(r);
	if (peek(r) == close)
		r->at++;
	else
		ok = read_members(r, container, close);
	r->depth--;
	return ok;
}

static bool read_value(struct reader *r, const char *key)
{
	char *const from = r->at;
	const char first = peek(r);
	const enum json_kind kind = kind_at(first);
	const unsigned here = add(r, kind, key);
	const char *text = from;
	size_t len = 0;
	bool ok = !r->what;

	if (!ok)
		return false;
	if (kind == JSON_STRING) {
		ok = read_string(r, &text, &len);
	} else if (kind == JSON_OBJECT || kind == JSON_ARRAY) {
		return read_container(r, here, kind == JSON_OBJECT ? '}' : ']');
	} else {
		if (kind == JSON_NUMBER && first != '-' && !is_digit(first))
			return failed(r, "there is no value");
		ok = kind == JSON_NUMBER ? read_number(r) :
					   read_word(r, first == 'n' ? "null" : first == 't' ? "true" : "false");
		len = (size_t)(r->at - from);
	}
	r->tree.value[here].text = text;
	r->tree.value[here].len = len;
	return ok;
}

int json_read(char *text, size_t len, struct json_tree *ret, struct json_error *ret_error)
{
	struct reader r = { .at = text, .end = text + len, .line = 1 };

	skip_blanks(&r);
	if (read_value(&r, NULL)) {
		skip_blanks(&r);
		if (r.at != r.end)
			failed(&r, "something stands behind its end");
	}
	if (r.what) {
		*ret_error = (struct json_error){ r.what, r.line };
		json_tree_free(&r.tree);
		return strcmp(r.what, "out of memory") ? -EINVAL : -ENOMEM;
	}
	*ret = r.tree;
	return 0;
}

void json_tree_free(struct json_tree *tree)
{
	free(tree->value);
	*tree = (struct json_tree){ 0 };
}

const struct json_value *json_first(const struct json_tree *tree, const struct json_value *v)
{
	return v && v->first ? &tree->value[v->first] : NULL;
}

const struct json_value *json_next(const struct json_tree *tree, const struct json_value *v)
{
	return v->next ? &tree->value[v->next] : NULL;
}

const struct json_value *json_member(const struct json_tree *tree, const struct json_value *object, const char *key)
{
	if (!object || object->kind != JSON_OBJECT)
		return NULL;
	for (const struct json_value *v = json_first(tree, object); v; v = json_next(tree, v))
		if (!strcmp(v->key, key))
			return v;
	return NULL;
}

int json_number(const struct json_value *v, uint64_t max, uint64_t *ret)
{
	const bool hex = v && v->kind == JSON_STRING && v->len > 2 && v->text[0] == '0' && v->text[1] == 'x';
	const uint64_t base = hex ? 16 : 10;
	uint64_t value = 0;

	if (!v || (!hex && v->kind != JSON_NUMBER))
		return -EINVAL;
	for (size_t i = hex ? 2 : 0; i < v->len; i++) {
		const int digit = hex_digit(v->text[i]);

		if (digit < 0 || (uint64_t)digit >= base)
			return -EINVAL;
		if (value > (max - (uint64_t)digit) / base || (uint64_t)digit > max)
			return -ERANGE;
		value = value * base + (uint64_t)digit;
	}
	*ret = value;
	return 0;
}
