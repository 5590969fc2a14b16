/* The registers of the MMIO transport: virtio 1.2, 4.2 */
#include "hostile.h"

#define QUEUE_SIZE_REG 0x38
#define NOTIFY_REG     0x50
#define INTERRUPT      0x60
#define ACKNOWLEDGE    0x64
#define STATUS_REG     0x70
#define CONFIG         0x100

static void read_only(const struct trial *t)
{
	uint32_t old = *mem32(t->d->base + t->a);

	*mem32(t->d->base + t->a) = ~old;
	EXPECT_EQ(*mem32(t->d->base + t->a), old);
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void write_only(const struct trial *t)
{
	EXPECT_EQ(*mem32(t->d->base + t->a), 0);
	EXPECT(vdev_works(t->d));
}

/* Of the status register: a write of 0 that arrived would be a reset. */
static void status_width(const struct trial *t)
{
	mem_write(t->d->base + t->a, (unsigned)t->b, 0);
	EXPECT_EQ(status(t->d), S_LIVE);
	mem_read(t->d->base + t->a, (unsigned)t->b);
	EXPECT(vdev_works(t->d));
}

static void status_high_bits(const struct trial *t)
{
	*mem32(t->d->base + STATUS_REG) = (uint32_t)t->a;
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void wrong_width(const struct trial *t)
{
	const unsigned width = (unsigned)t->b;

	set_status(t->d, S_ACKNOWLEDGE | S_DRIVER);
	EXPECT_EQ(mem_read(t->d->base + t->a, width), 0);
	mem_write(t->d->base + t->a, width, 1);
	mem_write(t->d->base + t->a, width, UINT64_MAX);
	EXPECT_EQ(status(t->d), S_ACKNOWLEDGE | S_DRIVER);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 0);
}

static void notify_value(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d) && asleep(t->r));
	vring_add(t->r, &buf, 1);
	*mem32(t->d->base + NOTIFY_REG) = (uint32_t)t->a;
	EXPECT(quiet(t->r));
	kick(t->r);
	EXPECT(answered(t->r));
}

static void notify_width(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	EXPECT(vdev_works(t->d) && asleep(t->r));
	vring_add(t->r, &buf, 1);
	mem_write(t->d->base + NOTIFY_REG, (unsigned)t->a, 0);
	EXPECT(quiet(t->r));
	kick(t->r);
	EXPECT(answered(t->r));
}

static void size_high_bits(const struct trial *t)
{
	vdev_features(t->d, usual_features(t->d));
	vring_setup(t->r, 0);
	*mem32(t->d->base + QUEUE_SIZE_REG) = 0x10008;
	reg_write(t->d, R_QUEUE_READY, 1);
	set_status(t->d, S_LIVE);
	for (unsigned i = 0; i < t->r->size + 6U; i++)
		EXPECT(vdev_works(t->d));
}

static void stop_queue(const struct trial *t)
{
	const struct vbuf buf = { (uint64_t)t->d->buf, 16, D_WRITE };

	reg_write(t->d, R_QUEUE_SELECT, 0);
	reg_write(t->d, R_QUEUE_READY, 0);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_READY), 0);
	vring_add(t->r, &buf, 1);
	kick(t->r);
	EXPECT(quiet(t->r));
	vring_setup(t->r, 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	EXPECT(vdev_works(t->d));
}

static void stop_and_go(const struct trial *t)
{
	for (unsigned i = 0; i < 100; i++) {
		put_desc(t->r, 0, (uint64_t)t->d->buf, 4096, D_WRITE, 0);
		offer(t->r, 0);
		reg_write(t->d, R_QUEUE_READY, 0);
		vring_setup(t->r, 0);
		reg_write(t->d, R_QUEUE_READY, 1);
	}
	EXPECT(vdev_works(t->d));
}

static void acknowledge(const struct trial *t)
{
	EXPECT(vdev_works(t->d));
	*mem32(t->d->base + ACKNOWLEDGE) = (uint32_t)t->a;
	EXPECT_EQ(*mem32(t->d->base + INTERRUPT), 1);
	*mem32(t->d->base + ACKNOWLEDGE) = 1;
	EXPECT_EQ(*mem32(t->d->base + INTERRUPT), 0);
}

