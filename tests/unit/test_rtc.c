/* Links: hw/rtc.o hw/state.o hw/state-show.o util/json.o util/log.o */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <errno.h>

#include "chip-state.h"
#include "lkvm/timer.h"

#define SET      0x80
#define PERIODIC 0x40
#define ALARM    0x20
#define UPDATED  0x10
#define BINARY   0x04
#define H24      0x02
#define IRQ      0x80 /* in register C */
#define NO_RATE  0x20 /* in register A */
#define SECOND   1000000000

/* The host's UTC, once a test has set it. In place of the C library's. */
static struct timespec now;
static time_t step_s; /* it goes on by this at each look */

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock != CLOCK_REALTIME || !now.tv_sec)
		return (int)syscall(SYS_clock_gettime, clock, ts);
	*ts = now;
	now.tv_sec += step_s;
	return 0;
}

/* The timer, in place of util/timer.c's: it fires when a test says so. */
static struct timer *timer;
static struct timespec timer_at;
static unsigned timer_sets;
static int timer_error;

void timer_init(struct timer *t, struct loop *loop, clockid_t clock, void (*fired)(struct timer *timer))
{
	ck_assert_ptr_eq(loop, &machine.loop);
	ck_assert_int_eq(clock, CLOCK_REALTIME);
	timer = t;
	t->fired = fired;
}

void timer_fini(struct timer *t)
{
	ck_assert_ptr_eq(t, timer);
	timer = NULL;
}

int timer_set(struct timer *t, uint64_t at_ns)
{
	ck_assert_ptr_eq(t, timer);
	timer_at = (struct timespec){ (time_t)(at_ns / SECOND), (long)(at_ns % SECOND) };
	timer_sets++;
	return timer_error;
}

void timer_stop(struct timer *t)
{
	ck_assert_ptr_eq(t, timer);
	timer_at = (struct timespec){ 0 };
}

/* The next event is @sec seconds and @nsec nanoseconds from the whole second now; let it come. */
static void assert_next(time_t sec, long nsec)
{
	ck_assert_int_eq(timer_at.tv_sec, now.tv_sec + sec);
	ck_assert_int_eq(timer_at.tv_nsec, nsec);
	now = timer_at;
	timer_at = (struct timespec){ 0 };
	timer->fired(timer);
}

static void assert_no_timer(void)
{
	ck_assert_int_eq(timer_at.tv_sec, 0);
	ck_assert_int_eq(timer_at.tv_nsec, 0);
}

static void set_now(int year, int month, int day, int hour, int min, int sec)
{
	struct tm tm = { .tm_year = year - 1900,
			 .tm_mon = month - 1,
			 .tm_mday = day,
			 .tm_hour = hour,
			 .tm_min = min,
			 .tm_sec = sec };

	now = (struct timespec){ .tv_sec = timegm(&tm) };
}

static uint8_t get(unsigned reg)
{
	out8(0, reg);
	return in8(1);
}

static void put(unsigned reg, unsigned value)
{
	out8(0, reg);
	out8(1, value);
}

/* Century, year, month, day, hour, minute, second as the registers have them */
static void assert_time(unsigned c, unsigned y, unsigned mo, unsigned d, unsigned h, unsigned mi,
			unsigned s)
{
	ck_assert_uint_eq(get(0x32), c);
	ck_assert_uint_eq(get(9), y);
	ck_assert_uint_eq(get(8), mo);
	ck_assert_uint_eq(get(7), d);
	ck_assert_uint_eq(get(4), h);
	ck_assert_uint_eq(get(2), mi);
	ck_assert_uint_eq(get(0), s);
}

static void put_time(unsigned c, unsigned y, unsigned mo, unsigned d, unsigned h, unsigned mi,
		     unsigned s)
{
	put(9, y);
	put(8, mo);
	put(7, d);
	put(4, h);
	put(2, mi);
	put(0, s);
	put(0x32, c);
}

static void new_rtc(void)
{
	machine.ram_bytes = 256 * MIB;
	new_chip(&rtc_type, NULL, 0);
}

