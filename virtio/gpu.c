/* virtio-gpu: its queues, events, configuration and frame buffer; see virtio-gpu.h. */
#include "gpu-internal.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUEUE_SIZE    256
#define N_QUEUES      2
#define TURN_BYTES    (64 * MIB) /* pixels that are copied before others of the loop have their turn */
#define DEFAULT_WIDTH  1024
#define DEFAULT_HEIGHT 768

/* ---- the device ---- */

static bool more(struct virtio_dev *dev, unsigned index)
{
	(void)index;
	return gpu_of(dev)->left_bytes;
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	struct virtio_gpu *g = gpu_of(dev);

	g->left_bytes = TURN_BYTES;
	virtio_serve_while(dev, index, more, gpu_handle);
	if (!g->left_bytes)
		virtio_again(dev, index);
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_gpu *g = gpu_of(dev);

	gpu_destroy_all(g);
	gpu_release(g);
	atomic_store(&g->events, 0);
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	struct virtio_gpu *g = gpu_of(dev);
	const struct virtio_gpu_config config = {
		.events_read = htole32(atomic_load(&g->events)),
		.num_scanouts = htole32(g->n_outputs),
	};
	uint64_t value = 0;

	memcpy(&value, (const char *)&config + off, width);
	return le64toh(value);
}

static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	if (off == offsetof(struct virtio_gpu_config, events_clear) && width == sizeof(uint32_t))
		atomic_fetch_and(&gpu_of(dev)->events, ~(unsigned)value);
}

static const struct virtio_type gpu_type = {
	.name = "gpu",
	.id = VIRTIO_ID_GPU,
	.queue_size = QUEUE_SIZE,
	.kick = kick,
	.describe = gpu_describe,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.state = &gpu_state_type,
	.save_more = gpu_save_resources,
	.load_more = gpu_load_resources,
};

/* ---- options ---- */

static bool is_size(unsigned n)
{
	return n >= VIRTIO_GPU_SIZE_LEAST && n <= VIRTIO_GPU_SIZE_MOST;
}

int virtio_gpu_size(struct virtio_gpu_options *options, const char *option, const char *text)
{
	unsigned width = 0, height = 0;
	char more;

	/* At most five digits each: what is more stays in the text. */
	if (strspn(text, "0123456789x") != strlen(text) || sscanf(text, "%5ux%5u%c", &width, &height, &more) != 2 ||
	    !is_size(width) || !is_size(height))
		return log_errx(-EINVAL, "option '--%s': '%s' is not a size of %ux%u to %ux%u", option, text,
				VIRTIO_GPU_SIZE_LEAST, VIRTIO_GPU_SIZE_LEAST, VIRTIO_GPU_SIZE_MOST, VIRTIO_GPU_SIZE_MOST);
	options->width = width;
	options->height = height;
	return 0;
}

const struct opt_key virtio_gpu_keys[] = {
	{ "outputs", "N", KEY_UNSIGNED, offsetof(struct virtio_gpu_options, outputs), .min = 1, .max = DISPLAY_MAX_OUTPUTS,
	  .help = "So many screens (1)." },
	{ "rom", "FILE", .kind = KEY_STRING, offsetof(struct virtio_gpu_options, rom),
	  .help = "The option ROM by which a BIOS shows its text (vgabios-ramfb.bin).\n"
		  "It is SeaBIOS's, which lkvm finds where a distribution has it. With --firmware only." },
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct virtio_gpu_options, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

/* ---- life ---- */

/* A power of two, as BARs are; the host gives what is written to. Where there is no memory to show it, the output stays off. */
static int make_framebuffer(struct virtio_gpu *g)
{
	struct display_backdrop b = { .width = g->wanted[0].width, .height = g->wanted[0].height };
	struct virtio_shm *shm = &g->dev.shm;
	void *host;

	b.stride = (size_t)b.width * DISPLAY_PIXEL_BYTES;
	for (shm->bytes = 64 * KIB; shm->bytes < b.height * b.stride;)
		shm->bytes *= 2;
	host = mmap(NULL, shm->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (host == MAP_FAILED) {
		shm->bytes = 0;
		return -errno;
	}
	shm->bar_only = true;
	shm->host = host;
	b.pixels = host;
	g->framebuffer = (struct gpu_framebuffer){ .pixels = host, .width = b.width, .height = b.height };
	display_backdrop(g->display, 0, &b);
	return 0;
}

int virtio_gpu_new(const struct ram *ram, const char *name, struct display *display,
		   const struct virtio_gpu_options *options, struct virtio_dev **ret)
{
	struct virtio_gpu *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	pthread_mutex_init(&g->lock, NULL);
	g->display = display;
	g->n_outputs = display_outputs(display);
	for (unsigned i = 0; i < g->n_outputs; i++)
		g->wanted[i] = (struct gpu_wanted){ options->width ? options->width : DEFAULT_WIDTH,
						    options->height ? options->height : DEFAULT_HEIGHT };
	g->untouched = true;
	g->dev.type = &gpu_type;
	g->dev.name = name;
	g->dev.ram = ram;
	g->dev.n_queues = N_QUEUES;
	g->dev.config_bytes = sizeof(struct virtio_gpu_config);
	g->dev.device_features = 1ULL << VIRTIO_GPU_F_EDID | 1ULL << VIRTIO_GPU_F_RESOURCE_BLOB;
	if (options->packed)
		g->dev.device_features |= 1ULL << VIRTIO_F_RING_PACKED;
	err = virtio_init(&g->dev);
	if (!err && options->framebuffer)
		err = make_framebuffer(g);
	if (err) {
		virtio_gpu_free(&g->dev);
		return err;
	}
	*ret = &g->dev;
	return 0;
}

void virtio_gpu_free(struct virtio_dev *dev)
{
	struct virtio_gpu *g;

	if (!dev)
		return;
	g = gpu_of(dev);
	virtio_fini(dev);
	g->untouched = false;
	gpu_destroy_all(g);
	if (g->framebuffer.pixels) {
		display_backdrop(g->display, 0, NULL);
		munmap(g->framebuffer.pixels, dev->shm.bytes);
	}
	pthread_mutex_destroy(&g->lock);
	free(g);
}

bool virtio_gpu_framebuffer(struct virtio_dev *dev, uint32_t *ret_width, uint32_t *ret_height)
{
	const struct gpu_framebuffer *f = &gpu_of(dev)->framebuffer;

	*ret_width = f->width;
	*ret_height = f->height;
	return f->pixels;
}

void virtio_gpu_resize(struct virtio_dev *dev, unsigned output, uint32_t width, uint32_t height)
{
	struct virtio_gpu *g = gpu_of(dev);
	const struct gpu_wanted wanted = { width, height };
	bool same;

	if (output >= g->n_outputs || !is_size(width) || !is_size(height))
		return;
	pthread_mutex_lock(&g->lock);
	same = g->wanted[output].width == width && g->wanted[output].height == height;
	g->wanted[output] = wanted;
	pthread_mutex_unlock(&g->lock);
	if (same)
		return;
	virtio_config_begin(dev);
	atomic_fetch_or(&g->events, VIRTIO_GPU_EVENT_DISPLAY);
	virtio_config_end(dev);
}
