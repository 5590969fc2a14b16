/*
 * One-shot timers in an event loop, each on the clock of its choice. A timer is embedded in its owner.
 *
 * All timers on one clock share a descriptor, which is opened when one is set for the first time.
 * To set a timer is a system call only if it becomes the earliest on its clock.
 */
#ifndef LKVM_TIMER_H
#define LKVM_TIMER_H

#include <time.h>

#include "lkvm/loop.h"

struct timer {
	struct loop *loop;
	struct loop_clock *clock;
	void (*fired)(struct timer *timer); /* on the loop's thread */
	uint64_t at_ns;                     /* 0: not set */
	struct timer *next;
	unsigned round; /* of the clock, in which it was set */
	/* The owner sets it after timer_init(): it goes on while the others of the loop stand still. */
	bool always;
};

/** timer_init() - @clock: CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME */
void timer_init(struct timer *timer, struct loop *loop, clockid_t clock,
		void (*fired)(struct timer *timer));
/** timer_fini() - on the loop's thread, when nobody sets it any more; also without timer_init() */
void timer_fini(struct timer *timer);

/**
 * timer_open() - have the descriptor of its clock now: no timer_set() on this clock fails after that
 * Return: 0 or -errno
 */
int timer_open(struct timer *timer);

/**
 * timer_set() - fire once its clock shows @at_ns, in place of what was set before
 * In the past: in the next turn of the loop. Where the clock is set, that time counts, too. Any thread;
 * the owner serialises calls on one timer. One that is being handled already may still fire, so
 * fired() looks at the time where that matters.
 * Return: 0, or -errno of timer_open(): it is not set
 */
int timer_set(struct timer *timer, uint64_t at_ns);
/** timer_stop() - not before it is set again; any thread, likewise */
void timer_stop(struct timer *timer);

/**
 * timers_stop(), timers_go() - on the loop's thread: from the return of the first on no timer fires but
 * those that always go on; those whose time has come meanwhile fire in the first turn after the second
 */
void timers_stop(struct loop *loop);
void timers_go(struct loop *loop);

#endif
