/*
 * PCI: one host bridge, bus 0, configuration by ports 0xcf8/0xcfc and by ECAM, BARs in the gap,
 * MSI-X and INTx. hw/pci.c; virtio/pci.c is its one kind of function.
 *
 * A function is embedded in its owner. Its configuration space is read and written under host->lock
 * on vCPU threads; a guest may size, move and disable BARs at any time, and change MSI-X entries
 * while interrupts are delivered.
 */
#ifndef LKVM_PCI_H
#define LKVM_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/bus.h"
#include "lkvm/machine.h"

#define PCI_MAX_FUNCTIONS 256 /* bus 0: 32 devices of 8 functions */
#define PCI_CONFIG_BYTES  256 /* the ECAM shows ones behind it */
#define PCI_MAX_VECTORS   129
#define PCI_NO_VECTOR     0xffff

struct pci_host;
struct pci_function;

struct pci_bar {
	uint64_t size;   /* power of two, at least 16; 0: no such BAR */
	uint64_t base;   /* where it is mapped now; valid if mapped */
	bool mapped;
	const struct bus_ops *ops; /* accesses; dev is the function */
};

struct pci_ops {
	/* A BAR went to a new place (or away: !mapped): ioeventfds must follow. Under host->lock. */
	void (*bar_moved)(struct pci_function *fn, unsigned bar);
	/* Configuration accesses to [PCI_STD_HEADER_SIZEOF, 256) that the function wants to see itself (the
	 * virtio PCI_CFG capability); Return: true if it handled the access. May be NULL. */
	bool (*config_read)(struct pci_function *fn, unsigned off, void *data, unsigned len);
	bool (*config_write)(struct pci_function *fn, unsigned off, const void *data, unsigned len);
};

struct pci_vector {
	int fd;       /* eventfd: signal it to interrupt */
	int gsi;      /* -1: no route yet */
	bool bound;   /* fd is an irqfd of gsi */
	uint64_t addr;
	uint32_t data;
	bool masked;
};

struct pci_function {
	const char *name;
	const struct pci_ops *ops;
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits that the guest may change */
	struct pci_bar bar[6]; /* memory BARs, 32 bit */
	unsigned next_cap;
	/* set by pci_add() */
	struct pci_host *host;
	uint8_t devfn;
	unsigned gsi; /* of its INTx line */
	/* MSI-X */
	unsigned n_vectors;
	struct pci_vector *vector;
	unsigned msix_cap, msix_bar, msix_table, msix_pba;
	atomic_bool msix_on;
};

/** pci_host_new() - the bridge at 00:00.0, its ports and its ECAM window on the buses */
int pci_host_new(struct bus *pio, struct bus *mmio, const struct machine *machine,
		 struct pci_host **ret);
void pci_host_free(struct pci_host *host);

/** pci_init() - the standard header; then add BARs, capabilities, vectors, then pci_add() */
void pci_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class_rev);
/** pci_add_cap() - append a capability of @len bytes; Return: its offset, or -ENOSPC */
int pci_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len);
/** pci_add_msix() - table and pending bits at these offsets of @bar; Return: 0 or -errno */
int pci_add_msix(struct pci_function *fn, unsigned n_vectors, unsigned bar, unsigned table,
		 unsigned pba);
/** pci_add() - plug it into the next free slot; BARs get their first addresses. Return: 0, -ENOSPC */
int pci_add(struct pci_host *host, struct pci_function *fn);
void pci_fini(struct pci_function *fn);

/** pci_msix_access() - the owner's BAR handler passes accesses to table and pending bits on */
void pci_msix_access(struct pci_function *fn, uint64_t off, void *data, unsigned len, bool write);
/** pci_msix_signal() - any thread; a masked vector becomes pending */
void pci_msix_signal(struct pci_function *fn, unsigned vector);
/** pci_intx() - level of the function's line; any thread */
void pci_intx(struct pci_function *fn, bool level);

#endif
