/*
 * virtio-gpu: its requests, events and configuration; see virtio-gpu.h. Resources are in gpu-resource.c.
 *
 * All is done when a request is answered, so fences are: their numbers come back. A request that makes no sense is
 * answered with an error; a chain without room for an answer breaks the device.
 */
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
#define CONTROL_QUEUE 0
#define TURN_BYTES    (64 * MIB) /* pixels that are copied before others of the loop have their turn */
#define DEFAULT_WIDTH  1024
#define DEFAULT_HEIGHT 768

/* Each request as it was fetched, once */
union request {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resource_create_2d create;
	struct virtio_gpu_resource_unref unref;
	struct virtio_gpu_set_scanout scanout;
	struct virtio_gpu_resource_flush flush;
	struct virtio_gpu_transfer_to_host_2d transfer;
	struct virtio_gpu_resource_attach_backing attach;
	struct virtio_gpu_resource_detach_backing detach;
	struct virtio_gpu_cmd_get_edid edid;
	struct virtio_gpu_update_cursor cursor;
};

union response {
	struct virtio_gpu_ctrl_hdr hdr;
	struct virtio_gpu_resp_display_info info;
	struct virtio_gpu_resp_edid edid;
};

static struct display_rect rect_of(const struct virtio_gpu_rect *r)
{
	return (struct display_rect){ le32toh(r->x), le32toh(r->y), le32toh(r->width), le32toh(r->height) };
}

/* ---- requests; each returns the type of its answer ---- */

static uint32_t get_display_info(struct virtio_gpu *g, const union request *req, union response *resp)
{
	uint32_t x = 0;

	(void)req;
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->n_outputs; i++) {
		struct virtio_gpu_display_one *one = &resp->info.pmodes[i];

		one->r = (struct virtio_gpu_rect){ htole32(x), 0, htole32(g->wanted[i].width),
						   htole32(g->wanted[i].height) };
		one->enabled = htole32(1);
		x += g->wanted[i].width;
	}
	pthread_mutex_unlock(&g->lock);
	return VIRTIO_GPU_RESP_OK_DISPLAY_INFO;
}

