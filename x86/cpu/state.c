/*
 * A vCPU's state; see x86/state.h. In the order that KVM's documentation and code ask for: reading
 * the MP state may take an INIT, so it comes first; setting registers drops a pending exception, so
 * events come last; the APIC must be on (SREGS) before its registers, and its timer's mode known (LAPIC)
 * before the deadline, which is an MSR.
 *
 * Called by the main thread while the vCPUs are parked.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/log.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"
#include "state-internal.h"

static int vcpu_ioctl(void *dev, unsigned long request, const void *arg)
{
	const struct kvm_fds *fds = dev;

	return ioctl(fds->vcpu_fd, request, arg) < 0 ? -errno : 0;
}

static int extension(void *dev, unsigned long cap)
{
	const struct kvm_fds *fds = dev;
	int value = ioctl(fds->vm_fd, KVM_CHECK_EXTENSION, cap);

	return value < 0 ? 0 : value;
}

/* State that is one of KVM's structures, read by one ioctl and written by another. */
#define PLAIN(name, title, get, set)                                                               \
	static int name##_save(void *dev, void *ret_state)                                         \
	{                                                                                          \
		return vcpu_ioctl(dev, get, ret_state);                                            \
	}                                                                                          \
	static int name##_load(void *dev, const void *state)                                       \
	{                                                                                          \
		return vcpu_ioctl(dev, set, state);                                                \
	}                                                                                          \
	static const struct state_type name##_type = {                                             \
		STATE_TYPE(title, 1, struct kvm_##name, name##_fields),                            \
		.save = name##_save,                                                               \
		.load = name##_load,                                                               \
	}

static const struct state_field mp_state_fields[] = {
	STATE_ONE(struct kvm_mp_state, mp_state),
};
PLAIN(mp_state, "cpu-mp-state", KVM_GET_MP_STATE, KVM_SET_MP_STATE);

/* ---- registers ---- */

static const struct state_field regs_fields[] = {
	STATE_ONE(struct kvm_regs, rax), STATE_ONE(struct kvm_regs, rbx),
	STATE_ONE(struct kvm_regs, rcx), STATE_ONE(struct kvm_regs, rdx),
	STATE_ONE(struct kvm_regs, rsi), STATE_ONE(struct kvm_regs, rdi),
	STATE_ONE(struct kvm_regs, rsp), STATE_ONE(struct kvm_regs, rbp),
	STATE_ONE(struct kvm_regs, r8),  STATE_ONE(struct kvm_regs, r9),
	STATE_ONE(struct kvm_regs, r10), STATE_ONE(struct kvm_regs, r11),
	STATE_ONE(struct kvm_regs, r12), STATE_ONE(struct kvm_regs, r13),
	STATE_ONE(struct kvm_regs, r14), STATE_ONE(struct kvm_regs, r15),
	STATE_ONE(struct kvm_regs, rip), STATE_ONE(struct kvm_regs, rflags),
};
PLAIN(regs, "cpu-regs", KVM_GET_REGS, KVM_SET_REGS);

#define SREG(member) STATE_ONE(struct kvm_sregs2, member)
#define SEGMENT(seg)                                                                               \
	SREG(seg.base), SREG(seg.limit), SREG(seg.selector), SREG(seg.type), SREG(seg.present),    \
		SREG(seg.dpl), SREG(seg.db), SREG(seg.s), SREG(seg.l), SREG(seg.g), SREG(seg.avl), \
		SREG(seg.unusable), SREG(seg.padding)
#define TABLE(t) SREG(t.base), SREG(t.limit), STATE_ARRAY(struct kvm_sregs2, t.padding)

static const struct state_field sregs_fields[] = {
	SEGMENT(cs), SEGMENT(ds), SEGMENT(es), SEGMENT(fs), SEGMENT(gs),
	SEGMENT(ss), SEGMENT(tr), SEGMENT(ldt), TABLE(gdt), TABLE(idt),
	SREG(cr0), SREG(cr2), SREG(cr3), SREG(cr4), SREG(cr8),
	SREG(efer), SREG(apic_base), SREG(flags), STATE_ARRAY(struct kvm_sregs2, pdptrs),
};

