/* virtio over MMIO; see virtio-mmio.h. */
#include "lkvm/virtio-mmio.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "lkvm/types.h"

#define MAGIC     0x74726976 /* "virt" */
#define VERSION   2
#define VENDOR_ID 0x4d564b4c /* "LKVM" */

/* <linux/virtio_mmio.h> may be too old for it. */
#ifndef VIRTIO_MMIO_QUEUE_RESET
#define VIRTIO_MMIO_QUEUE_RESET 0x0c0
#endif

/* Here the text asks for no polling, and Linux does not poll. */
#define RESET_PATIENCE_MS 1000

#define REGISTER_BYTES 4
#define INT_ALL        (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)

/*
 * One GSI. It has one eventfd, however many devices share it: KVM raises and lowers an
 * edge-triggered line for each signal, and with an eventfd for each device the second rise could
 * fall between the first one's rise and fall, where it is no edge.
 */
struct line {
	int fd; /* -1: no device uses it yet */
	unsigned gsi;
};

struct virtio_mmio {
	struct virtio_mmio_host *host;
	struct virtio_dev *dev;
	struct line *line;
	uint64_t base;
	uint64_t shm_base; /* 0: it shares no memory */
	int shm_slot;      /* negative: it is not there */

	/* Selected by the guest. vCPU threads may race on these, as on hardware: atomics. */
	atomic_uint device_feature_select, driver_feature_select, queue_select, shm_select;

	/*
	 * Interrupt status. Each bit of INT_ALL is here twice: raised, and (from SHOWN_SHIFT on)
	 * shown to the driver by a read. An acknowledgement takes back only what was shown, so that
	 * an event that comes between the driver's read and its acknowledgement stays.
	 */
	atomic_uint interrupt;
};

#define SHOWN_SHIFT 8

struct virtio_mmio_host {
	struct virtio_mmio_config cfg;
	struct line line[VIRTIO_MMIO_MAX_LINES];
	unsigned n;
	struct virtio_mmio *device[VIRTIO_MMIO_MAX];
	struct virtio_mmio_place place[VIRTIO_MMIO_MAX];
	uint64_t shm_next; /* address for the next device's */
};

/* ---- interrupts ---- */

/* An edge for each event, even if the status bit is set already: the driver may be past looking. */
static void interrupt_raise(struct virtio_mmio *vm, unsigned bit)
{
	atomic_fetch_or(&vm->interrupt, bit);
	event_signal(vm->line->fd);
}

static uint32_t interrupt_show(struct virtio_mmio *vm)
{
	unsigned old = atomic_load(&vm->interrupt), shown;

	do
		shown = (old | old >> SHOWN_SHIFT) & INT_ALL;
	while (!atomic_compare_exchange_weak(&vm->interrupt, &old, shown << SHOWN_SHIFT));
	return shown;
}

static void interrupt_ack(struct virtio_mmio *vm, uint32_t bits)
{
	atomic_fetch_and(&vm->interrupt, ~(bits << SHOWN_SHIFT));
}

static void queue_irq(struct virtio_dev *dev, unsigned index)
{
	(void)index;
	interrupt_raise(dev->transport, VIRTIO_MMIO_INT_VRING);
}

static void config_irq(struct virtio_dev *dev)
{
	interrupt_raise(dev->transport, VIRTIO_MMIO_INT_CONFIG);
}

/* ---- notifications ---- */

static int notify_fd(void *transport, unsigned index, int fd, bool on)
{
	struct virtio_mmio *vm = transport;
	const struct board *b = &vm->host->cfg.board;

	return b->ops->notify(b->ctx, fd, false, vm->base + VIRTIO_MMIO_QUEUE_NOTIFY,
			      REGISTER_BYTES, index, on);
}

static void reset_done(void *transport, int index)
{
	struct virtio_mmio *vm = transport;

	if (index < 0)
		atomic_store(&vm->interrupt, 0);
}

/* ---- state ---- */

struct transport_state {
	uint32_t device_feature_select, driver_feature_select, queue_select, shm_select;
	uint32_t interrupt;
};

static const struct state_field fields[] = {
	STATE_ONE(struct transport_state, device_feature_select),
	STATE_ONE(struct transport_state, driver_feature_select),
	STATE_ONE(struct transport_state, queue_select),
	STATE_ONE(struct transport_state, shm_select),
	STATE_ONE(struct transport_state, interrupt, .bits = INT_ALL | INT_ALL << SHOWN_SHIFT),
};

static int save(void *transport, void *ret_state)
{
	struct transport_state *st = ret_state;
	struct virtio_mmio *vm = transport;

	st->device_feature_select = atomic_load(&vm->device_feature_select);
	st->driver_feature_select = atomic_load(&vm->driver_feature_select);
	st->queue_select = atomic_load(&vm->queue_select);
	st->shm_select = atomic_load(&vm->shm_select);
	st->interrupt = atomic_load(&vm->interrupt);
	return 0;
}

