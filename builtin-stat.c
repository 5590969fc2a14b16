/* `lkvm stat`: what a guest has cost so far. */
#include <stdlib.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/ipc.h"
#include "lkvm/log.h"

struct stat_config {
	const char *name;
	bool json;
};

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct stat_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json", .help = "A JSON object instead of text.",
	  .offset = offsetof(struct stat_config, json) },
	OPT_END,
};

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct stat_config cfg = { 0 };
	uint32_t json;
	int first, fd, err;
	pid_t pid;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (argc - first + !!cfg.name != 1) {
		log_errx(0, "stat: give one NAME");
		return EXIT_USAGE;
	}
	if (!cfg.name)
		cfg.name = argv[first];
	fd = ipc_connect(cfg.name, &pid);
	if (fd < 0)
		return EXIT_FAILURE;
	json = cfg.json;
	err = ipc_show(fd, cfg.name, IPC_STAT, &json, sizeof(json));
	close(fd);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

const struct command stat_command = {
	.name = "stat",
	.summary = "Show a guest's counters",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description = "Shows state, uptime, configured and resident memory, console output, and for "
		       "each virtual CPU how often it has left the guest and why: port and memory "
		       "accesses, halts, interruptions by lkvm itself.",
	.opts = options,
	.run = run,
};
