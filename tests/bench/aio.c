/*
 * aio: the host's own figure under those of a block device: the requests of tests/guest/blk-bench.c
 * on the same file by Linux AIO, at a constant depth, and nothing else.
 *
 *	aio FILE "periods=5 cycles=300000000 depth=32 bytes=4096 write=0 random=1 [direct=1]"
 *
 * After each period it prints "REQUESTS CYCLES SYSTEM-CALLS", at the end the cycles in a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libaio.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define MAX_DEPTH   64
#define RANDOM_STEP 0x9e3779b1ULL

struct bench {
	int fd;
	io_context_t aio;
	unsigned depth, flying;
	bool write;
	uint64_t bytes, at, step, mask;
	uint64_t done, calls;
	struct iocb iocb[MAX_DEPTH], *batch[MAX_DEPTH];
	struct io_event events[MAX_DEPTH];
};

static void die(const char *what, int err)
{
	fprintf(stderr, "aio: %s: %s\n", what, strerror(err));
	exit(1);
}

static uint64_t param(const char *params, const char *name, uint64_t otherwise)
{
	const char *at = strstr(params, name);

	return at && at[strlen(name)] == '=' ? strtoull(at + strlen(name) + 1, NULL, 10) : otherwise;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void send(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct iocb *cb = b->batch[i];

		cb->u.c.offset = (long long)b->at;
		b->at = (b->at + b->step) & b->mask;
	}
	for (unsigned i = 0; i < n;) {
		int ret = io_submit(b->aio, (long)(n - i), b->batch + i);

		if (ret <= 0)
			die("io_submit", -ret);
		i += (unsigned)ret;
		b->calls++;
	}
	b->flying += n;
}

/* Puts what is free again into batch[]. Return: how many that are */
static unsigned reap(struct bench *b)
{
	int n = io_getevents(b->aio, 1, b->depth, b->events, NULL);

	if (n <= 0)
		die("io_getevents", -n);
	for (int i = 0; i < n; i++) {
		if (b->events[i].res != b->bytes)
			die("transfer", EIO);
		b->batch[i] = b->events[i].obj;
	}
	b->calls++;
	b->done += (unsigned)n;
	b->flying -= (unsigned)n;
	return (unsigned)n;
}

static void period(struct bench *b, uint64_t length)
{
	const uint64_t start = __rdtsc();
	unsigned idle = b->depth;

	b->done = b->calls = 0;
	for (unsigned i = 0; i < b->depth; i++)
		b->batch[i] = &b->iocb[i];
	while (__rdtsc() - start < length) {
		send(b, idle);
		idle = reap(b);
	}
	while (b->flying)
		reap(b);
	printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", b->done, (uint64_t)__rdtsc() - start,
	       b->calls);
}

static void prepare(struct bench *b)
{
	char *data;

	if (posix_memalign((void **)&data, 4096, b->depth * b->bytes))
		die("memory", ENOMEM);
	memset(data, 0, b->depth * b->bytes);
	for (unsigned i = 0; i < b->depth; i++) {
		if (b->write)
			io_prep_pwrite(&b->iocb[i], b->fd, data + i * b->bytes, b->bytes, 0);
		else
			io_prep_pread(&b->iocb[i], b->fd, data + i * b->bytes, b->bytes, 0);
	}
}

static void set_positions(struct bench *b, bool random)
{
	struct stat st;

	if (fstat(b->fd, &st))
		die("fstat", errno);
	for (b->mask = 1; b->mask * 2 <= (uint64_t)st.st_size;)
		b->mask *= 2;
	b->mask--;
	b->step = (random ? RANDOM_STEP : 1) * b->bytes;
}

int main(int argc, char **argv)
{
	static struct bench b;
	const char *params = argc == 3 ? argv[2] : "";
	uint64_t cycles;
	double start;

	b.depth = (unsigned)param(params, "depth", 1);
	b.bytes = param(params, "bytes", 4096);
	b.write = param(params, "write", 0);
	if (argc != 3 || !b.depth || b.depth > MAX_DEPTH) {
		fputs("usage: aio FILE PARAMETERS\n", stderr);
		return 2;
	}
	b.fd = open(argv[1], (b.write ? O_RDWR : O_RDONLY) | O_CLOEXEC |
				     (param(params, "direct", 0) ? O_DIRECT : 0));
	if (b.fd < 0)
		die(argv[1], errno);
	errno = -io_setup(MAX_DEPTH, &b.aio);
	if (errno)
		die("io_setup", errno);
	set_positions(&b, param(params, "random", 0));
	prepare(&b);
	start = now();
	cycles = __rdtsc();
	for (uint64_t n = param(params, "periods", 5); n; n--)
		period(&b, param(params, "cycles", 300000000));
	cycles = __rdtsc() - cycles;
	printf("%.0f\n", (double)cycles / (now() - start));
}
