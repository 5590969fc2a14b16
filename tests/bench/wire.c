/*
 * What a connection carries: streams each way, and requests with their answers one at a time.
 *
 *	wire serve FAMILY ADDRESS PORT			one connection after the other, for ever
 *	wire FAMILY ADDRESS PORT ROW AMOUNT		prints "wire: ROW NANOSECONDS", of one of AMOUNT
 *
 * FAMILY: tcp, vsock (ADDRESS is a CID), unix (ADDRESS is a path; PORT is no matter). ROW: send or receive (AMOUNT in
 * MiB, which the time is of), request-BYTES (AMOUNT of them). For `make bench BENCH_TABLES="net vsock"`, in guests and outside.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHUNK    65536
#define MIB      (1ULL << 20)
#define PATIENCE 600 /* tenths of a second until somebody listens */

/* What a client begins with. */
struct order {
	char row;       /* s, r, q: as the client has it */
	uint32_t bytes; /* of a request */
	uint64_t amount; /* bytes, or requests */
};

static char buf[CHUNK];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void put(int fd, size_t n)
{
	while (n) {
		const ssize_t done = write(fd, buf, n < CHUNK ? n : CHUNK);

		if (done <= 0)
			fail("write");
		n -= (size_t)done;
	}
}

/* Return: false: the connection has ended */
static int get(int fd, uint64_t n)
{
	while (n) {
		const ssize_t done = read(fd, buf, n < CHUNK ? n : CHUNK);

		if (done <= 0)
			return 0;
		n -= (uint64_t)done;
	}
	return 1;
}

static void want(int fd, uint64_t n)
{
	if (!get(fd, n))
		fail("read");
}

/* ---- addresses ---- */

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_vm vm;
	struct sockaddr_un un;
};

static socklen_t address(char **arg, union address *ret)
{
	const unsigned port = (unsigned)strtoul(arg[2], NULL, 10);

	memset(ret, 0, sizeof(*ret));
	if (!strcmp(arg[0], "vsock")) {
		ret->vm.svm_family = AF_VSOCK;
		ret->vm.svm_port = port;
		ret->vm.svm_cid = (unsigned)strtoul(arg[1], NULL, 10);
		return sizeof(ret->vm);
	}
	if (!strcmp(arg[0], "unix")) {
		ret->un.sun_family = AF_UNIX;
		snprintf(ret->un.sun_path, sizeof(ret->un.sun_path), "%s", arg[1]);
		return sizeof(ret->un);
	}
	ret->in.sin_family = AF_INET;
	ret->in.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, arg[1], &ret->in.sin_addr) != 1)
		fail("address");
	return sizeof(ret->in);
}

/* Small messages go at once. */
static void no_delay(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* which only TCP knows */
}

/* ---- the server ---- */

static void obey(int fd)
{
	struct order o;

	no_delay(fd);
	if (read(fd, &o, sizeof(o)) != sizeof(o) || o.bytes > CHUNK)
		return;
	if (o.row == 's' && get(fd, o.amount))
		put(fd, 1);
	if (o.row == 'r')
		put(fd, o.amount);
	while (o.row == 'q' && o.amount-- && get(fd, o.bytes))
		put(fd, o.bytes);
	get(fd, UINT64_MAX); /* until the client has gone */
}

static void serve(char **arg)
{
	union address at;
	const socklen_t len = address(arg, &at);
	const int fd = socket(at.any.sa_family, SOCK_STREAM, 0), on = 1;
	int client;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, &at.any, len) || listen(fd, 8))
		fail("listen");
	while ((client = accept(fd, NULL, NULL)) >= 0) {
		obey(client);
		close(client);
	}
}

/* ---- the client ---- */

static int get_through(char **arg)
{
	union address at;
	const socklen_t len = address(arg, &at);

	for (unsigned i = 0; i < PATIENCE; i++) {
		const int fd = socket(at.any.sa_family, SOCK_STREAM, 0);

		if (fd >= 0 && !connect(fd, &at.any, len))
			return fd;
		close(fd);
		usleep(100000);
	}
	fail("connect");
	return -1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void run(int fd, const struct order *o)
{
	if (write(fd, o, sizeof(*o)) != sizeof(*o))
		fail("write");
	if (o->row == 's') {
		put(fd, o->amount);
		want(fd, 1);
	} else if (o->row == 'r') {
		want(fd, o->amount);
	}
	for (uint64_t i = 0; o->row == 'q' && i < o->amount; i++) {
		put(fd, o->bytes);
		want(fd, o->bytes);
	}
}

int main(int argc, char **argv)
{
	struct order o = { 0 };
	uint64_t start, amount;
	int fd;

	if (argc == 5 && !strcmp(argv[1], "serve")) {
		serve(argv + 2);
		return 1;
	}
	if (argc != 6)
		return 2;
	amount = strtoull(argv[5], NULL, 10);
	o.row = strncmp(argv[4], "request-", 8) ? argv[4][0] : 'q';
	o.bytes = o.row == 'q' ? (uint32_t)strtoul(argv[4] + 8, NULL, 10) : 0;
	o.amount = o.row == 'q' ? amount : amount * MIB;
	if (!amount || o.bytes > CHUNK)
		return 2;
	fd = get_through(argv + 1);
	no_delay(fd);
	start = now_ns();
	run(fd, &o);
	printf("wire: %s %llu\n", argv[4], (unsigned long long)((now_ns() - start) / amount));
	return 0;
}
