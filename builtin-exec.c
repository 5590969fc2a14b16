/*
 * `lkvm exec`: a command in a guest that runs already. The guest's lkvm gets the descriptors and does the
 * streaming, but for terminals (console/relay.h); here is only waited for its answer, and signals are
 * handed on.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/console/relay.h"
#include "lkvm/ipc.h"
#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"
#include "lkvm/vm/run.h"
#include "lkvm/vm/session-words.h"

struct exec_config {
	struct session_config session; /* cwd, user and env of it */
	bool tty, no_tty;
};

struct exec {
	const struct exec_config *cfg;
	const char *name;
	char **argv;
	bool tty;
	struct loop loop;
	struct relay relay;
	bool out_over; /* all of what goes through it has come */
	struct loop_source server;
	pid_t pid;        /* of the server */
	bool told_to_end; /* SIGINT or SIGTERM was passed on */
	uint32_t left;    /* nobody waits for the command any more, as if for this signal; 0: we do */
	bool answered;
	int err;          /* of the answer */
	char why[100];    /* -EPIPE: in words */
	struct session_end end;
};

/* ---- options ---- */

static int parse_env(void *config, const struct opt *opt, const char *arg)
{
	return run_env_add(&((struct exec_config *)config)->session, opt, arg);
}

#define FIELD(member) .offset = offsetof(struct exec_config, member)

static const struct opt options[] = {
	{ OPT_FLAG, 't', "tty", FIELD(tty),
	  .help = "Give the command a terminal. Default where standard input and output are terminals; Ctrl-a x "
		  "then leaves the command, and Ctrl-a ? lists the keys." },
	{ OPT_FLAG, 'T', "no-tty", FIELD(no_tty), .help = "Give it none." },
	{ OPT_STRING, 0, "cwd", "DIR", FIELD(session.cwd),
	  .help = "Folder that the command starts in. Default: that of the guest's own command." },
	{ OPT_STRING, 0, "user", "NAME", FIELD(session.user),
	  .help = "User that the command runs as (root), by the guest's /etc/passwd, or a number." },
	{ OPT_PARSE, 0, "env", "NAME[=VALUE]", .parse = parse_env,
	  .help = "Put this into the command's environment, which otherwise has PATH, TERM, HOME and the "
		  "language only. May be given several times." },
	OPT_END,
};

/* ---- events ---- */

static void finish_if_over(struct exec *e)
{
	if (e->left || (e->answered && (e->err || !e->relay.cfg.out || e->out_over)))
		loop_quit(&e->loop);
}

static void out_ended(void *ctx)
{
	struct exec *e = ctx;

	e->out_over = true;
	finish_if_over(e);
}

static void leave_by(struct exec *e, uint32_t signal)
{
	e->left = signal;
	finish_if_over(e);
}

/* Ctrl-a x, or the terminal has hung up */
static void leave(void *ctx)
{
	leave_by(ctx, SIGHUP);
}

static void resized(void *ctx, uint16_t cols, uint16_t rows)
{
	const struct exec *e = ctx;
	const struct session_winsize window = { .rows = rows, .columns = cols };

	if (e->tty)
		ipc_send(e->server.fd, IPC_WINSIZE, &window, sizeof(window), NULL, 0);
}

/* The second one that should end the command: it does not, and is left. */
static void signalled(void *ctx, uint32_t signal)
{
	const bool ends = signal == SIGINT || signal == SIGTERM;
	struct exec *e = ctx;

	if (ends && e->told_to_end) {
		leave_by(e, signal);
		return;
	}
	e->told_to_end |= ends;
	ipc_send(e->server.fd, IPC_EXEC_SIGNAL, &signal, sizeof(signal), NULL, 0);
}

static void answer_ready(struct loop_source *src, uint32_t events)
{
	struct exec *e = container_of(src, struct exec, server);
	struct ipc_reply reply;

	(void)events;
	reply.len = 0;
	e->err = ipc_receive(src->fd, &reply);
	if (!e->err && reply.len != sizeof(e->end))
		e->err = -EPROTO;
	if (!e->err)
		memcpy(&e->end, reply.body, sizeof(e->end));
	else
		snprintf(e->why, sizeof(e->why), "%.*s", (int)reply.len, (const char *)reply.body);
	e->answered = true;
	loop_del(&e->loop, src);
	finish_if_over(e);
}

/* ---- the start ---- */

static int make_words(const struct exec *e)
{
	const struct session_config *s = &e->cfg->session;
	const struct session_words words = { e->argv, s->env, s->cwd, s->user };
	size_t len;
	void *bytes;
	int fd, err = session_words_join(&words, "", 0, &bytes, &len);

	if (err)
		return log_err(err, "command '%s'", e->argv[0]);
	fd = memfd_create("lkvm exec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)) {
		err = log_err(errno ? -errno : -EIO, "memfd");
		if (fd >= 0)
			close(fd);
	}
	free(bytes);
	return err ? err : fd;
}

static int send_command(struct exec *e, int words, int link)
{
	struct ipc_exec req = { .flags = e->tty ? IPC_EXEC_TTY : 0 };
	/* One that cannot be read was closed when lkvm started: main.c */
	const int own[] = { stream_allows(STDIN_FILENO, O_RDONLY) ? STDIN_FILENO : -1, STDOUT_FILENO, STDERR_FILENO };
	int fds[IPC_MAX_FDS] = { words };
	unsigned n = 1;
	struct winsize size;

	if (e->tty && (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !ioctl(STDIN_FILENO, TIOCGWINSZ, &size))) {
		req.rows = size.ws_row;
		req.columns = size.ws_col;
	}
	for (int i = 0; i < (e->tty ? 2 : 3); i++) {
		bool relayed = i == 0 ? e->relay.cfg.in : i == 1 && e->relay.cfg.out;

		if (own[i] < 0)
			continue;
		fds[n++] = relayed ? link : own[i];
		req.fds |= 1u << i;
	}
	return ipc_send(e->server.fd, IPC_EXEC, &req, sizeof(req), fds, n);
}

