/* What a kernel finds where a PC's firmware would be, beside the ACPI tables; see x86/acpi.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/x86/acpi.h"
#include "lkvm/x86/aml.h"
#include "lkvm/x86/layout.h"

#define PACKED __attribute__((packed))

/* DMTF DSP0134 2.8, 5.2.1 */
struct smbios_entry {
	char anchor[4];
	uint8_t checksum; /* of all */
	uint8_t length;
	uint8_t major, minor;
	uint16_t max_structure_bytes;
	uint8_t revision;
	uint8_t formatted[5];
	char dmi_anchor[5];
	uint8_t dmi_checksum; /* from dmi_anchor on */
	uint16_t table_bytes;
	uint32_t table;
	uint16_t n_structures;
	uint8_t bcd_revision;
} PACKED;

_Static_assert(sizeof(struct smbios_entry) == SMBIOS_ENTRY_BYTES, "SMBIOS entry point");
_Static_assert(LAYOUT_SMBIOS + sizeof(struct smbios_entry) <= LAYOUT_RESET_VECTOR, "SMBIOS");

enum {
	TYPE_FIRMWARE = 0,
	TYPE_SYSTEM = 1,
	TYPE_BOARD = 2,
	TYPE_CHASSIS = 3,
	TYPE_PROCESSOR = 4,
	TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY = 17,
	TYPE_END = 127,
};

#define HANDLE(type)      ((uint16_t)((type) << 8)) /* of the first of them */
#define MAX_SOCKETS       64 /* that are told of; a kernel asks CPUID anyway */
#define NO_HANDLE         0xfffe
#define NO_CACHE          0xffff
#define UNKNOWN_WIDTH     0xffff
#define SIZE_IS_EXTENDED  0x7fff
#define CAPACITY_EXTENDED 0x80000000U

struct smbios {
	struct bytebuf b;
	unsigned n, max_bytes;
};

/*
 * One structure: type, length and handle before @body, then @strings (each ends with a NUL byte,
 * which the last one has from the literal), and a NUL byte more.
 */
static void put_numbered(struct smbios *s, uint8_t type, unsigned number, const void *body, size_t body_bytes,
			 const char *strings, size_t strings_bytes)
{
	const uint16_t handle = (uint16_t)(HANDLE(type) + number);
	const uint8_t head[2] = { type, (uint8_t)(sizeof(head) + sizeof(handle) + body_bytes) };
	const size_t at = bytebuf_put(&s->b, head, sizeof(head));

	bytebuf_put(&s->b, &handle, sizeof(handle));
	bytebuf_put(&s->b, body, body_bytes);
	bytebuf_put(&s->b, strings, strings_bytes);
	bytebuf_put(&s->b, "", 1);
	s->n++;
	if (s->b.len - at > s->max_bytes)
		s->max_bytes = (unsigned)(s->b.len - at);
}

static void put_structure(struct smbios *s, uint8_t type, const void *body, size_t body_bytes,
			  const char *strings, size_t strings_bytes)
{
	put_numbered(s, type, 0, body, body_bytes, strings, strings_bytes);
}

#define PUT(s, type, body, strings)                                                                \
	put_structure(s, type, &(body), sizeof(body), strings, sizeof(strings))

/* 7.1 and 7.2. The names are those by which a guest knows that it is one: systemd-detect-virt says kvm. */
static void put_system(struct smbios *s, const uint8_t *uuid)
{
	const struct {
		uint8_t vendor, version;
		uint16_t segment;
		uint8_t date, rom_size;
		uint64_t characteristics;
		uint8_t extension[2], release[4];
	} PACKED firmware = {
		1, 2, 0, 3, 0, 1 << 3 /* they are not told */, { 0, 1 << 4 /* a virtual machine */ },
		{ 0, 0, 0xff, 0xff },
	};
	struct {
		uint8_t maker, product, version, serial, uuid[16], wake_up, sku, family;
	} PACKED system = { .maker = 1, .product = 2, .wake_up = 6 /* by the power switch */ };

	if (uuid)
		memcpy(system.uuid, uuid, sizeof(system.uuid));
	PUT(s, TYPE_FIRMWARE, firmware, "lkvm\0" "1\0" "01/01/2026");
	PUT(s, TYPE_SYSTEM, system, "lkvm\0" "KVM virtual machine");
}

/* 7.3 and 7.4 */
static void put_case(struct smbios *s)
{
	static const struct {
		uint8_t maker, product, version, serial, asset, features, location;
		uint16_t chassis;
		uint8_t type, n_objects;
	} PACKED board = { 1, 2, 0, 0, 0, 1 /* it hosts */, 0, HANDLE(TYPE_CHASSIS), 10, 0 };
	static const struct {
		uint8_t maker, type, version, serial, asset, boot, power, thermal, security;
		uint32_t oem;
		uint8_t height, cords, n_elements, element_bytes;
	} PACKED chassis = { 1, 1 /* other */, 0, 0, 0, 3, 3, 3 /* safe */, 2 /* unknown */,
			     0, 0, 0, 0, 0 };

	PUT(s, TYPE_BOARD, board, "lkvm\0" "KVM virtual machine");
	PUT(s, TYPE_CHASSIS, chassis, "lkvm");
}

static uint8_t byte_of(uint64_t count)
{
	return count < 0xff ? (uint8_t)count : 0xff;
}

