/*
 * A JSON writer on a stream: for `--json` and `--result`.
 *
 * Values are written as they come; the writer adds commas, line ends and indentation. Inside an
 * object each value has a key, inside an array and at the top the key is NULL. Strings may hold any
 * bytes (a guest's panic line): what is not UTF-8 becomes U+FFFD, so the output is always valid; what
 * a terminal acts upon (mask.h) is escaped, so it can be looked at as well.
 * Errors stay with the stream: look at ferror() at the end.
 */
#ifndef LKVM_JSON_H
#define LKVM_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_MAX_DEPTH 64

struct json {
	FILE *out;
	unsigned depth;
	unsigned flat_depth;        /* the caller's: containers in this many others stay on one line; 0: none */
	bool first;                 /* nothing stands in the innermost container yet */
	char close[JSON_MAX_DEPTH]; /* what ends each open container */
};

/** json_init() - write to @out, which stays the caller's */
void json_init(struct json *json, FILE *out);

/** json_object(), json_array() - open a container; json_end() closes the innermost one */
void json_object(struct json *json, const char *key);
void json_array(struct json *json, const char *key);
/** json_end() - also ends the line after the outermost container */
void json_end(struct json *json);

/** json_str() - a NULL @value is written as null */
void json_str(struct json *json, const char *key, const char *value);
void json_u64(struct json *json, const char *key, uint64_t value);
void json_i64(struct json *json, const char *key, int64_t value);
void json_bool(struct json *json, const char *key, bool value);
/** json_us() - nanoseconds as microseconds, with three decimals */
void json_us(struct json *json, const char *key, uint64_t ns);
/** json_hex() - an address: a string "0x...", as JSON numbers are not exact above 2^53 */
void json_hex(struct json *json, const char *key, uint64_t value);

#endif
