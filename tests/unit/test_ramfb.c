/* Links: hw/ramfb.o hw/fw-cfg.o hw/ram.o hw/ram-discard.o hw/ram-plug.o hw/state.o hw/state-show.o display/display.o util/event.o util/json.o util/log.o */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "chip.h"
#include "lkvm/display.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/ram.h"
#include "lkvm/ramfb.h"
#include "state.h"

/* A machine with RAM on both sides of the gap */
#define HIGH_BYTES (2 * MIB)
#define RAM_BYTES  (RAM_GAP_START + HIGH_BYTES)
#define RAM_LAST   (RAM_GAP_END + HIGH_BYTES)
#define REQUEST	   0x1000
#define FILE_AT	   0x2000
#define PIXELS	   0x10000ULL
#define XR24	   0x34325258
#define AR24	   0x34325241
#define WIDTH	   20
#define HEIGHT	   10

enum { ERROR = 1, SELECT = 8, WRITE = 16 };

struct told {
	uint64_t at;
	uint32_t format, flags, width, height, stride;
} __attribute__((packed));

static const struct told good = { PIXELS, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 };

static struct ram *ram;
static struct display *display;
static void *fw_cfg;

static void *new_device(const struct device_type *type)
{
	const struct device_env env = { .ram = ram };
	void *dev = calloc(1, type->size);

	ck_assert_ptr_nonnull(dev);
	ck_assert_int_eq(type->init(dev, &env), 0);
	return dev;
}

static void make_machine(const struct ram_region *region)
{
	const struct ram_config advice = { .region = region ? *region : (struct ram_region){ 0 } };
	struct ram_backing backing = { .fd = -1, .advice = &advice };

	log_set_patience(0);
	ck_assert_int_eq(ram_new(RAM_BYTES, &backing, &ram), 0);
	ck_assert_int_eq(display_new(2, &display), 0);
	fw_cfg = new_device(&fw_cfg_type);
	machine.type = &ramfb_type;
	machine.dev = new_device(&ramfb_type);
	ck_assert_int_eq(ramfb_attach(machine.dev, fw_cfg, display), 0);
}

static void setup(void)
{
	make_machine(NULL);
}

static void teardown(void)
{
	fw_cfg_type.fini(fw_cfg);
	free(fw_cfg);
	free(machine.dev);
	display_free(display);
	ram_free(ram);
}

/* @len bytes of what stands at FILE_AT; Return: what stands where the request was */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t from)
{
	const struct {
		uint32_t control, len;
		uint64_t at;
	} request = { htobe32(control), htobe32(len), htobe64(from) };
	uint32_t answer = 0;

	ram_write(ram, GPA(REQUEST), &request, sizeof(request));
	fw_cfg_type.io.write(fw_cfg, FW_CFG_DMA + 4, 4, htobe32(REQUEST));
	ram_read(ram, GPA(REQUEST), &answer, sizeof(answer));
	return be32toh(answer);
}

static void tell(const struct told *t)
{
	const struct told file = { htobe64(t->at),     htobe32(t->format), htobe32(t->flags),
				   htobe32(t->width), htobe32(t->height), htobe32(t->stride) };

	ram_write(ram, GPA(FILE_AT), &file, sizeof(file));
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, RAMFB_BYTES, FILE_AT), 0);
}

static bool is_on(void)
{
	uint32_t width, height;

	return display_size(display, 0, &width, &height);
}

static void set_pixel(uint64_t at, uint32_t value)
{
	ck_assert_int_eq(ram_write(ram, GPA(at), &value, sizeof(value)), 0);
}

/* Pixel @i of what the screen shows, which is so wide and high */
static uint32_t shown(uint32_t width, uint32_t height, size_t i)
{
	struct display_image image;
	uint32_t p;

	ck_assert_int_eq(display_copy(display, 0, &image), 0);
	ck_assert_uint_eq(image.width, width);
	ck_assert_uint_eq(image.height, height);
	memcpy(&p, image.pixels + 4 * i, 4);
	display_image_free(&image);
	return p;
}

