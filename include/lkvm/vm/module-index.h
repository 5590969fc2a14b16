/*
 * What depmod(8) writes into /lib/modules/RELEASE and modprobe(8) finds modules by, for a kernel whose
 * modules it has not seen: those of the folder where it was built, or of a package that was only
 * unpacked. Nothing is read before it is asked for, as that takes a while: every module is opened.
 */
#ifndef LKVM_VM_MODULE_INDEX_H
#define LKVM_VM_MODULE_INDEX_H

#include <stdbool.h>

struct fs_made;

struct module_index;

/** module_index_names - its files; NULL at the end */
extern const char *const module_index_names[];

/**
 * module_index_new() - main thread
 * @modules: the folder that struct kernel has; lives as long
 * @built:   the kernel was built there: in the guest the folder is one below that of the lists, "kernel"
 * Return: 0, -ENOMEM, or -errno if there is no such folder; not logged
 */
int module_index_new(const char *modules, bool built, struct module_index **ret);
void module_index_free(struct module_index *ix);

/** module_index_files() - its files, for who shares the folder; lives as long */
const struct fs_made *module_index_files(const struct module_index *ix);

/**
 * module_index_open() - one of its files; any thread
 * Return: a descriptor, the caller's; -ENOENT: no such; -errno
 */
int module_index_open(struct module_index *ix, const char *name);

#endif
