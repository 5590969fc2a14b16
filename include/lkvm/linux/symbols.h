/*
 * Names for addresses of a guest's kernel and of its modules, and addresses for names: from kallsyms, the table that
 * Linux itself prints its backtraces with, and from the modules' own symbol tables. Both are the guest's, and so may
 * be anything: all of kallsyms is copied and judged once, modules are looked at anew each time.
 */
#ifndef LKVM_LINUX_SYMBOLS_H
#define LKVM_LINUX_SYMBOLS_H

#include "lkvm/linux/guest.h"

#define LINUX_NAME_BYTES   512
#define LINUX_MODULE_BYTES 56 /* Linux's MODULE_NAME_LEN on 64-bit machines */

struct linux_symbol {
	uint64_t start;
	uint64_t bytes; /* up to the next symbol; 0: not known */
	char name[LINUX_NAME_BYTES];     /* "": in a module that does not tell */
	char module[LINUX_MODULE_BYTES]; /* "": the kernel's own */
};

struct linux_symbols;

/**
 * linux_symbols_new() - copy kallsyms
 * @guest: stays the caller's, and where it is
 * Return: 0; -ENOENT: VMCOREINFO does not tell of it; -EFAULT, -EBADMSG; -ENOMEM
 */
int linux_symbols_new(const struct linux_guest *guest, struct linux_symbols **ret);
/**
 * linux_symbols_read() - instead, from a file: System.map or an ELF file with a symbol table (vmlinux, its debug file)
 * @fd: of a regular file, stays the caller's; nothing in it is trusted
 * Return: 0; -ENOENT: there are no symbols of a kernel in it; -EBADMSG: it cannot be read; -ENOMEM
 */
int linux_symbols_read(const struct linux_guest *guest, int fd, struct linux_symbols **ret);
/** linux_symbols_free() - takes NULL */
void linux_symbols_free(struct linux_symbols *symbols);

/** linux_symbol_at() - what is an address of the kernel's, or of a module's? Return: 0 or -ENOENT */
int linux_symbol_at(const struct linux_symbols *symbols, uint64_t addr, struct linux_symbol *ret);
/** linux_symbol_find() - the address of a name of the kernel's own, the first one; Return: 0 or -ENOENT */
int linux_symbol_find(const struct linux_symbols *symbols, const char *name, uint64_t *ret);
/** linux_is_text() - may the CPU run there? In the kernel, in what it starts with, or in a module */
bool linux_is_text(const struct linux_symbols *symbols, uint64_t addr);
/** linux_symbol_text() - "name+0x12/0x40 [module]", or the address alone; Return: @buf */
const char *linux_symbol_text(const struct linux_symbols *symbols, uint64_t addr, char *buf, size_t cap);

/* Where the tables for unwinding are (linux/unwind.h): an address of each entry's code, and the entry */
struct linux_orc {
	uint64_t ips, entries;
	uint64_t n; /* 0: there are none */
};

/** linux_orc_for() - those of the kernel, or of the module that an address is in; Return: 0 or -ENOENT */
int linux_orc_for(const struct linux_symbols *symbols, uint64_t addr, struct linux_orc *ret);

#endif
