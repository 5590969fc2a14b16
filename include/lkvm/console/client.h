/*
 * The clients of a guest's console: beside standard input and output, they see what it prints and may
 * type; they come and go while the guest runs.
 *
 * The last 256 KB of the output are kept, whether anybody looks or not. A client is shown the end of that,
 * and from there on what comes, out of the same ring. So he holds up nobody: one who is slower than the
 * ring is long loses what he has not taken in time, and a note in his output says how much that was. What
 * clients type, and standard input, goes to the guest as it comes.
 *
 * Main thread. A console has clients only if its output is looked at, neither plain nor unread.
 */
#ifndef LKVM_CONSOLE_CLIENT_H
#define LKVM_CONSOLE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_ALL_LINES   UINT32_MAX
#define CONSOLE_MAX_CLIENTS 16

struct console;
struct console_client;

struct console_client_config {
	int in_fd, out_fd; /* the caller's, open until console_client_free(); no input: -1 */
	uint32_t lines;    /* of what was printed before: at most so many, the last may be incomplete */
	bool text;         /* without escape sequences in those: a terminal would answer some of them */
	/* The output takes no more: -errno, -EPIPE if its reader has left. Must free the client */
	void (*over)(void *ctx, int err);
	void *ctx;
};

/**
 * console_client_new() - nothing is written or read yet
 * Return: 0, -EAGAIN (CONSOLE_MAX_CLIENTS are there) or -ENOMEM; not logged
 */
int console_client_new(struct console *con, const struct console_client_config *cfg, struct console_client **ret);
/** console_client_start() - may call over(), then there is no such client any more */
void console_client_start(struct console_client *c);
/** console_client_free() - what it has not taken is dropped; takes NULL */
void console_client_free(struct console_client *c);

/**
 * console_client_resize() - its terminal has this size; 0, 0: it has none
 * The guest is told the least of all that look: of the clients, and of lkvm's own terminal.
 */
void console_client_resize(struct console_client *c, uint16_t cols, uint16_t rows);

/** console_client_pending() - how many bytes it has not taken, of those that are kept */
uint64_t console_client_pending(const struct console_client *c);

/**
 * console_drain_clients() - the guest has ended: let the clients take the rest
 * Gives up when @interrupt_fd becomes readable, which is not read here (-1: none), and after @patience_ms.
 */
void console_drain_clients(struct console *con, int interrupt_fd, int patience_ms);

#endif
