/* `lkvm stat`: what guests have cost so far. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"

#define ANSWER_MS 5000

struct stat_config {
	const char *name;
	bool all, json;
};

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct stat_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_FLAG, .short_name = 'a', .name = "all", .help = "All guests of this user.",
	  .offset = offsetof(struct stat_config, all) },
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "A JSON object instead of text; with --all or a pattern an array of them.",
	  .offset = offsetof(struct stat_config, json) },
	OPT_END,
};

/* @several: more than one may come. Return: EXIT_SUCCESS, or EXIT_FAILURE if one has not answered */
static int show(const struct ipc_peers *peers, bool json, bool several)
{
	int status = EXIT_SUCCESS;
	unsigned n = 0;

	if (json && several)
		printf("[");
	for (unsigned i = 0; i < peers->n; i++) {
		const struct ipc_peer *p = &peers->list[i];
		size_t len = p->len;

		if (p->skip || p->err == -ECONNRESET)
			continue;
		if (p->err) {
			ipc_peer_failed(p);
			status = EXIT_FAILURE;
			continue;
		}
		while (json && several && len && p->body[len - 1] == '\n')
			len--;
		if (several)
			printf("%s", json ? n ? ",\n" : "\n" : n ? "\n" : "");
		ipc_print(p->body, len);
		n++;
	}
	if (json && several)
		printf(n ? "\n]\n" : "]\n");
	return status;
}

static bool has_pattern(const struct guest_choice *choice)
{
	for (int i = 0; i < choice->n; i++)
		if (strpbrk(choice->word[i], "*?["))
			return true;
	return choice->option && strpbrk(choice->option, "*?[");
}

static int stat_guests(const struct stat_config *cfg, const struct guest_choice *choice)
{
	bool several = choice->all || choice->n + !!choice->option > 1 || has_pattern(choice);
	struct ipc_peers peers = { 0 };
	uint32_t json = cfg->json;
	int status = guests_choose(choice, &peers);

	for (unsigned i = 0; i < peers.n; i++)
		peers.list[i].skip = peers.list[i].err;
	if (status == EXIT_SUCCESS || peers.n) {
		if (ipc_peers_ask(&peers, IPC_STAT, &json, sizeof(json), ANSWER_MS))
			status = EXIT_FAILURE;
		else if (several || (peers.n && !peers.list[0].skip))
			status |= show(&peers, json, several);
	}
	ipc_peers_free(&peers);
	return status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct stat_config cfg = { 0 };
	struct guest_choice choice = { 0 };
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	choice = (struct guest_choice){ cfg.name, argv + first, argc - first, cfg.all, false };
	if (cfg.all == (cfg.name || choice.n)) {
		log_errx(0, cfg.all ? "stat: either NAME or --all" : "stat: which guest? NAME or --all");
		return EXIT_USAGE;
	}
	status = stat_guests(&cfg, &choice);
	if (fflush(stdout)) {
		log_err(-errno, "write to standard output");
		return EXIT_FAILURE;
	}
	return status;
}

const struct command stat_command = {
	.name = "stat",
	.summary = "Show a guest's counters",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Shows state, uptime, configured and resident memory, console output, and for "
		       "each virtual CPU how often it has left the guest and why: port and memory "
		       "accesses, halts, interruptions by lkvm itself.",
	.opts = options,
	.run = run,
};
