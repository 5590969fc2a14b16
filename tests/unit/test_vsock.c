/* Links: virtio/vsock.o virtio/vsock-rx.o virtio/vsock-tx.o virtio/vsock-conn.o virtio/vsock-buffer.o virtio/vsock-state.o vsock/host.o vsock/hello.o virtio/virtio.o virtio/queue.o virtio/worker.o virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o util/file.o util/log.o util/loop.o util/timer.o tests/unit/fake-driver.o tests/unit/fake-ring.o */
/* Wraps: timer_set */

/* Connections of the socket device: how they begin, what passes, how they end. */
#include "vsock-rig.h"

#include <sys/resource.h>

#include "lkvm/clock.h"

/* The test's patience with a client that says nothing: none, once it wants that. */
static atomic_bool impatient;
int __real_timer_set(struct timer *timer, uint64_t at_ns);
int __wrap_timer_set(struct timer *timer, uint64_t at_ns);

int __wrap_timer_set(struct timer *timer, uint64_t at_ns)
{
	if (impatient)
		at_ns = now_ns() + 1000000;
	return __real_timer_set(timer, at_ns);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

static void fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = pattern(i);
}

static void assert_pattern(const uint8_t *bytes, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ck_assert_uint_eq(bytes[i], pattern(from + i));
}

static uint8_t big[3 * VSOCK_CONN_BYTES];

START_TEST(test_type)
{
	rig_new(SEQPACKET, 0);
	ck_assert_uint_eq(dev->type->id, VIRTIO_ID_VSOCK);
	ck_assert_uint_eq(dev->n_queues, 3);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 8), CID);
	ck_assert_uint_eq(virtio_config_read(dev, 0, 4), CID);
	ck_assert_uint_eq(virtio_config_read(dev, 4, 4), 0);
	ck_assert(dev->device_features & SEQPACKET && dev->device_features & 1);
	rig_free();
	virtio_vsock_free(NULL);
}
END_TEST

/* ---- beginning ---- */

START_TEST(test_host_begins)
{
	char buf[16];
	uint32_t port, other;
	int fd, fd2;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 1234, &port);
	fd2 = host_joins(SOCK_STREAM, 1234, &other);
	ck_assert_uint_ne(port, other);
	ck_assert_int_eq(send(fd, "hello", 5, 0), 5);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 5);
	ck_assert_mem_eq(heard.bytes, "hello", 5);
	ck_assert_uint_eq(heard.hdr.src_port, port);
	say_bytes(STREAM_, 1234, port, "world", 5, 0);
	recv_all(fd, buf, 5);
	ck_assert_mem_eq(buf, "world", 5);
	ck_assert_uint_eq(connections(), 2);
	close(fd);
	close(fd2);
	rig_free();
}
END_TEST

/* What is said behind the line is the guest's, however the line comes. */
START_TEST(test_hello_in_pieces)
{
	static const char line[] = "connect 7\nabc";
	struct virtio_vsock_hdr hdr;
	int fd;

	rig_new(0, 8);
	fd = client(SOCK_STREAM);
	for (size_t i = 0; i < sizeof(line) - 1; i++) {
		ck_assert_int_eq(send(fd, line + i, 1, 0), 1);
		poll(NULL, 0, 1);
	}
	hdr = hear(VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(hdr.dst_port, 7);
	say(STREAM_, VIRTIO_VSOCK_OP_RESPONSE, 7, hdr.src_port);
	for (uint32_t n = 0; n < 3; n += heard.hdr.len) {
		hear(VIRTIO_VSOCK_OP_RW);
		ck_assert_mem_eq(heard.bytes, "abc" + n, heard.hdr.len);
	}
	ck_assert_uint_eq(read_ok(fd), hdr.src_port);
	close(fd);
	rig_free();
}
END_TEST

START_TEST(test_bad_hellos)
{
	static const char *const lines[] = {
		"CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT 1x\n", "CONNECT -1\n", "CONNECT 4294967295\n",
		"CONNECT 99999999999999999999\n", "GET / HTTP/1.0\n", "\n", "CONNECT  1\n", "CONNECT 1\r\n",
		"CONNECT 00000000000000000000000000000001\n", "0123456789012345678901234567890123456789",
	};
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

	rig_new(SEQPACKET, 8);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(lines); i++) {
		int fd = client(types[i % 2]);

		ck_assert_int_eq(send(fd, lines[i / 2], strlen(lines[i / 2]), 0), (ssize_t)strlen(lines[i / 2]));
		assert_closed(fd);
	}
	for (size_t i = 0; i < 2; i++) { /* who says less, and leaves */
		int fd = client(types[i]);

		send(fd, "CONN", i ? 0 : 4, 0);
		shutdown(fd, SHUT_WR);
		close(fd);
	}
	while (connections())
		poll(NULL, 0, 1);
	hear_nothing();
	rig_free();
}
END_TEST

