/* A machine that goes on from a snapshot, where it is made otherwise than a new one: see vm/vm.c's steps. */
#include <errno.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

#define RESTORE_MS 5000 /* for devices that nobody has used yet */

/* The CPU that the guest has seen, if this host has all of it. */
int vm_restore_cpuid(struct vm *vm)
{
	int err = snapshot_take_cpuid(vm->cfg->snapshot, &vm->cpuid);

	return err ? err : cpuid_check(vm->kvm.dev_fd, &vm->cfg->topology, vm->kvm.tsc_deadline,
				       vm->cpuid);
}

/* Nothing of it runs yet, but devices know only from this when it is quiet enough. */
int vm_restore(struct vm *vm)
{
	const char *busy;
	int err;

	virtio_list_hold_begin(vm->virtio);
	busy = virtio_list_hold_wait(vm->virtio, now_ms() + RESTORE_MS);
	if (busy)
		return log_errx(-EBUSY, "%s does not become ready to be restored", busy);
	err = snapshot_load_parts(vm->cfg->snapshot, vm);
	if (!err)
		err = platform_restored(vm->platform);
	/* Not before all else is there: of a run that fails no disk is written. */
	if (!err)
		err = vm->cfg->disks_rw ? snapshot_note_written(vm->cfg->snapshot) :
					  snapshot_check_written(vm->cfg->snapshot);
	if (err)
		return err; /* what waits in the rings of the devices that are loaded must not be done */
	virtio_list_hold_end(vm->virtio);
	kvm_tell_pause(&vm->kvm);
	return 0;
}
