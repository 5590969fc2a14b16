/* Links: hw/state.o hw/state-show.o util/json.o util/log.o */
#include <stdio.h>

#include "lkvm/json.h"
#include "lkvm/types.h"
#include "state.h"

struct thing_state {
	uint64_t time;
	uint32_t n;
	uint8_t mode, flags;
	uint16_t fifo[7];
	uint32_t late;
};

struct thing {
	unsigned lock; /* the host's own */
	struct thing_state st;
	int load_error;
	unsigned loads;
};

static const char *check(const void *state)
{
	const struct thing_state *st = state;

	return st->flags & 1 && !st->mode ? "flags" : NULL;
}

static int save(void *dev, void *ret_state)
{
	struct thing *t = dev;

	*(struct thing_state *)ret_state = t->st;
	return 0;
}

static int load(void *dev, const void *state)
{
	struct thing *t = dev;

	t->loads++;
	if (t->load_error)
		return t->load_error;
	t->st = *(const struct thing_state *)state;
	return 0;
}

static const struct state_field fields[] = {
	STATE_ONE(struct thing_state, time),
	STATE_ONE(struct thing_state, n, .max = 7),
	STATE_ONE(struct thing_state, mode, .max = 2),
	STATE_ONE(struct thing_state, flags, .bits = 0x83),
	STATE_SOME(struct thing_state, fifo, n, .max = 0x100),
	STATE_ONE(struct thing_state, late, .since = 2),
};

static const struct state_type thing_type = {
	STATE_TYPE("thing", 2, struct thing_state, fields),
	.check = check,
	.save = save,
	.load = load,
};

static const struct thing_state sample = {
	.time = 0x123456789abcdef0,
	.n = 3,
	.mode = 1,
	.flags = 0x81,
	.fifo = { 1, 0x100, 7 },
	.late = 9,
};

static void use(void *dev)
{
	struct thing *t = dev;

	ck_assert_uint_le(t->st.n, 7);
	t->lock++;
}

START_TEST(test_type)
{
	struct thing a = { .st = sample },
		     b = { .st = { .n = 7, .fifo = { 9, 9, 9, 9, 9, 9, 9 } } };

	state_test_table(&thing_type);
	state_test_same(&thing_type, &a, &b);
	ck_assert_mem_eq(&b.st, &sample, sizeof(sample)); /* what is not in use is 0 */
	state_test_hostile(&thing_type, &a, use);
}
END_TEST

/* The record as it stands in hw/state.c: old files are read for ever. */
static const uint8_t saved[] = "\x60\0\0\0\5thing\2\0\0\0\6\0\0\0"
			       "\4time\10\1\0\0\0\xf0\xde\xbc\x9a\x78\x56\x34\x12"
			       "\1n\4\1\0\0\0\3\0\0\0"
			       "\4mode\1\1\0\0\0\1"
			       "\5flags\1\1\0\0\0\x81"
			       "\4fifo\2\3\0\0\0\1\0\0\1\7\0"
			       "\4late\4\1\0\0\0\x9\0\0";
#define SAVED sizeof(saved) /* the last byte is the literal's own */

START_TEST(test_format)
{
	struct thing t = { .st = sample };
	struct state_buf buf = { 0 };

	state_saved(&thing_type, &t, &buf);
	ck_assert_uint_eq(buf.len, SAVED);
	ck_assert_mem_eq(buf.data, saved, SAVED);
	state_buf_free(&buf);
}
END_TEST

/* Return: what state_load() of these bytes did, into a device that it may not change on failure */
static int try_record(const uint8_t *data, size_t len, const char *why)
{
	struct thing t = { .lock = 7, .st = { .late = 77 } };
	uint8_t *exact = malloc(len ? len : 1);
	struct state_reader in = { .at = exact, .end = exact + len };
	int err;

	memcpy(exact, data, len);
	err = state_load(&in, &thing_type, &t);
	if (err) {
		ck_assert_uint_eq(t.st.late, 77);
		ck_assert_uint_eq(t.loads, 0);
	}
	if (why)
		ck_assert_msg(strstr(in.why, why) != NULL, "'%s' is not about '%s'", in.why, why);
	free(exact);
	return err;
}

START_TEST(test_short)
{
	uint8_t copy[SAVED];

	for (unsigned len = 0; len < SAVED; len++) {
		ck_assert_int_eq(try_record(saved, len, "cut short"), -EBADMSG);
		/* ... and where the head says so too */
		memcpy(copy, saved, SAVED);
		copy[0] = (uint8_t)(len - 4);
		if (len >= 4)
			ck_assert_int_eq(try_record(copy, len, NULL), -EBADMSG);
	}
	ck_assert_int_eq(try_record(saved, SAVED, NULL), 0);
}
END_TEST

/* The fields of some other version or hand. */
static int try_fields(const struct state_field *f, unsigned n, const char *name, unsigned version,
		      const char *why)
{
	const struct state_type type = { .name = name,
					 .version = version,
					 .size = sizeof(struct thing_state),
					 .fields = f,
					 .n = n };
	struct state_buf buf = { 0 };
	int err;

	ck_assert_int_eq(state_pack(&buf, &type, &sample), 0);
	err = try_record(buf.data, buf.len, why);
	state_buf_free(&buf);
	return err;
}

