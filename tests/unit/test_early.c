/* Links: linux/early.o linux/vmcoreinfo.o linux/printk.o linux/printk-old.o linux/kallsyms.o linux/modules.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <errno.h>

#include "linux-rig.h"
#include "lkvm/linux/early.h"
#include "unit.h"

static struct rig rig;
static struct linux_guest guest;

static int find(void)
{
	struct linux_scan scan = { 0 };
	int err;

	while ((err = linux_find_early(&scan, rig.ram, &guest)) == -EAGAIN)
		;
	return err;
}

static void start(bool is_new)
{
	rig_start(&rig, false);
	rig_log(&rig);
	rig_record(&rig, 1, 2, 0, "the first line");
	rig_ends(&rig, 1, 1);
	rig_early(&rig, is_new);
}

START_TEST(test_found)
{
	struct linux_symbols *symbols;
	static struct linux_record record;
	struct linux_log log_;
	uint64_t addr;

	for (int is_new = 0; is_new <= 1; is_new++) {
		start(is_new);
		ck_assert_int_eq(find(), 0);
		ck_assert(guest.is_early && linux_is_there(&guest));
		ck_assert_str_eq(guest.release, "6.1.0-early");
		ck_assert_uint_eq(guest.phys_base, RIG_BASE);
		ck_assert_int_eq(linux_log_open(&guest, &log_), 0);
		ck_assert_int_eq(linux_log_next(&log_, &record), 0);
		ck_assert_uint_eq(record.len, strlen("the first line"));
		ck_assert_int_eq(linux_symbols_new(&guest, &symbols), 0);
		ck_assert_int_eq(linux_symbol_find(symbols, "prb", &addr), 0);
		ck_assert_uint_eq(addr, K(RIG_PRB));
		linux_symbols_free(symbols);
	}
}
END_TEST

/* Each thing that has to agree, and does not */
START_TEST(test_false_ones)
{
	const struct {
		uint64_t at, value;
	} damage[] = {
		{ RIG_EARLY_TOKENS + 200, 0x4141414141414141 }, { RIG_EARLY_INDEX, 1 }, { RIG_EARLY_INDEX + 200, 0x7777 },
		{ RIG_EARLY + 4 * RIG_EARLY_NAMES + 8, 1999 }, { RIG_EARLY + 4 * RIG_EARLY_NAMES + 8, 2101 },
		{ RIG_EARLY + 4 * RIG_EARLY_NAMES, 0x1000 }, { RIG_PHYS_BASE, 0 }, { RIG_BANNER, 0 },
		{ RIG_PUD + 510 * 8, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
		start(false);
		rig_put64(&rig, damage[i].at, damage[i].value);
		ck_assert_msg(find() == -ENOENT, "damage %zu", i);
	}
	rig_start(&rig, false);
	ck_assert_int_eq(find(), -ENOENT);
}
END_TEST

/* Digits all over, and numbers before them that could be those of names: it ends soon. */
START_TEST(test_patience)
{
	static const char digits[] = "0\0001\0002\0003\0004\0005\0006\0007\0008\0009";

	start(false);
	for (uint64_t at = 0; at < RIG_EARLY_TOKENS; at += 8)
		rig_put64(&rig, at, 0x2000);
	rig_put64(&rig, RIG_EARLY + 4 * RIG_EARLY_NAMES, 0);
	for (uint64_t at = 0x200000; at < 0x500000; at += 32)
		memcpy(rig_at(&rig, at), digits, sizeof(digits));
	find();
}
END_TEST

/* Of a large guest that has used little, nothing more is used after it was looked through. */
START_TEST(test_large)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	const uint64_t chunk = 16 * MIB;
	uint8_t touched[2];

	ck_assert_int_eq(ram_new(64 * GIB, &backing, &rig.ram), 0);
	memset(ram_base(rig.ram) + 30 * GIB + chunk - 4096, 1, 4096); /* a chunk's last page */
	ck_assert_int_eq(ram_touched(rig.ram, GPA(30 * GIB + 64 * MIB), 2, touched), 0);
	ck_assert_int_eq(touched[0] | touched[1], 0);
	ck_assert_int_eq(find(), -ENOENT);
	for (uint64_t at = 32 * MIB; at < 256 * MIB; at += chunk) {
		ck_assert_int_eq(ram_touched(rig.ram, GPA(30 * GIB + at), 2, touched), 0);
		ck_assert_int_eq(touched[0] | touched[1], 0);
	}
	ram_free(rig.ram);
	rig.ram = NULL;
}
END_TEST

UNIT_MAIN("early", test_found, test_false_ones, test_patience, test_large)
