/*
 * PCI: a host bridge, bus 0, configuration by ports 0xcf8/0xcfc and by ECAM, BARs of memory and of
 * ports, MSI-X and INTx. Its functions are the virtio devices (virtio/pci.c) and pvpanic.
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
#include "lkvm/board.h"

#define PCI_MAX_FUNCTIONS 256 /* bus 0: 32 devices of 8 functions; the bridge is one of them */
#define PCI_CONFIG_BYTES  256 /* in the ECAM ones follow: these are no PCI Express functions */

struct pci_host;
struct pci_function;
struct state_type;

struct pci_ops {
	/*
	 * Accesses to a BAR, to BAR 0 behind its end too; else the bus's contract. MSI-X table
	 * and PBA, and BARs that are memory, are not seen here.
	 */
	uint64_t (*bar_read)(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len);
	void (*bar_write)(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len,
			  uint64_t value);
	/* The BAR is decoded at @base, or no longer (!on): ioeventfds follow. Under host->lock. May be NULL. */
	void (*bar_moved)(struct pci_function *fn, unsigned bar, uint64_t base, bool on);
	/*
	 * pci_is_master() or pci_msix_enabled() may have changed: without the first a function reads and writes
	 * no memory and sends no message. No lock is held. May be NULL.
	 */
	void (*master)(struct pci_function *fn);
	/* Is there something for which the guest wants INTA? Any thread; takes no lock. NULL: has none. */
	bool (*intx)(struct pci_function *fn);
	/*
	 * Is a configuration access behind the standard header in truth one to BAR 0, at *ret_off
	 * (the virtio PCI_CFG window)? No lock is held. May be NULL.
	 */
	bool (*config_window)(struct pci_function *fn, unsigned off, unsigned len,
			      uint64_t *ret_off);
	/* The guest has written to its configuration space, or it is loaded. Under host->lock. May be NULL. */
	void (*written)(struct pci_function *fn);
};

/* One MSI-X vector. fd is any thread's to signal; the rest is under the host's lock. */
struct pci_vector {
	int fd;
	int gsi;           /* its route, kept for as long as the function lives; -1: none yet */
	bool bound;        /* fd is an irqfd of gsi */
	atomic_bool pending; /* so is what the fd has counted while it is not bound */
	uint32_t entry[4]; /* as in the table: address, address high, data, control */
};

/* A base address register, for pci_add_bar() */
#define PCI_BAR_64       1U /* takes the next register too; the guest may put it above 4 GB */
#define PCI_BAR_PREFETCH 2U /* reading has no effect, bytes may be merged */
#define PCI_BAR_IO       4U /* ports; stands alone */

#define PCI_ROM_BAR PCI_STD_NUM_BARS /* among a function's: its expansion ROM, which has an own register */
#define PCI_BARS    (PCI_ROM_BAR + 1)
#define PCI_ROM_MAX 0x1000000

struct pci_bar {
	struct pci_function *fn;
	uint64_t bytes; /* a power of two; 0: none */
	unsigned flags;
	uint64_t base; /* where it is decoded now */
	bool on;
	uint8_t *memory; /* pci_bar_memory(), or NULL */
	bool read_only;
	int slot; /* of the memory while the BAR is on; negative: accesses go by the bus */
};

struct pci_function {
	const struct pci_ops *ops;
	const char *name; /* for messages */
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits that the guest may change */
	unsigned caps_end;
	struct pci_bar bar[PCI_BARS];
	atomic_bool is_master; /* PCI_COMMAND_MASTER */
	/* MSI-X */
	unsigned n_vectors, msix_cap, msix_bar, msix_table, msix_pba;
	struct pci_vector *vector;
	uint16_t msix_control; /* the one that the vectors follow */
	atomic_bool msix_on;   /* its enable bit, for those who signal */
	struct ratelimit no_irq_warning;
	/* INTA */
	atomic_bool intx_off;      /* PCI_COMMAND_INTX_DISABLE */
	pthread_mutex_t intx_lock; /* the line changes in the order in which that was decided */
	bool intx_up;
	bool has_intx_fd, intx_fd_on; /* pci_add_intx_fd() */
	int intx_fd, resample_fd;
	/* Set by pci_add() */
	struct pci_host *host;
	const struct board *board;
	uint8_t devfn;
	unsigned gsi; /* of INTA */
};

/**
 * pci_host_new() - the bridge at 00:00.0, its ports and its ECAM window
 * Return: 0 or -errno, logged
 */
int pci_host_new(struct bus *pio, struct bus *mmio, const struct board *board,
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
 * pci_host_window64() - before the first pci_add(): where BARs go that have no room below 4 GB
 * 64-bit BARs of prefetchable memory go there first.
 */
void pci_host_window64(struct pci_host *host, uint64_t base, uint64_t bytes);
/**
 * pci_host_reserve() - no BAR is decoded on these addresses: RAM, and chips that are not on the bus
 * At most PCI_MAX_RESERVED times, before any vCPU runs.
 */
void pci_host_reserve(struct pci_host *host, uint64_t base, uint64_t bytes);
/**
 * pci_host_i440fx() - hw/pci-i440fx.c: the bridge is Intel's 440FX to the guest, and device 1 what of a PIIX4 firmware
 * looks for; there is no ECAM. Before pci_host_expect()
 */
void pci_host_i440fx(struct pci_host *host);
/** pci_host_pam() - tell @pam what the guest writes to the 440FX's seven PAM registers; under the host's lock */
void pci_host_pam(struct pci_host *host, void (*pam)(void *ctx, const uint8_t *registers), void *ctx);
/** pci_init() - the standard header: ids, class, revision */
void pci_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class_code,
	      uint8_t revision);
