/*
 * A command that lkvm has sent: its process, streams and end.
 *
 *	FREE -> STARTING: it was forked, and becomes the program -> FREE: it cannot (EXIT)
 *	        -> RUNNING (STARTED) -> DEAD: its streams have not ended yet -> SYNCING -> FREE (EXIT)
 */
#ifndef GUEST_COMMAND_H
#define GUEST_COMMAND_H

#include "stream.h"

enum command_state { COMMAND_FREE, COMMAND_STARTING, COMMAND_RUNNING, COMMAND_DEAD, COMMAND_SYNCING };

struct command {
	enum command_state state;
	uint32_t number;
	bool terminal;
	int start_fd; /* tells of the program: it ends when that runs, or has a struct start_error */
	long pid;     /* SYNCING: of who writes all to the disks */
	uint64_t begun_ns, died_ns;
	uint64_t signals; /* that came before the program ran: 1 << (number - 1) */
	struct input in;
	struct output out[2];
	struct session_exit exit;
};

#define COMMAND_FDS 4 /* of poll(2) */

/* A whole EXEC; @c is free, and its ring there. */
void command_start(struct command *c, struct channel *ch, uint32_t number, uint8_t *body, size_t len);
/* All other frames that are for a command */
void command_frame(struct command *c, struct channel *ch, const struct session_frame *frame,
		   const uint8_t *body);
void command_watch(const struct command *c, size_t room, struct pollfd fds[COMMAND_FDS]);
void command_events(struct command *c, struct channel *ch, const struct pollfd fds[COMMAND_FDS]);
/* A process of it has died: wait(2)'s status. */
void command_reaped(struct command *c, struct channel *ch, int status);
/* True: it has just come to its end, and command_finish() is due. */
bool command_ends(struct command *c, struct channel *ch, uint64_t now_ns);
void command_finish(struct command *c, struct channel *ch);
/* When command_ends() is to be asked again; UINT64_MAX: after the next event */
uint64_t command_deadline(const struct command *c);

#endif
