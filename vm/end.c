/*
 * The end of a machine: what is done before anything is freed. Everything that takes time has a limit, and
 * the control socket is served meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/log.h"
#include "lkvm/vm/dump.h"
#include "lkvm/vm/gdb.h"
#include "lkvm/vm/look.h"
#include "vm-internal.h"

#define DRAIN_PATIENCE_MS 500
#define END_PATIENCE_MS	  500 /* of the last messages with a standard error that stands still */
#define SLICE_MS	  100 /* between two looks at the control socket */

/* How long the end may take, by default; and how long after vm_hurry(). */
#define STOP_TIMEOUT_S 10
#define HURRY_S	       1

static unsigned stop_timeout_s(const struct vm *vm)
{
	return vm->cfg->stop_timeout_s ? vm->cfg->stop_timeout_s : STOP_TIMEOUT_S;
}

static void limit(const struct vm *vm, unsigned seconds)
{
	if (vm->setup.limit)
		vm->setup.limit(vm->setup.ctx, seconds);
}

/* From here on the rest of the end takes as long as that, unless there was a signal. */
static void set_end_limit(struct vm *vm)
{
	if (!vm->hurry)
		vm->end_ms = now_ms() + stop_timeout_s(vm) * 1000LL;
	limit(vm, vm->hurry ? HURRY_S : stop_timeout_s(vm));
}

void vm_begin_end(struct vm *vm)
{
	if (vm->end_ms)
		return;
	log_set_patience(END_PATIENCE_MS);
	set_end_limit(vm);
	if (vm->setup.ending)
		vm->setup.ending(vm->setup.ctx);
}

unsigned vm_hurry(struct vm *vm)
{
	int64_t soon = now_ms() + HURRY_S * 1000;

	if (soon < vm->end_ms)
		vm->end_ms = soon;
	vm->hurry = true;
	event_signal(vm->hurry_fd);
	return HURRY_S;
}

/* Requests are answered while the machine is ending. Return: whether there is time left */
static bool wait_on(struct vm *vm)
{
	loop_once(&vm->loop, 0);
	return now_ms() < vm->end_ms;
}

static bool join_cpus(struct vm *vm)
{
	vm->step = "vCPUs";
	while (kvm_join(&vm->kvm, SLICE_MS))
		if (!wait_on(vm)) {
			kvm_describe_busy(&vm->kvm, vm->result->error, sizeof(vm->result->error));
			return false;
		}
	return true;
}

static bool stop_devices(struct vm *vm)
{
	const char *name;

	vm->step = "virtio devices";
	while ((name = virtio_list_stop_wait(vm->virtio, now_ms() + SLICE_MS)))
		if (!wait_on(vm)) {
			snprintf(vm->result->error, sizeof(vm->result->error),
				 "%s still has requests in flight", name);
			return false;
		}
	return true;
}

/* A guest that was held up at its own end, for a debugger, has come to that end, whoever did not want to wait. */
static void ask_cause(struct vm *vm)
{
	struct run_result *r = vm->result;
	enum stop_cause held;
	uint32_t value;

	r->cause = kvm_stop_cause(&vm->kvm, &r->value);
	if ((r->cause != STOP_REQUEST && r->cause != STOP_TIMEOUT) || vm->control.is_saved)
		return;
	held = vm_gdb_held_up(vm, &value);
	if (held == STOP_NONE)
		return;
	r->cause = held;
	r->value = value;
	if (held == STOP_FAULT)
		*vm->kvm.cpus[value].run = vm->kvm.caught_run;
}

void vm_undo_run(struct vm *vm)
{
	struct run_result *r = vm->result;

	if (!r->boot_ns)
		return;
	/* What a guest that is paused has said is printed. One that was saved goes on elsewhere: nothing is done. */
	if (!vm->control.is_saved)
		virtio_list_hold_end(vm->virtio);
	/* All begin at once, also for the sake of a vCPU that waits for one of them. */
	virtio_list_stop_begin(vm->virtio);
	r->hung = !join_cpus(vm) || !stop_devices(vm);
	r->end_ns = now_ns();
	ask_cause(vm);
}

/*
 * How long a reader of the console may stand still before the rest is dropped. After an ending of
 * the guest's own he may take his time; one that the host asked for must not hang on him.
 */
static int drain_patience(enum stop_cause cause)
{
	switch (cause) {
	case STOP_REQUEST:
	case STOP_SIGNAL:
	case STOP_TIMEOUT:
	case STOP_HOST_ERROR:
		return DRAIN_PATIENCE_MS;
	default:
		return -1;
	}
}

