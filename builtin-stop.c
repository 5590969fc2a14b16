/*
 * `lkvm stop`, `lkvm pause`, `lkvm resume`: change a running guest's state.
 *
 * A guest is gone when its process is: stop waits for the pidfd of the peer. The pidfd is opened
 * while the connection stands, and the answer to the request that follows proves that the process
 * was still the one that had been connected to.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/clock.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm.h"
#include "lkvm/log.h"

#define BUTTON_INTERVAL_MS 500   /* until the guest listens to it */
#define PATIENCE_MS        10000 /* then the user hears what is being waited for */

struct stop_config {
	const char *name; /* kvmtool's way; the same as an operand */
	bool all;
	unsigned graceful_s; /* 0: at once */
};

struct target {
	char *name;
	int fd;      /* connection */
	int gone_fd; /* readable once the guest is gone: a pidfd, or -1 where the kernel has none */
	pid_t pid;
	bool pressed; /* the power button; the guest has heard it */
	bool done;    /* nothing is left to do, well or not */
	bool failed;
};

struct targets {
	unsigned n;
	struct target *list;
};

static void target_done(struct target *t, const char *what)
{
	printf("lkvm: guest '%s' %s\n", t->name, what);
	fflush(stdout);
	t->done = true;
}

static void target_failed(struct target *t, int err)
{
	log_err(err, "guest '%s'", t->name);
	t->done = t->failed = true;
}

/* @fd: a connection that now belongs to the target, or -errno that was logged */
static int targets_add(struct targets *targets, const char *name, int fd, pid_t pid)
{
	struct target *list = reallocarray(targets->list, targets->n + 1, sizeof(*list));
	struct target *t;

	if (list)
		targets->list = list;
	if (!list || !(list[targets->n].name = strdup(name))) {
		if (fd >= 0)
			close(fd);
		return log_err(-ENOMEM, "guest '%s'", name);
	}
	t = &list[targets->n++];
	*t = (struct target){ .name = t->name, .fd = fd, .gone_fd = -1, .pid = pid };
	if (fd < 0)
		t->done = t->failed = true;
	else if (pid > 0)
		t->gone_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return 0;
}

static int add_live(void *ctx, const char *name, int fd, pid_t pid)
{
	int own_fd = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own_fd < 0)
		log_err(fd < 0 ? fd : -errno, "connect to guest '%s'", name);
	return targets_add(ctx, name, own_fd, pid);
}

static void targets_free(struct targets *targets)
{
	for (unsigned i = 0; i < targets->n; i++) {
		struct target *t = &targets->list[i];

		if (t->fd >= 0)
			close(t->fd);
		if (t->gone_fd >= 0)
			close(t->gone_fd);
		free(t->name);
	}
	free(targets->list);
}

static int add_named(struct targets *targets, const char *name)
{
	pid_t pid = 0;
	int fd = ipc_connect(name, &pid);

	return targets_add(targets, name, fd, pid);
}

/*
 * Operands, -n or --all to targets.
 * Return: OPTIONS_OK and connected targets, or why to end
 */
static enum options_result targets_parse(struct targets *targets, struct stop_config *cfg,
					 const struct command *cmd, int argc, char **argv, int *ret_err)
{
	int first;
	enum options_result result = options_parse(cmd, cfg, argc, argv, &first, NULL);

	*ret_err = 0;
	if (result != OPTIONS_OK)
		return result;
	if (cfg->all == (cfg->name || first < argc)) {
		log_errx(0, cfg->all ? "%s: either NAME or --all" : "%s: which guest? NAME or --all",
			 cmd->name);
		return OPTIONS_BAD;
	}
	if (cfg->all)
		*ret_err = ipc_for_each(add_live, targets);
	else if (cfg->name)
		*ret_err = add_named(targets, cfg->name);
	for (int i = first; i < argc && *ret_err >= 0; i++)
		*ret_err = add_named(targets, argv[i]);
	return OPTIONS_OK;
}

/* Wait until one of the targets is gone, at most @timeout_ms. Return: whether one is */
static bool wait_any(struct targets *targets, int timeout_ms)
{
	struct pollfd *fds = calloc(targets->n, sizeof(*fds));
	int n;

	if (!fds)
		return false;
	for (unsigned i = 0; i < targets->n; i++) {
		const struct target *t = &targets->list[i];

		/* No request is on its way, so what can be read of the connection is its end. */
		fds[i].fd = t->done ? -1 : t->gone_fd >= 0 ? t->gone_fd : t->fd;
		fds[i].events = POLLIN;
	}
	n = poll(fds, targets->n, timeout_ms);
	for (unsigned i = 0; i < targets->n; i++)
		if (n > 0 && fds[i].revents)
			target_done(&targets->list[i],
				    targets->list[i].pressed ? "powered off" : "stopped");
	free(fds);
	return n > 0;
}

