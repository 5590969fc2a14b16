/*
 * The ACPI tables for a machine with firmware, which places them itself: as two files, and one of instructions which
 * pointers in them are to be moved and which checksums made anew; see x86/acpi.h. Main thread, before any vCPU runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/types.h"
#include "lkvm/x86/acpi.h"

#define RSDP_BYTES    36
#define RSDP_V1_BYTES 20
#define RSDP_XSDT     24
#define HEADER_BYTES  36
#define HEADER_LENGTH 4
#define HEADER_SUM    9
#define TABLE_ALIGN   64 /* what FACS wants; the others take any */

enum { ALLOCATE = 1, ADD_POINTER, ADD_CHECKSUM };
enum { ZONE_HIGH = 1, ZONE_BELOW_1M };

#define NAME_BYTES 56

struct step {
	uint32_t command;
	union {
		struct {
			char file[NAME_BYTES];
			uint32_t align;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char in[NAME_BYTES], to[NAME_BYTES];
			uint32_t at;
			uint8_t bytes;
		} __attribute__((packed)) pointer;
		struct {
			char file[NAME_BYTES];
			uint32_t at, start, len;
		} __attribute__((packed)) checksum;
		uint8_t room[124];
	};
} __attribute__((packed));

_Static_assert(sizeof(struct step) == 128, "a step of the loader");

struct loader {
	const struct ram *ram;
	struct acpi_files *files;
};

static int grow(struct acpi_file *file, size_t bytes, size_t align, size_t *ret_at)
{
	const size_t at = ALIGN_UP(file->len, align);
	uint8_t *data = realloc(file->data, at + bytes);

	if (!data)
		return -ENOMEM;
	memset(data + file->len, 0, at + bytes - file->len);
	file->data = data;
	file->len = at + bytes;
	*ret_at = at;
	return 0;
}

static int add_step(struct loader *l, const struct step *step)
{
	size_t at;
	int err = grow(&l->files->steps, sizeof(*step), 1, &at);

	if (!err)
		memcpy(l->files->steps.data + at, step, sizeof(*step));
	return err;
}

static int allocate(struct loader *l, const char *file, uint8_t zone)
{
	struct step step = { .command = ALLOCATE, .allocate = { .align = TABLE_ALIGN, .zone = zone } };

	strcpy(step.allocate.file, file);
	return add_step(l, &step);
}

/* @bytes at @at of a file become the address of @to in the tables */
static int point(struct loader *l, struct acpi_file *file, const char *name, size_t at, uint64_t to, uint8_t bytes)
{
	struct step step = { .command = ADD_POINTER, .pointer = { .at = (uint32_t)at, .bytes = bytes } };

	memcpy(file->data + at, &to, bytes);
	strcpy(step.pointer.in, name);
	strcpy(step.pointer.to, ACPI_TABLES_FILE);
	return add_step(l, &step);
}

/* Firmware may take the byte for one of those that are summed up, so it is 0. */
static int sum(struct loader *l, struct acpi_file *in, const char *file, size_t at, size_t start, size_t len)
{
	struct step step = {
		.command = ADD_CHECKSUM,
		.checksum = { .at = (uint32_t)at, .start = (uint32_t)start, .len = (uint32_t)len },
	};

	in->data[at] = 0;
	strcpy(step.checksum.file, file);
	return add_step(l, &step);
}

static uint32_t number(const struct loader *l, size_t at)
{
	uint32_t v;

	memcpy(&v, l->files->tables.data + at, sizeof(v));
	return v;
}

/* Return: 0, -ENOMEM, -EFAULT or -EINVAL */
static int copy_table(struct loader *l, gpa_t from, size_t *ret_at)
{
	uint8_t header[HEADER_LENGTH + 4];
	uint32_t len;
	int err = ram_read(l->ram, from, header, sizeof(header));

	if (err)
		return err;
	memcpy(&len, header + HEADER_LENGTH, sizeof(len));
	if (len < HEADER_BYTES || !ram_host(l->ram, from, len))
		return -EINVAL;
	err = grow(&l->files->tables, len, TABLE_ALIGN, ret_at);
	return err ? err : ram_read(l->ram, from, l->files->tables.data + *ret_at, len);
}

