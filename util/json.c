/* JSON writer; see json.h. */
#include "lkvm/json.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "lkvm/mask.h"

void json_init(struct json *json, FILE *out)
{
	*json = (struct json){ .out = out, .first = true };
}

/*
 * JSON needs it only of C0, the quote and the backslash. The rest is for those who look at the output
 * in a terminal: it shows what is there, but does not act upon it.
 */
static void put_escaped(FILE *out, uint32_t c)
{
	static const char *const brief = "\bb\tt\nn\ff\rr\"\"\\\\";
	const char *at = c && c < 0x80 ? strchr(brief, (int)c) : NULL;

	/* No letter that stands for one is itself escaped, so strchr() finds the first of a pair. */
	if (at)
		fprintf(out, "\\%c", at[1]);
	else
		fprintf(out, "\\u%04x", c);
}

static void put_string(FILE *out, const char *value)
{
	size_t left = strlen(value), n;
	uint32_t c;

	putc('"', out);
	for (; left; left -= n, value += n) {
		n = mask_decode(value, left, &c);
		if (!n)
			fputs("\\ufffd", out);
		else if (c == '"' || c == '\\' || mask_acts(c))
			put_escaped(out, c);
		else
			fwrite(value, 1, n, out);
		n += !n;
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

void json_us(struct json *json, const char *key, uint64_t ns)
{
	put_key(json, key);
	fprintf(json->out, "%" PRIu64 ".%03u", ns / 1000, (unsigned)(ns % 1000));
}

void json_hex(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	fprintf(json->out, "\"0x%" PRIx64 "\"", value);
}
