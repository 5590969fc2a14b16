/* Links: vm/hardware.o */

/* The rows of the machine: what they must not be, whatever the command line says. */
#include "lkvm/fs.h"
#include "lkvm/vm/hardware.h"

#include "chip-types.h"
#include "lkvm/x86/layout.h"
#include "unit.h"

#define CONFIGS 24

static struct vm_config config(unsigned i)
{
	return (struct vm_config){
		.cpus = 3,
		.virtio_mmio = i & 1,
		.test_device = i & 2,
		.has_debug_exit = i & 4,
		.debug_exit_port = 0xf4,
		.firmware = i & 8 ? "bios" : NULL,
		.ram.size_bytes = i & 16 ? 0x200000000 : 0x10000000,
	};
}

static void each(void (*check)(const struct vm_config *cfg, const struct hardware *hw))
{
	for (unsigned i = 0; i < CONFIGS; i++) {
		struct vm_config cfg = config(i);
		struct hardware hw;

		if (cfg.firmware && cfg.virtio_mmio)
			continue; /* no such machine */
		hardware_of(&cfg, &hw);
		check(&cfg, &hw);
	}
}

struct range {
	uint64_t base, size;
};

static bool overlap(struct range a, struct range b)
{
	return a.size && b.size && a.base < b.base + b.size && b.base < a.base + a.size;
}

static struct range port_of(const struct hardware *hw, unsigned i)
{
	const struct hw_row *row = &hw->row[i / HW_PORTS];

	return (struct range){ row->port[i % HW_PORTS].base, row->port[i % HW_PORTS].size };
}

static struct range memory_of(const struct hardware *hw, unsigned i)
{
	return (struct range){ hw->row[i].memory.base, hw->row[i].memory.size };
}

