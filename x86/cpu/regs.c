/* The state in which a vCPU starts; see x86/cpu.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/log.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

#define CR0_PE 0x00000001
#define CR0_ET 0x00000010
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define EFER_LME 0x100
#define EFER_LMA 0x400

#define MSR_MISC_ENABLE 0x1a0
#define MISC_FAST_STRING 1
#define MISC_BTS_UNAVAILABLE (1 << 11)
#define MISC_PEBS_UNAVAILABLE (1 << 12)
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLED_WRITE_BACK (1 << 11 | 6)

/*
 * What firmware would have left: all memory write-back, fast string moves. Everything else is as
 * KVM resets it, among it the local APIC's LINT0 as ExtINT on the boot processor.
 */
static int set_msrs(int vcpu_fd, unsigned id)
{
	static const struct kvm_msr_entry wanted[] = {
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITE_BACK },
		{ .index = MSR_MISC_ENABLE,
		  .data = MISC_FAST_STRING | MISC_BTS_UNAVAILABLE | MISC_PEBS_UNAVAILABLE },
	};
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(wanted)];
	} set = { .msrs = { .nmsrs = ARRAY_SIZE(wanted) } };

	memcpy(set.msrs.entries, wanted, sizeof(wanted));
	/* The return value counts the MSRs that were set: one that this KVM lacks is no loss. */
	if (ioctl(vcpu_fd, KVM_SET_MSRS, &set) < 0)
		return log_err(-errno, "KVM_SET_MSRS of vCPU %u", id);
	return 0;
}

static void set_flat_segments(struct kvm_sregs *sregs, uint64_t gdt, bool long_mode)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = BOOT_CS, .type = 0xb, /* execute, read, accessed */
		.present = 1, .s = 1, .g = 1, .db = !long_mode, .l = long_mode,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = BOOT_DS, .type = 3, /* read, write, accessed */
		.present = 1, .s = 1, .g = 1, .db = 1,
	};

	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	/* A busy TSS: VT-x does not enter a guest without one. */
	sregs->tr = (struct kvm_segment){ .limit = 0x67, .selector = BOOT_TR, .type = 0xb, .present = 1 };
	sregs->gdt.base = gdt;
	sregs->gdt.limit = BOOT_GDT_ENTRIES * 8 - 1;
}

static void set_real_segments(struct kvm_sregs *sregs, uint16_t segment)
{
	struct kvm_segment *const all[] = { &sregs->cs, &sregs->ds, &sregs->es,
					    &sregs->fs, &sregs->gs, &sregs->ss };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		all[i]->selector = segment;
		all[i]->base = (uint64_t)segment << 4;
	}
}

static void set_mode(struct kvm_sregs *sregs, const struct boot_entry *entry)
{
	switch (entry->mode) {
	case BOOT_REAL:
		set_real_segments(sregs, entry->real_segment);
		break;
	case BOOT_PROTECTED32:
		set_flat_segments(sregs, entry->gdt, false);
		sregs->cr0 = CR0_PE | CR0_ET;
		break;
	case BOOT_LONG64:
		set_flat_segments(sregs, entry->gdt, true);
		sregs->cr0 = CR0_PE | CR0_ET | CR0_PG;
		sregs->cr3 = entry->page_tables;
		sregs->cr4 = CR4_PAE;
		sregs->efer = EFER_LME | EFER_LMA;
		break;
	case BOOT_RESET:
		break;
	}
}

static int set_entry(int vcpu_fd, const struct boot_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->rip, .rax = entry->rax, .rbx = entry->rbx, .rsi = entry->rsi,
		.rsp = entry->rsp, .rflags = 2, /* the bit that is always one */
	};
	struct kvm_sregs sregs;

	/* Read first: the task register and the LDT must stay valid for the hardware. */
	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return log_err(-errno, "KVM_GET_SREGS");
	set_mode(&sregs, entry);
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
		return log_err(-errno, "KVM_SET_SREGS");
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return log_err(-errno, "KVM_SET_REGS");
	return 0;
}

int regs_setup(int vcpu_fd, unsigned id, const struct cpu_topology *topology, struct kvm_cpuid2 *cpuid,
	       const struct cpu_model *model, const struct boot_entry *entry)
{
	int err;

	cpuid_set_apic_id(cpuid, topology, id);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		return log_err(-errno, "KVM_SET_CPUID2 of vCPU %u", id);
	err = set_msrs(vcpu_fd, id);
	if (!err && model)
		err = cpu_model_set_msrs(vcpu_fd, id, model, cpuid);
	/* The other processors wait for the boot processor's INIT and start-up IPI. */
	return err || !entry || entry->mode == BOOT_RESET ? err : set_entry(vcpu_fd, entry);
}
