/*
 * Saved state as an enemy would write it, into an object: try_one(). By the first byte the rest of the
 * input is
 *
 *	1, 3	a record, as it stands: what the walker must refuse
 *	5, 7	the same, but it begins as the record of the object, of which bytes are changed: where and
 *		what to
 *	even	the values of all fields, which the walker packs: what check() and load() must judge
 *
 * What was taken can be saved, and is the same when it is loaded again. And each record, whatever it is,
 * can be shown and compared.
 *
 * Links: hw/state.o hw/state-show.o util/json.o
 */
#ifndef TESTS_FUZZ_STATE_H
#define TESTS_FUZZ_STATE_H

#include <stdio.h>

#include "input.h"
#include "lkvm/json.h"
#include "lkvm/state.h"

/* Return: was it taken? */
static inline bool load(const struct state_type *type, void *dev, const uint8_t *data, size_t len)
{
	struct state_reader in = { .at = data, .end = data + len };
	int err = state_load(&in, type, dev);

	check(!err || in.why[0]);
	return !err;
}

static inline void reload(const struct state_type *type, void *dev)
{
	struct state_buf one = { 0 }, two = { 0 };
	struct state_reader a, b;

	check(state_save(&one, type, dev) == 0);
	check(load(type, dev, one.data, one.len));
	check(state_save(&two, type, dev) == 0);
	a = (struct state_reader){ .at = one.data, .end = one.data + one.len };
	b = (struct state_reader){ .at = two.data, .end = two.data + two.len };
	/* Power's timer runs on. */
	check(state_diff(&a, &b, NULL) <= (strcmp(type->name, "power") ? 0 : 1));
	state_buf_free(&one);
	state_buf_free(&two);
}

static inline void show(const uint8_t *data, size_t len)
{
	struct state_reader text = { .at = data, .end = data + len }, other = text, a = text,
			    b = text;
	struct json json;
	FILE *out;

	if (len > 8192) /* the test device's: slow, and nothing new */
		return;
	out = fopen("/dev/null", "we");
	check(out);
	json_init(&json, out);
	check(state_print(&text, out) == state_json(&other, &json));
	check(state_diff(&a, &b, out) <= 0); /* of itself */
	fclose(out);
}

static inline void try_record(const struct state_type *type, void *dev, struct input *in)
{
	size_t len = (size_t)(in->end - in->at);
	uint8_t *exact = malloc(len ? len : 1);

	check(exact);
	memcpy(exact, in->at, len);
	if (load(type, dev, exact, len))
		reload(type, dev);
	show(exact, len);
	free(exact);
}

static inline void try_values(const struct state_type *type, void *dev, struct input *in)
{
	uint8_t *state = calloc(1, type->size);
	struct state_buf buf = { 0 };

	check(state);
	for (uint32_t i = 0; i < type->size && in->at < in->end; i++)
		state[i] = input_byte(in);
	check(state_pack(&buf, type, state) == 0);
	if (load(type, dev, buf.data, buf.len))
		reload(type, dev);
	show(buf.data, buf.len);
	state_buf_free(&buf);
	free(state);
}

static inline void try_changed(const struct state_type *type, void *dev, struct input *in)
{
	struct state_buf buf = { 0 };

	check(state_save(&buf, type, dev) == 0);
	while (in->at < in->end) {
		uint64_t at = input_le(in, 2) % buf.len;

		buf.data[at] = input_byte(in);
	}
	if (load(type, dev, buf.data, buf.len))
		reload(type, dev);
	show(buf.data, buf.len);
	state_buf_free(&buf);
}

static inline void try_one(const struct state_type *type, void *dev, struct input *in)
{
	uint8_t way = input_byte(in);

	if (!(way & 1))
		try_values(type, dev, in);
	else if (way & 4)
		try_changed(type, dev, in);
	else
		try_record(type, dev, in);
}

#endif
