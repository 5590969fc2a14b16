/* `lkvm config`: what a kernel needs to have for lkvm, and whether one has it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/log.h"
#include "lkvm/vm/kconfig.h"

struct config_config {
	bool fragment;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .short_name = 'f', .name = "fragment",
	  .help = "With a kernel: what it lacks as a fragment for merge_config.sh, and nothing else.",
	  .offset = offsetof(struct config_config, fragment) },
	OPT_END,
};

/* "A B !C" as lines of a .config */
static void print_options(const char *names)
{
	while (names && *names) {
		const char *name = names + (*names == '!');
		size_t len = strcspn(name, " ");

		printf("CONFIG_%.*s=y\n", (int)len, name);
		names = name + len + (name[len] == ' ');
	}
}

static void print_need(const struct kconfig_need *need)
{
	if (need->without)
		printf("\n# %s; without: %s\n", need->what, need->without);
	else
		printf("\n# %s\n", need->what);
	print_options(need->parents);
	print_options(need->ways[0]);
}

/* All that is wanted, or what @k lacks */
static void print_fragment(const struct kconfig *k)
{
	printf("# For lkvm: scripts/kconfig/merge_config.sh .config THIS, then make olddefconfig.\n"
	       "# Modules will do as well where there is a driver.\n");
	for (const struct kconfig_need *n = kconfig_needs; n->what; n++)
		if (!k || !kconfig_has(k, n))
			print_need(n);
}

static void print_lack(const struct kconfig *k, const struct kconfig_need *need)
{
	printf("%s %s: ", need->without ? "optional:" : "missing: ", need->what);
	for (size_t i = 0; i < sizeof(need->ways) / sizeof(need->ways[0]) && need->ways[i]; i++) {
		char *missing;

		kconfig_way(k, need->ways[i], &missing);
		printf("%s%s", i ? "; or " : "", missing ? missing : "CONFIG_MODULES");
		free(missing);
	}
	if (need->without)
		printf(" (without: %s)", need->without);
	putchar('\n');
}

static unsigned count_missing(const struct kconfig *k)
{
	unsigned n = 0;

	for (const struct kconfig_need *need = kconfig_needs; need->what; need++)
		n += !need->without && !kconfig_has(k, need);
	return n;
}

static void print_check(const struct kconfig *k, unsigned n_missing)
{
	for (int optional = 0; optional <= 1; optional++)
		for (const struct kconfig_need *need = kconfig_needs; need->what; need++)
			if (!need->without == !optional && !kconfig_has(k, need))
				print_lack(k, need);
	printf("%s: Linux %s ", k->path, *k->version ? k->version : "of unknown version");
	if (n_missing)
		printf("lacks what %u of lkvm's needs take\n", n_missing);
	else
		printf("has what lkvm needs\n");
}

static int check(const struct config_config *cfg, const char *name)
{
	struct kconfig k;
	unsigned n_missing;

	if (kconfig_read(name, &k))
		return EXIT_FAILURE;
	n_missing = count_missing(&k);
	if (cfg->fragment)
		print_fragment(&k);
	else
		print_check(&k, n_missing);
	kconfig_free(&k);
	return n_missing ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct config_config cfg = { 0 };
	enum options_result result;
	int first;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (argc - first > 1) {
		log_errx(0, "config: one kernel at a time, but there is also '%s'", argv[first + 1]);
		return EXIT_USAGE;
	}
	if (argc > first)
		return check(&cfg, argv[first]);
	print_fragment(NULL);
	return EXIT_SUCCESS;
}

const struct command config_command = {
	.name = "config",
	.summary = "Tell what a kernel's configuration needs for lkvm",
	.operands = "[KERNEL]",
	.operand_complete = COMPLETE_FILE,
	.description =
		"Without an operand: prints the options that lkvm has use for, with what each is for, as a\n"
		"fragment for the kernel's scripts/kconfig/merge_config.sh.\n"
		"\n"
		"With a KERNEL: names the options that it lacks and what for. KERNEL is a .config file, "
		"/proc/config.gz, the folder in which a kernel was built, a bzImage or vmlinux that has its "
		"configuration inside (CONFIG_IKCONFIG) or beside it, or a release of /boot.\n"
		"\n"
		"Exit status: 0 if nothing is missing, 1 if something is or the configuration cannot be "
		"read. What is optional does not count.",
	.opts = options,
	.run = run,
};
