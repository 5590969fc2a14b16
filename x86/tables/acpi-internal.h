/* Tables, and parts of the DSDT, that are in files of their own; x86/tables/acpi.c puts them together. */
#ifndef LKVM_X86_ACPI_INTERNAL_H
#define LKVM_X86_ACPI_INTERNAL_H

#include "lkvm/x86/aml.h"
#include "lkvm/x86/hardware.h"

#define PACKED __attribute__((packed))

/** acpi_table_begin() - a table's header; Return: where it is, for acpi_table_end(), which makes length and checksum */
size_t acpi_table_begin(struct bytebuf *b, const char *signature, uint8_t revision);
void acpi_table_end(struct bytebuf *b, size_t at);

/* Each appends a table. Return: where it is */
size_t acpi_put_madt(struct bytebuf *b, const struct hardware *hw);
size_t acpi_put_srat(struct bytebuf *b, const struct hardware *hw);
size_t acpi_put_slit(struct bytebuf *b, const struct numa *numa);
size_t acpi_put_hmat(struct bytebuf *b, const struct numa *numa);
/** acpi_has_hmat() - is there anything to tell in it? */
bool acpi_has_hmat(const struct numa *numa);

/* Within \_SB: the PCI host bridge, and what keeps others off its ECAM window. */
void acpi_put_pci(struct bytebuf *b, const struct hardware *hw);

/* Within \_SB: the generation ID, and who tells of a new one. */
void acpi_put_vmgenid(struct bytebuf *b, const struct hw_row *row);

/* Within \_SB: a device for each place. */
void acpi_put_virtio_mmio(struct bytebuf *b, const struct virtio_mmio_place *places, unsigned n);

#endif
