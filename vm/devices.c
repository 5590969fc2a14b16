/*
 * The virtio devices of the machine, all on PCI or all on MMIO.
 *
 * To add a device: virtio/NAME.c with virtio_NAME_new() and virtio_NAME_free(), a few lines here
 * that say how many the user wants and make one of them, and one line in kinds[].
 *
 * More than 500 lines: these few lines of each.
 */
#include "lkvm/vm/devices.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/ipc.h"
#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/pvpanic-pci.h"
#include "lkvm/types.h"
#include "lkvm/virtio-balloon.h"
#include "lkvm/virtio-blk.h"
#include "lkvm/virtio-console.h"
#include "lkvm/virtio-fs.h"
#include "lkvm/virtio-gpu.h"
#include "lkvm/virtio-input.h"
#include "lkvm/virtio-mem.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/virtio-net.h"
#include "lkvm/virtio-p9.h"
#include "lkvm/virtio-pci.h"
#include "lkvm/virtio-pmem.h"
#include "lkvm/virtio-rng.h"
#include "lkvm/virtio-vsock.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/option-rom.h"
#include "lkvm/vm/snapshot.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

struct virtio_kind {
	const char *name; /* "blk": its devices are blk0, blk1, ... */
	unsigned (*count)(const struct vm_config *cfg);
	/* @index: of the device among those of its kind; Return: 0 or -errno, logged */
	int (*make)(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret);
	void (*leave)(struct virtio_dev *dev); /* before all are freed one by one; may be NULL */
	void (*free)(struct virtio_dev *dev);
};

static unsigned blk_count(const struct vm_config *cfg)
{
	return cfg->n_disks;
}

