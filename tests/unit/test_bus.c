/* Links: hw/bus.o */
#include "lkvm/bus.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

/* A device that remembers the last access and reads back a pattern. */
struct probe {
	uint64_t off;
	unsigned len, reads, writes;
	uint64_t data;
};

static uint64_t probe_read(void *dev, uint64_t off, unsigned len)
{
	struct probe *p = dev;

	*p = (struct probe){ off, len, p->reads + 1, p->writes, 0 };
	return 0x5a5a5a5a5a5a5a5a;
}

static void probe_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct probe *p = dev;

	*p = (struct probe){ off, len, p->reads, p->writes + 1, value };
}

static const struct bus_ops probe_ops = { probe_read, probe_write };
static struct bus bus;

static int add(uint64_t base, uint64_t size, struct probe *p)
{
	struct bus_range r = { base, size, 0, &probe_ops, p, "probe", 0 };

	return bus_add(&bus, &r);
}

START_TEST(test_add_refuses)
{
	struct probe p = { 0 };

	bus_init(&bus);
	ck_assert_int_eq(add(0x100, 0x10, &p), 0);
	ck_assert_int_eq(add(0x200, 0, &p), -EINVAL);
	ck_assert_int_eq(add(UINT64_MAX, 2, &p), -EINVAL);
	ck_assert_int_eq(add(UINT64_MAX, 1, &p), 0);
	ck_assert_int_eq(add(0x10f, 1, &p), -EEXIST);
	ck_assert_int_eq(add(0xf8, 9, &p), -EEXIST);
	ck_assert_int_eq(add(0, UINT64_MAX, &p), -EEXIST);
	ck_assert_int_eq(add(0x104, 2, &p), -EEXIST);
	ck_assert_int_eq(add(0xf8, 8, &p), 0);
	ck_assert_int_eq(add(0x110, 8, &p), 0);
	ck_assert_uint_eq(bus.n, 4);
	bus_fini(&bus);
}
END_TEST

/* Room for ranges comes with the first: until then nobody answers. */
START_TEST(test_without_ranges)
{
	struct bus_range r;
	uint8_t v = 0;

	bus_init(&bus);
	ck_assert_int_eq(bus_rw(&bus, 0, &v, 1, false), -ENODEV);
	ck_assert_uint_eq(v, 0xff);
	ck_assert_int_eq(bus_remove(&bus, 0), -ENOENT);
	ck_assert_uint_eq(bus_list(&bus, &r, 1), 0);
	ck_assert_ptr_null(bus_name(&bus, 0));
	bus_fini(&bus);
}
END_TEST

START_TEST(test_add_is_bounded)
{
	struct probe p = { 0 };

	bus_init(&bus);
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++)
		ck_assert_int_eq(add(i * 16, 16, &p), 0);
	ck_assert_int_eq(add(BUS_MAX_RANGES * 16, 16, &p), -ENOSPC);
	ck_assert_int_eq(bus_remove(&bus, 16), 0);
	ck_assert_int_eq(add(BUS_MAX_RANGES * 16, 16, &p), 0);
	bus_fini(&bus);
}
END_TEST

START_TEST(test_access_finds_its_range)
{
	struct probe a = { 0 }, b = { 0 };
	struct bus_range second = { 0x300, 4, 0x10, &probe_ops, &a, "a, second", 0 };
	uint32_t v = 0xdeadbeef;

	bus_init(&bus);
	ck_assert_int_eq(add(0x100, 0x10, &a), 0);
	ck_assert_int_eq(add(0x110, 0x10, &b), 0);
	ck_assert_int_eq(bus_add(&bus, &second), 0);

	ck_assert_int_eq(bus_rw(&bus, 0x10c, &v, 4, true), 0);
	ck_assert_uint_eq(a.off, 0xc);
	ck_assert_uint_eq(a.len, 4);
	ck_assert_uint_eq(a.data, 0xdeadbeef);
	ck_assert_int_eq(bus_rw(&bus, 0x110, &v, 1, false), 0);
	ck_assert_uint_eq(v, 0xdeadbe5a);
	ck_assert_uint_eq(b.reads, 1);
	ck_assert_int_eq(bus_rw(&bus, 0x301, &v, 1, false), 0);
	ck_assert_uint_eq(a.off, 0x11);
	bus_fini(&bus);
}
END_TEST

