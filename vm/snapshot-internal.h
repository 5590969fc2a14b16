/* What the files of vm/snapshot-*.c share; nobody else includes this. */
#ifndef SNAPSHOT_INTERNAL_H
#define SNAPSHOT_INTERNAL_H

#include "lkvm/vm/snapshot.h"

/* The first sections; for the tests of their tables, too */
extern const struct state_type snapshot_machine_type, snapshot_disk_type, snapshot_cpuid_type;

/**
 * snapshot_take() - the record of a section that has just one
 * @ret_state: type->size bytes
 * Return: 0, -EBADMSG, -ENOTSUP, -ERANGE, logged
 */
int snapshot_take(struct snapshot *snap, const char *section, const struct state_type *type, void *ret_state);

/** snapshot_describe_cpuid() - a section for it; Return: 0 or -ENOMEM, not logged */
int snapshot_describe_cpuid(struct snapshot_writer *w, const struct kvm_cpuid2 *table);

/** snapshot_bad() - log what is wrong with a section, which is where the reader came from; Return: @err */
int snapshot_bad(const struct snapshot *snap, const char *section, const struct state_reader *in, int err);

#endif
