/*
 * Making a snapshot of a machine that runs: it may be asked what of its memory is free (vm/snapshot-hint.h); it stands
 * still, its state is noted, its disks are copied; then it goes on, while a child writes the rest (snapshot-write.h). For `lkvm snapshot` and for warm starts.
 *
 * Main thread.
 */
#ifndef LKVM_VM_SNAPSHOT_MAKE_H
#define LKVM_VM_SNAPSHOT_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lkvm/vm/snapshot-write.h"

struct snapshot_making;
struct snapshot_writer;
struct vm;

struct snapshot_made {
	uint64_t pause_ns; /* that the guest stood still; of one that still does: until now */
	uint64_t spare_bytes; /* that were left out, as the guest has hinted that they are free */
	const char *no_hint;  /* static: why it could not be asked for hints; NULL: it could, or was not to be */
	struct snapshot_job_done job;
};

struct snapshot_make_config {
	struct vm *vm;
	int folder_fd;    /* of the making from now on; as of struct snapshot_job_config, */
	const char *name; /* like these */
	bool replace, brief;
	bool no_disks;    /* what they hold is not copied */
	bool hint;        /* before: the guest is asked, for half a second at most, which of its memory is free; that is left out */
	bool stay;        /* it stands still until snapshot_make_free(), if all goes well */
	/* Further sections; Return: 0 or -errno. May be NULL */
	int (*describe)(void *ctx, struct snapshot_writer *w);
	/* As of struct snapshot_job_config; whoever calls snapshot_make_free() in it does not read on */
	void (*over)(void *ctx, int err, const char *why, const struct snapshot_made *made);
	void *ctx;
};

/**
 * snapshot_make_start() - note the state, and begin to write
 * When this returns, and there is no hint to wait for, the machine may be changed: what goes on does so without the
 * snapshot.
 * Return: 0; then over() is called once, unless snapshot_make_free() comes before. Or -errno, and @ret_why
 *	(of @cap bytes) says why, or is empty; then nothing is left of it, and the machine goes on
 */
int snapshot_make_start(const struct snapshot_make_config *cfg, struct snapshot_making **ret, char *ret_why,
			size_t cap);
/** snapshot_make_free() - what is not there yet never will be, and the machine goes on; takes NULL */
void snapshot_make_free(struct snapshot_making *t);
/** snapshot_make_end() - the same at the machine's end, which waits a second at most for those that were freed */
void snapshot_make_end(struct vm *vm, struct snapshot_making *t);
/** snapshot_make_keep_still() - it is about to be ended: it does not go on when this is freed */
void snapshot_make_keep_still(struct snapshot_making *t);

#endif
