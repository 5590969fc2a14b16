/*
 * struct kvm: the virtual machine as KVM knows it - /dev/kvm and VM fds, memory slots, interrupt
 * chips, vCPUs - and its run state.
 *
 *	               kvm_start()          kvm_pause()
 *	KVM_CREATED -----------> KVM_RUNNING ---------> KVM_PAUSED
 *	                              |      <---------     |
 *	                              |      kvm_resume()   |
 *	                  kvm_stop()  v                     v
 *	                            KVM_STOPPING (from every state; the first cause wins)
 *
 * kvm_stop() may be called by any thread; the rest is the main thread's unless it says otherwise.
 */
#ifndef LKVM_KVM_H
#define LKVM_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/bus.h"
#include "lkvm/device.h"
#include "lkvm/kvm-slots.h"
#include "lkvm/ram.h"

struct kvm_cpu;

enum kvm_state { KVM_CREATED, KVM_RUNNING, KVM_PAUSED, KVM_STOPPING };

struct kvm {
	int dev_fd;
	int vm_fd;
	int wake_fd; /* eventfd: readable once a cause to stop is set */
	size_t run_bytes; /* KVM_GET_VCPU_MMAP_SIZE */
	bool tsc_deadline;
	bool wide_ids; /* kvm_use_wide_ids() */
	struct ram *ram;
	struct kvm_slots slots;
	struct bus pio;
	struct bus mmio;
	/*
	 * On a vCPU's thread, which has found nothing at an address of a slot: true if that may be
	 * otherwise now. NULL: it never is. Set before kvm_start().
	 */
	bool (*mend)(void *ctx);
	void *mend_ctx;

	const unsigned *pin; /* n_pin CPUs of the host, one vCPU on each in turn; not ours. Set before kvm_start() */
	unsigned n_pin;
	unsigned n_cpus;
	struct kvm_cpu *cpus; /* n_cpus of them */

	pthread_mutex_t lock; /* state, n_parked */
	pthread_cond_t changed;
	enum kvm_state state;
	unsigned n_running; /* vCPU threads that are not parked and not ended */

	/*
	 * An eventfd of a debugger's, -1: there is none. The VM pauses, and this is signalled, where a vCPU comes
	 * to what it was told to stop at (kvm_cpu.trapped), and in place of an end that a debugger is for: then
	 * kvm_caught() tells which.
	 */
	atomic_int debug_fd;
	atomic_bool catching;     /* somebody writes, or has written, the next two */
	bool debugged;            /* it had one at some time */
	_Atomic(uint64_t) caught; /* enum stop_cause, and which vCPU it was; until it was taken no vCPU runs */
	struct kvm_run caught_run; /* of that vCPU, as KVM is called once more before it parks */
	atomic_bool panicked; /* pvpanic said so, and the guest went on */
	_Atomic(uint64_t) stop; /* enum stop_cause in the low half, value in the high half; 0: none */
};

/**
 * kvm_open() - open /dev/kvm, check version and capabilities by name, create the VM
 * Return: 0, or -errno after one logged line with a hint; kvm_close() in either case
 */
int kvm_open(struct kvm *kvm);
/** kvm_close() - joins nothing: the vCPUs were freed before; takes a half-built struct */
void kvm_close(struct kvm *kvm);

/**
 * kvm_lose_ticks() - ticks of the PIT that the guest did not take in time are lost, not made up for later
 * Where KVM cannot do that it is as if it had not been called.
 */
void kvm_lose_ticks(const struct kvm *kvm);

/** kvm_max_vcpus() - KVM_CAP_MAX_VCPUS; kvm_recommended_vcpus() - KVM_CAP_NR_VCPUS */
unsigned kvm_max_vcpus(const struct kvm *kvm);
unsigned kvm_recommended_vcpus(const struct kvm *kvm);

/** kvm_create_irqchip() - in-kernel PIC, IOAPIC, LAPIC, then PIT2 (that order); 0 or -errno, logged */
int kvm_create_irqchip(struct kvm *kvm);

/**
 * kvm_use_wide_ids() - let CPUs have APIC ids that xAPIC mode has no room for, up to @max_id
 * Before the vCPUs are made. With them an MSI's address may name 15 bits of an id.
 * Return: 0 or -errno, logged
 */
int kvm_use_wide_ids(struct kvm *kvm, unsigned max_id);

/**
 * kvm_check_ram_size() - against the host's address width and KVM's slot size
 * KVM itself does not look at the address width.
 * @phys_bits: cpu_phys_bits_for() them
 * Return: 0 or -EFBIG, logged
 */
int kvm_check_ram_size(unsigned phys_bits, uint64_t size_bytes);

/** kvm_irq_line() - KVM_IRQ_LINE, for kvm-irq.c alone, which knows who shares a GSI; any thread */
void kvm_irq_line(struct kvm *kvm, unsigned gsi, bool level);

/** kvm_stop() - ask the VM to end; the first cause wins; any thread; never blocks. Fits device_env.stop. */
void kvm_stop(void *kvm, enum stop_cause cause, uint32_t value);
/** kvm_note_panic() - the guest panicked and goes on, into its crash kernel; any thread. Fits device_env.note_panic. */
void kvm_note_panic(void *kvm);
/** kvm_stop_cause() - STOP_NONE while nobody asked; any thread */
enum stop_cause kvm_stop_cause(const struct kvm *kvm, uint32_t *ret_value);

/** kvm_start() - start all vCPU threads; 0 or -errno, logged (then none is left running) */
int kvm_start(struct kvm *kvm);
/**
 * kvm_pause() - halt all vCPUs; their state can then be read with vCPU ioctls
 * Waits a second at most for what a vCPU does outside the guest, and not again for the same.
 * Return: 0; -EALREADY if it was paused; -ESHUTDOWN while stopping; -EINPROGRESS: it is paused, but
 *	somebody is not parked yet, as kvm_describe_busy() tells
 */
int kvm_pause(struct kvm *kvm);
/** kvm_outside() - main thread, paused: is every vCPU parked or in a handler of ours? */
bool kvm_outside(struct kvm *kvm);
/** kvm_describe_busy() - "vCPU 1 is still in blk0 (address 0xd0001014)": the first not parked or ended */
void kvm_describe_busy(struct kvm *kvm, char *ret, size_t cap);
/**
 * kvm_tell_pause() - main thread, while no vCPU is in the guest: it was not there for a while
 * So that its watchdogs do not take that for a lock-up; a guest without kvm-clock cannot be told.
 */
void kvm_tell_pause(struct kvm *kvm);
/** kvm_trap() - on a vCPU's thread: it has come to what a debugger waits for; see struct kvm.debug_fd */
void kvm_trap(struct kvm_cpu *cpu);
/**
 * kvm_caught() - the end that was held up for the debugger, and has become none; STOP_NONE: there was none
 * @ret_cpu: whose vCPU's it seems to be
 * Main thread, while the VM is paused.
 */
enum stop_cause kvm_caught(struct kvm *kvm, uint32_t *ret_value, unsigned *ret_cpu);
/** kvm_hold_cpu() - while the VM is paused: this vCPU will not run with the others, or will again */
void kvm_hold_cpu(struct kvm_cpu *cpu, bool held);

/** kvm_resume() - Return: 0, -EALREADY if it runs, -ESHUTDOWN while stopping */
int kvm_resume(struct kvm *kvm);
/**
 * kvm_join() - after kvm_stop(): wait for all vCPU threads
 * @timeout_ms: -1: as long as it takes
 * Return: 0, or -ETIMEDOUT: some were not joined, this can be called again
 */
int kvm_join(struct kvm *kvm, int timeout_ms);

#endif
