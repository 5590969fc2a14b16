/*
 * Backtraces of a guest's vCPUs, from their registers and the kernel's memory: by the kernel's own tables (ORC), else
 * by frame pointers where they are sane. Where neither goes on, what lies on the stack and may be a return address
 * is listed as a guess.
 */
#ifndef LKVM_LINUX_UNWIND_H
#define LKVM_LINUX_UNWIND_H

#include "lkvm/linux/symbols.h"

#define LINUX_FRAMES 48

struct linux_frame {
	uint64_t ip;
	bool is_return; /* a return address: what was called is before it */
	bool is_guess;
	bool is_user;   /* in user space */
};

struct linux_trace {
	unsigned n;
	struct linux_frame frame[LINUX_FRAMES]; /* the innermost first */
	const char *by;   /* "orc", "frame pointers", "guess"; "none": there is nothing but RIP */
	bool is_complete; /* to the stack's end, or to user space */
};

/**
 * linux_unwind() - where a vCPU is, and how it came there
 * @symbols: NULL: not known; RIP is all that there is then
 * @regs, @sregs: of a vCPU that is not in the guest
 */
void linux_unwind(const struct linux_symbols *symbols, const struct kvm_regs *regs, const struct kvm_sregs *sregs,
		  struct linux_trace *ret);
/** linux_frame_text() - "schedule+0x3/0xd0", by the call that the frame is in the middle of; Return: @buf */
const char *linux_frame_text(const struct linux_symbols *symbols, const struct linux_frame *frame, char *buf, size_t cap);

#endif
