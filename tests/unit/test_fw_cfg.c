/* Links: hw/fw-cfg.o hw/ram.o hw/ram-discard.o hw/state.o hw/state-show.o util/json.o util/log.o */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "chip-state.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/ram.h"

#define RAM_BYTES MIB
#define REQUEST   0x1000
#define BUFFER    0x2000

enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static struct ram *ram;

static void start(void)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct device_env env;

	ck_assert_int_eq(ram_new(RAM_BYTES, &backing, &ram), 0);
	env = (struct device_env){ .ram = ram };
	machine.type = &fw_cfg_type;
	machine.dev = calloc(1, fw_cfg_type.size);
	ck_assert_int_eq(fw_cfg_type.init(machine.dev, &env), 0);
}

static void end(void)
{
	free_chip();
	ram_free(ram);
}

static void selects(unsigned key)
{
	out_len(FW_CFG_SELECT, key, 2);
}

static void expect_bytes(const void *want, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(in8(FW_CFG_DATA), ((const uint8_t *)want)[i]);
}

START_TEST(test_signature)
{
	start();
	selects(FW_CFG_SIGNATURE);
	expect_bytes("QEMU\0\0", 6);
	selects(FW_CFG_SIGNATURE);
	expect_bytes("QE", 2);
	selects(FW_CFG_ID);
	expect_bytes("\3\0\0\0\0", 5);
	ck_assert_uint_eq(in_len(FW_CFG_DMA, 4), 0x554d4551); /* "QEMU", */
	ck_assert_uint_eq(in_len(FW_CFG_DMA + 4, 4), 0x47464320); /* " CFG" */
	ck_assert_uint_eq(in8(FW_CFG_DMA + 7), 'G');
	ck_assert_uint_eq(in_len(FW_CFG_DMA + 6, 4), 0xffffffff);
	ck_assert_uint_eq(in_len(FW_CFG_SELECT, 2), 0xffff);
	end();
}
END_TEST

START_TEST(test_items)
{
	start();
	ck_assert_int_eq(fw_cfg_number(machine.dev, FW_CFG_CPUS, 0x1234, 2), 0);
	ck_assert_int_eq(fw_cfg_number(machine.dev, FW_CFG_CPUS, 0x304, 2), 0); /* the last one counts */
	selects(FW_CFG_CPUS);
	expect_bytes("\4\3\0", 3);
	selects(FW_CFG_RAM_BYTES); /* there is none */
	expect_bytes("\0\0", 2);
	selects(0xffff);
	expect_bytes("\0\0", 2);
	selects(FW_CFG_SIGNATURE);
	out8(FW_CFG_DATA, 'x'); /* nothing may be written, */
	out8(FW_CFG_SELECT, 5); /* and a byte selects nothing */
	expect_bytes("QEMU", 4);
	end();
}
END_TEST

START_TEST(test_files)
{
	char name[FW_CFG_NAME_BYTES + 1] = { 0 };

	start();
	selects(FW_CFG_FILES);
	expect_bytes("\0\0\0\0\0", 5);
	ck_assert_int_eq(fw_cfg_file(machine.dev, "etc/a", "abc", 3), 0);
	ck_assert_int_eq(fw_cfg_file(machine.dev, "b", NULL, 0), 0);
	selects(FW_CFG_FILES);
	expect_bytes("\0\0\0\2" "\0\0\0\3" "\0\x20\0\0" "etc/a\0", 18);
	selects(FW_CFG_FIRST_FILE);
	expect_bytes("abc\0", 4);
	selects(FW_CFG_FIRST_FILE + 1);
	expect_bytes("\0", 1);
	memset(name, 'n', FW_CFG_NAME_BYTES);
	ck_assert_int_eq(fw_cfg_file(machine.dev, name, "", 0), -ENAMETOOLONG);
	name[FW_CFG_NAME_BYTES - 1] = '\0';
	for (unsigned n = 2; n < FW_CFG_MAX_FILES; n++)
		ck_assert_int_eq(fw_cfg_file(machine.dev, name, "", 0), 0);
	ck_assert_int_eq(fw_cfg_file(machine.dev, name, "", 0), -ENOSPC);
	end();
}
END_TEST

/* Return: what stands where the request was */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t to, uint64_t at)
{
	struct {
		uint32_t control, len;
		uint64_t to;
	} request = { htobe32(control), htobe32(len), htobe64(to) };
	uint32_t answer = 0;

	ram_write(ram, GPA(at), &request, sizeof(request));
	out_len(FW_CFG_DMA, htobe32((uint32_t)(at >> 32)), 4);
	out_len(FW_CFG_DMA + 4, htobe32((uint32_t)at), 4);
	ram_read(ram, GPA(at), &answer, sizeof(answer));
	return be32toh(answer);
}

