/* Resources of virtio-gpu, their memory in the guest, and where they are shown. Worker. Spec: virtio 1.2, 5.7.6 */
#include <stdlib.h>
#include <string.h>

#include "gpu-internal.h"

#define SCRATCH_BYTES (256 * KIB) /* a line of DISPLAY_MAX_SIZE at least */

_Static_assert(SCRATCH_BYTES >= DISPLAY_MAX_SIZE * GPU_PIXEL_BYTES, "a line");

static const struct {
	uint32_t id;
	struct display_format bytes;
} formats[] = {
	{ VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, { .blue = 0, .green = 1, .red = 2 } },
	{ VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, { .blue = 0, .green = 1, .red = 2 } },
	{ VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM, { .red = 1, .green = 2, .blue = 3 } },
	{ VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM, { .red = 1, .green = 2, .blue = 3 } },
	{ VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM, { .red = 0, .green = 1, .blue = 2 } },
	{ VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM, { .blue = 1, .green = 2, .red = 3 } },
	{ VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM, { .blue = 1, .green = 2, .red = 3 } },
	{ VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM, { .red = 0, .green = 1, .blue = 2 } },
};

static const struct display_format *format_of(uint32_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i].id == id)
			return &formats[i].bytes;
	return NULL;
}

/* The one byte that is no colour: alpha, where it is anything */
static unsigned fourth_of(const struct display_format *f)
{
	return 6U - f->red - f->green - f->blue;
}

static uint64_t pixel_bytes(const struct gpu_resource *r)
{
	return (uint64_t)r->width * r->height * GPU_PIXEL_BYTES;
}

static uint64_t line_bytes(const struct gpu_resource *r)
{
	return (uint64_t)r->width * GPU_PIXEL_BYTES;
}

static uint8_t *pixel_at(const struct gpu_resource *r, uint32_t x, uint32_t y)
{
	return r->pixels + y * line_bytes(r) + (uint64_t)x * GPU_PIXEL_BYTES;
}

/* Return: may they take so much more? */
static bool take_bytes(struct virtio_gpu *g, uint64_t bytes)
{
	if (bytes > VIRTIO_GPU_MAX_BYTES - g->bytes)
		return false;
	g->bytes += bytes;
	return true;
}

/* ---- made and thrown away ---- */

struct gpu_resource *gpu_find(const struct virtio_gpu *g, uint32_t id)
{
	struct gpu_resource *r = g->bucket[id % GPU_BUCKETS];

	while (r && r->id != id)
		r = r->next;
	return id ? r : NULL;
}

/* Behind the others: so they are saved in the order in which they are loaded. */
static void insert(struct virtio_gpu *g, struct gpu_resource *r)
{
	struct gpu_resource **at = &g->bucket[r->id % GPU_BUCKETS];

	while (*at)
		at = &(*at)->next;
	*at = r;
	g->n_resources++;
}

uint32_t gpu_create(struct virtio_gpu *g, uint32_t id, uint32_t format, uint32_t width, uint32_t height)
{
	struct gpu_resource *r;

	if (!id || gpu_find(g, id))
		return VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;
	if (!format_of(format) || !width || !height || width > DISPLAY_MAX_SIZE || height > DISPLAY_MAX_SIZE)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	r = g->n_resources < VIRTIO_GPU_MAX_RESOURCES ? calloc(1, sizeof(*r)) : NULL;
	if (!r)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	*r = (struct gpu_resource){ .id = id, .format = format, .width = width, .height = height };
	if (take_bytes(g, pixel_bytes(r))) {
		r->pixels = calloc(1, pixel_bytes(r));
		if (!r->pixels)
			g->bytes -= pixel_bytes(r);
	}
	if (!r->pixels) {
		free(r);
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	}
	insert(g, r);
	return VIRTIO_GPU_RESP_OK_NODATA;
}

/* Its list is judged before it is found: so one that fails leaves nothing. */
uint32_t gpu_create_blob(struct virtio_gpu *g, uint32_t id, uint64_t bytes, struct gpu_entry *entry, uint32_t n)
{
	struct gpu_resource *r = NULL;
	uint32_t why = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID;

	if (id && !gpu_find(g, id)) {
		why = bytes ? VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY : VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
		r = bytes && g->n_resources < VIRTIO_GPU_MAX_RESOURCES ? calloc(1, sizeof(*r)) : NULL;
	}
	if (!r) {
		free(entry);
		return why;
	}
	r->id = id;
	r->blob_bytes = bytes;
	why = entry ? gpu_attach(g, r, entry, n) : VIRTIO_GPU_RESP_OK_NODATA;
	if (why == VIRTIO_GPU_RESP_OK_NODATA)
		insert(g, r);
	else
		free(r);
	return why;
}

