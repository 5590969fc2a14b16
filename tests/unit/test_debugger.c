/* Links: vm/debugger.o vm/debugger-points.o vm/hold.o hw/ram.o x86/cpu/walk.o util/log.o */
/*
 * A machine as a debugger has it, without KVM: who is told what of several vCPUs that stop at the same moment, an end
 * that is held up, and memory of which a copy is made.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../../vm/debugger.h"
#include "../../vm/vm-internal.h"
#include "lkvm/vm/gdb.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/snapshot-make.h"
#include "lkvm/x86/cpu.h"
#include "unit.h"

#define N_CPUS 2
#define CODE   0x1000
#define DATA   0x2000

static struct vm vm;
static struct kvm_cpu cpus[N_CPUS];
static struct debugger debugger;
static struct gdb_stop stopped;
static unsigned n_stopped;
static uint32_t told[N_CPUS];      /* the last KVM_SET_GUEST_DEBUG's control */
static struct kvm_debugregs regs;
static enum stop_cause caught;     /* what kvm_caught() has */

/* ---- what the debugger asks ---- */

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == KVM_SET_GUEST_DEBUG)
		told[fd] = ((struct kvm_guest_debug *)arg)->control;
	if (request == KVM_SET_DEBUGREGS)
		regs = *(struct kvm_debugregs *)arg;
	return 0;
}

enum stop_cause kvm_caught(struct kvm *kvm, uint32_t *ret_value, unsigned *ret_cpu)
{
	const enum stop_cause cause = caught;

	(void)kvm;
	caught = STOP_NONE;
	*ret_value = *ret_cpu = 1;
	return cause;
}

int kvm_pause(struct kvm *kvm)
{
	(void)kvm;
	return -EALREADY;
}

int kvm_resume(struct kvm *kvm)
{
	(void)kvm;
	return 0;
}

bool kvm_outside(struct kvm *kvm)
{
	(void)kvm;
	return true;
}

void kvm_hold_cpu(struct kvm_cpu *cpu, bool held)
{
	cpu->held = held;
}

void kvm_stop(void *kvm, enum stop_cause cause, uint32_t value)
{
	(void)kvm, (void)cause, (void)value;
}

enum stop_cause kvm_stop_cause(const struct kvm *kvm, uint32_t *ret_value)
{
	(void)kvm, (void)ret_value;
	return STOP_NONE;
}

void kvm_describe_busy(struct kvm *kvm, char *ret, size_t cap)
{
	(void)kvm;
	snprintf(ret, cap, "nobody");
}

void timers_stop(struct loop *loop)
{
	(void)loop;
}

void timers_go(struct loop *loop)
{
	(void)loop;
}

void virtio_list_hold_begin(struct virtio_list *list)
{
	(void)list;
}

void virtio_list_hold_end(struct virtio_list *list)
{
	(void)list;
}

const char *virtio_list_hold_wait(struct virtio_list *list, int64_t deadline_ms)
{
	(void)list, (void)deadline_ms;
	return NULL;
}

void vm_gdb_hide(struct vm *v, bool hide)
{
	(void)v;
	debugger_hide(&debugger, hide);
}

void snapshot_make_free(struct snapshot_making *making)
{
	(void)making;
}

bool cpuid_has(const struct kvm_cpuid2 *cpuid, const char *name)
{
	(void)cpuid, (void)name;
	return true;
}

int control_linux(struct control *ctl, const struct linux_guest **ret)
{
	(void)ctl, (void)ret;
	return -ENOENT;
}

const struct linux_guest *control_linux_seen(const struct control *ctl)
{
	(void)ctl;
	return NULL;
}

int debugger_monitor(void *ctx, unsigned cpu, const char *line, FILE *out)
{
	(void)ctx, (void)cpu, (void)line, (void)out;
	return 0;
}

/* ---- registers: no paging, and nothing else matters ---- */

const struct kvm_sregs *x86_view_sregs(struct x86_view *view)
{
	static const struct kvm_sregs sregs;

	(void)view;
	return &sregs;
}

int x86_view_pc(struct x86_view *view, uint64_t *ret)
{
	(void)view, (void)ret;
	return -EIO;
}

unsigned x86_view_get(struct x86_view *view, unsigned reg, uint8_t ret[16])
{
	(void)view, (void)reg, (void)ret;
	return 0;
}

int x86_view_set(struct x86_view *view, unsigned reg, const uint8_t *value, size_t n)
{
	(void)view, (void)reg, (void)value, (void)n;
	return -EINVAL;
}

unsigned x86_view_bytes(const struct x86_view *view, unsigned reg)
{
	(void)view, (void)reg;
	return 0;
}

char *x86_view_document(const struct x86_view *view)
{
	(void)view;
	return NULL;
}

/* ---- the machine ---- */

static void on_stop(void *ctx, const struct gdb_stop *stop)
{
	(void)ctx;
	stopped = *stop;
	n_stopped++;
}

static void start(void)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct gdb_stop first;

	for (unsigned i = 0; i < N_CPUS; i++)
		cpus[i] = (struct kvm_cpu){ .id = i, .fd = (int)i };
	vm.kvm = (struct kvm){ .cpus = cpus, .n_cpus = N_CPUS, .debug_fd = -1 };
	ck_assert_int_eq(ram_new(1 << 20, &backing, &vm.ram), 0);
	debugger = (struct debugger){ .vm = &vm, .stopped = on_stop };
	ck_assert_int_eq(debugger_attach(&debugger, 5, &first), 0);
}

