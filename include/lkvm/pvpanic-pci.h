/*
 * pvpanic on PCI: function 1 of the host bridge's device.
 */
#ifndef LKVM_PVPANIC_PCI_H
#define LKVM_PVPANIC_PCI_H

#include "lkvm/pci.h"

struct pvpanic_pci;

/** pvpanic_pci_new() - before the vCPUs start; Return: 0; -ENOSPC (its place is taken); -ENOMEM */
int pvpanic_pci_new(struct pci_host *host, struct pvpanic_pci **ret);
/** pvpanic_pci_free() - after them; takes NULL */
void pvpanic_pci_free(struct pvpanic_pci *p);

#endif
