/*
 * MC146818 real-time clock with 128 bytes of CMOS RAM, at an index and a data port.
 *
 * The clock tells the host's UTC plus an offset that the guest sets by writing the time. Nothing
 * ticks here: the time registers are made up from the host's clock when they are read, except
 * while the guest holds them still with SET in register B to write a new time into them.
 *
 * UIP in register A is what it is on the chip: set for the last 2228 microseconds of each second,
 * clear for the rest. Who saw it clear has at least that long to read a consistent time, who waits
 * for either value gets it within a second, and it follows from the time alone.
 *
 * The flags of register C are found in the same way: which of its events lie between the last look
 * and now? Only while the guest has enabled an interrupt whose flag is not up does a timer wait for
 * the next event, so a guest that does not acknowledge its interrupts causes no work.
 * More than 500 lines: one chip with its state.
 * Spec: Motorola MC146818A data sheet; CMOS memory sizes as BIOSes and QEMU leave them
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "lkvm/chips.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"
#include "lkvm/state.h"
#include "lkvm/timer.h"

#define CMOS_BYTES 128

enum {
	REG_SECONDS = 0x00,
	REG_SECONDS_ALARM = 0x01,
	REG_MINUTES = 0x02,
	REG_MINUTES_ALARM = 0x03,
	REG_HOURS = 0x04,
	REG_HOURS_ALARM = 0x05,
	REG_WEEKDAY = 0x06, /* 1 is Sunday */
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d,
	REG_BASE_KB = 0x15,  /* 2 bytes: memory below 1 MB, in KB */
	REG_EXT_KB = 0x17,   /* 2 bytes: above 1 MB, in KB, at most 64 MB */
	REG_EXT_KB_2 = 0x30, /* 2 bytes: the same as the BIOS found it */
	REG_CENTURY = 0x32,
	REG_HIGH_64KB = 0x34,     /* 2 bytes: above 16 MB and below 4 GB, in 64 KB */
	REG_ABOVE_4G_64KB = 0x5b, /* 3 bytes: above 4 GB, in 64 KB */
};

#define A_UIP     0x80
#define A_RATE    0x0f
#define A_DEFAULT 0x26 /* 32768 Hz time base, 1024 Hz periodic rate */
#define B_SET     0x80
#define B_BINARY  0x04
#define B_24H     0x02
#define D_VALID   0x80
#define HOUR_PM   0x80

/* The enable bits of register B and the flags of register C are the same. */
#define PERIODIC 0x40
#define ALARM    0x20
#define UPDATED  0x10
#define EVENTS   (PERIODIC | ALARM | UPDATED)
#define C_IRQ    0x80

#define ALARM_ANY 0xc0 /* an alarm register from here on fits every value */

#define UIP_NS   2228000 /* 244 us of notice and 1984 us of update */
#define BASE_HZ  32768
#define SECOND   1000000000LL
#define MINUTE_S 60
#define HOUR_S   3600
#define DAY_S    86400

struct rtc_state {
	int64_t offset_s;      /* guest's time minus the host's */
	struct timespec since; /* the time of the host up to which ... */
	uint32_t flags;        /* ... these are known, of register C */
	uint32_t index;
	uint8_t ram[CMOS_BYTES];
};

struct rtc {
	pthread_mutex_t lock;
	struct rtc_state st;
	struct irq_line irq;
	bool irq_up;
	struct timer timer; /* for the next event that is to interrupt */
	bool timer_failed;
};

