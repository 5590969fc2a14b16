/*
 * Core of the virtio devices: status machine, features, set-up and life of the queues, worker
 * thread; see virtio.h. Spec: virtio 1.2, chapters 2 and 3.
 */
#include "lkvm/virtio.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lkvm/types.h"

#define WORKER_STACK_BYTES (256 * KIB)

#define BIT64(n) (1ULL << (n))

/* Every device has these: they cost it nothing, the ring and this file do the work. */
#define CORE_FEATURES                                                                              \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_RING_RESET) |                                  \
	 BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX))

bool virtio_has(const struct virtio_dev *dev, unsigned feature_bit)
{
	return dev->driver_features >> feature_bit & 1;
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	/* Fails only when the counter is full: then it is readable anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void clear_fd(int fd)
{
	uint64_t count;

	/* Fails only when there is nothing to clear. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
}

/* ---- what the device tells the driver by itself ---- */

static void config_irq(struct virtio_dev *dev)
{
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		dev->transport_ops->config_irq(dev->transport);
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

void virtio_config_end(struct virtio_dev *dev)
{
	atomic_fetch_add(&dev->config_generation, 1);
	config_irq(dev);
	pthread_mutex_unlock(&dev->event_lock);
}

/* ---- live queues: the worker ---- */

bool virtio_pop(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];
	int ret;

	if (!q->live || atomic_load_explicit(&dev->needs_reset, memory_order_relaxed))
		return false;
	ret = virtq_pop(&q->vq, dev->chain);
	if (ret < 0)
		virtio_break(dev, "queue %u: %s", index,
			     ret == -EFAULT ? "a buffer is not in RAM" : "malformed ring");
	return ret == 1;
}

void virtio_complete(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];

	if (q->live && virtq_flush(&q->vq))
		dev->transport_ops->queue_irq(dev->transport, index);
}

void virtio_serve(struct virtio_dev *dev, unsigned index,
		  void (*handle)(struct virtio_dev *dev, unsigned index))
{
	virtio_serve_while(dev, index, NULL, handle);
}

void virtio_serve_while(struct virtio_dev *dev, unsigned index,
			bool (*more)(struct virtio_dev *dev, unsigned index),
			void (*handle)(struct virtio_dev *dev, unsigned index))
{
	struct virtio_queue *q = &dev->queue[index];
	unsigned left;

	if (!q->live)
		return;
	left = q->vq.setup.size;
	do {
		virtq_notify_off(&q->vq);
		for (; left && (!more || more(dev, index)) && virtio_pop(dev, index); left--)
			handle(dev, index);
		if (dev->type->commit)
			dev->type->commit(dev);
		virtio_complete(dev, index);
		if (more && !more(dev, index))
			return;
		if (!left) {
			signal_fd(q->kick.fd);
			return;
		}
	} while (!atomic_load(&dev->needs_reset) && virtq_notify_on(&q->vq));
}

static void queue_kicked(struct loop_source *src, uint32_t events)
{
	struct virtio_queue *q = container_of(src, struct virtio_queue, kick);
	struct virtio_dev *dev = q->dev;

	(void)events;
	if (!atomic_load(&dev->needs_reset))
		dev->type->kick(dev, q->index);
}

/* These run on the worker, or before there is one. */

static int queue_watch(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];
	/* Edge triggered, so that nobody need read it: that would be a system call a batch. */
	int err = loop_add(&dev->loop, &q->kick, EPOLLIN | EPOLLET);

	q->live = !err;
	return err;
}

static void queue_unwatch(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];

	loop_del(&dev->loop, &q->kick);
}

static int queue_drain(struct virtio_dev *dev, unsigned index)
{
	queue_unwatch(dev, index);
	if (dev->type->drain)
		dev->type->drain(dev, (int)index);
	dev->queue[index].live = false;
	return 0;
}

/* No kick may come after the drain, not even one that this turn of the loop has fetched already. */
static int worker_end(struct virtio_dev *dev, unsigned unused)
{
	(void)unused;
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (dev->queue[i].live)
			queue_unwatch(dev, i);
	if (dev->type->drain)
		dev->type->drain(dev, -1);
	loop_quit(&dev->loop);
	return 0;
}

