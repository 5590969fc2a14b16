/* What multiboot 1 and 2 have in common. */
#ifndef LKVM_X86_MULTIBOOT_H
#define LKVM_X86_MULTIBOOT_H

#include "boot-internal.h"

#define MB_LOADER_NAME "lkvm"

/* The address fields of a header: a kernel that is loaded by them need not be an ELF file. */
struct mb_addresses {
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_loaded {
	uint32_t start, end;
};

/**
 * multiboot_load_flat() - load the kernel by the address fields of its header
 * @header_at: where in the file the header is
 * Return: 0, or -errno after one logged line
 */
int multiboot_load_flat(struct boot *boot, const struct mb_addresses *addr, uint64_t header_at);

/**
 * multiboot_load_modules() - load all that -i names above the kernel, each on a page boundary
 * Each of @boot->cfg->initrd is a path, or a path, a blank, and words for the module.
 * @ret: one element a module
 * Return: 0, or -errno after one logged line
 */
int multiboot_load_modules(struct boot *boot, struct mb_loaded *ret);

#endif
