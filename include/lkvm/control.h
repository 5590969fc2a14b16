/*
 * What a running guest can be asked over its control socket: the ipc_handler of `lkvm run`, one
 * function a request. Main thread only.
 *
 * Registers are read, and interrupts injected, while no vCPU is in the guest; a guest that was
 * running goes on afterwards.
 */
#ifndef LKVM_CONTROL_H
#define LKVM_CONTROL_H

#include <stdio.h>

#include "lkvm/ipc.h"

struct console;
struct kvm;
struct platform;
struct ram;
struct vm_config;

struct control {
	struct kvm *kvm;
	struct platform *platform;
	struct console *console; /* NULL: none */
	const struct vm_config *config;
	uint64_t start_ns; /* CLOCK_MONOTONIC, when the guest was started */
};

/**
 * control_handle() - carry out one request; an ipc_handler with a struct control as @ctx
 * Return: 0 or -errno: -EPROTO (length of the body), -EINVAL (what is in it), -ENXIO (no such vCPU),
 *	-EALREADY, -ESHUTDOWN (see kvm_pause()), -EAGAIN (nobody listens to the power button),
 *	-EFAULT (the address is not mapped; the answer tells why), -EMSGSIZE
 */
int control_handle(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply);

/* The parts of it */

uint32_t control_state(struct kvm *kvm); /* enum kvm_state, under the VM's lock */
uint64_t control_uptime_ns(const struct control *ctl);
uint64_t control_ram_bytes(const struct ram *ram);

/** control_stat() - kvm-control-stat.c: state, memory, console and exit counters */
void control_stat(const struct control *ctl, bool json, FILE *out);
/** control_memmap() - kvm-control-memmap.c: RAM, gap, slots, e820, devices */
void control_memmap(const struct control *ctl, bool json, FILE *out);

#endif
