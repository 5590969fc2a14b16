/* See session-frames.h. */
#include "session-frames.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHANNEL_FD 3
#define LIMIT_NS   20000000000ull

void check(bool good, const char *text, const char *function, int line)
{
	if (good)
		return;
	printf("%s, line %d: not %s\n", function, line, text);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void bytes_put(struct bytes *b, const void *from, size_t len)
{
	if (b->len + len > b->most) {
		b->most = (b->len + len) * 2;
		b->at = realloc(b->at, b->most);
		CHECK(b->at);
	}
	if (len)
		memcpy(b->at + b->len, from, len);
	b->len += len;
}

void peer_start(struct peer *p, char **argv, bool narrow)
{
	const int least = 1;
	int pair[2];

	memset(p, 0, sizeof(*p));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK(!narrow || !setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)));
	p->fd = pair[0];
	p->pid = fork();
	CHECK(p->pid >= 0);
	if (!p->pid) {
		if (pair[1] == CHANNEL_FD)
			fcntl(CHANNEL_FD, F_SETFD, 0);
		else
			dup2(pair[1], CHANNEL_FD);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(pair[1]);
	fcntl(p->fd, F_SETFL, O_NONBLOCK);
}

void put(struct peer *p, unsigned type, unsigned flags, uint32_t command, unsigned stream, const void *body,
	 size_t len)
{
	const struct session_frame head = {
		.type = (uint8_t)type,
		.flags = (uint8_t)flags,
		.stream = (uint8_t)stream,
		.command = command,
		.len = (uint32_t)len,
	};

	bytes_put(&p->out, &head, sizeof(head));
	bytes_put(&p->out, body, len);
	if (type == SESSION_EXEC && command < RUNS && !p->run[command].begun_ns) {
		p->run[command].begun_ns = now_ns();
		for (int i = 0; i < 3; i++)
			p->run[command].window[i] = SESSION_WINDOW;
	}
}

void put_number(struct peer *p, unsigned type, uint32_t command, unsigned stream, uint32_t number)
{
	put(p, type, 0, command, stream, &number, sizeof(number));
}

/* ---- what arrives ---- */

static void take_data(struct peer *p, struct run *r, const struct session_frame *f, const uint8_t *body)
{
	CHECK(f->stream == 1 || f->stream == 2);
	CHECK(r->started && !r->exited && !r->eof[f->stream] && f->len);
	CHECK(f->len <= r->window[f->stream]);
	r->window[f->stream] -= f->len;
	bytes_put(&r->out[f->stream], body, f->len);
	if (r->hold)
		return;
	r->window[f->stream] += f->len;
	put_number(p, SESSION_CREDIT, f->command, f->stream, f->len);
}

static void take_exit(struct peer *p, struct run *r, const struct session_frame *f, const uint8_t *body)
{
	CHECK(f->len == sizeof(r->exit));
	memcpy(&r->exit, body, f->len);
	if (r->exit.err == EAGAIN)
		p->refused++;
	else
		CHECK(!r->exited);
	CHECK(r->started == !r->exit.err);
	CHECK(!r->started || r->eof[1]);
	r->exited = true;
	r->exited_ns = now_ns();
}

static void take_of_run(struct peer *p, struct run *r, const struct session_frame *f, const uint8_t *body)
{
	uint32_t number = 0;

	if (f->len == sizeof(number))
		memcpy(&number, body, sizeof(number));
	switch (f->type) {
	case SESSION_STARTED:
		CHECK(!r->started && number);
		r->started = true;
		r->pid = number;
		break;
	case SESSION_DATA:
		take_data(p, r, f, body);
		break;
	case SESSION_EOF:
		CHECK(f->stream <= 2 && !r->eof[f->stream] && !f->len);
		r->eof[f->stream] = true;
		break;
	case SESSION_CREDIT:
		CHECK(!f->stream && number && number <= SESSION_WINDOW - r->window[0]);
		r->window[0] += number;
		break;
	default:
		CHECK(f->type == SESSION_EXIT);
		take_exit(p, r, f, body);
	}
}

