/* The CMOS clock: prints its time, which the host compares with its own. */
#include "guest.h"

#define RTC_UPDATING 0x80
#define RTC_24_HOURS 0x02
#define RTC_BINARY   0x04
#define RTC_VALID    0x80

static uint8_t cmos(uint8_t reg)
{
	out8(0x70, reg);
	return in8(0x71);
}

static void print_two(uint8_t reg, uint8_t max, const char *after)
{
	uint8_t value = cmos(reg);
	char text[] = { '0', '0', 0 };

	if (!(cmos(0xb) & RTC_BINARY)) {
		CHECK((value & 15) <= 9 && value >> 4 <= 9);
		value = (uint8_t)((value >> 4) * 10 + (value & 15));
	}
	CHECK(value <= max);
	text[0] = (char)('0' + value / 10);
	text[1] = (char)('0' + value % 10);
	print(text);
	print(after);
}

static void wait_for_second(void)
{
	uint8_t now = cmos(0);

	while (cmos(0) == now || cmos(0xa) & RTC_UPDATING)
		;
}

void guest_main(void)
{
	CHECK(cmos(0xd) & RTC_VALID);
	CHECK(cmos(0xb) & RTC_24_HOURS);
	wait_for_second(); /* it runs, and nothing changes while it is printed */
	print_two(0x32, 99, "");
	print_two(9, 99, "-");
	print_two(8, 12, "-");
	print_two(7, 31, " ");
	print_two(4, 23, ":");
	print_two(2, 59, ":");
	print_two(0, 59, "\n");

	out8(0x70, 0x40); /* free memory of the chip */
	out8(0x71, 0xa7);
	CHECK_EQ(cmos(0x40), 0xa7);
}