START_TEST(test_shows)
{
	struct told t = good;

	setup();
	ck_assert(!is_on());
	set_pixel(PIXELS + 4, 0x112233);
	tell(&t);
	ck_assert_uint_eq(shown(WIDTH, HEIGHT, 1), 0x112233);
	set_pixel(PIXELS + 4, 0x445566);
	ck_assert_uint_eq(shown(WIDTH, HEIGHT, 1), 0x445566);
	t.stride = 0; /* as many as a line has */
	t.format = AR24;
	t.flags = 0xffffffff;
	tell(&t);
	set_pixel(PIXELS + WIDTH * 4, 0x778899);
	ck_assert_uint_eq(shown(WIDTH, HEIGHT, WIDTH), 0x778899);
	t = good;
	t.stride = WIDTH * 4 + 1; /* nothing is aligned */
	t.at++;
	tell(&t);
	set_pixel(PIXELS + 1 + WIDTH * 4 + 1, 0xaabbcc);
	ck_assert_uint_eq(shown(WIDTH, HEIGHT, WIDTH), 0xaabbcc);
	t = (struct told){ 0 };
	tell(&t);
	ck_assert(!is_on());
	t.at = UINT64_MAX; /* of nothing it does not matter where it is */
	tell(&t);
	ck_assert(!is_on());
	teardown();
}
END_TEST

/* The last pixel may be RAM's last bytes, and what follows a line need not be there for the last one. */
START_TEST(test_at_the_end)
{
	static const uint64_t ends[] = { RAM_GAP_START, RAM_LAST };

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct told t = good;

		t.at = ends[i] - WIDTH * HEIGHT * 4;
		tell(&t);
		set_pixel(ends[i] - 4, 0x123456);
		ck_assert_uint_eq(shown(WIDTH, HEIGHT, WIDTH * HEIGHT - 1), 0x123456);
		t.at++;
		tell(&t);
		ck_assert(!is_on());
		t.stride = 4096;
		t.at = ends[i] - 4096 * (HEIGHT - 1) - WIDTH * 4;
		tell(&t);
		ck_assert_uint_eq(shown(WIDTH, HEIGHT, WIDTH * HEIGHT - 1), 0x123456);
		t.at++;
		tell(&t);
		ck_assert(!is_on());
	}
	teardown();
}
END_TEST

START_TEST(test_limits)
{
	struct told t = good;

	setup();
	t.width = t.height = RAMFB_MAX_SIZE;
	t.stride = RAMFB_MAX_SIZE * 4;
	tell(&t);
	ck_assert(is_on());
	t.width++;
	t.stride = 0;
	tell(&t);
	ck_assert(!is_on());
	t.width = RAMFB_MAX_SIZE;
	tell(&t);
	ck_assert(is_on());
	t.height++;
	tell(&t);
	ck_assert(!is_on());
	t = (struct told){ PIXELS, XR24, 0, 1, 1, 4 };
	tell(&t);
	ck_assert(is_on());
	teardown();
}
END_TEST

/* None of these is shown, nor what was shown before; the next good one is. */
START_TEST(test_refused)
{
	static const struct told bad[] = {
		{ PIXELS, 0, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ PIXELS, 0x34324752, 0, WIDTH, HEIGHT, WIDTH * 4 }, /* RG24 */
		{ PIXELS, 0x58523432, 0, WIDTH, HEIGHT, WIDTH * 4 }, /* the other way round */
		{ PIXELS, XR24, 0, 0, HEIGHT, 0 },
		{ PIXELS, XR24, 0, WIDTH, 0, WIDTH * 4 },
		{ PIXELS, XR24, 0, UINT32_MAX, UINT32_MAX, UINT32_MAX },
		{ PIXELS, XR24, 0, 0x40000001, 1, 4 }, /* 4 bytes, in 32 bits */
		{ PIXELS, XR24, 0, WIDTH, 0x80000000, WIDTH * 4 },
		{ PIXELS, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 - 1 },
		{ PIXELS, XR24, 0, WIDTH, HEIGHT, 1 },
		{ PIXELS, XR24, 0, WIDTH, HEIGHT, UINT32_MAX },
		{ PIXELS, XR24, 0, WIDTH, 2, 0xd0000000 }, /* from one line to the next over the gap */
		{ UINT64_MAX, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ 0 - 4ULL * WIDTH, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ 0 - 4ULL * WIDTH * HEIGHT, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ RAM_GAP_START - 4 * WIDTH, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ RAM_GAP_START, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ RAM_GAP_END - 4 * WIDTH, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ RAM_LAST - 4 * WIDTH, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ RAM_LAST, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
		{ 1ULL << 63, XR24, 0, WIDTH, HEIGHT, WIDTH * 4 },
	};

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		tell(&good);
		ck_assert(is_on());
		tell(&bad[i]);
		ck_assert_msg(!is_on(), "case %zu is shown", i);
	}
	teardown();
}
END_TEST

