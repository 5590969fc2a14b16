/* Saved sessions of file servers, for their tests, each of which has save() and load_new(). */
#ifndef TESTS_FOLDER_STATE_H
#define TESTS_FOLDER_STATE_H

#include "state.h"

static inline void assert_same_records(const struct state_buf *want, const struct state_buf *got)
{
	struct state_reader a = state_reader_of(want), b = state_reader_of(got);

	while (a.at != a.end && b.at != b.end)
		ck_assert_int_eq(state_diff(&a, &b, stderr), 0);
	ck_assert_uint_eq(got->len, want->len);
	ck_assert_mem_eq(got->data, want->data, got->len);
}

static void save(struct state_buf *ret);
/* In place of the server another one, into which @saved is loaded. */
static void load_new(const struct state_buf *saved);

static inline void assert_still(const struct state_buf *want)
{
	struct state_buf got = { 0 };

	save(&got);
	assert_same_records(want, &got);
	state_buf_free(&got);
}

static inline void go_on(void)
{
	struct state_buf saved = { 0 };

	save(&saved);
	assert_still(&saved); /* saving changes nothing */
	load_new(&saved);
	assert_still(&saved);
	state_buf_free(&saved);
}

#endif
