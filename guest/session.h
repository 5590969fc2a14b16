/* What lkvm wants done, over a channel: HELLO, then commands until BYE. */
#ifndef GUEST_SESSION_H
#define GUEST_SESSION_H

/* @kmsg: the kernel's log, or -1. It ends with a power-off. */
_Noreturn void session_run(int channel, int kmsg);

#endif