static void worker_called(struct loop_source *src, uint32_t events)
{
	struct virtio_dev *dev = container_of(src, struct virtio_dev, call);

	(void)events;
	clear_fd(src->fd);
	dev->call_ret = dev->call_fn(dev, dev->call_index);
	sem_post(&dev->called);
}

static void *worker_thread(void *arg)
{
	struct virtio_dev *dev = arg;
	char name[16];

	int err;

	snprintf(name, sizeof(name), "dev/%s", dev->name);
	pthread_setname_np(pthread_self(), name);
	err = loop_run(&dev->loop);
	assert(!err);
	(void)err;
	return NULL;
}

/* ---- starting and stopping: vCPU threads, under dev->lock ---- */

/* The worker takes no lock that the caller holds, and no kick() blocks: the answer comes soon. */
static int worker_call(struct virtio_dev *dev, int (*fn)(struct virtio_dev *, unsigned),
		       unsigned index)
{
	dev->call_fn = fn;
	dev->call_index = index;
	signal_fd(dev->call.fd);
	while (sem_wait(&dev->called) && errno == EINTR)
		;
	return dev->call_ret;
}

/* All signals but those of its own faults are other threads' business. */
static int worker_start(struct virtio_dev *dev)
{
	sigset_t blocked, old;
	pthread_attr_t attr;
	int err;

	sigfillset(&blocked);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGILL);
	sigdelset(&blocked, SIGFPE);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &blocked, &old);
	err = pthread_create(&dev->worker, &attr, worker_thread, dev);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	dev->live = !err;
	return -err;
}

static void queue_close(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;

	if (q->kick.fd < 0)
		return;
	if (dev->transport_ops->notify_fd)
		dev->transport_ops->notify_fd(dev->transport, q->index, q->kick.fd, false);
	close(q->kick.fd);
	q->kick.fd = -1;
}

static int queue_serve(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;

	if (dev->held)
		return 0;
	return dev->live ? worker_call(dev, queue_watch, q->index) : queue_watch(dev, q->index);
}

static int queue_open(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;
	const struct virtq_setup setup = {
		.size = q->size,
		.desc = GPA(q->desc),
		.avail = GPA(q->avail),
		.used = GPA(q->used),
		.packed = virtio_has(dev, VIRTIO_F_RING_PACKED),
		.event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX),
		.indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC),
	};
	int err = virtq_init(&q->vq, dev->ram, &setup);

	if (err)
		return err;
	/* Readable at once: the driver may have added buffers before it set DRIVER_OK. */
	q->kick.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick.fd < 0)
		return -errno;
	err = queue_serve(q);
	if (!err && dev->transport_ops->notify_fd)
		dev->transport_ops->notify_fd(dev->transport, q->index, q->kick.fd, true);
	return err;
}

static int queue_start(struct virtio_queue *q)
{
	int err = queue_open(q);

	if (err)
		virtio_break(q->dev, "queue %u cannot be used: %s", q->index, strerror(-err));
	return err;
}

static void queue_stop(struct virtio_queue *q)
{
	if (q->live && q->dev->live)
		worker_call(q->dev, queue_drain, q->index);
	q->live = false;
	queue_close(q);
}

static void hold_queue(struct virtio_queue *q, bool on)
{
	struct virtio_dev *dev = q->dev;
	int err = 0;

	if (on && q->live) {
		worker_call(dev, queue_drain, q->index);
	} else if (!on && !q->live && q->kick.fd >= 0) {
		signal_fd(q->kick.fd); /* there may be something in it since before */
		err = queue_serve(q);
	}
	if (err)
		virtio_break(dev, "queue %u cannot be used: %s", q->index, strerror(-err));
}

void virtio_hold(struct virtio_dev *dev, bool on)
{
	pthread_mutex_lock(&dev->lock);
	dev->held = on;
	for (unsigned i = 0; dev->live && i < dev->n_queues; i++)
		hold_queue(&dev->queue[i], on);
	pthread_mutex_unlock(&dev->lock);
}

