/*
 * A byte buffer that tables are appended to, and on top of it the little of ACPI's machine language
 * that the DSDT needs: names, devices, resources. See aml.h; main thread, no vCPU runs yet.
 */
#include "lkvm/x86/aml.h"

#include <endian.h>
#include <string.h>

/* ACPI 6.5, 20.2: the encodings that are used here */
enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXT = 0x5b,
	OP_NOTIFY = 0x86,
	OP_EXT_DEVICE = 0x82,
};

/* ACPI 6.5, 6.4.2: small resource descriptors; the tag byte holds type and length */
enum {
	RES_IRQ_NO_FLAGS = 0x22,
	RES_IO = 0x47,
	RES_END = 0x79,
};

/* 6.4.3: large ones; two bytes of length follow the tag */
enum {
	RES_MEMORY32_FIXED = 0x86,
	RES_DWORD = 0x87,
	RES_WORD = 0x88,
	RES_INTERRUPT = 0x89,
	RES_QWORD = 0x8a,
};

/* Flags of RES_INTERRUPT; without them: of this device's children, level, active high, exclusive */
enum { INTERRUPT_CONSUMER = 1 << 0, INTERRUPT_EDGE = 1 << 1, INTERRUPT_SHARED = 1 << 3 };

enum { WINDOW_MEMORY = 0, WINDOW_IO = 1, WINDOW_BUS = 2 };

#define RES_IO_DECODE16    1
#define RES_MEMORY_WRITE   1 /* not cacheable */
#define RES_IO_ALL         3 /* ports of ISA and others */
#define WINDOW_FIXED       0x0c /* neither end moves; the bridge decodes what is in it */
#define NAME_SEG_BYTES  4
#define INT_MAX_BYTES   9

bool bytebuf_full(const struct bytebuf *b)
{
	return b->len > b->cap;
}

/* Put @n bytes at @at and move what stands there. A full buffer stays full. @bytes may be NULL for none. */
static void insert(struct bytebuf *b, size_t at, const void *bytes, size_t n)
{
	if (!n || bytebuf_full(b))
		return;
	if (n > b->cap - b->len) {
		b->len = b->cap + 1;
		return;
	}
	memmove(b->data + at + n, b->data + at, b->len - at);
	memcpy(b->data + at, bytes, n);
	b->len += n;
}

size_t bytebuf_put(struct bytebuf *b, const void *bytes, size_t n)
{
	size_t at = b->len;

	insert(b, at, bytes, n);
	return at;
}

size_t bytebuf_align(struct bytebuf *b, size_t align)
{
	static const uint8_t zeros[BYTEBUF_MAX_ALIGN];

	bytebuf_put(b, zeros, ALIGN_UP(b->len, align) - b->len);
	return b->len;
}

uint8_t bytebuf_sum(const struct bytebuf *b, size_t at, size_t n)
{
	uint8_t sum = 0;

	for (; n; n--)
		sum = (uint8_t)(sum + b->data[at++]);
	return sum;
}

static void put8(struct bytebuf *b, uint8_t v)
{
	bytebuf_put(b, &v, 1);
}

static void put16(struct bytebuf *b, uint16_t v)
{
	v = htole16(v);
	bytebuf_put(b, &v, sizeof(v));
}

static void put32(struct bytebuf *b, uint32_t v)
{
	v = htole32(v);
	bytebuf_put(b, &v, sizeof(v));
}

static void put64(struct bytebuf *b, uint64_t v)
{
	put32(b, (uint32_t)v);
	put32(b, (uint32_t)(v >> 32));
}

static void put_name(struct bytebuf *b, const char *name)
{
	bytebuf_put(b, name, NAME_SEG_BYTES);
}

/*
 * PkgLength counts itself, so it depends on its own size: 1 byte with 6 bits of length, or a lead
 * byte with 4 bits and 1 to 3 bytes that follow. It is known at the end only, and goes in there.
 */
