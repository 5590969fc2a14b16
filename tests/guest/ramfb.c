/*
 * Firmware (rom.S) that draws the picture of screen.c by ramfb. Started with --gpu=200x100 and 128 MB. Then it waits for a
 * character on the serial port: 'c' draws it with a frame of 0x00ff00, 'm' shows another piece of memory with lines that are
 * apart, and 0x0000ff, 'd' starts the driver of the virtio-gpu and shows black by it, 'r' resets that, 'o' turns it off, 's'
 * turns it on again, 'b' tells of what cannot be shown, 'w' tells of this and that, on and on, ending with what is good,
 * 'q' ends.
 */
#include "virtio.h"

#define MOST   8
#define WIDTH  200U
#define HEIGHT 100U
#define PLAIN  0x2000000ULL
#define APART  0x3000001ULL /* nothing need be aligned */
#define BARS   0xe8000000U
#define RAM    0x8000000ULL
#define XR24   0x34325258U

#define SELECT  0x510
#define DATA    0x511
#define DMA     0x514
#define REQUEST 0x200000ULL
#define FILE_AT 0x201000ULL

enum { DMA_ERROR = 1, DMA_SELECT = 8, DMA_WRITE = 16 };

struct told {
	uint64_t at;
	uint32_t format, width, height, stride;
};

static const struct told plain = { PLAIN, XR24, WIDTH, HEIGHT, WIDTH * 4 };
static const struct told apart = { APART, XR24, WIDTH, HEIGHT, WIDTH * 4 + 37 };
static const struct told nothing;

/* ---- the file ---- */

static uint32_t get32(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++)
		value = value << 8 | in8(DATA);
	return value;
}

/* Return: its key; 0: there is none */
static uint32_t find_file(void)
{
	uint32_t n;

	out16(SELECT, 0x19);
	n = get32();
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t bytes = get32(), key = get32() >> 16;
		char name[56];

		for (unsigned j = 0; j < sizeof(name); j++)
			name[j] = (char)in8(DATA);
		if (str_equal(name, "etc/ramfb")) {
			CHECK_EQ(bytes, 28);
			return key;
		}
	}
	return 0;
}

static uint32_t write_file(uint32_t key, uint32_t bytes, uint64_t from)
{
	*mem32(REQUEST) = __builtin_bswap32(key << 16 | DMA_SELECT | DMA_WRITE);
	*mem32(REQUEST + 4) = __builtin_bswap32(bytes);
	*mem64(REQUEST + 8) = __builtin_bswap64(from);
	out32(DMA, 0);
	out32(DMA + 4, __builtin_bswap32((uint32_t)REQUEST));
	return __builtin_bswap32(*mem32(REQUEST));
}

static void tell(uint32_t key, const struct told *t)
{
	*mem64(FILE_AT) = __builtin_bswap64(t->at);
	*mem32(FILE_AT + 8) = __builtin_bswap32(t->format);
	*mem32(FILE_AT + 12) = 0;
	*mem32(FILE_AT + 16) = __builtin_bswap32(t->width);
	*mem32(FILE_AT + 20) = __builtin_bswap32(t->height);
	*mem32(FILE_AT + 24) = __builtin_bswap32(t->stride);
	CHECK_EQ(write_file(key, 28, FILE_AT), 0);
}

static void draw(const struct told *t, uint32_t frame)
{
	for (uint32_t y = 0; y < t->height; y++) {
		volatile uint32_t *line = mem32(t->at + y * t->stride);

		for (uint32_t x = 0; x < t->width; x++)
			line[x] = !x || !y || x == t->width - 1 || y == t->height - 1 ? frame : 0x550000 + y * 256 + x;
	}
}

/* ---- what cannot be ---- */

