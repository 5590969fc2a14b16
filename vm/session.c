/*
 * The channel of a session: bytes of a virtio console port to frames and back; see lkvm/vm/session.h. What
 * the frames of a command mean stands in vm/session-command.c.
 */
#include "session-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "lkvm/byte-ring.h"
#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define PORT_BYTES  (64u << 10) /* of input that the port holds */
#define TURN_FRAMES 64          /* taken before the main loop's other sources get their turn */
#define RETRY_NS    (NS_PER_S / 100)

/* ---- the port's end: the worker ---- */

static size_t put(void *end, const void *buf, size_t len)
{
	struct session *s = end;
	uint32_t n;
	bool wake;

	pthread_mutex_lock(&s->lock);
	wake = s->asleep;
	s->asleep = false;
	n = len < RX_BYTES - s->rx_n ? (uint32_t)len : RX_BYTES - s->rx_n;
	byte_ring_put(s->rx, RX_BYTES, s->rx_at + s->rx_n, buf, n);
	s->rx_n += n;
	s->starved |= n < len;
	pthread_mutex_unlock(&s->lock);
	if (wake)
		event_signal(s->wake.fd);
	return n;
}

static void input_wanted(void *end)
{
	struct session *s = end;

	event_signal(s->wake.fd);
}

static void opened(void *end, bool open)
{
	struct session *s = end;

	if (open)
		return;
	atomic_store(&s->closed, true);
	event_signal(s->wake.fd);
}

static void attach(void *end, const struct console_device *port)
{
	struct session *s = end;

	s->port = port ? *port : (struct console_device){ 0 };
}

static const struct virtio_port_ops port_ops = {
	.name = SESSION_PORT,
	.in_bytes = PORT_BYTES,
	.put = put,
	.input_wanted = input_wanted,
	.attach = attach,
	.opened = opened,
};

struct virtio_port session_port(struct session *s)
{
	return (struct virtio_port){ &port_ops, s };
}

/* ---- to the guest ---- */

static void flush(struct session *s)
{
	size_t n = 1;

	while (s->tx_n && n && s->port.input) {
		n = s->port.input(s->port.dev, s->tx + s->tx_at, s->tx_n);
		s->tx_at += n;
		s->tx_n -= n;
	}
}

void *session_frame(struct session *s, size_t most)
{
	const size_t head = sizeof(struct session_frame);

	if (head + most > TX_BYTES - s->tx_n)
		return NULL;
	if (head + most > TX_BYTES - s->tx_n - s->tx_at) {
		memmove(s->tx, s->tx + s->tx_at, s->tx_n);
		s->tx_at = 0;
	}
	return s->tx + s->tx_at + s->tx_n + head;
}

void session_frame_end(struct session *s, const struct session_frame *head)
{
	memcpy(s->tx + s->tx_at + s->tx_n, head, sizeof(*head));
	s->tx_n += sizeof(*head) + head->len;
	flush(s);
}

bool session_send(struct session *s, enum session_type type, uint32_t command, unsigned stream,
		  const void *bytes, uint32_t len)
{
	const struct session_frame head = {
		.type = (uint8_t)type, .stream = (uint8_t)stream, .command = command, .len = len,
	};
	void *to;

	if (s->lost)
		return true;
	to = session_frame(s, len);
	if (!to)
		return false;
	if (len)
		memcpy(to, bytes, len);
	session_frame_end(s, &head);
	return true;
}

void session_go_on(struct session *s)
{
	event_signal(s->wake.fd);
}

void session_bye(struct session *s)
{
	s->bye = !session_send(s, SESSION_BYE, 0, 0, NULL, 0);
}

void session_wake(struct session *s)
{
	struct session_wake wake = { .realtime_ns = realtime_ns() };
	const bool has_seed = getrandom(wake.seed, sizeof(wake.seed), 0) == sizeof(wake.seed);

	/* Without it the guest has what its kernel knows of the host's device for that. */
	s->woken = !session_send(s, SESSION_WAKE, 0, 0, &wake, has_seed ? sizeof(wake) : SESSION_WAKE_NO_SEED);
}

