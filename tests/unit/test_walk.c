/* Links: x86/cpu/walk.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <string.h>

#include "lkvm/x86/cpu.h"
#include "ram-base.h"
#include "unit.h"

#define PG   0x80000000
#define PSE  0x10
#define PAE  0x20
#define LA57 0x1000
#define LMA  0x400
#define NXE  0x800

static struct ram *ram;
static struct kvm_sregs sregs;
static struct walk walk;

static void start(uint64_t cr4, uint64_t efer)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	if (!ram)
		ck_assert_int_eq(ram_new(2 * MIB, &backing, &ram), 0);
	memset(ram_base(ram), 0, 2 * MIB);
	sregs = (struct kvm_sregs){ .cr0 = PG | 1, .cr3 = 0x1000, .cr4 = cr4, .efer = efer };
}

static void put32(uint64_t at, uint32_t v)
{
	ck_assert_int_eq(ram_write(ram, GPA(at), &v, sizeof(v)), 0);
}

static void put64(uint64_t at, uint64_t v)
{
	ck_assert_int_eq(ram_write(ram, GPA(at), &v, sizeof(v)), 0);
}

static void go(uint64_t virt)
{
	memset(&walk, 0xa5, sizeof(walk));
	walk_page_tables(ram, &sregs, virt, &walk);
	ck_assert_int_eq(walk.mapped, walk.why == NULL);
}

static void check_mapped(uint64_t virt, uint64_t gpa, uint64_t page_bytes, unsigned n)
{
	go(virt);
	ck_assert_msg(walk.mapped, "%#llx: %s", (unsigned long long)virt, walk.why);
	ck_assert_uint_eq(walk.gpa.v, gpa);
	ck_assert_uint_eq(walk.page_bytes, page_bytes);
	ck_assert_uint_eq(walk.n, n);
}

static void check_not(uint64_t virt, const char *why, unsigned n)
{
	go(virt);
	ck_assert_pstr_eq(walk.why, why);
	ck_assert_uint_eq(walk.n, n);
}

static void check_step(unsigned i, const char *level, uint64_t at, uint64_t entry)
{
	ck_assert_str_eq(walk.step[i].level, level);
	ck_assert_uint_eq(walk.step[i].at.v, at);
	ck_assert_uint_eq(walk.step[i].entry, entry);
}

START_TEST(test_off)
{
	start(PAE, 0);
	sregs.cr0 = 1;
	check_mapped(0x1234567, 0x1234567, 1ULL << 32, 0);
	check_mapped(0xfffffffff, 0xffffffff, 1ULL << 32, 0); /* 32 bits */
}
END_TEST

START_TEST(test_32_bit)
{
	start(0, 0);
	sregs.cr3 = 0x1fff; /* flags in it */
	put32(0x1000 + 4 * 0x3ff, 0x2067);
	put32(0x2000 + 4 * 0x345, 0xabcde063);
	check_mapped(0xfff45678, 0xabcde678, 4096, 2);
	check_step(0, "PDE", 0x1ffc, 0x2067);
	check_step(1, "PTE", 0x2d14, 0xabcde063);
	check_mapped(0x1fff45678, 0xabcde678, 4096, 2); /* 32 bits of address */
	check_not(0, "not present", 1);
	check_not(0xffc00000, "not present", 2);
	put32(0x1000, 0x20e7); /* the large bit means nothing without CR4.PSE */
	put32(0x2000, 0x7001);
	check_mapped(0x5, 0x7005, 4096, 2);
}
END_TEST

START_TEST(test_32_bit_large)
{
	start(PSE, 0);
	put32(0x1004, 0xffc000e7);
	check_mapped(0x7fffff, 0xffffffff, 4 * MIB, 1);
	put32(0x1004, 0x001fe0e7 | 0x00c00000); /* PSE-36: bits 20 to 13 are 39 to 32 */
	check_mapped(0x400123, 0xff00c00123, 4 * MIB, 1);
	put32(0x1004, 0x002000e7);
	check_not(0x400123, "reserved bit set", 1);
	put32(0x1004, 0x2067);
	put32(0x2000, 0x30e7); /* in a PTE bit 7 is PAT, and 21 is address */
	check_mapped(0x400123, 0x3123, 4096, 2);
}
END_TEST

