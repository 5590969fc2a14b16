/*
 * Keys within an option's argument: --disk PATH,key,key=value. One grammar for all options that have
 * them, by const tables that stand beside the configuration struct whose fields they set. The same
 * tables make the list of keys in --help and man page, and the shells' completion (struct opt's keys
 * and values).
 *
 * What is on or off may be written "ro", "ro=on" or "+ro", and "ro=off" or "-ro".
 */
#ifndef LKVM_KEYS_H
#define LKVM_KEYS_H

#include <stdbool.h>
#include <stddef.h>

enum opt_key_kind {
	KEY_FLAG,     /* on or off: sets a bool */
	KEY_STRING,   /* sets a const char *, which points into the text */
	KEY_UNSIGNED, /* strict decimal from min to max; sets an unsigned */
	KEY_PARSE,    /* calls parse() */
	KEY_BITS,     /* as KEY_FLAG: sets or clears bits of an unsigned */
	KEY_NAMES,    /* as KEY_FLAG: any of the names that a module knows; the last of its table */
};

/* What KEY_NAMES stands for. */
struct opt_key_names {
	const char *known;                 /* what they are, for a message that names none of them */
	const char *(*name)(unsigned i);   /* the @i-th, or NULL after the last */
	/* Return: 0; -ENOENT: there is no such name, not logged; -EINVAL, logged */
	int (*set)(void *config, const char *option, const char *name, bool on);
};

struct opt_key {
	const char *name;
	const char *arg; /* name of its value in help texts; NULL for flags */
	enum opt_key_kind kind;
	size_t offset; /* of the field in the configuration struct */
	unsigned min, max;
	/* @value: not empty; NULL: none, if @alone. Return: 0, or -EINVAL, logged with @option's name */
	int (*parse)(void *config, const char *option, const char *value);
	bool alone; /* KEY_PARSE: may stand without a value */
	unsigned bits; /* KEY_BITS */
	const struct opt_key_names *names; /* KEY_NAMES */
	/* A line for --help and completion; what follows a newline, paragraphs, is for the man page only */
	const char *help;
};

#define KEYS_END { .name = NULL }

/* The first word of an argument, where it is one of a few. */
struct opt_value {
	const char *name;
	const char *help;           /* as struct opt_key's */
	const struct opt_key *keys; /* that may stand behind it; NULL: none */
	bool implied; /* and may stand without it; one of a table at most */
};

#define VALUES_END { .name = NULL }

/** keys_word() - cut the next word off *@rest, at a comma; two commas are one that belongs to the word
 * Return: it, or NULL where nothing is left; *@rest is NULL after the last
 */
char *keys_word(char **rest);

/**
 * keys_parse() - each word of @rest (may be NULL) into @config: "key", "key=value", "+key", "-key"
 * @option: its long name, for messages
 * Return: 0, or -EINVAL, logged, at the first that is wrong
 */
int keys_parse(const char *option, const struct opt_key *keys, void *config, char *rest);

/**
 * keys_value() - VALUE[,KEY...]: the first word is one of @values, what follows its keys
 * @config: for those keys, none of which may be KEY_STRING: the text does not stay
 * @ret:    index in @values
 * Return: 0; -EINVAL or -ENOMEM, logged
 */
int keys_value(const char *option, const struct opt_value *values, void *config, const char *arg,
	       unsigned *ret);

#endif
