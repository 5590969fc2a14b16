/*
 * passt as the end of a network: a program that does what user-mode networking does, as a child of ours. It has one
 * end of a stream socket, on which each frame stands behind its length, and ends when the other end is closed: with
 * the guest, and with lkvm however that ends.
 *
 * It knows no offloads. What it has no room for yet waits here, one frame at a time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/types.h"
#include "net-internal.h"

#define CHILD_FD    3
#define LENGTH      sizeof(uint32_t)
#define IN_BYTES    (4 * (LENGTH + NET_MAX_FRAME)) /* of frames, read at once */
#define PATIENCE_MS 2000
#define START_MS    150 /* in which one that cannot do as it is told says so */
#define SPEC_BYTES  64
#define MAX_ARGS    (20 + 2 * NET_MAX_FORWARDS)

struct passt {
	struct net net;
	struct loop_source src;
	pid_t pid; /* 0: none */
	int log_fd; /* what it says on standard error */
	bool full; /* the device waits for room */
	uint8_t *in; /* from in_at to in_end: frames that were read */
	size_t in_at, in_end;
	uint8_t *out; /* what is left of the last frame */
	size_t out_at, out_end;
};

static struct passt *passt_of(struct net *net)
{
	return container_of(net, struct passt, net);
}

/* ---- on the worker ---- */

