/*
 * The worker thread of a virtio device, what it is asked for, and who waits for that; see virtio.h.
 */
#include "virtio-internal.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

#define RECOVERY 10 /* a vCPU waits for a worker, within RECOVERY times the patience */

static const struct thread_type worker_threads = { .name = "dev", .stack_bytes = 256 * KIB };

static void tell_done(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->done_lock);
	pthread_cond_broadcast(&dev->done);
	pthread_mutex_unlock(&dev->done_lock);
}

static void drain(struct virtio_dev *dev, int index)
{
	if (dev->type->drain)
		dev->type->drain(dev, index);
}

/* ---- standing still: on the worker ---- */

/* A hold that was asked for since counts on what is_held said. Return: there is none */
static bool may_go_on(struct virtio_dev *dev)
{
	atomic_store(&dev->is_held, false);
	return !atomic_load(&dev->want_hold);
}

static void go_on(struct virtio_dev *dev)
{
	if (!may_go_on(dev)) {
		atomic_store(&dev->is_held, dev->standing);
	} else {
		dev->parked = false;
		if (dev->standing && dev->type->hold)
			dev->type->hold(dev, false);
		dev->standing = false;
	}
	tell_done(dev);
}

static void park(struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtio_queue_unwatch(&dev->queue[i]);
	dev->parked = true;
}

static void stand(struct virtio_dev *dev)
{
	for (unsigned i = 0; !dev->type->hold && i < dev->n_queues; i++)
		if (virtio_queue_state(&dev->queue[i]) == VIRTIO_QUEUE_LIVE)
			drain(dev, (int)i);
	dev->standing = true;
	if (dev->type->hold)
		dev->type->hold(dev, true);
	atomic_store(&dev->is_held, true);
	tell_done(dev);
}

/* Only the machine lets a device come to the end of what it has taken. */
static bool is_finishing(struct virtio_dev *dev)
{
	return atomic_load(&dev->want_hold) == 1U << VIRTIO_HOLD_PAUSE && dev->type->busy &&
	       dev->type->busy(dev);
}

static void worker_hold(struct virtio_dev *dev)
{
	const bool wanted = atomic_load(&dev->want_hold);

	if (!wanted && dev->parked)
		go_on(dev);
	if (wanted && !dev->parked)
		park(dev);
	if (dev->parked && !dev->standing && !is_finishing(dev))
		stand(dev);
}

/* In the next turn: this one may be in the middle of something. */
void virtio_idle(struct virtio_dev *dev)
{
	if (dev->parked && !dev->standing)
		event_signal(dev->call.fd);
}

/* ---- what it is asked for: on the worker ---- */

static void worker_end(struct virtio_dev *dev)
{
	if (dev->parked && !atomic_load(&dev->want_hold))
		go_on(dev);
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtio_queue_unwatch(&dev->queue[i]);
	drain(dev, -1);
	loop_quit(&dev->loop);
}

static void worker_stop_queue(struct virtio_queue *q)
{
	virtio_queue_unwatch(q);
	drain(q->dev, (int)q->index);
	atomic_store(&q->state, VIRTIO_QUEUE_DONE);
	tell_done(q->dev);
}

void virtio_worker_asked(struct loop_source *src, uint32_t events)
{
	struct virtio_dev *dev = container_of(src, struct virtio_dev, call);

	(void)events;
	event_clear(src->fd);
	atomic_store(&dev->asked, false);
	if (atomic_load(&dev->want_end)) {
		worker_end(dev);
		return;
	}
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (atomic_load(&dev->queue[i].state) == VIRTIO_QUEUE_STOP)
			worker_stop_queue(&dev->queue[i]);
	worker_hold(dev);
	if (dev->type->irqs_moved)
		dev->type->irqs_moved(dev);
	virtio_queues_watch(dev);
}

static int worker_activate(struct virtio_dev *dev)
{
	int err = dev->type->activate ? dev->type->activate(dev) : 0;

	if (err) {
		virtio_break(dev, "cannot start: %s", strerror(-err));
		return err;
	}
	virtio_queues_watch(dev);
	atomic_store(&dev->is_held, dev->standing);
	atomic_store(&dev->is_up, true);
	tell_done(dev);
	return 0;
}

static void worker_run(struct virtio_dev *dev)
{
	int err = worker_activate(dev);

	if (!err) {
		err = loop_run(&dev->loop);
		assert(!err);
	}
	atomic_store(&dev->has_ended, true);
	tell_done(dev);
}

/* From one DRIVER_OK to the next it waits here, and touches nothing. */
static void worker_thread(void *arg)
{
	struct virtio_dev *dev = arg;

	for (;;) {
		while (sem_wait(&dev->go))
			;
		if (atomic_load(&dev->gone))
			return;
		worker_run(dev);
	}
}

int virtio_dev_start(struct virtio_dev *dev)
{
	atomic_store(&dev->gone, false);
	return thread_new(&worker_threads, dev->name, worker_thread, dev, &dev->worker);
}

/* ---- starting and asking it: vCPU threads, under dev->lock ---- */

void virtio_worker_ask(struct virtio_dev *dev)
{
	if (!dev->live)
		return;
	atomic_store(&dev->asked, true);
	event_signal(dev->call.fd);
}

void virtio_irqs_moved(struct virtio_dev *dev)
{
	if (!dev->type->irqs_moved)
		return;
	virtio_lock(dev);
	virtio_worker_ask(dev);
	virtio_unlock(dev);
}

