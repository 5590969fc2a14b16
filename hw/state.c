/*
 * The walker over state tables; see state.h. hw/state-show.c prints and compares records.
 *
 *	record	u32 bytes behind it | name | u32 version | u32 fields | field...
 *	field	name | u8 bytes of a value | u32 count | the values
 *	name	u8 length | characters
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "state-internal.h"

#define MAX_FIELDS 256 /* more than any type has: what a hostile record costs is bounded */

/* ---- write ---- */

void state_buf_free(struct state_buf *buf)
{
	free(buf->data);
	*buf = (struct state_buf){ 0 };
}

/* Return: where @bytes may be written, NULL without memory */
static uint8_t *put(struct state_buf *buf, size_t bytes)
{
	size_t need = buf->len + bytes;
	uint8_t *at;

	if (need > buf->cap) {
		size_t cap = need + buf->cap;
		uint8_t *data = realloc(buf->data, cap);

		if (!data)
			return NULL;
		buf->data = data;
		buf->cap = cap;
	}
	at = buf->data + buf->len;
	buf->len = need;
	return at;
}

static bool put_bytes(struct state_buf *buf, const void *from, size_t bytes)
{
	uint8_t *at = put(buf, bytes);

	if (at && bytes)
		memcpy(at, from, bytes);
	return at;
}

int state_buf_add(struct state_buf *buf, const void *from, size_t bytes)
{
	return put_bytes(buf, from, bytes) ? 0 : -ENOMEM;
}

/* The host is little endian as the record is. */
static bool put_u32(struct state_buf *buf, uint32_t v)
{
	return put_bytes(buf, &v, sizeof(v));
}

static bool put_name(struct state_buf *buf, const char *name)
{
	uint8_t len = (uint8_t)strlen(name);

	return put_bytes(buf, &len, 1) && put_bytes(buf, name, len);
}

/* How many values of @field are in use. */
static uint32_t used(const struct state_field *field, const void *state)
{
	uint32_t n = field->count;

	if (field->some)
		memcpy(&n, (const uint8_t *)state + field->n_at, sizeof(n));
	return n < field->count ? n : field->count;
}

static bool put_field(struct state_buf *buf, const struct state_field *field, const void *state)
{
	uint32_t n = used(field, state);
	uint8_t bytes = (uint8_t)field->bytes;

	return put_name(buf, field->name) && put_bytes(buf, &bytes, 1) && put_u32(buf, n) &&
	       put_bytes(buf, (const uint8_t *)state + field->offset, (size_t)n * bytes);
}

static bool put_record(struct state_buf *buf, const struct state_type *type, const void *state)
{
	if (!put_u32(buf, 0) || !put_name(buf, type->name) || !put_u32(buf, type->version) ||
	    !put_u32(buf, type->n))
		return false;
	for (unsigned i = 0; i < type->n; i++)
		if (!put_field(buf, &type->fields[i], state))
			return false;
	return true;
}

int state_pack(struct state_buf *buf, const struct state_type *type, const void *state)
{
	size_t start = buf->len;
	uint32_t behind;

	if (!put_record(buf, type, state)) {
		buf->len = start;
		return -ENOMEM;
	}
	behind = (uint32_t)(buf->len - start - sizeof(behind));
	memcpy(buf->data + start, &behind, sizeof(behind));
	return 0;
}

int state_save(struct state_buf *buf, const struct state_type *type, void *dev)
{
	void *state;
	int err;

	if (!type->save)
		return state_pack(buf, type, (const uint8_t *)dev + type->at);
	state = calloc(1, type->size);
	if (!state)
		return -ENOMEM;
	err = type->save(dev, state);
	if (!err)
		err = state_pack(buf, type, state);
	free(state);
	return err;
}

/* ---- read ---- */

int state_refuse(struct state_reader *in, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(in->why, sizeof(in->why), fmt, args);
	va_end(args);
	return err;
}

static const uint8_t *take(struct record *r, size_t bytes)
{
	const uint8_t *at = r->at;

	if (bytes > (size_t)(r->end - at))
		return NULL;
	r->at += bytes;
	return at;
}

static bool take_u32(struct record *r, uint32_t *ret)
{
	const uint8_t *at = take(r, sizeof(*ret));

	if (at)
		memcpy(ret, at, sizeof(*ret));
	return at;
}

/* Names go to terminals as they are, so there is nothing else in them. */
static bool is_name_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static bool take_name(struct record *r, char ret[STATE_NAME_MAX + 1])
{
	const uint8_t *len = take(r, 1);
	const uint8_t *at = len && *len && *len <= STATE_NAME_MAX ? take(r, *len) : NULL;

	for (unsigned i = 0; at && i < *len; i++)
		if (!is_name_char(at[i]))
			return false;
	if (!at)
		return false;
	memcpy(ret, at, *len);
	ret[*len] = 0;
	return true;
}

static bool take_field(struct record *r, struct field *ret)
{
	const uint8_t *bytes;

	if (!take_name(r, ret->name))
		return false;
	bytes = take(r, 1);
	if (!bytes || !take_u32(r, &ret->count))
		return false;
	ret->bytes = *bytes;
	if (ret->bytes != 1 && ret->bytes != 2 && ret->bytes != 4 && ret->bytes != 8)
		return false;
	ret->data = take(r, (size_t)ret->count * ret->bytes);
	return ret->data;
}

uint64_t state_value(const struct field *f, uint32_t i)
{
	uint64_t value = 0;

	memcpy(&value, f->data + (size_t)i * f->bytes, f->bytes);
	return value;
}

