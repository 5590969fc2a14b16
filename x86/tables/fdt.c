/*
 * The machine as a device tree, by libfdt's sequential writer; see fdt.h. x86/boot/dtb.c calls it on the
 * main thread, where a guest or --dump-dtb wants one.
 */
#include "lkvm/x86/fdt.h"

#include <endian.h>
#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/virtio-mmio.h"
#include "lkvm/x86/layout.h"
#include "lkvm/x86/numa.h"

#define FIRST_BYTES 8192
#define MAX_BYTES   (1 << 20)

#define MODEL "lkvm"

/* The one node that others point to */
#define PHANDLE_IOAPIC 1

/* Second cell of an interrupt specifier: intel,ce4100-ioapic */
enum { IRQ_EDGE_RISING = 0, IRQ_LEVEL_LOW = 1 };

/* Of a PCI address, the first cell: IEEE 1275 PCI binding, 2.2.1 */
#define PCI_MEMORY32     0x02000000
#define PCI_MEMORY64     0x03000000
#define PCI_DEVICE_SHIFT 11
#define PCI_INTA         1

/* First cell of an ISA address: IEEE 1275 ISA binding */
enum { ISA_IO = 1 };

/*
 * A tree that is being written, front to back. After the first error every call does nothing, so
 * that the tree is written without a test after each step.
 */
struct tree {
	char *blob;
	int err; /* 0 or libfdt's -FDT_ERR_* */
};

static void begin(struct tree *t, const char *name)
{
	if (!t->err)
		t->err = fdt_begin_node(t->blob, name);
}

/* "name@address" */
static void begin_at(struct tree *t, const char *name, uint64_t at)
{
	char full[64];

	snprintf(full, sizeof(full), "%s@%llx", name, (unsigned long long)at);
	begin(t, full);
}

/* At an I/O port: "name@iport" */
static void begin_isa(struct tree *t, const char *name, unsigned port)
{
	char full[64];

	snprintf(full, sizeof(full), "%s@i%x", name, port);
	begin(t, full);
}

static void end(struct tree *t)
{
	if (!t->err)
		t->err = fdt_end_node(t->blob);
}

static void put(struct tree *t, const char *name, const void *value, size_t bytes)
{
	if (!t->err)
		t->err = fdt_property(t->blob, name, value, (int)bytes);
}

static void put_empty(struct tree *t, const char *name)
{
	put(t, name, NULL, 0);
}

static void put_string(struct tree *t, const char *name, const char *value)
{
	put(t, name, value, strlen(value) + 1);
}

#define MAX_CELLS 64

static void put_array(struct tree *t, const char *name, const uint32_t *cells, size_t n)
{
	uint32_t be[MAX_CELLS];

	for (size_t i = 0; i < n; i++)
		be[i] = htobe32(cells[i]);
	put(t, name, be, n * sizeof(*be));
}

/* put_cells(t, "reg", 0, 0x1000): 32-bit cells */
#define put_cells(t, name, ...)                                                                    \
	do {                                                                                       \
		const uint32_t cells[] = { __VA_ARGS__ };                                          \
		_Static_assert(ARRAY_SIZE(cells) <= MAX_CELLS, "too many cells");                  \
		put_array(t, name, cells, ARRAY_SIZE(cells));                                      \
	} while (0)

/* Two cells */
#define CELLS64(v) (uint32_t)((uint64_t)(v) >> 32), (uint32_t)(v)

static void put_irq(struct tree *t, unsigned gsi)
{
	put_cells(t, "interrupts", gsi, IRQ_EDGE_RISING);
}

/* The first serial port, if it is there: "/soc/isa@0/serial@i3f8:115200n8" */
static void put_stdout_path(struct tree *t, const struct hardware *hw)
{
	char path[64];

	for (unsigned i = 0; i < hw->n_rows; i++) {
		const struct hw_row *row = &hw->row[i];

		if (row->tty != 1)
			continue;
		snprintf(path, sizeof(path), "/soc/isa@0/%s@i%x:%un8", row->fdt.name, row->port[0].base,
			 row->fdt.baud);
		put_string(t, "stdout-path", path);
	}
}

static void put_chosen(struct tree *t, const struct fdt_config *cfg)
{
	begin(t, "chosen");
	if (cfg->bootargs)
		put_string(t, "bootargs", cfg->bootargs);
	put_stdout_path(t, cfg->hardware);
	if (cfg->initrd_bytes) {
		put_cells(t, "linux,initrd-start", CELLS64(cfg->initrd_start));
		put_cells(t, "linux,initrd-end", CELLS64(cfg->initrd_start + cfg->initrd_bytes));
	}
	end(t);
}

static void begin_memory(struct tree *t, uint64_t start, uint64_t bytes)
{
	begin_at(t, "memory", start);
	put_string(t, "device_type", "memory");
	put_cells(t, "reg", CELLS64(start), CELLS64(bytes));
}

