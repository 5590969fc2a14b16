/* The file of a dump and who writes it: vm/dump-make.c and its child, vm/dump-child.c; nobody else includes this. */
#ifndef DUMP_JOB_H
#define DUMP_JOB_H

#include "dump-exclude.h"
#include "dump-kdump.h"
#include "lkvm/state.h"
#include "lkvm/vm/ram-child.h"

#define DUMP_TEMP ".lkvm-dump-"
#define DUMP_TEMP_BYTES (sizeof(DUMP_TEMP) + 8)

enum dump_step { DUMP_WRITE, DUMP_NAME, DUMP_COPIED, DUMP_DONE };

/* The child's words, each of one write */
struct dump_report {
	uint32_t step; /* enum dump_step: one of the last two, or what has failed, */
	int32_t err;   /* by this -errno */
	uint64_t ram_bytes; /* that were not zero; of these: */
	uint64_t all_bytes;
	struct ipc_dump_pages left_out; /* but those of zeros */
};

struct dump_file {
	int folder_fd, fd;
	char *name;                 /* in the folder, at last, */
	char temp[DUMP_TEMP_BYTES]; /* and for the time being; empty: it has none, and is gone if nobody gives it one */
	const struct ram *ram;
	struct dump_exclude exclude;
	struct state_buf head;      /* what stands before RAM */
	struct kdump *kdump;        /* NULL: it is ELF */
};

/** dump_child() - the child's whole life; see struct ram_child_config's run() */
__attribute__((noreturn)) void dump_child(struct dump_file *file, int pipe_fd);

#endif
