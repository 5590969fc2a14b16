/*
 * NUMA: which CPU and which memory is in which proximity domain (SRAT), how far these are from one another
 * (SLIT), and how fast they reach each other's memory, where that was told (HMAT). A domain is a node.
 */
#include "acpi-internal.h"
#include "lkvm/types.h"
#include "lkvm/x86/numa.h"

/* ACPI 6.5, 5.2.16, what follows the header */
struct srat {
	uint32_t reserved1; /* 1 */
	uint64_t reserved2;
} PACKED;

struct srat_lapic {
	uint8_t type, length;
	uint8_t node_low;
	uint8_t apic_id;
	uint32_t flags;
	uint8_t sapic_eid;
	uint8_t node_high[3];
	uint32_t clock_domain;
} PACKED;

struct srat_memory {
	uint8_t type, length;
	uint32_t node;
	uint16_t reserved1;
	uint64_t start, bytes;
	uint32_t reserved2;
	uint32_t flags;
	uint64_t reserved3;
} PACKED;

struct srat_x2apic {
	uint8_t type, length;
	uint16_t reserved1;
	uint32_t node;
	uint32_t apic_id;
	uint32_t flags;
	uint32_t clock_domain;
	uint32_t reserved2;
} PACKED;

enum { SRAT_LAPIC = 0, SRAT_MEMORY = 1, SRAT_X2APIC = 2 };
enum { AFFINITY_ENABLED = 1, MEMORY_HOT_PLUGGABLE = 2 };

/* 5.2.28 */
struct hmat_domain {
	uint16_t type, reserved1;
	uint32_t length;
	uint16_t flags, reserved2;
	uint32_t initiator, memory;
	uint32_t reserved3;
	uint64_t reserved4[2];
} PACKED;

struct hmat_locality {
	uint16_t type, reserved1;
	uint32_t length;
	uint8_t flags; /* 0: of memory itself */
	uint8_t data_type;
	uint8_t min_transfer, reserved2;
	uint32_t n_initiators, n_targets;
	uint32_t reserved3;
	uint64_t base_unit;
} PACKED;

enum { HMAT_DOMAIN = 0, HMAT_LOCALITY = 1 };
enum { HMAT_INITIATOR_VALID = 1 };
enum { HMAT_ACCESS_LATENCY = 0, HMAT_ACCESS_BANDWIDTH = 3 };

#define HMAT_REVISION   2
#define HMAT_MOST       0xfffe /* of an entry */
#define PS_PER_NS       1000
#define MB_PER_UNIT     1

_Static_assert(sizeof(struct srat_lapic) == 16 && sizeof(struct srat_memory) == 40 &&
	       sizeof(struct srat_x2apic) == 24, "SRAT");
_Static_assert(sizeof(struct hmat_domain) == 40 && sizeof(struct hmat_locality) == 32, "HMAT");

static void put_cpu(struct bytebuf *b, uint32_t id, uint32_t node)
{
	const struct srat_lapic lapic = {
		.type = SRAT_LAPIC,
		.length = sizeof(lapic),
		.node_low = (uint8_t)node,
		.apic_id = (uint8_t)id,
		.flags = AFFINITY_ENABLED,
		.node_high = { (uint8_t)(node >> 8), (uint8_t)(node >> 16), (uint8_t)(node >> 24) },
	};
	const struct srat_x2apic x2apic = {
		.type = SRAT_X2APIC,
		.length = sizeof(x2apic),
		.node = node,
		.apic_id = id,
		.flags = AFFINITY_ENABLED,
	};

	if (id < XAPIC_IDS)
		bytebuf_put(b, &lapic, sizeof(lapic));
	else
		bytebuf_put(b, &x2apic, sizeof(x2apic));
}

static void put_memory(struct bytebuf *b, const struct numa_range *range)
{
	const struct srat_memory memory = {
		.type = SRAT_MEMORY,
		.length = sizeof(memory),
		.node = range->node,
		.start = range->start,
		.bytes = range->bytes,
		.flags = AFFINITY_ENABLED | (range->hotplug ? MEMORY_HOT_PLUGGABLE : 0),
	};

	bytebuf_put(b, &memory, sizeof(memory));
}