START_TEST(test_silent_client)
{
	int fd;

	impatient = true;
	rig_new(0, 8);
	fd = client(SOCK_STREAM);
	assert_closed(fd);
	fd = client(SOCK_STREAM);
	ck_assert_int_eq(send(fd, "CONNECT 1", 9, 0), 9);
	assert_closed(fd);
	ck_assert_uint_eq(connections(), 0);
	rig_free();
}
END_TEST

START_TEST(test_guest_refuses)
{
	struct virtio_vsock_hdr hdr;
	int fd;

	rig_new(0, 8);
	fd = client(SOCK_STREAM);
	vsock_hello_write(fd, 5);
	hdr = hear(VIRTIO_VSOCK_OP_REQUEST);
	say(STREAM_, VIRTIO_VSOCK_OP_RST, 5, hdr.src_port);
	assert_closed(fd);
	/* who leaves before there was an answer */
	fd = client(SOCK_STREAM);
	vsock_hello_write(fd, 5);
	hdr = hear(VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RST).src_port, hdr.src_port);
	hear_nothing();
	ck_assert_uint_eq(connections(), 0);
	rig_free();
}
END_TEST

START_TEST(test_guest_begins)
{
	char buf[8];
	int listener, fd;

	rig_new(SEQPACKET, 8);
	say(STREAM_, VIRTIO_VSOCK_OP_REQUEST, 100, 200);
	hear(VIRTIO_VSOCK_OP_RST);
	listener = listen_at("s_200", SOCK_STREAM);
	say(MESSAGES, VIRTIO_VSOCK_OP_REQUEST, 100, 200); /* another type */
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RST).type, MESSAGES);
	fd = guest_joins(listener, STREAM_, 100, 200);
	say_bytes(STREAM_, 100, 200, "abc", 3, 0);
	recv_all(fd, buf, 3);
	ck_assert_mem_eq(buf, "abc", 3);
	ck_assert_int_eq(send(fd, "de", 2, 0), 2);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 2);
	close(fd);
	close(listener);
	say(STREAM_, VIRTIO_VSOCK_OP_REQUEST, 101, 200); /* a dead socket */
	while (hear_some(&heard, true).op != VIRTIO_VSOCK_OP_RST)
		;
	rig_free();
}
END_TEST

/* ---- the end ---- */

START_TEST(test_guest_closes)
{
	char buf[8];
	int listener, fd;

	rig_new(0, 8);
	listener = listen_at("s_1", SOCK_STREAM);
	fd = guest_joins(listener, STREAM_, 9, 1);
	say_bytes(STREAM_, 9, 1, "abc", 3, 0);
	say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 9, 1, VIRTIO_VSOCK_SHUTDOWN_SEND);
	recv_all(fd, buf, 3);
	ck_assert_int_eq(recv(fd, buf, 1, 0), 0);
	ck_assert_int_eq(send(fd, "x", 1, 0), 1); /* the other way is open */
	hear(VIRTIO_VSOCK_OP_RW);
	say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 9, 1, VIRTIO_VSOCK_SHUTDOWN_RCV);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RST).src_port, 1);
	ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	ck_assert_uint_eq(connections(), 0);
	close(fd);
	fd = guest_joins(listener, STREAM_, 9, 1); /* the same ports are free again */
	say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 9, 1, VIRTIO_VSOCK_SHUTDOWN_RCV);
	hear_nothing();
	ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	ck_assert_int_eq(errno, EPIPE);
	say_bytes(STREAM_, 9, 1, "y", 1, 0);
	recv_all(fd, buf, 1);
	say(STREAM_, VIRTIO_VSOCK_OP_RST, 9, 1);
	assert_closed(fd);
	hear_nothing();
	rig_free();
}
END_TEST

