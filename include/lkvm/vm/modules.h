/*
 * The modules of a kernel that a guest needs, read on the host: name to file, what each depends on,
 * in the order in which they are to be loaded. Main thread, before the machine is built.
 *
 * What a module depends on stands in itself (its .modinfo), and modules.order lists all, so a folder
 * where a kernel was built will do, which depmod has never seen. The files are untrusted.
 */
#ifndef LKVM_VM_MODULES_H
#define LKVM_VM_MODULES_H

#include <stddef.h>

#include "lkvm/vm/kernel.h"
#include "lkvm/x86/unpack.h"

#define MODULES_MOST 128 /* in one closure */

struct module {
	char *name;           /* with '_', never '-' */
	struct unpacked file; /* an ELF file, whatever it was packed with */
};

struct module_list {
	struct module list[MODULES_MOST];
	unsigned n;
};

enum module_place { MODULE_NONE, MODULE_BUILT_IN, MODULE_FILE };

struct modules; /* the lists of one kernel */

/**
 * modules_open() - read the lists of @k's modules
 * Return: 0, then modules_close(); or -errno after one logged line. A kernel without a folder has
 *	no module.
 */
int modules_open(const struct kernel *k, struct modules **ret);
void modules_close(struct modules *m);

/** modules_find() - where is the module @name ("virtio_pci" or "virtio-pci")? */
enum module_place modules_find(const struct modules *m, const char *name);

/**
 * modules_add() - @name and all that it needs behind what is in @list, each once and what it needs first
 * Nothing for what is built in. Of soft dependencies those that are there are taken.
 * Return: 0, or -errno after one logged line: -ENOENT no such module, -ENOEXEC damaged, -E2BIG,
 *	-ENOTSUP it is packed and the library is missing. @list is to be freed in any case.
 */
int modules_add(const struct modules *m, const char *name, struct module_list *list);
void module_list_free(struct module_list *list);

/**
 * modinfo_next() - the next value of a key in a module's .modinfo
 * @elf:   the file
 * @after: the last one; NULL: the first
 * Return: it, in @elf and ended by a NUL; NULL: no more, or no well-formed module
 */
const char *modinfo_next(const struct unpacked *elf, const char *key, const char *after);

#endif
