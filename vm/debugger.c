/* A machine as a debugger has it; see debugger.h. */
#include "debugger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/clock.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/snapshot-make.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

#define VECTOR_DB 1
#define VECTOR_BP 3
#define DR6_STEP (1u << 14)
#define DR7_FIXED 0x400
#define DR7_EXACT 0x300
#define LINUX_MS 1000 /* to look for the guest's kernel */

static struct kvm_cpu *cpu_of(const struct debugger *d, unsigned i)
{
	return &d->vm->kvm.cpus[i];
}

/* ---- what KVM is told ---- */

static void add_slots(const struct debugger *d, struct kvm_guest_debug *dbg)
{
	uint64_t dr7 = 0;

	for (unsigned i = 0; i < DEBUGGER_SLOTS; i++)
		if (d->slot[i].used) {
			dbg->arch.debugreg[i] = d->slot[i].at;
			dr7 |= debugger_dr7(&d->slot[i], i);
		}
	if (!dr7)
		return;
	dbg->arch.debugreg[7] = dr7 | DR7_FIXED | DR7_EXACT;
	dbg->control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
}

static int tell_kvm(struct debugger *d, unsigned cpu, bool step)
{
	struct kvm_guest_debug dbg = { .control = d->inject[cpu] };

	d->inject[cpu] = 0;
	if (d->n_points)
		dbg.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	add_slots(d, &dbg);
	if (step)
		dbg.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | (d->flags & KVM_GUESTDBG_BLOCKIRQ);
	return ioctl(cpu_of(d, cpu)->fd, KVM_SET_GUEST_DEBUG, &dbg) < 0 ? -errno : 0;
}

static int tell_kvm_all(struct debugger *d)
{
	int err = 0;

	for (unsigned i = 0; i < d->vm->kvm.n_cpus; i++) {
		const struct gdb_action *action = &d->actions[i];
		const int failed = tell_kvm(d, i, action->what == GDB_STEP);

		err = err ? err : failed;
		kvm_hold_cpu(cpu_of(d, i), action->what == GDB_STAY);
		x86_view_forget(&d->views[i]);
	}
	return err;
}

/* ---- why a CPU has stopped ---- */

static bool by_slot(const struct debugger *d, uint64_t dr6, struct gdb_stop *ret)
{
	for (unsigned i = 0; i < DEBUGGER_SLOTS; i++)
		if (dr6 >> i & 1 && d->slot[i].used) {
			ret->by_point = true;
			ret->kind = d->slot[i].kind;
			ret->at = d->slot[i].at;
			return true;
		}
	return false;
}

/* What the guest itself has set up is the guest's. */
static void give_back(struct debugger *d, unsigned cpu, const struct kvm_debug_exit_arch *arch)
{
	struct kvm_debugregs regs;
	const int fd = cpu_of(d, cpu)->fd;

	if (arch->exception == VECTOR_BP) {
		d->inject[cpu] = KVM_GUESTDBG_INJECT_BP;
		return;
	}
	if (!ioctl(fd, KVM_GET_DEBUGREGS, &regs)) {
		regs.dr6 = arch->dr6;
		ioctl(fd, KVM_SET_DEBUGREGS, &regs);
	}
	d->inject[cpu] = KVM_GUESTDBG_INJECT_DB;
}

/* A vCPU that has left the guest with KVM_EXIT_DEBUG. Return: is that for the debugger? Else it may go on. */
static bool judge(struct debugger *d, unsigned cpu, struct gdb_stop *ret)
{
	const struct kvm_debug_exit_arch *arch = &cpu_of(d, cpu)->debug;
	const struct gdb_action *action = &d->actions[cpu];

	atomic_store(&cpu_of(d, cpu)->trapped, false);
	x86_view_forget(&d->views[cpu]);
	*ret = (struct gdb_stop){ .cpu = cpu, .signal = GDB_TRAP };
	if (arch->exception == VECTOR_BP && debugger_hit(d, cpu, arch->pc)) {
		ret->by_point = true;
		ret->kind = GDB_SOFTWARE;
		return true;
	}
	if (arch->exception == VECTOR_DB && by_slot(d, arch->dr6, ret))
		return true;
	if (arch->exception == VECTOR_DB && action->what == GDB_STEP)
		return arch->pc - action->start >= action->end - action->start;
	give_back(d, cpu, arch);
	return false;
}

