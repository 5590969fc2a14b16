/* The first serial port, register by register; loop-back keeps the bytes inside the chip. */
#include "guest.h"

#define LSR_OVERRUN 0x02
#define LSR_BREAK   0x10
#define LSR_IDLE    0x40
#define IIR_NONE    0x01
#define IIR_THRE    0x02
#define IIR_DATA    0x04
#define IIR_TIMEOUT 0x0c
#define IIR_STATUS  0x06
#define MCR_LOOP    0x10
#define FIFO_BYTES  16

static void registers(void)
{
	for (unsigned v = 0; v < 256; v += 85) {
		out8(COM_SCR, (uint8_t)v);
		CHECK_EQ(in8(COM_SCR), v);
	}
	out8(COM_LCR, 0x03); /* 8N1; a wrong mask once read back 1 */
	CHECK_EQ(in8(COM_LCR), 0x03);
	out8(COM_LCR, 0x83); /* divisor latch */
	out8(COM_DATA, 0x0c);
	out8(COM_IER, 0x01);
	CHECK_EQ(in8(COM_DATA), 0x0c);
	CHECK_EQ(in8(COM_IER), 0x01);
	out8(COM_DATA, 0x01);
	out8(COM_IER, 0x00);
	out8(COM_LCR, 0x03);
	out8(COM_IER, 0xff); /* four causes, the rest reads 0 */
	CHECK_EQ(in8(COM_IER), 0x0f);
	out8(COM_IER, 0);
	out8(COM_MCR, 0xff);
	CHECK_EQ(in8(COM_MCR), 0x1f);
	out8(COM_MCR, 0);
	CHECK_EQ(in8(COM_LSR) & (LSR_READY | LSR_IDLE), LSR_READY | LSR_IDLE);
}

static void fifo_bits(void)
{
	out8(COM_FCR, 0);
	CHECK_EQ(in8(COM_IIR), IIR_NONE);
	out8(COM_FCR, 0x01);
	CHECK_EQ(in8(COM_IIR), 0xc0 | IIR_NONE);
	out8(COM_FCR, 0x07);
	CHECK_EQ(in8(COM_IIR), 0xc0 | IIR_NONE);
}

static void modem_lines(void)
{
	static const struct {
		uint8_t mcr, msr;
	} wires[] = { { 0x01, 0x20 }, { 0x02, 0x10 }, { 0x04, 0x40 }, { 0x08, 0x80 }, { 0x0f, 0xf0 } };

	for (unsigned i = 0; i < sizeof(wires) / sizeof(wires[0]); i++) {
		out8(COM_MCR, MCR_LOOP | wires[i].mcr);
		CHECK_EQ(in8(COM_MSR) & 0xf0, wires[i].msr);
	}
}

static void loop_back(void)
{
	out8(COM_FCR, 0x07);
	out8(COM_MCR, MCR_LOOP);
	CHECK_EQ(in8(COM_LSR) & LSR_DATA, 0);
	for (unsigned i = 0; i < FIFO_BYTES; i++)
		out8(COM_DATA, (uint8_t)(0x80 + i));
	CHECK_EQ(in8(COM_LSR) & (LSR_DATA | LSR_OVERRUN), LSR_DATA);
	out8(COM_DATA, 0xee); /* the seventeenth is lost, and that is told once */
	CHECK_EQ(in8(COM_LSR) & LSR_OVERRUN, LSR_OVERRUN);
	CHECK_EQ(in8(COM_LSR) & LSR_OVERRUN, 0);
	for (unsigned i = 0; i < FIFO_BYTES; i++)
		CHECK_EQ(in8(COM_DATA), 0x80 + i);
	CHECK_EQ(in8(COM_LSR) & LSR_DATA, 0);
}

static void identification(void)
{
	out8(COM_FCR, 0xc7); /* trigger level 14 */
	out8(COM_MCR, MCR_LOOP);
	out8(COM_IER, 0x02);
	CHECK_EQ(in8(COM_IIR) & 0x0f, IIR_THRE);
	CHECK_EQ(in8(COM_IIR) & 0x0f, IIR_NONE);
	out8(COM_IER, 0x05);
	out8(COM_FCR, 0x01);
	out8(COM_DATA, 1);
	CHECK_EQ(in8(COM_IIR) & 0x0f & ~(IIR_TIMEOUT ^ IIR_DATA), IIR_DATA);
	for (unsigned i = 0; i < FIFO_BYTES; i++)
		out8(COM_DATA, 2);
	CHECK_EQ(in8(COM_IIR) & 0x0f, IIR_STATUS); /* overrun comes first */
	in8(COM_LSR);
	CHECK_EQ(in8(COM_IIR) & 0x07, IIR_DATA);
	out8(COM_FCR, 0x03); /* clears what was received */
	CHECK_EQ(in8(COM_IIR) & 0x0f, IIR_NONE);
	CHECK_EQ(in8(COM_LSR) & LSR_DATA, 0);
	out8(COM_IER, 0);
}

void guest_main(void)
{
	registers();
	fifo_bits();
	modem_lines();
	loop_back();
	identification();
	out8(COM_MCR, 0x03);
	out8(COM_FCR, 0x07);
	print("serial\n");
}
