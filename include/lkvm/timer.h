/*
 * A one-shot timer on the host's UTC, in an event loop: for devices that must act without being
 * asked. It costs nothing, not even a descriptor, until it is set for the first time.
 */
#ifndef LKVM_TIMER_H
#define LKVM_TIMER_H

#include <time.h>

#include "lkvm/loop.h"

struct timer {
	struct loop_source src; /* timerfd, -1: none yet */
	struct loop *loop;
	void (*fired)(struct timer *timer); /* on the loop's thread */
};

void timer_init(struct timer *timer, struct loop *loop, void (*fired)(struct timer *timer));
/** timer_fini() - on the loop's thread, when nobody sets it any more */
void timer_fini(struct timer *timer);

/**
 * timer_set() - fire once the time is *@at; in place of what was set before
 * @at: CLOCK_REALTIME; in the past: at once; zero: never
 * Any thread; the owner serialises calls on one timer. One that is being handled already may still
 * fire, so fired() looks at the time.
 * Return: 0 or -errno
 */
int timer_set(struct timer *timer, const struct timespec *at);

#endif
