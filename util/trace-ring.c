/*
 * A track's ring: any thread puts, the writer takes; see trace.h.
 *
 * Who puts claims a place by moving the tail on, fills the slot, then gives it the next turn, which the writer
 * waits for. So two threads that put at the same time do not wait for each other, and events stand in the order in
 * which their places were claimed.
 */
#include "trace-ring.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/event.h"

#define PLACE(n) ((n) % TRACE_TRACK_EVENTS)

static struct trace_slot *slot_at(const struct trace_track *track, uint64_t n, uint64_t *ret_turn)
{
	struct trace_slot *slot = &track->slot[PLACE(n)];

	*ret_turn = atomic_load_explicit(&slot->turn, memory_order_acquire) + PLACE(n);
	return slot;
}

static void give_turn(struct trace_slot *slot, uint64_t n, uint64_t turn)
{
	atomic_store_explicit(&slot->turn, turn - PLACE(n), memory_order_release);
}

void trace_put(struct trace_track *track, const struct trace_event *event)
{
	uint64_t at = atomic_load_explicit(&track->tail, memory_order_relaxed), turn;
	struct trace_slot *slot;

	for (;;) {
		slot = slot_at(track, at, &turn);
		if (turn < at) {
			atomic_fetch_add_explicit(&track->dropped, 1, memory_order_relaxed);
			return;
		}
		if (turn > at) /* somebody else has it */
			at = atomic_load_explicit(&track->tail, memory_order_relaxed);
		else if (atomic_compare_exchange_weak_explicit(&track->tail, &at, at + 1, memory_order_relaxed,
							       memory_order_relaxed))
			break;
	}
	slot->event = *event;
	give_turn(slot, at, at + 1);
	if (!((at + 1) % (TRACE_TRACK_EVENTS / 4)))
		event_signal(track->wake_fd);
}

const struct trace_event *trace_take(struct trace_track *track)
{
	uint64_t turn;
	const struct trace_slot *slot = slot_at(track, track->head, &turn);

	return turn == track->head + 1 ? &slot->event : NULL;
}

/* The slot is for the event of the next lap. */
void trace_took(struct trace_track *track)
{
	give_turn(&track->slot[PLACE(track->head)], track->head, track->head + TRACE_TRACK_EVENTS);
	track->head++;
}

void trace_track_here(struct trace_track *track)
{
	atomic_store_explicit(&track->tid, gettid(), memory_order_relaxed);
}

void trace_device(struct trace_event *event, const char *name)
{
	snprintf(event->device, sizeof(event->device), "%s", name);
}
