/*
 * `lkvm vsock`: standard input and output, joined to a port of a guest, or of the host for a guest. The guest's lkvm
 * is asked only where its socket is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"
#include "lkvm/vsock.h"

struct vsock_command {
	bool listen;
};

static const struct opt options[] = {
	{ OPT_FLAG, 'l', "listen", .offset = offsetof(struct vsock_command, listen),
	  .help = "Wait for a connection of the guest to this port of the host (CID 2) instead, and take that." },
	OPT_END,
};

/* ---- both ways ---- */

/* One way: what was read and is to be written */
struct way {
	struct stream from, to;
	size_t at, n;
	bool over; /* it was read to its end, and all of that was written, or cannot be */
	char buf[64 * KIB];
};

/* Return: 0, or -errno */
static int fill(struct way *w)
{
	ssize_t n = stream_read(&w->from, w->buf, sizeof(w->buf));

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return (int)n;
	w->at = 0;
	w->n = (size_t)n;
	w->over = !n;
	return 0;
}

static int empty(struct way *w)
{
	ssize_t n = stream_write(&w->to, w->buf + w->at, w->n);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n < 0)
		return (int)n;
	w->at += (size_t)n;
	w->n -= (size_t)n;
	return 0;
}

static void want(const struct way *w, struct pollfd *ret)
{
	*ret = (struct pollfd){ .fd = -1 };
	if (w->over)
		return;
	ret->fd = w->n ? w->to.fd : w->from.fd;
	ret->events = w->n ? POLLOUT : POLLIN;
}

static int move(struct way *w, const struct pollfd *p)
{
	if (p->fd < 0 || !p->revents)
		return 0;
	return w->n ? empty(w) : fill(w);
}

/* The guest takes no more: what else there is to be said is not. */
static int guest_is_deaf(struct way *to_guest, int err)
{
	if (err != -EPIPE && err != -ECONNRESET)
		return log_err(err, "standard input, or the connection");
	to_guest->over = true;
	return 0;
}

static int step(struct way *to_guest, struct way *to_us, int fd)
{
	struct pollfd p[3] = { [2] = { .fd = to_us->over ? fd : -1 } };
	const bool was_over = to_guest->over;
	int err;

	want(to_guest, &p[0]);
	want(to_us, &p[1]);
	if (poll(p, 3, -1) < 0)
		return errno == EINTR ? 0 : log_err(-errno, "poll");
	err = move(to_us, &p[1]);
	if (err)
		return log_err(err, to_us->n ? "write 'standard output'" : "the connection");
	err = move(to_guest, &p[0]);
	if (err)
		err = guest_is_deaf(to_guest, err);
	if (to_guest->over && !was_over)
		shutdown(fd, SHUT_WR);
	/* Who has closed it for good reads no more either, whatever standard input still brings. */
	if (to_us->over && p[2].revents & POLLHUP)
		to_guest->over = true;
	return err;
}

/* Return: 0, or -errno, logged */
static int relay(int fd)
{
	struct way *ways = calloc(2, sizeof(*ways));
	int err = 0;

	if (!ways)
		return log_err(-ENOMEM, "vsock");
	signal(SIGPIPE, SIG_IGN);
	stream_open(&ways[0].from, STDIN_FILENO, O_RDONLY);
	stream_open(&ways[0].to, fd, O_WRONLY);
	stream_open(&ways[1].from, fd, O_RDONLY);
	stream_open(&ways[1].to, STDOUT_FILENO, O_WRONLY);
	ways[0].over = ways[0].from.kind == STREAM_NONE;
	if (ways[0].over)
		shutdown(fd, SHUT_WR);
	while (!err && !(ways[0].over && ways[1].over))
		err = step(&ways[0], &ways[1], fd);
	for (unsigned i = 0; i < 2; i++) {
		stream_close(&ways[i].from);
		stream_close(&ways[i].to);
	}
	free(ways);
	return err;
}

/* ---- to the guest ---- */

/* "OK PORT\n", of which nothing but the end matters. Return: 0; -EPIPE: it was closed; -errno */
static int wait_for_ok(int fd)
{
	char c = '\0';
	ssize_t n;

	do {
		n = recv(fd, &c, 1, 0);
	} while ((n < 0 && errno == EINTR) || (n == 1 && c != '\n'));
	return n < 0 ? -errno : n ? 0 : -EPIPE;
}