static void expect_ram(uint64_t at, const void *want, size_t len)
{
	uint8_t got[64];

	ck_assert_int_eq(ram_read(ram, GPA(at), got, len), 0);
	ck_assert_mem_eq(got, want, len);
}

START_TEST(test_dma)
{
	start();
	ck_assert_int_eq(fw_cfg_file(machine.dev, "a", "0123456789", 10), 0);
	ram_write(ram, GPA(BUFFER), "xxxxxxxxxxxxxxxx", 16);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | READ, 4, BUFFER, REQUEST), 0);
	expect_ram(BUFFER, "0123xx", 6);
	ck_assert_uint_eq(dma(SKIP, 3, 0, REQUEST), 0);
	ck_assert_uint_eq(dma(READ, 5, BUFFER, REQUEST), 0); /* behind the end there are zeros */
	expect_ram(BUFFER, "789\0\0x", 6);
	ck_assert_uint_eq(dma(SELECT | FW_CFG_FIRST_FILE << 16, 99, 0, REQUEST), 0);
	expect_bytes("01", 2);
	ck_assert_uint_eq(dma(SKIP, UINT32_MAX, 0, REQUEST), 0);
	expect_bytes("\0", 1);
	/* Its last bytes may be those of RAM. */
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | READ, 10, RAM_BYTES - 10, REQUEST), 0);
	expect_ram(RAM_BYTES - 10, "0123456789", 10);
	end();
}
END_TEST

START_TEST(test_dma_refused)
{
	start();
	ck_assert_int_eq(fw_cfg_file(machine.dev, "a", "0123456789", 10), 0);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | READ, 10, RAM_BYTES - 9, REQUEST), ERROR);
	expect_bytes("01", 2); /* nothing was read */
	ck_assert_uint_eq(dma(READ, 1, UINT64_MAX, REQUEST), ERROR);
	ck_assert_uint_eq(dma(READ, UINT32_MAX, BUFFER, REQUEST), ERROR);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, 1, BUFFER, REQUEST), ERROR);
	expect_bytes("0", 1);
	ck_assert_uint_eq(dma(0, 1, BUFFER, REQUEST), 0);
	/* Where there is no RAM there is no request. */
	dma(FW_CFG_ID << 16 | SELECT, 0, 0, RAM_BYTES - 15);
	dma(FW_CFG_ID << 16 | SELECT, 0, 0, 0x100000000);
	expect_bytes("12", 2);
	/* The upper half holds for one request. */
	out_len(FW_CFG_DMA, htobe32(1), 4);
	dma(FW_CFG_ID << 16 | SELECT, 0, 0, REQUEST);
	expect_bytes("\3", 1);
	/* Other widths start nothing. */
	selects(FW_CFG_SIGNATURE);
	out_len(FW_CFG_DMA + 4, htobe16(REQUEST), 2);
	expect_bytes("Q", 1);
	end();
}
END_TEST

static uint8_t written[8];
static unsigned n_written;

static void note(void *ctx)
{
	ck_assert_ptr_eq(ctx, written);
	n_written++;
}

