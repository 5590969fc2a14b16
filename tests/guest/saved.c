/*
 * Firmware (rom.S) that is saved in the middle of what it does with its ROM, PAM, variables (--firmware-vars, as flash.c
 * has them) and fw_cfg. Each stage sets something up, says "at STAGE" and waits for a byte on the console; then it checks
 * that all is as it was left, and that nothing is done yet that comes later. Then it says what it was told, all in one
 * number.
 */
#include "guest.h"
#include "rom.h"

#define ROM       0xfffe0000ULL
#define VARS      0xfffc0000ULL
#define BLOCK     0x1000ULL
#define C0000     0xc0000ULL
#define F0000     0xf0000ULL
#define MEGABYTE  0x100000ULL
#define REQUEST   0x200000ULL
#define OPTION_AT 0xe0800000ULL

#define PAM0	 0x59
#define SEGMENTS 13

#define SELECT 0x510
#define DATA   0x511
#define DMA    0x514

#define FILES 0x19

#define READY 0x80

static void wait_at(const char *stage)
{
	print("at ");
	print(stage);
	print("\n");
	while (!(in8(COM_LSR) & LSR_DATA))
		;
	in8(COM_DATA);
}

/* ---- PCI ---- */

static uint32_t config(unsigned devfn, unsigned reg)
{
	out32(0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc));
	return in32(0xcfc);
}

static void set_config(unsigned devfn, unsigned reg, uint32_t value)
{
	out32(0xcf8, 0x80000000 | devfn << 8 | (reg & 0xfc));
	out32(0xcfc, value);
}

/* ---- PAM: segment 12 is the one at 0xf0000 ---- */

static uint64_t segment(unsigned i)
{
	return C0000 + i * 0x4000;
}

static void set_mode(unsigned i, unsigned mode)
{
	const unsigned reg = i == 12 ? PAM0 : PAM0 + 1 + i / 2, shift = 8 * (reg & 3) + (i == 12 || i % 2 ? 4 : 0);

	set_config(0, reg, (config(0, reg) & ~(3u << shift)) | mode << shift);
}

static uint32_t rom_at(unsigned i)
{
	return i < 8 ? 0xffffffff : i < 12 ? 0x01010101u * ROM_FILL : *mem32(ROM + 0x10000);
}

/* What reads see, and what becomes of writes: 1: RAM is read, 2: it is written */
static void check_segment(unsigned i, unsigned mode, uint32_t ram)
{
	const uint64_t at = segment(i);

	CHECK_EQ(*mem32(at), mode & 1 ? ram : rom_at(i));
	*mem32(at) = ~ram;
	CHECK_EQ(*mem32(at), mode == 3 ? ~ram : mode & 1 ? ram : rom_at(i));
	set_mode(i, 3);
	CHECK_EQ(*mem32(at), mode & 2 ? ~ram : ram);
	*mem32(at) = ram;
	set_mode(i, mode);
}

/* Nothing was opened yet. */
static void reset(void)
{
	wait_at("reset");
	for (unsigned reg = PAM0; reg < PAM0 + 7; reg++)
		CHECK_EQ(config(0, reg) >> 8 * (reg & 3) & 0x33, 0);
	CHECK_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
	CHECK_EQ(*mem32(ROM + 0x10000 + ROM_WORD), ROM_MAGIC);
	for (unsigned i = 0; i < SEGMENTS; i++)
		check_segment(i, 0, 0);
}

/* Firmware copies itself, and is not there to be read yet. */
static void half_shadowed(void)
{
	set_mode(12, 2);
	for (uint64_t at = F0000; at < MEGABYTE; at += 8)
		*mem64(at) = ~*mem64(at);
	wait_at("half-shadowed");
	CHECK_EQ(*mem32(F0000 + ROM_WORD), ROM_MAGIC);
	set_mode(12, 1);
	CHECK_EQ(*mem32(F0000 + ROM_WORD), (uint32_t)~ROM_MAGIC);
	CHECK_EQ(*mem64(MEGABYTE - 8), ~*mem64(ROM + 0x1fff8));
}

static void shadowed(void)
{
	for (unsigned i = 0; i < SEGMENTS; i++) {
		set_mode(i, 3);
		*mem32(segment(i)) = 0x5a5a0000 + i;
		set_mode(i, i % 4);
	}
	wait_at("shadowed");
	for (unsigned i = 0; i < SEGMENTS; i++)
		check_segment(i, i % 4, 0x5a5a0000 + i);
}

/* ---- flash memory: bits go from 1 to 0, and this many there are at first ---- */

static void put(uint64_t at, uint8_t byte)
{
	*mem8(at) = byte;
}

static uint64_t block(unsigned n)
{
	return VARS + n * BLOCK;
}

/* Of what no stage has changed yet */
static void check_block(unsigned n)
{
	CHECK_EQ(*mem8(block(n)), n * 16);
	CHECK_EQ(*mem8(block(n) + 0x7ff), n * 16 + 7);
}

static void status(void)
{
	check_block(1);
	put(block(1) + 0x700, 0x10);
	put(block(1) + 0x700, 0x11); /* 0x17 */
	wait_at("status");
	CHECK_EQ(*mem8(VARS), READY);
	CHECK_EQ(*mem8(block(1) + 0x700), READY);
	put(VARS, 0xff);
	CHECK_EQ(*mem8(block(1) + 0x700), 0x11);
	CHECK_EQ(*mem8(block(1) + 0x701), 0x17);
}

