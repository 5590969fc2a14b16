/* The memory device; see lkvm/virtio-mem.h. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_mem.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/event.h"
#include "mem-internal.h"

#define QUEUE_SIZE 64 /* drivers have one request at a time */

/* Blocks that a request is about */
struct blocks {
	unsigned first, n;
};

static void tell_watcher(struct virtio_mem *m)
{
	const int fd = atomic_load(&m->watch_fd);

	if (fd >= 0)
		event_signal(fd);
}

static unsigned all_blocks(const struct virtio_mem *m)
{
	const struct ram_region *region = ram_region(m->ram);

	return (unsigned)(region->bytes / region->block_bytes);
}

/* ---- what becomes of blocks ---- */

/* Return: 0; or -errno: then it has none */
static int add_slot(struct virtio_mem *m, unsigned n)
{
	const struct ram_region *region = ram_region(m->ram);
	const gpa_t at = GPA(region->start + n * region->block_bytes);
	const int slot = m->board.ops->memory_add(m->board.ctx, m->dev.name, at.v, ram_host(m->ram, at, region->block_bytes),
						  region->block_bytes, false);

	m->slot[n] = slot;
	return slot < 0 ? slot : 0;
}

static int remove_slot(struct virtio_mem *m, unsigned n)
{
	const int err = m->slot[n] < 0 ? 0 : m->board.ops->memory_remove(m->board.ctx, (unsigned)m->slot[n]);

	if (!err)
		m->slot[n] = -1;
	return err;
}

/* So that each block that is plugged has one. Nobody else takes slots that were just there. */
static void add_missing_slots(struct virtio_mem *m, struct blocks b)
{
	for (unsigned n = b.first; n < b.first + b.n; n++)
		if (m->slot[n] < 0)
			add_slot(m, n);
}

/* Memory that vCPUs reach is not taken away: first the slots, then the memory. Return: 0; or -errno: nothing has changed */
static int unplug(struct virtio_mem *m, struct blocks b)
{
	int err = 0;

	for (unsigned n = b.first; !err && n < b.first + b.n; n++)
		err = remove_slot(m, n);
	if (!err)
		err = ram_unplug(m->ram, b.first, b.n);
	if (err)
		add_missing_slots(m, b);
	return err;
}

/* Return: 0; or -errno: nothing has changed */
static int plug(struct virtio_mem *m, struct blocks b)
{
	int err = ram_plug(m->ram, b.first, b.n);

	for (unsigned n = b.first; !err && n < b.first + b.n; n++) {
		err = add_slot(m, n);
		if (err)
			unplug(m, b);
	}
	return err;
}

static int unplug_all(struct virtio_mem *m)
{
	const unsigned n_blocks = all_blocks(m);
	struct blocks b = { 0 };
	int err = 0;

	for (; !err && b.first < n_blocks; b.first += b.n ? b.n : 1) {
		for (b.n = 0; b.first + b.n < n_blocks && ram_plugged(m->ram, b.first + b.n, 1); b.n++)
			;
		if (b.n)
			err = unplug(m, b);
	}
	return err;
}

/* ---- requests: 5.15.6 ---- */

static bool get_blocks(const struct virtio_mem *m, const struct virtio_mem_req *req, struct blocks *ret)
{
	/* All of them begin so. */
	const uint64_t at = le64toh(req->u.plug.addr), off = at - ram_region(m->ram)->start;
	const uint64_t block = ram_region(m->ram)->block_bytes, n = le16toh(req->u.plug.nb_blocks);

	if (at < ram_region(m->ram)->start || off >= ram_region(m->ram)->bytes || off % block || !n ||
	    n > all_blocks(m) - off / block)
		return false;
	*ret = (struct blocks){ (unsigned)(off / block), (unsigned)n };
	return true;
}

/* The host has not what it takes. It may have it later, and drivers try again. */
static uint16_t answer(struct virtio_mem *m, int err, const char *what)
{
	if (!err) {
		tell_watcher(m);
		return VIRTIO_MEM_RESP_ACK;
	}
	atomic_fetch_add(&m->n_busy, 1);
	if (ratelimit_ok(&m->busy_warning))
		log_warn("%s: cannot %s memory: %s", m->dev.name, what, strerror(-err));
	return VIRTIO_MEM_RESP_BUSY;
}

static uint16_t plug_request(struct virtio_mem *m, const struct virtio_mem_req *req)
{
	const uint64_t block = ram_region(m->ram)->block_bytes, has = ram_plugged_bytes(m->ram);
	const uint64_t requested = atomic_load(&m->requested);
	struct blocks b;

	if (!get_blocks(m, req, &b) || ram_plugged(m->ram, b.first, b.n))
		return VIRTIO_MEM_RESP_ERROR;
	if (has > requested || b.n * block > requested - has)
		return VIRTIO_MEM_RESP_NACK;
	return answer(m, plug(m, b), "plug");
}

static uint16_t unplug_request(struct virtio_mem *m, const struct virtio_mem_req *req)
{
	struct blocks b;

	if (!get_blocks(m, req, &b) || ram_plugged(m->ram, b.first, b.n) != b.n)
		return VIRTIO_MEM_RESP_ERROR;
	return answer(m, unplug(m, b), "unplug");
}

