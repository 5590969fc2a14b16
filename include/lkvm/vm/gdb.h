/*
 * gdb at a machine: the one client, by the control socket (`lkvm gdb`) or at an address of its own (--gdb).
 * Nothing listens and nothing is made before somebody asks. Main thread.
 */
#ifndef LKVM_VM_GDB_H
#define LKVM_VM_GDB_H

#include <stdbool.h>
#include <stdint.h>

#include "lkvm/device.h"

struct ipc_client;
struct vm;
struct vm_gdb;

#define GDB_DEFAULT_PORT "1234"

/* --gdb: where clients come from */
struct gdb_config {
	enum { GDB_NOWHERE, GDB_UNIX, GDB_TCP } where;
	char *path;      /* of the socket; heap */
	char *host;      /* numeric address; heap */
	unsigned port;   /* 0: any */
	bool wait;       /* for one, before the first instruction */
	bool on_panic;   /* for one, in place of the end */
};

/**
 * gdb_config_parse() - "unix:PATH", "tcp:[ADDR]:PORT", or NULL for the default; 0 or -EINVAL, logged
 * gdb_config_free() - takes a zeroed one, too
 */
int gdb_config_parse(struct gdb_config *cfg, const char *arg);
void gdb_config_free(struct gdb_config *cfg);

/** gdb_listen() - at that address, which is told; Return: the socket, or -errno, logged */
int gdb_listen(const struct gdb_config *cfg);

/** vm_make_gdb(), vm_undo_gdb() - the step of vm/vm.c: what --gdb asks for. The client is told how it ended. */
int vm_make_gdb(struct vm *vm);
void vm_undo_gdb(struct vm *vm);

/** vm_gdb_before_run() - no CPU runs, but waits for the client, if that is asked for; _after_run(): it does now */
void vm_gdb_before_run(struct vm *vm);
void vm_gdb_after_run(struct vm *vm);

/**
 * vm_gdb_connect() - a client has come
 * @in_fd, @out_fd: his, both may be the same; closed at the end of it all, but not if this fails
 * @over: called then, unless vm_gdb_leave() was; may be NULL
 * Return: 0; -EBUSY: there is one already; or as debugger_attach()
 */
int vm_gdb_connect(struct vm *vm, int in_fd, int out_fd, void (*over)(void *ctx), void *ctx);
/** vm_gdb_hear() - the guest's kernel has said this: a client is shown a BUG, an oops and a panic at once */
void vm_gdb_hear(struct vm *vm, const char *line);
/** vm_gdb_hide() - for vm/hold.c: no breakpoints are in its memory from now on; or those that should be are again */
void vm_gdb_hide(struct vm *vm, bool hide);
/**
 * vm_gdb_held_up() - the vCPUs are gone: the end that was held up for a debugger and never let happen
 * Return: STOP_NONE: there is none; of STOP_FAULT, *ret_value is the vCPU, and kvm->caught_run how it left the guest
 */
enum stop_cause vm_gdb_held_up(struct vm *vm, uint32_t *ret_value);
/** vm_gdb_unlink_now() - its socket is no more, if it has one; the process ends at once. A signal handler may call it. */
void vm_gdb_unlink_now(const struct vm *vm);
/** vm_gdb_leave() - the client of @ctx has left: over() is not called any more */
void vm_gdb_leave(struct vm *vm, const void *ctx);

#endif