START_TEST(test_pae)
{
	start(PAE | PSE, NXE);
	sregs.cr3 = 0x1020; /* 32-byte alignment */
	put64(0x1020 + 8 * 3, 0x2001);
	put64(0x2000 + 8 * 0x1ff, 0x3067);
	put64(0x3000 + 8 * 0x045, 0x8000000123456063);
	check_mapped(0xffe45678, 0x123456678, 4096, 3);
	check_step(0, "PDPTE", 0x1038, 0x2001);
	check_step(1, "PDE", 0x2ff8, 0x3067);
	check_step(2, "PTE", 0x3228, 0x8000000123456063);
	put64(0x2000, 0x4000000e7);
	check_mapped(0xc01fffff, 0x4001fffff, 2 * MIB, 2);
	put64(0x2000, 0x4000020e7);
	check_not(0xc01fffff, "reserved bit set", 2);
	check_not(0x40000000, "not present", 1);
}
END_TEST

START_TEST(test_pae_reserved_bits)
{
	static const struct {
		uint64_t at, flag;
		unsigned n;
	} bad[] = {
		{ 0x1000, 1ULL << 1, 1 },  { 0x1000, 1ULL << 2, 1 },  { 0x1000, 1ULL << 5, 1 },
		{ 0x1000, 1ULL << 8, 1 },  { 0x1000, 1ULL << 52, 1 }, { 0x1000, 1ULL << 63, 1 },
		{ 0x2000, 1ULL << 52, 2 }, { 0x2000, 1ULL << 62, 2 }, { 0x3000, 1ULL << 52, 3 },
		{ 0x3000, 1ULL << 62, 3 },
	};
	uint64_t entry;

	start(PAE, NXE);
	put64(0x1000, 0x2001);
	put64(0x2000, 0x3001);
	put64(0x3000, 0x4001);
	check_mapped(0, 0x4000, 4096, 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(ram_read(ram, GPA(bad[i].at), &entry, 8), 0);
		put64(bad[i].at, entry | bad[i].flag);
		check_not(0, "reserved bit set", bad[i].n);
		put64(bad[i].at, entry);
	}
	put64(0x3000, 0x8000000000004001);
	check_mapped(0, 0x4000, 4096, 3);
	sregs.efer = 0; /* without EFER.NXE bit 63 is reserved */
	check_not(0, "reserved bit set", 3);
}
END_TEST

/* 0xffffffff81234567: indexes 511, 510, 9, 0x34 */
START_TEST(test_4_level)
{
	start(PAE, LMA | NXE);
	sregs.cr3 = 0x8000000000001fff; /* flags: PCID, no flush */
	put64(0x1000 + 8 * 511, 0x2067);
	put64(0x2000 + 8 * 510, 0x3067);
	put64(0x3000 + 8 * 9, 0x4067);
	put64(0x4000 + 8 * 0x34, 0xfff0000001234063); /* software bits and a protection key */
	check_mapped(0xffffffff81234567, 0x1234567, 4096, 4);
	check_step(0, "PML4E", 0x1ff8, 0x2067);
	check_step(1, "PDPTE", 0x2ff0, 0x3067);
	check_step(2, "PDE", 0x3048, 0x4067);
	check_step(3, "PTE", 0x41a0, 0xfff0000001234063);
	put64(0x3000 + 8 * 9, 0xf0000012000e3);
	check_mapped(0xffffffff81234567, 0xf000001234567, 2 * MIB, 3);
	put64(0x2000 + 8 * 510, 0x400000e3);
	check_mapped(0xffffffff81234567, 0x41234567, GIB, 2);
	put64(0x2000 + 8 * 510, 0x400000e3 | 1 << 13);
	check_not(0xffffffff81234567, "reserved bit set", 2);
	put64(0x2000 + 8 * 510, 0x400000e3 | 1 << 29);
	check_not(0xffffffff81234567, "reserved bit set", 2);
	put64(0x2000 + 8 * 510, 0x3067);
	put64(0x3000 + 8 * 9, 0x12000e3 | 1 << 20);
	check_not(0xffffffff81234567, "reserved bit set", 3);
	put64(0x1000 + 8 * 511, 0x20e7);
	check_not(0xffffffff81234567, "reserved bit set", 1);
}
END_TEST

START_TEST(test_5_level)
{
	start(PAE | LA57, LMA);
	put64(0x1000 + 8 * 256, 0x2001);
	put64(0x2000 + 8 * 1, 0x3001);
	put64(0x3000 + 8 * 2, 0x4001);
	put64(0x4000 + 8 * 3, 0x5001);
	put64(0x5000 + 8 * 4, 0x6001);
	check_mapped(0xff00008080604abc, 0x6abc, 4096, 5);
	check_step(0, "PML5E", 0x1800, 0x2001);
	check_step(1, "PML4E", 0x2008, 0x3001);
	check_step(2, "PDPTE", 0x3010, 0x4001);
	check_step(3, "PDE", 0x4018, 0x5001);
	check_step(4, "PTE", 0x5020, 0x6001);
	put64(0x5020, 0x8000000000006001);
	check_not(0xff00008080604abc, "reserved bit set", 5);
	put64(0x1800, 0x2081);
	check_not(0xff00008080604abc, "reserved bit set", 1);
}
END_TEST

