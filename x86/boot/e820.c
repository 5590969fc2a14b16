/* The memory map that the guest is told. Below 1 MB it is that of a PC; the gap is simply absent.
 */
#include "lkvm/x86/boot.h"
#include "lkvm/x86/layout.h"

#define E820_RAM      1
#define E820_RESERVED 2
#define VIDEO         0xa0000

unsigned e820_build(const struct ram *ram, struct e820_range ret[E820_MAX])
{
	unsigned n = 0, n_parts;
	const struct ram_part *part = ram_parts(ram, &n_parts);

	ret[n++] = (struct e820_range){ 0, LAYOUT_EBDA, E820_RAM };
	ret[n++] = (struct e820_range){ LAYOUT_EBDA, VIDEO - LAYOUT_EBDA, E820_RESERVED };
	ret[n++] = (struct e820_range){ LAYOUT_BIOS, LAYOUT_HIGH - LAYOUT_BIOS, E820_RESERVED };
	for (unsigned i = 0; i < n_parts; i++) {
		uint64_t start = part[i].start.v;
		uint64_t end = start + part[i].size_bytes;

		if (start < LAYOUT_HIGH)
			start = LAYOUT_HIGH;
		ret[n++] = (struct e820_range){ start, end - start, E820_RAM };
	}
	return n;
}
