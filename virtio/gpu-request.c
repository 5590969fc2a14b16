/*
 * The requests of virtio-gpu, judged and answered. Worker. Spec: virtio 1.2, 5.7.6
 *
 * All is done when a request is answered, so fences are: their numbers come back. A request that makes no sense is
 * answered with an error; a chain without room for an answer breaks the device.
 */
#include <endian.h>
#include <stdlib.h>

#include "gpu-internal.h"

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
	struct virtio_gpu_resource_create_blob create_blob;
	struct virtio_gpu_set_scanout_blob scanout_blob;
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

/* Are there this output, and @r, which has the number @id? 0: none, to show nothing. Return: OK_NODATA: they are */
static uint32_t judge_show(const struct virtio_gpu *g, uint32_t output, uint32_t id, const struct gpu_resource *r)
{
	if (output >= g->n_outputs)
		return VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID;
	return id && !r ? VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID : VIRTIO_GPU_RESP_OK_NODATA;
}

static uint32_t set_scanout(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t output = le32toh(req->scanout.scanout_id), id = le32toh(req->scanout.resource_id);
	const struct display_rect rect = rect_of(&req->scanout.r);
	const struct gpu_scanout to = { .resource = id, .r = rect };
	const struct gpu_resource *r = gpu_find(g, id);
	const uint32_t why = judge_show(g, output, id, r);

	(void)resp;
	if (why != VIRTIO_GPU_RESP_OK_NODATA)
		return why;
	if (r && !gpu_inside(r->width, r->height, &rect)) /* of a blob nothing is */
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	return gpu_scanout(g, output, r ? &to : NULL);
}

static uint32_t set_scanout_blob(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const struct virtio_gpu_set_scanout_blob *s = &req->scanout_blob;
	const uint32_t output = le32toh(s->scanout_id), id = le32toh(s->resource_id);
	const struct gpu_scanout to = {
		.resource = id,
		.r = rect_of(&s->r),
		.layout = { le32toh(s->format), le32toh(s->width), le32toh(s->height), le32toh(s->strides[0]),
			    le32toh(s->offsets[0]) },
	};
	const struct gpu_resource *r = gpu_find(g, id);
	const uint32_t why = judge_show(g, output, id, r);

	(void)resp;
	if (!virtio_has(&g->dev, VIRTIO_GPU_F_RESOURCE_BLOB))
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (why != VIRTIO_GPU_RESP_OK_NODATA)
		return why;
	if (r && (!r->blob_bytes || !gpu_fits(r, &to.layout) || !gpu_inside(to.layout.width, to.layout.height, &to.r)))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	return gpu_scanout(g, output, r ? &to : NULL);
}

static uint32_t flush(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const struct gpu_resource *r = gpu_find(g, le32toh(req->flush.resource_id));
	const struct display_rect rect = rect_of(&req->flush.r);

	(void)resp;
	return r ? gpu_flush(g, r, &rect) : VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
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
	if (!r->blob_bytes && !gpu_inside(r->width, r->height, &rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	return gpu_transfer(g, r, &rect, le64toh(req->transfer.offset));
}

/* The list is at @at, behind the request. Return: NULL: there is less of it, or no memory */
static struct gpu_entry *read_entries(const struct virtq_chain *chain, size_t at, uint32_t n)
{
	const size_t bytes = (size_t)n * sizeof(struct virtio_gpu_mem_entry);
	struct virtio_gpu_mem_entry *list = malloc(bytes + !bytes);
	struct gpu_entry *entry = malloc((size_t)n * sizeof(*entry) + 1);
	bool all = list && entry && virtq_read(chain, at, list, bytes) == bytes;

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
	entry = read_entries(g->dev.chain, sizeof(req->attach), n);
	return entry ? gpu_attach(g, r, entry, n) : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
}

/* Without 3D the host has no memory of its own to give: it is the guest's. */
static uint32_t create_blob(struct virtio_gpu *g, const union request *req, union response *resp)
{
	const uint32_t n = le32toh(req->create_blob.nr_entries), id = le32toh(req->create_blob.resource_id);
	const uint64_t bytes = le64toh(req->create_blob.size);
	struct gpu_entry *entry = NULL;

	(void)resp;
	if (!virtio_has(&g->dev, VIRTIO_GPU_F_RESOURCE_BLOB))
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (le32toh(req->create_blob.blob_mem) != VIRTIO_GPU_BLOB_MEM_GUEST || n > VIRTIO_GPU_MAX_ENTRIES)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	if (n) {
		entry = read_entries(g->dev.chain, sizeof(req->create_blob), n);
		if (!entry)
			return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	}
	return gpu_create_blob(g, id, bytes, entry, n);
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
	const uint32_t why = judge_show(g, output, id, r);

	(void)resp;
	if (why != VIRTIO_GPU_RESP_OK_NODATA)
		return why;
	if (r && (!gpu_is_cursor(r) || hot_x >= DISPLAY_CURSOR_SIZE || hot_y >= DISPLAY_CURSOR_SIZE))
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
	{ VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB, "create blob", create_blob, sizeof(struct virtio_gpu_resource_create_blob), HDR },
	{ VIRTIO_GPU_CMD_SET_SCANOUT_BLOB, "set scanout blob", set_scanout_blob, sizeof(struct virtio_gpu_set_scanout_blob), HDR },
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

void gpu_handle(struct virtio_dev *dev, unsigned index)
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

void gpu_describe(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret)
{
	struct virtio_gpu_ctrl_hdr hdr = { 0 };
	const struct command *cmd;

	virtq_read(c, 0, &hdr, sizeof(hdr));
	cmd = command_of(index, le32toh(hdr.type));
	if (cmd)
		ret->what = cmd->name;
}
