/*
 * What a kernel says when something is wrong with it: WARN(), BUG(), an oops, the reports of its
 * sanitizers and watchdogs. `lkvm run --fail-on` forbids kinds of them, --allow excepts some.
 *
 * Lines come without time stamps, as the console's scan or /dev/kmsg give them, and are another's
 * words: they are copied and cut, never trusted. Main thread.
 */
#ifndef LKVM_VM_KERNEL_LOG_H
#define LKVM_VM_KERNEL_LOG_H

#include <regex.h>
#include <stdbool.h>

#include "lkvm/keys.h"

/* Bits: a message may be of several kinds. */
enum kernel_log_kind {
	KERNEL_LOG_WARN = 1 << 0,
	KERNEL_LOG_BUG = 1 << 1,
	KERNEL_LOG_OOPS = 1 << 2,
	KERNEL_LOG_KASAN = 1 << 3,
	KERNEL_LOG_UBSAN = 1 << 4,
	KERNEL_LOG_LOCKDEP = 1 << 5,
	KERNEL_LOG_HUNG = 1 << 6,
	KERNEL_LOG_RCU = 1 << 7,
	KERNEL_LOG_KMEMLEAK = 1 << 8,
	KERNEL_LOG_ALL = (1 << 9) - 1,
};

extern const struct opt_key kernel_log_keys[]; /* of an unsigned */

/** kernel_log_kinds() - does @line begin such a message? Return: enum kernel_log_kind, 0: no */
unsigned kernel_log_kinds(const char *line);

/* Regular expressions for what is allowed all the same; zeroed is none. */
struct kernel_log_allow {
	regex_t *regex; /* heap, n of them */
	unsigned n;
};

/**
 * kernel_log_allow_read() - add those of a file: an extended one a line, or a comment behind #
 * Return: 0 or -errno, logged with @option's name
 */
int kernel_log_allow_read(struct kernel_log_allow *allow, const char *option, const char *path);
void kernel_log_allow_free(struct kernel_log_allow *allow);

#define KERNEL_LOG_SPLATS 32  /* that are kept */
#define KERNEL_LOG_BYTES  256 /* of the line that is kept of each */

struct kernel_log {
	unsigned kinds;                       /* that are forbidden */
	const struct kernel_log_allow *allow; /* NULL: nothing */
	unsigned n_splats;                    /* that were; more than are kept, perhaps */
	char splat[KERNEL_LOG_SPLATS][KERNEL_LOG_BYTES];

	/* The message that is being read */
	unsigned open;  /* its kinds; 0: none is */
	unsigned lines; /* of it so far */
	unsigned cut;   /* lines since "cut here", which come before its first */
	bool allowed;
	char first[KERNEL_LOG_BYTES];
};

/** kernel_log_init() - nothing was read */
void kernel_log_init(struct kernel_log *log, unsigned kinds, const struct kernel_log_allow *allow);
/** kernel_log_line() - the next line */
void kernel_log_line(struct kernel_log *log, const char *line);
/** kernel_log_end() - nothing more comes: the last message counts, if it is forbidden */
void kernel_log_end(struct kernel_log *log);

#endif
