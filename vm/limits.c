/*
 * Limits of a run's time: --timeout, --boot-timeout, --idle-timeout; see vm-internal.h. Main thread.
 *
 * When one has passed, a Linux guest is first asked where its CPUs are: by the magic SysRq, as a break on its
 * console, if it listens there. It has three seconds to answer, and five until it must be silent again.
 */
#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "vm-internal.h"

#define LOOK_NS (NS_PER_S / 20) /* between two looks at whether it has answered */
#define MOST_NS (5 * NS_PER_S)

/*
 * All to the console, then every CPU's backtrace. Linux's driver holds one key: the next has to wait until it
 * has answered, or will not. Without quiet behind each the end of one answer is taken for the next.
 */
static const struct question {
	uint8_t key;
	uint64_t silent_ns; /* that it may be before it answers */
	uint64_t quiet_ns;  /* that it must be before its answer is taken for whole */
} questions[] = { { '7', NS_PER_S, NS_PER_S / 2 }, { 'l', 2 * NS_PER_S, NS_PER_S } };

static bool may_answer(const struct vm *vm)
{
	return vm->console && !vm->holds && (vm->cfg->session.wanted || *vm->result->release);
}

static bool is_over(const struct vm *vm, const struct question *q, uint64_t now)
{
	const uint64_t last = console_active_ns(vm->console);

	return last > vm->asked_ns ? now - last >= q->quiet_ns : now - vm->asked_ns >= q->silent_ns;
}

/* The next question, once it is time for that. Return: false: there is none */
static bool ask(struct vm *vm, uint64_t now)
{
	if (vm->asked && !is_over(vm, &questions[vm->asked - 1], now))
		return true;
	if (vm->asked == ARRAY_SIZE(questions))
		return false;
	vm->asked_ns = now;
	console_send(vm->console, &questions[vm->asked++].key, 1, true);
	return true;
}

static void backtrace_fired(struct timer *timer)
{
	struct vm *vm = container_of(timer, struct vm, backtrace);
	const uint64_t now = now_ns();

	if (may_answer(vm) && now - vm->passed_ns < MOST_NS && ask(vm, now) && !timer_set(timer, now + LOOK_NS))
		return;
	kvm_stop(&vm->kvm, STOP_TIMEOUT, vm->passed);
}

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
