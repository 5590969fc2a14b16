/* Links: x86/tables/bios.o x86/tables/aml.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <errno.h>
#include <string.h>

#include "hardware-rig.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/layout.h"
#include "ram-base.h"
#include "unit.h"

#define AT 0xe4001 /* begins on the next 16 bytes */

static struct ram *ram;
static uint64_t end;

static void new_ram(uint64_t bytes)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	ck_assert_int_eq(ram_new(bytes, &backing, &ram), 0);
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

static void build(unsigned cpus, uint64_t ram_bytes, const uint8_t *uuid)
{
	const struct smbios_config cfg = { .topology = { 1, 1, cpus, 1 }, .ram_bytes = ram_bytes, .uuid = uuid };
	gpa_t past = GPA(0);

	new_ram(2 * MIB);
	memset(ram_base(ram), 0xa5, 2 * MIB);
	ck_assert_int_eq(smbios_build(ram, &cfg, GPA(AT), &past), 0);
	end = past.v;
}

static uint64_t table(void)
{
	return get(LAYOUT_SMBIOS + 0x18, 4);
}

/* As dmidecode walks it. Return: where the next structure begins */
static uint64_t next(uint64_t at)
{
	uint64_t strings = at + get(at + 1, 1);

	ck_assert_uint_ge(get(at + 1, 1), 4);
	while (get(strings, 2))
		strings++;
	return strings + 2;
}

/* The only one of @type */
static uint64_t find(unsigned type)
{
	uint64_t at = table(), found = 0;

	for (; at < end; at = next(at)) {
		if (get(at, 1) != type)
			continue;
		ck_assert_uint_eq(found, 0);
		found = at;
	}
	ck_assert_uint_eq(at, end);
	ck_assert_uint_ne(found, 0);
	return found;
}

static void check_string(uint64_t structure, unsigned off, const char *want)
{
	uint64_t at = structure + get(structure + 1, 1);
	uint64_t n = get(structure + off, 1);

	ck_assert_uint_ge(n, 1);
	while (--n)
		at += strlen((char *)ram_base(ram) + at) + 1;
	ck_assert_str_eq((char *)ram_base(ram) + at, want);
}

START_TEST(test_entry)
{
	uint64_t n = 0, longest = 0;

	build(1, 256 * MIB, NULL);
	ck_assert_uint_eq(LAYOUT_SMBIOS % 16, 0);
	ck_assert_mem_eq(ram_base(ram) + LAYOUT_SMBIOS, "_SM_", 4);
	ck_assert_uint_eq(get(LAYOUT_SMBIOS + 5, 1), 0x1f);
	ck_assert_uint_eq(get(LAYOUT_SMBIOS + 6, 2), 0x0802);
	ck_assert_uint_eq(sum(LAYOUT_SMBIOS, 0x1f), 0);
	ck_assert_mem_eq(ram_base(ram) + LAYOUT_SMBIOS + 0x10, "_DMI_", 5);
	ck_assert_uint_eq(sum(LAYOUT_SMBIOS + 0x10, 0xf), 0);
	ck_assert_uint_eq(table(), 0xe4010);
	ck_assert_uint_eq(table() + get(LAYOUT_SMBIOS + 0x16, 2), end);
	for (uint64_t at = table(); at < end; at = next(at)) {
		ck_assert_uint_eq(get(at + 2, 2), get(at, 1) << 8); /* unique handles */
		n++;
		if (next(at) - at > longest)
			longest = next(at) - at;
	}
	ck_assert_uint_eq(get(LAYOUT_SMBIOS + 0x1c, 2), n);
	ck_assert_uint_eq(get(LAYOUT_SMBIOS + 0x08, 2), longest);
	ck_assert_uint_eq(next(find(127)), end);
	ck_assert_uint_eq(get(end, 1), 0xa5);
	ram_free(ram);
}
END_TEST