void virtio_worker_start(struct virtio_dev *dev)
{
	dev->live = true;
	sem_post(&dev->go);
}

int virtio_loop_start(struct virtio_dev *dev)
{
	int err = loop_init(&dev->loop);

	dev->activated = true;
	if (err)
		return err;
	dev->parked = dev->standing = atomic_load(&dev->want_hold);
	atomic_store(&dev->asked, false);
	atomic_store(&dev->want_end, false);
	atomic_store(&dev->has_ended, false);
	atomic_store(&dev->is_held, false);
	atomic_store(&dev->is_up, false);
	dev->call.fd = event_open(0);
	if (dev->call.fd < 0)
		return dev->call.fd;
	return loop_add(&dev->loop, &dev->call, EPOLLIN);
}

void virtio_worker_stop(struct virtio_dev *dev)
{
	atomic_store(&dev->want_end, true);
	virtio_worker_ask(dev);
}

/* ---- waiting for it ---- */

static bool is_held(const struct virtio_dev *dev, unsigned unused)
{
	(void)unused;
	return atomic_load(&dev->is_held) || atomic_load(&dev->has_ended) ||
	       !atomic_load(&dev->want_hold);
}

bool virtio_has_ended(const struct virtio_dev *dev, unsigned unused)
{
	(void)unused;
	return atomic_load(&dev->has_ended);
}

bool virtio_is_up(const struct virtio_dev *dev, unsigned unused)
{
	(void)unused;
	return atomic_load(&dev->is_up) || atomic_load(&dev->has_ended);
}

/* Without dev->lock. Return: did that happen? */
static bool wait_until(struct virtio_dev *dev, bool (*what)(const struct virtio_dev *, unsigned),
		       unsigned index, int64_t deadline_ms)
{
	const struct timespec deadline = clock_at(deadline_ms);
	bool happened;
	int err = 0;

	pthread_mutex_lock(&dev->done_lock);
	while (!(happened = what(dev, index)) && !err)
		err = pthread_cond_timedwait(&dev->done, &dev->done_lock, &deadline);
	pthread_mutex_unlock(&dev->done_lock);
	return happened;
}

/* A vCPU does */
void virtio_wait(struct virtio_dev *dev, bool (*what)(const struct virtio_dev *, unsigned),
		 unsigned index, int64_t patience_ms)
{
	virtio_unlock(dev);
	wait_until(dev, what, index, now_ms() + patience_ms);
	virtio_lock(dev);
}

/*
 * It must not be kept from what the machine wants of it: not by many short waits either, as one
 * string instruction could make them.
 */
static void wait_for_hold(struct virtio_dev *dev)
{
	int64_t start = now_ms(), patience;

	dev->patience_ms += (start - dev->patience_at_ms) / RECOVERY;
	if (dev->patience_ms > PATIENCE_MS)
		dev->patience_ms = PATIENCE_MS;
	dev->patience_at_ms = start;
	patience = dev->patience_ms;
	dev->patience_ms = 0;
	virtio_wait(dev, is_held, 0, patience);
	dev->patience_ms += patience - (now_ms() - start);
}

static void want_hold(struct virtio_dev *dev, enum virtio_hold why, bool on)
{
	if (on)
		atomic_fetch_or(&dev->want_hold, 1U << why);
	else
		atomic_fetch_and(&dev->want_hold, ~(1U << why));
	virtio_worker_ask(dev);
}

void virtio_hold(struct virtio_dev *dev, enum virtio_hold why, bool on)
{
	virtio_lock(dev);
	want_hold(dev, why, on);
	if (on && dev->live)
		wait_for_hold(dev);
	virtio_unlock(dev);
}

void virtio_dev_hold_begin(struct virtio_dev *dev)
{
	virtio_lock(dev);
	want_hold(dev, VIRTIO_HOLD_PAUSE, true);
	virtio_unlock(dev);
}

bool virtio_dev_hold_wait(struct virtio_dev *dev, int64_t deadline_ms)
{
	bool live;

	virtio_lock(dev);
	live = dev->live;
	virtio_unlock(dev);
	if (live && !wait_until(dev, is_held, 0, deadline_ms))
		return false;
	virtio_config_hold(dev, true);
	return true;
}

void virtio_dev_hold_end(struct virtio_dev *dev)
{
	virtio_config_hold(dev, false);
	virtio_lock(dev);
	want_hold(dev, VIRTIO_HOLD_PAUSE, false);
	virtio_unlock(dev);
}

void virtio_dev_stop_begin(struct virtio_dev *dev)
{
	atomic_store(&dev->last, true);
	virtio_lock(dev);
	virtio_worker_stop(dev);
	virtio_unlock(dev);
}

/* It has ended, or waits for the next DRIVER_OK: it comes out at once. */
static void worker_join(struct virtio_dev *dev)
{
	if (!dev->worker)
		return;
	atomic_store(&dev->gone, true);
	sem_post(&dev->go);
	thread_join(dev->worker, -1);
	dev->worker = NULL;
	dev->live = false;
}

bool virtio_dev_stop_wait(struct virtio_dev *dev, int64_t deadline_ms)
{
	bool ended;

	virtio_dev_stop_begin(dev);
	virtio_lock(dev);
	ended = !dev->live;
	virtio_unlock(dev);
	if (!ended)
		wait_until(dev, virtio_has_ended, 0, deadline_ms);
	virtio_lock(dev);
	ended = !dev->live || atomic_load(&dev->has_ended);
	if (ended)
		worker_join(dev);
	virtio_unlock(dev);
	return ended;
}
