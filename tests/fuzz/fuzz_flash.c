/* Links: hw/flash.o hw/state.o hw/state-show.o util/json.o util/log.o */

/*
 * A stream of a guest's accesses to a chip of flash memory. Of each the first byte says what it is (bit 7: write, bits
 * 1-0: width), an offset of 2 bytes follows, and what is to be written. Where bits 6-2 are all set saved state follows
 * (state.h), and accesses behind it.
 *
 * Beside what the sanitizers find: the chip is told to show its array exactly when it does, what it stores lies in one
 * block, and bits are set by erasing whole blocks only.
 */
#include "input.h"
#include "lkvm/access.h"
#include "lkvm/flash.h"
#include "state.h"

#define BYTES (3 * FLASH_BLOCK_BYTES)

static uint8_t *data;
static bool shows_array;

static int store(void *ctx, uint64_t off, const void *bytes, size_t len)
{
	const uint8_t *now = bytes;

	(void)ctx;
	check(len && off < BYTES && len <= BYTES - off && off / FLASH_BLOCK_BYTES == (off + len - 1) / FLASH_BLOCK_BYTES);
	for (size_t i = 0; i < len; i++)
		check(!(now[i] & ~data[off + i]) || (len == FLASH_BLOCK_BYTES && now[i] == 0xff));
	if (data[off] == 0xa5)
		return -1; /* the host's disk is full */
	memcpy(data + off, bytes, len);
	return 0;
}

static void array(void *ctx, bool on)
{
	(void)ctx;
	check(on != shows_array);
	shows_array = on;
}

static void access_one(struct flash *flash, unsigned op, unsigned len, struct input *in)
{
	const uint64_t off = input_le(in, 2) % (BYTES - len + 1);
	uint8_t buf[8] = { 0 };

	for (unsigned i = 0; op & 0x80 && i < len; i++)
		buf[i] = input_byte(in);
	if (op & 0x80)
		flash_write(flash, off, len, access_get(buf, len));
	else
		check(flash_read(flash, off, len) == access_get(data + off, len) || !shows_array);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const struct flash_ops ops = { store, array };
	struct input in = { bytes, bytes + size };
	struct flash flash;

	data = malloc(BYTES); /* so that the sanitizer sees its ends */
	if (!data)
		return 0;
	for (unsigned i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i * 7 ^ i >> 8);
	shows_array = true;
	flash_init(&flash, data, BYTES, &ops, NULL);
	while (in.at < in.end) {
		const unsigned op = input_byte(&in), len = 1U << (op & 3);

		if ((op & 0x7c) == 0x7c)
			try_one(&flash_state_type, &flash, &in);
		else
			access_one(&flash, op, len, &in);
	}
	flash_fini(&flash);
	free(data);
	return 0;
}
