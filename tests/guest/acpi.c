/*
 * The tables in [0xe0000, 0x100000) that describe cpus=N processors: ACPI's, found by their root
 * pointer, and the MP table, found by its floating pointer. Every length and checksum is verified.
 */
#include "multiboot.h"

#define ROM_START 0xe0000
#define ROM_END   0x100000
#define EBDA      0x9fc00
#define EBDA_END  0xa0000

#define SIG(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static uint8_t sum(uint64_t at, uint32_t len)
{
	uint8_t total = 0;

	for (uint32_t i = 0; i < len; i++)
		total = (uint8_t)(total + *mem8(at + i));
	return total;
}

/* Address of the structure whose first four bytes are @signature, 0 if there is none. */
static uint64_t scan(uint64_t from, uint64_t to, uint32_t signature, uint32_t len)
{
	for (uint64_t at = from; at < to; at += 16)
		if (*mem32(at) == signature && !sum(at, len))
			return at;
	return 0;
}

static void table_ok(uint64_t at, uint32_t signature)
{
	CHECK_EQ(*mem32(at), signature);
	CHECK(*mem32(at + 4) >= 36 && *mem32(at + 4) < 0x20000);
	CHECK_EQ(sum(at, *mem32(at + 4)), 0);
}

/* The generation ID: the second term of its device's address is 0, and there is something. */
static void generation(uint64_t dsdt)
{
	const uint64_t end = dsdt + *mem32(dsdt + 4) - 14;
	uint64_t at = dsdt;

	while (at < end && *mem32(at) != SIG('A', 'D', 'D', 'R'))
		at++;
	CHECK(at < end);
	CHECK_EQ(*mem32(at + 4), 0x0c020812); /* Package () { dword, */
	CHECK_EQ(*mem32(at + 8), VMGENID);
	CHECK_EQ(*mem8(at + 12), 0);
	CHECK(*mem64(VMGENID) + 1 > 1 && *mem64(VMGENID + 8) + 1 > 1);
}

static void fadt(uint64_t at)
{
	uint64_t facs = *mem64(at + 132) ? *mem64(at + 132) : *mem32(at + 36);
	uint64_t dsdt = *mem64(at + 140) ? *mem64(at + 140) : *mem32(at + 40);

	table_ok(at, SIG('F', 'A', 'C', 'P'));
	CHECK_EQ(*mem16(at + 46), 9);             /* SCI_INT */
	CHECK_EQ(*mem32(at + 64), PORT_PM1_CNT);  /* PM1a_CNT_BLK */
	CHECK(*mem32(at + 112) & 1 << 10);        /* RESET_REG_SUP */
	CHECK_EQ(*mem8(at + 116), 1);             /* RESET_REG in I/O space */
	CHECK_EQ(*mem64(at + 120), PORT_ACPI_RESET);
	CHECK_EQ(*mem8(at + 128), RESET_ACPI);
	table_ok(dsdt, SIG('D', 'S', 'D', 'T'));
	generation(dsdt);
	if (facs) {
		CHECK_EQ(*mem32(facs), SIG('F', 'A', 'C', 'S'));
		CHECK_EQ(facs & 63, 0);
	}
}

static void madt(uint64_t at, uint64_t cpus)
{
	uint64_t end = at + *mem32(at + 4), n_cpus = 0, n_ioapics = 0;

	table_ok(at, SIG('A', 'P', 'I', 'C'));
	CHECK_EQ(*mem32(at + 36), LAPIC);
	for (uint64_t e = at + 44; e < end; e += *mem8(e + 1)) {
		CHECK(*mem8(e + 1) >= 2 && e + *mem8(e + 1) <= end);
		if (*mem8(e) == 0) {
			CHECK_EQ(*mem8(e + 3), n_cpus); /* APIC ids in order */
			CHECK(*mem32(e + 4) & 1);
			n_cpus++;
		} else if (*mem8(e) == 1) {
			CHECK_EQ(*mem32(e + 4), 0xfec00000);
			n_ioapics++;
		}
	}
	CHECK_EQ(n_cpus, cpus);
	CHECK_EQ(n_ioapics, 1);
}

static void acpi(uint64_t cpus)
{
	uint64_t rsdp = scan(ROM_START, ROM_END, SIG('R', 'S', 'D', ' '), 20), xsdt;
	unsigned found = 0;

	CHECK(rsdp != 0);
	CHECK_EQ(*mem32(rsdp + 4), SIG('P', 'T', 'R', ' '));
	CHECK(*mem8(rsdp + 15) >= 2);
	CHECK_EQ(sum(rsdp, 36), 0);
	xsdt = *mem64(rsdp + 24);
	table_ok(xsdt, SIG('X', 'S', 'D', 'T'));
	for (uint64_t at = xsdt + 36; at < xsdt + *mem32(xsdt + 4); at += 8) {
		uint64_t table = *mem64(at);

		if (*mem32(table) == SIG('F', 'A', 'C', 'P')) {
			fadt(table);
			found |= 1;
		} else if (*mem32(table) == SIG('A', 'P', 'I', 'C')) {
			madt(table, cpus);
			found |= 2;
		} else {
			table_ok(table, *mem32(table));
		}
	}
	CHECK_EQ(found, 3);
}

static void mp_table(uint64_t cpus)
{
	static const uint8_t entry_bytes[] = { 20, 8, 8, 8, 8 };
	uint64_t pointer = scan(EBDA, EBDA_END, SIG('_', 'M', 'P', '_'), 16), table, n_cpus = 0, at;

	if (!pointer)
		pointer = scan(ROM_START, ROM_END, SIG('_', 'M', 'P', '_'), 16);
	CHECK(pointer != 0);
	table = *mem32(pointer + 4);
	CHECK_EQ(*mem32(table), SIG('P', 'C', 'M', 'P'));
	CHECK_EQ(sum(table, *mem16(table + 4)), 0);
	CHECK_EQ(*mem32(table + 36), LAPIC);
	at = table + 44;
	for (unsigned i = 0; i < *mem16(table + 34); i++) {
		CHECK(*mem8(at) < sizeof(entry_bytes));
		if (*mem8(at) == 0) {
			CHECK_EQ(*mem8(at + 1), n_cpus);
			CHECK_EQ(*mem8(at + 3) & 3, n_cpus ? 1 : 3); /* enabled, the first one boots */
			n_cpus++;
		}
		at += entry_bytes[*mem8(at)];
	}
	CHECK_EQ(n_cpus, cpus);
	CHECK_EQ(at, table + *mem16(table + 4));
}

void guest_main(void)
{
	const uint64_t cpus = param(mb_cmdline(), "cpus");

	acpi(cpus);
	mp_table(cpus);
}
