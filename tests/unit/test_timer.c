/* Links: util/timer.o util/loop.o */
/* Wraps: clock_gettime timerfd_settime timerfd_create */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#include "lkvm/clock.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "unit.h"

#define N_TIMERS 4
#define MS       1000000LL
#define HOUR     (3600 * 1000 * MS)

static struct loop loop;
static struct timer timer[N_TIMERS];
static unsigned fired[N_TIMERS];
static char order[16]; /* of the timers that have fired */
static void (*on_fired)(unsigned i);

/* ---- the host's clocks: as they are, or as the test sets them ---- */

static int64_t fake_ns; /* what all clocks show; 0: the time */
static unsigned n_settime;
static struct itimerspec armed;

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __real_timerfd_create(clockid_t clock, int flags);
int __wrap_timerfd_create(clockid_t clock, int flags);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (!fake_ns)
		return __real_clock_gettime(clock, ret);
	*ret = (struct timespec){ fake_ns / 1000000000, fake_ns % 1000000000 };
	return 0;
}

static clockid_t created[LOOP_CLOCKS];
static unsigned n_created;

int __wrap_timerfd_create(clockid_t clock, int flags)
{
	ck_assert_int_eq(flags, TFD_CLOEXEC | TFD_NONBLOCK);
	created[n_created++ % LOOP_CLOCKS] = clock;
	return __real_timerfd_create(clock, flags);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
	static const struct itimerspec soon = { .it_value.tv_nsec = 1 };
	int64_t at = when->it_value.tv_sec * 1000000000LL + when->it_value.tv_nsec;

	ck_assert_int_eq(flags, TFD_TIMER_ABSTIME);
	ck_assert(at && !when->it_interval.tv_sec && !when->it_interval.tv_nsec);
	n_settime++;
	armed = *when;
	/* On a clock that stands still the test looks at what is due. */
	return !fake_ns     ? __real_timerfd_settime(fd, flags, when, old)
	       : at <= fake_ns ? __real_timerfd_settime(fd, 0, &soon, old)
			    : 0;
}

static int64_t armed_ns(void)
{
	return armed.it_value.tv_sec * 1000000000LL + armed.it_value.tv_nsec;
}

/* The fake clocks show @ns: the timerfd that is armed for that fires. */
static void clock_shows(int64_t ns)
{
	fake_ns = ns;
	for (unsigned i = 0; i < LOOP_CLOCKS; i++)
		if (loop.clock[i].src.fd >= 0 && loop.clock[i].armed_ns <= (uint64_t)ns)
			loop.clock[i].src.ready(&loop.clock[i].src, EPOLLIN);
}

static uint64_t in_ms(clockid_t clock, long ms)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)(now.tv_sec * 1000000000LL + now.tv_nsec + ms * MS);
}

/* ---- frame ---- */

static void count(struct timer *t)
{
	unsigned i = (unsigned)(t - timer), n = (unsigned)strlen(order);

	ck_assert_uint_lt(i, N_TIMERS);
	fired[i]++;
	if (n < sizeof(order) - 1)
		order[n] = (char)('a' + i);
	if (on_fired)
		on_fired(i);
}

static void open_loop(clockid_t clock)
{
	ck_assert_int_eq(loop_init(&loop), 0);
	for (unsigned i = 0; i < N_TIMERS; i++)
		timer_init(&timer[i], &loop, clock, count);
}

static void close_loop(void)
{
	for (unsigned i = 0; i < N_TIMERS; i++) {
		timer_fini(&timer[i]);
		timer_fini(&timer[i]);
	}
	loop_fini(&loop);
	fake_ns = 0; /* libcheck looks how long the test took */
}

static void set(unsigned i, uint64_t at_ns)
{
	ck_assert_int_eq(timer_set(&timer[i], at_ns), 0);
}

static void expect_order(const char *text)
{
	ck_assert_str_eq(order, text);
	memset(order, 0, sizeof(order));
}

/* ---- tests ---- */

START_TEST(test_fires_once)
{
	static const clockid_t clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME };

	for (size_t i = 0; i < ARRAY_SIZE(clocks); i++) {
		open_loop(clocks[i]);
		fired[0] = n_created = 0;
		set(0, in_ms(clocks[i], 20));
		ck_assert_int_eq(loop_once(&loop, 60000), 1);
		ck_assert_uint_eq(fired[0], 1);
		ck_assert_int_eq(loop_once(&loop, 0), 0);
		set(0, 0); /* long past */
		ck_assert_int_eq(loop_once(&loop, 60000), 1);
		ck_assert_uint_eq(fired[0], 2);
		ck_assert_uint_eq(n_created, 1);
		ck_assert_int_eq(created[0], clocks[i]);
		close_loop();
	}
}
END_TEST

