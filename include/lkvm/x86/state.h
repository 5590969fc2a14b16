/*
 * The state of a vCPU and of the chips that KVM has in the kernel, as tables (lkvm/state.h). They are
 * KVM's own structures, field by field; an object is the set of descriptors below.
 *
 *	load, after all devices:  kvm_chip_state_types[], then of each vCPU cpu_state_types[], then the
 *	clock. Each array in its order, to save as to load.
 *
 * vCPUs are parked, and the access that each of them had in hand is done: KVM_RUN was called once
 * more with immediate_exit. Which CPU it is (CPUID) comes from how the machine was built.
 */
#ifndef LKVM_X86_STATE_H
#define LKVM_X86_STATE_H

#include "lkvm/state.h"

struct kvm_fds {
	int dev_fd; /* /dev/kvm */
	int vm_fd;
	int vcpu_fd; /* cpu_state_types[] only */
};

#define CPU_STATE_TYPES 12
extern const struct state_type *const cpu_state_types[CPU_STATE_TYPES];

/* PICs, IOAPIC, PIT; a PIT's counters start anew when they are loaded, as KVM keeps no phase */
#define KVM_CHIP_STATE_TYPES 4
extern const struct state_type *const kvm_chip_state_types[KVM_CHIP_STATE_TYPES];

/* kvm-clock: goes on from where it was, and does not count the time between */
extern const struct state_type kvm_clock_state_type;

#endif
