/*
 * `lkvm dump`: a guest's RAM and registers as a file for crash, drgn, gdb and makedumpfile. The guest's lkvm does the
 * work, in a folder that it gets from here: so the path is the caller's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/builtin.h"
#include "lkvm/file.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/dump.h"

#define PATIENCE_MS 10000 /* then the user hears what is being waited for */

struct dump_config {
	const char *name;
	unsigned compress, exclude; /* of struct ipc_dump */
};

static const struct opt_value compress_values[] = {
	{ "none", .help = "An ELF core, in which pages of zeros are holes." },
	{ "zstd", .help = "kdump's format, compressed by zstd." },
	{ "lzo", .help = "Likewise by LZO, which is faster and less dense." },
	{ "zlib", .help = "Likewise by zlib, which every crash can read." },
	VALUES_END,
};

static int parse_compress(void *config, const struct opt *opt, const char *arg)
{
	return keys_value(opt->name, opt->values, NULL, arg, &((struct dump_config *)config)->compress);
}

static int parse_exclude(void *config, const struct opt *opt, const char *arg)
{
	return dump_exclude_parse(&((struct dump_config *)config)->exclude, opt->name, arg);
}

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", .offset = offsetof(struct dump_config, name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_PARSE, 0, "compress", "none|zstd|lzo|zlib", .parse = parse_compress, .complete = COMPLETE_WORDS,
	  .values = compress_values, .help = "The file's format (none)." },
	{ OPT_PARSE, 0, "exclude", "KINDS", .parse = parse_exclude, .complete = COMPLETE_LIST, .keys = dump_exclude_keys,
	  .help = "Leave these pages out, as makedumpfile -d does. The guest's Linux has to tell which they are." },
	OPT_END,
};

/* ---- the request ---- */

static int failed(const struct ipc_peer *guest, const char *file, int err, const struct ipc_reply *reply)
{
	if (!reply->len)
		return ipc_failed(guest->name, guest->pid, err);
	return log_errx(err, "guest '%s' cannot be dumped to '%s': %.*s", guest->name, file, (int)reply->len,
			(const char *)reply->body);
}

/* Return: as ipc_call() */
static int ask(const struct ipc_peer *guest, const struct dump_config *cfg, const struct file_place *place,
	       struct ipc_reply *reply)
{
	struct pollfd answer = { .fd = guest->fd, .events = POLLIN };
	struct ipc_dump req = { .compress = cfg->compress, .exclude = cfg->exclude };
	int err, n;

	snprintf(req.name, sizeof(req.name), "%s", place->name);
	reply->len = 0;
	err = ipc_send(guest->fd, IPC_DUMP, &req, sizeof(req), &place->folder_fd, 1);
	if (err)
		return err;
	while ((n = poll(&answer, 1, PATIENCE_MS)) < 1)
		if (!n)
			log_info("still dumping guest '%s'", guest->name);
	return ipc_receive(guest->fd, reply);
}

static int dump(const struct ipc_peer *guest, const struct dump_config *cfg, const char *file,
		const struct file_place *place)
{
	struct ipc_dump_end end;
	struct ipc_reply reply;
	char text[160];
	int err;

	do
		err = ask(guest, cfg, place, &reply);
	while (err == -EAGAIN && !reply.len);
	if (!err && reply.len != sizeof(end))
		return ipc_failed(guest->name, guest->pid, -EPROTO);
	if (err)
		return failed(guest, file, err, &reply);
	memcpy(&end, reply.body, sizeof(end));
	printf("lkvm: guest '%s' dumped to '%s': %lluMB of RAM%s; it stood still for %.1f ms\n", guest->name, file,
	       (unsigned long long)((end.ram_bytes + MIB - 1) / MIB), end.has_linux ? "" : " without a Linux",
	       (double)end.pause_ns / 1e6);
	if (cfg->exclude)
		printf("lkvm: %s\n", dump_exclude_text(&end.left_out, text, sizeof(text)));
	return 0;
}

/* ---- all together ---- */

static int dump_run(const struct command *cmd, int argc, char **argv)
{
	struct file_place place = { .folder_fd = -1 };
	struct dump_config cfg = { 0 };
	struct ipc_peers peers = { 0 };
	int first, n, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	char **words = argv + first;

	if (result != OPTIONS_OK)
		return options_status(result);
	n = argc - first;
	if (n != 2 - !!cfg.name)
		return log_errx(EXIT_USAGE, "%s: which guest, and which file? NAME FILE", cmd->name);
	status = guests_choose_one(cmd->name, cfg.name, words, n - 1, &peers);
	if (!status && file_place_find(&place, words[n - 1]))
		status = EXIT_USAGE;
	if (!status && dump(&peers.list[0], &cfg, words[n - 1], &place))
		status = EXIT_FAILURE;
	file_place_fini(&place);
	ipc_peers_free(&peers);
	return status;
}

const struct command dump_command = {
	.name = "dump",
	.summary = "Write a guest's memory as a file for debuggers",
	.operands = "NAME FILE",
	.operand_complete = COMPLETE_GUEST,
	.description = "Writes a guest's RAM and registers, as they are at one instant, to a new file, as kdump does: for "
		       "crash, drgn, gdb and makedumpfile. The guest needs nothing for that and may hang; if it runs it "
		       "goes on meanwhile. The file has all of the guest's memory: nobody else can read it.",
	.opts = options,
	.run = dump_run,
};
