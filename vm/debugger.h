/*
 * A machine as a debugger has it: memory without its breakpoints, registers, what to stop at, how to go on.
 * vm/debugger.c is gdb's struct gdb_target; vm/gdb.c has the client. Main thread.
 */
#ifndef LKVM_VM_DEBUGGER_H
#define LKVM_VM_DEBUGGER_H

#include "lkvm/gdb/stub.h"
#include "lkvm/linux/guest.h"
#include "lkvm/kvm.h"
#include "lkvm/loop.h"
#include "lkvm/x86/gdb-regs.h"

#define DEBUGGER_POINTS 4096 /* breakpoints in software */
#define DEBUGGER_SLOTS	4    /* the CPU's debug registers */

struct debug_point {
	gpa_t gpa;   /* where it is, */
	uint64_t at; /* what the debugger calls that */
	uint8_t was; /* the byte that a breakpoint instruction is in place of */
};

struct debug_slot {
	bool used;
	enum gdb_point_kind kind;
	uint64_t at;
	uint8_t bytes;
};

struct debugger {
	struct vm *vm;
	int events_fd; /* what the VM signals as its debug_fd; -1: it was not attached */
	bool running;  /* as far as the debugger is concerned */
	unsigned cpu;              /* that has stopped last */
	enum stop_cause caught;    /* the end that it has come to, STOP_NONE: none; of which value */
	uint32_t caught_value;
	uint32_t flags;            /* KVM_GUESTDBG_* that this KVM has */
	unsigned n_points;
	struct debug_point *points; /* DEBUGGER_POINTS of them */
	struct debug_slot slot[DEBUGGER_SLOTS];
	struct x86_view *views;    /* one a CPU, as: */
	struct gdb_action *actions;
	struct gdb_stop *later;    /* of CPUs that have stopped at data as well; signal 0: none */
	uint32_t *inject;          /* KVM_GUESTDBG_INJECT_*, for the next time that it runs */
	/* It has stopped; by the loop, or within resume() and interrupt() */
	void (*stopped)(void *ctx, const struct gdb_stop *stop);
	void (*end)(void *ctx, enum gdb_end how);
	void (*say)(void *ctx, const char *text); /* the late answer to a monitor command */
	void *ctx;
	bool is_local; /* nobody but the guest's owner can be the client */
	struct snapshot_making *making; /* by such a command; NULL: none */
};

extern const struct gdb_target debugger_target; /* but for how many CPUs and registers there are; ctx: a struct debugger */

/**
 * debugger_attach() - the machine stands still from now on
 * @d: zeroed but for vm, stopped, end, ctx
 * @events_fd: an eventfd that stays open as long as the vCPUs are there
 * Return: 0; -ESHUTDOWN: it is ending; -EINPROGRESS: a CPU does not come out of the guest; -ENOMEM, -errno. Else
 *	nothing is left of it
 */
int debugger_attach(struct debugger *d, int events_fd, struct gdb_stop *ret_first);
/** debugger_event() - the VM has signalled @events_fd: it has paused by itself */
void debugger_event(struct debugger *d);
/** debugger_halt() - while it runs: it stands still now, and if there is no better reason that is @signal */
void debugger_halt(struct debugger *d, unsigned signal);
/**
 * debugger_held_up() - the end that the machine has come to, and was not let go to; STOP_NONE: it has not
 * The vCPUs are gone, and it was somebody else who has ended them.
 */
enum stop_cause debugger_held_up(struct debugger *d, uint32_t *ret_value);
/** debugger_detach() - it goes on, without breakpoints; takes one that was never attached */
void debugger_detach(struct debugger *d);

/*
 * vm/debugger-points.c: the target's read, write, insert and remove; and for vm/debugger.c the breakpoint in software
 * at an address (NULL: there is none), its removal, and a debug register's bits of DR7
 */
size_t debugger_read(void *ctx, unsigned cpu, bool physical, uint64_t at, void *dst, size_t n);
size_t debugger_write(void *ctx, unsigned cpu, bool physical, uint64_t at, const void *src, size_t n);
int debugger_insert(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n);
int debugger_remove(void *ctx, unsigned cpu, enum gdb_point_kind kind, uint64_t at, uint64_t n);
struct debug_point *debugger_find(const struct debugger *d, uint64_t at);
/* The one whose instruction a CPU has come to, which may know the address by another name */
struct debug_point *debugger_hit(struct debugger *d, unsigned cpu, uint64_t pc);
void debugger_take_out(struct debugger *d, struct debug_point *point);
/* What is in the machine's memory of the debugger's goes, and comes back; not to be had while vm_is_copied() */
void debugger_hide(struct debugger *d, bool hide);
uint64_t debugger_dr7(const struct debug_slot *slot, unsigned i);

/** debugger_linux() - the Linux in the guest's RAM, looked for a second at most; Return: as control_linux() */
int debugger_linux(struct debugger *d, const struct linux_guest **ret);

/** debugger_monitor() - vm/gdb-monitor.c: `monitor` of gdb's */
int debugger_monitor(void *ctx, unsigned cpu, const char *line, FILE *out);

#endif
