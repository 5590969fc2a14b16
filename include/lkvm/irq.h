/*
 * An interrupt line, as a device sees it: a thing that can be raised and lowered.
 *
 * The machine hands one to each device; in the VM it leads to board_ops.line, in a unit test to a
 * counter. Devices that share a GSI have a line each: the GSI is up while one of them is. Any thread.
 */
#ifndef LKVM_IRQ_H
#define LKVM_IRQ_H

#include <stdbool.h>

struct irq_line {
	/* NULL: the line leads nowhere */
	void (*set)(void *ctx, unsigned gsi, unsigned source, bool level);
	void *ctx;
	unsigned gsi;
	unsigned source; /* tells the devices of a GSI apart */
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->ctx, line->gsi, line->source, level);
}

#endif
