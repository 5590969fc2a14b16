/* A connection, and its end on the host; see vsock-internal.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "vsock-internal.h"

#define EVENTS (EPOLLIN | EPOLLRDHUP | EPOLLET)

/* ---- by its ports ---- */

static struct conn **bucket_of(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	return &vs->bucket[(guest_port ^ host_port * 31) % BUCKETS];
}

struct conn *conn_find(struct vsock *vs, uint32_t guest_port, uint32_t host_port)
{
	struct conn *c = *bucket_of(vs, guest_port, host_port);

	while (c && (c->guest_port != guest_port || c->host_port != host_port))
		c = c->next;
	return c;
}

void conn_know(struct conn *c, uint32_t guest_port, uint32_t host_port)
{
	struct conn **bucket = bucket_of(c->vs, guest_port, host_port);

	c->guest_port = guest_port;
	c->host_port = host_port;
	c->next = *bucket;
	*bucket = c;
	c->known = true;
}

static void unknow(struct conn *c)
{
	struct conn **at = bucket_of(c->vs, c->guest_port, c->host_port);

	if (!c->known)
		return;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->known = false;
}

/* There are fewer connections than ports. */
static uint32_t free_port(struct vsock *vs, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = vs->next_port++;
		if (vs->next_port == VSOCK_ANY_PORT)
			vs->next_port = FIRST_PORT;
	} while (conn_find(vs, guest_port, port));
	return port;
}

/* ---- life ---- */

static void ready(struct loop_source *src, uint32_t events);

static void be_patient(struct conn *c)
{
	timer_set(&c->patience, now_ns() + VSOCK_HELLO_S * NS_PER_S);
}

static void patience_over(struct timer *timer)
{
	struct conn *c = container_of(timer, struct conn, patience);
	struct vsock *vs = c->vs;

	if (vs->dev.parked) { /* nothing that the host can see happens meanwhile */
		be_patient(c);
		return;
	}
	log_debug(LOG_DEVICE, "%s: a client has not said which port it wants", vs->dev.name);
	conn_free(c);
	vsock_serve(vs);
}

struct conn *conn_new(struct vsock *vs, int fd, enum vsock_kind kind)
{
	struct conn *c = vs->n_conns < VSOCK_MAX_CONNS ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->vs = vs;
	c->src = (struct loop_source){ fd, ready };
	c->type = kind == VSOCK_SEQPACKET ? VIRTIO_VSOCK_TYPE_SEQPACKET : VIRTIO_VSOCK_TYPE_STREAM;
	TAILQ_INSERT_TAIL(&vs->all, c, all);
	vs->n_conns++;
	atomic_fetch_add(&vs->connections, 1);
	timer_init(&c->patience, &vs->dev.loop, CLOCK_MONOTONIC, patience_over);
	if (!loop_add(&vs->dev.loop, &c->src, EVENTS))
		return c;
	conn_free(c);
	return NULL;
}

void conn_close_host(struct conn *c)
{
	if (c->src.fd < 0)
		return;
	loop_del(&c->vs->dev.loop, &c->src);
	close(c->src.fd);
	c->src.fd = -1;
	buffer_free(c);
}

void conn_free(struct conn *c)
{
	struct vsock *vs = c->vs;

	atomic_fetch_sub(&vs->connections, 1); /* before the client can see that it is over */
	conn_close_host(c);
	buffer_free(c);
	unknow(c);
	timer_fini(&c->patience);
	if (vs->message.conn == c)
		vs->message.conn = NULL;
	if (c->has_turn)
		TAILQ_REMOVE(&vs->turns, c, turn);
	TAILQ_REMOVE(&vs->all, c, all);
	vs->n_conns--;
	free(c);
}

void conns_free(struct vsock *vs)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&vs->all)))
		conn_free(c);
}

/* ---- what the guest is to know ---- */

