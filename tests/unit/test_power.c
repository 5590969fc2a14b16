/* Links: hw/power.o hw/state.o hw/state-show.o util/json.o */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "chip-state.h"

#define PWRBTN 0x0100U
#define GBL    0x0020U
#define TMR    0x0001U
#define RTC    0x0400U
#define SLP_EN 0x2000U
#define S5     (POWER_SLP_TYP_S5 << 10)

static struct timespec fake_now;
static bool fake_time;

/* In place of the C library's. */
int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (!fake_time)
		return (int)syscall(SYS_clock_gettime, clock, ts);
	ck_assert_int_eq(clock, CLOCK_MONOTONIC);
	*ts = fake_now;
	return 0;
}

START_TEST(test_first_values)
{
	new_chip(&power_type, NULL, 0);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), 0);
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), 0);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), 1); /* SCI_EN: ACPI mode from the start */
	ck_assert_uint_eq(in8(POWER_RESET), 0);
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_enable)
{
	new_chip(&power_type, NULL, 0);
	out_len(POWER_PM1_EN, 0xffff, 2);
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), RTC | PWRBTN | GBL | TMR);
	out_len(POWER_PM1_EN, GBL, 2);
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), GBL);
	out8(POWER_PM1_EN + 1, 0xff); /* one byte leaves the other alone */
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), RTC | PWRBTN | GBL);
	out8(POWER_PM1_EN, 0x01);
	ck_assert_uint_eq(in8(POWER_PM1_EN), TMR);
	out8(POWER_PM1_EN, 0xff);
	ck_assert_uint_eq(in8(POWER_PM1_EN), TMR | GBL);
	ck_assert_uint_eq(in8(POWER_PM1_EN + 1), (RTC | PWRBTN) >> 8);
	out_len(POWER_PM1_STS, GBL << 16, 4); /* across status and enable */
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 4), GBL << 16);
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_button)
{
	new_chip(&power_type, NULL, 0);
	ck_assert(!power_button(machine.dev)); /* nobody listens yet */
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), PWRBTN);
	ck_assert_uint_eq(machine.irq_sets, 0);

	out_len(POWER_PM1_EN, PWRBTN, 2); /* the event is still there */
	ck_assert(machine.irq);
	ck_assert(power_button(machine.dev));
	ck_assert_uint_eq(machine.irq_sets, 1);

	out_len(POWER_PM1_STS, TMR | GBL, 2); /* not its bit */
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), PWRBTN);
	ck_assert(machine.irq);
	out_len(POWER_PM1_STS, PWRBTN, 2);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), 0);
	ck_assert(!machine.irq);
	ck_assert_uint_eq(machine.irq_sets, 2);
	free_chip();
}
END_TEST

START_TEST(test_button_widths)
{
	new_chip(&power_type, NULL, 0);
	out_len(POWER_PM1_STS, PWRBTN << 16, 4);
	ck_assert(power_button(machine.dev));
	ck_assert_uint_eq(in8(POWER_PM1_STS), 0);
	ck_assert_uint_eq(in8(POWER_PM1_STS + 1), PWRBTN >> 8);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 4), PWRBTN << 16 | PWRBTN);
	out8(POWER_PM1_STS, 0xff);
	ck_assert(machine.irq);
	out8(POWER_PM1_STS + 1, PWRBTN >> 8);
	ck_assert(!machine.irq);
	ck_assert(power_button(machine.dev));
	ck_assert(machine.irq);
	out_len(POWER_PM1_EN, 0, 2); /* masked, not cleared */
	ck_assert(!machine.irq);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), PWRBTN);
	free_chip();
}
END_TEST

START_TEST(test_control)
{
	new_chip(&power_type, NULL, 0);
	out_len(POWER_PM1_CNT, 0, 2);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), 0x0001);
	out_len(POWER_PM1_CNT, 0xdfff, 2); /* all but SLP_EN */
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), 0x1c03);
	out_len(POWER_PM1_CNT, S5, 2);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), S5 | 1);
	ck_assert_uint_eq(in8(POWER_PM1_CNT + 1), S5 >> 8);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

START_TEST(test_power_off)
{
	new_chip(&power_type, NULL, 0);
	for (unsigned typ = 0; typ < 8; typ++)
		if (typ != POWER_SLP_TYP_S5) {
			out_len(POWER_PM1_CNT, typ << 10, 2);
			ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), 0);
			out_len(POWER_PM1_CNT, SLP_EN | typ << 10, 2);
			ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), 0x8000); /* awake again */
			ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), typ << 10 | 1);
			out_len(POWER_PM1_STS, 0x8000, 2);
			ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), 0);
		}
	out_len(POWER_PM1_EN, 0x8000, 2); /* there is nothing to enable */
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), 0);
	ck_assert_uint_eq(machine.stops, 0);
	ck_assert_uint_eq(machine.irq_sets, 0);
	out_len(POWER_PM1_CNT, SLP_EN | S5, 2);
	assert_stop(STOP_POWEROFF, 0);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), S5 | 1); /* SLP_EN reads 0 */
	out8(POWER_PM1_CNT + 1, (SLP_EN | S5) >> 8);
	assert_stop(STOP_POWEROFF, 0);
	out_len(POWER_PM1_CNT, SLP_EN | S5, 4);
	assert_stop(STOP_POWEROFF, 0);
	free_chip();
}
END_TEST

