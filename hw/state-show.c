/* Records printed and compared, by what they say of themselves; see state.h. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "lkvm/json.h"
#include "state-internal.h"

#define VALUES_PER_ROW 16

static void print_field(const struct field *f, FILE *out)
{
	fprintf(out, "  %-16s", f->name);
	for (uint32_t i = 0; i < f->count; i++)
		fprintf(out, "%s0x%0*llx",
			i && i % VALUES_PER_ROW == 0 ? "\n                   " : " ",
			f->count > 1 ? (int)f->bytes * 2 : 1,
			(unsigned long long)state_value(f, i));
	fprintf(out, "\n");
}

int state_print(struct state_reader *in, FILE *out)
{
	struct record r;
	int err = state_take_record(in, &r);

	if (!err)
		fprintf(out, "%s, version %u\n", r.name, r.version);
	for (uint32_t i = 0; !err && i < r.n; i++) {
		struct field f;

		err = state_take_field(in, &r, &f);
		if (!err)
			print_field(&f, out);
	}
	return err ? err : state_judge_end(in, &r);
}

static void json_value(struct json *json, const char *key, const struct field *f, uint32_t i)
{
	if (f->bytes == 8) /* not exact as a number */
		json_hex(json, key, state_value(f, i));
	else
		json_u64(json, key, state_value(f, i));
}

static void json_field(struct json *json, const struct field *f)
{
	if (f->count == 1) {
		json_value(json, f->name, f, 0);
		return;
	}
	json_array(json, f->name);
	for (uint32_t i = 0; i < f->count; i++)
		json_value(json, NULL, f, i);
	json_end(json);
}

int state_json(struct state_reader *in, struct json *json)
{
	struct record r;
	int err = state_take_record(in, &r);

	if (err)
		return err;
	json_object(json, NULL);
	json_str(json, "type", r.name);
	json_u64(json, "version", r.version);
	json_object(json, "fields");
	for (uint32_t i = 0; !err && i < r.n; i++) {
		struct field f;

		err = state_take_field(in, &r, &f);
		if (!err)
			json_field(json, &f);
	}
	json_end(json);
	json_end(json);
	return err ? err : state_judge_end(in, &r);
}

/* Return: 1 if @r has the field @name at least @nth times, that one in *@ret; 0 if not; -EBADMSG */
static int find_field(struct state_reader *in, struct record r, const char *name, uint32_t nth,
		      struct field *ret)
{
	for (uint32_t i = 0; i < r.n; i++) {
		int err = state_take_field(in, &r, ret);

		if (err)
			return err;
		if (!strcmp(ret->name, name) && !--nth)
			return 1;
	}
	return 0;
}

/*
 * How often does @name stand among the first @n fields? Of what was saved, once; but a record may be
 * somebody else's.
 */
static uint32_t times(struct state_reader *in, struct record r, uint32_t n, const char *name)
{
	uint32_t found = 0;
	struct field f;

	for (uint32_t i = 0; i < n && !state_take_field(in, &r, &f); i++)
		found += !strcmp(f.name, name);
	return found;
}

__attribute__((format(printf, 2, 3))) static int differs(FILE *out, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (out)
		vfprintf(out, fmt, args);
	va_end(args);
	return 1;
}

/* Return: 1 if they differ */
static int diff_field(const char *type, const struct field *a, const struct field *b, FILE *out)
{
	if (a->bytes != b->bytes || a->count != b->count)
		return differs(out, "%s.%s: %u values of %u bytes, %u of %u\n", type, a->name,
			       a->count, a->bytes, b->count, b->bytes);
	for (uint32_t i = 0; i < a->count; i++) {
		unsigned long long x = state_value(a, i), y = state_value(b, i);

		if (x != y && a->count > 1)
			return differs(out, "%s.%s[%u]: 0x%llx, 0x%llx\n", type, a->name, i, x, y);
		if (x != y)
			return differs(out, "%s.%s: 0x%llx, 0x%llx\n", type, a->name, x, y);
	}
	return 0;
}

/* The fields of @a against those of @b; with @missing only those that @b lacks. */
static int diff_fields(struct state_reader *in_a, const struct record *a, struct state_reader *in_b,
		       const struct record *b, bool missing, FILE *out)
{
	struct record r = *a;
	int n = 0;

	for (uint32_t i = 0; i < a->n; i++) {
		struct field f, other;
		int err = state_take_field(in_a, &r, &f), found = 0;

		if (!err)
			found = find_field(in_b, *b, f.name, times(in_a, *a, i + 1, f.name), &other);
		if (err || found < 0)
			return err ? err : found;
		if (!found)
			n += differs(out, "%s.%s: in one of them only\n", a->name, f.name);
		else if (!missing)
			n += diff_field(a->name, &f, &other, out);
	}
	return n;
}

int state_diff(struct state_reader *a, struct state_reader *b, FILE *out)
{
	struct record ra, rb;
	int err = state_take_record(a, &ra), n, more;

	if (!err)
		err = state_take_record(b, &rb);
	if (err)
		return err;
	if (strcmp(ra.name, rb.name))
		return differs(out, "a record of '%s', one of '%s'\n", ra.name, rb.name);
	n = diff_fields(a, &ra, b, &rb, false, out);
	if (n < 0)
		return n;
	more = diff_fields(b, &rb, a, &ra, true, out);
	return more < 0 ? more : n + more;
}
