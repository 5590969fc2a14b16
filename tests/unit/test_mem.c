/* Links: virtio/mem.o virtio/mem-state.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/ram-plug.o hw/ram-fault.o hw/ram-log.o util/event.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
#include "lkvm/virtio-mem.h"

#include <errno.h>
#include <linux/virtio_mem.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-driver.h"
#include "lkvm/event.h"
#include "lkvm/types.h"
#include "unit.h"

#define START  (4 * GIB)
#define BLOCK  (2 * MIB)
#define BLOCKS 8U
#define MOST   6U /* of them may be plugged */

#define INACCESSIBLE (1ULL << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE)

static struct fake_driver drv;
static struct virtio_dev *dev;
static gpa_t at;

/* ---- the board ---- */

#define SLOTS 16

static struct {
	uint64_t addr[SLOTS];
	bool used[SLOTS];
	int fail_add;    /* the n-th from now on, */
	int fail_remove; /* which is counted down */
} board;

static int add(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes, bool read_only)
{
	int n = 0;

	(void)ctx, (void)name;
	if (board.fail_add && !--board.fail_add)
		return -ENOSPC;
	ck_assert(host == fake_at(&drv, GPA(addr)) && bytes == BLOCK && !read_only);
	ck_assert_ptr_eq(ram_host(drv.ram, GPA(addr), bytes), host);
	while (board.used[n])
		ck_assert_int_lt(++n, SLOTS);
	board.used[n] = true;
	board.addr[n] = addr;
	return n;
}

/* What a slot had is still there. */
static int take_away(void *ctx, unsigned n)
{
	(void)ctx;
	ck_assert(n < SLOTS && board.used[n]);
	ck_assert_ptr_nonnull(ram_host(drv.ram, GPA(board.addr[n]), BLOCK));
	if (board.fail_remove && !--board.fail_remove)
		return -ENOMEM;
	board.used[n] = false;
	return 0;
}

static bool has_slot(unsigned block)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		n += board.used[i] && board.addr[i] == START + block * BLOCK;
	ck_assert_uint_le(n, 1);
	return n;
}

/* ---- the driver ---- */

static void make(int node)
{
	static const struct board_ops ops = { .memory_add = add, .memory_remove = take_away };
	const struct mem_setup setup = { .most_bytes = MOST * BLOCK, .node = node };

	ck_assert_int_eq(virtio_mem_new(drv.ram, "mem0", &(struct board){ &ops, NULL }, &setup, &dev), 0);
}

static void set_up(int node)
{
	fake_region = (struct ram_region){ START, BLOCKS * BLOCK, BLOCK };
	memset(&board, 0, sizeof(board));
	fake_init(&drv, 4);
	ck_assert_int_eq(ram_fault_report(drv.ram, NULL), 0);
	make(node);
	fake_attach(&drv, dev);
}

static void setup(void)
{
	set_up(-1);
	ck_assert(fake_probe(&drv, INACCESSIBLE | FAKE_EVENT_IDX, 16));
	at = fake_alloc(&drv, 4096, 64);
}

static void teardown(void)
{
	virtio_mem_free(dev);
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert(!board.used[i]);
	ram_fault_report(NULL, NULL);
	fake_fini(&drv);
}

static uint16_t state;

/* Return: the answer's type; -1: none, the device is broken */
static int ask(unsigned type, uint64_t addr, unsigned n)
{
	const struct virtio_mem_req req = { .type = (uint16_t)type, .u.plug = { .addr = addr, .nb_blocks = (uint16_t)n } };
	struct virtio_mem_resp resp;
	struct fake_buf buf[2] = { FAKE_OUT(at, sizeof(req)), FAKE_IN(GPA(at.v + 64), sizeof(resp)) };

	memcpy(fake_at(&drv, at), &req, sizeof(req));
	memset(fake_at(&drv, buf[1].at), 0xee, sizeof(resp));
	if (fake_request(&drv, 0, buf, 2) != sizeof(resp))
		return -1;
	memcpy(&resp, fake_at(&drv, buf[1].at), sizeof(resp));
	state = resp.u.state.state;
	return resp.type;
}

static int ask_blocks(unsigned type, unsigned first, unsigned n)
{
	return ask(type, START + first * BLOCK, n);
}

static int plug(unsigned first, unsigned n)
{
	return ask_blocks(VIRTIO_MEM_REQ_PLUG, first, n);
}

static int unplug(unsigned first, unsigned n)
{
	return ask_blocks(VIRTIO_MEM_REQ_UNPLUG, first, n);
}