START_TEST(test_host_closes)
{
	uint32_t port;
	int fd;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	send(fd, "abc", 3, 0);
	hear(VIRTIO_VSOCK_OP_RW);
	shutdown(fd, SHUT_WR);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_bytes(STREAM_, 5, port, "y", 1, 0);
	recv_all(fd, big, 1);
	close(fd);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags, SHUT_BOTH);
	say_bytes(STREAM_, 5, port, "z", 1, 0); /* it did not know yet */
	hear_nothing();
	ck_assert_uint_eq(connections(), 1);
	say(STREAM_, VIRTIO_VSOCK_OP_RST, 5, port);
	hear_nothing();
	ck_assert_uint_eq(connections(), 0);
	/* all at once: what was said comes first */
	fd = host_joins(SOCK_STREAM, 5, &port);
	send(fd, "abc", 3, 0);
	close(fd);
	hear(VIRTIO_VSOCK_OP_RW);
	while (hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags != SHUT_BOTH)
		;
	say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 5, port, SHUT_BOTH);
	hear(VIRTIO_VSOCK_OP_RST);
	ck_assert_uint_eq(connections(), 0);
	rig_free();
}
END_TEST

/* All of it is there, and the end of it, before the guest has room: its end is told, too, though nothing happens any more. */
START_TEST(test_end_that_waits)
{
	uint32_t port;
	int fd;

	rig_new(0, 8);
	credit = 0;
	fd = host_joins(SOCK_STREAM, 5, &port);
	send(fd, "abc", 3, 0);
	shutdown(fd, SHUT_WR);
	hear_nothing();
	credit = 100;
	say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 3);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	say_bytes(STREAM_, 5, port, "y", 1, 0);
	recv_all(fd, big, 1);
	close(fd);
	hear(VIRTIO_VSOCK_OP_SHUTDOWN);
	/* and while it stood still */
	credit = VSOCK_CONN_BYTES;
	fd = host_joins(SOCK_STREAM, 6, &port);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	send(fd, "abc", 3, 0);
	shutdown(fd, SHUT_WR);
	poll(NULL, 0, 10);
	virtio_dev_hold_end(dev);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 3);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	close(fd);
	rig_free();
}
END_TEST

