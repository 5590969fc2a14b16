/* The driver of virtio.h: transports, rings, waiting. */
#include "virtio.h"

/* ---- time ---- */

#define PATIENCE  (5000 * CYCLES_MS)

uint64_t cycles(void)
{
	uint32_t low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

bool in_time(struct deadline *d)
{
	if (!d->start) {
		d->start = cycles();
		d->cycles = d->cycles ? d->cycles : PATIENCE;
	}
	return cycles() - d->start < d->cycles;
}

void pause_ms(unsigned ms)
{
	struct deadline d = { .cycles = ms * CYCLES_MS };

	while (in_time(&d))
		asm volatile("pause");
}

/* ---- accesses of any width ---- */

uint64_t mem_read(uint64_t at, unsigned width)
{
	switch (width) {
	case 1:
		return *mem8(at);
	case 2:
		return *mem16(at);
	case 4:
		return *mem32(at);
	default:
		return *mem64(at);
	}
}

void mem_write(uint64_t at, unsigned width, uint64_t value)
{
	switch (width) {
	case 1:
		*mem8(at) = (uint8_t)value;
		break;
	case 2:
		*mem16(at) = (uint16_t)value;
		break;
	case 4:
		*mem32(at) = (uint32_t)value;
		break;
	default:
		*mem64(at) = value;
	}
}

static uint16_t pci_select(unsigned devfn, unsigned off)
{
	out32(PCI_ADDRESS, 0x80000000U | devfn << 8 | (off & 0xfc));
	return (uint16_t)(PCI_DATA + (off & 3));
}

uint32_t pci_read(unsigned devfn, unsigned off, unsigned width)
{
	uint16_t port = pci_select(devfn, off);

	return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
}

void pci_write(unsigned devfn, unsigned off, unsigned width, uint32_t value)
{
	uint16_t port = pci_select(devfn, off);

	if (width == 1)
		out8(port, (uint8_t)value);
	else if (width == 2)
		out16(port, (uint16_t)value);
	else
		out32(port, value);
}

/* ---- registers ---- */

struct place {
	uint16_t off;
	uint8_t width;
};

/* 4.1.4.3 */
static const struct place pci_place[N_VREGS] = {
	[R_DEVICE_SELECT] = { 0, 4 },  [R_DEVICE_FEATURES] = { 4, 4 },
	[R_DRIVER_SELECT] = { 8, 4 },  [R_DRIVER_FEATURES] = { 12, 4 },
	[R_STATUS] = { 20, 1 },        [R_GENERATION] = { 21, 1 },
	[R_QUEUE_SELECT] = { 22, 2 },  [R_QUEUE_MAX] = { 24, 2 },
	[R_QUEUE_SIZE] = { 24, 2 },    [R_QUEUE_READY] = { 28, 2 },
	[R_QUEUE_RESET] = { 58, 2 },   [R_DESC] = { 32, 4 },
	[R_DESC_HIGH] = { 36, 4 },     [R_AVAIL] = { 40, 4 },
	[R_AVAIL_HIGH] = { 44, 4 },    [R_USED] = { 48, 4 },
	[R_USED_HIGH] = { 52, 4 },
};

/* 4.2.2 */
static const struct place mmio_place[N_VREGS] = {
	[R_DEVICE_SELECT] = { 0x14, 4 }, [R_DEVICE_FEATURES] = { 0x10, 4 },
	[R_DRIVER_SELECT] = { 0x24, 4 }, [R_DRIVER_FEATURES] = { 0x20, 4 },
	[R_STATUS] = { 0x70, 4 },        [R_GENERATION] = { 0xfc, 4 },
	[R_QUEUE_SELECT] = { 0x30, 4 },  [R_QUEUE_MAX] = { 0x34, 4 },
	[R_QUEUE_SIZE] = { 0x38, 4 },    [R_QUEUE_READY] = { 0x44, 4 },
	[R_QUEUE_RESET] = { 0xc0, 4 },   [R_DESC] = { 0x80, 4 },
	[R_DESC_HIGH] = { 0x84, 4 },     [R_AVAIL] = { 0x90, 4 },
	[R_AVAIL_HIGH] = { 0x94, 4 },    [R_USED] = { 0xa0, 4 },
	[R_USED_HIGH] = { 0xa4, 4 },
};

static const struct place *place_of(const struct vdev *d, enum vreg r)
{
	return d->pci ? &pci_place[r] : &mmio_place[r];
}

uint64_t reg_read(const struct vdev *d, enum vreg r)
{
	return mem_read(d->reg[r], place_of(d, r)->width);
}

void reg_write(const struct vdev *d, enum vreg r, uint64_t value)
{
	mem_write(d->reg[r], place_of(d, r)->width, value);
}

void queue_address(const struct vdev *d, enum vreg r, uint64_t addr)
{
	reg_write(d, r, addr & UINT32_MAX);
	reg_write(d, r + 1, addr >> 32);
}

uint8_t status(const struct vdev *d)
{
	return (uint8_t)reg_read(d, R_STATUS);
}

void set_status(const struct vdev *d, uint8_t value)
{
	reg_write(d, R_STATUS, value);
}

/* ---- finding devices ---- */

#define MMIO_MAGIC 0x74726976

/* Where virtio-mmio devices may be. */
static const struct {
	uint64_t base;
	unsigned step, n;
} mmio_slots[] = {
	{ 0xe1000000, 0x1000, 128 }, /* lkvm */
	{ 0xfeb00000, 0x200, 24 },   /* QEMU's microvm */
};

static void place_registers(struct vdev *d, uint64_t base)
{
	for (unsigned r = 0; r < N_VREGS; r++)
		d->reg[r] = base + place_of(d, r)->off;
}

static uint64_t offered(const struct vdev *d)
{
	uint64_t low;

	reg_write(d, R_DEVICE_SELECT, 0);
	low = reg_read(d, R_DEVICE_FEATURES);
	reg_write(d, R_DEVICE_SELECT, 1);
	return low | reg_read(d, R_DEVICE_FEATURES) << 32;
}

/* Memory for guests is taken from 16 MB on, fresh and zeroed. */
static uint8_t *take_memory(uint64_t bytes)
{
	static uint64_t next = 16 << 20;
	uint64_t at = next;

	next += bytes;
	return (uint8_t *)at;
}

static void give_memory(struct vdev *d)
{
	for (unsigned i = 0; i < VDEV_RINGS; i++) {
		struct vring *r = &d->ring[i];

		r->dev = d;
		r->index = i;
		r->desc = (void *)take_memory(0x3000);
		r->avail = (volatile void *)(r->desc + 0x1000 / sizeof(*r->desc));
		r->used = (volatile void *)(r->desc + 0x2000 / sizeof(*r->desc));
	}
	d->buf = take_memory(VDEV_BUF_SIZE);
}

/* One of the capabilities of 4.1.4. */
static void virtio_cap(struct vdev *d, unsigned cap)
{
	uint64_t at = d->base + pci_read(d->devfn, cap + 8, 4);

	switch (pci_read(d->devfn, cap + 3, 1)) {
	case 1:
		place_registers(d, at);
		break;
	case 2:
		d->notify = at;
		d->notify_step = pci_read(d->devfn, cap + 16, 4);
		break;
	case 3:
		d->isr = at;
		break;
	case 4:
		d->config = at;
		break;
	case 5:
		d->cap_window = cap;
		break;
	}
}

static void pci_caps(struct vdev *d)
{
	for (unsigned cap = pci_read(d->devfn, 0x34, 1); cap;
	     cap = pci_read(d->devfn, cap + 1, 1)) {
		switch (pci_read(d->devfn, cap, 1)) {
		case 0x09:
			virtio_cap(d, cap);
			break;
		case 0x11:
			d->cap_msix = cap;
			d->n_vectors = (pci_read(d->devfn, cap + 2, 2) & 0x7ff) + 1;
			d->table = d->base + (pci_read(d->devfn, cap + 4, 4) & ~7U);
			d->pba = d->base + (pci_read(d->devfn, cap + 8, 4) & ~7U);
			break;
		}
	}
}

/* Functions beyond the first one are there only if that says so. */
static bool pci_present(unsigned devfn)
{
	return !(devfn & 7) || (pci_read(devfn & ~7U, 0x0e, 1) & 0x80);
}

static bool pci_probe(struct vdev *d, unsigned devfn)
{
	uint32_t ids = pci_read(devfn, 0, 4);

	if ((ids & 0xffff) != 0x1af4 || ids >> 16 < 0x1040)
		return false;
	*d = (struct vdev){ .pci = true, .devfn = (uint8_t)devfn, .id = (ids >> 16) - 0x1040 };
	d->base = pci_read(devfn, 0x10, 4) & ~0xfU;
	pci_write(devfn, 4, 2, 6); /* memory space, bus master */
	pci_caps(d);
	return true;
}

static bool mmio_probe(struct vdev *d, uint64_t base)
{
	/* A slot with nothing in it has device ID 0. */
	if (*mem32(base) != MMIO_MAGIC || *mem32(base + 4) != 2 || !*mem32(base + 8))
		return false;
	*d = (struct vdev){ .base = base, .id = *mem32(base + 8), .config = base + 0x100 };
	place_registers(d, base);
	return true;
}

static void finish(struct vdev *d)
{
	d->name = d->id == VIRTIO_BLK	  ? "blk" :
		  d->id == VIRTIO_CONSOLE ? "console" :
		  d->id == VIRTIO_RNG	  ? "rng" :
		  d->id == VIRTIO_NET	  ? "net" :
		  d->id == VIRTIO_VSOCK   ? "vsock" :
					    "device";
	vdev_reset(d);
	d->offered = offered(d);
	give_memory(d);
}

unsigned vdev_scan(struct vdev *ret, unsigned max)
{
	unsigned n = 0;

	for (unsigned devfn = 0; devfn < 256 && n < max; devfn++)
		if (pci_present(devfn) && pci_probe(&ret[n], devfn))
			finish(&ret[n++]);
	for (unsigned p = 0; p < sizeof(mmio_slots) / sizeof(mmio_slots[0]); p++)
		for (unsigned i = 0; i < mmio_slots[p].n && n < max; i++)
			if (mmio_probe(&ret[n], mmio_slots[p].base + i * mmio_slots[p].step))
				finish(&ret[n++]);
	return n;
}

/* ---- from reset to DRIVER_OK ---- */

void vdev_reset(struct vdev *d)
{
	struct deadline wait = { 0 };

	set_status(d, 0);
	while (status(d) && in_time(&wait))
		;
}

bool queue_is_reset(const struct vdev *d)
{
	struct deadline wait = { 0 };

	while (reg_read(d, R_QUEUE_RESET) == 1)
		if (!in_time(&wait))
			return false;
	return !reg_read(d, R_QUEUE_RESET) && !reg_read(d, R_QUEUE_READY);
}

uint8_t vdev_features(struct vdev *d, uint64_t features)
{
	vdev_reset(d);
	set_status(d, S_ACKNOWLEDGE);
	set_status(d, S_ACKNOWLEDGE | S_DRIVER);
	reg_write(d, R_DRIVER_SELECT, 0);
	reg_write(d, R_DRIVER_FEATURES, features & UINT32_MAX);
	reg_write(d, R_DRIVER_SELECT, 1);
	reg_write(d, R_DRIVER_FEATURES, features >> 32);
	set_status(d, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
	d->features = features;
	return status(d);
}

void vring_setup(struct vring *r, uint16_t size)
{
	struct vdev *d = r->dev;
	uint64_t most;

	reg_write(d, R_QUEUE_SELECT, r->index);
	most = reg_read(d, R_QUEUE_MAX);
	r->size = size ? size : (uint16_t)(most < VRING_MOST ? most : VRING_MOST);
	r->packed = d->features & F_PACKED;
	r->next = 0;
	r->wrap = true;
	for (unsigned i = 0; i < VRING_MOST; i++)
		r->desc[i] = (struct vdesc){ 0 };
	for (unsigned i = 0; i < VRING_MOST / 2 + 2; i++)
		((volatile uint32_t *)r->avail)[i] = 0;
	for (unsigned i = 0; i < VRING_MOST + 1; i++)
		((volatile uint64_t *)r->used)[i] = 0;
	reg_write(d, R_QUEUE_SIZE, r->size);
	queue_address(d, R_DESC, (uint64_t)r->desc);
	queue_address(d, R_AVAIL, (uint64_t)r->avail);
	queue_address(d, R_USED, (uint64_t)r->used);
}

static unsigned rings_of(const struct vdev *d)
{
	if (d->id == VIRTIO_NET || d->id == VIRTIO_VSOCK)
		return 3;
	if (d->id == VIRTIO_GPU || d->id == VIRTIO_INPUT)
		return 2;
	return d->id == VIRTIO_CONSOLE ? VDEV_RINGS : d->id == VIRTIO_BALLOON ? BALLOON_RINGS : 1;
}

bool vdev_start(struct vdev *d, uint64_t features)
{
	if (!(vdev_features(d, features) & S_FEATURES_OK))
		return false;
	for (unsigned i = 0; i < rings_of(d); i++) {
		vring_setup(&d->ring[i], 0);
		reg_write(d, R_QUEUE_READY, 1);
	}
	set_status(d, S_LIVE);
	return status(d) == S_LIVE;
}

/* ---- making buffers available ---- */

void notify(const struct vdev *d, unsigned queue)
{
	if (d->pci)
		*mem16(d->notify + queue * d->notify_step) = (uint16_t)queue;
	else
		*mem32(d->base + 0x50) = queue;
}

void kick(const struct vring *r)
{
	notify(r->dev, r->index);
}

static void make_available(struct vring *r, uint16_t head)
{
	r->avail->ring[r->avail->idx % r->size] = head;
	r->avail->idx++;
}

void offer(struct vring *r, uint16_t head)
{
	make_available(r, head);
	kick(r);
}

void put_desc(struct vring *r, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
	      uint16_t next)
{
	r->desc[i].addr = addr;
	r->desc[i].len = len;
	r->desc[i].flags = flags;
	r->desc[i].next = next;
}

void put_table(struct vdesc *table, const struct vbuf *buf, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		table[i] = (struct vdesc){ .addr = buf[i].addr, .len = buf[i].len };
		table[i].flags = (uint16_t)(buf[i].flags | (i + 1 < n ? D_NEXT : 0));
		table[i].next = (uint16_t)(i + 1);
	}
}

void put_packed(struct vring *r, unsigned ahead, const struct vbuf *buf, uint16_t id)
{
	unsigned at = (r->next + ahead) % r->size;
	bool wrap = r->wrap ^ (r->next + ahead >= r->size);
	volatile struct vdesc *desc = &r->desc[at];

	desc->addr = buf->addr;
	desc->len = buf->len;
	desc->id = id;
	desc->packed_flags = (uint16_t)(buf->flags ^ (wrap ? D_AVAIL : D_USED));
}

/* The first one last: only then is the chain there. */
static void add_packed(struct vring *r, const struct vbuf *buf, unsigned n)
{
	for (unsigned i = n; i-- > 0;) {
		struct vbuf b = buf[i];

		b.flags |= i + 1 < n ? D_NEXT : 0;
		put_packed(r, i, &b, r->next);
	}
}

void vring_add(struct vring *r, const struct vbuf *buf, unsigned n)
{
	if (r->packed) {
		add_packed(r, buf, n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		put_desc(r, i, buf[i].addr, buf[i].len,
			 (uint16_t)(buf[i].flags | (i + 1 < n ? D_NEXT : 0)), (uint16_t)(i + 1));
	make_available(r, 0);
}

bool vring_do(struct vring *r, const struct vbuf *buf, unsigned n)
{
	vring_add(r, buf, n);
	kick(r);
	return r->packed ? packed_answered(r, n) : answered(r);
}

/* ---- waiting ---- */

#define USED_NO_NOTIFY 1

static bool is_used(const struct vring *r)
{
	uint16_t flags = r->desc[r->next].packed_flags;

	if (r->packed)
		return !!(flags & D_USED) == r->wrap && !!(flags & D_AVAIL) == r->wrap;
	return r->used->idx != r->next;
}

static bool wait_used(const struct vring *r)
{
	struct deadline wait = { 0 };

	while (!is_used(r))
		if ((status(r->dev) & S_NEEDS_RESET) || !in_time(&wait))
			return is_used(r);
	return true;
}

bool answered(struct vring *r)
{
	if (!wait_used(r))
		return false;
	r->used_id = r->used->ring[r->next % r->size].id;
	r->used_len = r->used->ring[r->next % r->size].len;
	r->next++;
	return true;
}

bool packed_answered(struct vring *r, unsigned n)
{
	if (!wait_used(r))
		return false;
	r->used_id = r->desc[r->next].id;
	r->used_len = r->desc[r->next].len;
	r->wrap ^= r->next + n >= r->size;
	r->next = (uint16_t)((r->next + n) % r->size);
	return true;
}

bool used_reaches(const struct vring *r, uint16_t idx)
{
	struct deadline wait = { 0 };

	while (r->used->idx != idx)
		if (!in_time(&wait))
			return false;
	return true;
}

/* It takes its flag back, then looks for the last time. */
bool asleep(const struct vring *r)
{
	struct deadline wait = { 0 };

	while (r->used->flags & USED_NO_NOTIFY)
		if (!in_time(&wait))
			return false;
	pause_ms(5);
	return true;
}

bool quiet(const struct vring *r)
{
	pause_ms(10);
	return !is_used(r);
}

bool needs_reset(const struct vdev *d)
{
	struct deadline wait = { 0 };

	while (!(status(d) & S_NEEDS_RESET))
		if (!in_time(&wait))
			return false;
	return true;
}
