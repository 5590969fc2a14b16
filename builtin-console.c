/*
 * `lkvm console`: the console of a guest that runs. The guest's lkvm gets the descriptors and does the
 * streaming, but for terminals (console/relay.h); here is only waited for the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/console.h"
#include "lkvm/console/client.h"
#include "lkvm/console/relay.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/session.h"
#include "lkvm/types.h"

#define ANSWER_MS 5000
#define SCREENFUL 24 /* lines of a terminal that does not say how many it has */
#define NOT_GIVEN CONSOLE_ALL_LINES

struct look_config {
	const char *name;
	struct console_keys keys;
	unsigned lines; /* of what was printed before */
};

struct look {
	const struct look_config *cfg;
	const struct ipc_peer *guest;
	struct loop loop;
	struct relay relay;
	bool out_over; /* all of what goes through it has come */
	struct loop_source server;
	struct loop_source reader; /* of standard output; only while there is one can it be waited for */
	bool left;       /* by Ctrl-a d */
	uint32_t signal; /* or by this; 0: none */
	bool answered;
	int err;         /* of the answer */
	bool attached;   /* until then there were no failures */
	struct ipc_console_end end;
};

/* ---- options ---- */

static int parse_escape(void *config, const struct opt *opt, const char *arg)
{
	return console_keys_parse(&((struct look_config *)config)->keys, opt->name, arg);
}

#define FIELD(member) .offset = offsetof(struct look_config, member)

static const struct opt options[] = {
	{ OPT_STRING, 'n', "name", "NAME", FIELD(name), .complete = COMPLETE_GUEST,
	  .help = "The guest; the same as NAME without the option." },
	{ OPT_UNSIGNED, 0, "lines", "N", FIELD(lines),
	  .help = "Begin with the last N lines that the guest has printed; 0: with what it prints next. Default: a "
		  "screenful on a terminal, else all that is kept of them, 256 KB." },
	{ OPT_PARSE, 0, "escape", "none|^KEY", .parse = parse_escape,
	  .complete = COMPLETE_WORDS, .words = "none ^a ^]",
	  .help = "The key before lkvm's own keys on a terminal (^a). With none all keys are the guest's." },
	OPT_END,
};

/* ---- events ---- */

static void finish_if_over(struct look *l)
{
	if (l->left || l->signal || (l->answered && (l->err || !l->relay.cfg.out || l->out_over)))
		loop_quit(&l->loop);
}

static void out_ended(void *ctx)
{
	struct look *l = ctx;

	l->out_over = true;
	finish_if_over(l);
}

static void detach(void *ctx)
{
	struct look *l = ctx;

	l->left = true;
	finish_if_over(l);
}

static void signalled(void *ctx, uint32_t signal)
{
	struct look *l = ctx;

	l->signal = signal;
	finish_if_over(l);
}

/* The terminal has hung up */
static void in_ended(void *ctx)
{
	signalled(ctx, SIGHUP);
}

static void reader_left(struct loop_source *src, uint32_t events)
{
	struct look *l = container_of(src, struct look, reader);

	(void)events;
	loop_del(&l->loop, src);
	signalled(l, SIGPIPE);
}

static void tell(const struct look *l, enum ipc_op op, const void *body, size_t len)
{
	ipc_send(l->server.fd, op, body, len, NULL, 0);
}

static void quit(void *ctx)
{
	tell(ctx, IPC_STOP, NULL, 0);
}

static void send_break(void *ctx)
{
	tell(ctx, IPC_BREAK, NULL, 0);
}

static void resized(void *ctx, uint16_t cols, uint16_t rows)
{
	const struct session_winsize window = { .rows = rows, .columns = cols };

	tell(ctx, IPC_WINSIZE, &window, sizeof(window));
}

static void answer_ready(struct loop_source *src, uint32_t events)
{
	struct look *l = container_of(src, struct look, server);
	struct ipc_reply reply;

	(void)events;
	reply.len = 0;
	l->err = ipc_receive(src->fd, &reply);
	l->attached = l->err == -ECONNRESET || reply.len == sizeof(l->end);
	if (reply.len == sizeof(l->end))
		memcpy(&l->end, reply.body, sizeof(l->end));
	l->answered = true;
	loop_del(&l->loop, src);
	finish_if_over(l);
}

/* ---- the start ---- */

static int open_relay(struct look *l, int *ret_end)
{
	const struct relay_config cfg = {
		.loop = &l->loop, .in = isatty(STDIN_FILENO), .out = isatty(STDOUT_FILENO), .keys = l->cfg->keys,
		.ctx = l, .quit = quit, .detach = detach, .send_break = send_break, .resized = resized,
		.in_ended = in_ended, .out_ended = out_ended, .signalled = signalled,
	};

	return relay_open(&l->relay, &cfg, ret_end);
}

static uint32_t wanted_lines(const struct look *l)
{
	struct winsize size = { 0 };

	if (l->cfg->lines != NOT_GIVEN || !l->relay.cfg.out)
		return l->cfg->lines;
	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return size.ws_row ? size.ws_row : SCREENFUL;
}

/* Was it closed when lkvm started? main.c */
static bool is_readable(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_WRONLY;
}

