/* The keyboard controller: self test, command byte, and reads of an empty queue that lead nowhere. */
#include "guest.h"

#define DATA        0x60
#define OUTPUT_FULL 0x01
#define INPUT_FULL  0x02

static void command(uint8_t value)
{
	while (in8(PORT_I8042) & INPUT_FULL)
		;
	out8(PORT_I8042, value);
}

static uint8_t answer(void)
{
	unsigned patience = 1000;

	while (!(in8(PORT_I8042) & OUTPUT_FULL) && --patience)
		;
	CHECK(patience != 0);
	return in8(DATA);
}

void guest_main(void)
{
	for (unsigned i = 0; i < 100 && in8(PORT_I8042) & OUTPUT_FULL; i++)
		in8(DATA);
	CHECK_EQ(in8(PORT_I8042) & OUTPUT_FULL, 0);

	command(0xaa);
	CHECK_EQ(answer(), 0x55);
	command(0xab);
	CHECK_EQ(answer(), 0);
	command(0x60);
	out8(DATA, 0x74); /* everything off */
	command(0x20);
	CHECK_EQ(answer(), 0x74);

	for (unsigned i = 0; i < 1000; i++)
		in8(DATA);
	CHECK_EQ(in8(PORT_I8042) & OUTPUT_FULL, 0);
	for (unsigned i = 0; i < 0xf0; i++) /* every command but the ones that pulse the reset line */
		out8(PORT_I8042, (uint8_t)i);
	for (unsigned i = 0; i < 256; i++) /* and every byte for the keyboard */
		out8(DATA, (uint8_t)i);
	for (unsigned i = 0; i < 1000; i++)
		in8(DATA);
	CHECK_EQ(in8(PORT_I8042) & OUTPUT_FULL, 0);
}
