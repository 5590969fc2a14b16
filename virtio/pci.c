/* virtio over PCI; see virtio-pci.h. */
#include <errno.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/log.h"
#include "pci-internal.h"

#define VENDOR_VIRTIO    0x1af4
#define DEVICE_FIRST     0x1040 /* + the virtio device id */
#define SUBSYSTEM_MODERN 0x1100 /* 0x40 or above: 4.1.2.1 */
#define REVISION_MODERN  1
#define BAR_BYTES        0x4000
#define BAR_COMMON       0x0000
#define BAR_ISR          0x0800
#define BAR_ISR_BYTES    1
#define BAR_DEVICE       0x1000
#define BAR_DEVICE_BYTES 0x1000
#define BAR_NOTIFY       0x2000
#define BAR_NOTIFY_BYTES (BAR_MSIX_TABLE - BAR_NOTIFY)
#define BAR_MSIX_TABLE   0x3000
#define BAR_MSIX_PBA     0x3c00
#define BAR_MSIX_BYTES   (BAR_MSIX_PBA - BAR_MSIX_TABLE)
#define NOTIFY_STRIDE    4
#define SHM_BAR          2
#define MAX_VECTORS      (VIRTIO_MAX_QUEUES + 1)

/* Drivers poll for the end of a reset (4.1.4.3.2), but for some that rely on its being short. */
#define RESET_PATIENCE_MS 100

_Static_assert(BAR_MSIX_BYTES >= MAX_VECTORS * PCI_MSIX_ENTRY_SIZE, "MSI-X table");
_Static_assert(BAR_MSIX_PBA + (MAX_VECTORS + 7) / 8 <= BAR_BYTES, "MSI-X pending bits");
_Static_assert(BAR_NOTIFY_BYTES >= VIRTIO_MAX_QUEUES * NOTIFY_STRIDE, "notification");

/* ---- interrupts: any thread ---- */

static bool intx(struct pci_function *fn)
{
	return atomic_load(&container_of(fn, struct virtio_pci, fn)->isr);
}

static void isr_set(struct virtio_pci *vp, unsigned bit)
{
	atomic_fetch_or(&vp->isr, bit);
	pci_intx_update(&vp->fn);
}

static uint8_t isr_take(struct virtio_pci *vp)
{
	uint8_t isr = (uint8_t)atomic_exchange(&vp->isr, 0);

	if (isr)
		pci_intx_update(&vp->fn);
	return isr;
}

static void signal_vector(struct virtio_pci *vp, unsigned vector)
{
	if (vector < vp->fn.n_vectors)
		pci_msix_signal(&vp->fn, vector);
}

static void queue_irq(struct virtio_dev *dev, unsigned index)
{
	struct virtio_pci *vp = dev->transport;

	if (pci_msix_enabled(&vp->fn))
		signal_vector(vp, atomic_load(&vp->queue[index].vector));
	else
		isr_set(vp, ISR_QUEUE);
}

/* Without MSI-X it is not enough to signal something. */
static int queue_irq_fd(struct virtio_dev *dev, unsigned index)
{
	struct virtio_pci *vp = dev->transport;
	const unsigned vector = atomic_load(&vp->queue[index].vector);

	return pci_msix_enabled(&vp->fn) && vector < vp->fn.n_vectors ? pci_msix_fd(&vp->fn, vector) : -1;
}

/* Its bit of the ISR is set in either case: 4.1.4.5.1 */
static void config_irq(struct virtio_dev *dev)
{
	struct virtio_pci *vp = dev->transport;

	isr_set(vp, ISR_CONFIG);
	if (pci_msix_enabled(&vp->fn))
		signal_vector(vp, atomic_load(&vp->config_vector));
}

/* ---- notifications ---- */

