/*
 * The guest's screen: what its outputs show, as a device draws it and viewers look at it.
 *
 *	device's worker                                  viewers, each on a thread of its own
 *	display_resize(), display_draw()  ->  output  ->  display_view_take(): what has changed
 *	display_cursor(), ..._cursor_move()               display_copy(): all of it, once
 *
 * An output has pixels of its own, so nobody looks into the guest's memory or the device's. A viewer
 * has a list of rectangles that changed since he looked last; it has an end, and what is beyond that makes
 * the rectangles larger. So a viewer that looks seldom costs as much as one that looks often, and holds
 * up nobody. Any thread may call these functions; under the lock nothing waits.
 *
 * While no device draws, an output may be the mirror of memory that the guest writes to as it likes, its backdrop: whoever
 * looks at it brings it up to date, so without a viewer it costs nothing.
 *
 * Pixels are four bytes, blue, green, red and one that means nothing: 0x00RRGGBB, little endian.
 */
#ifndef LKVM_DISPLAY_H
#define LKVM_DISPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define DISPLAY_MAX_OUTPUTS 16
#define DISPLAY_MAX_SIZE    16384 /* pixels in a direction */
#define DISPLAY_MAX_BYTES   (128ULL << 20) /* of all outputs together */
#define DISPLAY_PIXEL_BYTES 4
#define DISPLAY_CURSOR_SIZE 64 /* pixels in each direction */
#define DISPLAY_VIEW_RECTS  16
#define DISPLAY_MIRROR_MS   40

struct display;

struct display_rect {
	uint32_t x, y, width, height;
};

/* In which of a pixel's four bytes the device has which colour */
struct display_format {
	uint8_t red, green, blue;
};

/* @height lines of @width pixels, @stride bytes from one to the next; what is between them is not looked at */
struct display_backdrop {
	uint32_t width, height;
	size_t stride;
	const uint8_t *pixels;
};

struct display_cursor {
	bool visible;
	int32_t x, y;         /* where its hot spot is */
	uint32_t hot_x, hot_y; /* in the image */
	uint8_t pixels[DISPLAY_CURSOR_SIZE * DISPLAY_CURSOR_SIZE * 4]; /* blue, green, red, alpha; premultiplied */
};

/* Pixels of a viewer's own, without gaps. Zeroed: none; display_image_free() */
struct display_image {
	uint32_t width, height;
	uint8_t *pixels;
};

/* ---- made and thrown away ---- */

/** display_new() - @n_outputs, from 1 on, all of which are off; Return: 0 or -ENOMEM */
int display_new(unsigned n_outputs, struct display **ret);
/** display_free() - there is no viewer any more; takes NULL */
void display_free(struct display *display);
unsigned display_outputs(const struct display *display);

/* ---- for the device ---- */

/**
 * display_resize() - the device's output, of this size, and black if it had another one or was a mirror
 * 0 x 0: it is off. Until display_release() its backdrop is not shown.
 * Return: 0; -E2BIG (more than DISPLAY_MAX_SIZE, or than DISPLAY_MAX_BYTES with the others), -ENOMEM: it
 *	is as it was
 */
int display_resize(struct display *display, unsigned output, uint32_t width, uint32_t height);
/** display_release() - the device draws on it no more: it shows its backdrop, if it has one, and is off if not */
void display_release(struct display *display, unsigned output);
/**
 * display_backdrop() - what an output shows while no device draws on it, at first, too: memory that changes by itself
 * @backdrop: its pixels are there until there is another one; NULL: none
 * Return: 0; -E2BIG, -ENOMEM as display_resize(): then it has none
 */
int display_backdrop(struct display *display, unsigned output, const struct display_backdrop *backdrop);
/**
 * display_draw() - new pixels
 * @to: part of the output; what is not is left out
 * @from: the first of the pixels for @to's upper left corner, of lines that are @stride bytes apart
 */
void display_draw(struct display *display, unsigned output, const struct display_rect *to, const uint8_t *from,
		  size_t stride, struct display_format format);
/** display_cursor() - another image, at another place; NULL: none */
void display_cursor(struct display *display, unsigned output, const struct display_cursor *cursor);
/** display_cursor_move() - the same image at another place */
void display_cursor_move(struct display *display, unsigned output, int32_t x, int32_t y);

/* ---- for viewers ---- */

/** display_size() - Return: is it on? */
bool display_size(struct display *display, unsigned output, uint32_t *ret_width, uint32_t *ret_height);
/** display_copy() - what it shows; Return: 0; -ENODATA: it is off; -ENOMEM */
int display_copy(struct display *display, unsigned output, struct display_image *ret);
void display_image_free(struct display_image *image);

/* One who looks on: his own, from display_view_open() to display_view_close() */
struct display_view {
	struct display *display;
	struct display_view *next;
	unsigned output;
	int fd; /* eventfd, the viewer's: something has changed since he took the last time */
	bool told; /* it was signalled since then */
	bool cursor_changed;
	unsigned n;
	struct display_rect rect[DISPLAY_VIEW_RECTS];
};

/* What display_view_take() has to say */
struct display_update {
	bool resized;        /* the image has another size; off: 0 x 0 */
	bool cursor_changed; /* image or visibility */
	bool mirror;         /* nobody says when it changes: look again, after DISPLAY_MIRROR_MS, say */
	unsigned n;          /* parts of the image that are new, which may overlap */
	struct display_rect rect[DISPLAY_VIEW_RECTS];
};

/** display_view_open() - look at an output; all of it is new; @fd: -1: he is told nothing */
void display_view_open(struct display *display, unsigned output, int fd, struct display_view *ret);
void display_view_close(struct display_view *view);
/**
 * display_view_take() - bring @image up to date
 * @image: his; zeroed at first
 * @cursor: filled if it has changed; may be NULL
 * Return: 0; -ENOMEM: all is as it was
 */
int display_view_take(struct display_view *view, struct display_image *image, struct display_cursor *cursor,
		      struct display_update *ret);

/* ---- display/png.c ---- */

/** display_png_usable() - is libpng on this host, and lkvm built for it? */
bool display_png_usable(void);
/** display_png_write() - an image as a PNG file; Return: 0, or -errno after one logged line */
int display_png_write(const struct display_image *image, FILE *out, const char *name);

#endif