static int ask_for_console(const struct look *l, int link)
{
	struct ipc_console req = {
		.flags = l->relay.cfg.out ? IPC_CONSOLE_TEXT : 0, .lines = wanted_lines(l), .fds = 2,
	};
	int fds[2], n = 0;

	if (is_readable(STDIN_FILENO)) {
		req.fds |= 1;
		fds[n++] = l->relay.cfg.in ? link : STDIN_FILENO;
	}
	fds[n++] = l->relay.cfg.out ? link : STDOUT_FILENO;
	return ipc_send(l->server.fd, IPC_CONSOLE, &req, sizeof(req), fds, (unsigned)n);
}

/* Whoever sits at a terminal has to know how to leave. */
static void greet(const struct look *l)
{
	char key[CONSOLE_KEY_NAME];

	if (!l->relay.cfg.in || l->cfg->keys.off)
		return;
	console_keys_name(&l->cfg->keys, key);
	log_info("guest '%s': %s d leaves its console, %s ? lists the keys", l->guest->name, key, key);
}

static int start(struct look *l)
{
	int link = -1, err = open_relay(l, &link);

	if (!err) {
		err = ask_for_console(l, link);
		if (err)
			ipc_failed(l->guest->name, l->guest->pid, err);
	}
	if (link >= 0)
		close(link);
	if (!err)
		err = loop_add(&l->loop, &l->server, EPOLLIN);
	if (err)
		return err;
	if (!l->relay.cfg.out)
		loop_add(&l->loop, &l->reader, 0); /* for its end; a file has none */
	greet(l);
	return relay_start(&l->relay);
}

/* ---- the end ---- */

static int refused(const struct look *l)
{
	const char *name = l->guest->name;

	switch (l->err) {
	case -EAGAIN:
		log_errx(l->err, "guest '%s': as many look at its console as can already", name);
		break;
	case -EINVAL:
		log_errx(l->err, "guest '%s': standard input or output is of a kind that it does not take", name);
		break;
	default:
		ipc_failed(name, l->guest->pid, l->err);
	}
	return EXIT_USAGE;
}

static int judge_answer(const struct look *l)
{
	const char *name = l->guest->name;

	if (!l->attached)
		return refused(l);
	if (l->err == -EPIPE)
		return 128 + SIGPIPE;
	if (l->err == -ECONNRESET)
		log_errx(l->err, "guest '%s' has died", name);
	else if (l->err)
		log_err(l->err, "write 'standard output'");
	else if (l->end.pending_bytes)
		log_errx(0, "guest '%s' has ended; its last %" PRIu64 " bytes of output were not taken in time", name,
			 l->end.pending_bytes);
	else if (l->relay.cfg.in)
		log_info("guest '%s' has ended", name);
	return l->err || l->end.pending_bytes ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* @output_err: -errno of what the terminal has not taken, or 0 */
static int judge(const struct look *l, int output_err)
{
	int status;

	if (l->relay.console)
		console_end_line(l->relay.console);
	if (l->signal)
		return 128 + (int)l->signal;
	if (l->left) {
		log_info("left guest '%s', which runs on", l->guest->name);
		return EXIT_SUCCESS;
	}
	status = judge_answer(l);
	if (!output_err)
		return status;
	log_err(output_err, "write 'standard output'");
	return status ? status : EXIT_FAILURE;
}

static int look_at(struct look *l)
{
	int status = EXIT_USAGE;

	if (loop_init(&l->loop))
		return status;
	if (!start(l) && !loop_run(&l->loop))
		status = judge(l, relay_finish(&l->relay, l->left || l->signal ? 0 : -1));
	relay_close(&l->relay);
	loop_fini(&l->loop);
	return status;
}

/* A process that is stopped would not be noticed later: it owes no answer until the guest's end. */
static int choose(const struct look_config *cfg, char **words, int n, struct ipc_peers *ret)
{
	if (guests_choose_one("console", cfg->name, words, n, ret))
		return EXIT_USAGE;
	if (ipc_peers_ask(ret, IPC_INFO, NULL, 0, ANSWER_MS))
		return EXIT_USAGE;
	if (!ret->list[0].err)
		return EXIT_SUCCESS;
	ipc_peer_failed(&ret->list[0]);
	return EXIT_USAGE;
}

static int run(const struct command *cmd, int argc, char **argv)
{
	struct look_config cfg = { .lines = NOT_GIVEN };
	struct ipc_peers guests = { 0 };
	int first, status;
	enum options_result result = options_parse(cmd, &cfg, argc, argv, &first, NULL);

	if (result != OPTIONS_OK)
		return options_status(result);
	status = choose(&cfg, argv + first, argc - first, &guests);
	if (status == EXIT_SUCCESS) {
		struct look l = {
			.cfg = &cfg, .guest = &guests.list[0], .server = { guests.list[0].fd, answer_ready },
			.reader = { STDOUT_FILENO, reader_left },
		};

		status = look_at(&l);
	}
	ipc_peers_free(&guests);
	return status;
}

const struct command console_command = {
	.name = "console",
	.summary = "Look at the console of a running guest, and type",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description =
		"Shows what the guest prints on its console, first the last of what it has printed already, and gives "
		"it what comes from standard input. On a terminal Ctrl-a d leaves the guest, which runs on, Ctrl-a x "
		"ends it, and Ctrl-a ? lists the keys. Several can look at a time.\n"
		"\n"
		"Exit status:\n"
		"  0     left by Ctrl-a d, or the guest has ended\n"
		"  1     not all of the output could be written\n"
		"  125   there is no such guest, or the command line is wrong\n"
		"  128+n ended by signal n",
	.opts = options,
	.run = run,
};
