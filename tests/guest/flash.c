/*
 * What firmware (rom.S) may do to its variables (--firmware-vars, 128 KiB right below the ROM's 128), by the book and
 * not. Each case is a line, "N what ... ok" or "... not ok: why", and begins with the chip showing its array. Byte n of
 * the file is n / 256 at the begin; what is to be in it at the end tests/functional/firmware.t.sh knows.
 */
#include "expect.h"

#define VARS  0xfffc0000ULL
#define END   0xfffe0000ULL
#define BLOCK 0x1000ULL

enum { READY = 0x80, ERASE_FAULT = 0x20, PROGRAM_FAULT = 0x10, NO_COMMAND = 0xb0 };

static uint64_t block(unsigned n)
{
	return VARS + n * BLOCK;
}

static void put(uint64_t at, uint8_t byte)
{
	*mem8(at) = byte;
}

static void to_array(void)
{
	put(VARS, 0x50);
}

static void erase(uint64_t at)
{
	put(at, 0x20);
	put(at, 0xd0);
}

static void program(uint64_t at, uint8_t byte)
{
	put(at, 0x10);
	put(at, byte);
}

static uint8_t filled(uint64_t at)
{
	return (uint8_t)((at - VARS) >> 8);
}

static void reads(void)
{
	for (uint64_t at = VARS; at < END; at += 0x100)
		EXPECT_EQ(*mem8(at), filled(at));
	EXPECT_EQ(*mem64(VARS + 0x8000), 0x8080808080808080ULL);
	EXPECT_EQ(*mem8(VARS - 1), 0xff);
	EXPECT_EQ(*mem8(END), 0xe5);
}

/* OVMF's driver looks whether it is RAM, ROM or flash. */
static void probe(void)
{
	const uint64_t at = VARS + 0x100;

	put(at, 0x50);
	EXPECT_EQ(*mem8(at), 1);
	put(at, 0x70);
	EXPECT_EQ(*mem8(at), 0);
	EXPECT_EQ(*mem64(at + 0x1000), 0);
	put(at, 0xff);
	EXPECT_EQ(*mem8(at), 1);
}

static void programs(void)
{
	const uint64_t at = block(1) + 0x305; /* 0x13 */

	program(at, 0x71);
	EXPECT_EQ(*mem8(at), READY);
	put(at, 0xff);
	EXPECT_EQ(*mem8(at), 0x11);
	EXPECT_EQ(*mem8(at + 1), 0x13);
	EXPECT_EQ(*mem8(at - 1), 0x13);
}

static void erases(void)
{
	erase(block(2) + 0x7ff);
	EXPECT_EQ(*mem8(VARS), READY);
	put(VARS, 0xff);
	EXPECT_EQ(*mem64(block(2)), UINT64_MAX);
	EXPECT_EQ(*mem64(block(3) - 8), UINT64_MAX);
	EXPECT_EQ(*mem8(block(2) - 1), filled(block(2) - 1));
	EXPECT_EQ(*mem8(block(3)), filled(block(3)));
}

static void last_block(void)
{
	erase(END - 1);
	program(END - 1, 0x5a);
	to_array();
	EXPECT_EQ(*mem8(END - 1), 0x5a);
	EXPECT_EQ(*mem8(END - BLOCK), 0xff);
	EXPECT_EQ(*mem8(END), 0xe5);
}

static void unconfirmed(void)
{
	put(block(3), 0x20);
	put(block(3), 0x21);
	EXPECT_EQ(*mem8(block(3)), NO_COMMAND);
	program(block(3), 0xff);
	EXPECT_EQ(*mem8(block(3)), NO_COMMAND); /* until it is cleared */
	put(block(3), 0x50);
	EXPECT_EQ(*mem8(block(3)), filled(block(3)));
	put(block(3), 0x70);
	EXPECT_EQ(*mem8(block(3)), 0);
}

static void buffer(void)
{
	erase(block(4));
	put(block(4), 0xe8);
	put(block(4), 255);
	for (unsigned i = 0; i < 256; i++)
		put(block(4) + 0x80 + i, (uint8_t)(255 - i));
	put(block(4), 0xd0);
	EXPECT_EQ(*mem8(VARS), READY);
	to_array();
	for (unsigned i = 0; i < 256; i++)
		EXPECT_EQ(*mem8(block(4) + 0x80 + i), 255 - i);
	EXPECT_EQ(*mem8(block(4) + 0x180), 0xff);
}

