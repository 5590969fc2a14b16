/* What hw/pci.c and hw/pci-msix.c share; nobody else includes this. */
#ifndef LKVM_PCI_INTERNAL_H
#define LKVM_PCI_INTERNAL_H

#include "lkvm/pci.h"

struct pci_host {
	pthread_mutex_t lock;   /* configuration spaces, BARs, MSI-X state */
	struct bus *pio, *mmio; /* pio: NULL as long as the bridge is not there */
	struct machine machine;
	uint32_t address;  /* port 0xcf8 */
	unsigned first_devfn, per_device; /* where pci_add() plugs in */
	uint64_t next_bar; /* of the first addresses that pci_add() gives out */
	struct pci_function *fn[PCI_MAX_FUNCTIONS];
	struct pci_function bridge;
};

/* The configuration space was written: the vectors follow the MSI-X control word... */
void pci_msix_config_written(struct pci_function *fn);
/* ... and bus mastering. */
void pci_msix_follow(struct pci_function *fn);
void pci_msix_fini(struct pci_function *fn);

#endif
