/*
 * `lkvm stop`, `lkvm pause`, `lkvm resume`: change a running guest's state.
 *
 * A guest is gone when its process is: stop waits for the pidfd of the peer. The pidfd is opened
 * while the connection stands, and the answer to the request that follows proves that the process
 * was still the one that had been connected to.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"

#define BUTTON_INTERVAL_MS 500   /* until the guest listens to it */
#define ANSWER_MS          10000 /* a request may take so long */
#define PATIENCE_MS        10000 /* then the user hears what is being waited for */
#define KILL_MS            15000 /* longer than lkvm itself waits for what hangs in it */

struct stop_config {
	const char *name; /* kvmtool's way; the same as an operand */
	bool all, kill;
	unsigned graceful_s; /* 0: at once */
};

struct target {
	struct ipc_peer *peer;
	int gone_fd; /* readable once the guest is gone: a pidfd, or -1 where the kernel has none */
	bool sure;   /* of its PID: there may be a signal to it */
	bool pressed; /* the power button; the guest has heard it */
	bool killed;
	bool done;    /* nothing is left to do, well or not */
	bool failed;
};

struct targets {
	struct ipc_peers peers;
	struct target *list; /* as many */
};

static void target_done(struct target *t, const char *what)
{
	printf("lkvm: guest '%s' %s\n", t->peer->name, what);
	fflush(stdout);
	t->done = true;
}

static void target_failed(struct target *t)
{
	ipc_peer_failed(t->peer);
	t->done = t->failed = true;
}

/*
 * The PID is that of who listened once. It still is his if he holds the connection after the pidfd
 * was opened, and he is the one that the folder belongs to.
 */
static bool is_sure(const struct ipc_peer *p)
{
	struct pollfd conn = { .fd = p->fd };
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", p->pid);
	return p->pid > 1 && !poll(&conn, 1, 0) && !stat(path, &st) &&
	       !getsockopt(p->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) && st.st_uid == cred.uid;
}

static int targets_make(struct targets *targets)
{
	targets->list = calloc(targets->peers.n + 1, sizeof(*targets->list));
	if (!targets->list)
		return log_err(-ENOMEM, "guests");
	for (unsigned i = 0; i < targets->peers.n; i++) {
		struct ipc_peer *p = &targets->peers.list[i];
		struct target *t = &targets->list[i];

		*t = (struct target){ .peer = p, .gone_fd = -1 };
		t->done = p->fd < 0;
		if (!t->done && p->pid > 0)
			t->gone_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
		t->sure = !t->done && is_sure(p);
	}
	return 0;
}

static void targets_free(struct targets *targets)
{
	for (unsigned i = 0; targets->list && i < targets->peers.n; i++)
		if (targets->list[i].gone_fd >= 0)
			close(targets->list[i].gone_fd);
	free(targets->list);
	ipc_peers_free(&targets->peers);
}

/*
 * Operands, -n or --all to targets.
 * Return: OPTIONS_OK and connected targets, or why to end
 */
static enum options_result targets_parse(struct targets *targets, struct stop_config *cfg,
					 const struct command *cmd, int argc, char **argv,
					 int *ret_status)
{
	int first;
	enum options_result result = options_parse(cmd, cfg, argc, argv, &first, NULL);
	struct guest_choice choice = { .option = cfg->name, .all = cfg->all };

	if (result != OPTIONS_OK)
		return result;
	choice.word = argv + first;
	choice.n = argc - first;
	if (cfg->all == (cfg->name || choice.n)) {
		log_errx(0, cfg->all ? "%s: either NAME or --all" : "%s: which guest? NAME or --all",
			 cmd->name);
		return OPTIONS_BAD;
	}
	*ret_status = guests_choose(&choice, &targets->peers);
	if (*ret_status == EXIT_USAGE)
		return OPTIONS_BAD;
	if (targets_make(targets))
		*ret_status = EXIT_FAILURE;
	return OPTIONS_OK;
}

static void saw_end(struct target *t)
{
	struct ipc_peers left = { 0 };

	target_done(t, t->killed ? "killed" : t->pressed ? "powered off" : "stopped");
	if (!t->killed)
		return;
	/* A look at the socket that it has left removes it. */
	ipc_peers_find(&left, t->peer->name);
	ipc_peers_free(&left);
}

