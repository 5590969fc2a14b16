/*
 * The guest's console as a step of its machine: what is heard on it, and its copy; see vm-internal.h.
 * Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "vm-internal.h"

static void console_quit(void *ctx)
{
	kvm_stop(&((struct vm *)ctx)->kvm, STOP_REQUEST, RUN_QUIT_KEY);
}

static void console_panic(void *ctx)
{
	kvm_stop(&((struct vm *)ctx)->kvm, STOP_PANIC, 0);
}

static void console_halted(void *ctx)
{
	struct vm *vm = ctx;

	if (!vm->cfg->no_end_on_halt)
		kvm_stop(&vm->kvm, STOP_HALT, 0);
}

/* What is no file must take the output at once, or it gets no more. */
static int open_log(struct vm *vm)
{
	int fd;

	if (!vm->cfg->log)
		return 0;
	fd = open(vm->cfg->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
	if (fd < 0)
		return log_err(-errno, "create '%s'", vm->cfg->log);
	vm->log_fd = fd;
	return 0;
}

int vm_make_console(struct vm *vm)
{
	int err = open_log(vm);
	const bool session = vm->cfg->session.wanted; /* these are its command's */
	const struct console_config cfg = {
		.in_fd = session ? -1 : vm->setup.in_fd,
		.out_fd = session ? -1 : vm->setup.out_fd,
		.loop = &vm->loop,
		.quit = console_quit,
		.panic = console_panic,
		.halted = console_halted,
		.message = vm_console_message,
		.ctx = vm,
		.keys = vm->cfg->keys,
		.copy_fd = vm->log_fd,
		.copy_name = vm->cfg->log,
	};

	if (!err)
		err = console_new(&cfg, &vm->console);
	return err ? err : run_ttys_open(&vm->ttys, vm->cfg, &vm->loop, vm->console);
}

void vm_undo_console(struct vm *vm)
{
	run_ttys_close(&vm->ttys, vm->cfg);
	console_free(vm->console);
	vm->console = NULL;
	if (vm->log_fd)
		close(vm->log_fd);
	vm->log_fd = 0;
}