/* Each clock on its own, in one loop. */
START_TEST(test_clocks)
{
	open_loop(CLOCK_MONOTONIC);
	timer_init(&timer[1], &loop, CLOCK_REALTIME, count);
	set(1, in_ms(CLOCK_REALTIME, -1));
	set(0, in_ms(CLOCK_MONOTONIC, 3600 * 1000));
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("b");
	set(0, in_ms(CLOCK_MONOTONIC, 1));
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("a");
	close_loop();
}
END_TEST

START_TEST(test_in_order)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	set(0, HOUR + 30);
	set(1, HOUR + 10);
	set(2, HOUR + 20);
	set(3, HOUR + 10); /* after b, which was first */
	clock_shows(HOUR + 9);
	expect_order("");
	clock_shows(HOUR + 20);
	expect_order("bdc");
	ck_assert_int_eq(armed_ns(), HOUR + 30);
	clock_shows(HOUR + 29);
	expect_order("");
	clock_shows(HOUR + 30);
	expect_order("a");
	close_loop();
}
END_TEST

/* A system call only for what becomes the earliest. */
START_TEST(test_system_calls)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	set(0, HOUR + 100);
	ck_assert_uint_eq(n_settime, 1);
	set(1, HOUR + 200);
	set(2, HOUR + 100);
	set(0, HOUR + 300);
	timer_stop(&timer[2]);
	ck_assert_uint_eq(n_settime, 1);
	set(3, HOUR + 50);
	ck_assert_uint_eq(n_settime, 2);
	ck_assert_int_eq(armed_ns(), HOUR + 50);
	timer_stop(&timer[3]);
	clock_shows(HOUR + 50); /* for nothing */
	expect_order("");
	ck_assert_uint_eq(n_settime, 3);
	ck_assert_int_eq(armed_ns(), HOUR + 200);
	clock_shows(HOUR + 300);
	expect_order("ba");
	ck_assert_uint_eq(n_settime, 3);
	ck_assert_uint_eq(n_created, 1);
	close_loop();
}
END_TEST

START_TEST(test_set_again)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	set(0, HOUR - 1);
	set(0, 2 * HOUR);
	ck_assert_int_ge(loop_once(&loop, 0), 0);
	set(0, HOUR - 1);
	timer_stop(&timer[0]);
	timer_stop(&timer[0]);
	ck_assert_int_ge(loop_once(&loop, 0), 0);
	expect_order("");
	set(0, HOUR - 1);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("a");
	close_loop();
}
END_TEST

/* The host's clock is set, forward and back, before and after the timerfd has fired. */
START_TEST(test_clock_is_set)
{
	fake_ns = 10 * HOUR;
	open_loop(CLOCK_REALTIME);
	set(0, 11 * HOUR);
	clock_shows(12 * HOUR);
	expect_order("a");
	set(0, 13 * HOUR);
	fake_ns = 10 * HOUR; /* between the timerfd and its turn */
	loop.clock[2].src.ready(&loop.clock[2].src, EPOLLIN);
	expect_order("");
	ck_assert_int_eq(armed_ns(), 13 * HOUR);
	clock_shows(13 * HOUR - 1);
	expect_order("");
	clock_shows(13 * HOUR);
	expect_order("a");
	close_loop();
}
END_TEST

static void set_itself(unsigned i)
{
	set(i, 1);
}

/* What a callback sets has its turn in the next round, even if its time has come. */
START_TEST(test_set_by_callback)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	on_fired = set_itself;
	set(0, HOUR);
	set(1, HOUR);
	for (unsigned i = 0; i < 3; i++) {
		n_settime = 0;
		ck_assert_int_eq(loop_once(&loop, 60000), 1);
		ck_assert_uint_eq(fired[0], i + 1);
		ck_assert_uint_eq(fired[1], i + 1);
		ck_assert_uint_eq(n_settime, 1);
	}
	close_loop();
}
END_TEST

static void fini_others(unsigned i)
{
	for (unsigned t = 0; t < N_TIMERS; t++)
		if (t != i)
			timer_fini(&timer[t]);
}

START_TEST(test_fini_by_callback)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	on_fired = fini_others;
	for (unsigned t = 0; t < N_TIMERS; t++)
		set(t, HOUR - t);
	clock_shows(HOUR);
	expect_order("d");
	close_loop();
}
END_TEST

