/* A fuzzer's input, taken in pieces: what is not there any more is 0. And the fuzzers' assert. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *at, *end;
};

static inline uint8_t input_byte(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

/* Up to 4 bytes, the highest first; of fewer that are left, these. */
static inline unsigned input_be(struct input *in, unsigned bytes)
{
	unsigned value = 0;

	for (; bytes && in->at < in->end; bytes--)
		value = value << 8 | *in->at++;
	return value;
}

/* Up to 8 bytes, the lowest first. */
static inline uint64_t input_le(struct input *in, unsigned bytes)
{
	size_t left = (size_t)(in->end - in->at);
	size_t n = bytes < left ? bytes : left;
	uint64_t value = 0;

	memcpy(&value, in->at, n);
	in->at += n;
	return value;
}

/* Unlike assert(), also there with NDEBUG. */
static inline void check(bool ok)
{
	if (!ok)
		abort();
}

#endif