static uint32_t get_edid(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t output = le32toh(req->edid.scanout);
	struct gpu_wanted wanted;

	if (!virtio_has(&g->dev, VIRTIO_GPU_F_EDID))
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (output >= g->n_outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	pthread_mutex_lock(&g->lock);
	wanted = g->wanted[output];
	pthread_mutex_unlock(&g->lock);
	gpu_edid(wanted.width, wanted.height, output, resp->edid.edid);
	resp->edid.size = htole32(GPU_EDID_BYTES);
	return VIRTIO_GPU_RESP_OK_EDID;
}

static uint32_t create(struct virtio_gpu *g, const union request *req, union response *resp)
{
	(void)resp;
	return gpu_create(g, le32toh(req->create.resource_id), le32toh(req->create.format), le32toh(req->create.width),
			  le32toh(req->create.height));
}

static uint32_t unref(struct virtio_gpu *g, const union request *req, union response *resp)
{
	struct gpu_resource *r = gpu_find(g, le32toh(req->unref.resource_id));

	(void)resp;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	gpu_forget_views(g, r);
	gpu_destroy(g, r);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t set_scanout(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t output = le32toh(req->scanout.scanout_id), id = le32toh(req->scanout.resource_id);
	const struct display_rect rect = rect_of(&req->scanout.r);
	const struct gpu_resource *r = gpu_find(g, id);

	(void)resp;
	if (output >= g->n_outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	if (id && !r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (r && !gpu_inside(r, &rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	return gpu_scanout(g, output, r, &rect);
}

static uint32_t flush(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const struct gpu_resource *r = gpu_find(g, le32toh(req->flush.resource_id));
	const struct display_rect rect = rect_of(&req->flush.r);

	(void)resp;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!gpu_inside(r, &rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	gpu_flush(g, r, &rect);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t transfer(struct virtio_gpu *g, const union request *req, union response *resp)
{
	struct gpu_resource *r = gpu_find(g, le32toh(req->transfer.resource_id));
	const struct display_rect rect = rect_of(&req->transfer.r);

	(void)resp;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!r->has_backing)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (!gpu_inside(r, &rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	return gpu_transfer(g, r, &rect, le64toh(req->transfer.offset));
}

/* The list is behind the request. Return: NULL: there is less of it, or no memory */
static struct gpu_entry *read_entries(const struct virtq_chain *chain, uint32_t n)
{
	const size_t bytes = (size_t)n * sizeof(struct virtio_gpu_mem_entry);
	struct virtio_gpu_mem_entry *list = malloc(bytes + !bytes);
	struct gpu_entry *entry = malloc((size_t)n * sizeof(*entry) + 1);
	bool all = list && entry && virtq_read(chain, sizeof(struct virtio_gpu_resource_attach_backing), list, bytes) == bytes;

	for (uint32_t i = 0; all && i < n; i++)
		entry[i] = (struct gpu_entry){ le64toh(list[i].addr), le32toh(list[i].length) };
	free(list);
	if (all)
		return entry;
	free(entry);
	return NULL;
}

static uint32_t attach(struct virtio_gpu *g, const union request *req, union response *resp)
{
	struct gpu_resource *r = gpu_find(g, le32toh(req->attach.resource_id));
	const uint32_t n = le32toh(req->attach.nr_entries);
	struct gpu_entry *entry;

	(void)resp;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (n > VIRTIO_GPU_MAX_ENTRIES)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	entry = read_entries(g->dev.chain, n);
	return entry ? gpu_attach(g, r, entry, n) : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
}

static uint32_t detach(struct virtio_gpu *g, const union request *req, union response *resp)
{
	struct gpu_resource *r = gpu_find(g, le32toh(req->detach.resource_id));

	(void)resp;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!r->has_backing)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	gpu_detach(g, r);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

/* Its image is taken now: what is drawn into the resource later is not seen. */
static uint32_t update_cursor(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t output = le32toh(req->cursor.pos.scanout_id), id = le32toh(req->cursor.resource_id);
	const uint32_t hot_x = le32toh(req->cursor.hot_x), hot_y = le32toh(req->cursor.hot_y);
	const struct gpu_resource *r = gpu_find(g, id);

	(void)resp;
	if (output >= g->n_outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	if (id && !r)
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (r && (r->width != DISPLAY_CURSOR_SIZE || r->height != DISPLAY_CURSOR_SIZE || hot_x >= r->width ||
		  hot_y >= r->height))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	g->pointer[output] = (struct gpu_pointer){ id, r ? hot_x : 0, r ? hot_y : 0, le32toh(req->cursor.pos.x),
						   le32toh(req->cursor.pos.y) };
	gpu_show_pointer(g, output);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t move_cursor(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t output = le32toh(req->cursor.pos.scanout_id);

	(void)resp;
	if (output >= g->n_outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	g->pointer[output].x = le32toh(req->cursor.pos.x);
	g->pointer[output].y = le32toh(req->cursor.pos.y);
	display_cursor_move(g->display, output, (int32_t)g->pointer[output].x, (int32_t)g->pointer[output].y);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

struct command {
	uint32_t type;
	const char *name;
	uint32_t (*run)(struct virtio_gpu *g, const union request *req, union response *resp);
	size_t req_bytes, resp_bytes;
};

#define HDR sizeof(struct virtio_gpu_ctrl_hdr)

static const struct command control_commands[] = {
	{ VIRTIO_GPU_CMD_GET_DISPLAY_INFO, "display info", get_display_info, HDR, sizeof(struct virtio_gpu_resp_display_info) },
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, "create", create, sizeof(struct virtio_gpu_resource_create_2d), HDR },
	{ VIRTIO_GPU_CMD_RESOURCE_UNREF, "unref", unref, sizeof(struct virtio_gpu_resource_unref), HDR },
	{ VIRTIO_GPU_CMD_SET_SCANOUT, "set scanout", set_scanout, sizeof(struct virtio_gpu_set_scanout), HDR },
	{ VIRTIO_GPU_CMD_RESOURCE_FLUSH, "flush", flush, sizeof(struct virtio_gpu_resource_flush), HDR },
	{ VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, "transfer", transfer, sizeof(struct virtio_gpu_transfer_to_host_2d), HDR },
	{ VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, "attach", attach, sizeof(struct virtio_gpu_resource_attach_backing), HDR },
	{ VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, "detach", detach, sizeof(struct virtio_gpu_resource_detach_backing), HDR },
	{ VIRTIO_GPU_CMD_GET_EDID, "edid", get_edid, sizeof(struct virtio_gpu_cmd_get_edid), sizeof(struct virtio_gpu_resp_edid) },
	{ 0 },
};

static const struct command cursor_commands[] = {
	{ VIRTIO_GPU_CMD_UPDATE_CURSOR, "update cursor", update_cursor, sizeof(struct virtio_gpu_update_cursor), HDR },
	{ VIRTIO_GPU_CMD_MOVE_CURSOR, "move cursor", move_cursor, sizeof(struct virtio_gpu_update_cursor), HDR },
	{ 0 },
};

static const struct command *command_of(unsigned index, uint32_t type)
{
	const struct command *c = index == CONTROL_QUEUE ? control_commands : cursor_commands;

	while (c->run && c->type != type)
		c++;
	return c->run ? c : NULL;
}

/* Return: bytes of the answer, of which the header is not filled yet but for its type */
static size_t run(struct virtio_gpu *g, unsigned index, const union request *req, size_t req_bytes, union response *resp)
{
	const struct command *c = command_of(index, le32toh(req->hdr.type));
	uint32_t type = VIRTIO_GPU_RESP_ERR_UNSPEC;

	if (c && (req_bytes < c->req_bytes || (g->dev.chain->in_bytes && g->dev.chain->in_bytes < c->resp_bytes)))
		type = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	else if (c)
		type = c->run(g, req, resp);
	resp->hdr.type = htole32(type);
	return c && type < VIRTIO_GPU_RESP_ERR_UNSPEC ? c->resp_bytes : HDR;
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	union response resp = { 0 };
	union request req = { 0 };
	const size_t got = virtq_read(chain, 0, &req, sizeof(req));
	size_t bytes;

	/* Linux wants no answer on the queue of cursors. */
	if (got < HDR || (chain->in_bytes < HDR && (index == CONTROL_QUEUE || chain->in_bytes))) {
		virtio_break(dev, "queue %u: a request without a header, or without room for an answer", index);
		return;
	}
	bytes = run(gpu_of(dev), index, &req, got, &resp);
	if (le32toh(req.hdr.flags) & VIRTIO_GPU_FLAG_FENCE) {
		resp.hdr.flags = htole32(VIRTIO_GPU_FLAG_FENCE);
		resp.hdr.fence_id = req.hdr.fence_id;
		resp.hdr.ctx_id = req.hdr.ctx_id;
	}
	virtio_push(dev, index, chain->token, (uint32_t)virtq_write(chain, 0, &resp, bytes));
}

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
	virtio_serve_while(dev, index, more, handle);
	if (!g->left_bytes)
		virtio_again(dev, index);
}

static void describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	struct virtio_gpu_ctrl_hdr hdr = { 0 };
	const struct command *cmd;

	virtq_read(c, 0, &hdr, sizeof(hdr));
	cmd = command_of(index, le32toh(hdr.type));
	if (cmd)
		ret->what = cmd->name;
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_gpu *g = gpu_of(dev);

	gpu_destroy_all(g);
	gpu_show_framebuffer(g);
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
	.describe = describe,
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
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct virtio_gpu_options, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

/* ---- life ---- */

/* A power of two, as BARs are; the host gives what is written to. */
static int make_framebuffer(struct virtio_gpu *g)
{
	const uint32_t width = g->wanted[0].width, height = g->wanted[0].height;
	struct virtio_shm *shm = &g->dev.shm;
	void *host;

	for (shm->bytes = 64 * KIB; shm->bytes < (uint64_t)width * height * DISPLAY_PIXEL_BYTES;)
		shm->bytes *= 2;
	host = mmap(NULL, shm->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (host == MAP_FAILED) {
		shm->bytes = 0;
		return -errno;
	}
	shm->bar_only = true;
	shm->host = host;
	g->framebuffer = (struct gpu_framebuffer){ .pixels = host, .width = width, .height = height };
	gpu_show_framebuffer(g);
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
	g->dev.type = &gpu_type;
	g->dev.name = name;
	g->dev.ram = ram;
	g->dev.n_queues = N_QUEUES;
	g->dev.config_bytes = sizeof(struct virtio_gpu_config);
	g->dev.device_features = 1ULL << VIRTIO_GPU_F_EDID;
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
	g->framebuffer.shown = false;
	gpu_destroy_all(g);
	if (g->framebuffer.pixels)
		munmap(g->framebuffer.pixels, dev->shm.bytes);
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
