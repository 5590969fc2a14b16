/*
 * Limits of a run's time: --timeout, --boot-timeout, --idle-timeout; see vm-internal.h. Main thread.
 *
 * When one has passed, a Linux guest is first asked where its CPUs are: by the magic SysRq, as a break on its
 * console, if it listens there. It may be silent, or print something else, for MOST_NS in all. Only one that
 * prints its backtraces by then may go on until they are there: a slow host needs seconds for them.
 */
#include <stdlib.h>
#include <string.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "vm-internal.h"

#define LOOK_NS  (NS_PER_S / 20) /* between two looks at whether it has answered */
#define KEY_NS   (NS_PER_S / 2)  /* that a key may take before the next */
#define QUIET_NS (NS_PER_S / 2)  /* behind the last line of a backtrace */
#define MOST_NS  (2 * NS_PER_S)
#define SLOW_NS  (5 * NS_PER_S)

/* ---- what it is asked ---- */

/*
 * l: every CPU's backtrace; 7: all to the console, which else has its first line only. Where the log comes as
 * records that is enough, and soon there; and a guest that was asked for something else before is no longer
 * where it was. Linux's driver holds one key: the next has to wait until it has answered, or will not.
 */
static const char of_log[] = "l7l", of_console[] = "7l";

static bool may_answer(const struct vm *vm)
{
	return vm->console && !vm->holds && (vm->cfg->session.wanted || *vm->result->release);
}

static void ask(struct vm *vm, uint64_t now)
{
	struct last_words *w = &vm->last_words;

	if (!w->keys)
		w->keys = vm->has_kmsg ? of_log : of_console;
	w->asked_ns = now;
	console_send(vm->console, (const uint8_t *)w->keys++, 1, true);
}

/* ---- how it answers ---- */

/* As x86's backtraces have them; what else is printed meanwhile is no answer. */
static bool is_of_trace(const char *line)
{
	static const char *const begins[] = {
		"NMI backtrace", "Sending NMI", "CPU: ", "Hardware name: ", "Call Trace:", "Code: ", "Modules linked in:",
	};
	const size_t name = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"); /* of a register */

	if (*line == ' ' || (name >= 2 && name <= 4 && line[name] == ':'))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(begins); i++)
		if (!strncmp(line, begins[i], strlen(begins[i])))
			return true;
	return false;
}

void vm_limits_hear(struct vm *vm, const char *line)
{
	struct last_words *w = &vm->last_words;

	if (!w->keys)
		return;
	w->level_set |= strstr(line, "Loglevel set to") != NULL;
	w->begun |= strstr(line, "Show backtrace of all active CPUs") != NULL;
	if (w->begun && is_of_trace(line))
		w->trace_ns = now_ns();
}

/* Nothing more is to be waited for. */
static bool has_answered(const struct vm *vm, uint64_t now)
{
	const struct last_words *w = &vm->last_words;
	const uint64_t late = now - vm->passed_ns;

	return w->trace_ns ? now - w->trace_ns >= QUIET_NS || late >= SLOW_NS : late >= MOST_NS;
}

static bool is_next_due(const struct vm *vm, uint64_t now)
{
	const struct last_words *w = &vm->last_words;

	if (!w->keys)
		return true;
	return *w->keys && !w->trace_ns && (w->level_set || now - w->asked_ns >= KEY_NS);
}

/* A device that the guest may wait for in vain */
static void note_withheld(struct vm *vm)
{
	struct pci_host *pci = virtio_list_pci(vm->virtio);
	unsigned vector;
	const char *name = pci ? pci_withheld(pci, &vector) : NULL;

	if (name)
		snprintf(vm->control.withheld, sizeof(vm->control.withheld),
			 "%s: its interrupt %u is pending, and the guest has masked it", name, vector);
}

/* What the vCPUs do with devices, before they are stopped. */
static void note_polls(struct vm *vm)
{
	if (vm->holds || vm->control.polled)
		return;
	vm->control.polled = calloc(vm->kvm.n_cpus, sizeof(*vm->control.polled));
	if (vm->control.polled)
		exits_polled(&vm->kvm, vm->control.polled);
}

static void backtrace_fired(struct timer *timer)
{
	struct vm *vm = container_of(timer, struct vm, backtrace);
	const uint64_t now = now_ns();

	if (may_answer(vm) && !has_answered(vm, now) && !timer_set(timer, now + LOOK_NS)) {
		if (is_next_due(vm, now))
			ask(vm, now);
		return;
	}
	note_polls(vm);
	note_withheld(vm);
	kvm_stop(&vm->kvm, STOP_TIMEOUT, vm->passed);
}

/* ---- the limits ---- */

static void pass(struct vm *vm, enum config_limit which)
{
	if (vm->passed_ns || kvm_stop_cause(&vm->kvm, NULL) != STOP_NONE)
		return;
	vm->passed = which;
	vm->passed_ns = now_ns();
	vm->passed_lines = vm->kmsg_tail.n_done;
	backtrace_fired(&vm->backtrace);
}

static void run_fired(struct timer *timer)
{
	pass(container_of(timer, struct vm, limit[LIMIT_RUN]), LIMIT_RUN);
}

static void boot_fired(struct timer *timer)
{
	pass(container_of(timer, struct vm, limit[LIMIT_BOOT]), LIMIT_BOOT);
}

/* When it last did something that can be seen; to stand still is not its own doing. */
static uint64_t active_ns(const struct vm *vm)
{
	const uint64_t times[] = {
		vm->result->boot_ns, vm->awake_ns, console_active_ns(vm->console),
		vm->session ? session_active_ns(vm->session) : 0,
	};
	uint64_t last = 0;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		if (times[i] > last)
			last = times[i];
	return last;
}

static void idle_fired(struct timer *timer)
{
	struct vm *vm = container_of(timer, struct vm, limit[LIMIT_IDLE]);
	uint64_t until = active_ns(vm) + vm->cfg->limit[LIMIT_IDLE].ns;

	if (until <= now_ns() || timer_set(timer, until))
		pass(vm, LIMIT_IDLE);
}

int vm_make_limits(struct vm *vm)
{
	static void (*const fired[])(struct timer *timer) = { run_fired, boot_fired, idle_fired };
	int err = 0;

	timer_init(&vm->backtrace, &vm->loop, CLOCK_MONOTONIC, backtrace_fired);
	vm->backtrace.always = true;
	for (unsigned i = 0; !err && i < CONFIG_LIMITS; i++) {
		timer_init(&vm->limit[i], &vm->loop, CLOCK_MONOTONIC, fired[i]);
		vm->limit[i].always = i != LIMIT_IDLE;
		if (vm->cfg->limit[i].ns)
			err = timer_set(&vm->limit[i], now_ns() + vm->cfg->limit[i].ns);
	}
	return err ? log_err(err, "timer of a time limit") : 0;
}

void vm_undo_limits(struct vm *vm)
{
	timer_fini(&vm->backtrace);
	for (unsigned i = 0; i < CONFIG_LIMITS; i++)
		timer_fini(&vm->limit[i]);
}

void vm_is_up(struct vm *vm)
{
	timer_stop(&vm->limit[LIMIT_BOOT]);
	vm->awake_ns = now_ns();
}