/* A reader that only writes: the guest is told, and what it says meanwhile does no harm. */
START_TEST(test_host_is_deaf)
{
	uint32_t port;
	int fd;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	shutdown(fd, SHUT_RD);
	say_bytes(STREAM_, 5, port, "y", 1, 0);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
	for (unsigned i = 0; i < 5; i++)
		say_bytes(STREAM_, 5, port, big, VSOCK_CONN_BYTES / 2, 0);
	send(fd, "x", 1, 0);
	while (hear_some(&heard, true).op != VIRTIO_VSOCK_OP_RW)
		ck_assert_uint_eq(heard.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	close(fd);
	rig_free();
}
END_TEST

/* ---- credit ---- */

START_TEST(test_guest_has_little_room)
{
	uint32_t port, got = 0;
	int fd;

	rig_new(0, 8);
	credit = 5000;
	taken = UINT32_MAX - 3000; /* its counter wraps, as ours does not: there is no room */
	fd = host_joins(SOCK_STREAM, 5, &port);
	fill(big, 20000);
	ck_assert_int_eq(send(fd, big, 20000, 0), 20000);
	taken = 0;
	say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	while (got < 20000) {
		uint32_t before = got;

		for (; got < before + 5000; got += heard.hdr.len) {
			hear(VIRTIO_VSOCK_OP_RW);
			assert_pattern(heard.bytes, got, heard.hdr.len);
		}
		ck_assert_uint_eq(got, before + 5000);
		hear_nothing();
		taken = got;
		say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	}
	/* less room than is on its way already, and a count of what was never sent */
	credit = 0;
	say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	send(fd, "x", 1, 0);
	hear_nothing();
	credit = 10;
	taken = got + 1;
	say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	hear_nothing();
	taken = got;
	say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	hear(VIRTIO_VSOCK_OP_RW);
	close(fd);
	rig_free();
}
END_TEST

/* As much as was promised is kept for a slow reader, and no byte more; the others go on. */
START_TEST(test_host_is_slow)
{
	const uint32_t some = 65536;
	uint32_t port, other, sent = 0, told = 0;
	int fd, fd2;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	fd2 = host_joins(SOCK_STREAM, 6, &other);
	fill(big, sizeof(big));
	/* the socket takes some itself, and so it is told of: until all of both is full */
	while (sent - told < VSOCK_CONN_BYTES) {
		uint32_t len = told + (uint32_t)VSOCK_CONN_BYTES - sent < some ? told + (uint32_t)VSOCK_CONN_BYTES - sent : some;

		say_bytes(STREAM_, 5, port, big + sent, len, 0);
		sent += len;
		ck_assert_uint_le(sent, sizeof(big) - some);
		say(STREAM_, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 5, port);
		say(STREAM_, VIRTIO_VSOCK_OP_RW, NOBODY, NOBODY);
		while (hear_some(&heard, true).op != VIRTIO_VSOCK_OP_RST)
			told = heard.hdr.fwd_cnt;
	}
	say_bytes(STREAM_, 6, other, "abc", 3, 0);
	recv_all(fd2, big + sizeof(big) - 3, 3);
	{
		static uint8_t got[sizeof(big)];

		recv_all(fd, got, sent);
		assert_pattern(got, 0, sent);
	}
	do
		told = hear_some(&heard, true).fwd_cnt; /* of room, without being asked */
	while (sent - told > VSOCK_CONN_BYTES / 2);
	ck_assert_uint_eq(heard.hdr.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	close(fd);
	close(fd2);
	rig_free();
}
END_TEST

START_TEST(test_guest_sends_too_much)
{
	uint32_t port;
	int fd;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	say_bytes(STREAM_, 5, port, big, VSOCK_CONN_BYTES, 0);
	say_bytes(STREAM_, 5, port, big, VSOCK_CONN_BYTES, 0);
	while (hear_some(&heard, true).op == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
		;
	ck_assert_uint_eq(heard.hdr.op, VIRTIO_VSOCK_OP_RST);
	ck_assert_uint_eq(connections(), 0);
	close(fd);
	rig_free();
}
END_TEST

/* What it said before it closed reaches a slow reader all the same. */
START_TEST(test_slow_reader_after_the_end)
{
	static uint8_t got[VSOCK_CONN_BYTES];
	uint32_t port;
	int fd;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	fill(big, VSOCK_CONN_BYTES);
	say_bytes(STREAM_, 5, port, big, VSOCK_CONN_BYTES, 0);
	say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 5, port, SHUT_BOTH);
	while (hear_some(&heard, true).op != VIRTIO_VSOCK_OP_RST)
		;
	recv_all(fd, got, sizeof(got));
	assert_pattern(got, 0, sizeof(got));
	assert_closed(fd);
	while (connections())
		poll(NULL, 0, 1);
	rig_free();
}
END_TEST

/* ---- messages ---- */

START_TEST(test_messages_to_host)
{
	static uint8_t got[VSOCK_CONN_BYTES + 1];
	uint32_t port;
	int fd;

	rig_new(SEQPACKET, 8);
	fd = host_joins(SOCK_SEQPACKET, 5, &port);
	fill(big, sizeof(big));
	say_bytes(MESSAGES, 5, port, big, 3, VIRTIO_VSOCK_SEQ_EOM);
	say_bytes(MESSAGES, 5, port, big, 0, VIRTIO_VSOCK_SEQ_EOM); /* none can be told from the end */
	say_bytes(MESSAGES, 5, port, big, 1000, 0);
	say_bytes(MESSAGES, 5, port, big + 1000, 1000, VIRTIO_VSOCK_SEQ_EOM | VIRTIO_VSOCK_SEQ_EOR);
	say_bytes(MESSAGES, 5, port, big, 200000, 0);
	say_bytes(MESSAGES, 5, port, NULL, 0, VIRTIO_VSOCK_SEQ_EOM);
	say_bytes(MESSAGES, 5, port, "z", 1, VIRTIO_VSOCK_SEQ_EOM);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 3);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 2000);
	assert_pattern(got, 0, 2000);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 200000);
	assert_pattern(got, 0, 200000);
	ck_assert_int_eq(recv(fd, got, sizeof(got), 0), 1);
	say_bytes(MESSAGES, 5, port, big, 10, 0); /* is never complete */
	say_flags(MESSAGES, VIRTIO_VSOCK_OP_SHUTDOWN, 5, port, SHUT_BOTH);
	assert_closed(fd);
	rig_free();
}
END_TEST