/* As far as there is room */
static void send_plan(struct session *s)
{
	while (s->plan && !session_tx_full(s)) {
		const size_t n = s->plan_n < SESSION_MOST ? s->plan_n : SESSION_MOST;
		const struct session_frame head = {
			.type = SESSION_PLAN,
			.flags = n < s->plan_n ? SESSION_MORE : 0,
			.len = (uint32_t)n,
		};

		memcpy(session_frame(s, n), s->plan, n);
		s->plan_n -= n;
		s->plan = s->plan_n ? s->plan + n : NULL;
		session_frame_end(s, &head);
	}
}

bool session_is_asked(const struct session *s)
{
	return s->asked && !s->planned && !s->up;
}

int session_plan(struct session *s, const char *records, size_t len)
{
	if (s->lost)
		return -EPIPE;
	if (!session_is_asked(s))
		return -ENOTCONN;
	if (len > SESSION_PLAN_MOST)
		return -E2BIG;
	s->planned = true;
	s->plan = records;
	s->plan_n = len;
	send_plan(s);
	return 0;
}

/* Each command is the first in turn, as there may be room for what one of them has to send only. */
static void send_more(struct session *s)
{
	const unsigned from = s->turn;

	flush(s);
	if (s->woken)
		session_wake(s);
	send_plan(s);
	s->turn = SESSION_COMMANDS;
	for (unsigned i = 0; i < SESSION_COMMANDS; i++) {
		const unsigned at = (from + i) % SESSION_COMMANDS;

		if (!s->commands[at])
			continue;
		if (s->turn == SESSION_COMMANDS)
			s->turn = at + 1;
		command_pump(s->commands[at]);
	}
	if (s->bye)
		session_bye(s);
}

/* ---- from the guest ---- */

/* The next frame, whole, to s->frame. Return: 1; 0 it is not there yet; -EPROTO it cannot be */
static int take_frame(struct session *s)
{
	struct session_frame head = { 0 };
	bool starved = false;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->rx_n >= sizeof(head)) {
		byte_ring_get(s->rx, RX_BYTES, s->rx_at, &head, sizeof(head));
		if (head.len > SESSION_MOST)
			ret = -EPROTO;
		else if (s->rx_n >= sizeof(head) + head.len)
			ret = 1;
	}
	if (ret == 1) {
		byte_ring_get(s->rx, RX_BYTES, s->rx_at, s->frame, sizeof(head) + head.len);
		s->rx_at = (s->rx_at + (uint32_t)sizeof(head) + head.len) % RX_BYTES;
		s->rx_n -= (uint32_t)sizeof(head) + head.len;
		starved = s->starved;
		s->starved = false;
	}
	s->asleep = !ret;
	pthread_mutex_unlock(&s->lock);
	if (starved && s->port.writable)
		s->port.writable(s->port.dev);
	return ret;
}

static void lose(struct session *s, const char *why)
{
	if (s->lost)
		return;
	s->lost = true;
	s->why = why;
	s->tx_n = 0;
}

/* When nothing of it is under way: who is told may end its commands. */
static void tell_lost(struct session *s)
{
	if (!s->lost || s->lost_told)
		return;
	s->lost_told = true;
	s->cfg.lost(s->cfg.ctx, s->why);
}

static const char *ask_frame(struct session *s, uint32_t len)
{
	if (s->asked || s->up || len)
		return "a question that cannot be";
	s->asked = true;
	s->cfg.asked(s->cfg.ctx);
	return NULL;
}

static const char *hello_frame(struct session *s, const void *bytes, uint32_t len)
{
	struct session_hello hello;

	if (s->up || len != sizeof(hello))
		return "a hello that cannot be";
	memcpy(&hello, bytes, sizeof(hello));
	if (hello.version != SESSION_VERSION)
		return "a hello of another version";
	hello.release[sizeof(hello.release) - 1] = '\0';
	s->up = true;
	s->cfg.hello(s->cfg.ctx, &hello);
	return NULL;
}

struct command *session_find(const struct session *s, uint32_t id)
{
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i] && s->commands[i]->id == id)
			return s->commands[i];
	return NULL;
}

