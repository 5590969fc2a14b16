/* Parts of the DSDT that are in files of their own; x86/acpi.c puts them together. */
#ifndef LKVM_X86_ACPI_INTERNAL_H
#define LKVM_X86_ACPI_INTERNAL_H

#include "lkvm/x86/aml.h"

/* Within \_SB: the PCI host bridge, and what keeps others off its ECAM window. */
void acpi_put_pci(struct bytebuf *b);

#endif
