/*
 * What a Linux kernel finds in boot_params at its 64-bit entry: the header that it brought, loader
 * type, command line ("alpha=7" in it), initrd ("initrd one\n" and "initrd two\n" in this order), and the
 * memory map of -m 256. Offsets: Documentation/x86/boot.rst and zero-page.rst.
 */
#include "guest.h"

#define BP_RSDP         0x070
#define BP_E820_ENTRIES 0x1e8
#define BP_SENTINEL     0x1ef
#define BP_HEADER       0x202
#define BP_VERSION      0x206
#define BP_LOADER       0x210
#define BP_LOADFLAGS    0x211
#define BP_RAMDISK      0x218
#define BP_RAMDISK_SIZE 0x21c
#define BP_CMDLINE      0x228
#define BP_E820         0x2d0

struct e820 {
	uint64_t start, size;
	uint32_t type;
} __attribute__((packed));

static void memory_map(uint64_t bp)
{
	const struct e820 *map = (const struct e820 *)(bp + BP_E820);
	uint64_t end = 0;

	for (unsigned i = 0; i < *mem8(bp + BP_E820_ENTRIES); i++) {
		CHECK(map[i].start >= end);
		end = map[i].start + map[i].size;
		if (map[i].start == 0)
			CHECK(map[i].type == 1 && end >= 600 << 10 && end <= 640 << 10);
		if (map[i].start == 1 << 20)
			CHECK(map[i].type == 1 && end == 256 << 20);
	}
	CHECK_EQ(end, 256 << 20);
}

/* The second archive starts after the first, perhaps on a 4-byte boundary as cpio wants it. */
static void initrd(uint64_t bp)
{
	const char *one = "initrd one\n", *two = "initrd two\n";
	const char *at = (const char *)(uintptr_t)*mem32(bp + BP_RAMDISK);
	const char *end = at + *mem32(bp + BP_RAMDISK_SIZE);

	CHECK(end - at >= 22 && end - at <= 24);
	while (*one)
		CHECK_EQ(*at++, *one++);
	while (!*at)
		at++;
	while (*two)
		CHECK_EQ(*at++, *two++);
	CHECK(at <= end);
}

void guest_main(void)
{
	const uint64_t bp = boot_rsi;
	const char *cmdline = (const char *)(uintptr_t)*mem32(bp + BP_CMDLINE);

	CHECK_EQ(*mem32(bp + BP_HEADER), 0x53726448); /* HdrS */
	CHECK_EQ(*mem16(bp + BP_VERSION), 0x20f);
	CHECK(*mem8(bp + BP_LOADFLAGS) & 1);
	CHECK(*mem8(bp + BP_LOADER) != 0);
	CHECK_EQ(*mem8(bp + BP_SENTINEL), 0);
	CHECK_EQ(param(cmdline, "alpha"), 7);
	CHECK_EQ(*mem32(*mem64(bp + BP_RSDP)), 0x20445352); /* "RSD " */
	memory_map(bp);
	initrd(bp);
}
