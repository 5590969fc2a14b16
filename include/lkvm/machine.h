/*
 * What the machine offers to virtio transports and PCI: interrupts and notifications that stay in
 * the kernel. kvm-irq.c implements it on KVM; unit tests on counters. Any thread.
 */
#ifndef LKVM_MACHINE_H
#define LKVM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* Sources of a line: the PCI functions by their devfn, then the chips by their place in the list. */
#define LINE_SOURCE_PCI	 0
#define LINE_SOURCE_CHIP 256
#define LINE_SOURCES	 320

struct machine_ops {
	/*
	 * A guest write to @addr (2 bytes, 4 bytes: @len; 0: any) signals @fd and causes no exit.
	 * @match: only this value, -1: every value. @pio: an I/O port.
	 * Return: 0 or -errno
	 */
	int (*notify)(void *machine, int fd, bool pio, uint64_t addr, unsigned len, int64_t match,
		      bool on);
	/*
	 * Signalling @fd raises @gsi, edge triggered. What was signalled while it was off arrives when
	 * it is switched on.
	 */
	int (*irqfd)(void *machine, int fd, unsigned gsi, bool on);
	/*
	 * A message-signalled interrupt: route @gsi to address and data; *@gsi -1: allocate one.
	 * Return: 0 or -errno (-ENOSPC: no route left)
	 */
	int (*msi_route)(void *machine, int *gsi, uint64_t addr, uint32_t data);
	void (*msi_free)(void *machine, int gsi);
	/* A GSI is up while one of its sources, numbered below, holds it up. */
	void (*line)(void *machine, unsigned gsi, unsigned source, bool level);
};

struct machine {
	const struct machine_ops *ops;
	void *ctx;
};

#endif
