/*
 * What a module says of itself: its section .modinfo, strings KEY=VALUE with a NUL behind each. The file
 * may be hostile. Any thread.
 */
#ifndef LKVM_VM_MODINFO_H
#define LKVM_VM_MODINFO_H

#include <stddef.h>

struct modinfo {
	char *text; /* heap */
	size_t len; /* the last byte is a NUL */
};

/**
 * modinfo_find() - of a whole file, not a packed one
 * Return: 0, then modinfo_free(); -ENOEXEC it is no module for x86-64, or damaged; -ENOMEM. Not logged
 */
int modinfo_find(const void *elf, size_t len, struct modinfo *ret);
/** modinfo_read() - of an open file, which may be large: no more of it is read than that; also -errno */
int modinfo_read(int fd, struct modinfo *ret);
void modinfo_free(struct modinfo *info);

/**
 * modinfo_next() - the next value of a key
 * @after: the last one; NULL: the first
 * Return: it; NULL: no more
 */
const char *modinfo_next(const struct modinfo *info, const char *key, const char *after);

#endif