static int blk_make(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret)
{
	const struct disk_config *cfg = &env->config->disks[index];
	struct disk *disk;
	int err = env->to_be_shown ? disk_none(cfg, &disk) : disk_open(cfg, &disk);

	if (err)
		return err;
	err = virtio_blk_new(env->ram, name, disk, cfg, ret);
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned rng_count(const struct vm_config *cfg)
{
	return !cfg->no_rng;
}

static int rng_make(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret)
{
	int err = virtio_rng_new(env->ram, name, &env->config->rng, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned pmem_count(const struct vm_config *cfg)
{
	return cfg->n_pmems;
}

static int pmem_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	const struct pmem_config *cfg = &env->config->pmems[index];
	const gpa_t at = hw_pmem_at(env->config, index);
	const unsigned bits = cpu_phys_bits_for(env->config->ram.size_bytes);
	struct pmem *pmem = NULL;
	int err = 0;

	if (cfg->bytes > (1ULL << bits) - at.v || at.v >> bits)
		return log_errx(-E2BIG, "%s: '%s' needs %lluMB of addresses above RAM, and those of this host end at 2^%u", name,
				cfg->path, (unsigned long long)(cfg->bytes / MIB), bits);
	if (!env->to_be_shown)
		err = pmem_open(cfg, &pmem);
	if (!err)
		err = virtio_pmem_new(env->ram, name, &env->board, pmem, at, cfg->bytes, ret);
	return err;
}

static unsigned balloon_count(const struct vm_config *cfg)
{
	return !cfg->no_balloon;
}

static int balloon_make(const struct virtio_env *env, unsigned index, const char *name,
			struct virtio_dev **ret)
{
	int err = virtio_balloon_new(env->ram, name, &env->config->balloon, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned mem_count(const struct vm_config *cfg)
{
	return cfg->ram.region.bytes != 0;
}

static int mem_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	const struct vm_config *cfg = env->config;
	const struct mem_setup setup = { .most_bytes = cfg->mem_max - cfg->ram.size_bytes, .node = cfg->numa ? 0 : -1 };
	int err = virtio_mem_new(env->ram, name, &env->board, &setup, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

/* A screen, and a keyboard and a pointer with it */
static unsigned gpu_count(const struct vm_config *cfg)
{
	return cfg->has_gpu;
}

static int gpu_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	const struct vm_config *cfg = env->config;
	struct virtio_gpu_options options = cfg->gpu;
	int err;

	options.framebuffer = !cfg->virtio_mmio && !cfg->firmware;
	err = virtio_gpu_new(env->ram, name, env->display, &options, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

static int keyboard_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	int err = virtio_input_new(env->ram, name, VIRTIO_INPUT_KEYBOARD, env->config->gpu.packed, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

static int tablet_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	int err = virtio_input_new(env->ram, name, VIRTIO_INPUT_TABLET, env->config->gpu.packed, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned console_count(const struct vm_config *cfg)
{
	return cfg->console_virtio;
}

/* Ports up to the last one that leads somewhere, so that port n is hvcN. */
static int console_make(const struct virtio_env *env, unsigned index, const char *name,
			struct virtio_dev **ret)
{
	struct virtio_console_setup setup = { .n_ports = CONFIG_TTYS, .options = env->config->hvc };
	int err;

	(void)index;
	while (setup.n_ports > 1 && !env->console[setup.n_ports - 1])
		setup.n_ports--;
	for (unsigned i = 0; i < setup.n_ports; i++)
		setup.port[i] = virtio_port_console(env->console[i]);
	setup.multiport = setup.n_ports > 1 || console_input_is_piped(env->console[0]);
	err = virtio_console_new(env->ram, name, &setup, ret);
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned session_count(const struct vm_config *cfg)
{
	return cfg->session.wanted;
}

static int session_make(const struct virtio_env *env, unsigned index, const char *name,
			struct virtio_dev **ret)
{
	const struct virtio_console_setup setup = { .port = { env->session }, .n_ports = 1, .multiport = true };
	int err = virtio_console_new(env->ram, name, &setup, ret);

	(void)index;
	return err ? log_err(err, "%s", name) : 0;
}

/* Folders are in one list, whichever protocol shares them. */
static unsigned count_folders(const struct vm_config *cfg, bool p9)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cfg->n_folders; i++)
		n += cfg->folders[i].p9 == p9;
	return n;
}

/* As large as RAM: then what a guest can use at a time has room. All together no more than a process maps. */
static uint64_t window_bytes(const struct vm_config *cfg)
{
	uint64_t bytes = 64 * MIB, n = 0;

	for (unsigned i = 0; i < cfg->n_folders; i++)
		n += cfg->folders[i].dax;
	while (bytes < cfg->ram.size_bytes && 2 * bytes * n <= FS_WINDOW_MOST)
		bytes *= 2;
	return bytes;
}

static struct fs_config folder_at(const struct vm_config *cfg, bool p9, unsigned index)
{
	const struct fs_config *folder = cfg->folders;
	struct fs_config ret;

	while (folder->p9 != p9 || index--)
		folder++;
	ret = *folder;
	ret.n_folders = cfg->n_folders;
	ret.window_bytes = ret.dax ? window_bytes(cfg) : 0;
	return ret;
}

static unsigned fs_count(const struct vm_config *cfg)
{
	return count_folders(cfg, false);
}

static int fs_make(const struct virtio_env *env, unsigned index, const char *name,
		   struct virtio_dev **ret)
{
	const struct fs_config cfg = folder_at(env->config, false, index);
	struct fuse *fuse = NULL;
	int err = env->to_be_shown ? 0 : fuse_new(&cfg, &fuse);

	if (err)
		return err;
	err = virtio_fs_new(env->ram, name, &cfg, fuse, ret);
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned p9_count_devices(const struct vm_config *cfg)
{
	return count_folders(cfg, true);
}

static int p9_make(const struct virtio_env *env, unsigned index, const char *name,
		   struct virtio_dev **ret)
{
	const struct fs_config cfg = folder_at(env->config, true, index);
	struct p9 *p9 = NULL;
	int err = env->to_be_shown ? 0 : p9_new(&cfg, &p9);

	if (err)
		return err;
	err = virtio_p9_new(env->ram, name, &cfg, p9, ret);
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned net_count(const struct vm_config *cfg)
{
	return cfg->n_nets;
}

static int net_make(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret)
{
	struct net_config *cfg = &env->config->nets[index];
	struct net *net;
	int err = 0;

	if (!cfg->has_mac)
		net_mac(env->config->name ? env->config->name : "", index, cfg->mac);
	if (cfg->kind == NET_SWITCH && !env->to_be_shown)
		err = ipc_folder_make(cfg->folder, sizeof(cfg->folder));
	if (err)
		return err;
	err = env->to_be_shown ? net_none(cfg, name, &net) : net_open(cfg, name, &net);
	if (err)
		return err;
	err = virtio_net_new(env->ram, name, net, ret);
	return err ? log_err(err, "%s", name) : 0;
}

static unsigned vsock_count(const struct vm_config *cfg)
{
	return cfg->has_vsock;
}

static int vsock_open(const struct vm_config *cfg, struct vsock_host *ret)
{
	char path[VSOCK_PATH_BYTES];
	int err = cfg->vsock.path ? 0 : ipc_path(cfg->name, IPC_VSOCK_SUFFIX, path, sizeof(path));

	if (!err)
		err = vsock_host_open(cfg->vsock.path ? cfg->vsock.path : path, ret);
	if (err)
		vsock_host_close(ret);
	return err;
}

static int vsock_make(const struct virtio_env *env, unsigned index, const char *name, struct virtio_dev **ret)
{
	const struct vm_config *cfg = env->config;
	const uint32_t cid = cfg->vsock.cid ? cfg->vsock.cid : vsock_cid_of(cfg->name);
	struct vsock_host host = { .fd = { -1, -1 } };
	int err = env->to_be_shown ? 0 : vsock_open(cfg, &host);

	(void)index;
	if (err)
		return err;
	err = virtio_vsock_new(env->ram, name, &cfg->vsock, cid, &host, ret);
	if (!err)
		return 0;
	vsock_host_close(&host);
	return log_err(err, "%s", name);
}

/* THE list, in the order in which the guest finds them. */
static const struct virtio_kind kinds[] = {
	{ "blk", blk_count, blk_make, virtio_blk_leave, virtio_blk_free },
	{ "console", console_count, console_make, NULL, virtio_console_free },
	{ "session", session_count, session_make, NULL, virtio_console_free },
	{ "rng", rng_count, rng_make, NULL, virtio_rng_free },
	{ "fs", fs_count, fs_make, NULL, virtio_fs_free },
	{ "9p", p9_count_devices, p9_make, NULL, virtio_p9_free },
	{ "net", net_count, net_make, NULL, virtio_net_free },
	{ "vsock", vsock_count, vsock_make, NULL, virtio_vsock_free },
	{ "pmem", pmem_count, pmem_make, NULL, virtio_pmem_free },
	{ "balloon", balloon_count, balloon_make, NULL, virtio_balloon_free },
	{ "mem", mem_count, mem_make, NULL, virtio_mem_free },
	{ "gpu", gpu_count, gpu_make, NULL, virtio_gpu_free },
	{ "keyboard", gpu_count, keyboard_make, NULL, virtio_input_free },
	{ "tablet", gpu_count, tablet_make, NULL, virtio_input_free },
};

struct virtio_slot {
	const struct virtio_kind *kind;
	char name[16];
	struct virtio_dev *dev;
	struct virtio_pci *transport; /* NULL: MMIO */
	struct option_rom rom;        /* zeroed: none */
};

struct virtio_list {
	struct virtio_env env;
	struct pci_host *pci; /* one of these two */
	struct virtio_mmio_host *mmio;
	struct pvpanic_pci *pvpanic; /* beside them, where there is PCI */
	unsigned n;
	struct virtio_slot *slot; /* n of them */
};

static int put_on_bus(struct virtio_list *list, struct virtio_slot *s)
{
	const struct vm_config *cfg = list->env.config;
	int err = list->mmio ? virtio_mmio_add(list->mmio, s->dev) :
			       virtio_pci_new(list->pci, s->dev, &s->transport);

	if (err == -E2BIG)
		return log_errx(err, "%s: dax needs %lluMB of addresses above RAM, and those of this host end at 2^%u",
				s->name, (unsigned long long)(s->dev->shm.bytes / MIB),
				cpu_phys_bits_for(cfg->ram.size_bytes));
	return err ? log_err(err, "put %s on the %s bus", s->name, list->mmio ? "MMIO" : "PCI") : 0;
}

/* With the ids that the function has */
static int add_rom(struct virtio_slot *s, const char *path)
{
	int err = option_rom_load(path, virtio_pci_id(s->transport), &s->rom);

	if (!err)
		virtio_pci_rom(s->transport, s->rom.data, s->rom.bytes);
	return err;
}

static int add_net_rom(struct virtio_slot *s, const struct vm_config *cfg, unsigned index)
{
	const char *path = cfg->nets[index].rom;
	char part[SNAPSHOT_PART_BYTES], saved[PATH_MAX];

	if (!path || !cfg->firmware)
		return 0;
	if (*path || !cfg->restore)
		return add_rom(s, path);
	snapshot_rom_name(part, index);
	if (snprintf(saved, sizeof(saved), "%s/%s", cfg->restore, part) >= (int)sizeof(saved))
		return log_err(-ENAMETOOLONG, "'%s'", cfg->restore);
	return add_rom(s, saved);
}

static int add_device(struct virtio_list *list, const struct virtio_kind *kind, unsigned index)
{
	struct virtio_slot *s = &list->slot[list->n++];
	int err;

	s->kind = kind;
	snprintf(s->name, sizeof(s->name), "%s%u", kind->name, index);
	err = kind->make(&list->env, index, s->name, &s->dev);
	if (!err)
		err = put_on_bus(list, s);
	if (!err && kind->make == net_make)
		err = add_net_rom(s, list->env.config, index);
	return err;
}

static int add_devices(struct virtio_list *list)
{
	const struct vm_config *cfg = list->env.config;
	unsigned total = 0;
	int err = 0;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		total += kinds[k].count(cfg);
	if (list->pci)
		pci_host_expect(list->pci, total);
	if (!list->env.to_be_shown && fs_count(cfg) + p9_count_devices(cfg))
		folders_expect();
	list->slot = calloc(total, sizeof(*list->slot));
	if (!list->slot && total)
		return log_err(-ENOMEM, "virtio devices");
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (unsigned i = 0; !err && i < kinds[k].count(cfg); i++)
			err = add_device(list, &kinds[k], i);
	return err;
}

/* A BAR is decoded wherever there is neither RAM nor a chip of the kernel's. */
static int pci_bus_new(struct virtio_list *list)
{
	const struct virtio_env *env = &list->env;
	unsigned n;
	const struct ram_part *part = ram_parts(env->ram, &n);
	const struct hw_row *window64;
	struct hardware hw;
	int err = pci_host_new(env->pio, env->mmio, &env->board, &list->pci);

	if (err)
		return err;
	if (env->config->firmware)
		pci_host_i440fx(list->pci);
	hardware_of(env->config, &hw);
	window64 = hw_find(&hw, HW_PCI_WINDOW64);
	if (window64)
		pci_host_window64(list->pci, window64->memory.base, window64->memory.size);
	for (unsigned i = 0; i < n; i++)
		pci_host_reserve(list->pci, part[i].start.v, part[i].size_bytes);
	if (env->config->n_pmems)
		pci_host_reserve(list->pci, hw_pmem_at(env->config, 0).v,
				 hw_pmem_at(env->config, env->config->n_pmems).v - hw_pmem_at(env->config, 0).v);
	if (env->config->ram.region.bytes)
		pci_host_reserve(list->pci, env->config->ram.region.start, env->config->ram.region.bytes);
	pci_host_reserve(list->pci, LAYOUT_CHIPS, LAYOUT_CHIPS_END - LAYOUT_CHIPS);
	return 0;
}

/* Last, so that it has the last addresses. With 255 virtio devices there is no place: port 0x505 has it too. */
static int add_pvpanic(struct virtio_list *list)
{
	int err = list->pci ? pvpanic_pci_new(list->pci, &list->pvpanic) : 0;

	if (err == -ENOSPC)
		log_debug(LOG_DEVICE, "no place for pvpanic on the PCI bus");
	else if (err)
		return log_err(err, "pvpanic");
	return 0;
}

static int mmio_bus_new(struct virtio_list *list)
{
	static const uint8_t gsi[] = GSIS_VIRTIO_MMIO;
	const struct virtio_env *env = &list->env;
	unsigned skip = env->config->virtio_mmio_cmdline ? GSIS_VIRTIO_MMIO_ISA : 0;
	struct virtio_mmio_config mmio = {
		.board = env->board,
		.bus = env->mmio,
		.base = LAYOUT_VIRTIO_MMIO,
		.gsi = gsi + skip,
		.n_gsis = ARRAY_SIZE(gsi) - skip,
	};
	const struct hw_row *window;
	struct hardware hw;
	int err;

	hardware_of(env->config, &hw);
	window = hw_find(&hw, HW_VIRTIO_WINDOW);
	if (window) {
		mmio.shm.base = window->memory.base;
		mmio.shm.bytes = window->memory.size;
	}
	err = virtio_mmio_host_new(&mmio, &list->mmio);
	return err ? log_err(err, "virtio over MMIO") : 0;
}

/* When all are there: a disk's child process may have been made for each. */
static int start_devices(struct virtio_list *list)
{
	int err = 0;

	for (unsigned i = 0; !err && i < list->n; i++) {
		err = virtio_dev_start(list->slot[i].dev);
		if (err)
			log_err(err, "thread of %s", list->slot[i].name);
	}
	return err;
}

int virtio_list_new(const struct virtio_env *env, struct virtio_list **ret)
{
	struct virtio_list *list = calloc(1, sizeof(*list));
	int err;

	if (!list)
		return log_err(-ENOMEM, "virtio devices");
	list->env = *env;
	err = env->config->virtio_mmio ? mmio_bus_new(list) : pci_bus_new(list);
	if (!err)
		err = add_devices(list);
	if (!err)
		err = add_pvpanic(list);
	if (!err && !env->to_be_shown)
		err = start_devices(list);
	if (err) {
		virtio_list_free(list);
		return err;
	}
	*ret = list;
	return 0;
}

const struct virtio_mmio_place *virtio_list_mmio(const struct virtio_list *list, unsigned *ret_n)
{
	*ret_n = 0;
	return list->mmio ? virtio_mmio_places(list->mmio, ret_n) : NULL;
}

void virtio_list_stop_begin(struct virtio_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->slot[i].dev)
			virtio_dev_stop_begin(list->slot[i].dev);
}

const char *virtio_list_stop_wait(struct virtio_list *list, int64_t deadline_ms)
{
	const char *hangs = NULL;

	for (unsigned i = 0; i < list->n; i++)
		if (list->slot[i].dev && !virtio_dev_stop_wait(list->slot[i].dev, deadline_ms) &&
		    !hangs)
			hangs = list->slot[i].name;
	return hangs;
}

void virtio_list_hold_begin(struct virtio_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		virtio_dev_hold_begin(list->slot[i].dev);
}

const char *virtio_list_hold_wait(struct virtio_list *list, int64_t deadline_ms)
{
	const char *busy = NULL;

	for (unsigned i = 0; i < list->n; i++)
		if (!virtio_dev_hold_wait(list->slot[i].dev, deadline_ms) && !busy)
			busy = list->slot[i].name;
	return busy;
}

void virtio_list_hold_end(struct virtio_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		virtio_dev_hold_end(list->slot[i].dev);
}

int virtio_list_each(struct virtio_list *list,
		     int (*visit)(void *ctx, const char *name, struct virtio_dev *dev), void *ctx)
{
	int err = 0;

	for (unsigned i = 0; !err && i < list->n; i++)
		err = visit(ctx, list->slot[i].name, list->slot[i].dev);
	return err;
}

struct pci_host *virtio_list_pci(const struct virtio_list *list)
{
	return list->pci;
}

/* Disks are the first of kinds[]. */
struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index)
{
	return virtio_blk_disk(list->slot[index].dev);
}

/* The @index-th of the kind that @make makes, or NULL; @list may be NULL */
static struct virtio_dev *device_of(const struct virtio_list *list, typeof(kinds[0].make) make, unsigned index)
{
	for (unsigned i = 0; list && i < list->n; i++)
		if (list->slot[i].kind->make == make && !index--)
			return list->slot[i].dev;
	return NULL;
}

struct virtio_dev *virtio_list_net(const struct virtio_list *list, unsigned index)
{
	return device_of(list, net_make, index);
}

const struct option_rom *virtio_list_rom(const struct virtio_list *list, unsigned index)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->slot[i].kind->make == net_make && !index--)
			return list->slot[i].rom.data ? &list->slot[i].rom : NULL;
	return NULL;
}

struct virtio_dev *virtio_list_vsock(const struct virtio_list *list)
{
	return device_of(list, vsock_make, 0);
}

struct virtio_dev *virtio_list_balloon(const struct virtio_list *list)
{
	return device_of(list, balloon_make, 0);
}

struct boot_framebuffer virtio_list_framebuffer(const struct virtio_list *list)
{
	struct boot_framebuffer f = { 0 };

	for (unsigned i = 0; i < list->n; i++)
		if (list->slot[i].kind->make == gpu_make && list->slot[i].transport &&
		    virtio_pci_memory(list->slot[i].transport, &f.at))
			virtio_gpu_framebuffer(list->slot[i].dev, &f.width, &f.height);
	return f;
}

struct virtio_dev *virtio_list_gpu(const struct virtio_list *list)
{
	return device_of(list, gpu_make, 0);
}

struct virtio_dev *virtio_list_keyboard(const struct virtio_list *list)
{
	return device_of(list, keyboard_make, 0);
}

struct virtio_dev *virtio_list_tablet(const struct virtio_list *list)
{
	return device_of(list, tablet_make, 0);
}

struct virtio_dev *virtio_list_mem(const struct virtio_list *list)
{
	return device_of(list, mem_make, 0);
}

bool virtio_list_mend(struct virtio_list *list)
{
	bool any = false;

	for (unsigned i = 0; i < list->n; i++) {
		struct virtio_dev *dev = list->slot[i].dev;

		any |= dev->type->mend && dev->type->mend(dev);
	}
	return any;
}

void virtio_list_free(struct virtio_list *list)
{
	if (!list)
		return;
	virtio_list_stop_begin(list);
	for (unsigned i = 0; i < list->n; i++)
		if (list->slot[i].dev && list->slot[i].kind->leave)
			list->slot[i].kind->leave(list->slot[i].dev);
	/* A device that is stopped still tells its transport. */
	for (unsigned i = 0; i < list->n; i++) {
		list->slot[i].kind->free(list->slot[i].dev);
		virtio_pci_free(list->slot[i].transport);
		option_rom_free(&list->slot[i].rom);
	}
	pvpanic_pci_free(list->pvpanic);
	pci_host_free(list->pci);
	virtio_mmio_host_free(list->mmio);
	free(list->slot);
	free(list);
}
