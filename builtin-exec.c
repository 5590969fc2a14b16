/*
 * `lkvm exec`: a command in a guest that runs already. The guest's lkvm gets the descriptors and does the
 * streaming; here is only waited for its answer, and signals are handed on.
 *
 * But a terminal is not handed over: the guest's lkvm may be a background job on it, and would be stopped
 * when it reads. Terminals are read and written here, and the guest's lkvm has a socket instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/console.h"
#include "lkvm/console/tty.h"
#include "lkvm/ipc.h"
#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"
#include "lkvm/vm/run.h"
#include "lkvm/vm/session-words.h"

#define LINK_BYTES 4096

struct exec_config {
	struct session_config session; /* cwd, user and env of it */
	bool tty, no_tty;
};

struct exec {
	const struct exec_config *cfg;
	const char *name;
	char **argv;
	bool tty;
	bool relay_in, relay_out; /* a terminal that goes through the link */
	struct loop loop;
	struct console *console; /* NULL: nothing is relayed */
	struct loop_source out;  /* the link: our end of it, for output; -1: none */
	struct loop_source in;   /* the same, for input that the link takes again */
	bool out_over, out_full; /* all has come; the console takes no more */
	struct loop_source server, signals;
	pid_t pid;    /* of the server */
	bool answered;
	bool left;    /* by Ctrl-a x, or the terminal has hung up */
	int err;      /* of the answer */
	char why[100]; /* -EPIPE: in words */
	struct session_exit how;
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

/* ---- the link ---- */

static void finish_if_over(struct exec *e)
{
	if (e->left || (e->answered && (e->err || !e->relay_out || e->out_over)))
		loop_quit(&e->loop);
}

static void out_end(struct exec *e)
{
	loop_del(&e->loop, &e->out);
	e->out_over = true;
	finish_if_over(e);
}

/* Only what the console takes is taken off the link. */
static void out_ready(struct loop_source *src, uint32_t events)
{
	struct exec *e = container_of(src, struct exec, out);
	char buf[LINK_BYTES];
	ssize_t n = recv(src->fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	size_t taken;

	(void)events;
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			out_end(e);
		return;
	}
	taken = console_put(e->console, buf, (size_t)n);
	if (taken && recv(src->fd, buf, taken, MSG_DONTWAIT) < 0)
		out_end(e);
	e->out_full = taken < (size_t)n;
	if (e->out_full)
		loop_del(&e->loop, src);
}

static void console_has_room(void *dev)
{
	struct exec *e = dev;

	if (e->out_full && !e->out_over)
		loop_add(&e->loop, &e->out, EPOLLIN);
	e->out_full = false;
}

static void in_room(struct loop_source *src, uint32_t events)
{
	struct exec *e = container_of(src, struct exec, in);

	(void)events;
	loop_del(&e->loop, src);
	console_input_wanted(e->console);
}

static size_t console_input(void *dev, const uint8_t *buf, size_t len)
{
	struct exec *e = dev;
	ssize_t n = send(e->in.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		return len; /* the command reads no more */
	n = n < 0 ? 0 : n;
	if ((size_t)n < len)
		loop_add(&e->loop, &e->in, EPOLLOUT);
	return (size_t)n;
}

static void leave(void *ctx)
{
	struct exec *e = ctx;

	e->left = true;
	finish_if_over(e);
}

/* Ctrl-d where the command has no terminal; where it has one it is hung up, as ours is. */
static void console_input_ended(void *dev)
{
	struct exec *e = dev;

	if (e->tty)
		leave(e);
	else
		shutdown(e->in.fd, SHUT_WR);
}

static void console_resize(void *dev, uint16_t cols, uint16_t rows)
{
	struct exec *e = dev;
	const struct session_winsize window = { .rows = rows, .columns = cols };

	if (e->tty && e->server.fd >= 0)
		ipc_send(e->server.fd, IPC_EXEC_WINSIZE, &window, sizeof(window), NULL, 0);
}

/* ---- events ---- */

static void answer_ready(struct loop_source *src, uint32_t events)
{
	struct exec *e = container_of(src, struct exec, server);
	struct ipc_reply reply;

	(void)events;
	reply.len = 0;
	e->err = ipc_receive(src->fd, &reply);
	if (!e->err && reply.len != sizeof(e->how))
		e->err = -EPROTO;
	if (!e->err)
		memcpy(&e->how, reply.body, sizeof(e->how));
	else
		snprintf(e->why, sizeof(e->why), "%.*s", (int)reply.len, (const char *)reply.body);
	e->answered = true;
	loop_del(&e->loop, src);
	finish_if_over(e);
}

static void signal_ready(struct loop_source *src, uint32_t events)
{
	struct exec *e = container_of(src, struct exec, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(src->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGWINCH:
		console_resized(e->console);
		break;
	case SIGTSTP:
		console_suspend(e->console);
		break;
	case SIGCONT:
		console_continued(e->console);
		break;
	default:
		ipc_send(e->server.fd, IPC_EXEC_SIGNAL, &info.ssi_signo, sizeof(info.ssi_signo), NULL, 0);
	}
}

/* One that whoever started us wants to be ignored stays so. */
static void add_signal(sigset_t *set, int sig)
{
	struct sigaction act;

	if (!sigaction(sig, NULL, &act) && act.sa_handler != SIG_IGN)
		sigaddset(set, sig);
}

static int take_signals(struct exec *e)
{
	static const int sent[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };
	static const int terminal[] = { SIGWINCH, SIGTSTP, SIGCONT };
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++)
		add_signal(&set, sent[i]);
	for (size_t i = 0; e->tty && e->console && i < ARRAY_SIZE(terminal); i++)
		add_signal(&set, terminal[i]);
	e->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (e->signals.fd < 0)
		return log_err(-errno, "signalfd");
	sigprocmask(SIG_BLOCK, &set, NULL);
	return loop_add(&e->loop, &e->signals, EPOLLIN);
}

/* ---- the start ---- */

/* Return: the other end of the link, or -1 if nothing is relayed; or -errno, logged */
static int make_link(struct exec *e)
{
	const struct console_device device = {
		.input = console_input,
		.writable = console_has_room,
		.resize = console_resize,
		.input_ended = e->relay_in ? console_input_ended : NULL,
		.dev = e,
	};
	const struct console_config cfg = {
		.in_fd = e->relay_in ? STDIN_FILENO : -1,
		.out_fd = e->relay_out ? STDOUT_FILENO : -1,
		.loop = &e->loop,
		.plain = !e->tty,
		.unread = true,
		.quit = leave,
		.ctx = e,
	};
	int ends[2], err;

	if (!e->relay_in && !e->relay_out)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return log_err(-errno, "socket");
	e->out.fd = ends[0];
	e->in.fd = fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
	err = e->in.fd < 0 ? log_err(-errno, "socket") : console_new(&cfg, &e->console);
	if (!err && e->relay_out)
		err = loop_add(&e->loop, &e->out, EPOLLIN);
	if (err) {
		close(ends[1]);
		return err;
	}
	console_attach(e->console, &device);
	return ends[1];
}

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
		bool relayed = i == 0 ? e->relay_in : i == 1 && e->relay_out;

		if (own[i] < 0)
			continue;
		fds[n++] = relayed ? link : own[i];
		req.fds |= 1u << i;
	}
	return ipc_send(e->server.fd, IPC_EXEC, &req, sizeof(req), fds, n);
}

