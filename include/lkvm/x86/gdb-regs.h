/*
 * The registers of a vCPU as gdb numbers and describes them (gdb manual, appendix G: i386 features). Read from
 * KVM when one of them is asked for, and then not again until x86_view_forget().
 */
#ifndef LKVM_X86_GDB_REGS_H
#define LKVM_X86_GDB_REGS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct x86_view {
	int vcpu_fd; /* of a vCPU that stands still; the owner's */
	bool long_mode, avx; /* does the CPU have them? */
	unsigned have; /* which of the following is right */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_xsave xsave;
	uint64_t kernel_gs_base;
};

/* Registers that are told with each stop: frame pointer, stack pointer, program counter */
#define X86_VIEW_TOLD 3
extern const uint8_t x86_view_told_64[X86_VIEW_TOLD], x86_view_told_32[X86_VIEW_TOLD];

/** x86_view_forget() - it will run, or has run */
static inline void x86_view_forget(struct x86_view *view)
{
	view->have = 0;
}

/** x86_view_count() - how many registers there are */
unsigned x86_view_count(const struct x86_view *view);
/** x86_view_bytes() - how many register @reg has; 0: there is none */
unsigned x86_view_bytes(const struct x86_view *view, unsigned reg);
/** x86_view_get() - register @reg's value, of 16 bytes at most; Return: its bytes; 0: none, or KVM does not tell */
unsigned x86_view_get(struct x86_view *view, unsigned reg, uint8_t ret[16]);
/** x86_view_set() - Return: 0; -EINVAL: no such register, or not of that size; -errno of KVM */
int x86_view_set(struct x86_view *view, unsigned reg, const uint8_t *value, size_t n);
/** x86_view_sregs() - the special registers, for walk_page_tables(); NULL: KVM does not tell */
const struct kvm_sregs *x86_view_sregs(struct x86_view *view);
/** x86_view_pc() - the linear address of the next instruction; 0 or -errno */
int x86_view_pc(struct x86_view *view, uint64_t *ret);
/** x86_view_document() - target.xml; heap; NULL: no memory */
char *x86_view_document(const struct x86_view *view);

#endif
