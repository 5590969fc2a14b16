/*
 * What the machine is made of, each thing in one row: ports, interrupt, memory, and what ACPI and
 * device tree call it. platform.c builds the chips from the rows, boot.c has the guest told of them,
 * control-memmap.c shows them. Main thread.
 */
#include "lkvm/vm/hardware.h"

#include "lkvm/chips.h"
#include "lkvm/fs.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/pmem.h"
#include "lkvm/types.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

struct part {
	struct hw_row row;
	/* Of those that depend on the command line: false if not wanted; may change @row. */
	bool (*wanted)(const struct vm_config *cfg, struct hw_row *row);
};

static bool pci_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	(void)row;
	return !cfg->virtio_mmio;
}

/* The chip set that firmware finds has no ECAM. */
static bool pci_host_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	if (cfg->firmware)
		row->memory.base = row->memory.size = 0;
	return pci_wanted(cfg, row);
}

static bool pci_window_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	static const uint64_t begin[] = LAYOUT_FIRMWARE_WINDOWS;
	size_t i = 0;

	if (!cfg->firmware)
		return pci_wanted(cfg, row);
	while (i < ARRAY_SIZE(begin) && cfg->ram.size_bytes > begin[i])
		i++;
	if (i < ARRAY_SIZE(begin))
		row->memory.base = begin[i];
	row->memory.size = LAYOUT_CHIPS - row->memory.base;
	return pci_wanted(cfg, row);
}

static bool power_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	static const struct power_config piix = { .piix = true };

	if (cfg->firmware) {
		row->port[0].base = PORT_POWER_PIIX;
		row->config = &piix;
	}
	return true;
}

/* From a whole GB on */
static uint64_t end_of_ram(uint64_t ram_bytes)
{
	const uint64_t base = ram_bytes <= RAM_GAP_START ? RAM_GAP_START : ram_bytes;

	return ALIGN_UP(base + RAM_GAP_SIZE, LAYOUT_PCI_WINDOW64_ALIGN);
}

static bool window_from(uint64_t base, unsigned phys_bits, uint64_t most, struct hw_row *row)
{
	const uint64_t end = 1ULL << phys_bits;

	if (base >= end)
		return false;
	row->memory.base = base;
	row->memory.size = end - base < most ? end - base : most;
	return true;
}

bool hw_window64(uint64_t ram_bytes, unsigned phys_bits, struct hw_row *row)
{
	return window_from(end_of_ram(ram_bytes), phys_bits, LAYOUT_PCI_WINDOW64_MAX, row);
}

gpa_t hw_pmem_at(const struct vm_config *cfg, unsigned index)
{
	uint64_t at = end_of_ram(cfg->ram.size_bytes);

	for (unsigned i = 0; i < index; i++)
		at = ALIGN_UP(at + cfg->pmems[i].bytes, PMEM_ALIGN);
	return GPA(at);
}

gpa_t hw_mem_at(const struct vm_config *cfg)
{
	return GPA(ALIGN_UP(hw_pmem_at(cfg, cfg->n_pmems).v, LAYOUT_PCI_WINDOW64_ALIGN));
}

/* And above all other memory */
static bool above_ram(const struct vm_config *cfg, struct hw_row *row)
{
	const struct ram_region *region = &cfg->ram.region;
	const uint64_t bytes = cfg->ram.size_bytes, end = region->start + region->bytes;

	const uint64_t base = region->bytes ? ALIGN_UP(end, LAYOUT_PCI_WINDOW64_ALIGN) : hw_mem_at(cfg).v;

	/* Firmware puts BARs to the end of what CPUs address. */
	if (cfg->firmware)
		return window_from(base, cpu_phys_bits_for(UINT64_MAX), UINT64_MAX, row);
	return window_from(base, cpu_phys_bits_for(region->bytes ? end : bytes), LAYOUT_PCI_WINDOW64_MAX, row);
}

static bool window64_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	return pci_wanted(cfg, row) && above_ram(cfg, row);
}

/* Where there is PCI the devices have BARs. */
static bool shared_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	bool any = false;

	for (unsigned i = 0; i < cfg->n_folders; i++)
		any |= cfg->folders[i].dax;
	return any && cfg->virtio_mmio && above_ram(cfg, row);
}

static bool debug_exit_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	row->port[0].base = cfg->debug_exit_port;
	return cfg->has_debug_exit;
}

static bool reset_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	if (!cfg->virtio_mmio)
		row->port[1].size = 0; /* the PCI host bridge has it */
	return true;
}

static bool test_device_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	(void)row;
	return cfg->test_device;
}

/* The test device has this port too. */
static bool debug_port_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	(void)row;
	return !cfg->test_device;
}

static bool firmware_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	(void)row;
	return cfg->firmware;
}

static bool ramfb_wanted(const struct vm_config *cfg, struct hw_row *row)
{
	(void)row;
	return cfg->firmware && cfg->has_gpu;
}

static const struct debug_port_config post_port = { "0x80", 0xff };
static const struct debug_port_config bochs_port = { "0xe9", 0xe9 };
static const struct debug_port_config qemu_port = { "0x402", 0xe9 };

