/* Devices of virtio over MMIO in the DSDT, by the id that Linux's driver knows them by. */
#include <stdio.h>

#include "acpi-internal.h"
#include "lkvm/virtio-mmio.h"

_Static_assert(VIRTIO_MMIO_MAX <= 0x100, "two digits of the name are the device's number");

static void put_device(struct bytebuf *b, const struct virtio_mmio_place *place, unsigned uid)
{
	char name[5];
	size_t dev, crs;

	snprintf(name, sizeof(name), "VR%02X", uid & 0xff);
	dev = aml_device(b, name);
	aml_name(b, "_HID");
	aml_string(b, "LNRO0005");
	aml_name(b, "_UID");
	aml_int(b, uid);
	aml_name(b, "_CCA"); /* DMA is coherent */
	aml_int(b, 1);
	crs = aml_crs(b);
	aml_crs_memory(b, (uint32_t)place->base, VIRTIO_MMIO_BYTES);
	aml_crs_edge(b, place->gsi);
	aml_crs_end(b, crs);
	aml_end(b, dev);
}

void acpi_put_virtio_mmio(struct bytebuf *b, const struct virtio_mmio_place *places, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put_device(b, &places[i], i);
}