static void no_register(const struct trial *t)
{
	for (unsigned width = 1; width <= 8; width *= 2) {
		EXPECT_EQ(mem_read(t->d->base + t->a, width), 0);
		mem_write(t->d->base + t->a, width, UINT64_MAX);
	}
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
}

static void shared_memory(const struct trial *t)
{
	*mem32(t->d->base + 0xac) = (uint32_t)t->a;
	for (unsigned off = 0xb0; off <= 0xbc; off += 4)
		EXPECT_EQ(*mem32(t->d->base + off), UINT32_MAX);
}

static void over_the_end(const struct trial *t)
{
	for (unsigned back = 1; back < 8; back++) {
		mem_read(t->d->base + 0x1000 - back, 8);
		mem_write(t->d->base + 0x1000 - back, 8, 0);
	}
	EXPECT_EQ(status(t->d), S_LIVE);
	EXPECT(vdev_works(t->d));
	EXPECT_EQ(status(other_device()), S_LIVE);
}

static const struct hostile cases[] = {
	{ "4.2.2 writing the magic value", read_only, 0x00 },
	{ "4.2.2 writing the version", read_only, 0x04 },
	{ "4.2.2 writing the device id", read_only, 0x08 },
	{ "4.2.2 writing the vendor id", read_only, 0x0c },
	{ "4.2.2 writing the offered features", read_only, 0x10 },
	{ "4.2.2 writing the largest queue size", read_only, 0x34 },
	{ "4.2.2 writing the configuration generation", read_only, 0xfc },
	{ "4.2.2.2 reading the accepted features", write_only, 0x20 },
	{ "4.2.2.2 reading the queue size", write_only, 0x38 },
	{ "4.2.2.2 reading the notification", write_only, 0x50 },
	{ "4.2.2.2 reading the acknowledgement", write_only, 0x64 },
	{ "4.2.2.2 reading the descriptor table's address", write_only, 0x80 },
	{ "4.2.2.2 a byte of the status", status_width, STATUS_REG, 1 },
	{ "4.2.2.2 a word of the status", status_width, STATUS_REG, 2 },
	{ "4.2.2.2 a quadword of the status", status_width, STATUS_REG, 8 },
	{ "4.2.2.2 a misaligned doubleword over the status", status_width, STATUS_REG - 2, 4 },
	{ "4.2.2.2 a misaligned word in the status", status_width, STATUS_REG + 1, 2 },
	{ "4.2.2 a bit of the status that does not exist", status_high_bits, 0x100 },
	{ "4.2.2 high bits of the status", status_high_bits, 0xffffff00 },
	{ "4.2.2.2 a byte of the queue's ready", wrong_width, 0x44, 1, .raw = true },
	{ "4.2.2.2 a word of the queue's ready", wrong_width, 0x44, 2, .raw = true },
	{ "4.2.2.2 a quadword of the queue's ready", wrong_width, 0x44, 8, .raw = true },
	{ "4.2.2 notification of queue 1 of 1", notify_value, 1 },
	{ "4.2.2 notification of queue 65536", notify_value, 0x10000 },
	{ "4.2.2 notification of queue 2^32 - 1", notify_value, UINT32_MAX },
	{ "4.2.2.2 notification by a byte", notify_width, 1 },
	{ "4.2.2.2 notification by a word", notify_width, 2 },
	{ "4.2.2.2 notification by a quadword", notify_width, 8 },
	{ "4.2.2 queue size with high bits", size_high_bits, .raw = true },
	{ "4.2.2.2 a queue stopped while live", stop_queue },
	{ "4.2.2.2 a queue stopped with a request in flight", stop_and_go },
	{ "4.2.2 acknowledging what was not there", acknowledge, 0xfffffffe },
	{ "4.2.2 acknowledging nothing", acknowledge, 0 },
	{ "4.2.2 registers that do not exist", no_register, 0xd0 },
	{ "4.2.2 behind the configuration", no_register, 0x800 },
	{ "2.5 a configuration that is not there", no_register, CONFIG },
	{ "4.2.2 shared memory 0", shared_memory, 0 },
	{ "4.2.2 shared memory 255", shared_memory, 255 },
	{ "4.2.2 accesses over the end of the page", over_the_end },
};

const struct suite mmio_suite = { .name = "mmio", .victim = VIRTIO_RNG, .on = ON_MMIO,
				  .cases = cases, .n = N_CASES(cases) };
