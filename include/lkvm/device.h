/*
 * A device of the machine: one const struct device_type plus one row in vm/hardware.c.
 *
 * The machine allocates type->size zeroed bytes, calls init() on the main thread before any vCPU
 * runs, puts the ranges of its row on the buses, and calls fini() after the last vCPU
 * thread was joined. Accesses come from any vCPU thread at any time, so a device with state has a
 * lock of its own. A device never includes kvm.h: what it may ask of the machine is in
 * struct device_env.
 */
#ifndef LKVM_DEVICE_H
#define LKVM_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "lkvm/board.h"
#include "lkvm/bus.h"
#include "lkvm/irq.h"

struct console;
struct loop;
struct ram;
struct state_type;

struct device_env {
	struct irq_line irq;
	struct board board;
	struct ram *ram;   /* the guest's */
	uint64_t ram_bytes;
	struct loop *loop; /* of the main thread: for timers */
	struct console *console;        /* where a serial port leads; NULL: nowhere */
	const void *config;             /* of this row, for those types that have one */
};

struct device_type {
	const char *name;
	size_t size;
	struct bus_ops io;
	/* Return: 0 or -errno (logged by the caller with the name); on failure fini() is called too */
	int (*init)(void *dev, const struct device_env *env);
	void (*fini)(void *dev); /* may be NULL; takes a half-built device */
	/* What the guest can observe of it; NULL: nothing ever changes, or all is new in each machine. */
	const struct state_type *state;
	/*
	 * The guest goes on from a snapshot. All state is loaded, that of the interrupt chips too, so an
	 * interrupt that is raised here is not lost; no vCPU runs. May be NULL. Return: 0 or -errno
	 */
	int (*restored)(void *dev);
};

#endif
