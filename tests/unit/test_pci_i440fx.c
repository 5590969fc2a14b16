/* Links: hw/pci.o hw/pci-i440fx.o hw/pci-state.o hw/pci-msix.o hw/reset.o hw/bus.o hw/state.o hw/state-show.o util/json.o util/log.o */
#include <errno.h>
#include <stdlib.h>

#include "lkvm/types.h"
#include "pci-rig.h"
#include "state.h"

static uint8_t pam[7];
static unsigned writes;

static void take_pam(void *ctx, const uint8_t *registers)
{
	ck_assert_ptr_eq(ctx, pam);
	memcpy(pam, registers, sizeof(pam));
	writes++;
}

/* There is no ECAM to come by. */
static uint32_t port_in(unsigned devfn, unsigned reg, unsigned len)
{
	bus_out(&pio, 0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc), 4);
	return (uint32_t)bus_in(&pio, 0xcfc + (reg & 3), len);
}

static void port_out(unsigned devfn, unsigned reg, uint32_t value, unsigned len)
{
	bus_out(&pio, 0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc), 4);
	bus_out(&pio, 0xcfc + (reg & 3), value, len);
}

static void new_i440fx(void)
{
	new_host();
	pci_host_i440fx(host);
	pci_host_pam(host, take_pam, pam);
}

