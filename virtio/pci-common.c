/* The common configuration of virtio over PCI; see virtio-pci.h. Spec: virtio 1.2, 4.1.4.3 */
#include "pci-internal.h"

/* Of struct virtio_pci_common_cfg; <linux/virtio_pci.h> may be too old for it */
#define COMMON_QUEUE_RESET 58

static unsigned check_vector(const struct virtio_pci *vp, uint64_t value)
{
	return value < vp->fn.n_vectors ? (unsigned)value : VIRTIO_MSI_NO_VECTOR;
}

/*
 * A field of the common configuration, in common[] at its offset. An access of another width, or to
 * a place between fields, reads 0 and writes nothing.
 */
struct field {
	uint8_t widths; /* that it has, or'ed */
	/* A field of the device, ... */
	uint64_t (*get)(struct virtio_pci *vp);
	void (*set)(struct virtio_pci *vp, uint64_t value);
	/* ... or, where there are neither, of the selected queue; one of one bit can only be set, */
	enum virtio_queue_field queue;
	bool flag;
	bool high; /* an address has halves. */
};

static uint64_t get_device_feature_select(struct virtio_pci *vp)
{
	return atomic_load(&vp->device_feature_select);
}

static void set_device_feature_select(struct virtio_pci *vp, uint64_t value)
{
	atomic_store(&vp->device_feature_select, (unsigned)value);
}

static uint64_t get_device_features(struct virtio_pci *vp)
{
	return virtio_get_features(vp->dev, atomic_load(&vp->device_feature_select));
}

static uint64_t get_driver_feature_select(struct virtio_pci *vp)
{
	return atomic_load(&vp->driver_feature_select);
}

static void set_driver_feature_select(struct virtio_pci *vp, uint64_t value)
{
	atomic_store(&vp->driver_feature_select, (unsigned)value);
}

static uint64_t get_driver_features(struct virtio_pci *vp)
{
	return virtio_get_driver_features(vp->dev, atomic_load(&vp->driver_feature_select));
}

static void set_driver_features(struct virtio_pci *vp, uint64_t value)
{
	virtio_set_features(vp->dev, atomic_load(&vp->driver_feature_select), (uint32_t)value);
}

static uint64_t get_config_vector(struct virtio_pci *vp)
{
	return atomic_load(&vp->config_vector);
}

static void set_config_vector(struct virtio_pci *vp, uint64_t value)
{
	atomic_store(&vp->config_vector, check_vector(vp, value));
}

static uint64_t get_n_queues(struct virtio_pci *vp)
{
	return vp->n_queues;
}

static uint64_t get_status(struct virtio_pci *vp)
{
	return virtio_get_status(vp->dev);
}

static void set_status(struct virtio_pci *vp, uint64_t value)
{
	virtio_set_status(vp->dev, (uint8_t)value);
}

static uint64_t get_generation(struct virtio_pci *vp)
{
	return (uint8_t)atomic_load(&vp->dev->config_generation);
}

static uint64_t get_queue_select(struct virtio_pci *vp)
{
	return atomic_load(&vp->queue_select);
}

static void set_queue_select(struct virtio_pci *vp, uint64_t value)
{
	atomic_store(&vp->queue_select, (unsigned)value);
}

static uint64_t get_queue_vector(struct virtio_pci *vp)
{
	unsigned q = atomic_load(&vp->queue_select);

	return q < vp->n_queues ? atomic_load(&vp->queue[q].vector) : VIRTIO_MSI_NO_VECTOR;
}

static void set_queue_vector(struct virtio_pci *vp, uint64_t value)
{
	unsigned q = atomic_load(&vp->queue_select);

	if (q >= vp->n_queues)
		return;
	atomic_store(&vp->queue[q].vector, check_vector(vp, value));
	virtio_irqs_moved(vp->dev);
}

static uint64_t get_notify_offset(struct virtio_pci *vp)
{
	unsigned q = atomic_load(&vp->queue_select);

	return q < vp->n_queues ? q : 0;
}

static void ignore(struct virtio_pci *vp, uint64_t value)
{
	(void)vp;
	(void)value;
}

#define DEVICE(width, getter, setter)                                                              \
	{                                                                                          \
		.widths = (width), .get = (getter), .set = (setter)                                \
	}

