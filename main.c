/* lkvm: the command table, and nothing else. */
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/log.h"

const struct command *const commands[] = {
	&version_command,
	NULL,
};

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "help";

	if (!strcmp(name, "--version"))
		name = "version";
	for (const struct command *const *cmd = commands; *cmd; cmd++)
		if (!strcmp((*cmd)->name, name))
			return (*cmd)->run(*cmd, argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
	log_errx(0, "unknown command '%s'", name);
	return EXIT_USAGE;
}
