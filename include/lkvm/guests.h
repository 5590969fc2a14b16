/* The guests that a command is for: names, patterns, or all of them. builtin-guests.c, for builtin-*.c */
#ifndef LKVM_GUESTS_H
#define LKVM_GUESTS_H

#include <stdbool.h>

#include "lkvm/ipc.h"

/* What the user has written. */
struct guest_choice {
	const char *option; /* of -n, or NULL */
	char **word;        /* names and patterns, @n of them */
	int n;
	bool all;
	bool may_be_none;   /* a name or pattern that stands for no guest is no mistake */
};

/**
 * guests_choose() - the guests that are meant, connected
 * Those that cannot be connected to were logged; they have an err and no fd.
 * Return: EXIT_SUCCESS; EXIT_FAILURE if one is missing, which was logged, the others are there;
 *	EXIT_USAGE, logged, if a word can be no guest's name
 */
int guests_choose(const struct guest_choice *choice, struct ipc_peers *ret);

/**
 * guests_save() - have a guest saved, and wait until it is; says now and then what is being waited for
 * @dir:  the snapshot's folder as the user knows it, for messages
 * @folder_fd, @name: the folder that it is made in, and its name there
 * @flags: IPC_SNAPSHOT_...
 * Return: 0, or -errno, logged
 */
int guests_save(const struct ipc_peer *guest, const char *dir, int folder_fd, const char *name, uint32_t flags,
		struct ipc_snapshot_end *ret);
/** guests_tell_no_hint() - a warning, if it was to be asked what is free and could not be */
void guests_tell_no_hint(const struct ipc_peer *guest, const struct ipc_snapshot_end *end);

/** guests_choose_one() - for a command that is about a single one; the same */
int guests_choose_one(const char *command, const char *option, char **words, int n, struct ipc_peers *ret);

#endif
