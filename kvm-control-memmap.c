/* `lkvm debug --memmap`: the guest's memory map and devices; see control.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/config.h"
#include "lkvm/control.h"
#include "lkvm/json.h"
#include "lkvm/kvm.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/layout.h"

/* What KVM itself answers for; no bus of ours sees these. */
static const struct bus_range kernel_mmio[] = {
	{ .base = LAYOUT_IOAPIC, .size = 0x1000, .name = "IOAPIC (KVM)" },
	{ .base = LAYOUT_LAPIC, .size = 0x1000, .name = "local APIC (KVM)" },
	{ .base = LAYOUT_IDENTITY, .size = 0x1000, .name = "identity map (KVM)" },
	{ .base = LAYOUT_TSS, .size = 0x3000, .name = "TSS (KVM)" },
};

static const struct bus_range kernel_ports[] = {
	{ .base = 0x20, .size = 2, .name = "PIC (KVM)" },
	{ .base = 0x40, .size = 4, .name = "PIT (KVM)" },
	{ .base = 0x61, .size = 1, .name = "PIT speaker gate (KVM)" },
	{ .base = 0xa0, .size = 2, .name = "PIC (KVM)" },
	{ .base = 0x4d0, .size = 2, .name = "PIC edge/level (KVM)" },
};

#define MAX_KERNEL_RANGES 8

#define SLOT_FLAGS 0U /* kvm_map_ram() asks for neither dirty log nor read-only */

struct device_list {
	unsigned n;
	struct bus_range range[BUS_MAX_RANGES + MAX_KERNEL_RANGES];
};

static int by_base(const void *a, const void *b)
{
	const struct bus_range *x = a, *y = b;

	return (x->base > y->base) - (x->base < y->base);
}

static void list_devices(struct bus *bus, const struct bus_range *kernel, unsigned n_kernel,
			 struct device_list *ret)
{
	ret->n = bus_list(bus, ret->range, BUS_MAX_RANGES);
	memcpy(ret->range + ret->n, kernel, n_kernel * sizeof(*kernel));
	ret->n += n_kernel;
	qsort(ret->range, ret->n, sizeof(ret->range[0]), by_base);
}

static const char *backing_path(const struct ram_config *cfg)
{
	return cfg->path ? cfg->path : cfg->hugetlbfs;
}

static const char *e820_type(uint32_t type)
{
	return type == 1 ? "RAM" : "reserved";
}

#define GPA_DIGITS  12
#define PORT_DIGITS 4

static void print_range(FILE *out, int digits, uint64_t start, uint64_t size_bytes)
{
	fprintf(out, "  0x%0*" PRIx64 "-0x%0*" PRIx64, digits, start, digits, start + size_bytes - 1);
}

static void devices_text(FILE *out, const char *title, int digits, const struct device_list *list)
{
	fprintf(out, "\n%s\n", title);
	for (unsigned i = 0; i < list->n; i++) {
		print_range(out, digits, list->range[i].base, list->range[i].size);
		fprintf(out, "  %s", list->range[i].name);
		if (list->range[i].gsi)
			fprintf(out, ", GSI %u", list->range[i].gsi);
		fputc('\n', out);
	}
}

static void slots_text(const struct control *ctl, FILE *out)
{
	const struct ram_config *cfg = &ctl->config->ram;
	const char *path = backing_path(cfg);
	const struct ram *ram = ctl->kvm->ram;

	fprintf(out, "\nmemory slots: guest address, size, host address, flags, backing\n");
	for (unsigned i = 0; i < ram->n_parts; i++) {
		print_range(out, GPA_DIGITS, ram->part[i].start.v, ram->part[i].size_bytes);
		fprintf(out, "  %llu KiB  %p  0x%x  %s%s%s, %s\n", ram->part[i].size_bytes / KIB,
			(void *)(ram->base + ram->part[i].start.v), SLOT_FLAGS,
			ram_backing_kind(cfg), path ? " " : "", path ? path : "",
			ram_backing_shared(cfg) ? "shared" : "private");
	}
}

