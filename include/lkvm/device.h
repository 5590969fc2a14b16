/*
 * A device of the machine: one const struct device_type plus one line in x86/platform.c.
 *
 * The machine allocates type->size zeroed bytes, calls init() on the main thread before any vCPU
 * runs, puts the ranges of its platform line on the buses, and calls fini() after the last vCPU
 * thread was joined. Accesses come from any vCPU thread at any time, so a device with state has a
 * lock of its own. A device never includes kvm.h: what it may ask of the machine is in
 * struct device_env.
 */
#ifndef LKVM_DEVICE_H
#define LKVM_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "lkvm/bus.h"
#include "lkvm/irq.h"

struct console;
struct loop;
struct vm_config;

/* Why a machine stopped; the first cause wins. builtin-run.c maps each to the exit status. */
enum stop_cause {
	STOP_NONE = 0,
	STOP_POWEROFF,   /* the guest powered off (ACPI S5) */
	STOP_RESET,      /* the guest asked for a reset */
	STOP_PANIC,      /* pvpanic, or the console text of a panic that does not end by itself */
	STOP_DEBUG_EXIT, /* isa-debug-exit; value: what the guest wrote */
	STOP_FAULT,      /* triple fault, or KVM could not go on */
	STOP_REQUEST,    /* `lkvm stop`, Ctrl-a x */
	STOP_SIGNAL,     /* SIGINT, SIGTERM, SIGHUP, SIGQUIT; value: the number */
	STOP_TIMEOUT,    /* --timeout */
	STOP_HOST_ERROR, /* lkvm itself failed; value: errno */
};

struct device_env {
	struct irq_line irq;
	/* Ask the machine to stop. Returns at once; the vCPU threads end soon after. Any thread. */
	void (*stop)(void *machine, enum stop_cause cause, uint32_t value);
	void *machine;
	struct loop *loop; /* of the main thread: for timers */
	struct console *console;        /* where a serial port leads; NULL: nowhere */
	const struct vm_config *config; /* lives as long as the device */
	unsigned index;                 /* of this line among the lines of the same type, from 0 */
};

struct device_type {
	const char *name;
	size_t size;
	struct bus_ops io;
	/* Return: 0 or -errno (logged by the caller with the name); on failure fini() is called too */
	int (*init)(void *dev, const struct device_env *env);
	void (*fini)(void *dev); /* may be NULL; takes a half-built device */
};

#endif