static bool judge_all(struct debugger *d, struct gdb_stop *ret)
{
	for (unsigned i = 0; i < d->vm->kvm.n_cpus; i++)
		if (atomic_load(&cpu_of(d, i)->trapped) && judge(d, i, ret))
			return true;
	return false;
}

/* A KVM that has to emulate the guest's instructions does not know this one. */
static bool is_unknown_int3(struct debugger *d, unsigned cpu)
{
	const struct kvm_run *run = &d->vm->kvm.caught_run;
	uint64_t pc;

	x86_view_forget(&d->views[cpu]);
	return d->caught == STOP_FAULT && run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	       run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && !x86_view_pc(&d->views[cpu], &pc) &&
	       debugger_hit(d, cpu, pc);
}

static bool is_caught(struct debugger *d, struct gdb_stop *ret)
{
	unsigned cpu;

	d->caught = kvm_caught(&d->vm->kvm, &d->caught_value, &cpu);
	if (d->caught == STOP_NONE)
		return false;
	if (is_unknown_int3(d, cpu)) {
		d->caught = STOP_NONE;
		*ret = (struct gdb_stop){ .cpu = cpu, .signal = GDB_TRAP, .by_point = true, .kind = GDB_SOFTWARE };
		return true;
	}
	*ret = (struct gdb_stop){
		.cpu = cpu,
		.signal = d->caught == STOP_PANIC ? GDB_ABRT : d->caught == STOP_FAULT ? GDB_SEGV : GDB_TRAP,
	};
	return true;
}

/* ---- to run and to stand still ---- */

/*
 * Another CPU has stopped at the same moment. Data that it has touched it will not touch again, so that is told later;
 * to all else of ours it comes again. What is the guest's own the guest has when it goes on.
 */
static void note_other(struct debugger *d, unsigned cpu)
{
	struct gdb_stop stop;

	if (atomic_load(&cpu_of(d, cpu)->trapped) && judge(d, cpu, &stop) && stop.by_point && stop.kind >= GDB_WRITE)
		d->later[cpu] = stop;
}

static bool was_to_be_told(struct debugger *d, struct gdb_stop *ret)
{
	for (unsigned i = 0; i < d->vm->kvm.n_cpus; i++)
		if (d->later[i].signal) {
			*ret = d->later[i];
			d->later[i].signal = 0;
			return true;
		}
	return false;
}

/* Steps are over, whoever has stopped. */
static void stand_still(struct debugger *d, const struct gdb_stop *stop)
{
	vm_hold(d->vm, VM_HOLD_GDB);
	d->running = false;
	d->cpu = stop->cpu;
	for (unsigned i = 0; i < d->vm->kvm.n_cpus; i++) {
		note_other(d, i);
		x86_view_forget(&d->views[i]);
	}
	d->stopped(d->ctx, stop);
}

static void go_on(struct debugger *d)
{
	int err = tell_kvm_all(d);

	if (err)
		log_err(err, "KVM_SET_GUEST_DEBUG");
	if (!d->vm->holds)
		kvm_resume(&d->vm->kvm);
}

void debugger_event(struct debugger *d)
{
	struct gdb_stop stop;

	if (!d->running || kvm_pause(&d->vm->kvm) == -ESHUTDOWN)
		return;
	if (is_caught(d, &stop) || judge_all(d, &stop))
		stand_still(d, &stop);
	else
		go_on(d);
}

void debugger_halt(struct debugger *d, unsigned signal)
{
	struct gdb_stop stop;
	int err = vm_hold(d->vm, VM_HOLD_GDB);

	if (err == -ESHUTDOWN)
		return;
	if (!is_caught(d, &stop) && !judge_all(d, &stop))
		stop = (struct gdb_stop){ .cpu = d->cpu, .signal = signal };
	stand_still(d, &stop);
}

static void interrupt(void *ctx)
{
	debugger_halt(ctx, GDB_INT);
}

enum stop_cause debugger_held_up(struct debugger *d, uint32_t *ret_value)
{
	struct gdb_stop stop;

