/*
 * The host bridge as Intel's 440FX, for firmware that must find one to put RAM over itself: its ids and its PAM
 * registers, nothing else of it; see pci.h.
 */
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/types.h"
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

static void written(struct pci_function *fn)
{
	struct pci_host *host = container_of(fn, struct pci_host, bridge);

	host->pam(host->pam_ctx, &fn->config[PAM0]);
}

void pci_host_i440fx(struct pci_host *host, void (*pam)(void *ctx, const uint8_t *registers), void *ctx)
{
	static const struct pci_ops ops = { .written = written };
	struct pci_function *bridge = &host->bridge;

	host->pam = pam;
	host->pam_ctx = ctx;
	bridge->ops = &ops;
	access_put(&bridge->config[PCI_VENDOR_ID], 2, VENDOR_INTEL);
	access_put(&bridge->config[PCI_DEVICE_ID], 2, DEVICE_440FX);
	bridge->config[PCI_REVISION_ID] = REVISION;
	access_put(&bridge->config[PCI_SUBSYSTEM_VENDOR_ID], 2, SUBSYSTEM_VENDOR);
	access_put(&bridge->config[PCI_SUBSYSTEM_ID], 2, SUBSYSTEM_DEVICE);
	memset(&bridge->writable[PAM0], PAM_BITS, PAM_BYTES);
	bridge->writable[PAM0] = PAM0_BITS;
}