void gpu_destroy(struct virtio_gpu *g, struct gpu_resource *r)
{
	struct gpu_resource **at = &g->bucket[r->id % GPU_BUCKETS];

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	gpu_detach(g, r);
	g->bytes -= pixel_bytes(r);
	g->n_resources--;
	free(r->pixels);
	free(r);
}

void gpu_destroy_all(struct virtio_gpu *g)
{
	for (unsigned i = 0; i < g->n_outputs; i++) {
		gpu_scanout(g, i, NULL);
		g->pointer[i] = (struct gpu_pointer){ 0 };
		gpu_show_pointer(g, i);
	}
	for (unsigned i = 0; i < GPU_BUCKETS; i++)
		while (g->bucket[i])
			gpu_destroy(g, g->bucket[i]);
}

/* ---- memory in the guest ---- */

static uint64_t list_bytes(const struct gpu_resource *r)
{
	return (uint64_t)r->n_entries * sizeof(r->entry[0]);
}

void gpu_detach(struct virtio_gpu *g, struct gpu_resource *r)
{
	g->bytes -= list_bytes(r);
	free(r->entry);
	r->entry = NULL;
	r->has_backing = false;
	r->n_entries = 0;
	r->backing_bytes = 0;
}

static bool all_in_ram(const struct virtio_gpu *g, const struct gpu_entry *entry, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!ram_host(g->dev.ram, GPA(entry[i].at), entry[i].bytes))
			return false;
	return true;
}

uint32_t gpu_attach(struct virtio_gpu *g, struct gpu_resource *r, struct gpu_entry *entry, uint32_t n)
{
	uint32_t why = VIRTIO_GPU_RESP_OK_NODATA;

	if (r->has_backing)
		why = VIRTIO_GPU_RESP_ERR_UNSPEC;
	else if (!all_in_ram(g, entry, n))
		why = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	else if (!take_bytes(g, n * sizeof(*entry)))
		why = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	if (why != VIRTIO_GPU_RESP_OK_NODATA) {
		free(entry);
		return why;
	}
	r->has_backing = true;
	r->entry = entry;
	r->n_entries = n;
	for (uint32_t i = 0; i < n; i++)
		r->backing_bytes += entry[i].bytes;
	return why;
}

/* Where one is in the guest's memory; it only goes forward. */
struct place {
	const struct gpu_resource *r;
	uint32_t entry;
	uint64_t start; /* of that one among all bytes */
};

/* Not beyond backing_bytes. Return: false: the memory is gone */
static bool read_at(struct place *p, const struct ram *ram, uint64_t off, uint8_t *to, uint64_t bytes)
{
	while (bytes) {
		const struct gpu_entry *e = &p->r->entry[p->entry];
		const uint64_t in = off - p->start;
		uint64_t n;

		if (in >= e->bytes) {
			p->start += e->bytes;
			p->entry++;
			continue;
		}
		n = bytes < e->bytes - in ? bytes : e->bytes - in;
		if (ram_read(ram, GPA(e->at + in), to, n))
			return false;
		to += n;
		off += n;
		bytes -= n;
	}
	return true;
}

bool gpu_inside(uint32_t width, uint32_t height, const struct display_rect *rect)
{
	return rect->width && rect->height && rect->x < width && rect->width <= width - rect->x && rect->y < height &&
	       rect->height <= height - rect->y;
}

/* From a blob's begin to the end of the pixel at the lower right; nothing of it wraps. */
static uint64_t layout_end(const struct gpu_layout *l)
{
	return l->offset + (uint64_t)l->stride * (l->height - 1) + (uint64_t)l->width * GPU_PIXEL_BYTES;
}

bool gpu_fits(const struct gpu_resource *blob, const struct gpu_layout *l)
{
	return format_of(l->format) && l->width && l->height && l->width <= DISPLAY_MAX_SIZE && l->height <= DISPLAY_MAX_SIZE &&
	       l->stride >= (uint64_t)l->width * GPU_PIXEL_BYTES && layout_end(l) <= blob->blob_bytes;
}

