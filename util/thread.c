/*
 * Threads; see thread.h.
 *
 * A new thread has its maker's signal mask, so the maker has the new one's for as long as it takes to
 * make it: no signal finds a thread that is not ready for it.
 */
#include "lkvm/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/clock.h"

#define NAME_BYTES 16 /* what the kernel keeps */

struct thread {
	pthread_t id;
	const struct thread_type *type;
	void (*fn)(void *arg);
	void *arg;
	char name[NAME_BYTES];
};

static void *thread_main(void *arg)
{
	const struct thread *thread = arg;

	pthread_setname_np(pthread_self(), thread->name);
	thread->fn(thread->arg);
	return NULL;
}

/* What a thread does wrong by itself cannot be anybody else's, and is deadly while it is blocked. */
static sigset_t mask_of(const struct thread_type *type)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&set, own[i]);
	if (type->signal)
		sigdelset(&set, type->signal);
	return set;
}

/* Return: 0 or an errno */
static int start(struct thread *thread)
{
	const sigset_t mask = mask_of(thread->type);
	pthread_attr_t attr;
	sigset_t old;
	int err = pthread_attr_init(&attr);

	if (err)
		return err;
	err = pthread_attr_setstacksize(&attr, thread->type->stack_bytes);
	if (!err) {
		pthread_sigmask(SIG_SETMASK, &mask, &old);
		err = pthread_create(&thread->id, &attr, thread_main, thread);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return err;
}

int thread_new(const struct thread_type *type, const char *name, void (*fn)(void *arg), void *arg,
	       struct thread **ret_thread)
{
	struct thread *thread = malloc(sizeof(*thread));
	int err;

	if (!thread)
		return -ENOMEM;
	*thread = (struct thread){ .type = type, .fn = fn, .arg = arg };
	snprintf(thread->name, sizeof(thread->name), "%s/%s", type->name, name);
	err = start(thread);
	if (err) {
		free(thread);
		return -err;
	}
	*ret_thread = thread;
	return 0;
}

int thread_join(struct thread *thread, int64_t deadline_ms)
{
	const struct timespec deadline = clock_at(deadline_ms);

	if (!thread)
		return 0;
	if (deadline_ms < 0)
		pthread_join(thread->id, NULL);
	else if (pthread_clockjoin_np(thread->id, NULL, CLOCK_MONOTONIC, &deadline))
		return -ETIMEDOUT;
	free(thread);
	return 0;
}

int thread_pin(const struct thread *thread, unsigned cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return -pthread_setaffinity_np(thread->id, sizeof(set), &set);
}

void thread_signal(const struct thread *thread)
{
	pthread_kill(thread->id, thread->type->signal);
}