static struct timespec host_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now;
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	value = value < 0 ? 0 : value;
	return (uint8_t)(rtc->st.ram[REG_B] & B_BINARY ? value : (value / 10 << 4 | value % 10));
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->st.ram[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->st.ram[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->st.ram[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM & 0xff) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Put the present time into the registers, unless the guest holds them still. */
static void time_to_registers(struct rtc *rtc, int64_t now_s)
{
	time_t guest = now_s + rtc->st.offset_s;
	struct tm tm;

	if (rtc->st.ram[REG_B] & B_SET || !gmtime_r(&guest, &tm))
		return;
	rtc->st.ram[REG_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->st.ram[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->st.ram[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->st.ram[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->st.ram[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->st.ram[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->st.ram[REG_YEAR] = encode(rtc, (tm.tm_year + 1900) % 100);
	rtc->st.ram[REG_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100 % 100);
}

/*
 * The guest has written the time: what the registers say is now. Nonsense in them gives some time
 * or other; timegm() normalises it.
 */
static void time_from_registers(struct rtc *rtc, int64_t now_s)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->st.ram[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->st.ram[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->st.ram[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->st.ram[REG_DAY]),
		.tm_mon = decode(rtc, rtc->st.ram[REG_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->st.ram[REG_CENTURY]) * 100 +
			   decode(rtc, rtc->st.ram[REG_YEAR]) - 1900,
	};

	rtc->st.offset_s = timegm(&tm) - now_s;
}

static bool is_time(unsigned reg)
{
	switch (reg) {
	case REG_SECONDS:
	case REG_MINUTES:
	case REG_HOURS:
	case REG_WEEKDAY ... REG_YEAR:
	case REG_CENTURY:
		return true;
	default:
		return false;
	}
}

/* ---- events ---- */

/* The time in periods of the periodic interrupt, or 0 if it is off. */
static int64_t period_number(const struct rtc *rtc, const struct timespec *t, int *ret_hz)
{
	unsigned rate = rtc->st.ram[REG_A] & A_RATE;

	/* 1 and 2 would be faster than 8192 Hz, the fastest; they stand for 256 and 128 Hz. */
	*ret_hz = rate ? BASE_HZ >> (rate < 3 ? rate + 6 : rate - 1) : 0;
	return t->tv_sec * *ret_hz + t->tv_nsec * *ret_hz / SECOND;
}

/* An alarm register's value, -1 if it fits every one; false if it fits none below @end. */
static bool decode_alarm(const struct rtc *rtc, unsigned reg, int end, int *ret)
{
	uint8_t value = rtc->st.ram[reg];

	*ret = value >= ALARM_ANY       ? -1
	       : reg == REG_HOURS_ALARM ? decode_hour(rtc, value)
					: decode(rtc, value);
	return *ret < end;
}

/* Return: seconds from @now_s of the host to the next alarm behind it, 0 if there is never one */
static int seconds_to_alarm(const struct rtc *rtc, int64_t now_s)
{
	int64_t today = ((now_s + rtc->st.offset_s) % DAY_S + DAY_S) % DAY_S;
	int hour, min, sec;

	if (!decode_alarm(rtc, REG_HOURS_ALARM, 24, &hour) ||
	    !decode_alarm(rtc, REG_MINUTES_ALARM, 60, &min) ||
	    !decode_alarm(rtc, REG_SECONDS_ALARM, 60, &sec))
		return 0;
	for (int ahead = 1; ahead <= DAY_S;) {
		int at = (int)((today + ahead) % DAY_S);

		if (hour >= 0 && at / HOUR_S != hour)
			ahead += HOUR_S - at % HOUR_S;
		else if (min >= 0 && at / MINUTE_S % 60 != min)
			ahead += MINUTE_S - at % MINUTE_S;
		else if (sec >= 0 && at % MINUTE_S != sec)
			ahead++;
		else
			return ahead;
	}
	return 0;
}

/* Raise the flags of what has happened since the last look. The host's clock may have gone back. */
static void look(struct rtc *rtc, const struct timespec *now)
{
	int64_t passed_s = now->tv_sec - rtc->st.since.tv_sec;
	int hz;

	if (period_number(rtc, now, &hz) > period_number(rtc, &rtc->st.since, &hz))
		rtc->st.flags |= PERIODIC;
	if (passed_s > 0 && !(rtc->st.ram[REG_B] & B_SET)) {
		int alarm_s = seconds_to_alarm(rtc, rtc->st.since.tv_sec);

		rtc->st.flags |= UPDATED;
		if (alarm_s && alarm_s <= passed_s)
			rtc->st.flags |= ALARM;
	}
	rtc->st.since = *now;
}

/* When is the next of the @events behind @now? Return: false if never */
static bool next_event(const struct rtc *rtc, uint8_t events, const struct timespec *now,
		       struct timespec *ret)
{
	bool updates = !(rtc->st.ram[REG_B] & B_SET);
	int hz, alarm_s = events & ALARM && updates ? seconds_to_alarm(rtc, now->tv_sec) : 0;
	int64_t next = period_number(rtc, now, &hz) + 1;

	*ret = (struct timespec){ 0 };
	if (events & UPDATED && updates)
		ret->tv_sec = now->tv_sec + 1;
	else if (alarm_s)
		ret->tv_sec = now->tv_sec + alarm_s;
	if (events & PERIODIC && hz && (!ret->tv_sec || next < ret->tv_sec * hz))
		/* Rounded up: one nanosecond early would be one look too many. */
		*ret = (struct timespec){ next / hz, (next % hz * SECOND + hz - 1) / hz };
	return ret->tv_sec;
}

static void set_timer(struct rtc *rtc, const struct timespec *now)
{
	uint8_t awaited = rtc->st.ram[REG_B] & EVENTS & ~rtc->st.flags & 0xff;
	struct timespec at;
	int err;

	if (!next_event(rtc, awaited, now, &at)) {
		timer_stop(&rtc->timer);
		return;
	}
	err = timer_set(&rtc->timer, (uint64_t)at.tv_sec * SECOND + (uint64_t)at.tv_nsec);
	if (err && !rtc->timer_failed)
		log_err(err, "rtc: timer for its interrupts");
	rtc->timer_failed |= err != 0;
}

static void set_line(struct rtc *rtc)
{
	bool up = rtc->st.flags & rtc->st.ram[REG_B] & EVENTS;

	if (up != rtc->irq_up)
		irq_set(&rtc->irq, up);
	rtc->irq_up = up;
}

/* Something has changed: look, raise or lower the interrupt, wait for the next event. */
static void update(struct rtc *rtc)
{
	struct timespec now = host_now();

	look(rtc, &now);
	set_line(rtc);
	set_timer(rtc, &now);
}

static void timer_fired(struct timer *timer)
{
	struct rtc *rtc = container_of(timer, struct rtc, timer);

	pthread_mutex_lock(&rtc->lock);
	update(rtc);
	pthread_mutex_unlock(&rtc->lock);
}

/* ---- registers ---- */

static uint8_t read_a(const struct rtc *rtc)
{
	struct timespec now = host_now();

	if (rtc->st.ram[REG_B] & B_SET || now.tv_nsec < SECOND - UIP_NS)
		return rtc->st.ram[REG_A];
	return rtc->st.ram[REG_A] | A_UIP;
}

static uint8_t read_c(struct rtc *rtc)
{
	uint8_t value;

	update(rtc);
	value = (uint8_t)(rtc->st.flags | (rtc->irq_up ? C_IRQ : 0U));
	rtc->st.flags = 0;
	update(rtc);
	return value;
}

static uint8_t read_register(struct rtc *rtc)
{
	switch (rtc->st.index) {
	case REG_A:
		return read_a(rtc);
	case REG_C:
		return read_c(rtc);
	case REG_D:
		return D_VALID;
	}
	if (is_time(rtc->st.index))
		time_to_registers(rtc, host_now().tv_sec);
	return rtc->st.ram[rtc->st.index];
}

/*
 * SET stops the time registers at the present time, in the encoding that is written with it, and
 * takes the interrupt of the updates away. A write that ends it starts the clock from what they say
 * then.
 */
static void write_b(struct rtc *rtc, uint8_t value)
{
	bool was_set = rtc->st.ram[REG_B] & B_SET;
	int64_t now_s = host_now().tv_sec;

	rtc->st.ram[REG_B] = value & ~B_SET & 0xff;
	if (was_set)
		time_from_registers(rtc, now_s);
	else
		time_to_registers(rtc, now_s);
	rtc->st.ram[REG_B] = value & B_SET ? value & ~UPDATED & 0xff : value;
}

static void write_time(struct rtc *rtc, uint8_t value)
{
	int64_t now_s =
		host_now().tv_sec; /* once, or the clock would lose what passes in between */

	time_to_registers(rtc, now_s);
	rtc->st.ram[rtc->st.index] = value;
	time_from_registers(rtc, now_s);
}

static void write_register(struct rtc *rtc, uint8_t value)
{
	bool has_events = rtc->st.index <= REG_D || rtc->st.index == REG_CENTURY;

	if (has_events)
		update(rtc); /* what was up to now is judged by the old values */
	if (rtc->st.index == REG_B)
		write_b(rtc, value);
	else if (is_time(rtc->st.index))
		write_time(rtc, value);
	else
		rtc->st.ram[rtc->st.index] = rtc->st.index == REG_A ? value & ~A_UIP & 0xff : value;
	if (has_events)
		update(rtc);
}

static uint64_t rtc_read(void *dev, uint64_t off, unsigned len)
{
	struct rtc *rtc = dev;
	uint64_t value = 0;

	pthread_mutex_lock(&rtc->lock);
	for (unsigned i = 0; i < len; i++) /* the index is write-only */
		value |= (uint64_t)(off + i == 1 ? read_register(rtc) : 0xff) << 8 * i;
	pthread_mutex_unlock(&rtc->lock);
	return value;
}

static void rtc_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct rtc *rtc = dev;

	pthread_mutex_lock(&rtc->lock);
	/* One 2-byte write sets index and data. Bit 7 of the index masks NMIs, which KVM sends. */
	for (unsigned i = 0; i < len; i++, value >>= 8) {
		if (off + i == 0)
			rtc->st.index = (uint8_t)value % CMOS_BYTES;
		else if (off + i == 1)
			write_register(rtc, (uint8_t)value);
	}
	pthread_mutex_unlock(&rtc->lock);
}

void rtc_look(void *dev, struct rtc_view *ret)
{
	struct rtc *rtc = dev;
	int alarm_s;

	pthread_mutex_lock(&rtc->lock);
	ret->time_s = host_now().tv_sec + rtc->st.offset_s;
	ret->held = rtc->st.ram[REG_B] & B_SET;
	ret->has_alarm = rtc->st.ram[REG_B] & ALARM;
	alarm_s = seconds_to_alarm(rtc, ret->time_s - rtc->st.offset_s);
	ret->alarm_s = alarm_s ? ret->time_s + alarm_s : 0;
	pthread_mutex_unlock(&rtc->lock);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void put_bytes(struct rtc *rtc, unsigned reg, unsigned n, uint64_t value)
{
	for (unsigned i = 0; i < n; i++)
		rtc->st.ram[reg + i] = (uint8_t)(value >> (8 * i));
}

/* The part of [0, @end) that lies at or above @start, in units, at most @max. */
static uint64_t units_above(uint64_t end, uint64_t start, uint64_t unit, uint64_t max)
{
	return end > start ? min_u64((end - start) / unit, max) : 0;
}

static void put_memory_size(struct rtc *rtc, uint64_t ram_bytes)
{
	uint64_t low = min_u64(ram_bytes, RAM_GAP_START);
	uint64_t ext_kb = units_above(low, MIB, KIB, 0xffff);

	put_bytes(rtc, REG_BASE_KB, 2, 640);
	put_bytes(rtc, REG_EXT_KB, 2, ext_kb);
	put_bytes(rtc, REG_EXT_KB_2, 2, ext_kb);
	put_bytes(rtc, REG_HIGH_64KB, 2, units_above(low, 16 * MIB, 64 * KIB, 0xffff));
	put_bytes(rtc, REG_ABOVE_4G_64KB, 3, units_above(ram_bytes, low, 64 * KIB, 0xffffff));
}

static int rtc_init(void *dev, const struct device_env *env)
{
	struct rtc *rtc = dev;

	rtc->st.ram[REG_A] = A_DEFAULT;
	rtc->st.ram[REG_B] = B_24H;
	rtc->st.since = host_now();
	rtc->irq = env->irq;
	timer_init(&rtc->timer, env->loop, CLOCK_REALTIME, timer_fired);
	put_memory_size(rtc, env->ram_bytes);
	return -pthread_mutex_init(&rtc->lock, NULL);
}

static void rtc_fini(void *dev)
{
	struct rtc *rtc = dev;

	timer_fini(&rtc->timer);
	pthread_mutex_destroy(&rtc->lock);
}

/* ---- state ---- */

/* Bounds, so that sums and products of times stay in their width: 200 years, 30000 years. */
#define SINCE_MAX  (1LL << 33)
#define OFFSET_MAX (1LL << 40)

static const struct state_field fields[] = {
	STATE_ONE(struct rtc_state, offset_s),
	STATE_ONE(struct rtc_state, since.tv_sec, .max = SINCE_MAX),
	STATE_ONE(struct rtc_state, since.tv_nsec, .max = SECOND - 1),
	STATE_ONE(struct rtc_state, flags, .bits = EVENTS),
	STATE_ONE(struct rtc_state, index, .max = CMOS_BYTES - 1),
	STATE_ARRAY(struct rtc_state, ram),
};

static const char *check(const void *state)
{
	const struct rtc_state *st = state;

	if (st->offset_s < -OFFSET_MAX || st->offset_s > OFFSET_MAX)
		return "offset_s";
	return st->ram[REG_A] & A_UIP ? "ram" : NULL;
}

/*
 * What came due since it was saved comes with the timer, which looks at once then. A host whose
 * clock is behind the other's waits from its own time on.
 */
static int load(void *dev, const void *state)
{
	struct rtc *rtc = dev;
	struct timespec from = host_now();

	pthread_mutex_lock(&rtc->lock);
	rtc->st = *(const struct rtc_state *)state;
	if (rtc->st.since.tv_sec < from.tv_sec)
		from = rtc->st.since;
	set_line(rtc);
	set_timer(rtc, &from);
	pthread_mutex_unlock(&rtc->lock);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("rtc", 1, struct rtc_state, fields),
	.check = check,
	.at = offsetof(struct rtc, st),
	.load = load,
};

const struct device_type rtc_type = {
	.name = "rtc",
	.size = sizeof(struct rtc),
	.io = { .read = rtc_read, .write = rtc_write },
	.init = rtc_init,
	.fini = rtc_fini,
	.state = &state_type,
};
