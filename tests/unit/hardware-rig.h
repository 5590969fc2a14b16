/*
 * What the unit tests of the tables share: a machine in rows of their own, so that the tests of ACPI,
 * MP table and device tree need none of the chips. test_hardware is about the rows of vm/hardware.c.
 */
#ifndef TESTS_HARDWARE_RIG_H
#define TESTS_HARDWARE_RIG_H

#include "lkvm/types.h"
#include "lkvm/x86/hardware.h"

enum { RIG_COM1 = 1, RIG_COM2 = 2, RIG_COM3 = 4, RIG_COM4 = 8, RIG_PVPANIC = 16, RIG_PCI = 32, RIG_VMGENID = 64,
       RIG_ALL = 127 };

#define RIG_COM(n, at, irq)                                                                        \
	{ .port = { { at, 8 } }, .gsi = irq, .tty = n, .acpi = { "COM" #n, "PNP0501", n },         \
	  .fdt = { "serial", "ns16550a", 1843200, 115200 } }

/* @which: of those that may be missing; PIC, interrupt controllers and power registers are there always */
static inline struct hardware rig_hardware(unsigned cpus, unsigned which)
{
	static const struct {
		unsigned bit;
		struct hw_row row;
	} rows[] = {
		{ RIG_COM1, RIG_COM(1, 0x3f8, 4) },
		{ RIG_COM2, RIG_COM(2, 0x2f8, 3) },
		{ RIG_COM3, RIG_COM(3, 0x3e8, 4) },
		{ RIG_COM4, RIG_COM(4, 0x2e8, 3) },
		{ 0, { .port = { { 0x70, 2 } }, .gsi = 8, .acpi = { "RTC0", "PNP0B00", 0 },
		       .fdt = { "rtc", "motorola,mc146818", 0, 0 } } },
		{ 0, { .role = HW_POWER, .port = { { 0x600, 16 } }, .gsi = 9 } },
		{ RIG_PVPANIC, { .port = { { 0x505, 1 } }, .acpi = { "PEVT", "QEMU0001", 0 } } },
		{ RIG_VMGENID, { .role = HW_VMGENID, .gsi = 13, .memory = { 0xfec10000, 16 },
				 .fdt = { "rng", "microsoft,vmgenid", 0, 0 } } },
		{ RIG_PCI, { .role = HW_PCI, .port = { { 0xcf8, 8 } }, .memory = { 0xe0000000, 0x100000 } } },
		{ RIG_PCI, { .shown_as = "PCI window", .role = HW_PCI_WINDOW, .port = { { 0xc000, 0x4000 } },
			     .memory = { 0xd0000000, 0x10000000 } } },
		{ RIG_PCI, { .shown_as = "PCI window", .role = HW_PCI_WINDOW64,
			     .memory = { 0x140000000, 0xec0000000 } } },
		{ 0, { .role = HW_IOAPIC, .memory = { 0xfec00000, 0x1000 },
		       .fdt = { "interrupt-controller", "intel,ce4100-ioapic", 0, 0 } } },
		{ 0, { .role = HW_LAPIC, .memory = { 0xfee00000, 0x1000 },
		       .fdt = { "interrupt-controller", "intel,ce4100-lapic", 0, 0 } } },
		{ 0, { .shown_as = "PIC (KVM)", .port = { { 0x20, 2 }, { 0xa0, 2 } } } },
	};
	struct hardware hw = { .cpus = cpus };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!rows[i].bit || rows[i].bit & which)
			hw.row[hw.n_rows++] = rows[i].row;
	return hw;
}

#endif