START_TEST(test_bcd_24)
{
	set_now(2024, 2, 29, 23, 59, 58);
	new_rtc();
	ck_assert_uint_eq(get(0x0b), H24);
	assert_time(0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58);
	ck_assert_uint_eq(get(6), 5); /* a Thursday */
	now.tv_sec += 2;
	assert_time(0x20, 0x24, 0x03, 0x01, 0x00, 0x00, 0x00);
	free_chip();
}
END_TEST

START_TEST(test_binary)
{
	set_now(2024, 12, 31, 23, 59, 58);
	new_rtc();
	put(0x0b, BINARY | H24);
	assert_time(20, 24, 12, 31, 23, 59, 58);
	free_chip();
}
END_TEST

START_TEST(test_12_hours)
{
	static const struct {
		int hour;
		uint8_t bcd, binary;
	} cases[] = {
		{ 0, 0x12, 12 },    { 1, 0x01, 1 },     { 11, 0x11, 11 },
		{ 12, 0x92, 0x8c }, { 13, 0x81, 0x81 }, { 23, 0x91, 0x8b },
	};

	set_now(2024, 1, 1, 0, 0, 0);
	new_rtc();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_now(2024, 1, 1, cases[i].hour, 0, 0);
		put(0x0b, 0);
		ck_assert_uint_eq(get(4), cases[i].bcd);
		put(0x0b, BINARY);
		ck_assert_uint_eq(get(4), cases[i].binary);
		/* and back: the same hour written is the same hour read */
		put(4, cases[i].binary);
		put(0x0b, BINARY | H24);
		ck_assert_int_eq(get(4), cases[i].hour);
		put(0x0b, 0);
		put(4, cases[i].bcd);
		put(0x0b, BINARY | H24);
		ck_assert_int_eq(get(4), cases[i].hour);
	}
	free_chip();
}
END_TEST

/* As Linux sets the clock: SET, the fields, SET off. */
START_TEST(test_set)
{
	set_now(2024, 2, 29, 23, 59, 58);
	new_rtc();
	put(0x0b, SET | H24);
	now.tv_sec += 10; /* it stands still */
	assert_time(0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58);
	put_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x00);
	now.tv_sec += 10;
	assert_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x00);
	put(0x0b, SET | H24); /* still */
	now.tv_sec += 10;
	put(0x0b, H24);
	assert_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x00);
	ck_assert_uint_eq(get(6), 6); /* a Friday */
	now.tv_sec += 61;
	assert_time(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01);
	free_chip();
}
END_TEST

START_TEST(test_set_binary)
{
	set_now(2024, 2, 29, 23, 59, 58);
	new_rtc();
	put(0x0b, SET | BINARY | H24);
	assert_time(20, 24, 2, 29, 23, 59, 58);
	put(0x0b, BINARY | H24); /* nothing was written, nothing changes */
	assert_time(20, 24, 2, 29, 23, 59, 58);
	put(0x0b, SET | BINARY | H24);
	put_time(20, 38, 1, 19, 3, 14, 7);
	put(0x0b, BINARY | H24);
	now.tv_sec++;
	assert_time(20, 38, 1, 19, 3, 14, 8);
	put(0x0b, H24); /* the mode alone does not change the time */
	assert_time(0x20, 0x38, 0x01, 0x19, 0x03, 0x14, 0x08);
	free_chip();
}
END_TEST

START_TEST(test_write_without_set)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(2, 0x45);
	now.tv_sec++;
	assert_time(0x20, 0x24, 0x06, 0x15, 0x12, 0x45, 0x41);
	put(0x32, 0x21);
	assert_time(0x21, 0x24, 0x06, 0x15, 0x12, 0x45, 0x41);
	free_chip();
}
END_TEST

/* A second that begins in the middle of a write is not lost. */
START_TEST(test_no_drift)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	step_s = 1;
	for (int i = 0; i < 3; i++) {
		put(2, 0x30);
		put(0x0b, H24);
	}
	step_s = 0;
	set_now(2024, 6, 15, 12, 30, 41);
	assert_time(0x20, 0x24, 0x06, 0x15, 0x12, 0x30, 0x41);
	free_chip();
}
END_TEST