/* A table's pointers to another: one of 32 bits, one of 64; either may be 0 */
static int take_pointed(struct loader *l, size_t at32, size_t at64, bool has_checksum)
{
	uint64_t wide = number(l, at64) | (uint64_t)number(l, at64 + 4) << 32;
	const uint32_t narrow = number(l, at32);
	size_t to;
	int err;

	if (!narrow && !wide)
		return 0;
	err = copy_table(l, GPA(wide ? wide : narrow), &to);
	if (!err && narrow)
		err = point(l, &l->files->tables, ACPI_TABLES_FILE, at32, to, 4);
	if (!err && wide)
		err = point(l, &l->files->tables, ACPI_TABLES_FILE, at64, to, 8);
	if (!err && has_checksum)
		err = sum(l, &l->files->tables, ACPI_TABLES_FILE, to + HEADER_SUM, to, number(l, to + HEADER_LENGTH));
	return err;
}

/* 5.2.9: FIRMWARE_CTRL, DSDT and the two in 64 bits */
static int take_fadt(struct loader *l, size_t at)
{
	int err = take_pointed(l, at + 36, at + 132, false);

	return err ? err : take_pointed(l, at + 40, at + 140, true);
}

static int take_table(struct loader *l, size_t pointer_at)
{
	const uint64_t from = number(l, pointer_at) | (uint64_t)number(l, pointer_at + 4) << 32;
	size_t at;
	int err = copy_table(l, GPA(from), &at);

	if (!err)
		err = point(l, &l->files->tables, ACPI_TABLES_FILE, pointer_at, at, 8);
	if (!err && !memcmp(l->files->tables.data + at, "FACP", 4) && number(l, at + HEADER_LENGTH) >= 148)
		err = take_fadt(l, at);
	return err ? err : sum(l, &l->files->tables, ACPI_TABLES_FILE, at + HEADER_SUM, at, number(l, at + HEADER_LENGTH));
}

static int take_all(struct loader *l, gpa_t rsdp)
{
	struct acpi_files *files = l->files;
	uint64_t from;
	size_t at, xsdt, len;
	int err = grow(&files->rsdp, RSDP_BYTES, 1, &at);

	if (!err)
		err = ram_read(l->ram, rsdp, files->rsdp.data, RSDP_BYTES);
	if (err)
		return err;
	memcpy(&from, files->rsdp.data + RSDP_XSDT, sizeof(from));
	err = copy_table(l, GPA(from), &xsdt);
	len = err ? 0 : number(l, xsdt + HEADER_LENGTH);
	for (size_t i = HEADER_BYTES; !err && i + 8 <= len; i += 8)
		err = take_table(l, xsdt + i);
	if (!err)
		err = sum(l, &l->files->tables, ACPI_TABLES_FILE, xsdt + HEADER_SUM, xsdt, len);
	if (!err)
		err = point(l, &files->rsdp, ACPI_RSDP_FILE, RSDP_XSDT, xsdt, 8);
	if (!err)
		err = sum(l, &files->rsdp, ACPI_RSDP_FILE, 8, 0, RSDP_V1_BYTES);
	return err ? err : sum(l, &files->rsdp, ACPI_RSDP_FILE, 32, 0, RSDP_BYTES);
}

int acpi_files_build(const struct ram *ram, gpa_t rsdp, struct acpi_files *ret)
{
	struct loader l = { .ram = ram, .files = ret };
	int err;

	*ret = (struct acpi_files){ 0 };
	err = allocate(&l, ACPI_RSDP_FILE, ZONE_BELOW_1M);
	if (!err)
		err = allocate(&l, ACPI_TABLES_FILE, ZONE_HIGH);
	if (!err)
		err = take_all(&l, rsdp);
	if (err)
		acpi_files_free(ret);
	return err;
}

void acpi_files_free(struct acpi_files *files)
{
	free(files->rsdp.data);
	free(files->tables.data);
	free(files->steps.data);
	*files = (struct acpi_files){ 0 };
}
