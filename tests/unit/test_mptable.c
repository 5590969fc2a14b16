/* Links: x86/tables/mptable.o x86/tables/aml.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <errno.h>
#include <string.h>

#include "hardware-rig.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/layout.h"
#include "ram-base.h"
#include "unit.h"

#define AT       0xe1000
#define FLOATING 0x9fc10

static struct ram *ram;
static gpa_t end;
static unsigned which;

static int build_in(uint64_t ram_bytes, unsigned cpus, uint64_t at)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct hardware hw = rig_hardware(cpus, which);

	ck_assert_int_eq(ram_new(ram_bytes, &backing, &ram), 0);
	memset(ram_base(ram), 0xa5, ram_bytes);
	end = GPA(7);
	return mptable_build(ram, &hw, GPA(at), &end);
}

static uint64_t get(uint64_t at, unsigned n)
{
	uint64_t v = 0;

	ck_assert_int_eq(ram_read(ram, GPA(at), &v, n), 0);
	return v;
}

static unsigned sum(uint64_t at, uint64_t n)
{
	unsigned s = 0;

	for (uint64_t i = 0; i < n; i++)
		s += (unsigned)get(at + i, 1);
	return s & 0xff;
}

static bool is(uint64_t at, const char *text)
{
	return !memcmp(ram_base(ram) + at, text, strlen(text));
}

/* A kernel reads the segment of the EBDA and looks at each 16 bytes of its first KB. */
START_TEST(test_floating_pointer)
{
	uint64_t ebda, at;

	ck_assert_int_eq(build_in(2 * MIB, 2, AT), 0);
	ebda = get(0x40e, 2) << 4;
	ck_assert_uint_eq(ebda, 0x9fc00);
	ck_assert_uint_eq(get(0x413, 2), 639); /* KB of RAM below it */
	ck_assert_uint_eq(get(ebda, 1), 1);    /* KB in it */
	for (at = ebda; at < ebda + 1024 && !is(at, "_MP_"); at += 16)
		;
	ck_assert_uint_eq(at, FLOATING);
	ck_assert_uint_eq(get(at + 4, 4), AT);
	ck_assert_uint_eq(get(at + 8, 1), 1); /* 16 bytes */
	ck_assert_uint_eq(get(at + 9, 1), 4); /* MP 1.4 */
	ck_assert_uint_eq(get(at + 11, 5), 0);
	ck_assert_uint_eq(sum(at, 16), 0);
	/* Neighbours are left alone. */
	ck_assert_uint_eq(get(0x40d, 1), 0xa5);
	ck_assert_uint_eq(get(0x410, 1), 0xa5);
	ck_assert_uint_eq(get(0x412, 1), 0xa5);
	ck_assert_uint_eq(get(0x415, 1), 0xa5);
	ck_assert_uint_eq(get(at - 1, 1), 0xa5);
	ck_assert_uint_eq(get(at + 16, 1), 0xa5);
}
END_TEST

/* 44 of header, 20 a CPU, 8 for each of bus, IOAPIC, 15 interrupts and 2 local ones */
#define TABLE_BYTES(cpus) (44 + 20 * (cpus) + 8 * (1 + 1 + 15 + 2))

START_TEST(test_header)
{
	ck_assert_int_eq(build_in(2 * MIB, 2, AT), 0);
	ck_assert(is(AT, "PCMP"));
	ck_assert_uint_eq(get(AT + 4, 2), TABLE_BYTES(2));
	ck_assert_uint_eq(get(AT + 6, 1), 4);
	ck_assert(is(AT + 8, "LKVM    LKVM        "));
	ck_assert_uint_eq(get(AT + 28, 6), 0); /* no OEM table */
	ck_assert_uint_eq(get(AT + 34, 2), 2 + 1 + 1 + 15 + 2);
	ck_assert_uint_eq(get(AT + 36, 4), 0xfee00000);
	ck_assert_uint_eq(get(AT + 40, 4), 0); /* no extended table */
	ck_assert_uint_eq(sum(AT, TABLE_BYTES(2)), 0);
	ck_assert_uint_eq(end.v, AT + TABLE_BYTES(2));
	ck_assert_uint_eq(get(end.v, 1), 0xa5);
}
END_TEST

