/* Keys within an option's argument; see keys.h. */
#include "lkvm/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/options.h"

#define MAX_NAMES 512

char *keys_word(char **rest)
{
	char *word = *rest, *to = word, *from = word;

	if (!word)
		return NULL;
	while (*from && (*from != ',' || from[1] == ',')) {
		from += *from == ',';
		*to++ = *from++;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

/* The names that a word could have been. */
struct known {
	const char *names[MAX_NAMES];
	unsigned n;
	char list[256]; /* of them, for the message */
	size_t len;
};

static void know(struct known *known, const char *name, bool listed)
{
	if (known->n < MAX_NAMES)
		known->names[known->n++] = name;
	if (listed && known->len < sizeof(known->list))
		known->len += (size_t)snprintf(known->list + known->len, sizeof(known->list) - known->len,
					       "%s%s", known->len ? ", " : "", name);
}

static void know_keys(struct known *known, const struct opt_key *key)
{
	for (; key && key->name; key++) {
		const char *name;

		know(known, key->kind == KEY_NAMES ? key->names->known : key->name, true);
		for (unsigned i = 0; key->kind == KEY_NAMES && (name = key->names->name(i)); i++)
			know(known, name, false);
	}
}

static int unknown(const char *option, const struct known *known, const char *word)
{
	char meant[OPT_MEANT_BYTES];

	options_meant(meant, "", options_nearest(word, known->names, known->n));
	return log_errx(-EINVAL, "option '--%s': unknown '%s'%s (known: %s)", option, word, meant,
			known->list);
}

static int read_on_off(const char *option, const char *name, const char *value, bool *ret)
{
	*ret = !value || !strcmp(value, "on");
	if (*ret || !strcmp(value, "off"))
		return 0;
	return log_errx(-EINVAL, "option '--%s': '%s=%s' is neither on nor off", option, name, value);
}

static bool is_switch(const struct opt_key *key)
{
	return key->kind == KEY_FLAG || key->kind == KEY_BITS || key->kind == KEY_NAMES;
}

/* @name: @key's own, or one of those that it stands for. Return: -ENOENT: it is none of them */
static int set_switch(const char *option, const struct opt_key *key, void *config, const char *name,
		      const char *value)
{
	void *field = (char *)config + key->offset;
	bool on;

	if (read_on_off(option, name, value, &on))
		return -EINVAL;
	if (key->kind == KEY_NAMES)
		return key->names->set(config, option, name, on);
	if (key->kind == KEY_FLAG)
		*(bool *)field = on;
	else
		*(unsigned *)field = (*(unsigned *)field & ~key->bits) | (on ? key->bits : 0);
	return 0;
}

static int set_unsigned(const char *option, const struct opt_key *key, unsigned *field,
			const char *value)
{
	if (!options_unsigned(value, key->min, key->max, field))
		return 0;
	return log_errx(-EINVAL, "option '--%s': %s '%s' is not a number from %u to %u", option, key->name,
			value, key->min, key->max);
}

static int set_value(const char *option, const struct opt_key *key, void *config, const char *value)
{
	void *field = (char *)config + key->offset;

	if (value ? !*value : !key->alone)
		return log_errx(-EINVAL, "option '--%s': '%s' needs a value", option, key->name);
	if (key->kind == KEY_UNSIGNED)
		return set_unsigned(option, key, field, value);
	if (key->kind == KEY_PARSE)
		return key->parse(config, option, value);
	*(const char **)field = value;
	return 0;
}

/* "+ro" and "-ro" are "ro=on" and "ro=off"; "+ro=on" is nothing, nor is "+" of what is no switch. */
static int keys_set(const char *option, const struct opt_key *keys, void *config, char *word)
{
	bool sign = *word == '+' || *word == '-';
	char *name = word + sign, *equals = sign ? NULL : strchr(word, '=');
	const char *value = *word == '+' ? "on" : *word == '-' ? "off" : equals ? equals + 1 : NULL;
	struct known known = { .n = 0 };

	if (equals)
		*equals = '\0';
	for (const struct opt_key *key = keys; key && key->name; key++) {
		int err = -ENOENT;

		if (key->kind != KEY_NAMES && strcmp(name, key->name))
			continue;
		if (is_switch(key))
			err = set_switch(option, key, config, name, value);
		else if (!sign)
			err = set_value(option, key, config, value);
		if (err != -ENOENT)
			return err;
	}
	know_keys(&known, keys);
	return unknown(option, &known, name);
}

int keys_parse(const char *option, const struct opt_key *keys, void *config, char *rest)
{
	char *word;
	int err = 0;

	while (!err && (word = keys_word(&rest)))
		err = keys_set(option, keys, config, word);
	return err;
}

static const struct opt_value *find_value(const struct opt_value *values, const char *word)
{
	for (; values->name; values++)
		if (!strcmp(word, values->name))
			return values;
	return NULL;
}

/* Is @word, as it stands in an argument, one of @keys? */
static bool is_key(const struct opt_key *keys, const char *word)
{
	size_t len = strcspn(word, "=");

	for (const struct opt_key *key = keys; key && key->name; key++)
		if (strlen(key->name) == len && !memcmp(word, key->name, len))
			return true;
	return false;
}

/* The value that may be left out in front of @word, a key of it. */
static const struct opt_value *find_implied(const struct opt_value *values, const char *word)
{
	for (; values->name; values++)
		if (values->implied && is_key(values->keys, word))
			return values;
	return NULL;
}

static int unknown_value(const char *option, const struct opt_value *values, const char *word)
{
	struct known known = { .n = 0 };

	for (; values->name; values++) {
		know(&known, values->name, true);
		if (values->implied)
			know_keys(&known, values->keys);
	}
	return unknown(option, &known, word);
}

int keys_value(const char *option, const struct opt_value *values, void *config, const char *arg,
	       unsigned *ret)
{
	const struct opt_value *value;
	char *text = strdup(arg), *rest = text, *first = keys_word(&rest);
	int err = 0;

	if (!first)
		return log_err(-ENOMEM, "option '--%s'", option);
	value = find_value(values, first);
	if (!value) {
		value = find_implied(values, first);
		err = value ? keys_set(option, value->keys, config, first) :
			      unknown_value(option, values, first);
	}
	if (!err && rest && !value->keys)
		err = log_errx(-EINVAL, "option '--%s': nothing can stand behind '%s', but '%s' does", option,
			       value->name, rest);
	if (!err)
		err = keys_parse(option, value->keys, config, rest);
	if (!err)
		*ret = (unsigned)(value - values);
	free(text);
	return err;
}
