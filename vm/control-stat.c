/* `lkvm stat`: what a guest has cost so far; see control.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "lkvm/console.h"
#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/virtio-vsock.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"

struct counters {
	uint64_t exits, io, mmio, intr, other;
};

static struct counters counters_of(const struct kvm_cpu *cpu)
{
	return (struct counters){
		.exits = atomic_load_explicit(&cpu->stats.exits, memory_order_relaxed),
		.io = atomic_load_explicit(&cpu->stats.io, memory_order_relaxed),
		.mmio = atomic_load_explicit(&cpu->stats.mmio, memory_order_relaxed),
		.intr = atomic_load_explicit(&cpu->stats.intr, memory_order_relaxed),
		.other = atomic_load_explicit(&cpu->stats.other, memory_order_relaxed),
	};
}

/*
 * How much of the guest's RAM the host holds in memory, from /proc/self/smaps: each mapping has a
 * line with its range, then lines "Rss: N kB" and for huge pages "Private_Hugetlb: N kB".
 * Return: 0, or -errno where there is no /proc
 */
static int ram_resident(const struct ram *ram, uint64_t *ret_bytes)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	uint64_t start, end, kib, sum_kib = 0;
	bool ours = false;
	char line[512];
	gpa_t gpa;

	if (!smaps)
		return -errno;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			ours = !ram_gpa_of(ram, (void *)(uintptr_t)start, &gpa) &&
			       !ram_gpa_of(ram, (void *)(uintptr_t)(end - 1), &gpa);
		else if (ours && (sscanf(line, "Rss: %" SCNu64, &kib) == 1 ||
				  sscanf(line, "Private_Hugetlb: %" SCNu64, &kib) == 1 ||
				  sscanf(line, "Shared_Hugetlb: %" SCNu64, &kib) == 1))
			sum_kib += kib;
	}
	fclose(smaps);
	*ret_bytes = sum_kib * KIB;
	return 0;
}

static void console_counts(const struct control *ctl, uint64_t *ret_bytes, uint64_t *ret_writes)
{
	*ret_bytes = *ret_writes = 0;
	if (ctl->console)
		console_stats(ctl->console, ret_bytes, ret_writes);
}

static void vsock_text(const struct control *ctl, FILE *out)
{
	struct vsock_stats stats;

	if (!ctl->vsock)
		return;
	virtio_vsock_stats(ctl->vsock, &stats);
	fprintf(out, "vsock:    CID %u, %s; %" PRIu64 " connections, %" PRIu64 " so far, %" PRIu64 " bytes to the guest, %"
		PRIu64 " from it\n", virtio_vsock_cid(ctl->vsock), virtio_vsock_host(ctl->vsock)->path[VSOCK_STREAM],
		stats.connections, stats.opened, stats.to_guest, stats.to_host);
}

static void vsock_json(const struct control *ctl, struct json *json)
{
	struct vsock_stats stats;

	if (!ctl->vsock)
		return;
	virtio_vsock_stats(ctl->vsock, &stats);
	json_object(json, "vsock");
	json_u64(json, "cid", virtio_vsock_cid(ctl->vsock));
	json_str(json, "path", virtio_vsock_host(ctl->vsock)->path[VSOCK_STREAM]);
	json_u64(json, "connections", stats.connections);
	json_u64(json, "opened", stats.opened);
	json_u64(json, "bytes_to_guest", stats.to_guest);
	json_u64(json, "bytes_from_guest", stats.to_host);
	json_end(json);
}

static void stat_text(const struct control *ctl, FILE *out)
{
	const struct kvm *kvm = ctl->kvm;
	uint64_t ns = control_uptime_ns(ctl), resident, bytes, writes;
	char mb[24];

	console_counts(ctl, &bytes, &writes);
	fprintf(out, "name:     %s\n", ctl->config->name);
	fprintf(out, "PID:      %d\n", getpid());
	fprintf(out, "state:    %s\n", ipc_state_name(control_state(ctl->kvm)));
	fprintf(out, "uptime:   %" PRIu64 ".%03" PRIu64 " s\n", ns / 1000000000, ns / 1000000 % 1000);
	fprintf(out, "RAM:      %s", ram_mb_text(ram_bytes(kvm->ram), mb, sizeof(mb)));
	if (!ram_resident(kvm->ram, &resident))
		fprintf(out, ", of which %s resident", ram_mb_text(resident, mb, sizeof(mb)));
	fputc('\n', out);
	control_mem_text(ctl, out);
	control_balloon_text(ctl, out);
	control_screen_text(ctl, out);
	fprintf(out, "console:  %" PRIu64 " bytes in %" PRIu64 " writes\n", bytes, writes);
	control_nets_text(ctl, out);
	vsock_text(ctl, out);
	fputc('\n', out);
	fprintf(out, "vCPU %12s %12s %12s %10s %10s\n", "exits", "io", "mmio", "intr", "other");
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		struct counters n = counters_of(&kvm->cpus[i]);

		fprintf(out, "%4u %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n",
			i, n.exits, n.io, n.mmio, n.intr, n.other);
	}
}

static void stat_json(const struct control *ctl, FILE *out)
{
	const struct kvm *kvm = ctl->kvm;
	uint64_t resident, bytes, writes;
	struct json json;

	console_counts(ctl, &bytes, &writes);
	json_init(&json, out);
	json.flat_depth = 2;
	json_object(&json, NULL);
	json_str(&json, "name", ctl->config->name);
	json_i64(&json, "pid", getpid());
	json_str(&json, "state", ipc_state_name(control_state(ctl->kvm)));
	json_u64(&json, "uptime_ns", control_uptime_ns(ctl));
	json_u64(&json, "ram_bytes", ram_bytes(kvm->ram));
	if (!ram_resident(kvm->ram, &resident))
		json_u64(&json, "ram_resident_bytes", resident);
	control_mem_json(ctl, &json);
	control_balloon_json(ctl, &json);
	control_screen_json(ctl, &json);
	json_u64(&json, "console_bytes", bytes);
	json_u64(&json, "console_writes", writes);
	control_nets_json(ctl, &json);
	vsock_json(ctl, &json);
	json_array(&json, "vcpus");
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		struct counters n = counters_of(&kvm->cpus[i]);

		json_object(&json, NULL);
		json_u64(&json, "id", i);
		json_u64(&json, "exits", n.exits);
		json_u64(&json, "io", n.io);
		json_u64(&json, "mmio", n.mmio);
		json_u64(&json, "intr", n.intr);
		json_u64(&json, "other", n.other);
		json_end(&json);
	}
	json_end(&json);
	json_end(&json);
}

void control_stat(const struct control *ctl, bool json, FILE *out)
{
	(json ? stat_json : stat_text)(ctl, out);
}
