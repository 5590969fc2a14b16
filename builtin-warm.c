/* `lkvm warm`: what `lkvm run -- CMD` has saved to go on from; see lkvm/vm/warm.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/mask.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"
#include "lkvm/vm/snapshot-write.h"
#include "lkvm/vm/snapshot.h"
#include "lkvm/vm/warm.h"

#define PATH_BYTES 4096

struct warm_config {
	bool json;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json", .offset = offsetof(struct warm_config, json),
	  .help = "With list: a JSON array of objects instead of a table." },
	OPT_END,
};

/* What is told of one */
struct about {
	char kernel[PATH_BYTES], ram[32], cpus[16];
	uint64_t ram_bytes;
	unsigned n_cpus;
};

/* Return: false: it is damaged, or another lkvm's */
static bool read_section(const char *folder, const char *key, struct warm_section *st)
{
	struct snapshot *snap;
	struct state_reader in;
	char path[PATH_BYTES];
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", folder, key) >= (int)sizeof(path))
		return false;
	log_hold_errors(true);
	err = snapshot_open(path, &snap);
	log_hold_errors(false);
	if (err)
		return false;
	err = snapshot_find(snap, "warm", &in);
	if (!err)
		err = state_unpack(&in, &warm_section_type, st);
	snapshot_close(snap);
	return !err;
}

static bool look_into(const char *folder, const char *key, struct about *ret)
{
	struct warm_section *st = malloc(sizeof(*st));
	bool good = st && read_section(folder, key, st);
	const char *recipe = st ? (const char *)st->recipe : "";

	good = good && warm_recipe_value(recipe, "kernel", ret->kernel, sizeof(ret->kernel)) &&
	       warm_recipe_value(recipe, "ram", ret->ram, sizeof(ret->ram)) &&
	       warm_recipe_value(recipe, "cpus", ret->cpus, sizeof(ret->cpus));
	if (good) {
		ret->ram_bytes = strtoull(ret->ram, NULL, 10);
		ret->n_cpus = (unsigned)strtoul(ret->cpus, NULL, 10);
		ret->kernel[mask_text(ret->kernel, strlen(ret->kernel), "")] = '\0';
	}
	free(st);
	return good;
}

static uint64_t used_ns(const struct warm_entry *entry)
{
	return (uint64_t)entry->used.tv_sec * NS_PER_S + (uint64_t)entry->used.tv_nsec;
}

static void show_row(const struct warm_entry *entry, const struct about *about)
{
	const uint64_t now = realtime_ns(), used = used_ns(entry);
	char ram[24], age[32];

	printf("%-16s %6lluM %8s", entry->key, (unsigned long long)(entry->bytes / MIB),
	       duration_text(now > used ? now - used : 0, age, sizeof(age)));
	if (about)
		printf(" %10s %5u %s\n", ram_mb_text(about->ram_bytes, ram, sizeof(ram)), about->n_cpus,
		       about->kernel);
	else
		printf(" %10s %5s (damaged, or another lkvm's)\n", "-", "-");
}

static void show_json(struct json *json, const struct warm_entry *entry, const struct about *about)
{
	json_object(json, NULL);
	json_str(json, "key", entry->key);
	json_u64(json, "bytes", entry->bytes);
	json_u64(json, "used_s", (uint64_t)entry->used.tv_sec);
	json_str(json, "kernel", about ? about->kernel : NULL);
	if (about) {
		json_u64(json, "ram_bytes", about->ram_bytes);
		json_u64(json, "cpus", about->n_cpus);
	}
	json_end(json);
}

static int list(const struct warm_config *cfg, int folder_fd, const char *folder)
{
	struct about *about = malloc(sizeof(*about));
	struct warm_entry *entries = NULL;
	const int n = about ? warm_entries(folder_fd, &entries) : -ENOMEM;
	struct json json;

	if (n < 0) {
		free(about);
		return log_err(n, "'%s'", folder);
	}
	json_init(&json, stdout);
	if (cfg->json)
		json_array(&json, NULL);
	else if (n)
		printf("%-16s %7s %8s %10s %5s %s\n", "KEY", "SIZE", "USED", "RAM", "CPUS", "KERNEL");
	for (int i = 0; i < n; i++) {
		const bool good = look_into(folder, entries[i].key, about);

		if (cfg->json)
			show_json(&json, &entries[i], good ? about : NULL);
		else
			show_row(&entries[i], good ? about : NULL);
	}
	if (cfg->json)
		json_end(&json);
	free(entries);
	free(about);
	return 0;
}

static int clear(int folder_fd, const char *folder)
{
	struct warm_entry *left;
	int n;

	warm_shrink(folder_fd, 0, NULL);
	n = warm_entries(folder_fd, &left);
	if (n < 0)
		return log_err(n, "'%s'", folder);
	for (int i = 0; i < n; i++)
		log_errx(0, "'%s/%s' could not be removed", folder, left[i].key);
	free(left);
	return n ? -EBUSY : 0;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct warm_config cfg = { 0 };
	enum options_result result;
	const char *what;
	char *folder;
	int first, fd, err;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	what = first < argc ? argv[first] : "list";
	if (argc - first > 1 || (strcmp(what, "list") && strcmp(what, "clear"))) {
		log_errx(0, "warm: list or clear, not '%s'", argv[argc - 1]);
		return EXIT_USAGE;
	}
	fd = warm_folder(&folder);
	if (fd < 0) {
		log_err(fd, "the folder for warm starts: $XDG_CACHE_HOME/lkvm/warm, which has to be only yours");
		return EXIT_FAILURE;
	}
	err = *what == 'l' ? list(&cfg, fd, folder) : clear(fd, folder);
	close(fd);
	free(folder);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

const struct command warm_command = {
	.name = "warm",
	.summary = "List or remove what guests are saved to start fast",
	.operands = "[list|clear]",
	.operand_complete = COMPLETE_WORDS,
	.words = "list clear",
	.description = "lkvm run -- COMMAND saves its guest when that is ready for a command, and later runs with "
		       "the same kernel and machine go on from there. This lists what is saved, the last used "
		       "first, or removes all of it.",
	.opts = options,
	.run = run,
};
