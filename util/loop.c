/* Event loop on epoll; see loop.h. */
#include "lkvm/loop.h"

#include <errno.h>
#include <unistd.h>

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int loop_init(struct loop *loop)
{
	static const clockid_t clocks[LOOP_CLOCKS] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME };

	*loop = (struct loop){ .epfd = epoll_create1(EPOLL_CLOEXEC),
			       .timer_lock = PTHREAD_MUTEX_INITIALIZER };
	for (unsigned i = 0; i < LOOP_CLOCKS; i++)
		loop->clock[i] = (struct loop_clock){ .loop = loop, .id = clocks[i], .src.fd = -1 };
	return loop->epfd < 0 ? -errno : 0;
}

void loop_fini(struct loop *loop)
{
	for (unsigned i = 0; i < LOOP_CLOCKS; i++)
		close_fd(&loop->clock[i].src.fd);
	close_fd(&loop->epfd);
}

static int loop_ctl(struct loop *loop, int op, struct loop_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	return epoll_ctl(loop->epfd, op, src->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_source *src, uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_ADD, src, events);
}

int loop_mod(struct loop *loop, struct loop_source *src, uint32_t events)
{
	return loop_ctl(loop, EPOLL_CTL_MOD, src, events);
}

void loop_del(struct loop *loop, struct loop_source *src)
{
	if (src->fd >= 0)
		epoll_ctl(loop->epfd, EPOLL_CTL_DEL, src->fd, NULL);
	for (unsigned i = 0; i < loop->n_pending; i++)
		if (loop->pending[i].data.ptr == src)
			loop->pending[i].data.ptr = NULL;
}

int loop_once(struct loop *loop, int timeout_ms)
{
	int n = epoll_wait(loop->epfd, loop->pending, LOOP_BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->n_pending = (unsigned)n;
	loop->turn++;
	for (int i = 0; i < n; i++) {
		struct loop_source *src = loop->pending[i].data.ptr;

		if (src)
			src->ready(src, loop->pending[i].events);
	}
	loop->n_pending = 0;
	return n;
}

int loop_run(struct loop *loop)
{
	int n = 0;

	loop->quit = false;
	while (!loop->quit && n >= 0)
		n = loop_once(loop, -1);
	return n < 0 ? n : 0;
}

void loop_quit(struct loop *loop)
{
	loop->quit = true;
}