uint32_t conn_credit(const struct conn *c)
{
	const uint32_t ahead = c->tx_cnt - c->peer_fwd;

	return ahead < c->peer_alloc ? c->peer_alloc - ahead : 0;
}

bool conn_may_read(const struct conn *c)
{
	const uint32_t need = c->need ? c->need : 1;

	return c->state == CONN_UP && c->readable && !c->eof && !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
	       conn_credit(c) >= need;
}

void conn_want_turn(struct conn *c)
{
	if (c->has_turn || !(c->owes || conn_may_read(c)))
		return;
	c->has_turn = true;
	TAILQ_INSERT_TAIL(&c->vs->turns, c, turn);
}

void conn_owe(struct conn *c, uint8_t what)
{
	c->owes |= what;
	conn_want_turn(c);
}

/*
 * The guest is told of room when it knows of less than half of it: also in the middle of a message, which is
 * taken only when it is whole.
 */
void conn_forward(struct conn *c, uint32_t len)
{
	c->fwd_cnt += len;
	if (c->state == CONN_UP && c->fwd_cnt != c->fwd_told && c->rx_cnt - c->fwd_told > VSOCK_CONN_BYTES / 2)
		conn_owe(c, OWE_CREDIT);
}

void conn_up(struct conn *c)
{
	c->state = CONN_UP;
	c->readable = true; /* or it will find out */
	atomic_fetch_add(&c->vs->opened, 1);
	conn_want_turn(c);
}

/* The guest may use its port again as soon as it hears of it. */
static void leave_guest(struct conn *c)
{
	unknow(c);
	c->state = CONN_OVER;
	c->owes = 0;
	if (c->vs->message.conn == c)
		c->vs->message.conn = NULL;
	conn_owe(c, OWE_RESET);
}

void conn_reset(struct conn *c)
{
	conn_close_host(c);
	if (c->known)
		leave_guest(c);
	else if (c->state != CONN_OVER || !c->owes)
		conn_free(c);
}

void conn_over(struct conn *c)
{
	leave_guest(c);
	if (c->out.whole != c->out.n && c->type == VIRTIO_VSOCK_TYPE_SEQPACKET)
		log_debug(LOG_DEVICE, "%s: the guest has left within a message", c->vs->dev.name);
	conn_flush(c);
}

void conn_shut(struct conn *c, uint8_t flags)
{
	if ((c->told_shut | flags) == c->told_shut || c->state == CONN_OVER)
		return;
	c->told_shut |= flags;
	conn_owe(c, OWE_SHUTDOWN);
	if (c->told_shut != SHUT_BOTH)
		return;
	conn_close_host(c);
	c->state = CONN_LEFT;
}

/* ---- to the host ---- */

/* Nothing is left to be given. */
static void flushed(struct conn *c)
{
	if (c->state == CONN_OVER) {
		conn_close_host(c);
		if (!c->owes)
			conn_free(c);
	} else if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && c->src.fd >= 0) {
		shutdown(c->src.fd, SHUT_WR);
	}
}

