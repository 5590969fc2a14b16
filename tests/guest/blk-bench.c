/*
 * Benchmark: requests to the first block device at a constant depth. After each of a number of
 * periods it prints "REQUESTS CYCLES NOTIFICATIONS". Parameters:
 *
 *	periods= how many
 *	cycles=  how long each of them is
 *	depth=   requests in flight, up to 64
 *	bytes=   of a request; depth * bytes up to 64 MB
 *	write=   0 or 1
 *	random=  0 or 1: where; all of them, as tests/bench/aio.c has it
 *
 * Software virtualizers run a guest a thousand times slower than a processor does, so this one does
 * next to nothing for a request: all descriptors and the whole available ring are written before
 * it begins, only the sector is new. Interrupts are asked for as Linux's driver does, by event
 * index, one for the next answer after all were seen; but the local APIC is off and drops them: it
 * polls.
 */
#include "virtio.h"

#define START_INFO_CMDLINE 24 /* offset in PVH's struct hvm_start_info */

/* A page each, from 64 MB on; then the data. */
#define TABLES     0x4000000ULL
#define HEADERS    0x4010000ULL
#define STATUSES   0x4020000ULL
#define DATA       0x4100000ULL
#define MOST_DATA  0x4000000ULL
#define MOST_DEPTH 64

/* An odd number of requests, by the golden ratio of 2^32 of them: no two steps are neighbours. */
#define RANDOM_STEP 0x9e3779b1ULL

/* Without it a disk makes every single write stable. */
#define F_FLUSH F(9)

#define MOST_DEVICES 32

struct bench {
	struct vring *r;
	unsigned depth, bytes;
	bool write;
	uint64_t sector, step, mask;
	uint16_t sent, seen;
	uint64_t done, kicks;
};

static struct vdev devices[MOST_DEVICES];

static struct vdev *find_disk(void)
{
	unsigned n = vdev_scan(devices, MOST_DEVICES);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == VIRTIO_BLK)
			return &devices[i];
	print("no block device\n");
	guest_exit(3);
}

static struct blk_header *header(unsigned slot)
{
	return (struct blk_header *)HEADERS + slot;
}

/* Each slot of the ring: an indirect table of header, data, status. */
static void prepare_slot(const struct bench *b, unsigned slot)
{
	struct vdesc *table = (struct vdesc *)TABLES + 4 * slot;
	const struct vbuf bufs[] = {
		{ (uint64_t)header(slot), sizeof(struct blk_header), 0 },
		{ DATA + (uint64_t)(slot % b->depth) * b->bytes, b->bytes, b->write ? 0 : D_WRITE },
		{ STATUSES + slot, 1, D_WRITE },
	};

	*header(slot) = (struct blk_header){ .type = b->write ? BLK_OUT : BLK_IN };
	*mem8(STATUSES + slot) = BLK_OK;
	put_table(table, bufs, 3);
	put_desc(b->r, slot, (uint64_t)table, 3 * sizeof(*table), D_INDIRECT, 0);
	b->r->avail->ring[slot] = (uint16_t)slot;
}

static void fence(void)
{
	asm volatile("lock addl $0, (%%rsp)" : : : "memory");
}

/* The device wants to hear of it if its event index is among the new ones. */
static void notify_if_wanted(struct bench *b, uint16_t old)
{
	uint16_t event = (uint16_t)b->r->used->ring[b->r->size].id;

	if ((uint16_t)(b->sent - event - 1) >= (uint16_t)(b->sent - old))
		return;
	kick(b->r);
	b->kicks++;
}

static void send(struct bench *b, unsigned n)
{
	const uint16_t old = b->sent;
	uint64_t sector = b->sector;

	for (unsigned i = 0; i < n; i++) {
		header((uint16_t)(old + i) % b->r->size)->sector = sector;
		sector = (sector + b->step) & b->mask;
	}
	b->sector = sector;
	b->sent = (uint16_t)(old + n);
	asm volatile("" : : : "memory");
	b->r->avail->idx = b->sent;
	fence();
	notify_if_wanted(b, old);
}