static bool all_done(const struct targets *targets)
{
	for (unsigned i = 0; i < targets->n; i++)
		if (!targets->list[i].done)
			return false;
	return true;
}

/* A paused guest could not do anything about its power button. */
static void press_button(struct target *t)
{
	int err = ipc_call(t->fd, IPC_RESUME, NULL, 0, NULL);

	if (err == 0)
		printf("lkvm: guest '%s' resumed\n", t->name);
	if (err == 0 || err == -EALREADY)
		err = ipc_call(t->fd, IPC_POWER_BUTTON, NULL, 0, NULL);
	if (err == 0)
		t->pressed = true;
	else if (err != -EAGAIN && err != -ESHUTDOWN && err != -ECONNRESET)
		target_failed(t, err);
}

/* Ask the guests themselves; a guest that is still booting may listen later. */
static void stop_gracefully(struct targets *targets, unsigned seconds)
{
	const int64_t deadline = now_ms() + seconds * 1000LL;
	int64_t now;

	while (!all_done(targets) && (now = now_ms()) < deadline) {
		int64_t left = deadline - now;
		bool deaf = false;

		for (unsigned i = 0; i < targets->n; i++) {
			struct target *t = &targets->list[i];

			if (!t->done && !t->pressed)
				press_button(t);
			deaf |= !t->done && !t->pressed;
		}
		if (deaf && left > BUTTON_INTERVAL_MS)
			left = BUTTON_INTERVAL_MS;
		wait_any(targets, (int)left);
	}
	for (unsigned i = 0; i < targets->n; i++) {
		struct target *t = &targets->list[i];

		if (t->done)
			continue;
		log_info(t->pressed ? "guest '%s' did not power off in %u s, stopping it" :
				      "guest '%s' did not listen to its power button for %u s, stopping it",
			 t->name, seconds);
		t->pressed = false;
	}
}

static void stop_now(struct targets *targets)
{
	for (unsigned i = 0; i < targets->n; i++) {
		struct target *t = &targets->list[i];
		int err = t->done ? 0 : ipc_call(t->fd, IPC_STOP, NULL, 0, NULL);

		/* It may have ended by itself in the meantime: then there is only its end to see. */
		if (err && err != -ECONNRESET)
			target_failed(t, err);
	}
	while (!all_done(targets)) {
		if (wait_any(targets, PATIENCE_MS))
			continue;
		for (unsigned i = 0; i < targets->n; i++)
			if (!targets->list[i].done)
				log_info("still waiting for guest '%s' (PID %d)",
					 targets->list[i].name, targets->list[i].pid);
	}
}

static int finish(struct targets *targets, int err)
{
	int status = err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

	for (unsigned i = 0; i < targets->n; i++)
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
	int err;

	result = targets_parse(&targets, &cfg, cmd, argc, argv, &err);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (cfg.graceful_s)
		stop_gracefully(&targets, cfg.graceful_s);
	stop_now(&targets);
	return finish(&targets, err);
}

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
	int err;

	result = targets_parse(&targets, &cfg, cmd, argc, argv, &err);
	if (result != OPTIONS_OK)
		return options_status(result);
	for (unsigned i = 0; i < targets.n; i++) {
		struct target *t = &targets.list[i];
		int answer = t->done ? 0 : ipc_call(t->fd, change->op, NULL, 0, NULL);

		if (t->done)
			continue;
		if (answer == 0 || answer == -EALREADY)
			target_done(t, answer ? change->already : change->done);
		else
			target_failed(t, answer);
	}
	return finish(&targets, err);
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
	OPT_END,
};

const struct command stop_command = {
	.name = "stop",
	.summary = "Stop guests and wait until they are gone",
	.operands = "[NAME]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Stops each guest, at once or by its power button, and waits until its process "
		       "is gone. A paused guest is stopped too. The status is 0 if all are gone, 1 if "
		       "one was not running, had died, or did not answer.",
	.opts = stop_options,
	.run = stop_run,
};

const struct command pause_command = {
	.name = "pause",
	.summary = "Halt the virtual CPUs of guests",
	.operands = "[NAME]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Halts the virtual CPUs of each guest until `lkvm resume`. When it returns, none "
		       "of them runs any more. A guest that is paused already stays so, with status 0.",
	.opts = change_options,
	.run = change_run,
};

const struct command resume_command = {
	.name = "resume",
	.summary = "Let paused guests go on",
	.operands = "[NAME]...",
	.operand_complete = COMPLETE_GUEST,
	.description = "Lets the virtual CPUs of each paused guest go on. A guest that runs already is "
		       "left alone, with status 0.",
	.opts = change_options,
	.run = change_run,
};