START_TEST(test_entries)
{
	/* clang-format off */
	static const uint8_t want[] = {
		0, 0, 0x14, 3, 0x00, 0x06, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* boot CPU */
		0, 1, 0x14, 1, 0x00, 0x06, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 1, 'I', 'S', 'A', ' ', ' ', ' ',
		2, 0, 0x11, 1, 0x00, 0x00, 0xc0, 0xfe,
		3, 0, 0x00, 0, 1, 0, 0, 0,	/* the timer: pin 0 in KVM's routing */
		3, 0, 0x00, 0, 1, 1, 0, 1,
		3, 0, 0x00, 0, 1, 3, 0, 3,	/* 2 is the second PIC */
		3, 0, 0x00, 0, 1, 4, 0, 4,
		3, 0, 0x00, 0, 1, 5, 0, 5,
		3, 0, 0x00, 0, 1, 6, 0, 6,
		3, 0, 0x00, 0, 1, 7, 0, 7,
		3, 0, 0x00, 0, 1, 8, 0, 8,
		3, 0, 0x0d, 0, 1, 9, 0, 9,	/* SCI: active high, level */
		3, 0, 0x00, 0, 1, 10, 0, 10,
		3, 0, 0x00, 0, 1, 11, 0, 11,
		3, 0, 0x00, 0, 1, 12, 0, 12,
		3, 0, 0x00, 0, 1, 13, 0, 13,
		3, 0, 0x00, 0, 1, 14, 0, 14,
		3, 0, 0x00, 0, 1, 15, 0, 15,
		4, 3, 0x00, 0, 0, 0, 0, 0,	/* PIC: LINT0 of the boot CPU */
		4, 1, 0x00, 0, 0, 0, 0xff, 1,	/* NMI: every LINT1 */
	};
	/* clang-format on */

	ck_assert_int_eq(build_in(2 * MIB, 2, AT), 0);
	ck_assert_mem_eq(ram_base(ram) + AT + 44, want, sizeof(want));
}
END_TEST

/* Its bus number is the bus' id, so that kernels find the interrupts. */
START_TEST(test_pci)
{
	const uint64_t buses = AT + 44 + 20, interrupts = buses + 16 + 8 + 15 * 8;
	static const uint8_t bus[] = { 1, 0, 'P', 'C', 'I', ' ', ' ', ' ' };

	which = RIG_PCI;
	ck_assert_int_eq(build_in(2 * MIB, 1, AT), 0);
	ck_assert_uint_eq(get(AT + 34, 2), 1 + 2 + 1 + 15 + 32 + 2);
	ck_assert_uint_eq(get(AT + 4, 2), TABLE_BYTES(1) + 33 * 8);
	ck_assert_uint_eq(sum(AT, get(AT + 4, 2)), 0);
	ck_assert_mem_eq(ram_base(ram) + buses, bus, sizeof(bus));
	for (unsigned i = 0; i < 32; i++) {
		const uint8_t want[] = { 3, 0, 0x0d, 0, 0, (uint8_t)(i << 2), 0,
					 (uint8_t)(16 + i % 8) };

		ck_assert_mem_eq(ram_base(ram) + interrupts + 8 * i, want, sizeof(want));
	}
	ck_assert_uint_eq(get(interrupts + 32 * 8, 2), 0x0304);
}
END_TEST

START_TEST(test_most_cpus)
{
	ck_assert_int_eq(build_in(2 * MIB, 300, AT), 0); /* no more have an id that fits */
	ck_assert_uint_eq(get(AT + 4, 2), TABLE_BYTES(255));
	ck_assert_uint_eq(get(AT + 34, 2), 255 + 19);
	ck_assert_uint_eq(sum(AT, TABLE_BYTES(255)), 0);
	for (unsigned i = 0; i < 255; i++)
		ck_assert_uint_eq(get(AT + 44 + 20 * i + 1, 1), i);
}
END_TEST

/* One processor's table is 216 bytes. */
START_TEST(test_place)
{
	static const struct {
		uint64_t ram_bytes, at;
		int want;
		uint64_t end;
	} table[] = {
		{ 2 * MIB, 0xe0001, 0, 0xe0010 + 216 }, /* rounded up */
		{ 2 * MIB, 0xeff20, 0, 0xefff8 },       /* the last place where it fits */
		{ 2 * MIB, 0xeff21, -ENOSPC, 7 },
		{ 2 * MIB, 0xefff1, -ENOSPC, 7 }, /* rounds to the very end */
		{ 2 * MIB, 0xf0000, -ENOSPC, 7 },
		{ 2 * MIB, UINT64_MAX, -ENOSPC, 7 }, /* would round up to 0 */
		{ 0xef000, 0xe0000, -EFAULT, 7 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_int_eq(build_in(table[i].ram_bytes, 1, table[i].at), table[i].want);
		ck_assert_uint_eq(end.v, table[i].end);
		if (table[i].want)
			ck_assert(!is(FLOATING, "_MP_"));
		ram_free(ram);
	}
}
END_TEST

UNIT_MAIN("mptable", test_floating_pointer, test_header, test_entries, test_pci, test_most_cpus,
	  test_place)
