/*
 * gdb SOCKET: a client of gdb's protocol at a stub that listens there. Prints how many nanoseconds it took to read
 * 1 MiB of memory, 4 KiB at a time or as much as the stub allows, and to make 1000 single steps.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STEPS 1000
#define BYTES (1024 * 1024)
#define PIECE 4096

static int fd;
static char answer[65536];

static void fail(const char *what)
{
	fprintf(stderr, "gdb: %s: %.200s\n", what, answer);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static char input[2 * sizeof(answer)];
static size_t n_input;

/* Where a whole packet's contents begin and end in what has come; false: there is none yet */
static bool find_packet(char **ret_begin, char **ret_end)
{
	*ret_begin = memchr(input, '$', n_input);
	*ret_end = *ret_begin ? memchr(*ret_begin, '#', n_input - (size_t)(*ret_begin - input)) : NULL;
	return *ret_end && input + n_input - *ret_end >= 3;
}

/* The next packet; what comes before it are acknowledgements. Return: the length of its contents */
static size_t receive(void)
{
	char *begin, *end;
	size_t n;

	while (!find_packet(&begin, &end)) {
		const ssize_t got = read(fd, input + n_input, sizeof(input) - n_input);

		if (got <= 0)
			fail("the stub has left");
		n_input += (size_t)got;
	}
	n = (size_t)(end - begin) - 1;
	if (n >= sizeof(answer))
		fail("a packet that is too long");
	memcpy(answer, begin + 1, n);
	answer[n] = '\0';
	n_input -= (size_t)(end + 3 - input);
	memmove(input, end + 3, n_input);
	return n;
}

static size_t ask(const char *contents)
{
	char packet[128];
	uint8_t sum = 0;
	int n;

	for (const char *c = contents; *c; c++)
		sum = (uint8_t)(sum + (uint8_t)*c);
	n = snprintf(packet, sizeof(packet), "$%s#%02x", contents, sum);
	if (write(fd, packet, (size_t)n) != n)
		fail("the stub takes nothing");
	return receive();
}

static size_t begin(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *size;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail("connect");
	ask("qSupported:swbreak+;hwbreak+;vContSupported+");
	size = strstr(answer, "PacketSize=");
	if (!size) { /* it has told first that the guest stands still */
		receive();
		size = strstr(answer, "PacketSize=");
	}
	if (!size)
		fail("no size of packets");
	size += strlen("PacketSize=");
	const size_t most = strtoul(size, NULL, 16) / 2 - 8;

	ask("QStartNoAckMode");
	if (write(fd, "+", 1) != 1)
		fail("write");
	ask("?");
	return most < PIECE ? most : PIECE;
}

static uint64_t read_memory(size_t piece)
{
	const uint64_t start = now_ns();
	char packet[64];

	for (size_t at = 0; at < BYTES; at += piece) {
		snprintf(packet, sizeof(packet), "m%zx,%zx", 0x200000 + at, piece);
		if (ask(packet) != 2 * piece)
			fail("memory");
	}
	return now_ns() - start;
}

static uint64_t step(void)
{
	const uint64_t start = now_ns();

	for (unsigned i = 0; i < STEPS; i++) {
		ask("vCont;s:1");
		if (strncmp(answer, "T05", 3))
			fail("step");
	}
	return now_ns() - start;
}

int main(int argc, char **argv)
{
	size_t piece;
	uint64_t memory, steps;

	if (argc != 2) {
		fprintf(stderr, "usage: gdb SOCKET\n");
		return 2;
	}
	piece = begin(argv[1]);
	memory = read_memory(piece);
	steps = step();
	printf("%" PRIu64 " %" PRIu64 "\n", memory, steps);
	return 0;
}
