/*
 * A session: the guest runs commands for us. lkvm's init (guest/init.c) mounts a folder of the host as
 * its root and says hello over a virtio console port; then commands are sent, and their streams, in the
 * frames of lkvm/session.h.
 *
 *	worker:       port -> session's ring --(eventfd)--> main thread -> descriptors
 *	main thread:  descriptors -> frames -> port's input
 *
 * The main thread calls all of this. What the guest sends is judged: a frame that cannot be ends the
 * session. Nothing waits for a reader: a stream whose reader is slow gets no more credit, and that is all.
 * Nor is anything queued for a guest that takes nothing, but the longest command and 2 MiB of others.
 */
#ifndef LKVM_VM_SESSION_H
#define LKVM_VM_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "lkvm/loop.h"
#include "lkvm/session.h"
#include "lkvm/state.h"
#include "lkvm/virtio-console.h"

struct console;
struct session;

struct session_setup {
	struct loop *loop;
	void *ctx;
	/* It waits for session_plan(), and nothing in it is of this session yet. Not each guest asks. */
	void (*asked)(void *ctx);
	void (*hello)(void *ctx, const struct session_hello *hello);
	/* A record of the kernel's log, as /dev/kmsg has it, without the newline at its end; may be NULL */
	void (*kmsg)(void *ctx, const char *record, size_t len);
	/*
	 * No command will tell of its end: the guest has sent what cannot be, or has closed the port (@why is
	 * NULL). Who does not believe that the guest ends by itself calls session_give_up().
	 */
	void (*lost)(void *ctx, const char *why);
};

/** session_new() - Return: 0 or -errno, logged */
int session_new(const struct session_setup *setup, struct session **ret);
/** session_free() - what is left of the commands' output is written as far as it is taken at once; takes NULL */
void session_free(struct session *s);

/** session_port() - what the device's port leads to */
struct virtio_port session_port(struct session *s);

/**
 * session_plan() - answer what the guest has asked for; once
 * @records: KEY=VALUE with a NUL behind each, for guest/init.c; they stay until session_free()
 * Return: 0, -E2BIG, -ENOTCONN (it has not asked) or -EPIPE (the session is lost); not logged
 */
int session_plan(struct session *s, const char *records, size_t len);
/** session_wake() - the guest goes on from a snapshot: tell it the time, and something that others do not have */
void session_wake(struct session *s);

/* A command; all is copied but the descriptors, which stay open and the caller's until it has ended. */
struct session_command {
	char *const *argv; /* NULL at the end */
	char *const *envp;
	const char *cwd, *user; /* NULL: "/", root */
	int fd[3];              /* -1: closed */
	/* A terminal, for all three streams: the console that it is attached to; NULL: none */
	struct console *tty;
	/* Without that: a terminal in the guest, of this size, whose bytes are those of fd[0] and fd[1] */
	bool terminal;
	struct session_winsize window;
	bool lasting; /* when the guest goes on from a snapshot, session_attach() gives it new ends; one at most */
	void *ctx;
	/* It has printed this on standard output, which is not written yet; may be NULL */
	void (*printed)(void *ctx, const void *bytes, size_t len);
	/*
	 * It is over, and its output has been written; @output_err: or the first -errno of what could not be,
	 * though no reader had just left. @exit->err: errno, it could not be started. @exit is NULL: nobody
	 * knows how it ended, or whether
	 */
	void (*ended)(void *ctx, const struct session_exit *exit, int output_err);
};

/**
 * session_run() - start a command; after hello()
 * @ret_id: what it is called below, until it has ended; may be NULL
 * Return: 0, -E2BIG, -EAGAIN (SESSION_COMMANDS are running), -EBUSY (the guest has not taken commands before
 *	it, which are long), -ENOTCONN (no hello yet), -EPIPE (the session is lost) or -ENOMEM; not logged
 */
int session_run(struct session *s, const struct session_command *cmd, uint32_t *ret_id);
/** session_signal() - to the command's process group; @signal is 1 to 64 */
void session_signal(struct session *s, uint32_t id, uint32_t signal);
/** session_resize() - its terminal has this size now; nothing for one without */
void session_resize(struct session *s, uint32_t id, const struct session_winsize *window);
/**
 * session_leave() - nobody waits for it any more: it gets SIGHUP, its streams end, ended() is not called,
 * and its descriptors may be closed; not for one with a console as its terminal
 */
void session_leave(struct session *s, uint32_t id);

/** session_give_up() - it is lost: end the commands that it still has */
void session_give_up(struct session *s);
#define SESSION_WHY_BYTES 80
/** session_why() - what the guest has done, as it is said behind its name, once the session is lost */
void session_why(const struct session *s, char ret[SESSION_WHY_BYTES]);

/** session_active_ns() - when a command last printed something, by CLOCK_MONOTONIC; 0: never */
uint64_t session_active_ns(const struct session *s);

/** session_drain() - the guest has ended: take what it had sent, and write it out; as console_drain() */
void session_drain(struct session *s, int interrupt_fd, int patience_ms);

/* ---- vm/session-state.c: what of it belongs to the guest ---- */

/* struct session; -EBUSY while something is being sent. Then session_count() commands, likewise: */
extern const struct state_type session_state_type;
extern const struct state_type session_command_type;
unsigned session_count(const struct session *s);
/** session_command_at() - the struct that session_command_type is of; @index is below session_count() */
void *session_command_at(struct session *s, unsigned index);

/* After they were loaded, and before the guest runs: */

/** session_is_asked() - does the guest wait for its plan? session_is_up() - it takes commands */
bool session_is_asked(const struct session *s);
bool session_is_up(const struct session *s);
/**
 * session_attach() - the lasting command goes on with these ends, the others are left
 * @cmd: as of session_run(), but for what the guest knows already; NULL: all are left
 * Return: is there one?
 */
bool session_attach(struct session *s, const struct session_command *cmd);
/** session_has_lasting() - is there one? session_lasting_terminal() - has it a terminal in the guest? */
bool session_has_lasting(const struct session *s);
bool session_lasting_terminal(const struct session *s);

/** session_bye() - the guest may power off */
void session_bye(struct session *s);

#endif