static void go_on(void)
{
	static const struct gdb_action all[N_CPUS] = { { .what = GDB_CONTINUE }, { .what = GDB_CONTINUE } };

	ck_assert_int_eq(debugger_target.resume(&debugger, all), 0);
}

/* The guest has come to an exception there. */
static void trap(unsigned cpu, uint32_t exception, uint64_t pc, uint64_t dr6)
{
	cpus[cpu].debug = (struct kvm_debug_exit_arch){ .exception = exception, .pc = pc, .dr6 = dr6 };
	atomic_store(&cpus[cpu].trapped, true);
}

static int insert(enum gdb_point_kind kind, uint64_t at)
{
	return debugger_target.insert(&debugger, 0, kind, at, 1);
}

static int byte_at(uint64_t at)
{
	uint8_t byte = 0;

	ck_assert_int_eq(ram_read(vm.ram, GPA(at), &byte, 1), 0);
	return byte;
}

/* ---- several at the same moment ---- */

START_TEST(test_own_exceptions)
{
	start();
	ck_assert_int_eq(insert(GDB_SOFTWARE, CODE), 0);
	go_on();
	trap(0, 3, CODE, 0);
	trap(1, 1, 0x5000, 1 << 14 | 0xffff0ff0);
	debugger_event(&debugger);
	ck_assert(n_stopped == 1 && stopped.cpu == 0 && stopped.kind == GDB_SOFTWARE);
	go_on();
	ck_assert_uint_eq(told[0] & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP), 0);
	ck_assert(told[1] & KVM_GUESTDBG_INJECT_DB);
	ck_assert_uint_eq(regs.dr6, 1 << 14 | 0xffff0ff0);

	trap(0, 3, CODE, 0);
	trap(1, 3, 0x5000, 0);
	debugger_event(&debugger);
	go_on();
	ck_assert(told[1] & KVM_GUESTDBG_INJECT_BP);
}
END_TEST

START_TEST(test_data_of_both)
{
	start();
	ck_assert_int_eq(insert(GDB_WRITE, DATA), 0);
	go_on();
	trap(0, 1, CODE, 1);
	trap(1, 1, CODE, 1);
	debugger_event(&debugger);
	ck_assert(n_stopped == 1 && stopped.cpu == 0 && stopped.kind == GDB_WRITE);
	go_on();
	ck_assert(n_stopped == 2 && stopped.cpu == 1 && stopped.kind == GDB_WRITE);
	go_on();
	ck_assert_uint_eq(n_stopped, 2);
	ck_assert_uint_eq(told[1] & KVM_GUESTDBG_INJECT_DB, 0);
}
END_TEST

/* ---- an end that is held up ---- */

START_TEST(test_held_up)
{
	uint32_t value = 9;

	start();
	ck_assert_int_eq(debugger_held_up(&debugger, &value), STOP_NONE);
	go_on();
	caught = STOP_FAULT;
	debugger_event(&debugger);
	ck_assert(n_stopped == 1 && stopped.signal == GDB_SEGV);
	ck_assert_int_eq(debugger_held_up(&debugger, &value), STOP_FAULT);
	ck_assert_uint_eq(value, 1);
}
END_TEST

/* One that it has not heard of yet */
START_TEST(test_held_up_just_now)
{
	uint32_t value;

	start();
	caught = STOP_RESET;
	ck_assert_int_eq(debugger_held_up(&debugger, &value), STOP_RESET);
	ck_assert_int_eq(debugger_held_up(&debugger, &value), STOP_RESET);
}
END_TEST

/* ---- memory that is copied ---- */

START_TEST(test_copied)
{
	uint8_t byte;

	start();
	ck_assert_int_eq(insert(GDB_SOFTWARE, CODE), 0);
	ck_assert_uint_eq(debugger_target.write(&debugger, 0, false, DATA, "a", 1), 1);
	ck_assert(byte_at(CODE) == 0xcc && byte_at(DATA) == 'a');

	vm_hold(&vm, VM_HOLD_DUMP);
	ck_assert_int_eq(byte_at(CODE), 0);
	ck_assert_uint_eq(debugger_target.write(&debugger, 0, false, DATA, "b", 1), 0);
	ck_assert_int_eq(insert(GDB_SOFTWARE, CODE + 1), 0);
	vm_hold(&vm, VM_HOLD_SNAPSHOT);
	vm_release(&vm, VM_HOLD_DUMP);
	ck_assert(byte_at(CODE) == 0 && byte_at(CODE + 1) == 0 && byte_at(DATA) == 'a');
	ck_assert_uint_eq(debugger_target.read(&debugger, 0, false, CODE, &byte, 1), 1);
	ck_assert_int_eq(debugger_target.remove(&debugger, 0, GDB_SOFTWARE, CODE, 1), 0);

	vm_release(&vm, VM_HOLD_SNAPSHOT);
	ck_assert(byte_at(CODE) == 0 && byte_at(CODE + 1) == 0xcc);
	ck_assert_uint_eq(debugger_target.write(&debugger, 0, false, DATA, "b", 1), 1);
	ck_assert_int_eq(byte_at(DATA), 'b');
}
END_TEST

UNIT_MAIN("debugger", test_own_exceptions, test_data_of_both, test_held_up, test_held_up_just_now, test_copied)
