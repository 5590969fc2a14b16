/*
 * A virtio console, port 0: prints "N columns, M rows", then flood=K lines of 64 bytes, then '>', and
 * echoes what is typed until a 'q'. A change of size is printed when something is typed after it.
 */
#include "multiboot.h"
#include "virtio.h"

#define RX 0
#define TX 1
#define LINE 64

static struct vdev devices[8];
static struct vdev *con;

static void find(void)
{
	unsigned n = vdev_scan(devices, 8);

	for (unsigned i = 0; i < n; i++)
		if (devices[i].id == VIRTIO_CONSOLE)
			con = &devices[i];
	CHECK(con != NULL);
}

static void start(void)
{
	CHECK(con->offered & 1); /* the size of the terminal */
	CHECK(vdev_features(con, F_VERSION_1 | 1) & S_FEATURES_OK);
	for (unsigned i = RX; i <= TX; i++) {
		vring_setup(&con->ring[i], 8);
		reg_write(con, R_QUEUE_READY, 1);
	}
	set_status(con, S_LIVE);
	CHECK_EQ(status(con), S_LIVE);
}

/* As Linux's driver does: wait until the device has taken it. */
static void send(uint32_t len)
{
	CHECK(vring_do(&con->ring[TX], &(struct vbuf){ (uint64_t)con->buf, len, 0 }, 1));
}

static void put(const char *text, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		con->buf[i] = (uint8_t)text[i];
	send(len);
}

static void put_number(unsigned n, const char *unit)
{
	char text[32];
	unsigned at = sizeof(text), len = 0;

	while (unit[len])
		len++;
	at -= len;
	for (unsigned i = 0; i < len; i++)
		text[at + i] = unit[i];
	do
		text[--at] = (char)('0' + n % 10);
	while (n /= 10);
	put(text + at, (uint32_t)sizeof(text) - at);
}

static void put_size(void)
{
	put_number((unsigned)mem_read(con->config, 2), " columns, ");
	put_number((unsigned)mem_read(con->config + 2, 2), " rows\n");
}

/* A number of 62 digits is a line. 64 of them go at once, and few instructions are spent on each. */
static void flood(uint64_t lines)
{
	union {
		char text[LINE + 1];
		uint64_t word[LINE / 8 + 1];
	} line;
	volatile uint64_t *to = mem64((uint64_t)con->buf);

	for (unsigned i = 0; i < LINE; i++)
		line.text[i] = '0';
	line.text[LINE - 2] = '\r';
	line.text[LINE - 1] = '\n';
	for (uint64_t n = 0; n < lines;) {
		uint64_t batch = lines - n < 64 ? lines - n : 64;

		for (uint64_t i = 0; i < batch; i++) {
			char *digit = &line.text[LINE - 3];

			for (unsigned k = 0; k < LINE / 8; k++)
				to[i * (LINE / 8) + k] = line.word[k];
			for (; *digit == '9'; digit--)
				*digit = '0';
			++*digit;
		}
		send((uint32_t)batch * LINE);
		n += batch;
	}
}

static char get(void)
{
	struct vring *rx = &con->ring[RX];
	volatile uint8_t *byte = mem8((uint64_t)con->buf + 0x1000);

	vring_add(rx, &(struct vbuf){ (uint64_t)byte, 1, D_WRITE }, 1);
	kick(rx);
	while (!answered(rx)) /* it gives up after a while; a user may take his time */
		;
	return (char)*byte;
}

void guest_main(void)
{
	uint64_t generation;
	char c;

	find();
	start();
	put_size();
	flood(param(mb_cmdline(), "flood"));
	generation = reg_read(con, R_GENERATION);
	put(">", 1);
	while ((c = get()) != 'q') {
		if (reg_read(con, R_GENERATION) != generation) {
			generation = reg_read(con, R_GENERATION);
			put_size();
		}
		put(&c, 1);
	}
	vdev_reset(con);
}
