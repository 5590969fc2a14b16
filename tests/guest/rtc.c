/* The CMOS clock: prints its time, which the host compares with its own. */
#include "guest.h"

#define RTC_UPDATING 0x80
#define RTC_IRQ      0x80 /* in register C */
#define RTC_PERIODIC 0x40 /* in registers B and C */
#define RTC_ALARM    0x20
#define RTC_UPDATED  0x10
#define RTC_24_HOURS 0x02
#define RTC_BINARY   0x04
#define RTC_VALID    0x80

/* Forget interrupts of before; the second chip's line 0 is the clock's. */
static void reset_pic(void)
{
	out8(0xa0, 0x11);
	out8(0xa1, 0x28);
	out8(0xa1, 2);
	out8(0xa1, 1);
	out8(0xa0, 0x0a); /* reads tell which interrupts wait */
}

static void wait_for_interrupt(uint8_t enable, uint8_t flags)
{
	cmos(0xc);
	reset_pic();
	set_cmos(0xb, (uint8_t)(RTC_24_HOURS | enable));
	while (!(in8(0xa0) & 1))
		;
	CHECK_EQ(cmos(0xc) & (RTC_IRQ | flags), RTC_IRQ | flags);
	set_cmos(0xb, RTC_24_HOURS);
}

static void interrupts(void)
{
	wait_for_interrupt(RTC_UPDATED, RTC_UPDATED);
	wait_for_interrupt(RTC_PERIODIC, RTC_PERIODIC);
	for (uint8_t reg = 1; reg <= 5; reg = (uint8_t)(reg + 2))
		set_cmos(reg, 0xff); /* every second */
	wait_for_interrupt(RTC_ALARM, RTC_ALARM | RTC_UPDATED);
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
	interrupts();
	wait_for_second(); /* it runs, and nothing changes while it is printed */
	print_two(0x32, 99, "");
	print_two(9, 99, "-");
	print_two(8, 12, "-");
	print_two(7, 31, " ");
	print_two(4, 23, ":");
	print_two(2, 59, ":");
	print_two(0, 59, "\n");

	set_cmos(0x40, 0xa7); /* free memory of the chip */
	CHECK_EQ(cmos(0x40), 0xa7);
}