START_TEST(test_shape)
{
	struct state_field f[ARRAY_SIZE(fields) + 1];
	const unsigned n = ARRAY_SIZE(fields);

	memcpy(f, fields, sizeof(fields));
	f[n] = (struct state_field)STATE_ONE(struct thing_state, late);
	f[n].name = "more";
	ck_assert_int_eq(try_fields(f, n, "thing", 2, NULL), 0);
	ck_assert_int_eq(try_fields(f, n + 1, "thing", 2, "too many"), -EBADMSG);
	ck_assert_int_eq(try_fields(f, n - 1, "thing", 2, "'late' is missing"), -EBADMSG);
	ck_assert_int_eq(try_fields(f + 1, n - 1, "thing", 2, "'time' is missing"), -EBADMSG);
	ck_assert_int_eq(try_fields(f, n, "thing", 3, "version 3"), -ENOTSUP);
	ck_assert_int_eq(try_fields(f, n, "thing", 0, "version 0"), -ENOTSUP);
	ck_assert_int_eq(try_fields(f, n, "thong", 2, "thong"), -EBADMSG);
	f[3].name = "flugs";
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "unknown field 'flugs'"), -EBADMSG);
	f[3] = fields[3];
	f[3].bytes = 2;
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "'flags' has values of 2"), -EBADMSG);
	f[3] = fields[3];
	f[3].count = 2;
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "'flags' has 2 values"), -EBADMSG);
	f[3] = fields[3];
	f[4].some = false;
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "'fifo' has 7 values, not 3"), -EBADMSG);
	/* a width that there is not, and a name that a terminal would act upon */
	f[4] = fields[4];
	f[3].bytes = 3;
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "damaged"), -EBADMSG);
	f[3] = fields[3];
	f[3].name = "\033[2J";
	ck_assert_int_eq(try_fields(f, n, "thing", 2, "damaged"), -EBADMSG);
}
END_TEST

START_TEST(test_behind_the_last_field)
{
	uint8_t copy[SAVED + 1];

	memcpy(copy, saved, SAVED);
	copy[SAVED] = 0;
	/* Behind the record the next one may follow, within it nothing. */
	ck_assert_int_eq(try_record(copy, sizeof(copy), NULL), 0);
	copy[0]++;
	ck_assert_int_eq(try_record(copy, sizeof(copy), "more than its fields"), -EBADMSG);
}
END_TEST

START_TEST(test_values)
{
	struct thing_state st = sample;
	struct state_reader in;
	struct thing t = { 0 };

	st.fifo[2] = 0x101;
	ck_assert_int_eq(state_try(&thing_type, &t, &st, &in), -ERANGE);
	ck_assert_str_eq(in.why, "thing: field 'fifo' is 0x101, at most 0x100 can be");
	st = sample;
	st.mode = 0;
	ck_assert_int_eq(state_try(&thing_type, &t, &st, &in), -ERANGE);
	ck_assert_str_eq(in.why, "thing: field 'flags' has a value that cannot be");
	ck_assert_uint_eq(t.loads, 0);
	st = sample;
	st.flags = 0x85;
	ck_assert_int_eq(state_try(&thing_type, &t, &st, &in), -ERANGE);
	ck_assert_str_eq(in.why, "thing: field 'flags' is 0x85, bits of 0x83 can be");
	ck_assert_uint_eq(t.loads, 0);
	t.load_error = -EMFILE;
	ck_assert_int_eq(state_try(&thing_type, &t, &sample, &in), -EMFILE);
	ck_assert_str_eq(in.why, "thing: Too many open files");
}
END_TEST

START_TEST(test_older_version)
{
	struct thing t = { .st.late = 77 };
	struct state_type old = thing_type;
	struct state_buf buf = { 0 };
	struct state_reader in;

	old.version = 1;
	old.n--; /* without "late" */
	ck_assert_int_eq(state_pack(&buf, &old, &sample), 0);
	in = state_reader_of(&buf);
	ck_assert_int_eq(state_load(&in, &thing_type, &t), 0);
	ck_assert_uint_eq(t.st.late, 0);
	ck_assert_uint_eq(t.st.time, sample.time);
	state_buf_free(&buf);
}
END_TEST

START_TEST(test_several)
{
	struct thing a = { .st = sample }, b = { .st = { .late = 5 } }, c = { 0 };
	char name[STATE_NAME_MAX + 1];
	struct state_buf buf = { 0 };
	struct state_reader in;

	state_saved(&thing_type, &a, &buf);
	state_saved(&thing_type, &b, &buf);
	in = state_reader_of(&buf);
	ck_assert_int_eq(state_next(&in, name), 0);
	ck_assert_str_eq(name, "thing");
	ck_assert_int_eq(state_load(&in, &thing_type, &c), 0);
	ck_assert_mem_eq(&c.st, &a.st, sizeof(a.st));
	ck_assert_int_eq(state_next(&in, name), 0);
	ck_assert_int_eq(state_load(&in, &thing_type, &c), 0);
	ck_assert_mem_eq(&c.st, &b.st, sizeof(b.st));
	ck_assert_int_eq(state_next(&in, name), -ENODATA);
	in.end--;
	in.at = buf.data + SAVED;
	ck_assert_int_eq(state_next(&in, name), -EBADMSG);
	state_buf_free(&buf);
}
END_TEST

