/*
 * The generation ID in the DSDT, and the device whose interrupt tells the guest of a new one.
 * Spec: Microsoft, "Virtual Machine Generation ID"; ACPI 6.5, 5.6.9
 */
#include "acpi-internal.h"

#define NAME	   "VGEN"
#define ID_CHANGED 0x80

static void put_id(struct bytebuf *b, const struct hw_row *row)
{
	size_t dev = aml_device(b, NAME), list;

	aml_name(b, "_HID");
	aml_string(b, "LKVM0001");
	aml_name(b, "_CID"); /* that of the specification, and a shorter one, as ACPI wants it */
	list = aml_package(b, 2);
	aml_string(b, "VMGENCTR");
	aml_string(b, "VM_Gen_Counter");
	aml_end(b, list);
	aml_name(b, "_DDN");
	aml_string(b, "VM_Gen_Counter");
	aml_name(b, "ADDR");
	list = aml_package(b, 2);
	aml_int(b, (uint32_t)row->memory.base);
	aml_int(b, row->memory.base >> 32);
	aml_end(b, list);
	aml_end(b, dev);
}

/* A generic event device: its only event is this interrupt. */
static void put_events(struct bytebuf *b, unsigned gsi)
{
	size_t dev = aml_device(b, "GED0"), in;

	aml_name(b, "_HID");
	aml_string(b, "ACPI0013");
	aml_name(b, "_UID");
	aml_int(b, 0);
	in = aml_crs(b);
	aml_crs_edge(b, gsi);
	aml_crs_end(b, in);
	in = aml_method(b, "_EVT", 1);
	aml_notify(b, NAME, ID_CHANGED);
	aml_end(b, in);
	aml_end(b, dev);
}

void acpi_put_vmgenid(struct bytebuf *b, const struct hw_row *row)
{
	put_id(b, row);
	put_events(b, row->gsi);
}
