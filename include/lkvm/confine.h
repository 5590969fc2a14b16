/*
 * Walls around a child process that reads what strangers have written: it reaches the files that are
 * named here and those that are open when it enters, no network, no other process.
 *
 *	confine_init() -> confine_allow()... -> fork() -> confine_enter() -> exec()
 *
 * Files are Landlock's (Linux 5.13, where it is switched on); the rest is a filter of system calls,
 * which every kernel has. Both are for good, also for what the child executes.
 */
#ifndef LKVM_CONFINE_H
#define LKVM_CONFINE_H

#include <stdint.h>

#define CONFINE_READ  (1 << 0)
#define CONFINE_WRITE (1 << 1) /* the content; a file or a name is not made or removed */
#define CONFINE_EXEC  (1 << 2) /* and read: programs and libraries */

struct confine {
	int ruleset_fd;   /* -1: no Landlock */
	uint64_t handled; /* what is forbidden unless it is allowed */
};

/**
 * confine_init() - no file is allowed yet
 * Return: 0, or -errno: this kernel has no Landlock for us. confine_enter() then forbids the rest.
 */
int confine_init(struct confine *c);
void confine_fini(struct confine *c);

/**
 * confine_allow() - a file, or a folder and all below it
 * Return: 0, also without Landlock; -errno: it cannot be opened
 */
int confine_allow(struct confine *c, const char *path, unsigned access);

/**
 * confine_enter() - between fork() and exec(): takes neither locks nor memory
 * Return: 0 or -errno, silently
 */
int confine_enter(const struct confine *c);

#endif
