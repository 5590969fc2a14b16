/*
 * virtio-gpu without 3D: the guest draws into resources, and shows them on outputs of a display. Spec: virtio
 * 1.2, 5.7
 *
 *	guest's memory --TRANSFER_TO_HOST--> resource --FLUSH--> output of struct display (display.h)
 *
 * Before the driver there may be a frame buffer: memory in a BAR (dev->shm), the backdrop of output 0 until the driver
 * shows something on it, and again after a reset of the device. With firmware that is ramfb's (ramfb.h).
 *
 * What the guest may make is bounded: VIRTIO_GPU_MAX_BYTES for all pixels and lists of pages.
 */
#ifndef LKVM_VIRTIO_GPU_H
#define LKVM_VIRTIO_GPU_H

#include "lkvm/display.h"
#include "lkvm/keys.h"
#include "lkvm/virtio.h"

#define VIRTIO_GPU_MAX_BYTES     (128ULL << 20)
#define VIRTIO_GPU_MAX_RESOURCES 8192
#define VIRTIO_GPU_MAX_ENTRIES   65536 /* of the memory of one */
#define VIRTIO_GPU_SIZE_LEAST    64    /* of an output, in pixels: what EDID can say */
#define VIRTIO_GPU_SIZE_MOST     4095

struct virtio_gpu_options {
	bool packed;
	unsigned outputs;       /* 0: one */
	unsigned width, height; /* that the guest is told to show; 0: 1024x768 */
	const char *rom;        /* file: the option ROM by which a BIOS shows its text, which is not the device's; or NULL */
	bool framebuffer;       /* in that size; no key: not every transport and machine can have it */
};

extern const struct opt_key virtio_gpu_keys[];

/** virtio_gpu_size() - "1280x800"; Return: 0, or -EINVAL, logged with @option's name */
int virtio_gpu_size(struct virtio_gpu_options *options, const char *option, const char *text);

/**
 * virtio_gpu_new() - @display has as many outputs as the options say, and lives longer
 * Return: 0 or -errno, not logged
 */
int virtio_gpu_new(const struct ram *ram, const char *name, struct display *display,
		   const struct virtio_gpu_options *options, struct virtio_dev **ret);
void virtio_gpu_free(struct virtio_dev *dev);
/** virtio_gpu_framebuffer() - of its pixels, struct display's, without gaps; Return: false: there is none */
bool virtio_gpu_framebuffer(struct virtio_dev *dev, uint32_t *ret_width, uint32_t *ret_height);

/** virtio_gpu_resize() - the guest is to show an output in this size, VIRTIO_GPU_SIZE_LEAST to _MOST; any thread */
void virtio_gpu_resize(struct virtio_dev *dev, unsigned output, uint32_t width, uint32_t height);

#endif
