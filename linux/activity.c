/* What a vCPU is doing, by the names of the functions that it is in; see lkvm/linux/activity.h. */
#include <stdio.h>
#include <string.h>

#include "lkvm/linux/activity.h"

#define FLAGS_IF (1ULL << 9)
#define INNER    4 /* frames within which a function says what the CPU does now */

/* Is one of the innermost @n frames within such a function? */
static bool is_in(const struct linux_symbols *s, const struct linux_trace *t, unsigned n, const char *const *parts)
{
	struct linux_symbol symbol;

	for (unsigned i = 0; i < t->n && i < n; i++) {
		if (t->frame[i].is_guess ||
		    linux_symbol_at(s, t->frame[i].ip - t->frame[i].is_return, &symbol))
			continue;
		for (const char *const *part = parts; *part; part++)
			if (strstr(symbol.name, *part))
				return true;
	}
	return false;
}

static const char *where_in_kernel(const struct linux_symbols *s, const struct linux_trace *t, bool is_halted)
{
	static const char *const idle[] = { "do_idle", "cpu_startup_entry", "cpu_idle_poll", NULL };
	static const char *const halt[] = { "safe_halt", "native_halt", "default_idle", "amd_e400_idle", "mwait_idle",
					    "acpi_idle", "intel_idle", NULL };
	static const char *const panic[] = { "panic", NULL };
	static const char *const stopped[] = { "stop_this_cpu", NULL };
	static const char *const spin[] = { "spin_lock", "queued_spin", "queued_read_lock", "queued_write_lock",
					    "mutex_optimistic_spin", "osq_lock", NULL };

	if (is_in(s, t, LINUX_FRAMES, stopped))
		return "stopped by its kernel";
	if (is_in(s, t, LINUX_FRAMES, panic))
		return "in panic()";
	if (is_in(s, t, INNER, spin))
		return "spins for a lock";
	if (is_halted || is_in(s, t, 1, halt))
		return is_in(s, t, LINUX_FRAMES, idle) ? "idle, halted" : "halted";
	return is_in(s, t, LINUX_FRAMES, idle) ? "idle" : "runs in the kernel";
}

const char *linux_activity(const struct linux_symbols *s, const struct linux_trace *t, const struct kvm_regs *regs,
			   const struct kvm_sregs *sregs, bool is_halted, char *buf, size_t cap)
{
	const char *where = is_halted ? "halted" : "runs";

	if (t->frame[0].is_user) {
		snprintf(buf, cap, "in user space (%s)", sregs->cs.l ? "64-bit" : "32-bit");
		return buf;
	}
	if (s)
		where = where_in_kernel(s, t, is_halted);
	snprintf(buf, cap, "%s%s", where, regs->rflags & FLAGS_IF ? "" : ", interrupts off");
	return buf;
}