uint32_t gpu_transfer(struct virtio_gpu *g, struct gpu_resource *r, const struct display_rect *rect, uint64_t offset)
{
	const uint64_t width = (uint64_t)rect->width * GPU_PIXEL_BYTES, stride = line_bytes(r);
	const uint64_t bytes = (rect->height - 1) * stride + width;
	struct place place = { .r = r };

	if (r->blob_bytes)
		return VIRTIO_GPU_RESP_OK_NODATA;
	if (bytes > r->backing_bytes || offset > r->backing_bytes - bytes)
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	for (uint32_t i = 0; i < rect->height; i++)
		if (!read_at(&place, g->dev.ram, offset + i * stride, pixel_at(r, rect->x, rect->y + i), width))
			return VIRTIO_GPU_RESP_ERR_UNSPEC;
	g->left_bytes -= bytes < g->left_bytes ? bytes : g->left_bytes;
	return VIRTIO_GPU_RESP_OK_NODATA;
}

/* ---- shown ---- */

/* The part of @a that is in @b, where there is one */
static bool cut(struct display_rect *a, const struct display_rect *b)
{
	const uint32_t x = a->x > b->x ? a->x : b->x, y = a->y > b->y ? a->y : b->y;
	const uint32_t right = a->x + a->width < b->x + b->width ? a->x + a->width : b->x + b->width;
	const uint32_t bottom = a->y + a->height < b->y + b->height ? a->y + a->height : b->y + b->height;

	if (x >= right || y >= bottom)
		return false;
	*a = (struct display_rect){ x, y, right - x, bottom - y };
	return true;
}

static void took(struct virtio_gpu *g, uint64_t bytes)
{
	g->left_bytes -= bytes < g->left_bytes ? bytes : g->left_bytes;
}

static void draw(struct virtio_gpu *g, unsigned output, const struct gpu_resource *r, struct display_rect rect)
{
	const struct display_rect *shown = &g->scanout[output].r;
	const uint8_t *from = pixel_at(r, rect.x, rect.y);

	took(g, (uint64_t)rect.width * rect.height * GPU_PIXEL_BYTES);
	rect.x -= shown->x;
	rect.y -= shown->y;
	display_draw(g->display, output, &rect, from, line_bytes(r), *format_of(r->format));
}

/* As many lines at a time as there is room for; one at least. Return: false: the memory is gone */
static bool draw_blob(struct virtio_gpu *g, unsigned output, const struct gpu_resource *r, struct display_rect rect, uint8_t *scratch)
{
	const struct gpu_scanout *s = &g->scanout[output];
	const uint64_t width = (uint64_t)rect.width * GPU_PIXEL_BYTES;
	const uint32_t most = (uint32_t)(SCRATCH_BYTES / width), end = rect.y + rect.height;
	struct place place = { .r = r };

	took(g, width * rect.height);
	for (uint32_t y = rect.y; y < end;) {
		const uint32_t n = end - y < most ? end - y : most;
		const struct display_rect to = { rect.x - s->r.x, y - s->r.y, rect.width, n };

		for (uint32_t i = 0; i < n; i++, y++)
			if (!read_at(&place, g->dev.ram,
				     s->layout.offset + (uint64_t)s->layout.stride * y + (uint64_t)rect.x * GPU_PIXEL_BYTES,
				     scratch + i * width, width))
				return false;
		display_draw(g->display, output, &to, scratch, width, *format_of(s->layout.format));
	}
	return true;
}

