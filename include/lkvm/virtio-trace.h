/*
 * What the guest asks of a virtio device, and when the device interrupts it, as events of a trace: virtio/trace.c.
 *
 * A device that is not traced has nothing of this on its way. One that is has another const table in the
 * place of its transport's, and a watch on each queue.
 */
#ifndef LKVM_VIRTIO_TRACE_H
#define LKVM_VIRTIO_TRACE_H

#include "lkvm/trace.h"
#include "lkvm/virtio.h"

struct virtio_trace;

/**
 * virtio_trace_new() - trace a device from its next DRIVER_OK on; main thread, after virtio_attach()
 * @number:     of the device among those that are traced
 * @requests:   a track of the device's own
 * @interrupts: a track that devices share
 * Return: 0 or -ENOMEM, not logged
 */
int virtio_trace_new(struct virtio_dev *dev, unsigned number, struct trace_track *requests,
		     struct trace_track *interrupts, struct virtio_trace **ret);
/** virtio_trace_free() - as it was before; main thread, when its worker was joined or did not run; takes NULL */
void virtio_trace_free(struct virtio_trace *trace);

#endif