/* Return: NULL, or why it cannot be. What is sent to a command that has ended may cross its end. */
static const char *handle_frame(struct session *s)
{
	const void *bytes = s->frame + sizeof(struct session_frame);
	struct session_frame head;
	struct command *cmd;

	memcpy(&head, s->frame, sizeof(head));
	if (head.type == SESSION_ASK)
		return ask_frame(s, head.len);
	if (head.type == SESSION_HELLO)
		return hello_frame(s, bytes, head.len);
	if (head.type == SESSION_KMSG) {
		if (s->cfg.kmsg)
			s->cfg.kmsg(s->cfg.ctx, bytes, head.len);
		return NULL;
	}
	cmd = session_find(s, head.command);
	return cmd && !cmd->exec ? command_frame(cmd, &head, bytes) : "a frame of no command";
}

/* Return: it may be that more is there */
static bool take_frames(struct session *s)
{
	for (unsigned i = 0; i < TURN_FRAMES; i++) {
		const char *why = NULL;
		int ret = take_frame(s);

		if (!ret || s->lost)
			return false;
		if (ret > 0)
			why = handle_frame(s);
		else
			why = "a frame that is too long";
		if (why) {
			lose(s, why);
			return false;
		}
	}
	return true;
}

static void woken(struct loop_source *src, uint32_t events)
{
	struct session *s = container_of(src, struct session, wake);

	(void)events;
	event_clear(src->fd);
	/* What it sent before it closed the port is taken first; a guest that sends on keeps nobody here. */
	if (take_frames(s))
		event_signal(src->fd);
	else if (atomic_exchange(&s->closed, false))
		lose(s, NULL);
	send_more(s);
	tell_lost(s);
}

/* ---- what cannot be watched ---- */

/* Files, which are always ready; and some devices, which are not. */
bool session_watch(struct session *s, struct loop_source *src, uint32_t events)
{
	if (!loop_add(s->cfg.loop, src, events))
		return true;
	if (!s->retry.at_ns)
		timer_set(&s->retry, now_ns() + RETRY_NS);
	return false;
}

static void retry_fired(struct timer *timer)
{
	struct session *s = container_of(timer, struct session, retry);

	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i])
			command_retry(s->commands[i]);
}

/* ---- life ---- */

static int prepare(struct session *s)
{
	int err;

	s->rx = malloc(RX_BYTES);
	s->frame = malloc(sizeof(struct session_frame) + SESSION_MOST);
	s->tx = malloc(TX_BYTES);
	s->wake.fd = s->rx && s->frame && s->tx ? event_open(0) : -ENOMEM;
	if (s->wake.fd < 0)
		return s->wake.fd;
	err = timer_open(&s->retry);
	return err ? err : loop_add(s->cfg.loop, &s->wake, EPOLLIN);
}

int session_new(const struct session_setup *setup, struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return log_err(-ENOMEM, "session");
	s->cfg = *setup;
	s->wake = (struct loop_source){ -1, woken };
	timer_init(&s->retry, s->cfg.loop, CLOCK_MONOTONIC, retry_fired);
	s->asleep = true;
	pthread_mutex_init(&s->lock, NULL);
	err = prepare(s);
	if (err) {
		session_free(s);
		return log_err(err, "session");
	}
	*ret = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		command_free(s->commands[i]);
	timer_fini(&s->retry);
	if (s->wake.fd >= 0) {
		loop_del(s->cfg.loop, &s->wake);
		close(s->wake.fd);
	}
	pthread_mutex_destroy(&s->lock);
	free(s->rx);
	free(s->frame);
	free(s->tx);
	free(s);
}

void session_give_up(struct session *s)
{
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i])
			command_give_up(s->commands[i]);
}

void session_why(const struct session *s, char ret[SESSION_WHY_BYTES])
{
	if (s->why)
		snprintf(ret, SESSION_WHY_BYTES, "its init has sent %s", s->why);
	else
		snprintf(ret, SESSION_WHY_BYTES, "it has closed its session");
}

bool session_is_up(const struct session *s)
{
	return s->up && !s->lost;
}

uint64_t session_active_ns(const struct session *s)
{
	return s->active_ns;
}

void session_drain(struct session *s, int interrupt_fd, int patience_ms)
{
	while (take_frames(s))
		;
	tell_lost(s);
	for (unsigned i = 0; i < SESSION_COMMANDS; i++)
		if (s->commands[i])
			command_drain(s->commands[i], interrupt_fd, patience_ms);
}