static void wait(struct bench *b)
{
	struct deadline patience = { 0 };

	while (b->r->used->idx == b->seen)
		for (unsigned i = 0; b->r->used->idx == b->seen && i < 10000; i++)
			if (i == 9999 && !in_time(&patience)) {
				print("no answer\n");
				guest_exit(3);
			}
	b->done += (uint16_t)(b->r->used->idx - b->seen);
	b->seen = b->r->used->idx;
	b->r->avail->ring[b->r->size] = b->seen; /* used_event: the next one interrupts */
}

/*
 * Slots are used in turn, and answers may come in any order: at the end of each lap all must have
 * come, before the first slot is used again.
 */
static unsigned may_send(const struct bench *b)
{
	unsigned flying = (uint16_t)(b->sent - b->seen);
	unsigned lap = b->r->size - b->sent % b->r->size;
	unsigned room = b->depth - flying;

	if (lap == b->r->size && flying)
		return 0;
	return room < lap ? room : lap;
}

static void period(struct bench *b, uint64_t length)
{
	const uint64_t start = cycles();

	b->done = b->kicks = 0;
	while (cycles() - start < length) {
		unsigned n = may_send(b);

		if (n)
			send(b, n);
		wait(b);
	}
	while (b->seen != b->sent)
		wait(b);
	print_decimal(b->done);
	print(" ");
	print_decimal(cycles() - start);
	print(" ");
	print_decimal(b->kicks);
	print("\n");
}

static void check_statuses(const struct bench *b)
{
	for (unsigned i = 0; i < b->r->size; i++)
		CHECK_EQ(*mem8(STATUSES + i), BLK_OK);
}

/* Interrupts of queue 0 by the first vector, as a message that wakes nobody. */
static void use_msix(const struct vdev *d)
{
	pci_write(d->devfn, d->cap_msix + 2, 2, 0x8000);
	mem_write(d->table, 4, LAPIC);
	mem_write(d->table + 4, 4, 0);
	mem_write(d->table + 8, 4, 0x50);
	mem_write(d->table + 12, 4, 0);
	mem_write(d->reg[R_DEVICE_SELECT] + 26, 2, 0); /* queue_msix_vector */
}

/* Positions wrap at the largest power of two that fits into the disk. */
static void set_positions(struct bench *b, bool random)
{
	uint64_t capacity = *mem32(b->r->dev->config), sectors = b->bytes / SECTOR;

	b->mask = 1;
	while (b->mask * 2 <= capacity)
		b->mask *= 2;
	b->mask--;
	b->step = (random ? RANDOM_STEP : 1) * sectors;
	CHECK(b->mask >= sectors);
	CHECK(!(sectors & (sectors - 1)));
}

void guest_main(void)
{
	const char *cmdline = (const char *)*mem64((boot_rbx & UINT32_MAX) + START_INFO_CMDLINE);
	struct vdev *d = find_disk();
	struct bench b = {
		.r = &d->ring[0],
		.depth = (unsigned)param(cmdline, "depth"),
		.bytes = (unsigned)param(cmdline, "bytes"),
		.write = param(cmdline, "write"),
	};

	CHECK(b.depth && b.depth <= MOST_DEPTH);
	CHECK((uint64_t)b.depth * b.bytes <= MOST_DATA);
	CHECK(vdev_start(d, d->offered & (F_VERSION_1 | F_INDIRECT | F_EVENT_IDX | F_FLUSH)));
	set_positions(&b, param(cmdline, "random"));
	for (unsigned i = 0; i < b.r->size; i++)
		prepare_slot(&b, i);
	if (d->pci)
		use_msix(d);
	for (unsigned n = (unsigned)param(cmdline, "periods"); n; n--)
		period(&b, param(cmdline, "cycles"));
	check_statuses(&b);
	vdev_reset(d);
}
