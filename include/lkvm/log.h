/*
 * Messages to the user. Standard error only, one line each, "lkvm: " in front. Any thread. Control
 * characters in a message are shown as question marks.
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
#include <stdint.h>

/* Topics of `--debug`; log_topics[] in util/log.c has their names. */
enum log_topic {
	LOG_BOOT = 1 << 0,   /* what was loaded where */
	LOG_RAM = 1 << 1,    /* memory advice that the host refused, placement */
	LOG_IOPORT = 1 << 2, /* accesses to ports that no device claims */
	LOG_MMIO = 1 << 3,   /* accesses to memory addresses that nothing claims */
	LOG_CPU = 1 << 4,    /* vCPU threads, model-specific registers */
	LOG_IPC = 1 << 5,    /* control socket */
	LOG_DEVICE = 1 << 6, /* devices, among them bytes written to ports 0x80, 0xe9 and 0x402 */
};

/**
 * log_err() - report a failure that has an errno
 * @err: negative errno; its text is appended
 * Return: @err, so that `return log_err(-errno, ...)` reads as one step
 */
int log_err(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

/** log_errx() - the same where the message already says everything; no errno text is appended */
int log_errx(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2), cold));

/** log_debug() - printed only where @topic is switched on by log_set_topics() */
void log_debug(enum log_topic topic, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_topic_on(enum log_topic topic);

/**
 * log_set_topics() - switch debug topics on
 * @list: names separated by commas, "all" among them; NULL or "" is none
 * Return: 0, or -EINVAL for an unknown name (nothing is changed, nothing is logged)
 */
int log_set_topics(const char *list);

/** log_topic_names() - all names, separated by commas, for help texts */
const char *log_topic_names(void);

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
