/*
 * What a driver can observe of virtio-gpu beyond the core: sizes that it was told, outputs, cursors, resources
 * with their pixels and lists of memory, and the frame buffer. A list comes in records of as many as there is room for, pixels in
 * pieces, of which those that are all black are left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gpu-internal.h"

#define ENTRIES 1024
#define WORDS   8192 /* of 8 bytes */

/* ---- pixels, in pieces ---- */

#define PIECE_BYTES (WORDS * sizeof(uint64_t))

struct pixels {
	uint8_t *at;
	uint64_t bytes;
};

static struct pixels pixels_of(const struct gpu_resource *r)
{
	return (struct pixels){ r->pixels, (uint64_t)r->width * r->height * GPU_PIXEL_BYTES };
}

/* None: no bytes */
static struct pixels framebuffer_pixels(const struct virtio_gpu *g)
{
	return (struct pixels){ g->framebuffer.pixels, g->dev.shm.bytes };
}

/* Of piece @i; 0: there are not so many */
static size_t piece_bytes(struct pixels p, uint64_t i)
{
	if (i >= (p.bytes + PIECE_BYTES - 1) / PIECE_BYTES)
		return 0;
	return p.bytes - i * PIECE_BYTES < PIECE_BYTES ? p.bytes - i * PIECE_BYTES : PIECE_BYTES;
}

static uint8_t *piece_of(struct pixels p, uint64_t i)
{
	return p.at + i * PIECE_BYTES;
}

static bool is_black(struct pixels p, uint64_t i)
{
	const uint8_t *at = piece_of(p, i);

	return !at[0] && !memcmp(at, at + 1, piece_bytes(p, i) - 1);
}

static uint32_t count_pieces(struct pixels p)
{
	uint32_t n = 0;

	for (uint64_t i = 0; piece_bytes(p, i); i++)
		n += !is_black(p, i);
	return n;
}

struct gpu_state {
	uint32_t events, outputs;
	uint32_t resources;
	uint32_t framebuffer_pieces; /* of its pixels */
	uint32_t framebuffer_shown; /* or nothing, but not what the driver shows */
	uint32_t width[DISPLAY_MAX_OUTPUTS], height[DISPLAY_MAX_OUTPUTS];
	uint32_t resource[DISPLAY_MAX_OUTPUTS];
	uint32_t x[DISPLAY_MAX_OUTPUTS], y[DISPLAY_MAX_OUTPUTS];
	uint32_t shown_width[DISPLAY_MAX_OUTPUTS], shown_height[DISPLAY_MAX_OUTPUTS];
	uint32_t format[DISPLAY_MAX_OUTPUTS], layout_width[DISPLAY_MAX_OUTPUTS], layout_height[DISPLAY_MAX_OUTPUTS];
	uint32_t stride[DISPLAY_MAX_OUTPUTS], offset[DISPLAY_MAX_OUTPUTS];
	uint32_t cursor[DISPLAY_MAX_OUTPUTS];
	uint32_t hot_x[DISPLAY_MAX_OUTPUTS], hot_y[DISPLAY_MAX_OUTPUTS];
	uint32_t cursor_x[DISPLAY_MAX_OUTPUTS], cursor_y[DISPLAY_MAX_OUTPUTS];
};

#define EACH(member, ...) STATE_SOME(struct gpu_state, member, outputs, __VA_ARGS__)

static const struct state_field fields[] = {
	STATE_ONE(struct gpu_state, events, .bits = VIRTIO_GPU_EVENT_DISPLAY),
	STATE_ONE(struct gpu_state, outputs, .max = DISPLAY_MAX_OUTPUTS),
	STATE_ONE(struct gpu_state, resources, .max = VIRTIO_GPU_MAX_RESOURCES),
	STATE_ONE(struct gpu_state, framebuffer_pieces, .max = VIRTIO_GPU_MAX_BYTES / (WORDS * 8)),
	STATE_ONE(struct gpu_state, framebuffer_shown, .max = 1),
	EACH(width, .max = VIRTIO_GPU_SIZE_MOST),
	EACH(height, .max = VIRTIO_GPU_SIZE_MOST),
	EACH(resource),
	EACH(x, .max = DISPLAY_MAX_SIZE),
	EACH(y, .max = DISPLAY_MAX_SIZE),
	EACH(shown_width, .max = DISPLAY_MAX_SIZE),
	EACH(shown_height, .max = DISPLAY_MAX_SIZE),
	EACH(format),
	EACH(layout_width, .max = DISPLAY_MAX_SIZE),
	EACH(layout_height, .max = DISPLAY_MAX_SIZE),
	EACH(stride),
	EACH(offset),
	EACH(cursor),
	EACH(hot_x, .max = DISPLAY_CURSOR_SIZE - 1),
	EACH(hot_y, .max = DISPLAY_CURSOR_SIZE - 1),
	EACH(cursor_x),
	EACH(cursor_y),
};

