/* `lkvm mem`: how much memory a guest has, beyond what it was started with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <poll.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"

#define MORE_MS 5000 /* than the guest has: for lkvm to say how far it got */

struct mem_config {
	const char *name;
	bool json, no_wait;
	unsigned timeout_s;
};

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", .offset = offsetof(struct mem_config, name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_FLAG, 0, "no-wait", .offset = offsetof(struct mem_config, no_wait),
	  .help = "Do not wait until the guest has followed." },
	{ OPT_UNSIGNED, 't', "timeout", "SECONDS", .offset = offsetof(struct mem_config, timeout_s), .min = 1,
	  .max = 86400, .help = "Wait so long at most (60)." },
	{ OPT_FLAG, 'j', "json", .offset = offsetof(struct mem_config, json), .help = "A JSON object instead of text." },
	OPT_END,
};

/* ---- what is asked for ---- */

static int bad_size(const char *arg, const char *why)
{
	return log_errx(-EINVAL, "mem: size '%s' %s", arg, why);
}

/* 2G, +512M, -512M, max */
static int parse_size(const char *arg, struct ipc_mem *ret)
{
	const char *digits = *arg == '+' || *arg == '-' ? arg + 1 : arg;

	if (!strcmp(arg, "max")) {
		ret->how = IPC_MEM_MAX;
		return 0;
	}
	ret->how = *arg == '+' ? IPC_MEM_MORE : *arg == '-' ? IPC_MEM_LESS : IPC_MEM_SIZE;
	switch (ram_parse_size(digits, &ret->bytes)) {
	case RAM_SIZE_OK:
	case RAM_SIZE_SMALL:
	case RAM_SIZE_PAGES:
		return 0;
	case RAM_SIZE_ZERO:
		return bad_size(arg, "is nothing");
	case RAM_SIZE_OVERFLOW:
		return bad_size(arg, "is too large");
	default:
		return bad_size(arg, "is neither a number with B, K, M, G, T or P, nor one behind + or -, nor max");
	}
}

/* ---- the request ---- */

/* Return: as ipc_call() */
static int ask(const struct ipc_peer *guest, const struct ipc_mem *req, struct ipc_mem_end *ret)
{
	struct pollfd answer = { .fd = guest->fd, .events = POLLIN };
	struct ipc_reply reply;
	int err = ipc_send(guest->fd, IPC_MEM, req, sizeof(*req), NULL, 0);

	if (err)
		return err;
	if (!poll(&answer, 1, (int)req->wait_ms + MORE_MS))
		return -ETIMEDOUT;
	err = ipc_receive(guest->fd, &reply);
	if (reply.len == sizeof(*ret))
		memcpy(ret, reply.body, sizeof(*ret));
	else if (!err)
		return -EPROTO;
	return err;
}

static int failed(const struct ipc_peer *guest, const char *size, int err, const struct ipc_mem_end *end)
{
	char ram[32], max[32];

	if (err == -ENODEV)
		return log_errx(err, "guest '%s' can have no more than it was started with: that takes --mem-max", guest->name);
	if (err != -ERANGE)
		return ipc_failed(guest->name, guest->pid, err);
	return log_errx(err, "guest '%s' cannot have %s: it was started with %s, below which goes `lkvm balloon`, and can "
			"have %s (--mem-max)", guest->name, size, ram_mb_text(end->ram_bytes, ram, sizeof(ram)),
			ram_mb_text(end->max_bytes, max, sizeof(max)));
}

/* Blocks are not always what was asked for. */
static void say_rounded(const struct ipc_mem *req, const char *size, const struct ipc_mem_end *end)
{
	const uint64_t wants = end->ram_bytes + end->target_bytes;
	char text[2][32];

	if (req->how == IPC_MEM_SIZE ? req->bytes == wants :
	    req->how == IPC_MEM_SHOW || req->how == IPC_MEM_MAX || req->bytes % end->block_bytes == 0)
		return;
	log_info("mem: %s becomes %s in all: memory is plugged in blocks of %s", size,
		 ram_mb_text(wants, text[0], sizeof(text[0])), ram_mb_text(end->block_bytes, text[1], sizeof(text[1])));
}