static int notify_switch(struct virtio_pci *vp, unsigned index, bool on)
{
	const struct board *b = vp->fn.board;

	if (!vp->notify_base || vp->queue[index].notify_fd < 0)
		return 0;
	/* Any width and value: the address says which queue it is. */
	return b->ops->notify(b->ctx, vp->queue[index].notify_fd, false,
			      vp->notify_base + index * NOTIFY_STRIDE, 0, -1, on);
}

static int notify_fd(void *transport, unsigned index, int fd, bool on)
{
	struct virtio_pci *vp = transport;
	int err = 0;

	pthread_mutex_lock(&vp->notify_lock);
	if (on)
		vp->queue[index].notify_fd = fd;
	err = notify_switch(vp, index, on);
	if (!on)
		vp->queue[index].notify_fd = -1;
	pthread_mutex_unlock(&vp->notify_lock);
	return err;
}

static void bar_moved(struct pci_function *fn, unsigned bar, uint64_t base, bool on)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);

	if (bar)
		return;
	pthread_mutex_lock(&vp->notify_lock);
	if (on)
		vp->notify_base = base + BAR_NOTIFY;
	/* Best effort: without an ioeventfd the access comes to bar_write(). */
	for (unsigned i = 0; i < vp->n_queues; i++)
		if (notify_switch(vp, i, on))
			log_debug(LOG_DEVICE, "%s: queue %u: no ioeventfd", vp->fn.name, i);
	if (!on)
		vp->notify_base = 0;
	pthread_mutex_unlock(&vp->notify_lock);
}

/* ---- bus mastering, MSI-X ---- */

/* Two vCPUs that switch it at the same time do not leave the device in the wrong state. */
static void master(struct pci_function *fn)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);

	pthread_mutex_lock(&vp->master_lock);
	virtio_hold(vp->dev, VIRTIO_HOLD_MASTER, !pci_is_master(fn));
	pthread_mutex_unlock(&vp->master_lock);
	virtio_irqs_moved(vp->dev);
}

/* ---- reset ---- */

/* Back to what they were in the beginning, the queue's vector, too: 2.6.1 */
static void reset_done(void *transport, int index)
{
	struct virtio_pci *vp = transport;

	if (index >= 0) {
		atomic_store(&vp->queue[index].vector, VIRTIO_MSI_NO_VECTOR);
		return;
	}
	atomic_store(&vp->device_feature_select, 0);
	atomic_store(&vp->driver_feature_select, 0);
	atomic_store(&vp->queue_select, 0);
	atomic_store(&vp->config_vector, VIRTIO_MSI_NO_VECTOR);
	for (unsigned i = 0; i < vp->n_queues; i++)
		atomic_store(&vp->queue[i].vector, VIRTIO_MSI_NO_VECTOR);
	isr_take(vp);
	pci_msix_clear(&vp->fn);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_irq = queue_irq,
	.config_irq = config_irq,
	.queue_irq_fd = queue_irq_fd,
	.notify_fd = notify_fd,
	.reset_done = reset_done,
	.patience_ms = RESET_PATIENCE_MS,
	.state = &virtio_pci_state_type,
};

/* ---- BAR 0 ---- */

static uint64_t bar_read(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);

	(void)bar;
	if (off < BAR_COMMON + BAR_COMMON_BYTES)
		return virtio_pci_common_read(vp, off, len);
	if (off == BAR_ISR && len == BAR_ISR_BYTES)
		return isr_take(vp);
	if (off - BAR_DEVICE < BAR_DEVICE_BYTES)
		return virtio_config_read(vp->dev, off - BAR_DEVICE, len);
	return 0;
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);

	(void)bar;
	if (off < BAR_COMMON + BAR_COMMON_BYTES)
		virtio_pci_common_write(vp, off, len, value);
	else if (off - BAR_DEVICE < BAR_DEVICE_BYTES)
		virtio_config_write(vp->dev, off - BAR_DEVICE, len, value);
	else if (off >= BAR_NOTIFY)
		virtio_notify(vp->dev, (unsigned)(off - BAR_NOTIFY) / NOTIFY_STRIDE);
}

