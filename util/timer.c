/*
 * One-shot timers; see timer.h.
 *
 * Each clock has a list of its timers and a timerfd, which is watched edge triggered, so that nobody
 * need read it. Setting a timer only ever moves the timerfd to an earlier time. If a timer is stopped
 * or set to a later time, the loop wakes up once for nothing.
 */
#include "lkvm/timer.h"

#include <assert.h>
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

#define NEVER UINT64_MAX

static uint64_t now_on(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool may_fire(const struct timer *timer)
{
	return timer->always || !timer->loop->timers_stopped;
}

/* ---- under timer_lock ---- */

static void arm(struct loop_clock *clock, uint64_t at_ns)
{
	const struct itimerspec when = {
		.it_value = { (time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S) },
	};

	if (at_ns >= clock->armed_ns || clock->busy)
		return;
	clock->armed_ns = at_ns;
	timerfd_settime(clock->src.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void arm_first(struct loop_clock *clock)
{
	const struct timer *timer = clock->first;

	while (timer && !may_fire(timer))
		timer = timer->next;
	if (timer)
		arm(clock, timer->at_ns);
}

static void take_out(struct timer *timer)
{
	struct timer **at = &timer->clock->first;

	if (!timer->at_ns)
		return;
	while (*at != timer)
		at = &(*at)->next;
	*at = timer->next;
	timer->at_ns = 0;
}

static void put_in(struct timer *timer, uint64_t at_ns)
{
	struct timer **at = &timer->clock->first;

	while (*at && (*at)->at_ns <= at_ns)
		at = &(*at)->next;
	timer->at_ns = at_ns;
	timer->next = *at;
	timer->round = timer->clock->round;
	*at = timer;
}

/* What was set in this round waits for the next: a timer that sets itself must not stop the loop. */
static struct timer *take_due(struct loop_clock *clock, uint64_t now)
{
	struct timer *timer = clock->first;

	while (timer && (timer->round == clock->round || !may_fire(timer)))
		timer = timer->next;
	if (!timer || timer->at_ns > now)
		return NULL;
	take_out(timer);
	return timer;
}

static void clock_ready(struct loop_source *src, uint32_t events)
{
	struct loop_clock *clock = container_of(src, struct loop_clock, src);
	pthread_mutex_t *lock = &clock->loop->timer_lock;
	uint64_t now = now_on(clock->id);
	struct timer *timer;

	(void)events;
	pthread_mutex_lock(lock);
	clock->armed_ns = NEVER;
	clock->busy = true;
	clock->round++;
	while ((timer = take_due(clock, now))) {
		pthread_mutex_unlock(lock);
		timer->fired(timer);
		pthread_mutex_lock(lock);
	}
	clock->busy = false;
	arm_first(clock);
	pthread_mutex_unlock(lock);
}

static int clock_open(struct loop_clock *clock)
{
	int err;

	if (clock->src.fd >= 0)
		return 0;
	clock->src.fd = timerfd_create(clock->id, TFD_CLOEXEC | TFD_NONBLOCK);
	if (clock->src.fd < 0)
		return -errno;
	clock->src.ready = clock_ready;
	clock->armed_ns = NEVER;
	err = loop_add(clock->loop, &clock->src, EPOLLIN | EPOLLET);
	if (!err)
		return 0;
	close(clock->src.fd);
	clock->src.fd = -1;
	return err;
}

/* ---- for everybody ---- */

void timer_init(struct timer *timer, struct loop *loop, clockid_t clock,
		void (*fired)(struct timer *timer))
{
	*timer = (struct timer){ .loop = loop, .fired = fired };
	for (unsigned i = 0; i < LOOP_CLOCKS; i++)
		if (loop->clock[i].id == clock)
			timer->clock = &loop->clock[i];
	assert(timer->clock);
}

void timer_fini(struct timer *timer)
{
	if (timer->clock)
		timer_stop(timer);
}

int timer_open(struct timer *timer)
{
	int err;

	pthread_mutex_lock(&timer->loop->timer_lock);
	err = clock_open(timer->clock);
	pthread_mutex_unlock(&timer->loop->timer_lock);
	return err;
}

int timer_set(struct timer *timer, uint64_t at_ns)
{
	int err;

	pthread_mutex_lock(&timer->loop->timer_lock);
	take_out(timer);
	err = clock_open(timer->clock);
	if (!err) {
		put_in(timer, at_ns ? at_ns : 1);
		if (may_fire(timer))
			arm(timer->clock, timer->at_ns);
	}
	pthread_mutex_unlock(&timer->loop->timer_lock);
	return err;
}

void timer_stop(struct timer *timer)
{
	pthread_mutex_lock(&timer->loop->timer_lock);
	take_out(timer);
	pthread_mutex_unlock(&timer->loop->timer_lock);
}

void timers_stop(struct loop *loop)
{
	pthread_mutex_lock(&loop->timer_lock);
	loop->timers_stopped = true;
	pthread_mutex_unlock(&loop->timer_lock);
}

void timers_go(struct loop *loop)
{
	pthread_mutex_lock(&loop->timer_lock);
	loop->timers_stopped = false;
	for (unsigned i = 0; i < LOOP_CLOCKS; i++)
		arm_first(&loop->clock[i]);
	pthread_mutex_unlock(&loop->timer_lock);
}
