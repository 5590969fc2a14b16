/* Links: hw/pvpanic.o util/log.o */
#include "chip.h"

START_TEST(test_read)
{
	new_chip(&pvpanic_type, NULL, 0);
	ck_assert_uint_eq(in8(0), 0x03);
	ck_assert_uint_eq(in_len(0, 2), 0xff03);
	ck_assert_uint_eq(in_len(0, 4), 0xffffff03);
	ck_assert_uint_eq(in8(1), 0xff);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

START_TEST(test_panic)
{
	new_chip(&pvpanic_type, NULL, 0);
	out8(0, 0x01);
	assert_stop(STOP_PANIC, 0);
	out8(0, 0x03);
	assert_stop(STOP_PANIC, 0);
	free_chip();
}
END_TEST

START_TEST(test_not_a_panic)
{
	new_chip(&pvpanic_type, NULL, 0);
	out8(0, 0x00);
	out8(0, 0xfc);
	ck_assert_uint_eq(machine.panics, 0);
	out8(0, 0x02); /* the guest's crash kernel goes on */
	ck_assert_uint_eq(machine.panics, 1);
	out8(1, 0x01);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

UNIT_MAIN("pvpanic", test_read, test_panic, test_not_a_panic)
