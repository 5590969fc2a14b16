/*
 * What a machine that is saved is made of, and the configuration that makes it again; see vm/snapshot.h.
 *
 * Not what belongs to the host's end: name, logs, time limits, where the console leads. Those are options
 * of each run.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/disk.h"
#include "lkvm/fs.h"
#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/pmem.h"
#include "lkvm/x86/layout.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define MAX_DISKS    255
#define MAX_FOLDERS  255

/* ---- the machine ---- */

struct machine_state {
	uint64_t ram_bytes;
	uint32_t cpus, disks;
	uint16_t debug_exit_port;
	uint8_t has_debug_exit, has_uuid;
	uint8_t uuid[16];
	uint8_t no_acpi, test_device, console_virtio, hvc_packed;
	uint8_t virtio_mmio, virtio_mmio_cmdline, no_rng, rng_packed;
	uint8_t tty[CONFIG_TTYS];
	uint32_t folders, session;
	uint64_t nets;
	uint32_t sockets, dies, cores, threads; /* older ones: cores of one socket */
	uint8_t vsock, vsock_packed;
	uint8_t reserved[6];
	uint8_t balloon, balloon_packed, spare[6];
	uint8_t gpu, gpu_packed, gpu_outputs, gpu_spare;
	uint16_t gpu_width, gpu_height;
};

#define FLAG(member) STATE_ONE(struct machine_state, member, .max = 1)

static const struct state_field machine_fields[] = {
	STATE_ONE(struct machine_state, ram_bytes),
	STATE_ONE(struct machine_state, cpus, .max = MAX_VCPUS),
	STATE_ONE(struct machine_state, disks, .max = MAX_DISKS),
	STATE_ONE(struct machine_state, debug_exit_port, .max = 0xfffc),
	FLAG(has_debug_exit),
	FLAG(has_uuid),
	STATE_ARRAY(struct machine_state, uuid),
	FLAG(no_acpi),
	FLAG(test_device),
	FLAG(console_virtio),
	FLAG(hvc_packed),
	FLAG(virtio_mmio),
	FLAG(virtio_mmio_cmdline),
	FLAG(no_rng),
	FLAG(rng_packed),
	STATE_ARRAY(struct machine_state, tty, .max = 1),
	STATE_ONE(struct machine_state, folders, .max = MAX_FOLDERS, .since = 2),
	STATE_ONE(struct machine_state, session, .max = 1, .since = 2),
	STATE_ONE(struct machine_state, nets, .max = NET_MAX_DEVICES, .since = 3),
	STATE_ONE(struct machine_state, sockets, .max = MAX_VCPUS, .since = 4),
	STATE_ONE(struct machine_state, dies, .max = MAX_VCPUS, .since = 4),
	STATE_ONE(struct machine_state, cores, .max = MAX_VCPUS, .since = 4),
	STATE_ONE(struct machine_state, threads, .max = MAX_VCPUS, .since = 4),
	STATE_ONE(struct machine_state, vsock, .max = 1, .since = 5),
	STATE_ONE(struct machine_state, vsock_packed, .max = 1, .since = 5),
	STATE_ARRAY(struct machine_state, reserved, .max = 1, .since = 5),
	STATE_ONE(struct machine_state, balloon, .max = 1, .since = 6),
	STATE_ONE(struct machine_state, balloon_packed, .max = 1, .since = 6),
	STATE_ARRAY(struct machine_state, spare, .since = 6),
	STATE_ONE(struct machine_state, gpu, .max = 1, .since = 7),
	STATE_ONE(struct machine_state, gpu_packed, .max = 1, .since = 7),
	STATE_ONE(struct machine_state, gpu_outputs, .max = DISPLAY_MAX_OUTPUTS, .since = 7),
	STATE_ONE(struct machine_state, gpu_spare, .since = 7),
	STATE_ONE(struct machine_state, gpu_width, .max = VIRTIO_GPU_SIZE_MOST, .since = 7),
	STATE_ONE(struct machine_state, gpu_height, .max = VIRTIO_GPU_SIZE_MOST, .since = 7),
};

static struct cpu_topology topology_of(const struct machine_state *st)
{
	return (struct cpu_topology){ st->sockets, st->dies, st->cores, st->threads };
}

static const char *machine_check(const void *state)
{
	const struct machine_state *st = state;
	const struct cpu_topology topology = topology_of(st);

	if (st->ram_bytes % RAM_PAGE_BYTES || !st->ram_bytes || st->ram_bytes > INT64_MAX)
		return "ram_bytes";
	if (!st->cpus)
		return "cpus";
	return !st->cores || topology_cpus(&topology) == st->cpus ? NULL : "cores";
}

const struct state_type snapshot_machine_type = {
	STATE_TYPE("machine", 7, struct machine_state, machine_fields),
	.check = machine_check,
};

