/*
 * The host bridge as Intel's 440FX with a PIIX4 beside it, for firmware, which knows what is there by their ids; see
 * pci.h. Of the bridge there are its PAM registers; of the PIIX4 the registers that say which ISA interrupt a PCI one
 * is, which change nothing here, and where power management is, which cannot be moved. A chip set has no ECAM then.
 * Spec: Intel 290549 (440FX), 290562 (PIIX4)
 */
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/types.h"
#include "lkvm/x86/layout.h"
#include "pci-internal.h"

#define VENDOR_INTEL 0x8086
#define DEVICE_440FX 0x1237
#define REVISION     2
/* By these firmware knows that what QEMU has (fw_cfg) may be here. */
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM_DEVICE 0x1100

#define PAM0       0x59
#define PAM_BYTES  7
#define PAM_BITS   0x33 /* read and write of two segments each; whether they are cached is no matter here */
#define PAM0_BITS  0x30

/* The PIIX4's functions: the bridge to ISA (its ids are a PIIX3's, as firmware expects them), power management */
#define ISA_DEVFN  (1 << 3)
#define ISA_DEVICE 0x7000
#define ISA_CLASS  0x060100
#define PIRQ_ROUTE 0x60
#define PIRQS	   4
#define PIRQ_BITS  0x8f
#define PIRQ_NONE  0x80

#define PM_DEVFN    (ISA_DEVFN + 3)
#define PM_DEVICE   0x7113
#define PM_CLASS    0x068000
#define PM_REVISION 3
#define PM_BASE	    0x40
#define PM_BASE_IO  0x01
#define PM_DEVACTB  0x58
#define DEVACTB_APMC 0x02000000 /* SMIs by a port: set as if that were done, so that nobody waits for one */
#define PM_MISC	    0x80
#define PM_MISC_IO  0x01 /* PM_BASE is decoded */

static void bridge_written(struct pci_function *fn)
{
	struct pci_host *host = container_of(fn, struct pci_host, bridge);

	if (host->pam)
		host->pam(host->pam_ctx, &fn->config[PAM0]);
}

/* It has a state, as what the guest can write. */
static void make_440fx(struct pci_host *host)
{
	static const struct pci_ops ops = { .written = bridge_written };
	struct pci_function *bridge = &host->bridge;

	bridge->ops = &ops;
	bridge->host = host;
	bridge->board = &host->board;
	access_put(&bridge->config[PCI_VENDOR_ID], 2, VENDOR_INTEL);
	access_put(&bridge->config[PCI_DEVICE_ID], 2, DEVICE_440FX);
	bridge->config[PCI_REVISION_ID] = REVISION;
	access_put(&bridge->config[PCI_SUBSYSTEM_VENDOR_ID], 2, SUBSYSTEM_VENDOR);
	access_put(&bridge->config[PCI_SUBSYSTEM_ID], 2, SUBSYSTEM_DEVICE);
	memset(&bridge->writable[PAM0], PAM_BITS, PAM_BYTES);
	bridge->writable[PAM0] = PAM0_BITS;
}

static void add(struct pci_host *host, struct pci_function *fn, const char *name, unsigned devfn)
{
	static const struct pci_ops ops;

	memset(fn->writable, 0, sizeof(fn->writable));
	fn->ops = &ops;
	fn->name = name;
	pci_plug_in(host, fn, devfn);
}

static void add_isa(struct pci_host *host, struct pci_function *fn)
{
	pci_init(fn, VENDOR_INTEL, ISA_DEVICE, ISA_CLASS, 0);
	add(host, fn, "PIIX ISA", ISA_DEVFN);
	memset(&fn->config[PIRQ_ROUTE], PIRQ_NONE, PIRQS);
	memset(&fn->writable[PIRQ_ROUTE], PIRQ_BITS, PIRQS);
}

static void add_pm(struct pci_host *host, struct pci_function *fn)
{
	pci_init(fn, VENDOR_INTEL, PM_DEVICE, PM_CLASS, PM_REVISION);
	add(host, fn, "PIIX PM", PM_DEVFN);
	fn->config[PCI_COMMAND] = PCI_COMMAND_IO;
	access_put(&fn->config[PM_BASE], 4, PORT_POWER_PIIX | PM_BASE_IO);
	access_put(&fn->config[PM_DEVACTB], 4, DEVACTB_APMC);
	fn->config[PM_MISC] = PM_MISC_IO;
	fn->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_host_i440fx(struct pci_host *host)
{
	make_440fx(host);
	add_isa(host, &host->piix[0]);
	add_pm(host, &host->piix[1]);
	bus_remove(host->mmio, LAYOUT_ECAM);
	host->has_ecam = false;
}

void pci_host_pam(struct pci_host *host, void (*pam)(void *ctx, const uint8_t *registers), void *ctx)
{
	host->pam = pam;
	host->pam_ctx = ctx;
}