static void put_memory(struct tree *t, const struct ram *ram)
{
	unsigned n;
	const struct ram_part *part = ram_parts(ram, &n);

	for (unsigned i = 0; i < n; i++) {
		begin_memory(t, part[i].start.v, part[i].size_bytes);
		end(t);
	}
}

static void put_node_id(struct tree *t, unsigned node)
{
	put_cells(t, "numa-node-id", node);
}

static void put_node_memory(struct tree *t, const struct numa *numa)
{
	struct numa_range range[NUMA_MAX_RANGES];
	const unsigned n = numa_ranges(numa, range);

	for (unsigned i = 0; i < n; i++) {
		begin_memory(t, range[i].start, range[i].bytes);
		put_node_id(t, range[i].node);
		end(t);
	}
}

/* From, to, how far: of each pair */
static void put_distances(struct tree *t, const struct numa *numa)
{
	const uint32_t n = numa->n;
	void *matrix = NULL;
	uint8_t *cell;

	begin(t, "distance-map");
	put_string(t, "compatible", "numa-distance-map-v1");
	if (!t->err)
		t->err = fdt_property_placeholder(t->blob, "distance-matrix", (int)(n * n * 3 * sizeof(fdt32_t)), &matrix);
	cell = matrix;
	for (uint32_t i = 0; !t->err && i < n * n; i++, cell += 3 * sizeof(fdt32_t)) {
		fdt32_st(cell, i / n);
		fdt32_st(cell + sizeof(fdt32_t), i % n);
		fdt32_st(cell + 2 * sizeof(fdt32_t), numa->distance[numa_pair(i / n, i % n)]);
	}
	end(t);
}

static void put_cpus(struct tree *t, const struct hardware *hw)
{
	begin(t, "cpus");
	put_cells(t, "#address-cells", 1);
	put_cells(t, "#size-cells", 0);
	for (unsigned i = 0; i < hw->cpus; i++) {
		const uint32_t id = topology_apic_id(&hw->topology, i);

		begin_at(t, "cpu", id);
		put_string(t, "device_type", "cpu");
		put_cells(t, "reg", id); /* the local APIC's */
		if (hw->numa)
			put_node_id(t, hw->numa->node[i]);
		end(t);
	}
	end(t);
}

static void begin_controller(struct tree *t, const struct hw_row *row)
{
	begin_at(t, row->fdt.name, row->memory.base);
	put_string(t, "compatible", row->fdt.compatible);
	put_cells(t, "reg", CELLS64(row->memory.base), CELLS64(row->memory.size));
	put_empty(t, "interrupt-controller");
	put_cells(t, "#address-cells", 0);
	put_cells(t, "#interrupt-cells", 2);
}

static void put_interrupt_controllers(struct tree *t, const struct hardware *hw)
{
	begin_controller(t, hw_find(hw, HW_IOAPIC));
	put_cells(t, "phandle", PHANDLE_IOAPIC);
	end(t);
	begin_controller(t, hw_find(hw, HW_LAPIC));
	put_empty(t, "intel,virtual-wire-mode"); /* the PICs lead to LINT0 */
	end(t);
}

static void put_virtio_mmio(struct tree *t, const struct hardware *hw)
{
	for (unsigned i = 0; i < hw->n_virtio_mmio; i++) {
		const struct virtio_mmio_place *place = &hw->virtio_mmio[i];

		begin_at(t, "virtio_mmio", place->base);
		put_string(t, "compatible", "virtio,mmio");
		put_cells(t, "reg", CELLS64(place->base), CELLS64(VIRTIO_MMIO_BYTES));
		put_irq(t, place->gsi);
		put_empty(t, "dma-coherent");
		end(t);
	}
}

static void put_isa_device(struct tree *t, const struct hw_row *row)
{
	begin_isa(t, row->fdt.name, row->port[0].base);
	put_string(t, "compatible", row->fdt.compatible);
	put_cells(t, "reg", ISA_IO, row->port[0].base, row->port[0].size);
	put_irq(t, row->gsi);
	if (row->fdt.clock_hz) {
		put_cells(t, "clock-frequency", row->fdt.clock_hz);
		put_cells(t, "current-speed", row->fdt.baud);
	}
	end(t);
}

static void put_vmgenid(struct tree *t, const struct hw_row *row)
{
	begin_at(t, row->fdt.name, row->memory.base);
	put_string(t, "compatible", row->fdt.compatible);
	put_cells(t, "reg", CELLS64(row->memory.base), CELLS64(row->memory.size));
	put_irq(t, row->gsi);
	end(t);
}

/* Devices whose numbers are equal modulo GSI_PCI_PINS share an interrupt. */
static void put_pci_interrupts(struct tree *t)
{
	uint32_t map[GSI_PCI_PINS * 7], *entry = map;

	for (uint32_t i = 0; i < GSI_PCI_PINS; i++, entry += 7) {
		const uint32_t cells[7] = { i << PCI_DEVICE_SHIFT, 0, 0, PCI_INTA, PHANDLE_IOAPIC,
					    GSI_PCI_FIRST + i, IRQ_LEVEL_LOW };

		memcpy(entry, cells, sizeof(cells));
	}
	put_cells(t, "#interrupt-cells", 1);
	put_cells(t, "interrupt-map-mask", (GSI_PCI_PINS - 1) << PCI_DEVICE_SHIFT, 0, 0, 7);
	put_array(t, "interrupt-map", map, ARRAY_SIZE(map));
}

