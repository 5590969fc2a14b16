/*
 * Standing still: from vm_hold() to vm_release() nothing of a machine changes by itself. Its vCPUs are
 * parked, its devices have nothing in flight and touch neither guest memory nor the host's files, its
 * timers do not fire. Whoever holds it may look at everything, and save it. Main thread.
 *
 * What comes from outside meanwhile waits, but for what the user types: that reaches the console's device.
 */
#ifndef LKVM_VM_HOLD_H
#define LKVM_VM_HOLD_H

#include <stdbool.h>
#include <stddef.h>

struct vm;

/* Why a machine stands still. It does as long as there is a reason. */
enum vm_hold {
	VM_HOLD_USER, /* `lkvm pause` */
	VM_HOLD_SNAPSHOT,
	VM_HOLD_DUMP,
	VM_HOLD_GDB,  /* a debugger looks at it */
	VM_HOLD_TEST, /* a unit test's */
};

/**
 * vm_hold() - make it stand still
 * Waits a second at most for what a vCPU or a device does on the host.
 * Return: 0; -EALREADY: it does already, for this reason; -ESHUTDOWN: it is ending; -EINPROGRESS: it is
 *	held, but does not stand still yet, as vm_describe_busy() tells; calling this again waits again
 */
int vm_hold(struct vm *vm, enum vm_hold why);
/**
 * vm_hold_patiently() - vm_hold(), but for a vCPU in the guest it waits five seconds
 * On a host with too much to do one may not get its turn within one.
 */
int vm_hold_patiently(struct vm *vm, enum vm_hold why);
/** vm_release() - Return: 0; -EALREADY: it was not held for this reason; -ESHUTDOWN: it is ending */
int vm_release(struct vm *vm, enum vm_hold why);

/** vm_is_copied() - does it stand still for a snapshot or a dump? Then nobody else may write its memory either. */
bool vm_is_copied(const struct vm *vm);

/** vm_describe_busy() - "blk0 still has requests in flight": the first thing that does not stand still */
void vm_describe_busy(struct vm *vm, char *ret, size_t cap);

#endif
