/*
 * What a guest can observe of virtio over PCI, beyond the function itself (hw/pci-state.c), in whose
 * configuration space is the PCI_CFG window, and the device. Which queues are notified by eventfds
 * follows from the device and from where the BAR is.
 */
#include <errno.h>

#include "lkvm/state.h"
#include "pci-internal.h"

struct transport_state {
	uint32_t device_feature_select, driver_feature_select;
	uint32_t isr;
	uint32_t n;
	uint16_t queue_select, config_vector;
	uint16_t vector[VIRTIO_MAX_QUEUES]; /* of each of n queues */
};

static const struct state_field fields[] = {
	STATE_ONE(struct transport_state, device_feature_select),
	STATE_ONE(struct transport_state, driver_feature_select),
	STATE_ONE(struct transport_state, isr, .bits = ISR_ALL),
	STATE_ONE(struct transport_state, n, .max = VIRTIO_MAX_QUEUES),
	STATE_ONE(struct transport_state, queue_select),
	STATE_ONE(struct transport_state, config_vector),
	STATE_SOME(struct transport_state, vector, n),
};

/* A queue has one, and there is one more. */
static bool is_vector(const struct transport_state *st, uint16_t vector)
{
	return vector <= st->n || vector == VIRTIO_MSI_NO_VECTOR;
}

static const char *check(const void *state)
{
	const struct transport_state *st = state;

	if (!is_vector(st, st->config_vector))
		return "config_vector";
	for (unsigned i = 0; i < st->n; i++)
		if (!is_vector(st, st->vector[i]))
			return "vector";
	return NULL;
}

static int save(void *transport, void *ret_state)
{
	struct transport_state *st = ret_state;
	struct virtio_pci *vp = transport;

	st->device_feature_select = atomic_load(&vp->device_feature_select);
	st->driver_feature_select = atomic_load(&vp->driver_feature_select);
	st->queue_select = (uint16_t)atomic_load(&vp->queue_select);
	st->config_vector = (uint16_t)atomic_load(&vp->config_vector);
	st->isr = atomic_load(&vp->isr);
	st->n = vp->n_queues;
	for (unsigned i = 0; i < st->n; i++)
		st->vector[i] = (uint16_t)atomic_load(&vp->queue[i].vector);
	return 0;
}

static int load(void *transport, const void *state)
{
	const struct transport_state *st = state;
	struct virtio_pci *vp = transport;

	if (st->n != vp->n_queues)
		return -ENODEV;
	atomic_store(&vp->device_feature_select, st->device_feature_select);
	atomic_store(&vp->driver_feature_select, st->driver_feature_select);
	atomic_store(&vp->queue_select, st->queue_select);
	atomic_store(&vp->config_vector, st->config_vector);
	atomic_store(&vp->isr, st->isr);
	for (unsigned i = 0; i < st->n; i++)
		atomic_store(&vp->queue[i].vector, st->vector[i]);
	pci_intx_update(&vp->fn);
	return 0;
}

const struct state_type virtio_pci_state_type = {
	STATE_TYPE("virtio-pci", 1, struct transport_state, fields),
	.check = check,
	.save = save,
	.load = load,
};