/* What is on or off, and the option that says so */
static const struct {
	size_t in_config, in_state;
	const char *option;
} flags[] = {
#define BOTH(config_member, state_member, option)                                                  \
	{ offsetof(struct vm_config, config_member),                                               \
	  offsetof(struct machine_state, state_member), option }
	BOTH(no_acpi, no_acpi, "no-acpi"),
	BOTH(test_device, test_device, "test-device"),
	BOTH(console_virtio, console_virtio, "console virtio"),
	BOTH(hvc.packed, hvc_packed, "console virtio,packed"),
	BOTH(virtio_mmio, virtio_mmio, "virtio-transport mmio"),
	BOTH(virtio_mmio_cmdline, virtio_mmio_cmdline, "virtio-transport mmio,cmdline"),
	BOTH(no_rng, no_rng, "rng off"),
	BOTH(rng.packed, rng_packed, "rng packed"),
	BOTH(has_vsock, vsock, "vsock"),
	BOTH(vsock.packed, vsock_packed, "vsock packed"),
	BOTH(balloon.packed, balloon_packed, "balloon packed"),
	BOTH(has_gpu, gpu, "gpu"),
	BOTH(gpu.packed, gpu_packed, "gpu packed"),
	BOTH(has_debug_exit, has_debug_exit, "debug-exit"),
	BOTH(has_uuid, has_uuid, "uuid"),
	BOTH(tty[1], tty[1], "tty 1"),
	BOTH(tty[2], tty[2], "tty 2"),
	BOTH(tty[3], tty[3], "tty 3"),
#undef BOTH
};

static void describe_machine(const struct vm_config *cfg, struct machine_state *st)
{
	*st = (struct machine_state){
		.ram_bytes = cfg->ram.size_bytes,
		.cpus = cfg->cpus,
		.disks = cfg->n_disks,
		.folders = cfg->n_folders,
		.session = cfg->session.wanted,
		.nets = cfg->n_nets,
		.balloon = !cfg->no_balloon,
		.gpu_outputs = (uint8_t)cfg->gpu.outputs,
		.gpu_width = (uint16_t)cfg->gpu.width,
		.gpu_height = (uint16_t)cfg->gpu.height,
		.debug_exit_port = cfg->debug_exit_port,
		.sockets = cfg->topology.sockets,
		.dies = cfg->topology.dies,
		.cores = cfg->topology.cores,
		.threads = cfg->topology.threads,
	};
	memcpy(st->uuid, cfg->uuid, sizeof(st->uuid));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		*((uint8_t *)st + flags[i].in_state) = *(const bool *)((const char *)cfg + flags[i].in_config);
}

int snapshot_pack_machine(const struct vm_config *cfg, struct state_buf *buf)
{
	struct machine_state st;

	describe_machine(cfg, &st);
	return state_pack(buf, &snapshot_machine_type, &st);
}

/* ---- the configuration from it ---- */

/* What has no meaning for a machine that exists already. Return: 0 or -EINVAL, logged */
static int refuse_options(const struct vm_config *cfg)
{
	const struct {
		bool given;
		const char *option;
	} all[] = {
		{ cfg->kernel, "kernel" },
		{ cfg->firmware, "firmware" },
		{ cfg->firmware_vars, "firmware-vars" },
		{ cfg->n_initrds, "initrd" },
		{ cfg->params, "params" },
		{ cfg->nodefaults, "nodefaults" },
		{ cfg->cpu.n_features || cfg->cpu.model, "cpu" },
		{ cfg->dump_dtb, "dump-dtb" },
		{ cfg->dry_run, "dry-run" },
		{ cfg->n_folders, "fs" },
		{ cfg->n_pmems, "pmem" },
		{ cfg->session.root || cfg->session.root_disk, "root" },
		{ cfg->session.n_shares, "rw" },
		{ cfg->session.n_hide, "hide" },
		{ cfg->session.overlay, "overlay-size" },
		{ cfg->session.dax, "dax" },
		{ cfg->ram.path, "mem-path" },
		{ cfg->ram.share, "mem-share" },
		{ cfg->ram.hugetlbfs, "hugetlbfs" },
		{ cfg->ram.hugepages, "hugepages" },
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].given)
			err = log_errx(-EINVAL, "--%s does not go with --restore: the machine is there already",
				       all[i].option);
	return err;
}

static int other(const struct vm_config *cfg, const char *option)
{
	return log_errx(-EINVAL, "the machine in '%s' was made without --%s", cfg->restore, option);
}

static bool other_level(uint32_t given, uint32_t is)
{
	return given && given != is;
}