/* The output's reader may take his time, unless there is a signal. */
void vm_undo_output(struct vm *vm)
{
	const int patience = drain_patience(vm->result->cause);

	if (vm->result->cause == STOP_NONE)
		return;
	limit(vm, 0);
	if (vm->session && !vm->result->hung) /* else it may still be sent something */
		session_drain(vm->session, vm->hurry_fd, patience);
	if (vm->terminal)
		console_drain(vm->terminal, vm->hurry_fd, patience);
	console_drain(vm->console, vm->hurry_fd, patience);
	set_end_limit(vm);
}

/* ---- what is known of it ---- */

static char *fault_reason(const struct kvm_cpu *cpu)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	kvm_cpu_print_reason(out, cpu);
	fclose(out);
	return text;
}

static bool printed_nothing(struct console *con)
{
	uint64_t bytes, writes;

	console_stats(con, &bytes, &writes);
	return !bytes;
}

static void ask_fault(struct run_result *r, const struct kvm_cpu *cpu)
{
	r->fault = fault_reason(cpu);
	r->kvm_failed = kvm_cpu_failed(cpu);
}

/* A kernel may restart the machine by a triple fault: then it has said that it would. */
static enum stop_cause true_cause(const struct vm *vm, bool announced)
{
	const struct run_result *r = vm->result;

	if (r->cause == STOP_FAULT && announced && kvm_cpu_triple_fault(&vm->kvm.cpus[r->value]))
		return STOP_RESET;
	return r->cause;
}

/* Return: -errno, or 0: all that the guest has printed was written, as far as its reader stayed */
static int output_error(const struct vm *vm)
{
	int err = console_output_error(vm->console);

	if (!err && vm->terminal)
		err = console_output_error(vm->terminal);
	return err ? err : vm->output_err;
}

/* What its end was taken for, by what it has said */
static void ask_words(const struct vm *vm, struct run_result *r)
{
	r->rebooted = console_restarting(vm->console);
	r->cause = true_cause(vm, r->rebooted);
	r->panicked = atomic_load(&vm->kvm.panicked);
	r->panic = console_panic_line(vm->console);
}

/* More output may come from a command. */
int vm_status(const struct vm *vm)
{
	struct kernel_log log = vm->kernel_log;
	struct run_result r = *vm->result;

	kernel_log_end(&log);
	r.kernel_log = &log;
	r.ktap[0] = vm->ktap_log;
	r.ktap[1] = vm->ktap_out;
	ask_words(vm, &r);
	run_judge(&r, vm->cfg);
	return r.status;
}

/* While the console and the vCPUs are still there to be asked. */
static void ask_machine(struct vm *vm)
{
	struct run_result *r = vm->result;
	int err = output_error(vm);

	ask_words(vm, r);
	vm_end_watch(vm);
	vm_last_lines(vm, r->last_lines, sizeof(r->last_lines));
	r->silent = printed_nothing(vm->console);
	r->output_failed = err;
	if (r->cause == STOP_FAULT)
		ask_fault(r, &vm->kvm.cpus[r->value]);
	if (r->cause == STOP_HOST_ERROR)
		err = -(int)r->value;
	if (err && !r->hung)
		snprintf(r->error, sizeof(r->error), "%s", strerror(-err));
}

/* And its vCPUs are where they were then */
static bool ended_badly(const struct run_result *r)
{
	return !r->hung && (r->panicked || r->panic || r->cause == STOP_PANIC || r->cause == STOP_FAULT ||
			    r->cause == STOP_TIMEOUT);
}

void vm_undo_report(struct vm *vm)
{
	struct look *look;

	if (vm->result->cause == STOP_NONE)
		return;
	ask_machine(vm);
	look = ended_badly(vm->result) ? look_take(&vm->control) : NULL;
	if (look && vm->cfg->report)
		look_write(look, vm->cfg->report, &vm->control, vm->result);
	vm->result->look = look;
	if (vm->cfg->dump_on.ends) {
		limit(vm, 0);
		dump_on_end(vm);
		set_end_limit(vm);
	}
	if (vm->setup.ended)
		vm->setup.ended(vm->setup.ctx);
	vm->result->look = NULL;
	look_free(look);
	free(vm->control.polled);
	vm->control.polled = NULL;
	control_end_linux(&vm->control);
}
