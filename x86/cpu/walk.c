/* Page tables of the guest, read as the CPU reads them (SDM volume 3, chapter 4). */
#include <string.h>

#include "lkvm/x86/cpu.h"

#define CR0_PG   (1ULL << 31)
#define CR4_PSE  (1ULL << 4)
#define CR4_PAE  (1ULL << 5)
#define CR4_LA57 (1ULL << 12)
#define EFER_LMA (1ULL << 10)
#define EFER_NXE (1ULL << 11)

#define ENTRY_PRESENT 1ULL
#define ENTRY_LARGE   (1ULL << 7)
#define ENTRY_NX      (1ULL << 63)

/* Bits lo..hi */
#define BITS(hi, lo) (~0ULL >> (63 - (hi)) & ~0ULL << (lo))

#define ADDRESS        BITS(51, 12)
#define LOW_ADDRESS    BITS(31, 12)
#define PSE36          BITS(20, 13)
#define PAE_ROOT       BITS(31, 5)
#define PAE_HIGH       BITS(62, 52) /* reserved outside long mode */
#define PAE_ROOT_FLAGS (BITS(2, 1) | BITS(8, 5) | ENTRY_NX)

struct level {
	const char *name;
	unsigned shift; /* of the index in the address; the size of what an entry maps */
	unsigned index_bits;
	bool large;              /* an entry may map a page of that size */
	uint64_t reserved;       /* bits that fault when set */
	uint64_t reserved_large; /* and those of an entry that maps such a page */
};

struct mode {
	uint64_t root; /* bits of CR3 that are its address */
	unsigned entry_bytes;
	unsigned n;
	struct level level[WALK_MAX];
};

static const struct mode mode_32 = {
	.root = LOW_ADDRESS,
	.entry_bytes = 4,
	.n = 2,
	.level = { { "PDE", 22, 10, false, 0, 0 }, { "PTE", 12, 10, false, 0, 0 } },
};

/* With CR4.PSE: an entry of a 4 MB page has the address's bits 39 to 32 in PSE36. */
static const struct mode mode_32_pse = {
	.root = LOW_ADDRESS,
	.entry_bytes = 4,
	.n = 2,
	.level = { { "PDE", 22, 10, true, 0, BITS(21, 21) }, { "PTE", 12, 10, false, 0, 0 } },
};

static const struct mode mode_pae = {
	.root = PAE_ROOT,
	.entry_bytes = 8,
	.n = 3,
	.level = {
		{ "PDPTE", 30, 2, false, PAE_ROOT_FLAGS | PAE_HIGH, 0 },
		{ "PDE", 21, 9, true, PAE_HIGH, BITS(20, 13) },
		{ "PTE", 12, 9, false, PAE_HIGH, 0 },
	},
};

static const struct mode mode_4_level = {
	.root = ADDRESS,
	.entry_bytes = 8,
	.n = 4,
	.level = {
		{ "PML4E", 39, 9, false, ENTRY_LARGE, 0 },
		{ "PDPTE", 30, 9, true, 0, BITS(29, 13) },
		{ "PDE", 21, 9, true, 0, BITS(20, 13) },
		{ "PTE", 12, 9, false, 0, 0 },
	},
};

static const struct mode mode_5_level = {
	.root = ADDRESS,
	.entry_bytes = 8,
	.n = 5,
	.level = {
		{ "PML5E", 48, 9, false, ENTRY_LARGE, 0 },
		{ "PML4E", 39, 9, false, ENTRY_LARGE, 0 },
		{ "PDPTE", 30, 9, true, 0, BITS(29, 13) },
		{ "PDE", 21, 9, true, 0, BITS(20, 13) },
		{ "PTE", 12, 9, false, 0, 0 },
	},
};

static const struct mode *mode_of(const struct kvm_sregs *sregs)
{
	if (sregs->efer & EFER_LMA)
		return sregs->cr4 & CR4_LA57 ? &mode_5_level : &mode_4_level;
	if (sregs->cr4 & CR4_PAE)
		return &mode_pae;
	return sregs->cr4 & CR4_PSE ? &mode_32_pse : &mode_32;
}

