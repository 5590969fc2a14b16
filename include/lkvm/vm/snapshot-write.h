/*
 * Writing a snapshot while the guest runs on: a child process, which has RAM as it was when it was made,
 * copies the disks, says so, and then writes RAM and state. All gets another name at first, is on the disk,
 * and then gets its own in one step: whoever is killed at any time leaves the older snapshot or none.
 *
 * Main thread.
 */
#ifndef LKVM_VM_SNAPSHOT_WRITE_H
#define LKVM_VM_SNAPSHOT_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "lkvm/loop.h"
#include "lkvm/state.h"
#include "lkvm/vm/ram-child.h"

struct disk_source;
struct ram;
struct ram_spare;
struct snapshot_job;
struct snapshot_piece;

#define SNAPSHOT_TEMP ".lkvm-snapshot-" /* begins its other name; eight hex digits follow */
#define SNAPSHOT_TEMP_BYTES (sizeof(SNAPSHOT_TEMP) + 8)

struct snapshot_job_config {
	struct ram_children *dying; /* those that are given up, whose folder stays until they are dead */
	struct loop *loop;
	int folder_fd;    /* the job's from now on; a folder, in which */
	const char *name; /* that of the snapshot is made */
	bool replace;     /* an older one of that name is replaced, */
	bool brief;       /* it need not outlive the host, */
	bool ram_first;   /* a child's RAM does not stay as it was: it is written before copied(), */
	const struct ram *ram;
	/* The guest may go on: all that changes then has been copied. Once, if it comes so far */
	void (*copied)(void *ctx);
	/* It is there, or, with err, is not. @why: what has failed, in words. Once; then only snapshot_job_free() */
	void (*over)(void *ctx, int err, const char *why);
	void *ctx;
};

struct snapshot_job_done {
	uint64_t ram_bytes;       /* that were written */
	uint32_t disks, shared;   /* copied; of these, with blocks in common */
};

/**
 * snapshot_job_new() - make the folder, by another name
 * Return: 0, or -errno with @ret_why (of @cap bytes): -EEXIST there is something of that name; -ENOTEMPTY
 *	it is no snapshot, and not replaced
 */
int snapshot_job_new(const struct snapshot_job_config *cfg, struct snapshot_job **ret, char *ret_why,
		     size_t cap);
/** snapshot_job_add() - before snapshot_job_start(): pieces of further files, as of a struct snapshot_writer; 0 or -errno */
int snapshot_job_add(struct snapshot_job *job, const struct snapshot_piece *pieces, unsigned n);
/**
 * snapshot_job_start() - make the child; the guest stands still from before until copied()
 * @state: becomes the job's
 * @disks: @n_disks of them, copied; one whose fd is -1 is left out
 * @spare: as of ram_save(); the child has it by itself
 * Return: 0 or -errno, not logged
 */
int snapshot_job_start(struct snapshot_job *job, struct state_buf *state, const struct disk_source *disks,
		       unsigned n_disks, const struct ram_spare *spare);
/** snapshot_job_done() - in over() */
const struct snapshot_job_done *snapshot_job_done(const struct snapshot_job *job);
/**
 * snapshot_job_free() - what is not there yet never will be; takes NULL
 * Waits for nothing: a child that does not die at once is one of cfg->dying until the loop hears of its end, and
 * so long its folder stays. What is left after ram_children_end() stays, for snapshot_sweep().
 */
void snapshot_job_free(struct snapshot_job *job);

/* vm/snapshot-folder.c */

/** snapshot_is_there() - is the folder @name a snapshot, with nothing else in it? */
bool snapshot_is_there(int folder_fd, const char *name);
/** snapshot_remove() - a snapshot's files in the folder @name, and that if there is nothing else in it */
void snapshot_remove(int folder_fd, const char *name);
/** snapshot_is_named() - is the folder @fd what has this name in @folder_fd? */
bool snapshot_is_named(int folder_fd, const char *name, int fd);
/**
 * snapshot_sweep() - remove what jobs have left in this folder whose processes were all killed
 * Only what is this user's, is called like one of theirs, has a snapshot's files and no others in it, and is in use
 * by nobody, as its lock tells.
 */
void snapshot_sweep(int folder_fd);

#endif
