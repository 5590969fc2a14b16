/*
 * Clocks: kvm-clock, time stamp counter, real-time clock and timers, for a host that compares them with its own.
 * It looks all the time whether one of the first two goes back. "wall=NS" at the start: the time of day when
 * kvm-clock was 0, whose place it uses for something else then. "keep": it does not, and sets an alarm.
 *
 * A byte on the serial port: 'c' prints them; 'a' sets an alarm of the real-time clock three seconds ahead, 't'
 * the LAPIC's timer four seconds ahead, 'd' the same by deadline, and each is told when it has come; 'h' does not
 * take the alarm any more, or takes it again, 'w' tells whether it waits; 's' lets PIT and LAPIC count, 'm' prints
 * how far they and the real-time clock are, each with its kvm-clock; 'q' ends.
 */
#include "multiboot.h"

#define MSR_WALL     0x4b564d00
#define MSR_SYSTEM   0x4b564d01
#define MSR_DEADLINE 0x6e0
#define STOPPED      2 /* in flags: the guest was not there */

#define LAPIC_SVR     0x0f0
#define LAPIC_IRR     0x200
#define LAPIC_LVT_T   0x320
#define LAPIC_INITIAL 0x380
#define LAPIC_CURRENT 0x390
#define LAPIC_DIVIDE  0x3e0
#define BY_16         3
#define BY_128        0xa
#define MASKED        (1 << 16)
#define ONCE          0
#define DEADLINE      (2 << 17)
#define VECTOR        0x50 /* and the next; none is ever taken */
#define NS_PER_S      1000000000ULL
#define AHEAD_NS      (4 * NS_PER_S)
#define PATTERN       0xa5a5a5a5

static volatile struct {
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
} now_page __attribute__((aligned(64)));

static volatile struct {
	uint32_t version, sec, nsec;
} wall_page __attribute__((aligned(64)));

static uint64_t last_ns, last_tsc;
static unsigned stopped;
static uint64_t timer_ns; /* when it was set; 0: it is not */
static uint32_t timer_vector;
static bool alarm_set, alarm_held;
static uint32_t wall_sec;

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	asm volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static uint64_t kvm_clock(void)
{
	uint32_t version;
	uint64_t ns;

	do {
		uint64_t delta;

		version = now_page.version;
		delta = rdtsc() - now_page.tsc;
		delta = now_page.shift < 0 ? delta >> -now_page.shift : delta << now_page.shift;
		ns = now_page.ns + (uint64_t)((unsigned __int128)delta * now_page.mul >> 32);
	} while (version & 1 || version != now_page.version);
	return ns;
}

/* ---- the real-time clock ---- */

static uint8_t binary(uint8_t bcd)
{
	return (uint8_t)((bcd >> 4) * 10 + (bcd & 15));
}

/* Seconds of the day */
static uint32_t rtc(void)
{
	uint32_t first, again;

	do {
		first = binary(cmos(4)) * 3600U + binary(cmos(2)) * 60U + binary(cmos(0));
		again = binary(cmos(4)) * 3600U + binary(cmos(2)) * 60U + binary(cmos(0));
	} while (first != again);
	return first;
}

static void set_alarm(void)
{
	const uint32_t due = (rtc() + 3) % 86400;
	const uint8_t at = (uint8_t)(due % 60);

	cmos(0xc);
	out8(0xa0, 0x11); /* the second PIC forgets what was, and tells then which interrupts wait */
	out8(0xa1, 0x28);
	out8(0xa1, 2);
	out8(0xa1, 1);
	out8(0xa0, 0x0a);
	set_cmos(1, (uint8_t)(at / 10 << 4 | at % 10));
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	set_cmos(0xb, 0x22);
	alarm_set = true;
	print("alarm set to ");
	print_decimal(due);
	print("\n");
}

static bool alarm_waits(void)
{
	return in8(0xa0) & 1;
}

static void look_for_alarm(void)
{
	if (!alarm_set || alarm_held || !alarm_waits())
		return;
	alarm_set = false;
	print("alarm came at ");
	print_decimal(rtc());
	print("\n");
	CHECK_EQ(cmos(0xc) & 0xa0, 0xa0);
}

/* ---- the LAPIC's timer ---- */

static void set_timer(uint32_t mode)
{
	/* kvm_clock() backwards */
	const uint64_t ticks = (AHEAD_NS << 32) / now_page.mul;

	*mem32(LAPIC + LAPIC_SVR) = 0x1ff;
	*mem32(LAPIC + LAPIC_DIVIDE) = BY_16;
	timer_vector = mode == ONCE ? VECTOR : VECTOR + 1;
	*mem32(LAPIC + LAPIC_LVT_T) = mode | timer_vector;
	timer_ns = kvm_clock();
	if (mode == ONCE)
		*mem32(LAPIC + LAPIC_INITIAL) = (uint32_t)(AHEAD_NS / 16);
	else
		wrmsr(MSR_DEADLINE, rdtsc() + (now_page.shift < 0 ? ticks << -now_page.shift : ticks >> now_page.shift));
	print("timer set\n");
}

static void look_for_timer(void)
{
	if (!timer_ns || !(*mem32(LAPIC + LAPIC_IRR + VECTOR / 32 * 0x10) >> timer_vector % 32 & 1))
		return;
	print("timer came after ");
	print_decimal(kvm_clock() - timer_ns);
	print("\n");
	timer_ns = 0;
}

/* ---- counters ---- */

#define PIT_RELOAD 11932 /* 100 Hz */

static uint64_t pit_ticks;
static bool counting;