/* As many small ones as there is room for: each stays one. */
START_TEST(test_many_messages)
{
	uint32_t port, n = 2000;
	uint8_t got[64];
	int fd;

	rig_new(SEQPACKET, 8);
	fd = host_joins(SOCK_SEQPACKET, 5, &port);
	fill(big, 64);
	for (uint32_t i = 0; i < n; i++)
		say_bytes(MESSAGES, 5, port, big, i % 37 + 1, VIRTIO_VSOCK_SEQ_EOM);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_int_eq(recv(fd, got, sizeof(got), 0), i % 37 + 1);
		assert_pattern(got, 0, i % 37 + 1);
	}
	close(fd);
	rig_free();
}
END_TEST

START_TEST(test_messages_to_guest)
{
	static const uint32_t sizes[] = { 1, RX_BYTES, RX_BYTES + 1, 100000 };
	uint32_t port;
	int fd;

	rig_new(SEQPACKET, 8);
	fd = host_joins(SOCK_SEQPACKET, 5, &port);
	fill(big, sizeof(big));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		ck_assert_int_eq(send(fd, big, 0, 0), 0); /* an empty one is none, and no end */
		ck_assert_int_eq(send(fd, big, sizes[i], 0), sizes[i]);
		for (uint32_t n = 0; n < sizes[i]; n += heard.hdr.len) {
			hear(VIRTIO_VSOCK_OP_RW);
			assert_pattern(heard.bytes, n, heard.hdr.len);
			ck_assert_uint_eq(heard.hdr.flags, n + heard.hdr.len == sizes[i] ? VIRTIO_VSOCK_SEQ_EOM : 0);
		}
		taken += sizes[i];
		say(MESSAGES, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	}
	send(fd, big, 0, 0);
	send(fd, big, 0, 0);
	send(fd, "x", 1, 0);
	close(fd);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 1);
	while (hear(VIRTIO_VSOCK_OP_SHUTDOWN).flags != SHUT_BOTH)
		;
	rig_free();
}
END_TEST

/* It waits for room for all of it; what will never have that is the end. */
START_TEST(test_message_and_room)
{
	uint32_t port;
	int fd;

	rig_new(SEQPACKET, 8);
	credit = 3000;
	fd = host_joins(SOCK_SEQPACKET, 5, &port);
	send(fd, big, 2000, 0);
	hear(VIRTIO_VSOCK_OP_RW);
	send(fd, big, 2000, 0);
	hear_nothing();
	taken = 1000;
	say(MESSAGES, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RW).len, 2000);
	taken = 4000;
	say(MESSAGES, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 5, port);
	send(fd, big, 3001, 0);
	hear(VIRTIO_VSOCK_OP_RST);
	assert_closed(fd);
	rig_free();
}
END_TEST