int state_take_record(struct state_reader *in, struct record *ret)
{
	struct record all = { .at = in->at, .end = in->end };
	uint32_t behind;

	if (!take_u32(&all, &behind) || behind > (size_t)(all.end - all.at))
		return state_refuse(in, -EBADMSG, "a record is cut short");
	*ret = (struct record){ .at = all.at, .end = all.at + behind };
	if (!take_name(ret, ret->name) || !take_u32(ret, &ret->version) ||
	    !take_u32(ret, &ret->n) || ret->n > MAX_FIELDS)
		return state_refuse(in, -EBADMSG, "a record has a damaged head");
	in->at = ret->end;
	return 0;
}

int state_next(struct state_reader *in, char ret_name[STATE_NAME_MAX + 1])
{
	struct state_reader ahead = *in;
	struct record r;
	int err;

	if (in->at == in->end)
		return -ENODATA;
	err = state_take_record(&ahead, &r);
	if (err)
		return state_refuse(in, err, "%s", ahead.why);
	memcpy(ret_name, r.name, sizeof(r.name));
	return 0;
}

int state_take_field(struct state_reader *in, struct record *r, struct field *ret)
{
	if (!take_field(r, ret))
		return state_refuse(in, -EBADMSG, "%s: a field is damaged or cut short", r->name);
	return 0;
}

int state_judge_end(struct state_reader *in, const struct record *r)
{
	return r->at == r->end ? 0 : state_refuse(in, -EBADMSG, "%s: more than its fields", r->name);
}

/* ---- load ---- */

static bool has_field(const struct state_type *type, const char *name)
{
	for (unsigned i = 0; i < type->n; i++)
		if (!strcmp(type->fields[i].name, name))
			return true;
	return false;
}

static int judge_shape(struct state_reader *in, const struct state_type *type,
		       const struct state_field *want, const struct field *got, const void *state)
{
	if (strcmp(got->name, want->name))
		return has_field(type, got->name)
			       ? state_refuse(in, -EBADMSG, "%s: field '%s' is missing", type->name,
					want->name)
			       : state_refuse(in, -EBADMSG, "%s: unknown field '%s'", type->name,
					got->name);
	if (got->bytes != want->bytes)
		return state_refuse(in, -EBADMSG, "%s: field '%s' has values of %u bytes, not %u",
			      type->name, want->name, got->bytes, want->bytes);
	if (got->count != used(want, state))
		return state_refuse(in, -EBADMSG, "%s: field '%s' has %u values, not %u", type->name,
			      want->name, got->count, used(want, state));
	return 0;
}

static int judge_value(struct state_reader *in, const char *type, const struct state_field *want,
		       uint64_t value)
{
	if (want->max && value > want->max)
		return state_refuse(in, -ERANGE, "%s: field '%s' is 0x%llx, at most 0x%llx can be", type,
			      want->name, (unsigned long long)value, (unsigned long long)want->max);
	if (want->bits && value & ~want->bits)
		return state_refuse(in, -ERANGE, "%s: field '%s' is 0x%llx, bits of 0x%llx can be", type,
			      want->name, (unsigned long long)value,
			      (unsigned long long)want->bits);
	return 0;
}

static int unpack_field(struct state_reader *in, const struct state_type *type,
			const struct state_field *want, const struct field *got, uint8_t *state)
{
	int err = judge_shape(in, type, want, got, state);

	for (uint32_t i = 0; !err && (want->max || want->bits) && i < got->count; i++)
		err = judge_value(in, type->name, want, state_value(got, i));
	if (!err)
		memcpy(state + want->offset, got->data, (size_t)got->count * got->bytes);
	return err;
}

static int unpack_fields(struct state_reader *in, struct record *r, const struct state_type *type,
			 void *state)
{
	uint32_t left = r->n;

	for (unsigned i = 0; i < type->n; i++) {
		struct field got;
		int err;

		if (type->fields[i].since > r->version)
			continue;
		if (!left)
			return state_refuse(in, -EBADMSG, "%s: field '%s' is missing", type->name,
				      type->fields[i].name);
		left--;
		err = state_take_field(in, r, &got);
		if (!err)
			err = unpack_field(in, type, &type->fields[i], &got, state);
		if (err)
			return err;
	}
	if (left)
		return state_refuse(in, -EBADMSG, "%s: a field too many", type->name);
	return state_judge_end(in, r);
}

int state_unpack(struct state_reader *in, const struct state_type *type, void *ret_state)
{
	const char *bad;
	struct record r = { .version = 0 };
	int err = state_take_record(in, &r);

	if (err)
		return err;
	if (strcmp(r.name, type->name))
		return state_refuse(in, -EBADMSG, "a record of '%s' where '%s' is expected", r.name,
			      type->name);
	if (!r.version || r.version > type->version)
		return state_refuse(in, -ENOTSUP, "%s: version %u, this lkvm reads 1 to %u", type->name,
			      r.version, type->version);
	memset(ret_state, 0, type->size);
	err = unpack_fields(in, &r, type, ret_state);
	if (err)
		return err;
	bad = type->check ? type->check(ret_state) : NULL;
	return bad ? state_refuse(in, -ERANGE, "%s: field '%s' has a value that cannot be", type->name,
			    bad)
		   : 0;
}

int state_load(struct state_reader *in, const struct state_type *type, void *dev)
{
	void *state = calloc(1, type->size);
	int err;

	if (!state)
		return state_refuse(in, -ENOMEM, "%s: no memory", type->name);
	err = state_unpack(in, type, state);
	if (!err) {
		err = type->load(dev, state);
		if (err)
			state_refuse(in, err, "%s: %s", type->name, strerror(-err));
	}
	free(state);
	return err;
}
