/* See lkvm/linux/map.h. No symbol is needed: a kernel without CONFIG_KALLSYMS_ALL has none for its variables. */
#include "lkvm/linux/map.h"

#include "lkvm/x86/cpu.h"

#define START_KERNEL_MAP 0xffffffff80000000ULL /* Documentation/arch/x86/x86_64/mm.rst */
#define UPPER_HALF_4     0xffff800000000000ULL
#define UPPER_HALF_5     0xff00000000000000ULL
#define CR4_LA57         (1ULL << 12)

#define MOST_WALKS (256 * 1024)
#define IMAGE_BYTES (1024 * MIB) /* KERNEL_IMAGE_SIZE at most */
#define BEGIN_ALIGN (2 * MIB)    /* CONFIG_PHYSICAL_ALIGN at least */
#define DIRECT_ALIGN (1024 * MIB) /* what KASLR moves the direct map by */

static bool maps(const struct linux_guest *guest, uint64_t virt, gpa_t at)
{
	struct walk walk;

	walk_page_tables(guest->ram, &guest->sregs, virt, &walk);
	return walk.mapped && walk.gpa.v == at.v;
}

/* How many addresses around an unmapped one are not mapped either, as the table that lacks it tells */
static uint64_t hole_bytes(const struct walk *walk, unsigned levels)
{
	const unsigned step = walk->n ? walk->n - 1 : 0;

	return step < levels ? 1ULL << (12 + 9 * (levels - 1 - step)) : RAM_PAGE_BYTES;
}

/* The direct map has the kernel's tables and its VMCOREINFO at their distances. Return: 0: not found */
static uint64_t find_direct(const struct linux_guest *guest)
{
	const unsigned levels = guest->sregs.cr4 & CR4_LA57 ? 5 : 4;
	const gpa_t table = GPA(guest->sregs.cr3);
	uint64_t base = levels == 5 ? UPPER_HALF_5 : UPPER_HALF_4;
	struct walk walk;

	for (unsigned i = 0; i < MOST_WALKS && base < START_KERNEL_MAP - table.v; i++) {
		uint64_t next = base + DIRECT_ALIGN;

		walk_page_tables(guest->ram, &guest->sregs, base + table.v, &walk);
		if (walk.mapped && walk.gpa.v == table.v && maps(guest, base + guest->note_at.v, guest->note_at))
			return base;
		if (!walk.mapped) {
			const uint64_t hole = hole_bytes(&walk, levels);
			const uint64_t end = ((base + table.v) | (hole - 1)) + 1; /* 0: the last one */

			if (!end)
				break;
			if (end - table.v > next)
				next = (end - table.v + DIRECT_ALIGN - 1) & ~(DIRECT_ALIGN - 1);
		}
		if (next <= base)
			break;
		base = next;
	}
	return 0;
}

static void find_text(const struct linux_guest *guest, struct linux_map *ret)
{
	uint64_t begin, bytes = 0;
	struct walk walk;
	gpa_t at;

	if (linux_key(guest, "SYMBOL(_stext)", &begin) || begin < START_KERNEL_MAP)
		return;
	begin &= ~(BEGIN_ALIGN - 1);
	at = GPA(begin - START_KERNEL_MAP + guest->phys_base);
	while (bytes < IMAGE_BYTES && begin + bytes >= begin) {
		uint64_t page;

		walk_page_tables(guest->ram, &guest->sregs, begin + bytes, &walk);
		page = walk.mapped ? walk.page_bytes - ((begin + bytes) & (walk.page_bytes - 1)) : 0;
		if (!page || walk.gpa.v != at.v + bytes || !ram_host(guest->ram, at, bytes + page))
			break;
		bytes += page;
	}
	if (bytes)
		ret->text = begin, ret->text_at = at, ret->text_bytes = bytes;
}

void linux_map(const struct linux_guest *guest, struct linux_map *ret)
{
	*ret = (struct linux_map){ .direct = find_direct(guest) };
	find_text(guest, ret);
}
