/*
 * The streams of a command. Only what the other end has given credit for is read of an output, and what
 * a command does not read waits in a ring as large as the window: a stream stands still alone.
 */
#ifndef GUEST_STREAM_H
#define GUEST_STREAM_H

#include "channel.h"

#include <poll.h>

struct input { /* stream 0 */
	int fd;        /* -1: the command reads no more, or has had the end */
	bool ended;    /* no more will come */
	bool terminal; /* its end is a character */
	uint8_t last;  /* byte that was written */
	uint8_t *ring; /* SESSION_WINDOW bytes: what the command has not read yet */
	uint32_t at, len;
	uint32_t done; /* bytes that it took, and that no credit was given for yet */
};

struct output { /* stream 1 or 2 */
	int fd; /* -1: it ended */
	unsigned stream;
	uint32_t credit; /* bytes that may be sent */
	uint32_t owed;   /* bytes that the command had written when it died, and that were not sent yet */
};

void input_take(struct input *in, struct channel *ch, uint32_t command, const uint8_t *body, uint32_t len);
void input_end(struct input *in); /* no more comes */
void input_watch(const struct input *in, struct pollfd *ret);
void input_event(struct input *in, struct channel *ch, uint32_t command, int revents);

void output_watch(const struct output *out, size_t room, struct pollfd *ret);
void output_event(struct output *out, struct channel *ch, uint32_t command);
/* Close it and tell, if it has not ended */
void output_end(struct output *out, struct channel *ch, uint32_t command);
void output_credit(struct output *out, uint32_t bytes);
/* The command has died: what it has written is to arrive. */
void output_owes(struct output *out);
/* Nothing of it is left, and others keep it open: its end would not come by itself. */
bool output_lingers(const struct output *out);

#endif