/* Of a blob the rectangle is one of what its output shows, and not more of it than that has. */
static uint32_t flush_blob(struct virtio_gpu *g, unsigned output, const struct gpu_resource *r, struct display_rect rect)
{
	const struct gpu_layout *l = &g->scanout[output].layout;
	uint8_t *scratch;
	bool all;

	if (!gpu_inside(l->width, l->height, &rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	if (layout_end(l) > r->backing_bytes)
		return VIRTIO_GPU_RESP_ERR_UNSPEC;
	if (!cut(&rect, &g->scanout[output].r))
		return VIRTIO_GPU_RESP_OK_NODATA;
	scratch = malloc(SCRATCH_BYTES);
	if (!scratch)
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	all = draw_blob(g, output, r, rect, scratch);
	free(scratch);
	return all ? VIRTIO_GPU_RESP_OK_NODATA : VIRTIO_GPU_RESP_ERR_UNSPEC;
}

uint32_t gpu_flush(struct virtio_gpu *g, const struct gpu_resource *r, const struct display_rect *rect)
{
	uint32_t why = VIRTIO_GPU_RESP_OK_NODATA;

	if (!r->blob_bytes && !gpu_inside(r->width, r->height, rect))
		return VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER;
	for (unsigned i = 0; why == VIRTIO_GPU_RESP_OK_NODATA && i < g->n_outputs; i++) {
		struct display_rect shown = *rect;

		if (g->scanout[i].resource != r->id)
			continue;
		if (r->blob_bytes)
			why = flush_blob(g, i, r, *rect);
		else if (cut(&shown, &g->scanout[i].r))
			draw(g, i, r, shown);
	}
	return why;
}

uint32_t gpu_scanout(struct virtio_gpu *g, unsigned output, const struct gpu_scanout *to)
{
	if (!to && !output && g->untouched)
		return VIRTIO_GPU_RESP_OK_NODATA;
	if (display_resize(g->display, output, to ? to->r.width : 0, to ? to->r.height : 0))
		return VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY;
	if (!output)
		g->untouched = false;
	g->scanout[output] = to ? *to : (struct gpu_scanout){ 0 };
	return VIRTIO_GPU_RESP_OK_NODATA;
}

void gpu_release(struct virtio_gpu *g)
{
	g->untouched = true;
	display_release(g->display, 0);
}

#define CURSOR_BYTES (DISPLAY_CURSOR_SIZE * DISPLAY_CURSOR_SIZE * GPU_PIXEL_BYTES)

bool gpu_is_cursor(const struct gpu_resource *r)
{
	if (r->blob_bytes)
		return r->blob_bytes >= CURSOR_BYTES && r->backing_bytes >= CURSOR_BYTES;
	return r->width == DISPLAY_CURSOR_SIZE && r->height == DISPLAY_CURSOR_SIZE;
}

/* Of a blob it is in the way that the frame buffers of Linux's cursors are. Return: NULL: the memory is gone */
static const struct display_format *read_cursor(struct virtio_gpu *g, const struct gpu_resource *r, uint8_t ret[CURSOR_BYTES])
{
	struct place place = { .r = r };

	if (!r->blob_bytes) {
		memcpy(ret, r->pixels, CURSOR_BYTES);
		return format_of(r->format);
	}
	return gpu_is_cursor(r) && read_at(&place, g->dev.ram, 0, ret, CURSOR_BYTES) ?
		       format_of(VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM) : NULL;
}

void gpu_show_pointer(struct virtio_gpu *g, unsigned output)
{
	const struct gpu_pointer *p = &g->pointer[output];
	const struct gpu_resource *r = gpu_find(g, p->resource);
	const struct display_format *f;
	uint8_t image[CURSOR_BYTES];
	struct display_cursor cursor = {
		.visible = true,
		.x = (int32_t)p->x,
		.y = (int32_t)p->y,
		.hot_x = p->hot_x,
		.hot_y = p->hot_y,
	};

	f = r ? read_cursor(g, r, image) : NULL;
	if (!f) {
		display_cursor(g->display, output, NULL);
		return;
	}
	for (unsigned i = 0; i < DISPLAY_CURSOR_SIZE * DISPLAY_CURSOR_SIZE; i++) {
		const uint8_t *from = image + (size_t)i * GPU_PIXEL_BYTES;
		uint8_t *to = cursor.pixels + (size_t)i * GPU_PIXEL_BYTES;

		to[0] = from[f->blue];
		to[1] = from[f->green];
		to[2] = from[f->red];
		to[3] = from[fourth_of(f)];
	}
	display_cursor(g->display, output, &cursor);
}

void gpu_forget_views(struct virtio_gpu *g, const struct gpu_resource *r)
{
	for (unsigned i = 0; i < g->n_outputs; i++) {
		if (g->scanout[i].resource == r->id)
			gpu_scanout(g, i, NULL);
		if (g->pointer[i].resource == r->id)
			g->pointer[i].resource = 0; /* the image stays until there is another one */
	}
}