/* 7.5 */
static void put_processor(struct smbios *s, const struct cpu_topology *t, unsigned socket)
{
	const uint8_t cores = byte_of((uint64_t)t->dies * t->cores);
	char name[16];
	const struct {
		uint8_t socket, type, family, maker;
		uint64_t id;
		uint8_t version, voltage;
		uint16_t clock, max_speed, speed;
		uint8_t status, upgrade;
		uint16_t cache[3];
		uint8_t serial, asset, part, cores, enabled, threads;
		uint16_t characteristics, family2;
	} PACKED processor = {
		1, 3 /* central */, 1 /* other */, 0, 0, 0, 0, 0, 0, 0, 0x41 /* there, enabled */,
		1 /* other */, { NO_CACHE, NO_CACHE, NO_CACHE }, 0, 0, 0, cores, cores,
		byte_of((uint64_t)t->dies * t->cores * t->threads), 1 << 2 /* 64 bits */, 1,
	};

	snprintf(name, sizeof(name), "CPU %u", socket);
	put_numbered(s, TYPE_PROCESSOR, socket, &processor, sizeof(processor), name, strlen(name) + 1);
}

/* 7.17 and 7.18 */
static void put_memory(struct smbios *s, uint64_t bytes)
{
	const uint64_t kib = bytes / KIB, mib = bytes / MIB;
	const struct {
		uint8_t location, use, correction;
		uint32_t capacity_kib;
		uint16_t error, n_devices;
		uint64_t extended_bytes;
	} PACKED array = {
		1 /* other */, 3 /* system memory */, 3 /* none */,
		kib < CAPACITY_EXTENDED ? (uint32_t)kib : CAPACITY_EXTENDED, NO_HANDLE, 1,
		kib < CAPACITY_EXTENDED ? 0 : bytes,
	};
	const struct {
		uint16_t array, error, total_width, data_width, mib;
		uint8_t form, set, locator, bank, type;
		uint16_t detail, speed;
		uint8_t maker, serial, asset, part, attributes;
		uint32_t extended_mib;
		uint16_t clock, min_voltage, max_voltage, voltage;
	} PACKED memory = {
		HANDLE(TYPE_MEMORY_ARRAY), NO_HANDLE, UNKNOWN_WIDTH, UNKNOWN_WIDTH,
		mib < SIZE_IS_EXTENDED ? (uint16_t)mib : SIZE_IS_EXTENDED, 9 /* DIMM */, 0, 1, 0,
		7 /* RAM */, 1 << 1 /* other */, 0, 0, 0, 0, 0, 0,
		mib < SIZE_IS_EXTENDED ? 0 : (uint32_t)(mib & 0x7fffffff), 0, 0, 0, 0,
	};

	PUT(s, TYPE_MEMORY_ARRAY, array, "");
	PUT(s, TYPE_MEMORY, memory, "DIMM 0");
}

static int put_entry(struct ram *ram, const struct smbios *s, uint64_t table)
{
	struct smbios_entry e = {
		.anchor = "_SM_",
		.length = sizeof(e),
		.major = 2,
		.minor = 8,
		.max_structure_bytes = (uint16_t)s->max_bytes,
		.table_bytes = (uint16_t)s->b.len,
		.table = (uint32_t)table,
		.n_structures = (uint16_t)s->n,
		.bcd_revision = 0x28,
	};
	const size_t dmi = offsetof(struct smbios_entry, dmi_anchor);
	const struct bytebuf b = { .data = (uint8_t *)&e, .cap = sizeof(e), .len = sizeof(e) };

	memcpy(e.dmi_anchor, "_DMI_", sizeof(e.dmi_anchor));
	e.dmi_checksum = (uint8_t)-bytebuf_sum(&b, dmi, sizeof(e) - dmi);
	e.checksum = (uint8_t)-bytebuf_sum(&b, 0, sizeof(e));
	return ram_write(ram, GPA(LAYOUT_SMBIOS), &e, sizeof(e));
}

int smbios_build(struct ram *ram, const struct smbios_config *cfg, gpa_t at, gpa_t *ret_end)
{
	const uint64_t start = ALIGN_UP(at.v, 16);
	struct smbios s = { 0 };
	void *host;
	int err;

	if (start >= LAYOUT_BIOS_END)
		return -ENOSPC;
	s.b.cap = LAYOUT_BIOS_END - start;
	err = ram_window(ram, GPA(start), s.b.cap, 16, &host);
	if (err)
		return err;
	s.b.data = host;
	put_system(&s, cfg->uuid);
	put_case(&s);
	for (unsigned i = 0; i < cfg->topology.sockets && i < MAX_SOCKETS; i++)
		put_processor(&s, &cfg->topology, i);
	put_memory(&s, cfg->ram_bytes);
	put_structure(&s, TYPE_END, NULL, 0, "", 1);
	if (bytebuf_full(&s.b))
		return -ENOSPC;
	err = put_entry(ram, &s, start);
	if (!err)
		*ret_end = GPA(start + s.b.len);
	return err;
}

int reset_vector_build(struct ram *ram, const struct hardware *hw)
{
	const unsigned port = hw_find(hw, HW_POWER)->port[0].base + POWER_RESET;
	/* Real mode, at f000:fff0 and at ffff:0000 alike */
	const uint8_t code[] = {
		0xba, (uint8_t)port, (uint8_t)(port >> 8), /* mov dx */
		0xb0, POWER_RESET_VALUE, /* mov al */
		0xee,                    /* out dx, al */
		0xf4,                    /* 1: hlt */
		0xeb, 0xfd,              /* jmp 1b */
	};

	return ram_write(ram, GPA(LAYOUT_RESET_VECTOR), code, sizeof(code));
}
