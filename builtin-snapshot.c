/*
 * `lkvm snapshot`: save a guest that runs, or show what was saved. The guest's lkvm does the work, in a folder
 * that it gets from here: so the path is the caller's.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/file.h"
#include "lkvm/guests.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/snapshot.h"

#define PATIENCE_MS 10000 /* then the user hears what is being waited for */

struct snapshot_config {
	const char *name, *show;
	bool stop, force, no_disks, hint, json;
};

/* ---- options ---- */

static const struct opt_value disks_values[] = {
	{ "clone", .help = "The snapshot has a copy of each disk that can be written." },
	{ "none", .help = "It has none: restoring is refused if one of them has changed." },
	VALUES_END,
};

static int parse_disks(void *config, const struct opt *opt, const char *arg)
{
	unsigned which = 0;
	int err = keys_value(opt->name, opt->values, NULL, arg, &which);

	((struct snapshot_config *)config)->no_disks = which;
	return err;
}

#define FIELD(member) .offset = offsetof(struct snapshot_config, member)

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", FIELD(name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_FLAG, 0, "stop", FIELD(stop), .help = "Stop the guest once it is saved, and wait until it is gone: it does not go on in between." },
	{ OPT_FLAG, 0, "force", FIELD(force), .help = "Replace an older snapshot in this folder." },
	{ OPT_PARSE, 0, "disks", "clone|none", .parse = parse_disks, .complete = COMPLETE_WORDS,
	  .values = disks_values, .help = "What becomes of the disks (clone)." },
	{ OPT_FLAG, 0, "hint", FIELD(hint), .help = "Ask the guest before, for half a second at most, which of its memory is free: that is "
		  "left out. A guest with init_on_alloc, as Debian's kernels have it, writes zeros to all of that then." },
	{ OPT_STRING, 0, "show", "DIR", FIELD(show), .complete = COMPLETE_DIR,
	  .help = "Print what a snapshot says, instead: the machine, and the state of each part." },
	{ OPT_FLAG, 0, "json", FIELD(json), .help = "With --show: as JSON, lkvm-json(5)." },
	OPT_END,
};

/* ---- --show ---- */

static int show(const struct snapshot_config *cfg)
{
	struct snapshot *snap;
	struct json json;
	int err = snapshot_open(cfg->show, &snap);

	if (err)
		return EXIT_FAILURE;
	json_init(&json, stdout);
	err = cfg->json ? snapshot_json(snap, &json) : snapshot_print(snap, stdout);
	snapshot_close(snap);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the guest's end, with --stop ---- */

/* Of a guest that is still connected; -1: this kernel has none */
static int gone_fd(const struct ipc_peer *guest)
{
	return guest->pid > 0 ? (int)syscall(SYS_pidfd_open, guest->pid, 0) : -1;
}

/* Only then its name is free, and its disks are. */
static void wait_gone(const struct ipc_peer *guest, int fd)
{
	struct pollfd gone = { .fd = fd, .events = POLLIN };

	if (fd >= 0 && !poll(&gone, 1, PATIENCE_MS))
		log_info("still waiting for guest '%s' (PID %d) to end", guest->name, guest->pid);
	while (fd >= 0 && poll(&gone, 1, -1) < 0 && errno == EINTR)
		;
}

/* ---- the request ---- */

static void tell_done(const struct ipc_peer *guest, const char *dir, const struct ipc_snapshot_end *end, uint32_t flags)
{
	guests_tell_no_hint(guest, end);
	printf("lkvm: guest '%s' saved in '%s': %lluMB of RAM", guest->name, dir,
	       (unsigned long long)((end->ram_bytes + MIB - 1) / MIB));
	if (flags & IPC_SNAPSHOT_HINT)
		printf(" (%lluMB were free)", (unsigned long long)(end->spare_bytes / MIB));
	if (end->disks)
		printf(", %u disk%s (%u cloned)", end->disks, end->disks == 1 ? "" : "s", end->shared);
	printf("; it stood still for %.1f ms\n", (double)end->pause_ns / 1e6);
}

static int save(const struct ipc_peer *guest, const char *dir, const struct file_place *place, uint32_t flags)
{
	const int fd = flags & IPC_SNAPSHOT_STOP ? gone_fd(guest) : -1;
	struct ipc_snapshot_end end;
	int err = guests_save(guest, dir, place->folder_fd, place->name, flags, &end);

	if (!err) {
		tell_done(guest, dir, &end, flags);
		fflush(stdout);
		wait_gone(guest, fd);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- all together ---- */

static uint32_t flags_of(const struct snapshot_config *cfg)
{
	return (cfg->stop ? IPC_SNAPSHOT_STOP : 0) | (cfg->force ? IPC_SNAPSHOT_FORCE : 0) |
	       (cfg->no_disks ? IPC_SNAPSHOT_NO_DISKS : 0) | (cfg->hint ? IPC_SNAPSHOT_HINT : 0);
}

static int save_guest(const struct command *cmd, const struct snapshot_config *cfg, char **words, int n)
{
	struct file_place place = { .folder_fd = -1 };
	struct ipc_peers peers = { 0 };
	int status;

	if (n != 2 - !!cfg->name)
		return log_errx(EXIT_USAGE, "%s: which guest, and which folder? NAME DIR", cmd->name);
	status = guests_choose_one(cmd->name, cfg->name, words, n - 1, &peers);
	if (!status && file_place_find(&place, words[n - 1]))
		status = EXIT_USAGE;
	if (!status && save(&peers.list[0], words[n - 1], &place, flags_of(cfg)))
		status = EXIT_FAILURE;
	file_place_fini(&place);
	ipc_peers_free(&peers);
	return status;
}

static int snapshot_run(const struct command *cmd, int argc, char **argv)
{
	struct snapshot_config cfg = { 0 };
	enum options_result result;
	int first;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (cfg.show && argc != first)
		return log_errx(EXIT_USAGE, "%s: unexpected argument '%s'", cmd->name, argv[first]);
	return cfg.show ? show(&cfg) : save_guest(cmd, &cfg, argv + first, argc - first);
}

const struct command snapshot_command = {
	.name = "snapshot",
	.summary = "Save a guest with its disks",
	.operands = "NAME DIR",
	.operand_complete = COMPLETE_GUEST,
	.description = "Saves a guest as it is at one instant, with its disks, in a new folder. It stands still while its "
		       "disks are copied, and goes on while its RAM is written. `lkvm run --restore DIR` goes on from "
		       "there, as often as wanted. The folder has all of the guest's memory: nobody else can read it.",
	.opts = options,
	.run = snapshot_run,
};
