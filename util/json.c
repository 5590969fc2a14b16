/* JSON writer; see json.h. */
#include "lkvm/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>

void json_init(struct json *json, FILE *out)
{
	*json = (struct json){ .out = out, .first = true };
}

/*
 * Length of the UTF-8 sequence that @s starts with, 0 if it is not one (RFC 3629, 4): overlong
 * forms, surrogates and what lies above U+10FFFF are out. The NUL at the end stops it in time.
 */
static unsigned utf8_len(const unsigned char *s)
{
	unsigned len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	unsigned char low = 0x80, high = 0xbf;

	if (s[0] > 0xf4)
		return 0;
	switch (s[0]) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	}
	for (unsigned i = 1; i < len; i++) {
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80, high = 0xbf;
	}
	return len;
}

static void put_string(FILE *out, const char *value)
{
	const unsigned char *s = (const unsigned char *)value;

	putc('"', out);
	while (*s) {
		unsigned len = utf8_len(s);

		if (len == 0)
			fputs("\\ufffd", out);
		else if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\u%04x", *s);
		else
			fwrite(s, 1, len, out);
		s += len ? len : 1;
	}
	putc('"', out);
}

static bool is_flat(const struct json *json, unsigned depth)
{
	return json->flat_depth && depth > json->flat_depth;
}

static void new_line(struct json *json)
{
	fprintf(json->out, "\n%*s", (int)(2 * json->depth), "");
}

static void put_key(struct json *json, const char *key)
{
	if (json->depth) {
		assert(!key == (json->close[json->depth - 1] == ']'));
		if (!json->first)
			putc(',', json->out);
		if (!is_flat(json, json->depth))
			new_line(json);
		else if (!json->first)
			putc(' ', json->out);
	}
	json->first = false;
	if (key) {
		put_string(json->out, key);
		fputs(": ", json->out);
	}
}

static void json_open(struct json *json, const char *key, char open, char close)
{
	assert(json->depth < JSON_MAX_DEPTH);
	put_key(json, key);
	putc(open, json->out);
	json->close[json->depth++] = close;
	json->first = true;
}

void json_object(struct json *json, const char *key)
{
	json_open(json, key, '{', '}');
}

void json_array(struct json *json, const char *key)
{
	json_open(json, key, '[', ']');
}

void json_end(struct json *json)
{
	assert(json->depth);
	json->depth--;
	if (!json->first && !is_flat(json, json->depth + 1))
		new_line(json);
	putc(json->close[json->depth], json->out);
	json->first = false;
	if (!json->depth)
		putc('\n', json->out);
}

void json_str(struct json *json, const char *key, const char *value)
{
	put_key(json, key);
	if (value)
		put_string(json->out, value);
	else
		fputs("null", json->out);
}

void json_u64(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	fprintf(json->out, "%" PRIu64, value);
}

void json_i64(struct json *json, const char *key, int64_t value)
{
	put_key(json, key);
	fprintf(json->out, "%" PRId64, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
	put_key(json, key);
	fputs(value ? "true" : "false", json->out);
}

void json_hex(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	fprintf(json->out, "\"0x%" PRIx64 "\"", value);
}