static void take(struct peer *p, const struct session_frame *f, const uint8_t *body)
{
	CHECK(f->len <= SESSION_MOST && !f->zero && !f->flags);
	if (f->type == SESSION_ASK) {
		CHECK(!p->asked && !p->hello && !f->len);
		p->asked = true;
		return;
	}
	CHECK(p->hello == (f->type != SESSION_HELLO));
	if (f->type == SESSION_HELLO) {
		CHECK(f->len == sizeof(p->greeting) && !f->command);
		memcpy(&p->greeting, body, f->len);
		p->hello = true;
	} else if (f->type == SESSION_KMSG) {
		CHECK(!f->command);
		if (!p->kmsg_records++)
			bytes_put(&p->kmsg, body, f->len);
	} else {
		CHECK(f->command && f->command < RUNS);
		take_of_run(p, &p->run[f->command], f, body);
	}
}

static void take_all(struct peer *p)
{
	struct session_frame f;
	size_t at = 0;

	while (p->in.len - at >= sizeof(f)) {
		memcpy(&f, p->in.at + at, sizeof(f));
		if (p->in.len - at - sizeof(f) < f.len)
			break;
		take(p, &f, p->in.at + at + sizeof(f));
		at += sizeof(f) + f.len;
	}
	memmove(p->in.at, p->in.at + at, p->in.len - at);
	p->in.len -= at;
}

static void receive(struct peer *p)
{
	static uint8_t buf[256 << 10];
	ssize_t n = read(p->fd, buf, sizeof(buf));

	if (n > 0) {
		bytes_put(&p->in, buf, (size_t)n);
		take_all(p);
	} else if (!n || errno != EAGAIN) {
		p->closed = true;
	}
}

static void transmit(struct peer *p)
{
	ssize_t n = send(p->fd, p->out.at + p->out_at, p->out.len - p->out_at, MSG_NOSIGNAL);

	if (n < 0) {
		CHECK(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
		return;
	}
	p->out_at += (size_t)n;
	if (p->out_at == p->out.len)
		p->out_at = p->out.len = 0;
}

bool peer_step(struct peer *p, int ms)
{
	struct pollfd fd = { .fd = p->fd, .events = p->deaf ? 0 : POLLIN };

	if (p->out_at < p->out.len)
		fd.events |= POLLOUT;
	if (p->closed || poll(&fd, 1, ms) <= 0)
		return false;
	if (fd.revents & POLLOUT)
		transmit(p);
	if (fd.revents & (POLLIN | POLLHUP))
		receive(p);
	return true;
}

void peer_until(struct peer *p, const bool *what)
{
	const uint64_t limit = now_ns() + LIMIT_NS;

	while (!*what) {
		CHECK(now_ns() < limit);
		CHECK(!p->closed);
		peer_step(p, 1000);
	}
}

/* ---- commands ---- */

void put_exec_bytes(struct peer *p, uint32_t command, uint32_t flags, const void *records, size_t len)
{
	const struct session_exec head = { .flags = flags, .window = { 40, 100 } };
	struct bytes all = { 0 };

	bytes_put(&all, &head, sizeof(head));
	bytes_put(&all, records, len);
	for (size_t at = 0, n; at < all.len; at += n) {
		n = all.len - at < SESSION_MOST ? all.len - at : SESSION_MOST;
		put(p, SESSION_EXEC, at + n < all.len ? SESSION_MORE : 0, command, 0, all.at + at, n);
	}
	free(all.at);
}

void put_exec(struct peer *p, uint32_t command, uint32_t flags, const char *const *records)
{
	struct bytes all = { 0 };

	for (; *records; records++)
		bytes_put(&all, *records, strlen(*records) + 1);
	put_exec_bytes(p, command, flags, all.at, all.len);
	free(all.at);
}

size_t put_input(struct peer *p, uint32_t command, const uint8_t *from, size_t len)
{
	struct run *r = &p->run[command];
	size_t done = 0, n;

	while ((n = len - done) && r->window[0] && !r->eof[0]) {
		if (n > SESSION_MOST)
			n = SESSION_MOST;
		if (n > r->window[0])
			n = r->window[0];
		put(p, SESSION_DATA, 0, command, 0, from + done, n);
		r->window[0] -= (uint32_t)n;
		done += n;
	}
	return done;
}