START_TEST(test_registers)
{
	new_i440fx();
	ck_assert_uint_eq(port_in(0, PCI_VENDOR_ID, 4), 0x12378086);
	ck_assert_uint_eq(port_in(0, PCI_CLASS_REVISION, 4), 0x06000002);
	ck_assert_uint_eq(port_in(0, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	ck_assert_uint_eq(writes, 0);
	for (unsigned i = 0; i < 7; i++) {
		ck_assert_uint_eq(port_in(0, 0x59 + i, 1), 0);
		port_out(0, 0x59 + i, 0xff, 1);
		ck_assert_uint_eq(port_in(0, 0x59 + i, 1), i ? 0x33 : 0x30);
		ck_assert_uint_eq(pam[i], i ? 0x33 : 0x30);
	}
	port_out(0, 0x58, 0, 4);
	ck_assert_uint_eq(pam[0] | pam[1] | pam[2], 0);
	ck_assert_uint_eq(pam[3], 0x33);
	port_out(0, 0x5e, 0x21, 1);
	ck_assert_uint_eq(pam[5], 0x21);
	free_host();
}
END_TEST

/* Who does not want to hear of it is not told. */
START_TEST(test_no_pam)
{
	new_host();
	pci_host_i440fx(host);
	port_out(0, 0x59, 0xff, 1);
	ck_assert_uint_eq(port_in(0, 0x59, 1), 0x30);
	free_host();
}
END_TEST

START_TEST(test_no_ecam)
{
	new_host();
	ck_assert_uint_eq(config_in(0, PCI_VENDOR_ID, 4), 0x00081b36);
	pci_host_i440fx(host);
	ck_assert_int_eq(bus_rw(&mmio, LAYOUT_ECAM, pam, 4, false), -ENODEV);
	free_host();
}
END_TEST

START_TEST(test_piix)
{
	new_i440fx();
	ck_assert_uint_eq(port_in(8, PCI_VENDOR_ID, 4), 0x70008086);
	ck_assert_uint_eq(port_in(8, PCI_CLASS_REVISION, 4), 0x06010000);
	ck_assert_uint_eq(port_in(8, PCI_HEADER_TYPE, 1), 0x80);
	ck_assert_uint_eq(port_in(8, PCI_INTERRUPT_PIN, 1), 0);
	ck_assert_uint_eq(port_in(8, 0x60, 4), 0x80808080);
	port_out(8, 0x60, 0xffffffff, 4);
	ck_assert_uint_eq(port_in(8, 0x60, 4), 0x8f8f8f8f);
	ck_assert_uint_eq(port_in(9, PCI_VENDOR_ID, 4), 0xffffffff);
	ck_assert_uint_eq(port_in(11, PCI_VENDOR_ID, 4), 0x71138086);
	ck_assert_uint_eq(port_in(11, PCI_CLASS_REVISION, 4), 0x06800003);
	ck_assert_uint_eq(port_in(11, PCI_COMMAND, 2), PCI_COMMAND_IO);
	ck_assert_uint_eq(port_in(11, 0x40, 4), 0xb001);
	ck_assert_uint_eq(port_in(11, 0x5b, 1), 2);
	ck_assert_uint_eq(port_in(11, 0x80, 1), 1);
	free_host();
}
END_TEST

/* The devices begin behind it, and there is one less. */
START_TEST(test_places)
{
	static const unsigned n[] = { 1, 30, 31, 240, 253 }, first[] = { 16, 16, 16, 16, 1 };
	static const struct pci_ops ops;

	for (size_t i = 0; i < ARRAY_SIZE(n); i++) {
		struct pci_function *fn = calloc(n[i], sizeof(*fn));

		new_i440fx();
		pci_host_expect(host, n[i]);
		for (unsigned f = 0; f < n[i]; f++) {
			pci_init(&fn[f], 1, 2, 3, 4);
			fn[f].ops = &ops;
			ck_assert_int_eq(pci_add(host, &fn[f]), 0);
		}
		ck_assert_uint_eq(fn[0].devfn, first[i]);
		ck_assert_uint_eq(port_in(8, PCI_VENDOR_ID, 4), 0x70008086);
		ck_assert_uint_eq(port_in(11, PCI_VENDOR_ID, 4), 0x71138086);
		for (unsigned f = 0; f < n[i]; f++)
			pci_fini(&fn[f]);
		free_host();
		free(fn);
	}
}
END_TEST

/* Nothing else may be written, and of PAM nothing where it was not asked for. */
START_TEST(test_read_only)
{
	static const unsigned devfns[] = { 0, 8, 11 };

	new_i440fx();
	for (unsigned reg = 0; reg < 3 * 256; reg++) {
		const unsigned devfn = devfns[reg / 256], r = reg % 256;
		const uint32_t old = port_in(devfn, r, 1);

		if (devfn == 0 ? r >= 0x59 && r < 0x60 : devfn == 8 ? r >= 0x60 && r < 0x64 : r == PCI_INTERRUPT_LINE)
			continue;
		port_out(devfn, r, ~old, 1);
		ck_assert_uint_eq(port_in(devfn, r, 1), old);
	}
	free_host();
	new_host();
	config_out(0, 0x59, 0xff, 1);
	ck_assert_uint_eq(config_in(0, 0x59, 1), 0);
	free_host();
}
END_TEST

/* What was written is there in another machine, and whoever makes RAM or ROM of it is told. */
START_TEST(test_restored)
{
	static const unsigned devfns[] = { 0, 8, 11 };
	struct state_buf saved[3] = { { 0 } };
	struct state_reader in;

	new_i440fx();
	port_out(0, 0x58, 0x12213000, 4);
	port_out(8, 0x61, 5, 1);
	port_out(11, PCI_INTERRUPT_LINE, 9, 1);
	for (unsigned i = 0; i < 3; i++)
		state_saved(&pci_function_state_type, pci_function_at(host, devfns[i]), &saved[i]);
	free_host();
	new_i440fx();
	memset(pam, 0, sizeof(pam));
	for (unsigned i = 0; i < 3; i++) {
		in = state_reader_of(&saved[i]);
		ck_assert_int_eq(state_load(&in, &pci_function_state_type, pci_function_at(host, devfns[i])), 0);
		assert_saves(&pci_function_state_type, pci_function_at(host, devfns[i]), &saved[i]);
	}
	ck_assert(pam[0] == 0x30 && pam[1] == 0x21 && pam[2] == 0x12 && !pam[3]);
	ck_assert_uint_eq(port_in(8, 0x60, 4), 0x80800580);
	ck_assert_uint_eq(port_in(11, PCI_INTERRUPT_LINE, 1), 9);
	/* Nothing else can be another, nor is one the other. */
	in = state_reader_of(&saved[1]);
	ck_assert_int_eq(state_load(&in, &pci_function_state_type, pci_function_at(host, 0)), -ENODEV);
	ck_assert_int_eq(state_try_field(&pci_function_state_type, pci_function_at(host, 0), "config", 0x59, 0x01, &in), -ENODEV);
	ck_assert_int_eq(state_try_field(&pci_function_state_type, pci_function_at(host, 0), "config", 0x59, 0x10, &in), 0);
	for (unsigned i = 0; i < 3; i++)
		state_buf_free(&saved[i]);
	free_host();
}
END_TEST

UNIT_MAIN("pci-i440fx", test_registers, test_no_pam, test_no_ecam, test_piix, test_places, test_read_only, test_restored)