static void memmap_text(const struct control *ctl, FILE *out)
{
	const struct ram *ram = ctl->kvm->ram;
	struct e820_range e820[E820_MAX];
	unsigned n_e820 = e820_build(ram, e820);
	struct device_list list;

	fprintf(out, "RAM: %llu KiB\n", control_ram_bytes(ram) / KIB);
	slots_text(ctl, out);
	fprintf(out, "\ngap, without RAM or slot\n");
	print_range(out, GPA_DIGITS, RAM_GAP_START, RAM_GAP_SIZE);
	fprintf(out, "\n\ne820\n");
	for (unsigned i = 0; i < n_e820; i++) {
		print_range(out, GPA_DIGITS, e820[i].start, e820[i].size_bytes);
		fprintf(out, "  %s\n", e820_type(e820[i].type));
	}
	list_devices(&ctl->kvm->mmio, kernel_mmio, ARRAY_SIZE(kernel_mmio), &list);
	devices_text(out, "devices in memory", GPA_DIGITS, &list);
	list_devices(&ctl->kvm->pio, kernel_ports, ARRAY_SIZE(kernel_ports), &list);
	devices_text(out, "devices at I/O ports", PORT_DIGITS, &list);
}

static void json_range(struct json *json, uint64_t start, uint64_t size_bytes)
{
	json_hex(json, "start", start);
	json_u64(json, "size_bytes", size_bytes);
}

static void slots_json(const struct control *ctl, struct json *json)
{
	const struct ram_config *cfg = &ctl->config->ram;
	const struct ram *ram = ctl->kvm->ram;

	json_array(json, "slots");
	for (unsigned i = 0; i < ram->n_parts; i++) {
		json_object(json, NULL);
		json_u64(json, "slot", i);
		json_range(json, ram->part[i].start.v, ram->part[i].size_bytes);
		json_hex(json, "host", (uint64_t)(uintptr_t)ram->base + ram->part[i].start.v);
		json_u64(json, "flags", SLOT_FLAGS);
		json_str(json, "backing", ram_backing_kind(cfg));
		json_str(json, "path", backing_path(cfg));
		json_bool(json, "shared", ram_backing_shared(cfg));
		json_end(json);
	}
	json_end(json);
}

static void e820_json(const struct ram *ram, struct json *json)
{
	struct e820_range e820[E820_MAX];
	unsigned n = e820_build(ram, e820);

	json_array(json, "e820_map"); /* jq 1.6 cannot parse .e820 */
	for (unsigned i = 0; i < n; i++) {
		json_object(json, NULL);
		json_range(json, e820[i].start, e820[i].size_bytes);
		json_str(json, "type", e820_type(e820[i].type));
		json_end(json);
	}
	json_end(json);
}

static void devices_json(struct json *json, const char *key, const struct device_list *list)
{
	json_array(json, key);
	for (unsigned i = 0; i < list->n; i++) {
		json_object(json, NULL);
		json_range(json, list->range[i].base, list->range[i].size);
		json_str(json, "name", list->range[i].name);
		if (list->range[i].gsi)
			json_u64(json, "gsi", list->range[i].gsi);
		json_end(json);
	}
	json_end(json);
}

static void memmap_json(const struct control *ctl, FILE *out)
{
	struct device_list list;
	struct json json;

	json_init(&json, out);
	json.flat_depth = 2;
	json_object(&json, NULL);
	json_u64(&json, "ram_bytes", control_ram_bytes(ctl->kvm->ram));
	slots_json(ctl, &json);
	json_object(&json, "gap");
	json_range(&json, RAM_GAP_START, RAM_GAP_SIZE);
	json_end(&json);
	e820_json(ctl->kvm->ram, &json);
	list_devices(&ctl->kvm->mmio, kernel_mmio, ARRAY_SIZE(kernel_mmio), &list);
	devices_json(&json, "mmio", &list);
	list_devices(&ctl->kvm->pio, kernel_ports, ARRAY_SIZE(kernel_ports), &list);
	devices_json(&json, "ports", &list);
	json_end(&json);
}

void control_memmap(const struct control *ctl, bool json, FILE *out)
{
	(json ? memmap_json : memmap_text)(ctl, out);
}
