/* The PCI host bridge in the DSDT. */
#include "acpi-internal.h"
#include "lkvm/x86/layout.h"

#define PCI_DEVICES  32
#define ANY_FUNCTION 0xffff
#define PIN_INTA     0

#define PIIX_POWER_PORTS 0x40

static void put_resources(struct bytebuf *b, const struct hardware *hw)
{
	const struct hw_row *pci = hw_find(hw, HW_PCI), *low = hw_find(hw, HW_PCI_WINDOW);
	const struct hw_row *high = hw_find(hw, HW_PCI_WINDOW64);
	const uint16_t power = hw_find(hw, HW_POWER)->port[0].base;
	size_t crs = aml_crs(b);

	aml_crs_bus(b, 0, 0);
	aml_crs_io(b, pci->port[0].base, (uint8_t)pci->port[0].size);
	aml_crs_ports(b, low->port[0].base, (uint16_t)(low->port[0].base + low->port[0].size - 1));
	if (!pci->memory.size) /* a chip set has it, to its ports' full length */
		aml_crs_ports(b, power, power + PIIX_POWER_PORTS - 1);
	aml_crs_window(b, (uint32_t)low->memory.base, (uint32_t)(low->memory.base + low->memory.size - 1));
	if (high)
		aml_crs_window64(b, high->memory.base, high->memory.base + high->memory.size - 1);
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
static void put_ecam(struct bytebuf *b, const struct hw_row *pci)
{
	size_t dev = aml_device(b, "ECAM");
	size_t crs;

	aml_name(b, "_HID");
	aml_eisa_id(b, "PNP0C02");
	aml_name(b, "_UID");
	aml_int(b, 0);
	crs = aml_crs(b);
	aml_crs_memory(b, (uint32_t)pci->memory.base, (uint32_t)pci->memory.size);
	aml_crs_end(b, crs);
	aml_end(b, dev);
}

/*
 * Which features of PCI Express the guest may handle itself: all that it asks for, as no firmware is
 * there to do so. PCI Firmware Specification 3.2, 4.5.1
 *
 *	Method (_OSC, 4, Serialized) {
 *		CreateDWordField (Arg3, 0, CDW1)
 *		If (LNot (LEqual (Arg0, ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766")))) {
 *			Or (CDW1, 4, CDW1)              // unrecognised UUID
 *		}
 *		Return (Arg3)
 *	}
 */
static void put_osc(struct bytebuf *b)
{
	static const uint8_t osc[] = {
		0x14, 0x33, '_', 'O', 'S', 'C', 0x0c,
		0x8a, 0x6b, 0x00, 'C', 'D', 'W', '1',
		0xa0, 0x23, 0x92, 0x93, 0x68, 0x11, 0x13, 0x0a, 0x10,
		0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
		0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
		0x7d, 'C', 'D', 'W', '1', 0x0a, 0x04, 'C', 'D', 'W', '1',
		0xa4, 0x6b,
	};

	_Static_assert(sizeof(osc) == 1 + 0x33, "the method's length is in its second byte");
	bytebuf_put(b, osc, sizeof(osc));
}

void acpi_put_pci(struct bytebuf *b, const struct hardware *hw)
{
	const bool has_ecam = hw_find(hw, HW_PCI)->memory.size;
	size_t dev = aml_device(b, "PCI0");

	aml_name(b, "_HID");
	aml_eisa_id(b, has_ecam ? "PNP0A08" : "PNP0A03");
	if (has_ecam) {
		aml_name(b, "_CID");
		aml_eisa_id(b, "PNP0A03");
	}
	aml_name(b, "_UID");
	aml_int(b, 0);
	put_resources(b, hw);
	put_routing(b);
	if (has_ecam)
		put_osc(b);
	aml_end(b, dev);
	if (has_ecam)
		put_ecam(b, hw_find(hw, HW_PCI));
}
