/* The memory balloon, its lists of pages, statistics, free pages, hints and configuration: virtio 1.2, 5.5 */
#include "hostile.h"

#define F_STATS    F(1)
#define F_POISON   F(4)
#define F_REPORT   F(5)
#define NO_POISON  (F_VERSION_1 | F_STATS | F_REPORT)
#define PAGE       0x1000U
#define MOST_BYTES 0x10000U /* of a list */

#define INFLATE(t)   (&(t)->d->ring[0])
#define DEFLATE(t)   (&(t)->d->ring[1])
#define STATS(t)     (&(t)->d->ring[2])
#define HINTS(t)     (&(t)->d->ring[3])
#define REPORT(t)    (&(t)->d->ring[4])
#define BY_ORDER(t)  (&(t)->d->ring[3]) /* the same, without hints, as drivers count */

static volatile uint32_t *list_of(const struct trial *t)
{
	return (volatile uint32_t *)t->d->buf;
}

static volatile uint8_t *page_at(unsigned n)
{
	return (volatile uint8_t *)(uint64_t)(BALLOON_PAGE + n * PAGE);
}

static bool send(struct vring *r, uint64_t addr, uint32_t len, uint16_t flags)
{
	return vring_do(r, &(struct vbuf){ addr, len, flags }, 1);
}

static void give(struct vring *r, uint64_t addr, uint32_t len, uint16_t flags)
{
	vring_add(r, &(struct vbuf){ addr, len, flags }, 1);
	kick(r);
}

static void give_two(struct vring *r, uint64_t addr, uint16_t first, uint16_t second)
{
	const struct vbuf chain[] = { { addr, 16, first }, { addr + 16, 16, second } };

	vring_add(r, chain, 2);
	kick(r);
}

/* ---- lists: ring a ---- */

