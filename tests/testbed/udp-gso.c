/*
 * Datagrams that are handed over many at once (UDP_SEGMENT, UDP_GRO), for tests of offloads; static, for a guest that has
 * no libraries.
 *
 *	udp-gso send ADDRESS PORT COUNT     COUNT times 40 of 1000 bytes
 *	udp-gso receive PORT COUNT          as many as that; says how they came, and fails if one is not as it was sent
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEGMENT   1000
#define SEGMENTS  40
#define PATIENCE_MS 60000

static int fail(const char *what)
{
	fprintf(stderr, "udp-gso: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Each segment has its number in front. */
static void fill(unsigned char *bytes, unsigned first)
{
	for (unsigned i = 0; i < SEGMENT * SEGMENTS; i++)
		bytes[i] = (unsigned char)(i * 7);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		const unsigned number = first + i;

		memcpy(bytes + i * SEGMENT, &number, sizeof(number));
	}
}

/* Return: a socket to there, or -1 */
static int connect_to(const char *address, const char *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = in.sin_port };
	const int is_v4 = inet_pton(AF_INET, address, &in.sin_addr) == 1;
	int fd;

	if (!is_v4 && inet_pton(AF_INET6, address, &in6.sin6_addr) != 1)
		return -1;
	fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	if (is_v4)
		return connect(fd, (struct sockaddr *)&in, sizeof(in)) ? -1 : fd;
	return connect(fd, (struct sockaddr *)&in6, sizeof(in6)) ? -1 : fd;
}

static int send_all(const char *address, const char *port, unsigned count)
{
	static unsigned char bytes[SEGMENT * SEGMENTS];
	const int fd = connect_to(address, port), segment = SEGMENT;

	if (fd < 0 || setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		return fail(address);
	for (unsigned i = 0; i < count; i++) {
		fill(bytes, i * SEGMENTS);
		if (send(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
			return fail("send");
		usleep(100000);
	}
	return 0;
}

/* Return: whether the next @n bytes are as they were sent, from segment *@number on */
static int is_right(const unsigned char *bytes, size_t n, unsigned *number)
{
	for (; n >= SEGMENT; bytes += SEGMENT, n -= SEGMENT, ++*number) {
		const unsigned first = *number % SEGMENTS * SEGMENT;

		if (memcmp(bytes, number, sizeof(*number)))
			return 0;
		for (unsigned i = sizeof(*number); i < SEGMENT; i++)
			if (bytes[i] != (unsigned char)((first + i) * 7))
				return 0;
	}
	return !n;
}

static int receive_all(const char *port, unsigned count)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(port)) };
	static unsigned char bytes[65536];
	const int fd = socket(AF_INET6, SOCK_DGRAM, 0), on = 1, room = 4 << 20;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned number = 0, pieces = 0;

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) || setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)))
		return fail("bind");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	puts("ready");
	fflush(stdout);
	while (number < count * SEGMENTS && poll(&p, 1, PATIENCE_MS) == 1) {
		const ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

		if (n < 0)
			return fail("recv");
		if (!is_right(bytes, (size_t)n, &number)) {
			printf("segment %u is not as it was sent\n", number);
			return 1;
		}
		pieces++;
	}
	printf("%u segments in %u pieces\n", number, pieces);
	return number != count * SEGMENTS;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_all(argv[2], argv[3], (unsigned)atoi(argv[4]));
	if (argc == 4 && !strcmp(argv[1], "receive"))
		return receive_all(argv[2], (unsigned)atoi(argv[3]));
	return 2;
}