/* A device sees nothing beyond the access, and a guest nothing of what a device says beyond it. */
START_TEST(test_widths)
{
	struct probe p = { 0 };
	uint64_t v, mask;

	bus_init(&bus);
	ck_assert_int_eq(add(0x100, 0x10, &p), 0);
	for (unsigned len = 1; len <= 8; len *= 2) {
		mask = UINT64_MAX >> (64 - 8 * len);
		v = 0x8877665544332211;
		ck_assert_int_eq(bus_rw(&bus, 0x100, &v, len, true), 0);
		ck_assert_uint_eq(p.data, v & mask);
		ck_assert_int_eq(bus_rw(&bus, 0x100, &v, len, false), 0);
		ck_assert_uint_eq(v, (0x8877665544332211 & ~mask) | (0x5a5a5a5a5a5a5a5a & mask));
	}
	bus_fini(&bus);
}
END_TEST

START_TEST(test_unclaimed_reads_ones)
{
	struct probe a = { 0 };
	uint64_t v;

	bus_init(&bus);
	ck_assert_int_eq(add(0x100, 0x10, &a), 0);
	ck_assert_int_eq(add(0x110, 0x10, &a), 0);
	for (unsigned len = 1; len <= 8; len *= 2) {
		v = 0;
		ck_assert_int_eq(bus_rw(&bus, 0x40, &v, len, false), -ENODEV);
		ck_assert_uint_eq(v, UINT64_MAX >> (64 - 8 * len));
	}
	/* Across the end, across the start, and across two ranges of one device. */
	ck_assert_int_eq(bus_rw(&bus, 0x11e, &v, 4, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&bus, 0xfe, &v, 4, true), -ENODEV);
	ck_assert_int_eq(bus_rw(&bus, 0x10e, &v, 4, true), -ENODEV);
	ck_assert_int_eq(bus_rw(&bus, UINT64_MAX - 1, &v, 8, true), -ENODEV);
	ck_assert_uint_eq(a.reads + a.writes, 0);
	bus_fini(&bus);
}
END_TEST

START_TEST(test_last_byte_of_address_space)
{
	struct probe a = { 0 };
	uint8_t v;

	bus_init(&bus);
	ck_assert_int_eq(add(UINT64_MAX - 3, 4, &a), 0);
	ck_assert_int_eq(bus_rw(&bus, UINT64_MAX, &v, 1, false), 0);
	ck_assert_uint_eq(a.off, 3);
	bus_fini(&bus);
}
END_TEST

START_TEST(test_remove_and_list)
{
	struct probe a = { 0 };
	struct bus_range list[4];
	uint8_t v;

	bus_init(&bus);
	ck_assert_int_eq(add(0x200, 1, &a), 0);
	ck_assert_int_eq(add(0x100, 1, &a), 0);
	ck_assert_int_eq(add(0x300, 1, &a), 0);
	ck_assert_uint_eq(bus_list(&bus, list, 4), 3);
	ck_assert_uint_eq(list[0].base, 0x100);
	ck_assert_uint_eq(list[2].base, 0x300);
	ck_assert_uint_eq(bus_list(&bus, list, 2), 2);
	ck_assert_int_eq(bus_remove(&bus, 0x201), -ENOENT);
	ck_assert_int_eq(bus_remove(&bus, 0x200), 0);
	ck_assert_int_eq(bus_remove(&bus, 0x200), -ENOENT);
	ck_assert_int_eq(bus_rw(&bus, 0x200, &v, 1, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&bus, 0x300, &v, 1, false), 0);
	bus_fini(&bus);
}
END_TEST

/* A device moves its own range from within a handler, as a PCI function does with a BAR. */
static void mover_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	(void)off, (void)len, (void)value;
	ck_assert_int_eq(bus_remove(&bus, 0x100), 0);
	ck_assert_int_eq(add(0x400, 0x10, dev), 0);
}

START_TEST(test_move_from_within_a_handler)
{
	static const struct bus_ops ops = { probe_read, mover_write };
	struct probe p = { 0 };
	struct bus_range r = { 0x100, 0x10, 0, &ops, &p, "mover", 0 };
	uint8_t v = 0;

	bus_init(&bus);
	ck_assert_int_eq(bus_add(&bus, &r), 0);
	ck_assert_int_eq(bus_rw(&bus, 0x100, &v, 1, true), 0);
	ck_assert_int_eq(bus_rw(&bus, 0x100, &v, 1, false), -ENODEV);
	ck_assert_int_eq(bus_rw(&bus, 0x400, &v, 1, false), 0);
	bus_fini(&bus);
}
END_TEST

UNIT_MAIN("bus", test_add_refuses, test_without_ranges, test_add_is_bounded, test_access_finds_its_range,
	  test_widths, test_unclaimed_reads_ones, test_last_byte_of_address_space, test_remove_and_list,
	  test_move_from_within_a_handler)
