/* Links: hw/fw-cfg.o hw/ramfb.o hw/ram.o hw/ram-discard.o hw/ram-plug.o hw/state.o hw/state-show.o display/display.o util/event.o util/json.o util/log.o */
/*
 * A stream of guest accesses to fw_cfg, with ramfb's file, of which somebody looks at what it shows. The first byte of each
 * says what it is:
 *
 *	bit 7     a DMA request: four bytes of control, of length, of address; where it stands, two
 *	bit 6     too: 28 bytes for ramfb are written, and what it shows is looked at
 *	bit 6     write (the data follows), else read
 *	bits 5-4  width 1, 2, 4
 *	bits 3-0  offset; 15 of a byte to be written: saved state follows (state.h), and accesses behind it
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/chips.h"
#include "lkvm/display.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/ram.h"
#include "lkvm/ramfb.h"
#include "lkvm/types.h"
#include "state.h"

#define RAM_BYTES (256 * KIB)

static const struct bus_ops *const io = &fw_cfg_type.io;

static void dma(void *dev, struct ram *ram, uint32_t at, uint32_t control, uint32_t len, uint64_t to)
{
	const uint32_t words[2] = { htobe32(control), htobe32(len) };
	const uint64_t address = htobe64(to);

	ram_write(ram, GPA(at), words, 8);
	ram_write(ram, GPA(at + 8), &address, 8);
	io->write(dev, FW_CFG_DMA + 4, 4, htobe32(at));
}

static void request(void *dev, struct ram *ram, struct input *in)
{
	const uint32_t control = input_be(in, 4), len = input_be(in, 4), to = input_be(in, 4);

	dma(dev, ram, input_be(in, 2) << 2, control, len, to);
}

/* The first file; what does not come is 0. */
static void show_screen(void *dev, struct ram *ram, struct display *display, struct input *in)
{
	struct display_image image;
	uint8_t file[RAMFB_BYTES];

	for (unsigned i = 0; i < sizeof(file); i++)
		file[i] = input_byte(in);
	ram_write(ram, GPA(0), file, sizeof(file));
	dma(dev, ram, 0x100, FW_CFG_FIRST_FILE << 16 | 0x18, sizeof(file), 0);
	if (!display_copy(display, 0, &image))
		display_image_free(&image);
}

static void access_port(void *dev, struct input *in, uint8_t what)
{
	static const unsigned widths[4] = { 1, 2, 4, 4 };
	const unsigned len = widths[what >> 4 & 3], off = what & 0xf;

	if (off + len > FW_CFG_PORTS)
		return;
	if (what & 0x40)
		io->write(dev, off, len, input_le(in, len));
	else
		io->read(dev, off, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ram_config plain;
	static struct ram *ram;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct input in = { data, data + size };
	struct device_env env;
	void *dev = calloc(1, fw_cfg_type.size), *ramfb = calloc(1, ramfb_type.size);
	struct display *display;

	check(ram || !ram_new(RAM_BYTES, &backing, &ram));
	env = (struct device_env){ .ram = ram };
	check(dev && !fw_cfg_type.init(dev, &env) && ramfb && !ramfb_type.init(ramfb, &env));
	check(!display_new(1, &display) && !ramfb_attach(ramfb, dev, display));
	check(!fw_cfg_file(dev, "etc/one", data, size) && !fw_cfg_file(dev, "two", "2", 1));
	for (unsigned n = 0; n < 256 && in.at < in.end; n++) {
		const uint8_t what = input_byte(&in);

		if ((what & 0xc0) == 0xc0)
			show_screen(dev, ram, display, &in);
		else if (what & 0x80)
			request(dev, ram, &in);
		else if (what == 0x4f)
			try_one(fw_cfg_type.state, dev, &in);
		else
			access_port(dev, &in, what);
	}
	fw_cfg_type.fini(dev);
	free(dev);
	free(ramfb);
	display_free(display);
	return 0;
}
