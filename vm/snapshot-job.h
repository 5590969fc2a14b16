/* What the two halves of a job share: vm/snapshot-write.c and its child, vm/snapshot-child.c; nobody else includes this. */
#ifndef SNAPSHOT_JOB_H
#define SNAPSHOT_JOB_H

#include <sys/types.h>

#include "lkvm/vm/ram-child.h"
#include "lkvm/vm/snapshot-write.h"
#include "lkvm/vm/snapshot.h"

enum step { STEP_DISK, STEP_RAM, STEP_PIECES, STEP_STATE, STEP_FOLDER, STEP_COPIED, STEP_DONE };

/* The child's words, each of one write. */
struct report {
	uint32_t step; /* enum step: one of the last two, or what has failed, */
	int32_t err;   /* by this -errno */
	uint32_t disk;
	struct snapshot_job_done done;
};

struct snapshot_job {
	struct snapshot_job_config cfg;
	char *name; /* in the folder, at last, */
	char temp[SNAPSHOT_TEMP_BYTES]; /* and for the time being; empty: it is not there */
	int dir_fd;        /* that one */
	bool exchange;     /* there is an older one */
	struct state_buf state;
	const struct ram_spare *spare; /* when the child is made */
	struct disk_source *disks;
	int *disk_fd; /* of the copies, */
	char (*part)[SNAPSHOT_DISK_BYTES]; /* and their names */
	unsigned n_disks;
	struct snapshot_piece *pieces;
	int *piece_fd; /* of each; those of one file have the same */
	unsigned n_pieces;
	int ram_fd, state_fd;
	void *buf; /* DISK_COPY_BYTES */
	struct ram_child child;
	bool has_ended; /* it has said its last word: it touches nothing any more */
	struct snapshot_job_done done;
};

/** snapshot_child() - its whole life, of a struct snapshot_job; see struct ram_child_config */
__attribute__((noreturn)) void snapshot_child(void *ctx, int pipe_fd);

#endif
