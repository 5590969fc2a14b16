/*
 * `lkvm stat --exits`: why the vCPUs have left the guest, and for which addresses; see control.h. All of it is there
 * already, and nothing on the way of an exit counts for it: KVM keeps its statistics (KVM_GET_STATS_FD), and the page
 * that a vCPU shares with KVM says what its last exit was, which whoever asks looks at again and again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/control.h"

#define MOST_STATS 512
#define POLL_NS     4000000L
#define LEAST_POLLS 3 /* in that time: fewer are no polling */
#define NAME_MAX_BYTES 64

/* One of KVM's descriptors, with its name */
struct stat_name {
	struct kvm_stats_desc desc;
	char name[NAME_MAX_BYTES];
};

/* ---- KVM's statistics ---- */

static bool read_all(int fd, void *buf, size_t len, off_t at)
{
	return pread(fd, buf, len, at) == (ssize_t)len;
}

/* A plain number that only grows, and is not 0; @ret_value: it */
static bool is_counter(int fd, const struct kvm_stats_header *head, const struct stat_name *s, uint64_t *ret_value)
{
	if ((s->desc.flags & KVM_STATS_TYPE_MASK) != KVM_STATS_TYPE_CUMULATIVE ||
	    (s->desc.flags & KVM_STATS_UNIT_MASK) != KVM_STATS_UNIT_NONE || s->desc.size != 1)
		return false;
	return read_all(fd, ret_value, sizeof(*ret_value), (off_t)head->data_offset + s->desc.offset) && *ret_value;
}

static void show_stats(int fd, struct json *json, FILE *out)
{
	struct kvm_stats_header head;
	struct stat_name s;
	uint64_t value;
	size_t name_bytes;

	if (!read_all(fd, &head, sizeof(head), 0))
		return;
	name_bytes = head.name_size < NAME_MAX_BYTES ? head.name_size : NAME_MAX_BYTES;
	for (uint32_t i = 0; i < head.num_desc && i < MOST_STATS; i++) {
		const off_t at = (off_t)(head.desc_offset + i * (sizeof(s.desc) + head.name_size));

		if (!read_all(fd, &s.desc, sizeof(s.desc), at) ||
		    !read_all(fd, s.name, name_bytes, at + (off_t)sizeof(s.desc)))
			return;
		s.name[name_bytes - 1] = '\0';
		if (!is_counter(fd, &head, &s, &value))
			continue;
		if (json)
			json_u64(json, s.name, value);
		else
			fprintf(out, "%12" PRIu64 "  %s\n", value, s.name);
	}
}

static void show_cpu(const struct kvm_cpu *cpu, struct json *json, FILE *out)
{
	const int fd = ioctl(cpu->fd, KVM_GET_STATS_FD, NULL);

	if (json) {
		json_object(json, NULL);
		json_u64(json, "id", cpu->id);
		json_object(json, "counters");
	} else {
		fprintf(out, "vCPU %u%s\n", cpu->id, fd < 0 ? ": this host's KVM does not tell" : "");
	}
	if (fd >= 0) {
		show_stats(fd, json, out);
		close(fd);
	}
	if (json) {
		json_end(json);
		json_end(json);
	}
}

void control_exits(const struct control *ctl, bool as_json, FILE *out)
{
	struct json json;

	json_init(&json, out);
	if (as_json)
		json_array(&json, NULL);
	for (unsigned i = 0; i < ctl->kvm->n_cpus; i++)
		show_cpu(&ctl->kvm->cpus[i], as_json ? &json : NULL, out);
	if (as_json)
		json_end(&json);
}

/* ---- the last exits ---- */

/*
 * Of newer kernels the page does not say any more what kind the last exit was, once the vCPU is in the guest again: our
 * own counters do. KVM may write while we read: what comes out is then that of two exits.
 */
static struct ipc_last_exit last_exit(const struct kvm_cpu *cpu)
{
	const volatile struct kvm_run *run = cpu->run;
	struct ipc_last_exit last = {
		.exits = atomic_load_explicit(&cpu->stats.exits, memory_order_relaxed),
		.io = atomic_load_explicit(&cpu->stats.io, memory_order_relaxed),
		.mmio = atomic_load_explicit(&cpu->stats.mmio, memory_order_relaxed),
		.port = run->io.port,
		.is_out = run->io.direction == KVM_EXIT_IO_OUT,
		.address = run->mmio.phys_addr,
		.is_write = run->mmio.is_write != 0,
	};
	const char *of_port = bus_name(&cpu->kvm->pio, last.port), *of_memory = bus_name(&cpu->kvm->mmio, last.address);

	snprintf(last.port_device, sizeof(last.port_device), "%s", of_port ? of_port : "");
	snprintf(last.device, sizeof(last.device), "%s", of_memory ? of_memory : "");
	return last;
}

static void say_polls(const struct ipc_last_exit *before, const struct ipc_last_exit *now, char *buf, size_t cap)
{
	const enum ipc_exit_kind kind = ipc_exit_kind(before, now);

	*buf = '\0';
	if (now->exits - before->exits < LEAST_POLLS)
		return;
	if (kind == IPC_EXIT_PORT)
		snprintf(buf, cap, "%s port 0x%" PRIx64 "%s%s%s", now->is_out ? "writes" : "reads", now->port,
			 *now->port_device ? " (" : "", now->port_device, *now->port_device ? ")" : "");
	else if (kind == IPC_EXIT_MEMORY)
		snprintf(buf, cap, "%s memory at 0x%" PRIx64 "%s%s%s", now->is_write ? "writes" : "reads", now->address,
			 *now->device ? " (" : "", now->device, *now->device ? ")" : "");
}

int exits_polled(const struct kvm *kvm, struct exits_polled *ret)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	struct ipc_last_exit *before = calloc(kvm->n_cpus, sizeof(*before)), now;

	if (!before)
		return -ENOMEM;
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		before[i] = last_exit(&kvm->cpus[i]);
	nanosleep(&pause, NULL);
	for (unsigned i = 0; i < kvm->n_cpus; i++) {
		now = last_exit(&kvm->cpus[i]);
		say_polls(&before[i], &now, ret[i].text, sizeof(ret[i].text));
	}
	free(before);
	return 0;
}

int control_last_exits(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_last_exit last;

	(void)body;
	for (unsigned i = 0; i < ctl->kvm->n_cpus; i++) {
		if (reply->len + sizeof(last) > sizeof(reply->body))
			break;
		last = last_exit(&ctl->kvm->cpus[i]);
		memcpy(reply->body + reply->len, &last, sizeof(last));
		reply->len += sizeof(last);
	}
	return 0;
}