static void nothing_overlaps(const struct vm_config *cfg, const struct hardware *hw)
{
	ck_assert_uint_eq(hw->cpus, cfg->cpus);
	for (unsigned i = 0; i < hw->n_rows * HW_PORTS; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_msg(!overlap(port_of(hw, i), port_of(hw, j)), "port 0x%x",
				      (unsigned)port_of(hw, i).base);
	for (unsigned i = 0; i < hw->n_rows; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_msg(!overlap(memory_of(hw, i), memory_of(hw, j)), "0x%llx",
				      (unsigned long long)memory_of(hw, i).base);
}

START_TEST(test_nothing_overlaps)
{
	each(nothing_overlaps);
}
END_TEST

/* No BAR is decoded on LAYOUT_CHIPS and behind, so whatever has memory is there, or is PCI itself. */
static void memory_is_where_no_bar_is(const struct vm_config *cfg, const struct hardware *hw)
{
	(void)cfg;
	for (unsigned i = 0; i < hw->n_rows; i++) {
		struct range r = memory_of(hw, i);

		if (!r.size || hw->row[i].role == HW_PCI || hw->row[i].role == HW_PCI_WINDOW ||
		    hw->row[i].role == HW_PCI_WINDOW64)
			continue;
		ck_assert_uint_ge(r.base, LAYOUT_CHIPS);
		ck_assert_uint_le(r.base + r.size, LAYOUT_CHIPS_END);
	}
}

START_TEST(test_memory_is_where_no_bar_is)
{
	each(memory_is_where_no_bar_is);
}
END_TEST

static void interrupts_are_nobody_elses(const struct vm_config *cfg, const struct hardware *hw)
{
	static const uint8_t virtio[] = GSIS_VIRTIO_MMIO;

	(void)cfg;
	for (unsigned i = 0; i < hw->n_rows; i++) {
		ck_assert_uint_lt(hw->row[i].gsi, GSI_PCI_FIRST);
		for (size_t v = 0; v < ARRAY_SIZE(virtio); v++)
			ck_assert_uint_ne(hw->row[i].gsi, virtio[v]);
	}
}

START_TEST(test_interrupts_are_nobody_elses)
{
	each(interrupts_are_nobody_elses);
}
END_TEST

static unsigned count(const struct hardware *hw, const struct device_type *type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < hw->n_rows; i++)
		n += hw->row[i].type == type;
	return n;
}

static void what_there_is(const struct vm_config *cfg, const struct hardware *hw)
{
	ck_assert_int_eq(!hw_find(hw, HW_PCI), cfg->virtio_mmio);
	ck_assert_int_eq(!hw_find(hw, HW_PCI_WINDOW), cfg->virtio_mmio);
	ck_assert_int_eq(!hw_find(hw, HW_PCI_WINDOW64), cfg->virtio_mmio);
	ck_assert_ptr_null(hw_find(hw, HW_VIRTIO_WINDOW));
	ck_assert_ptr_nonnull(hw_find(hw, HW_IOAPIC));
	ck_assert_ptr_nonnull(hw_find(hw, HW_LAPIC));
	ck_assert_ptr_eq(hw_find(hw, HW_POWER)->type, &power_type);
	ck_assert_uint_eq(count(hw, &serial_type), 4);
	ck_assert_uint_eq(count(hw, &debug_port_type), cfg->test_device ? 2 : 3);
	ck_assert_uint_eq(count(hw, &test_device_type), cfg->test_device);
	ck_assert_uint_eq(count(hw, &debug_exit_type), cfg->has_debug_exit);
}

START_TEST(test_what_there_is)
{
	each(what_there_is);
}
END_TEST

/* Each is either built by the platform, or KVM's, or the bridge: not forgotten, nor made twice. */
static void each_has_an_owner(const struct vm_config *cfg, const struct hardware *hw)
{
	(void)cfg;
	for (unsigned i = 0; i < hw->n_rows; i++)
		ck_assert_int_eq(!!hw->row[i].type + !!hw->row[i].shown_as +
					 (hw->row[i].role == HW_PCI), 1);
}

START_TEST(test_each_has_an_owner)
{
	each(each_has_an_owner);
}
END_TEST

/* There is no ECAM, BARs are wherever firmware puts them, and power management is where it expects that. */
START_TEST(test_firmware)
{
	static const struct {
		uint64_t ram, window;
	} cases[] = {
		{ 0x10000000, 0x80000000 }, { 0x80000000, 0x80000000 }, { 0x80001000, 0xc0000000 }, { 0xc0000000, 0xc0000000 },
		{ 0xc0001000, 0xd0000000 }, { 0xd0000000, 0xd0000000 }, { 0x200000000, 0xd0000000 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vm_config cfg = { .firmware = "bios", .ram.size_bytes = cases[i].ram };
		struct hardware hw;

		hardware_of(&cfg, &hw);
		ck_assert_uint_eq(hw_find(&hw, HW_PCI)->memory.size, 0);
		ck_assert_uint_eq(hw_find(&hw, HW_PCI_WINDOW)->memory.base, cases[i].window);
		ck_assert_uint_eq(hw_find(&hw, HW_PCI_WINDOW)->memory.base + hw_find(&hw, HW_PCI_WINDOW)->memory.size,
				  LAYOUT_CHIPS);
		ck_assert_uint_eq(hw_find(&hw, HW_POWER)->port[0].base, 0xb000);
		ck_assert_ptr_nonnull(hw_find(&hw, HW_POWER)->config);
	}
}
END_TEST

START_TEST(test_debug_exit_port)
{
	struct vm_config cfg = { .has_debug_exit = true, .debug_exit_port = 0x501 };
	struct hardware hw;

	hardware_of(&cfg, &hw);
	for (unsigned i = 0; i < hw.n_rows; i++)
		if (hw.row[i].type == &debug_exit_type)
			ck_assert_uint_eq(hw.row[i].port[0].base, 0x501);
}
END_TEST

/* Above RAM and the gap, whole GBs, within what CPUs address; and not where there is none of that. */
START_TEST(test_window64)
{
	static const struct {
		uint64_t ram;
		unsigned bits;
		uint64_t base, bytes; /* 0: none */
	} cases[] = {
		{ 64 * MIB, 36, 4 * GIB, 60 * GIB },
		{ RAM_GAP_START, 36, 4 * GIB, 60 * GIB },
		{ RAM_GAP_START + 4096, 36, 5 * GIB, 59 * GIB },
		{ 4 * GIB, 36, 5 * GIB, 59 * GIB },
		{ 32 * GIB - RAM_GAP_SIZE, 36, 32 * GIB, 32 * GIB },
		{ 62 * GIB, 36, 63 * GIB, 1 * GIB },
		{ 63 * GIB, 36, 0, 0 },
		{ 64 * GIB - RAM_GAP_SIZE, 36, 0, 0 },
		{ 64 * GIB, 40, 65 * GIB, 959 * GIB },
		{ 64 * GIB, 46, 65 * GIB, 1024 * GIB },
		{ 8192 * GIB, 52, 8193 * GIB, 1024 * GIB },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct hw_row row = { .memory = { 1, 2 } };

		ck_assert_msg(hw_window64(cases[i].ram, cases[i].bits, &row) == !!cases[i].bytes,
			      "case %zu", i);
		ck_assert_uint_eq(row.memory.base, cases[i].bytes ? cases[i].base : 1);
		ck_assert_uint_eq(row.memory.size, cases[i].bytes ? cases[i].bytes : 2);
	}
}
END_TEST

/* Folders with a window have it above RAM: over PCI in a BAR. */
START_TEST(test_virtio_window)
{
	struct fs_config folders[2] = { { .dax = false }, { .dax = true } };
	struct vm_config cfg = { .cpus = 1, .ram.size_bytes = 5 * GIB, .folders = folders, .n_folders = 1 };
	struct hardware hw;

	for (unsigned i = 0; i < 4; i++) {
		cfg.virtio_mmio = i & 1;
		cfg.n_folders = 1 + i / 2;
		hardware_of(&cfg, &hw);
		ck_assert_int_eq(!!hw_find(&hw, HW_VIRTIO_WINDOW), i == 3);
	}
	ck_assert_uint_eq(hw_find(&hw, HW_VIRTIO_WINDOW)->memory.base, 6 * GIB);
	ck_assert_uint_eq(hw_find(&hw, HW_VIRTIO_WINDOW)->memory.size, 58 * GIB);
}
END_TEST

UNIT_MAIN("hardware", test_nothing_overlaps, test_memory_is_where_no_bar_is,
	  test_interrupts_are_nobody_elses, test_what_there_is, test_each_has_an_owner,
	  test_firmware, test_debug_exit_port, test_window64, test_virtio_window)