/* Return: 0: nothing waits any more; -EAGAIN */
static int flush(struct passt *p)
{
	while (p->out_at < p->out_end) {
		const ssize_t n = send(p->src.fd, p->out + p->out_at, p->out_end - p->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		p->out_at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static void ready(struct loop_source *src, uint32_t events)
{
	struct passt *p = container_of(src, struct passt, src);

	/* Also if nobody waits for it: half a frame keeps passt waiting, too. */
	if ((events & EPOLLOUT) && flush(p) != -EAGAIN && p->full) {
		p->full = false;
		p->net.writable(&p->net, 0);
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		p->net.readable(&p->net, 0);
}

static int attach(struct net *net, struct loop *loop)
{
	const int err = loop_add(loop, &passt_of(net)->src, EPOLLIN | EPOLLOUT | EPOLLET);

	return err ? log_err(err, "%s: watch passt", net->name) : 0;
}

static void detach(struct net *net, struct loop *loop)
{
	loop_del(loop, &passt_of(net)->src);
	passt_of(net)->full = false;
}

/* What did not go at once waits, as half a frame cannot be taken back. */
static void keep_rest(struct passt *p, const struct iovec *iov, unsigned n_iov, size_t bytes, size_t sent)
{
	p->out_at = 0;
	p->out_end = net_gather(iov, n_iov, sent, p->out, bytes - sent);
}

static int send_frame(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	struct passt *p = passt_of(net);
	struct iovec frame[NET_MAX_IOV];
	struct msghdr msg = { .msg_iov = frame, .msg_iovlen = n_iov };
	size_t bytes = 0;
	uint32_t length;
	ssize_t n;
	int err = flush(p);

	(void)pair;
	p->full = err == -EAGAIN;
	if (err)
		return err;
	/* In the place of the header, which asks for nothing; of one buffer with both, what is behind it */
	memcpy(frame, iov, n_iov * sizeof(*iov));
	if (n_iov == 1) {
		frame[1] = (struct iovec){ (char *)iov->iov_base + NET_HDR_BYTES, iov->iov_len - NET_HDR_BYTES };
		msg.msg_iovlen = 2;
	}
	frame[0] = (struct iovec){ &length, LENGTH };
	for (size_t i = 1; i < msg.msg_iovlen; i++)
		bytes += frame[i].iov_len;
	length = htonl((uint32_t)bytes);
	bytes += LENGTH;
	n = sendmsg(p->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	p->full = n < 0 && errno == EAGAIN;
	if (n >= 0 && (size_t)n < bytes)
		keep_rest(p, frame, (unsigned)msg.msg_iovlen, bytes, (size_t)n);
	return n < 0 ? -errno : 0;
}

/* Return: 1; 0: nothing is there; -errno: it has gone */
static int read_more(struct passt *p)
{
	ssize_t n;

	memmove(p->in, p->in + p->in_at, p->in_end - p->in_at);
	p->in_end -= p->in_at;
	p->in_at = 0;
	do {
		n = recv(p->src.fd, p->in + p->in_end, IN_BYTES - p->in_end, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0)
		return n ? -errno : -ECONNRESET;
	p->in_end += (size_t)n;
	return 1;
}

/* Return: is a whole frame there? -EPROTO: it cannot be one */
static int whole(const struct passt *p, size_t *ret_bytes)
{
	const size_t have = p->in_end - p->in_at;
	uint32_t length;

	if (have < LENGTH)
		return 0;
	memcpy(&length, p->in + p->in_at, LENGTH);
	*ret_bytes = ntohl(length);
	if (*ret_bytes > NET_MAX_FRAME)
		return -EPROTO;
	return have - LENGTH >= *ret_bytes;
}

/* The last line that it has said, or "" */
static const char *words(const struct passt *p, char *buf, size_t cap)
{
	const off_t end = lseek(p->log_fd, 0, SEEK_END);
	const off_t from = end < (off_t)cap ? 0 : end - (off_t)cap + 1;
	ssize_t n = pread(p->log_fd, buf, cap - 1, from);
	char *line;

	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n > 0 ? n : 0] = '\0';
	line = strrchr(buf, '\n');
	return line ? line + 1 : buf;
}

/* The caller says that it is lost; it may have said why. */
static ssize_t lost(const struct passt *p, int err)
{
	char buf[512];
	const char *said = words(p, buf, sizeof(buf));

	if (*said)
		log_warn("%s: passt: %s", p->net.name, said);
	return err;
}

static ssize_t receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	static const uint8_t header[NET_HDR_BYTES];
	struct passt *p = passt_of(net);
	const uint8_t *frame;
	size_t bytes = 0;
	int ret;

	(void)pair;
	while (!(ret = whole(p, &bytes))) {
		ret = read_more(p);
		if (!ret)
			return 0;
		if (ret < 0)
			return lost(p, ret);
	}
	if (ret < 0)
		return lost(p, ret);
	frame = p->in + p->in_at + LENGTH;
	p->in_at += LENGTH + bytes;
	net_scatter(iov, n_iov, 0, header, sizeof(header));
	if (net_scatter(iov, n_iov, NET_HDR_BYTES, frame, bytes) < bytes)
		return -EMSGSIZE;
	return (ssize_t)(NET_HDR_BYTES + bytes);
}

/* ---- the child ---- */

static bool wait_child(pid_t pid, int patience_ms)
{
	return net_child_ends(pid, patience_ms) && waitpid(pid, NULL, 0) == pid;
}

static void passt_close(struct net *net)
{
	struct passt *p = passt_of(net);

	if (p->src.fd >= 0)
		close(p->src.fd);
	if (p->pid > 0 && !wait_child(p->pid, PATIENCE_MS)) {
		kill(p->pid, SIGKILL);
		wait_child(p->pid, -1);
	}
	if (p->log_fd >= 0)
		close(p->log_fd);
	free(p->in);
	free(p->out);
	free(p);
}

struct command {
	char *argv[MAX_ARGS];
	unsigned n;
	char spec[NET_MAX_FORWARDS][SPEC_BYTES];
};

static void add(struct command *c, const char *word)
{
	c->argv[c->n++] = (char *)word;
}

/* Return: 0, or -EINVAL, logged: passt cannot do that */
static int add_forwards(struct command *c, const struct net_config *cfg, const char *name)
{
	for (unsigned i = 0; i < cfg->n_forwards; i++) {
		const struct net_forward *f = &cfg->forward[i];
		char host[INET_ADDRSTRLEN];

		if (!f->host_port || f->guest.s_addr)
			return log_errx(-EINVAL, "%s: passt forwards to the guest's own address, and does not choose a port: "
						 "-n user does", name);
		inet_ntop(AF_INET, &f->host, host, sizeof(host));
		snprintf(c->spec[i], SPEC_BYTES, "%s/%u:%u", host, f->host_port, f->guest_port);
		add(c, f->udp ? "-u" : "-t");
		add(c, c->spec[i]);
	}
	return 0;
}

/* The addresses that user-mode networks have, whatever the host's are */
static int make_command(struct command *c, const struct net_config *cfg, const char *name)
{
	static const char *const always[] = { "passt", "-f", "-q", "-e", "--fd", "3", "-a", "10.0.2.15", "-n", "24", "-g",
					      "10.0.2.2", "--dns-forward", "10.0.2.3" };

	_Static_assert(CHILD_FD == 3, "the number in the words");
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		add(c, always[i]);
	if (cfg->no_loopback)
		add(c, "--no-map-gw");
	return add_forwards(c, cfg, name);
}

static void set_addresses(struct net *net)
{
	struct net_addresses *a = &net->addresses;

	inet_pton(AF_INET, "10.0.2.15", &a->ip);
	inet_pton(AF_INET, "10.0.2.2", &a->gateway);
	inet_pton(AF_INET, "10.0.2.3", &a->dns);
	a->prefix = 24;
}

/* @fd, at whatever number, becomes the child's. */
static int spawn(struct passt *p, struct command *c, int fd)
{
	const struct net_child child = {
		.spawn = posix_spawnp,
		.program = "passt",
		.argv = c->argv,
		.fds = { { p->log_fd, STDOUT_FILENO }, { p->log_fd, STDERR_FILENO }, { fd, CHILD_FD } },
		.n_fds = 3,
	};

	return net_spawn(&child, &p->pid);
}

/* A port that is taken, for example: it says so and ends. */
static int check_started(struct passt *p)
{
	char buf[512];

	if (!wait_child(p->pid, START_MS))
		return 0;
	p->pid = 0;
	return log_errx(-ECHILD, "%s: passt has ended: %s", p->net.name, words(p, buf, sizeof(buf)));
}

static int start(struct passt *p, struct command *c)
{
	int fds[2], err, child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return log_err(-errno, "%s: a socket for passt", p->net.name);
	p->src.fd = fds[0];
	/* Above those that the child's own are put on */
	child = fcntl(fds[1], F_DUPFD_CLOEXEC, CHILD_FD + 1);
	err = child < 0 ? -errno : spawn(p, c, child);
	close(fds[1]);
	if (child >= 0)
		close(child);
	if (err == -ENOENT)
		return log_errx(err, "%s: passt is not installed (Debian: passt); -n user does without", p->net.name);
	return err ? log_err(err, "%s: start passt", p->net.name) : check_started(p);
}

static int prepare(struct passt *p)
{
	p->in = malloc(IN_BYTES);
	p->out = malloc(LENGTH + NET_MAX_FRAME);
	p->log_fd = memfd_create("passt", MFD_CLOEXEC);
	return p->in && p->out && p->log_fd >= 0 ? 0 : log_err(-ENOMEM, "%s", p->net.name);
}

static const struct net_ops ops = {
	.attach = attach,
	.detach = detach,
	.send = send_frame,
	.receive = receive,
	.close = passt_close,
};

int passt_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct command command = { .n = 0 };
	struct passt *p;
	int err = make_command(&command, cfg, name);

	if (err)
		return err;
	if (cfg->restricted)
		return log_errx(-EINVAL, "%s: passt has nothing like restrict: -n user does", name);
	p = calloc(1, sizeof(*p));
	if (!p)
		return log_err(-ENOMEM, "%s", name);
	p->net = (struct net){ .ops = &ops, .name = name, .cfg = cfg, .mtu = NET_USER_MTU, .link_up = true, .where = "passt" };
	p->src = (struct loop_source){ -1, ready };
	p->log_fd = -1;
	p->net.forward = (struct net_forward *)cfg->forward;
	p->net.n_forwards = cfg->n_forwards;
	set_addresses(&p->net);
	err = prepare(p);
	if (!err)
		err = start(p, &command);
	if (err)
		passt_close(&p->net);
	else
		*ret = &p->net;
	return err;
}
