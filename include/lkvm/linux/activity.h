/* What a vCPU of a Linux guest is doing, in words: idle, in user space, spinning for a lock, ... */
#ifndef LKVM_LINUX_ACTIVITY_H
#define LKVM_LINUX_ACTIVITY_H

#include "lkvm/linux/unwind.h"

/**
 * linux_activity() - by where it is, and whether it can be interrupted there
 * @symbols: as of linux_unwind()
 * @is_halted: KVM says so; where it does not know, false
 * Return: @buf
 */
const char *linux_activity(const struct linux_symbols *symbols, const struct linux_trace *trace,
			   const struct kvm_regs *regs, const struct kvm_sregs *sregs, bool is_halted, char *buf,
			   size_t cap);

#endif