/* ---- PCI_CFG: the BAR through a window in the configuration space: 4.1.4.9 ---- */

static bool config_window(struct pci_function *fn, unsigned off, unsigned len, uint64_t *ret_off)
{
	struct virtio_pci *vp = container_of(fn, struct virtio_pci, fn);
	struct virtio_pci_cap window;

	if (off != vp->pci_cfg + sizeof(window))
		return false;
	pci_config_get(fn, vp->pci_cfg, &window, sizeof(window));
	if (window.bar || window.length != len || window.offset % len)
		return false;
	*ret_off = window.offset;
	return true;
}

/* ---- building ---- */

static int add_virtio_cap(struct virtio_pci *vp, uint8_t type, uint32_t offset, uint32_t length,
			  const uint32_t *extra)
{
	struct {
		struct virtio_pci_cap cap;
		uint32_t extra;
	} c = { .cap = { .cap_len = (uint8_t)(sizeof(c.cap) + (extra ? sizeof(*extra) : 0)),
			 .cfg_type = type,
			 .offset = offset,
			 .length = length },
		.extra = extra ? *extra : 0 };

	return pci_add_cap(&vp->fn, PCI_CAP_ID_VNDR, (uint8_t *)&c + PCI_CAP_FLAGS,
			   c.cap.cap_len - (unsigned)PCI_CAP_FLAGS);
}

/* 4.1.4.7; it has the upper halves of offset and length behind the others. */
static int add_shm_cap(struct virtio_pci *vp)
{
	const struct virtio_shm *shm = &vp->dev->shm;
	const struct virtio_pci_cap64 c = { .cap = { .cap_len = sizeof(c),
						     .cfg_type = VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
						     .bar = SHM_BAR,
						     .id = shm->id,
						     .length = (uint32_t)shm->bytes },
					    .length_hi = (uint32_t)(shm->bytes >> 32) };

	return pci_add_cap(&vp->fn, PCI_CAP_ID_VNDR, (const uint8_t *)&c + PCI_CAP_FLAGS,
			   sizeof(c) - PCI_CAP_FLAGS);
}

/* The order is that of the list which the guest walks. */
static int add_caps(struct virtio_pci *vp)
{
	const uint32_t stride = NOTIFY_STRIDE, window = 0;
	const unsigned n = vp->n_queues;
	int cap = add_virtio_cap(vp, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON, BAR_COMMON_BYTES, NULL);

	if (cap >= 0)
		cap = add_virtio_cap(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY, n * stride,
				     &stride);
	if (cap >= 0)
		cap = add_virtio_cap(vp, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, BAR_ISR_BYTES, NULL);
	if (cap >= 0 && vp->dev->config_bytes)
		cap = add_virtio_cap(vp, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE,
				     vp->dev->config_bytes, NULL);
	if (cap >= 0 && vp->dev->shm.bytes && !vp->dev->shm.bar_only)
		cap = add_shm_cap(vp);
	if (cap >= 0)
		cap = add_virtio_cap(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, &window);
	if (cap < 0)
		return cap;
	vp->pci_cfg = (unsigned)cap;
	vp->fn.writable[vp->pci_cfg + offsetof(struct virtio_pci_cap, bar)] = 0xff;
	memset(&vp->fn.writable[vp->pci_cfg + offsetof(struct virtio_pci_cap, offset)], 0xff, 8);
	return pci_add_msix(&vp->fn, n + 1, 0, BAR_MSIX_TABLE, BAR_MSIX_PBA);
}

