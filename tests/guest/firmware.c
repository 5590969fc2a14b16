/*
 * What firmware (rom.S) may do to its ROM, to PAM and to fw_cfg, by the book and not. Each case is a line, "N what ...
 * ok" or "... not ok: why"; the machine is as it was reset, but for what a case leaves to the next: nothing.
 */
#include "expect.h"
#include "rom.h"

#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define HIGH      0xfffe0000ULL /* the ROM */
#define END       0x100000000ULL
#define C0000     0xc0000ULL
#define E0000     0xe0000ULL
#define F0000     0xf0000ULL
#define MEGABYTE  0x100000ULL
#define PAM0      0x59
#define SCRATCH   0x300000ULL

/* ---- the host bridge ---- */

static uint32_t config(unsigned reg)
{
	out32(0xcf8, 0x80000000 | (reg & 0xfc));
	return in32(0xcfc);
}

static uint8_t config8(unsigned reg)
{
	out32(0xcf8, 0x80000000 | (reg & 0xfc));
	return in8((uint16_t)(0xcfc + (reg & 3)));
}

static void set_config8(unsigned reg, uint8_t value)
{
	out32(0xcf8, 0x80000000 | (reg & 0xfc));
	out8((uint16_t)(0xcfc + (reg & 3)), value);
}

/* Segment 12 is the one at 0xf0000. */
static uint64_t segment(unsigned i)
{
	return C0000 + i * 0x4000;
}

static void set_mode(unsigned i, unsigned mode)
{
	const unsigned reg = i == 12 ? PAM0 : PAM0 + 1 + i / 2, shift = i == 12 || i % 2 ? 4 : 0;

	set_config8(reg, (uint8_t)((config8(reg) & ~(3u << shift)) | mode << shift));
}

static void all(unsigned mode)
{
	for (unsigned i = 0; i <= 12; i++)
		set_mode(i, mode);
}

/* ---- ROM ---- */

/* Of each width; at 4 GB nothing may be behind it. */
static void writes(uint64_t at)
{
	const uint64_t was = *mem64(at);

	*mem8(at) = (uint8_t)~was;
	*mem16(at) = (uint16_t)~was;
	*mem32(at) = (uint32_t)~was;
	*mem64(at) = ~was;
	EXPECT_EQ(*mem64(at), was);
}

static void write_at(unsigned a)
{
	static const uint64_t where[] = { END - 8, HIGH, HIGH + 0xfffc, E0000, E0000 + 0xffc, F0000, MEGABYTE - 8 };

	writes(where[a]);
}

static void reads(unsigned a)
{
	(void)a;
	EXPECT_EQ(*mem8(HIGH), ROM_FILL);
	EXPECT_EQ(*mem32(END - 0x10000 + ROM_WORD), ROM_MAGIC);
	EXPECT_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
	EXPECT_EQ(*mem32(E0000), 0x01010101u * ROM_FILL);
	EXPECT_EQ(*mem8(F0000 - 1), ROM_FILL);
	EXPECT_EQ(*mem8(END - 16), *mem8(MEGABYTE - 16));
	EXPECT_EQ(*mem32(HIGH - 4), 0xffffffff); /* nobody's */
}

/* One access, half of which is another's */
static void straddle(unsigned a)
{
	const uint64_t below = a ? MEGABYTE : HIGH, was = *mem64(a ? MEGABYTE - 8 : HIGH);

	if (a) {
		*mem32(MEGABYTE) = 0;
		*mem64(below - 4) = 0x1111111122222222;
		EXPECT_EQ(*mem64(MEGABYTE - 8), was);
		EXPECT_EQ(*mem32(MEGABYTE), 0x11111111);
	} else {
		*mem64(below - 4) = 0x1111111122222222;
		EXPECT_EQ(*mem64(HIGH), was);
	}
}