/* All bits from the highest that is translated on are the same. */
static bool canonical(uint64_t virt, const struct mode *mode)
{
	unsigned unused = 64 - (mode->level[0].shift + mode->level[0].index_bits);

	return (uint64_t)((int64_t)(virt << unused) >> unused) == virt;
}

static uint64_t page_start(const struct level *level, uint64_t entry)
{
	uint64_t start = entry & ADDRESS & ~0ULL << level->shift;

	if (level->large) /* of the other modes these bits were found to be 0 */
		start |= (entry & PSE36) << (32 - 13);
	return start;
}

static void set_mapped(struct walk *ret, uint64_t start, uint64_t virt, unsigned shift)
{
	ret->mapped = true;
	ret->page_bytes = 1ULL << shift;
	ret->gpa = GPA(start | (virt & (ret->page_bytes - 1)));
}

/*
 * One step down from the table at *@table.
 * Return: true to go on at the new *@table, false when @ret says how it ended
 */
static bool walk_level(const struct ram *ram, const struct mode *mode, const struct level *level,
		       uint64_t virt, bool nx, uint64_t *table, struct walk *ret)
{
	uint64_t index = virt >> level->shift & ((1ULL << level->index_bits) - 1);
	struct walk_step *step = &ret->step[ret->n];
	uint64_t reserved = level->reserved | (nx ? 0 : ENTRY_NX);
	bool page;

	*step = (struct walk_step){ level->name, GPA(*table + index * mode->entry_bytes), 0 };
	if (ram_read(ram, step->at, &step->entry, mode->entry_bytes)) {
		ret->why = "table not in RAM";
		return false;
	}
	ret->n++;
	page = level->shift == 12 || (level->large && step->entry & ENTRY_LARGE);
	if (page)
		reserved |= level->reserved_large;
	if (!(step->entry & ENTRY_PRESENT))
		ret->why = "not present";
	else if (step->entry & reserved)
		ret->why = "reserved bit set";
	else if (page)
		set_mapped(ret, page_start(level, step->entry), virt, level->shift);
	else
		*table = step->entry & ADDRESS;
	return !ret->why && !ret->mapped;
}

void walk_page_tables(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt,
		      struct walk *ret)
{
	const struct mode *mode = mode_of(sregs);
	uint64_t table = sregs->cr3 & mode->root;

	memset(ret, 0, sizeof(*ret));
	if (!(sregs->cr0 & CR0_PG)) {
		set_mapped(ret, 0, virt, 32);
		return;
	}
	if (sregs->efer & EFER_LMA && !canonical(virt, mode)) {
		ret->why = "not canonical";
		return;
	}
	for (unsigned i = 0; i < mode->n; i++)
		if (!walk_level(ram, mode, &mode->level[i], virt, sregs->efer & EFER_NXE, &table,
				ret))
			return;
}

/*
 * How many of @len bytes from @virt on stand together at @ret_gpa; 0: none, as it is not mapped. Of a large page only
 * as many as a small one has: not all of it need be RAM.
 */
static size_t walk_piece(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt, size_t len,
			 gpa_t *ret_gpa)
{
	struct walk walk;
	size_t left;

	walk_page_tables(ram, sregs, virt, &walk);
	if (!walk.mapped)
		return 0;
	*ret_gpa = walk.gpa;
	left = RAM_PAGE_BYTES - (walk.gpa.v & (RAM_PAGE_BYTES - 1));
	return len < left ? len : left;
}

size_t walk_read(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt, void *dst, size_t len)
{
	size_t done = 0, n;
	gpa_t at;

	for (; done < len; done += n) {
		n = walk_piece(ram, sregs, virt + done, len - done, &at);
		if (!n || ram_read(ram, at, (uint8_t *)dst + done, n))
			break;
	}
	return done;
}
