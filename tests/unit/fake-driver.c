/* A driver of a device and the transport between them; see fake-driver.h. */
#include "fake-driver.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_S 20

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void on_queue_irq(struct virtio_dev *dev, unsigned index)
{
	struct fake_driver *d = dev->transport;

	pthread_mutex_lock(&d->lock);
	d->queue_irqs[index]++;
	pthread_cond_broadcast(&d->irq);
	pthread_mutex_unlock(&d->lock);
	if (d->on_queue_irq)
		d->on_queue_irq(d, index);
}

static void on_config_irq(struct virtio_dev *dev)
{
	struct fake_driver *d = dev->transport;

	pthread_mutex_lock(&d->lock);
	d->config_irqs++;
	pthread_cond_broadcast(&d->irq);
	pthread_mutex_unlock(&d->lock);
}

static int on_notify_fd(void *transport, unsigned index, int fd, bool on)
{
	struct fake_driver *d = transport;

	if (d->no_notify_fd)
		return -1;
	must((d->notify_fd[index] < 0) == on && (on || d->notify_fd[index] == fd));
	d->notify_fd[index] = on ? fd : -1;
	return 0;
}

static const struct virtio_transport_ops fake_ops = {
	.queue_irq = on_queue_irq,
	.config_irq = on_config_irq,
	.notify_fd = on_notify_fd,
	.patience_ms = TIMEOUT_S * 1000,
};

void fake_move(struct fake_driver *d, struct virtio_dev *dev)
{
	d->dev = dev;
	virtio_attach(dev, &fake_ops, d);
	must(!virtio_dev_start(dev));
}

void fake_attach(struct fake_driver *d, struct virtio_dev *dev)
{
	d->queue = calloc(dev->n_queues, sizeof(*d->queue));
	must(d->queue);
	fake_move(d, dev);
}

bool fake_negotiate(struct fake_driver *d, uint64_t features)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	d->features = features | FAKE_VERSION_1;
	virtio_set_status(d->dev, 0);
	virtio_set_status(d->dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_set_status(d->dev, status);
	virtio_set_features(d->dev, 0, (uint32_t)d->features);
	virtio_set_features(d->dev, 1, (uint32_t)(d->features >> 32));
	virtio_set_status(d->dev, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_get_status(d->dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void fake_setup_queue(struct fake_driver *d, unsigned index, uint16_t size)
{
	struct fake_queue *q = &d->queue[index];

	fake_queue_init(q, d, size, d->features);
	virtio_queue_set(d->dev, index, VIRTIO_QUEUE_SIZE, size);
	virtio_queue_set(d->dev, index, VIRTIO_QUEUE_DESC, q->setup.desc.v);
	virtio_queue_set(d->dev, index, VIRTIO_QUEUE_AVAIL, q->setup.avail.v);
	virtio_queue_set(d->dev, index, VIRTIO_QUEUE_USED, q->setup.used.v);
	virtio_queue_set(d->dev, index, VIRTIO_QUEUE_READY, 1);
}

void fake_wait_up(struct fake_driver *d)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (unsigned i = 0; d->dev->live && !atomic_load(&d->dev->is_up) && !atomic_load(&d->dev->has_ended);
	     i++) {
		must(i < TIMEOUT_S * 1000);
		nanosleep(&ms, NULL);
	}
}

bool fake_probe(struct fake_driver *d, uint64_t features, uint16_t size)
{
	const uint8_t good = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			     VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

	if (!fake_negotiate(d, features))
		return false;
	for (unsigned i = 0; i < d->dev->n_queues; i++)
		fake_setup_queue(d, i, size);
	virtio_set_status(d->dev, good);
	fake_wait_up(d);
	return virtio_get_status(d->dev) == good;
}

void fake_notify(struct fake_driver *d, unsigned index)
{
	const uint64_t one = 1;

	if (d->notify_fd[index] >= 0)
		must(write(d->notify_fd[index], &one, sizeof(one)) == sizeof(one));
	else
		virtio_notify(d->dev, index);
}

/* Waits for any interrupt; the caller holds d->lock and has looked for its cause under it. */
static void wait_irq(struct fake_driver *d)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TIMEOUT_S;
	must(!pthread_cond_timedwait(&d->irq, &d->lock, &until));
}

int fake_wait_used(struct fake_driver *d, unsigned index, uint32_t *ret_written)
{
	struct fake_queue *q = &d->queue[index];
	int id;

	pthread_mutex_lock(&d->lock);
	for (;;) {
		fake_irq_on(q, 0);
		id = fake_used(q, ret_written);
		if (id >= 0 || atomic_load(&d->dev->needs_reset))
			break;
		wait_irq(d);
	}
	pthread_mutex_unlock(&d->lock);
	return id;
}

int64_t fake_request(struct fake_driver *d, unsigned index, const struct fake_buf *bufs, unsigned n)
{
	struct fake_queue *q = &d->queue[index];
	uint32_t written = 0;
	int id;

	fake_irq_on(q, 0);
	id = d->features & FAKE_INDIRECT ? fake_add_indirect(q, bufs, n) : fake_add(q, bufs, n);
	must(id >= 0);
	if (fake_must_notify(q))
		fake_notify(d, index);
	id -= fake_wait_used(d, index, &written);
	if (atomic_load(&d->dev->needs_reset))
		return -1;
	must(!id);
	return written;
}

unsigned fake_queue_irqs(struct fake_driver *d, unsigned index)
{
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->queue_irqs[index];
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned fake_config_irqs(struct fake_driver *d)
{
	unsigned n;

	pthread_mutex_lock(&d->lock);
	n = d->config_irqs;
	pthread_mutex_unlock(&d->lock);
	return n;
}

void fake_wait_config_irq(struct fake_driver *d, unsigned count)
{
	pthread_mutex_lock(&d->lock);
	while (d->config_irqs < count)
		wait_irq(d);
	pthread_mutex_unlock(&d->lock);
}

static void echo_one(struct virtio_dev *dev, unsigned index)
{
	char bytes[64];
	size_t n = virtq_read(dev->chain, 0, bytes, sizeof(bytes));

	n = virtq_write(dev->chain, 0, bytes, n);
	virtio_push(dev, index, dev->chain->token, (uint32_t)n);
}

void fake_echo(struct virtio_dev *dev, unsigned index)
{
	virtio_serve(dev, index, echo_one);
}