static const struct told bad[] = {
	{ PLAIN, XR24, WIDTH, HEIGHT, 1 },
	{ PLAIN, XR24, WIDTH, HEIGHT, WIDTH * 4 - 1 },
	{ PLAIN, XR24, WIDTH, HEIGHT, UINT32_MAX },
	{ PLAIN, XR24, UINT32_MAX, UINT32_MAX, UINT32_MAX },
	{ PLAIN, XR24, 0x40000001, 1, 4 },
	{ PLAIN, XR24, 0x8000, 0x8000, 0x20000 },
	{ PLAIN, XR24, WIDTH, 0, WIDTH * 4 },
	{ PLAIN, XR24, 0, HEIGHT, 0 },
	{ PLAIN, XR24, 4096, 4096, 32768 }, /* 128 MB, of which not all is there */
	{ PLAIN, 0, WIDTH, HEIGHT, WIDTH * 4 },
	{ PLAIN, UINT32_MAX, WIDTH, HEIGHT, WIDTH * 4 },
	{ UINT64_MAX, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ 0ULL - WIDTH * 4, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ RAM - WIDTH * 4, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ RAM - 1, XR24, 1, 1, 4 },
	{ RAM, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ 0xd0000000, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ 0xfee00000, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ 0xfffe0000, XR24, WIDTH, HEIGHT, WIDTH * 4 }, /* the ROM */
	{ 0x100000000, XR24, WIDTH, HEIGHT, WIDTH * 4 },
	{ 1ULL << 63, XR24, WIDTH, HEIGHT, WIDTH * 4 },
};

#define N_BAD (sizeof(bad) / sizeof(bad[0]))

/* What is refused as a whole changes nothing; of what is not, nothing is shown. */
static void be_bad(uint32_t key)
{
	for (unsigned i = 0; i < N_BAD; i++) {
		tell(key, &plain);
		tell(key, &bad[i]);
		CHECK_EQ(write_file(key, 29, FILE_AT), DMA_ERROR);
		CHECK_EQ(write_file(key, UINT32_MAX, FILE_AT), DMA_ERROR);
		CHECK_EQ(write_file(key, 28, UINT64_MAX - 8), DMA_ERROR);
		CHECK_EQ(write_file(key, 28, RAM - 27), DMA_ERROR);
		CHECK_EQ(write_file(key, 28, 0xd0000000), DMA_ERROR);
		CHECK_EQ(write_file(key + 1, 4, FILE_AT), DMA_ERROR);
	}
}

/* Whoever looks at it meanwhile */
static void be_restless(uint32_t key)
{
	uint32_t n = 1;

	for (unsigned i = 0; i < 500; i++) {
		n = n * 1664525 + 1013904223;
		if (n >> 31)
			tell(key, &bad[(n >> 8) % N_BAD]);
		else
			tell(key, &(struct told){ n & 0x7fffff, XR24, (n >> 8 & 4095) + 1, (n >> 16 & 255) + 1, 0 });
	}
	tell(key, &plain);
}

/* ---- the driver that comes later ---- */

/* What firmware does */
static void place_bars(void)
{
	uint32_t at = BARS;

	for (unsigned devfn = 0; devfn < 256; devfn += 8) {
		if ((pci_read(devfn, 0, 4) & 0xffff) != 0x1af4)
			continue;
		pci_write(devfn, 0x10, 4, at);
		if (pci_read(devfn, 0x10, 4) & 4)
			pci_write(devfn, 0x14, 4, 0);
		at += 0x100000;
	}
}

/* ---- all together ---- */

void guest_main(void)
{
	static struct vdev devices[MOST];
	const uint32_t key = find_file();
	struct vdev *d = NULL;

	if (!key) {
		print("no file\n");
		return;
	}
	place_bars();
	draw(&plain, 0xffffff);
	tell(key, &plain);
	print("ready\n");
	for (;;) {
		switch (read_char()) {
		case 'c':
			draw(&plain, 0x00ff00);
			print("drawn\n");
			break;
		case 'm':
			draw(&apart, 0x0000ff);
			tell(key, &apart);
			print("moved\n");
			break;
		case 'd':
			d = gpu_show_black(devices, MOST, WIDTH, HEIGHT);
			print("driven\n");
			break;
		case 'r':
			vdev_reset(d);
			print("reset\n");
			break;
		case 'o':
			tell(key, &nothing);
			print("off\n");
			break;
		case 's':
			tell(key, &plain);
			print("shown\n");
			break;
		case 'b':
			be_bad(key);
			print("bad\n");
			break;
		case 'w':
			be_restless(key);
			print("still\n");
			break;
		case 'q':
			return;
		default:
			break;
		}
	}
}