START_TEST(test_nonsense_time)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	for (unsigned mode = 0; mode < 8; mode += 2) {
		for (unsigned value = 0; value < 256; value++) {
			put_time(value, value, value, value, value, value, value);
			put(0x0b, SET | mode);
			put_time(value, value, value, value, value, value, value);
			put(0x0b, mode);
			ck_assert_uint_ge(get(8), 1);
			ck_assert_uint_le(get(8), 0x12);
			ck_assert_uint_ge(get(7), 1);
			ck_assert_uint_le(get(7), 0x31);
			ck_assert_uint_le(get(9), 0x99);
			ck_assert_uint_le(get(0x32), 0x99);
		}
	}
	free_chip();
}
END_TEST

START_TEST(test_uip)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	ck_assert_uint_eq(get(0x0a), 0x26);
	now.tv_nsec = 1000000000 - 2228001;
	ck_assert_uint_eq(get(0x0a), 0x26);
	now.tv_nsec++;
	ck_assert_uint_eq(get(0x0a), 0xa6);
	now.tv_nsec = 999999999;
	ck_assert_uint_eq(get(0x0a), 0xa6);
	put(0x0b, SET | H24); /* no updates */
	ck_assert_uint_eq(get(0x0a), 0x26);
	put(0x0a, 0xff); /* UIP is read-only */
	ck_assert_uint_eq(get(0x0a), 0x7f);
	put(0x0a, 0x26);
	free_chip();
}
END_TEST

START_TEST(test_c)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	get(0x0c);
	ck_assert_uint_eq(get(0x0c), 0);
	now.tv_sec++;
	put(0x0c, 0xff); /* read-only */
	ck_assert_uint_eq(get(0x0c), PERIODIC | UPDATED);
	ck_assert_uint_eq(get(0x0c), 0);
	put(0x0b, SET | H24);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), PERIODIC);
	ck_assert_uint_eq(machine.irq_sets, 0);
	ck_assert_uint_eq(timer_sets, 0); /* nor does it cost anything */
	free_chip();
}
END_TEST

START_TEST(test_update_interrupt)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(0x0a, NO_RATE);
	now.tv_nsec = 300;
	put(0x0b, H24 | UPDATED);
	ck_assert(!machine.irq);
	assert_next(1, 0);
	ck_assert(machine.irq);
	assert_no_timer(); /* until the guest has taken this one */
	now.tv_sec += 5;
	ck_assert_uint_eq(get(0x0c), IRQ | UPDATED);
	ck_assert(!machine.irq);
	assert_next(1, 0);
	put(0x0b, H24);
	ck_assert(!machine.irq); /* disabled, but the flag is up */
	ck_assert_uint_eq(get(0x0c), UPDATED);
	assert_no_timer();
	now.tv_sec++;
	put(0x0b, H24 | UPDATED);
	ck_assert(machine.irq); /* at once: the flag was up when it was enabled */
	ck_assert_uint_eq(get(0x0c), IRQ | UPDATED);
	timer->fired(timer); /* too early */
	ck_assert(!machine.irq);
	assert_next(1, 0);
	get(0x0c);
	put(0x0b, SET | H24 | UPDATED);
	ck_assert_uint_eq(get(0x0b), SET | H24);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), 0);
	ck_assert_uint_eq(machine.irq_sets, 8);
	free_chip();
}
END_TEST

