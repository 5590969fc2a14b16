/*
 * x86 state of a vCPU: what it claims to be (CPUID, MSRs), how it starts, and how it is shown when
 * something went wrong.
 */
#ifndef LKVM_X86_CPU_H
#define LKVM_X86_CPU_H

#include <linux/kvm.h>
#include <stdio.h>

#include "lkvm/keys.h"
#include "lkvm/ram.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/topology.h"

/* x86/cpu/cpuid-flags.c */

#define CPU_MAX_FEATURES 32

struct cpu_model;

/* What the user asks for. */
struct cpu_config {
	/* In this order. Off: with those that depend on it; on: if KVM supports it. */
	struct cpu_feature {
		const char *name; /* of rows[] */
		bool on;
	} feature[CPU_MAX_FEATURES];
	unsigned n_features;
	struct cpu_model *model; /* heap; x86/cpu-model.h: in place of what this host's KVM can give; NULL: none */
};

/* Names are /proc/cpuinfo's; '-' and '.' within one are as good as '_'. */
extern const struct opt_key cpu_keys[];

/** cpuid_has() - is feature @name set in @table? An unknown name is not. */
bool cpuid_has(const struct kvm_cpuid2 *table, const char *name);
/** cpuid_lacks() - the name of a feature of @table that neither offer has, or NULL */
const char *cpuid_lacks(const struct kvm_cpuid2 *offer, const struct kvm_cpuid2 *other_offer,
			const struct kvm_cpuid2 *table);
/** cpuid_clear() - clear feature @name, and with @dependents all that cannot work without it */
void cpuid_clear(struct kvm_cpuid2 *table, const char *name, bool dependents);
/** cpuid_set() - set feature @name as in @offer; Return: 0, or -ENOTSUP if @offer has it nowhere */
int cpuid_set(struct kvm_cpuid2 *table, const struct kvm_cpuid2 *offer, const char *name);

/* x86/cpu/cpuid.c */

/** cpuid_find() - the entry of a leaf, or NULL */
struct kvm_cpuid_entry2 *cpuid_find(const struct kvm_cpuid2 *table, uint32_t function,
				    uint32_t index);

/**
 * cpuid_build() - the CPUID table of all vCPUs, from what KVM supports
 * @kvm_fd:   /dev/kvm, for KVM_GET_SUPPORTED_CPUID
 * @topology: how many vCPUs there are, and how they are arranged; no level is zero
 * @ret:      heap, free() it
 * Return: 0 or -errno (logged)
 */
int cpuid_build(int kvm_fd, const struct cpu_topology *topology, const struct cpu_config *cfg,
		bool tsc_deadline, struct kvm_cpuid2 **ret);

/**
 * cpuid_adapt() - the part of cpuid_build() that asks nobody: @supported is KVM's answer
 * Return: 0, -ENOMEM, or -ENOTSUP for a feature to switch on, or of cfg->model, that @supported lacks (logged)
 */
int cpuid_adapt(const struct kvm_cpuid2 *supported, const struct cpu_topology *topology,
		const struct cpu_config *cfg, bool tsc_deadline, struct kvm_cpuid2 **ret);

/**
 * cpuid_check() - can vCPUs of this host have the table of another one's?
 * Return: 0, or -ENOTSUP for a feature in @table that this host's KVM lacks, or -errno; logged
 */
int cpuid_check(int kvm_fd, const struct cpu_topology *topology, bool tsc_deadline,
		const struct kvm_cpuid2 *table);

/* x86/cpu/cpuid-topology.c */

/** cpuid_set_apic_id() - make the shared table vCPU @cpu's own (leaves 1, 0xb, 0x1f, 0x8000001e) */
void cpuid_set_apic_id(struct kvm_cpuid2 *table, const struct cpu_topology *topology, unsigned cpu);

/* x86/cpu/phys-bits.c */

/**
 * cpu_phys_bits_for() - how wide physical addresses may be in a guest with so much RAM
 * The host's width, or, where half of it is enough for the RAM, the 36 bits that every host has.
 */
unsigned cpu_phys_bits_for(uint64_t ram_bytes);

/* x86/cpu/regs.c */

/**
 * regs_setup() - CPUID, MSRs, and for the boot vCPU (@entry not NULL) its first state
 * @vcpu_fd: the vCPU's fd; main thread, before the vCPU thread starts
 * @cpuid:   the shared table; on return it is that of vCPU @id
 * @model:   whose MSRs it gets; NULL: those that KVM gives it
 * Return: 0 or -errno after one logged line that names the ioctl
 */
int regs_setup(int vcpu_fd, unsigned id, const struct cpu_topology *topology, struct kvm_cpuid2 *cpuid,
	       const struct cpu_model *model, const struct boot_entry *entry);

/* x86/cpu/walk.c */

/* One step of a page-table walk, top level first. */
struct walk_step {
	const char *level; /* "PML4E", "PDPTE", "PDE", "PTE" */
	gpa_t at;          /* where the entry stands */
	uint64_t entry;
};
#define WALK_MAX 5
struct walk {
	unsigned n;
	struct walk_step step[WALK_MAX];
	bool mapped;
	gpa_t gpa;           /* if mapped */
	uint64_t page_bytes; /* size of the page that maps it; 4 GB with paging off */
	/*
	 * If not mapped: "not canonical", "not present", "reserved bit set", or "table not in RAM":
	 * the entry that could not be read is not among the n, but step[n] has its address.
	 */
	const char *why;
};

/**
 * walk_page_tables() - guest virtual to guest physical, as the CPU with @sregs would
 * All paging modes: off, 32-bit (PSE), PAE, 4-level, 5-level. Bounded; guest tables are not trusted.
 */
void walk_page_tables(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt,
		      struct walk *ret);

/**
 * walk_read() - copy from guest virtual addresses, page by page through the guest's tables
 * Only RAM, no device. Nobody is in the guest, or what is read may be of several moments.
 * Return: how many bytes were copied; fewer than @len where the next one is not mapped, or no RAM
 */
size_t walk_read(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt, void *dst, size_t len);

/* x86/cpu/fault.c */

/**
 * fault_print_regs() - general, segment and control registers, code bytes around RIP, and the walk of RIP
 * @out: any stream; lines end with "\n"
 */
void fault_print_regs(FILE *out, const struct ram *ram, unsigned cpu_id, const struct kvm_regs *regs,
		      const struct kvm_sregs *sregs);
/** fault_print_general() - the first part of that: modes and general registers */
void fault_print_general(FILE *out, unsigned cpu_id, const struct kvm_regs *regs,
			 const struct kvm_sregs *sregs);
/**
 * fault_after_reset() - are these the registers of a CPU that was just reset?
 * KVM resets a vCPU after a triple fault where the CPU says nothing of its state then (SVM).
 */
bool fault_after_reset(const struct kvm_regs *regs, const struct kvm_sregs *sregs);
/** fault_print_walk() - the walk of one address, for the report and `lkvm debug --translate` */
void fault_print_walk(FILE *out, const struct ram *ram, uint64_t virt, const struct walk *walk);

#endif
