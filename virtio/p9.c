/*
 * virtio 9P device: a queue of 9P2000.L requests, and the name by which the guest mounts the folder.
 * share.c does all but what it is to the guest.
 */
#include "p9-internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_9p.h>
#include <stdlib.h>
#include <string.h>

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, (char *)&p9_of(dev)->config + off, width);
	return le64toh(value);
}

static const struct virtio_type p9_type = {
	.name = "9p",
	.id = VIRTIO_ID_9P,
	SHARE_OPS,
	.config_read = config_read,
	.state = &p9_state_type,
	.save_more = p9_save_session,
	.load_more = p9_load_session,
};

int virtio_p9_new(const struct ram *ram, const char *name, const struct fs_config *config,
		  struct p9 *p9, struct virtio_dev **ret)
{
	struct virtio_p9 *d = calloc(1, sizeof(*d));
	const size_t len = strnlen(config->tag, FS_TAG_BYTES);
	struct virtio_dev *dev;
	int err;

	if (!d) {
		p9_free(p9);
		return -ENOMEM;
	}
	dev = &d->share.dev;
	d->p9 = p9;
	d->read_only = config->read_only;
	d->config.tag_len = htole16((uint16_t)len);
	memcpy(d->config.tag, config->tag, len);
	dev->type = &p9_type;
	dev->name = name;
	dev->ram = ram;
	dev->n_queues = 1;
	dev->device_features = 1ULL << VIRTIO_9P_MOUNT_TAG;
	dev->config_bytes = (unsigned)(sizeof(d->config.tag_len) + len);
	err = virtio_share_init(&d->share, p9_server(p9));
	if (err)
		virtio_p9_free(dev);
	else
		*ret = dev;
	return err;
}

void virtio_p9_free(struct virtio_dev *dev)
{
	if (!dev)
		return;
	virtio_share_fini(share_of(dev));
	free(p9_of(dev));
}