/* Of edges that the guest has not seen yet the interrupt chips know. */
static int load(void *transport, const void *state)
{
	const struct transport_state *st = state;
	struct virtio_mmio *vm = transport;

	atomic_store(&vm->device_feature_select, st->device_feature_select);
	atomic_store(&vm->driver_feature_select, st->driver_feature_select);
	atomic_store(&vm->queue_select, st->queue_select);
	atomic_store(&vm->shm_select, st->shm_select);
	atomic_store(&vm->interrupt, st->interrupt);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("virtio-mmio", 1, struct transport_state, fields),
	.save = save,
	.load = load,
};

static const struct virtio_transport_ops transport_ops = {
	.queue_irq = queue_irq,
	.config_irq = config_irq,
	.notify_fd = notify_fd,
	.reset_done = reset_done,
	.patience_ms = RESET_PATIENCE_MS,
	.state = &state_type,
};

/* ---- registers ---- */

static uint32_t queue_get(struct virtio_mmio *vm, enum virtio_queue_field field)
{
	return (uint32_t)virtio_queue_get(vm->dev, atomic_load(&vm->queue_select), field);
}

static void queue_set(struct virtio_mmio *vm, enum virtio_queue_field field, uint64_t value)
{
	virtio_queue_set(vm->dev, atomic_load(&vm->queue_select), field, value);
}

/* Of a 64-bit address each half is a register of its own. */
static void queue_set_half(struct virtio_mmio *vm, enum virtio_queue_field field, bool high,
			   uint64_t value)
{
	unsigned index = atomic_load(&vm->queue_select);
	uint64_t old = virtio_queue_get(vm->dev, index, field);

	virtio_queue_set(vm->dev, index, field,
			 high ? (uint32_t)old | value << 32 : (old >> 32 << 32) | value);
}

/* All ones: there is no region of that id. 4.2.2.1 */
static uint32_t shm_read(struct virtio_mmio *vm, uint64_t off)
{
	const struct virtio_shm *shm = &vm->dev->shm;
	bool there = vm->shm_base && atomic_load(&vm->shm_select) == shm->id;
	uint64_t bytes = there ? shm->bytes : UINT64_MAX, base = there ? vm->shm_base : UINT64_MAX;

	switch (off) {
	case VIRTIO_MMIO_SHM_LEN_LOW:
		return (uint32_t)bytes;
	case VIRTIO_MMIO_SHM_LEN_HIGH:
		return (uint32_t)(bytes >> 32);
	case VIRTIO_MMIO_SHM_BASE_LOW:
		return (uint32_t)base;
	default:
		return (uint32_t)(base >> 32);
	}
}

static uint32_t register_read(struct virtio_mmio *vm, uint64_t off)
{
	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return vm->dev->type->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR_ID;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_get_features(vm->dev, atomic_load(&vm->device_feature_select));
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue_get(vm, VIRTIO_QUEUE_MAX_SIZE);
	case VIRTIO_MMIO_QUEUE_READY:
		return queue_get(vm, VIRTIO_QUEUE_READY);
	case VIRTIO_MMIO_QUEUE_RESET:
		return queue_get(vm, VIRTIO_QUEUE_RESET);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return interrupt_show(vm);
	case VIRTIO_MMIO_STATUS:
		return virtio_get_status(vm->dev);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return shm_read(vm, off);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return atomic_load(&vm->dev->config_generation);
	default: /* write only, or no register */
		return 0;
	}
}

static void set_status(struct virtio_mmio *vm, uint32_t status)
{
	if (status > UINT8_MAX)
		return; /* no such bits; above all, not a reset */
	virtio_set_status(vm->dev, (uint8_t)status);
}

