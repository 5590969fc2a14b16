/* What virtio/gpu*.c share; nobody else includes this. */
#ifndef VIRTIO_GPU_INTERNAL_H
#define VIRTIO_GPU_INTERNAL_H

#include <linux/virtio_gpu.h>
#include <pthread.h>

#include "lkvm/types.h"
#include "lkvm/virtio-gpu.h"

#define GPU_PIXEL_BYTES 4
#define GPU_BUCKETS     256
#define GPU_EDID_BYTES  128

#define CONTROL_QUEUE 0

struct gpu_entry {
	uint64_t at;
	uint32_t bytes;
};

/* A blob is the guest's memory itself: it has no pixels of its own, and what it shows is there when it is flushed. */
struct gpu_resource {
	struct gpu_resource *next; /* in its bucket */
	uint32_t id, format; /* as the driver knows them; a blob has no format and no size in pixels */
	uint32_t width, height;
	uint8_t *pixels;
	uint64_t blob_bytes; /* 0: it is none */
	bool has_backing;
	uint32_t n_entries;
	struct gpu_entry *entry;
	uint64_t backing_bytes;
};

/* How pixels are arranged in a blob */
struct gpu_layout {
	uint32_t format, width, height;
	uint32_t stride, offset; /* of a line, of the first one */
};

struct gpu_scanout {
	uint32_t resource; /* 0: off */
	struct display_rect r; /* of it */
	struct gpu_layout layout; /* of a blob; else zeros */
};

struct gpu_pointer {
	uint32_t resource; /* 0: none */
	uint32_t hot_x, hot_y, x, y;
};

struct gpu_wanted {
	uint32_t width, height;
};

struct gpu_framebuffer {
	uint8_t *pixels; /* dev->shm.host; NULL: there is none */
	uint32_t width, height;
};

struct virtio_gpu {
	struct virtio_dev dev;
	struct display *display;
	unsigned n_outputs;
	atomic_uint events; /* of the configuration */

	pthread_mutex_t lock; /* of what the host wants to see; nothing waits under it */
	struct gpu_wanted wanted[DISPLAY_MAX_OUTPUTS];
	struct gpu_framebuffer framebuffer; /* constant */

	/* The worker's */
	struct gpu_resource *bucket[GPU_BUCKETS];
	unsigned n_resources;
	uint64_t bytes; /* that all of them take */
	struct gpu_scanout scanout[DISPLAY_MAX_OUTPUTS];
	struct gpu_pointer pointer[DISPLAY_MAX_OUTPUTS];
	bool untouched; /* nothing was shown on output 0 since the device was reset: it is its backdrop's */
	uint64_t left_bytes; /* to be copied in this turn of the loop */
	uint32_t to_load; /* resources that a snapshot has, while it is loaded */
	uint32_t framebuffer_to_load; /* likewise pieces of it */
};

static inline struct virtio_gpu *gpu_of(const struct virtio_dev *dev)
{
	return container_of((struct virtio_dev *)(uintptr_t)dev, struct virtio_gpu, dev);
}

/* ---- gpu-request.c ---- */

/** gpu_handle() - a request of queue @index, which is dev->chain; worker */
void gpu_handle(struct virtio_dev *dev, unsigned index);
/** gpu_describe() - struct virtio_type's describe() */
void gpu_describe(unsigned index, const struct virtq_chain *chain, struct virtio_asked *ret);

/* ---- gpu-resource.c: worker; those with a uint32_t answer as VIRTIO_GPU_RESP_... says ---- */

struct gpu_resource *gpu_find(const struct virtio_gpu *g, uint32_t id);
uint32_t gpu_create(struct virtio_gpu *g, uint32_t id, uint32_t format, uint32_t width, uint32_t height);
/** gpu_create_blob() - of the guest's memory; @entry, heap, becomes the resource's in any case, NULL: it has none yet */
uint32_t gpu_create_blob(struct virtio_gpu *g, uint32_t id, uint64_t bytes, struct gpu_entry *entry, uint32_t n);
/** gpu_destroy() - it is shown nowhere */
void gpu_destroy(struct virtio_gpu *g, struct gpu_resource *r);
/** gpu_destroy_all() - likewise of all, and nothing is shown */
void gpu_destroy_all(struct virtio_gpu *g);
/** gpu_attach() - @entry, heap, becomes the resource's in any case */
uint32_t gpu_attach(struct virtio_gpu *g, struct gpu_resource *r, struct gpu_entry *entry, uint32_t n);
void gpu_detach(struct virtio_gpu *g, struct gpu_resource *r);
/** gpu_inside() - is the rectangle not empty, and all in what is so large? */
bool gpu_inside(uint32_t width, uint32_t height, const struct display_rect *rect);
/** gpu_fits() - is that a way in which a blob's pixels can be arranged? */
bool gpu_fits(const struct gpu_resource *blob, const struct gpu_layout *layout);
/** gpu_transfer() - pixels of the guest's; nothing to do for a blob; @offset: of the rectangle's first one in its memory */
uint32_t gpu_transfer(struct virtio_gpu *g, struct gpu_resource *r, const struct display_rect *rect, uint64_t offset);
/** gpu_flush() - what is in the rectangle goes to each output that shows it */
uint32_t gpu_flush(struct virtio_gpu *g, const struct gpu_resource *r, const struct display_rect *rect);
/** gpu_scanout() - judged before; NULL: off, or still the backdrop */
uint32_t gpu_scanout(struct virtio_gpu *g, unsigned output, const struct gpu_scanout *to);
/** gpu_is_cursor() - is it as large as one? Of a blob: has it so much memory? */
bool gpu_is_cursor(const struct gpu_resource *r);
/** gpu_release() - output 0 is the device's no more: it shows its backdrop, if it has one */
void gpu_release(struct virtio_gpu *g);
/** gpu_show_pointer() - as g->pointer[output] has it */
void gpu_show_pointer(struct virtio_gpu *g, unsigned output);
/** gpu_forget_views() - of a resource that goes: outputs and pointers */
void gpu_forget_views(struct virtio_gpu *g, const struct gpu_resource *r);

/* ---- gpu-edid.c ---- */

/** gpu_edid() - of a display with this size in pixels, by VESA's E-EDID 1.4 */
void gpu_edid(uint32_t width, uint32_t height, unsigned output, uint8_t ret[GPU_EDID_BYTES]);

/* ---- gpu-state.c ---- */
extern const struct state_type gpu_state_type, gpu_resource_state_type, gpu_entries_state_type, gpu_pixels_state_type;
int gpu_save_resources(struct virtio_dev *dev, struct state_buf *buf);
int gpu_load_resources(struct virtio_dev *dev, struct state_reader *in);

#endif
