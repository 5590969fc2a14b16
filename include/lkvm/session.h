/*
 * What lkvm and its init in the guest (guest/session.c) say to each other: frames over one virtio console
 * port, which the guest finds by its name: SESSION_PORT stands in /sys/class/virtio-ports/vport0p1/name
 * (or another number). Nothing here needs a C library.
 *
 *	| struct session_frame | len bytes |     little-endian, as both ends are x86-64
 *
 *	init                                    lkvm
 *	  ASK                            ->          its modules are loaded, nothing is mounted: what is to be?
 *	                                 <-  PLAN    that; init mounts it. Perhaps hours later, see below
 *	  HELLO {version, release}       ->          the guest is up; no command is sent before that
 *	                                 <-  EXEC    a command; its number is the sender's choice
 *	  STARTED {pid} or EXIT          ->
 *	                                 <-  DATA 0, EOF 0
 *	  DATA 1, DATA 2, EOF 1, EOF 2   ->
 *	  CREDIT 0                       ->          <- CREDIT 1, CREDIT 2
 *	                                 <-  SIGNAL, WINDOW
 *	  EXIT {code or signal}          ->          after EOF of both streams, or SESSION_LINGER_MS later:
 *	                                             a daemon may keep them open
 *	  KMSG                           ->          records of the kernel's log, also before any command
 *	                                 <-  BYE     all that was to be had has arrived
 *	  powers off
 *
 * A guest that waits for its plan knows nothing of what it is for: it is saved then, and goes on from there
 * as often as it is wanted. Whoever goes on from any snapshot is told so first:
 *
 *	                                 <-  WAKE {time, seed}
 *
 * Back-pressure: nobody sends more than SESSION_WINDOW bytes of a stream that the other has not given
 * credit for. So one stream that stands still holds up no other, and neither side needs more memory than
 * that for each. What has no stream (all but DATA) is always read, and small.
 *
 * A stream that is left: EOF 0 by init, as the command reads no more; what is on its way is dropped. EOF 1
 * or 2 by lkvm, as nobody takes it: the command gets SIGPIPE, or its terminal hangs up. init still sends
 * its own EOF of a stream, once; EOF of all outputs comes before the EXIT of a command that was STARTED.
 * EOF 0 of a terminal is its end-of-file character, unless that is off.
 *
 * What was written before a command's death arrives before its EXIT, however long lkvm gives no credit.
 * Nothing of a command comes after its EXIT; what lkvm sends to it then is dropped. A SIGNAL before
 * STARTED is sent when the program runs. Only BYE ends the guest, as init cannot know of another command;
 * a port that is closed at the other end is a BYE. It waits for nothing that still runs.
 *
 * Neither side trusts the other: an unknown type, a length over SESSION_MOST, a stream that ended or more
 * than the credit ends the connection; init says so on the console and powers off. An EXEC or PLAN that is
 * longer comes in parts, the last without MORE, and no other of its kind in between.
 */
#ifndef LKVM_SESSION_H
#define LKVM_SESSION_H

#include <stddef.h>
#include <stdint.h>

#define SESSION_PORT      "lkvm.session"
#define SESSION_VERSION   1
#define SESSION_MOST      (64u << 10) /* bytes behind a frame's head */
#define SESSION_EXEC_MOST (16u << 20) /* of all parts: 10,000 arguments, and longer ones than execve(2) takes */
#define SESSION_PLAN_MOST (16u << 20) /* likewise */
#define SESSION_WINDOW    (256u << 10)
#define SESSION_COMMANDS  64 /* at a time */
#define SESSION_LINGER_MS 1000

enum session_type {
	SESSION_HELLO = 1, /* init: struct session_hello */
	SESSION_EXEC,      /* lkvm: struct session_exec, then records KEY=VALUE with a NUL behind each */
	SESSION_STARTED,   /* init: uint32_t pid */
	SESSION_DATA,      /* both: bytes of a stream */
	SESSION_EOF,       /* both: the stream's sender has no more; its reader wants no more */
	SESSION_CREDIT,    /* both: uint32_t bytes that have been taken from the stream's window */
	SESSION_SIGNAL,    /* lkvm: uint32_t, to the command's process group */
	SESSION_WINSIZE,   /* lkvm: struct session_winsize */
	SESSION_EXIT,      /* init: struct session_exit */
	SESSION_KMSG,      /* init: one record as /dev/kmsg has it; command is 0 */
	SESSION_BYE,       /* lkvm: init may power off */
	SESSION_ASK,       /* init: nothing */
	SESSION_PLAN,      /* lkvm: records KEY=VALUE with a NUL behind each: guest/init.c */
	SESSION_WAKE,      /* lkvm: struct session_wake */
};

#define SESSION_MORE 1 /* a flag: the next frame of this type goes on */

struct session_frame {
	uint8_t type;     /* enum session_type */
	uint8_t flags;
	uint8_t stream;   /* 0, 1, 2; a terminal has 0 and 1 only */
	uint8_t zero;
	uint32_t command; /* which one, of several; 0: none */
	uint32_t len;
};

struct session_hello {
	uint32_t version;
	char release[64]; /* of the kernel, ended by a NUL */
	uint64_t up_ns;   /* since the kernel started */
};

/* Of a guest that goes on from a snapshot: its clock stood still, and others may go on from the same one. */
#define SESSION_SEED_BYTES 64
struct session_wake {
	uint64_t realtime_ns; /* since 1970, when this was sent */
	uint8_t seed[SESSION_SEED_BYTES]; /* for its random number generator; left out if the host has none */
};
#define SESSION_WAKE_NO_SEED offsetof(struct session_wake, seed)

struct session_winsize {
	uint16_t rows, columns;
};

#define SESSION_TTY      1 /* a pseudo terminal is all three streams */
#define SESSION_NO_STDIN 2 /* descriptor 0 is closed, as the caller's was */

/* Records: those of /lkvm/session that are of a command (arg=, env=, cwd=), and user=NAME or its number.
 * Only env= are the environment: init adds nothing. A name without a slash is looked for in its PATH. */
struct session_exec {
	uint32_t flags;
	struct session_winsize window;
};

struct session_exit {
	uint32_t code;    /* 0..255; 126 and 127 as a shell has them; 0 if a signal ended it */
	uint32_t signal;  /* it died of this one; 0: it did not */
	uint32_t core;    /* it dumped core */
	uint32_t err;     /* it could not be started: errno of what failed; else 0. ESRCH: there is no such user.
			   * EAGAIN: SESSION_COMMANDS run */
	uint64_t ran_ns;  /* from EXEC to its death */
};

#endif
