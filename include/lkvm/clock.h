/* The clock that everything is timed by: CLOCK_MONOTONIC. */
#ifndef LKVM_CLOCK_H
#define LKVM_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S 1000000000ULL

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline int64_t now_ms(void)
{
	return (int64_t)(now_ns() / 1000000);
}

#endif
