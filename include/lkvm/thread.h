/*
 * Threads: the one place that makes them, each by the const type of its class.
 *
 * A class is what threads of one kind have in common: how they are named, how much stack they need,
 * which signal they take. What a class may ask of the host (its seccomp filter) belongs in the type,
 * too, once there are filters: a thread inherits that of its maker.
 */
#ifndef LKVM_THREAD_H
#define LKVM_THREAD_H

#include <stddef.h>
#include <stdint.h>

struct thread;

struct thread_type {
	const char *name;   /* "vcpu": the thread is "vcpu/0"; at most 15 bytes together, the rest is cut */
	size_t stack_bytes; /* at least 64 KiB */
	/*
	 * The one signal that it takes, for thread_signal(); 0: none. All others are blocked from the
	 * first instruction on, but those of the thread's own faults.
	 */
	int signal;
};

/**
 * thread_new() - start a thread that runs @fn(@arg)
 * @name: of this one within its class: "0", "blk0"; copied
 * Return: 0; -EAGAIN (the host's limits), -ENOMEM, -EINVAL; not logged. Then thread_join().
 */
int thread_new(const struct thread_type *type, const char *name, void (*fn)(void *arg), void *arg,
	       struct thread **ret_thread);

/**
 * thread_join() - wait until it has come to its end, and free it
 * @deadline_ms: of now_ms(); -1: as long as it takes
 * NULL is fine. One thread joins, and nobody signals it any more.
 * Return: 0, or -ETIMEDOUT: it still runs, this can be called again
 */
int thread_join(struct thread *thread, int64_t deadline_ms);

/** thread_pin() - let it run on this CPU of the host only; Return: 0 or -errno, not logged */
int thread_pin(const struct thread *thread, unsigned cpu);

/** thread_signal() - send it the signal of its type; any thread */
void thread_signal(const struct thread *thread);

#endif
