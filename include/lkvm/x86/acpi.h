/*
 * What tells a guest kernel about the machine: ACPI tables, an Intel MP table beside them for
 * kernels without ACPI, and SMBIOS. All go to [LAYOUT_BIOS, LAYOUT_BIOS_END), where a PC's firmware
 * is. Main thread, before any vCPU runs.
 */
#ifndef LKVM_X86_ACPI_H
#define LKVM_X86_ACPI_H

#include "lkvm/ram.h"
#include "lkvm/x86/hardware.h"

/**
 * acpi_build() - write RSDP, XSDT, FADT, FACS, MADT, DSDT, with PCI an MCFG
 * @hw: has rows for the power registers, IOAPIC and local APIC
 * @ret_rsdp: where the RSDP is; @ret_end: first free byte after the tables
 * Return: 0, -EFAULT (no RAM there), -ENOSPC
 * Spec: ACPI 6.5, 5.2
 */
int acpi_build(struct ram *ram, const struct hardware *hw, gpa_t *ret_rsdp, gpa_t *ret_end);

/**
 * mptable_build() - MP floating pointer in the EBDA, configuration table at @at
 * @hw: as for acpi_build()
 * Return: 0, -EFAULT, -ENOSPC
 * Spec: Intel MultiProcessor Specification 1.4, 4
 */
int mptable_build(struct ram *ram, const struct hardware *hw, gpa_t at, gpa_t *ret_end);

/* x86/tables/acpi-loader.c: for firmware, which finds these files by fw_cfg */

#define ACPI_RSDP_FILE   "etc/acpi/rsdp"
#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_LOADER_FILE "etc/table-loader"

struct acpi_file {
	uint8_t *data; /* heap */
	size_t len;
};

struct acpi_files {
	struct acpi_file rsdp, tables;
	struct acpi_file steps; /* what firmware has to do with these two */
};

/**
 * acpi_files_build() - the tables that acpi_build() has put to @rsdp, which are not needed there then
 * Pointers count from the begin of their file, until firmware has placed it.
 * Return: 0, and acpi_files_free() is the caller's; -ENOMEM, -EFAULT, -EINVAL
 */
int acpi_files_build(const struct ram *ram, gpa_t rsdp, struct acpi_files *ret);
void acpi_files_free(struct acpi_files *files);

/* x86/tables/bios.c */

#define SMBIOS_ENTRY_BYTES 0x1f

struct smbios_config {
	struct cpu_topology topology; /* no level is zero */
	uint64_t ram_bytes;
	const uint8_t *uuid; /* 16 bytes as the table has them, or NULL */
};

/**
 * smbios_build() - the table at @at, its entry point at LAYOUT_SMBIOS: firmware, system, board,
 * chassis, processor and memory, as little of each as there has to be
 * Return: 0, -EFAULT, -ENOSPC
 * Spec: DMTF DSP0134 2.8
 */
int smbios_build(struct ram *ram, const struct smbios_config *cfg, gpa_t at, gpa_t *ret_end);

/** reset_vector_build() - who jumps to where firmware starts resets the machine; 0 or -EFAULT */
int reset_vector_build(struct ram *ram, const struct hardware *hw);

#endif