static void string_write(unsigned a)
{
	const uint64_t at = a ? E0000 + 0x7000 : HIGH + 0x100, was = *mem64(at);
	uint64_t to = at, n = 0x2000;

	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0x55) : "memory");
	EXPECT_EQ(to, at + 0x2000);
	EXPECT_EQ(*mem64(at), was);
	EXPECT_EQ(*mem64(at + 0x1ff8), was);
}

static void read_modify_write(unsigned a)
{
	const uint64_t at = a ? F0000 + ROM_WORD : END - 0x10000 + ROM_WORD;
	uint32_t old = ROM_MAGIC;

	asm volatile("lock addl $1, (%0)" : : "r"(at) : "memory", "cc");
	EXPECT_EQ(*mem32(at), ROM_MAGIC);
	asm volatile("lock xaddl %0, (%1)" : "+r"(old) : "r"(at) : "memory", "cc");
	EXPECT_EQ(old, ROM_MAGIC);
	asm volatile("lock btsl $2, (%0)" : : "r"(at) : "memory", "cc");
	old = 0;
	asm volatile("incl (%1); notl (%1); xchgl %0, (%1)" : "+r"(old) : "r"(at) : "memory", "cc");
	EXPECT_EQ(old, ROM_MAGIC);
	EXPECT_EQ(*mem32(at), ROM_MAGIC);
}

static void exchange(unsigned a)
{
	const uint64_t at = a ? F0000 + ROM_WORD : END - 0x10000 + ROM_WORD;
	uint32_t eax = ROM_MAGIC;

	asm volatile("lock cmpxchgl %1, (%2)" : "+a"(eax) : "r"(0x12345678), "r"(at) : "memory", "cc");
	EXPECT_EQ(eax, ROM_MAGIC);
	EXPECT_EQ(*mem32(at), ROM_MAGIC);
}

/* mov $a, %eax; ret */
static void put_code(uint64_t at, uint32_t value)
{
	*mem8(at) = 0xb8;
	*mem8(at + 1) = (uint8_t)value;
	*mem16(at + 2) = 0;
	*mem8(at + 4) = 0;
	*mem8(at + 5) = 0xc3;
}

static uint32_t call(uint64_t at)
{
	uint32_t value;

	asm volatile("call *%1" : "=a"(value) : "r"(at) : "memory", "cc");
	return value;
}

/* Code in RAM below the ROM, and the ROM again */
static void execute(unsigned a)
{
	const unsigned i = a;

	set_mode(i, 3);
	put_code(segment(i), 0x42);
	EXPECT_EQ(call(segment(i)), 0x42);
	set_mode(i, 1);
	put_code(segment(i), 0x43);
	EXPECT_EQ(call(segment(i)), 0x42);
	set_mode(i, 3);
	put_code(segment(i), 0x44);
	EXPECT_EQ(call(segment(i)), 0x44);
}

/* ---- PAM ---- */

static void pam_bits(unsigned reg)
{
	const uint8_t bits = reg == PAM0 ? 0x30 : 0x33;

	EXPECT_EQ(config8(reg), 0);
	set_config8(reg, 0xff);
	EXPECT_EQ(config8(reg), bits);
	set_config8(reg, (uint8_t)~bits);
	EXPECT_EQ(config8(reg), 0);
}

static void neighbours_are(unsigned i, uint64_t before, uint64_t after)
{
	if (i)
		EXPECT_EQ(*mem64(segment(i) - 8), before);
	if (i < 12)
		EXPECT_EQ(*mem64(segment(i + 1)), after);
}

