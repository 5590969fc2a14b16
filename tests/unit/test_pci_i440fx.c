/* Links: hw/pci.o hw/pci-i440fx.o hw/pci-msix.o hw/reset.o hw/bus.o util/log.o */
#include "pci-rig.h"

static uint8_t pam[7];
static unsigned writes;

static void take_pam(void *ctx, const uint8_t *registers)
{
	ck_assert_ptr_eq(ctx, pam);
	memcpy(pam, registers, sizeof(pam));
	writes++;
}

START_TEST(test_registers)
{
	new_host();
	pci_host_i440fx(host, take_pam, pam);
	ck_assert_uint_eq(config_in(0, PCI_VENDOR_ID, 4), 0x12378086);
	ck_assert_uint_eq(config_in(0, PCI_CLASS_REVISION, 4), 0x06000002);
	ck_assert_uint_eq(config_in(0, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	ck_assert_uint_eq(writes, 0);
	for (unsigned i = 0; i < 7; i++) {
		ck_assert_uint_eq(config_in(0, 0x59 + i, 1), 0);
		config_out(0, 0x59 + i, 0xff, 1);
		ck_assert_uint_eq(config_in(0, 0x59 + i, 1), i ? 0x33 : 0x30);
		ck_assert_uint_eq(pam[i], i ? 0x33 : 0x30);
	}
	config_out(0, 0x58, 0, 4);
	ck_assert_uint_eq(pam[0] | pam[1] | pam[2], 0);
	ck_assert_uint_eq(pam[3], 0x33);
	/* By the ports, too */
	bus_out(&pio, 0xcf8, 0x8000005c, 4);
	bus_out(&pio, 0xcfe, 0x21, 1);
	ck_assert_uint_eq(pam[5], 0x21);
	free_host();
}
END_TEST

/* Nothing else may be written, and of PAM nothing where it was not asked for. */
START_TEST(test_read_only)
{
	new_host();
	pci_host_i440fx(host, take_pam, pam);
	for (unsigned reg = 0; reg < 256; reg++) {
		const uint32_t old = config_in(0, reg, 1);

		if (reg >= 0x59 && reg < 0x60)
			continue;
		config_out(0, reg, ~old, 1);
		ck_assert_uint_eq(config_in(0, reg, 1), old);
	}
	free_host();
	new_host();
	config_out(0, 0x59, 0xff, 1);
	ck_assert_uint_eq(config_in(0, 0x59, 1), 0);
	free_host();
}
END_TEST

UNIT_MAIN("pci-i440fx", test_registers, test_read_only)