/* ---- limits ---- */

/* Who finds no room waits, the guest's are refused; each end makes room for one. */
START_TEST(test_most_connections)
{
	static int fd[VSOCK_MAX_CONNS + 1];
	static uint32_t port[VSOCK_MAX_CONNS + 1];
	struct rlimit limit = { 8192, 8192 };
	struct virtio_vsock_hdr hdr;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	rig_new(0, 32);
	for (unsigned i = 0; i < VSOCK_MAX_CONNS; i++)
		fd[i] = host_joins(SOCK_STREAM, 5, &port[i]);
	ck_assert_uint_eq(connections(), VSOCK_MAX_CONNS);
	fd[VSOCK_MAX_CONNS] = client(SOCK_STREAM);
	vsock_hello_write(fd[VSOCK_MAX_CONNS], 5);
	listen_at("s_1", SOCK_STREAM);
	say(STREAM_, VIRTIO_VSOCK_OP_REQUEST, 9, 1);
	ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RST).dst_port, 9);
	hear_nothing();
	say(STREAM_, VIRTIO_VSOCK_OP_RST, 5, port[0]);
	hdr = hear(VIRTIO_VSOCK_OP_REQUEST);
	say(STREAM_, VIRTIO_VSOCK_OP_RESPONSE, 5, hdr.src_port);
	ck_assert_uint_eq(read_ok(fd[VSOCK_MAX_CONNS]), hdr.src_port);
	for (unsigned i = 1; i < VSOCK_MAX_CONNS; i++) {
		close(fd[i]);
		hdr = hear(VIRTIO_VSOCK_OP_SHUTDOWN);
		say_flags(STREAM_, VIRTIO_VSOCK_OP_SHUTDOWN, 5, hdr.src_port, SHUT_BOTH);
		while (hear_some(&heard, true).op != VIRTIO_VSOCK_OP_RST)
			;
	}
	ck_assert_uint_eq(connections(), 1);
	rig_free();
}
END_TEST

/* No more is taken than there can be answers to. */
START_TEST(test_no_buffers)
{
	struct fake_queue *tx;
	unsigned used = 0;
	uint32_t written;

	rig_new(0, 0);
	tx = &drv.queue[TX_QUEUE];
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < RING; i++) {
			const struct virtio_vsock_hdr hdr = header(STREAM_, VIRTIO_VSOCK_OP_RW, i, NOBODY);
			gpa_t at = fake_alloc(&drv, sizeof(hdr), 8);
			const struct fake_buf buf = FAKE_OUT(at, sizeof(hdr));

			memcpy(fake_at(&drv, at), &hdr, sizeof(hdr));
			ck_assert_int_ge(fake_add(tx, &buf, 1), 0);
		}
		fake_notify(&drv, TX_QUEUE);
		for (; !round && used < MAX_REPLIES; used++)
			ck_assert_int_ge(fake_wait_used(&drv, TX_QUEUE, &written), 0);
	}
	poll(NULL, 0, 20);
	ck_assert_int_lt(fake_used(tx, &written), 0);
	give_buffers(RING);
	for (unsigned i = 0; i < 2 * RING; i++)
		ck_assert_uint_eq(hear(VIRTIO_VSOCK_OP_RST).dst_port, i % RING);
	rig_free();
}
END_TEST

/* Two that have much to say share what room the guest gives. */
START_TEST(test_fair)
{
	uint32_t port[2], n[2] = { 0 };
	int fd[2];

	rig_new(0, 8);
	for (unsigned i = 0; i < 2; i++)
		fd[i] = host_joins(SOCK_STREAM, 5, &port[i]);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(send(fd[i], big, 200000, 0), 200000);
	for (unsigned i = 0; i < 48; i++)
		n[hear(VIRTIO_VSOCK_OP_RW).src_port == port[1]]++;
	ck_assert_uint_ge(n[0], 12);
	ck_assert_uint_ge(n[1], 12);
	rig_free();
}
END_TEST