START_TEST(test_alarm)
{
	static const struct {
		uint8_t mode, hour, min, sec;
		int ahead; /* 0: never */
	} cases[] = {
		{ H24, 0x12, 0x30, 0x41, 1 },
		{ H24, 0x12, 0x30, 0x40, 86400 },
		{ H24, 0x12, 0x30, 0x39, 86399 },
		{ H24, 0x12, 0x31, 0x00, 20 },
		{ H24, 0x13, 0x00, 0x00, 29 * 60 + 20 },
		{ H24, 0x00, 0x00, 0x00, 11 * 3600 + 29 * 60 + 20 },
		{ H24, 0xc0, 0xff, 0xfe, 1 },
		{ H24, 0xff, 0xff, 0x30, 50 },
		{ H24, 0xff, 0x30, 0x30, 3590 },
		{ H24, 0xff, 0x30, 0xff, 1 },
		{ H24, 0x13, 0xff, 0xff, 29 * 60 + 20 },
		{ H24, 0x12, 0x29, 0xff, 86400 - 100 },
		{ H24, 0x12, 0x30, 0x60, 0 },
		{ H24, 0x12, 0x60, 0xff, 0 },
		{ H24, 0x24, 0xff, 0xff, 0 },
		{ H24, 0xbf, 0xbf, 0xbf, 0 },
		{ H24 | BINARY, 12, 30, 59, 19 },
		{ H24 | BINARY, 12, 59, 0, 28 * 60 + 20 },
		{ 0, 0x92, 0x30, 0x41, 1 },
		{ 0, 0x12, 0x30, 0x41, 12 * 3600 + 1 },
		{ BINARY, 0x81, 0xff, 0xff, 29 * 60 + 20 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_now(2024, 6, 15, 12, 30, 40);
		new_rtc();
		put(0x0a, NO_RATE);
		put(0x0b, cases[i].mode | ALARM);
		put(5, cases[i].hour);
		put(3, cases[i].min);
		put(1, cases[i].sec);
		if (cases[i].ahead) {
			assert_next(cases[i].ahead, 0);
			ck_assert_msg(machine.irq, "case %zu", i);
			ck_assert_uint_eq(get(0x0c), IRQ | ALARM | UPDATED);
			ck_assert(timer_at.tv_sec);
		} else {
			assert_no_timer();
			now.tv_sec += 86400;
			timer->fired(timer);
			ck_assert_msg(!machine.irq, "case %zu", i);
			ck_assert_uint_eq(get(0x0c), UPDATED);
		}
		timer_at = (struct timespec){ 0 };
		free_chip();
	}
}
END_TEST

/* The flag of the alarm without its interrupt, as a guest polls it; and a clock that the guest set. */
START_TEST(test_alarm_polled)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(0x0a, NO_RATE);
	put(0x0b, SET | H24);
	put_time(0x19, 0x69, 0x12, 0x31, 0x23, 0x59, 0x58); /* before 1970 */
	put(5, 0);
	put(3, 0);
	put(1, 1);
	put(0x0b, H24);
	get(0x0c);
	now.tv_sec += 2;
	ck_assert_uint_eq(get(0x0c), UPDATED);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), UPDATED | ALARM);
	now.tv_sec += 86399;
	ck_assert_uint_eq(get(0x0c), UPDATED);
	now.tv_sec += 3;
	ck_assert_uint_eq(get(0x0c), UPDATED | ALARM);
	put(0x0b, SET | H24);
	now.tv_sec += 2 * 86400;
	ck_assert_uint_eq(get(0x0c), 0); /* it stood still */
	put(0x0b, H24);
	ck_assert_uint_eq(get(0x0c), 0);
	now.tv_sec -= 100; /* the host's clock is set back */
	ck_assert_uint_eq(get(0x0c), 0);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), UPDATED);
	ck_assert_uint_eq(timer_sets, 0);
	free_chip();
}
END_TEST

START_TEST(test_periodic)
{
	static const struct {
		unsigned rate;
		int hz;
	} cases[] = { { 1, 256 },  { 2, 128 }, { 3, 8192 }, { 4, 4096 },
		      { 6, 1024 }, { 13, 8 },  { 14, 4 },   { 15, 2 } };

	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(0x0b, H24 | PERIODIC);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int hz = cases[i].hz;

		set_now(2024, 6, 15, 12, 30, 40 + (int)i);
		put(0x0a, 0x20 | cases[i].rate);
		get(0x0c);
		assert_next(0, (SECOND + hz - 1) / hz);
		ck_assert_msg(machine.irq, "rate %u", cases[i].rate);
		assert_no_timer();
		ck_assert_uint_eq(get(0x0c), IRQ | PERIODIC);
		ck_assert(!machine.irq);
		now.tv_nsec = SECOND - 1; /* the last period of the second */
		get(0x0c);
		ck_assert_int_eq(timer_at.tv_nsec, 0);
		assert_next(1, 0);
		ck_assert_uint_eq(get(0x0c), IRQ | PERIODIC | UPDATED);
	}
	put(0x0a, NO_RATE);
	timer_at = (struct timespec){ 0 };
	get(0x0c);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), UPDATED);
	assert_no_timer();
	free_chip();
}
END_TEST

