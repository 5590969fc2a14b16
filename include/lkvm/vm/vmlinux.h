/*
 * The file with the symbols of a guest's kernel: vmlinux as the build left it, or as a distribution's package of
 * debug information has it.
 */
#ifndef LKVM_VM_VMLINUX_H
#define LKVM_VM_VMLINUX_H

#include <stdbool.h>
#include <stddef.h>

#define VMLINUX_ID_BYTES 64 /* of a build ID's digits, with the NUL */

struct vmlinux {
	char build_id[VMLINUX_ID_BYTES]; /* "": it has none */
	bool has_symbols;                /* .symtab */
	bool percpu_at_0;                /* .data..percpu is linked at 0, and does not move with the kernel */
};

/** vmlinux_read() - Return: 0; -ENOEXEC: no ELF file of 64 bits, or it is damaged; -errno; not logged */
int vmlinux_read(const char *path, struct vmlinux *ret);

/**
 * vmlinux_find() - one that has symbols, and the guest's build ID if both have one
 * Looked for where the image was built, beside it, in /usr/lib/debug, in /lib/modules/RELEASE/build and in
 * debuginfod's cache.
 * @image: of the guest's kernel, or NULL; @release, @build_id: as its kernel tells them, or ""
 * @root: in front of /usr and /lib, "" but for tests
 * Return: heap; NULL: there is none
 */
char *vmlinux_find(const char *root, const char *image, const char *release, const char *build_id);

#endif