/* PCI class by what the device is, for lspci and for drivers that look at classes first. */
static uint32_t class_code(const struct virtio_dev *dev)
{
	switch (dev->type->id) {
	case VIRTIO_ID_NET:
		return 0x020000;
	case VIRTIO_ID_BLOCK:
	case VIRTIO_ID_FS:
		return 0x018000;
	case VIRTIO_ID_CONSOLE:
		return 0x078000;
	case VIRTIO_ID_GPU: /* with a frame buffer Linux takes this one for what shows it, and no other */
		return dev->shm.bytes ? 0x030000 : 0x038000;
	default:
		return 0x00ff00;
	}
}

static const struct pci_ops ops = {
	.bar_read = bar_read,
	.bar_write = bar_write,
	.bar_moved = bar_moved,
	.master = master,
	.intx = intx,
	.config_window = config_window,
};

static int build(struct virtio_pci *vp)
{
	const struct virtio_dev *dev = vp->dev;
	const uint16_t subsystem[2] = { VENDOR_VIRTIO, SUBSYSTEM_MODERN };

	pci_init(&vp->fn, VENDOR_VIRTIO, (uint16_t)(DEVICE_FIRST + dev->type->id),
		 class_code(dev), REVISION_MODERN);
	memcpy(&vp->fn.config[PCI_SUBSYSTEM_VENDOR_ID], subsystem, sizeof(subsystem));
	pci_add_bar(&vp->fn, 0, BAR_BYTES, PCI_BAR_64);
	if (dev->shm.bytes)
		pci_add_bar(&vp->fn, SHM_BAR, dev->shm.bytes, (dev->shm.bar_only ? 0 : PCI_BAR_64) | PCI_BAR_PREFETCH);
	if (dev->shm.host)
		pci_bar_memory(&vp->fn, SHM_BAR, dev->shm.host, dev->shm.read_only);
	vp->fn.ops = &ops;
	vp->fn.name = dev->name;
	return add_caps(vp);
}

int virtio_pci_new(struct pci_host *host, struct virtio_dev *dev, struct virtio_pci **ret)
{
	struct virtio_pci *vp = calloc(1, sizeof(*vp));
	int err;

	if (!vp)
		return -ENOMEM;
	vp->dev = dev;
	vp->n_queues = dev->n_queues;
	pthread_mutex_init(&vp->master_lock, NULL);
	pthread_mutex_init(&vp->notify_lock, NULL);
	atomic_init(&vp->config_vector, VIRTIO_MSI_NO_VECTOR);
	for (unsigned i = 0; i < dev->n_queues; i++) {
		atomic_init(&vp->queue[i].vector, VIRTIO_MSI_NO_VECTOR);
		vp->queue[i].notify_fd = -1;
	}
	err = build(vp);
	if (!err)
		err = pci_add(host, &vp->fn);
	if (!err && dev->shm.bytes && !dev->shm.bar_only && !pci_has_room(&vp->fn, SHM_BAR))
		err = -E2BIG;
	if (err) {
		virtio_pci_free(vp);
		return err;
	}
	virtio_attach(dev, &transport_ops, vp);
	virtio_hold(dev, VIRTIO_HOLD_MASTER, true);
	if (dev->shm.bar_only && pci_has_room(&vp->fn, SHM_BAR))
		pci_decode(&vp->fn);
	*ret = vp;
	return 0;
}

bool virtio_pci_memory(const struct virtio_pci *vp, uint64_t *ret)
{
	return vp->dev->shm.bar_only && pci_bar_base(&vp->fn, SHM_BAR, ret);
}

void virtio_pci_rom(struct virtio_pci *vp, void *image, uint64_t bytes)
{
	pci_add_rom(&vp->fn, image, bytes);
}

uint32_t virtio_pci_id(const struct virtio_pci *vp)
{
	return (uint32_t)access_get(&vp->fn.config[PCI_VENDOR_ID], 4);
}

void virtio_pci_free(struct virtio_pci *vp)
{
	if (!vp)
		return;
	pci_fini(&vp->fn);
	pthread_mutex_destroy(&vp->notify_lock);
	pthread_mutex_destroy(&vp->master_lock);
	free(vp);
}
