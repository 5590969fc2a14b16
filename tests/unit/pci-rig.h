/* What the unit tests of PCI share: two buses, a host bridge on a fake machine, accesses to it. */
#ifndef TESTS_PCI_RIG_H
#define TESTS_PCI_RIG_H

#include "fake-board.h"
#include "lkvm/access.h"
#include "lkvm/pci.h"
#include "lkvm/x86/layout.h"
#include "unit.h"

#define RIG_RAM_BYTES 0x10000000
#define RIG_BAR_TYPE  0x4 /* in the low bits of BAR 0: memory, 64 bits */

static struct bus pio, mmio;
static struct fake_board fake;
static struct pci_host *host;

static inline void new_host(void)
{
	struct board board = fake_board_init(&fake);

	bus_init(&pio);
	bus_init(&mmio);
	ck_assert_int_eq(pci_host_new(&pio, &mmio, &board, &host), 0);
	pci_host_reserve(host, 0, RIG_RAM_BYTES);
	pci_host_reserve(host, LAYOUT_CHIPS, LAYOUT_CHIPS_END - LAYOUT_CHIPS);
}

static inline void free_host(void)
{
	pci_host_free(host);
	ck_assert_uint_eq(pio.n, 0);
	ck_assert_uint_eq(mmio.n, 0);
	ck_assert_uint_eq(fake.n_routes, 0);
	ck_assert_uint_eq(fake.n_irqfds, 0);
	ck_assert_uint_eq(fake.n_events, 0);
	bus_fini(&pio);
	bus_fini(&mmio);
}

/* A read must fill all of its bytes and no others. */
static inline uint64_t bus_in(struct bus *bus, uint64_t addr, unsigned len)
{
	uint8_t buf[16];

	memset(buf, 0x5a, sizeof(buf));
	bus_rw(bus, addr, buf, len, false);
	for (size_t i = len; i < sizeof(buf); i++)
		ck_assert_uint_eq(buf[i], 0x5a);
	return access_get(buf, 8) & (UINT64_MAX >> (64 - 8 * len));
}

static inline void bus_out(struct bus *bus, uint64_t addr, uint64_t value, unsigned len)
{
	uint8_t buf[8];

	access_put(buf, len, value);
	bus_rw(bus, addr, buf, len, true);
}

static inline uint64_t ecam(unsigned devfn, unsigned reg)
{
	return LAYOUT_ECAM + ((uint64_t)devfn << 12) + reg;
}

static inline uint32_t config_in(unsigned devfn, unsigned reg, unsigned len)
{
	return (uint32_t)bus_in(&mmio, ecam(devfn, reg), len);
}

static inline void config_out(unsigned devfn, unsigned reg, uint32_t value, unsigned len)
{
	bus_out(&mmio, ecam(devfn, reg), value, len);
}

#endif