/* Over PCI a queue ends by a reset, of it or of all. Notification data is not offered. */
static const struct field common[BAR_COMMON_BYTES] = {
	[VIRTIO_PCI_COMMON_DFSELECT] =
		DEVICE(4, get_device_feature_select, set_device_feature_select),
	[VIRTIO_PCI_COMMON_DF] = DEVICE(4 | 2, get_device_features, ignore), /* 2: iPXE's way, for the lower half */
	[VIRTIO_PCI_COMMON_GFSELECT] =
		DEVICE(4, get_driver_feature_select, set_driver_feature_select),
	[VIRTIO_PCI_COMMON_GF] = DEVICE(4, get_driver_features, set_driver_features),
	[VIRTIO_PCI_COMMON_MSIX] = DEVICE(2, get_config_vector, set_config_vector),
	[VIRTIO_PCI_COMMON_NUMQ] = DEVICE(2, get_n_queues, ignore),
	[VIRTIO_PCI_COMMON_STATUS] = DEVICE(1, get_status, set_status),
	[VIRTIO_PCI_COMMON_CFGGENERATION] = DEVICE(1, get_generation, ignore),
	[VIRTIO_PCI_COMMON_Q_SELECT] = DEVICE(2, get_queue_select, set_queue_select),
	[VIRTIO_PCI_COMMON_Q_SIZE] = { .widths = 2, .queue = VIRTIO_QUEUE_SIZE },
	[VIRTIO_PCI_COMMON_Q_MSIX] = DEVICE(2, get_queue_vector, set_queue_vector),
	[VIRTIO_PCI_COMMON_Q_ENABLE] = { .widths = 2, .queue = VIRTIO_QUEUE_READY, .flag = true },
	[VIRTIO_PCI_COMMON_Q_NOFF] = DEVICE(2, get_notify_offset, ignore),
	[VIRTIO_PCI_COMMON_Q_DESCLO] = { .widths = 4 | 8, .queue = VIRTIO_QUEUE_DESC },
	[VIRTIO_PCI_COMMON_Q_DESCHI] = { .widths = 4, .queue = VIRTIO_QUEUE_DESC, .high = true },
	[VIRTIO_PCI_COMMON_Q_AVAILLO] = { .widths = 4 | 8, .queue = VIRTIO_QUEUE_AVAIL },
	[VIRTIO_PCI_COMMON_Q_AVAILHI] = { .widths = 4, .queue = VIRTIO_QUEUE_AVAIL, .high = true },
	[VIRTIO_PCI_COMMON_Q_USEDLO] = { .widths = 4 | 8, .queue = VIRTIO_QUEUE_USED },
	[VIRTIO_PCI_COMMON_Q_USEDHI] = { .widths = 4, .queue = VIRTIO_QUEUE_USED, .high = true },
	[COMMON_QUEUE_RESET] = { .widths = 2, .queue = VIRTIO_QUEUE_RESET, .flag = true },
};

static const struct field *find_field(uint64_t off, unsigned width)
{
	return common[off].widths & width ? &common[off] : NULL;
}

uint64_t virtio_pci_common_read(struct virtio_pci *vp, uint64_t off, unsigned width)
{
	const struct field *f = find_field(off, width);

	if (!f)
		return 0;
	if (f->get)
		return f->get(vp);
	return virtio_queue_get(vp->dev, atomic_load(&vp->queue_select), f->queue) >> 32 * f->high;
}

/* A 64-bit address comes in one write or in two. */
static void write_queue(struct virtio_pci *vp, const struct field *f, unsigned width,
			uint64_t value)
{
	unsigned q = atomic_load(&vp->queue_select);
	uint64_t old;

	if (f->flag && value != 1)
		return;
	if (width == 4) {
		old = virtio_queue_get(vp->dev, q, f->queue);
		value = f->high ? (uint32_t)old | value << 32 : (old >> 32 << 32) | value;
	}
	virtio_queue_set(vp->dev, q, f->queue, value);
}

void virtio_pci_common_write(struct virtio_pci *vp, uint64_t off, unsigned width, uint64_t value)
{
	const struct field *f = find_field(off, width);

	if (f && f->set)
		f->set(vp, value);
	else if (f)
		write_queue(vp, f, width, value);
}
