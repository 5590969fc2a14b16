/* Links: gdb/stub.o gdb/stub-data.o gdb/stub-query.o gdb/packet.o */
/*
 * A client of gdb's protocol that sends anything: bytes as they are, and, as nobody guesses check sums, each line
 * of the input as a packet. What it is answered never passes the size that it was told, and nothing outside of the
 * target's memory is touched.
 */
#include <stdlib.h>

#include "../unit/gdb-target.h"
#include "input.h"
#include "lkvm/gdb/packet.h"

static size_t drain(struct gdb_stub *stub)
{
	const void *bytes;
	size_t n, sum = 0;

	while ((bytes = gdb_stub_output(stub, &n))) {
		sum += n;
		gdb_stub_sent(stub, n);
	}
	return sum;
}

/* Return: is the client still there? */
static bool feed(struct fake_target *f, const uint8_t *bytes, size_t n)
{
	long taken = 0;

	for (size_t at = 0; at < n; at += (size_t)taken) {
		taken = gdb_stub_input(f->stub, bytes + at, n - at);
		check(drain(f->stub) <= GDB_PACKET_BYTES + 5);
		if (taken < 0)
			return false;
		check(taken > 0);
	}
	return true;
}

static bool feed_packet(struct fake_target *f, const uint8_t *contents, size_t n)
{
	uint8_t sum = 0;
	char tail[8];

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + contents[i]);
	snprintf(tail, sizeof(tail), "#%02x", sum);
	return feed(f, (const uint8_t *)"$", 1) && feed(f, contents, n) && feed(f, (const uint8_t *)tail, 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fake_target *f = malloc(sizeof(*f));
	const uint8_t *end = data + size;
	bool there;

	check(fake_target_new(f) != NULL);
	f->has_offset = true;
	there = size && data[0] == 0xff ? feed(f, data, size) : true;
	while (there && data < end) {
		const uint8_t *line = memchr(data, '\n', (size_t)(end - data));
		const size_t n = (size_t)((line ? line : end) - data);

		there = feed_packet(f, data, n);
		/* It stands still for the next one, and takes the rest of what a command has said. */
		there = there && feed(f, (const uint8_t *)"\3+", 2);
		data += n + (line != NULL);
	}
	check(!there == (f->n_ends == 1));
	gdb_stub_free(f->stub);
	free(f);
	return 0;
}