/* What was not given follows from the CPUs, in either case. */
static int compare_topology(const struct vm_config *cfg, const struct machine_state *st)
{
	const struct cpu_topology *t = &cfg->topology;

	if (!st->cores || (!other_level(t->sockets, st->sockets) && !other_level(t->dies, st->dies) &&
			   !other_level(t->cores, st->cores) && !other_level(t->threads, st->threads)))
		return 0;
	return log_errx(-EINVAL, "the machine in '%s' has %u sockets of %u dies of %u cores of %u threads (--cpus)",
			cfg->restore, st->sockets, st->dies, st->cores, st->threads);
}

/* Each difference, not only the first. Return: 0 or -EINVAL, logged */
static int compare(const struct vm_config *cfg, const struct machine_state *st)
{
	char has[32], wants[32];
	int err = refuse_options(cfg);

	if (cfg->ram.size_bytes && cfg->ram.size_bytes != st->ram_bytes)
		err = log_errx(-EINVAL, "the machine in '%s' has %s of RAM, not %s (--mem)", cfg->restore,
			       ram_mb_text(st->ram_bytes, has, sizeof(has)),
			       ram_mb_text(cfg->ram.size_bytes, wants, sizeof(wants)));
	if (cfg->cpus && cfg->cpus != st->cpus)
		err = log_errx(-EINVAL, "the machine in '%s' has %u CPUs, not %u (--cpus)", cfg->restore,
			       st->cpus, cfg->cpus);
	if (compare_topology(cfg, st))
		err = -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (*(const bool *)((const char *)cfg + flags[i].in_config) &&
		    !*((const uint8_t *)st + flags[i].in_state))
			err = other(cfg, flags[i].option);
	if (cfg->no_balloon && st->balloon)
		err = other(cfg, "no-balloon");
	if (cfg->gpu.outputs && cfg->gpu.outputs != st->gpu_outputs)
		err = log_errx(-EINVAL, "the machine in '%s' has %u screens, not %u (--gpu)", cfg->restore,
			       st->gpu_outputs ? st->gpu_outputs : 1, cfg->gpu.outputs);
	if (cfg->gpu.width && (cfg->gpu.width != st->gpu_width || cfg->gpu.height != st->gpu_height))
		err = log_errx(-EINVAL, "the machine in '%s' has a screen of another size, not %ux%u (--gpu)", cfg->restore,
			       cfg->gpu.width, cfg->gpu.height);
	if (cfg->session.wanted && !st->session)
		err = log_errx(-EINVAL, "the machine in '%s' takes no command: it was made without one",
			       cfg->restore);
	if (cfg->has_debug_exit && st->has_debug_exit && cfg->debug_exit_port != st->debug_exit_port)
		err = log_errx(-EINVAL, "the machine in '%s' has its debug exit at 0x%x, not 0x%x",
			       cfg->restore, st->debug_exit_port, cfg->debug_exit_port);
	if (cfg->has_uuid && st->has_uuid && memcmp(cfg->uuid, st->uuid, sizeof(st->uuid)))
		err = log_errx(-EINVAL, "the machine in '%s' has another UUID", cfg->restore);
	return err;
}

/* The guest's RAM is to come from the snapshot's. */
static int take_ram(struct vm_config *cfg, const struct snapshot *snap, uint64_t bytes)
{
	struct stat st;

	if (fstat(snapshot_ram(snap), &st))
		return log_err(-errno, "'%s/%s'", snapshot_path(snap), SNAPSHOT_RAM);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != bytes + cfg->ram.region.bytes)
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: '%s' is not as long as its RAM",
				snapshot_path(snap), SNAPSHOT_RAM);
	cfg->ram.size_bytes = bytes;
	cfg->ram.saved = true;
	cfg->ram.saved_fd = snapshot_ram(snap);
	return 0;
}

/* Return: -EINVAL: it is another machine; how many disks, folders and networks it has is told then, too */
static int take_machine(struct vm_config *cfg, uint32_t *ret_disks, unsigned *ret_folders, unsigned *ret_nets)
{
	struct machine_state st;
	int err = snapshot_take(cfg->snapshot, "machine", &snapshot_machine_type, &st);

	if (err)
		return err;
	*ret_disks = st.disks;
	*ret_folders = st.folders;
	*ret_nets = (unsigned)st.nets;
	err = compare(cfg, &st);
	if (!err)
		err = snapshot_take_plug(cfg, st.ram_bytes);
	if (!err)
		err = take_ram(cfg, cfg->snapshot, st.ram_bytes);
	if (err)
		return err;
	cfg->cpus = st.cpus;
	cfg->topology = topology_of(&st);
	cfg->session.wanted = st.session;
	cfg->no_balloon = !st.balloon;
	cfg->gpu.outputs = st.gpu_outputs;
	cfg->gpu.width = st.gpu_width;
	cfg->gpu.height = st.gpu_height;
	cfg->debug_exit_port = st.debug_exit_port;
	memcpy(cfg->uuid, st.uuid, sizeof(st.uuid));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		*(bool *)((char *)cfg + flags[i].in_config) = *((const uint8_t *)&st + flags[i].in_state);
	return 0;
}