/* What a failed save had appended is gone again. */
static int save_fails(void *dev, void *ret_state)
{
	(void)dev, (void)ret_state;
	return -EIO;
}

START_TEST(test_save_fails)
{
	struct state_type type = thing_type;
	struct thing t = { .st = sample };
	struct state_buf buf = { 0 };

	state_saved(&type, &t, &buf);
	type.save = save_fails;
	ck_assert_int_eq(state_save(&buf, &type, &t), -EIO);
	ck_assert_uint_eq(buf.len, SAVED);
	state_buf_free(&buf);
}
END_TEST

static char *shown(int (*show)(struct state_reader *in, FILE *out), size_t len, int want)
{
	uint8_t *exact = malloc(len);
	struct state_reader in = { .at = exact, .end = exact + len };
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	memcpy(exact, saved, len);
	ck_assert_int_eq(show(&in, out), want);
	fclose(out);
	free(exact);
	return text;
}

static int show_json(struct state_reader *in, FILE *out)
{
	struct json json;
	int err;

	json_init(&json, out);
	json.flat_depth = 1;
	err = state_json(in, &json);
	return err;
}

START_TEST(test_show)
{
	char *text = shown(state_print, SAVED, 0);

	ck_assert_str_eq(text, "thing, version 2\n"
			       "  time             0x123456789abcdef0\n"
			       "  n                0x3\n"
			       "  mode             0x1\n"
			       "  flags            0x81\n"
			       "  fifo             0x0001 0x0100 0x0007\n"
			       "  late             0x9\n");
	free(text);
	text = shown(show_json, SAVED, 0);
	ck_assert_ptr_nonnull(strstr(text, "\"type\": \"thing\""));
	ck_assert_ptr_nonnull(strstr(text, "\"time\": \"0x123456789abcdef0\""));
	ck_assert_ptr_nonnull(strstr(text, "\"flags\": 129"));
	free(text);
	for (unsigned len = 1; len < SAVED; len++) {
		free(shown(state_print, len, -EBADMSG));
		free(shown(show_json, len, -EBADMSG));
	}
}
END_TEST

static int diff(const struct state_type *type_a, const struct thing_state *a,
		const struct state_type *type_b, const struct thing_state *b, const char *want)
{
	struct state_buf buf_a = { 0 }, buf_b = { 0 };
	struct state_reader in_a, in_b;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int n;

	ck_assert_int_eq(state_pack(&buf_a, type_a, a), 0);
	ck_assert_int_eq(state_pack(&buf_b, type_b, b), 0);
	in_a = state_reader_of(&buf_a);
	in_b = state_reader_of(&buf_b);
	n = state_diff(&in_a, &in_b, out);
	fclose(out);
	ck_assert_str_eq(text, want);
	free(text);
	state_buf_free(&buf_a);
	state_buf_free(&buf_b);
	return n;
}

START_TEST(test_diff)
{
	struct state_type old = thing_type;
	struct thing_state st = sample;

	ck_assert_int_eq(diff(&thing_type, &st, &thing_type, &sample, ""), 0);
	st.mode = 2;
	st.fifo[1] = 8;
	ck_assert_int_eq(diff(&thing_type, &st, &thing_type, &sample,
			      "thing.mode: 0x2, 0x1\nthing.fifo[1]: 0x8, 0x100\n"),
			 2);
	st = sample;
	st.n = 2;
	ck_assert_int_eq(diff(&thing_type, &st, &thing_type, &sample,
			      "thing.n: 0x2, 0x3\n"
			      "thing.fifo: 2 values of 2 bytes, 3 of 2\n"),
			 2);
	old.n--;
	ck_assert_int_eq(
		diff(&old, &sample, &thing_type, &sample, "thing.late: in one of them only\n"), 1);
	ck_assert_int_eq(
		diff(&thing_type, &sample, &old, &sample, "thing.late: in one of them only\n"), 1);
	old.name = "thong";
	ck_assert_int_eq(
		diff(&thing_type, &sample, &old, &sample, "a record of 'thing', one of 'thong'\n"),
		1);
}
END_TEST

/* No such record is saved, and none is loaded; but shown it may be, and differs from itself in nothing. */
START_TEST(test_diff_of_names_twice)
{
	struct state_field two[] = { thing_type.fields[0], thing_type.fields[1] };
	struct state_type twice = thing_type;

	two[1].name = two[0].name;
	twice.fields = two;
	twice.n = ARRAY_SIZE(two);
	ck_assert_int_eq(diff(&twice, &sample, &twice, &sample, ""), 0);
}
END_TEST

UNIT_MAIN("state", test_type, test_format, test_short, test_shape, test_behind_the_last_field,
	  test_values, test_older_version, test_several, test_save_fails, test_show, test_diff,
	  test_diff_of_names_twice)
