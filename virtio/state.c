/*
 * What a driver can observe of a virtio device's core and its queues, and how a device is saved and
 * loaded as a whole; see virtio.h.
 *
 * It stands still: the worker is parked, no chain is out, or only such as will be popped again. Then a
 * live queue is its setup and its place. Its loaded twin looks for requests as soon as it goes on, so no
 * notification is missed; of those that the interrupt has told of, the interrupt chips know.
 */
#include <errno.h>

#include "lkvm/types.h"
#include "virtio-internal.h"

#define STATUS_STEPS                                                                               \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |      \
	 VIRTIO_CONFIG_S_DRIVER_OK)

struct core_state {
	uint64_t driver_features;
	uint32_t id; /* of the kind of device */
	uint32_t config_generation;
	uint8_t status; /* without NEEDS_RESET */
	uint8_t needs_reset, foreign_features;
	uint8_t config_changed; /* the driver is to be told once the device goes on */
	/* Queues: as the driver has set them up, */
	uint32_t n;
	uint64_t desc[VIRTIO_MAX_QUEUES], avail[VIRTIO_MAX_QUEUES], used[VIRTIO_MAX_QUEUES];
	uint16_t size[VIRTIO_MAX_QUEUES];
	/* and of live ones, which are all that are ready of a device that runs, the place. */
	uint16_t next[VIRTIO_MAX_QUEUES];
	uint8_t wrap[VIRTIO_MAX_QUEUES], ready[VIRTIO_MAX_QUEUES];
};

static const struct state_field fields[] = {
	STATE_ONE(struct core_state, driver_features),
	STATE_ONE(struct core_state, id),
	STATE_ONE(struct core_state, config_generation),
	STATE_ONE(struct core_state, status, .bits = STATUS_STEPS | VIRTIO_CONFIG_S_FAILED),
	STATE_ONE(struct core_state, needs_reset, .max = 1),
	STATE_ONE(struct core_state, foreign_features, .max = 1),
	STATE_ONE(struct core_state, config_changed, .max = 1),
	STATE_ONE(struct core_state, n, .max = VIRTIO_MAX_QUEUES),
	STATE_SOME(struct core_state, desc, n),
	STATE_SOME(struct core_state, avail, n),
	STATE_SOME(struct core_state, used, n),
	STATE_SOME(struct core_state, size, n, .max = VIRTQ_MAX_SIZE),
	STATE_SOME(struct core_state, next, n),
	STATE_SOME(struct core_state, wrap, n, .max = 1),
	STATE_SOME(struct core_state, ready, n, .max = 1),
};

/* ---- what cannot be, whatever the device ---- */

/* Broken devices do not. */
static bool runs(const struct core_state *st)
{
	return (st->status & VIRTIO_CONFIG_S_DRIVER_OK) && !st->needs_reset;
}

static bool is_live(const struct core_state *st, unsigned index)
{
	return runs(st) && st->ready[index];
}

/* Each step was made after those before it. */
static bool is_status(unsigned status)
{
	switch (status & STATUS_STEPS) {
	case 0:
	case VIRTIO_CONFIG_S_ACKNOWLEDGE:
	case VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER:
	case STATUS_STEPS & ~VIRTIO_CONFIG_S_DRIVER_OK:
	case STATUS_STEPS:
		return true;
	default:
		return false;
	}
}

static const char *check_queue(const struct core_state *st, unsigned i)
{
	if (!st->size[i])
		return "size";
	if (is_live(st, i))
		return NULL; /* virtq_init_at() knows */
	if (st->next[i])
		return "next";
	return st->wrap[i] ? "wrap" : NULL;
}