/* Up to the APIC base both structures are the same. */
#define SREGS_COMMON offsetof(struct kvm_sregs2, flags)
_Static_assert(SREGS_COMMON == offsetof(struct kvm_sregs, interrupt_bitmap), "SREGS and SREGS2");

static int sregs_save(void *dev, void *ret_state)
{
	struct kvm_sregs old;
	int err;

	if (extension(dev, KVM_CAP_SREGS2))
		return vcpu_ioctl(dev, KVM_GET_SREGS2, ret_state);
	err = vcpu_ioctl(dev, KVM_GET_SREGS, &old);
	if (!err)
		memcpy(ret_state, &old, SREGS_COMMON);
	return err;
}

/* An interrupt on its way is in the events; without PDPTRs KVM reads them from guest memory. */
static int sregs_load(void *dev, const void *state)
{
	struct kvm_sregs old = { 0 };

	if (extension(dev, KVM_CAP_SREGS2))
		return vcpu_ioctl(dev, KVM_SET_SREGS2, state);
	memcpy(&old, state, SREGS_COMMON);
	return vcpu_ioctl(dev, KVM_SET_SREGS, &old);
}

static const struct state_type sregs_type = {
	STATE_TYPE("cpu-sregs", 1, struct kvm_sregs2, sregs_fields),
	.save = sregs_save,
	.load = sregs_load,
};

static const struct state_field debugregs_fields[] = {
	STATE_ARRAY(struct kvm_debugregs, db),
	STATE_ONE(struct kvm_debugregs, dr6),
	STATE_ONE(struct kvm_debugregs, dr7),
	STATE_ONE(struct kvm_debugregs, flags),
	STATE_ARRAY(struct kvm_debugregs, reserved),
};
PLAIN(debugregs, "cpu-debugregs", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS);

/* ---- floating point and vectors: what each CPU has, and then all, where it has XSAVE ---- */

static const struct state_field fpu_fields[] = {
	{ .name = "fpr", .offset = 0, .bytes = 1, .count = sizeof(((struct kvm_fpu *)0)->fpr) },
	STATE_ONE(struct kvm_fpu, fcw),
	STATE_ONE(struct kvm_fpu, fsw),
	STATE_ONE(struct kvm_fpu, ftwx),
	STATE_ONE(struct kvm_fpu, pad1),
	STATE_ONE(struct kvm_fpu, last_opcode),
	STATE_ONE(struct kvm_fpu, last_ip),
	STATE_ONE(struct kvm_fpu, last_dp),
	{ .name = "xmm", .offset = offsetof(struct kvm_fpu, xmm), .bytes = 1,
	  .count = sizeof(((struct kvm_fpu *)0)->xmm) },
	STATE_ONE(struct kvm_fpu, mxcsr),
	STATE_ONE(struct kvm_fpu, pad2),
};
PLAIN(fpu, "cpu-fpu", KVM_GET_FPU, KVM_SET_FPU);

#define XSAVE_WORDS 4096 /* AMX's tiles included */

struct xsave_state {
	uint32_t n; /* 0: this host has no XSAVE */
	uint32_t word[XSAVE_WORDS];
};

static const struct state_field xsave_fields[] = {
	STATE_ONE(struct xsave_state, n, .max = XSAVE_WORDS),
	STATE_SOME(struct xsave_state, word, n),
};

/* Return: how many bytes KVM reads and writes, 0 without XSAVE */
static uint32_t xsave_bytes(void *dev)
{
	int bytes = extension(dev, KVM_CAP_XSAVE2);

	if (bytes >= (int)sizeof(struct kvm_xsave))
		return (uint32_t)bytes;
	return extension(dev, KVM_CAP_XSAVE) ? (uint32_t)sizeof(struct kvm_xsave) : 0;
}