static void buffer_over_the_end(void)
{
	const uint64_t at = END - 4;

	put(at, 0xe8);
	put(at, 15);
	*mem32(at) = 0;
	*mem8(VARS) = 0; /* not behind it */
	EXPECT_EQ(*mem8(VARS), NO_COMMAND);
	put(at, 0xd0);
	to_array();
	EXPECT_EQ(*mem32(at), 0x5affffff);
	EXPECT_EQ(*mem8(VARS), 0);
}

static void wide(void)
{
	const uint64_t at = block(5);

	erase(at);
	*mem16(at + 8) = 0x4210; /* programs the second byte */
	EXPECT_EQ(*mem16(at), READY << 8 | READY);
	to_array();
	EXPECT_EQ(*mem16(at + 8), 0x42ff);
	*mem64(at + 16) = 0xff00100010001000; /* 00; 10 00, thrice; and to the array */
	EXPECT_EQ(*mem64(at + 16) & 0xff, 0xff);
	to_array();
}

/* A write over its end is the chip's and the ROM's, one over its begin is nobody's and the chip's. */
static void straddles(void)
{
	*mem64(END - 4) = 0x70707070ffffffffULL;
	EXPECT_EQ(*mem32(END), 0xe5e5e5e5);
	*mem64(VARS - 4) = 0xffffffffffffffffULL;
	to_array();
	EXPECT_EQ(*mem64(VARS), 0);
	EXPECT_EQ(*mem32(END - 4), 0x5affffff);
}

static void strings(void)
{
	uint64_t to = block(6), n = 0x3000;

	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0x70) : "memory");
	EXPECT_EQ(to, block(9));
	EXPECT_EQ(*mem8(to), 0);
	to = block(6), n = 0x800;
	asm volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0xffffffff) : "memory");
	EXPECT_EQ(*mem8(block(6)), filled(block(6)));
}

/* Whatever they write, it is a command. */
static void locked(void)
{
	uint32_t value = 0x70707070;

	asm volatile("xchgl %0, (%1)" : "+r"(value) : "r"(block(7)) : "memory");
	EXPECT_EQ(value, 0x70707070);
	EXPECT_EQ(*mem8(block(7)), 0);
	asm volatile("lock addl $1, (%0)" : : "r"(block(7)) : "memory", "cc");
	asm volatile("lock btsl $2, (%0)" : : "r"(block(7)) : "memory", "cc");
	to_array();
}

/* Code that is programmed, and the array when that is there again */
static void execute(void)
{
	static const uint8_t code[] = { 0xb8, 0x42, 0, 0, 0, 0xc3 }; /* mov $0x42, %eax; ret */
	uint32_t value;

	erase(block(8));
	for (unsigned i = 0; i < sizeof(code); i++)
		program(block(8) + i, code[i]);
	to_array();
	asm volatile("call *%1" : "=a"(value) : "r"(block(8)) : "memory", "cc");
	EXPECT_EQ(value, 0x42);
}

static void to_and_fro(void)
{
	for (unsigned i = 0; i < 200; i++) {
		put(block(i % 32), 0x70);
		EXPECT_EQ(*mem8(block(9)), 0);
		put(block(i % 32), 0xff);
		EXPECT_EQ(*mem8(block(9)), filled(block(9)));
	}
}

static void unknown(void)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		if (byte == 0x10 || byte == 0x40 || byte == 0x20 || byte == 0x70 || byte == 0x90 || byte == 0xe8)
			continue;
		put(block(9), (uint8_t)byte);
		EXPECT_EQ(*mem8(block(9)), filled(block(9)));
	}
	put(block(9), 0x90);
	EXPECT_EQ(*mem8(block(9)), 0x89);
	put(block(9), 0xff);
}

static const struct {
	const char *title;
	void (*run)(void);
} cases[] = {
	{ "flash: reads", reads },
	{ "flash: OVMF's probe", probe },
	{ "flash: program", programs },
	{ "flash: erase", erases },
	{ "flash: the last block", last_block },
	{ "flash: erase without its confirmation", unconfirmed },
	{ "flash: write to the buffer", buffer },
	{ "flash: buffer over the end", buffer_over_the_end },
	{ "flash: wide writes", wide },
	{ "flash: writes over both ends", straddles },
	{ "flash: string writes", strings },
	{ "flash: locked instructions", locked },
	{ "flash: code", execute },
	{ "flash: to and fro", to_and_fro },
	{ "flash: what is no command", unknown },
};

void guest_main(void)
{
	const unsigned n = sizeof(cases) / sizeof(cases[0]);
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		print_decimal(i);
		print(" ");
		print(cases[i].title);
		print(" ... ");
		to_array();
		failed = false;
		cases[i].run();
		to_array();
		if (!failed)
			print("ok\n");
		any |= failed;
	}
	print_decimal(n);
	print(" cases\n");
	if (any)
		guest_exit(1);
}
