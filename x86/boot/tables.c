/* What a CPU that starts in protected or long mode must find in memory: segments and a page map. */
#include "boot-internal.h"

#include <errno.h>

/* Intel SDM volume 3, 3.4.5: base 0, limit 4 GB, present, ring 0 */
#define SEG_CODE64 0x00af9b000000ffffULL
#define SEG_CODE32 0x00cf9b000000ffffULL
#define SEG_DATA   0x00cf93000000ffffULL
#define SEG_TSS    0x00008b0000000067ULL

/* SDM volume 3, 4.5: entries of the page map */
#define PTE_PRESENT 0x01
#define PTE_WRITE   0x02
#define PTE_LARGE   0x80
#define PTE_TABLE   (PTE_PRESENT | PTE_WRITE)
#define PTES        512

static int put_gdt(struct ram *ram, uint64_t at, bool long_mode)
{
	const uint64_t gdt[BOOT_GDT_ENTRIES] = {
		[BOOT_CS >> 3] = long_mode ? SEG_CODE64 : SEG_CODE32,
		[BOOT_DS >> 3] = SEG_DATA,
		[BOOT_TR >> 3] = SEG_TSS, /* in long mode 16 bytes; the second half is 0 */
	};

	return ram_write(ram, GPA(at), gdt, sizeof(gdt));
}

/* One PML4, one PDPT, and four page directories of 2 MB pages: the first 4 GB. */
static int put_page_map(struct ram *ram, uint64_t at)
{
	void *window;
	uint64_t(*table)[PTES];
	int err = ram_window(ram, GPA(at), BOOT_PAGE_TABLES_BYTES, sizeof(*table), &window);

	if (err)
		return err;
	table = window;
	memset(table, 0, 2 * sizeof(*table));
	table[0][0] = (at + sizeof(*table)) | PTE_TABLE;
	for (uint64_t i = 0; i < 4; i++)
		table[1][i] = (at + (2 + i) * sizeof(*table)) | PTE_TABLE;
	for (uint64_t i = 0; i < 4 * PTES; i++)
		table[2 + i / PTES][i % PTES] = i * 2 * MIB | PTE_TABLE | PTE_LARGE;
	return 0;
}

int boot_tables_put(struct ram *ram, const struct boot_entry *entry)
{
	int err = 0;

	if (entry->mode != BOOT_REAL)
		err = put_gdt(ram, entry->gdt, entry->mode == BOOT_LONG64);
	if (!err && entry->mode == BOOT_LONG64)
		err = put_page_map(ram, entry->page_tables);
	return err;
}
