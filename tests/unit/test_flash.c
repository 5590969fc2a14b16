/* Links: hw/flash.o hw/state.o hw/state-show.o util/json.o util/log.o */
/* A chip of flash memory: what each command does, in which order, and what none of them does. */
#include <errno.h>
#include <string.h>

#include "lkvm/flash.h"
#include "lkvm/types.h"
#include "state.h"
#include "unit.h"

#define BLOCKS 3
#define BYTES  (BLOCKS * FLASH_BLOCK_BYTES)

static uint8_t data[BYTES];
static struct flash flash;
static unsigned stores, switches;
static bool shows_array;
static int store_error;

static int store(void *ctx, uint64_t off, const void *bytes, size_t len)
{
	ck_assert_ptr_eq(ctx, data);
	ck_assert_uint_ge(len, 1);
	ck_assert_uint_lt(off, BYTES);
	ck_assert_uint_le(len, BYTES - off);
	ck_assert_uint_eq(off / FLASH_BLOCK_BYTES, (off + len - 1) / FLASH_BLOCK_BYTES);
	stores++;
	if (!store_error)
		memcpy(data + off, bytes, len);
	return store_error;
}

static void array(void *ctx, bool on)
{
	ck_assert_ptr_eq(ctx, data);
	ck_assert(on != shows_array);
	shows_array = on;
	switches++;
}

static const struct flash_ops ops = { store, array };

static void start(void)
{
	for (size_t i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i ^ i >> 8);
	stores = switches = 0;
	store_error = 0;
	shows_array = true;
	flash_init(&flash, data, BYTES, &ops, data);
}

static void end(void)
{
	flash_fini(&flash);
}

static uint8_t get(uint64_t off)
{
	return (uint8_t)flash_read(&flash, off, 1);
}

static void put(uint64_t off, uint8_t byte)
{
	flash_write(&flash, off, 1, byte);
}

static void expect_status(uint8_t status)
{
	ck_assert(!shows_array);
	for (uint64_t off = 0; off < BYTES; off += 0x7ff)
		ck_assert_uint_eq(get(off), status);
}

START_TEST(test_array)
{
	start();
	for (unsigned len = 1; len <= 8; len *= 2)
		for (uint64_t off = 0; off <= BYTES - len; off += 0x3ff) {
			uint64_t want = 0;

			memcpy(&want, data + (off <= BYTES - len ? off : BYTES - len), len);
			ck_assert_uint_eq(flash_read(&flash, off, len) & (UINT64_MAX >> (64 - 8 * len)), want);
		}
	ck_assert_uint_eq(switches, 0);
	end();
}
END_TEST

/* As OVMF's driver finds out that it is flash, neither RAM nor ROM */
START_TEST(test_probe)
{
	start();
	data[0x10] = 0xaa;
	put(0x10, 0x50);
	ck_assert_uint_eq(get(0x10), 0xaa);
	ck_assert(shows_array);
	put(0x10, 0x70);
	expect_status(0);
	put(0x10, 0xff);
	ck_assert_uint_eq(get(0x10), 0xaa);
	ck_assert_uint_eq(stores, 0);
	ck_assert_uint_eq(switches, 2);
	end();
}
END_TEST

START_TEST(test_program)
{
	static const uint8_t commands[] = { 0x10, 0x40 };

	for (size_t c = 0; c < sizeof(commands); c++) {
		start();
		data[100] = 0xf5;
		put(7, commands[c]); /* the address of the first cycle is no matter */
		expect_status(0);
		put(100, 0x3c);
		expect_status(FLASH_READY);
		ck_assert_uint_eq(data[100], 0x34); /* zeros stay */
		put(101, commands[c]);
		put(101, 0xff); /* which is data here, and changes nothing */
		put(0, 0xff);
		ck_assert_uint_eq(get(101), 101);
		ck_assert_uint_eq(data[99], 99);
		ck_assert_uint_eq(stores, 2);
		end();
	}
}
END_TEST

START_TEST(test_erase)
{
	for (unsigned b = 0; b < BLOCKS; b++) {
		start();
		put(b * FLASH_BLOCK_BYTES + 0x123, 0x20);
		put(b * FLASH_BLOCK_BYTES + 0xfff, 0xd0);
		expect_status(FLASH_READY);
		for (unsigned i = 0; i < BYTES; i++)
			ck_assert_uint_eq(data[i], i / FLASH_BLOCK_BYTES == b ? 0xff : (uint8_t)(i ^ i >> 8));
		end();
	}
	/* Anything else is no confirmation. */
	for (unsigned byte = 0; byte < 256; byte++) {
		start();
		put(0, 0x20);
		put(0, (uint8_t)byte);
		ck_assert_uint_eq(stores, byte == 0xd0);
		expect_status(byte == 0xd0 ? FLASH_READY : FLASH_READY | FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT);
		end();
	}
}
END_TEST