/* clang-format off */
#define SERIAL(n, at, irq)                                                                         \
	{ .row = { .type = &serial_type, .port = { { at, 8 } }, .gsi = irq, .tty = n,              \
		   .acpi = { "COM" #n, "PNP0501", n },                                             \
		   .fdt = { "serial", "ns16550a", 1843200, 115200 } } }

/*
 * THE list. Of the interrupts, what it leaves free is virtio's over MMIO, and from GSI_PCI_FIRST on
 * PCI's: layout.h.
 */
static const struct part parts[] = {
	SERIAL(1, 0x3f8, 4), /* interrupts are shared in pairs */
	SERIAL(2, 0x2f8, 3),
	SERIAL(3, 0x3e8, 4),
	SERIAL(4, 0x2e8, 3),
	{ .row = { .type = &rtc_type, .port = { { 0x70, 2 } }, .gsi = 8,
		   .acpi = { "RTC0", "PNP0B00", 0 }, .fdt = { "rtc", "motorola,mc146818", 0, 0 } } },
	/* ACPI does not have it: kernels then do not spend time looking for a keyboard. */
	{ .row = { .type = &i8042_type, .port = { { 0x60, 1 }, { 0x64, 1 } }, .gsi = 1 } },
	{ .row = { .type = &power_type, .role = HW_POWER, .port = { { PORT_POWER, POWER_SIZE } }, .gsi = 9 },
	  .wanted = power_wanted },
	{ .row = { .type = &reset_type, .port = { { 0x92, 1 }, { PORT_RESET_CONTROL, 1 } } },
	  .wanted = reset_wanted },
	{ .row = { .type = &pvpanic_type, .port = { { 0x505, 1 } }, .acpi = { "PEVT", "QEMU0001", 0 } } },
	{ .row = { .type = &debug_exit_type, .port = { { PORT_DEBUG_EXIT, 4 } } },
	  .wanted = debug_exit_wanted },
	{ .row = { .type = &debug_port_type, .config = &post_port, .port = { { 0x80, 1 } } } },
	{ .row = { .type = &debug_port_type, .config = &bochs_port, .port = { { 0xe9, 1 } } },
	  .wanted = debug_port_wanted },
	{ .row = { .type = &debug_port_type, .config = &qemu_port, .port = { { 0x402, 1 } } } },
	/* Its interrupt is whichever it raises. */
	{ .row = { .type = &test_device_type,
		   .port = { { 0xe0, TEST_DEVICE_PORTS }, { 0x2000, TEST_DEVICE_LINES } },
		   .memory = { LAYOUT_TEST_DEVICE, TEST_DEVICE_MEMORY } },
	  .wanted = test_device_wanted },

	/* ISA has given 13 to the coprocessor, which no CPU with long mode wants: nobody else looks there. */
	{ .row = { .type = &vmgenid_type, .role = HW_VMGENID, .gsi = 13,
		   .memory = { LAYOUT_VMGENID, VMGENID_BYTES },
		   .fdt = { "rng", "microsoft,vmgenid", 0, 0 } } },

	{ .row = { .type = &fw_cfg_type, .port = { { 0x510, FW_CFG_PORTS } }, .acpi = { "FWCF", "QEMU0002", 0 } },
	  .wanted = firmware_wanted },
	/* A file of that */
	{ .row = { .type = &ramfb_type }, .wanted = ramfb_wanted },

	/* hw/pci.c; vm/devices.c makes it */
	{ .row = { .role = HW_PCI, .port = { { PORT_PCI, 8 } }, .memory = { LAYOUT_ECAM, LAYOUT_ECAM_BYTES } },
	  .wanted = pci_host_wanted },
	{ .row = { .shown_as = "PCI window", .role = HW_PCI_WINDOW,
		   .port = { { PORT_PCI_WINDOW, PORT_PCI_WINDOW_END - PORT_PCI_WINDOW } },
		   .memory = { LAYOUT_PCI_WINDOW, LAYOUT_PCI_WINDOW_END - LAYOUT_PCI_WINDOW } },
	  .wanted = pci_window_wanted },
	{ .row = { .shown_as = "PCI window", .role = HW_PCI_WINDOW64 }, .wanted = window64_wanted },
	{ .row = { .shown_as = "virtio window", .role = HW_VIRTIO_WINDOW }, .wanted = shared_wanted },

	/* KVM's */
	{ .row = { .shown_as = "IOAPIC (KVM)", .role = HW_IOAPIC, .memory = { LAYOUT_IOAPIC, 0x1000 },
		   .fdt = { "interrupt-controller", "intel,ce4100-ioapic", 0, 0 } } },
	{ .row = { .shown_as = "local APIC (KVM)", .role = HW_LAPIC, .memory = { LAYOUT_LAPIC, 0x1000 },
		   .fdt = { "interrupt-controller", "intel,ce4100-lapic", 0, 0 } } },
	{ .row = { .shown_as = "identity map (KVM)", .memory = { LAYOUT_IDENTITY, 0x1000 } } },
	{ .row = { .shown_as = "TSS (KVM)", .memory = { LAYOUT_TSS, 0x3000 } } },
	{ .row = { .shown_as = "PIC (KVM)", .port = { { 0x20, 2 }, { 0xa0, 2 } } } },
	{ .row = { .shown_as = "PIC edge/level (KVM)", .port = { { 0x4d0, 2 } } } },
	{ .row = { .shown_as = "PIT (KVM)", .port = { { 0x40, 4 } } } },
	{ .row = { .shown_as = "PIT speaker gate (KVM)", .port = { { 0x61, 1 } } } },
};
/* clang-format on */

_Static_assert(ARRAY_SIZE(parts) <= HW_MAX_ROWS, "too many rows");

void hardware_of(const struct vm_config *cfg, struct hardware *ret)
{
	*ret = (struct hardware){ .cpus = cfg->cpus, .topology = cfg->topology, .numa = cfg->numa };
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		struct hw_row *row = &ret->row[ret->n_rows];

		*row = parts[i].row;
		if (!parts[i].wanted || parts[i].wanted(cfg, row))
			ret->n_rows++;
	}
}
