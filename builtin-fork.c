/*
 * `lkvm fork`: copies of a guest that run on from the same instant. It is saved in a folder that goes as soon
 * as all copies have what they need of it: they keep its files open.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/snapshot-write.h"

#define MOST 10000

struct fork_config {
	const char *name;
	unsigned count;
	const char *prefix; /* of the copies' names */
};

static int parse_prefix(void *config, const struct opt *opt, const char *arg)
{
	(void)opt;
	if (!ipc_name_valid(arg))
		return log_errx(-EINVAL, "'%s' is not a guest name (1 to %d of A-Z a-z 0-9 . _ -)", arg,
				IPC_NAME_MAX);
	((struct fork_config *)config)->prefix = arg;
	return 0;
}

#define FIELD(member) .offset = offsetof(struct fork_config, member)

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", FIELD(name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_UNSIGNED, 0, "count", "N", FIELD(count), .min = 1, .max = MOST, .help = "So many copies (1)." },
	{ OPT_PARSE, 0, "prefix", "NAME", .parse = parse_prefix,
	  .help = "The copies are called NAME-1, NAME-2, ...; those that run already are passed over. Default: the "
		  "name of the guest." },
	OPT_END,
};

/* ---- where it is saved meanwhile ---- */

struct place {
	const char *folder;
	int folder_fd;
	char name[32], path[256]; /* in the folder; all of it */
};

static int open_place(struct place *place)
{
	const char *const folders[] = { getenv("TMPDIR"), "/var/tmp", "/tmp" };
	uint32_t random;

	for (size_t i = 0; i < ARRAY_SIZE(folders) && place->folder_fd < 0; i++) {
		place->folder = folders[i];
		if (folders[i] && *folders[i] && !access(folders[i], W_OK))
			place->folder_fd = open(folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (place->folder_fd < 0)
		return log_errx(-ENOENT, "there is no folder for temporary files (TMPDIR)");
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return log_err(-EIO, "random number");
	snprintf(place->name, sizeof(place->name), "lkvm-fork-%08x", random);
	if ((size_t)snprintf(place->path, sizeof(place->path), "%s/%s", place->folder, place->name) >=
	    sizeof(place->path))
		return log_err(-ENAMETOOLONG, "TMPDIR");
	return 0;
}

/* ---- the copies ---- */

static bool is_taken(const char *name)
{
	struct ipc_peers peers = { 0 };
	bool taken;

	ipc_peers_find(&peers, name);
	taken = peers.n && peers.list[0].fd >= 0;
	ipc_peers_free(&peers);
	return taken;
}

/* Its name goes to standard output once it runs. Return: 0 or -ECHILD, logged by it; or -errno, logged */
static int start_copy(const struct place *place, const char *name, const sigset_t *mask)
{
	char *const argv[] = { "lkvm", "run", "--restore", (char *)place->path, "--detach", "--name", (char *)name,
			       NULL };
	int status;
	pid_t pid = fork();

	if (!pid) {
		pthread_sigmask(SIG_SETMASK, mask, NULL);
		execv("/proc/self/exe", argv);
		log_err(-errno, "run lkvm");
		_exit(EXIT_USAGE);
	}
	if (pid < 0)
		return log_err(-errno, "fork");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return log_err(-errno, "wait for '%s'", name);
	return status ? -ECHILD : 0;
}

/* One of those that would end this process waits until what is not to stay is removed. */
static bool is_interrupted(const sigset_t *ending)
{
	sigset_t pending;

	return !sigpending(&pending) && !sigandset(&pending, &pending, ending) && !sigisemptyset(&pending);
}

static int start_copies(const struct place *place, const char *prefix, unsigned count, const sigset_t *ending,
			const sigset_t *mask)
{
	unsigned number = 0;
	int err = 0;

	for (unsigned i = 0; !err && i < count; i++) {
		char name[IPC_NAME_MAX + 16];

		do {
			snprintf(name, sizeof(name), "%s-%u", prefix, ++number);
		} while (is_taken(name));
		if (!ipc_name_valid(name))
			return log_errx(-EINVAL, "'%s' is too long for a guest's name", name);
		err = is_interrupted(ending) ? -EINTR : start_copy(place, name, mask);
	}
	return err;
}

/* ---- all together ---- */

static int fork_guest(const struct fork_config *cfg, const struct ipc_peer *guest)
{
	struct place place = { .folder_fd = -1 };
	struct ipc_snapshot_end end;
	sigset_t ending, mask;
	int err = open_place(&place);

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	/* Until here nothing is left behind; if it is interrupted while it waits, the guest's lkvm cleans up. */
	if (!err)
		err = guests_save(guest, place.path, place.folder_fd, place.name, IPC_SNAPSHOT_BRIEF, &end);
	pthread_sigmask(SIG_BLOCK, &ending, &mask);
	if (!err) {
		err = start_copies(&place, cfg->prefix ? cfg->prefix : guest->name, cfg->count ? cfg->count : 1,
				   &ending, &mask);
		snapshot_remove(place.folder_fd, place.name);
	}
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	if (place.folder_fd >= 0)
		close(place.folder_fd);
	return err;
}

static int fork_run(const struct command *cmd, int argc, char **argv)
{
	struct fork_config cfg = { 0 };
	struct ipc_peers peers = { 0 };
	enum options_result result;
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, argc - first, &peers);
	if (!status && fork_guest(&cfg, &peers.list[0]))
		status = EXIT_FAILURE;
	ipc_peers_free(&peers);
	return status;
}

const struct command fork_command = {
	.name = "fork",
	.summary = "Make copies of a guest that run on by themselves",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description = "Makes copies of a guest that run on from the same instant in the background, and prints their "
		       "names. Each has its own memory and its own disks from there on, of which the host keeps only what "
		       "differs; what is written to them goes when it ends. The guest itself goes on.",
	.opts = options,
	.run = fork_run,
};
