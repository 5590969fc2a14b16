/* What the files of x86/cpu/state*.c share; nobody else includes this. */
#ifndef X86_STATE_INTERNAL_H
#define X86_STATE_INTERNAL_H

#include "lkvm/x86/clock.h"
#include "lkvm/x86/state.h"

#define MSR_TSC        0x10
/* kvm-clock's, each with an old number and a new one: where the time of day at its begin is, and what it is now */
#define MSR_WALL       0x11
#define MSR_SYSTEM     0x12
#define MSR_WALL_NEW   0x4b564d00
#define MSR_SYSTEM_NEW 0x4b564d01

/** state_msr() - @request: KVM_GET_MSRS or KVM_SET_MSRS; Return: 1 done, 0 not, or -errno */
int state_msr(const struct kvm_fds *fds, unsigned long request, uint32_t index, uint64_t *data);

/* x86/cpu/state-clock.c */

extern const struct state_type kvm_tsc_state_type; /* its frequency, and where it stands to those of others */

/**
 * clock_load_tsc() - set the TSC of a vCPU whose MSRs are loaded, as fds->clocks has it
 * @saved: its value when these were saved
 * Return: 0 or -errno
 */
int clock_load_tsc(const struct kvm_fds *fds, uint64_t saved);

#endif