/* In pieces, too, but not beyond its end, nor by the data port; who made it is told. */
START_TEST(test_written)
{
	const struct fw_cfg_writable file = { written, sizeof(written), note, written };
	char name[FW_CFG_NAME_BYTES + 1] = { 0 };
	enum { KEY = FW_CFG_FIRST_FILE << 16 };

	start();
	memcpy(written, "01234567", 8);
	ck_assert_int_eq(fw_cfg_writable(machine.dev, "a", &file), 0);
	selects(FW_CFG_FILES);
	expect_bytes("\0\0\0\1" "\0\0\0\x8" "\0\x20\0\0" "a\0", 14);
	selects(FW_CFG_FIRST_FILE);
	out8(FW_CFG_DATA, 'x');
	expect_bytes("01234567\0", 9);
	ram_write(ram, GPA(BUFFER), "abcdefghi", 9);
	ram_write(ram, GPA(RAM_BYTES - 4), "zzzz", 4);
	ck_assert_uint_eq(dma(KEY | SELECT | WRITE, 9, BUFFER, REQUEST), ERROR);
	ck_assert_uint_eq(dma(KEY | SELECT | WRITE, UINT32_MAX, BUFFER, REQUEST), ERROR);
	ck_assert_uint_eq(dma(KEY | SELECT | WRITE, 8, RAM_BYTES - 4, REQUEST), ERROR);
	ck_assert_uint_eq(dma(KEY | SELECT | WRITE, 8, UINT64_MAX, REQUEST), ERROR);
	ck_assert_uint_eq(n_written, 0);
	expect_bytes("0", 1);
	ck_assert_uint_eq(dma(WRITE, 8, BUFFER, REQUEST), ERROR); /* one was read */
	ck_assert_uint_eq(dma(WRITE, 2, BUFFER, REQUEST), 0);
	ck_assert_uint_eq(dma(WRITE, 5, BUFFER + 2, REQUEST), 0);
	ck_assert_uint_eq(dma(WRITE, 1, BUFFER, REQUEST), ERROR);
	ck_assert_uint_eq(n_written, 2);
	ck_assert_mem_eq(written, "0abcdefg", 8);
	ck_assert_uint_eq(dma(KEY | SELECT | WRITE, 8, BUFFER, REQUEST), 0);
	ck_assert_uint_eq(dma(KEY | SELECT | READ | WRITE, 8, BUFFER + 16, REQUEST), 0); /* it reads */
	expect_ram(BUFFER + 16, "abcdefgh", 8);
	ck_assert_uint_eq(n_written, 3);
	memset(name, 'n', FW_CFG_NAME_BYTES);
	ck_assert_int_eq(fw_cfg_writable(machine.dev, name, &file), -ENAMETOOLONG);
	for (unsigned n = 1; n < FW_CFG_MAX_FILES; n++)
		ck_assert_int_eq(fw_cfg_file(machine.dev, "b", "", 0), 0);
	ck_assert_int_eq(fw_cfg_writable(machine.dev, "c", &file), -ENOSPC);
	/* None of the others is one, nor is what there is not. */
	ck_assert_uint_eq(dma((FW_CFG_FIRST_FILE + 1) << 16 | SELECT | WRITE, 0, BUFFER, REQUEST), ERROR);
	ck_assert_uint_eq(dma(0xffff0000U | SELECT | WRITE, 0, BUFFER, REQUEST), ERROR);
	end();
}
END_TEST

/* ---- another machine ---- */

/* All that is told of goes to a new one, then the state; Return: of the last of these */
static int restore(void)
{
	void *old = machine.dev;
	struct state_buf saved = { 0 };
	struct fw_cfg_item item;
	struct state_reader in;
	int err;

	state_saved(fw_cfg_type.state, old, &saved);
	machine.dev = calloc(1, fw_cfg_type.size);
	ck_assert_int_eq(fw_cfg_type.init(machine.dev, &(struct device_env){ .ram = ram }), 0);
	for (unsigned key = 0; fw_cfg_next(old, key, &item); key = item.key + 1)
		ck_assert_int_eq(fw_cfg_put_back(machine.dev, &item), 0);
	in = state_reader_of(&saved);
	err = state_load(&in, fw_cfg_type.state, machine.dev);
	if (!err)
		assert_saves(fw_cfg_type.state, machine.dev, &saved);
	state_buf_free(&saved);
	fw_cfg_type.fini(old);
	free(old);
	return err;
}

START_TEST(test_restored)
{
	static const uint8_t list[] = { 0, 0, 0, 2, 0, 0, 0, 3, 0, 0x20, 0, 0, 'o', 'n', 'e', 0 };
	const uint32_t select = htobe32(FW_CFG_ID << 16 | SELECT);

	start();
	ck_assert_int_eq(fw_cfg_number(machine.dev, FW_CFG_CPUS, 0x1234, 2), 0);
	ck_assert_int_eq(fw_cfg_file(machine.dev, "one", "123", 3), 0);
	ck_assert_int_eq(fw_cfg_file(machine.dev, "two", "", 0), 0);
	selects(FW_CFG_FIRST_FILE);
	ck_assert_int_eq(restore(), 0);
	expect_bytes("12", 2);
	ck_assert_int_eq(restore(), 0);
	expect_bytes("3", 1);
	ck_assert_int_eq(restore(), 0);
	expect_bytes("\0", 1);
	selects(FW_CFG_CPUS);
	expect_bytes("\x34\x12\0", 3);
	selects(FW_CFG_FILES);
	ck_assert_int_eq(restore(), 0);
	expect_bytes(list, sizeof(list));
	selects(0xffff);
	ck_assert_int_eq(restore(), 0);
	expect_bytes("\0", 1);
	/* The upper half of a request's place, which is none */
	out_len(FW_CFG_DMA, htobe32(1), 4);
	ck_assert_int_eq(restore(), 0);
	ck_assert_int_eq(ram_write(ram, GPA(REQUEST), &select, sizeof(select)), 0);
	out_len(FW_CFG_DMA + 4, htobe32(REQUEST), 4);
	expect_bytes("\0", 1);
	out_len(FW_CFG_DMA + 4, htobe32(REQUEST), 4);
	expect_bytes("\3", 1);
	end();
}
END_TEST

