/* Links: hw/pvpanic-pci.o hw/pvpanic.o hw/pci.o hw/pci-msix.o hw/reset.o hw/bus.o util/log.o */
#include "lkvm/pvpanic-pci.h"
#include "pci-rig.h"

#define DEVFN 1

static struct pvpanic_pci *pvpanic;
static uint64_t base;

static void new_pvpanic(void)
{
	new_host();
	ck_assert_int_eq(pvpanic_pci_new(host, &pvpanic), 0);
	config_out(DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	base = config_in(DEVFN, PCI_BASE_ADDRESS_0, 4) & ~0xfU;
}

static void free_pvpanic(void)
{
	pvpanic_pci_free(pvpanic);
	free_host();
}

START_TEST(test_config)
{
	new_pvpanic();
	ck_assert_uint_eq(config_in(DEVFN, PCI_VENDOR_ID, 4), 0x00111b36);
	ck_assert_uint_eq(config_in(DEVFN, PCI_CLASS_DEVICE, 2), 0x0880);
	ck_assert_uint_eq(config_in(DEVFN, PCI_INTERRUPT_PIN, 1), 0);
	config_out(DEVFN, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	ck_assert_uint_eq(config_in(DEVFN, PCI_BASE_ADDRESS_0, 4), 0xfffff004);
	free_pvpanic();
}
END_TEST

START_TEST(test_register)
{
	new_pvpanic();
	ck_assert_uint_eq(bus_in(&mmio, base, 1), 0x03);
	ck_assert_uint_eq(bus_in(&mmio, base, 8), 0xffffffffffffff03);
	ck_assert_uint_eq(bus_in(&mmio, base + 1, 4), 0xffffffff);
	bus_out(&mmio, base, 0xfc, 1);
	bus_out(&mmio, base + 1, 0x01, 1);
	ck_assert_uint_eq(fake.stops + fake.panics, 0);
	bus_out(&mmio, base, 0x02, 1);
	ck_assert(fake.panics == 1 && fake.stops == 0);
	bus_out(&mmio, base, 0x01, 1);
	ck_assert(fake.stops == 1 && fake.cause == STOP_PANIC);
	free_pvpanic();
}
END_TEST

START_TEST(test_place_is_taken)
{
	struct pvpanic_pci *second = NULL;

	new_pvpanic();
	ck_assert_int_eq(pvpanic_pci_new(host, &second), -ENOSPC);
	ck_assert_ptr_null(second);
	pvpanic_pci_free(NULL);
	free_pvpanic();
}
END_TEST

UNIT_MAIN("pvpanic-pci", test_config, test_register, test_place_is_taken)
