/* A terminal behind a pair of sockets; see relay.h. */
#include "lkvm/console/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/console.h"
#include "lkvm/console/tty.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define LINK_BYTES 4096

/* ---- output ---- */

static void out_end(struct relay *r)
{
	loop_del(r->cfg.loop, &r->out);
	r->out_full = false;
	r->cfg.out_ended(r->cfg.ctx);
}

/* Only what the console takes is taken off the link. */
static void out_ready(struct loop_source *src, uint32_t events)
{
	struct relay *r = container_of(src, struct relay, out);
	char buf[LINK_BYTES];
	ssize_t n = recv(src->fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
	size_t taken;

	(void)events;
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			out_end(r);
		return;
	}
	taken = console_put(r->console, buf, (size_t)n);
	r->out_full = taken < (size_t)n;
	if (taken && recv(src->fd, buf, taken, MSG_DONTWAIT) < 0)
		out_end(r);
	else if (r->out_full)
		loop_del(r->cfg.loop, src);
}

static void console_has_room(void *dev)
{
	struct relay *r = dev;

	if (r->out_full)
		loop_add(r->cfg.loop, &r->out, EPOLLIN);
	r->out_full = false;
}

/* ---- input ---- */

static void in_room(struct loop_source *src, uint32_t events)
{
	struct relay *r = container_of(src, struct relay, in);

	(void)events;
	loop_del(r->cfg.loop, src);
	console_input_wanted(r->console);
}

static size_t console_input(void *dev, const uint8_t *buf, size_t len)
{
	struct relay *r = dev;
	ssize_t n = send(r->in.fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		return len; /* nobody reads any more */
	n = n < 0 ? 0 : n;
	if ((size_t)n < len)
		loop_add(r->cfg.loop, &r->in, EPOLLOUT);
	return (size_t)n;
}

static void console_input_ended(void *dev)
{
	const struct relay *r = dev;

	if (r->cfg.in_ended)
		r->cfg.in_ended(r->cfg.ctx);
	else
		shutdown(r->in.fd, SHUT_WR);
}

static void console_resize(void *dev, uint16_t cols, uint16_t rows)
{
	const struct relay *r = dev;

	if (r->cfg.resized)
		r->cfg.resized(r->cfg.ctx, cols, rows);
}

static void console_break(void *dev)
{
	const struct relay *r = dev;

	if (r->cfg.send_break)
		r->cfg.send_break(r->cfg.ctx);
}

/* ---- signals ---- */

static void signal_ready(struct loop_source *src, uint32_t events)
{
	struct relay *r = container_of(src, struct relay, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(src->fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGWINCH:
		console_resized(r->console);
		break;
	case SIGTSTP:
		console_suspend(r->console);
		break;
	case SIGCONT:
		console_continued(r->console);
		break;
	default:
		r->cfg.signalled(r->cfg.ctx, info.ssi_signo);
	}
}

/* One that whoever started us wants to be ignored stays so. */
static void add_signal(sigset_t *set, int sig)
{
	struct sigaction act;

	if (!sigaction(sig, NULL, &act) && act.sa_handler != SIG_IGN)
		sigaddset(set, sig);
}

static int take_signals(struct relay *r)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGQUIT, SIGHUP };
	static const int terminal[] = { SIGWINCH, SIGTSTP, SIGCONT };
	sigset_t set;
	int err;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		add_signal(&set, ends[i]);
	for (size_t i = 0; r->console && !r->cfg.cooked && i < ARRAY_SIZE(terminal); i++)
		add_signal(&set, terminal[i]);
	r->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->signals.fd < 0)
		return log_err(-errno, "signalfd");
	sigprocmask(SIG_BLOCK, &set, NULL);
	err = loop_add(r->cfg.loop, &r->signals, EPOLLIN);
	return err ? log_err(err, "event loop") : 0;
}

/* ---- life ---- */

static int open_console(struct relay *r)
{
	const struct console_device device = {
		.input = console_input,
		.writable = console_has_room,
		.send_break = console_break,
		.resize = console_resize,
		.input_ended = r->cfg.in ? console_input_ended : NULL,
		.dev = r,
	};
	const struct console_config cfg = {
		.in_fd = r->cfg.in ? STDIN_FILENO : -1,
		.out_fd = r->cfg.out ? STDOUT_FILENO : -1,
		.loop = r->cfg.loop,
		.plain = r->cfg.cooked,
		.unread = true,
		.keys = r->cfg.keys,
		.quit = r->cfg.quit,
		.detach = r->cfg.detach,
		.ctx = r->cfg.ctx,
	};
	int err = console_new(&cfg, &r->console);

	if (!err)
		console_attach(r->console, &device);
	return err;
}

static int open_link(struct relay *r, int *ret_end)
{
	int ends[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return log_err(-errno, "socket");
	r->out.fd = ends[0];
	r->in.fd = fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
	err = r->in.fd < 0 ? log_err(-errno, "socket") : open_console(r);
	if (!err && r->cfg.out)
		err = loop_add(r->cfg.loop, &r->out, EPOLLIN);
	if (err)
		close(ends[1]);
	else
		*ret_end = ends[1];
	return err;
}

int relay_open(struct relay *r, const struct relay_config *cfg, int *ret_end)
{
	int end = -1, err = 0;

	*r = (struct relay){
		.cfg = *cfg, .signals = { -1, signal_ready }, .out = { -1, out_ready }, .in = { -1, in_room },
	};
	if (cfg->in || cfg->out)
		err = open_link(r, &end);
	if (!err)
		err = take_signals(r);
	if (err && end >= 0)
		close(end);
	if (!err)
		*ret_end = end;
	return err;
}

int relay_start(struct relay *r)
{
	return r->console ? console_start(r->console) : 0;
}

int relay_finish(struct relay *r, int patience_ms)
{
	if (!r->console)
		return 0;
	console_drain(r->console, r->signals.fd, patience_ms);
	tty_restore();
	return console_output_error(r->console);
}

void relay_close(struct relay *r)
{
	const int fds[] = { r->in.fd, r->out.fd, r->signals.fd };

	if (!r->cfg.loop)
		return;
	console_free(r->console);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
