/* What lkvm wants done, over a channel: HELLO, then commands until BYE. */
#ifndef GUEST_SESSION_H
#define GUEST_SESSION_H

struct channel;

/* @ch: it goes on with that; @kmsg: the kernel's log, or -1. It ends with a power-off. */
_Noreturn void session_run(const struct channel *ch, int kmsg);

#endif