static void show(const struct ipc_mem_end *end, bool as_json)
{
	const uint64_t has = end->ram_bytes + end->plugged_bytes, wants = end->ram_bytes + end->target_bytes;
	char text[3][32];
	struct json json;

	if (as_json) {
		json_init(&json, stdout);
		json_object(&json, NULL);
		json_u64(&json, "ram_bytes", end->ram_bytes);
		json_u64(&json, "max_bytes", end->max_bytes);
		json_u64(&json, "block_bytes", end->block_bytes);
		json_u64(&json, "size_bytes", has);
		json_u64(&json, "target_bytes", wants);
		json_bool(&json, "driver", end->has_driver);
		json_end(&json);
		return;
	}
	printf("%s of %s", ram_mb_text(has, text[0], sizeof(text[0])),
	       ram_mb_text(end->max_bytes, text[1], sizeof(text[1])));
	if (has != wants)
		printf(", to be %s", ram_mb_text(wants, text[2], sizeof(text[2])));
	puts(end->has_driver ? "" : "; the guest has no driver for memory that is plugged");
}

/* Return: 0, or -errno, logged: it is not as it was to be */
static int check(const struct ipc_peer *guest, const struct ipc_mem_end *end)
{
	char has[32], wants[32];

	if (end->plugged_bytes == end->target_bytes)
		return 0;
	if (!end->has_driver)
		return log_errx(-ENODEV, "guest '%s' does not follow: it has no driver for memory that is plugged, or none yet "
				"(virtio_mem)", guest->name);
	return log_errx(-ETIMEDOUT, "guest '%s' has not followed in time: it has %s, and is to have %s%s", guest->name,
			ram_mb_text(end->ram_bytes + end->plugged_bytes, has, sizeof(has)),
			ram_mb_text(end->ram_bytes + end->target_bytes, wants, sizeof(wants)),
			end->n_busy ? "; the host had no memory, or no memory slot, now and then" :
			end->plugged_bytes > end->target_bytes ? "; it uses what it has not given back" : "");
}

static int mem(const struct ipc_peer *guest, const struct mem_config *cfg, const char *size, struct ipc_mem *req)
{
	struct ipc_mem_end end;
	int err;

	if (size && !cfg->no_wait)
		req->wait_ms = (cfg->timeout_s ? cfg->timeout_s : 60) * 1000;
	err = ask(guest, req, &end);
	if (err)
		return failed(guest, size, err, &end);
	if (size)
		say_rounded(req, size, &end);
	show(&end, cfg->json);
	return req->wait_ms ? check(guest, &end) : 0;
}

static int mem_run(const struct command *cmd, int argc, char **argv)
{
	struct mem_config cfg = { 0 };
	struct ipc_mem req = { .how = IPC_MEM_SHOW };
	struct ipc_peers peers = { 0 };
	const char *size = NULL;
	int first, n, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);

	if (result != OPTIONS_OK)
		return options_status(result);
	n = argc - first;
	if (n + !!cfg.name == 2)
		size = argv[first + --n];
	if (size && parse_size(size, &req))
		return EXIT_USAGE;
	status = guests_choose_one(cmd->name, cfg.name, argv + first, n, &peers);
	if (!status && mem(&peers.list[0], &cfg, size, &req))
		status = EXIT_FAILURE;
	ipc_peers_free(&peers);
	if (fflush(stdout)) {
		log_err(-errno, "write to standard output");
		return EXIT_FAILURE;
	}
	return status;
}

const struct command mem_command = {
	.name = "mem",
	.summary = "Show or set how much memory is plugged into a guest",
	.operands = "NAME [SIZE|+SIZE|-SIZE|max]",
	.operand_complete = COMPLETE_GUEST,
	.description = "Without SIZE, shows how much memory a guest has, with what was plugged into it since it was started. "
		       "With SIZE, memory is plugged or unplugged until it has that much in all, and lkvm waits until the guest "
		       "has followed. +SIZE and -SIZE are so much more or less than it was to have, max is all that it can have. "
		       "The guest must have been started with --mem-max, and never has less than its --mem.",
	.opts = options,
	.run = mem_run,
};