static int xsave_save(void *dev, void *ret_state)
{
	struct xsave_state *st = ret_state;
	uint32_t bytes = xsave_bytes(dev);

	if (bytes > sizeof(st->word))
		return -E2BIG;
	st->n = bytes / 4;
	if (!bytes)
		return 0;
	return vcpu_ioctl(dev, extension(dev, KVM_CAP_XSAVE2) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
			  st->word);
}

/* KVM reads as much as it has, so less of it would be padded with 0, and more is refused. */
static int xsave_load(void *dev, const void *state)
{
	const struct xsave_state *st = state;

	if (!st->n)
		return 0;
	return st->n * 4 > xsave_bytes(dev) ? -ENOTSUP :
					      vcpu_ioctl(dev, KVM_SET_XSAVE, st->word);
}

static const struct state_type xsave_type = {
	STATE_TYPE("cpu-xsave", 1, struct xsave_state, xsave_fields),
	.save = xsave_save,
	.load = xsave_load,
};

struct xcrs_state {
	uint64_t xcr0; /* 0: this host has none */
};

static const struct state_field xcrs_fields[] = {
	STATE_ONE(struct xcrs_state, xcr0),
};

static int xcrs_save(void *dev, void *ret_state)
{
	struct xcrs_state *st = ret_state;
	struct kvm_xcrs xcrs = { 0 };
	int err = extension(dev, KVM_CAP_XCRS) ? vcpu_ioctl(dev, KVM_GET_XCRS, &xcrs) : 0;

	for (uint32_t i = 0; !err && i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			st->xcr0 = xcrs.xcrs[i].value;
	return err;
}

static int xcrs_load(void *dev, const void *state)
{
	const struct xcrs_state *st = state;
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = st->xcr0 } } };

	if (!st->xcr0)
		return 0;
	return extension(dev, KVM_CAP_XCRS) ? vcpu_ioctl(dev, KVM_SET_XCRS, &xcrs) : -ENOTSUP;
}

static const struct state_type xcrs_type = {
	STATE_TYPE("cpu-xcrs", 1, struct xcrs_state, xcrs_fields),
	.save = xcrs_save,
	.load = xcrs_load,
};

/* ---- local APIC ---- */

static const struct state_field lapic_state_fields[] = {
	STATE_ARRAY(struct kvm_lapic_state, regs),
};

#define APIC_LVT_TIMER 0x320
#define APIC_CURRENT   0x390 /* count of its timer; KVM's runs at 1 GHz */
#define APIC_DIVIDE    0x3e0
#define TIMER_DEADLINE (2 << 17)

static uint32_t apic_reg(const struct kvm_lapic_state *apic, unsigned at)
{
	uint32_t value;

	memcpy(&value, apic->regs + at, sizeof(value));
	return value;
}

/* Time has passed in which the timer counted; if that was all of its time, it is due at once. */
static void pass_time(struct kvm_lapic_state *apic, uint64_t ns)
{
	const uint32_t divide = apic_reg(apic, APIC_DIVIDE), now = apic_reg(apic, APIC_CURRENT);
	const unsigned log2 = (divide & 3) | (divide & 8) >> 1; /* minus 1 */
	const uint64_t ticks = ns >> (log2 == 7 ? 0 : log2 + 1);
	const uint32_t left = ticks < now ? (uint32_t)(now - ticks) : 1;

	if (now && !(apic_reg(apic, APIC_LVT_TIMER) & TIMER_DEADLINE))
		memcpy(apic->regs + APIC_CURRENT, &left, sizeof(left));
}

static int lapic_save(void *dev, void *ret_state)
{
	return vcpu_ioctl(dev, KVM_GET_LAPIC, ret_state);
}

