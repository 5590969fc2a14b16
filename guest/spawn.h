/* The process of a command, with its pipes or its terminal. */
#ifndef GUEST_SPAWN_H
#define GUEST_SPAWN_H

#include "lkvm/session.h"
#include "words.h"

/* Init's ends; all are closed on exec, and all but start do not block. */
struct ends {
	int start; /* ends when the program runs, else has a struct start_error */
	int in;    /* -1: descriptor 0 is closed */
	int out[2];
};

struct start_error {
	uint32_t status, err;
};

/* Return: PID, or -errno */
long spawn(const struct words *w, const struct session_exec *how, struct ends *ret);

#endif