/* ---- standing still, and doing nothing ---- */

static void assert_idle(void)
{
	unsigned turn;

	poll(NULL, 0, 20); /* what has come is done with */
	turn = dev->loop.turn;
	poll(NULL, 0, 50);
	ck_assert_uint_le(dev->loop.turn - turn, 1);
}

/* Whatever cannot go on costs nothing: no room at the guest's, at the host's, an end that is closed. */
START_TEST(test_idle)
{
	uint32_t port;
	int fd[4];

	rig_new(0, 8);
	credit = 10;
	for (unsigned i = 0; i < 4; i++)
		fd[i] = host_joins(SOCK_STREAM, 5 + i, &port);
	assert_idle();
	send(fd[0], big, 100, 0);
	hear(VIRTIO_VSOCK_OP_RW);
	assert_idle();
	close(fd[0]); /* with something that the guest has not read */
	send(fd[1], big, 100, 0);
	shutdown(fd[1], SHUT_WR);
	hear(VIRTIO_VSOCK_OP_RW);
	assert_idle();
	shutdown(fd[2], SHUT_WR);
	hear(VIRTIO_VSOCK_OP_SHUTDOWN);
	assert_idle();
	say_bytes(STREAM_, 8, port, big, VSOCK_CONN_BYTES, 0);
	assert_idle();
	recv_all(fd[3], big, 1000);
	assert_idle();
	rig_free();
}
END_TEST

START_TEST(test_pause)
{
	uint32_t port, written;
	char buf[4];
	int fd, late;

	rig_new(0, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	virtio_dev_hold_begin(dev);
	ck_assert(virtio_dev_hold_wait(dev, now_ms() + 10000));
	send(fd, "abc", 3, 0);
	late = client(SOCK_STREAM);
	vsock_hello_write(late, 6);
	poll(NULL, 0, 10);
	ck_assert_int_lt(fake_used(&drv.queue[RX_QUEUE], &written), 0);
	virtio_dev_hold_end(dev);
	for (unsigned i = 0; i < 2; i++)
		if (hear_some(&heard, true).op == VIRTIO_VSOCK_OP_RW)
			ck_assert_mem_eq(heard.bytes, "abc", 3);
		else
			ck_assert_uint_eq(heard.hdr.op, VIRTIO_VSOCK_OP_REQUEST);
	say_bytes(STREAM_, 5, port, "def", 3, 0);
	recv_all(fd, buf, 3);
	close(fd);
	close(late);
	rig_free();
}
END_TEST

/* A driver that begins anew knows of no connection, and the host's programs are told. */
START_TEST(test_reset)
{
	uint32_t port;
	int fd;

	rig_new(SEQPACKET, 8);
	fd = host_joins(SOCK_STREAM, 5, &port);
	ck_assert(fake_probe(&drv, FAKE_PACKED | FAKE_EVENT_IDX, RING));
	assert_closed(fd);
	ck_assert_uint_eq(connections(), 0);
	give_buffers(8);
	say(MESSAGES, VIRTIO_VSOCK_OP_REQUEST, 5, 1); /* it has not accepted those */
	hear(VIRTIO_VSOCK_OP_RST);
	fd = host_joins(SOCK_STREAM, 5, &port);
	send(fd, "abc", 3, 0);
	hear(VIRTIO_VSOCK_OP_RW);
	close(fd);
	rig_free();
}
END_TEST

UNIT_MAIN("vsock", test_type, test_host_begins, test_hello_in_pieces, test_bad_hellos, test_silent_client,
	  test_guest_refuses, test_guest_begins, test_guest_closes, test_host_closes, test_end_that_waits, test_host_is_deaf,
	  test_guest_has_little_room, test_host_is_slow, test_guest_sends_too_much, test_slow_reader_after_the_end,
	  test_messages_to_host, test_many_messages, test_messages_to_guest, test_message_and_room,
	  test_most_connections, test_no_buffers, test_fair, test_idle, test_pause, test_reset)