/* Wait until one of the targets is gone, at most @timeout_ms. Return: whether one is */
static bool wait_any(struct targets *targets, int timeout_ms)
{
	unsigned count = targets->peers.n;
	struct pollfd *fds = calloc(count + 1, sizeof(*fds));
	int n;

	if (!fds)
		return false;
	for (unsigned i = 0; i < count; i++) {
		const struct target *t = &targets->list[i];

		/* No request is on its way, so what can be read of the connection is its end. */
		fds[i].fd = t->done ? -1 : t->gone_fd >= 0 ? t->gone_fd : t->peer->fd;
		fds[i].events = POLLIN;
	}
	n = poll(fds, count, timeout_ms);
	for (unsigned i = 0; i < count; i++)
		if (n > 0 && fds[i].revents)
			saw_end(&targets->list[i]);
	free(fds);
	return n > 0;
}

static bool all_done(const struct targets *targets)
{
	for (unsigned i = 0; i < targets->peers.n; i++)
		if (!targets->list[i].done)
			return false;
	return true;
}

/* One request to all that are not done yet, or only to those that have not heard the button either. */
static int ask(struct targets *targets, enum ipc_op op, bool only_deaf)
{
	for (unsigned i = 0; i < targets->peers.n; i++) {
		const struct target *t = &targets->list[i];

		t->peer->skip = t->done || (only_deaf && t->pressed);
	}
	return ipc_peers_ask(&targets->peers, op, NULL, 0, ANSWER_MS);
}

/* ---- stop ---- */

/* As asked for by --kill, of one that does not end in another way. */
static void target_kill(struct target *t)
{
	int err;

	if (!t->sure) {
		target_failed(t);
		return;
	}
	if (t->gone_fd >= 0)
		err = (int)syscall(SYS_pidfd_send_signal, t->gone_fd, SIGKILL, NULL, 0);
	else
		err = kill(t->peer->pid, SIGKILL);
	if (err < 0 && errno != ESRCH) {
		log_err(-errno, "guest '%s': kill process %d", t->peer->name, t->peer->pid);
		t->done = t->failed = true;
		return;
	}
	t->killed = true;
	if (t->gone_fd < 0 && t->peer->fd < 0)
		saw_end(t);
}

/* Did not do what it was asked for. A guest that has ended by itself is no failure. */
static void judge_answer(struct target *t, bool may_kill)
{
	struct ipc_peer *p = t->peer;

	if (p->skip || !p->err || p->err == -ECONNRESET)
		return;
	if (may_kill && p->err == -ETIMEDOUT)
		target_kill(t);
	else
		target_failed(t);
}

/* Of those that have not heard it. Return: whether some still have not */
static bool press_buttons(struct targets *targets, bool may_kill)
{
	bool deaf = false;

	/* A paused guest could not do anything about its power button. */
	ask(targets, IPC_RESUME, true);
	for (unsigned i = 0; i < targets->peers.n; i++) {
		struct target *t = &targets->list[i];
		int err = t->peer->err;

		if (!t->peer->skip && !err)
			printf("lkvm: guest '%s' resumed\n", t->peer->name);
		if (err != -EALREADY && err != -ESHUTDOWN)
			judge_answer(t, may_kill);
	}
	ask(targets, IPC_POWER_BUTTON, true);
	for (unsigned i = 0; i < targets->peers.n; i++) {
		struct target *t = &targets->list[i];

		if (t->peer->skip)
			continue;
		t->pressed = !t->peer->err;
		if (t->peer->err != -EAGAIN && t->peer->err != -ESHUTDOWN)
			judge_answer(t, may_kill);
		deaf |= !t->done && !t->pressed;
	}
	return deaf;
}

/* Ask the guests themselves; a guest that is still booting may listen later. */
static void stop_gracefully(struct targets *targets, unsigned seconds, bool may_kill)
{
	const int64_t deadline = now_ms() + seconds * 1000LL;
	int64_t now;

	while (!all_done(targets) && (now = now_ms()) < deadline) {
		int64_t left = deadline - now;

		if (press_buttons(targets, may_kill) && left > BUTTON_INTERVAL_MS)
			left = BUTTON_INTERVAL_MS;
		wait_any(targets, (int)left);
	}
	for (unsigned i = 0; i < targets->peers.n; i++) {
		struct target *t = &targets->list[i];

		if (t->done)
			continue;
		log_info(t->pressed ? "guest '%s' did not power off in %u s, stopping it" :
				      "guest '%s' did not listen to its power button for %u s, stopping it",
			 t->peer->name, seconds);
		t->pressed = false;
	}
}

static void complain(struct targets *targets)
{
	for (unsigned i = 0; i < targets->peers.n; i++) {
		const struct target *t = &targets->list[i];

		if (!t->done)
			log_info("still waiting for guest '%s' (PID %d)", t->peer->name, t->peer->pid);
	}
}

