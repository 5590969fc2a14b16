/*
 * What the guest's kernel says on its console: a panic, how it ends, and the last lines for a report.
 *
 * Only text is kept: colours and other escape sequences are left out, a tab is a blank, a byte
 * outside ASCII is '?'. So the result is safe to show on a terminal and to quote in JSON.
 * Memory is fixed: a longer line is cut, older lines are dropped.
 */
#ifndef LKVM_CONSOLE_SCAN_H
#define LKVM_CONSOLE_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCAN_LINES      40
#define SCAN_LINE_BYTES 512

enum console_scan_state { SCAN_TEXT, SCAN_ESC, SCAN_CSI, SCAN_OSC };

/* What a kernel says last. */
enum console_ending {
	SCAN_GOES_ON,
	SCAN_RESTARTS,   /* it restarts the machine, in whatever way */
	SCAN_POWERS_OFF, /* it switches the power off, if it can */
	SCAN_HALTS,      /* it does nothing any more */
};

struct console_scan {
	uint64_t n_done;               /* lines completed so far, empty ones not counted */
	size_t len;                    /* of the line being received */
	enum console_scan_state state; /* inside an escape sequence? */
	char panic[SCAN_LINE_BYTES];   /* its line; "" while there was none */
	bool panic_stamped; /* that line is the kernel's own: it begins with a time, as those do, or */
	bool bare_kernel;   /* the kernel writes no times: its first words had none */
	bool stamps;        /* it does: lines with one have been seen */
	bool halted; /* the kernel has said that it stays in the panic, so it will not reboot */
	enum console_ending ending; /* the last one that was announced, */
	uint64_t ending_at;         /* and n_done behind that line */
	/* Each message of a kernel, without level, time and caller, as far as it can be told; may be NULL */
	void (*message)(void *ctx, const char *text);
	void *ctx;
	/* Last, and need not be zero: a ring, of which the line being received is the newest */
	char line[SCAN_LINES][SCAN_LINE_BYTES];
};

/** console_scan_feed() - look at @len bytes of output; a zeroed struct is ready */
void console_scan_feed(struct console_scan *scan, const uint8_t *buf, size_t len);

/**
 * console_scan_strip() - leave escape sequences and control characters out of a text, but for those that
 * move on in it: backspace, tab, newline, carriage return
 * Return: its new length
 */
size_t console_scan_strip(char *text, size_t len);

/**
 * console_scan_ending() - what the kernel has announced, if that is still its word
 * Return: SCAN_GOES_ON if anything but a few lines came after it
 */
enum console_ending console_scan_ending(const struct console_scan *scan);
/** console_scan_silent() - was that the very last thing on the console? */
bool console_scan_silent(const struct console_scan *scan);

/**
 * console_scan_last() - the newest lines that fit, whole, oldest first, each ended by a newline
 * @ret: NUL-terminated, at most @cap bytes with the NUL
 */
void console_scan_last(const struct console_scan *scan, char *ret, size_t cap);

#endif
