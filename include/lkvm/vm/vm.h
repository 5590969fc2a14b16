/*
 * A whole machine, as an object: what `lkvm run` runs, `lkvm check` tries and --dry-run shows. A process
 * may have several. The steps in which one comes to life, and backwards ends, are the table in vm/vm.c.
 *
 *	vm_new() -> vm_build() -> vm_run() -> vm_end() -> vm_free()
 *
 * Main thread, but for what says otherwise.
 */
#ifndef LKVM_VM_VM_H
#define LKVM_VM_VM_H

#include "lkvm/vm/run.h"

struct vm;
struct loop_source;

/*
 * Who made the machine: what it asks him for and tells him. Pointers may be NULL where that is said.
 * All of it must live as long as the machine.
 */
struct vm_setup {
	struct vm_config *config; /* sizes that were not given are filled in */
	struct run_result *result; /* likewise, how it ended */
	int in_fd, out_fd;        /* of the guest's console, or of the session's command; -1: none */
	int err_fd;               /* of the session's command */
	void *ctx;                /* of these: */
	/* Put what the first vCPU starts with into RAM; 0 or -errno, logged. NULL: the configuration's kernel */
	int (*load)(void *ctx, struct ram *ram, struct boot_entry *ret);
	/* It runs; with a session: its init has said hello, and no command was started yet. May be NULL */
	void (*ready)(void *ctx);
	/* A fault within guest RAM is going to kill the process. In a signal handler. NULL: faults are not caught */
	void (*clean_up)(void);
	/* The machine begins to end, or to be taken apart after a step failed. May be NULL */
	void (*ending)(void *ctx);
	/* From now on the end may take so long, and no longer; 0: as long as it likes. May be NULL */
	void (*limit)(void *ctx, unsigned seconds);
	/* It has ended, and vCPUs, RAM and console are still there to be asked. Not if it never ran. May be NULL */
	void (*ended)(void *ctx);
};

/** vm_new() - Return: 0 or -ENOMEM, logged; nothing is done yet */
int vm_new(const struct vm_setup *setup, struct vm **ret);
/**
 * vm_build() - all that comes before the first instruction
 * Return: 0, or -errno, logged: vm_end() then takes apart what was there
 */
int vm_build(struct vm *vm);
/**
 * vm_show() - instead of vm_build() and vm_run(): print what the machine would be, without KVM
 * Return: 0; -errno, logged
 */
int vm_show(struct vm *vm, FILE *out);
/**
 * vm_run() - start the vCPUs and serve the machine until somebody calls vm_stop()
 * Return: 0, however it ended; -errno, logged: it could not be started
 */
int vm_run(struct vm *vm);
/**
 * vm_end() - take apart what was built, whatever that is
 * Return: 0, or -EBUSY: something hangs in the host, result->error says what. Others do not see the
 *	machine any more, but its threads may be anywhere: all that can follow is the process's end.
 */
int vm_end(struct vm *vm);
/** vm_free() - after vm_end(); takes NULL */
void vm_free(struct vm *vm);

/** vm_loop() - its event loop, for sources of who made it; from vm_build() to vm_end() */
struct loop *vm_loop(struct vm *vm);
/** vm_kvm(), vm_console() - for vm_setup.ended(); the console that somebody may sit at */
struct kvm *vm_kvm(struct vm *vm);
struct console *vm_console(struct vm *vm);

/** vm_stop() - ask it to end; the first cause wins. Any thread. */
void vm_stop(struct vm *vm, enum stop_cause cause, uint32_t value);

/* In a signal handler: */

/** vm_hurry() - it is ending: what is waited for out of courtesy is not any more; Return: seconds that are left */
unsigned vm_hurry(struct vm *vm);
/** vm_step() - what is being made or taken apart */
const char *vm_step(const struct vm *vm);
/** vm_unlink_now() - remove the control socket, and --gdb's; the process ends without vm_end() */
void vm_unlink_now(const struct vm *vm);

#endif