/* A PIIX4's S5 is 0; the others are none, with it too. */
START_TEST(test_power_off_piix)
{
	static const struct power_config piix = { .piix = true }, plain;

	for (unsigned typ = 0; typ < 8; typ++) {
		new_chip(&power_type, NULL, &piix);
		out_len(POWER_PM1_CNT, SLP_EN | typ << 10, 2);
		if (typ == POWER_SLP_TYP_S5 || !typ)
			assert_stop(STOP_POWEROFF, 0);
		ck_assert_uint_eq(machine.stops, 0);
		free_chip();
	}
	new_chip(&power_type, NULL, &plain);
	out_len(POWER_PM1_CNT, SLP_EN, 2);
	ck_assert_uint_eq(machine.stops, 0);
	free_chip();
}
END_TEST

START_TEST(test_reset)
{
	new_chip(&power_type, NULL, 0);
	out8(POWER_RESET, 0);
	out8(POWER_RESET, 0xff);
	ck_assert_uint_eq(machine.stops, 0);
	out8(POWER_RESET, POWER_RESET_VALUE);
	assert_stop(STOP_RESET, 0);
	free_chip();
}
END_TEST

START_TEST(test_timer)
{
	static const struct {
		time_t s;
		long ns;
		uint32_t want;
	} cases[] = {
		{ 0, 0, 0 },
		{ 0, 279, 0 },
		{ 0, 280, 1 },
		{ 1, 0, 3579545 },
		{ 1, 999999999, 2 * 3579545 - 1 },
		{ 1199, 864031881, 0xffffffff }, /* the last before 32 bits wrap */
		{ 1199, 864031882, 0 },
		{ 4000000000, 0, (uint32_t)(4000000000 * 3579545) }, /* up for 126 years */
	};

	new_chip(&power_type, NULL, 0);
	fake_time = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fake_now = (struct timespec){ .tv_sec = cases[i].s, .tv_nsec = cases[i].ns };
		ck_assert_uint_eq(in_len(POWER_PM_TMR, 4), cases[i].want);
		ck_assert_uint_eq(in_len(POWER_PM_TMR, 2), cases[i].want & 0xffff);
		ck_assert_uint_eq(in_len(POWER_PM_TMR + 2, 2), cases[i].want >> 16);
		ck_assert_uint_eq(in8(POWER_PM_TMR + 3), cases[i].want >> 24);
	}
	out_len(POWER_PM_TMR, 0, 4); /* read-only */
	ck_assert_uint_eq(in_len(POWER_PM_TMR, 4), cases[7].want);
	fake_time = false;
	free_chip();
}
END_TEST

START_TEST(test_holes)
{
	new_chip(&power_type, NULL, 0);
	ck_assert_uint_eq(in_len(0x06, 2), 0xffff);
	ck_assert_uint_eq(in_len(0x0d, 1), 0xff);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 4), 0xffff0001);
	ck_assert_uint_eq(in_len(POWER_RESET, 4), 0xffffff00);
	out_len(0x06, 0xffff, 2);
	out_len(0x0d, 0x06, 1);
	ck_assert_uint_eq(machine.stops, 0);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 4), 0);
	free_chip();
}
END_TEST

START_TEST(test_state)
{
	new_chip(&power_type, NULL, 0);
	fake_time = true;
	fake_now = (struct timespec){ .tv_sec = 7 };
	power_button(machine.dev);
	out_len(POWER_PM1_EN, PWRBTN | GBL, 2);
	out_len(POWER_PM1_CNT, 0x1402, 2);
	test_chip_state(POWER_RESET, 0xffffffff & ~(1U << (POWER_PM1_CNT + 1)));
	restore_chip(NULL, 0);
	ck_assert(machine.irq);
	ck_assert_uint_eq(in_len(POWER_PM1_STS, 2), PWRBTN);
	ck_assert_uint_eq(in_len(POWER_PM1_EN, 2), PWRBTN | GBL);
	ck_assert_uint_eq(in_len(POWER_PM1_CNT, 2), 0x1403);
	out_len(POWER_PM1_STS, PWRBTN, 2);
	ck_assert(!machine.irq);
	fake_time = false;
	free_chip();
}
END_TEST

/* The timer goes on from where it was, whatever the host's clock says by then. */
START_TEST(test_timer_goes_on)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	new_chip(&power_type, NULL, 0);
	fake_time = true;
	fake_now = (struct timespec){ .tv_sec = 1000 };
	state_saved(power_type.state, machine.dev, &saved);
	for (unsigned i = 0; i < 3; i++) {
		fake_now.tv_sec = 3 + 86400 * i; /* a host that was just started, and others */
		in = state_reader_of(&saved);
		ck_assert_int_eq(state_load(&in, power_type.state, machine.dev), 0);
		ck_assert_uint_eq(in_len(POWER_PM_TMR, 4), 3579545000U);
		fake_now.tv_sec += 2;
		ck_assert_uint_eq(in_len(POWER_PM_TMR, 4), 3579545000U + 2 * 3579545);
	}
	state_buf_free(&saved);
	fake_time = false;
	free_chip();
}
END_TEST

UNIT_MAIN("power", test_first_values, test_enable, test_button, test_button_widths, test_control,
	  test_power_off, test_power_off_piix, test_reset, test_timer, test_holes, test_state,
	  test_timer_goes_on)