size_t acpi_put_srat(struct bytebuf *b, const struct hardware *hw)
{
	const struct srat srat = { .reserved1 = 1 };
	struct numa_range range[NUMA_MAX_RANGES];
	unsigned n = numa_ranges(hw->numa, range);
	size_t at = acpi_table_begin(b, "SRAT", 3);

	bytebuf_put(b, &srat, sizeof(srat));
	for (unsigned i = 0; i < hw->cpus; i++)
		put_cpu(b, topology_apic_id(&hw->topology, i), hw->numa->node[i]);
	for (unsigned i = 0; i < n; i++)
		put_memory(b, &range[i]);
	acpi_table_end(b, at);
	return at;
}

size_t acpi_put_slit(struct bytebuf *b, const struct numa *numa)
{
	const uint64_t n = numa->n;
	size_t at = acpi_table_begin(b, "SLIT", 1);

	bytebuf_put(b, &n, sizeof(n));
	for (unsigned from = 0; from < numa->n; from++)
		bytebuf_put(b, &numa->distance[numa_pair(from, 0)], numa->n);
	acpi_table_end(b, at);
	return at;
}

/* ---- HMAT ---- */

/* Which nodes ask, or are asked */
struct domains {
	uint32_t n, node[NUMA_NODES];
};

static struct domains initiators(const struct numa *numa)
{
	struct domains all = { 0 };

	for (unsigned i = 0; i < numa->n; i++)
		if (numa_has_cpu(numa, i))
			all.node[all.n++] = i;
	return all;
}

static struct domains targets(const struct numa *numa)
{
	struct domains all = { 0 };

	for (unsigned i = 0; i < numa->n; i++)
		if (numa->bytes[i])
			all.node[all.n++] = i;
	return all;
}

static void put_domain(struct bytebuf *b, const struct numa *numa, unsigned node)
{
	const bool own = numa_has_cpu(numa, node);
	const struct hmat_domain domain = {
		.type = HMAT_DOMAIN,
		.length = sizeof(domain),
		.flags = own ? HMAT_INITIATOR_VALID : 0,
		.initiator = own ? node : 0,
		.memory = node,
	};

	bytebuf_put(b, &domain, sizeof(domain));
}

/* Entries have 16 bits: in tens, hundreds and so on, where a value is too large. Return: by how much */
static uint32_t scale_of(const uint32_t *value)
{
	uint32_t most = 0, scale = 1;

	for (unsigned i = 0; i < NUMA_NODES * NUMA_NODES; i++)
		if (value[i] > most)
			most = value[i];
	while (most / scale > HMAT_MOST)
		scale *= 10;
	return scale;
}

static void put_locality(struct bytebuf *b, const struct numa *numa, const uint32_t *value, uint8_t data_type,
			 uint64_t base_unit)
{
	const struct domains from = initiators(numa), to = targets(numa);
	const uint32_t scale = scale_of(value);
	const struct hmat_locality locality = {
		.type = HMAT_LOCALITY,
		.length = (uint32_t)(sizeof(locality) + 4 * from.n + 4 * to.n + 2 * from.n * to.n),
		.data_type = data_type,
		.n_initiators = from.n,
		.n_targets = to.n,
		.base_unit = base_unit * scale,
	};

	bytebuf_put(b, &locality, sizeof(locality));
	bytebuf_put(b, from.node, 4 * from.n);
	bytebuf_put(b, to.node, 4 * to.n);
	for (unsigned i = 0; i < from.n; i++)
		for (unsigned k = 0; k < to.n; k++) {
			uint16_t entry = (uint16_t)(value[numa_pair(from.node[i], to.node[k])] / scale);

			bytebuf_put(b, &entry, sizeof(entry));
		}
}

static bool any(const uint32_t *value)
{
	for (unsigned i = 0; i < NUMA_NODES * NUMA_NODES; i++)
		if (value[i])
			return true;
	return false;
}

bool acpi_has_hmat(const struct numa *numa)
{
	return any(numa->latency_ns) || any(numa->bandwidth_mb);
}

size_t acpi_put_hmat(struct bytebuf *b, const struct numa *numa)
{
	const uint32_t reserved = 0;
	const struct domains memory = targets(numa);
	size_t at = acpi_table_begin(b, "HMAT", HMAT_REVISION);

	bytebuf_put(b, &reserved, sizeof(reserved));
	for (unsigned i = 0; i < memory.n; i++)
		put_domain(b, numa, memory.node[i]);
	if (any(numa->latency_ns))
		put_locality(b, numa, numa->latency_ns, HMAT_ACCESS_LATENCY, PS_PER_NS);
	if (any(numa->bandwidth_mb))
		put_locality(b, numa, numa->bandwidth_mb, HMAT_ACCESS_BANDWIDTH, MB_PER_UNIT);
	acpi_table_end(b, at);
	return at;
}
