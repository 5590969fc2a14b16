/* virtio entropy device: the host's random numbers. Spec: virtio 1.2, 5.4 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lkvm/virtio-rng.h"

/* What one request gets at most: a guest that asks for a gigabyte must not keep the worker busy. */
#define REQUEST_BYTES 4096

struct virtio_rng {
	struct virtio_dev dev;
	uint8_t random[REQUEST_BYTES];
};

static void handle(struct virtio_dev *dev, unsigned index)
{
	struct virtio_rng *rng = container_of(dev, struct virtio_rng, dev);
	struct virtq_chain *chain = dev->chain;
	size_t want = chain->in_bytes < REQUEST_BYTES ? (size_t)chain->in_bytes : REQUEST_BYTES;
	ssize_t got;

	if (chain->n_out || !want) {
		virtio_break(dev, "a request with readable buffers or without writable ones");
		return;
	}
	/* Only up to 256 bytes are sure to come whole. */
	do {
		got = getrandom(rng->random, want, 0);
	} while (got < 0 && errno == EINTR);
	got = got > 0 ? (ssize_t)virtq_write(chain, 0, rng->random, (size_t)got) : 0;
	virtio_push(dev, index, chain->token, (uint32_t)got);
	explicit_bzero(rng->random, sizeof(rng->random)); /* the guest's keys are made of it */
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	virtio_serve(dev, index, handle);
}

static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	(void)index, (void)c;
	ret->what = "read";
}

static const struct virtio_type rng_type = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.queue_size = 64,
	.kick = kick,
	.describe = describe,
};

const struct opt_key virtio_rng_keys[] = {
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct virtio_rng_config, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

int virtio_rng_new(const struct ram *ram, const char *name, const struct virtio_rng_config *cfg,
		   struct virtio_dev **ret)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int err;

	if (!rng)
		return -ENOMEM;
	rng->dev.type = &rng_type;
	rng->dev.name = name;
	rng->dev.ram = ram;
	rng->dev.n_queues = 1;
	rng->dev.device_features = cfg->packed ? 1ULL << VIRTIO_F_RING_PACKED : 0;
	err = virtio_init(&rng->dev);
	if (err) {
		virtio_rng_free(&rng->dev);
		return err;
	}
	*ret = &rng->dev;
	return 0;
}

void virtio_rng_free(struct virtio_dev *dev)
{
	if (!dev)
		return;
	virtio_fini(dev);
	free(container_of(dev, struct virtio_rng, dev));
}
