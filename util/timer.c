/* One-shot timers; see timer.h. */
#include "lkvm/timer.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lkvm/types.h"

static void timer_ready(struct loop_source *src, uint32_t events)
{
	struct timer *timer = container_of(src, struct timer, src);
	uint64_t times;

	(void)events;
	if (read(src->fd, &times, sizeof(times)) == sizeof(times))
		timer->fired(timer);
}

void timer_init(struct timer *timer, struct loop *loop, void (*fired)(struct timer *timer))
{
	*timer = (struct timer){ .src = { -1, timer_ready }, .loop = loop, .fired = fired };
}

void timer_fini(struct timer *timer)
{
	if (timer->src.fd < 0)
		return;
	loop_del(timer->loop, &timer->src);
	close(timer->src.fd);
	timer->src.fd = -1;
}

static int timer_open(struct timer *timer)
{
	int err;

	timer->src.fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->src.fd < 0)
		return -errno;
	err = loop_add(timer->loop, &timer->src, EPOLLIN);
	if (!err)
		return 0;
	close(timer->src.fd);
	timer->src.fd = -1;
	return err;
}

int timer_set(struct timer *timer, const struct timespec *at)
{
	const struct itimerspec when = { .it_value = *at };
	int err;

	if (timer->src.fd < 0) {
		if (!at->tv_sec && !at->tv_nsec)
			return 0;
		err = timer_open(timer);
		if (err)
			return err;
	}
	return timerfd_settime(timer->src.fd, TFD_TIMER_ABSTIME, &when, NULL) ? -errno : 0;
}