static int lapic_load(void *dev, const void *state)
{
	const struct kvm_fds *fds = dev;
	struct kvm_lapic_state apic = *(const struct kvm_lapic_state *)state;

	if (fds->clocks && fds->clocks->passed_ns)
		pass_time(&apic, fds->clocks->passed_ns);
	return vcpu_ioctl(dev, KVM_SET_LAPIC, &apic);
}

static const struct state_type lapic_state_type = {
	STATE_TYPE("cpu-lapic", 1, struct kvm_lapic_state, lapic_state_fields),
	.save = lapic_save,
	.load = lapic_load,
};

/* ---- model-specific registers: those of KVM_GET_MSR_INDEX_LIST that this vCPU has ---- */

#define MAX_MSRS   511
#define WALL_BYTES 12 /* of kvm-clock's time of day */

struct msrs_state {
	uint32_t n;
	uint32_t index[MAX_MSRS];
	uint64_t data[MAX_MSRS];
};

static const struct state_field msrs_fields[] = {
	STATE_ONE(struct msrs_state, n, .max = MAX_MSRS),
	STATE_SOME(struct msrs_state, index, n),
	STATE_SOME(struct msrs_state, data, n),
};

int state_msr(const struct kvm_fds *fds, unsigned long request, uint32_t index, uint64_t *data)
{
	union {
		struct kvm_msrs msrs;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one = { .msrs = { .nmsrs = 1 } };
	int n;

	one.msrs.entries[0] = (struct kvm_msr_entry){ .index = index, .data = *data };
	n = ioctl(fds->vcpu_fd, request, &one);
	*data = one.msrs.entries[0].data;
	return n < 0 ? -errno : n;
}

static int msrs_save(void *dev, void *ret_state)
{
	const struct kvm_fds *fds = dev;
	struct msrs_state *st = ret_state;
	union {
		struct kvm_msr_list list;
		uint32_t room[MAX_MSRS + 1];
	} all = { .list = { .nmsrs = MAX_MSRS } };

	if (ioctl(fds->dev_fd, KVM_GET_MSR_INDEX_LIST, &all) < 0)
		return -errno;
	for (uint32_t i = 0; i < all.list.nmsrs; i++) {
		uint64_t data = 0;
		int got = state_msr(dev, KVM_GET_MSRS, all.list.indices[i], &data);

		if (got < 0)
			return got;
		if (!got)
			continue; /* of a feature that CPUID does not have */
		st->index[st->n] = all.list.indices[i];
		st->data[st->n++] = data;
	}
	return 0;
}

/* One that cannot be written is right if it has this value already. */
static int load_msr(const struct kvm_fds *fds, uint32_t index, uint64_t value)
{
	uint64_t data = value, now = 0;
	int done = state_msr(fds, KVM_SET_MSRS, index, &data);

	if (done)
		return done < 0 ? done : 0;
	if (state_msr(fds, KVM_GET_MSRS, index, &now) >= 1 && now == value)
		return 0;
	return log_errx(-ENOTSUP, "this host's KVM cannot set MSR 0x%x to 0x%llx", index, (unsigned long long)value);
}

/*
 * Where a guest tells KVM to, KVM writes what time it is, at once. It told that long ago, may use that
 * memory for something else by now, and has not asked again.
 */
static int load_wall_clock(const struct kvm_fds *fds, uint32_t index, uint64_t at)
{
	uint8_t was[WALL_BYTES];
	const bool keep = fds->ram && at && !ram_read(fds->ram, GPA(at), was, sizeof(was));
	int err = load_msr(fds, index, at);

	if (keep)
		ram_write(fds->ram, GPA(at), was, sizeof(was));
	return err;
}

/* The time stamp counter comes before those that a timer is set by: it would be late, or early. */
static int msrs_load(void *dev, const void *state)
{
	const struct msrs_state *st = state;
	int err = 0;

	for (uint32_t i = 0; !err && i < st->n; i++)
		if (st->index[i] == MSR_TSC)
			err = clock_load_tsc(dev, st->data[i]);
	for (uint32_t i = 0; !err && i < st->n; i++) {
		if (st->index[i] == MSR_WALL || st->index[i] == MSR_WALL_NEW)
			err = load_wall_clock(dev, st->index[i], st->data[i]);
		else if (st->index[i] != MSR_TSC)
			err = load_msr(dev, st->index[i], st->data[i]);
	}
	return err;
}

static const struct state_type msrs_type = {
	STATE_TYPE("cpu-msrs", 1, struct msrs_state, msrs_fields),
	.save = msrs_save,
	.load = msrs_load,
};

/* ---- a guest that is a host itself ---- */

#define NESTED_WORDS 4096

struct nested_state {
	uint32_t n; /* 0: KVM offers no nesting */
	uint32_t word[NESTED_WORDS];
};

static const struct state_field nested_fields[] = {
	STATE_ONE(struct nested_state, n, .max = NESTED_WORDS),
	STATE_SOME(struct nested_state, word, n),
};

/* KVM believes the size that stands within. */
static const char *nested_check(const void *state)
{
	const struct nested_state *st = state;

	if (st->n && st->n * 4 < sizeof(struct kvm_nested_state))
		return "n";
	return st->n && st->word[offsetof(struct kvm_nested_state, size) / 4] != st->n * 4 ? "word" : NULL;
}

static int nested_save(void *dev, void *ret_state)
{
	struct nested_state *st = ret_state;
	union {
		struct kvm_nested_state nested;
		uint32_t word[NESTED_WORDS];
	} now = { .word = { 0 } };
	int bytes = extension(dev, KVM_CAP_NESTED_STATE), err;

	if (bytes < (int)sizeof(now.nested))
		return 0;
	if (bytes > (int)sizeof(now))
		return -E2BIG;
	now.nested.size = (uint32_t)bytes;
	err = vcpu_ioctl(dev, KVM_GET_NESTED_STATE, &now);
	if (err)
		return err;
	st->n = now.nested.size / 4;
	memcpy(st->word, now.word, sizeof(now.word));
	return 0;
}

static int nested_load(void *dev, const void *state)
{
	const struct nested_state *st = state;

	if (!st->n)
		return 0;
	return extension(dev, KVM_CAP_NESTED_STATE) ?
		       vcpu_ioctl(dev, KVM_SET_NESTED_STATE, st->word) :
		       -ENOTSUP;
}

static const struct state_type nested_type = {
	STATE_TYPE("cpu-nested", 1, struct nested_state, nested_fields),
	.check = nested_check,
	.save = nested_save,
	.load = nested_load,
};

/* ---- events: injected and pending exceptions, interrupts, NMIs, SMIs ---- */

#define EVENT(member) STATE_ONE(struct kvm_vcpu_events, member)

static const struct state_field vcpu_events_fields[] = {
	EVENT(exception.injected), EVENT(exception.nr), EVENT(exception.has_error_code),
	EVENT(exception.pending), EVENT(exception.error_code),
	EVENT(interrupt.injected), EVENT(interrupt.nr), EVENT(interrupt.soft),
	EVENT(interrupt.shadow),
	EVENT(nmi.injected), EVENT(nmi.pending), EVENT(nmi.masked), EVENT(nmi.pad),
	EVENT(sipi_vector), EVENT(flags),
	EVENT(smi.smm), EVENT(smi.pending), EVENT(smi.smm_inside_nmi), EVENT(smi.latched_init),
	EVENT(triple_fault.pending),
	STATE_ARRAY(struct kvm_vcpu_events, reserved),
	EVENT(exception_has_payload), EVENT(exception_payload),
};
PLAIN(vcpu_events, "cpu-events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS);

const struct state_type *const cpu_state_types[CPU_STATE_TYPES] = {
	&mp_state_type, &kvm_tsc_state_type, &regs_type,	    &sregs_type, &fpu_type,    &xsave_type,
	&xcrs_type,	&debugregs_type, &lapic_state_type, &msrs_type,	 &nested_type, &vcpu_events_type,
};
