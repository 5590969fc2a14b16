/* Links: display/display.o util/event.o util/log.o */
#include "lkvm/display.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "lkvm/types.h"
#include "unit.h"

static const struct display_format own = { .blue = 0, .green = 1, .red = 2 };

static struct display *d;
static struct display_view view;
static struct display_image image;
static struct display_update up;
static int fd;

static void setup(uint32_t width, uint32_t height)
{
	ck_assert_int_eq(display_new(2, &d), 0);
	fd = event_open(0);
	ck_assert_int_eq(display_resize(d, 0, width, height), 0);
	display_view_open(d, 0, fd, &view);
}

static void teardown(void)
{
	display_view_close(&view);
	display_view_close(&view);
	display_image_free(&image);
	display_free(d);
	display_free(NULL);
	close(fd);
}

static void take(void)
{
	ck_assert_int_eq(display_view_take(&view, &image, NULL, &up), 0);
}

static void draw(uint32_t x, uint32_t y, uint32_t width, uint32_t height, uint32_t pixel)
{
	static uint32_t from[256 * 256];
	const struct display_rect to = { x, y, width, height };

	for (unsigned i = 0; i < 256 * 256; i++)
		from[i] = pixel;
	display_draw(d, 0, &to, (const uint8_t *)from, 256 * 4, own);
}

static uint32_t pixel(const struct display_image *of, uint32_t x, uint32_t y)
{
	uint32_t p;

	memcpy(&p, of->pixels + ((size_t)y * of->width + x) * 4, 4);
	return p & 0xffffff;
}

START_TEST(test_off_and_on)
{
	struct display_image copy = { 0 };
	uint32_t width, height;

	setup(0, 0);
	ck_assert_uint_eq(display_outputs(d), 2);
	ck_assert(!display_size(d, 0, &width, &height));
	ck_assert_int_eq(display_copy(d, 0, &copy), -ENODATA);
	take();
	ck_assert(!up.resized);
	ck_assert_uint_eq(up.n, 0);
	ck_assert_int_eq(display_resize(d, 0, 30, 20), 0);
	ck_assert(display_size(d, 0, &width, &height));
	ck_assert(width == 30 && height == 20);
	take();
	ck_assert(up.resized && image.width == 30 && image.height == 20);
	ck_assert_uint_eq(up.n, 1);
	ck_assert_uint_eq(pixel(&image, 29, 19), 0);
	ck_assert_int_eq(display_resize(d, 0, 0, 0), 0);
	take();
	ck_assert(up.resized && !image.width && !image.pixels);
	ck_assert_uint_eq(up.n, 0);
	teardown();
}
END_TEST

/* The same size keeps what is shown, another one does not. */
START_TEST(test_resize)
{
	setup(30, 20);
	draw(0, 0, 30, 20, 0x123456);
	ck_assert_int_eq(display_resize(d, 0, 30, 20), 0);
	take();
	ck_assert_uint_eq(pixel(&image, 29, 19), 0x123456);
	ck_assert_int_eq(display_resize(d, 0, 20, 30), 0);
	take();
	ck_assert(up.resized);
	ck_assert_uint_eq(pixel(&image, 19, 29), 0);
	teardown();
}
END_TEST

START_TEST(test_limits)
{
	static const uint32_t bad[][2] = {
		{ 0, 1 }, { 1, 0 }, { DISPLAY_MAX_SIZE + 1, 1 }, { 1, DISPLAY_MAX_SIZE + 1 }, { UINT32_MAX, UINT32_MAX },
		{ 16384, 16384 }, { 1U << 31, 2 },
	};

	setup(30, 20);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(display_resize(d, 0, bad[i][0], bad[i][1]), -E2BIG);
	take();
	ck_assert_uint_eq(image.width, 30);
	/* Together they have no more than one may have. */
	ck_assert_int_eq(display_resize(d, 0, 16384, 1024), 0);
	ck_assert_int_eq(display_resize(d, 1, 16384, 1025), -E2BIG);
	ck_assert_int_eq(display_resize(d, 1, 16384, 1024), 0);
	ck_assert_int_eq(display_resize(d, 0, 16384, 1025), -E2BIG);
	ck_assert_int_eq(display_resize(d, 0, 0, 0), 0);
	ck_assert_int_eq(display_resize(d, 1, 16384, 2048), 0);
	teardown();
}
END_TEST

