/* Links: hw/fw-cfg.o hw/ram.o hw/ram-discard.o hw/state.o hw/state-show.o util/json.o util/log.o */
/*
 * A stream of guest accesses to fw_cfg. The first byte of each says what it is:
 *
 *	bit 7     a DMA request: four bytes of control, of length, of address; where it stands, two
 *	bit 6     write (the data follows), else read
 *	bits 5-4  width 1, 2, 4
 *	bits 3-0  offset; 15 of a byte to be written: saved state follows (state.h), and accesses behind it
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/chips.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/ram.h"
#include "lkvm/types.h"
#include "state.h"

#define RAM_BYTES (256 * KIB)

static const struct bus_ops *const io = &fw_cfg_type.io;

static void request(void *dev, struct ram *ram, struct input *in)
{
	const uint32_t control = htobe32(input_be(in, 4)), len = htobe32(input_be(in, 4));
	const uint64_t to = htobe64(input_be(in, 4));
	const uint32_t at = input_be(in, 2) << 2;

	ram_write(ram, GPA(at), &control, 4);
	ram_write(ram, GPA(at + 4), &len, 4);
	ram_write(ram, GPA(at + 8), &to, 8);
	io->write(dev, FW_CFG_DMA + 4, 4, htobe32(at));
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
	void *dev = calloc(1, fw_cfg_type.size);

	check(ram || !ram_new(RAM_BYTES, &backing, &ram));
	env = (struct device_env){ .ram = ram };
	check(dev && !fw_cfg_type.init(dev, &env));
	check(!fw_cfg_file(dev, "etc/one", data, size) && !fw_cfg_file(dev, "two", "2", 1));
	for (unsigned n = 0; n < 256 && in.at < in.end; n++) {
		const uint8_t what = input_byte(&in);

		if (what & 0x80)
			request(dev, ram, &in);
		else if (what == 0x4f)
			try_one(fw_cfg_type.state, dev, &in);
		else
			access_port(dev, &in, what);
	}
	fw_cfg_type.fini(dev);
	free(dev);
	return 0;
}
