/* Outputs, their pixels and who looks at them; see display.h. */
#include "lkvm/display.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/event.h"
#include "lkvm/types.h"

struct output {
	uint32_t width, height; /* 0: off */
	uint8_t *pixels;
	bool driven; /* a device draws on it */
	bool mirror; /* it shows its ... */
	struct display_backdrop backdrop; /* zeroed: none */
	struct display_cursor cursor;
	struct display_view *views;
};

struct display {
	pthread_mutex_t lock; /* of all outputs */
	uint64_t bytes;       /* of all pixels */
	unsigned n;
	struct output output[];
};

static uint64_t bytes_of(uint32_t width, uint32_t height)
{
	return (uint64_t)width * height * DISPLAY_PIXEL_BYTES;
}

int display_new(unsigned n_outputs, struct display **ret)
{
	struct display *d = calloc(1, sizeof(*d) + n_outputs * sizeof(d->output[0]));

	if (!d)
		return -ENOMEM;
	d->n = n_outputs;
	pthread_mutex_init(&d->lock, NULL);
	*ret = d;
	return 0;
}

void display_free(struct display *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->n; i++)
		free(d->output[i].pixels);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

unsigned display_outputs(const struct display *d)
{
	return d->n;
}

/* ---- rectangles ---- */

/* Of a size that is not 0 in either direction; @at and @len from the device. Return: is anything left? */
static bool clip_line(uint32_t *at, uint32_t *len, uint32_t end)
{
	if (*at >= end || !*len)
		return false;
	if (*len > end - *at)
		*len = end - *at;
	return true;
}

static bool clip(struct display_rect *r, const struct output *o)
{
	return clip_line(&r->x, &r->width, o->width) && clip_line(&r->y, &r->height, o->height);
}

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static struct display_rect around(const struct display_rect *a, const struct display_rect *b)
{
	const uint32_t x = least(a->x, b->x), y = least(a->y, b->y);

	return (struct display_rect){ x, y, most(a->x + a->width, b->x + b->width) - x,
				      most(a->y + a->height, b->y + b->height) - y };
}

static uint64_t area(const struct display_rect *r)
{
	return (uint64_t)r->width * r->height;
}

/* How many pixels more there are if the two become one */
static int64_t waste(const struct display_rect *a, const struct display_rect *b)
{
	const struct display_rect both = around(a, b);

	return (int64_t)area(&both) - (int64_t)area(a) - (int64_t)area(b);
}

/* ---- viewers are told; with the lock ---- */

static void tell(struct display_view *v)
{
	if (v->told || v->fd < 0)
		return;
	v->told = true;
	event_signal(v->fd);
}

/* The one to which it adds least takes it, if that is nothing, or there is no room for another. */
static void add_rect(struct display_view *v, const struct display_rect *r)
{
	int64_t best = INT64_MAX;
	unsigned to = 0;

	for (unsigned i = 0; i < v->n; i++) {
		const int64_t w = waste(&v->rect[i], r);

		if (w < best) {
			best = w;
			to = i;
		}
	}
	if (v->n && (best <= 0 || v->n == DISPLAY_VIEW_RECTS))
		v->rect[to] = around(&v->rect[to], r);
	else
		v->rect[v->n++] = *r;
}

static void damage(struct output *o, const struct display_rect *r)
{
	for (struct display_view *v = o->views; v; v = v->next) {
		add_rect(v, r);
		tell(v);
	}
}

static void damage_all(struct output *o)
{
	const struct display_rect all = { 0, 0, o->width, o->height };

	for (struct display_view *v = o->views; v; v = v->next) {
		v->n = 0;
		if (o->pixels)
			v->rect[v->n++] = all;
		tell(v);
	}
}

static void damage_cursor(struct output *o)
{
	for (struct display_view *v = o->views; v; v = v->next) {
		v->cursor_changed = true;
		tell(v);
	}
}

/* ---- the device ---- */

static int make_pixels(uint32_t width, uint32_t height, uint8_t **ret)
{
	*ret = NULL;
	if (!width && !height)
		return 0;
	if (!width || !height || width > DISPLAY_MAX_SIZE || height > DISPLAY_MAX_SIZE)
		return -E2BIG;
	*ret = calloc(1, bytes_of(width, height));
	return *ret ? 0 : -ENOMEM;
}

static int resize(struct display *d, struct output *o, uint32_t width, uint32_t height)
{
	const uint64_t others = d->bytes - bytes_of(o->width, o->height), bytes = bytes_of(width, height);
	uint8_t *pixels;
	int err;

	if (width == o->width && height == o->height && !o->mirror)
		return 0;
	if (bytes > DISPLAY_MAX_BYTES || others > DISPLAY_MAX_BYTES - bytes)
		return -E2BIG;
	err = make_pixels(width, height, &pixels);
	if (err)
		return err;
	free(o->pixels);
	o->pixels = pixels;
	o->mirror = false;
	o->width = width;
	o->height = height;
	d->bytes = others + bytes;
	damage_all(o);
	return 0;
}