static void program(void)
{
	put(block(1) + 0x701, 0x40);
	wait_at("program");
	put(block(1) + 0x701, 0x10);
	put(VARS, 0x50);
	CHECK_EQ(*mem8(block(1) + 0x701), 0x10);
}

static void erase(void)
{
	check_block(2);
	put(block(2), 0x20);
	wait_at("erase");
	put(block(2), 0xd0);
	CHECK_EQ(*mem8(VARS), READY);
	put(VARS, 0xff);
	CHECK_EQ(*mem64(block(2)), UINT64_MAX);
	check_block(3);
}

static void buffer(void)
{
	put(block(2), 0xe8);
	put(block(2), 15);
	for (unsigned i = 0; i < 9; i++)
		put(block(2) + 0x80 + i, (uint8_t)i);
	wait_at("buffer");
	for (unsigned i = 9; i < 16; i++)
		put(block(2) + 0x80 + i, (uint8_t)i);
	wait_at("confirm");
	put(block(2), 0xd0);
	put(VARS, 0xff);
	for (unsigned i = 0; i < 16; i++)
		CHECK_EQ(*mem8(block(2) + 0x80 + i), i);
	CHECK_EQ(*mem8(block(2) + 0x90), 0xff);
}

static void id(void)
{
	put(VARS, 0x90);
	wait_at("id");
	CHECK_EQ(*mem8(block(2)), 0x89);
	put(VARS, 0xff);
}

/* ---- fw_cfg ---- */

static uint32_t get32(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 32; i += 8)
		value |= (uint32_t)in8(DATA) << i;
	return value;
}

static uint64_t sum_of(uint64_t sum, uint16_t key, uint32_t bytes)
{
	out16(SELECT, key);
	for (uint32_t i = 0; i < bytes; i++)
		sum = sum * 31 + in8(DATA);
	return sum;
}

static uint32_t number_of(uint16_t key)
{
	out16(SELECT, key);
	return get32();
}

/* Numbers, the list, each file, and a kernel */
static uint64_t told(void)
{
	static const uint16_t sizes[] = { 0x17, 0x08, 0x0b, 0x14 }, items[] = { 0x18, 0x11, 0x12, 0x15 };
	uint32_t files = __builtin_bswap32(number_of(FILES)), bytes;
	uint64_t sum = 0;

	for (uint16_t key = 0; key < FILES; key++)
		sum = sum_of(sum, key, 16);
	sum = sum_of(sum, FILES, 4 + files * 64);
	for (uint32_t i = 0; i < files; i++) {
		sum_of(0, FILES, 4 + i * 64);
		bytes = __builtin_bswap32(get32());
		sum = sum_of(sum, (uint16_t)(0x20 + i), bytes);
	}
	for (unsigned i = 0; i < 4; i++)
		sum = sum_of(sum, items[i], number_of(sizes[i]));
	return sum;
}

static void selected(void)
{
	out16(SELECT, 0);
	wait_at("selected");
	CHECK_EQ(get32(), 0x554d4551);
}

static void half_read(void)
{
	uint32_t first, second;

	out16(SELECT, FILES);
	sum_of(0, FILES, 8);
	first = get32();
	second = get32();
	sum_of(0, FILES, 8);
	CHECK_EQ(get32(), first);
	wait_at("half-read");
	CHECK_EQ(get32(), second);
	out16(SELECT, 0x1234);
	wait_at("nothing-selected");
	CHECK_EQ(get32(), 0);
}

/* The upper half of where a request is: there is none */
static void half_asked(void)
{
	*mem32(REQUEST) = __builtin_bswap32(8); /* select */
	out32(DMA, __builtin_bswap32(0x80));
	wait_at("half-asked");
	out32(DMA + 4, __builtin_bswap32((uint32_t)REQUEST));
	CHECK_EQ(*mem32(REQUEST), __builtin_bswap32(8));
	out32(DMA + 4, __builtin_bswap32((uint32_t)REQUEST));
	CHECK_EQ(*mem32(REQUEST), 0);
}

/* ---- a device's option ROM ---- */

static unsigned find_network(void)
{
	unsigned devfn = 8;

	while (devfn < 256 && config(devfn, 0) != 0x10411af4)
		devfn++;
	return devfn;
}

static uint64_t rom_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < 4096; i++)
		sum = sum * 31 + *mem8(OPTION_AT + i);
	return sum;
}

static void option_rom(void)
{
	const unsigned devfn = find_network();
	uint64_t sum;

	if (devfn == 256)
		return;
	set_config(devfn, 0x30, OPTION_AT | 1);
	set_config(devfn, 4, config(devfn, 4) | 2);
	CHECK_EQ(*mem16(OPTION_AT), 0xaa55);
	sum = rom_sum();
	wait_at("option-rom");
	CHECK_EQ(config(devfn, 0x30), OPTION_AT | 1);
	CHECK_EQ(rom_sum(), sum);
}

void guest_main(void)
{
	uint64_t sum;

	reset();
	sum = told();
	half_shadowed();
	shadowed();
	status();
	program();
	erase();
	buffer();
	id();
	selected();
	half_read();
	half_asked();
	option_rom();
	CHECK_EQ(told(), sum);
	print("told ");
	print_hex(sum);
	print("\n");
}
