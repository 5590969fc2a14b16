/*
 * What a running guest can be asked over its control socket: the ipc_handler of `lkvm run`, one
 * function a request. Main thread only.
 *
 * Registers are read, and interrupts injected, while no vCPU is in the guest; a guest that was
 * running goes on afterwards.
 */
#ifndef LKVM_VM_CONTROL_H
#define LKVM_VM_CONTROL_H

#include <stdio.h>

#include "lkvm/ipc.h"

struct console;
struct control_client;
struct control_snapshot;
struct kvm;
struct kvm_regs;
struct kvm_sregs;
struct platform;
struct session;
struct vm;
struct vm_config;

struct control {
	struct vm *vm; /* for who makes it stand still */
	struct kvm *kvm;
	struct platform *platform;
	struct console *console; /* NULL: none */
	struct session *session; /* NULL: none, or none yet */
	const struct vm_config *config;
	uint64_t start_ns; /* CLOCK_MONOTONIC, when the guest was started */
	struct control_client *console_clients; /* who looks at the console */
	struct control_snapshot *snapshot; /* that is being made; NULL: none */
};

/**
 * control_handle() - carry out one request; an ipc_handler with a struct control as @ctx
 * Return: 0 or -errno: -EPROTO (length of the body), -EINVAL (what is in it), -ENXIO (no such vCPU),
 *	-EALREADY, -ESHUTDOWN (see kvm_pause()), -EAGAIN (nobody listens to the power button),
 *	-EFAULT (the address is not mapped; the answer tells why), -EMSGSIZE, -EINPROGRESS (a vCPU does
 *	not come out of what it does; the answer tells of what)
 */
int control_handle(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply);

/* The parts of it */

enum ipc_state control_state(struct kvm *kvm); /* under the VM's lock */
uint64_t control_uptime_ns(const struct control *ctl);

/** control_stat() - vm/control-stat.c: state, memory, console and exit counters */
void control_stat(const struct control *ctl, bool json, FILE *out);
/** control_memmap() - vm/control-memmap.c: RAM, gap, slots, e820, devices */
void control_memmap(const struct control *ctl, bool json, FILE *out);
/** control_regs_json() - vm/control-regs.c: the registers of a vCPU that is not in the guest */
void control_regs_json(FILE *out, uint32_t cpu, const struct kvm_regs *regs, const struct kvm_sregs *sregs);
/**
 * control_exec() - vm/control-exec.c: run a command for the client, who waits until it has ended
 * Return: as an ipc_handler
 */
int control_exec(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_console() - vm/control-console.c: show the client the console, until the guest ends or he leaves
 * Return: as an ipc_handler
 */
int control_console(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_snapshot() - vm/control-snapshot.c: save the guest; the client waits until that is done
 * Return: as an ipc_handler
 */
int control_snapshot(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_end_snapshot() - the guest has ended: what is not saved will not be */
void control_end_snapshot(struct control *ctl);
/**
 * control_end_consoles() - the guest has ended: those who look have its last words, and are told
 * Waits for them a second at most, or until @interrupt_fd becomes readable, which is not read here.
 */
void control_end_consoles(struct control *ctl, int interrupt_fd);

#endif
