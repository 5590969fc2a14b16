/*
 * A JSON reader (RFC 8259): for files that a user may have written. Any thread.
 *
 * The whole text becomes an array of values, which name each other by their index; strings stay where they stand in
 * the text, decoded in place. Limits: JSON_READ_DEPTH containers in each other, JSON_READ_VALUES values; no string
 * with a NUL in it. Of two members with one name the first is found.
 */
#ifndef LKVM_JSON_READ_H
#define LKVM_JSON_READ_H

#include <stddef.h>
#include <stdint.h>

#define JSON_READ_DEPTH  32
#define JSON_READ_VALUES 65536

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
	enum json_kind kind;
	const char *key;  /* of a member of an object; else NULL */
	const char *text; /* of a string, decoded; of a number, a bool: what stands there, without a NUL behind it */
	size_t len;       /* of @text */
	unsigned first;   /* of a container: what is in it; 0: nothing */
	unsigned next;    /* in the same container; 0: nothing more */
};

struct json_tree {
	struct json_value *value; /* [0] is the outermost */
	unsigned n;
};

struct json_error {
	const char *what;
	unsigned line; /* from 1 */
};

/**
 * json_read() - @text, of which @len bytes are read and changed, and which stays as long as the tree does
 * Return: 0; -EINVAL and @ret_error where it is no JSON, or above a limit; -ENOMEM and @ret_error; then nothing is
 * to be freed
 */
int json_read(char *text, size_t len, struct json_tree *ret, struct json_error *ret_error);
void json_tree_free(struct json_tree *tree);

/** json_member() - of an object; Return: NULL where it is no object or has none of that name */
const struct json_value *json_member(const struct json_tree *tree, const struct json_value *object, const char *key);

/** json_first(), json_next() - what is in a container, one after the other; NULL: no more, or @v is no container */
const struct json_value *json_first(const struct json_tree *tree, const struct json_value *v);
const struct json_value *json_next(const struct json_tree *tree, const struct json_value *v);

/**
 * json_number() - a whole number up to @max: as JSON has it, or a string of "0x" and hexadecimal digits
 * Return: 0; -EINVAL: it is something else (@v NULL, too); -ERANGE: it is larger
 */
int json_number(const struct json_value *v, uint64_t max, uint64_t *ret);

#endif
