/* The device's registers over PCI, and MSI-X: virtio 1.2, 4.1; PCI Local Bus 3.0, 6.8 */
#include "hostile.h"

#define COMMON_BYTES 60
#define NO_VECTOR    0xffff

static uint64_t common(const struct trial *t)
{
	return t->d->reg[R_DEVICE_SELECT];
}

/* ---- common configuration ---- */

/* What can be read there, each field at its own width, mixed up into one number. */
static uint64_t all_fields(const struct trial *t)
{
	static const uint8_t fields[][2] = {
		{ 0, 4 },  { 4, 4 },  { 8, 4 },	 { 12, 4 }, { 16, 2 }, { 18, 2 }, { 20, 1 },
		{ 21, 1 }, { 22, 2 }, { 24, 2 }, { 26, 2 }, { 28, 2 }, { 30, 2 }, { 32, 4 },
		{ 36, 4 }, { 40, 4 }, { 44, 4 }, { 48, 4 }, { 52, 4 }, { 56, 2 }, { 58, 2 },
	};
	uint64_t sum = 0;

	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		sum = sum * 31 + mem_read(common(t) + fields[i][0], fields[i][1]);
	return sum;
}

static void write_wrong_width(const struct trial *t)
{
	uint64_t before = all_fields(t);

	mem_read(common(t) + t->a, (unsigned)t->b);
	mem_write(common(t) + t->a, (unsigned)t->b, 0);
	EXPECT_EQ(all_fields(t), before);
	mem_write(common(t) + t->a, (unsigned)t->b, UINT64_MAX);
	EXPECT_EQ(all_fields(t), before);
}

static void wrong_width(const struct trial *t)
{
	write_wrong_width(t);
	EXPECT(vdev_works(t->d));
}

/* In a set-up that is not finished, so that nothing but the width protects the field. */
static void wrong_width_early(const struct trial *t)
{
	set_status(t->d, S_ACKNOWLEDGE | S_DRIVER);
	reg_write(t->d, R_QUEUE_SELECT, 0);
	write_wrong_width(t);
}

static void bad_vector(const struct trial *t)
{
	mem_write(common(t) + t->a, 2, t->b ? t->b : t->d->n_vectors);
	EXPECT_EQ(mem_read(common(t) + t->a, 2), NO_VECTOR);
	EXPECT(vdev_works(t->d));
}

static void vector_of_nobody(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, t->a);
	mem_write(common(t) + 26, 2, 0);
	EXPECT_EQ(mem_read(common(t) + 26, 2), NO_VECTOR);
	reg_write(t->d, R_QUEUE_SELECT, 0);
	EXPECT_EQ(mem_read(common(t) + 26, 2), NO_VECTOR);
}

static void disable_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_READY, 0);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 1);
	EXPECT(vdev_works(t->d));
}

/* ---- the other structures ---- */

static void isr_write(const struct trial *t)
{
	EXPECT(vdev_works(t->d));
	mem_write(t->d->isr, 1, 0);
	mem_write(t->d->isr, 4, UINT32_MAX);
	mem_read(t->d->isr, 4);
	mem_read(t->d->isr, 8);
	EXPECT_EQ(mem_read(t->d->isr, 1), 1);
	EXPECT_EQ(mem_read(t->d->isr, 1), 0);
}

/* The address alone says which queue it is. */
static void notify_width(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d) && asleep(t->r));
	vring_add(t->r, &buf, 1);
	mem_write(t->d->notify, (unsigned)t->a, t->b);
	EXPECT(answered(t->r));
	EXPECT(vdev_works(t->d));
}

