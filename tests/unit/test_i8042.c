/* Links: hw/i8042.o hw/state.o hw/state-show.o util/json.o */
#include "chip-state.h"

#define DATA 0
#define CMD  1

/* Status */
#define OBF     0x01
#define IBF     0x02
#define SYS     0x04
#define COMMAND 0x08
#define UNLOCK  0x10
#define AUX     0x20
#define TIMEOUT 0x40

static unsigned ask(unsigned command)
{
	out8(CMD, command);
	ck_assert_uint_eq(in8(CMD), OBF | SYS | COMMAND | UNLOCK);
	return in8(DATA);
}

static void tell(unsigned command, unsigned value)
{
	out8(CMD, command);
	ck_assert_uint_eq(in8(CMD) & (OBF | IBF), 0);
	out8(DATA, value);
}

START_TEST(test_empty)
{
	new_chip(&i8042_type, NULL, 0);
	ck_assert_uint_eq(in8(CMD), SYS | UNLOCK);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(in8(DATA), 0);
	ck_assert_uint_eq(in8(CMD), SYS | UNLOCK);
	ask(0xaa);
	ck_assert_uint_eq(in8(DATA), 0x55); /* the last byte stays */
	ck_assert_uint_eq(in8(CMD) & OBF, 0);
	free_chip();
}
END_TEST

START_TEST(test_answers)
{
	new_chip(&i8042_type, NULL, 0);
	ck_assert_uint_eq(ask(0xaa), 0x55);
	ck_assert_uint_eq(ask(0xab), 0x00);
	ck_assert_uint_ne(ask(0xa9), 0x00); /* no mouse port */
	ck_assert_uint_eq(ask(0xc0), 0x80);
	out8(CMD, 0x12); /* unknown: no answer */
	ck_assert_uint_eq(in8(CMD) & OBF, 0);
	free_chip();
}
END_TEST

START_TEST(test_command_byte)
{
	new_chip(&i8042_type, NULL, 0);
	tell(0x60, 0x47);
	ck_assert_uint_eq(in8(CMD), SYS | UNLOCK); /* no answer */
	out8(CMD, 0x20);
	ck_assert_uint_eq(in8(DATA), 0x47);
	out8(CMD, 0xad);
	out8(CMD, 0xa7);
	ck_assert_uint_eq(ask(0x20), 0x77);
	out8(CMD, 0xae);
	ck_assert_uint_eq(ask(0x20), 0x67);
	out8(CMD, 0xa8);
	ck_assert_uint_eq(ask(0x20), 0x47);
	tell(0x60, 0x00); /* SYS of the status follows it */
	ck_assert_uint_eq(in8(CMD), UNLOCK);
	ck_assert_uint_eq((out8(CMD, 0xaa), in8(CMD)), OBF | SYS | COMMAND | UNLOCK);
	free_chip();
}
END_TEST

START_TEST(test_ram)
{
	new_chip(&i8042_type, NULL, 0);
	for (unsigned i = 0; i < 32; i++)
		tell(0x60 + i, 0xc4 ^ i);
	for (unsigned i = 0; i < 32; i++)
		ck_assert_uint_eq(ask(0x20 + i), 0xc4 ^ i);
	free_chip();
}
END_TEST

START_TEST(test_reset)
{
	new_chip(&i8042_type, NULL, 0);
	out8(CMD, 0xff);
	out8(CMD, 0xfd);
	ck_assert_uint_eq(machine.stops, 0);
	out8(CMD, 0xfe);
	assert_stop(STOP_RESET, 0);
	out8(CMD, 0xf0);
	assert_stop(STOP_RESET, 0);
	tell(0xd1, 0x03);
	ck_assert_uint_eq(machine.stops, 0);
	tell(0xd1, 0x02);
	assert_stop(STOP_RESET, 0);
	free_chip();
}
END_TEST

