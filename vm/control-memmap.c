/* `lkvm debug --memmap`: the guest's memory map and devices; see control.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/json.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/numa.h"
#include "lkvm/x86/boot.h"

struct device_list {
	unsigned n;
	struct bus_range range[BUS_MAX_RANGES + HW_MAX_ROWS * HW_PORTS];
};

static int by_base(const void *a, const void *b)
{
	const struct bus_range *x = a, *y = b;

	return (x->base > y->base) - (x->base < y->base);
}

static void add_kvm_range(struct device_list *list, const char *name, uint64_t base, uint64_t size)
{
	if (name && size)
		list->range[list->n++] = (struct bus_range){ .base = base, .size = size, .name = name };
}

static void list_memory(const struct control *ctl, struct device_list *ret)
{
	struct hardware hw;

	hardware_of(ctl->config, &hw);
	ret->n = bus_list(&ctl->kvm->mmio, ret->range, BUS_MAX_RANGES);
	for (unsigned i = 0; i < hw.n_rows; i++)
		add_kvm_range(ret, hw.row[i].shown_as, hw.row[i].memory.base, hw.row[i].memory.size);
	qsort(ret->range, ret->n, sizeof(ret->range[0]), by_base);
}

static void list_ports(const struct control *ctl, struct device_list *ret)
{
	struct hardware hw;

	hardware_of(ctl->config, &hw);
	ret->n = bus_list(&ctl->kvm->pio, ret->range, BUS_MAX_RANGES);
	for (unsigned i = 0; i < hw.n_rows; i++)
		for (unsigned n = 0; n < HW_PORTS; n++)
			add_kvm_range(ret, hw.row[i].shown_as, hw.row[i].port[n].base,
				      hw.row[i].port[n].size);
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

/* Is it RAM, or a device's own memory? */
static bool is_ram(const struct control *ctl, const struct kvm_slot *slot)
{
	return ram_host(ctl->kvm->ram, slot->at, slot->bytes) == slot->host;
}

static void slot_text(const struct control *ctl, FILE *out, const struct kvm_slot *slot)
{
	const struct ram_config *cfg = &ctl->config->ram;
	const char *path = backing_path(cfg);
	char mb[24];

	print_range(out, GPA_DIGITS, slot->at.v, slot->bytes);
	fprintf(out, "  %s  %p  0x%x  ", ram_mb_text(slot->bytes, mb, sizeof(mb)), slot->host,
		kvm_slot_flags(slot));
	if (is_ram(ctl, slot))
		fprintf(out, "%s%s%s, %s\n", ram_backing_kind(cfg), path ? " " : "", path ? path : "",
			ram_backing_shared(cfg) ? "shared" : "private");
	else
		fprintf(out, "%s%s\n", slot->name, slot->read_only ? ", read-only" : "");
}

/* Blocks that are plugged have one each. Return: is it of those, and behind the one that was before? */
static bool is_next_block(const struct ram *ram, const struct kvm_slot *slot, uint64_t end)
{
	const struct ram_region *region = ram_region(ram);

	return slot->at.v == end && region->bytes && slot->at.v > region->start &&
	       slot->at.v - region->start < region->bytes;
}

/*
 * Slot @*n and those behind it that go on where it ends, as one: of hundreds of blocks nobody wants to see each.
 * Return: false: there is no more; @*n is the next number
 */
static bool next_slots(const struct control *ctl, unsigned *n, unsigned *ret_first, struct kvm_slot *ret)
{
	struct kvm_slot slot;

	while (*n < ctl->kvm->slots.max && !kvm_slot_get(ctl->kvm, *n, ret))
		++*n;
	if (*n >= ctl->kvm->slots.max)
		return false;
	*ret_first = (*n)++;
	while (kvm_slot_get(ctl->kvm, *n, &slot) && is_next_block(ctl->kvm->ram, &slot, ret->at.v + ret->bytes)) {
		ret->bytes += slot.bytes;
		++*n;
	}
	return true;
}

static void slots_text(const struct control *ctl, FILE *out)
{
	struct kvm_slot slot;
	unsigned first, n = 0;

	fprintf(out, "\nmemory slots: guest address, size, host address, flags, backing\n");
	while (next_slots(ctl, &n, &first, &slot))
		slot_text(ctl, out, &slot);
}

static void region_text(const struct ram *ram, FILE *out)
{
	const struct ram_region *region = ram_region(ram);
	char text[2][24];

	if (!region->bytes)
		return;
	fprintf(out, "\n\nmemory that is plugged\n");
	print_range(out, GPA_DIGITS, region->start, region->bytes);
	fprintf(out, "  %s of it now, in blocks of %s", ram_mb_text(ram_plugged_bytes(ram), text[0], sizeof(text[0])),
		ram_mb_text(region->block_bytes, text[1], sizeof(text[1])));
}

