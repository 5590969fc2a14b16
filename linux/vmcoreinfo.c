/*
 * VMCOREINFO: the text by which Linux describes itself to whoever reads its dump. It fills a page of its own, and
 * stands once more in an ELF note that begins one; see lkvm/linux/guest.h. Any page of a guest may look
 * like that, so each is judged by what it leads to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/linux/guest.h"
#include "lkvm/x86/cpu.h"

#define CHUNK_PAGES  4096
#define SLICE_CHUNKS 1024            /* of one linux_find() */
#define SLICE_PAGES  (256 * 1024)    /* that hold something, likewise */

#define START_KERNEL_MAP 0xffffffff80000000ULL /* Documentation/arch/x86/x86_64/mm.rst */

#define CR0_PG   (1ULL << 31)
#define CR4_PAE  (1ULL << 5)
#define CR4_LA57 (1ULL << 12)
#define EFER_LMA (1ULL << 10)
#define EFER_NXE (1ULL << 11)

/* ---- keys ---- */

/* The value of a key, or NULL */
static const char *find_value(const struct linux_guest *guest, const char *key)
{
	const size_t len = strlen(key);
	const char *line = guest->note;

	while (line) {
		if (!strncmp(line, key, len) && line[len] == '=')
			return line + len + 1;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return NULL;
}

int linux_key(const struct linux_guest *guest, const char *key, uint64_t *ret)
{
	const bool is_address = !strncmp(key, "SYMBOL(", 7) || !strcmp(key, "KERNELOFFSET");
	const char *text = find_value(guest, key);
	char *end;
	uint64_t value;

	if (!text)
		return -ENOENT;
	errno = 0;
	value = strtoull(text, &end, is_address ? 16 : 0);
	if (errno || end == text || (*end && *end != '\n'))
		return -EINVAL;
	*ret = value;
	return 0;
}

/* ---- memory ---- */

int linux_read(const struct linux_guest *guest, uint64_t virt, void *dst, size_t len)
{
	if (guest->is_physical)
		return ram_read(guest->ram, GPA(virt), dst, len);
	return walk_read(guest->ram, &guest->sregs, virt, dst, len) == len ? 0 : -EFAULT;
}

int linux_read_u64(const struct linux_guest *guest, uint64_t virt, uint64_t *ret)
{
	uint64_t value;

	if (linux_read(guest, virt, &value, sizeof(value)))
		return -EFAULT;
	*ret = value;
	return 0;
}

int linux_read_u32(const struct linux_guest *guest, uint64_t virt, uint32_t *ret)
{
	uint32_t value;

	if (linux_read(guest, virt, &value, sizeof(value)))
		return -EFAULT;
	*ret = value;
	return 0;
}

/* ---- judging ---- */

static int copy_release(struct linux_guest *guest)
{
	const char *text = find_value(guest, "OSRELEASE");
	const size_t len = text ? strcspn(text, "\n") : 0;

	if (!len || len >= sizeof(guest->release))
		return -EINVAL;
	memcpy(guest->release, text, len);
	guest->release[len] = '\0';
	return 0;
}

/* The kernel's page tables map themselves: at the very address that they are at */
static bool has_page_tables(struct linux_guest *guest)
{
	uint64_t table, five_levels = 0;
	struct walk walk;

	if (linux_key(guest, "SYMBOL(swapper_pg_dir)", &table) || linux_key(guest, "NUMBER(phys_base)", &guest->phys_base) ||
	    linux_key(guest, "KERNELOFFSET", &guest->kaslr_offset) || table < START_KERNEL_MAP)
		return false;
	linux_key(guest, "NUMBER(pgtable_l5_enabled)", &five_levels);
	guest->sregs = (struct kvm_sregs){
		.cr0 = CR0_PG,
		.cr3 = table - START_KERNEL_MAP + guest->phys_base,
		.cr4 = CR4_PAE | (five_levels ? CR4_LA57 : 0),
		.efer = EFER_LMA | EFER_NXE,
	};
	walk_page_tables(guest->ram, &guest->sregs, table, &walk);
	return walk.mapped && walk.gpa.v == guest->sregs.cr3;
}

/* In struct new_utsname, whose layout never changes */
int linux_uts(const struct linux_guest *guest, char ret[LINUX_UTS_NAMES][LINUX_RELEASE_BYTES])
{
	uint64_t uts, name;

	if (linux_key(guest, "SYMBOL(init_uts_ns)", &uts) || linux_key(guest, "OFFSET(uts_namespace.name)", &name))
		return -ENOENT;
	if (linux_read(guest, uts + name, ret, LINUX_UTS_NAMES * LINUX_RELEASE_BYTES))
		return -EFAULT;
	for (unsigned i = 0; i < LINUX_UTS_NAMES; i++)
		ret[i][LINUX_RELEASE_BYTES - 1] = '\0';
	return 0;
}

static bool is_confirmed(const struct linux_guest *guest)
{
	char uts[LINUX_UTS_NAMES][LINUX_RELEASE_BYTES];

	return !linux_uts(guest, uts) && !strcmp(uts[2], guest->release);
}

int linux_judge(const struct ram *ram, gpa_t at, const char *text, size_t len, struct linux_guest *ret)
{
	if (len > LINUX_NOTE_BYTES)
		len = LINUX_NOTE_BYTES;
	memset(ret, 0, sizeof(*ret));
	ret->ram = ram;
	ret->note_at = at;
	ret->note_bytes = strnlen(text, len);
	memcpy(ret->note, text, ret->note_bytes);
	if (copy_release(ret) || !has_page_tables(ret))
		return 0;
	return is_confirmed(ret) ? 2 : 1;
}

bool linux_is_there(const struct linux_guest *guest)
{
	char now[LINUX_NOTE_BYTES];
	struct walk walk;

	if (!guest->is_early && (ram_read(guest->ram, guest->note_at, now, guest->note_bytes) ||
				 memcmp(now, guest->note, guest->note_bytes)))
		return false;
	/* The tables map what they are in, above all other things. */
	walk_page_tables(guest->ram, &guest->sregs, guest->sregs.cr3 - guest->phys_base + START_KERNEL_MAP, &walk);
	return walk.mapped && walk.gpa.v == guest->sregs.cr3;
}

/* ---- the search ---- */

/* How either kind of page begins; ELF-64's note has the lengths of its name and of its text first. */
struct __attribute__((packed)) page_start {
	uint32_t name_bytes, text_bytes, type;
	char name[12];
	char text[10];
};

static const char first_key[10] = { 'O', 'S', 'R', 'E', 'L', 'E', 'A', 'S', 'E', '=' };

/* Return: how long the text is at most, 0: it is neither; @ret_at: where in the page it begins */
static size_t text_of_page(const struct page_start *start, unsigned *ret_at)
{
	if (!memcmp(start, first_key, sizeof(first_key))) {
		*ret_at = 0;
		return RAM_PAGE_BYTES;
	}
	if (start->name_bytes != sizeof("VMCOREINFO") || strncmp(start->name, "VMCOREINFO", sizeof(start->name)) ||
	    memcmp(start->text, first_key, sizeof(first_key)))
		return 0;
	*ret_at = offsetof(struct page_start, text);
	return start->text_bytes < LINUX_NOTE_BYTES ? start->text_bytes : LINUX_NOTE_BYTES;
}

static int judge_page(const struct ram *ram, uint64_t page, struct linux_guest *ret)
{
	char text[LINUX_NOTE_BYTES];
	struct page_start start;
	unsigned at;
	size_t len;

	if (ram_read(ram, GPA(page), &start, sizeof(start)))
		return 0;
	len = text_of_page(&start, &at);
	if (!len || ram_read(ram, GPA(page + at), text, len))
		return 0;
	return linux_judge(ram, GPA(page + at), text, len, ret);
}

/* Return: the pages that held something; @ret_found: @ret is to be taken */
static unsigned look_through(struct linux_scan *scan, const struct ram *ram, uint64_t at, unsigned pages,
			     struct linux_guest *ret, bool *ret_found)
{
	uint8_t touched[CHUNK_PAGES];
	unsigned looked_at = 0;
	int trust;

	if (ram_touched(ram, GPA(at), pages, touched))
		return 0;
	for (unsigned i = 0; i < pages; i++) {
		if (!touched[i])
			continue;
		looked_at++;
		trust = judge_page(ram, at + (uint64_t)i * RAM_PAGE_BYTES, ret);
		if (trust == 2) {
			*ret_found = true;
			break;
		}
		if (trust == 1 && !scan->has_second) {
			scan->has_second = true;
			scan->second = *ret;
		}
	}
	return looked_at;
}

/* The part that has @at, or the next one; NULL: RAM ends there */
static const struct ram_part *part_from(const struct ram *ram, uint64_t at)
{
	unsigned n;
	const struct ram_part *parts = ram_parts(ram, &n);

	for (unsigned i = 0; i < n; i++)
		if (at < parts[i].start.v + parts[i].size_bytes)
			return &parts[i];
	return NULL;
}

int linux_find(struct linux_scan *scan, const struct ram *ram, struct linux_guest *ret)
{
	unsigned looked_at = 0, pages;
	const struct ram_part *part;
	bool found = false;
	uint64_t left;

	for (unsigned i = 0; i < SLICE_CHUNKS && looked_at < SLICE_PAGES; i++) {
		part = part_from(ram, scan->next);
		if (!part)
			break;
		if (scan->next < part->start.v)
			scan->next = part->start.v;
		left = (part->start.v + part->size_bytes - scan->next) / RAM_PAGE_BYTES;
		pages = left < CHUNK_PAGES ? (unsigned)left : CHUNK_PAGES;
		looked_at += look_through(scan, ram, scan->next, pages, ret, &found);
		if (found)
			return 0;
		scan->next += (uint64_t)pages * RAM_PAGE_BYTES;
	}
	if (part_from(ram, scan->next))
		return -EAGAIN;
	if (scan->has_second)
		*ret = scan->second;
	return scan->has_second ? 0 : -ENOENT;
}