/* Four ways, and what is beside it stays. */
static void pam_segment(unsigned i)
{
	const uint64_t at = segment(i), last = (i == 12 ? MEGABYTE : segment(i + 1)) - 8;
	const uint64_t rom = *mem64(at), rom_last = *mem64(last);
	const uint64_t before = i ? *mem64(at - 8) : 0, after = i < 12 ? *mem64(last + 8) : 0;

	EXPECT_EQ(rom, i < 8 ? UINT64_MAX : i < 12 ? 0x0101010101010101ULL * ROM_FILL : rom);
	set_mode(i, 3);
	*mem64(at) = 0x1234;
	*mem64(last) = 0x5678;
	EXPECT_EQ(*mem64(at), 0x1234);
	EXPECT_EQ(*mem64(last), 0x5678);
	neighbours_are(i, before, after);
	set_mode(i, 1);
	*mem64(at) = 1;
	*mem32(last + 4) = 1;
	EXPECT_EQ(*mem64(at), 0x1234);
	EXPECT_EQ(*mem64(last), 0x5678);
	set_mode(i, 2);
	EXPECT_EQ(*mem64(at), rom);
	*mem64(at) = 0x2345;
	*mem16(last) = 0x6789;
	EXPECT_EQ(*mem64(at), rom);
	EXPECT_EQ(*mem64(last), rom_last);
	set_mode(i, 0);
	*mem64(at) = 7;
	EXPECT_EQ(*mem64(at), rom);
	EXPECT_EQ(*mem64(last), rom_last);
	set_mode(i, 3);
	EXPECT_EQ(*mem64(at), 0x2345);
	EXPECT_EQ(*mem64(last), 0x6789);
	neighbours_are(i, before, after);
}

/* What firmware does. */
static void shadow(unsigned a)
{
	(void)a;
	set_mode(12, 2);
	for (uint64_t at = F0000; at < MEGABYTE; at += 8)
		*mem64(at) = *mem64(at);
	set_mode(12, 1);
	EXPECT_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
	writes(F0000 + ROM_WORD);
	set_mode(12, 3);
	*mem32(F0000 + ROM_WORD) = 0;
	EXPECT_EQ(*mem32(F0000 + ROM_WORD), 0);
	EXPECT_EQ(*mem32(END - 0x10000 + ROM_WORD), ROM_MAGIC);
	set_mode(12, 0);
	EXPECT_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
}

/* One write of 32 bits changes four registers; an access over the border of two segments sees both. */
static void together(unsigned a)
{
	(void)a;
	out32(0xcf8, 0x8000005c);
	out32(0xcfc, 0x33333333);
	EXPECT_EQ(config(0x5c), 0x33333333);
	*mem64(segment(9) - 4) = 0x1111111122222222;
	EXPECT_EQ(*mem64(segment(9) - 4), 0x1111111122222222);
	set_mode(9, 0);
	EXPECT_EQ(*mem32(segment(9) - 4), 0x22222222);
	EXPECT_EQ(*mem32(segment(9)), 0x01010101u * ROM_FILL);
	*mem64(segment(9) - 4) = 0;
	EXPECT_EQ(*mem32(segment(9) - 4), 0);
	set_mode(9, 3);
	EXPECT_EQ(*mem32(segment(9)), 0x11111111);
}

static void to_and_fro(unsigned a)
{
	(void)a;
	for (unsigned n = 0; n < 8; n++) {
		all(n & 3);
		*mem32(F0000 + ROM_WORD) = n;
	}
	all(0);
	EXPECT_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
}

static void ids(unsigned a)
{
	(void)a;
	EXPECT_EQ(config(0), 0x12378086);
	EXPECT_EQ(config(0x2c), 0x11001af4);
	for (unsigned reg = 0; reg < 0x58; reg++) {
		const uint8_t was = config8(reg);

		set_config8(reg, (uint8_t)~was);
		EXPECT_EQ(config8(reg), was);
	}
}

/* ---- fw_cfg ---- */

#define SELECT  0x510
#define DATA    0x511
#define DMA     0x514
#define REQUEST 0x200000ULL

enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

static uint32_t get32(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 32; i += 8)
		value |= (uint32_t)in8(DATA) << i;
	return value;
}

