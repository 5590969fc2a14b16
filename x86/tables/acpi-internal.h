/* Parts of the DSDT that are in files of their own; x86/tables/acpi.c puts them together. */
#ifndef LKVM_X86_ACPI_INTERNAL_H
#define LKVM_X86_ACPI_INTERNAL_H

#include "lkvm/x86/aml.h"
#include "lkvm/x86/hardware.h"

/* Within \_SB: the PCI host bridge, and what keeps others off its ECAM window. */
void acpi_put_pci(struct bytebuf *b, const struct hardware *hw);

/* Within \_SB: the generation ID, and who tells of a new one. */
void acpi_put_vmgenid(struct bytebuf *b, const struct hw_row *row);

/* Within \_SB: a device for each place. */
void acpi_put_virtio_mmio(struct bytebuf *b, const struct virtio_mmio_place *places, unsigned n);

#endif
