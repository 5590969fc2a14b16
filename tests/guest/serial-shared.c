/* COM1 and COM3 share an interrupt: it is there while one of them wants it. */
#include "guest.h"

#define COM3_IER 0x3e9
#define COM3_MCR 0x3ec

#define PIC_CMD    0x20
#define PIC_IRR    0x0a /* its next read tells which interrupts wait */
#define ELCR       0x4d0
#define IRQ_COM    4
#define IER_THRE   0x02 /* the transmitter is empty, and interrupts at once */
#define MCR_OUT2   0x08 /* the chip's interrupt leads to the line */

/* Level triggered, so that it is seen as long as the line is up. */
static bool irq_up(void)
{
	out8(PIC_CMD, PIC_IRR);
	return in8(PIC_CMD) >> IRQ_COM & 1;
}

void guest_main(void)
{
	out8(ELCR, 1 << IRQ_COM);
	out8(COM_MCR, MCR_OUT2);
	out8(COM3_MCR, MCR_OUT2);
	CHECK(!irq_up());
	out8(COM3_IER, IER_THRE);
	CHECK(irq_up());
	out8(COM_IER, IER_THRE);
	out8(COM_IER, 0); /* takes away its own, not the other one's */
	CHECK(irq_up());
	out8(COM_IER, IER_THRE);
	out8(COM3_IER, 0);
	CHECK(irq_up());
	out8(COM_IER, 0);
	CHECK(!irq_up());
}
