/*
 * The KVM_RUN loop, for kvm-cpu.c and for kvm-cpu-trace.c, which do something else with an exit each. Each has its
 * own copy, so that a vCPU that is not traced finds nothing of tracing on its way.
 */
#ifndef KVM_CPU_LOOP_H
#define KVM_CPU_LOOP_H

#include <errno.h>
#include <sys/ioctl.h>

#include "lkvm/kvm-cpu.h"

/** kvm_cpu_count() - one writer: no locked instruction needed */
static inline void kvm_cpu_count(_Atomic(uint64_t) *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/** kvm_cpu_exit() - do what the exit in cpu->run asks for; on the vCPU's thread */
void kvm_cpu_exit(struct kvm_cpu *cpu);

/* The guest has touched memory of a slot that is not there: a file that is its memory was cut short. */
static inline bool kvm_cpu_mended(const struct kvm *kvm)
{
	return errno == EFAULT && kvm->mend && kvm->mend(kvm->mend_ctx);
}

/** kvm_cpu_loop() - in the guest until the VM is paused or stops */
static inline __attribute__((always_inline)) void kvm_cpu_loop(struct kvm_cpu *cpu,
							       void (*on_exit)(struct kvm_cpu *cpu))
{
	int err;

	while (!atomic_load_explicit(&cpu->kvm->stop, memory_order_relaxed)) {
		if (!ioctl(cpu->fd, KVM_RUN, 0)) {
			atomic_store_explicit(&cpu->outside, true, memory_order_release);
			on_exit(cpu);
			atomic_store_explicit(&cpu->outside, false, memory_order_release);
			continue;
		}
		if (errno == EINTR) {
			kvm_cpu_count(&cpu->stats.intr);
			/* Cleared before the state is looked at: a kick from now on is seen by KVM_RUN. */
			__atomic_store_n(&cpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
			return;
		}
		/* EAGAIN: a processor that waits for its start-up IPI was woken for nothing. */
		err = errno;
		if (err != EAGAIN && !kvm_cpu_mended(cpu->kvm)) {
			cpu->run_errno = err;
			kvm_stop(cpu->kvm, STOP_FAULT, cpu->id);
		}
	}
}

#endif
