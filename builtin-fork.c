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
#include "lkvm/file.h"
#include "lkvm/guests.h"
#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/run.h"
#include "lkvm/vm/snapshot-write.h"

#define MOST 10000

struct fork_config {
	const char *name;
	unsigned count;
	const char *prefix; /* of the copies' names */
	bool hint;          /* as of lkvm snapshot */
	const char *clock;  /* as of lkvm run --restore --clock, or NULL */
	char **words;       /* the command for each copy, n_words of them; none: they run by themselves */
	unsigned n_words;
};

struct copy {
	char name[IPC_NAME_MAX + 16];
	pid_t pid; /* of `lkvm exec`, 0: it has ended, with: */
	int status;
};

struct copies {
	struct copy *list; /* those that run */
	unsigned n;
	sigset_t ending; /* signals that are blocked until nothing is left that should not be, */
	sigset_t mask;   /* and the mask without */
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

static int parse_clock(void *config, const struct opt *opt, const char *arg)
{
	unsigned which = 0;
	int err = keys_value(opt->name, opt->values, NULL, arg, &which);

	((struct fork_config *)config)->clock = run_clock_values[which].name;
	return err;
}

#define FIELD(member) .offset = offsetof(struct fork_config, member)

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", FIELD(name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_UNSIGNED, 0, "count", "N", FIELD(count), .min = 1, .max = MOST, .help = "So many copies (1)." },
	{ OPT_FLAG, 0, "hint", FIELD(hint), .help = "Ask the guest before which of its memory is free: the copies have zeros there. See lkvm-snapshot(1)." },
	{ OPT_PARSE, 0, "prefix", "NAME", .parse = parse_prefix,
	  .help = "The copies are called NAME-1, NAME-2, ...; those that run already are passed over. Default: the "
		  "name of the guest." },
	{ OPT_PARSE, 0, "clock", "saved|host", .parse = parse_clock, .complete = COMPLETE_WORDS,
	  .values = run_clock_values,
	  .help = "What the copies' clocks have made of the time that it takes to make them (saved)." },
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
	const char *folders[FILE_TEMP_FOLDERS];
	const unsigned n = file_temp_folders(folders);
	uint32_t random;