static int save(void *dev, void *ret_state)
{
	struct virtio_gpu *g = gpu_of(dev);
	struct gpu_state *st = ret_state;

	st->events = atomic_load(&g->events);
	st->outputs = g->n_outputs;
	st->resources = g->n_resources;
	st->framebuffer_pieces = count_pieces(framebuffer_pixels(g));
	st->framebuffer_shown = g->untouched;
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->n_outputs; i++) {
		st->width[i] = g->wanted[i].width;
		st->height[i] = g->wanted[i].height;
	}
	pthread_mutex_unlock(&g->lock);
	for (unsigned i = 0; i < g->n_outputs; i++) {
		const struct gpu_scanout *s = &g->scanout[i];
		const struct gpu_pointer *p = &g->pointer[i];

		st->resource[i] = s->resource;
		st->x[i] = s->r.x;
		st->y[i] = s->r.y;
		st->shown_width[i] = s->r.width;
		st->shown_height[i] = s->r.height;
		st->format[i] = s->layout.format;
		st->layout_width[i] = s->layout.width;
		st->layout_height[i] = s->layout.height;
		st->stride[i] = s->layout.stride;
		st->offset[i] = s->layout.offset;
		st->cursor[i] = p->resource;
		st->hot_x[i] = p->hot_x;
		st->hot_y[i] = p->hot_y;
		st->cursor_x[i] = p->x;
		st->cursor_y[i] = p->y;
	}
	return 0;
}

static const char *check(const void *state)
{
	const struct gpu_state *st = state;

	for (unsigned i = 0; i < st->outputs; i++) {
		if (st->width[i] < VIRTIO_GPU_SIZE_LEAST)
			return "width";
		if (st->height[i] < VIRTIO_GPU_SIZE_LEAST)
			return "height";
	}
	return NULL;
}

/* What is shown is judged when the resources are there. */
static int load(void *dev, const void *state)
{
	struct virtio_gpu *g = gpu_of(dev);
	const struct gpu_state *st = state;

	if (st->outputs != g->n_outputs)
		return -ENODEV;
	gpu_destroy_all(g);
	gpu_release(g);
	g->untouched = st->framebuffer_shown;
	atomic_store(&g->events, st->events);
	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < g->n_outputs; i++)
		g->wanted[i] = (struct gpu_wanted){ st->width[i], st->height[i] };
	pthread_mutex_unlock(&g->lock);
	for (unsigned i = 0; i < g->n_outputs; i++) {
		g->scanout[i] = (struct gpu_scanout){
			st->resource[i],
			{ st->x[i], st->y[i], st->shown_width[i], st->shown_height[i] },
			{ st->format[i], st->layout_width[i], st->layout_height[i], st->stride[i], st->offset[i] },
		};
		g->pointer[i] = (struct gpu_pointer){ st->cursor[i], st->hot_x[i], st->hot_y[i], st->cursor_x[i],
						      st->cursor_y[i] };
	}
	g->to_load = st->resources;
	g->framebuffer_to_load = st->framebuffer_pieces;
	return 0;
}

const struct state_type gpu_state_type = {
	STATE_TYPE("virtio-gpu", 2, struct gpu_state, fields),
	.check = check,
	.save = save,
	.load = load,
};

/* ---- resources ---- */

struct gpu_resource_state {
	uint64_t blob_bytes; /* 0: it is none */
	uint32_t id, format, width, height;
	uint32_t has_backing, entries;
	uint32_t pieces, reserved; /* of pixels */
};