static void start_counters(void)
{
	out8(0x20, 0x11);
	out8(0x21, 0x20);
	out8(0x21, 4);
	out8(0x21, 1);
	out8(0x21, 0xfe);
	out8(0x43, 0x34);
	out8(0x40, PIT_RELOAD & 0xff);
	out8(0x40, PIT_RELOAD >> 8);
	*mem32(LAPIC + LAPIC_SVR) = 0x1ff;
	*mem32(LAPIC + LAPIC_DIVIDE) = BY_128;
	*mem32(LAPIC + LAPIC_LVT_T) = MASKED | VECTOR;
	*mem32(LAPIC + LAPIC_INITIAL) = UINT32_MAX;
	counting = true;
	print("counters run\n");
}

/*
 * The PIC is asked, which takes the interrupt as the processor would: KVM then delivers the next that waits. Where
 * there is none it says 7; not every KVM sets bit 7 where there is one.
 */
static bool take_tick(void)
{
	out8(0x20, 0x0c);
	if (in8(0x20) & 7)
		return false;
	pit_ticks++;
	return true;
}

/*
 * What a counter was at a moment of kvm-clock: the best of some looks, as the host may take the processor away in
 * the middle of one.
 */
struct moment {
	uint64_t ns, value, width_ns;
};

#define LOOKS 8

static void keep_best(struct moment *best, uint64_t from_ns, uint64_t value)
{
	const uint64_t to_ns = kvm_clock();

	if (to_ns - from_ns < best->width_ns)
		*best = (struct moment){ from_ns + (to_ns - from_ns) / 2, value, to_ns - from_ns };
}

static struct moment look_at_lapic(void)
{
	struct moment best = { .width_ns = UINT64_MAX };

	for (unsigned i = 0; i < LOOKS; i++) {
		const uint64_t ns = kvm_clock();

		keep_best(&best, ns, (UINT32_MAX - *mem32(LAPIC + LAPIC_CURRENT)) * 128ULL);
	}
	return best;
}

/* When the second changes; the ticks of the PIT go on */
static struct moment look_at_rtc(void)
{
	struct moment best = { .width_ns = UINT64_MAX };

	for (unsigned i = 0; i < LOOKS / 2; i++) {
		const uint8_t from = cmos(0);
		uint64_t ns;

		do {
			take_tick();
			ns = kvm_clock();
		} while (cmos(0) == from);
		keep_best(&best, ns, rtc());
	}
	return best;
}

/* Ticks that are late come faster than they should, one after the other: those that come at their pace are right. */
static struct moment look_at_pit(void)
{
	const uint64_t pace_ns = NS_PER_S / 125;
	struct moment now = { 0 };

	for (unsigned good = 0, n = 0; good < 4 && n < 10000; n++) {
		const uint64_t before_ns = now.ns;

		while (!take_tick())
			;
		now.ns = kvm_clock();
		good = now.ns - before_ns > pace_ns && now.ns - before_ns < pace_ns * 2 ? good + 1 : 0;
	}
	now.value = pit_ticks * PIT_RELOAD;
	return now;
}

static void print_moment(const char *name, struct moment moment)
{
	print(name);
	print_decimal(moment.value);
	print(" at ");
	print_decimal(moment.ns);
}

static void print_counters(void)
{
	print_moment("counters: pit ", look_at_pit());
	print_moment(" lapic ", look_at_lapic());
	print_moment(" rtc ", look_at_rtc());
	print("\n");
}

/* ---- */

static void look_at_clocks(void)
{
	uint64_t ns = kvm_clock(), tsc = rdtsc();

	CHECK(ns >= last_ns);
	CHECK(tsc >= last_tsc);
	last_ns = ns;
	last_tsc = tsc;
	if (now_page.flags & STOPPED) {
		now_page.flags &= (uint8_t)~STOPPED;
		stopped++;
	}
	/* It was asked for once, long ago. */
	CHECK_EQ(wall_page.sec, wall_sec);
}

static void print_clocks(void)
{
	const uint64_t ns = kvm_clock(), tsc = rdtsc();

	print("clock ");
	print_decimal(ns);
	print(" tsc ");
	print_decimal(tsc);
	print(" rtc ");
	print_decimal(rtc());
	print(" stopped ");
	print_decimal(stopped);
	print("\n");
}

static bool obey(void)
{
	switch (in8(COM_LSR) & LSR_DATA ? in8(COM_DATA) : 0) {
	case 'c':
		look_at_clocks(); /* what it was told since */
		print_clocks();
		break;
	case 'a':
		set_alarm();
		break;
	case 'h':
		alarm_held = !alarm_held;
		break;
	case 'w':
		print(alarm_waits() ? "alarm waits\n" : "no alarm waits\n");
		break;
	case 't':
		set_timer(ONCE);
		break;
	case 'd':
		set_timer(DEADLINE);
		break;
	case 's':
		start_counters();
		break;
	case 'm':
		print_counters();
		break;
	case 'q':
		return false;
	}
	return true;
}

void guest_main(void)
{
	wrmsr(MSR_SYSTEM, (uint64_t)&now_page | 1);
	wrmsr(MSR_WALL, (uint64_t)&wall_page);
	if (param_word(mb_cmdline(), "keep"))
		set_alarm();
	print("ready wall=");
	print_decimal(wall_page.sec * NS_PER_S + wall_page.nsec);
	print("\n");
	if (!param_word(mb_cmdline(), "keep"))
		wall_page.version = wall_page.sec = wall_page.nsec = PATTERN;
	wall_sec = wall_page.sec;
	while (obey()) {
		look_at_clocks();
		look_for_alarm();
		look_for_timer();
		if (counting)
			take_tick();
	}
}