static int loop_start(struct virtio_dev *dev)
{
	int err = loop_init(&dev->loop);

	dev->activated = true;
	if (err)
		return err;
	dev->call.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->call.fd < 0)
		return -errno;
	return loop_add(&dev->loop, &dev->call, EPOLLIN);
}

static void activate(struct virtio_dev *dev)
{
	int err = loop_start(dev);

	if (!err && dev->type->activate)
		err = dev->type->activate(dev);
	if (err)
		goto fail;
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (dev->queue[i].ready && queue_start(&dev->queue[i]))
			return;
	err = worker_start(dev);
	if (!err)
		return;
fail:
	virtio_break(dev, "cannot start: %s", strerror(-err));
}

static void deactivate(struct virtio_dev *dev)
{
	if (dev->live) {
		worker_call(dev, worker_end, 0);
		pthread_join(dev->worker, NULL);
		dev->live = false;
	}
	for (unsigned i = 0; i < dev->n_queues; i++)
		queue_stop(&dev->queue[i]);
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

/* ---- status and features ---- */

static void queue_forget(struct virtio_queue *q)
{
	q->size = q->dev->type->queue_size;
	q->desc = q->avail = q->used = 0;
	q->ready = false;
}

static void reset(struct virtio_dev *dev)
{
	deactivate(dev);
	for (unsigned i = 0; i < dev->n_queues; i++)
		queue_forget(&dev->queue[i]);
	dev->driver_features = 0;
	dev->foreign_features = false;
	pthread_mutex_lock(&dev->event_lock);
	atomic_store(&dev->needs_reset, false);
	atomic_store(&dev->status, 0);
	pthread_mutex_unlock(&dev->event_lock);
}

static bool features_good(const struct virtio_dev *dev)
{
	if (dev->foreign_features || (dev->driver_features & ~dev->device_features))
		return false;
	if (!virtio_has(dev, VIRTIO_F_VERSION_1))
		return false;
	return !dev->type->features_ok || dev->type->features_ok(dev, dev->driver_features);
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
		if (steps[i] == VIRTIO_CONFIG_S_DRIVER_OK)
			activate(dev);
	}
}

void virtio_set_status(struct virtio_dev *dev, uint8_t status)
{
	pthread_mutex_lock(&dev->lock);
	if (status)
		advance(dev, status);
	else
		reset(dev);
	pthread_mutex_unlock(&dev->lock);
}

uint8_t virtio_get_status(struct virtio_dev *dev)
{
	unsigned status;

	pthread_mutex_lock(&dev->lock);
	status = atomic_load(&dev->status);
	if (atomic_load(&dev->needs_reset))
		status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	pthread_mutex_unlock(&dev->lock);
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

	pthread_mutex_lock(&dev->lock);
	features = dev->driver_features;
	pthread_mutex_unlock(&dev->lock);
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

void virtio_set_features(struct virtio_dev *dev, uint32_t select, uint32_t value)
{
	pthread_mutex_lock(&dev->lock);
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_FEATURES_OK)
		; /* too late */
	else if (select >= 2)
		dev->foreign_features |= value != 0;
	else if (select)
		dev->driver_features = (uint32_t)dev->driver_features | (uint64_t)value << 32;
	else
		dev->driver_features = (dev->driver_features >> 32 << 32) | value;
	pthread_mutex_unlock(&dev->lock);
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
	pthread_mutex_lock(&dev->lock);
	pthread_mutex_lock(&dev->event_lock);
	value = dev->type->config_read(dev, (unsigned)off, width);
	pthread_mutex_unlock(&dev->event_lock);
	pthread_mutex_unlock(&dev->lock);
	return value;
}

