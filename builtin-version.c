/* `lkvm version` */
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/builtin.h"

static const struct opt options[] = { OPT_END };

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	int operands;

	result = options_parse(cmd, NULL, argc, argv, &operands, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	printf("lkvm %s\n", LKVM_VERSION);
	return EXIT_SUCCESS;
}

const struct command version_command = {
	.name = "version",
	.summary = "Show the version",
	.operands = "",
	.description = "Shows the version, as `git describe` names it.",
	.opts = options,
	.run = run,
};
