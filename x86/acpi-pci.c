/* The PCI host bridge in the DSDT. */
#include "acpi-internal.h"
#include "lkvm/x86/layout.h"

#define PCI_DEVICES  32
#define ANY_FUNCTION 0xffff
#define PIN_INTA     0

static void put_resources(struct bytebuf *b)
{
	size_t crs = aml_crs(b);

	aml_crs_bus(b, 0, 0);
	aml_crs_io(b, PORT_PCI, 8);
	aml_crs_window(b, LAYOUT_PCI_WINDOW, (uint32_t)(LAYOUT_PCI_WINDOW_END - 1));
	aml_crs_end(b, crs);
}

/*
 * Each line is a pin of the IOAPIC itself (source 0), so the interrupt is what PCI says it is:
 * level triggered, active low. KVM's IOAPIC looks at the trigger mode only.
 */
static void put_routing(struct bytebuf *b)
{
	size_t all, one;

	aml_name(b, "_PRT");
	all = aml_package(b, PCI_DEVICES);
	for (uint32_t device = 0; device < PCI_DEVICES; device++) {
		one = aml_package(b, 4);
		aml_int(b, device << 16 | ANY_FUNCTION);
		aml_int(b, PIN_INTA);
		aml_int(b, 0);
		aml_int(b, GSI_PCI_FIRST + device % GSI_PCI_PINS);
		aml_end(b, one);
	}
	aml_end(b, all);
}

/* A motherboard resource: kernels use an MCFG window only if nobody else may be there. */
static void put_ecam(struct bytebuf *b)
{
	size_t dev = aml_device(b, "ECAM");
	size_t crs;

	aml_name(b, "_HID");
	aml_eisa_id(b, "PNP0C02");
	aml_name(b, "_UID");
	aml_int(b, 0);
	crs = aml_crs(b);
	aml_crs_memory(b, LAYOUT_ECAM, LAYOUT_ECAM_BYTES);
	aml_crs_end(b, crs);
	aml_end(b, dev);
}

void acpi_put_pci(struct bytebuf *b)
{
	size_t dev = aml_device(b, "PCI0");

	aml_name(b, "_HID");
	aml_eisa_id(b, "PNP0A08"); /* with an ECAM */
	aml_name(b, "_CID");
	aml_eisa_id(b, "PNP0A03");
	aml_name(b, "_UID");
	aml_int(b, 0);
	put_resources(b);
	put_routing(b);
	aml_end(b, dev);
	put_ecam(b);
}
