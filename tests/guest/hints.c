/*
 * Says of 32 MB that they are free as soon as the balloon wants to hear it, and uses them again at once, by the CPU and
 * as a disk's buffers, until it may have them back. Then it looks: what was written is there, of the rest each page is
 * as it was, or zeros as somebody has left it out, and prints how many those are. And so on, until 'q' comes on the
 * serial port.
 *
 * The first device that is a disk has a test's pattern. "stop": it says that it has told all; "stale": with an id that is
 * not the one; "silent": nothing; "poison": it has something in its free pages; "packed": rings.
 */
#include "multiboot.h"
#include "virtio.h"

#define MOST         8
#define PAGE         4096
#define AREA         (28U << 20) /* the driver has some from 16 MB on */
#define PAGES        8192
#define AGAIN        (PAGES / 8) /* of them are used again, at most */
#define CHUNK        (4U << 20)
#define STEP         64 /* words, of which one is written and looked at: some KVMs are slow */
#define DISK_SECTORS 2048

#define F_HINT   F(3)
#define F_POISON F(4)

#define CMD_STOP 0
#define CMD_DONE 1

static struct vdev devices[MOST], *balloon, *disk;

/* Of a page before it is hinted, and of one that the CPU writes then: never 0 */
static uint64_t word(unsigned page, unsigned round, bool again)
{
	return (uint64_t)page << 32 | (uint64_t)round << 8 | 1 | (again ? 2 : 0);
}

static volatile uint64_t *at(unsigned page)
{
	return mem64(AREA + (uint64_t)page * PAGE);
}

static void write_page(unsigned page, uint64_t value)
{
	for (unsigned i = 0; i < PAGE / 8; i += STEP)
		at(page)[i] = value;
}

static bool is_page_of(unsigned page, uint64_t value)
{
	for (unsigned i = 0; i < PAGE / 8; i += STEP)
		if (at(page)[i] != value)
			return false;
	return true;
}

/* ---- the disk: its data come into the page */

static unsigned sector_of(unsigned page)
{
	return page * (PAGE / SECTOR) % DISK_SECTORS;
}

static void read_page(unsigned page)
{
	const struct vbuf chain[] = { { BLK_HEADER(disk), sizeof(struct blk_header), 0 },
				      { (uint64_t)at(page), PAGE, D_WRITE },
				      { BLK_STATUS(disk), 1, D_WRITE } };

	blk_header(disk, BLK_IN, sector_of(page));
	CHECK_EQ(blk_send(&disk->ring[0], chain, 3), BLK_OK);
}

static bool is_read(unsigned page)
{
	for (unsigned i = 0; i < PAGE / SECTOR; i++)
		if (!blk_pattern((const uint8_t *)at(page) + i * SECTOR, sector_of(page) + i))
			return false;
	return true;
}

/* ---- the balloon */

static uint32_t command(void)
{
	return (uint32_t)mem_read(balloon->config + 8, 4);
}

static bool send(uint64_t addr, uint32_t len, uint16_t flags)
{
	return vring_do(&balloon->ring[3], &(struct vbuf){ addr, len, flags }, 1);
}

static void send_id(uint32_t id)
{
	*(volatile uint32_t *)balloon->buf = id;
	CHECK(send((uint64_t)balloon->buf, sizeof(id), 0));
}

static void hint(uint32_t id)
{
	const char *how = mb_cmdline();

	if (param_word(how, "silent"))
		return;
	send_id(param_word(how, "stale") ? id - 1 : id);
	for (uint32_t off = 0; off < PAGES * PAGE; off += CHUNK)
		CHECK(send(AREA + off, CHUNK, D_WRITE));
	if (param_word(how, "stop"))
		send_id(CMD_STOP);
}

/* ---- */

static void use_again(unsigned page, unsigned round)
{
	if (page % 2)
		read_page(page);
	else
		write_page(page, word(page, round, true));
}

static void check_again(unsigned page, unsigned round)
{
	if (page % 2)
		CHECK(is_read(page));
	else
		CHECK(is_page_of(page, word(page, round, true)));
}

static void say(const char *what, unsigned n)
{
	print(what);
	print_decimal(n);
}

/* Of the pages from @first on */
static void check_rest(unsigned first, unsigned round)
{
	unsigned zeros = 0;

	for (unsigned page = first; page < PAGES; page++) {
		const bool is_zero = is_page_of(page, 0);

		CHECK(is_zero || is_page_of(page, word(page, round, false)));
		zeros += is_zero;
	}
	say("zeros ", zeros);
	say(" used ", first);
	print("\n");
}

static bool is_told_to_end(void)
{
	return (in8(COM_LSR) & LSR_DATA) && in8(COM_DATA) == 'q';
}

/* Return: the id; 0: it is to end */
static uint32_t wait_for_command(void)
{
	uint32_t id;

	while ((id = command()) <= CMD_DONE)
		if (is_told_to_end())
			return 0;
	return id;
}

static void play(unsigned round, uint32_t id)
{
	static volatile unsigned n; /* used again, all of them whole */

	n = 0;
	print("asked\n");
	hint(id);
	while (command() == id)
		if (n < AGAIN) {
			use_again(n, round);
			n = n + 1;
		}
	for (unsigned page = 0; page < n; page++)
		check_again(page, round);
	check_rest(n, round);
}

static struct vdev *start(enum virtio_id id, unsigned n, uint64_t without)
{
	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == id) {
			CHECK(vdev_start(&devices[i], devices[i].offered & ~without));
			return &devices[i];
		}
	CHECK(false);
	return NULL;
}

void guest_main(void)
{
	const unsigned n = vdev_scan(devices, MOST);
	const uint64_t packed = param_word(mb_cmdline(), "packed") ? 0 : F_PACKED;
	const bool poison = param_word(mb_cmdline(), "poison");
	uint32_t id;

	disk = start(VIRTIO_BLK, n, packed);
	balloon = start(VIRTIO_BALLOON, n, packed | (poison ? 0 : F_POISON));
	CHECK(balloon->features & F_HINT);
	if (poison)
		mem_write(balloon->config + 12, 4, 0xaaaaaaaa);
	for (unsigned round = 1;; round++) {
		for (unsigned page = 0; page < PAGES; page++)
			write_page(page, word(page, round, false));
		print("ready\n");
		id = wait_for_command();
		if (!id)
			break;
		play(round, id);
	}
}