static unsigned encode_pkg_length(size_t content, uint8_t ret[4])
{
	unsigned n = 1;
	size_t total;

	if (content + n < 1 << 6) {
		ret[0] = (uint8_t)(content + n);
		return n;
	}
	do
		total = content + ++n;
	while (n < 4 && total >> (8 * n - 4));
	ret[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
	for (unsigned i = 1; i < n; i++)
		ret[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
	return n;
}

/* The shortest encoding, as ASL compilers choose it. */
static unsigned encode_int(uint64_t value, uint8_t ret[INT_MAX_BYTES])
{
	unsigned n = value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
	uint64_t le = htole64(value);

	if (value <= 1) {
		ret[0] = value ? OP_ONE : OP_ZERO;
		return 1;
	}
	ret[0] = n == 1 ? OP_BYTE : n == 2 ? OP_WORD : n == 4 ? OP_DWORD : OP_QWORD;
	memcpy(ret + 1, &le, n);
	return n + 1;
}

size_t aml_scope(struct bytebuf *b, const char *name)
{
	size_t mark;

	put8(b, OP_SCOPE);
	mark = b->len;
	put_name(b, name);
	return mark;
}

size_t aml_device(struct bytebuf *b, const char *name)
{
	size_t mark;

	put8(b, OP_EXT);
	put8(b, OP_EXT_DEVICE);
	mark = b->len;
	put_name(b, name);
	return mark;
}

size_t aml_package(struct bytebuf *b, uint8_t n_elements)
{
	size_t mark;

	put8(b, OP_PACKAGE);
	mark = b->len;
	put8(b, n_elements);
	return mark;
}

/* Flags: the number of arguments; not serialized, as it creates nothing. */
size_t aml_method(struct bytebuf *b, const char *name, uint8_t n_args)
{
	size_t mark;

	put8(b, OP_METHOD);
	mark = b->len;
	put_name(b, name);
	put8(b, n_args);
	return mark;
}

void aml_end(struct bytebuf *b, size_t mark)
{
	uint8_t bytes[4];

	insert(b, mark, bytes, encode_pkg_length(b->len - mark, bytes));
}

void aml_name(struct bytebuf *b, const char *name)
{
	put8(b, OP_NAME);
	put_name(b, name);
}

void aml_int(struct bytebuf *b, uint64_t value)
{
	uint8_t bytes[INT_MAX_BYTES];

	bytebuf_put(b, bytes, encode_int(value, bytes));
}

void aml_string(struct bytebuf *b, const char *text)
{
	put8(b, OP_STRING);
	bytebuf_put(b, text, strlen(text) + 1);
}

void aml_notify(struct bytebuf *b, const char *name, uint8_t value)
{
	put8(b, OP_NOTIFY);
	put_name(b, name);
	aml_int(b, value);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of 5 bits and four digits of 4 bits, most significant first (EISA's byte order). */
void aml_eisa_id(struct bytebuf *b, const char *id)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < 3; i++)
		v = v << 5 | ((uint32_t)(id[i] - 'A' + 1) & 0x1f);
	for (unsigned i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	v = htobe32(v);
	put8(b, OP_DWORD);
	bytebuf_put(b, &v, sizeof(v));
}

size_t aml_crs(struct bytebuf *b)
{
	aml_name(b, "_CRS");
	put8(b, OP_BUFFER);
	return b->len;
}

void aml_crs_io(struct bytebuf *b, uint16_t port, uint8_t n_ports)
{
	put8(b, RES_IO);
	put8(b, RES_IO_DECODE16);
	put16(b, port); /* lowest and highest base: it cannot be moved */
	put16(b, port);
	put8(b, 1); /* alignment */
	put8(b, n_ports);
}

void aml_crs_irq(struct bytebuf *b, unsigned irq)
{
	put8(b, RES_IRQ_NO_FLAGS);
	put16(b, (uint16_t)(1u << irq));
}

void aml_crs_memory(struct bytebuf *b, uint32_t base, uint32_t bytes)
{
	put8(b, RES_MEMORY32_FIXED);
	put16(b, 9); /* bytes that follow */
	put8(b, RES_MEMORY_WRITE);
	put32(b, base);
	put32(b, bytes);
}

void aml_crs_edge(struct bytebuf *b, uint32_t gsi)
{
	put8(b, RES_INTERRUPT);
	put16(b, 6);
	put8(b, INTERRUPT_CONSUMER | INTERRUPT_EDGE | INTERRUPT_SHARED);
	put8(b, 1); /* interrupts in this list */
	put32(b, gsi);
}

static void put_word_window(struct bytebuf *b, uint8_t type, uint8_t specific, uint16_t first,
			    uint16_t last)
{
	put8(b, RES_WORD);
	put16(b, 13);
	put8(b, type);
	put8(b, WINDOW_FIXED);
	put8(b, specific);
	put16(b, 0); /* granularity */
	put16(b, first);
	put16(b, last);
	put16(b, 0); /* translation */
	put16(b, (uint16_t)(last - first + 1));
}

void aml_crs_bus(struct bytebuf *b, uint8_t first, uint8_t last)
{
	put_word_window(b, WINDOW_BUS, 0, first, last);
}

void aml_crs_ports(struct bytebuf *b, uint16_t first, uint16_t last)
{
	put_word_window(b, WINDOW_IO, RES_IO_ALL, first, last);
}

void aml_crs_window(struct bytebuf *b, uint32_t first, uint32_t last)
{
	put8(b, RES_DWORD);
	put16(b, 23);
	put8(b, WINDOW_MEMORY);
	put8(b, WINDOW_FIXED);
	put8(b, RES_MEMORY_WRITE);
	put32(b, 0); /* granularity */
	put32(b, first);
	put32(b, last);
	put32(b, 0); /* translation */
	put32(b, last - first + 1);
}

void aml_crs_window64(struct bytebuf *b, uint64_t first, uint64_t last)
{
	put8(b, RES_QWORD);
	put16(b, 43);
	put8(b, WINDOW_MEMORY);
	put8(b, WINDOW_FIXED);
	put8(b, RES_MEMORY_WRITE);
	put64(b, 0); /* granularity */
	put64(b, first);
	put64(b, last);
	put64(b, 0); /* translation */
	put64(b, last - first + 1);
}

void aml_crs_end(struct bytebuf *b, size_t mark)
{
	uint8_t bytes[INT_MAX_BYTES];

	put8(b, RES_END);
	put8(b, 0); /* checksum: 0 is taken as right */
	insert(b, mark, bytes, encode_int(b->len - mark, bytes));
	aml_end(b, mark);
}