static uint32_t dma(uint32_t control, uint32_t len, uint64_t to, uint64_t at)
{
	if (at == REQUEST) {
		*mem32(at) = __builtin_bswap32(control);
		*mem32(at + 4) = __builtin_bswap32(len);
		*mem64(at + 8) = __builtin_bswap64(to);
	}
	out32(DMA, __builtin_bswap32((uint32_t)(at >> 32)));
	out32(DMA + 4, __builtin_bswap32((uint32_t)at));
	return __builtin_bswap32(*mem32(REQUEST));
}

static void signature(unsigned a)
{
	(void)a;
	out16(SELECT, 0);
	EXPECT_EQ(get32(), 0x554d4551);
	EXPECT_EQ(get32(), 0);
	out16(SELECT, 1);
	EXPECT_EQ(get32(), 3);
	EXPECT_EQ(in32(DMA), 0x554d4551);
	out16(SELECT, 5);
	EXPECT_EQ(in8(DATA), 1);
}

static void nothing_there(unsigned a)
{
	static const uint16_t keys[] = { 0x1000, 0x3f, 0x4000, 0x8000, 0xffff };

	(void)a;
	for (unsigned i = 0; i < 5; i++) {
		out16(SELECT, keys[i]);
		EXPECT_EQ(get32(), 0);
		*mem32(SCRATCH) = 0x55555555;
		EXPECT_EQ(dma((uint32_t)keys[i] << 16 | DMA_SELECT | DMA_READ, 4, SCRATCH, REQUEST), 0);
		EXPECT_EQ(*mem32(SCRATCH), 0);
	}
}

static void cannot_write(unsigned a)
{
	(void)a;
	out16(SELECT, 0);
	for (unsigned i = 0; i < 4; i++)
		out8(DATA, 0x55);
	out16(DATA, 0x5555);
	out32(DATA, 0x55555555);
	*mem32(SCRATCH) = 0;
	EXPECT_EQ(dma(DMA_SELECT | DMA_WRITE, 4, SCRATCH, REQUEST), DMA_ERROR);
	out16(SELECT, 0);
	EXPECT_EQ(get32(), 0x554d4551);
}

static void files(unsigned a)
{
	uint32_t n;

	(void)a;
	out16(SELECT, 0x19);
	n = __builtin_bswap32(get32());
	EXPECT_EQ(n > 3 && n < 32, 1);
	EXPECT_EQ(dma(0x19 << 16 | DMA_SELECT | DMA_READ, 4 + n * 64, SCRATCH, REQUEST), 0);
	EXPECT_EQ(__builtin_bswap32(*mem32(SCRATCH)), n);
	for (uint32_t i = 0; i < n; i++)
		EXPECT_EQ(__builtin_bswap32(*mem32(SCRATCH + 4 + i * 64 + 4)) >> 16, 0x20 + i);
}

static void dma_to(unsigned a)
{
	static const struct {
		uint32_t len;
		uint64_t to;
		uint32_t result;
	} all_of_them[] = {
		{ 4, UINT64_MAX, DMA_ERROR },
		{ 4, UINT64_MAX - 3, DMA_ERROR },
		{ 16, 0x8000000 - 8, DMA_ERROR }, /* RAM of 128 MB ends in it */
		{ UINT32_MAX, SCRATCH, DMA_ERROR },
		{ 0x7000000, SCRATCH, DMA_ERROR },
		{ 4, HIGH, DMA_ERROR },
		{ 4, 0xd0000000, DMA_ERROR },
		{ 0, UINT64_MAX, DMA_ERROR },
		{ 0, SCRATCH, 0 },
	};

	*mem32(SCRATCH) = 0x55555555;
	EXPECT_EQ(dma(DMA_SELECT | DMA_READ, all_of_them[a].len, all_of_them[a].to, REQUEST), all_of_them[a].result);
	EXPECT_EQ(*mem32(SCRATCH), 0x55555555);
}

