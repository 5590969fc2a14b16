/*
 * The machine without ACPI (--no-acpi): boot_params lead to a device tree with the command line
 * ("alpha=7" in it) and N CPU nodes (cpus=N), an MP table is there, and no ACPI table is.
 */
#include "guest.h"

#define BP_RSDP       0x070
#define BP_CMDLINE    0x228
#define BP_SETUP_DATA 0x250
#define SETUP_DTB     2

#define ROM_START  0xe0000
#define ROM_END    0x100000
#define MP_POINTER 0x9fc10 /* in the EBDA, behind its first word */

#define SIG(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

#define FDT_MAGIC 0xd00dfeed

/* The structure block is a list of these; Devicetree Specification 0.4, 5.4 */
enum { FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4, FDT_END = 9 };

static uint32_t be32(uint64_t at)
{
	return __builtin_bswap32(*mem32(at));
}

static uint64_t length(uint64_t string)
{
	uint64_t n = 0;

	while (*mem8(string + n))
		n++;
	return n;
}

static bool is(uint64_t string, const char *text)
{
	while (*text && *mem8(string) == (uint8_t)*text)
		string++, text++;
	return !*text;
}

static uint64_t find_dtb(void)
{
	uint64_t at = *mem64(boot_rsi + BP_SETUP_DATA);

	for (unsigned i = 0; at && i < 8; i++) {
		if (*mem32(at + 8) == SETUP_DTB)
			return at + 16;
		at = *mem64(at);
	}
	return 0;
}

/* Return: number of CPU nodes; checks the command line on the way */
static uint64_t read_tree(uint64_t dtb)
{
	const uint64_t strings = dtb + be32(dtb + 12), end = dtb + be32(dtb + 4);
	uint64_t at = dtb + be32(dtb + 8), cpus = 0;
	bool bootargs = false;

	for (uint32_t token = be32(at); token != FDT_END; token = be32(at)) {
		at += 4;
		if (token == FDT_BEGIN_NODE) {
			cpus += is(at, "cpu@");
			at += (length(at) + 4) & ~3ULL;
		} else if (token == FDT_PROP) {
			if (is(strings + be32(at + 4), "bootargs")) {
				CHECK_EQ(param((const char *)(uintptr_t)(at + 8), "alpha"), 7);
				bootargs = true;
			}
			at += 8 + ((be32(at) + 3) & ~3U);
		} else {
			CHECK_EQ(token, FDT_END_NODE);
		}
		CHECK(at < end);
	}
	CHECK(bootargs);
	return cpus;
}

void guest_main(void)
{
	const char *cmdline = (const char *)(uintptr_t)*mem32(boot_rsi + BP_CMDLINE);
	uint64_t dtb = find_dtb();

	CHECK(dtb != 0);
	CHECK_EQ(be32(dtb), FDT_MAGIC);
	CHECK_EQ(read_tree(dtb), param(cmdline, "cpus"));
	CHECK_EQ(*mem64(boot_rsi + BP_RSDP), 0);
	for (uint64_t at = ROM_START; at < ROM_END; at += 16)
		CHECK(*mem32(at) != SIG('R', 'S', 'D', ' '));
	CHECK_EQ(*mem32(MP_POINTER), SIG('_', 'M', 'P', '_'));
	CHECK_EQ(*mem32(*mem32(MP_POINTER + 4)), SIG('P', 'C', 'M', 'P'));
}
