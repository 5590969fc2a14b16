/* What locks.c and locks-state.c share. */
#ifndef FS_LOCKS_INTERNAL_H
#define FS_LOCKS_INTERNAL_H

#include "server.h"

struct lock_owner {
	struct lock_owner *next;
	struct node *node; /* in use */
	uint64_t owner;
	int fd;
};

extern const struct state_type locks_state_type; /* for the test of its table */

#endif
