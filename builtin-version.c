/* `lkvm version` */
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/builtin.h"

static const struct opt options[] = { OPT_END };

static int run(const struct command *cmd, int argc, char **argv)
{
	(void)cmd, (void)argc, (void)argv;
	printf("lkvm %s\n", LKVM_VERSION);
	return EXIT_SUCCESS;
}

const struct command version_command = {
	.name = "version",
	.summary = "Print the version",
	.operands = "",
	.description = "Prints the version as git describes it.",
	.opts = options,
	.run = run,
};