static void put_pci_windows(struct tree *t, const struct hardware *hw)
{
	const struct hw_row *low = hw_find(hw, HW_PCI_WINDOW), *high = hw_find(hw, HW_PCI_WINDOW64);
	const uint64_t from = low->memory.base, from64 = high ? high->memory.base : 0;

	if (high)
		put_cells(t, "ranges", PCI_MEMORY32, CELLS64(from), CELLS64(from), CELLS64(low->memory.size),
			  PCI_MEMORY64, CELLS64(from64), CELLS64(from64), CELLS64(high->memory.size));
	else
		put_cells(t, "ranges", PCI_MEMORY32, CELLS64(from), CELLS64(from), CELLS64(low->memory.size));
}

static void put_pci(struct tree *t, const struct hardware *hw)
{
	const struct hw_row *pci = hw_find(hw, HW_PCI);

	begin_at(t, "pcie", pci->memory.base);
	put_string(t, "compatible", "pci-host-ecam-generic");
	put_string(t, "device_type", "pci");
	put_cells(t, "reg", CELLS64(pci->memory.base), CELLS64(pci->memory.size));
	put_cells(t, "bus-range", 0, 0);
	put_cells(t, "#address-cells", 3);
	put_cells(t, "#size-cells", 2);
	put_pci_windows(t, hw);
	put_empty(t, "dma-coherent");
	put_pci_interrupts(t);
	end(t);
}

/* Chips at I/O ports. */
static void put_isa(struct tree *t, const struct hardware *hw)
{
	begin(t, "isa@0");
	put_string(t, "compatible", "isa");
	put_cells(t, "#address-cells", 2);
	put_cells(t, "#size-cells", 1);
	put_cells(t, "ranges", ISA_IO, 0, CELLS64(0), 0x10000);
	for (unsigned i = 0; i < hw->n_rows; i++)
		if (hw->row[i].fdt.name && hw->row[i].port[0].size)
			put_isa_device(t, &hw->row[i]);
	end(t);
}

static void put_soc(struct tree *t, const struct hardware *hw)
{
	const struct hw_row *vmgenid = hw_find(hw, HW_VMGENID);

	begin(t, "soc");
	put_string(t, "compatible", "simple-bus");
	put_cells(t, "#address-cells", 2);
	put_cells(t, "#size-cells", 2);
	put_empty(t, "ranges"); /* the same addresses as in the root */
	put_interrupt_controllers(t, hw);
	if (hw_find(hw, HW_PCI))
		put_pci(t, hw);
	put_virtio_mmio(t, hw);
	if (vmgenid)
		put_vmgenid(t, vmgenid);
	put_isa(t, hw);
	end(t);
}

static void put_root(struct tree *t, const struct fdt_config *cfg)
{
	begin(t, "");
	put_string(t, "model", MODEL);
	put_string(t, "compatible", "lkvm,x86");
	put_cells(t, "#address-cells", 2);
	put_cells(t, "#size-cells", 2);
	put_cells(t, "interrupt-parent", PHANDLE_IOAPIC);
	put_chosen(t, cfg);
	if (cfg->hardware->numa) {
		put_node_memory(t, cfg->hardware->numa);
		put_distances(t, cfg->hardware->numa);
	} else {
		put_memory(t, cfg->ram);
	}
	put_cpus(t, cfg->hardware);
	put_soc(t, cfg->hardware);
	end(t);
}

/* Return: 0 or -FDT_ERR_* */
static int write_tree(const struct fdt_config *cfg, char *blob, int bytes)
{
	struct tree t = { .blob = blob };

	t.err = fdt_create(blob, bytes);
	if (!t.err)
		t.err = fdt_finish_reservemap(blob);
	put_root(&t, cfg);
	return t.err ? t.err : fdt_finish(blob);
}

int fdt_build(const struct fdt_config *cfg, void **ret, size_t *ret_bytes, const char **ret_why)
{
	char *blob = NULL;
	int bytes = FIRST_BYTES, err;

	*ret_why = NULL;
	for (;;) {
		char *larger = realloc(blob, (size_t)bytes);

		if (!larger) {
			free(blob);
			return -ENOMEM;
		}
		blob = larger;
		err = write_tree(cfg, blob, bytes);
		if (err != -FDT_ERR_NOSPACE || bytes >= MAX_BYTES)
			break;
		bytes *= 2;
	}
	if (err) {
		*ret_why = fdt_strerror(err);
		free(blob);
		return -EINVAL;
	}
	*ret = blob;
	*ret_bytes = fdt_totalsize(blob);
	return 0;
}