	for (unsigned i = 0; i < n && place->folder_fd < 0; i++) {
		place->folder = folders[i];
		if (!access(folders[i], W_OK))
			place->folder_fd = open(folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (place->folder_fd < 0)
		return log_err(-errno, "folder for temporary files '%s' (TMPDIR)", place->folder);
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

static void use_null(int fd, int flags)
{
	int null = open("/dev/null", flags | O_CLOEXEC);

	if (null >= 0)
		dup2(null, fd);
}

/* lkvm itself, with other arguments. @alone: nobody reads what it says. Return: its pid, or -errno, logged */
static pid_t start_self(const struct copies *copies, char *const *argv, bool alone)
{
	pid_t pid = fork();

	if (!pid) {
		pthread_sigmask(SIG_SETMASK, &copies->mask, NULL);
		use_null(STDIN_FILENO, O_RDONLY);
		if (alone)
			use_null(STDOUT_FILENO, O_WRONLY);
		execv("/proc/self/exe", argv);
		log_err(-errno, "run lkvm");
		_exit(EXIT_USAGE);
	}
	return pid < 0 ? log_err(-errno, "fork") : pid;
}

/* Return: the exit status, or -errno */
static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return log_err(-errno, "wait for lkvm");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Its name goes to standard output once it runs. Return: 0 or -ECHILD, logged by it; or -errno, logged */
static int start_copy(const struct fork_config *cfg, const struct place *place, struct copies *copies)
{
	char *const clock = (char *)(cfg->clock ? cfg->clock : run_clock_values[0].name);
	char *const argv[] = { "lkvm", "run", "--restore", (char *)place->path, "--clock", clock, "--detach",
			       "--name", copies->list[copies->n].name, NULL };
	pid_t pid = start_self(copies, argv, cfg->n_words);
	int status = pid < 0 ? pid : wait_for(pid);

	if (status)
		return status < 0 ? status : -ECHILD;
	copies->n++;
	return 0;
}

/* One of those that would end this process waits until what is not to stay is removed. */
static bool is_interrupted(const sigset_t *ending)
{
	sigset_t pending;

	return !sigpending(&pending) && !sigandset(&pending, &pending, ending) && !sigisemptyset(&pending);
}

static int start_copies(const struct fork_config *cfg, const struct place *place, const char *prefix,
			struct copies *copies)
{
	unsigned number = 0;
	int err = 0;

	copies->list = calloc(cfg->count, sizeof(*copies->list));
	if (!copies->list)
		return log_err(-ENOMEM, "copies");
	for (unsigned i = 0; !err && i < cfg->count; i++) {
		char *name = copies->list[i].name;

		do {
			snprintf(name, sizeof(copies->list[i].name), "%s-%u", prefix, ++number);
		} while (is_taken(name));
		if (!ipc_name_valid(name))
			return log_errx(-EINVAL, "'%s' is too long for a guest's name", name);
		err = is_interrupted(&copies->ending) ? -EINTR : start_copy(cfg, place, copies);
	}
	return err;
}

/* ---- a command in each ---- */

static void stop_copy(const struct copies *copies, struct copy *copy)
{
	char *const argv[] = { "lkvm", "stop", copy->name, NULL };
	pid_t pid = start_self(copies, argv, true);

	if (pid > 0)
		wait_for(pid);
}

static int start_commands(const struct fork_config *cfg, struct copies *copies)
{
	char number[32], *const first[] = { "lkvm", "exec", "--env", number, NULL, "--" };
	char **argv = calloc(ARRAY_SIZE(first) + cfg->n_words + 1, sizeof(*argv));
	int err = argv ? 0 : log_err(-ENOMEM, "command");

	if (argv) {
		memcpy(argv, first, sizeof(first));
		memcpy(argv + ARRAY_SIZE(first), cfg->words, cfg->n_words * sizeof(*argv));
	}
	for (unsigned i = 0; !err && i < copies->n; i++) {
		argv[ARRAY_SIZE(first) - 2] = copies->list[i].name;
		snprintf(number, sizeof(number), "LKVM_COPY=%u", i + 1);
		copies->list[i].pid = start_self(copies, argv, false);
		err = copies->list[i].pid < 0 ? copies->list[i].pid : 0;
	}
	free(argv);
	return err;
}

/* Those that have ended: their guests are of no more use. Return: how many still run */
static unsigned reap(struct copies *copies)
{
	unsigned left = 0;

	for (unsigned i = 0; i < copies->n; i++) {
		struct copy *copy = &copies->list[i];
		int status;

		if (copy->pid <= 0)
			continue;
		if (waitpid(copy->pid, &status, WNOHANG) == copy->pid) {
			copy->pid = 0;
			copy->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			stop_copy(copies, copy);
		} else {
			left++;
		}
	}
	return left;
}

/* A signal is theirs, too; the copies are ended before it is ours. Return: the first status but 0 */
static int run_commands(const struct fork_config *cfg, struct copies *copies)
{
	sigset_t heard = copies->ending;
	int status = start_commands(cfg, copies) ? EXIT_FAILURE : EXIT_SUCCESS, ended_by = 0;

	sigaddset(&heard, SIGCHLD);
	while (reap(copies)) {
		const int sig = sigwaitinfo(&heard, NULL);

		if (sig <= 0 || sig == SIGCHLD)
			continue;
		ended_by = sig;
		for (unsigned i = 0; i < copies->n; i++)
			if (copies->list[i].pid > 0)
				kill(copies->list[i].pid, sig);
	}
	for (unsigned i = 0; i < copies->n; i++) {
		if (copies->list[i].pid < 0)
			stop_copy(copies, &copies->list[i]);
		status = status ? status : copies->list[i].status;
	}
	if (ended_by)
		raise(ended_by);
	return status;
}

/* ---- all together ---- */

/* Return: exit status */
static int fork_guest(const struct fork_config *cfg, const struct ipc_peer *guest)
{
	struct place place = { .folder_fd = -1 };
	struct copies copies = { 0 };
	const uint32_t flags = IPC_SNAPSHOT_BRIEF | (cfg->hint ? IPC_SNAPSHOT_HINT : 0);
	struct ipc_snapshot_end end;
	sigset_t blocked;
	int err = open_place(&place), status;

	sigemptyset(&copies.ending);
	sigaddset(&copies.ending, SIGINT);
	sigaddset(&copies.ending, SIGTERM);
	sigaddset(&copies.ending, SIGHUP);
	blocked = copies.ending;
	sigaddset(&blocked, SIGCHLD);
	/* Until here nothing is left behind; if it is interrupted while it waits, the guest's lkvm cleans up. */
	if (!err)
		err = guests_save(guest, place.path, place.folder_fd, place.name, flags, &end);
	pthread_sigmask(SIG_BLOCK, &blocked, &copies.mask);
	if (!err)
		guests_tell_no_hint(guest, &end);
	if (!err) {
		err = start_copies(cfg, &place, cfg->prefix ? cfg->prefix : guest->name, &copies);
		snapshot_remove(place.folder_fd, place.name);
	}
	status = err ? EXIT_FAILURE : EXIT_SUCCESS;
	if (cfg->n_words && !err)
		status = run_commands(cfg, &copies);
	for (unsigned i = 0; cfg->n_words && err && i < copies.n; i++)
		stop_copy(&copies, &copies.list[i]);
	pthread_sigmask(SIG_SETMASK, &copies.mask, NULL);
	if (place.folder_fd >= 0)
		close(place.folder_fd);
	free(copies.list);
	return status;
}

static int fork_run(const struct command *cmd, int argc, char **argv)
{
	struct fork_config cfg = { .count = 1 };
	struct ipc_peers peers = { 0 };
	enum options_result result;
	int first, dashdash, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, &dashdash);
	if (result != OPTIONS_OK)
		return options_status(result);
	cfg.words = argv + dashdash;
	cfg.n_words = (unsigned)(argc - dashdash);
	status = guests_choose_one(cmd->name, cfg.name, argv + first, dashdash - first, &peers);
	if (!status)
		status = fork_guest(&cfg, &peers.list[0]);
	ipc_peers_free(&peers);
	return status;
}

const struct command fork_command = {
	.name = "fork",
	.summary = "Make copies of a guest that run on by themselves",
	.operands = "NAME [-- COMMAND [ARGUMENT]...]",
	.operand_complete = COMPLETE_GUEST,
	.description = "Makes copies of a guest that run on from the same instant in the background, and prints their "
		       "names. Each has its own memory and its own disks from there on, of which the host keeps only what "
		       "differs; what is written to them goes when it ends. The guest itself goes on.\n"
		       "\n"
		       "With a command, which a guest of lkvm run -- COMMAND takes, each copy runs that, ends with it, and "
		       "lkvm fork waits for all of them.",
	.opts = options,
	.run = fork_run,
};
