/* What hw/pci.c and hw/pci-msix.c share; nobody else includes this. */
#ifndef LKVM_PCI_INTERNAL_H
#define LKVM_PCI_INTERNAL_H

#include "lkvm/pci.h"

#define PCI_MAX_RESERVED 5 /* RAM below and above 4 GB, persistent memory, what can be plugged, chips */

struct pci_host {
	pthread_mutex_t lock;   /* configuration spaces, BARs, MSI-X state */
	struct bus *pio, *mmio; /* pio: NULL as long as the bridge is not there */
	struct board board;
	uint32_t address;      /* port 0xcf8 */
	uint8_t reset_control; /* port 0xcf9, which lies within */
	unsigned first_devfn, per_device; /* where pci_add() plugs in */
	struct {
		uint64_t base, bytes;
	} reserved[PCI_MAX_RESERVED];
	unsigned n_reserved;
	struct pci_window {
		uint64_t next, end;
	} low, high, io; /* the first addresses that pci_add() gives out */
	struct pci_function *fn[PCI_MAX_FUNCTIONS];
	struct pci_function bridge;
	bool has_ecam;
	struct pci_function piix[2]; /* hw/pci-i440fx.c; zeroed: the bridge stands alone */
	void (*pam)(void *ctx, const uint8_t *registers); /* NULL: nobody wants to hear */
	void *pam_ctx;
};

/*
 * hw/pci-msix.c, which calls nothing of hw/pci.c. Eventfds, their table and pending bits at these
 * offsets of fn->msix_bar; Return: 0 or -errno, pci_msix_fini() in either case.
 */
int pci_msix_init(struct pci_function *fn, unsigned n_vectors, unsigned table, unsigned pba);
/* Is this offset of the BAR in one of the two? Then their contract is that of pci_ops' bar_read(). */
bool pci_msix_at(const struct pci_function *fn, unsigned bar, uint64_t off);
uint64_t pci_msix_read(struct pci_function *fn, uint64_t off, unsigned len);
void pci_msix_write(struct pci_function *fn, uint64_t off, unsigned len, uint64_t value);

/* hw/pci-bars.c: one access to a BAR, which the MSI-X structures, host memory or the owner answer */
uint64_t pci_bar_read(struct pci_bar *bar, uint64_t off, unsigned len);
void pci_bar_write(struct pci_bar *bar, uint64_t off, unsigned len, uint64_t value);
/* The configuration space was written: BARs are decoded where it says, and the owner hears of it */
void pci_bars_follow(struct pci_function *fn);
void pci_bars_unmap(struct pci_function *fn);
/* Give them their first addresses. */
void pci_bars_place(struct pci_host *host, struct pci_function *fn);

/* hw/pci.c: @fn is at @devfn, where nobody is; one of the bridge's chip set */
void pci_plug_in(struct pci_host *host, struct pci_function *fn, unsigned devfn);

/* The configuration space was written: the vectors follow the MSI-X control word... */
void pci_msix_config_written(struct pci_function *fn);
/* ... and bus mastering. */
void pci_msix_follow(struct pci_function *fn);
void pci_msix_fini(struct pci_function *fn);

/*
 * For hw/pci-state.c, under the host's lock. Is it pending? It is now this entry of the table, and
 * pending or not, whatever was signalled before.
 */
bool pci_msix_pending(struct pci_vector *v);
/* Is there one that is pending because the guest lets it not through? The first of them */
bool pci_msix_withheld(struct pci_function *fn, unsigned *ret_vector);
void pci_msix_load(struct pci_function *fn, unsigned vector, const uint32_t *entry, bool pending);
/* Which BARs are decoded? Bit n: BAR n. Decode these, where the configuration space says, and the owner hears of it. */
uint32_t pci_bars_on(const struct pci_function *fn);
void pci_bars_map(struct pci_function *fn, uint32_t bars);
/*
 * The configuration space is this now, and only the BARs of @bars are decoded: the others were in
 * somebody's way when it was saved. Return: true if bus mastering was switched on or off.
 */
bool pci_config_load(struct pci_function *fn, const uint8_t *config, uint32_t bars);

#endif
