/* `lkvm run -d PATH,key,key=value`: what a disk is, from the command line. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/disk.h"
#include "lkvm/log.h"
#include "lkvm/run.h"

/* Cuts the next word off *@rest, at a comma; two commas are one that belongs to the word. */
static char *next_word(char **rest)
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

static int set_serial(struct disk_config *disk, const char *value)
{
	if (strlen(value) > DISK_SERIAL_BYTES)
		return log_errx(-EINVAL,
				"option '--disk': serial '%s' is longer than %d characters", value,
				DISK_SERIAL_BYTES);
	disk->serial = value;
	return 0;
}

static int set_format(struct disk_config *disk, const char *value)
{
	disk->format = value;
	if (disk_format_known(value))
		return 0;
	return log_errx(-EINVAL, "option '--disk': unknown format '%s' (known: %s)", value,
			disk_format_names());
}

static int set_queues(struct disk_config *disk, const char *value)
{
	if (!options_unsigned(value, 1, DISK_MAX_QUEUES, &disk->queues))
		return 0;
	return log_errx(-EINVAL, "option '--disk': queues '%s' is not a number from 1 to %d", value,
			DISK_MAX_QUEUES);
}

#define FLAG(member) .flag = offsetof(struct disk_config, member)

/* Keys are flags, which may say =on or =off, or have a function for their value. */
static const struct key {
	const char *name;
	size_t flag;
	int (*set)(struct disk_config *disk, const char *value);
} keys[] = {
	{ "ro", FLAG(read_only) },        { "direct", FLAG(direct) },
	{ "ephemeral", FLAG(ephemeral) }, { "packed", FLAG(packed) },
	{ "serial", .set = set_serial },  { "format", .set = set_format },
	{ "queues", .set = set_queues },
};

static int unknown_key(const char *key)
{
	const char *names[ARRAY_SIZE(keys)], *nearest;

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		names[i] = keys[i].name;
	nearest = options_nearest(key, names, ARRAY_SIZE(names));
	return log_errx(-EINVAL, "option '--disk': unknown '%s'%s%s%s", key,
			nearest ? ", did you mean '" : "", nearest ? nearest : "",
			nearest ? "'?" : "");
}

static int set_flag(struct disk_config *disk, const struct key *key, const char *value)
{
	bool on = !value || !strcmp(value, "on");

	if (!on && strcmp(value, "off") != 0)
		return log_errx(-EINVAL, "option '--disk': '%s=%s' is neither on nor off",
				key->name, value);
	*(bool *)((char *)disk + key->flag) = on;
	return 0;
}

static int set_key(struct disk_config *disk, char *word)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = '\0';
	for (const struct key *key = keys; key < keys + ARRAY_SIZE(keys); key++) {
		if (strcmp(word, key->name) != 0)
			continue;
		if (!key->set)
			return set_flag(disk, key, value);
		if (!value || !*value)
			return log_errx(-EINVAL, "option '--disk': '%s' needs a value", key->name);
		return key->set(disk, value);
	}
	return unknown_key(word);
}

int run_parse_disk(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	struct disk_config *disks = reallocarray(cfg->disks, cfg->n_disks + 1, sizeof(*disks));
	char *text = strdup(arg), *rest = text, *word;
	struct disk_config *disk;
	int err = 0;

	(void)opt;
	if (disks)
		cfg->disks = disks;
	if (!disks || !text) {
		free(text);
		return log_err(-ENOMEM, "disk '%s'", arg);
	}
	disk = &disks[cfg->n_disks++];
	/* The path is where @text begins: run_config_free() frees it by that. */
	*disk = (struct disk_config){ .path = next_word(&rest) };
	if (!*disk->path)
		return log_errx(-EINVAL, "option '--disk': the path is missing in '%s'", arg);
	while (!err && (word = next_word(&rest)))
		err = set_key(disk, word);
	return err;
}

void run_free_disks(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_disks; i++)
		free((char *)cfg->disks[i].path);
	free(cfg->disks);
}
