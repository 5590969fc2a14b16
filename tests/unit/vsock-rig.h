/*
 * The socket device between a fake driver and the host's programs, both played by the test: packets here, UNIX
 * sockets there. The folder of the test is the current one; the device's sockets are "s" and "s.seqpacket".
 */
#ifndef TESTS_VSOCK_RIG_H
#define TESTS_VSOCK_RIG_H

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "../../virtio/vsock-internal.h"
#include "fake-driver.h"
#include "own-folder.h"
#include "unit.h"

#define CID        77
#define SEQPACKET  (1ULL << VIRTIO_VSOCK_F_SEQPACKET)
#define STREAM_    VIRTIO_VSOCK_TYPE_STREAM
#define MESSAGES   VIRTIO_VSOCK_TYPE_SEQPACKET
#define RX_BYTES   4096 /* of a buffer, behind the header */
#define RING       64
#define NOBODY     9999 /* a port that no connection has */

struct packet {
	struct virtio_vsock_hdr hdr;
	uint8_t bytes[RX_BYTES];
};

static struct fake_driver drv;
static struct virtio_dev *dev;
static struct vsock_host rig_host;
static gpa_t rx_memory, tx_memory;
static gpa_t rx_of[VIRTQ_MAX_SIZE]; /* by id: where the buffer is */
static uint32_t credit = VSOCK_CONN_BYTES, taken; /* what the guest tells */

/* ---- the guest ---- */

static inline void give_buffer(gpa_t at)
{
	const struct fake_buf buf = FAKE_IN(at, sizeof(struct packet));
	int id = fake_add(&drv.queue[RX_QUEUE], &buf, 1);

	ck_assert_int_ge(id, 0);
	rx_of[id] = at;
}

static inline void give_buffers(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		give_buffer(GPA(rx_memory.v + i * sizeof(struct packet)));
	fake_notify(&drv, RX_QUEUE);
}

static inline void rig_make(const struct vsock_config *cfg)
{
	rig_host = (struct vsock_host){ .fd = { -1, -1 } };
	ck_assert_int_eq(vsock_host_open("s", &rig_host), 0);
	ck_assert_int_eq(virtio_vsock_new(drv.ram, "vsock0", cfg, CID, &rig_host, &dev), 0);
}

static inline void rig_new(uint64_t features, unsigned buffers)
{
	static const struct vsock_config cfg = { .packed = true };

	enter_own_folder();
	fake_init(&drv, 4);
	rig_make(&cfg);
	fake_attach(&drv, dev);
	ck_assert(fake_probe(&drv, features, RING));
	rx_memory = fake_alloc(&drv, RING * sizeof(struct packet), 8);
	tx_memory = fake_alloc(&drv, HEADER_BYTES + VSOCK_CONN_BYTES + 1, 8);
	credit = VSOCK_CONN_BYTES;
	taken = 0;
	give_buffers(buffers);
}

static inline void rig_free(void)
{
	virtio_vsock_free(dev);
	fake_fini(&drv);
	leave_own_folder();
}

static inline struct virtio_vsock_hdr header(uint16_t type, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = CID, .dst_cid = VSOCK_HOST_CID, .src_port = guest_port, .dst_port = host_port,
		.type = type, .op = op, .buf_alloc = credit, .fwd_cnt = taken,
	};
}

/* Return: was it taken? Else the device needs a reset. */
static inline bool send_raw(const struct virtio_vsock_hdr *hdr, const void *bytes, uint32_t len)
{
	struct fake_buf buf = FAKE_OUT(tx_memory, (uint32_t)HEADER_BYTES + len);

	memcpy(fake_at(&drv, tx_memory), hdr, sizeof(*hdr));
	if (len)
		memcpy((uint8_t *)fake_at(&drv, tx_memory) + HEADER_BYTES, bytes, len);
	return fake_request(&drv, TX_QUEUE, &buf, 1) == 0;
}

static inline void say(uint16_t type, uint16_t op, uint32_t guest_port, uint32_t host_port)
{
	const struct virtio_vsock_hdr hdr = header(type, op, guest_port, host_port);

	ck_assert(send_raw(&hdr, NULL, 0));
}

static inline void say_flags(uint16_t type, uint16_t op, uint32_t guest_port, uint32_t host_port, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = header(type, op, guest_port, host_port);

	hdr.flags = flags;
	ck_assert(send_raw(&hdr, NULL, 0));
}

