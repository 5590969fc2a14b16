/* What the two halves of the trace share: the rings (trace-ring.c), and what becomes of them (trace.c). */
#ifndef TRACE_RING_H
#define TRACE_RING_H

#include <stdatomic.h>
#include <sys/types.h>

#include "lkvm/trace.h"

/*
 * A slot's turn is that of the event which may be written to it, or one more: that event is there. It is kept
 * less the slot's place, so that memory of zeros, which costs nothing until it is used, is a ring.
 */
struct trace_slot {
	_Atomic(uint64_t) turn;
	struct trace_event event;
};

struct trace_track {
	_Atomic(uint64_t) tail; /* events that were put */
	_Atomic(uint64_t) dropped;
	struct trace_slot *slot; /* TRACE_TRACK_EVENTS of them */
	int wake_fd;		 /* signalled where a quarter more is full */
	const char *thread;
	_Atomic(pid_t) tid; /* 0: the main thread's */
	/* The writer's */
	uint64_t head;
	uint64_t told;	  /* of those that were dropped */
	uint64_t last_ns; /* of the last event that was written */
	bool named;	  /* the file knows the thread's name */
	struct trace_track *next;
};

/** trace_take() - the writer: Return: the next event, until trace_took(); NULL: there is none */
const struct trace_event *trace_take(struct trace_track *track);
void trace_took(struct trace_track *track);

#endif