static int start(struct exec *e)
{
	int link, words, err;

	e->server.fd = ipc_connect(e->name, &e->pid);
	if (e->server.fd < 0)
		return e->server.fd;
	words = make_words(e);
	if (words < 0)
		return words;
	link = make_link(e);
	err = link < -1 ? link : take_signals(e);
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
	return err || !e->console ? err : console_start(e->console);
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

static int judge(const struct exec *e)
{
	int status = EXIT_FAILURE, err;

	if (e->left)
		return 128 + SIGHUP;
	if (e->err) {
		failed(e);
		return status;
	}
	if (e->how.err)
		log_err(-(int)(e->how.err & 0xfff), "command '%s'", e->argv[0]);
	status = run_command_status(&e->how);
	err = e->console ? console_output_error(e->console) : 0;
	if (err && !status)
		status = EXIT_FAILURE;
	if (err)
		log_err(err, "write 'standard output'");
	return status;
}

static void close_all(struct exec *e)
{
	const int fds[] = { e->in.fd, e->out.fd, e->signals.fd, e->server.fd };

	console_free(e->console);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	loop_fini(&e->loop);
}

static int exec_command_in(struct exec *e)
{
	const bool in_tty = isatty(STDIN_FILENO), out_tty = isatty(STDOUT_FILENO);
	int status = EXIT_FAILURE;

	e->tty = e->cfg->tty || (!e->cfg->no_tty && in_tty && out_tty);
	e->relay_in = in_tty;
	e->relay_out = out_tty && e->tty;
	if (loop_init(&e->loop))
		return status;
	if (!start(e) && !loop_run(&e->loop)) {
		if (e->console)
			console_drain(e->console, e->signals.fd, -1);
		tty_restore();
		status = judge(e);
	} else if (e->server.fd == -EINVAL) {
		status = EXIT_USAGE;
	}
	close_all(e);
	return status;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct exec_config cfg = { 0 };
	struct exec e = {
		.cfg = &cfg, .out = { -1, out_ready }, .in = { -1, in_room }, .server = { -1, answer_ready },
		.signals = { -1, signal_ready },
	};
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
		"instead. If lkvm exec goes away all the same, the command gets SIGHUP.\n"
		"\n"
		"Exit status:\n"
		"  1     there is no such guest, it takes no commands, or it ended first\n"
		"  125   the command line is wrong\n"
		"  126   the command could not be started\n"
		"  127   there is no such command\n"
		"  128+n the command died of signal n",
	.opts = options,
	.run = run,
};