	if (d->caught == STOP_NONE)
		is_caught(d, &stop);
	*ret_value = d->caught_value;
	return d->caught;
}

/* What was held up happens. */
static void let_end(struct debugger *d)
{
	struct kvm *kvm = &d->vm->kvm;

	atomic_store(&kvm->debug_fd, -1);
	if (d->caught == STOP_FAULT)
		*kvm->cpus[d->caught_value].run = kvm->caught_run; /* for the report */
	kvm_stop(kvm, d->caught, d->caught_value);
	d->caught = STOP_NONE;
}

static int resume(void *ctx, const struct gdb_action *action)
{
	struct debugger *d = ctx;
	struct gdb_stop stop;
	int err;

	if (d->vm->holds & ~(1u << VM_HOLD_GDB))
		return -EBUSY;
	memcpy(d->actions, action, d->vm->kvm.n_cpus * sizeof(*action));
	if (d->caught == STOP_PANIC) {
		d->caught = STOP_NONE; /* it goes on, as a guest that has panicked */
	} else if (d->caught != STOP_NONE) {
		let_end(d);
		return 0;
	}
	if (is_caught(d, &stop) || was_to_be_told(d, &stop)) {
		stand_still(d, &stop);
		return 0;
	}
	err = tell_kvm_all(d);
	if (err)
		return err;
	d->running = true;
	err = vm_release(d->vm, VM_HOLD_GDB);
	return err == -ESHUTDOWN ? 0 : err;
}

/* ---- registers ---- */

static unsigned get_reg(void *ctx, unsigned cpu, unsigned reg, uint8_t ret[GDB_REG_BYTES])
{
	struct debugger *d = ctx;

	return x86_view_get(&d->views[cpu], reg, ret);
}

static unsigned reg_bytes(void *ctx, unsigned reg)
{
	const struct debugger *d = ctx;

	return x86_view_bytes(&d->views[0], reg);
}

static int set_reg(void *ctx, unsigned cpu, unsigned reg, const uint8_t *value, size_t n)
{
	struct debugger *d = ctx;

	return x86_view_set(&d->views[cpu], reg, value, n);
}

/* ---- what is told about the machine ---- */

int debugger_linux(struct debugger *d, const struct linux_guest **ret)
{
	const int64_t until = now_ms() + LINUX_MS;
	int err;

	do
		err = control_linux(&d->vm->control, ret);
	while (err == -EAGAIN && now_ms() < until);
	return err;
}

/*
 * All addresses, as they are virtual ones: what is not mapped now may be later. Without this gdb would look at no
 * address that it was not told of.
 */
static char *memory_map(void)
{
	return strdup("<?xml version=\"1.0\"?><memory-map>"
		      "<memory type=\"ram\" start=\"0\" length=\"0x8000000000000000\"/>"
		      "<memory type=\"ram\" start=\"0x8000000000000000\" length=\"0x8000000000000000\"/>"
		      "</memory-map>");
}

static char *document(void *ctx, const char *name)
{
	struct debugger *d = ctx;

	return strcmp(name, "memory-map") ? x86_view_document(&d->views[0]) : memory_map();
}

static bool offset(void *ctx, uint64_t *ret)
{
	struct debugger *d = ctx;
	const struct linux_guest *guest;

	if (debugger_linux(d, &guest))
		return false;
	*ret = guest->kaslr_offset;
	return true;
}

static void describe(void *ctx, unsigned cpu, char *ret, size_t cap)
{
	static const char *const states[] = {
		[KVM_MP_STATE_RUNNABLE] = "running",
		[KVM_MP_STATE_UNINITIALIZED] = "not started",
		[KVM_MP_STATE_INIT_RECEIVED] = "waits for its start-up IPI",
		[KVM_MP_STATE_HALTED] = "halted",
		[KVM_MP_STATE_SIPI_RECEIVED] = "starts",
	};
	struct debugger *d = ctx;
	struct kvm_mp_state mp;
	const char *what = "?";

	if (!ioctl(cpu_of(d, cpu)->fd, KVM_GET_MP_STATE, &mp) && mp.mp_state < ARRAY_SIZE(states))
		what = states[mp.mp_state];
	snprintf(ret, cap, "vCPU %u, %s", cpu, what);
}

