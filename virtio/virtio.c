/*
 * Core of the virtio devices: status machine, features, configuration; see virtio.h. Spec: virtio
 * 1.2, chapters 2 and 3.
 */
#include "virtio-internal.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

#define BIT64(n) (1ULL << (n))

/* Every device has these: they cost it nothing, the ring and this file do the work. */
#define CORE_FEATURES                                                                              \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_RING_RESET) |                                  \
	 BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))

bool virtio_has(const struct virtio_dev *dev, unsigned feature_bit)
{
	return dev->driver_features >> feature_bit & 1;
}

/* ---- what the device tells the driver by itself ---- */

static void config_irq(struct virtio_dev *dev)
{
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		dev->transport_ops->config_irq(dev);
}

void virtio_break(struct virtio_dev *dev, const char *fmt, ...)
{
	char why[128];
	va_list ap;
	bool warn;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	pthread_mutex_lock(&dev->event_lock);
	if (!atomic_exchange(&dev->needs_reset, true))
		config_irq(dev);
	warn = ratelimit_ok(&dev->broken_warning);
	pthread_mutex_unlock(&dev->event_lock);
	if (warn)
		log_warn("%s: the driver broke it and must reset it: %s", dev->name, why);
}

void virtio_config_begin(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->event_lock);
}

static void config_changed(struct virtio_dev *dev)
{
	dev->config_changed = dev->config_held;
	if (dev->config_held)
		return;
	atomic_fetch_add(&dev->config_generation, 1);
	config_irq(dev);
}

void virtio_config_end(struct virtio_dev *dev)
{
	config_changed(dev);
	pthread_mutex_unlock(&dev->event_lock);
}

void virtio_config_hold(struct virtio_dev *dev, bool on)
{
	pthread_mutex_lock(&dev->event_lock);
	dev->config_held = on;
	if (!on && dev->config_changed)
		config_changed(dev);
	pthread_mutex_unlock(&dev->event_lock);
}

/* ---- starting and stopping: vCPU threads, under dev->lock ---- */

int virtio_activate(struct virtio_dev *dev, const struct virtq_place *at)
{
	int err = virtio_loop_start(dev);

	if (err) {
		virtio_break(dev, "cannot start: %s", strerror(-err));
		return err;
	}
	for (unsigned i = 0; !err && i < dev->n_queues; i++)
		if (dev->queue[i].ready)
			err = virtio_queue_start(&dev->queue[i], at ? at[i] : VIRTQ_BEGIN);
	if (err)
		return err;
	virtio_worker_start(dev);
	return 0;
}

/* The worker has ended, or did not run. */
static void deactivate(struct virtio_dev *dev)
{
	dev->live = false;
	for (unsigned i = 0; i < dev->n_queues; i++) {
		dev->queue[i].watched = false;
		dev->queue[i].forget = false;
		virtio_queue_end(&dev->queue[i]);
	}
	if (dev->type->reset)
		dev->type->reset(dev);
	if (!dev->activated)
		return;
	if (dev->call.fd >= 0)
		close(dev->call.fd);
	dev->call.fd = -1;
	loop_fini(&dev->loop);
	dev->activated = false;
}

void virtio_forget(struct virtio_dev *dev)
{
	deactivate(dev);
	for (unsigned i = 0; i < dev->n_queues; i++)
		virtio_queue_forget(&dev->queue[i]);
	dev->driver_features = 0;
	dev->foreign_features = false;
	dev->resetting = false;
	pthread_mutex_lock(&dev->event_lock);
	atomic_store(&dev->needs_reset, false);
	atomic_store(&dev->status, 0);
	pthread_mutex_unlock(&dev->event_lock);
}

static void reset(struct virtio_dev *dev)
{
	virtio_forget(dev);
	if (dev->transport_ops && dev->transport_ops->reset_done)
		dev->transport_ops->reset_done(dev->transport, -1);
}

/* Complete what the worker has done its part of. */
static void settle(struct virtio_dev *dev)
{
	if (atomic_load(&dev->has_ended))
		dev->live = false; /* also if it could not be activated */
	if (dev->resetting && !dev->live)
		reset(dev);
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (atomic_load(&dev->queue[i].state) == VIRTIO_QUEUE_DONE)
			virtio_queue_end(&dev->queue[i]);
}

void virtio_lock(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	settle(dev);
}

void virtio_unlock(struct virtio_dev *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

/* Who asks again does not wait again. */
static void begin_reset(struct virtio_dev *dev)
{
	if (dev->resetting)
		return;
	dev->resetting = true;
	virtio_worker_stop(dev);
	if (dev->live)
		virtio_wait(dev, virtio_has_ended, 0, dev->transport_ops->patience_ms);
	settle(dev);
}

/* ---- status and features ---- */

bool virtio_features_good(const struct virtio_dev *dev, uint64_t features)
{
	if ((features & ~dev->device_features) || !(features & BIT64(VIRTIO_F_VERSION_1)))
		return false;
	return !dev->type->features_ok || dev->type->features_ok(dev, features);
}

static bool features_good(const struct virtio_dev *dev)
{
	return !dev->foreign_features && virtio_features_good(dev, dev->driver_features);
}

/* Sets what may be set, in order; bits that are set stay so, and nothing follows FAILED. */
static void advance(struct virtio_dev *dev, uint8_t wanted)
{
	static const uint8_t steps[] = { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
					 VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK };

	atomic_fetch_or(&dev->status, wanted & VIRTIO_CONFIG_S_FAILED);
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_FAILED)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		if (atomic_load(&dev->status) & steps[i])
			continue;
		if (!(wanted & steps[i]))
			return;
		if (steps[i] == VIRTIO_CONFIG_S_FEATURES_OK && !features_good(dev))
			return;
		atomic_fetch_or(&dev->status, steps[i]);
		/* Without a worker: the machine ends. */
		if (steps[i] == VIRTIO_CONFIG_S_DRIVER_OK && dev->worker)
			virtio_activate(dev, NULL);
	}
}

