/*
 * What the guest's kernel says on its console: a panic, and the last lines for a report.
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

struct console_scan {
	char line[SCAN_LINES][SCAN_LINE_BYTES]; /* a ring; the line being received is the newest */
	uint64_t n_done;                        /* lines completed so far, empty ones not counted */
	size_t len;                             /* of the line being received */
	enum console_scan_state state;          /* inside an escape sequence? */
	char panic[SCAN_LINE_BYTES];            /* its line; "" while there was none */
	bool halted; /* the kernel has said that it stays in the panic, so it will not reboot */
};

/** console_scan_feed() - look at @len bytes of output; a zeroed struct is ready */
void console_scan_feed(struct console_scan *scan, const uint8_t *buf, size_t len);

/**
 * console_scan_last() - the newest lines that fit, whole, oldest first, each ended by a newline
 * @ret: NUL-terminated, at most @cap bytes with the NUL
 */
void console_scan_last(const struct console_scan *scan, char *ret, size_t cap);

#endif
