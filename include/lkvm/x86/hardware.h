/*
 * What the machine is made of: a port, an interrupt, a memory window is stated in one row, with the
 * names that ACPI and device tree have for it. vm/hardware.c has the rows; the platform builds the
 * chips from them, ACPI, MP table and device tree tell the guest of them, and the memory map shows
 * them.
 */
#ifndef LKVM_X86_HARDWARE_H
#define LKVM_X86_HARDWARE_H

#include <stddef.h>
#include <stdint.h>

#include "lkvm/x86/topology.h"

#define HW_MAX_ROWS 32
#define HW_PORTS    2 /* ranges of ports of a row */

struct device_type;
struct numa;
struct virtio_mmio_place;

/* For who looks for one of them; at most one row of the machine has it. */
enum hw_role {
	HW_CHIP = 0, /* any other */
	HW_POWER,    /* ACPI's fixed registers; its interrupt is the SCI */
	HW_PCI,      /* host bridge: configuration ports, and the ECAM as its memory, if it has one */
	HW_PCI_WINDOW,   /* where BARs are, as lkvm and its tables place them */
	HW_PCI_WINDOW64, /* the same above RAM, for those that are too large; not there if RAM has it all */
	HW_VIRTIO_WINDOW, /* above RAM, for memory that devices on MMIO share; not there if none does */
	HW_VMGENID,
	HW_IOAPIC,
	HW_LAPIC,
};

struct hw_row {
	const struct device_type *type; /* NULL: KVM's own, or of the PCI host bridge */
	const void *config;             /* of the type: device_env.config */
	const char *shown_as;           /* of what no bus of ours has: KVM's own, and windows */
	enum hw_role role;
	uint8_t tty; /* n: a serial port that leads to console n - 1; 0: none */
	uint8_t gsi; /* 0: none */
	struct {
		uint16_t base, size; /* size 0: none */
	} port[HW_PORTS];
	struct {
		uint64_t base, size;
	} memory;
	struct {
		const char *name; /* NULL: the DSDT does not have it */
		const char *id;   /* 7 characters: an EISA id; else an ACPI id */
		uint8_t uid;
	} acpi;
	struct {
		const char *name, *compatible; /* NULL: the device tree does not have it */
		uint32_t clock_hz, baud;       /* of a UART, else 0 */
	} fdt;
};

struct hardware {
	unsigned cpus; /* 1..MAX_VCPUS */
	struct cpu_topology topology;
	const struct numa *numa; /* NULL: the machine has no nodes */
	unsigned n_rows;
	struct hw_row row[HW_MAX_ROWS];
	const struct virtio_mmio_place *virtio_mmio; /* that the tables are to tell of */
	unsigned n_virtio_mmio;
};

/** hw_find() - the row with this role, or NULL */
static inline const struct hw_row *hw_find(const struct hardware *hw, enum hw_role role)
{
	for (unsigned i = 0; i < hw->n_rows; i++)
		if (hw->row[i].role == role)
			return &hw->row[i];
	return NULL;
}

#endif
