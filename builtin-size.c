/* A size that a guest is to have, and the wait for it; see builtin-size.h. */
#include "builtin-size.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"

#define TIMEOUT_S 60
#define MORE_MS   5000 /* than the guest has: for lkvm to say how far it got */

const struct opt size_options[] = {
	{ OPT_STRING, 'n', "name", "NAME", .offset = offsetof(struct size_config, name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_FLAG, 0, "no-wait", .offset = offsetof(struct size_config, no_wait),
	  .help = "Do not wait until the guest has followed." },
	{ OPT_UNSIGNED, 't', "timeout", "SECONDS", .offset = offsetof(struct size_config, timeout_s), .min = 1,
	  .max = 86400, .help = "Wait so long at most (60)." },
	{ OPT_FLAG, 'j', "json", .offset = offsetof(struct size_config, json), .help = "A JSON object instead of text." },
	OPT_END,
};

/* 128M, +64M, -64M, max; Return: NULL, or what is wrong with it */
static const char *parse(const char *arg, bool whole_pages, struct ipc_size *ret)
{
	const char *digits = *arg == '+' || *arg == '-' ? arg + 1 : arg;

	if (!strcmp(arg, "max")) {
		ret->how = IPC_SIZE_MAX;
		return NULL;
	}
	ret->how = *arg == '+' ? IPC_SIZE_MORE : *arg == '-' ? IPC_SIZE_LESS : IPC_SIZE_THAT;
	switch (ram_parse_size(digits, &ret->bytes)) {
	case RAM_SIZE_OK:
	case RAM_SIZE_SMALL:
		return NULL;
	case RAM_SIZE_PAGES:
		return whole_pages ? "is not a multiple of the page size" : NULL;
	case RAM_SIZE_ZERO:
		return "is nothing";
	case RAM_SIZE_OVERFLOW:
		return "is too large";
	default:
		return "is neither a number with B, K, M, G, T or P, nor one behind + or -, nor max";
	}
}

/* Return: as ipc_call(); an answer of another length is -EPROTO */
static int ask(const struct ipc_peer *guest, const struct size_kind *kind, const struct ipc_size *req, struct ipc_reply *reply)
{
	struct pollfd answer = { .fd = guest->fd, .events = POLLIN };
	int err = ipc_send(guest->fd, kind->op, req, sizeof(*req), NULL, 0);

	reply->len = 0;
	if (err)
		return err;
	if (!poll(&answer, 1, (int)req->wait_ms + MORE_MS))
		return -ETIMEDOUT;
	err = ipc_receive(guest->fd, reply);
	return reply->len != kind->answer_bytes && (!err || err == -ERANGE) ? -EPROTO : err;
}

static int set(const struct ipc_peer *guest, const struct size_kind *kind, const struct size_config *cfg, const char *size,
	       struct ipc_size *req)
{
	struct ipc_reply reply;
	int err;

	if (size && !cfg->no_wait)
		req->wait_ms = (cfg->timeout_s ? cfg->timeout_s : TIMEOUT_S) * 1000;
	err = ask(guest, kind, req, &reply);
	return kind->tell(guest, cfg, size, req, err, reply.body, req->wait_ms);
}

int size_run(const struct command *cmd, int argc, char **argv, const struct size_kind *kind)
{
	struct size_config cfg = { 0 };
	struct ipc_size req = { .how = IPC_SIZE_SHOW };
	struct ipc_peers peers = { 0 };
	const char *size = NULL, *wrong;
	int first, n, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);

	if (result != OPTIONS_OK)
		return options_status(result);
	n = argc - first;
	if (n + !!cfg.name == 2)
		size = argv[first + --n];
	wrong = size ? parse(size, kind->whole_pages, &req) : NULL;
	if (wrong)
		return log_errx(EXIT_USAGE, "%s: size '%s' %s", cmd->name, size, wrong);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, n, &peers);
	if (!status && set(&peers.list[0], kind, &cfg, size, &req))
		status = EXIT_FAILURE;
	ipc_peers_free(&peers);
	if (fflush(stdout)) {
		log_err(-errno, "write to standard output");
		return EXIT_FAILURE;
	}
	return status;
}