/**
 * pci_add_cap() - append a capability
 * @body: what follows id and next pointer; @len bytes, read only but for fn->writable
 * Return: its offset in the configuration space, or -ENOSPC
 */
int pci_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len);
/**
 * pci_add_bar() - a memory BAR, or with PCI_BAR_IO one of ports
 * @bytes: a power of two, 16 at least; 32 bits: 2 GB at most; ports: 4 to 256
 * @flags: PCI_BAR_...
 * It is decoded wherever the guest puts it, but for what was reserved and what another device of the bus
 * has: that keeps all of its range, and the BAR is decoded nowhere until it is moved or the range is
 * free. So it is with ports; KVM's own are on no bus: KVM keeps these, and no more, from a BAR on top of
 * them. Port 0 is none.
 */
void pci_add_bar(struct pci_function *fn, unsigned bar, uint64_t bytes, unsigned flags);
/**
 * pci_bar_memory() - the BAR is host memory, which the guest reaches without an exit
 * @memory: as many bytes as the BAR has, page aligned; lives for as long as the vCPUs. Parts of it may not
 *	be there: what is read there by the bus is ones.
 * Where the machine has no slot for it, accesses go by the bus: slower, and no less right.
 */
void pci_bar_memory(struct pci_function *fn, unsigned bar, void *memory, bool read_only);
/**
 * pci_add_msix() - @n_vectors eventfds, their table and pending bits at these offsets of @bar
 * Return: 0 or -errno; pci_fini() in either case
 */
int pci_add_msix(struct pci_function *fn, unsigned n_vectors, unsigned bar, unsigned table,
		 unsigned pba);
/**
 * pci_add_intx_fd() - before pci_add(): INTA by eventfds, for who signals from outside (vfio)
 * Signalling the one raises INTA; once the guest has handled it, the other says so, and who still wants
 * it signals again. Nothing arrives, and nothing is lost, while the guest has INTA disabled or uses
 * MSI-X. ops->intx may be NULL then.
 * Return: 0 or -errno; pci_fini() in either case, which closes both
 */
int pci_add_intx_fd(struct pci_function *fn, int *ret_fd, int *ret_resample_fd);
/**
 * pci_add() - plug it into the next free place and give its BAR an address; before any vCPU runs
 * Return: 0 or -ENOSPC
 */
int pci_add(struct pci_host *host, struct pci_function *fn);
/**
 * pci_add_to_bridge() - the same as function 1 of the bridge's device, which takes no place from others
 * Return: 0 or -ENOSPC (there are so many others that one of them is there)
 */
int pci_add_to_bridge(struct pci_host *host, struct pci_function *fn);
/**
 * pci_decode() - after pci_add(), before any vCPU runs: its memory BARs are decoded before a driver wants them so,
 * as firmware leaves a function that somebody uses already
 */
void pci_decode(struct pci_function *fn);
/** pci_bar_base() - where a BAR is decoded now; false: nowhere. Before any vCPU runs. */
bool pci_bar_base(const struct pci_function *fn, unsigned bar, uint64_t *ret);
/**
 * pci_add_rom() - an expansion ROM; before any vCPU runs
 * @image: read-only to the guest, whole pages, not ours; @bytes: a power of two, 4096 to PCI_ROM_MAX. It has no address
 * until somebody gives it one.
 */
void pci_add_rom(struct pci_function *fn, void *image, uint64_t bytes);
/** pci_has_room() - did pci_add() find an address for this BAR? Before any vCPU runs. */
bool pci_has_room(const struct pci_function *fn, unsigned bar);
/** pci_fini() - take it out; no vCPU runs any more; takes a half-built or zeroed function */
void pci_fini(struct pci_function *fn);

/** pci_config_get() - copy what the configuration space says now; for config_window() */
void pci_config_get(struct pci_function *fn, unsigned off, void *ret, unsigned len);

/** pci_is_master() - may the function access memory by itself? Any thread. */
bool pci_is_master(const struct pci_function *fn);
/** pci_msix_enabled() - does the guest use MSI-X rather than INTA? Any thread. */
bool pci_msix_enabled(const struct pci_function *fn);
/**
 * pci_msix_fd() - the eventfd that raises @vector (< n_vectors), for who signals from outside (vhost,
 * vfio) Valid until pci_fini(). It never has to be rebound: what is signalled while the vector is masked
 * stays pending, as for pci_msix_signal().
 */
int pci_msix_fd(const struct pci_function *fn, unsigned vector);
/** pci_msix_signal() - raise @vector (< n_vectors); stays pending while masked. Any thread. */
void pci_msix_signal(struct pci_function *fn, unsigned vector);
/** pci_msix_clear() - forget what is pending (device reset). Any thread. */
void pci_msix_clear(struct pci_function *fn);
/** pci_intx_update() - what ops->intx() says may have changed: INTA follows. Any thread. */
void pci_intx_update(struct pci_function *fn);

/**
 * pci_withheld() - the first interrupt that a function has sent, and that the guest does not let through
 * @ret_vector: which of its MSI-X vectors
 * Return: the function's name; NULL: there is none. Any thread.
 */
const char *pci_withheld(struct pci_host *host, unsigned *ret_vector);

/**
 * pci_function_at() - Return: the function, or NULL; the machine is being built, saved or loaded
 * @devfn: < PCI_MAX_FUNCTIONS; 0: the bridge
 */
struct pci_function *pci_function_at(struct pci_host *host, unsigned devfn);
/*
 * hw/pci-state.c: of a struct pci_host, of a struct pci_function, and of one its MSI-X. load() gives
 * -ENODEV where it is another function's. To be loaded in this order.
 */
extern const struct state_type pci_host_state_type, pci_function_state_type, pci_msix_state_type;

#endif