static void notify_around(const struct trial *t)
{
	EXPECT_EQ(mem_read(t->d->notify, 4), 0);
	for (unsigned off = 4; off < 0x1000; off += 60)
		mem_write(t->d->notify + off, 4, 0);
	mem_write(t->d->notify + 2, 4, 0);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

/* Between the structures there is nothing. */
static void hole(const struct trial *t)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		EXPECT_EQ(mem_read(t->d->base + t->a, width), 0);
		mem_write(t->d->base + t->a, width, UINT64_MAX);
	}
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void over_the_end(const struct trial *t)
{
	for (unsigned back = 1; back < 8; back++) {
		mem_read(t->d->base + 0x4000 - back, 8);
		mem_write(t->d->base + 0x4000 - back, 8, UINT64_MAX);
		mem_write(t->d->base - back, 8, 0);
	}
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static const struct hostile cases[] = {
	{ "4.1.3.1 a byte of the feature selector", wrong_width, 0, 1 },
	{ "4.1.3.1 a word of the accepted features", wrong_width, 12, 2 },
	{ "4.1.3.1 selector and features in one quadword", wrong_width, 8, 8 },
	{ "4.1.3.1 status in a doubleword", wrong_width, 20, 4 },
	{ "4.1.3.1 status in a word", wrong_width, 20, 2 },
	{ "4.1.3.1 status in a quadword", wrong_width, 16, 8 },
	{ "4.1.3.1 status in a misaligned doubleword", wrong_width, 19, 4 },
	{ "4.1.3.1 a byte of the queue selector", wrong_width, 22, 1 },
	{ "4.1.3.1 a byte of the queue size", wrong_width_early, 24, 1, .raw = true },
	{ "4.1.3.1 size and vector in a doubleword", wrong_width_early, 24, 4, .raw = true },
	{ "4.1.3.1 a byte of the queue's ready", wrong_width_early, 28, 1, .raw = true },
	{ "4.1.3.1 a word of the descriptor table", wrong_width_early, 32, 2, .raw = true },
	{ "4.1.3.1 a byte of the available ring", wrong_width_early, 47, 1, .raw = true },
	{ "4.1.3.1 a misaligned doubleword of the used ring", wrong_width_early, 50, 4,
	  .raw = true },
	{ "4.1.3.1 a misaligned quadword of the addresses", wrong_width_early, 36, 8, .raw = true },
	{ "4.1.3.1 a doubleword over the end of the structure", wrong_width, 58, 4 },
	{ "4.1.4.3 writing the number of queues", wrong_width, 18, 2 },
	{ "4.1.4.3 writing the offered features", wrong_width, 4, 4 },
	{ "4.1.4.3 writing the configuration generation", wrong_width, 21, 1 },
	{ "4.1.4.3 writing the queue's notification offset", wrong_width, 30, 2 },
	{ "4.1.4.3 writing notification data, which is not offered", wrong_width, 56, 2 },
	{ "4.1.4.3.2 a queue switched off by 0", disable_queue },
	{ "4.1.5.1.2.2 configuration vector behind the table", bad_vector, 16 },
	{ "4.1.5.1.2.2 configuration vector 65534", bad_vector, 16, 0xfffe },
	{ "4.1.5.1.2.2 queue vector behind the table", bad_vector, 26 },
	{ "4.1.5.1.2.2 queue vector 2047", bad_vector, 26, 2047 },
	{ "4.1.5.1.2.2 vector of queue 1 of 1", vector_of_nobody, 1 },
	{ "4.1.5.1.2.2 vector of queue 65535", vector_of_nobody, 65535 },
	{ "4.1.4.5.2 writing the interrupt status", isr_write },
	{ "4.1.4.4 notification by a byte", notify_width, 1, 0 },
	{ "4.1.4.4 notification by a doubleword of ones", notify_width, 4, UINT32_MAX },
	{ "4.1.4.4 notification by a quadword of ones", notify_width, 8, UINT64_MAX },
	{ "4.1.4.4 notification of another queue at this one's place", notify_width, 2, 7 },
	{ "4.1.4.4 notifications around the one that is there", notify_around },
	{ "4.1.4.3 behind the common configuration", hole, 0x40 },
	{ "4.1.4 between common configuration and interrupt status", hole, 0x400 },
	{ "4.1.4.6 a device configuration that is not there", hole, 0x1000 },
	{ "4.1.4.6 the end of the device configuration", hole, 0x1ff8 },
	{ "4.1.4 accesses over the ends of the BAR", over_the_end },
};

const struct suite pci_suite = { .name = "pci", .victim = VIRTIO_RNG, .on = ON_PCI, .cases = cases,
				 .n = N_CASES(cases) };
