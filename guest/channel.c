/* Frames in and out over the port; see channel.h. */
#include "channel.h"

#include <errno.h>
#include <sys/mman.h>

void channel_broken(const char *what)
{
	say("lkvm init: session: ");
	say(what);
	say("\n");
	power_off();
}

void channel_init(struct channel *ch, int fd)
{
	*ch = (struct channel){ .fd = fd, .in = map_memory(CHANNEL_BYTES), .out = map_memory(CHANNEL_BYTES) };
	if (!ch->in || !ch->out)
		channel_broken("no memory");
}

/* ---- in ---- */

/* Room behind what has arrived for a whole frame; what lies before it is moved only if there is none. */
static void make_way(struct channel *ch, size_t bytes)
{
	if (ch->in_at == ch->in_end)
		ch->in_at = ch->in_end = 0;
	if (CHANNEL_BYTES - ch->in_at >= bytes)
		return;
	memcpy(ch->in, ch->in + ch->in_at, ch->in_end - ch->in_at);
	ch->in_end -= ch->in_at;
	ch->in_at = 0;
}

void channel_fill(struct channel *ch)
{
	make_way(ch, FRAME_HEAD + SESSION_MOST);
	while (ch->in_end < CHANNEL_BYTES) {
		long n = SYS(read, ch->fd, ch->in + ch->in_end, CHANNEL_BYTES - ch->in_end);

		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n <= 0) {
			ch->closed = true;
			return;
		}
		ch->in_end += (size_t)n;
	}
}

bool channel_next(struct channel *ch, struct session_frame *ret, uint8_t **ret_body)
{
	const size_t have = ch->in_end - ch->in_at;

	if (have < FRAME_HEAD)
		return false;
	memcpy(ret, ch->in + ch->in_at, FRAME_HEAD);
	if (ret->len > SESSION_MOST)
		channel_broken("a frame is too long");
	if (ret->zero || ret->flags & ~SESSION_MORE ||
	    (ret->flags && ret->type != SESSION_EXEC && ret->type != SESSION_PLAN))
		channel_broken("a frame has unknown flags");
	if (have - FRAME_HEAD < ret->len)
		return false;
	*ret_body = ch->in + ch->in_at + FRAME_HEAD;
	ch->in_at += FRAME_HEAD + ret->len;
	return true;
}

/* ---- in parts ---- */

void channel_collect(struct channel_parts *parts, const struct session_frame *frame, const uint8_t *body)
{
	if (!parts->body)
		parts->body = map_memory(CHANNEL_PARTS);
	if (!parts->body)
		channel_broken("no memory");
	if (frame->len > CHANNEL_PARTS - parts->len)
		channel_broken(frame->type == SESSION_EXEC ? "a command is too long" : "a plan is too long");
	memcpy(parts->body + parts->len, body, frame->len);
	parts->len += frame->len;
}

void channel_forget(struct channel_parts *parts)
{
	SYS(munmap, parts->body, CHANNEL_PARTS);
	*parts = (struct channel_parts){ 0 };
}

/* ---- out ---- */

void channel_flush(struct channel *ch)
{
	while (ch->out_at < ch->out_end) {
		long n = SYS(write, ch->fd, ch->out + ch->out_at, ch->out_end - ch->out_at);

		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n <= 0) {
			ch->closed = true;
			break;
		}
		ch->out_at += (size_t)n;
	}
	/* Never more is moved than what has left. */
	if (ch->out_at >= ch->out_end - ch->out_at) {
		memcpy(ch->out, ch->out + ch->out_at, ch->out_end - ch->out_at);
		ch->out_end -= ch->out_at;
		ch->out_at = 0;
	}
}

bool channel_tight(const struct channel *ch)
{
	return CHANNEL_BYTES - ch->out_end < CHANNEL_SPARE / 2;
}

size_t channel_room(struct channel *ch)
{
	const size_t left = CHANNEL_BYTES - ch->out_end, kept = CHANNEL_SPARE + FRAME_HEAD;

	if (left <= kept)
		return 0;
	return left - kept < SESSION_MOST ? left - kept : SESSION_MOST;
}

uint8_t *channel_body(struct channel *ch)
{
	return ch->out + ch->out_end + FRAME_HEAD;
}

void channel_seal(struct channel *ch, unsigned type, uint32_t command, unsigned stream, size_t len)
{
	const struct session_frame head = {
		.type = (uint8_t)type,
		.stream = (uint8_t)stream,
		.command = command,
		.len = (uint32_t)len,
	};

	memcpy(ch->out + ch->out_end, &head, FRAME_HEAD);
	ch->out_end += FRAME_HEAD + len;
}

void channel_send(struct channel *ch, unsigned type, uint32_t command, unsigned stream, const void *body,
		  size_t len)
{
	if (CHANNEL_BYTES - ch->out_end < FRAME_HEAD + len)
		channel_broken("nobody takes its frames");
	memcpy(channel_body(ch), body, len);
	channel_seal(ch, type, command, stream, len);
}
