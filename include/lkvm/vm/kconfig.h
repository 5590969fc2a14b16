/*
 * How a kernel was configured, and what lkvm needs of that. The text of a .config, wherever it is
 * found; the options that matter are looked up in it. Main thread. All bytes may be hostile.
 */
#ifndef LKVM_VM_KCONFIG_H
#define LKVM_VM_KCONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lkvm/x86/unpack.h"

struct kconfig {
	struct unpacked text; /* not ended by a NUL */
	char *path;           /* the file that it was found in, on the heap; for messages */
	char version[65];     /* "6.1.170" of its first lines; "" unknown */
};

/**
 * kconfig_read() - the configuration of a kernel
 * @name: a .config (also compressed: /proc/config.gz), a folder in which a kernel was built, an image
 *	(bzImage or vmlinux with CONFIG_IKCONFIG, else the config-* or .config that belongs to it), or
 *	a release (/boot/config-*)
 * Return: 0, then kconfig_free(); or -errno after one logged line: -ENOENT there is none,
 *	-ENOEXEC damaged or something else, -EFBIG, -ENOTSUP a library is missing
 */
int kconfig_read(const char *name, struct kconfig *ret);
void kconfig_free(struct kconfig *k);

/**
 * kconfig_get() - an option's value
 * @name: without CONFIG_
 * Return: 'y', 'm', 'n' (also where nothing is said of it), or '=' for any other value
 */
char kconfig_get(const struct kconfig *k, const char *name, size_t len);

/* One thing that lkvm does, and the options that it takes; all option names without CONFIG_. */
struct kconfig_need {
	const char *what;      /* "the host's files" */
	const char *without;   /* optional ones: what is lost; NULL: `lkvm run` cannot do without it */
	/* Each is enough. Names with a blank between them; "!" in front: as a module it is of no use. */
	const char *ways[3];
	const char *parents;   /* that the first way depends on, for the fragment; NULL: none */
};

extern const struct kconfig_need kconfig_needs[]; /* ends with one whose what is NULL */

/**
 * kconfig_has() - is one of the ways there?
 * Where modules cannot be loaded (no CONFIG_MODULES) what is "m" does not count.
 */
bool kconfig_has(const struct kconfig *k, const struct kconfig_need *need);

/** kconfig_way() - is all of this way there? @ret_missing: heap, "CONFIG_A, CONFIG_B"; NULL: not wanted */
bool kconfig_way(const struct kconfig *k, const char *way, char **ret_missing);

#endif
