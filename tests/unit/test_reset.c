/* Links: hw/reset.o hw/state.o hw/state-show.o util/json.o */
#include "chip-state.h"

#define PORT_A  0
#define CONTROL 1

START_TEST(test_first_values)
{
	new_chip(&reset_type, NULL, 0);
	ck_assert_uint_eq(in8(PORT_A), 0x02); /* A20 is open */
	ck_assert_uint_eq(in8(CONTROL), 0);
	ck_assert_uint_eq(in_len(PORT_A, 2), 0xff02);
	ck_assert_uint_eq(in_len(CONTROL, 4), 0xffffff00);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

/* All values: which of them reset, and what is kept. */
START_TEST(test_port_a)
{
	new_chip(&reset_type, NULL, 0);
	for (unsigned value = 0; value < 0x100; value++) {
		out8(PORT_A, value);
		if (value & 1)
			assert_stop(STOP_RESET, 0);
		ck_assert_uint_eq(machine.stops, 0);
		ck_assert_uint_eq(in8(PORT_A), value & 2);
		ck_assert_uint_eq(in8(CONTROL), 0);
	}
	free_chip();
}
END_TEST

START_TEST(test_control)
{
	new_chip(&reset_type, NULL, 0);
	for (unsigned value = 0; value < 0x100; value++) {
		out8(CONTROL, value);
		if (value & 4)
			assert_stop(STOP_RESET, 0);
		ck_assert_uint_eq(machine.stops, 0);
		ck_assert_uint_eq(in8(CONTROL), value & 0x0a);
		ck_assert_uint_eq(in8(PORT_A), 2);
	}
	free_chip();
}
END_TEST

START_TEST(test_state)
{
	new_chip(&reset_type, NULL, 0);
	test_chip_state(2, 0);
	out8(PORT_A, 0);
	out8(CONTROL, 0x0a);
	restore_chip(NULL, 0);
	ck_assert_uint_eq(in8(PORT_A), 0);
	ck_assert_uint_eq(in8(CONTROL), 0x0a);
	free_chip();
}
END_TEST

UNIT_MAIN("reset", test_first_values, test_port_a, test_control, test_state)