START_TEST(test_canonical)
{
	static const uint64_t odd_4[] = { 0x0000800000000000, 0xffff7fffffffffff,
					  0x8000000000000000 };
	static const uint64_t odd_5[] = { 0x0100000000000000, 0xfeffffffffffffff };

	start(PAE, LMA);
	for (size_t i = 0; i < ARRAY_SIZE(odd_4); i++)
		check_not(odd_4[i], "not canonical", 0);
	check_not(0x00007fffffffffff, "not present", 1);
	check_not(0xffff800000000000, "not present", 1);
	sregs.cr4 |= LA57;
	for (size_t i = 0; i < ARRAY_SIZE(odd_5); i++)
		check_not(odd_5[i], "not canonical", 0);
	check_not(0x00ffffffffffffff, "not present", 1);
	check_not(0xff00000000000000, "not present", 1);
}
END_TEST

START_TEST(test_tables_that_are_not_there)
{
	start(PAE, LMA | NXE);
	sregs.cr3 = 2 * MIB - 4096; /* the last page */
	put64(2 * MIB - 8, 0x2001);
	check_not(0xffff800000000000 | 511ULL << 39, "not present", 2);
	sregs.cr3 = 2 * MIB;
	check_not(0, "table not in RAM", 0);
	ck_assert_str_eq(walk.step[0].level, "PML4E");
	ck_assert_uint_eq(walk.step[0].at.v, 2 * MIB);
	sregs.cr3 = ~0ULL;
	check_not(~0ULL, "table not in RAM", 0);
	ck_assert_uint_eq(walk.step[0].at.v, 0xffffffffffff8);
	sregs.cr3 = 0x1000;
	put64(0x1000, 0xd0000001); /* the gap */
	check_not(8ULL << 30, "table not in RAM", 1);
	check_step(0, "PML4E", 0x1000, 0xd0000001);
	check_step(1, "PDPTE", 0xd0000040, 0);
	put64(0x1000, 0x1001); /* a table that is its own lower ones */
	check_mapped(0, 0x1000, 4096, 4);
}
END_TEST

/* Two small pages that are not beside each other, then none; and one whose page is no RAM */
START_TEST(test_copy)
{
	const uint64_t virt = 5ULL << 12;
	uint8_t in[2 * 4096], out[3 * 4096];

	start(PAE, LMA | NXE);
	put64(0x1000, 0x2001);
	put64(0x2000, 0x3001);
	put64(0x3000, 0x4001);
	put64(0x4000 + 8 * 5, 0x9001);
	put64(0x4000 + 8 * 6, 0x7001);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(ram_base(ram) + 0x9000, in, 4096);
	memcpy(ram_base(ram) + 0x7000, in + 4096, 4096);
	memset(out, 0, sizeof(out));
	ck_assert_uint_eq(walk_read(ram, &sregs, virt + 1, out, sizeof(out)), sizeof(in) - 1);
	ck_assert_mem_eq(out, in + 1, sizeof(in) - 1);
	ck_assert_uint_eq(walk_read(ram, &sregs, virt + 4095, out, 2), 2);
	ck_assert_mem_eq(out, in + 4095, 2);
	ck_assert_uint_eq(walk_read(ram, &sregs, virt - 1, out, 2), 0);
	put64(0x4000 + 8 * 6, 0xd0000001);
	ck_assert_uint_eq(walk_read(ram, &sregs, virt, out, sizeof(in)), 4096);
	ck_assert_uint_eq(walk_read(ram, &sregs, 0xfffffffffffffff8, out, 16), 0);
}
END_TEST

/* A large page begins in RAM and ends behind it. */
START_TEST(test_copy_at_the_end)
{
	uint8_t out[8192];

	start(PSE, 0);
	put32(0x1000, 0x83);
	ck_assert_uint_eq(walk_read(ram, &sregs, 2 * MIB - 4096 - 16, out, sizeof(out)), 4096 + 16);
}
END_TEST

UNIT_MAIN("walk", test_off, test_32_bit, test_32_bit_large, test_pae, test_pae_reserved_bits,
	  test_4_level, test_5_level, test_canonical, test_tables_that_are_not_there,
	  test_copy, test_copy_at_the_end)