/* It counts what stands in the file after each piece. */
START_TEST(test_pieces)
{
	uint8_t file[RAMFB_BYTES];

	setup();
	tell(&good);
	ram_read(ram, GPA(FILE_AT), file, sizeof(file));
	tell(&(struct told){ 0 });
	ram_write(ram, GPA(FILE_AT), file, sizeof(file));
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, RAMFB_BYTES - 4, FILE_AT), 0);
	ck_assert(is_on()); /* the stride is still 0, which is what it then is */
	ck_assert_uint_eq(dma(WRITE, 4, FILE_AT + RAMFB_BYTES - 4), 0);
	ck_assert(is_on());
	ck_assert_uint_eq(dma(WRITE, 1, FILE_AT), ERROR);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, RAMFB_BYTES + 1, FILE_AT), ERROR);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, RAMFB_BYTES, RAM_GAP_START - 4), ERROR);
	ck_assert(is_on()); /* nothing has changed */
	set_pixel(FILE_AT, 0xffffffff);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, 4, FILE_AT), 0);
	ck_assert(!is_on());
	teardown();
}
END_TEST

/* A driver has it while it wants it; what firmware says meanwhile is shown then. */
START_TEST(test_gives_way)
{
	struct told t = good;

	setup();
	set_pixel(PIXELS, 0x112233);
	tell(&t);
	ck_assert_int_eq(display_resize(display, 0, 40, 30), 0);
	ck_assert_uint_eq(shown(40, 30, 0), 0);
	t.height = 5;
	tell(&t);
	ck_assert_uint_eq(shown(40, 30, 0), 0);
	display_release(display, 0);
	ck_assert_uint_eq(shown(WIDTH, 5, 0), 0x112233);
	teardown();
}
END_TEST

/* Memory that may go while somebody reads it */
START_TEST(test_plugged)
{
	const struct ram_region region = { 8ULL << 30, 256 * MIB, 2 * MIB };
	struct told t = good;

	make_machine(&region);
	ck_assert_int_eq(ram_plug(ram, 0, 1), 0);
	t.at = region.start;
	ck_assert_ptr_nonnull(ram_host(ram, GPA(t.at), WIDTH * HEIGHT * 4));
	tell(&t);
	ck_assert(!is_on());
	tell(&good);
	ck_assert(is_on());
	teardown();
}
END_TEST

static void saved_and_loaded(void)
{
	struct state_buf saved = { 0 };
	struct state_reader in;

	ck_assert_int_eq(state_save(&saved, ramfb_type.state, machine.dev), 0);
	tell(&(struct told){ 0 });
	in = state_reader_of(&saved);
	ck_assert_int_eq(state_load(&in, ramfb_type.state, machine.dev), 0);
	state_buf_free(&saved);
}

static void use(void *dev)
{
	struct display_image image;

	ck_assert_ptr_eq(dev, machine.dev);
	if (!display_copy(display, 0, &image))
		display_image_free(&image);
}

START_TEST(test_state)
{
	uint8_t first = 0;

	setup();
	set_pixel(PIXELS, 0x112233);
	tell(&good);
	saved_and_loaded();
	ck_assert_uint_eq(shown(WIDTH, HEIGHT, 0), 0x112233);
	fw_cfg_type.io.write(fw_cfg, FW_CFG_SELECT, 2, FW_CFG_FIRST_FILE);
	for (unsigned i = 0; i < 6; i++)
		first = (uint8_t)fw_cfg_type.io.read(fw_cfg, FW_CFG_DATA, 1);
	ck_assert_uint_eq(first, 1); /* of 0x10000: the guest reads what it had written */
	tell(&(struct told){ RAM_LAST, XR24, 0, 1, 1, 4 });
	saved_and_loaded();
	ck_assert(!is_on());
	tell(&good);
	state_test_table(ramfb_type.state);
	state_test_same(ramfb_type.state, machine.dev, machine.dev);
	state_test_hostile(ramfb_type.state, machine.dev, use);
	teardown();
}
END_TEST

UNIT_MAIN("ramfb", test_shows, test_at_the_end, test_limits, test_refused, test_pieces, test_gives_way, test_plugged, test_state)