static inline void say_bytes(uint16_t type, uint32_t guest_port, uint32_t host_port, const void *bytes, uint32_t len,
			     uint32_t flags)
{
	struct virtio_vsock_hdr hdr = header(type, VIRTIO_VSOCK_OP_RW, guest_port, host_port);

	hdr.len = len;
	hdr.flags = flags;
	ck_assert(send_raw(&hdr, bytes, len));
}

/* The next packet; its buffer goes back if @again */
static inline struct virtio_vsock_hdr hear_some(struct packet *ret, bool again)
{
	uint32_t written;
	int id = fake_wait_used(&drv, RX_QUEUE, &written);

	ck_assert_msg(id >= 0, "the device is broken");
	memcpy(ret, fake_at(&drv, rx_of[id]), sizeof(*ret));
	ck_assert_uint_eq(written, HEADER_BYTES + ret->hdr.len);
	ck_assert_uint_eq(ret->hdr.dst_cid, CID);
	if (again) {
		give_buffer(rx_of[id]);
		fake_notify(&drv, RX_QUEUE);
	}
	return ret->hdr;
}

static struct packet heard;

static inline struct virtio_vsock_hdr hear(uint16_t op)
{
	struct virtio_vsock_hdr hdr = hear_some(&heard, true);

	ck_assert_msg(hdr.op == op, "op %u, not %u", hdr.op, op);
	return hdr;
}

/* Of what was said until now there is no answer but this one: the device answers in order. */
static inline void hear_nothing(void)
{
	struct virtio_vsock_hdr hdr;

	say(STREAM_, VIRTIO_VSOCK_OP_RW, NOBODY, NOBODY);
	hdr = hear(VIRTIO_VSOCK_OP_RST);
	ck_assert_uint_eq(hdr.dst_port, NOBODY);
}

/* ---- the host ---- */

static inline int listen_at(const char *path, int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	return fd;
}

static inline int client(int type)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	strcpy(addr.sun_path, type == SOCK_SEQPACKET ? "s.seqpacket" : "s");
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Of both types the same: "OK PORT\n" */
static inline uint32_t read_ok(int fd)
{
	char line[64] = "";
	uint32_t port;
	int type;

	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &(socklen_t){ sizeof(type) }), 0);
	for (size_t n = 0; !strchr(line, '\n'); n++)
		ck_assert_int_gt(recv(fd, line + n, type == SOCK_SEQPACKET ? sizeof(line) - 1 : 1, 0), 0);
	ck_assert_int_eq(sscanf(line, "OK %u\n", &port), 1);
	return port;
}

static inline void assert_closed(int fd)
{
	char byte;

	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

/* A connection that the host has begun, to @port of the guest. Return: the host's end */
static inline int host_joins(int type, uint32_t port, uint32_t *ret_host_port)
{
	const uint16_t guest_type = type == SOCK_SEQPACKET ? MESSAGES : STREAM_;
	struct virtio_vsock_hdr hdr;
	int fd = client(type);

	ck_assert_int_eq(vsock_hello_write(fd, port), 0);
	hdr = hear(VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(hdr.src_cid, VSOCK_HOST_CID);
	ck_assert_uint_eq(hdr.dst_port, port);
	ck_assert_uint_eq(hdr.type, guest_type);
	ck_assert_uint_eq(hdr.buf_alloc, VSOCK_CONN_BYTES);
	ck_assert_uint_eq(hdr.len, 0);
	say(guest_type, VIRTIO_VSOCK_OP_RESPONSE, port, hdr.src_port);
	*ret_host_port = read_ok(fd);
	ck_assert_uint_eq(*ret_host_port, hdr.src_port);
	return fd;
}

/* A connection that the guest has begun, to @port of the host, where @listener listens */
static inline int guest_joins(int listener, uint16_t type, uint32_t guest_port, uint32_t port)
{
	struct virtio_vsock_hdr hdr;
	int fd;

	say(type, VIRTIO_VSOCK_OP_REQUEST, guest_port, port);
	fd = accept(listener, NULL, NULL);
	ck_assert_int_ge(fd, 0);
	hdr = hear(VIRTIO_VSOCK_OP_RESPONSE);
	ck_assert_uint_eq(hdr.src_port, port);
	ck_assert_uint_eq(hdr.dst_port, guest_port);
	return fd;
}

static inline void recv_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = recv(fd, (uint8_t *)buf + n, len - n, 0);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
}

static inline struct vsock *rig_vsock(void)
{
	return vsock_of(dev);
}

static inline uint64_t connections(void)
{
	struct vsock_stats stats;

	virtio_vsock_stats(dev, &stats);
	return stats.connections;
}

#endif
