/*
 * The host end of the guest's console: bytes from a serial port or a virtio console to standard
 * output, and standard input to the device. Others lead to a pseudo terminal (pty.h).
 *
 *	vCPU thread: device -> console_put() -> ring --(eventfd)--> main thread -> standard output
 *	main thread: standard input -> escape keys -> device's input callback
 *
 * A vCPU never waits for the reader of standard output: a full ring is reported to the device,
 * which tells its guest (LSR without THRE). The main thread also looks at every complete output
 * line for the kernel's own words: a panic, so that it can be told apart by the exit status, and its
 * end.
 * Others may look on, and type: console/client.h.
 * console_put() and console_input_wanted() are for any thread; the rest belongs to the main thread.
 *
 * Output is byte-exact and never blocks the main thread before console_drain(). A reader who leaves
 * (`lkvm run | head`) does not end the guest: from then on its output is only scanned. SIGPIPE must
 * be ignored. Ctrl-a is an escape key only where standard input is a terminal; see console-keys.h.
 */
#ifndef LKVM_CONSOLE_H
#define LKVM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lkvm/console/keys.h"
#include "lkvm/loop.h"

struct console;

#define CONSOLE_MAX_DEVICES 2

/* A device at the guest's end. Called on the main thread; the device takes its own lock. */
struct console_device {
	/* Input for the guest. Return: bytes taken; console_input_wanted() follows when less. */
	size_t (*input)(void *dev, const uint8_t *buf, size_t len);
	/* There is room in the ring again after console_put() had taken less than all. */
	void (*writable)(void *dev);
	/* Ctrl-a b, `lkvm debug --sysrq`: a break condition on the line; may be NULL */
	void (*send_break)(void *dev);
	uint8_t break_key; /* not 0: this byte is input instead of that */
	/* The terminal has this size (0, 0: there is none): at the start and at each change; may be
	 * NULL */
	void (*resize)(void *dev, uint16_t cols, uint16_t rows);
	/* Standard input has ended, and the device has taken all of it; may be NULL */
	void (*input_ended)(void *dev);
	void *dev;
};

struct console_config {
	int in_fd, out_fd; /* standard input and output; -1: none */
	struct loop *loop;
	bool plain; /* a pseudo terminal: no escape keys, no raw mode, no look at what is printed */
	bool unread; /* nothing is looked for in what is printed: no kernel prints it */
	struct console_keys keys; /* which escape key */
	int copy_fd;              /* gets all output too, 0: none; O_NONBLOCK if it is no file */
	const char *copy_name;
	void (*quit)(void *ctx);  /* Ctrl-a x */
	void (*detach)(void *ctx); /* Ctrl-a d; NULL: no such key */
	void (*panic)(void *ctx); /* the guest has panicked and will not reboot by itself */
	/* A message of its kernel (struct console_scan's); may be NULL */
	void (*message)(void *ctx, const char *text);
	void (*halted)(void *ctx); /* the guest's kernel has said that it ends, and nothing since */
	void *ctx;
};

/** console_new() - Return: 0 or -errno after one logged line */
int console_new(const struct console_config *cfg, struct console **ret);
/** console_free() - restores the terminal; takes NULL */
void console_free(struct console *con);

/**
 * console_attach() - put @dev at the guest's end (copied), at most CONSOLE_MAX_DEVICES; NULL takes
 * the last one away All may print; the last one gets the input.
 */
void console_attach(struct console *con, const struct console_device *dev);

/**
 * console_start() - raw terminal (if lkvm is in its foreground), start reading standard input
 * In the background the terminal is left alone until lkvm is brought to the foreground.
 * Return: 0 or -errno after one logged line
 */
int console_start(struct console *con);

/** console_input_is_piped() - is there input that nobody types: a pipe, a socket or a file? */
bool console_input_is_piped(const struct console *con);

/** console_resized() - SIGWINCH: tell the devices how large the terminal is now */
void console_resized(struct console *con);

/** console_suspend() - SIGTSTP: give the terminal back, stop, take it again on SIGCONT */
void console_suspend(struct console *con);
/** console_continued() - SIGCONT, after a stop that nobody could prepare for (SIGSTOP) */
void console_continued(struct console *con);

/**
 * console_put() - output from the guest, any thread, never blocks
 * Return: bytes taken; less than @len only if the ring is full; writable() is then called later
 */
size_t console_put(struct console *con, const void *buf, size_t len);

/** console_input_wanted() - the device has room for input again; any thread */
void console_input_wanted(struct console *con);

/**
 * console_send() - input as if typed by the user, without escape keys (sysrq)
 * Goes behind what the user has typed; dropped as a whole, with a debug message, if the guest has
 * left several thousand bytes of that unread.
 */
void console_send(struct console *con, const uint8_t *buf, size_t len, bool break_first);

/**
 * console_drain() - the guest has ended: write out everything that is left
 * Waits for the reader as write(2) would (with the terminal restored, so that Ctrl-C works), but
 * gives up when @interrupt_fd becomes readable (a signalfd, which is not read here; -1: none), and
 * when the reader has taken nothing for @patience_ms (-1: never).
 */
void console_drain(struct console *con, int interrupt_fd, int patience_ms);

/** console_panic_line() - the "Kernel panic - not syncing: ..." line seen since start, or NULL */
const char *console_panic_line(const struct console *con);

/** console_restarting() - has the guest's kernel announced, just before now, that it restarts? */
bool console_restarting(const struct console *con);

/**
 * console_last_lines() - the last output lines, oldest first, for reports and --result
 * Printable ASCII and newlines only; see console-scan.h.
 * @ret: NUL-terminated, at most @cap bytes with the NUL
 */
void console_last_lines(const struct console *con, char *ret, size_t cap);

/** console_active_ns() - when the guest last printed something, by CLOCK_MONOTONIC; 0: never */
uint64_t console_active_ns(const struct console *con);

/** console_output_error() - -errno if standard output or the copy lacks something, but no reader just left */
int console_output_error(const struct console *con);

/**
 * console_end_line() - where standard output is a terminal, put its cursor at the start of a line
 * After console_drain(), with the terminal restored: for what lkvm, and then the shell, will print.
 */
void console_end_line(struct console *con);

/** console_stats() - bytes taken from the guest, write(2) calls made for them so far */
void console_stats(struct console *con, uint64_t *ret_bytes, uint64_t *ret_writes);

#endif
