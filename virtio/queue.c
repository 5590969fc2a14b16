/*
 * The queues of a virtio device: how the driver sets one up, how it goes live, is served and stops;
 * see virtio.h. Spec: virtio 1.2, 2.6
 */
#include "virtio-internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- served: on the worker ---- */

/* May chains be taken off it? Not of one that is being drained. */
static bool is_served(const struct virtio_queue *q)
{
	return virtio_queue_state(q) == VIRTIO_QUEUE_LIVE && !q->dev->parked;
}

static const char *pop_error(int err)
{
	switch (err) {
	case -EFAULT:
		return "a buffer is not in RAM";
	case -E2BIG:
		return "too much of a request is not in RAM";
	case -ENOMEM:
		return strerror(ENOMEM);
	default:
		return "malformed ring";
	}
}

bool virtio_pop(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];
	int ret;

	if (!is_served(q) || atomic_load_explicit(&dev->needs_reset, memory_order_relaxed))
		return false;
	ret = virtq_pop(&q->vq, dev->chain);
	if (ret < 0)
		virtio_break(dev, "queue %u: %s", index, pop_error(ret));
	return ret == 1;
}

/* Before the kick is looked at, whoever has pushed is through with the ring. */
void virtio_pushed(struct virtio_dev *dev, unsigned index, int ret)
{
	if (ret > 0)
		virtio_again(dev, index);
	else
		virtio_break(dev, "queue %u: a buffer beside RAM is gone", index);
}

bool virtio_notify_me(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];

	return is_served(q) && !atomic_load_explicit(&dev->needs_reset, memory_order_relaxed) &&
	       virtq_notify_on(&q->vq);
}

void virtio_notify_not(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];

	if (is_served(q))
		virtq_notify_off(&q->vq);
}

struct virtq_chain *virtio_keep(struct virtio_dev *dev, struct virtq_chain *spare)
{
	struct virtq_chain *kept = dev->chain;

	dev->chain = spare;
	return kept;
}

void virtio_complete(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];
	unsigned state = virtio_queue_state(q);

	if ((state == VIRTIO_QUEUE_LIVE || state == VIRTIO_QUEUE_STOP) && virtq_flush(&q->vq))
		dev->transport_ops->queue_irq(dev, index);
}

void virtio_put_back(struct virtio_dev *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queue[index];
	const unsigned state = virtio_queue_state(q);

	if (state != VIRTIO_QUEUE_LIVE && state != VIRTIO_QUEUE_STOP)
		return;
	virtio_complete(dev, index);
	virtq_put_back(&q->vq);
}

void virtio_queue_moved(struct virtio_dev *dev, unsigned index, uint16_t next)
{
	struct virtio_queue *q = &dev->queue[index];
	const unsigned state = virtio_queue_state(q);

	if (state == VIRTIO_QUEUE_LIVE || state == VIRTIO_QUEUE_STOP)
		virtq_move(&q->vq, (struct virtq_place){ next, true });
}

int virtio_queue_irq_fd(struct virtio_dev *dev, unsigned index)
{
	const struct virtio_transport_ops *ops = dev->transport_ops;

	return ops->queue_irq_fd ? ops->queue_irq_fd(dev, index) : -1;
}

bool virtio_is_live(const struct virtio_dev *dev, unsigned index)
{
	return virtio_queue_state(&dev->queue[index]) == VIRTIO_QUEUE_LIVE;
}

void virtio_again(struct virtio_dev *dev, unsigned index)
{
	const unsigned state = virtio_queue_state(&dev->queue[index]);

	if (state == VIRTIO_QUEUE_LIVE || state == VIRTIO_QUEUE_STOP)
		event_signal(dev->queue[index].kick.fd);
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

	if (!is_served(q))
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
			virtio_again(dev, index);
			return;
		}
	} while (virtio_notify_me(dev, index));
}

void virtio_queue_kicked(struct loop_source *src, uint32_t events)
{
	struct virtio_queue *q = container_of(src, struct virtio_queue, kick);
	struct virtio_dev *dev = q->dev;

	(void)events;
	if (!atomic_load(&dev->needs_reset))
		dev->type->kick(dev, q->index);
}

/* ---- watched: on the worker ---- */

static void queue_watch(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;
	int err;

	/* Edge triggered, so that nobody need read it: that would be a system call a batch. */
	if (dev->type->watch)
		err = dev->type->watch(dev, q->kick.fd, true);
	else
		err = loop_add(&dev->loop, &q->kick, EPOLLIN | EPOLLET);
	q->watched = !err;
	if (err)
		virtio_break(dev, "queue %u cannot be used: %s", q->index, strerror(-err));
}

void virtio_queues_watch(struct virtio_dev *dev)
{
	for (unsigned i = 0; !dev->parked && i < dev->n_queues; i++)
		if (!dev->queue[i].watched &&
		    atomic_load(&dev->queue[i].state) == VIRTIO_QUEUE_LIVE)
			queue_watch(&dev->queue[i]);
}

