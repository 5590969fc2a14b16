/* What vm/session.c (the channel) and vm/session-command.c (a command's streams) share. Main thread. */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/console.h"
#include "lkvm/stream.h"
#include "lkvm/timer.h"
#include "lkvm/vm/session.h"

#define TX_FULL (128u << 10) /* bytes of frames that wait for the guest: no stream is read meanwhile */

struct command_in {
	struct stream stream;
	struct loop_source src;
	bool watched;
	bool ended;      /* the guest has been told, or wants no more */
	uint32_t credit; /* bytes that the guest takes */
};

struct command_out {
	struct command *cmd;
	struct stream stream;
	struct loop_source src;
	bool watched;
	bool ended;          /* the guest has sent all */
	bool gone;           /* nobody takes it any more */
	uint8_t *buf;        /* SESSION_WINDOW bytes, a ring; NULL until the first come */
	uint32_t at, n;
	uint32_t owed;       /* bytes that were written and the guest has no credit for yet */
	uint32_t window;     /* bytes that it may send */
};

struct command {
	struct session *session;
	uint32_t id;
	struct session_command cfg; /* argv and the like are not valid any more */
	struct command_in in;
	struct command_out out[2];
	bool exited;
	int output_err; /* the first -errno of what could not be written, and no reader had just left */
	struct session_exit exit;
};

struct session {
	struct session_setup cfg;
	struct loop_source wake; /* eventfd: the worker has something for us */
	struct timer retry;      /* of streams that are not ready, and cannot be watched */

	/* Under the lock: guest's output, a ring of RX_BYTES */
	pthread_mutex_t lock;
	uint8_t *rx;
	uint32_t rx_at, rx_n;
	bool starved; /* the port has more */
	bool asleep;  /* the main thread has seen all of it, and is to be woken */

	atomic_bool closed; /* the worker's: the guest has closed the port */

	struct console_device port; /* .input is NULL: none is there */
	uint8_t *tx;                /* frames for the guest */
	size_t tx_at, tx_n, tx_cap;
	bool up, lost;
	uint8_t *frame; /* the one being taken: head and SESSION_MOST bytes */
	uint32_t next_id;
	struct command *commands[SESSION_COMMANDS];
	uint64_t active_ns;
};

/* ---- session.c ---- */

/**
 * session_frame() - room for a frame's bytes behind the others that wait; session_frame_end() sends it
 * Return: @most bytes, or NULL: no memory
 */
void *session_frame(struct session *s, size_t most);
void session_frame_end(struct session *s, const struct session_frame *head);
/** session_send() - a small frame; one for which there is no memory ends the session */
void session_send(struct session *s, enum session_type type, uint32_t command, unsigned stream,
		  const void *bytes, uint32_t len);
/**
 * session_send_parts() - what may be longer than a frame, in as many as it takes
 * Return: 0 or -ENOMEM: some of it may have been sent
 */
int session_send_parts(struct session *s, enum session_type type, uint32_t command, const uint8_t *bytes,
		       size_t len);
/** session_lose() - it is over, for this reason */
void session_lose(struct session *s, const char *why);
/** session_find() - the one that runs by this number, or NULL */
struct command *session_find(const struct session *s, uint32_t id);
/**
 * session_watch() - wait for events of a command's stream; what can have none (EPERM) is tried again soon
 * Return: is it watched?
 */
bool session_watch(struct session *s, struct loop_source *src, uint32_t events);
static inline bool session_tx_full(const struct session *s)
{
	return s->tx_n >= TX_FULL || s->lost;
}

/* ---- session-command.c ---- */

/** command_pump() - send what its standard input has, as far as the guest and the port take it */
void command_pump(struct command *cmd);
/** command_retry() - the same, and write what waits to be written; it may be gone then */
void command_retry(struct command *cmd);
/** command_frame() - the guest tells of it; Return: NULL, or why that cannot be */
const char *command_frame(struct command *cmd, const struct session_frame *head, const void *bytes);
/** command_drain() - as session_drain(), for one; it may be gone then */
void command_drain(struct command *cmd, int interrupt_fd, int patience_ms);
/** command_free() - write what is taken at once, tell nobody; takes NULL */
void command_free(struct command *cmd);

#endif
