/* See stream.h. */
#include "stream.h"

#include <asm/termbits.h>
#include <errno.h>
#include <sys/ioctl.h>

#define CREDIT_LEAST (SESSION_WINDOW / 8) /* no frame for less */
#define ROOM_LEAST   4096                 /* no frames of a few bytes while the way out is full */

/* ---- in ---- */

static void input_stop(struct input *in, struct channel *ch, uint32_t command)
{
	if (in->fd >= 0 && !in->ended)
		channel_send(ch, SESSION_EOF, command, 0, NULL, 0);
	close_fd(&in->fd);
	in->len = 0;
}

/* Return: how many bytes it took */
static uint32_t input_write(struct input *in, struct channel *ch, uint32_t command, const uint8_t *from,
			    uint32_t len)
{
	long n = SYS(write, in->fd, from, len);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0) {
		input_stop(in, ch, command);
		return 0;
	}
	in->last = from[n - 1];
	in->done += (uint32_t)n;
	if (in->done >= CREDIT_LEAST && !in->ended) {
		channel_send(ch, SESSION_CREDIT, command, 0, &in->done, sizeof(in->done));
		in->done = 0;
	}
	return (uint32_t)n;
}

static void ring_put(struct input *in, const uint8_t *from, uint32_t len)
{
	const uint32_t end = (in->at + in->len) % SESSION_WINDOW;
	const uint32_t first = len < SESSION_WINDOW - end ? len : SESSION_WINDOW - end;

	memcpy(in->ring + end, from, first);
	memcpy(in->ring, from + first, len - first);
	in->len += len;
}

/* The end of a terminal is its character for that, twice behind the begin of a line. False: it is full */
static bool end_terminal(const struct input *in)
{
	struct termios mode = { 0 };
	uint8_t end[2];
	const size_t n = in->last && in->last != '\n' ? 2 : 1;

	if (SYS(ioctl, in->fd, TCGETS, &mode) || !(mode.c_lflag & ICANON))
		return true;
	end[0] = end[1] = mode.c_cc[VEOF];
	return SYS(write, in->fd, end, n) != -EAGAIN;
}

/* Behind the last byte comes the end. */
static void input_finish(struct input *in)
{
	if (in->fd >= 0 && in->ended && !in->len && (!in->terminal || end_terminal(in)))
		close_fd(&in->fd);
}

void input_take(struct input *in, struct channel *ch, uint32_t command, const uint8_t *body, uint32_t len)
{
	uint32_t n = 0;

	if (in->ended)
		channel_broken("data behind the end of a stream");
	if (in->fd < 0)
		return;
	if (len > SESSION_WINDOW - in->len - in->done)
		channel_broken("more data than there is credit for");
	if (!in->len && len)
		n = input_write(in, ch, command, body, len);
	if (in->fd >= 0)
		ring_put(in, body + n, len - n);
}

void input_end(struct input *in)
{
	in->ended = true;
	input_finish(in);
}

void input_watch(const struct input *in, struct pollfd *ret)
{
	*ret = (struct pollfd){ .fd = in->fd, .events = in->len || in->ended ? POLLOUT : 0 };
}

void input_event(struct input *in, struct channel *ch, uint32_t command, int revents)
{
	if (in->fd >= 0 && revents & (POLLERR | POLLHUP))
		input_stop(in, ch, command);
	while (in->fd >= 0 && in->len) {
		const uint32_t whole = SESSION_WINDOW - in->at, most = in->len < whole ? in->len : whole;
		const uint32_t n = input_write(in, ch, command, in->ring + in->at, most);

		if (!n)
			return;
		in->at = (in->at + n) % SESSION_WINDOW;
		in->len -= n;
	}
	input_finish(in);
}

/* ---- out ---- */

void output_watch(const struct output *out, size_t room, struct pollfd *ret)
{
	const bool wanted = out->credit && room >= ROOM_LEAST;

	*ret = (struct pollfd){ .fd = wanted ? out->fd : -1, .events = POLLIN };
}

void output_event(struct output *out, struct channel *ch, uint32_t command)
{
	size_t most = channel_room(ch);
	long n;

	if (out->fd < 0 || !out->credit || most < ROOM_LEAST)
		return;
	if (most > out->credit)
		most = out->credit;
	n = SYS(read, out->fd, channel_body(ch), most);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) { /* EIO: nobody has the terminal any more */
		output_end(out, ch, command);
		return;
	}
	channel_seal(ch, SESSION_DATA, command, out->stream, (size_t)n);
	out->credit -= (uint32_t)n;
	out->owed -= out->owed < n ? out->owed : (uint32_t)n;
}

void output_end(struct output *out, struct channel *ch, uint32_t command)
{
	if (out->fd >= 0)
		channel_send(ch, SESSION_EOF, command, out->stream, NULL, 0);
	close_fd(&out->fd);
}

void output_credit(struct output *out, uint32_t bytes)
{
	if (bytes > SESSION_WINDOW - out->credit)
		channel_broken("more credit than was taken");
	out->credit += bytes;
}

void output_owes(struct output *out)
{
	int n = 0;

	if (out->fd >= 0 && !SYS(ioctl, out->fd, FIONREAD, &n))
		out->owed = (uint32_t)n;
}

bool output_lingers(const struct output *out)
{
	struct pollfd now = { .fd = out->fd };

	return !out->owed && SYS(poll, &now, 1, 0) == 0;
}