/* No kick may come after the drain, not even one that this turn of the loop has fetched already. */
void virtio_queue_unwatch(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;

	if (q->watched && dev->type->watch)
		dev->type->watch(dev, q->kick.fd, false);
	else if (q->watched)
		loop_del(&dev->loop, &q->kick);
	q->watched = false;
}

/* ---- live: vCPU threads, under dev->lock ---- */

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

struct virtq_setup virtio_ring(uint64_t features, uint16_t size, uint64_t desc, uint64_t avail,
			       uint64_t used)
{
	return (struct virtq_setup){
		.size = size,
		.desc = GPA(desc),
		.avail = GPA(avail),
		.used = GPA(used),
		.packed = features >> VIRTIO_F_RING_PACKED & 1,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
	};
}

static int queue_open(struct virtio_queue *q, struct virtq_place at)
{
	struct virtio_dev *dev = q->dev;
	struct virtq_setup setup = virtio_ring(dev->driver_features, q->size, q->desc, q->avail, q->used);
	int err;

	setup.only_names = dev->type->only_names;
	err = virtq_init_at(&q->vq, dev->ram, &setup, at);
	if (err)
		return err;
	if (q->watch)
		virtq_watch(&q->vq, q->watch);
	/* Readable at once: the driver may have added buffers before it set DRIVER_OK. */
	q->kick.fd = event_open(1);
	if (q->kick.fd < 0)
		return q->kick.fd;
	if (dev->transport_ops->notify_fd)
		dev->transport_ops->notify_fd(dev->transport, q->index, q->kick.fd, true);
	atomic_store(&q->state, VIRTIO_QUEUE_LIVE);
	virtio_worker_ask(dev);
	return 0;
}

int virtio_queue_start(struct virtio_queue *q, struct virtq_place at)
{
	int err = queue_open(q, at);

	if (err)
		virtio_break(q->dev, "queue %u cannot be used: %s", q->index, strerror(-err));
	return err;
}

void virtio_queue_forget(struct virtio_queue *q)
{
	q->size = q->dev->type->queue_size;
	q->desc = q->avail = q->used = 0;
	q->ready = q->forget = false;
}

/* It has stopped, or never ran. */
void virtio_queue_end(struct virtio_queue *q)
{
	queue_close(q);
	virtq_fini(&q->vq);
	atomic_store(&q->state, VIRTIO_QUEUE_OFF);
	q->ready = false;
	if (!q->forget)
		return;
	virtio_queue_forget(q);
	if (q->dev->transport_ops->reset_done)
		q->dev->transport_ops->reset_done(q->dev->transport, (int)q->index);
}

static bool queue_stopped(const struct virtio_dev *dev, unsigned index)
{
	return atomic_load(&dev->queue[index].state) != VIRTIO_QUEUE_STOP ||
	       atomic_load(&dev->has_ended);
}

static void queue_stop(struct virtio_queue *q)
{
	struct virtio_dev *dev = q->dev;
	unsigned live = VIRTIO_QUEUE_LIVE;

	if (dev->live && atomic_compare_exchange_strong(&q->state, &live, VIRTIO_QUEUE_STOP)) {
		virtio_worker_ask(dev);
		virtio_wait(dev, queue_stopped, q->index, dev->transport_ops->patience_ms);
	} else if (!dev->live || atomic_load(&q->state) != VIRTIO_QUEUE_STOP) {
		virtio_queue_end(q);
	}
}

/* ---- queues, as the driver sets them up ---- */

uint64_t virtio_queue_get(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field)
{
	const struct virtio_queue *q;
	uint64_t value = 0;

	if (index >= dev->n_queues)
		return 0;
	virtio_lock(dev);
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
		value = q->forget;
		break;
	}
	virtio_unlock(dev);
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
	if (!ready) {
		queue_stop(q);
		return;
	}
	q->ready = true;
	if (q->dev->live)
		virtio_queue_start(q, VIRTQ_BEGIN);
}

static void queue_reset(struct virtio_queue *q)
{
	if (!virtio_has(q->dev, VIRTIO_F_RING_RESET))
		return;
	q->forget = true;
	if (q->ready)
		queue_stop(q);
	else
		virtio_queue_end(q);
}

void virtio_queue_set(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field,
		      uint64_t value)
{
	struct virtio_queue *q;

	if (index >= dev->n_queues)
		return;
	virtio_lock(dev);
	q = &dev->queue[index];
	if (dev->resetting)
		;
	else if (field == VIRTIO_QUEUE_READY && value <= 1)
		queue_set_ready(q, value);
	else if (field == VIRTIO_QUEUE_RESET && value == 1)
		queue_reset(q);
	else if (!q->ready)
		queue_setup(q, field, value);
	virtio_unlock(dev);
}

void virtio_notify(struct virtio_dev *dev, unsigned index)
{
	if (index >= dev->n_queues)
		return;
	virtio_lock(dev);
	if (dev->queue[index].kick.fd >= 0)
		event_signal(dev->queue[index].kick.fd);
	virtio_unlock(dev);
}
