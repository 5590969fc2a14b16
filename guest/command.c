/* See command.h. */
#include "command.h"

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "spawn.h"

#define FLAGS_KNOWN (SESSION_TTY | SESSION_NO_STDIN)

/* ---- start ---- */

static void send_exit(struct command *c, struct channel *ch)
{
	channel_send(ch, SESSION_EXIT, c->number, 0, &c->exit, sizeof(c->exit));
	close_fd(&c->in.fd);
	close_fd(&c->start_fd);
	for (int i = 0; i < 2; i++)
		close_fd(&c->out[i].fd);
	SYS(madvise, c->in.ring, SESSION_WINDOW, MADV_DONTNEED);
	c->state = COMMAND_FREE;
}

static void cannot_start(struct command *c, struct channel *ch, uint32_t status, uint32_t err)
{
	c->exit = (struct session_exit){ .code = status, .err = err };
	send_exit(c, ch);
}

/* The records of a command, in an EXEC. False: no memory */
static bool take_records(struct words *w, char *records, size_t len)
{
	size_t n = 0;

	if (!len || records[len - 1])
		channel_broken("a command's last record has no end");
	for (size_t i = 0; i < len; i += text_len(records + i) + 1)
		n++;
	if (!words_init(w, n))
		return false;
	for (size_t i = 0; i < len; i += text_len(records + i) + 1)
		if (!words_take(w, records + i))
			channel_broken("a command has an unknown record");
	if (!w->argc)
		channel_broken("a command has no name");
	w->owns_streams = true;
	return true;
}

static void adopt(struct command *c, const struct session_exec *how, const struct ends *ends)
{
	c->state = COMMAND_STARTING;
	c->terminal = how->flags & SESSION_TTY;
	c->start_fd = ends->start;
	c->in.fd = ends->in;
	c->in.ended = how->flags & SESSION_NO_STDIN;
	c->in.terminal = c->terminal;
	for (unsigned i = 0; i < 2; i++)
		c->out[i] = (struct output){ ends->out[i], i + 1, SESSION_WINDOW, 0 };
}

void command_start(struct command *c, struct channel *ch, uint32_t number, uint8_t *body, size_t len)
{
	struct session_exec how;
	struct ends ends;
	struct words words;

	*c = (struct command){
		.number = number,
		.start_fd = -1,
		.in = { .fd = -1, .ring = c->in.ring },
		.out = { { .fd = -1 }, { .fd = -1 } },
		.begun_ns = clock_ns(CLOCK_MONOTONIC),
	};
	if (len < sizeof(how))
		channel_broken("a command is too short");
	memcpy(&how, body, sizeof(how));
	if (how.flags & ~(unsigned)FLAGS_KNOWN)
		channel_broken("a command has unknown flags");
	if (!take_records(&words, (char *)body + sizeof(how), len - sizeof(how))) {
		cannot_start(c, ch, STATUS_NO_EXEC, ENOMEM);
		return;
	}
	c->pid = spawn(&words, &how, &ends);
	words_fini(&words);
	if (c->pid < 0)
		cannot_start(c, ch, STATUS_NO_EXEC, (uint32_t)-c->pid);
	else
		adopt(c, &how, &ends);
}

/* It has become the program, or could not. */
static void take_start(struct command *c, struct channel *ch)
{
	const uint32_t pid = (uint32_t)c->pid;
	struct start_error error;

	if (SYS(read, c->start_fd, &error, sizeof(error)) == sizeof(error)) {
		cannot_start(c, ch, error.status, error.err);
		return;
	}
	close_fd(&c->start_fd);
	c->state = COMMAND_RUNNING;
	channel_send(ch, SESSION_STARTED, c->number, 0, &pid, sizeof(pid));
	for (int i = 0; i < 64; i++)
		if (c->signals >> i & 1)
			SYS(kill, -c->pid, i + 1);
}

/* ---- frames ---- */

static void take_signal(struct command *c, uint32_t number)
{
	if (!number || number > 64)
		channel_broken("a signal with an unknown number");
	if (c->state == COMMAND_STARTING)
		c->signals |= 1ull << (number - 1);
	else if (c->state == COMMAND_RUNNING)
		SYS(kill, -c->pid, number);
}

static void take_window(const struct command *c, const struct session_winsize *window)
{
	const struct winsize size = { .ws_row = window->rows, .ws_col = window->columns };

	if (c->terminal && c->out[0].fd >= 0)
		SYS(ioctl, c->out[0].fd, TIOCSWINSZ, &size);
}

