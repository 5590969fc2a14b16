/*
 * The one loop of init while it has a channel: frames, the kernel's log, children that have died, and the
 * streams of commands. Everything waits in one poll(2), and nothing below it blocks.
 */
#include "session.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include "ask.h"
#include "command.h"

#define RECORD_MOST 8192        /* of the kernel's log, as it has it */
#define LOG_AT_ONCE 16          /* records, while there is more to do */
#define LOG_WAITS   (64u << 10) /* bytes on their way out: the log is not to stand before them */
#define LOG_AT_END  1024

struct session {
	struct channel ch;
	int kmsg, signals;
	bool bye;
	bool more;         /* frames have arrived that were not taken: the way out was full */
	unsigned turn;     /* which command is served first */
	uint64_t asked_ns; /* when end_commands() looked */
	struct channel_parts exec; /* an EXEC of which parts have arrived, */
	uint32_t exec_number;      /* and whose it is */
	struct command command[SESSION_COMMANDS];
	struct pollfd fds[3 + SESSION_COMMANDS * COMMAND_FDS];
};

/* ---- commands ---- */

static struct command *find(struct session *s, uint32_t number)
{
	for (size_t i = 0; i < SESSION_COMMANDS; i++)
		if (s->command[i].state != COMMAND_FREE && s->command[i].number == number)
			return &s->command[i];
	return NULL;
}

static void start(struct session *s, uint32_t number, uint8_t *body, size_t len)
{
	const struct session_exit full = { .code = 126, .err = EAGAIN };

	for (size_t i = 0; i < SESSION_COMMANDS; i++) {
		if (s->command[i].state != COMMAND_FREE)
			continue;
		command_start(&s->command[i], &s->ch, number, body, len);
		return;
	}
	channel_send(&s->ch, SESSION_EXIT, number, 0, &full, sizeof(full));
}

static void take_exec(struct session *s, const struct session_frame *frame, uint8_t *body)
{
	if (!frame->command || find(s, frame->command) || (s->exec.body && s->exec_number != frame->command))
		channel_broken("a command with a number that cannot be");
	if (!s->exec.body && !(frame->flags & SESSION_MORE)) {
		start(s, frame->command, body, frame->len);
		return;
	}
	channel_collect(&s->exec, frame, body);
	s->exec_number = frame->command;
	if (frame->flags & SESSION_MORE)
		return;
	start(s, frame->command, s->exec.body, s->exec.len);
	channel_forget(&s->exec);
}

static void take_frame(struct session *s, const struct session_frame *frame, uint8_t *body)
{
	struct command *c;

	switch (frame->type) {
	case SESSION_EXEC:
		take_exec(s, frame, body);
		break;
	case SESSION_DATA:
	case SESSION_EOF:
	case SESSION_CREDIT:
	case SESSION_SIGNAL:
	case SESSION_WINSIZE:
		c = find(s, frame->command);
		if (c) /* else: it met the command's EXIT on its way */
			command_frame(c, &s->ch, frame, body);
		break;
	case SESSION_WAKE:
		take_wake(body, frame->len);
		break;
	case SESSION_BYE:
		s->bye = true;
		break;
	default:
		channel_broken("a frame of an unknown type");
	}
}

static void take_frames(struct session *s)
{
	struct session_frame frame;
	uint8_t *body;

	s->more = false;
	while (!s->bye) {
		if (channel_tight(&s->ch)) {
			s->more = true;
			return;
		}
		if (!channel_next(&s->ch, &frame, &body))
			return;
		take_frame(s, &frame, body);
	}
}

/* ---- the kernel's log ---- */

static void send_log(struct session *s, unsigned most)
{
	while (s->kmsg >= 0 && most-- && channel_room(&s->ch) >= RECORD_MOST) {
		long n = SYS(read, s->kmsg, channel_body(&s->ch), RECORD_MOST);

		if (n == -EPIPE) /* records were lost, before they were read: the next one is there */
			continue;
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0)
			close_fd(&s->kmsg);
		else
			channel_seal(&s->ch, SESSION_KMSG, 0, 0, (size_t)n);
	}
}

/* ---- children ---- */

/* Orphans are init's too. */
static void reap(struct session *s)
{
	struct signalfd_siginfo info;
	int status = 0;
	long pid;

	while (SYS(read, s->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = SYS(wait4, -1, &status, WNOHANG, NULL)) > 0) {
		for (size_t i = 0; i < SESSION_COMMANDS; i++) {
			struct command *c = &s->command[i];

			if (c->pid == pid && c->state != COMMAND_FREE && c->state != COMMAND_DEAD) {
				command_reaped(c, &s->ch, status);
				break;
			}
		}
	}
}

/* ---- the loop ---- */

