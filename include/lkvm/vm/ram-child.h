/*
 * A child process that has the guest's RAM as it was when it was made, and writes it somewhere while the guest runs
 * on: for snapshots and dumps. It tells what it does by a pipe, and nobody waits for its end.
 *
 * Main thread.
 */
#ifndef LKVM_VM_RAM_CHILD_H
#define LKVM_VM_RAM_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lkvm/loop.h"

struct ram;
struct ram_child;

/* Those that were freed and are not dead yet, as the host's disk holds them up. Zeroed: there are none */
struct ram_children {
	struct ram_child *first;
};

struct ram_child_config {
	struct ram_children *dying;
	struct loop *loop;
	const struct ram *ram;
	/*
	 * The child's whole life. System calls alone, on memory that is there already: any lock may be held by a
	 * thread that it does not have. Of the descriptors it has those that it was started with. Does not return.
	 */
	void (*run)(void *ctx, int pipe_fd);
	/* There is something to read in the pipe, or its end */
	void (*says)(void *ctx, int pipe_fd);
	/* After ram_child_free(), once: it is dead, or, without, is left to itself */
	void (*over)(void *ctx, bool is_dead);
	void *ctx;
};

struct ram_child {
	struct ram_child_config cfg;
	pid_t pid; /* 0: there is none, or none any more */
	struct loop_source pipe, pidfd;
	bool freed; /* it is only waited for */
	struct ram_child *next_dying;
};

void ram_child_init(struct ram_child *child, const struct ram_child_config *cfg);
/**
 * ram_child_start() - the guest stands still; where RAM is shared (ram_backing_shared()) until it was written
 * @keep: descriptors that it needs; -1 is none
 * Return: 0 or -errno, not logged
 */
int ram_child_start(struct ram_child *child, const int *keep, unsigned n);
/** ram_child_hush() - says() is not called any more */
void ram_child_hush(struct ram_child *child);
/** ram_child_free() - kill it if it lives; cfg.over() is called now or later, and @child must live until then */
void ram_child_free(struct ram_child *child);
/** ram_children_end() - wait for them, until then at most (now_ms()) */
void ram_children_end(struct ram_children *dying, int64_t deadline_ms);

#endif
