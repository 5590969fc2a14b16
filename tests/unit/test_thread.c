/* Links: util/thread.o */
/* Wraps: pthread_create */
#include <sys/eventfd.h>
#include <sched.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/thread.h"
#include "lkvm/types.h"
#include "unit.h"

static const struct thread_type deaf = { .name = "deaf", .stack_bytes = 128 * KIB };
static const struct thread_type hears = { .name = "hears", .stack_bytes = 128 * KIB, .signal = SIGUSR2 };

/* What the thread has seen of itself, and what it waits for. */
static struct {
	char name[16];
	sigset_t mask;
	size_t stack_bytes;
	sem_t begun, may_end;
} seen;

static sigset_t mask_at_create;
static int create_error;

int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	pthread_sigmask(SIG_BLOCK, NULL, &mask_at_create);
	return create_error ? create_error : __real_pthread_create(id, attr, fn, arg);
}

static void look_around(void *arg)
{
	pthread_attr_t attr;

	ck_assert_ptr_eq(arg, &seen);
	pthread_getname_np(pthread_self(), seen.name, sizeof(seen.name));
	pthread_sigmask(SIG_BLOCK, NULL, &seen.mask);
	ck_assert_int_eq(pthread_getattr_np(pthread_self(), &attr), 0);
	pthread_attr_getstacksize(&attr, &seen.stack_bytes);
	pthread_attr_destroy(&attr);
	sem_post(&seen.begun);
	while (sem_wait(&seen.may_end) && errno == EINTR)
		;
}

static struct thread *begin(const struct thread_type *type, const char *name)
{
	struct thread *thread = NULL;

	sem_init(&seen.begun, 0, 0);
	sem_init(&seen.may_end, 0, 0);
	ck_assert_int_eq(thread_new(type, name, look_around, &seen, &thread), 0);
	ck_assert_ptr_nonnull(thread);
	while (sem_wait(&seen.begun) && errno == EINTR)
		;
	return thread;
}

static void end(struct thread *thread)
{
	sem_post(&seen.may_end);
	ck_assert_int_eq(thread_join(thread, -1), 0);
}

START_TEST(test_name)
{
	char name[] = "0";
	struct thread *thread = begin(&deaf, name);

	ck_assert_str_eq(seen.name, "deaf/0");
	ck_assert_uint_eq(seen.stack_bytes, deaf.stack_bytes);
	end(thread);
	end(begin(&hears, "a name that is longer"));
	ck_assert_str_eq(seen.name, "hears/a name th");
}
END_TEST

static bool blocked(int sig)
{
	ck_assert_int_eq(sigismember(&seen.mask, sig), sigismember(&mask_at_create, sig));
	return sigismember(&seen.mask, sig) == 1;
}

/* All but its own faults and that of its type, from its first instruction on, whatever its maker's. */
START_TEST(test_mask)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	const int others[] = { SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGRTMIN, SIGRTMAX };
	const struct thread_type *const types[] = { &deaf, &hears };
	sigset_t mine, now;

	for (unsigned t = 0; t < ARRAY_SIZE(types); t++) {
		sigemptyset(&mine);
		sigaddset(&mine, t ? SIGUSR2 : SIGTERM);
		sigaddset(&mine, SIGBUS);
		pthread_sigmask(SIG_SETMASK, &mine, NULL);
		end(begin(types[t], "x"));
		for (size_t i = 0; i < ARRAY_SIZE(own); i++)
			ck_assert(!blocked(own[i]));
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			ck_assert(blocked(others[i]));
		ck_assert_int_eq(blocked(SIGUSR2), types[t]->signal != SIGUSR2);
		pthread_sigmask(SIG_BLOCK, NULL, &now);
		for (int sig = 1; sig <= SIGRTMAX; sig++)
			ck_assert_int_eq(sigismember(&now, sig), sigismember(&mine, sig));
	}
}
END_TEST

static pthread_t heard_on;
static sem_t heard;

static void on_signal(int sig)
{
	int err = errno;

	(void)sig;
	heard_on = pthread_self();
	sem_post(&heard);
	errno = err;
}

/* It comes to that thread and no other, and does not end it. */
START_TEST(test_signal)
{
	const struct sigaction act = { .sa_handler = on_signal };
	struct thread *thread;

	sem_init(&heard, 0, 0);
	sigaction(SIGUSR2, &act, NULL);
	thread = begin(&hears, "x");
	for (unsigned i = 0; i < 2; i++) {
		thread_signal(thread);
		while (sem_wait(&heard) && errno == EINTR)
			;
		ck_assert(!pthread_equal(heard_on, pthread_self()));
	}
	ck_assert_int_eq(thread_join(thread, 0), -ETIMEDOUT);
	end(thread);
}
END_TEST

START_TEST(test_join)
{
	struct thread *thread = begin(&deaf, "x");
	int64_t start = now_ms();

	ck_assert_int_eq(thread_join(NULL, 0), 0);
	ck_assert_int_eq(thread_join(thread, 0), -ETIMEDOUT);
	ck_assert_int_eq(thread_join(thread, start - 1000), -ETIMEDOUT);
	ck_assert_int_eq(thread_join(thread, start + 20), -ETIMEDOUT);
	ck_assert_int_ge(now_ms(), start + 20);
	sem_post(&seen.may_end);
	ck_assert_int_eq(thread_join(thread, start + 60000), 0);
}
END_TEST

/* Nothing is left behind, and the caller's pointer and mask are what they were. */
START_TEST(test_failure)
{
	const struct thread_type tiny = { .name = "tiny", .stack_bytes = 1 };
	struct thread *thread = NULL;
	sigset_t mine, now;

	sigemptyset(&mine);
	sigaddset(&mine, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &mine, NULL);
	create_error = EAGAIN;
	ck_assert_int_eq(thread_new(&deaf, "x", look_around, &seen, &thread), -EAGAIN);
	ck_assert_ptr_null(thread);
	create_error = 0;
	ck_assert_int_eq(thread_new(&tiny, "x", look_around, &seen, &thread), -EINVAL);
	ck_assert_ptr_null(thread);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	ck_assert_int_eq(sigismember(&now, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&now, SIGINT), 0);
	end(begin(&deaf, "x"));
}
END_TEST

static void wait_for_end(void *arg)
{
	uint64_t n;

	ck_assert_int_eq(read(*(int *)arg, &n, sizeof(n)), sizeof(n));
}

START_TEST(test_pin)
{
	static const struct thread_type type = { .name = "pinned", .stack_bytes = 65536 };
	const uint64_t one = 1;
	struct thread *thread;
	cpu_set_t mine;
	unsigned cpu = 0;
	int fd = eventfd(0, 0);

	ck_assert_int_eq(sched_getaffinity(0, sizeof(mine), &mine), 0);
	while (!CPU_ISSET(cpu, &mine))
		cpu++;
	ck_assert_int_eq(thread_new(&type, "1", wait_for_end, &fd, &thread), 0);
	ck_assert_int_eq(thread_pin(thread, cpu), 0);
	ck_assert_int_eq(thread_pin(thread, CPU_SETSIZE - 1), -EINVAL);
	ck_assert_int_eq(thread_pin(thread, CPU_SETSIZE), -EINVAL);
	ck_assert_int_eq(thread_pin(thread, 1u << 31), -EINVAL);
	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
	ck_assert_int_eq(thread_join(thread, -1), 0);
	close(fd);
}
END_TEST

UNIT_MAIN("thread", test_pin, test_name, test_mask, test_signal, test_join, test_failure)
