/* The clock that everything is timed by: CLOCK_MONOTONIC. */
#ifndef LKVM_CLOCK_H
#define LKVM_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ULL

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/** realtime_ns() - since 1970 */
static inline uint64_t realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline int64_t now_ms(void)
{
	return (int64_t)(now_ns() / 1000000);
}

/** duration_text() - util/duration.c: in two units at most, "3d04h", "2h05m", "1m07s", "12s"; Return: @buf */
const char *duration_text(uint64_t ns, char *buf, size_t cap);

/** clock_at() - the time @ms, of now_ms(), for who waits until then */
static inline struct timespec clock_at(int64_t ms)
{
	return (struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
}

/**
 * clock_cond_init() - a condition whose pthread_cond_timedwait() takes a clock_at(): a deadline that
 * the time of day does not move
 */
static inline void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

#endif
