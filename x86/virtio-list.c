/*
 * The virtio devices of the machine, all on PCI or all on MMIO.
 *
 * To add a device: virtio/NAME.c with virtio_NAME_new() and virtio_NAME_free(), a few lines here
 * that say how many the user wants and make one of them, and one line in kinds[].
 */
#include "lkvm/x86/virtio-list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/log.h"
#include "lkvm/pci.h"
#include "lkvm/types.h"
#include "lkvm/virtio-blk.h"
#include "lkvm/virtio-console.h"
#include "lkvm/virtio-mmio.h"
#include "lkvm/virtio-pci.h"
#include "lkvm/virtio-rng.h"
#include "lkvm/x86/layout.h"

struct virtio_kind {
	const char *name; /* "blk": its devices are blk0, blk1, ... */
	unsigned (*count)(const struct vm_config *cfg);
	/* @index: of the device among those of its kind; Return: 0 or -errno, logged */
	int (*make)(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret);
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
	int err = disk_open(cfg, &disk);

	if (err)
		return err;
	err = virtio_blk_new(env->ram, name, disk, cfg, ret);
	return err ? log_err(err, "%s", name) : 0;
}

/* For those who write drivers: others are faster with split rings, or know no packed ones. */
static void offer_packed(struct virtio_dev *dev, bool on)
{
	if (on)
		dev->device_features |= 1ULL << VIRTIO_F_RING_PACKED;
}

static unsigned rng_count(const struct vm_config *cfg)
{
	return !cfg->no_rng;
}

static int rng_make(const struct virtio_env *env, unsigned index, const char *name,
		    struct virtio_dev **ret)
{
	int err = virtio_rng_new(env->ram, name, ret);

	(void)index;
	if (err)
		return log_err(err, "%s", name);
	offer_packed(*ret, env->config->rng_packed);
	return 0;
}

static unsigned console_count(const struct vm_config *cfg)
{
	return cfg->console_virtio;
}

/* Ports up to the last one that leads somewhere, so that port n is hvcN. */
static int console_make(const struct virtio_env *env, unsigned index, const char *name,
			struct virtio_dev **ret)
{
	struct virtio_console_setup setup = { .console = env->console,
					      .n_ports = CONFIG_TTYS };
	int err;

	(void)index;
	while (setup.n_ports > 1 && !env->console[setup.n_ports - 1])
		setup.n_ports--;
	setup.multiport = setup.n_ports > 1 || console_input_is_piped(env->console[0]);
	err = virtio_console_new(env->ram, name, &setup, ret);
	if (err)
		return log_err(err, "%s", name);
	offer_packed(*ret, env->config->console_packed);
	return 0;
}

/* THE list, in the order in which the guest finds them. */
static const struct virtio_kind kinds[] = {
	{ "blk", blk_count, blk_make, virtio_blk_free },
	{ "console", console_count, console_make, virtio_console_free },
	{ "rng", rng_count, rng_make, virtio_rng_free },
};

struct virtio_slot {
	const struct virtio_kind *kind;
	char name[16];
	struct virtio_dev *dev;
	struct virtio_pci *transport; /* NULL: MMIO */
};

struct virtio_list {
	struct virtio_env env;
	struct pci_host *pci; /* one of these two */
	struct virtio_mmio_host *mmio;
	unsigned n;
	struct virtio_slot *slot; /* n of them */
};

static int add_device(struct virtio_list *list, const struct virtio_kind *kind, unsigned index)
{
	struct virtio_slot *s = &list->slot[list->n++];
	int err;

	s->kind = kind;
	snprintf(s->name, sizeof(s->name), "%s%u", kind->name, index);
	err = kind->make(&list->env, index, s->name, &s->dev);
	if (err)
		return err;
	if (list->mmio)
		err = virtio_mmio_add(list->mmio, s->dev);
	else
		err = virtio_pci_new(list->pci, s->dev, &s->transport);
	return err ? log_err(err, "put %s on the %s bus", s->name, list->mmio ? "MMIO" : "PCI") : 0;
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
	list->slot = calloc(total, sizeof(*list->slot));
	if (!list->slot && total)
		return log_err(-ENOMEM, "virtio devices");
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
		for (unsigned i = 0; !err && i < kinds[k].count(cfg); i++)
			err = add_device(list, &kinds[k], i);
	return err;
}

static int bus_new(struct virtio_list *list)
{
	static const uint8_t gsi[] = GSIS_VIRTIO_MMIO;
	const struct virtio_env *env = &list->env;
	unsigned skip = env->config->virtio_mmio_cmdline ? GSIS_VIRTIO_MMIO_ISA : 0;
	const struct virtio_mmio_config mmio = {
		.machine = env->machine,
		.bus = env->mmio,
		.base = LAYOUT_VIRTIO_MMIO,
		.gsi = gsi + skip,
		.n_gsis = ARRAY_SIZE(gsi) - skip,
	};
	int err;

	if (!env->config->virtio_mmio)
		return pci_host_new(env->pio, env->mmio, &env->machine, &list->pci);
	err = virtio_mmio_host_new(&mmio, &list->mmio);
	return err ? log_err(err, "virtio over MMIO") : 0;
}

int virtio_list_new(const struct virtio_env *env, struct virtio_list **ret)
{
	struct virtio_list *list = calloc(1, sizeof(*list));
	int err;

	if (!list)
		return log_err(-ENOMEM, "virtio devices");
	list->env = *env;
	err = bus_new(list);
	if (!err)
		err = add_devices(list);
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

void virtio_list_free(struct virtio_list *list)
{
	if (!list)
		return;
	/* A device that is stopped still tells its transport. */
	for (unsigned i = 0; i < list->n; i++) {
		list->slot[i].kind->free(list->slot[i].dev);
		virtio_pci_free(list->slot[i].transport);
	}
	pci_host_free(list->pci);
	virtio_mmio_host_free(list->mmio);
	free(list->slot);
	free(list);
}
