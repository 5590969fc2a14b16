/*
 * A kernel whose init says hello on the port of a session, takes commands=N of them, and then=0: closes the
 * port and runs on, 1: closes it and says by the pvpanic port that it has panicked, 2: closes it and powers
 * off, 3: takes nothing more, 4: prints kernel messages instead, 5: and answers the magic SysRq, as Linux does.
 */
#include "virtio.h"

#define BP_CMDLINE 0x228

#define RX 0
#define TX 1
#define N_RINGS 4
#define F_MULTIPORT F(1)

/* include/lkvm/session.h */
#define SESSION_HELLO 1
#define SESSION_EXEC  2

struct frame {
	uint8_t type, flags, stream, zero;
	uint32_t command, len;
};

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
	CHECK(vdev_features(con, F_VERSION_1 | F_MULTIPORT) & S_FEATURES_OK);
	for (unsigned i = 0; i < N_RINGS; i++) {
		vring_setup(&con->ring[i], 8);
		reg_write(con, R_QUEUE_READY, 1);
	}
	set_status(con, S_LIVE);
	CHECK_EQ(status(con), S_LIVE);
}

static void open_port(void)
{
	CHECK(port_control(con, 0, PORT_DEVICE_READY, 1));
	CHECK(port_told(con, 0, PORT_ADD));
	CHECK(port_control(con, 0, PORT_READY, 1));
	CHECK(port_told(con, 0, PORT_NAME));
	CHECK(port_told(con, 0, PORT_OPEN));
	CHECK(port_control(con, 0, PORT_OPEN, 1));
}

static void hello(void)
{
	struct {
		struct frame head;
		uint32_t version;
		char release[64];
		uint32_t up_ns[3]; /* at a multiple of 8 */
	} *say = (void *)con->buf;

	say->head.type = SESSION_HELLO;
	say->head.len = sizeof(*say) - sizeof(say->head);
	say->version = 1;
	CHECK(vring_do(&con->ring[TX], &(struct vbuf){ (uint64_t)say, sizeof(*say), 0 }, 1));
}

/* Each is a frame, in one piece; others are not counted. */
static void take_commands(uint64_t n)
{
	struct vring *rx = &con->ring[RX];
	const uint64_t at = (uint64_t)con->buf + 0x2000;
	const volatile struct frame *head = (const volatile struct frame *)at;

	while (n) {
		vring_add(rx, &(struct vbuf){ at, 0x1000, D_WRITE }, 1);
		kick(rx);
		while (!answered(rx)) /* it gives up after a while; a user may take his time */
			;
		for (uint64_t off = 0; off < rx->used_len; off += sizeof(*head) + *mem32(at + off + 8))
			n -= *mem8(at + off) == SESSION_EXEC;
	}
}

static void answer(uint8_t key)
{
	static bool loud;

	if (key == '7') {
		print("[    1.000000] sysrq: Changing Loglevel\n[    1.000000] sysrq: Loglevel set to 7\n");
		loud = true;
	} else if (key == 'l') {
		print("[    1.000000] sysrq: Show backtrace of all active CPUs\n");
		if (loud)
			print("[    1.000000] NMI backtrace for cpu 0\n[    1.000000]  here+0x1/0x2\n");
	}
}

static _Noreturn void talk(bool answers)
{
	out8(COM_FCR, 1); /* room for a break and a key */
	out8(COM_IER, 1); /* it listens */
	for (;;) {
		print("[    1.000000] tick\n");
		for (unsigned i = 0; i < 10; i++) {
			if (answers && in8(COM_LSR) & LSR_DATA)
				answer(in8(COM_DATA)); /* of a break, which print() may have seen, it is 0 */
			pause_ms(1);
		}
	}
}

static _Noreturn void stand(void)
{
	for (;;)
		asm volatile("hlt");
}

void guest_main(void)
{
	const char *cmdline = (const char *)(uintptr_t)*mem32(boot_rsi + BP_CMDLINE);
	const uint64_t commands = param(cmdline, "commands"), then = param(cmdline, "then");

	find();
	start();
	open_port();
	hello();
	print("up\n");
	take_commands(commands);
	if (then == 3)
		stand();
	if (then >= 4)
		talk(then == 5);
	CHECK(port_control(con, 0, PORT_OPEN, 0));
	print("closed\n");
	if (then == 1)
		out8(PORT_PVPANIC, 1);
	if (then == 2)
		out16(PORT_PM1_CNT, SLEEP_S5);
	stand();
}
