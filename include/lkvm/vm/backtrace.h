/* vm/control-backtrace.c: the backtrace of a vCPU, for `lkvm debug --backtrace` and for the report of a run's end. */
#ifndef LKVM_VM_BACKTRACE_H
#define LKVM_VM_BACKTRACE_H

#include <stdio.h>

#include "lkvm/linux/activity.h"

#define BACKTRACE_NAME_BYTES (LINUX_NAME_BYTES + LINUX_MODULE_BYTES + 64)

struct json;
struct kvm;

struct backtrace {
	unsigned cpu;
	bool is_off; /* it was never started, or not again */
	struct linux_trace trace;
	char activity[80];
	char polls[80]; /* struct exits_polled, the caller's to fill in */
};

/**
 * backtrace_take() - of a vCPU that is not in the guest
 * @symbols: NULL: not known
 * Return: 0, or -errno of KVM's
 */
int backtrace_take(const struct kvm *kvm, unsigned cpu, const struct linux_symbols *symbols, struct backtrace *ret);
/** backtrace_print() - a line, and one a frame, @most of them; what names the guest has in there is not masked */
void backtrace_print(FILE *out, const struct backtrace *b, const struct linux_symbols *symbols, unsigned most);
/** backtrace_json() - an object */
void backtrace_json(struct json *json, const struct backtrace *b, const struct linux_symbols *symbols);

#endif
