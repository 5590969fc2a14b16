/* What a command is made of, and how a process becomes it; user.c looks up who it is to be. */
#ifndef GUEST_WORDS_H
#define GUEST_WORDS_H

#include "sys.h"

#define STATUS_NO_EXEC 126
#define STATUS_NO_SUCH 127

/* The strings are the caller's. */
struct words {
	char **argv, **envp; /* each ends with NULL */
	size_t argc, envc;
	const char *cwd, *user; /* NULL: as init's */
	bool owns_streams;      /* 0, 1, 2 become the user's */
	void *memory;           /* of both arrays */
	size_t bytes;
};

/* Room for @records of them. False: there is no memory */
bool words_init(struct words *w, size_t records);
void words_fini(struct words *w);
/* A record arg= env= cwd= user=; false: it is none of these */
bool words_take(struct words *w, char *record);

/* What could not be done to become a command */
struct failure {
	long err; /* -errno */
	const char *what, *name;
	int status; /* as a shell has it */
};

/* Returns only if it fails. No record of PATH is as these folders. */
void words_exec(const struct words *w, struct failure *ret);

/* Become the user of this name or number, with all groups. -ESRCH: there is none; else -errno */
long user_become(const char *user, bool owns_streams);

#endif