int display_resize(struct display *d, unsigned output, uint32_t width, uint32_t height)
{
	int err;

	pthread_mutex_lock(&d->lock);
	err = resize(d, &d->output[output], width, height);
	if (!err)
		d->output[output].driven = true;
	pthread_mutex_unlock(&d->lock);
	return err;
}

/* Viewers hear of it in any case: they have to begin to look by themselves. */
static int show_backdrop(struct display *d, struct output *o)
{
	const struct display_backdrop *b = &o->backdrop;
	int err = resize(d, o, b->width, b->height);

	if (err)
		resize(d, o, 0, 0);
	o->mirror = !err && b->pixels;
	damage_all(o);
	return err;
}

void display_release(struct display *d, unsigned output)
{
	struct output *o = &d->output[output];

	pthread_mutex_lock(&d->lock);
	o->driven = false;
	show_backdrop(d, o);
	pthread_mutex_unlock(&d->lock);
}

int display_backdrop(struct display *d, unsigned output, const struct display_backdrop *backdrop)
{
	struct output *o = &d->output[output];
	int err = 0;

	pthread_mutex_lock(&d->lock);
	o->backdrop = backdrop ? *backdrop : (struct display_backdrop){ 0 };
	if (!o->driven)
		err = show_backdrop(d, o);
	if (err)
		o->backdrop = (struct display_backdrop){ 0 };
	pthread_mutex_unlock(&d->lock);
	return err;
}

static bool is_own(struct display_format f)
{
	return f.blue == 0 && f.green == 1 && f.red == 2;
}

static void draw_line(uint8_t *to, const uint8_t *from, uint32_t n, struct display_format f)
{
	if (is_own(f)) {
		memcpy(to, from, (size_t)n * DISPLAY_PIXEL_BYTES);
		return;
	}
	for (uint32_t i = 0; i < n; i++, to += DISPLAY_PIXEL_BYTES, from += DISPLAY_PIXEL_BYTES) {
		to[0] = from[f.blue];
		to[1] = from[f.green];
		to[2] = from[f.red];
		to[3] = 0;
	}
}

void display_draw(struct display *d, unsigned output, const struct display_rect *to, const uint8_t *from,
		  size_t stride, struct display_format format)
{
	struct output *o = &d->output[output];
	struct display_rect r = *to;

	pthread_mutex_lock(&d->lock);
	if (clip(&r, o)) {
		for (uint32_t i = 0; i < r.height; i++)
			draw_line(o->pixels + ((size_t)(r.y + i) * o->width + r.x) * DISPLAY_PIXEL_BYTES,
				  from + i * stride, r.width, format);
		damage(o, &r);
	}
	pthread_mutex_unlock(&d->lock);
}

void display_cursor(struct display *d, unsigned output, const struct display_cursor *cursor)
{
	struct output *o = &d->output[output];

	pthread_mutex_lock(&d->lock);
	if (cursor)
		o->cursor = *cursor;
	else
		o->cursor.visible = false;
	damage_cursor(o);
	pthread_mutex_unlock(&d->lock);
}

/* Who looks on has a pointer of his own, and is where he points at. */
void display_cursor_move(struct display *d, unsigned output, int32_t x, int32_t y)
{
	struct output *o = &d->output[output];

	pthread_mutex_lock(&d->lock);
	o->cursor.x = x;
	o->cursor.y = y;
	pthread_mutex_unlock(&d->lock);
}

/* ---- a mirror; with the lock ---- */

/* The guest may write to @from meanwhile: what it does later is found the next time. */
static bool refresh_line(struct output *o, uint32_t y, struct display_rect *ret)
{
	const size_t bytes = (size_t)o->width * DISPLAY_PIXEL_BYTES;
	const uint8_t *from = o->backdrop.pixels + y * o->backdrop.stride;
	uint8_t *to = o->pixels + y * bytes;
	uint32_t left = 0, right = o->width;

	if (!memcmp(to, from, bytes))
		return false;
	while (left < right && !memcmp(to + (size_t)left * DISPLAY_PIXEL_BYTES, from + (size_t)left * DISPLAY_PIXEL_BYTES,
				       DISPLAY_PIXEL_BYTES))
		left++;
	while (right > left && !memcmp(to + (size_t)(right - 1) * DISPLAY_PIXEL_BYTES,
				       from + (size_t)(right - 1) * DISPLAY_PIXEL_BYTES, DISPLAY_PIXEL_BYTES))
		right--;
	memcpy(to + (size_t)left * DISPLAY_PIXEL_BYTES, from + (size_t)left * DISPLAY_PIXEL_BYTES,
	       (size_t)(right - left) * DISPLAY_PIXEL_BYTES);
	*ret = (struct display_rect){ left, y, right - left, 1 };
	return left < right;
}

