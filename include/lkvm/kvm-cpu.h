/*
 * One vCPU: its thread, the KVM_RUN loop, and what each exit means.
 *
 * A kick never gets lost: the state is changed first, then run->immediate_exit is set, then the
 * thread is signalled. KVM looks at immediate_exit on its way into the guest, so a signal that
 * arrives between the thread's own test and KVM_RUN still has its effect.
 */
#ifndef LKVM_KVM_CPU_H
#define LKVM_KVM_CPU_H

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "lkvm/kvm.h"
#include "lkvm/thread.h"

struct trace_track;

#define KVM_KICK_SIGNAL SIGUSR1

/* Exit counters: written by the vCPU's thread only, read by anyone. */
struct kvm_cpu_stats {
	_Atomic(uint64_t) exits, io, mmio, intr, other;
};

struct kvm_cpu {
	struct kvm *kvm;
	unsigned id; /* index */
	int fd;
	struct kvm_run *run;
	int run_errno; /* of the KVM_RUN that ended it, for the report */
	bool running;  /* kvm->lock: not parked, not ended */
	bool held;     /* kvm->lock: it stays parked while the others run */
	atomic_bool trapped; /* its last exit was for the debugger, who clears this; so long it stays parked */
	struct kvm_debug_exit_arch debug; /* that exit */
	atomic_bool outside;   /* its thread handles an exit; run tells which */
	uint64_t stuck_exits;  /* main thread: stats.exits + 1 when it did not park in time; 0: never */
	struct thread *thread; /* to be kicked and joined; NULL: none */
	void (*loop)(struct kvm_cpu *cpu); /* what it does while the VM runs */
	struct trace_track *track; /* of one that is traced, */
	uint64_t parked_ns;        /* and since when it was parked: its thread's */
	struct kvm_cpu_stats stats;
};

/** kvm_cpu_init() - create the vCPU and map its kvm_run; 0 or -errno, logged; then kvm_cpu_fini() */
int kvm_cpu_init(struct kvm_cpu *cpu, struct kvm *kvm, unsigned id, uint32_t apic_id);
void kvm_cpu_fini(struct kvm_cpu *cpu);

/** kvm_cpu_start() - start its thread, which parks until the VM runs; 0 or -errno, logged */
int kvm_cpu_start(struct kvm_cpu *cpu);
/** kvm_cpu_trace() - kvm-cpu-trace.c: its exits are events on this track; before kvm_cpu_start() */
void kvm_cpu_trace(struct kvm_cpu *cpu, struct trace_track *track);
/** kvm_cpu_kick() - make it leave the guest soon; any thread; the state was changed before */
void kvm_cpu_kick(struct kvm_cpu *cpu);
/** kvm_cpu_kick_handler() - install the empty handler of KVM_KICK_SIGNAL; once, before any start */
void kvm_cpu_kick_handler(void);

/**
 * kvm_cpu_print_fault() - why this vCPU could not go on: reason, registers, code, page-table walk
 * After STOP_FAULT, whose value is the vCPU's index; its thread was joined.
 */
void kvm_cpu_print_fault(FILE *out, const struct kvm_cpu *cpu);
/** kvm_cpu_triple_fault() - was a triple fault the reason? */
bool kvm_cpu_triple_fault(const struct kvm_cpu *cpu);
/** kvm_cpu_print_reason() - only the reason, without a newline */
void kvm_cpu_print_reason(FILE *out, const struct kvm_cpu *cpu);

/** kvm_cpu_failed() - after STOP_FAULT: was it KVM that could not go on, whatever the guest did? */
bool kvm_cpu_failed(const struct kvm_cpu *cpu);

#endif