START_TEST(test_status)
{
	start();
	put(0, 0x20);
	put(0, 0);
	put(0, 0x10);
	put(0, 0); /* what follows does not take the fault away */
	expect_status(FLASH_READY | FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT);
	put(0, 0x50);
	ck_assert(shows_array);
	put(0, 0x70);
	expect_status(0);
	end();
}
END_TEST

static void begin_buffer(unsigned n)
{
	put(0, 0xe8);
	put(0, (uint8_t)(n - 1));
}

START_TEST(test_buffer)
{
	for (unsigned n = 1; n <= 256; n += 15) {
		start();
		memset(data, 0xff, 1024);
		begin_buffer(n);
		for (unsigned i = 0; i < n; i++)
			put(0x20 + i, (uint8_t)(i + 1));
		ck_assert_uint_eq(stores, 0);
		put(0x20, 0xd0);
		expect_status(FLASH_READY);
		ck_assert_uint_eq(stores, 1);
		for (unsigned i = 0; i < n; i++)
			ck_assert_uint_eq(data[0x20 + i], (uint8_t)(i + 1));
		ck_assert_uint_eq(data[0x1f], 0xff);
		ck_assert_uint_eq(data[0x20 + n], 0xff);
		end();
	}
}
END_TEST

/* What is not told programs nothing; zeros stay here, too. */
START_TEST(test_buffer_with_gaps)
{
	start();
	memset(data, 0xf0, 64);
	begin_buffer(4);
	put(8, 0x5a);
	put(10, 0x0f);
	put(10, 0x3c);
	put(10, 0x3c);
	put(8, 0xd0);
	ck_assert_mem_eq(data + 7, "\xf0\x50\xf0\x30\xf0", 5);
	end();
}
END_TEST