/* Each block that is there, a bit each, has a slot, and is in the configuration. */
static void has(unsigned blocks)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		ck_assert_uint_eq(ram_plugged(drv.ram, i, 1), blocks >> i & 1);
		ck_assert_uint_eq(has_slot(i), blocks >> i & 1);
	}
	ck_assert_uint_eq(virtio_config_read(dev, offsetof(struct virtio_mem_config, plugged_size), 8),
			  (unsigned)__builtin_popcount(blocks) * BLOCK);
}

START_TEST(test_config)
{
	setup();
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_MEM);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), BLOCK);
	ck_assert_uint_eq(virtio_config_read(dev, 8, 8), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 16, 8), START);
	ck_assert_uint_eq(virtio_config_read(dev, 24, 8), BLOCKS * BLOCK);
	ck_assert_uint_eq(virtio_config_read(dev, 32, 8), BLOCKS * BLOCK);
	ck_assert_uint_eq(virtio_config_read(dev, 40, 8), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 48, 8), 0);
	ck_assert_uint_eq(virtio_config_read(dev, 20, 4), 1);
	virtio_mem_set(dev, 3 * BLOCK);
	ck_assert_uint_eq(fake_config_irqs(&drv), 1);
	ck_assert_uint_eq(virtio_config_read(dev, 48, 8), 3 * BLOCK);
	virtio_config_write(dev, 48, 8, 0);
	ck_assert_uint_eq(virtio_config_read(dev, 48, 8), 3 * BLOCK);
	teardown();
	virtio_mem_free(NULL);
}
END_TEST

/* A driver that would look at what is not plugged gets no memory. */
START_TEST(test_features)
{
	set_up(-1);
	ck_assert(!fake_negotiate(&drv, 0));
	ck_assert(!fake_negotiate(&drv, INACCESSIBLE | 1ULL << VIRTIO_MEM_F_ACPI_PXM));
	ck_assert(fake_negotiate(&drv, INACCESSIBLE));
	teardown();
	set_up(3);
	ck_assert(fake_negotiate(&drv, INACCESSIBLE | 1ULL << VIRTIO_MEM_F_ACPI_PXM));
	ck_assert_uint_eq(virtio_config_read(dev, 8, 2), 3);
	teardown();
}
END_TEST

START_TEST(test_plug)
{
	setup();
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_NACK);
	virtio_mem_set(dev, 4 * BLOCK);
	ck_assert_int_eq(plug(0, 5), VIRTIO_MEM_RESP_NACK);
	has(0);
	ck_assert_int_eq(plug(1, 2), VIRTIO_MEM_RESP_ACK);
	has(0x06);
	((uint8_t *)fake_at(&drv, GPA(START + BLOCK)))[7] = 'x';
	ck_assert_int_eq(plug(1, 1), VIRTIO_MEM_RESP_ERROR);
	ck_assert_int_eq(plug(0, 2), VIRTIO_MEM_RESP_ERROR);
	ck_assert_int_eq(plug(2, 2), VIRTIO_MEM_RESP_ERROR);
	ck_assert_int_eq(plug(5, 3), VIRTIO_MEM_RESP_NACK);
	ck_assert_int_eq(plug(6, 2), VIRTIO_MEM_RESP_ACK);
	has(0xc6);
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_NACK);
	ck_assert_int_eq(unplug(0, 1), VIRTIO_MEM_RESP_ERROR);
	ck_assert_int_eq(unplug(0, 2), VIRTIO_MEM_RESP_ERROR);
	ck_assert_int_eq(unplug(2, 5), VIRTIO_MEM_RESP_ERROR);
	has(0xc6);
	ck_assert_int_eq(unplug(1, 1), VIRTIO_MEM_RESP_ACK);
	has(0xc4);
	ck_assert_int_eq(plug(1, 1), VIRTIO_MEM_RESP_ACK);
	ck_assert_int_eq(((uint8_t *)fake_at(&drv, GPA(START + BLOCK)))[7], 0);
	/* Less than there is: nothing more, and nothing is taken by force. */
	virtio_mem_set(dev, BLOCK);
	has(0xc6);
	ck_assert_int_eq(plug(4, 1), VIRTIO_MEM_RESP_NACK);
	ck_assert_int_eq(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 77, 88), VIRTIO_MEM_RESP_ACK);
	has(0);
	ck_assert_int_eq(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
	teardown();
}
END_TEST

