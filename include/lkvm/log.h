/*
 * Messages to the user. Standard error only, one line each, "lkvm: " in front. Any thread. Characters
 * that a terminal acts upon are shown as question marks (mask.h).
 *
 * While a guest runs no message waits for its reader: see log_set_patience().
 *
 * A failure is logged once, at the place that knows the name of the thing that failed, and passed
 * up in silence as -errno from there on:
 *
 *	return log_err(-errno, "open '%s'", path);	=> lkvm: open '/dev/kvm': Permission denied
 *
 * Mechanics (ram, bus, virtq) never log.
 */
#ifndef LKVM_LOG_H
#define LKVM_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lkvm/keys.h"

/* Topics of `--debug`: bits of an unsigned; log_topic_keys[] says what they are. */
enum log_topic {
	LOG_BOOT = 1 << 0,
	LOG_RAM = 1 << 1,
	LOG_IOPORT = 1 << 2,
	LOG_MMIO = 1 << 3,
	LOG_CPU = 1 << 4,
	LOG_IPC = 1 << 5,
	LOG_DEVICE = 1 << 6,
};

extern const struct opt_key log_topic_keys[]; /* of an unsigned */

/**
 * log_err() - report a failure that has an errno
 * @err: negative errno; its text is appended
 * Return: @err, so that `return log_err(-errno, ...)` reads as one step
 */
int log_err(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/** log_errx() - the same where the message already says everything; no errno text is appended */
int log_errx(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/**
 * log_last_error() - the last line of log_err() and log_errx(), without "lkvm: "; "" if there was none
 * For reports that are made where only -errno has arrived. Any thread.
 */
void log_last_error(char *ret, size_t cap);

/**
 * log_hold_errors() - from now on failures are kept for log_last_error() only, or printed again
 * For a command that prints them among its own results. Forgets the last one.
 */
void log_hold_errors(bool hold);

void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/** log_debug() - printed only where @topic is switched on by log_set_topics() */
void log_debug(enum log_topic topic, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_topic_on(enum log_topic topic);

/** log_set_topics() - switch these debug topics on, and all others off: bits of enum log_topic */
void log_set_topics(unsigned topics);

/**
 * log_set_patience() - how long a message may wait for a reader of standard error that stands still
 * @ms: -1: for ever, as at the start. 0 or more: after that it is lost, the next one that goes out is
 *	preceded by a line that says how many were, and nothing waits again. SIGPIPE must be ignored.
 */
void log_set_patience(int ms);

/** log_text() - whole lines as they are, like a message in all else: what the caller has masked */
void log_text(const char *text, size_t len);

/** log_set_raw() - the terminal is in raw mode: end lines with CR LF */
void log_set_raw(bool raw);

/**
 * struct ratelimit - lets a few messages through, then one in a while
 * A guest can repeat a mistake a million times a second; the user needs to see it once. Zeroed is ready.
 */
struct ratelimit {
	uint64_t window_start_ns;
	unsigned count;
};

/**
 * ratelimit_ok() - may this message be printed now?
 * The caller serialises calls on one @rl. 5 messages in 10 seconds.
 */
bool ratelimit_ok(struct ratelimit *rl);

#endif