/* Also of how many disks and folders */
static int is_same(struct snapshot *snap, const struct vm_config *cfg)
{
	struct machine_state is, was;
	int err = snapshot_take(snap, "machine", &snapshot_machine_type, &was);

	describe_machine(cfg, &is);
	return err || !memcmp(&is, &was, sizeof(is)) ? err : -EINVAL;
}

int snapshot_take_same(struct snapshot *snap, struct vm_config *cfg)
{
	int err = is_same(snap, cfg);

	if (!err)
		err = snapshot_same_disks(snap, cfg);
	if (!err)
		err = snapshot_skip_folders(snap, cfg->n_folders);
	if (!err)
		err = snapshot_skip_nets(snap, cfg->n_nets);
	snapshot_skip_lists(snap);
	snapshot_skip_numa(snap);
	snapshot_skip_plug(snap);
	if (!err)
		err = take_ram(cfg, snap, cfg->ram.size_bytes);
	if (!err)
		cfg->snapshot = snap;
	return err;
}

/* Nobody but `lkvm run -- CMD` knows what it waits for. */
static int refuse_warm(const struct vm_config *cfg)
{
	struct state_reader in;

	return snapshot_find(cfg->snapshot, "warm", &in) ? 0 :
		       log_errx(-EINVAL, "'%s' is a warm start: lkvm run -- COMMAND goes on from it by itself",
				cfg->restore);
}

int snapshot_take_config(struct vm_config *cfg)
{
	unsigned n_folders = 0, n_nets = 0;
	uint32_t n_disks = 0;
	int err = refuse_warm(cfg), disks_err;

	if (err)
		return err;
	err = take_machine(cfg, &n_disks, &n_folders, &n_nets);
	if (err && err != -EINVAL)
		return err;
	disks_err = snapshot_take_disks(cfg, n_disks); /* each difference is named */
	err = err ? err : disks_err;
	if (!err)
		err = snapshot_take_folders(cfg, n_folders);
	if (!err)
		err = snapshot_take_nets(cfg, n_nets);
	if (!err)
		err = snapshot_take_firmware(cfg);
	if (!err)
		err = snapshot_take_pmems(cfg);
	if (!err)
		err = snapshot_take_lists(cfg);
	if (!err)
		err = snapshot_take_numa(cfg);
	return err ? err : snapshot_check_written(cfg->snapshot);
}

/* ---- all of it ---- */

int snapshot_describe(struct snapshot_writer *w, const struct vm *vm, const bool *copied, bool copy,
		      char *ret_why, size_t cap)
{
	int err = snapshot_begin(w, "machine");

	if (!err)
		err = snapshot_pack_machine(vm->cfg, &w->buf);
	snprintf(ret_why, cap, "its description: %s", strerror(ENOMEM));
	for (unsigned i = 0; !err && i < vm->cfg->n_disks; i++) {
		err = snapshot_describe_disk(w, vm, i, copied[i]);
		if (err)
			snprintf(ret_why, cap, "disk '%s': %s", vm->cfg->disks[i].path, strerror(-err));
	}
	for (unsigned i = 0; !err && i < vm->cfg->n_folders; i++) {
		err = snapshot_describe_folder(w, &vm->cfg->folders[i], i);
		if (err)
			snprintf(ret_why, cap, "folder '%s': %s", vm->cfg->folders[i].path, strerror(-err));
	}
	for (unsigned i = 0; !err && i < vm->cfg->n_nets; i++) {
		err = snapshot_describe_net(w, &vm->cfg->nets[i], i);
		if (err)
			snprintf(ret_why, cap, "network '%s': %s", vm->cfg->nets[i].arg, strerror(-err));
	}
	for (unsigned i = 0; !err && i < vm->cfg->n_pmems; i++) {
		err = snapshot_describe_pmem(w, &vm->cfg->pmems[i], i);
		if (err)
			snprintf(ret_why, cap, "persistent memory '%s': %s", vm->cfg->pmems[i].path,
				 err == -EOPNOTSUPP ? "the guest may write to it (it is not 'ro')" : strerror(-err));
	}
	if (!err) {
		err = snapshot_describe_firmware(w, vm, copy);
		if (err)
			snprintf(ret_why, cap, "its firmware: %s", strerror(-err));
	}
	if (!err)
		err = snapshot_describe_lists(w, &vm->cfg->session.lists);
	if (!err)
		err = snapshot_describe_numa(w, vm->cfg->numa);
	if (!err)
		err = snapshot_describe_plug(w, vm->cfg, vm->ram);
	return err ? err : snapshot_describe_cpuid(w, vm->cpuid);
}