static void list_writable(const struct trial *t)
{
	list_of(t)[0] = BALLOON_PAGE / PAGE;
	if (t->b)
		give_two(&t->d->ring[t->a], (uint64_t)list_of(t), 0, D_WRITE);
	else
		give(&t->d->ring[t->a], (uint64_t)list_of(t), 4, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void list_length(const struct trial *t)
{
	for (unsigned i = 0; i < VDEV_BUF_SIZE / 4; i++)
		list_of(t)[i] = BALLOON_PAGE / PAGE;
	give(&t->d->ring[t->a], 32 << 20, (uint32_t)t->b, 0);
	EXPECT(needs_reset(t->d));
}

static void list_page(const struct trial *t)
{
	list_of(t)[0] = BALLOON_PAGE / PAGE;
	list_of(t)[1] = (uint32_t)t->b;
	*page_at(0) = 0x5a;
	give(&t->d->ring[t->a], (uint64_t)list_of(t), 8, 0);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(*page_at(0), 0x5a);
}

static void list_of_same(const struct trial *t)
{
	volatile uint32_t *list = (volatile uint32_t *)(uint64_t)(56 << 20);

	for (unsigned i = 0; i < MOST_BYTES / 4; i++)
		list[i] = BALLOON_PAGE / PAGE + i % (uint32_t)t->b;
	EXPECT(send(&t->d->ring[t->a], (uint64_t)list, MOST_BYTES, 0));
}

static void list_nothing(const struct trial *t)
{
	EXPECT(send(&t->d->ring[t->a], (uint64_t)list_of(t), 0, 0));
}

/* What it gives away it has not any more; nothing beside it. */
static void list_neighbours(const struct trial *t)
{
	for (unsigned i = 0; i < 3; i++)
		*page_at(i) = page_at(i)[PAGE - 1] = 0x5a;
	list_of(t)[0] = BALLOON_PAGE / PAGE + 1;
	EXPECT(send(INFLATE(t), (uint64_t)list_of(t), 4, 0));
	EXPECT(*page_at(0) == 0x5a && page_at(0)[PAGE - 1] == 0x5a);
	EXPECT(*page_at(1) == 0 && page_at(1)[PAGE - 1] == 0);
	EXPECT(*page_at(2) == 0x5a && page_at(2)[PAGE - 1] == 0x5a);
}

/* Its own memory: the list, or the ring. */
static void list_own(const struct trial *t)
{
	const uint64_t at = t->a ? (uint64_t)INFLATE(t)->avail : (uint64_t)list_of(t);

	list_of(t)[0] = (uint32_t)(at / PAGE);
	list_of(t)[1] = (uint32_t)((uint64_t)INFLATE(t)->used / PAGE);
	give(INFLATE(t), (uint64_t)list_of(t), t->a ? 8 : 4, 0);
	pause_ms(5);
}

static void list_again_and_again(const struct trial *t)
{
	for (unsigned i = 0; i < 2000; i++) {
		list_of(t)[0] = BALLOON_PAGE / PAGE + i % 64;
		*page_at(i % 64) = 1;
		EXPECT(send(i % 2 ? DEFLATE(t) : INFLATE(t), (uint64_t)list_of(t), 4, 0));
	}
}

/* ---- statistics ---- */

static void stats_second(const struct trial *t)
{
	give(STATS(t), (uint64_t)t->d->buf, 10, 0);
	EXPECT(quiet(STATS(t)));
	give(STATS(t), (uint64_t)t->d->buf, 10, 0);
	EXPECT(needs_reset(t->d));
}

static void stats_writable(const struct trial *t)
{
	if (t->a)
		give_two(STATS(t), (uint64_t)t->d->buf, 0, D_WRITE);
	else
		give(STATS(t), (uint64_t)t->d->buf, 10, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void stats_length(const struct trial *t)
{
	for (unsigned i = 0; i < 256; i++)
		t->d->buf[i] = 0xff;
	give(STATS(t), (uint64_t)t->d->buf, (uint32_t)t->a, 0);
	EXPECT(quiet(STATS(t)));
	EXPECT(vdev_works(t->d));
}

static void stats_at(const struct trial *t)
{
	give(STATS(t), t->a, 10, 0);
	EXPECT(needs_reset(t->d));
}

static void stats_reset(const struct trial *t)
{
	for (unsigned i = 0; i < 20; i++) {
		give(STATS(t), (uint64_t)t->d->buf, 10, 0);
		if (i % 2)
			EXPECT(quiet(STATS(t)));
		EXPECT(vdev_start(t->d, usual_features(t->d)));
	}
}

static void stats_queue_reset(const struct trial *t)
{
	give(STATS(t), (uint64_t)t->d->buf, 10, 0);
	EXPECT(quiet(STATS(t)));
	reg_write(t->d, R_QUEUE_SELECT, 2);
	reg_write(t->d, R_QUEUE_RESET, 1);
	EXPECT(queue_is_reset(t->d));
	vring_setup(STATS(t), 0);
	reg_write(t->d, R_QUEUE_READY, 1);
	give(STATS(t), (uint64_t)t->d->buf, 10, 0);
	EXPECT(quiet(STATS(t)));
	EXPECT(vdev_works(t->d));
}

/* ---- free pages ---- */

static void report_readable(const struct trial *t)
{
	if (t->a)
		give_two(REPORT(t), BALLOON_PAGE, 0, D_WRITE);
	else
		give(REPORT(t), BALLOON_PAGE, PAGE, 0);
	EXPECT(needs_reset(t->d));
}

static void report_at(const struct trial *t)
{
	give(REPORT(t), t->a, (uint32_t)t->b, D_WRITE);
	EXPECT(needs_reset(t->d));
}

/* Of @b bytes from @a behind the page on only whole pages go. */
static void report_part(const struct trial *t)
{
	for (unsigned i = 0; i < 4; i++)
		*page_at(i) = page_at(i)[PAGE - 1] = 0x5a;
	EXPECT(send(REPORT(t), BALLOON_PAGE + t->a, (uint32_t)t->b, D_WRITE));
	for (unsigned i = 0; i < 4; i++) {
		const bool gone = i * PAGE >= t->a && (i + 1) * PAGE <= t->a + t->b;

		EXPECT_EQ(*page_at(i), gone ? 0 : 0x5a);
		EXPECT_EQ(page_at(i)[PAGE - 1], gone ? 0 : 0x5a);
	}
}

static void report_all(const struct trial *t)
{
	EXPECT(send(t->a ? BY_ORDER(t) : REPORT(t), 32 << 20, 64 << 20, D_WRITE));
}

static void report_own(const struct trial *t)
{
	give(REPORT(t), (uint64_t)REPORT(t)->desc, 0x3000, D_WRITE);
	pause_ms(5);
}

static void report_poison(const struct trial *t)
{
	mem_write(t->d->config + 12, 4, (uint32_t)t->a);
	EXPECT_EQ(mem_read(t->d->config + 12, 4), t->a);
	*page_at(0) = 0x5a;
	EXPECT(send(REPORT(t), BALLOON_PAGE, PAGE, D_WRITE));
	EXPECT_EQ(*page_at(0), t->a ? 0x5a : 0);
}

static void no_report(const struct trial *t)
{
	*page_at(0) = 0x5a;
	give(REPORT(t), BALLOON_PAGE, PAGE, D_WRITE);
	EXPECT(needs_reset(t->d));
	EXPECT_EQ(*page_at(0), 0x5a);
}

/* ---- hints: nobody has asked for any, so nothing comes of them ---- */

static void hint_id(const struct trial *t)
{
	*(volatile uint32_t *)t->d->buf = (uint32_t)t->a;
	EXPECT(send(HINTS(t), (uint64_t)t->d->buf, 4, 0));
	*page_at(0) = 0x5a;
	EXPECT(send(HINTS(t), BALLOON_PAGE, PAGE, D_WRITE));
	EXPECT_EQ(*page_at(0), 0x5a);
	EXPECT_EQ(mem_read(t->d->config + 8, 4), 0);
	EXPECT(vdev_works(t->d));
}

static void hint_id_length(const struct trial *t)
{
	give(HINTS(t), 32 << 20, (uint32_t)t->a, 0);
	EXPECT(needs_reset(t->d));
}

static void hint_mixed(const struct trial *t)
{
	give_two(HINTS(t), BALLOON_PAGE, 0, D_WRITE);
	EXPECT(needs_reset(t->d));
}

static void hint_at(const struct trial *t)
{
	give(HINTS(t), t->a, (uint32_t)t->b, D_WRITE);
	EXPECT(needs_reset(t->d));
}

/* Also the program's own, and the rings */
static void hint_all(const struct trial *t)
{
	for (unsigned i = 0; i < 500; i++) {
		*(volatile uint32_t *)t->d->buf = i % 5;
		EXPECT(send(HINTS(t), (uint64_t)t->d->buf, 4, 0));
		EXPECT(send(HINTS(t), 0, RAM_END, D_WRITE));
	}
	EXPECT(vdev_works(t->d));
}

static void no_hints(const struct trial *t)
{
	give(HINTS(t), BALLOON_PAGE, PAGE, D_WRITE);
	EXPECT(needs_reset(t->d));
}

/* ---- configuration ---- */

static void write_config(const struct trial *t)
{
	const uint64_t before = mem_read(t->d->config + t->a, (unsigned)t->b);

	mem_write(t->d->config + t->a, (unsigned)t->b, 0x1234567812345678);
	EXPECT_EQ(mem_read(t->d->config + t->a, (unsigned)t->b), before);
}

static void actual_size(const struct trial *t)
{
	mem_write(t->d->config + 4, 4, t->a);
	EXPECT_EQ(mem_read(t->d->config + 4, 4), t->a);
	EXPECT(vdev_works(t->d));
}

static const struct hostile cases[] = {
	{ "5.5.6 inflate: a writable list", list_writable, 0 },
	{ "5.5.6 deflate: a writable list", list_writable, 1 },
	{ "5.5.6 inflate: a writable buffer behind the list", list_writable, 0, 1 },
	{ "5.5.6 deflate: a writable buffer behind the list", list_writable, 1, 1 },
	{ "5.5.6 inflate: a quarter of an address", list_length, 0, 1 },
	{ "5.5.6 inflate: an address and a half", list_length, 0, 6 },
	{ "5.5.6 deflate: three quarters of an address", list_length, 1, 3 },
	{ "5.5.6 inflate: one address too many", list_length, 0, MOST_BYTES + 4 },
	{ "5.5.6 inflate: a list of 64 MB", list_length, 0, 64 << 20 },
	{ "5.5.6 deflate: a list of 64 MB", list_length, 1, 64 << 20 },
	{ "5.5.6 inflate: the page behind RAM", list_page, 0, RAM_END / PAGE },
	{ "5.5.6 deflate: the page behind RAM", list_page, 1, RAM_END / PAGE },
	{ "5.5.6 inflate: a page of the gap", list_page, 0, 0xd0000 },
	{ "5.5.6 inflate: PCI's configuration space", list_page, 0, 0xe0000 },
	{ "5.5.6 inflate: the local APIC", list_page, 0, 0xfee00 },
	{ "5.5.6 inflate: the page at 4 GB", list_page, 0, FOUR_GB / PAGE },
	{ "5.5.6 inflate: the last of all pages", list_page, 0, UINT32_MAX },
	{ "5.5.6 deflate: the last of all pages", list_page, 1, UINT32_MAX },
	{ "5.5.6 inflate: one page as often as a list can have it", list_of_same, 0, 1 },
	{ "5.5.6 inflate: 64 pages 256 times each", list_of_same, 0, 64 },
	{ "5.5.6 deflate: pages that were never given", list_of_same, 1, 1000 },
	{ "5.5.6 inflate: an empty list", list_nothing, 0 },
	{ "5.5.6 deflate: an empty list", list_nothing, 1 },
	{ "5.5.6 inflate: what is beside the page", list_neighbours },
	{ "5.5.6 inflate: the list itself", list_own, 0 },
	{ "5.5.6 inflate: the ring itself", list_own, 1 },
	{ "5.5.6 inflate and deflate, 2000 times", list_again_and_again },
	{ "5.5.6.3 writable statistics", stats_writable, 0 },
	{ "5.5.6.3 a writable buffer behind statistics", stats_writable, 1 },
	{ "5.5.6.3 no statistics", stats_length, 0 },
	{ "5.5.6.3 half of a statistic", stats_length, 5 },
	{ "5.5.6.3 unknown statistics", stats_length, 200 },
	{ "5.5.6.3 64 MB of statistics", stats_length, 64 << 20 },
	{ "5.5.6.3 statistics behind RAM", stats_at, RAM_END },
	{ "5.5.6.3 statistics over the end of RAM", stats_at, RAM_END - 5 },
	{ "2.4.1 reset while the device has the statistics", stats_reset },
	{ "2.6.1.1 reset of the queue of statistics", stats_queue_reset },
	{ "5.5.6.8 free pages in a readable buffer", report_readable, 0 },
	{ "5.5.6.8 a readable buffer before free pages", report_readable, 1 },
	{ "5.5.6.8 free pages behind RAM", report_at, RAM_END, PAGE },
	{ "5.5.6.8 free pages over the end of RAM", report_at, RAM_END - PAGE, 2 * PAGE },
	{ "5.5.6.8 free pages in the gap", report_at, 0xd0000000, PAGE },
	{ "5.5.6.8 free pages at the end of all addresses", report_at, UINT64_MAX - 0xfff, 0x1000 },
	{ "5.5.6.8 4 GB of free pages", report_at, 0, UINT32_MAX },
	{ "5.5.6.8 one free byte", report_part, 0, 1, .features = NO_POISON },
	{ "5.5.6.8 a free page that is not aligned", report_part, 1, PAGE, .features = NO_POISON },
	{ "5.5.6.8 two pages less a byte", report_part, 0, 2 * PAGE - 1, .features = NO_POISON },
	{ "5.5.6.8 two pages and a half, from a half on", report_part, PAGE / 2, 5 * PAGE / 2, .features = NO_POISON },
	{ "5.5.6.8 64 MB of free pages", report_all, 0 },
	{ "5.5.6.8 the same by queue 3", report_all, 1, .features = NO_POISON },
	{ "5.5.6.8 the ring itself is free", report_own },
	{ "5.5.6.9 free pages that hold poison", report_poison, 0xaaaaaaaa },
	{ "5.5.6.9 free pages that hold zeros", report_poison, 0 },
	{ "5.5.3 free pages without the feature", no_report, .features = F_VERSION_1 | F_STATS },
	{ "5.5.6.6 hints without having been asked", hint_id, 0 },
	{ "5.5.6.6 hints that are done", hint_id, 1 },
	{ "5.5.6.6 hints for a command that never was", hint_id, 2 },
	{ "5.5.6.6 hints for the last of all commands", hint_id, UINT32_MAX },
	{ "5.5.6.6 three quarters of a command", hint_id_length, 3 },
	{ "5.5.6.6 two commands", hint_id_length, 8 },
	{ "5.5.6.6 a command of 64 MB", hint_id_length, 64 << 20 },
	{ "5.5.6.6 a command and a hint at once", hint_mixed },
	{ "5.5.6.6 a hint behind RAM", hint_at, RAM_END, PAGE },
	{ "5.5.6.6 a hint over the end of RAM", hint_at, RAM_END - PAGE, 2 * PAGE },
	{ "5.5.6.6 a hint in the gap", hint_at, 0xd0000000, PAGE },
	{ "5.5.6.6 a hint at the end of all addresses", hint_at, UINT64_MAX - 0xfff, 0x1000 },
	{ "5.5.6.6 all of RAM, 500 times", hint_all },
	{ "5.5.3 hints without the feature", no_hints, .features = F_VERSION_1 | F_STATS },
	{ "5.5.4 writing the target", write_config, 0, 4 },
	{ "5.5.4 writing half of the actual size", write_config, 4, 2 },
	{ "5.5.4 writing a byte of the actual size", write_config, 7, 1 },
	{ "5.5.4 writing both sizes at once", write_config, 0, 8 },
	{ "5.5.4 writing the command", write_config, 8, 4 },
	{ "5.5.4 poison without the feature", write_config, 12, 4, .features = NO_POISON },
	{ "5.5.4 an actual size of 16 TB", actual_size, UINT32_MAX },
	{ "5.5.4 an actual size above the target", actual_size, 1000 },
	{ "2.5.1 a quadword over the end of the configuration", case_odd_config, 12, 8 },
	{ "2.5.1 a misaligned doubleword of the configuration", case_odd_config, 2, 4 },
	{ "2.5.1 behind the configuration", case_odd_config, 16, 4 },
	{ "5.5.2 queue 5 of 5", case_no_queue, 5 },
	{ "5.5.2 queue 65535", case_no_queue, UINT16_MAX },
	/* Split rings only: the driver has one buffer at a time in a packed one */
	{ "5.5.6.3 a second buffer for statistics", stats_second },
};

#define N_SPLIT 1

const struct suite balloon_suite = { .name = "balloon",
				     .victim = VIRTIO_BALLOON,
				     .must_not_offer = F_PACKED,
				     .cases = cases,
				     .n = N_CASES(cases) };

const struct suite balloon_packed_suite = { .name = "balloon-packed",
					    .victim = VIRTIO_BALLOON,
					    .must_offer = F_PACKED,
					    .extra = F_PACKED,
					    .cases = cases,
					    .n = N_CASES(cases) - N_SPLIT };