START_TEST(test_formats)
{
	static const struct {
		uint8_t bytes[4];
		struct display_format format;
	} table[] = {
		{ { 0x33, 0x22, 0x11, 0x99 }, { .blue = 0, .green = 1, .red = 2 } },
		{ { 0x11, 0x22, 0x33, 0x99 }, { .red = 0, .green = 1, .blue = 2 } },
		{ { 0x99, 0x11, 0x22, 0x33 }, { .red = 1, .green = 2, .blue = 3 } },
		{ { 0x99, 0x33, 0x22, 0x11 }, { .blue = 1, .green = 2, .red = 3 } },
	};
	const struct display_rect one = { 1, 1, 1, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		setup(4, 4);
		display_draw(d, 0, &one, table[i].bytes, 4, table[i].format);
		take();
		ck_assert_uint_eq(pixel(&image, 1, 1), 0x112233);
		ck_assert_uint_eq(pixel(&image, 0, 1), 0);
		ck_assert_uint_eq(pixel(&image, 2, 1), 0);
		teardown();
	}
}
END_TEST

/* What lies outside is left out, whatever the numbers are. */
START_TEST(test_clipped)
{
	static const struct {
		struct display_rect rect, want;
	} table[] = {
		{ { 10, 10, 50, 50 }, { 10, 10, 20, 10 } },
		{ { 29, 19, 1, 1 }, { 29, 19, 1, 1 } },
		{ { 0, 0, 100, 1 }, { 0, 0, 30, 1 } },
		{ { 30, 0, 1, 1 }, { 0 } },
		{ { 0, 20, 1, 1 }, { 0 } },
		{ { 5, 5, 0, 5 }, { 0 } },
		{ { UINT32_MAX, 0, 2, 2 }, { 0 } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct display_rect r = table[i].rect;

		setup(30, 20);
		take();
		draw(r.x, r.y, r.width, r.height, 0xabcdef);
		take();
		ck_assert_uint_eq(up.n, table[i].want.width ? 1 : 0);
		if (up.n)
			ck_assert_mem_eq(&up.rect[0], &table[i].want, sizeof(r));
		for (uint32_t y = 0; y < 20; y++)
			for (uint32_t x = 0; x < 30; x++)
				ck_assert_uint_eq(pixel(&image, x, y) != 0,
						  x - r.x < table[i].want.width && y - r.y < table[i].want.height);
		teardown();
	}
}
END_TEST

/* However much changes, there are no more rectangles than one has room for, and all of it is in them. */
START_TEST(test_many_rects)
{
	struct display_image all = { 0 };
	unsigned seed = 1;

	setup(200, 200);
	for (unsigned round = 0; round < 200; round++) {
		const unsigned n = round % 60;

		for (unsigned i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			draw(seed >> 8 & 127, seed >> 16 & 127, 1 + (seed >> 20 & 7), 1 + (seed >> 24 & 7), seed);
		}
		take();
		ck_assert_uint_le(up.n, DISPLAY_VIEW_RECTS);
		ck_assert_int_eq(display_copy(d, 0, &all), 0);
		ck_assert_mem_eq(all.pixels, image.pixels, 200 * 200 * 4);
		display_image_free(&all);
	}
	teardown();
}
END_TEST

/* One rectangle in another costs no second one. */
START_TEST(test_rects_join)
{
	setup(200, 200);
	take();
	draw(10, 10, 50, 50, 1);
	draw(20, 20, 5, 5, 2);
	draw(60, 10, 10, 50, 2);
	take();
	ck_assert_uint_eq(up.n, 1);
	ck_assert(up.rect[0].x == 10 && up.rect[0].width == 60 && up.rect[0].height == 50);
	draw(0, 0, 1, 1, 1);
	draw(199, 199, 1, 1, 1);
	take();
	ck_assert_uint_eq(up.n, 2);
	teardown();
}
END_TEST

/* He is told once, until he looks. */
START_TEST(test_told)
{
	setup(30, 20);
	ck_assert_uint_eq(event_clear(fd), 1);
	draw(0, 0, 1, 1, 1);
	ck_assert_uint_eq(event_clear(fd), 0);
	take();
	for (unsigned i = 0; i < 5; i++)
		draw(i, 0, 1, 1, 1);
	ck_assert_uint_eq(event_clear(fd), 1);
	take();
	display_resize(d, 0, 31, 20);
	ck_assert_uint_eq(event_clear(fd), 1);
	take();
	/* of another output */
	display_resize(d, 1, 31, 20);
	ck_assert_uint_eq(event_clear(fd), 0);
	teardown();
}
END_TEST

START_TEST(test_two_views)
{
	struct display_view other;
	struct display_image image2 = { 0 };
	struct display_update up2;

	setup(30, 20);
	display_view_open(d, 0, -1, &other);
	draw(3, 4, 5, 6, 0xaa);
	take();
	draw(10, 11, 2, 2, 0xbb);
	take();
	ck_assert_uint_eq(up.n, 1);
	ck_assert_uint_eq(up.rect[0].x, 10);
	ck_assert_int_eq(display_view_take(&other, &image2, NULL, &up2), 0);
	ck_assert_mem_eq(image.pixels, image2.pixels, 30 * 20 * 4);
	display_view_close(&view);
	draw(0, 0, 1, 1, 0xcc);
	ck_assert_int_eq(display_view_take(&other, &image2, NULL, &up2), 0);
	ck_assert_uint_eq(pixel(&image2, 0, 0), 0xcc);
	ck_assert_uint_eq(pixel(&image, 0, 0), 0);
	display_view_close(&other);
	display_image_free(&image2);
	teardown();
}
END_TEST

START_TEST(test_cursor)
{
	static struct display_cursor cursor = { .visible = true, .hot_x = 3, .hot_y = 4 }, seen;

	setup(30, 20);
	ck_assert_int_eq(display_view_take(&view, &image, &seen, &up), 0);
	ck_assert(up.cursor_changed && !seen.visible);
	memset(cursor.pixels, 0x77, sizeof(cursor.pixels));
	display_cursor(d, 0, &cursor);
	ck_assert_uint_eq(event_clear(fd), 2);
	ck_assert_int_eq(display_view_take(&view, &image, &seen, &up), 0);
	ck_assert(up.cursor_changed && !up.n);
	ck_assert_mem_eq(&seen, &cursor, sizeof(seen));
	display_cursor_move(d, 0, 7, 8);
	ck_assert_int_eq(display_view_take(&view, &image, &seen, &up), 0);
	ck_assert(!up.cursor_changed);
	display_cursor(d, 0, NULL);
	ck_assert_int_eq(display_view_take(&view, &image, &seen, &up), 0);
	ck_assert(up.cursor_changed && !seen.visible && seen.x == 7);
	teardown();
}
END_TEST

/* Lines without gaps */
static int backdrop(uint32_t width, uint32_t height, const uint32_t *memory)
{
	const struct display_backdrop b = { width, height, width * sizeof(*memory), (const uint8_t *)memory };

	return display_backdrop(d, 0, &b);
}

/* Of memory that changes by itself; what has is found line by line, and nobody is woken who looks anyway. */
START_TEST(test_mirror)
{
	static uint32_t memory[30 * 20];
	struct display_image copy;

	setup(0, 0);
	display_release(d, 0);
	memory[29] = 0x111111;
	ck_assert_int_eq(backdrop(DISPLAY_MAX_SIZE + 1, 1, memory), -E2BIG);
	ck_assert_int_eq(backdrop(30, 20, memory), 0);
	take();
	ck_assert(up.resized && up.mirror);
	ck_assert_uint_eq(pixel(&image, 29, 0), 0x111111);
	event_clear(fd);
	take();
	ck_assert(up.mirror && !up.n);
	memory[3 * 30 + 4] = memory[4 * 30 + 6] = 0x222222;
	memory[7 * 30] = memory[7 * 30 + 29] = 0x333333;
	take();
	ck_assert_uint_eq(event_clear(fd), 0);
	ck_assert_uint_eq(up.n, 2);
	ck_assert(up.rect[0].x == 4 && up.rect[0].y == 3 && up.rect[0].width == 3 && up.rect[0].height == 2);
	ck_assert(up.rect[1].x == 0 && up.rect[1].y == 7 && up.rect[1].width == 30 && up.rect[1].height == 1);
	ck_assert_uint_eq(pixel(&image, 4, 3), 0x222222);
	ck_assert_uint_eq(pixel(&image, 6, 4), 0x222222);
	ck_assert_uint_eq(pixel(&image, 29, 7), 0x333333);
	/* What is shown once, too, and then others hear of it. */
	memory[19 * 30 + 29] = 0x444444;
	ck_assert_int_eq(display_copy(d, 0, &copy), 0);
	ck_assert_uint_eq(pixel(&copy, 29, 19), 0x444444);
	display_image_free(&copy);
	ck_assert_uint_ne(event_clear(fd), 0);
	take();
	ck_assert_uint_eq(up.n, 1);
	/* A size ends it, also the same one. */
	ck_assert_int_eq(display_resize(d, 0, 30, 20), 0);
	memory[0] = 0x555555;
	take();
	ck_assert(!up.mirror && up.n == 1);
	ck_assert_uint_eq(pixel(&image, 0, 0), 0);
	ck_assert_uint_eq(pixel(&image, 29, 0), 0);
	/* While a device draws another one is not shown; an output that it has turned off stays off. */
	ck_assert_int_eq(backdrop(31, 20, memory), 0);
	take();
	ck_assert(!up.mirror && !up.resized);
	ck_assert_int_eq(display_resize(d, 0, 0, 0), 0);
	take();
	ck_assert(!up.mirror && up.resized && !image.pixels);
	display_release(d, 0);
	take();
	ck_assert(up.mirror && up.resized && image.width == 31);
	ck_assert_uint_eq(pixel(&image, 0, 0), 0x555555);
	teardown();
}
END_TEST

/* In the same size, too: who looks on has to know that he is to look again. */
START_TEST(test_backdrop)
{
	static uint32_t memory[40 * 20], other[40 * 20];
	const struct display_backdrop padded = { 30, 20, sizeof(memory) / 20, (uint8_t *)memory };
	uint32_t width, height;

	setup(30, 20);
	take();
	event_clear(fd);
	ck_assert_int_eq(display_backdrop(d, 0, &padded), 0);
	ck_assert_uint_eq(event_clear(fd), 0);
	memory[19 * 40 + 29] = 0x111111;
	memory[19 * 40 + 30] = 0x222222; /* between lines: nobody's */
	display_release(d, 0);
	ck_assert_uint_ne(event_clear(fd), 0);
	take();
	ck_assert(up.mirror && !up.resized && up.n);
	ck_assert_uint_eq(pixel(&image, 29, 19), 0x111111);
	memory[5 * 40 + 30] = 0x222222;
	take();
	ck_assert(!up.n);
	/* Another one */
	other[0] = 0x333333;
	ck_assert_int_eq(backdrop(30, 20, other), 0);
	ck_assert_uint_ne(event_clear(fd), 0);
	take();
	ck_assert_uint_eq(pixel(&image, 0, 0), 0x333333);
	ck_assert_uint_eq(pixel(&image, 29, 19), 0);
	/* One that cannot be: none */
	ck_assert_int_eq(backdrop(DISPLAY_MAX_SIZE, DISPLAY_MAX_SIZE, other), -E2BIG);
	ck_assert(!display_size(d, 0, &width, &height));
	display_release(d, 0);
	ck_assert(!display_size(d, 0, &width, &height));
	ck_assert_int_eq(backdrop(30, 20, other), 0);
	ck_assert(display_size(d, 0, &width, &height) && width == 30 && height == 20);
	ck_assert_int_eq(display_backdrop(d, 0, NULL), 0);
	ck_assert(!display_size(d, 0, &width, &height));
	take();
	ck_assert(!up.mirror && up.resized);
	teardown();
}
END_TEST

UNIT_MAIN("display", test_off_and_on, test_resize, test_limits, test_formats, test_clipped, test_many_rects, test_rects_join,
	  test_told, test_two_views, test_cursor, test_mirror, test_backdrop)
