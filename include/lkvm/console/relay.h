/*
 * The terminal of a command whose streams a guest's lkvm serves (`lkvm exec`, `lkvm console`). That lkvm
 * may be a background job on the terminal, and would be stopped when it reads; so it is given one end of a
 * link instead, a pair of sockets, and what passes through the other end is read and written here. The
 * signals of such a command are heard here too, with a terminal or without. Main thread.
 */
#ifndef LKVM_CONSOLE_RELAY_H
#define LKVM_CONSOLE_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "lkvm/console/keys.h"
#include "lkvm/loop.h"

struct console;

/* The callbacks may be NULL where that is said. */
struct relay_config {
	struct loop *loop;
	bool in, out; /* standard input, standard output goes through the link: it is a terminal */
	bool cooked;  /* which edits lines as ever: no keys, no raw mode */
	struct console_keys keys;
	void *ctx;                     /* of these: */
	void (*quit)(void *ctx);       /* Ctrl-a x; may be NULL */
	void (*detach)(void *ctx);     /* Ctrl-a d; NULL: no such key */
	void (*send_break)(void *ctx); /* Ctrl-a b; may be NULL */
	/* The terminal has this size (0, 0: there is none): at the start and at each change; may be NULL */
	void (*resized)(void *ctx, uint16_t cols, uint16_t rows);
	void (*in_ended)(void *ctx);   /* the terminal is at its end; NULL: the link's input is, too */
	void (*out_ended)(void *ctx);  /* the other end of the link is closed, and all of it was taken */
	void (*signalled)(void *ctx, uint32_t signal); /* SIGINT, SIGTERM, SIGQUIT, SIGHUP: we go on */
};

struct relay {
	struct relay_config cfg;
	struct console *console;    /* NULL: there is no link */
	struct loop_source signals; /* signalfd */
	struct loop_source out;     /* the link: our end of it, for output; -1: none */
	struct loop_source in;      /* the same, for input that the link takes again */
	bool out_full;              /* the console takes no more */
};

/**
 * relay_open() - take the signals, and make a link if anything is to go through it
 * @ret_end: the other end of the link, the caller's; -1: there is no link
 * Return: 0 or -errno, logged; relay_close() in either case
 */
int relay_open(struct relay *relay, const struct relay_config *cfg, int *ret_end);
/** relay_start() - take the terminal: raw mode, unless that is cooked; Return: 0 or -errno, logged */
int relay_start(struct relay *relay);
/**
 * relay_finish() - write what has come, wait for the terminal to take it, unless a signal comes, and give it back
 * @patience_ms: how long the terminal may stand still; -1: for ever
 * Return: 0, or -errno of what could not be written
 */
int relay_finish(struct relay *relay, int patience_ms);
/** relay_close() - also of one that was only zeroed */
void relay_close(struct relay *relay);

#endif
