/* Links: util/timer.o util/loop.o */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "unit.h"

static struct loop loop;
static struct timer timer;
static unsigned fired;

static void count(struct timer *t)
{
	ck_assert_ptr_eq(t, &timer);
	fired++;
}

static struct timespec in_ms(long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += ms / 1000;
	at.tv_nsec += ms % 1000 * 1000000;
	if (at.tv_nsec >= 1000000000) {
		at.tv_nsec -= 1000000000;
		at.tv_sec++;
	}
	return at;
}

static const struct timespec never;

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void open_loop(void)
{
	ck_assert_int_eq(loop_init(&loop), 0);
	timer_init(&timer, &loop, count);
}

static void close_loop(void)
{
	timer_fini(&timer);
	timer_fini(&timer);
	loop_fini(&loop);
}

START_TEST(test_fires_once)
{
	struct timespec at;

	open_loop();
	at = in_ms(20);
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	ck_assert_uint_eq(fired, 1);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	at = in_ms(-5000); /* past */
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	ck_assert_uint_eq(fired, 2);
	close_loop();
}
END_TEST

START_TEST(test_set_again)
{
	struct timespec at = in_ms(-1), later = in_ms(3600 * 1000);

	open_loop();
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	ck_assert_int_eq(timer_set(&timer, &later), 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	ck_assert_int_eq(timer_set(&timer, &never), 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	ck_assert_uint_eq(fired, 0);
	close_loop();
}
END_TEST

/* Set to something else between the moment it was ready and its turn. */
START_TEST(test_set_while_ready)
{
	struct timespec at = in_ms(-1), later = in_ms(3600 * 1000);

	open_loop();
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	ck_assert_int_eq(timer_set(&timer, &later), 0);
	timer.src.ready(&timer.src, EPOLLIN);
	ck_assert_uint_eq(fired, 0);
	close_loop();
}
END_TEST

START_TEST(test_costs_nothing_unused)
{
	unsigned before;

	open_loop();
	before = count_fds();
	ck_assert_int_eq(timer_set(&timer, &never), 0);
	ck_assert_uint_eq(count_fds(), before);
	close_loop();
}
END_TEST

START_TEST(test_no_descriptor_left)
{
	struct timespec at = in_ms(-1);
	struct rlimit old, none;

	open_loop();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){ 0, old.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(timer_set(&timer, &at), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
	close_loop();
}
END_TEST

START_TEST(test_no_loop)
{
	struct timespec at = in_ms(-1);
	unsigned before;

	open_loop();
	loop_fini(&loop);
	before = count_fds();
	ck_assert_int_eq(timer_set(&timer, &at), -EBADF);
	ck_assert_uint_eq(count_fds(), before);
	close_loop();
}
END_TEST

static void *set_it(void *arg)
{
	struct timespec at = in_ms(20);

	(void)arg;
	ck_assert_int_eq(timer_set(&timer, &at), 0);
	return NULL;
}

/* As a vCPU does while the main thread waits. */
START_TEST(test_other_thread)
{
	pthread_t thread;

	open_loop();
	ck_assert_int_eq(pthread_create(&thread, NULL, set_it, NULL), 0);
	ck_assert_int_eq(loop_once(&loop, 60000), 1);
	ck_assert_uint_eq(fired, 1);
	pthread_join(thread, NULL);
	close_loop();
}
END_TEST

UNIT_MAIN("timer", test_fires_once, test_set_again, test_set_while_ready, test_costs_nothing_unused,
	  test_no_descriptor_left, test_no_loop, test_other_thread)