/* All but those that always go on stand still, and what has become due does not get lost. */
START_TEST(test_stop_and_go)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	timer[3].always = true;
	set(0, HOUR + 10);
	set(1, HOUR + 40);
	set(3, HOUR + 30);
	timers_stop(&loop);
	clock_shows(HOUR + 20);
	expect_order("");
	ck_assert_int_eq(armed_ns(), HOUR + 30);
	set(2, HOUR + 25); /* no system call either */
	ck_assert_int_eq(armed_ns(), HOUR + 30);
	clock_shows(HOUR + 35);
	expect_order("d");
	set(3, HOUR + 100);
	timers_go(&loop);
	ck_assert_int_eq(armed_ns(), HOUR + 10);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("ac");
	ck_assert_int_eq(armed_ns(), HOUR + 40);
	clock_shows(HOUR + 100);
	expect_order("bd");
	close_loop();
}
END_TEST

static void stop_loop(unsigned i)
{
	if (i == 1)
		timers_stop(&loop);
	if (i == 2)
		timers_go(&loop);
}

START_TEST(test_stop_by_callback)
{
	fake_ns = HOUR;
	open_loop(CLOCK_MONOTONIC);
	timer[2].always = true;
	on_fired = stop_loop;
	set(1, HOUR - 2);
	set(0, HOUR - 1);
	set(2, HOUR + 10);
	clock_shows(HOUR);
	expect_order("b");
	clock_shows(HOUR + 10);
	expect_order("ca"); /* what was stopped goes on in the same round */
	close_loop();
}
END_TEST

START_TEST(test_costs_nothing_unused)
{
	unsigned before;

	open_loop(CLOCK_MONOTONIC);
	before = unit_entries("/proc/self/fd");
	timer_stop(&timer[0]);
	timers_stop(&loop);
	timers_go(&loop);
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), before);
	ck_assert_int_eq(timer_open(&timer[0]), 0);
	for (unsigned i = 0; i < N_TIMERS; i++)
		set(i, in_ms(CLOCK_MONOTONIC, 100000));
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), before + 1);
	close_loop();
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), before - 1);
}
END_TEST

START_TEST(test_no_descriptor_left)
{
	struct rlimit old, none;

	open_loop(CLOCK_MONOTONIC);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ 0, old.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(timer_open(&timer[0]), -EMFILE);
	ck_assert_int_eq(timer_set(&timer[0], 1), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	set(0, 1);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("a");
	close_loop();
}
END_TEST

START_TEST(test_no_loop)
{
	unsigned before;

	open_loop(CLOCK_MONOTONIC);
	loop_fini(&loop);
	before = unit_entries("/proc/self/fd");
	ck_assert_int_eq(timer_set(&timer[0], 1), -EBADF);
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), before);
	close_loop();
}
END_TEST

static void *set_it(void *arg)
{
	(void)arg;
	set(0, in_ms(CLOCK_MONOTONIC, 20));
	return NULL;
}

/* As a vCPU does while the main thread waits. */
START_TEST(test_other_thread)
{
	pthread_t thread;

	open_loop(CLOCK_MONOTONIC);
	set(1, in_ms(CLOCK_MONOTONIC, 3600 * 1000));
	ck_assert_int_eq(pthread_create(&thread, NULL, set_it, NULL), 0);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	expect_order("a");
	pthread_join(thread, NULL);
	close_loop();
}
END_TEST

static atomic_bool done;

static void *set_often(void *arg)
{
	for (unsigned i = 0; i < 20000; i++) {
		set(0, in_ms(CLOCK_MONOTONIC, i % 3 ? -1 : 1000));
		if (i % 5 == 0)
			timer_stop(&timer[0]);
	}
	set(0, 1);
	atomic_store(&done, true);
	return arg;
}

/* However the two meet, the last time that was set is kept. */
START_TEST(test_race)
{
	pthread_t thread;

	open_loop(CLOCK_MONOTONIC);
	ck_assert_int_eq(pthread_create(&thread, NULL, set_often, NULL), 0);
	while (!atomic_load(&done))
		ck_assert_int_ge(loop_once(&loop, 1), 0);
	pthread_join(thread, NULL);
	for (unsigned i = 0; timer[0].at_ns && i < 10; i++)
		ck_assert_int_eq(loop_once(&loop, 60000), 1);
	ck_assert_uint_eq(timer[0].at_ns, 0);
	close_loop();
}
END_TEST

UNIT_MAIN("timer", test_fires_once, test_clocks, test_in_order, test_system_calls, test_set_again,
	  test_clock_is_set, test_set_by_callback, test_fini_by_callback, test_stop_and_go,
	  test_stop_by_callback, test_costs_nothing_unused, test_no_descriptor_left, test_no_loop,
	  test_other_thread, test_race)