/* A deadline that has passed needs no waiting: what it waits for now is an event. */
static long wait_ms(const struct session *s)
{
	uint64_t next = UINT64_MAX;

	if (s->more && !channel_tight(&s->ch))
		return 0;
	for (size_t i = 0; i < SESSION_COMMANDS; i++) {
		const uint64_t at = command_deadline(&s->command[i]);

		if (at > s->asked_ns && at < next)
			next = at;
	}
	return next == UINT64_MAX ? -1 : (long)((next - s->asked_ns) / NS_PER_MS + 1);
}

/* While the way out is tight nothing is done that would send. */
static void watch(struct session *s)
{
	const bool tight = channel_tight(&s->ch);
	const size_t waits = s->ch.out_end - s->ch.out_at, room = channel_room(&s->ch);

	s->fds[0] = (struct pollfd){ .fd = s->ch.fd, .events = tight ? 0 : POLLIN };
	s->fds[0].events |= waits ? POLLOUT : 0;
	s->fds[1] = (struct pollfd){ .fd = tight ? -1 : s->signals, .events = POLLIN };
	s->fds[2] = (struct pollfd){ .fd = waits < LOG_WAITS ? s->kmsg : -1, .events = POLLIN };
	for (size_t i = 0; i < SESSION_COMMANDS; i++) {
		struct pollfd *fds = &s->fds[3 + i * COMMAND_FDS];

		if (!tight)
			command_watch(&s->command[i], room, fds);
		for (int k = 0; tight && k < COMMAND_FDS; k++)
			fds[k] = (struct pollfd){ .fd = -1 };
	}
}

/* Each is the first in turn, as the way out may have room for some only. */
static void serve_commands(struct session *s)
{
	s->turn++;
	for (size_t i = 0; i < SESSION_COMMANDS; i++) {
		const size_t at = (i + s->turn) % SESSION_COMMANDS;

		command_events(&s->command[at], &s->ch, &s->fds[3 + at * COMMAND_FDS]);
	}
}

/* What the kernel said while a command ran comes before its end. */
static void end_commands(struct session *s)
{
	bool any = false;

	for (size_t i = 0; i < SESSION_COMMANDS; i++)
		any |= s->command[i].state == COMMAND_DEAD;
	if (!any)
		return;
	s->asked_ns = clock_ns(CLOCK_MONOTONIC);
	for (size_t i = 0; i < SESSION_COMMANDS; i++) {
		if (!command_ends(&s->command[i], &s->ch, s->asked_ns))
			continue;
		send_log(s, LOG_AT_END);
		command_finish(&s->command[i], &s->ch);
	}
}

static void serve(struct session *s)
{
	watch(s);
	SYS(poll, s->fds, COUNT(s->fds), wait_ms(s));
	if (s->fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
		if (channel_tight(&s->ch))
			s->ch.closed |= s->fds[0].revents & (POLLHUP | POLLERR);
		else
			channel_fill(&s->ch);
	}
	take_frames(s);
	if (!channel_tight(&s->ch)) {
		serve_commands(s);
		if (s->fds[1].revents)
			reap(s);
		if (s->fds[2].revents)
			send_log(s, LOG_AT_ONCE);
	}
	if (!channel_tight(&s->ch))
		end_commands(s);
	channel_flush(&s->ch);
}

/* ---- start ---- */

static void say_hello(struct session *s)
{
	struct session_hello hello;
	struct utsname name;
	size_t len;

	memset(&hello, 0, sizeof(hello));
	SYS(uname, &name);
	len = text_len(name.release);
	hello.version = SESSION_VERSION;
	memcpy(hello.release, name.release, len < sizeof(hello.release) ? len : sizeof(hello.release) - 1);
	hello.up_ns = clock_ns(CLOCK_BOOTTIME);
	channel_send(&s->ch, SESSION_HELLO, 0, 0, &hello, sizeof(hello));
}

static int open_signals(void)
{
	const uint64_t mask = 1ull << (SIGCHLD - 1);

	SYS(rt_sigprocmask, SIG_BLOCK, &mask, NULL, sizeof(mask));
	return (int)SYS(signalfd4, -1, &mask, sizeof(mask), SFD_CLOEXEC | SFD_NONBLOCK);
}

void session_run(const struct channel *ch, int kmsg)
{
	struct session s;
	uint8_t *rings = map_memory((size_t)SESSION_COMMANDS * SESSION_WINDOW);

	memset(&s, 0, sizeof(s));
	if (!rings)
		channel_broken("no memory");
	for (size_t i = 0; i < SESSION_COMMANDS; i++)
		s.command[i].in.ring = rings + i * SESSION_WINDOW;
	s.kmsg = kmsg;
	s.signals = open_signals();
	if (s.signals < 0)
		channel_broken("no descriptor for signals");
	s.ch = *ch;
	say_hello(&s);
	while (!s.bye && !s.ch.closed)
		serve(&s);
	power_off();
}
