/* What the parts of a machine (vm/vm.c, vm/end.c, vm/show.c) share; see lkvm/vm/vm.h. */
#ifndef VM_INTERNAL_H
#define VM_INTERNAL_H

#include "lkvm/console.h"
#include "lkvm/console/scan.h"
#include "lkvm/display.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm-irq.h"
#include "lkvm/kvm.h"
#include "lkvm/timer.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/devices.h"
#include "lkvm/vm/module-index.h"
#include "lkvm/vm/platform.h"
#include "lkvm/vm/session-boot.h"
#include "lkvm/vm/session.h"
#include "lkvm/vm/snapshot.h"
#include "lkvm/vm/vm.h"
#include "lkvm/x86/state.h"

/* What its kernel has said after a limit of time had passed; vm/limits.c */
struct last_words {
	const char *keys;  /* that it is still to be sent; NULL: it was not asked yet */
	uint64_t asked_ns; /* when the last one was */
	bool level_set;    /* it has said that all goes to the console, */
	bool begun;        /* that backtraces come, */
	uint64_t trace_ns; /* and the last line of them */
};

struct vm {
	struct vm_setup setup;
	struct vm_config *cfg;
	struct run_result *result;
	const struct vm_step *steps; /* the table that it is made by */
	unsigned n_made;             /* steps of it that were begun */

	unsigned holds; /* 1 << enum vm_hold */

	/* The end: a signal handler may read and write these */
	volatile int64_t end_ms;    /* of now_ms(): when what still hangs is left behind; 0: not ending */
	volatile bool hurry;        /* vm_hurry() was called, */
	int hurry_fd;               /* eventfd: likewise */
	const char *volatile step;  /* what is being made or ended */

	struct loop loop;
	struct loop_source wake;    /* kvm.wake_fd */
	struct timer limit[CONFIG_LIMITS];
	struct timer backtrace;      /* after one of them has passed: the next step of the end */
	unsigned passed;             /* which one, */
	uint64_t passed_ns;          /* when; 0: none has */
	struct last_words last_words;
	uint64_t passed_lines;       /* of kmsg_tail by then */
	uint64_t awake_ns;        /* ready for its command, or released from a hold: not idle then */
	struct ipc_server *ipc;
	struct control control;
	struct kvm kvm;
	struct ram_backing backing;
	struct ram *ram;
	struct console *console;
	struct run_ttys ttys;
	struct platform *platform;
	struct kvm_irq *irq;
	struct display *display; /* NULL: it has no screen */
	struct vnc *vnc; /* NULL: nobody looks at it */
	struct virtio_list *virtio;
	struct boot_entry entry;
	struct session_boot *session_boot; /* these are NULL without a session */
	struct module_index *module_index; /* NULL: no lists of modules are made */
	struct session *session;
	struct vm_gdb *gdb;
	struct vm_trace *trace;   /* NULL: it is not traced */
	struct warm *warm;        /* NULL: it neither goes on from one nor is one saved */
	struct timer grace;       /* of a guest that has closed its session, since lost_ns */
	uint64_t lost_ns;
	struct console *terminal; /* the command's; NULL: it has none */
	int output_err;           /* of the command's output: -errno, or 0 */
	int kernel_log_fd;        /* --kernel-log; -1: none */
	int kernel_log_err;
	struct kernel_log kernel_log; /* --fail-on */
	struct ktap *ktap_log, *ktap_out; /* --ktap: of the kernel's log, of the command's output; NULL: none */
	bool has_kmsg;                /* the kernel's log comes as records: its console has less of it */
	struct console_scan kmsg_tail; /* their last lines */
	int log_fd; /* --log; 0: none */
	struct kvm_cpuid2 *cpuid;
	struct rom *rom; /* NULL: no firmware */
	struct vars *vars; /* NULL: it has none */
};

/** kvm_fds_of() - for the states of vCPU @cpu, and of what all of them have */
static inline struct kvm_fds kvm_fds_of(const struct kvm *kvm, unsigned cpu)
{
	return (struct kvm_fds){
		.dev_fd = kvm->dev_fd,
		.vm_fd = kvm->vm_fd,
		.vcpu_fd = kvm->cpus[cpu].fd,
		.cpu = cpu,
		.ram = kvm->ram,
	};
}

struct vm_step {
	const char *name;
	int (*make)(struct vm *vm);  /* 0 or -errno, logged; may be NULL */
	/* Also after its own make() failed half-way, and once more after it was made again; may be NULL */
	void (*undo)(struct vm *vm);
	enum { NOT_IF_HUNG, HUNG_TOO } end; /* is it undone while threads hang, too? */
};

/** vm_make() - take the steps of @table that were not taken yet, up to @n of them; 0 or -errno, logged */
int vm_make(struct vm *vm, const struct vm_step *table, unsigned n);