static const struct state_field resource_fields[] = {
	STATE_ONE(struct gpu_resource_state, blob_bytes),
	STATE_ONE(struct gpu_resource_state, id),
	STATE_ONE(struct gpu_resource_state, format),
	STATE_ONE(struct gpu_resource_state, width, .max = DISPLAY_MAX_SIZE),
	STATE_ONE(struct gpu_resource_state, height, .max = DISPLAY_MAX_SIZE),
	STATE_ONE(struct gpu_resource_state, has_backing, .max = 1),
	STATE_ONE(struct gpu_resource_state, entries, .max = VIRTIO_GPU_MAX_ENTRIES),
	STATE_ONE(struct gpu_resource_state, pieces, .max = VIRTIO_GPU_MAX_BYTES / (WORDS * 8)),
	STATE_ONE(struct gpu_resource_state, reserved),
};

const struct state_type gpu_resource_state_type = {
	STATE_TYPE("virtio-gpu-resource", 2, struct gpu_resource_state, resource_fields)
};

struct gpu_entries_state {
	uint64_t at[ENTRIES];
	uint32_t bytes[ENTRIES];
};

static const struct state_field entries_fields[] = {
	STATE_ARRAY(struct gpu_entries_state, at),
	STATE_ARRAY(struct gpu_entries_state, bytes),
};

const struct state_type gpu_entries_state_type = {
	STATE_TYPE("virtio-gpu-memory", 1, struct gpu_entries_state, entries_fields)
};

struct gpu_pixels_state {
	uint64_t piece;
	uint64_t word[WORDS];
};

static const struct state_field pixels_fields[] = {
	STATE_ONE(struct gpu_pixels_state, piece),
	STATE_ARRAY(struct gpu_pixels_state, word),
};

const struct state_type gpu_pixels_state_type = {
	STATE_TYPE("virtio-gpu-pixels", 1, struct gpu_pixels_state, pixels_fields)
};

/* Scratch, too large for a stack */
union records {
	struct gpu_entries_state entries;
	struct gpu_pixels_state pixels;
};

static int save_entries(const struct gpu_resource *r, struct gpu_entries_state *st, struct state_buf *buf)
{
	int err = 0;

	for (uint32_t at = 0; !err && at < r->n_entries; at += ENTRIES) {
		memset(st, 0, sizeof(*st));
		for (uint32_t i = 0; i < ENTRIES && at + i < r->n_entries; i++) {
			st->at[i] = r->entry[at + i].at;
			st->bytes[i] = r->entry[at + i].bytes;
		}
		err = state_pack(buf, &gpu_entries_state_type, st);
	}
	return err;
}

static int save_pixels(struct pixels p, struct gpu_pixels_state *st, struct state_buf *buf)
{
	int err = 0;

	for (uint64_t i = 0; !err && piece_bytes(p, i); i++) {
		if (is_black(p, i))
			continue;
		memset(st, 0, sizeof(*st));
		st->piece = i;
		memcpy(st->word, piece_of(p, i), piece_bytes(p, i));
		err = state_pack(buf, &gpu_pixels_state_type, st);
	}
	return err;
}

static int save_resource(const struct gpu_resource *r, union records *scratch, struct state_buf *buf)
{
	struct gpu_resource_state st = {
		.blob_bytes = r->blob_bytes,
		.id = r->id,
		.format = r->format,
		.width = r->width,
		.height = r->height,
		.has_backing = r->has_backing,
		.entries = r->n_entries,
		.pieces = count_pieces(pixels_of(r)),
	};
	int err = state_pack(buf, &gpu_resource_state_type, &st);

	if (!err)
		err = save_entries(r, &scratch->entries, buf);
	return err ? err : save_pixels(pixels_of(r), &scratch->pixels, buf);
}

int gpu_save_resources(struct virtio_dev *dev, struct state_buf *buf)
{
	const struct virtio_gpu *g = gpu_of(dev);
	union records *scratch = malloc(sizeof(*scratch));
	int err = scratch ? save_pixels(framebuffer_pixels(g), &scratch->pixels, buf) : -ENOMEM;

	for (unsigned b = 0; b < GPU_BUCKETS; b++)
		for (const struct gpu_resource *r = g->bucket[b]; !err && r; r = r->next)
			err = save_resource(r, scratch, buf);
	free(scratch);
	return err;
}

/* ---- the way back ---- */

static int no_such(struct state_reader *in, const char *what, const struct gpu_resource_state *st)
{
	return state_refuse(in, -ERANGE, "virtio-gpu: %s of resource %u cannot be", what, st->id);
}

static int load_entries(struct virtio_gpu *g, struct gpu_resource *r, const struct gpu_resource_state *st,
			struct gpu_entries_state *scratch, struct state_reader *in)
{
	struct gpu_entry *entry;
	int err = 0;

