/*
 * What a guest can do to keep its machine from ending: rings full of requests of 4 GiB, whose
 * segments are all the same memory, then a reset of the queue, of the device, or bus mastering taken
 * away and given back, on every disk in turn and for ever. No step waits for the one before: where a
 * disk is not ready, the next one is attacked.
 *
 * With the word "string" it switches the first disk's bus mastering, decoding and MSI-X off and on for ever
 * instead, by string instructions of a thousand elements: each of them binds all vectors anew.
 *
 * It writes a dot for each round, and "not ok" with what was wrong if the machine breaks the text.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST_DEVICES 12
#define SEGS         1022
#define SEG_BYTES    (4U << 20)
#define TOGGLES      512
#define ALIASED      (32ULL << 20) /* the memory that all segments are */

static struct vdev devices[MOST_DEVICES];
static struct vdesc table[SEGS + 2] __attribute__((aligned(4096)));
static struct blk_header header __attribute__((aligned(16)));
static volatile uint8_t answer;

static void put(unsigned i, bool packed, uint64_t addr, uint32_t len, uint16_t flags)
{
	table[i].addr = addr;
	table[i].len = len;
	if (packed) {
		table[i].packed_flags = flags;
		return;
	}
	table[i].flags = (uint16_t)(flags | (i < SEGS + 1 ? D_NEXT : 0));
	table[i].next = (uint16_t)(i + 1);
}

/* One table serves all requests. */
static void fill_table(bool packed, uint32_t type)
{
	header = (struct blk_header){ type, 0, 0 };
	put(0, packed, (uint64_t)&header, sizeof(header), 0);
	for (unsigned i = 1; i <= SEGS; i++)
		put(i, packed, ALIASED, SEG_BYTES, type == BLK_IN ? D_WRITE : 0);
	put(SEGS + 1, packed, (uint64_t)&answer, 1, D_WRITE);
}

static void fill_ring(struct vring *r)
{
	const struct vbuf whole = { (uint64_t)table, sizeof(table), D_INDIRECT };

	for (unsigned i = r->size; i-- > 0;) {
		if (r->packed) {
			put_packed(r, i, &whole, (uint16_t)i);
			continue;
		}
		put_desc(r, i, whole.addr, whole.len, D_INDIRECT, 0);
		r->avail->ring[i] = (uint16_t)i;
	}
	if (!r->packed)
		r->avail->idx = r->size;
	kick(r);
}

/* A reset that is not complete leaves the status as it was. Return: it is */
static bool is_reset(struct vdev *d)
{
	struct deadline wait = { .cycles = 20 * CYCLES_MS };

	set_status(d, 0);
	while (status(d) && in_time(&wait))
		;
	return !status(d);
}

static void reset_queue(struct vdev *d)
{
	reg_write(d, R_QUEUE_SELECT, 0);
	reg_write(d, R_QUEUE_RESET, 1);
}

static void master_off_and_on(struct vdev *d)
{
	if (!d->pci)
		return;
	pci_write(d->devfn, 4, 2, 2);
	pci_write(d->devfn, 4, 2, 6);
}

static void attack(struct vdev *d, unsigned round)
{
	uint64_t features = d->offered & ~F_EVENT_IDX;

	if (!is_reset(d))
		return;
	fill_table(features & F_PACKED, round & 1 ? BLK_OUT : BLK_IN);
	CHECK(vdev_start(d, features));
	fill_ring(&d->ring[0]);
	pause_ms(1);
	if (round % 3 == 1)
		reset_queue(d);
	if (round % 3 == 2)
		master_off_and_on(d);
}

static void unmask_all(const struct vdev *d)
{
	for (unsigned v = 0; v < d->n_vectors; v++) {
		mem_write(d->table + v * 16, 4, 0xfee00000);
		mem_write(d->table + v * 16 + 8, 4, 0x40 + v);
		mem_write(d->table + v * 16 + 12, 4, 0);
	}
}

/* @n times one value and then the other */
static void toggle(const struct vdev *d, unsigned off, uint16_t one, uint16_t other, unsigned n)
{
	static uint16_t values[2 * TOGGLES];
	const uint16_t *from = values;
	uint64_t count = 2 * n;

	for (unsigned i = 0; i < n; i++) {
		values[2 * i] = one;
		values[2 * i + 1] = other;
	}
	pci_read(d->devfn, off, 2); /* the address register stays at it */
	asm volatile("rep outsw"
		     : "+S"(from), "+c"(count)
		     : "d"((uint16_t)(PCI_DATA + (off & 2)))
		     : "memory");
}

static void attack_by_strings(struct vdev *d)
{
	CHECK(vdev_start(d, d->offered) && d->n_vectors);
	pci_write(d->devfn, d->cap_msix + 2, 2, 0x8000);
	unmask_all(d);
	for (unsigned n = 1;; n = TOGGLES) {
		toggle(d, 4, 2, 6, n);
		toggle(d, 4, 4, 6, n);
		toggle(d, d->cap_msix + 2, 0, 0x8000, n);
		print(".");
	}
}

void guest_main(void)
{
	unsigned n = vdev_scan(devices, MOST_DEVICES);

	if (param_word(mb_cmdline(), "string"))
		attack_by_strings(&devices[0]);
	for (unsigned round = 0;; round++) {
		for (unsigned i = 0; i < n; i++)
			if (devices[i].id == VIRTIO_BLK)
				attack(&devices[i], round);
		print(".");
	}
}
