/*
 * The core's own: virtio.c is the device as a whole, queue.c its queues, worker.c its thread, state.c
 * saves and loads.
 */
#ifndef VIRTIO_INTERNAL_H
#define VIRTIO_INTERNAL_H

#include "lkvm/event.h"
#include "lkvm/virtio.h"

#define PATIENCE_MS 1000 /* a vCPU waits for a worker */

/* ---- virtio.c ---- */

/** virtio_lock() - dev->lock, and complete what the worker has done its part of */
void virtio_lock(struct virtio_dev *dev);
void virtio_unlock(struct virtio_dev *dev);

/** virtio_config_hold() - tell the driver of no change of the configuration; off: tell it now */
void virtio_config_hold(struct virtio_dev *dev, bool on);

/** virtio_features_good() - do they go together, and is each offered? Bits 64 and up aside */
bool virtio_features_good(const struct virtio_dev *dev, uint64_t features);
/**
 * virtio_activate() - the driver is ready: so are its queues, and the worker runs; under dev->lock
 * @at: where each queue begins; NULL: at the beginning
 * Return: 0, or -errno: the device is broken
 */
int virtio_activate(struct virtio_dev *dev, const struct virtq_place *at);
/**
 * virtio_forget() - as if no driver had been there; under dev->lock
 * The worker has ended, or did not run. The transport is told nothing.
 */
void virtio_forget(struct virtio_dev *dev);

/* ---- queue.c: under dev->lock, where nothing else is said ---- */

/** virtio_queue_state() - any thread */
static inline unsigned virtio_queue_state(const struct virtio_queue *q)
{
	return atomic_load_explicit(&q->state, memory_order_acquire);
}

/** virtio_queue_kicked() - worker: the source of q->kick */
void virtio_queue_kicked(struct loop_source *src, uint32_t events);
/** virtio_queues_watch() - worker: hear of kicks of all live queues */
void virtio_queues_watch(struct virtio_dev *dev);
/** virtio_queue_unwatch() - worker: no kick comes after this, not even one that was fetched already */
void virtio_queue_unwatch(struct virtio_queue *q);
/** virtio_ring() - a ring as the driver has set it up and negotiated it; any thread */
struct virtq_setup virtio_ring(uint64_t features, uint16_t size, uint64_t desc, uint64_t avail,
			       uint64_t used);
/** virtio_queue_start() - make a queue that is ready live; Return: 0 or -errno, the device is broken */
int virtio_queue_start(struct virtio_queue *q, struct virtq_place at);
/** virtio_queue_end() - it has stopped, or never ran */
void virtio_queue_end(struct virtio_queue *q);
/** virtio_queue_forget() - back to what it was after the reset of the device */
void virtio_queue_forget(struct virtio_queue *q);

/* ---- worker.c: under dev->lock, where nothing else is said ---- */

/** virtio_worker_asked() - worker: the source of dev->call */
void virtio_worker_asked(struct loop_source *src, uint32_t events);
/** virtio_loop_start() - make dev->loop; Return: 0 or -errno */
int virtio_loop_start(struct virtio_dev *dev);
/** virtio_worker_start() - the worker that waits runs dev->loop */
void virtio_worker_start(struct virtio_dev *dev);
/** virtio_worker_ask() - something of what it is asked for has changed */
void virtio_worker_ask(struct virtio_dev *dev);
/** virtio_worker_stop() - ask it to drain and end */
void virtio_worker_stop(struct virtio_dev *dev);
/** virtio_has_ended() - any thread: it has; a condition of virtio_wait() */
bool virtio_has_ended(const struct virtio_dev *dev, unsigned unused);
/** virtio_is_up() - any thread: the device is activated, or could not be; a condition of virtio_wait() */
bool virtio_is_up(const struct virtio_dev *dev, unsigned unused);
/** virtio_wait() - vCPU: until @what happens, but not for long; gives dev->lock up meanwhile */
void virtio_wait(struct virtio_dev *dev, bool (*what)(const struct virtio_dev *, unsigned),
		 unsigned index, int64_t patience_ms);

#endif
