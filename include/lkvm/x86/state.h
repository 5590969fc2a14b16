/*
 * The state of a vCPU and of the chips that KVM has in the kernel, as tables (lkvm/state.h). They are
 * KVM's own structures, field by field; an object is the set of descriptors below.
 *
 *	load, after all devices:  the clock, kvm_chip_state_types[], then of each vCPU, from the first on,
 *	cpu_state_types[]. Each array in its order, to save as to load.
 *
 * vCPUs are parked, and the access that each of them had in hand is done: KVM_RUN was called once
 * more with immediate_exit. Which CPU it is (CPUID) comes from how the machine was built.
 */
#ifndef LKVM_X86_STATE_H
#define LKVM_X86_STATE_H

#include "lkvm/state.h"

struct clock_load;
struct ram;

struct kvm_fds {
	int dev_fd; /* /dev/kvm */
	int vm_fd;
	int vcpu_fd; /* cpu_state_types[]; for the clock the first one's */
	unsigned cpu; /* which that is, from 0 */
	struct ram *ram; /* the guest's, which is loaded already; NULL: none */
	struct clock_load *clocks; /* those that are loaded, x86/clock.h; NULL: each by itself */
};

#define CPU_STATE_TYPES 12
extern const struct state_type *const cpu_state_types[CPU_STATE_TYPES];

/* PICs, IOAPIC, PIT; a PIT's periodic counters start anew when they are loaded, as KVM keeps no phase */
#define KVM_CHIP_STATE_TYPES 4
extern const struct state_type *const kvm_chip_state_types[KVM_CHIP_STATE_TYPES];

/* kvm-clock: goes on from where it was, and does not count the time between, unless clocks->host */
extern const struct state_type kvm_clock_state_type;

#endif