static int connect_path(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* Return: descriptor, or -errno, logged */
static int join(const char *name, const char *path, uint32_t port)
{
	int fd = connect_path(path), err;

	if (fd < 0)
		return log_err(fd, "vsock '%s' of guest '%s'", path, name);
	err = vsock_hello_write(fd, port);
	if (!err)
		err = wait_for_ok(fd);
	if (!err)
		return fd;
	close(fd);
	if (err == -EPIPE || err == -ECONNRESET)
		return log_errx(err, "guest '%s': nobody listens on vsock port %u", name, port);
	return log_err(err, "vsock '%s' of guest '%s'", path, name);
}

/* ---- from the guest ---- */

/* One that was to be ignored stays so. */
static int take_signals(sigset_t *ret_before)
{
	static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction act;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (!sigaction(ends[i], NULL, &act) && act.sa_handler != SIG_IGN)
			sigaddset(&set, ends[i]);
	sigprocmask(SIG_BLOCK, &set, ret_before);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Return: descriptor; -EINTR: a signal, which ends this process when it is let in; -errno */
static int wait_for_guest(int listener, int signals)
{
	struct pollfd p[] = { { .fd = listener, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	int fd;

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return -errno;
		if (p[1].revents)
			return -EINTR;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED))
			return fd >= 0 ? fd : -errno;
	}
}

/* One connection, and no name is left behind. Return: descriptor, or -errno, logged */
static int await(const char *path, uint32_t port)
{
	sigset_t before;
	int signals = take_signals(&before), fd = vsock_listen(path, port);
	struct sockaddr_un addr;

	vsock_path_of(path, port, &addr);
	if (fd >= 0) {
		int listener = fd;

		fd = signals < 0 ? -EMFILE : wait_for_guest(listener, signals);
		unlink(addr.sun_path);
		close(listener);
	}
	if (signals >= 0)
		close(signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return fd < 0 ? log_err(fd, "listen on '%s'", addr.sun_path) : fd;
}

/* ---- all together ---- */

static int find_socket(const struct ipc_peer *guest, char ret[sizeof(((struct ipc_info *)0)->vsock_path)])
{
	static struct ipc_reply reply;
	struct ipc_info info;
	int err = ipc_call(guest->fd, IPC_INFO, NULL, 0, &reply);

	if (!err && reply.len < sizeof(info))
		err = -EPROTO;
	if (err)
		return ipc_failed(guest->name, guest->pid, err);
	memcpy(&info, reply.body, sizeof(info));
	if (!info.vsock_cid)
		return log_errx(-ENODEV, "guest '%s' has no vsock (lkvm run --vsock)", guest->name);
	snprintf(ret, sizeof(info.vsock_path), "%.*s", (int)sizeof(info.vsock_path) - 1, info.vsock_path);
	return 0;
}

static int join_guest(const struct vsock_command *cfg, const struct ipc_peer *guest, uint32_t port)
{
	char path[sizeof(((struct ipc_info *)0)->vsock_path)];
	int err = find_socket(guest, path), fd;

	if (err)
		return err;
	fd = cfg->listen ? await(path, port) : join(guest->name, path, port);
	if (fd < 0)
		return fd;
	err = relay(fd);
	close(fd);
	return err;
}

static int vsock_run(const struct command *cmd, int argc, char **argv)
{
	struct vsock_command cfg = { 0 };
	struct ipc_peers peers = { 0 };
	enum options_result result;
	unsigned port;
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	if (argc - first != 2) {
		log_errx(0, "vsock: a guest and a port are wanted (try 'lkvm vsock --help')");
		return EXIT_USAGE;
	}
	if (options_unsigned(argv[first + 1], 0, VSOCK_ANY_PORT - 1, &port)) {
		log_errx(0, "'%s' is not a port (0 to %u)", argv[first + 1], VSOCK_ANY_PORT - 1);
		return EXIT_USAGE;
	}
	status = guests_choose_one(cmd->name, NULL, argv + first, 1, &peers);
	if (!status)
		status = join_guest(&cfg, &peers.list[0], port) ? EXIT_FAILURE : EXIT_SUCCESS;
	ipc_peers_free(&peers);
	return status;
}

const struct command vsock_command = {
	.name = "vsock",
	.summary = "Join standard input and output to a vsock port of a guest",
	.operands = "NAME PORT",
	.operand_complete = COMPLETE_GUEST,
	.description = "Connects to a port that a program in the guest listens on (AF_VSOCK), and passes standard input to "
		       "it and what it says to standard output, until both are at their end or the guest has closed the "
		       "connection. The guest was started with lkvm run --vsock.\n"
		       "\n"
		       "For ssh(1) it is a ProxyCommand.",
	.opts = options,
	.run = vsock_run,
};