/* Where no request can be: no answer, and the next one is as if nothing had been. */
static void no_request(unsigned a)
{
	static const uint64_t where[] = { 0xffffffff, 0x100000000, UINT64_MAX, HIGH, 0x8000000 - 15, 0xe0000000 };

	*mem32(REQUEST) = 0x55;
	dma(0, 0, 0, where[a]);
	EXPECT_EQ(*mem32(REQUEST), 0x55);
	EXPECT_EQ(dma(DMA_SELECT | DMA_READ, 4, SCRATCH, REQUEST), 0);
	EXPECT_EQ(*mem32(SCRATCH), 0x554d4551);
}

/* Into itself: the answer comes last. */
static void into_request(unsigned a)
{
	(void)a;
	EXPECT_EQ(dma(DMA_SELECT | DMA_READ, 16, REQUEST, REQUEST), 0);
	EXPECT_EQ(*mem32(REQUEST + 4), 0);
	EXPECT_EQ(dma(DMA_SELECT | DMA_READ, 4, SCRATCH, REQUEST), 0);
}

static void skip(unsigned a)
{
	(void)a;
	EXPECT_EQ(dma(DMA_SELECT | DMA_SKIP, 1, 0, REQUEST), 0);
	EXPECT_EQ(in8(DATA), 'E');
	EXPECT_EQ(dma(DMA_SKIP, UINT32_MAX, UINT64_MAX, REQUEST), 0);
	EXPECT_EQ(dma(DMA_SKIP, UINT32_MAX, UINT64_MAX, REQUEST), 0);
	EXPECT_EQ(in8(DATA), 0);
}

static void widths(unsigned a)
{
	(void)a;
	out16(SELECT, 0);
	out8(SELECT, 1);       /* selects nothing */
	out32(SELECT, 0x19);
	out16(DMA + 4, 0x2000); /* starts nothing */
	out8(DMA + 7, 0x20);
	EXPECT_EQ(in8(DATA), 'Q');
	EXPECT_EQ(in16(SELECT), 0xffff);
	in32(DATA);
	in32(DMA + 6);
	out16(SELECT, 0);
	EXPECT_EQ(get32(), 0x554d4551);
}

/* ---- all of them ---- */

