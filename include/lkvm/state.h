/*
 * State: all that a guest can observe of an object, as data, for who saves, shows or copies it.
 *
 * An object with state has one struct of fixed-width fields without padding, and beside it a const
 * table that tells what it is made of. One walker does the rest: it saves, loads, prints, compares.
 * A saved record describes itself: type, version, and of each field name, width and count, little
 * endian; so it can be shown, and compared, by who does not know the type.
 *
 *	struct reset_state { uint8_t port_a, control; };
 *
 *	static const struct state_field fields[] = {
 *		STATE_ONE(struct reset_state, port_a, .bits = 0x02),
 *		STATE_ONE(struct reset_state, control),
 *	};
 *	const struct state_type reset_state_type = {
 *		STATE_TYPE("reset", 1, struct reset_state, fields), .load = load,
 *		.at = offsetof(struct reset, st),
 *	};
 *
 * What is loaded is judged as if an enemy had written it. The walker knows shape, width, count, `max`
 * and `bits`; check() judges the rest, before load() sees anything. Thus load() can only fail where the
 * host refuses something.
 *
 * Nothing moves meanwhile: vCPUs are parked, workers stand still. The main thread saves and loads.
 * The devices are loaded first: load() sets its interrupt line as the state wants it, and the
 * interrupt chips, which are loaded then, know what became of that.
 *
 * tests/unit/state.h checks each type: a field left out fails there.
 */
#ifndef LKVM_STATE_H
#define LKVM_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define STATE_NAME_MAX 63 /* characters of a type's or field's name: a-z 0-9 _ - . */

struct json;

struct state_field {
	const char *name;
	uint32_t offset;
	uint32_t bytes; /* of one value: 1, 2, 4 or 8 */
	uint32_t count; /* values; 1: no array */
	bool some;      /* only the first so many are in use: ... */
	uint32_t n_at;  /* ... offset of the uint32_t, earlier in the table, that tells how many */
	uint64_t max;   /* no value is above it; 0: each can be */
	uint64_t bits;  /* no others are set in a value; 0: each can be */
	uint32_t since; /* version of the type that added it: in an older record it is missing, and 0 */
};

/* A value, an array, and an array of which the first @n_member are in use; then .max, .bits, .since */
#define STATE_ONE(type, member, ...)                                                               \
	{ .name = #member, .offset = offsetof(type, member),                                       \
	  .bytes = sizeof(((type *)0)->member), .count = 1, __VA_ARGS__ }
#define STATE_ARRAY(type, member, ...)                                                             \
	{ .name = #member, .offset = offsetof(type, member),                                       \
	  .bytes = sizeof(((type *)0)->member[0]),                                                 \
	  .count = sizeof(((type *)0)->member) / sizeof(((type *)0)->member[0]), __VA_ARGS__ }
#define STATE_SOME(type, member, n_member, ...)                                                    \
	STATE_ARRAY(type, member, .some = true, .n_at = offsetof(type, n_member), __VA_ARGS__)

struct state_type {
	const char *name;
	uint32_t version;
	uint32_t size; /* of the state struct */
	const struct state_field *fields;
	unsigned n;
	/* Can it be? Return: NULL, or the name of the field that cannot. May be NULL. */
	const char *(*check)(const void *state);
	uint32_t at; /* of the state struct in the device, where that is plain data: save is NULL then */
	/*
	 * The device's state as plain data (a timer as the time that it is set to, an eventfd as a
	 * bit), and the way back, into a device that is as new or has run. Return: 0 or -errno
	 */
	int (*save)(void *dev, void *ret_state); /* @ret_state is zeroed */
	int (*load)(void *dev, const void *state);
};

#define STATE_TYPE(type_name, type_version, struct_type, type_fields)                              \
	.name = (type_name), .version = (type_version), .size = sizeof(struct_type),               \
	.fields = (type_fields), .n = sizeof(type_fields) / sizeof((type_fields)[0])

/* Saved records, one behind the other. Zeroed: empty. */
struct state_buf {
	uint8_t *data;
	size_t len, cap;
};

void state_buf_free(struct state_buf *buf);
/** state_buf_add() - append bytes that are no record: who keeps records puts his own around them; 0 or -ENOMEM */
int state_buf_add(struct state_buf *buf, const void *from, size_t bytes);

/* Reads records, whoever wrote them. */
struct state_reader {
	const uint8_t *at, *end;
	char why[192]; /* after a failure: "serial: field 'rx_n' is 17, at most 16 can be" */
};

/** state_is_text() - for checks: do @n bytes have one NUL, at the end? */
static inline bool state_is_text(const uint8_t *text, uint32_t n)
{
	return n && memchr(text, 0, n) == text + n - 1;
}

/** state_save() - append the record of @dev; Return: 0 or -errno (@buf is then as before) */
int state_save(struct state_buf *buf, const struct state_type *type, void *dev);

/**
 * state_load() - the next record becomes the state of @dev
 * Return: 0, or -errno with in->why:
 *	-EBADMSG  it is no such record: another type, short, a field unknown, missing, of another width
 *		  or count, something behind the last one
 *	-ENOTSUP  a newer lkvm wrote it
 *	-ERANGE   a value that cannot be
 *	others	  of type->load()
 * @dev is as before, but for the last kind.
 */
int state_load(struct state_reader *in, const struct state_type *type, void *dev);

/** state_unpack() - what state_load() does before type->load(); @ret_state: type->size bytes */
int state_unpack(struct state_reader *in, const struct state_type *type, void *ret_state);
/** state_pack() - append the record of the struct @state; Return: 0 or -ENOMEM */
int state_pack(struct state_buf *buf, const struct state_type *type, const void *state);

/** state_refuse() - what came of a reader cannot be: say so in in->why; Return: @err */
int state_refuse(struct state_reader *in, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** state_next() - the type of the next record, which stays; Return: 0; -ENODATA: none; -EBADMSG */
int state_next(struct state_reader *in, char ret_name[STATE_NAME_MAX + 1]);

/** state_print() - the next record as text; Return: 0 or -EBADMSG (in the middle of it, maybe) */
int state_print(struct state_reader *in, FILE *out);
/** state_json() - the next record as a JSON object; the same */
int state_json(struct state_reader *in, struct json *json);

/**
 * state_diff() - compare the next records of two
 * @out: gets a line a field that differs: "serial.ier: 0x5, 0x7"; may be NULL
 * Return: how many fields differ or are in one of them only; -EBADMSG (in a->why or b->why)
 */
int state_diff(struct state_reader *a, struct state_reader *b, FILE *out);

#endif
