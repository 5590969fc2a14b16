/*
 * Free page hints of the balloon: virtio 1.2, 5.5.6.6. Who asks gets a number, the command id, that no answer before
 * had; only what comes behind that number is an answer to it. Other threads than the worker come here under the
 * balloon's lock.
 */
#include <endian.h>
#include <errno.h>

#include "balloon-internal.h"
#include "lkvm/event.h"

/* Under the lock */
static void over(struct balloon_hints *h, bool lost)
{
	if (!h->into || h->ended)
		return;
	h->ended = true;
	h->lost = lost;
	h->is_current = false;
	if (h->told_fd >= 0)
		event_signal(h->told_fd);
}

/* Under the lock. What is an answer to an id before is none to this one, and one without an id is none to any. */
static void take_id(struct virtio_balloon *b, uint32_t id)
{
	struct balloon_hints *h = &b->hints;

	if (id == VIRTIO_BALLOON_CMD_ID_STOP && h->is_current)
		over(h, false);
	h->is_current = h->into && !h->ended && id == atomic_load(&h->command);
}

static void add(struct virtio_balloon *b, const struct iovec *iov)
{
	gpa_t at;

	if (ram_gpa_of(b->ram, iov->iov_base, &at)) /* what is beside RAM is not saved */
		return;
	pthread_mutex_lock(&b->lock);
	if (b->hints.is_current)
		ram_spare_add(b->hints.into, at, iov->iov_len);
	pthread_mutex_unlock(&b->lock);
}

void balloon_hint(struct virtio_dev *dev, unsigned index)
{
	struct virtio_balloon *b = balloon_of(dev);
	const struct virtq_chain *chain = dev->chain;
	uint32_t id;

	if (chain->n_out && (chain->n_in || virtq_read(chain, 0, &id, sizeof(id)) != chain->out_bytes ||
			     chain->out_bytes != sizeof(id))) {
		virtio_break(dev, "a command id of %llu bytes, %u writable buffers",
			     (unsigned long long)chain->out_bytes, chain->n_in);
		return;
	}
	if (chain->n_out) {
		pthread_mutex_lock(&b->lock);
		take_id(b, le32toh(id));
		pthread_mutex_unlock(&b->lock);
	}
	for (unsigned i = 0; i < chain->n_in; i++)
		add(b, &chain->iov[i]);
	virtio_push(dev, index, chain->token, 0);
}

void balloon_hint_reset(struct virtio_balloon *b)
{
	pthread_mutex_lock(&b->lock);
	over(&b->hints, true);
	b->hints.is_current = false;
	atomic_store(&b->hints.command, VIRTIO_BALLOON_CMD_ID_STOP);
	pthread_mutex_unlock(&b->lock);
}

void balloon_hint_poison(struct virtio_balloon *b)
{
	pthread_mutex_lock(&b->lock);
	over(&b->hints, true);
	b->hints.lost = true; /* it may have said all before */
	pthread_mutex_unlock(&b->lock);
}

/* ---- for who asks: main thread ---- */

/* Under the lock */
static void set_command(struct virtio_balloon *b, uint32_t command)
{
	virtio_config_begin(&b->dev);
	atomic_store(&b->hints.command, command);
	virtio_config_end(&b->dev);
}

static uint32_t next_id(uint32_t last)
{
	return last == UINT32_MAX || last < VIRTIO_BALLOON_CMD_ID_DONE ? VIRTIO_BALLOON_CMD_ID_DONE + 1 : last + 1;
}

int virtio_balloon_hint_begin(struct virtio_dev *dev, struct ram_spare *into, int told_fd)
{
	struct virtio_balloon *b = balloon_of(dev);

	if (!(atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK) || dev->needs_reset ||
	    !virtio_has(dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return -ENODEV;
	if (atomic_load(&b->poison))
		return -EPERM;
	pthread_mutex_lock(&b->lock);
	b->hints.last = next_id(b->hints.last);
	b->hints.into = into;
	b->hints.told_fd = told_fd;
	b->hints.is_current = b->hints.ended = b->hints.lost = false;
	set_command(b, b->hints.last);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

bool virtio_balloon_hint_end(struct virtio_dev *dev)
{
	struct virtio_balloon *b = balloon_of(dev);
	bool good;

	pthread_mutex_lock(&b->lock);
	good = b->hints.into && !b->hints.lost && !atomic_load(&b->poison) && !dev->needs_reset;
	b->hints.into = NULL;
	b->hints.told_fd = -1;
	b->hints.is_current = false;
	/* A driver that is new was not asked. */
	if (atomic_load(&b->hints.command) > VIRTIO_BALLOON_CMD_ID_DONE)
		set_command(b, VIRTIO_BALLOON_CMD_ID_DONE);
	pthread_mutex_unlock(&b->lock);
	return good;
}
