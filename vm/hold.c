/* Standing still; see lkvm/vm/hold.h. */
#include "lkvm/vm/hold.h"

#include <errno.h>
#include <stdio.h>

#include "lkvm/clock.h"
#include "lkvm/timer.h"
#include "lkvm/vm/gdb.h"
#include "vm-internal.h"

#define HOLD_MS 1000
#define HOLD_TRIES 5
#define COPIED	(1U << VM_HOLD_SNAPSHOT | 1U << VM_HOLD_DUMP)

bool vm_is_copied(const struct vm *vm)
{
	return vm->holds & COPIED;
}

/* What is copied is the guest's memory, without what a debugger has put there. */
static void set_holds(struct vm *vm, unsigned holds)
{
	const bool was_copied = vm_is_copied(vm);

	vm->holds = holds;
	if (was_copied != vm_is_copied(vm))
		vm_gdb_hide(vm, !was_copied);
}

/* Devices behind vCPUs: one that is on its way out of the guest may still have work for them. */
int vm_hold(struct vm *vm, enum vm_hold why)
{
	const bool again = vm->holds >> why & 1;
	int err = kvm_pause(&vm->kvm);

	if (err && err != -EALREADY && err != -EINPROGRESS)
		return err;
	set_holds(vm, vm->holds | 1U << why);
	timers_stop(&vm->loop);
	virtio_list_hold_begin(vm->virtio);
	if (virtio_list_hold_wait(vm->virtio, now_ms() + HOLD_MS) || err == -EINPROGRESS)
		return -EINPROGRESS;
	return again ? -EALREADY : 0;
}

int vm_hold_patiently(struct vm *vm, enum vm_hold why)
{
	int err = vm_hold(vm, why);

	for (unsigned tries = 1; err == -EINPROGRESS && tries < HOLD_TRIES; tries++) {
		if (virtio_list_hold_wait(vm->virtio, now_ms()) || kvm_outside(&vm->kvm))
			break;
		err = vm_hold(vm, why);
		err = err == -EALREADY ? 0 : err;
	}
	return err;
}

int vm_release(struct vm *vm, enum vm_hold why)
{
	if (!(vm->holds >> why & 1))
		return kvm_stop_cause(&vm->kvm, NULL) == STOP_NONE ? -EALREADY : -ESHUTDOWN;
	set_holds(vm, vm->holds & ~(1U << why));
	if (vm->holds)
		return 0;
	virtio_list_hold_end(vm->virtio);
	vm->awake_ns = now_ns();
	timers_go(&vm->loop);
	return kvm_resume(&vm->kvm);
}

void vm_describe_busy(struct vm *vm, char *ret, size_t cap)
{
	const char *device = virtio_list_hold_wait(vm->virtio, now_ms());

	if (device)
		snprintf(ret, cap, "%s still has requests in flight", device);
	else
		kvm_describe_busy(&vm->kvm, ret, cap);
}
