/* Links: virtio/net.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o hw/state.o net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o util/json.o util/log.o util/loop.o tests/unit/fake-driver.o tests/unit/fake-ring.o */

/*
 * What a driver puts into the queues of a network device with two pairs, or with one that it spreads over two, while
 * frames come, the link goes and comes, and the device stands still. The first byte chooses the features; of each
 * operation the first byte says what it is, and where a length is needed it is the next one:
 *
 *	0 LEN BYTES    a buffer to read on queue (op >> 4) % 5    4           the link goes, or comes
 *	1 LEN          a buffer to write to, likewise             5           it stands still, and goes on
 *	2 LEN BYTES    both in one chain: a command               6           what was sent is read
 *	3 LEN BYTES    a frame comes on pair (op >> 4) % 2        7           reset and set-up again
 *
 * The rings are right: bad ones are fuzz_virtq's. What goes wrong is for the sanitizers to find, and for libFuzzer's
 * limit of time: a worker that waits hangs the reset at the end.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/fake-driver.h"
#include "input.h"
#include "lkvm/clock.h"
#include "lkvm/types.h"
#include "lkvm/virtio-net.h"

#define QUEUES 5
#define PAIRS  2
#define STEERED 16 /* of the first byte: the end has one pair, the device spreads what comes */

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct end {
	struct net net;
	struct loop_source src[PAIRS];
	int peer[PAIRS];
} end;

static void ready(struct loop_source *src, uint32_t events)
{
	const unsigned pair = (unsigned)(src - end.src);

	if (events & EPOLLOUT)
		end.net.writable(&end.net, pair);
	if (events & EPOLLIN)
		end.net.readable(&end.net, pair);
}

static int attach(struct net *net, struct loop *loop)
{
	for (unsigned i = 0; i < PAIRS; i++)
		check(!loop_add(loop, &end.src[i], EPOLLIN | EPOLLOUT | EPOLLET));
	return net == &end.net ? 0 : -EINVAL;
}

static void detach(struct net *net, struct loop *loop)
{
	(void)net;
	for (unsigned i = 0; i < PAIRS; i++)
		loop_del(loop, &end.src[i]);
}

/* What the device has judged */
static int send_frame(struct net *net, unsigned pair, const struct iovec *iov, unsigned n)
{
	struct virtio_net_hdr_v1 header;

	(void)net;
	check(n >= 2 && iov[0].iov_len == sizeof(header));
	memcpy(&header, iov[0].iov_base, sizeof(header));
	check(!(header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM));
	check(!header.gso_type || (header.flags && header.gso_size));
	return writev(end.src[pair].fd, iov, (int)n) < 0 ? -errno : 0;
}

static ssize_t receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	const ssize_t len = recvmsg(end.src[pair].fd, &msg, 0);

	(void)net;
	if (len <= 0)
		return 0;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : len;
}

static int set(struct net *net, unsigned value)
{
	check(net == &end.net);
	return value == 3 ? -EINVAL : 0;
}

static void close_end(struct net *net)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		close(end.src[i].fd);
		close(end.peer[i]);
	}
	(void)net;
}

static const struct net_ops ops = { .attach = attach, .detach = detach, .send = send_frame, .receive = receive,
				    .set_offloads = set, .set_pairs = set, .close = close_end };

static void open_end(void)
{
	static const struct net_config cfg = { .mac = { 2, 0, 0, 0, 0, 1 } };

	end.net = (struct net){ .ops = &ops, .name = "net0", .cfg = &cfg, .max_pairs = PAIRS, .mtu = 1500, .link_up = true,
				.offloads = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO };
	end.net.linear = malloc(NET_HDR_BYTES + NET_MAX_FRAME);
	for (unsigned i = 0; i < PAIRS; i++) {
		int fds[2];

		check(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds));
		end.src[i] = (struct loop_source){ fds[0], ready };
		end.peer[i] = fds[1];
	}
}