static void nodes_text(const struct control *ctl, FILE *out)
{
	struct numa_range range[NUMA_MAX_RANGES];
	const unsigned n = ctl->config->numa ? numa_ranges(ctl->config->numa, range) : 0;
	char host[128];

	if (n)
		fprintf(out, "\n\nNUMA nodes");
	for (unsigned i = 0; i < n; i++) {
		fputc('\n', out);
		print_range(out, GPA_DIGITS, range[i].start, range[i].bytes);
		fprintf(out, "  node %u%s", range[i].node, run_numa_host(ctl->config, &range[i], host, sizeof(host)));
	}
}

static void memmap_text(const struct control *ctl, FILE *out)
{
	const struct ram *ram = ctl->kvm->ram;
	struct e820_range e820[E820_MAX];
	unsigned n_e820 = e820_build(ram, e820);
	struct device_list list;
	char mb[24];

	fprintf(out, "RAM: %s\n", ram_mb_text(ram_bytes(ram), mb, sizeof(mb)));
	slots_text(ctl, out);
	fprintf(out, "\ngap, without RAM\n");
	print_range(out, GPA_DIGITS, RAM_GAP_START, RAM_GAP_SIZE);
	region_text(ram, out);
	nodes_text(ctl, out);
	fprintf(out, "\n\ne820\n");
	for (unsigned i = 0; i < n_e820; i++) {
		print_range(out, GPA_DIGITS, e820[i].start, e820[i].size_bytes);
		fprintf(out, "  %s\n", e820_type(e820[i].type));
	}
	list_memory(ctl, &list);
	devices_text(out, "devices in memory", GPA_DIGITS, &list);
	list_ports(ctl, &list);
	devices_text(out, "devices at I/O ports", PORT_DIGITS, &list);
}

static void json_range(struct json *json, uint64_t start, uint64_t size_bytes)
{
	json_hex(json, "start", start);
	json_u64(json, "size_bytes", size_bytes);
}

static void slot_json(const struct control *ctl, struct json *json, const struct kvm_slot *slot)
{
	const struct ram_config *cfg = &ctl->config->ram;
	bool from_ram = is_ram(ctl, slot);

	json_range(json, slot->at.v, slot->bytes);
	json_hex(json, "host", (uintptr_t)slot->host);
	json_u64(json, "flags", kvm_slot_flags(slot));
	json_str(json, "name", slot->name);
	json_str(json, "backing", from_ram ? ram_backing_kind(cfg) : NULL);
	json_str(json, "path", from_ram ? backing_path(cfg) : NULL);
	if (from_ram)
		json_bool(json, "shared", ram_backing_shared(cfg));
	else
		json_str(json, "shared", NULL);
}

static void slots_json(const struct control *ctl, struct json *json)
{
	struct kvm_slot slot;
	unsigned first, n = 0;

	json_array(json, "slots");
	while (next_slots(ctl, &n, &first, &slot)) {
		json_object(json, NULL);
		json_u64(json, "slot", first);
		slot_json(ctl, json, &slot);
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

static void region_json(const struct ram *ram, struct json *json)
{
	const struct ram_region *region = ram_region(ram);

	if (!region->bytes)
		return;
	json_object(json, "plug");
	json_range(json, region->start, region->bytes);
	json_u64(json, "block_bytes", region->block_bytes);
	json_u64(json, "plugged_bytes", ram_plugged_bytes(ram));
	json_end(json);
}

static void nodes_json(const struct control *ctl, struct json *json)
{
	struct numa_range range[NUMA_MAX_RANGES];
	const unsigned n = ctl->config->numa ? numa_ranges(ctl->config->numa, range) : 0;
	char host[128];

	if (!n)
		return;
	json_array(json, "numa");
	for (unsigned i = 0; i < n; i++) {
		run_numa_host(ctl->config, &range[i], host, sizeof(host));
		json_object(json, NULL);
		json_range(json, range[i].start, range[i].bytes);
		json_u64(json, "node", range[i].node);
		json_str(json, "host", *host ? host + 2 : NULL);
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
	json_u64(&json, "ram_bytes", ram_bytes(ctl->kvm->ram));
	slots_json(ctl, &json);
	json_object(&json, "gap");
	json_range(&json, RAM_GAP_START, RAM_GAP_SIZE);
	json_end(&json);
	region_json(ctl->kvm->ram, &json);
	nodes_json(ctl, &json);
	e820_json(ctl->kvm->ram, &json);
	list_memory(ctl, &list);
	devices_json(&json, "mmio", &list);
	list_ports(ctl, &list);
	devices_json(&json, "ports", &list);
	json_end(&json);
}

void control_memmap(const struct control *ctl, bool json, FILE *out)
{
	(json ? memmap_json : memmap_text)(ctl, out);
}