START_TEST(test_state)
{
	static const struct {
		unsigned first, n, state;
	} table[] = {
		{ 0, 8, VIRTIO_MEM_STATE_MIXED }, { 1, 2, VIRTIO_MEM_STATE_PLUGGED }, { 1, 1, VIRTIO_MEM_STATE_PLUGGED },
		{ 0, 1, VIRTIO_MEM_STATE_UNPLUGGED }, { 3, 5, VIRTIO_MEM_STATE_UNPLUGGED }, { 2, 2, VIRTIO_MEM_STATE_MIXED },
		{ 7, 1, VIRTIO_MEM_STATE_UNPLUGGED },
	};

	setup();
	virtio_mem_set(dev, 2 * BLOCK);
	ck_assert_int_eq(plug(1, 2), VIRTIO_MEM_RESP_ACK);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_int_eq(ask_blocks(VIRTIO_MEM_REQ_STATE, table[i].first, table[i].n), VIRTIO_MEM_RESP_ACK);
		ck_assert_uint_eq(state, table[i].state);
	}
	teardown();
}
END_TEST

START_TEST(test_bad_requests)
{
	static const struct {
		uint64_t addr;
		unsigned n;
	} table[] = {
		{ START, 0 }, { START, BLOCKS + 1 }, { START, 0xffff }, { START + BLOCK, BLOCKS }, { START + 1, 1 },
		{ START + 4096, 1 }, { START - BLOCK, 1 }, { START - BLOCK, 2 }, { START + BLOCKS * BLOCK, 1 },
		{ START + (BLOCKS - 1) * BLOCK, 2 }, { 0, 1 }, { BLOCK, 1 }, { UINT64_MAX, 1 }, { UINT64_MAX - BLOCK + 1, 1 },
		{ UINT64_MAX - BLOCK + 1, 0xffff }, { 1ULL << 63, 1 }, { START + (1ULL << 63), 1 }, { START << 1, 1 },
	};

	setup();
	virtio_mem_set(dev, MOST * BLOCK);
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_ACK);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		for (unsigned type = 0; type < 4; type++)
			if (type != VIRTIO_MEM_REQ_UNPLUG_ALL)
				ck_assert_int_eq(ask(type, table[i].addr, table[i].n), VIRTIO_MEM_RESP_ERROR);
	for (unsigned type = 4; type < 0x10000; type = type * 2 + 1)
		ck_assert_int_eq(ask(type, START + BLOCK, 1), VIRTIO_MEM_RESP_ERROR);
	has(1);
	teardown();
}
END_TEST

/* Not the length of a request, or of an answer: the device is broken, and all stays as it is. */
START_TEST(test_lengths)
{
	static const uint32_t len[][2] = { { 23, 10 }, { 24, 9 }, { 0, 10 }, { 24, 0 }, { 1, 1 } };

	setup();
	virtio_mem_set(dev, MOST * BLOCK);
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_ACK);
	for (size_t i = 0; i < ARRAY_SIZE(len); i++) {
		const struct fake_buf buf[2] = { FAKE_OUT(at, len[i][0]), FAKE_IN(GPA(at.v + 64), len[i][1]) };

		ck_assert_int_eq(fake_request(&drv, 0, len[i][0] ? buf : buf + 1, len[i][0] && len[i][1] ? 2 : 1), -1);
		has(1);
		ck_assert(fake_probe(&drv, INACCESSIBLE, 16));
	}
	/* More is no harm. */
	memset(fake_at(&drv, at), 0, 64);
	ck_assert_int_eq(fake_request(&drv, 0, (struct fake_buf[]){ FAKE_OUT(at, 40), FAKE_IN(GPA(at.v + 64), 40) }, 2), 10);
	teardown();
}
END_TEST

/* The host has not what it takes: all or nothing, and the driver may try again. */
START_TEST(test_busy)
{
	struct mem_view v;

	setup();
	virtio_mem_set(dev, MOST * BLOCK);
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_ACK);
	for (int n = 1; n <= 3; n++) {
		board.fail_add = n;
		ck_assert_int_eq(plug(2, 3), VIRTIO_MEM_RESP_BUSY);
		has(1);
	}
	ck_assert_int_eq(plug(2, 3), VIRTIO_MEM_RESP_ACK);
	((uint8_t *)fake_at(&drv, GPA(START + 3 * BLOCK)))[7] = 'x';
	for (int n = 1; n <= 3; n++) {
		board.fail_remove = n;
		ck_assert_int_eq(unplug(2, 3), VIRTIO_MEM_RESP_BUSY);
		has(0x1d);
	}
	ck_assert_int_eq(((uint8_t *)fake_at(&drv, GPA(START + 3 * BLOCK)))[7], 'x');
	board.fail_remove = 2;
	ck_assert_int_eq(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_BUSY);
	has(0x1c);
	ck_assert_int_eq(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
	has(0);
	virtio_mem_view(dev, &v);
	ck_assert_uint_eq(v.n_busy, 7);
	teardown();
}
END_TEST

