/* The ACPI timer and the LAPIC's, measured against channel 2 of the PIT: 20 ms take 20 ms. */
#include "guest.h"

#define PIT_HZ      1193182
#define PM_TIMER_HZ 3579545
#define MS          20

#define LAPIC_SVR     0x0f0
#define LAPIC_LVT_T   0x320
#define LAPIC_INITIAL 0x380
#define LAPIC_CURRENT 0x390
#define LAPIC_DIVIDE  0x3e0
#define MASKED        0x10000

static uint32_t pm_timer(void)
{
	return in32(0x608);
}

static void pit_wait_start(void)
{
	const uint16_t count = PIT_HZ / 1000 * MS;

	out8(0x61, (in8(0x61) & 0xfc) | 1);
	out8(0x43, 0xb0);
	out8(0x42, count & 0xff);
	out8(0x42, count >> 8);
}

void guest_main(void)
{
	uint32_t start, ticks, lapic;

	*mem32(LAPIC + LAPIC_SVR) = 0x1ff;
	*mem32(LAPIC + LAPIC_DIVIDE) = 0xb;
	*mem32(LAPIC + LAPIC_LVT_T) = MASKED | 0x40;
	pit_wait_start();
	start = pm_timer();
	*mem32(LAPIC + LAPIC_INITIAL) = UINT32_MAX;
	while (!(in8(0x61) & 0x20))
		;
	ticks = pm_timer() - start;
	lapic = *mem32(LAPIC + LAPIC_CURRENT);

	/* Never early; late only by how long the host took the processor away: a second is a failure. */
	CHECK(ticks >= PM_TIMER_HZ / 1000 * (MS - 1));
	CHECK(ticks < PM_TIMER_HZ);
	CHECK(lapic < UINT32_MAX - 1000);
	CHECK(lapic > 0);
}
