/*
 * `lkvm help`: all commands, or all of one. The build asks it for the man pages' option lists and
 * for the shell completion.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define MAX_NAMES 64

struct help_config {
	bool man;
	const char *completion;
};

static const struct opt options[] = {
	{ .kind = OPT_FLAG, .name = "man", .offset = offsetof(struct help_config, man) },
	{ .kind = OPT_STRING, .name = "completion", .arg = "SHELL",
	  .offset = offsetof(struct help_config, completion) },
	OPT_END,
};

static void log_unknown(const char *name)
{
	const char *names[MAX_NAMES] = { "--help", "--version" };
	const char *what = *name == '-' ? "option" : "command";
	char meant[OPT_MEANT_BYTES];
	const char *nearest;
	unsigned n = 2;

	for (const struct command *const *cmd = commands; *cmd && n < MAX_NAMES; cmd++)
		names[n++] = (*cmd)->name;
	nearest = options_nearest(name, names, n);
	log_errx(0, "unknown %s '%s'%s", what, name,
		 nearest ? options_meant(meant, "", nearest) : ", `lkvm help` lists all");
}

const struct command *command_find(const char *name)
{
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		if (!strcmp((*cmd)->name, name))
			return *cmd;
	log_unknown(name);
	return NULL;
}

static void list_commands(void)
{
	printf("Usage: lkvm COMMAND [OPTION]...\n\n");
	options_wrap("Runs Linux and other kernels as light virtual machines on KVM.\n\nCommands:\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		printf("  %-9s %s\n", (*cmd)->name, (*cmd)->summary);
	putchar('\n');
	options_wrap("`lkvm help COMMAND` or `lkvm COMMAND --help` shows the options of one command, "
		     "and `lkvm --version` the version. There is a man page for each, lkvm-COMMAND(1).\n");
}

/* The list of commands in lkvm(1). */
static void man_commands(void)
{
	printf(".Pp\n.Bl -tag -width \"lkvm-screenshot(1)\" -compact\n");
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		printf(".It Xr lkvm-%s 1\n%s\n", (*cmd)->name, (*cmd)->summary);
	printf(".El\n");
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct help_config cfg = { 0 };
	const struct command *about;
	int operands;

	result = options_parse(cmd, &cfg, argc, argv, &operands, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (argc - operands > 1) {
		log_errx(0, "unexpected argument '%s'", argv[operands + 1]);
		return EXIT_USAGE;
	}
	if (cfg.completion)
		return options_completion(cfg.completion) ? EXIT_USAGE : EXIT_SUCCESS;
	if (operands == argc) {
		(cfg.man ? man_commands : list_commands)();
		return EXIT_SUCCESS;
	}
	about = command_find(argv[operands]);
	if (!about)
		return EXIT_USAGE;
	if (cfg.man)
		options_man(about);
	else
		options_help(about);
	return EXIT_SUCCESS;
}

const struct command help_command = {
	.name = "help",
	.summary = "Show the commands, or the options of one",
	.operands = "[COMMAND]",
	.operand_complete = COMPLETE_WORDS,
	.description = "Lists the commands, or shows how to use COMMAND.",
	.opts = options,
	.run = run,
};