/* Steps that two tables have */
int vm_make_loop(struct vm *vm);
void vm_undo_loop(struct vm *vm);
int vm_make_sizes(struct vm *vm);
int vm_make_ram(struct vm *vm);
void vm_undo_ram(struct vm *vm);
int vm_make_chips(struct vm *vm);
void vm_undo_chips(struct vm *vm);
int vm_make_virtio(struct vm *vm);
void vm_undo_virtio(struct vm *vm);
int vm_make_kernel(struct vm *vm);
/* vm/firmware.c: --firmware */
int vm_make_firmware(struct vm *vm);
void vm_undo_firmware(struct vm *vm);
/* vm/firmware-kernel.c: what of the kernel by @fw, if there is one. Return: 0, or -errno, logged but for -ENOMEM */
int firmware_tell_kernel(const struct vm *vm, void *fw);
/* vm/firmware-screen.c: likewise how it shows something on the screen, if there is one. Return: 0, or -errno, logged */
int firmware_tell_screen(const struct vm *vm, void *fw);
/* vm/vm-console.c */
int vm_make_console(struct vm *vm);
void vm_undo_console(struct vm *vm);
/* vm/screen.c */
int vm_make_screen(struct vm *vm);
void vm_undo_screen(struct vm *vm);
int vm_make_vnc(struct vm *vm);
void vm_undo_vnc(struct vm *vm);
/* vm/watch.c: what the guest's kernel says is looked at */

int vm_make_watch(struct vm *vm);
void vm_undo_watch(struct vm *vm);
/** vm_console_message() - by the console: struct console_config's message() */
void vm_console_message(void *ctx, const char *text);
/** vm_kmsg_text() - by a record of its log, which may be of several lines */
void vm_kmsg_text(struct vm *vm, const char *text, size_t len);
/** vm_command_output() - what the command has printed: struct session_command's printed() */
void vm_command_output(void *ctx, const void *bytes, size_t len);
/** vm_last_lines() - as console_last_lines(), or the log's where that has more to say */
void vm_last_lines(const struct vm *vm, char *ret, size_t cap);
/** vm_end_watch() - nothing more comes */
void vm_end_watch(struct vm *vm);

/* vm/end.c */
/** vm_status() - the vCPUs are gone: with which status lkvm will end, if nothing fails that has yet to be done */
int vm_status(const struct vm *vm);

/* vm/limits.c */
int vm_make_limits(struct vm *vm);
void vm_undo_limits(struct vm *vm);
/** vm_is_up() - the guest is ready for its command */
void vm_is_up(struct vm *vm);
/** vm_limits_hear() - a line of its kernel's, on the console or in the log */
void vm_limits_hear(struct vm *vm, const char *line);

/** vm_forward() - vm/nets.c: the @i-th port that is forwarded, of all networks; Return: is there one? */
bool vm_forward(const struct vm *vm, unsigned i, struct ipc_forward *ret);

/* vm/session-vm.c */
int vm_make_session_boot(struct vm *vm);
void vm_undo_session_boot(struct vm *vm);
int vm_make_session(struct vm *vm);
void vm_undo_session(struct vm *vm);

/**
 * vm_session_plan() - vm/nets.c: what a guest that asks is told: session_boot_plan(), and its networks
 * @ret: heap, the caller's. Return: 0 or -errno, not logged
 */
int vm_session_plan(const struct vm *vm, char **ret, size_t *ret_len);
/** vm_session_restored() - tell a guest that goes on what it has to know, and give it its command; 0 or -errno, logged */
int vm_session_restored(struct vm *vm);

/* vm/restore.c: of a machine that goes on from a snapshot */

/** vm_restore_cpuid() - the CPU that the guest has seen, if this host has all of it; 0 or -errno, logged */
int vm_restore_cpuid(struct vm *vm);
/** vm_restore() - all state, into what was just made and has not run; likewise */
int vm_restore(struct vm *vm);

/* vm/trace.c: --trace */
int vm_make_trace_file(struct vm *vm);
void vm_undo_trace_file(struct vm *vm);
int vm_make_trace(struct vm *vm);
void vm_undo_trace(struct vm *vm);
/** vm_trace_begin() - the guest is about to run; 0 or -errno, logged */
int vm_trace_begin(struct vm *vm);

/* vm/warm.c */
int vm_make_warm(struct vm *vm);
void vm_undo_warm(struct vm *vm);
/** vm_is_warm() - does it go on from a warm start? vm_warm_built() - all went well; vm_warm_failed() - it did not */
bool vm_is_warm(const struct vm *vm);
void vm_warm_built(struct vm *vm);
void vm_warm_failed(struct vm *vm);
/** vm_warm_save() - this is the moment, if one is to be saved */
void vm_warm_save(struct vm *vm);

/** vm_describe() - vm/show.c: the machine as text; 0 or -errno, not logged */
int vm_describe(struct vm *vm, FILE *out);

/* vm/end.c: what vm_end() does before anything is freed, in this order */

/** vm_begin_end() - set the time limit */
void vm_begin_end(struct vm *vm);
/** vm_undo_run() - join the vCPUs, drain the devices; result->hung: not all have ended */
void vm_undo_run(struct vm *vm);
/** vm_undo_output() - what the guest printed is written, as far as its reader takes it */
void vm_undo_output(struct vm *vm);
/** vm_undo_report() - setup.ended() */
void vm_undo_report(struct vm *vm);

#endif