START_TEST(test_a20)
{
	new_chip(&i8042_type, NULL, 0);
	ck_assert_uint_eq(ask(0xd0), 0x03);
	tell(0xd1, 0xdd);
	ck_assert_uint_eq(ask(0xd0), 0xdd);
	out8(CMD, 0xdf);
	ck_assert_uint_eq(ask(0xd0), 0xdf);
	out8(CMD, 0xdd);
	ck_assert_uint_eq(ask(0xd0), 0xdd);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

START_TEST(test_silent_devices)
{
	new_chip(&i8042_type, NULL, 0);
	out8(DATA, 0xff); /* reset the keyboard */
	ck_assert_uint_eq(in8(CMD), OBF | SYS | UNLOCK | TIMEOUT);
	ck_assert_uint_eq(in8(DATA), 0xfe);
	ck_assert_uint_eq(in8(CMD), SYS | UNLOCK);
	tell(0xd4, 0xff); /* reset the mouse */
	ck_assert_uint_eq(in8(CMD), OBF | SYS | UNLOCK | TIMEOUT | AUX);
	ck_assert_uint_eq(ask(0xaa), 0x55); /* the next answer has its own flags */
	out8(DATA, 0xf2);
	ck_assert_uint_eq(in8(DATA), 0xfe);
	free_chip();
}
END_TEST

START_TEST(test_loops)
{
	new_chip(&i8042_type, NULL, 0);
	tell(0xd2, 0x5a);
	ck_assert_uint_eq(in8(CMD), OBF | SYS | UNLOCK);
	ck_assert_uint_eq(in8(DATA), 0x5a);
	tell(0xd3, 0xa5); /* answered at once, but not as from a mouse port */
	ck_assert_uint_eq(in8(CMD), OBF | SYS | UNLOCK);
	ck_assert_uint_eq(in8(DATA), 0xa5);
	free_chip();
}
END_TEST

/* A command that waits for a byte is given up when another one comes. */
START_TEST(test_abandoned)
{
	new_chip(&i8042_type, NULL, 0);
	out8(CMD, 0xd1);
	out8(CMD, 0xae);
	out8(DATA, 0x00);
	ck_assert_uint_eq(machine.stops, 0);
	ck_assert_uint_eq(in8(DATA), 0xfe); /* it went to the keyboard */
	out8(CMD, 0x60);
	ck_assert_uint_eq(ask(0xaa), 0x55);
	out8(DATA, 0x77);
	ck_assert_uint_eq(ask(0x20), 0x04);
	/* and it takes one byte only */
	tell(0x60, 0x05);
	out8(DATA, 0x06);
	out8(CMD, 0x20);
	ck_assert_uint_eq(in8(DATA), 0x05);
	free_chip();
}
END_TEST

START_TEST(test_irq)
{
	new_chip(&i8042_type, NULL, 0);
	out8(CMD, 0xaa);
	ck_assert_uint_eq(machine.irq_sets, 0); /* not enabled */
	out8(CMD, 0x60);
	out8(DATA, 0x05);
	ck_assert(machine.irq); /* the answer is still there */
	in8(DATA);
	ck_assert(!machine.irq);
	tell(0xd2, 0x1c);
	ck_assert(machine.irq);
	out8(CMD, 0xd2);
	out8(DATA, 0x9c);
	ck_assert_uint_eq(machine.irq_sets, 3); /* it was up already */
	in8(CMD);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in8(DATA), 0x9c);
	ck_assert(!machine.irq);
	tell(0xd4, 0xff); /* a mouse has another line */
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

START_TEST(test_widths)
{
	new_chip(&i8042_type, NULL, 0);
	ck_assert_uint_eq(in_len(CMD, 2), 0xff00 | SYS | UNLOCK);
	ck_assert_uint_eq(in_len(CMD, 4), 0xffffff00 | SYS | UNLOCK);
	out_len(CMD, 0xfeaa, 2); /* the first byte counts */
	ck_assert_uint_eq(machine.stops, 0);
	ck_assert_uint_eq(in_len(DATA, 2), 0xff55);
	ck_assert_uint_eq(in8(2), 0xff);
	out8(2, 0xfe);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

START_TEST(test_state)
{
	new_chip(&i8042_type, NULL, 0);
	tell(0x60, 0x45); /* the command byte: interrupts on */
	tell(0x7f, 0x12); /* the last byte of RAM */
	tell(0xd2, 0x1c); /* an answer waits */
	out8(CMD, 0x6a);  /* and a command for its data */
	test_chip_state(2, 0x1);
	restore_chip(NULL, 0);
	ck_assert(machine.irq);
	ck_assert_uint_eq(machine.irq_sets, 1);
	ck_assert_uint_eq(in8(CMD), OBF | SYS | COMMAND | UNLOCK);
	ck_assert_uint_eq(in8(DATA), 0x1c);
	ck_assert(!machine.irq);
	out8(DATA, 0x77);
	ck_assert_uint_eq(ask(0x2a), 0x77);
	ck_assert_uint_eq(ask(0x20), 0x45);
	ck_assert_uint_eq(ask(0x3f), 0x12);
	free_chip();
}
END_TEST

UNIT_MAIN("i8042", test_empty, test_answers, test_command_byte, test_ram, test_reset, test_a20,
	  test_silent_devices, test_loops, test_abandoned, test_irq, test_widths, test_state)