/* Lines that have changed are one rectangle for as long as they follow each other. */
static void refresh(struct output *o)
{
	struct display_rect all = { 0 }, line;

	for (uint32_t y = 0; o->mirror && y < o->height; y++) {
		if (refresh_line(o, y, &line)) {
			all = all.height ? around(&all, &line) : line;
		} else if (all.height) {
			damage(o, &all);
			all.height = 0;
		}
	}
	if (all.height)
		damage(o, &all);
}

/* ---- viewers ---- */

bool display_size(struct display *d, unsigned output, uint32_t *ret_width, uint32_t *ret_height)
{
	const struct output *o = &d->output[output];
	bool on;

	pthread_mutex_lock(&d->lock);
	*ret_width = o->width;
	*ret_height = o->height;
	on = o->pixels;
	pthread_mutex_unlock(&d->lock);
	return on;
}

static int copy(struct output *o, struct display_image *ret)
{
	uint8_t *pixels;

	if (!o->pixels)
		return -ENODATA;
	refresh(o);
	pixels = malloc(bytes_of(o->width, o->height));
	if (!pixels)
		return -ENOMEM;
	memcpy(pixels, o->pixels, bytes_of(o->width, o->height));
	*ret = (struct display_image){ o->width, o->height, pixels };
	return 0;
}

int display_copy(struct display *d, unsigned output, struct display_image *ret)
{
	int err;

	pthread_mutex_lock(&d->lock);
	err = copy(&d->output[output], ret);
	pthread_mutex_unlock(&d->lock);
	return err;
}

void display_image_free(struct display_image *image)
{
	free(image->pixels);
	*image = (struct display_image){ 0 };
}

void display_view_open(struct display *d, unsigned output, int fd, struct display_view *ret)
{
	struct output *o = &d->output[output];

	*ret = (struct display_view){ .display = d, .output = output, .fd = fd, .cursor_changed = true };
	pthread_mutex_lock(&d->lock);
	ret->next = o->views;
	o->views = ret;
	if (o->pixels)
		ret->rect[ret->n++] = (struct display_rect){ 0, 0, o->width, o->height };
	tell(ret);
	pthread_mutex_unlock(&d->lock);
}

void display_view_close(struct display_view *view)
{
	struct display *d = view->display;
	struct display_view **at;

	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	for (at = &d->output[view->output].views; *at != view; at = &(*at)->next)
		;
	*at = view->next;
	pthread_mutex_unlock(&d->lock);
	view->display = NULL;
}

/* Return: 0, 1: it has another size, or -ENOMEM */
static int fit(struct display_image *image, const struct output *o)
{
	uint8_t *pixels = NULL;

	if (image->width == o->width && image->height == o->height)
		return 0;
	if (o->pixels) {
		pixels = calloc(1, bytes_of(o->width, o->height));
		if (!pixels)
			return -ENOMEM;
	}
	free(image->pixels);
	*image = (struct display_image){ o->width, o->height, pixels };
	return 1;
}

static void copy_rect(struct display_image *image, const struct output *o, const struct display_rect *r)
{
	for (uint32_t i = 0; i < r->height; i++) {
		const size_t at = ((size_t)(r->y + i) * o->width + r->x) * DISPLAY_PIXEL_BYTES;

		memcpy(image->pixels + at, o->pixels + at, (size_t)r->width * DISPLAY_PIXEL_BYTES);
	}
}

static int take(struct display_view *v, struct display_image *image, struct display_cursor *cursor,
		struct display_update *ret)
{
	struct output *o = &v->display->output[v->output];
	const int fitted = fit(image, o);

	if (fitted < 0)
		return fitted;
	v->told = true; /* he is about to see it */
	refresh(o);
	*ret = (struct display_update){ .resized = fitted, .cursor_changed = v->cursor_changed, .mirror = o->mirror, .n = v->n };
	memcpy(ret->rect, v->rect, sizeof(v->rect));
	for (unsigned i = 0; i < v->n; i++)
		copy_rect(image, o, &v->rect[i]);
	if (v->cursor_changed && cursor)
		*cursor = o->cursor;
	v->n = 0;
	v->cursor_changed = v->told = false;
	return 0;
}

int display_view_take(struct display_view *view, struct display_image *image, struct display_cursor *cursor,
		      struct display_update *ret)
{
	int err;

	pthread_mutex_lock(&view->display->lock);
	err = take(view, image, cursor, ret);
	pthread_mutex_unlock(&view->display->lock);
	return err;
}
