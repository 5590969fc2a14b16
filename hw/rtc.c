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
 * The chip's interrupts (periodic, alarm, update ended) do not exist here, so IRQ 8 is never raised
 * and only the update-ended flag of register C, which some guests poll, is kept.
 * Spec: Motorola MC146818A data sheet; CMOS memory sizes as BIOSes and QEMU leave them
 */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "lkvm/chips.h"
#include "lkvm/config.h"

#define CMOS_BYTES 128

enum {
	REG_SECONDS = 0x00,
	REG_MINUTES = 0x02,
	REG_HOURS = 0x04,
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
#define A_DEFAULT 0x26 /* 32768 Hz time base, 1024 Hz periodic rate */
#define B_SET     0x80
#define B_BINARY  0x04
#define B_24H     0x02
#define C_UPDATED 0x10
#define D_VALID   0x80
#define HOUR_PM   0x80

#define UIP_NS 2228000 /* 244 us of notice and 1984 us of update */

struct rtc {
	pthread_mutex_t lock;
	unsigned index;
	int64_t offset_s; /* guest's time minus the host's */
	int64_t c_read_s; /* when register C was read last */
	uint8_t ram[CMOS_BYTES];
};

static int64_t host_now(long *ret_ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret_ns)
		*ret_ns = ts.tv_nsec;
	return ts.tv_sec;
}

static uint8_t encode(const struct rtc *rtc, int value)
{
	value = value < 0 ? 0 : value;
	return (uint8_t)(rtc->ram[REG_B] & B_BINARY ? value : (value / 10 << 4 | value % 10));
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->ram[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 0x0f);
}

static uint8_t encode_hour(const struct rtc *rtc, int hour)
{
	if (rtc->ram[REG_B] & B_24H)
		return encode(rtc, hour);
	return encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *rtc, uint8_t value)
{
	if (rtc->ram[REG_B] & B_24H)
		return decode(rtc, value);
	return decode(rtc, value & ~HOUR_PM & 0xff) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Put the present time into the registers, unless the guest holds them still. */
static void time_to_registers(struct rtc *rtc, int64_t now_s)
{
	time_t guest = now_s + rtc->offset_s;
	struct tm tm;

	if (rtc->ram[REG_B] & B_SET || !gmtime_r(&guest, &tm))
		return;
	rtc->ram[REG_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->ram[REG_MINUTES] = encode(rtc, tm.tm_min);
	rtc->ram[REG_HOURS] = encode_hour(rtc, tm.tm_hour);
	rtc->ram[REG_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->ram[REG_DAY] = encode(rtc, tm.tm_mday);
	rtc->ram[REG_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->ram[REG_YEAR] = encode(rtc, (tm.tm_year + 1900) % 100);
	rtc->ram[REG_CENTURY] = encode(rtc, (tm.tm_year + 1900) / 100 % 100);
}

/*
 * The guest has written the time: what the registers say is now. Nonsense in them gives some time
 * or other; timegm() normalises it.
 */
static void time_from_registers(struct rtc *rtc, int64_t now_s)
{
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->ram[REG_SECONDS]),
		.tm_min = decode(rtc, rtc->ram[REG_MINUTES]),
		.tm_hour = decode_hour(rtc, rtc->ram[REG_HOURS]),
		.tm_mday = decode(rtc, rtc->ram[REG_DAY]),
		.tm_mon = decode(rtc, rtc->ram[REG_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->ram[REG_CENTURY]) * 100 +
			   decode(rtc, rtc->ram[REG_YEAR]) - 1900,
	};

	rtc->offset_s = timegm(&tm) - now_s;
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

static uint8_t read_a(const struct rtc *rtc)
{
	long ns;

	host_now(&ns);
	if (rtc->ram[REG_B] & B_SET || ns < 1000000000L - UIP_NS)
		return rtc->ram[REG_A];
	return rtc->ram[REG_A] | A_UIP;
}

static uint8_t read_c(struct rtc *rtc)
{
	int64_t now = host_now(NULL);
	bool updated = now != rtc->c_read_s && !(rtc->ram[REG_B] & B_SET);

	rtc->c_read_s = now;
	return updated ? C_UPDATED : 0;
}

static uint8_t read_register(struct rtc *rtc)
{
	switch (rtc->index) {
	case REG_A:
		return read_a(rtc);
	case REG_C:
		return read_c(rtc);
	case REG_D:
		return D_VALID;
	}
	if (is_time(rtc->index))
		time_to_registers(rtc, host_now(NULL));
	return rtc->ram[rtc->index];
}

/*
 * SET stops the time registers at the present time, in the encoding that is written with it. A
 * write that ends it starts the clock from what they say then.
 */
static void write_b(struct rtc *rtc, uint8_t value)
{
	bool was_set = rtc->ram[REG_B] & B_SET;

	rtc->ram[REG_B] = value & ~B_SET & 0xff;
	if (was_set)
		time_from_registers(rtc, host_now(NULL));
	else
		time_to_registers(rtc, host_now(NULL));
	rtc->ram[REG_B] = value;
}

static void write_register(struct rtc *rtc, uint8_t value)
{
	int64_t now_s;

	switch (rtc->index) {
	case REG_A:
		rtc->ram[REG_A] = value & ~A_UIP & 0xff;
		return;
	case REG_B:
		write_b(rtc, value);
		return;
	}
	if (!is_time(rtc->index)) {
		rtc->ram[rtc->index] = value;
		return;
	}
	now_s = host_now(NULL); /* once, or the clock would lose what passes in between */
	time_to_registers(rtc, now_s);
	rtc->ram[rtc->index] = value;
	time_from_registers(rtc, now_s);
}

static void rtc_read(void *dev, uint64_t off, void *data, unsigned len)
{
	struct rtc *rtc = dev;
	uint8_t *bytes = data;

	pthread_mutex_lock(&rtc->lock);
	for (unsigned i = 0; i < len; i++)
		bytes[i] = off + i == 1 ? read_register(rtc) : 0xff; /* the index is write-only */
	pthread_mutex_unlock(&rtc->lock);
}

static void rtc_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	struct rtc *rtc = dev;
	const uint8_t *bytes = data;

	pthread_mutex_lock(&rtc->lock);
	/* One 2-byte write sets index and data. Bit 7 of the index masks NMIs, which KVM sends. */
	for (unsigned i = 0; i < len; i++) {
		if (off + i == 0)
			rtc->index = bytes[i] % CMOS_BYTES;
		else if (off + i == 1)
			write_register(rtc, bytes[i]);
	}
	pthread_mutex_unlock(&rtc->lock);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void put_bytes(struct rtc *rtc, unsigned reg, unsigned n, uint64_t value)
{
	for (unsigned i = 0; i < n; i++)
		rtc->ram[reg + i] = (uint8_t)(value >> (8 * i));
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

	rtc->ram[REG_A] = A_DEFAULT;
	rtc->ram[REG_B] = B_24H;
	put_memory_size(rtc, env->config->ram.size_bytes);
	return -pthread_mutex_init(&rtc->lock, NULL);
}

static void rtc_fini(void *dev)
{
	struct rtc *rtc = dev;

	pthread_mutex_destroy(&rtc->lock);
}

const struct device_type rtc_type = {
	.name = "rtc",
	.size = sizeof(struct rtc),
	.io = { .read = rtc_read, .write = rtc_write },
	.init = rtc_init,
	.fini = rtc_fini,
};