static const struct {
	const char *title;
	void (*run)(unsigned a);
	unsigned a;
} cases[] = {
	{ "ROM: both places", reads },
	{ "ROM: write behind the reset vector", write_at, 0 },
	{ "ROM: write to its first bytes", write_at, 1 },
	{ "ROM: write over a page's end", write_at, 2 },
	{ "ROM: write to 0xe0000", write_at, 3 },
	{ "ROM: write over a page's end below 1 MB", write_at, 4 },
	{ "ROM: write to 0xf0000", write_at, 5 },
	{ "ROM: write to the last bytes below 1 MB", write_at, 6 },
	{ "ROM: write that begins before it", straddle, 0 },
	{ "ROM: write that ends in RAM above 1 MB", straddle, 1 },
	{ "ROM: string write", string_write, 0 },
	{ "ROM: string write over segments", string_write, 1 },
	{ "ROM: locked instructions", read_modify_write, 0 },
	{ "ROM: locked instructions below 1 MB", read_modify_write, 1 },
	{ "ROM: compare and exchange", exchange, 0 },
	{ "ROM: compare and exchange below 1 MB", exchange, 1 },
	{ "bridge: ids, and what is read-only", ids },
	{ "PAM0: its bits", pam_bits, PAM0 },
	{ "PAM1: its bits", pam_bits, PAM0 + 1 },
	{ "PAM6: its bits", pam_bits, PAM0 + 6 },
	{ "PAM: 0xc0000", pam_segment, 0 },
	{ "PAM: 0xc4000", pam_segment, 1 },
	{ "PAM: 0xc8000", pam_segment, 2 },
	{ "PAM: 0xcc000", pam_segment, 3 },
	{ "PAM: 0xd0000", pam_segment, 4 },
	{ "PAM: 0xd4000", pam_segment, 5 },
	{ "PAM: 0xd8000", pam_segment, 6 },
	{ "PAM: 0xdc000", pam_segment, 7 },
	{ "PAM: 0xe0000", pam_segment, 8 },
	{ "PAM: 0xe4000", pam_segment, 9 },
	{ "PAM: 0xe8000", pam_segment, 10 },
	{ "PAM: 0xec000", pam_segment, 11 },
	{ "PAM: 0xf0000", pam_segment, 12 },
	{ "PAM: code at 0xc0000", execute, 0 },
	{ "PAM: code at 0xe0000", execute, 8 },
	{ "PAM: code at 0xf0000", execute, 12 },
	{ "PAM: firmware copies itself", shadow },
	{ "PAM: four registers at once", together },
	{ "PAM: to and fro", to_and_fro },
	{ "fw_cfg: signature", signature },
	{ "fw_cfg: numbers of nothing", nothing_there },
	{ "fw_cfg: writes", cannot_write },
	{ "fw_cfg: files", files },
	{ "fw_cfg: widths", widths },
	{ "fw_cfg: skip", skip },
	{ "fw_cfg: DMA to the end of all addresses", dma_to, 0 },
	{ "fw_cfg: DMA that wraps", dma_to, 1 },
	{ "fw_cfg: DMA over the end of RAM", dma_to, 2 },
	{ "fw_cfg: DMA of 4 GB", dma_to, 3 },
	{ "fw_cfg: DMA of many zeros", dma_to, 4 },
	{ "fw_cfg: DMA to ROM", dma_to, 5 },
	{ "fw_cfg: DMA to a device's memory", dma_to, 6 },
	{ "fw_cfg: DMA of nothing to nowhere", dma_to, 7 },
	{ "fw_cfg: DMA of nothing", dma_to, 8 },
	{ "fw_cfg: request below 4 GB's end", no_request, 0 },
	{ "fw_cfg: request above RAM", no_request, 1 },
	{ "fw_cfg: request at the end of all addresses", no_request, 2 },
	{ "fw_cfg: request in ROM", no_request, 3 },
	{ "fw_cfg: request over the end of RAM", no_request, 4 },
	{ "fw_cfg: request in a device", no_request, 5 },
	{ "fw_cfg: DMA to its own request", into_request },
};

static uint32_t number_of(uint16_t key)
{
	out16(SELECT, key);
	return get32();
}

/* Its size, and the sum of its bytes with where they are */
static void print_item(const char *name, uint16_t size_key, uint16_t data_key)
{
	const uint32_t size = number_of(size_key);
	uint32_t sum = 0;

	EXPECT_EQ(dma((uint32_t)data_key << 16 | DMA_SELECT | DMA_READ, size, SCRATCH, REQUEST), 0);
	for (uint32_t i = 0; i < size; i++)
		sum += *mem8(SCRATCH + i) * (i + 1);
	print(name);
	print_decimal(size);
	print(" ");
	print_decimal(sum);
}

/* What it is told of a kernel, if it is */
static void print_kernel(void)
{
	if (!number_of(0x08))
		return;
	print_item("setup ", 0x17, 0x18);
	print_item(", kernel ", 0x08, 0x11);
	print_item(", initrd ", 0x0b, 0x12);
	print(", command line ");
	out16(SELECT, 0x15);
	for (char c; (c = (char)in8(DATA));)
		print((char[]){ c, 0 });
	print("\n");
}

void guest_main(void)
{
	const unsigned n = sizeof(cases) / sizeof(cases[0]);
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		print_decimal(i);
		print(" ");
		print(cases[i].title);
		print(" ... ");
		all(0);
		failed = false;
		cases[i].run(cases[i].a);
		all(0);
		if (!failed)
			print("ok\n");
		any |= failed;
	}
	print_decimal(n);
	print(" cases\n");
	print_kernel();
	if (any)
		guest_exit(1);
}
