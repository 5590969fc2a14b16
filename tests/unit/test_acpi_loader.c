/* Links: x86/tables/acpi-loader.o x86/tables/acpi.o x86/tables/acpi-madt.o x86/tables/acpi-numa.o x86/tables/numa.o x86/tables/acpi-pci.o x86/tables/acpi-virtio.o x86/tables/acpi-vmgenid.o x86/tables/aml.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/x86/acpi.h"
#include "lkvm/x86/layout.h"
#include "hardware-rig.h"
#include "unit.h"

static struct ram *ram;
static struct acpi_files files;

static int make_ram(uint64_t bytes)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	return ram_new(bytes, &backing, &ram);
}

/* What firmware does with the steps; it has placed the files there. */
static uint8_t *rsdp, *tables;
#define RSDP_AT   0xf6000u
#define TABLES_AT 0x7fe0000u

static uint32_t get32(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, 4);
	return v;
}

static uint64_t get64(const uint8_t *at)
{
	return get32(at) | (uint64_t)get32(at + 4) << 32;
}

static uint8_t *file_of(const char *name, size_t *ret_len)
{
	if (!strcmp(name, ACPI_RSDP_FILE)) {
		*ret_len = files.rsdp.len;
		return rsdp;
	}
	ck_assert_str_eq(name, ACPI_TABLES_FILE);
	*ret_len = files.tables.len;
	return tables;
}

static void add_pointer(const uint8_t *step)
{
	size_t len, target;
	uint8_t *in = file_of((const char *)step + 4, &len);
	const uint32_t at = get32(step + 116), bytes = step[120];
	uint64_t value = 0;

	file_of((const char *)step + 60, &target);
	ck_assert_str_eq((const char *)step + 60, ACPI_TABLES_FILE);
	ck_assert(bytes == 4 || bytes == 8);
	ck_assert_uint_le(at + bytes, len);
	memcpy(&value, in + at, bytes);
	ck_assert_uint_lt(value, target);
	value += TABLES_AT;
	memcpy(in + at, &value, bytes);
}

static void add_checksum(const uint8_t *step)
{
	size_t len;
	uint8_t *in = file_of((const char *)step + 4, &len), sum = 0;
	const uint32_t at = get32(step + 60), start = get32(step + 64), bytes = get32(step + 68);

	ck_assert_uint_lt(at, len);
	ck_assert_uint_le(start, len);
	ck_assert_uint_le(bytes, len - start);
	ck_assert_uint_eq(in[at], 0); /* OVMF takes it for one of those that are summed up */
	for (uint32_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + in[start + i]);
	in[at] = (uint8_t)(in[at] - sum);
}

static void carry_out(void)
{
	unsigned allocated = 0;

	rsdp = malloc(files.rsdp.len);
	tables = malloc(files.tables.len);
	memcpy(rsdp, files.rsdp.data, files.rsdp.len);
	memcpy(tables, files.tables.data, files.tables.len);
	ck_assert_uint_eq(files.steps.len % 128, 0);
	for (size_t i = 0; i < files.steps.len; i += 128) {
		const uint8_t *step = files.steps.data + i;

		switch (get32(step)) {
		case 1:
			ck_assert_uint_eq(get32(step + 60), 64);
			ck_assert_uint_eq(step[64], strcmp((const char *)step + 4, ACPI_RSDP_FILE) ? 1 : 2);
			allocated++;
			break;
		case 2:
			ck_assert_uint_eq(allocated, 2);
			add_pointer(step);
			break;
		case 3:
			add_checksum(step);
			break;
		default:
			ck_abort_msg("step %u", get32(step));
		}
	}
}

static const uint8_t *table_at(uint64_t at, const char *signature)
{
	const uint8_t *t = tables + (at - TABLES_AT);
	uint8_t sum = 0;

	ck_assert_uint_ge(at, TABLES_AT);
	ck_assert_uint_le(at - TABLES_AT + 36, files.tables.len);
	ck_assert_uint_le(at - TABLES_AT + get32(t + 4), files.tables.len);
	for (uint32_t i = 0; i < get32(t + 4); i++)
		sum = (uint8_t)(sum + t[i]);
	if (signature)
		ck_assert_mem_eq(t, signature, 4);
	if (memcmp(t, "FACS", 4))
		ck_assert_uint_eq(sum, 0);
	return t;
}

static void end(void)
{
	acpi_files_free(&files);
	free(rsdp);
	free(tables);
	ram_free(ram);
}

START_TEST(test_all)
{
	struct hardware hw = rig_hardware(3, RIG_ALL);
	gpa_t at, past;
	const uint8_t *xsdt;
	unsigned found = 0;
	uint8_t sum = 0;

	ck_assert_int_eq(make_ram(2 * MIB), 0);
	ck_assert_int_eq(acpi_build(ram, &hw, &at, &past), 0);
	ck_assert_int_eq(acpi_files_build(ram, at, &files), 0);
	carry_out();
	ck_assert_mem_eq(rsdp, "RSD PTR ", 8);
	for (unsigned i = 0; i < 36; i++)
		sum = (uint8_t)(sum + rsdp[i]);
	ck_assert_uint_eq(sum, 0);
	for (unsigned i = 0; i < 20; i++)
		sum = (uint8_t)(sum + rsdp[i]);
	ck_assert_uint_eq(sum, 0);
	xsdt = table_at(get64(rsdp + 24), "XSDT");
	for (uint32_t i = 36; i < get32(xsdt + 4); i += 8) {
		const uint8_t *t = table_at(get64(xsdt + i), NULL);

		found += !memcmp(t, "FACP", 4) || !memcmp(t, "APIC", 4) || !memcmp(t, "MCFG", 4);
		if (memcmp(t, "FACP", 4))
			continue;
		if (get32(t + 36))
			table_at(get32(t + 36), "FACS");
		if (get64(t + 132))
			table_at(get64(t + 132), "FACS");
		ck_assert(get32(t + 36) || get64(t + 132));
		if (get32(t + 40))
			table_at(get32(t + 40), "DSDT");
		table_at(get64(t + 140), "DSDT");
	}
	ck_assert_uint_eq(found, 3);
	end();
}
END_TEST

START_TEST(test_damaged)
{
	struct hardware hw = rig_hardware(1, RIG_ALL);
	const uint32_t huge = 0x7fffffff, tiny = 35;
	const uint64_t nowhere = 0x100000000;
	gpa_t at, past;
	uint64_t xsdt;

	ck_assert_int_eq(make_ram(2 * MIB), 0);
	ck_assert_int_eq(acpi_build(ram, &hw, &at, &past), 0);
	ck_assert_int_eq(acpi_files_build(ram, GPA(2 * MIB - 8), &files), -EFAULT);
	ck_assert_int_eq(ram_read(ram, GPA(at.v + 24), &xsdt, 8), 0);
	ck_assert_int_eq(ram_write(ram, GPA(xsdt + 4), &huge, 4), 0);
	ck_assert_int_eq(acpi_files_build(ram, at, &files), -EINVAL);
	ck_assert_int_eq(ram_write(ram, GPA(xsdt + 4), &tiny, 4), 0);
	ck_assert_int_eq(acpi_files_build(ram, at, &files), -EINVAL);
	ck_assert_int_eq(ram_write(ram, GPA(at.v + 24), &nowhere, 8), 0);
	ck_assert_int_eq(acpi_files_build(ram, at, &files), -EFAULT);
	ck_assert_ptr_null(files.tables.data);
	ram_free(ram);
}
END_TEST

UNIT_MAIN("acpi-loader", test_all, test_damaged)