static void register_write_queue(struct virtio_mmio *vm, uint64_t off, uint32_t value)
{
	switch (off) {
	case VIRTIO_MMIO_QUEUE_NUM:
		queue_set(vm, VIRTIO_QUEUE_SIZE, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		queue_set(vm, VIRTIO_QUEUE_READY, value);
		break;
	case VIRTIO_MMIO_QUEUE_RESET:
		queue_set(vm, VIRTIO_QUEUE_RESET, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		queue_set_half(vm, VIRTIO_QUEUE_DESC, off == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		queue_set_half(vm, VIRTIO_QUEUE_AVAIL, off == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		queue_set_half(vm, VIRTIO_QUEUE_USED, off == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	default: /* read only, or no register */
		break;
	}
}

static void register_write(struct virtio_mmio *vm, uint64_t off, uint32_t value)
{
	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		atomic_store(&vm->device_feature_select, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		atomic_store(&vm->driver_feature_select, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_set_features(vm->dev, atomic_load(&vm->driver_feature_select), value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		atomic_store(&vm->queue_select, value);
		break;
	case VIRTIO_MMIO_SHM_SEL:
		atomic_store(&vm->shm_select, value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY: /* without an ioeventfd, or for no queue */
		virtio_notify(vm->dev, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		interrupt_ack(vm, value);
		break;
	case VIRTIO_MMIO_STATUS:
		set_status(vm, value);
		break;
	default:
		register_write_queue(vm, off, value);
	}
}

/* Registers are 32 bits wide and nothing else; the configuration has fields of all widths. */
static uint64_t mmio_read(void *dev, uint64_t off, unsigned len)
{
	struct virtio_mmio *vm = dev;

	if (off >= VIRTIO_MMIO_CONFIG)
		return virtio_config_read(vm->dev, off - VIRTIO_MMIO_CONFIG, len);
	return len == REGISTER_BYTES ? register_read(vm, off) : 0;
}

static void mmio_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct virtio_mmio *vm = dev;

	if (off >= VIRTIO_MMIO_CONFIG)
		virtio_config_write(vm->dev, off - VIRTIO_MMIO_CONFIG, len, value);
	else if (len == REGISTER_BYTES)
		register_write(vm, off, (uint32_t)value);
}

static const struct bus_ops bus_ops = { mmio_read, mmio_write };

/* ---- building ---- */

int virtio_mmio_host_new(const struct virtio_mmio_config *cfg, struct virtio_mmio_host **ret)
{
	struct virtio_mmio_host *host = calloc(1, sizeof(*host));

	assert(cfg->n_gsis >= 1 && cfg->n_gsis <= VIRTIO_MMIO_MAX_LINES);
	if (!host)
		return -ENOMEM;
	host->cfg = *cfg;
	host->shm_next = cfg->shm.base;
	for (unsigned i = 0; i < cfg->n_gsis; i++)
		host->line[i] = (struct line){ -1, cfg->gsi[i] };
	*ret = host;
	return 0;
}

void virtio_mmio_host_free(struct virtio_mmio_host *host)
{
	const struct board *b;

	if (!host)
		return;
	b = &host->cfg.board;
	for (unsigned i = 0; i < host->n; i++) {
		bus_remove(host->cfg.bus, host->device[i]->base);
		if (host->device[i]->shm_slot >= 0)
			b->ops->memory_remove(b->ctx, (unsigned)host->device[i]->shm_slot);
		free(host->device[i]);
	}
	for (unsigned i = 0; i < host->cfg.n_gsis; i++) {
		if (host->line[i].fd < 0)
			continue;
		b->ops->irqfd(b->ctx, host->line[i].fd, host->line[i].gsi, false);
		close(host->line[i].fd);
	}
	free(host);
}

static int line_open(const struct board *b, struct line *line)
{
	int fd, err;

	if (line->fd >= 0)
		return 0;
	fd = event_open(0);
	if (fd < 0)
		return fd;
	err = b->ops->irqfd(b->ctx, fd, line->gsi, true);
	if (err) {
		close(fd);
		return err;
	}
	line->fd = fd;
	return 0;
}

static int put_on_bus(struct virtio_mmio *vm)
{
	const struct bus_range range = {
		.base = vm->base,
		.size = VIRTIO_MMIO_BYTES,
		.ops = &bus_ops,
		.dev = vm,
		.name = vm->dev->name,
		.gsi = vm->line->gsi,
	};
	int err = line_open(&vm->host->cfg.board, vm->line);

	return err ? err : bus_add(vm->host->cfg.bus, &range);
}

/* Aligned to its size, as a BAR would be. */
static int share_memory(struct virtio_mmio *vm)
{
	const struct virtio_mmio_config *cfg = &vm->host->cfg;
	const struct virtio_shm *shm = &vm->dev->shm;
	uint64_t at = ALIGN_UP(vm->host->shm_next, shm->bytes), end = cfg->shm.base + cfg->shm.bytes;

	if (at < vm->host->shm_next || at > end || shm->bytes > end - at)
		return -E2BIG;
	if (shm->host)
		vm->shm_slot = cfg->board.ops->memory_add(cfg->board.ctx, vm->dev->name, at, shm->host,
							  shm->bytes, shm->read_only);
	if (shm->host && vm->shm_slot < 0)
		return vm->shm_slot;
	vm->shm_base = at;
	vm->host->shm_next = at + shm->bytes;
	return 0;
}

int virtio_mmio_add(struct virtio_mmio_host *host, struct virtio_dev *dev)
{
	struct virtio_mmio *vm;
	int err;

	if (host->n == VIRTIO_MMIO_MAX)
		return -ENOSPC;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	vm->host = host;
	vm->dev = dev;
	vm->line = &host->line[host->n % host->cfg.n_gsis];
	vm->base = host->cfg.base + (uint64_t)host->n * VIRTIO_MMIO_BYTES;
	vm->shm_slot = -1;
	err = put_on_bus(vm);
	if (!err && dev->shm.bytes) {
		err = share_memory(vm);
		if (err)
			bus_remove(host->cfg.bus, vm->base);
	}
	if (err) {
		free(vm);
		return err;
	}
	host->place[host->n] = (struct virtio_mmio_place){ vm->base, vm->line->gsi };
	host->device[host->n++] = vm;
	virtio_attach(dev, &transport_ops, vm);
	return 0;
}

const struct virtio_mmio_place *virtio_mmio_places(const struct virtio_mmio_host *host,
						   unsigned *ret_n)
{
	*ret_n = host->n;
	return host->place;
}