/* The earliest of all; each flag keeps its own interrupt up. */
START_TEST(test_all_interrupts)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(0x0a, 0x2f);
	put(5, 0xff);
	put(3, 0xff);
	put(1, 0x42);
	put(0x0b, H24 | PERIODIC | ALARM | UPDATED);
	assert_next(0, SECOND / 2);
	assert_next(1, 0);
	assert_next(1, 0);
	assert_no_timer();
	ck_assert_uint_eq(machine.irq_sets, 1);
	put(0x0b, H24 | ALARM);
	ck_assert(machine.irq);
	ck_assert_uint_eq(get(0x0c), IRQ | PERIODIC | ALARM | UPDATED);
	ck_assert(!machine.irq);
	free_chip();
}
END_TEST

START_TEST(test_no_timer_left)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	put(0x0a, NO_RATE);
	timer_error = -EMFILE;
	put(0x0b, H24 | UPDATED);
	put(0x0b, H24 | UPDATED);
	now.tv_sec++;
	ck_assert_uint_eq(get(0x0c), IRQ | UPDATED); /* late, but not lost */
	free_chip();
}
END_TEST

START_TEST(test_d)
{
	new_rtc();
	ck_assert_uint_eq(get(0x0d), 0x80);
	put(0x0d, 0);
	ck_assert_uint_eq(get(0x0d), 0x80);
	free_chip();
}
END_TEST

START_TEST(test_b_reads_back)
{
	set_now(2024, 6, 15, 12, 30, 40);
	new_rtc();
	for (unsigned value = 0; value < 256; value++) {
		put(0x0b, value);
		ck_assert_uint_eq(get(0x0b), value & SET ? value & (0xff - UPDATED) : value);
	}
	ck_assert_uint_eq(machine.irq_sets, 0);
	free_chip();
}
END_TEST

/* Everything that is neither time nor control is memory, alarm registers included. */
START_TEST(test_memory)
{
	static const uint8_t special[] = { 0, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 0x32 };

	new_rtc();
	for (unsigned reg = 0; reg < 128; reg++)
		if (!memchr(special, (int)reg, sizeof(special)))
			put(reg, reg ^ 0xa5);
	for (unsigned reg = 0; reg < 128; reg++)
		if (!memchr(special, (int)reg, sizeof(special)))
			ck_assert_uint_eq(get(reg), reg ^ 0xa5);
	free_chip();
}
END_TEST

START_TEST(test_ports)
{
	new_rtc();
	ck_assert_uint_eq(in8(0), 0xff);
	put(0x40, 0x77);
	put(0x41, 0x88);
	ck_assert_uint_eq(get(0xc0), 0x77); /* bit 7 masks NMIs, it is no address */
	out_len(0, 0x9942, 2);              /* index and data at once */
	ck_assert_uint_eq(get(0x42), 0x99);
	ck_assert_uint_eq(in_len(0, 2), 0x99ff);
	ck_assert_uint_eq(in_len(1, 4), 0xffffff99);
	out_len(1, 0x41, 4);
	ck_assert_uint_eq(get(0x42), 0x41);
	ck_assert_uint_eq(get(0x41), 0x88);
	free_chip();
}
END_TEST

static uint32_t get_number(unsigned reg, unsigned bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | get(reg + bytes);
	return value;
}

START_TEST(test_memory_size)
{
	static const struct {
		uint64_t mb;
		uint32_t ext_kb, high_64kb, above_64kb;
	} cases[] = {
		{ 0, 0, 0, 0 },
		{ 1, 0, 0, 0 },
		{ 16, 15 * 1024, 0, 0 },
		{ 64, 63 * 1024, 48 * 16, 0 },
		{ 65, 65535, 49 * 16, 0 },
		{ 3328, 65535, 3312 * 16, 0 },
		{ 3329, 65535, 3312 * 16, 16 },
		{ 8192, 65535, 3312 * 16, 4864 * 16 },
		{ 1024 * 1024 + 3328, 65535, 3312 * 16, 0xffffff },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		machine.ram_bytes = cases[i].mb * MIB;
		new_chip(&rtc_type, NULL, 0);
		ck_assert_uint_eq(get_number(0x15, 2), 640);
		ck_assert_uint_eq(get_number(0x17, 2), cases[i].ext_kb);
		ck_assert_uint_eq(get_number(0x30, 2), cases[i].ext_kb);
		ck_assert_uint_eq(get_number(0x34, 2), cases[i].high_64kb);
		ck_assert_uint_eq(get_number(0x5b, 3), cases[i].above_64kb);
		free_chip();
	}
}
END_TEST