/* Where the command has a terminal it is hung up as ours is; where it has none, Ctrl-d is its input's end. */
static int open_relay(struct exec *e, int *ret_end)
{
	const bool in_tty = isatty(STDIN_FILENO), out_tty = isatty(STDOUT_FILENO);
	struct relay_config cfg = {
		.loop = &e->loop, .in = in_tty, .ctx = e, .quit = leave, .resized = resized,
		.out_ended = out_ended, .signalled = signalled,
	};

	e->tty = e->cfg->tty || (!e->cfg->no_tty && in_tty && out_tty);
	cfg.out = out_tty && e->tty;
	cfg.cooked = !e->tty;
	cfg.in_ended = e->tty ? leave : NULL;
	return relay_open(&e->relay, &cfg, ret_end);
}

static int start(struct exec *e)
{
	int link = -1, words, err;

	e->server.fd = ipc_connect(e->name, &e->pid);
	if (e->server.fd < 0)
		return e->server.fd;
	words = make_words(e);
	if (words < 0)
		return words;
	err = open_relay(e, &link);
	if (!err) {
		err = send_command(e, words, link);
		if (err)
			ipc_failed(e->name, e->pid, err);
	}
	close(words);
	if (link >= 0)
		close(link);
	if (!err)
		err = loop_add(&e->loop, &e->server, EPOLLIN);
	return err ? err : relay_start(&e->relay);
}

/* ---- the end ---- */

static int failed(const struct exec *e)
{
	if (e->err == -EPIPE && *e->why)
		return log_errx(e->err, "guest '%s' tells no more of the command: %s", e->name, e->why);
	switch (e->err) {
	case -EOPNOTSUPP:
		return log_errx(e->err, "guest '%s' takes no commands: it was started without -- COMMAND and without "
				"--root", e->name);
	case -ENOTCONN:
		return log_errx(e->err, "guest '%s' has not booted yet", e->name);
	case -EAGAIN:
		return log_errx(e->err, "guest '%s' runs as many commands as it can already", e->name);
	case -EBUSY:
		return log_errx(e->err, "guest '%s' has not taken the commands before this one", e->name);
	case -ECONNRESET:
	case -EPIPE:
		return log_errx(e->err, "guest '%s' has ended before the command did", e->name);
	case -E2BIG:
		return log_err(e->err, "command '%s'", e->argv[0]);
	default:
		return ipc_failed(e->name, e->pid, e->err);
	}
}

/* @output_err: -errno of what the terminal has not taken, or 0 */
static int judge(const struct exec *e, int output_err)
{
	const struct session_exit *how = &e->end.exit;
	int status;

	if (e->left)
		return 128 + (int)e->left;
	if (e->err) {
		failed(e);
		return EXIT_FAILURE;
	}
	if (how->err)
		log_err(-(int)(how->err & 0xfff), "command '%s'", e->argv[0]);
	status = run_command_status(how);
	if (!output_err)
		output_err = -(int)(e->end.output_err & 0xfff);
	if (!output_err)
		return status;
	log_err(output_err, "command '%s': its output is incomplete", e->argv[0]);
	return status ? status : EXIT_USAGE;
}

static int exec_command_in(struct exec *e)
{
	int status = EXIT_FAILURE;

	if (loop_init(&e->loop))
		return status;
	if (!start(e) && !loop_run(&e->loop))
		status = judge(e, relay_finish(&e->relay, e->left ? 0 : -1));
	else if (e->server.fd == -EINVAL)
		status = EXIT_USAGE;
	relay_close(&e->relay);
	if (e->server.fd >= 0)
		close(e->server.fd);
	loop_fini(&e->loop);
	return status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct exec_config cfg = { 0 };
	struct exec e = { .cfg = &cfg, .server = { -1, answer_ready } };
	int first, dashdash, status = EXIT_USAGE;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, &dashdash);

	if (result != OPTIONS_OK)
		status = options_status(result);
	else if (dashdash - first != 1)
		log_errx(0, "exec: give one NAME, and the command behind --");
	else if (dashdash == argc)
		log_errx(0, "exec: which command? NAME -- COMMAND");
	else if (cfg.tty && cfg.no_tty)
		log_errx(0, "exec: either --tty or --no-tty");
	else if (!run_env_fill(&cfg.session)) {
		e.name = argv[first];
		e.argv = argv + dashdash;
		status = exec_command_in(&e);
	}
	run_env_free(&cfg.session);
	return status;
}

const struct command exec_command = {
	.name = "exec",
	.summary = "Run a command in a guest that runs commands",
	.operands = "NAME -- COMMAND [ARGUMENT]...",
	.operand_complete = COMPLETE_GUEST,
	.description =
		"Runs one more command in a guest that was started by lkvm run -- COMMAND. Its standard streams are "
		"those of lkvm exec, its exit status is too, and signals that would end lkvm exec are sent to it "
		"instead; but with the second SIGINT or SIGTERM it leaves a command that has not ended. If lkvm exec "
		"goes away before the command has ended, that gets SIGHUP.\n"
		"\n"
		"Exit status:\n"
		"  1     there is no such guest, it takes no commands, or it ended first\n"
		"  125   the command line is wrong, or output could not be written\n"
		"  126   the command could not be started\n"
		"  127   there is no such command\n"
		"  128+n the command died of signal n",
	.opts = options,
	.run = run,
};
