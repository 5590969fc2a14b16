/*
 * An interrupt line, as a device sees it: a thing that can be raised and lowered.
 *
 * The machine hands one to each device; in the VM it leads to KVM_IRQ_LINE on a GSI, in a unit test
 * to a counter. Any thread.
 */
#ifndef LKVM_IRQ_H
#define LKVM_IRQ_H

#include <stdbool.h>

struct irq_line {
	void (*set)(void *chip, unsigned gsi, bool level); /* NULL: the line leads nowhere */
	void *chip;
	unsigned gsi;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->chip, line->gsi, level);
}

#endif