static void stop_now(struct targets *targets, bool may_kill)
{
	int64_t start = now_ms();

	ask(targets, IPC_STOP, false);
	for (unsigned i = 0; i < targets->peers.n; i++)
		judge_answer(&targets->list[i], may_kill);
	while (!all_done(targets)) {
		if (wait_any(targets, may_kill ? KILL_MS : PATIENCE_MS))
			continue;
		if (!may_kill || now_ms() - start < KILL_MS) {
			complain(targets);
			continue;
		}
		for (unsigned i = 0; i < targets->peers.n; i++)
			if (!targets->list[i].done && !targets->list[i].killed)
				target_kill(&targets->list[i]);
	}
}

static int finish(struct targets *targets, int status)
{
	for (unsigned i = 0; targets->list && i < targets->peers.n; i++)
		if (targets->list[i].failed)
			status = EXIT_FAILURE;
	targets_free(targets);
	return status;
}

static int stop_run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct stop_config cfg = { 0 };
	struct targets targets = { 0 };
	int status = EXIT_SUCCESS;

	result = targets_parse(&targets, &cfg, cmd, argc, argv, &status);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (targets.list && cfg.graceful_s)
		stop_gracefully(&targets, cfg.graceful_s, cfg.kill);
	if (targets.list)
		stop_now(&targets, cfg.kill);
	return finish(&targets, status);
}

/* ---- pause, resume ---- */

static const struct change {
	enum ipc_op op;
	const char *done, *already;
} pause_change = { IPC_PAUSE, "paused", "is paused already" },
  resume_change = { IPC_RESUME, "resumed", "is running already" };

/* pause and resume: one request each, and being in that state already is as good. */
static int change_run(const struct command *cmd, int argc, char **argv)
{
	const struct change *change = cmd == &pause_command ? &pause_change : &resume_change;
	enum options_result result;
	struct stop_config cfg = { 0 };
	struct targets targets = { 0 };
	int status = EXIT_SUCCESS;

	result = targets_parse(&targets, &cfg, cmd, argc, argv, &status);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (!targets.list || ask(&targets, change->op, false))
		status = EXIT_FAILURE;
	for (unsigned i = 0; targets.list && i < targets.peers.n; i++) {
		struct target *t = &targets.list[i];

		if (t->peer->skip)
			continue;
		if (!t->peer->err || t->peer->err == -EALREADY)
			target_done(t, t->peer->err ? change->already : change->done);
		else
			target_failed(t);
	}
	return finish(&targets, status);
}

#define OPT_NAME \
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME", \
	  .help = "The guest; the same as NAME without the option.", \
	  .offset = offsetof(struct stop_config, name), .complete = COMPLETE_GUEST }
#define OPT_ALL \
	{ .kind = OPT_FLAG, .short_name = 'a', .name = "all", .help = "All guests of this user.", \
	  .offset = offsetof(struct stop_config, all) }

static const struct opt change_options[] = { OPT_NAME, OPT_ALL, OPT_END };

static const struct opt stop_options[] = {
	OPT_NAME,
	OPT_ALL,
	{ .kind = OPT_UNSIGNED, .short_name = 'g', .name = "graceful", .arg = "SECONDS",
	  .help = "Press the power button and give the guest so many seconds to power off; stop it if it has not.",
	  .offset = offsetof(struct stop_config, graceful_s), .min = 1, .max = 86400 },
	{ .kind = OPT_FLAG, .short_name = 'k', .name = "kill",
	  .help = "Kill what does not end otherwise: at once a guest whose lkvm process is stopped (SIGSTOP, "
		  "a debugger) or does not answer, others after 15 seconds.",
	  .offset = offsetof(struct stop_config, kill) },
	OPT_END,
};

const struct command stop_command = {
	.name = "stop",
	.summary = "Stop guests and wait until they are gone",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Stops each guest, at once or by its power button, and waits until its process "
		       "is gone. A paused guest is stopped too. A guest is chosen by its name or by a "
		       "pattern for names ('build-*'). The status is 0 if all are gone, 1 if one was not "
		       "running, had died, or did not answer.",
	.opts = stop_options,
	.run = stop_run,
};

const struct command pause_command = {
	.name = "pause",
	.summary = "Make guests stand still",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Halts the virtual CPUs, the devices and the timers of each guest until `lkvm "
		       "resume`. When it returns, nothing of it is in flight any more. A guest that is paused already stays so, with status 0.",
	.opts = change_options,
	.run = change_run,
};

const struct command resume_command = {
	.name = "resume",
	.summary = "Let paused guests go on",
	.operands = "[NAME|PATTERN]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Lets each paused guest go on. A guest that runs already is "
		       "left alone, with status 0.",
	.opts = change_options,
	.run = change_run,
};
