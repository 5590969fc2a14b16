/*
 * What every type of state must keep, whatever it is the state of:
 *
 *	state_test_table()   the fields are all of the struct, in order: no byte is forgotten
 *	state_test_same()    saved, loaded into another and saved again gives the same bytes
 *	state_test_hostile() no value and no damaged byte does harm, and what is refused changes nothing
 *
 * Links: hw/state.o hw/state-show.o util/json.o
 */
#ifndef TESTS_STATE_H
#define TESTS_STATE_H

#include <errno.h>
#include <string.h>

#include "lkvm/state.h"
#include "unit.h"

static inline struct state_reader state_reader_of(const struct state_buf *buf)
{
	return (struct state_reader){ .at = buf->data, .end = buf->data + buf->len };
}

static inline void assert_name(const char *name)
{
	ck_assert_uint_ge(strlen(name), 1);
	ck_assert_uint_le(strlen(name), STATE_NAME_MAX);
	ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-."), strlen(name));
}

/* The count of an array that is not all in use: a field in front of it, and never too large. */
static inline void assert_n_field(const struct state_type *type, unsigned of)
{
	unsigned i = 0;

	while (i < of && type->fields[i].offset != type->fields[of].n_at)
		i++;
	ck_assert_msg(i < of, "%s.%s: no field counts it", type->name, type->fields[of].name);
	ck_assert_uint_eq(type->fields[i].bytes, 4);
	ck_assert_uint_eq(type->fields[i].count, 1);
	ck_assert_uint_ge(type->fields[i].max, 1);
	ck_assert_uint_le(type->fields[i].max, type->fields[of].count);
}

static inline void state_test_table(const struct state_type *type)
{
	uint64_t end = 0;

	assert_name(type->name);
	ck_assert_uint_ge(type->version, 1);
	for (unsigned i = 0; i < type->n; i++) {
		const struct state_field *f = &type->fields[i];

		assert_name(f->name);
		for (unsigned j = 0; j < i; j++)
			ck_assert_str_ne(f->name, type->fields[j].name);
		ck_assert(f->bytes == 1 || f->bytes == 2 || f->bytes == 4 || f->bytes == 8);
		ck_assert_uint_ge(f->count, 1);
		ck_assert_uint_le(f->since, type->version);
		ck_assert_msg(f->offset == end, "%s: bytes %u to %u belong to no field or to two",
			      type->name, (unsigned)end, f->offset);
		end += (uint64_t)f->bytes * f->count;
		if (f->some)
			assert_n_field(type, i);
	}
	ck_assert_msg(end == type->size, "%s: bytes %u to %u belong to no field", type->name,
		      (unsigned)end, type->size);
}

static inline void state_saved(const struct state_type *type, void *dev, struct state_buf *ret)
{
	ck_assert_int_eq(state_save(ret, type, dev), 0);
}

static inline void assert_saves(const struct state_type *type, void *dev,
				const struct state_buf *want)
{
	struct state_buf got = { 0 };
	struct state_reader a = state_reader_of(want), b;

	state_saved(type, dev, &got);
	b = state_reader_of(&got);
	if (got.len != want->len || memcmp(got.data, want->data, got.len))
		ck_abort_msg("%s: %d fields differ", type->name, state_diff(&a, &b, stderr));
	state_buf_free(&got);
}

static inline void state_copy(const struct state_type *type, void *from, void *to)
{
	struct state_buf buf = { 0 };
	struct state_reader in;

	state_saved(type, from, &buf);
	in = state_reader_of(&buf);
	ck_assert_msg(state_load(&in, type, to) == 0, "%s", in.why);
	ck_assert_ptr_eq(in.at, in.end);
	state_buf_free(&buf);
}

/* @to is as new, or any other. */
static inline void state_test_same(const struct state_type *type, void *from, void *to)
{
	struct state_buf buf = { 0 };

	state_saved(type, from, &buf);
	state_copy(type, from, to);
	assert_saves(type, to, &buf);
	assert_saves(type, from, &buf);
	state_buf_free(&buf);
}

static inline void state_set(void *state, const struct state_field *f, uint32_t i, uint64_t value)
{
	memcpy((uint8_t *)state + f->offset + (size_t)i * f->bytes, &value, f->bytes);
}

/* Return: what state_load() did of @state, as the walker packs it */
static inline int state_try(const struct state_type *type, void *dev, const void *state,
			    struct state_reader *ret)
{
	struct state_buf buf = { 0 };
	int err;

