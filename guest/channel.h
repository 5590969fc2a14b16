/*
 * Frames of lkvm/session.h over a descriptor that does not block. Both ways have one buffer, in which
 * frames are made and read where they lie: bytes of a stream are copied by the kernel only.
 *
 * What the other end breaks ends the guest here, with a line on the console.
 */
#ifndef GUEST_CHANNEL_H
#define GUEST_CHANNEL_H

#include "sys.h"

#include "lkvm/session.h"

#define FRAME_HEAD    sizeof(struct session_frame)
#define CHANNEL_BYTES (4 * SESSION_MOST)
#define CHANNEL_PARTS SESSION_EXEC_MOST
#define CHANNEL_SPARE (32u << 10) /* of the way out: kept free for frames that do not wait for room */

struct channel {
	int fd;
	bool closed; /* the other end has hung up */
	uint8_t *in, *out;
	size_t in_at, in_end; /* what has arrived and was not taken yet */
	size_t out_at, out_end;
};

/* On the console, then power off */
_Noreturn void channel_broken(const char *what);

void channel_init(struct channel *ch, int fd);

/* Moves bytes as far as that does not block. */
void channel_fill(struct channel *ch);
void channel_flush(struct channel *ch);

/* The next whole frame; its body stays where it is until channel_fill(). False: there is none */
bool channel_next(struct channel *ch, struct session_frame *ret, uint8_t **ret_body);

/* The body of a frame that may come in parts (SESSION_MORE), as far as it has arrived. Zeroed: nothing */
struct channel_parts {
	uint8_t *body;
	size_t len;
};

void channel_collect(struct channel_parts *parts, const struct session_frame *frame, const uint8_t *body);
void channel_forget(struct channel_parts *parts);

/* A frame with a small body. It always fits, unless channel_tight(). */
void channel_send(struct channel *ch, unsigned type, uint32_t command, unsigned stream, const void *body,
		  size_t len);
/* So little room that nothing more should be done that sends frames, until some have left */
bool channel_tight(const struct channel *ch);

/* A body that is put where it will leave from: at most channel_room() bytes at channel_body(), then the head. */
size_t channel_room(struct channel *ch);
uint8_t *channel_body(struct channel *ch);
void channel_seal(struct channel *ch, unsigned type, uint32_t command, unsigned stream, size_t len);

#endif
