/*
 * What tells a guest kernel about the machine: ACPI tables, and an Intel MP table beside them for
 * kernels without ACPI. Both go to [LAYOUT_BIOS, LAYOUT_BIOS_END). Main thread, before any vCPU runs.
 */
#ifndef LKVM_X86_ACPI_H
#define LKVM_X86_ACPI_H

#include "lkvm/ram.h"

struct virtio_mmio_place;

/* What the machine has; also for the device tree (x86/fdt.h). */
struct acpi_config {
	unsigned cpus;    /* 1..MAX_VCPUS; APIC id of vCPU n is n */
	bool has_pvpanic; /* QEMU0001 at PORT_PVPANIC */
	bool com[4];      /* which serial ports exist */
	const struct virtio_mmio_place *virtio_mmio; /* LNRO0005 each */
	unsigned n_virtio_mmio;
	bool has_pci;     /* a host bridge as layout.h has it */
};

/**
 * acpi_build() - write RSDP, XSDT, FADT, FACS, MADT, DSDT, with PCI an MCFG
 * @ret_rsdp: where the RSDP is; @ret_end: first free byte after the tables
 * Return: 0, -EFAULT (no RAM there), -ENOSPC
 * Spec: ACPI 6.5, 5.2
 */
int acpi_build(struct ram *ram, const struct acpi_config *cfg, gpa_t *ret_rsdp, gpa_t *ret_end);

/**
 * mptable_build() - MP floating pointer in the EBDA, configuration table at @at
 * @has_pci: as in struct acpi_config
 * Return: 0, -EFAULT, -ENOSPC
 * Spec: Intel MultiProcessor Specification 1.4, 4
 */
int mptable_build(struct ram *ram, unsigned cpus, bool has_pci, gpa_t at, gpa_t *ret_end);

#endif