	ck_assert_int_eq(state_pack(&buf, type, state), 0);
	*ret = state_reader_of(&buf);
	err = state_load(ret, type, dev);
	state_buf_free(&buf);
	return err;
}

/*
 * Loads what @dev is now, but for the value of a field, or @index of an array. Return: as state_load(),
 * with ret->why; refused, @dev is as before
 */
static inline int state_load_field(const struct state_type *type, void *dev, const char *name,
				   uint32_t index, uint64_t value, struct state_reader *ret)
{
	const struct state_field *f = type->fields;
	struct state_buf good = { 0 };
	void *state = calloc(1, type->size);
	int err;

	state_saved(type, dev, &good);
	*ret = state_reader_of(&good);
	ck_assert_int_eq(state_unpack(ret, type, state), 0);
	while (strcmp(f->name, name))
		ck_assert_ptr_ne(++f, type->fields + type->n);
	state_set(state, f, index, value);
	err = state_try(type, dev, state, ret);
	if (err)
		assert_saves(type, dev, &good);
	state_buf_free(&good);
	free(state);
	return err;
}

/* The same, and back */
static inline int state_try_field(const struct state_type *type, void *dev, const char *name,
				  uint32_t index, uint64_t value, struct state_reader *ret)
{
	struct state_buf good = { 0 };
	struct state_reader r;
	int err;

	state_saved(type, dev, &good);
	err = state_load_field(type, dev, name, index, value, ret);
	r = state_reader_of(&good);
	ck_assert_int_eq(state_load(&r, type, dev), 0);
	state_buf_free(&good);
	return err;
}

/* One field of what @dev is now says something else. */
static inline void try_value(const struct state_type *type, void *dev, const struct state_field *f,
			     uint32_t i, uint64_t value, void (*use)(void *dev))
{
	uint64_t all = f->bytes == 8 ? UINT64_MAX : (1ULL << f->bytes * 8) - 1;
	struct state_buf good = { 0 };
	struct state_reader in;
	void *state = calloc(1, type->size);
	int err;

	state_saved(type, dev, &good);
	in = state_reader_of(&good);
	ck_assert_int_eq(state_unpack(&in, type, state), 0);
	state_set(state, f, i, value);
	err = state_try(type, dev, state, &in);
	value &= all;
	if ((f->max && value > f->max) || (f->bits && value & ~f->bits))
		ck_assert_msg(err == -ERANGE && strstr(in.why, f->name), "%s.%s", type->name,
			      f->name);
	if (err) {
		ck_assert_str_ne(in.why, "");
		assert_saves(type, dev, &good);
	}
	use(dev);
	in = state_reader_of(&good);
	ck_assert_int_eq(state_load(&in, type, dev), 0);
	free(state);
	state_buf_free(&good);
}

/* Every byte of the record flipped, but for the middle of large ones. */
static inline void try_bytes(const struct state_type *type, void *dev, void (*use)(void *dev))
{
	static const uint8_t flips[] = { 0x01, 0x10, 0x80, 0xff };
	struct state_buf good = { 0 };

	state_saved(type, dev, &good);
	for (size_t at = 0; at < good.len * sizeof(flips); at++) {
		uint8_t *byte = &good.data[at / sizeof(flips)], flip = flips[at % sizeof(flips)];
		struct state_reader in = state_reader_of(&good);

		if (at / sizeof(flips) == 1024 && good.len > 2048)
			at += (good.len - 2048) * sizeof(flips);
		*byte ^= flip;
		if (state_load(&in, type, dev))
			ck_assert_str_ne(in.why, "");
		*byte ^= flip;
		use(dev);
		in = state_reader_of(&good);
		ck_assert_int_eq(state_load(&in, type, dev), 0);
		assert_saves(type, dev, &good);
	}
	state_buf_free(&good);
}

/* @use: the guest and the host do with it what they can; sanitizers and asserts look on */
static inline void state_test_hostile(const struct state_type *type, void *dev,
				      void (*use)(void *dev))
{
	for (unsigned i = 0; i < type->n; i++) {
		const struct state_field *f = &type->fields[i];
		const uint64_t values[] = { 0,         f->max,     f->max + 1, ~f->bits,
					    0x80,      0x7fffffff, INT64_MAX,  (uint64_t)INT64_MIN,
					    UINT64_MAX };

		for (unsigned n = 0; n < sizeof(values) / sizeof(values[0]); n++) {
			try_value(type, dev, f, 0, values[n], use);
			if (!f->some)
				try_value(type, dev, f, f->count - 1, values[n], use);
		}
	}
	try_bytes(type, dev, use);
}

#endif
