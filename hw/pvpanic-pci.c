/*
 * pvpanic as a PCI function: BAR 0 begins with the register that hw/pvpanic.c has at a port. For
 * guests that find no such port, because they have no ACPI or a driver for this one only.
 */
#include "lkvm/pvpanic-pci.h"

#include <errno.h>
#include <misc/pvpanic.h>
#include <stdlib.h>

#include "lkvm/chips.h"
#include "lkvm/types.h"

#define VENDOR     0x1b36 /* Red Hat, Inc. */
#define DEVICE     0x0011
#define CLASS_CODE 0x088000 /* a system peripheral */
#define BAR_BYTES  0x1000   /* a page, which is what a driver maps */

struct pvpanic_pci {
	struct pci_function fn;
};

static uint64_t bar_read(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len)
{
	(void)fn, (void)bar, (void)len;
	return off ? UINT64_MAX : bus_byte(PVPANIC_EVENTS);
}

static void bar_write(struct pci_function *fn, unsigned bar, uint64_t off, unsigned len,
		      uint64_t value)
{
	(void)bar, (void)len;
	if (off == 0)
		pvpanic_event(fn->board, (uint8_t)value);
}

static const struct pci_ops ops = {
	.bar_read = bar_read, .bar_write = bar_write
};

int pvpanic_pci_new(struct pci_host *host, struct pvpanic_pci **ret)
{
	struct pvpanic_pci *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	pci_init(&p->fn, VENDOR, DEVICE, CLASS_CODE, 1);
	p->fn.ops = &ops;
	p->fn.name = "pvpanic";
	pci_add_bar(&p->fn, 0, BAR_BYTES, PCI_BAR_64);
	err = pci_add_to_bridge(host, &p->fn);
	if (err)
		pvpanic_pci_free(p);
	else
		*ret = p;
	return err;
}

void pvpanic_pci_free(struct pvpanic_pci *p)
{
	if (!p)
		return;
	pci_fini(&p->fn);
	free(p);
}