	if (!st->has_backing)
		return st->entries ? no_such(in, "memory", st) : 0;
	entry = malloc(st->entries * sizeof(*entry) + 1);
	if (!entry)
		return -ENOMEM;
	for (uint32_t at = 0; !err && at < st->entries; at += ENTRIES) {
		err = state_unpack(in, &gpu_entries_state_type, scratch);
		for (uint32_t i = 0; !err && i < ENTRIES && at + i < st->entries; i++)
			entry[at + i] = (struct gpu_entry){ scratch->at[i], scratch->bytes[i] };
	}
	if (err) {
		free(entry);
		return err;
	}
	return gpu_attach(g, r, entry, st->entries) == VIRTIO_GPU_RESP_OK_NODATA ? 0 : no_such(in, "memory", st);
}

/* Return: 0, -ERANGE: there is no such piece, or -errno of state_unpack() */
static int load_pixels(struct pixels p, uint32_t n, struct gpu_pixels_state *scratch, struct state_reader *in)
{
	for (uint32_t i = 0; i < n; i++) {
		int err = state_unpack(in, &gpu_pixels_state_type, scratch);

		if (err)
			return err;
		if (!piece_bytes(p, scratch->piece))
			return state_refuse(in, -ERANGE, "virtio-gpu: pixels beyond what shows them");
		memcpy(piece_of(p, scratch->piece), scratch->word, piece_bytes(p, scratch->piece));
	}
	return 0;
}

static int load_resource(struct virtio_gpu *g, union records *scratch, struct state_reader *in)
{
	struct gpu_resource_state st;
	struct gpu_resource *r;
	int err = state_unpack(in, &gpu_resource_state_type, &st);

	if (err)
		return err;
	if ((st.blob_bytes ? gpu_create_blob(g, st.id, st.blob_bytes, NULL, 0) :
			     gpu_create(g, st.id, st.format, st.width, st.height)) != VIRTIO_GPU_RESP_OK_NODATA)
		return no_such(in, "size or format", &st);
	r = gpu_find(g, st.id);
	err = load_entries(g, r, &st, &scratch->entries, in);
	return err ? err : load_pixels(pixels_of(r), st.pieces, &scratch->pixels, in);
}

static bool may_show(const struct gpu_resource *r, const struct gpu_scanout *s)
{
	if (r && r->blob_bytes)
		return gpu_fits(r, &s->layout) && gpu_inside(s->layout.width, s->layout.height, &s->r);
	return r && gpu_inside(r->width, r->height, &s->r);
}

/* What the driver had set up is done again, and shown as it is now. */
static int show(struct virtio_gpu *g, unsigned output, struct state_reader *in)
{
	const struct gpu_scanout s = g->scanout[output];
	const struct gpu_resource *r = gpu_find(g, s.resource);
	struct gpu_pointer *p = &g->pointer[output];
	const struct gpu_resource *image = gpu_find(g, p->resource);

	if ((s.resource && !may_show(r, &s)) || gpu_scanout(g, output, r ? &s : NULL) != VIRTIO_GPU_RESP_OK_NODATA)
		return state_refuse(in, -ERANGE, "virtio-gpu: output %u cannot show resource %u", output, s.resource);
	if (r)
		gpu_flush(g, r, &s.r);
	/* A blob may have lost its memory since: then there is no image any more. */
	if (p->resource && (!image || (!image->blob_bytes && !gpu_is_cursor(image))))
		return state_refuse(in, -ERANGE, "virtio-gpu: resource %u is no cursor", p->resource);
	gpu_show_pointer(g, output);
	return 0;
}

int gpu_load_resources(struct virtio_dev *dev, struct state_reader *in)
{
	struct virtio_gpu *g = gpu_of(dev);
	union records *scratch = malloc(sizeof(*scratch));
	int err = scratch ? load_pixels(framebuffer_pixels(g), g->framebuffer_to_load, &scratch->pixels, in) : -ENOMEM;

	while (!err && g->to_load) {
		err = load_resource(g, scratch, in);
		g->to_load--;
	}
	free(scratch);
	for (unsigned i = 0; !err && i < g->n_outputs; i++)
		err = show(g, i, in);
	if (err)
		gpu_destroy_all(g);
	g->to_load = 0;
	g->framebuffer_to_load = 0;
	return err;
}
