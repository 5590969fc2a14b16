/*
 * Writes to "touch=MB" of its memory, says so, and waits until it is a copy: its generation ID is another then.
 * Then it resets.
 */
#include "multiboot.h"

#define FIRST 0x2000000 /* 32 MB: the program is below */
#define MB    0x100000

void guest_main(void)
{
	const uint64_t end = FIRST + param(mb_cmdline(), "touch") * MB, generation = *mem64(VMGENID);

	for (uint64_t at = FIRST; at < end; at += 8)
		*mem64(at) = at;
	print("ready\n");
	while (*mem64(VMGENID) == generation)
		asm volatile("pause");
	out8(PORT_I8042, RESET_I8042);
}