static size_t take_bytes(struct input *in, void *dst, size_t n)
{
	const size_t left = (size_t)(in->end - in->at);

	n = n < left ? n : left;
	memcpy(dst, in->at, n);
	in->at += n;
	return n;
}

static void driver_adds(struct input *in, unsigned queue, bool readable, bool writable)
{
	struct fake_queue *q = &drv.queue[queue];
	const uint32_t len = input_byte(in);
	const gpa_t out = GPA(0x100000), back = GPA(0x101000);
	struct fake_buf bufs[2];
	uint32_t written;
	unsigned n = 0;

	if (readable) {
		take_bytes(in, fake_at(&drv, out), len);
		bufs[n++] = FAKE_OUT(out, len);
	}
	if (writable)
		bufs[n++] = FAKE_IN(back, len);
	while (fake_used(q, &written) >= 0)
		;
	fake_add(q, bufs, n); /* no room in the ring: an operation without effect */
	fake_notify(&drv, queue);
}

static void frame_comes(struct input *in, unsigned pair)
{
	uint8_t bytes[256];
	const size_t n = take_bytes(in, bytes, input_byte(in));

	if (send(end.peer[pair], bytes, n, 0) < 0)
		check(errno == EAGAIN);
}

static void stand_still(void)
{
	virtio_dev_hold_begin(dev);
	check(virtio_dev_hold_wait(dev, now_ms() + 20000));
	virtio_dev_hold_end(dev);
}

static void operation(struct input *in, uint64_t features)
{
	const uint8_t op = input_byte(in);
	uint8_t bytes[2048];

	switch (op & 7) {
	case 0:
	case 1:
	case 2:
		driver_adds(in, (op >> 4) % QUEUES, (op & 7) != 1, (op & 7) != 0);
		break;
	case 3:
		frame_comes(in, op >> 4 & 1);
		break;
	case 4:
		virtio_net_set_link(dev, op >> 4 & 1);
		break;
	case 5:
		stand_still();
		break;
	case 6:
		while (recv(end.peer[op >> 4 & 1], bytes, sizeof(bytes), 0) > 0)
			;
		break;
	case 7:
		fake_probe(&drv, features, 16);
		break;
	}
}

static uint64_t features_of(uint8_t byte)
{
	uint64_t features = 1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_CTRL_RX | 1ULL << VIRTIO_NET_F_MQ |
			    1ULL << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ULL << VIRTIO_NET_F_CTRL_MAC_ADDR |
			    1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE;

	if (byte & 1)
		features |= 1ULL << VIRTIO_NET_F_MRG_RXBUF;
	if (byte & 2)
		features |= 1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_CSUM |
			    1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
	if (byte & 4)
		features |= 1ULL << VIRTIO_NET_F_CTRL_VLAN;
	if (byte & STEERED)
		features |= 1ULL << VIRTIO_NET_F_RSS;
	if (byte & STEERED && byte & 32)
		features |= 1ULL << VIRTIO_NET_F_HASH_REPORT;
	if (byte & STEERED && byte & 64) /* hashes alone */
		features &= ~(1ULL << VIRTIO_NET_F_RSS);
	return byte & 8 ? features | FAKE_EVENT_IDX : features;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	const uint64_t features = features_of(input_byte(&in));

	open_end();
	if (size && data[0] & STEERED) {
		end.net.max_pairs = 1;
		end.net.steered = PAIRS;
	}
	fake_init(&drv, 4);
	check(!virtio_net_new(drv.ram, "net0", &end.net, &dev));
	fake_attach(&drv, dev);
	fake_probe(&drv, features, 16);
	for (unsigned i = 0; in.at < in.end && i < 200; i++) {
		operation(&in, features);
		if (drv.next > 3 << 20) /* rings of many set-ups */
			break;
	}
	virtio_net_free(dev);
	fake_fini(&drv);
	return 0;
}