/* What no machine can have had, and what this one has not */
START_TEST(test_put_back)
{
	static const struct {
		struct fw_cfg_item item;
		int err;
	} cases[] = {
		{ { FW_CFG_FILES, "", "1", 1 }, -EINVAL },
		{ { FW_CFG_CPUS, "cpus", "1", 1 }, -EINVAL },
		{ { FW_CFG_FIRST_FILE, "", "1", 1 }, -EINVAL },
		{ { FW_CFG_FIRST_FILE + 1, "b", "1", 1 }, -EINVAL },
		{ { FW_CFG_FIRST_FILE, "a", "1", 1 }, 0 },
		{ { FW_CFG_FIRST_FILE, "b", "1", 1 }, -EINVAL },
		{ { FW_CFG_FIRST_FILE, "a", "22", 2 }, -EINVAL },
		{ { FW_CFG_FIRST_FILE, "a", "3", 1 }, 0 },
		{ { UINT32_MAX, "a", "1", 1 }, -EINVAL },
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_msg(fw_cfg_put_back(machine.dev, &cases[i].item) == cases[i].err, "%zu", i);
	selects(FW_CFG_FIRST_FILE);
	expect_bytes("3", 1);
	for (unsigned i = 1; i < FW_CFG_MAX_FILES; i++)
		ck_assert_int_eq(fw_cfg_put_back(machine.dev, &(struct fw_cfg_item){ FW_CFG_FIRST_FILE + i, "b", "", 0 }), 0);
	ck_assert_int_eq(fw_cfg_put_back(machine.dev, &(struct fw_cfg_item){ FW_CFG_FIRST_FILE + FW_CFG_MAX_FILES, "b", "", 0 }),
			 -ENOSPC);
	end();
}
END_TEST

/* The file is the other machine's, whichever comes first; it can be written to then. */
START_TEST(test_put_back_written)
{
	const struct fw_cfg_writable file = { written, sizeof(written), note, written };
	const struct fw_cfg_item item = { FW_CFG_FIRST_FILE, "a", "abcdefgh", 8 };
	const struct fw_cfg_item other = { FW_CFG_FIRST_FILE + 1, "b", "abcdefg", 7 };

	start();
	ck_assert_int_eq(fw_cfg_put_back(machine.dev, &item), 0);
	ck_assert_int_eq(fw_cfg_put_back(machine.dev, &other), 0);
	ck_assert_int_eq(fw_cfg_writable(machine.dev, "b", &file), -EINVAL);
	ck_assert_int_eq(fw_cfg_writable(machine.dev, "a", &file), 0);
	ck_assert_mem_eq(written, "abcdefgh", 8);
	selects(FW_CFG_FILES);
	expect_bytes("\0\0\0\2", 4);
	memset(written, 0, sizeof(written));
	ck_assert_int_eq(fw_cfg_put_back(machine.dev, &item), 0);
	ck_assert_mem_eq(written, "abcdefgh", 8);
	ck_assert_uint_eq(n_written, 0);
	ck_assert_uint_eq(dma(FW_CFG_FIRST_FILE << 16 | SELECT | WRITE, 1, REQUEST, REQUEST), 0);
	ck_assert_uint_eq(n_written, 1);
	end();
}
END_TEST

START_TEST(test_state)
{
	struct state_reader in;

	start();
	ck_assert_int_eq(fw_cfg_file(machine.dev, "one", "123", 3), 0);
	selects(FW_CFG_FIRST_FILE);
	in8(FW_CFG_DATA);
	test_chip_state(FW_CFG_PORTS, 0xfff);
	ck_assert_int_eq(state_try_field(fw_cfg_type.state, machine.dev, "at", 0, 3, &in), 0);
	ck_assert_int_eq(state_try_field(fw_cfg_type.state, machine.dev, "at", 0, 4, &in), -ENODEV);
	ck_assert_int_eq(state_try_field(fw_cfg_type.state, machine.dev, "selected", 0, 0xffff, &in), -ENODEV);
	end();
}
END_TEST

UNIT_MAIN("fw-cfg", test_signature, test_items, test_files, test_dma, test_dma_refused, test_written, test_restored, test_put_back,
	  test_put_back_written, test_state)
