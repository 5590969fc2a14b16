/*
 * The event loop of the main thread (and of each device worker): epoll with callbacks.
 *
 * A source is embedded in its owner and belongs to it; the loop only keeps a pointer while the
 * source is added. One thread runs a loop; any may add a source, only that one change or remove it. A
 * callback may remove any source, its own included: events already fetched for a removed source
 * are dropped.
 */
#ifndef LKVM_LOOP_H
#define LKVM_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <time.h>

#define LOOP_BATCH  16
#define LOOP_CLOCKS 3

struct loop_source {
	int fd;
	/* @events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as epoll_wait() gave them */
	void (*ready)(struct loop_source *src, uint32_t events);
};

/* util/timer.c's: the timers on one clock */
struct loop_clock {
	struct loop *loop;
	clockid_t id;
	struct loop_source src; /* timerfd; -1: none was ever set */
	struct timer *first;    /* in the order of their times */
	uint64_t armed_ns;      /* what the timerfd is set to; it may be too early, never too late */
	bool busy;              /* timers fire: what is set meanwhile is armed after that */
	unsigned round;         /* how often they have */
};

struct loop {
	int epfd;
	bool quit;
	unsigned turn; /* how many times it has looked: callbacks can tell one turn from the next */
	unsigned n_pending; /* events of the batch being handled */
	struct epoll_event pending[LOOP_BATCH];
	pthread_mutex_t timer_lock; /* of the rest; innermost */
	bool timers_stopped;
	struct loop_clock clock[LOOP_CLOCKS];
};

/** loop_init() - Return: 0 or -errno of epoll_create1(); loop_fini() takes a half-built one */
int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

/**
 * loop_add() - watch @src->fd
 * @events: EPOLLIN, EPOLLOUT, ..., level triggered unless EPOLLET is among them
 * Return: 0; -EPERM for a regular file, which is always ready and cannot be watched; -errno
 */
int loop_add(struct loop *loop, struct loop_source *src, uint32_t events);
int loop_mod(struct loop *loop, struct loop_source *src, uint32_t events);
/** loop_del() - no-op for a source that is not in the loop */
void loop_del(struct loop *loop, struct loop_source *src);

/** loop_run() - dispatch until a callback calls loop_quit(); Return: 0 or -errno of epoll_wait() */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop);

/**
 * loop_once() - wait once, dispatch what is ready
 * @timeout_ms: -1 waits for ever, 0 only looks
 * Return: number of events dispatched, or -errno
 */
int loop_once(struct loop *loop, int timeout_ms);

#endif