START_TEST(test_state)
{
	set_now(2024, 5, 6, 7, 8, 9);
	new_rtc();
	put(0x0a, NO_RATE);
	put_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x50);
	put(0x40, 0x77);
	put(5, 0x00); /* the alarm at midnight */
	put(3, 0x00);
	put(1, 0x00);
	put(0x0b, H24 | ALARM);
	get(0x0c);
	out8(0, 0x40);
	test_chip_state(2, 3);
	restore_chip(NULL, 0);
	ck_assert_uint_eq(in8(1), 0x77); /* the index too */
	assert_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x50);
	ck_assert(!machine.irq);
	assert_next(10, 0);
	ck_assert(machine.irq);
	restore_chip(NULL, 0);
	ck_assert(machine.irq);
	ck_assert_uint_eq(get(0x0c), IRQ | ALARM | UPDATED);
	ck_assert(!machine.irq);
	assert_time(0x20, 0, 1, 1, 0, 0, 0);
	free_chip();
}
END_TEST

/* Saved before the alarm, loaded behind it: it comes at once, and the time is that of then. */
START_TEST(test_state_late)
{
	struct state_buf saved = { 0 };
	struct state_reader in;
	struct timespec then;

	set_now(2024, 5, 6, 7, 8, 9);
	then = now;
	new_rtc();
	put(0x0a, NO_RATE);
	put(5, 0x07);
	put(3, 0x30);
	put(1, 0x00);
	put(0x0b, H24 | ALARM);
	get(0x0c);
	state_saved(rtc_type.state, machine.dev, &saved);
	free_chip();
	now.tv_sec += 86400 * 3;
	new_rtc();
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, rtc_type.state, machine.dev), 0);
	ck_assert(timer_at.tv_sec && timer_at.tv_sec <= now.tv_sec);
	timer->fired(timer);
	ck_assert(machine.irq);
	assert_time(0x20, 0x24, 5, 9, 7, 8, 9);
	/* ... and on a host whose clock is an hour behind: when it is due by that. */
	now.tv_sec = then.tv_sec - 3600;
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, rtc_type.state, machine.dev), 0);
	ck_assert(!machine.irq);
	ck_assert_int_eq(timer_at.tv_sec, then.tv_sec + 21 * 60 + 51);
	state_buf_free(&saved);
	free_chip();
}
END_TEST

/* What the host sees of it */
START_TEST(test_look)
{
	struct rtc_view view;

	set_now(2024, 5, 6, 7, 8, 9);
	new_rtc();
	rtc_look(machine.dev, &view);
	ck_assert_int_eq(view.time_s, now.tv_sec);
	ck_assert(!view.held && !view.has_alarm);
	put(5, 0x07);
	put(3, 0x30);
	put(1, 0x00);
	put(0x0b, H24 | ALARM);
	put(0, 0x10); /* a second ahead of the host's */
	rtc_look(machine.dev, &view);
	ck_assert_int_eq(view.time_s, now.tv_sec + 1);
	ck_assert(view.has_alarm);
	ck_assert_int_eq(view.alarm_s, now.tv_sec + 1 + 21 * 60 + 50);
	put(1, 0x60);
	put(0x0b, H24 | ALARM | 0x80);
	rtc_look(machine.dev, &view);
	ck_assert(view.held);
	ck_assert_int_eq(view.alarm_s, 0);
	free_chip();
}
END_TEST

UNIT_MAIN("rtc", test_bcd_24, test_binary, test_12_hours, test_set, test_set_binary,
	  test_write_without_set, test_no_drift, test_nonsense_time, test_uip, test_c, test_d,
	  test_update_interrupt, test_alarm, test_alarm_polled, test_periodic, test_all_interrupts,
	  test_no_timer_left, test_b_reads_back, test_memory, test_ports, test_memory_size,
	  test_state, test_state_late, test_look)