/* Who does not read any more may still write. */
static void go_deaf(struct conn *c)
{
	const uint32_t n = c->out.n;

	c->deaf = true;
	buffer_free(c);
	if (c->state == CONN_UP) {
		conn_forward(c, n);
		conn_shut(c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	}
}

/* Return: 1: go on; 0: later; -errno: it is broken */
static int flush_some(struct conn *c)
{
	struct iovec iov[2];
	const uint32_t len = buffer_next(c, iov);
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = len ? sendmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (n > 0) {
		buffer_took(c, (uint32_t)n);
		conn_forward(c, (uint32_t)n);
		return c->out.n > 0;
	}
	if (!n || errno == EAGAIN)
		return 0;
	if (errno == EINTR)
		return 1;
	if (errno != EPIPE && errno != ECONNRESET)
		return -errno;
	go_deaf(c);
	return 0;
}

/* Each byte that a reader takes makes room: who wants to hear of that all the time hears of little else. */
static void watch_room(struct conn *c, bool on)
{
	if (c->waits_for_room != on && c->src.fd >= 0)
		loop_mod(&c->vs->dev.loop, &c->src, on ? EVENTS | EPOLLOUT : EVENTS);
	c->waits_for_room = on;
}

void conn_flush(struct conn *c)
{
	struct iovec iov[2];
	int ret = 1;

	while (ret > 0 && c->src.fd >= 0)
		ret = flush_some(c);
	if (ret < 0) {
		conn_reset(c);
		return;
	}
	watch_room(c, buffer_next(c, iov));
	if (!c->waits_for_room)
		flushed(c);
}

/* ---- from the host ---- */

static void greet(struct conn *c)
{
	uint32_t port;
	int err = vsock_hello_read(c->src.fd, c->type == VIRTIO_VSOCK_TYPE_SEQPACKET, &port);

	if (err == -EAGAIN && !c->hup)
		return;
	if (err) {
		log_debug(LOG_DEVICE, "%s: a client has said no port: %s", c->vs->dev.name, strerror(-err));
		conn_free(c);
		return;
	}
	timer_stop(&c->patience);
	conn_know(c, port, free_port(c->vs, port));
	c->state = CONN_ASKED;
	conn_owe(c, OWE_REQUEST);
}

/* Who has closed its end before it was connected; the rest is read when there is room for it. */
static void hear(struct conn *c)
{
	if (c->state == CONN_HELLO)
		greet(c);
	else if (c->state == CONN_ASKED && c->hup)
		conn_reset(c);
	else if (c->state == CONN_OVER && c->hup)
		conn_reset(c);
	else if (c->state == CONN_UP && c->hup && c->eof)
		conn_shut(c, SHUT_BOTH);
	else
		conn_want_turn(c);
}

static void handle(struct conn *c, uint32_t events)
{
	if (events & EPOLLIN || c->hup || events & EPOLLRDHUP)
		c->readable = true;
	if (events & EPOLLOUT && c->out.n && c->state >= CONN_UP && !c->deaf) {
		const bool over = c->state == CONN_OVER;

		conn_flush(c);
		if (over)
			return; /* it may be gone */
	}
	hear(c);
}

static void ready(struct loop_source *src, uint32_t events)
{
	struct conn *c = container_of(src, struct conn, src);
	struct vsock *vs = c->vs;

	c->hup |= !!(events & (EPOLLHUP | EPOLLERR));
	c->last |= !!(events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP));
	if (vs->dev.parked) {
		c->readable = true;
		return;
	}
	handle(c, events);
	vsock_serve(vs);
}

static void greet_later(struct conn *c)
{
	be_patient(c);
	greet(c);
}

/*
 * The listeners are edge triggered: who finds no room waits until a connection ends. When a descriptor becomes free
 * nobody tells: what happens next tries again.
 */
static bool accept_some(struct vsock *vs, struct listener *l)
{
	bool any = false;

	while (l->waiting && vs->n_conns < VSOCK_MAX_CONNS) {
		int fd = vsock_host_accept(&vs->host, l->kind);
		struct conn *c = fd >= 0 ? conn_new(vs, fd, l->kind) : NULL;

		if (!c) {
			l->waiting = fd >= 0 || fd == -EMFILE || fd == -ENFILE;
			break;
		}
		greet_later(c);
		any = true;
	}
	return any;
}

bool conns_accept(struct vsock *vs)
{
	bool any = false;

	for (unsigned i = 0; i < VSOCK_KINDS; i++)
		any |= accept_some(vs, &vs->listener[i]);
	return any;
}

/* What came meanwhile was only noted. */
void conns_go_on(struct vsock *vs)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&vs->all); c; c = next) {
		next = TAILQ_NEXT(c, all);
		handle(c, EPOLLIN | EPOLLOUT);
	}
}