/* The lengths are those of version 2.8, or of the last that changed the structure. */
START_TEST(test_structures)
{
	static const uint8_t lengths[][2] = { { 0, 0x18 },  { 1, 0x1b },  { 2, 0x0f },  { 3, 0x15 },
					      { 4, 0x2a },  { 16, 0x17 }, { 17, 0x28 }, { 127, 4 } };

	build(3, 256 * MIB, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		ck_assert_msg(get(find(lengths[i][0]) + 1, 1) == lengths[i][1], "type %u",
			      lengths[i][0]);
	check_string(find(0), 0x04, "lkvm");
	check_string(find(0), 0x08, "01/01/2026");
	ck_assert_uint_eq(get(find(0) + 0x13, 1), 1 << 4); /* a virtual machine */
	check_string(find(1), 0x04, "lkvm");
	check_string(find(1), 0x05, "KVM virtual machine");
	ck_assert_uint_eq(get(find(2) + 0x0b, 2), 3 << 8);
	check_string(find(3), 0x04, "lkvm");
	for (unsigned off = 0x23; off <= 0x25; off++)
		ck_assert_uint_eq(get(find(4) + off, 1), 3);
	ck_assert_uint_eq(get(find(17) + 0x04, 2), 16 << 8);
	ram_free(ram);
}
END_TEST

START_TEST(test_uuid)
{
	static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
	static const uint8_t none[16];

	build(1, 64 * MIB, uuid);
	ck_assert_mem_eq(ram_base(ram) + find(1) + 8, uuid, 16);
	ram_free(ram);
	build(1, 64 * MIB, NULL);
	ck_assert_mem_eq(ram_base(ram) + find(1) + 8, none, 16); /* "not present" */
	ram_free(ram);
}
END_TEST

START_TEST(test_memory_sizes)
{
	static const struct {
		uint64_t bytes, capacity_kib, capacity, mib, extended_mib;
	} table[] = {
		{ 64 * MIB, 64 * KIB, 0, 64, 0 },
		{ 32766 * MIB, 32766 * KIB, 0, 32766, 0 },
		{ 32767 * MIB, 32767 * KIB, 0, 0x7fff, 32767 },
		{ 2048 * GIB - MIB, (2048 * GIB - MIB) / KIB, 0, 0x7fff, 2048 * KIB - 1 },
		{ 2048 * GIB, 0x80000000, 2048 * GIB, 0x7fff, 2048 * KIB },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		build(255, table[i].bytes, NULL);
		ck_assert_uint_eq(get(find(16) + 0x07, 4), table[i].capacity_kib);
		ck_assert_uint_eq(get(find(16) + 0x0f, 8), table[i].capacity);
		ck_assert_uint_eq(get(find(17) + 0x0c, 2), table[i].mib);
		ck_assert_uint_eq(get(find(17) + 0x1c, 4), table[i].extended_mib);
		ck_assert_uint_eq(get(find(4) + 0x23, 1), 255);
		ram_free(ram);
	}
}
END_TEST

START_TEST(test_no_room)
{
	const struct hardware hw = rig_hardware(1, RIG_ALL);
	const struct smbios_config cfg = { .topology = { 1, 1, 1, 1 }, .ram_bytes = 64 * MIB };
	gpa_t past = GPA(1);

	new_ram(2 * MIB);
	ck_assert_int_eq(smbios_build(ram, &cfg, GPA(LAYOUT_BIOS_END), &past), -ENOSPC);
	ck_assert_int_eq(smbios_build(ram, &cfg, GPA(LAYOUT_BIOS_END - 256), &past), -ENOSPC);
	ck_assert_uint_eq(past.v, 1);
	ck_assert_uint_eq(get(LAYOUT_BIOS_END, 8), 0);
	ram_free(ram);
	new_ram(LAYOUT_BIOS);
	ck_assert_int_eq(smbios_build(ram, &cfg, GPA(LAYOUT_BIOS), &past), -EFAULT);
	ck_assert_int_eq(reset_vector_build(ram, &hw), -EFAULT);
	ram_free(ram);
}
END_TEST

START_TEST(test_reset_vector)
{
	const struct hardware hw = rig_hardware(1, RIG_ALL);
	static const uint8_t code[] = { 0xba, 0x0c, 0x06, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd };

	new_ram(2 * MIB);
	ck_assert_int_eq(reset_vector_build(ram, &hw), 0);
	ck_assert_mem_eq(ram_base(ram) + 0xffff0, code, sizeof(code));
	ram_free(ram);
}
END_TEST

UNIT_MAIN("bios", test_entry, test_structures, test_uuid, test_memory_sizes, test_no_room,
	  test_reset_vector)