/* ---- begin and end ---- */

static void on_end(void *ctx, enum gdb_end how)
{
	struct debugger *d = ctx;

	d->end(d->ctx, how);
}

const struct gdb_target debugger_target = {
	.reg_bytes = reg_bytes,
	.get_reg = get_reg,
	.set_reg = set_reg,
	.read = debugger_read,
	.write = debugger_write,
	.insert = debugger_insert,
	.remove = debugger_remove,
	.resume = resume,
	.interrupt = interrupt,
	.document = document,
	.offset = offset,
	.describe = describe,
	.monitor = debugger_monitor,
	.end = on_end,
};

static int make_tables(struct debugger *d)
{
	const struct kvm *kvm = &d->vm->kvm;
	const int flags = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);

	d->flags = flags > 0 ? (uint32_t)flags : 0;
	d->points = calloc(DEBUGGER_POINTS, sizeof(*d->points));
	d->views = calloc(kvm->n_cpus, sizeof(*d->views));
	d->actions = calloc(kvm->n_cpus, sizeof(*d->actions));
	d->inject = calloc(kvm->n_cpus, sizeof(*d->inject));
	d->later = calloc(kvm->n_cpus, sizeof(*d->later));
	if (!d->points || !d->views || !d->actions || !d->inject || !d->later)
		return -ENOMEM;
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		d->views[i].vcpu_fd = kvm->cpus[i].fd;
		d->views[i].long_mode = cpuid_has(d->vm->cpuid, "lm");
		d->views[i].avx = cpuid_has(d->vm->cpuid, "avx");
		d->actions[i].what = GDB_CONTINUE;
	}
	return 0;
}

static void free_tables(struct debugger *d)
{
	free(d->points);
	free(d->views);
	free(d->actions);
	free(d->inject);
	free(d->later);
}

/* A CPU that handles an exit can be asked for its state; one that is in the guest cannot. */
static int hold(struct debugger *d)
{
	int err = vm_hold_patiently(d->vm, VM_HOLD_GDB);

	if (!err || err == -EALREADY || (err == -EINPROGRESS && kvm_outside(&d->vm->kvm)))
		return 0;
	if (err == -EINPROGRESS)
		vm_release(d->vm, VM_HOLD_GDB);
	return err;
}

int debugger_attach(struct debugger *d, int events_fd, struct gdb_stop *ret_first)
{
	int err = hold(d);

	d->events_fd = -1;
	if (err)
		return err;
	err = make_tables(d);
	if (err) {
		debugger_detach(d);
		return err;
	}
	d->events_fd = events_fd;
	d->vm->kvm.debugged = true;
	atomic_store(&d->vm->kvm.debug_fd, events_fd);
	if (!is_caught(d, ret_first))
		*ret_first = (struct gdb_stop){ .signal = GDB_TRAP };
	return 0;
}

/* A VM that ends is left as it is: what it still does is its end. */
static void let_go(struct debugger *d)
{
	struct gdb_stop stop;

	if (vm_hold(d->vm, VM_HOLD_GDB) == -ESHUTDOWN)
		return;
	if (d->caught == STOP_NONE)
		is_caught(d, &stop); /* while it is still known what is ours */
	while (d->n_points)
		debugger_take_out(d, &d->points[0]);
	memset(d->slot, 0, sizeof(d->slot));
	for (unsigned i = 0; i < d->vm->kvm.n_cpus; i++) {
		d->actions[i].what = GDB_CONTINUE;
		atomic_store(&cpu_of(d, i)->trapped, false);
	}
	tell_kvm_all(d);
	if (d->caught != STOP_NONE)
		let_end(d);
}

void debugger_detach(struct debugger *d)
{
	snapshot_make_free(d->making);
	d->making = NULL;
	if (d->events_fd >= 0) {
		let_go(d);
		atomic_store(&d->vm->kvm.debug_fd, -1);
	}
	if (!d->running || d->vm->holds >> VM_HOLD_GDB & 1)
		vm_release(d->vm, VM_HOLD_GDB);
	d->running = false;
	free_tables(d);
}
