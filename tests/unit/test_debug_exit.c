/* Links: hw/debug-exit.o */
#include "chip.h"

START_TEST(test_write)
{
	new_chip(&debug_exit_type, NULL, 0);
	out8(0, 0x10);
	assert_stop(STOP_DEBUG_EXIT, 0x10);
	out_len(0, 0x1234, 2);
	assert_stop(STOP_DEBUG_EXIT, 0x1234);
	out_len(0, 0x89abcdef, 4);
	assert_stop(STOP_DEBUG_EXIT, 0x89abcdef);
	out8(0, 0);
	assert_stop(STOP_DEBUG_EXIT, 0);
	out8(3, 0xff); /* any of its ports */
	assert_stop(STOP_DEBUG_EXIT, 0xff);
	free_chip();
}
END_TEST

START_TEST(test_read)
{
	new_chip(&debug_exit_type, NULL, 0);
	ck_assert_uint_eq(in8(0), 0);
	ck_assert_uint_eq(in8(3), 0);
	ck_assert_uint_eq(in_len(0, 2), 0);
	ck_assert_uint_eq(in_len(0, 4), 0);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

UNIT_MAIN("debug-exit", test_write, test_read)
