/*
 * What `lkvm balloon` and `lkvm mem` share: a size that a guest is to have, as a word, and the wait for it to follow.
 */
#ifndef BUILTIN_SIZE_H
#define BUILTIN_SIZE_H

#include "lkvm/guests.h"
#include "lkvm/options.h"

struct size_config {
	const char *name;
	bool json, no_wait;
	unsigned timeout_s;
};

extern const struct opt size_options[];

struct size_kind {
	enum ipc_op op;       /* its body is a struct ipc_size */
	size_t answer_bytes;  /* of its answer */
	bool whole_pages;     /* a size that is no multiple of one is refused */
	/*
	 * The guest's answer, of answer_bytes. @err: of the request, 0 or -errno; @size: the word, NULL: none; @waited:
	 * the guest is to have followed by now. Return: 0 or -errno, logged
	 */
	int (*tell)(const struct ipc_peer *guest, const struct size_config *cfg, const char *size, const struct ipc_size *req,
		    int err, const void *answer, bool waited);
};

/** size_run() - the run() of such a command */
int size_run(const struct command *cmd, int argc, char **argv, const struct size_kind *kind);

#endif
