/*
 * As many disks as the bus takes, all live at once: "disks=N", the disk that is found i-th having
 * i + 1 sectors and the serial number "disk<i>". Over PCI each has an MSI-X vector of its own, as
 * long as there are interrupt numbers; all requests are out before the first answer is awaited.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST         256
#define FIRST_NUMBER 0x30
#define NUMBERS      (0x100 - FIRST_NUMBER)
#define SVR          0x0f0
#define IRR          0x200

static struct vdev devices[MOST];

static uint8_t number_of(unsigned i)
{
	return (uint8_t)(FIRST_NUMBER + i % NUMBERS);
}

static bool delivered(uint8_t number)
{
	return *mem32(LAPIC + IRR + number / 32 * 0x10) >> number % 32 & 1;
}

/* Queue 0 has vector 1. */
static void route(struct vdev *d, uint8_t number)
{
	pci_write(d->devfn, d->cap_msix + 2, 2, 0x8000);
	mem_write(d->table + 16, 8, LAPIC);
	mem_write(d->table + 24, 4, number);
	mem_write(d->table + 28, 4, 0);
}

/* Small and in memory that nobody has used: vring_setup() would clear it, which takes its time. */
static void set_up_queue(struct vring *r)
{
	reg_write(r->dev, R_QUEUE_SELECT, 0);
	r->size = 4;
	reg_write(r->dev, R_QUEUE_SIZE, r->size);
	queue_address(r->dev, R_DESC, (uint64_t)r->desc);
	queue_address(r->dev, R_AVAIL, (uint64_t)r->avail);
	queue_address(r->dev, R_USED, (uint64_t)r->used);
}

static void start(struct vdev *d, unsigned i)
{
	CHECK_EQ(*mem64(d->config), i + 1);
	if (d->pci)
		route(d, number_of(i));
	CHECK(vdev_features(d, F_VERSION_1) & S_FEATURES_OK);
	set_up_queue(&d->ring[0]);
	if (d->pci)
		mem_write(d->reg[R_DEVICE_SELECT] + 26, 2, 1);
	reg_write(d, R_QUEUE_READY, 1);
	set_status(d, S_LIVE);
	CHECK_EQ(status(d), S_LIVE);
}

static void ask_serial(struct vdev *d)
{
	const struct vbuf chain[] = { { BLK_HEADER(d), 16, 0 },
				      { BLK_DATA(d), 20, D_WRITE },
				      { BLK_STATUS(d), 1, D_WRITE } };

	blk_header(d, BLK_GET_ID, 0);
	vring_add(&d->ring[0], chain, 3);
	kick(&d->ring[0]);
}

static void check_serial(struct vdev *d, unsigned i)
{
	char want[] = "disk000";

	for (unsigned at = 6, rest = i; at > 3; at--, rest /= 10)
		want[at] = (char)('0' + rest % 10);
	CHECK(answered(&d->ring[0]));
	CHECK_EQ(*mem8(BLK_STATUS(d)), BLK_OK);
	CHECK(str_equal((const char *)BLK_DATA(d), want));
	while (d->pci && !delivered(number_of(i)))
		asm volatile("pause");
}

void guest_main(void)
{
	const unsigned want = (unsigned)param(mb_cmdline(), "disks");
	unsigned n = vdev_scan(devices, MOST);

	*mem32(LAPIC + SVR) = 0x1ff;
	while (n && devices[n - 1].id != VIRTIO_BLK)
		n--; /* what each guest has comes last */
	CHECK_EQ(n, want);
	for (unsigned i = 0; i < n; i++)
		start(&devices[i], i);
	for (unsigned i = 0; i < n; i++)
		ask_serial(&devices[i]);
	for (unsigned i = 0; i < n; i++)
		check_serial(&devices[i], i);
}