void virtio_set_status(struct virtio_dev *dev, uint8_t status)
{
	virtio_lock(dev);
	if (!status)
		begin_reset(dev);
	else if (!dev->resetting)
		advance(dev, status);
	virtio_unlock(dev);
}

uint8_t virtio_get_status(struct virtio_dev *dev)
{
	unsigned status;

	virtio_lock(dev);
	status = atomic_load(&dev->status);
	if (atomic_load(&dev->needs_reset))
		status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_unlock(dev);
	return (uint8_t)status;
}

uint32_t virtio_get_features(struct virtio_dev *dev, uint32_t select)
{
	/* What is offered never changes. */
	return select < 2 ? (uint32_t)(dev->device_features >> 32 * select) : 0;
}

uint32_t virtio_get_driver_features(struct virtio_dev *dev, uint32_t select)
{
	uint64_t features;

	virtio_lock(dev);
	features = dev->driver_features;
	virtio_unlock(dev);
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

void virtio_set_features(struct virtio_dev *dev, uint32_t select, uint32_t value)
{
	virtio_lock(dev);
	if (dev->resetting || (atomic_load(&dev->status) & VIRTIO_CONFIG_S_FEATURES_OK))
		; /* too late, or too early */
	else if (select >= 2)
		dev->foreign_features |= value != 0;
	else if (select)
		dev->driver_features = (uint32_t)dev->driver_features | (uint64_t)value << 32;
	else
		dev->driver_features = (dev->driver_features >> 32 << 32) | value;
	virtio_unlock(dev);
}

/* ---- configuration space ---- */

static bool config_covers(const struct virtio_dev *dev, uint64_t off, unsigned width)
{
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return false;
	return !(off % width) && off < dev->config_bytes && width <= dev->config_bytes - off;
}

uint64_t virtio_config_read(struct virtio_dev *dev, uint64_t off, unsigned width)
{
	uint64_t value;

	if (!dev->type->config_read || !config_covers(dev, off, width))
		return 0;
	virtio_lock(dev);
	pthread_mutex_lock(&dev->event_lock);
	value = dev->type->config_read(dev, (unsigned)off, width);
	pthread_mutex_unlock(&dev->event_lock);
	virtio_unlock(dev);
	return value;
}

void virtio_config_write(struct virtio_dev *dev, uint64_t off, unsigned width, uint64_t value)
{
	if (!dev->type->config_write || !config_covers(dev, off, width))
		return;
	virtio_lock(dev);
	dev->type->config_write(dev, (unsigned)off, width, value);
	virtio_unlock(dev);
}

/* ---- life ---- */

void virtio_attach(struct virtio_dev *dev, const struct virtio_transport_ops *ops, void *transport)
{
	pthread_mutex_lock(&dev->lock);
	dev->transport_ops = ops;
	dev->transport = transport;
	pthread_mutex_unlock(&dev->lock);
}

int virtio_init(struct virtio_dev *dev)
{
	assert(dev->n_queues <= VIRTIO_MAX_QUEUES && dev->type->queue_size <= VIRTQ_MAX_SIZE);
	pthread_mutex_init(&dev->lock, NULL);
	pthread_mutex_init(&dev->event_lock, NULL);
	pthread_mutex_init(&dev->done_lock, NULL);
	sem_init(&dev->go, 0, 0);
	clock_cond_init(&dev->done);
	dev->patience_ms = PATIENCE_MS;
	dev->device_features |= CORE_FEATURES;
	dev->call = (struct loop_source){ .fd = -1, .ready = virtio_worker_asked };
	dev->chain = malloc(sizeof(*dev->chain));
	dev->queue = calloc(dev->n_queues, sizeof(*dev->queue));
	if (!dev->chain || !dev->queue) {
		dev->n_queues = 0; /* virtio_fini() finds none */
		return -ENOMEM;
	}
	for (unsigned i = 0; i < dev->n_queues; i++) {
		struct virtio_queue *q = &dev->queue[i];

		*q = (struct virtio_queue){ .dev = dev, .index = i };
		q->kick = (struct loop_source){ .fd = -1, .ready = virtio_queue_kicked };
		virtio_queue_forget(q);
	}
	return 0;
}

void virtio_fini(struct virtio_dev *dev)
{
	while (!virtio_dev_stop_wait(dev, now_ms() + PATIENCE_MS))
		;
	pthread_mutex_lock(&dev->lock);
	if (dev->activated)
		reset(dev);
	pthread_mutex_unlock(&dev->lock);
	free(dev->queue);
	free(dev->chain);
	pthread_cond_destroy(&dev->done);
	pthread_mutex_destroy(&dev->done_lock);
	sem_destroy(&dev->go);
	pthread_mutex_destroy(&dev->event_lock);
	pthread_mutex_destroy(&dev->lock);
}