static uint16_t state_request(const struct virtio_mem *m, const struct virtio_mem_req *req, uint16_t *ret_state)
{
	struct blocks b;
	unsigned n;

	if (!get_blocks(m, req, &b))
		return VIRTIO_MEM_RESP_ERROR;
	n = ram_plugged(m->ram, b.first, b.n);
	*ret_state = n == b.n ? VIRTIO_MEM_STATE_PLUGGED : n ? VIRTIO_MEM_STATE_MIXED : VIRTIO_MEM_STATE_UNPLUGGED;
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t carry_out(struct virtio_mem *m, const struct virtio_mem_req *req, uint16_t *ret_state)
{
	switch (le16toh(req->type)) {
	case VIRTIO_MEM_REQ_PLUG:
		return plug_request(m, req);
	case VIRTIO_MEM_REQ_UNPLUG:
		return unplug_request(m, req);
	case VIRTIO_MEM_REQ_UNPLUG_ALL:
		return answer(m, unplug_all(m), "unplug");
	case VIRTIO_MEM_REQ_STATE:
		return state_request(m, req, ret_state);
	default:
		return VIRTIO_MEM_RESP_ERROR;
	}
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	const struct virtq_chain *chain = dev->chain;
	struct virtio_mem_resp resp = { 0 };
	struct virtio_mem_req req;
	uint16_t state = 0;

	if (chain->out_bytes < sizeof(req) || chain->in_bytes < sizeof(resp)) {
		virtio_break(dev, "a request of %llu bytes with room for %llu", (unsigned long long)chain->out_bytes,
			     (unsigned long long)chain->in_bytes);
		return;
	}
	virtq_read(chain, 0, &req, sizeof(req));
	resp.type = htole16(carry_out(mem_of(dev), &req, &state));
	resp.u.state.state = htole16(state);
	/* Where this is may just have been unplugged: then nobody reads it. */
	virtq_write(chain, 0, &resp, sizeof(resp));
	virtio_push(dev, index, chain->token, sizeof(resp));
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	virtio_serve(dev, index, handle);
}

/* ---- the device ---- */

/* 5.15.4: a driver without it looks at memory that is not plugged. */
static bool features_ok(const struct virtio_dev *dev, uint64_t features)
{
	(void)dev;
	return features >> VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE & 1;
}

/* What is plugged stays so: 5.15.5. */
static void reset(struct virtio_dev *dev)
{
	tell_watcher(mem_of(dev));
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	const struct virtio_mem *m = mem_of(dev);
	const struct ram_region *region = ram_region(m->ram);
	const struct virtio_mem_config config = {
		.block_size = htole64(region->block_bytes),
		.node_id = htole16((uint16_t)(m->node < 0 ? 0 : m->node)),
		.addr = htole64(region->start),
		.region_size = htole64(region->bytes),
		.usable_region_size = htole64(region->bytes),
		.plugged_size = htole64(ram_plugged_bytes(m->ram)),
		.requested_size = htole64(atomic_load(&m->requested)),
	};
	uint64_t value = 0;

	memcpy(&value, (const char *)&config + off, width);
	return le64toh(value);
}

static const struct virtio_type mem_type = {
	.name = "mem",
	.id = VIRTIO_ID_MEM,
	.queue_size = QUEUE_SIZE,
	.features_ok = features_ok,
	.kick = kick,
	.reset = reset,
	.config_read = config_read,
	.state = &mem_state_type,
};

/* Those of a machine that was saved */
static int add_slots(struct virtio_mem *m)
{
	int err = 0;

	for (unsigned n = 0; !err && n < all_blocks(m); n++)
		if (ram_plugged(m->ram, n, 1))
			err = add_slot(m, n);
	return err;
}

int virtio_mem_new(struct ram *ram, const char *name, const struct board *board, const struct mem_setup *setup,
		   struct virtio_dev **ret)
{
	struct virtio_mem *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	m->ram = ram;
	m->board = *board;
	m->most_bytes = setup->most_bytes;
	m->node = setup->node;
	m->watch_fd = -1;
	for (unsigned n = 0; n < RAM_MAX_BLOCKS; n++)
		m->slot[n] = -1;
	m->dev.type = &mem_type;
	m->dev.name = name;
	m->dev.ram = ram;
	m->dev.n_queues = 1;
	m->dev.config_bytes = sizeof(struct virtio_mem_config);
	m->dev.device_features = 1ULL << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE;
	if (setup->node >= 0)
		m->dev.device_features |= 1ULL << VIRTIO_MEM_F_ACPI_PXM;
	err = virtio_init(&m->dev);
	if (!err)
		err = add_slots(m);
	if (err)
		virtio_mem_free(&m->dev);
	else
		*ret = &m->dev;
	return err;
}

/* The blocks are the RAM's, and stay. */
void virtio_mem_free(struct virtio_dev *dev)
{
	struct virtio_mem *m;

	if (!dev)
		return;
	m = mem_of(dev);
	virtio_fini(dev);
	for (unsigned n = 0; n < RAM_MAX_BLOCKS; n++)
		remove_slot(m, n);
	free(m);
}

/* ---- for who asks: main thread ---- */

void virtio_mem_set(struct virtio_dev *dev, uint64_t bytes)
{
	virtio_config_begin(dev);
	atomic_store(&mem_of(dev)->requested, bytes);
	virtio_config_end(dev);
}

void virtio_mem_view(struct virtio_dev *dev, struct mem_view *ret)
{
	struct virtio_mem *m = mem_of(dev);

	*ret = (struct mem_view){
		.most_bytes = m->most_bytes,
		.block_bytes = ram_region(m->ram)->block_bytes,
		.requested_bytes = atomic_load(&m->requested),
		.plugged_bytes = ram_plugged_bytes(m->ram),
		.driver = (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK) && !dev->needs_reset,
		.n_busy = atomic_load(&m->n_busy),
	};
}

void virtio_mem_watch(struct virtio_dev *dev, int fd)
{
	atomic_store(&mem_of(dev)->watch_fd, fd);
}