/* A driver comes and goes; memory stays, and so it is for a device that is made where some is plugged. */
START_TEST(test_stays)
{
	setup();
	virtio_mem_set(dev, MOST * BLOCK);
	ck_assert_int_eq(plug(1, 3), VIRTIO_MEM_RESP_ACK);
	((uint8_t *)fake_at(&drv, GPA(START + 3 * BLOCK)))[7] = 'x';
	ck_assert(fake_probe(&drv, INACCESSIBLE, 16));
	has(0x0e);
	virtio_mem_free(dev);
	for (unsigned i = 0; i < SLOTS; i++)
		ck_assert(!board.used[i]);
	make(-1);
	has(0x0e);
	ck_assert_int_eq(((uint8_t *)fake_at(&drv, GPA(START + 3 * BLOCK)))[7], 'x');
	teardown();
}
END_TEST

/* The driver unplugs what it talks to the device by: it is told nothing any more, and nobody else is hurt. */
START_TEST(test_under_itself)
{
	setup();
	virtio_mem_set(dev, MOST * BLOCK);
	/* The request and its answer; */
	ck_assert_int_eq(plug(2, 1), VIRTIO_MEM_RESP_ACK);
	at = GPA(START + 2 * BLOCK + 4096);
	ck_assert_int_eq(unplug(2, 1), VIRTIO_MEM_RESP_ACK);
	has(0);
	at = fake_alloc(&drv, 4096, 64);
	/* what nobody has plugged; */
	ck_assert_int_eq(fake_request(&drv, 0, (struct fake_buf[]){ FAKE_OUT(GPA(START), 24), FAKE_IN(at, 10) }, 2), -1);
	ck_assert(fake_probe(&drv, INACCESSIBLE, 16));
	/* the ring. */
	ck_assert_int_eq(plug(3, 1), VIRTIO_MEM_RESP_ACK);
	drv.next = START + 3 * BLOCK;
	ck_assert(fake_probe(&drv, INACCESSIBLE, 16));
	ck_assert_int_eq(ask(VIRTIO_MEM_REQ_STATE, START, 1), VIRTIO_MEM_RESP_ACK);
	if (unplug(3, 1) >= 0) /* it may have found out before this driver did */
		ck_assert_int_eq(ask(VIRTIO_MEM_REQ_STATE, START, 1), -1);
	has(0);
	ck_assert(dev->needs_reset);
	drv.next = 2 * MIB;
	ck_assert(fake_probe(&drv, INACCESSIBLE, 16));
	ck_assert_int_eq(plug(3, 1), VIRTIO_MEM_RESP_ACK);
	has(0x08);
	teardown();
}
END_TEST

START_TEST(test_view_and_watch)
{
	const int fd = event_open(0);
	struct mem_view v;
	uint64_t n;

	setup();
	virtio_mem_view(dev, &v);
	ck_assert(v.most_bytes == MOST * BLOCK && v.block_bytes == BLOCK && !v.plugged_bytes && !v.requested_bytes && v.driver);
	virtio_mem_watch(dev, fd);
	virtio_mem_set(dev, 2 * BLOCK);
	ck_assert_int_eq(plug(0, 3), VIRTIO_MEM_RESP_NACK);
	ck_assert(!event_clear(fd));
	ck_assert_int_eq(plug(0, 1), VIRTIO_MEM_RESP_ACK);
	ck_assert_int_eq(read(fd, &n, sizeof(n)), sizeof(n));
	virtio_mem_view(dev, &v);
	ck_assert(v.plugged_bytes == BLOCK && v.requested_bytes == 2 * BLOCK);
	ck_assert_int_eq(unplug(0, 1), VIRTIO_MEM_RESP_ACK);
	ck_assert_int_eq(read(fd, &n, sizeof(n)), sizeof(n));
	virtio_set_status(dev, 0);
	ck_assert_int_eq(read(fd, &n, sizeof(n)), sizeof(n));
	virtio_mem_view(dev, &v);
	ck_assert(!v.driver);
	virtio_mem_watch(dev, -1);
	virtio_set_status(dev, 0);
	ck_assert(!event_clear(fd));
	close(fd);
	teardown();
}
END_TEST

UNIT_MAIN("mem", test_config, test_features, test_plug, test_state, test_bad_requests, test_lengths, test_busy, test_stays,
	  test_under_itself, test_view_and_watch)
