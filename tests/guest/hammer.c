/*
 * Does all it can, for ever: each processor writes memory and asks chips, the first one also has every
 * virtio device work. For tests that make the machine stand still. "disk=BYTES" of the disks are written.
 */
#include "cpus.h"
#include "multiboot.h"
#include "virtio.h"

#define MOST_DEVICES  8
#define SCRATCH_BYTES 4096
#define BLK_BYTES     4096

static struct vdev devices[MOST_DEVICES];
static volatile uint64_t scratch[4][SCRATCH_BYTES / 8];

/* Serial scratch register, clock, power management timer. */
static void ask_chips(unsigned round)
{
	out8(0x3ff, (uint8_t)round);
	out8(0x70, (uint8_t)(round % 64));
	in8(0x71);
	in8(0x3fd);
}

static void work(volatile uint64_t *memory, unsigned round)
{
	for (unsigned i = 0; i < SCRATCH_BYTES / 8; i++)
		memory[i] += round + i;
	ask_chips(round);
}

void ap_main(void)
{
	static uint32_t last;
	const uint32_t me = __atomic_add_fetch(&last, 1, __ATOMIC_SEQ_CST);

	for (unsigned round = 0;; round++)
		work(scratch[me % 4], round);
}

static void write_disk(struct vdev *d, unsigned round, uint64_t bytes)
{
	const uint64_t sector = (uint64_t)round * (BLK_BYTES / SECTOR) % (bytes / SECTOR);

	*mem64(BLK_DATA(d)) = round | 0x8000000080;
	CHECK_EQ(blk_do(&d->ring[0], BLK_OUT, sector, BLK_BYTES), BLK_OK);
}

static void serve(struct vdev *d, unsigned round, uint64_t bytes)
{
	if (d->id == VIRTIO_BLK)
		write_disk(d, round, bytes);
	else if (d->id == VIRTIO_BALLOON)
		CHECK(vdev_works(d)); /* it takes a page of its own, not any */
	else
		CHECK(vring_do(&d->ring[d->id == VIRTIO_CONSOLE],
			       &(struct vbuf){ (uint64_t)d->buf, 64, d->id == VIRTIO_RNG ? D_WRITE : 0 }, 1));
}

void guest_main(void)
{
	const uint64_t bytes = param(mb_cmdline(), "disk");
	unsigned n = vdev_scan(devices, MOST_DEVICES);

	CHECK(n >= 3);
	for (unsigned i = 0; i < n; i++)
		CHECK(vdev_start(&devices[i], devices[i].offered & ~F_PACKED));
	start_cpus();
	for (unsigned round = 0;; round++) {
		serve(&devices[round % n], round / n, bytes);
		work(scratch[0], round);
	}
}