static const char *check(const void *state)
{
	const struct core_state *st = state;
	const char *bad = NULL;

	if (!is_status(st->status))
		return "status";
	if (st->needs_reset && !(st->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return "needs_reset";
	if (st->foreign_features && (st->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return "foreign_features";
	for (unsigned i = 0; !bad && i < st->n; i++)
		bad = check_queue(st, i);
	return bad;
}

/* ---- save ---- */

/* With dev->lock */
static bool stands(struct virtio_dev *dev)
{
	bool held;

	pthread_mutex_lock(&dev->event_lock);
	held = dev->config_held; /* virtio_dev_hold_wait() has said yes */
	pthread_mutex_unlock(&dev->event_lock);
	return held && !dev->resetting && (!dev->live || atomic_load(&dev->is_held));
}

/* Then the worker is not as still as it seems. */
static bool is_stopping(const struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (virtio_queue_state(&dev->queue[i]) == VIRTIO_QUEUE_STOP)
			return true;
	return false;
}

/* Return: false: requests are out */
static bool save_queue(const struct virtio_queue *q, struct core_state *st)
{
	const unsigned i = q->index;
	struct virtq_place place;

	st->size[i] = q->size;
	st->desc[i] = q->desc;
	st->avail[i] = q->avail;
	st->used[i] = q->used;
	st->ready[i] = q->ready;
	if (virtio_queue_state(q) != VIRTIO_QUEUE_LIVE || st->needs_reset)
		return true;
	if (!virtq_rests(&q->vq) && !q->dev->type->retakes)
		return false;
	place = virtq_place(&q->vq);
	st->next[i] = place.next;
	st->wrap[i] = place.wrap;
	return true;
}

static void save_core(struct virtio_dev *dev, struct core_state *st)
{
	st->id = dev->type->id;
	st->n = dev->n_queues;
	st->driver_features = dev->driver_features;
	st->foreign_features = dev->foreign_features;
	pthread_mutex_lock(&dev->event_lock);
	st->status = (uint8_t)atomic_load(&dev->status);
	st->needs_reset = atomic_load(&dev->needs_reset);
	st->config_generation = atomic_load(&dev->config_generation);
	st->config_changed = dev->config_changed;
	pthread_mutex_unlock(&dev->event_lock);
}

/* The driver has unplugged the memory of a ring. With it the device has no way to go on, and so it has without. */
static bool lacks_ring(const struct virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->n_queues; i++)
		if (virtio_queue_state(&dev->queue[i]) == VIRTIO_QUEUE_LIVE && virtq_is_gone(&dev->queue[i].vq))
			return true;
	return false;
}

static int save(void *object, void *ret_state)
{
	struct virtio_dev *dev = object;
	struct core_state *st = ret_state;
	bool ok;

	virtio_lock(dev);
	ok = stands(dev) && !is_stopping(dev);
	save_core(dev, ret_state);
	st->needs_reset |= ok && lacks_ring(dev);
	for (unsigned i = 0; ok && i < dev->n_queues; i++)
		ok = save_queue(&dev->queue[i], ret_state);
	virtio_unlock(dev);
	return ok ? 0 : -EBUSY;
}

/* ---- load ---- */

/* The rings of a device that runs, as when they go live; others are judged when they do. */
static int judge_ring(const struct virtio_dev *dev, const struct core_state *st, unsigned i)
{
	const struct virtq_place place = { st->next[i], st->wrap[i] };
	const struct virtq_setup setup = virtio_ring(st->driver_features, st->size[i], st->desc[i],
						     st->avail[i], st->used[i]);
	struct virtq vq;

	return virtq_init_at(&vq, dev->ram, &setup, place);
}

static int judge(const struct virtio_dev *dev, const struct core_state *st)
{
	int err = 0;

	if (st->id != dev->type->id || st->n != dev->n_queues)
		return -ENODEV;
	if ((st->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    !virtio_features_good(dev, st->driver_features))
		return -ENODEV;
	if (runs(st) && !dev->worker)
		return -ENODEV;
	for (unsigned i = 0; !err && i < st->n; i++) {
		if (st->size[i] > dev->type->queue_size)
			err = -ENODEV;
		else if (is_live(st, i))
			err = judge_ring(dev, st, i);
	}
	return err;
}

/* What it did before is over: its requests are cancelled. */
static int end_worker(struct virtio_dev *dev)
{
	if (!stands(dev))
		return -EBUSY;
	if (!dev->live)
		return 0;
	virtio_worker_stop(dev);
	virtio_wait(dev, virtio_has_ended, 0, PATIENCE_MS);
	if (virtio_has_ended(dev, 0))
		return 0;
	dev->resetting = true;
	return -EBUSY;
}

static void load_core(struct virtio_dev *dev, const struct core_state *st)
{
	dev->driver_features = st->driver_features;
	dev->foreign_features = st->foreign_features;
	pthread_mutex_lock(&dev->event_lock);
	atomic_store(&dev->status, st->status);
	atomic_store(&dev->needs_reset, st->needs_reset);
	atomic_store(&dev->config_generation, st->config_generation);
	pthread_mutex_unlock(&dev->event_lock);
	for (unsigned i = 0; i < st->n; i++) {
		struct virtio_queue *q = &dev->queue[i];

		q->size = st->size[i];
		q->desc = st->desc[i];
		q->avail = st->avail[i];
		q->used = st->used[i];
		q->ready = st->ready[i];
	}
}

static int go_live(struct virtio_dev *dev, const struct core_state *st)
{
	struct virtq_place at[VIRTIO_MAX_QUEUES];
	int err;

	for (unsigned i = 0; i < st->n; i++)
		at[i] = (struct virtq_place){ st->next[i], st->wrap[i] };
	err = virtio_activate(dev, at);
	if (err)
		return err;
	/* Its own state is loaded into a device that is up. */
	virtio_wait(dev, virtio_is_up, 0, PATIENCE_MS);
	return atomic_load(&dev->is_up) ? 0 : -EIO;
}

static int load(void *object, const void *state)
{
	const struct core_state *st = state;
	struct virtio_dev *dev = object;
	int err;

	virtio_lock(dev);
	err = judge(dev, st);
	if (!err)
		err = end_worker(dev);
	if (!err) {
		virtio_forget(dev);
		load_core(dev, st);
		if (runs(st))
			err = go_live(dev, st);
		pthread_mutex_lock(&dev->event_lock);
		dev->config_changed = st->config_changed; /* activate() has told the driver long ago */
		pthread_mutex_unlock(&dev->event_lock);
	}
	virtio_unlock(dev);
	return err;
}

const struct state_type virtio_state_type = {
	STATE_TYPE("virtio", 1, struct core_state, fields),
	.check = check,
	.save = save,
	.load = load,
};

/* ---- a whole device ---- */

#define PARTS 3

/* Of what it is made, in the order in which that is loaded. Return: the type, NULL: it has no such part */
static const struct state_type *part_of(struct virtio_dev *dev, unsigned part, void **ret_object)
{
	*ret_object = part == 1 ? dev->transport : dev;
	if (!part)
		return &virtio_state_type;
	return part == 1 ? dev->transport_ops->state : dev->type->state;
}

int virtio_dev_save(struct virtio_dev *dev, struct state_buf *buf)
{
	const size_t before = buf->len;
	int err = 0;

	for (unsigned i = 0; !err && i < PARTS; i++) {
		void *object;
		const struct state_type *type = part_of(dev, i, &object);

		if (type)
			err = state_save(buf, type, object);
	}
	if (!err && dev->type->save_more)
		err = dev->type->save_more(dev, buf);
	if (err)
		buf->len = before;
	return err;
}

int virtio_dev_load(struct virtio_dev *dev, struct state_reader *in)
{
	int err = 0;

	for (unsigned i = 0; !err && i < PARTS; i++) {
		void *object;
		const struct state_type *type = part_of(dev, i, &object);

		if (type)
			err = state_load(in, type, object);
	}
	return !err && dev->type->load_more ? dev->type->load_more(dev, in) : err;
}