/* Who reads an output has gone: the next write is SIGPIPE, and a terminal hangs up. */
static void take_end(struct command *c, struct channel *ch, unsigned stream)
{
	if (!stream) {
		input_end(&c->in);
		return;
	}
	output_end(&c->out[stream - 1], ch, c->number);
	if (c->terminal && stream == 1)
		close_fd(&c->in.fd);
}

static void need(bool good)
{
	if (!good)
		channel_broken("a frame of a wrong length or stream");
}

void command_frame(struct command *c, struct channel *ch, const struct session_frame *frame,
		   const uint8_t *body)
{
	union {
		uint32_t number;
		struct session_winsize window;
	} v;

	if (frame->type == SESSION_DATA) {
		need(!frame->stream);
		input_take(&c->in, ch, c->number, body, frame->len);
		return;
	}
	if (frame->type == SESSION_EOF) {
		need(!frame->len && frame->stream <= 2);
		take_end(c, ch, frame->stream);
		return;
	}
	need(frame->len == sizeof(v));
	memcpy(&v, body, sizeof(v));
	if (frame->type == SESSION_SIGNAL) {
		take_signal(c, v.number);
	} else if (frame->type == SESSION_WINSIZE) {
		take_window(c, &v.window);
	} else {
		need(frame->stream == 1 || frame->stream == 2);
		output_credit(&c->out[frame->stream - 1], v.number);
	}
}

/* ---- events ---- */

void command_watch(const struct command *c, size_t room, struct pollfd fds[COMMAND_FDS])
{
	const bool runs = c->state == COMMAND_RUNNING || c->state == COMMAND_DEAD;

	for (int i = 0; i < COMMAND_FDS; i++)
		fds[i] = (struct pollfd){ .fd = -1 };
	if (c->state == COMMAND_STARTING)
		fds[0] = (struct pollfd){ .fd = c->start_fd, .events = POLLIN };
	if (!runs)
		return;
	input_watch(&c->in, &fds[1]);
	for (int i = 0; i < 2; i++)
		output_watch(&c->out[i], room, &fds[2 + i]);
}

void command_events(struct command *c, struct channel *ch, const struct pollfd fds[COMMAND_FDS])
{
	if (c->state == COMMAND_STARTING && fds[0].revents)
		take_start(c, ch);
	if (c->state != COMMAND_RUNNING && c->state != COMMAND_DEAD)
		return;
	if (fds[1].revents)
		input_event(&c->in, ch, c->number, fds[1].revents);
	for (int i = 0; i < 2; i++)
		if (fds[2 + i].revents)
			output_event(&c->out[i], ch, c->number);
}

/* ---- the end ---- */

void command_reaped(struct command *c, struct channel *ch, int status)
{
	const uint32_t signal = (uint32_t)status & 0x7f;

	if (c->state == COMMAND_SYNCING) {
		send_exit(c, ch);
		return;
	}
	if (c->state == COMMAND_STARTING)
		take_start(c, ch);
	if (c->state != COMMAND_RUNNING)
		return;
	c->state = COMMAND_DEAD;
	c->died_ns = clock_ns(CLOCK_MONOTONIC);
	c->exit = (struct session_exit){
		.code = signal ? 0 : (uint32_t)status >> 8 & 0xff,
		.signal = signal,
		.core = signal && status & 0x80,
		.ran_ns = c->died_ns - c->begun_ns,
	};
	for (int i = 0; i < 2; i++)
		output_owes(&c->out[i]);
}

bool command_ends(struct command *c, struct channel *ch, uint64_t now_ns)
{
	if (c->state != COMMAND_DEAD)
		return false;
	if (now_ns >= command_deadline(c))
		for (int i = 0; i < 2; i++)
			if (c->out[i].fd >= 0 && output_lingers(&c->out[i]))
				output_end(&c->out[i], ch, c->number);
	return c->out[0].fd < 0 && c->out[1].fd < 0;
}

/* What it has written is to be on the disks when its end is known. That may take long: another process does it. */
void command_finish(struct command *c, struct channel *ch)
{
	c->state = COMMAND_SYNCING;
	close_fd(&c->in.fd);
	c->pid = SYS(clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (c->pid > 0)
		return;
	SYS(sync);
	if (!c->pid)
		SYS(exit_group, 0);
	send_exit(c, ch);
}

uint64_t command_deadline(const struct command *c)
{
	return c->state == COMMAND_DEAD ? c->died_ns + SESSION_LINGER_MS * NS_PER_MS : UINT64_MAX;
}
