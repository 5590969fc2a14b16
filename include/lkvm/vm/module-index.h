/*
 * What depmod(8) writes into /lib/modules/RELEASE and modprobe(8) finds modules by, for a kernel whose
 * modules it has not seen: those of the folder where it was built, or of a package that was only
 * unpacked. Nothing is read before it is asked for, as that takes a while: every module is opened.
 */
#ifndef LKVM_VM_MODULE_INDEX_H
#define LKVM_VM_MODULE_INDEX_H

#include "lkvm/vm/kernel.h"

struct module_index;

/** module_index_names - its files; NULL at the end */
extern const char *const module_index_names[];

/**
 * module_index_new() - main thread
 * @k:      lives as long
 * @prefix: what stands in front of paths in @k's folder: "kernel/"; a literal
 * Return: 0 or -ENOMEM
 */
int module_index_new(const struct kernel *k, const char *prefix, struct module_index **ret);
void module_index_free(struct module_index *ix);

/**
 * module_index_open() - one of its files; any thread
 * Return: a descriptor, the caller's; -ENOENT: no such; -errno
 */
int module_index_open(struct module_index *ix, const char *name);

#endif
