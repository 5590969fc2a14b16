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
#include "lkvm/vm/modinfo.h"
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
const struct kernel *modules_kernel(const struct modules *m);

/** modules_find() - where is the module @name ("virtio_pci" or "virtio-pci")? */
enum module_place modules_find(const struct modules *m, const char *name);

/**
 * modules_add() - @name and all that it needs behind what is in @list, each once and what it needs first
 * Nothing for what is built in. Of soft dependencies those that are there are taken, also by an alias.
 * Return: 0, or -errno after one logged line: -ENOENT no such module, -ENOEXEC damaged, -E2BIG,
 *	-ENOTSUP it is packed and the library is missing. @list is to be freed in any case.
 */
int modules_add(const struct modules *m, const char *name, struct module_list *list);
void module_list_free(struct module_list *list);

/**
 * modules_load() - the file of one, unpacked, and what it says of itself
 * Return: 0, or -errno after one logged line, as modules_add()
 */
int modules_load(const struct modules *m, const char *name, struct unpacked *ret, struct modinfo *ret_info);

/**
 * modules_each() - all that are there, in the order of the list
 * @visit: @path: of the file, below the kernel's folder. Not 0 ends it, and is returned.
 * Return: 0, -ENOMEM (logged)
 */
int modules_each(const struct modules *m,
		 int (*visit)(void *ctx, const char *path, const struct modinfo *info), void *ctx);

/**
 * modules_read_list() - one of the texts in the kernel's folder
 * Return: 0, with nothing in @ret where there is none; or -errno after one logged line
 */
int modules_read_list(const struct kernel *k, const char *name, struct unpacked *ret);

#endif