/* Behind the last byte, before the first one, in the next block, and without a confirmation */
START_TEST(test_buffer_refuses)
{
	static const struct {
		uint64_t first, second;
		unsigned n;
	} cases[] = {
		{ 0x20, 0x24, 4 }, { 0x20, 0x1f, 4 }, { 0xfff, 0x1000, 4 }, { 0x20, 0x2000, 256 }, { 0x20, 0, 256 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		start();
		begin_buffer(cases[i].n);
		put(cases[i].first, 0);
		put(cases[i].second, 0);
		expect_status(FLASH_READY | FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT);
		put(0, 0xd0);
		ck_assert_uint_eq(stores, 0);
		end();
	}
	start();
	begin_buffer(1);
	put(0, 0);
	put(0, 0xff);
	expect_status(FLASH_READY | FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT);
	ck_assert_uint_eq(stores, 0);
	end();
}
END_TEST

/* As many bytes as there would be at the chip's end, and less. */
START_TEST(test_buffer_at_the_end)
{
	start();
	data[BYTES - 1] = 0xff;
	begin_buffer(256);
	for (unsigned i = 0; i < 256; i++)
		put(BYTES - 1, 0x42);
	put(BYTES - 1, 0xd0);
	expect_status(FLASH_READY);
	ck_assert_uint_eq(data[BYTES - 1], 0x42);
	end();
}
END_TEST

START_TEST(test_id)
{
	start();
	put(0, 0x90);
	ck_assert(!shows_array);
	ck_assert_uint_eq(get(0), 0x89);
	ck_assert_uint_eq(get(FLASH_BLOCK_BYTES), 0x89);
	ck_assert_uint_eq(get(2), 0);
	put(0, 0x10);
	put(5, 0);
	ck_assert_uint_eq(data[5], 0);
	end();
}
END_TEST

/* A wide write is one a byte. */
START_TEST(test_wide)
{
	start();
	data[4] = data[5] = 0xff;
	flash_write(&flash, 3, 4, 0x42ff5510); /* 10 55: programs 4; ff; then a byte that is no command */
	ck_assert_uint_eq(data[4], 0x55);
	ck_assert_uint_eq(data[5], 0xff);
	ck_assert(shows_array);
	flash_write(&flash, 0x1000, 8, 0x1111111111d02070); /* 70, 20 d0; 11, ...: to the array again */
	ck_assert_uint_eq(data[0x1000], 0xff);
	ck_assert_uint_eq(data[0x2000], 0x20);
	ck_assert(shows_array);
	end();
}
END_TEST

/* Where the host cannot store it, the guest is told, and reads what was there. */
START_TEST(test_store_fails)
{
	start();
	store_error = -ENOSPC;
	put(1, 0x10);
	put(1, 0);
	expect_status(FLASH_READY | FLASH_PROGRAM_FAULT);
	put(0, 0x50);
	put(0, 0x20);
	put(0, 0xd0);
	expect_status(FLASH_READY | FLASH_ERASE_FAULT);
	put(0, 0x50);
	begin_buffer(1);
	put(1, 0);
	put(1, 0xd0);
	expect_status(FLASH_READY | FLASH_PROGRAM_FAULT);
	put(0, 0xff);
	ck_assert_uint_eq(get(1), 1);
	end();
}
END_TEST

/* ---- state ---- */

/* It is saved, thrown away, and goes on as another one of the same array. */
static void restore(void)
{
	struct state_buf saved = { 0 };
	struct state_reader in;
	unsigned was = switches;

	state_saved(&flash_state_type, &flash, &saved);
	flash_fini(&flash);
	shows_array = true;
	flash_init(&flash, data, BYTES, &ops, data);
	in = state_reader_of(&saved);
	ck_assert_msg(state_load(&in, &flash_state_type, &flash) == 0, "%s", in.why);
	ck_assert_uint_le(switches, was + 1);
	assert_saves(&flash_state_type, &flash, &saved);
	state_buf_free(&saved);
}

/* Between each two bytes of commands */
START_TEST(test_restored)
{
	start();
	restore();
	ck_assert(shows_array);
	put(1, 0x40);
	restore();
	expect_status(0);
	put(1, 0);
	restore();
	expect_status(FLASH_READY);
	put(0, 0xff);
	ck_assert_uint_eq(get(1), 0);
	put(0x1000, 0x20);
	restore();
	put(0x1000, 0xd0);
	ck_assert_uint_eq(data[0x1fff], 0xff);
	put(0, 0x90);
	restore();
	ck_assert_uint_eq(get(0), 0x89);
	put(0, 0x20);
	put(0, 0); /* no confirmation */
	restore();
	expect_status(FLASH_READY | FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT);
	put(0, 0x50);
	put(0x1010, 0xe8);
	restore();
	put(0x1010, 2);
	restore();
	for (unsigned i = 0; i < 3; i++) {
		put(0x1010 + i, (uint8_t)(0x60 + i));
		restore();
	}
	put(0x1010, 0xd0);
	put(0, 0xff);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(get(0x1010 + i), 0x60 + i);
	ck_assert_uint_eq(get(0x1013), 0xff);
	end();
}
END_TEST

static void use(void *chip)
{
	ck_assert_ptr_eq(chip, &flash);
	for (uint64_t off = 0; off < BYTES; off += 0x5ff) {
		flash_read(&flash, off, 1);
		put(off, 0xd0);
	}
	put(BYTES - 1, 0xff);
}

START_TEST(test_state)
{
	struct state_reader in;

	start();
	state_test_table(&flash_state_type);
	state_test_same(&flash_state_type, &flash, &flash);
	state_test_hostile(&flash_state_type, &flash, use);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "start", 0, BYTES - 1, &in), 0);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "start", 0, BYTES, &in), -ENODEV);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "filled", 0, 1, &in), -ERANGE);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "mode", 0, FLASH_FILL, &in), -ERANGE);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "mode", 0, FLASH_CONFIRM, &in), -ERANGE);
	begin_buffer(3);
	put(0, 0);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "filled", 0, 2, &in), 0);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "filled", 0, 3, &in), -ERANGE);
	ck_assert_int_eq(state_try_field(&flash_state_type, &flash, "mode", 0, FLASH_CONFIRM, &in), -ERANGE);
	state_test_hostile(&flash_state_type, &flash, use);
	end();
}
END_TEST

UNIT_MAIN("flash", test_array, test_probe, test_program, test_erase, test_status, test_buffer, test_buffer_with_gaps,
	  test_buffer_refuses, test_buffer_at_the_end, test_id, test_wide, test_store_fails, test_restored, test_state)
