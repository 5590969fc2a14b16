/*
 * What vm/session.c (the channel), vm/session-command.c (a command's streams) and vm/session-tell.c (what the
 * guest is told of it) share. Main thread.
 */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/console.h"
#include "lkvm/stream.h"
#include "lkvm/timer.h"
#include "lkvm/vm/session.h"

/*
 * Frames that wait for the guest, which may never take them. Streams and commands wait where they are once
 * so much is full; the rest is for the small ones, which are remembered by what they tell if it is full, too.
 */
#define TX_BYTES (256u << 10)
#define RX_BYTES (128u << 10) /* a frame, and as much again */
#define TX_FULL  (128u << 10)
/* Of commands that were not sent yet, beside the longest of them */
#define EXEC_BYTES (2u << 20)

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
	uint8_t *buf;        /* SESSION_WINDOW bytes, a ring; NULL while none wait */
	uint32_t at, n;
	uint32_t owed;       /* bytes that were written and the guest has no credit for yet */
	uint32_t window;     /* bytes that it may send */
};

struct command {
	struct session *session;
	uint32_t id;
	struct session_command cfg; /* argv and the like are not valid any more */
	uint8_t *exec; /* SESSION_EXEC, as far as it was not sent; NULL: all was, and nothing is before */
	size_t exec_at, exec_n;
	/* What it is to be told, and is not sent yet */
	uint64_t signals; /* 1 << (number - 1) */
	unsigned eof;     /* 1 << stream */
	bool resized;     /* to cfg.window */
	struct command_in in;
	struct command_out out[2];
	bool exited;
	bool given_up; /* exited, but it is not known how */
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
	uint8_t *tx;                /* frames for the guest: TX_BYTES */
	size_t tx_at, tx_n;
	bool bye, woken; /* is to be sent */
	const char *plan; /* likewise, and how much of it is not yet; NULL: it was, or was not asked for */
	size_t plan_n;
	bool asked, planned, up, lost;
	const char *why; /* it is lost; NULL: the port was closed */
	bool lost_told;  /* to whoever owns the session */
	unsigned turn;  /* which command is served first */
	uint8_t *frame; /* the one being taken: head and SESSION_MOST bytes */
	uint32_t next_id;
	struct command *commands[SESSION_COMMANDS];
	uint64_t active_ns;
};

/* ---- session.c ---- */

/**
 * session_frame() - room for a frame's bytes behind the others that wait; session_frame_end() sends it
 * Return: @most bytes; for SESSION_MOST there is room while session_tx_full() is not; NULL: there is none
 */
void *session_frame(struct session *s, size_t most);
void session_frame_end(struct session *s, const struct session_frame *head);
/**
 * session_send() - a frame, as a whole
 * Return: it was sent, or nothing is any more; false: there is no room, command_pump() comes when there is
 */
bool session_send(struct session *s, enum session_type type, uint32_t command, unsigned stream,
		  const void *bytes, uint32_t len);
/** session_go_on() - command_pump() for all, soon */
void session_go_on(struct session *s);
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

/** command_open() - the host's ends, as cmd->cfg has them */
void command_open(struct command *cmd);
/** command_end_input() - no more comes; @tell: the guest does not know yet */
void command_end_input(struct command *cmd, bool tell);
/** command_close_output() - nobody takes it any more; @tell: likewise */
void command_close_output(struct command_out *out, bool tell);
/** command_end_if_over() - its owner is told, and it is gone */
void command_end_if_over(struct command *cmd);
/** command_drop() - take it out of its slot, and free it */
void command_drop(struct command *cmd);
/** command_new() - one without anything, for a load; NULL: no memory */
struct command *command_new(struct session *s);
/** command_pump() - send what there is to send, as far as the guest and the port take it */
void command_pump(struct command *cmd);
/** command_retry() - the same, and write what waits to be written; it may be gone then */
void command_retry(struct command *cmd);
/** command_frame() - the guest tells of it; Return: NULL, or why that cannot be */
const char *command_frame(struct command *cmd, const struct session_frame *head, const void *bytes);
/** command_give_up() - nothing is heard of it any more; it may be gone then */
void command_give_up(struct command *cmd);
/** command_drain() - as session_drain(), for one; it may be gone then */
void command_drain(struct command *cmd, int interrupt_fd, int patience_ms);
/** command_free() - write what is taken at once, tell nobody; takes NULL */
void command_free(struct command *cmd);

/* ---- session-leave.c ---- */

/* struct session_command's ended(), where nobody cares */
void command_forgotten(void *ctx, const struct session_exit *exit, int output_err);

/* ---- session-tell.c: what there is no room for is told later ---- */

/** command_take_exec() - make the SESSION_EXEC of cmd->cfg; Return: 0, -E2BIG, -EBUSY, -ENOMEM */
int command_take_exec(struct command *cmd);
/** command_tell() - what is still to be told, as far as there is room */
void command_tell(struct command *cmd);
/** command_end_stream() - EOF, once */
void command_end_stream(struct command *cmd, unsigned stream);
/** command_give_credit() - only what its reader has really taken; little is not worth a frame */
void command_give_credit(struct command_out *out);
void command_resize(struct command *cmd, const struct session_winsize *window);
static inline unsigned command_stream(const struct command_out *out)
{
	return 1 + (unsigned)(out - out->cmd->out);
}

#endif
