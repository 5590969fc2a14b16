/* The record as hw/state.c and hw/state-show.c read it; nobody else includes this. */
#ifndef LKVM_STATE_INTERNAL_H
#define LKVM_STATE_INTERNAL_H

#include "lkvm/state.h"

struct field {
	char name[STATE_NAME_MAX + 1];
	uint32_t bytes, count;
	const uint8_t *data;
};

struct record {
	char name[STATE_NAME_MAX + 1];
	uint32_t version, n;
	const uint8_t *at, *end; /* the fields that were not taken yet */
};

/** state_take_record() - the head of the next record, which @in then stands behind; 0 or -EBADMSG */
int state_take_record(struct state_reader *in, struct record *ret);
/** state_take_field() - the next field; at most r->n times; 0 or -EBADMSG */
int state_take_field(struct state_reader *in, struct record *r, struct field *ret);
/** state_value() - value @i < count of a field */
uint64_t state_value(const struct field *f, uint32_t i);
/** state_judge_end() - behind the last field there is nothing: 0 or -EBADMSG */
int state_judge_end(struct state_reader *in, const struct record *r);

#endif
