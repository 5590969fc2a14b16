/*
 * PCI: a host bridge, bus 0, configuration by ports 0xcf8/0xcfc and by ECAM, memory BARs in the
 * gap, MSI-X and INTx. The machine's only PCI functions are virtio devices (virtio/pci.c).
 *
 * A function is embedded in its owner. Configuration space, BAR and MSI-X table are vCPU threads'
 * business, under the host bridge's lock; a guest may size, move and disable BARs and rewrite MSI-X
 * entries at any time, also while interrupts are signalled. Who signals takes no lock but the one
 * of the function's INTA: a device's worker never waits for a vCPU.
 */
#ifndef LKVM_PCI_H
#define LKVM_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/bus.h"
#include "lkvm/log.h"
#include "lkvm/machine.h"

#define PCI_MAX_FUNCTIONS 256 /* bus 0: 32 devices of 8 functions; the bridge is one of them */
#define PCI_CONFIG_BYTES  256 /* in the ECAM ones follow: these are no PCI Express functions */

struct pci_host;
struct pci_function;

struct pci_ops {
	/*
	 * Memory accesses to BAR 0, or behind its end; else the bus's contract. MSI-X table and PBA
	 * are not seen here.
	 */
	void (*bar_rw)(struct pci_function *fn, uint64_t off, void *data, unsigned len, bool write);
	/* BAR 0 is decoded at @base, or no longer (!on): ioeventfds follow. Under host->lock. */
	void (*bar_moved)(struct pci_function *fn, uint64_t base, bool on);
	/*
	 * pci_is_master() may have changed: without it a function reads and writes no memory and
	 * sends no message. No lock is held. May be NULL.
	 */
	void (*master)(struct pci_function *fn);
	/* Is there something for which the guest wants INTA? Any thread; takes no lock. */
	bool (*intx)(struct pci_function *fn);
	/*
	 * A configuration access behind the standard header that the function handles by itself
	 * (the virtio PCI_CFG window). No lock is held. Return: false: an ordinary register. May be
	 * NULL.
	 */
	bool (*config_rw)(struct pci_function *fn, unsigned off, void *data, unsigned len,
			  bool write);
};

/* One MSI-X vector. fd is any thread's to signal; the rest is under the host's lock. */
struct pci_vector {
	int fd;
	int gsi;           /* its route, kept for as long as the function lives; -1: none yet */
	bool bound;        /* fd is an irqfd of gsi */
	uint32_t entry[4]; /* as in the table: address, address high, data, control */
};

struct pci_function {
	const struct pci_ops *ops;
	const char *name; /* for messages */
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits that the guest may change */
	unsigned caps_end;
	uint32_t bar_bytes; /* of BAR 0, a power of two; 0: none */
	uint64_t bar_base;  /* where it is decoded now */
	bool bar_on;
	atomic_bool is_master; /* PCI_COMMAND_MASTER */
	/* MSI-X, in BAR 0 */
	unsigned n_vectors, msix_cap, msix_table, msix_pba;
	struct pci_vector *vector;
	uint16_t msix_control; /* the one that the vectors follow */
	atomic_bool msix_on;   /* its enable bit, for those who signal */
	struct ratelimit no_irq_warning;
	/* INTA */
	atomic_bool intx_off;      /* PCI_COMMAND_INTX_DISABLE */
	pthread_mutex_t intx_lock; /* the line changes in the order in which that was decided */
	bool intx_up;
	/* Set by pci_add() */
	struct pci_host *host;
	const struct machine *machine;
	uint8_t devfn;
	unsigned gsi; /* of INTA */
};

/**
 * pci_host_new() - the bridge at 00:00.0, its ports and its ECAM window
 * Return: 0 or -errno, logged
 */
int pci_host_new(struct bus *pio, struct bus *mmio, const struct machine *machine,
		 struct pci_host **ret);
/** pci_host_free() - after all functions; takes NULL */
void pci_host_free(struct pci_host *host);
/**
 * pci_host_expect() - before the first pci_add(): how many there will be (PCI_MAX_FUNCTIONS - 1 at
 * most) Up to 31 are a device each, more share devices as functions: the later, the higher the
 * address, which is the order in which a guest finds them. Without this call there is room for 31.
 */
void pci_host_expect(struct pci_host *host, unsigned n);
/**
 * pci_host_config_rw() - what ports and ECAM come down to
 * @devfn: 0 to 255; where there is no function, reads are ones and writes are ignored, just as
 * behind PCI_CONFIG_BYTES and where @reg is not a multiple of @len
 * @len: 1, 2 or 4
 */
void pci_host_config_rw(struct pci_host *host, unsigned devfn, unsigned reg, void *data,
			unsigned len, bool write);

/** pci_init() - the standard header: ids, class, revision */
void pci_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class_code,
	      uint8_t revision);
/**
 * pci_add_cap() - append a capability
 * @body: what follows id and next pointer; @len bytes, read only but for fn->writable
 * Return: its offset in the configuration space, or -ENOSPC
 */
int pci_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len);
/** pci_set_bar() - BAR 0: 32 bit, memory, not prefetchable */
void pci_set_bar(struct pci_function *fn, uint32_t bytes);
/**
 * pci_add_msix() - @n_vectors eventfds, their table and pending bits at these offsets of BAR 0
 * Return: 0 or -errno; pci_fini() in either case
 */
int pci_add_msix(struct pci_function *fn, unsigned n_vectors, unsigned table, unsigned pba);
/**
 * pci_add() - plug it into the next free place and give its BAR an address; before any vCPU runs
 * Return: 0 or -ENOSPC
 */
int pci_add(struct pci_host *host, struct pci_function *fn);
/** pci_fini() - take it out; no vCPU runs any more; takes a half-built or zeroed function */
void pci_fini(struct pci_function *fn);

/** pci_config_get() - copy what the configuration space says now; for config_rw() */
void pci_config_get(struct pci_function *fn, unsigned off, void *ret, unsigned len);
/** pci_bar_rw() - one access to BAR 0: to the MSI-X structures, or else to ops->bar_rw() */
void pci_bar_rw(struct pci_function *fn, uint64_t off, void *data, unsigned len, bool write);

/** pci_is_master() - may the function access memory by itself? Any thread. */
bool pci_is_master(const struct pci_function *fn);
/** pci_msix_enabled() - does the guest use MSI-X rather than INTA? Any thread. */
bool pci_msix_enabled(const struct pci_function *fn);
/** pci_msix_signal() - raise @vector (< n_vectors); stays pending while masked. Any thread. */
void pci_msix_signal(struct pci_function *fn, unsigned vector);
/** pci_msix_clear() - forget what is pending (device reset). Any thread. */
void pci_msix_clear(struct pci_function *fn);
/** pci_intx_update() - what ops->intx() says may have changed: INTA follows. Any thread. */
void pci_intx_update(struct pci_function *fn);

#endif
