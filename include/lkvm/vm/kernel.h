/*
 * Which kernel the user means, and where its modules are. Main thread, before the machine is built.
 * What stands in an image and in a folder is not trusted: a release is checked before it becomes
 * part of a path.
 */
#ifndef LKVM_VM_KERNEL_H
#define LKVM_VM_KERNEL_H

#include "lkvm/x86/boot.h"

enum kernel_modules {
	KERNEL_NO_MODULES, /* no folder was found: all that is needed must be built in */
	KERNEL_INSTALLED,  /* lib/modules/RELEASE: modules.order names files below it */
	KERNEL_BUILT,      /* the folder where the kernel was built: likewise, but nothing is installed */
};

#define KERNEL_RELEASE_BYTES BOOT_RELEASE_BYTES

struct kernel {
	char *image;                        /* a file */
	char release[KERNEL_RELEASE_BYTES]; /* "6.1.0-56-amd64"; "" unknown */
	enum kernel_modules kind;
	char *modules; /* the folder, with modules.order and modules.builtin in it; NULL: none */
};

/**
 * kernel_find() - what -k names
 * @name: a bzImage or vmlinux; a folder in which a kernel was built; a release that is installed here
 *	(no file of that name); NULL: boot_find_kernel()'s
 * The modules of an image are those of the folder where it was built, if it lies in one; else
 * lib/modules/RELEASE beside the folder that it lies in, or of this host.
 * Return: 0, then kernel_free(); or -errno after one logged line
 */
int kernel_find(const char *name, struct kernel *ret);

/** kernel_find_below() - the same, with @root in front of /boot and /lib, for tests */
int kernel_find_below(const char *root, const char *name, struct kernel *ret);
void kernel_free(struct kernel *k);

/**
 * kernel_of_release() - the image of a release in /boot or /lib/modules
 * Return: 0 and a heap string; -ENOENT: no such release, or a file has that name (not logged); -ENOMEM
 */
int kernel_of_release(const char *name, char **ret);

/**
 * kernel_is_linux() - is a file, or what was built in a folder, a bzImage or vmlinux that tells its release?
 * Return: 1 or 0; -errno after one logged line: it cannot be opened
 */
int kernel_is_linux(const char *name);

#endif