void virtio_config_write(struct virtio_dev *dev, uint64_t off, unsigned width, uint64_t value)
{
	if (!dev->type->config_write || !config_covers(dev, off, width))
		return;
	pthread_mutex_lock(&dev->lock);
	dev->type->config_write(dev, (unsigned)off, width, value);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- queues, as the driver sets them up ---- */

uint64_t virtio_queue_get(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field)
{
	const struct virtio_queue *q;
	uint64_t value = 0;

	if (index >= dev->n_queues)
		return 0;
	pthread_mutex_lock(&dev->lock);
	q = &dev->queue[index];
	switch (field) {
	case VIRTIO_QUEUE_MAX_SIZE:
		value = dev->type->queue_size;
		break;
	case VIRTIO_QUEUE_SIZE:
		value = q->size;
		break;
	case VIRTIO_QUEUE_READY:
		value = q->ready;
		break;
	case VIRTIO_QUEUE_DESC:
		value = q->desc;
		break;
	case VIRTIO_QUEUE_AVAIL:
		value = q->avail;
		break;
	case VIRTIO_QUEUE_USED:
		value = q->used;
		break;
	case VIRTIO_QUEUE_RESET:
		break;
	}
	pthread_mutex_unlock(&dev->lock);
	return value;
}

static void queue_resize(struct virtio_queue *q, uint64_t size)
{
	if (!size || size > q->dev->type->queue_size)
		return;
	if ((size & (size - 1)) && !virtio_has(q->dev, VIRTIO_F_RING_PACKED))
		return;
	q->size = (uint16_t)size;
}

/* The values of a queue that is ready are frozen. */
static void queue_setup(struct virtio_queue *q, enum virtio_queue_field field, uint64_t value)
{
	if (field == VIRTIO_QUEUE_SIZE)
		queue_resize(q, value);
	else if (field == VIRTIO_QUEUE_DESC)
		q->desc = value;
	else if (field == VIRTIO_QUEUE_AVAIL)
		q->avail = value;
	else if (field == VIRTIO_QUEUE_USED)
		q->used = value;
}

static void queue_set_ready(struct virtio_queue *q, bool ready)
{
	if (q->ready == ready)
		return;
	q->ready = ready;
	if (!ready)
		queue_stop(q);
	else if (q->dev->live)
		queue_start(q);
}

void virtio_queue_set(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field,
		      uint64_t value)
{
	struct virtio_queue *q;

	if (index >= dev->n_queues)
		return;
	pthread_mutex_lock(&dev->lock);
	q = &dev->queue[index];
	if (field == VIRTIO_QUEUE_READY && value <= 1) {
		queue_set_ready(q, value);
	} else if (field == VIRTIO_QUEUE_RESET) {
		if (value == 1 && virtio_has(dev, VIRTIO_F_RING_RESET)) {
			queue_set_ready(q, false);
			queue_forget(q);
		}
	} else if (!q->ready) {
		queue_setup(q, field, value);
	}
	pthread_mutex_unlock(&dev->lock);
}

void virtio_notify(struct virtio_dev *dev, unsigned index)
{
	if (index >= dev->n_queues)
		return;
	pthread_mutex_lock(&dev->lock);
	if (dev->queue[index].kick.fd >= 0)
		signal_fd(dev->queue[index].kick.fd);
	pthread_mutex_unlock(&dev->lock);
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
	sem_init(&dev->called, 0, 0);
	dev->device_features |= CORE_FEATURES;
	dev->call = (struct loop_source){ .fd = -1, .ready = worker_called };
	dev->chain = malloc(sizeof(*dev->chain));
	dev->queue = calloc(dev->n_queues, sizeof(*dev->queue));
	if (!dev->chain || !dev->queue)
		return -ENOMEM;
	for (unsigned i = 0; i < dev->n_queues; i++) {
		struct virtio_queue *q = &dev->queue[i];

		*q = (struct virtio_queue){ .dev = dev, .index = i };
		q->kick = (struct loop_source){ .fd = -1, .ready = queue_kicked };
		queue_forget(q);
	}
	return 0;
}

void virtio_fini(struct virtio_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->activated)
		reset(dev);
	pthread_mutex_unlock(&dev->lock);
	free(dev->queue);
	free(dev->chain);
	sem_destroy(&dev->called);
	pthread_mutex_destroy(&dev->event_lock);
	pthread_mutex_destroy(&dev->lock);
}
