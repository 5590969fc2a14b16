/* Links: virtio/vsock.o virtio/vsock-rx.o virtio/vsock-tx.o virtio/vsock-conn.o virtio/vsock-buffer.o virtio/vsock-state.o vsock/host.o vsock/hello.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/file.o util/log.o util/loop.o util/timer.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * Packets of a guest, while programs of the host connect, say and leave what they like. The first byte chooses the
 * features; of each operation the first byte says what it is:
 *
 *	0 BYTES(16)   a packet: type, op, flags, the ports' lowest bytes, buf_alloc, fwd_cnt, how long it is and says
 *	              to be, and what becomes of its CIDs
 *	1 LEN         a buffer for packets of so many bytes
 *	2 KIND        a client connects, and says "CONNECT 1"
 *	3 LEN BYTES   a client (op >> 4) says this
 *	4             a client reads
 *	5 HOW         a client leaves, or half of it
 *	6             a buffer for events
 *	7             reset and set-up again
 *
 * The rings are right: bad ones are fuzz_virtq's. What goes wrong is for the sanitizers to find, and for libFuzzer's
 * limit of time: a worker that waits hangs the reset at the end.
 */
#include <linux/virtio_vsock.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/types.h"
#include "lkvm/virtio-vsock.h"

#define CID     77
#define CLIENTS 8

static struct fake_driver drv;
static struct virtio_dev *dev;
static char folder[64];
static int client[CLIENTS];

/* The only one of this process, which removes it at its end */
static void remove_folder(void)
{
	rmdir(folder);
}

static const char *path(const char *name)
{
	static char ret[100];

	if (!*folder) {
		snprintf(folder, sizeof(folder), "/tmp/lkvm-fuzz-vsock-XXXXXX");
		check(mkdtemp(folder));
		atexit(remove_folder);
	}
	snprintf(ret, sizeof(ret), "%s/%s", folder, name);
	return ret;
}

static void make(uint64_t features)
{
	static const struct vsock_config cfg = { .packed = true };
	struct vsock_host host = { .fd = { -1, -1 } };

	check(!vsock_host_open(path("s"), &host));
	check(!virtio_vsock_new(drv.ram, "vsock0", &cfg, CID, &host, &dev));
	fake_attach(&drv, dev);
	check(fake_probe(&drv, features, 16));
}

/* No room in the ring: an operation without effect */
static void add(unsigned queue, const struct fake_buf *buf)
{
	struct fake_queue *q = &drv.queue[queue];
	uint32_t written;

	while (fake_used(q, &written) >= 0)
		;
	fake_add(q, buf, 1);
	fake_notify(&drv, queue);
}

static void packet(struct input *in)
{
	static const uint32_t lens[] = { 0, 1, 100, 4096, 65536, 200000, 262144, 262145 };
	const uint8_t ports = input_byte(in), cids = input_byte(in);
	struct virtio_vsock_hdr hdr = {
		.src_cid = cids & 1 ? cids : CID, .dst_cid = cids & 2 ? cids : VSOCK_HOST_CID,
		.src_port = ports & 7, .dst_port = ports & 8 ? (1U << 30) + (ports >> 4) : ports >> 4,
	};
	uint32_t bytes;

	hdr.type = input_byte(in);
	hdr.op = input_byte(in);
	hdr.flags = input_byte(in);
	hdr.buf_alloc = (uint32_t)input_le(in, 4);
	hdr.fwd_cnt = (uint32_t)input_le(in, 4);
	hdr.len = lens[input_byte(in) % ARRAY_SIZE(lens)];
	bytes = (uint32_t)sizeof(hdr) + hdr.len - input_byte(in) % 2;
	memcpy(fake_at(&drv, GPA(0x100000)), &hdr, sizeof(hdr));
	add(1, &FAKE_OUT(GPA(0x100000), bytes));
}

static void join(unsigned i, bool messages)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if (client[i] >= 0)
		close(client[i]);
	strcpy(addr.sun_path, path(messages ? "s" VSOCK_SEQPACKET_SUFFIX : "s"));
	client[i] = socket(AF_UNIX, (messages ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK, 0);
	check(client[i] >= 0);
	if (!connect(client[i], (struct sockaddr *)&addr, sizeof(addr)))
		vsock_hello_write(client[i], 1);
}

static void say(struct input *in, int fd)
{
	size_t len = (size_t)input_byte(in) * 512, left = (size_t)(in->end - in->at);
	static uint8_t bytes[256 * 512];

	if (len <= left)
		memcpy(bytes, in->at, len);
	if (fd >= 0)
		send(fd, bytes, len ? len : left & 31, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void leave(struct input *in, unsigned i)
{
	const unsigned how = input_byte(in) % 3;

	if (how < 2) {
		shutdown(client[i], how ? SHUT_WR : SHUT_RD);
		return;
	}
	close(client[i]);
	client[i] = -1;
}

static void step(struct input *in, uint64_t features)
{
	static uint8_t taken[65536];
	const uint8_t op = input_byte(in);
	const unsigned i = op >> 4 & (CLIENTS - 1);

	switch (op & 7) {
	case 0:
		packet(in);
		break;
	case 1:
		add(0, &FAKE_IN(GPA(0x200000), 32U + input_byte(in) * 32U));
		break;
	case 2:
		join(i, input_byte(in) & 1);
		break;
	case 3:
		say(in, client[i]);
		break;
	case 4:
		if (client[i] >= 0)
			recv(client[i], taken, sizeof(taken), MSG_DONTWAIT);
		break;
	case 5:
		if (client[i] >= 0)
			leave(in, i);
		break;
	case 6:
		add(2, &FAKE_IN(GPA(0x300000), input_byte(in) % 16U));
		break;
	default:
		check(fake_probe(&drv, features, 16));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	const uint8_t first = input_byte(&in);
	const uint64_t features = (first & 1 ? FAKE_PACKED : 0) | (first & 2 ? FAKE_EVENT_IDX : 0) |
				  (first & 4 ? 1ULL << VIRTIO_VSOCK_F_SEQPACKET : 0);

	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = -1;
	fake_init(&drv, 4);
	make(features);
	for (unsigned n = 0; n < 100 && in.at < in.end; n++)
		step(&in, features);
	check(fake_negotiate(&drv, features));
	virtio_vsock_free(dev);
	fake_fini(&drv);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (client[i] >= 0)
			close(client[i]);
	return 0;
}
