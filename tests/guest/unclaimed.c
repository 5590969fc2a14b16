/* Ports and addresses that belong to no device: reads are all ones at each width, writes vanish. */
#include "guest.h"

static void ports(uint16_t at)
{
	CHECK_EQ(in8(at), 0xff);
	CHECK_EQ(in16(at), 0xffff);
	CHECK_EQ(in32(at), 0xffffffff);
	out8(at, 0);
	out16(at, 0);
	out32(at, 0);
	CHECK_EQ(in32(at), 0xffffffff);
}

static void memory(uint64_t at)
{
	CHECK_EQ(*mem8(at), 0xff);
	CHECK_EQ(*mem16(at), 0xffff);
	CHECK_EQ(*mem32(at), 0xffffffff);
	CHECK_EQ(*mem64(at), UINT64_MAX);
	*mem8(at) = 0;
	*mem16(at) = 0;
	*mem32(at) = 0;
	*mem64(at) = 0;
	CHECK_EQ(*mem64(at), UINT64_MAX);
}

void guest_main(void)
{
	ports(PORT_NOBODY);
	ports(PORT_NOBODY + 1);
	ports(0xfffc);
	memory(GAP_START);
	memory(0xd8000000);
	memory(0xdfeffffc); /* 8 bytes are two fragments: they cross a page */
	memory(0xe8000fff);
	memory(0xf0000001);
	memory(0xfffff000);
	memory(0x17ffffff0); /* above 4 GB and above all RAM of the run that starts this */
}
