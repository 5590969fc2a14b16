/*
 * Executable files, ELF32 and ELF64, read once into one form. Every number in the file is checked
 * against the file and the RAM before it is used; nothing is loaded before all of it was judged.
 * Spec: System V gABI, chapters 4 and 5
 */
#include "boot-internal.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define NOTES_MAX_BYTES (1 << 20)

#ifndef EM_LOONGARCH
#define EM_LOONGARCH 258
#endif

static const struct {
	uint16_t machine;
	const char *name;
} machines[] = {
	{ EM_386, "i386" },        { EM_AARCH64, "arm64" }, { EM_ARM, "arm" },
	{ EM_RISCV, "riscv" },     { EM_PPC64, "ppc64" },   { EM_PPC, "ppc" },
	{ EM_S390, "s390" },       { EM_MIPS, "mips" },     { EM_LOONGARCH, "loongarch" },
	{ EM_SPARCV9, "sparc64" },
};

bool elf_match(const struct boot *boot)
{
	return boot->head_len >= SELFMAG && !memcmp(boot->head, ELFMAG, SELFMAG);
}

static int wrong_machine(const struct boot *boot, uint16_t machine)
{
	for (size_t i = 0; i < ARRAY_SIZE(machines); i++)
		if (machines[i].machine == machine)
			return file_err(&boot->kernel, -ENOEXEC,
					"is for %s, but this machine is x86-64", machines[i].name);
	return file_err(&boot->kernel, -ENOEXEC,
			"is for ELF machine %u, but this machine is x86-64", machine);
}

/* What both classes have at the same place. */
static int judge_ident(const struct boot *boot)
{
	const struct boot_file *file = &boot->kernel;
	const Elf32_Ehdr *ehdr = (const void *)boot->head;
	bool is64 = ehdr->e_ident[EI_CLASS] == ELFCLASS64;

	if (boot->head_len < (is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
		return file_err(file, -ENOEXEC, "truncated ELF file: no room for its header");
	if (!is64 && ehdr->e_ident[EI_CLASS] != ELFCLASS32)
		return file_err(file, -ENOEXEC, "damaged ELF file: class %u",
				ehdr->e_ident[EI_CLASS]);
	if (ehdr->e_ident[EI_DATA] == ELFDATA2MSB)
		return wrong_machine(boot, __builtin_bswap16(ehdr->e_machine));
	if (ehdr->e_ident[EI_DATA] != ELFDATA2LSB)
		return file_err(file, -ENOEXEC, "damaged ELF file: data encoding %u",
				ehdr->e_ident[EI_DATA]);
	if (ehdr->e_machine != EM_X86_64 && ehdr->e_machine != EM_386)
		return wrong_machine(boot, ehdr->e_machine);
	if (ehdr->e_type == ET_REL)
		return file_err(file, -ENOEXEC, "is an object file or module, not a kernel");
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return file_err(file, -ENOEXEC, "ELF type %u is not an executable", ehdr->e_type);
	return 0;
}

/* The two classes of ELF have the same fields, in another order and width. */
#define SEGMENT_OF(phdr)                                                                           \
	((struct elf_segment){                                                                     \
		.type = (phdr).p_type,                                                             \
		.offset = (phdr).p_offset,                                                         \
		.vaddr = (phdr).p_vaddr,                                                           \
		.paddr = (phdr).p_paddr,                                                           \
		.filesz = (phdr).p_filesz,                                                         \
		.memsz = (phdr).p_memsz,                                                           \
		.align = (phdr).p_align,                                                           \
	})

static int read_phdrs(const struct boot *boot, struct elf_image *elf, uint64_t off,
		      unsigned entsize, unsigned n)
{
	const struct boot_file *file = &boot->kernel;
	unsigned want = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	union {
		Elf64_Phdr p64[ELF_MAX_SEGMENTS];
		Elf32_Phdr p32[ELF_MAX_SEGMENTS];
	} raw;
	int err;

	if (entsize != want)
		return file_err(file, -ENOEXEC,
				"damaged ELF file: program headers of %u bytes instead of %u",
				entsize, want);
	if (!n || n > ELF_MAX_SEGMENTS)
		return file_err(file, -ENOEXEC,
				"ELF file with %u program headers, 1 to %d are possible", n,
				ELF_MAX_SEGMENTS);
	err = boot_file_read(file, off, &raw, (uint64_t)n * want);
	if (err)
		return err;
	for (unsigned i = 0; i < n; i++)
		elf->seg[i] = elf->is64 ? SEGMENT_OF(raw.p64[i]) : SEGMENT_OF(raw.p32[i]);
	elf->n = n;
	return 0;
}

static int judge_segment(const struct boot *boot, const struct elf_segment *seg)
{
	const struct boot_file *file = &boot->kernel;

	if (seg->type == PT_INTERP)
		return file_err(file, -ENOEXEC,
				"is a program of an operating system, not a kernel");
	if (seg->type != PT_LOAD && seg->type != PT_NOTE)
		return 0;
	if (seg->offset > file->size_bytes || seg->filesz > file->size_bytes - seg->offset)
		return file_err(file, -ENOEXEC,
				"truncated ELF file: segment of %#" PRIx64 " bytes at %#" PRIx64
				", file of %#" PRIx64,
				seg->filesz, seg->offset, file->size_bytes);
	if (seg->type == PT_LOAD && seg->memsz < seg->filesz)
		return file_err(file, -ENOEXEC,
				"damaged ELF file: segment of %#" PRIx64 " bytes in %#" PRIx64
				" bytes of memory",
				seg->filesz, seg->memsz);
	return 0;
}

int elf_read(const struct boot *boot, struct elf_image *ret)
{
	const Elf64_Ehdr *e64 = (const void *)boot->head;
	const Elf32_Ehdr *e32 = (const void *)boot->head;
	int err = judge_ident(boot);

	if (err)
		return err;
	*ret = (struct elf_image){
		.is64 = e32->e_ident[EI_CLASS] == ELFCLASS64,
		.machine = e32->e_machine,
	};
	if (ret->is64) {
		ret->entry = e64->e_entry;
		err = read_phdrs(boot, ret, e64->e_phoff, e64->e_phentsize, e64->e_phnum);
	} else {
		ret->entry = e32->e_entry;
		err = read_phdrs(boot, ret, e32->e_phoff, e32->e_phentsize, e32->e_phnum);
	}
	for (unsigned i = 0; !err && i < ret->n; i++)
		err = judge_segment(boot, &ret->seg[i]);
	return err;
}

static bool is_loaded(const struct elf_segment *seg)
{
	return seg->type == PT_LOAD && seg->memsz;
}

static int load_segment(const struct boot *boot, const struct elf_segment *seg)
{
	int err = boot_segment_to_ram(&boot->kernel, seg->offset, seg->filesz, boot->ram,
				      GPA(seg->paddr), seg->memsz);

	if (!err)
		log_debug(LOG_BOOT,
			  "kernel segment at [%#" PRIx64 ", %#" PRIx64 "), %#" PRIx64
			  " from the file",
			  seg->paddr, seg->paddr + seg->memsz, seg->filesz);
	return err;
}

int elf_load(struct boot *boot, const struct elf_image *elf)
{
	int err = 0;

	for (unsigned i = 0; !err && i < elf->n; i++) {
		const struct elf_segment *seg = &elf->seg[i];

		if (is_loaded(seg))
			err = boot_claim(boot, seg->paddr, seg->memsz);
	}
	for (unsigned i = 0; !err && i < elf->n; i++)
		if (is_loaded(&elf->seg[i]))
			err = load_segment(boot, &elf->seg[i]);
	return err;
}

bool elf_contains(const struct elf_image *elf, uint64_t paddr)
{
	for (unsigned i = 0; i < elf->n; i++) {
		const struct elf_segment *seg = &elf->seg[i];

		if (is_loaded(seg) && paddr >= seg->paddr && paddr - seg->paddr < seg->filesz)
			return true;
	}
	return false;
}

int elf_entry_paddr(const struct boot *boot, const struct elf_image *elf, uint64_t *ret)
{
	uint64_t entry = elf->entry;

	/* First as a physical address: the per-CPU segment of a vmlinux has virtual address 0. */
	if (elf_contains(elf, entry)) {
		*ret = entry;
		return 0;
	}
	for (unsigned i = 0; i < elf->n; i++) {
		const struct elf_segment *seg = &elf->seg[i];

		if (is_loaded(seg) && entry >= seg->vaddr && entry - seg->vaddr < seg->filesz) {
			*ret = entry - seg->vaddr + seg->paddr;
			return 0;
		}
	}
	return file_err(&boot->kernel, -ENOEXEC,
			"damaged ELF file: entry %#" PRIx64 " is in none of its segments", entry);
}

/* A note is three words (name size, descriptor size, type), the name, the descriptor; both padded.
 */
static int find_in_notes(const uint8_t *notes, uint64_t len, uint64_t align, const char *name,
			 uint32_t type, void *ret, size_t cap)
{
	size_t name_bytes = strlen(name) + 1;

	while (len >= sizeof(Elf32_Nhdr)) {
		uint64_t namesz = get_le32(notes), descsz = get_le32(notes + 4);
		uint64_t desc = ALIGN_UP(sizeof(Elf32_Nhdr) + namesz, align);
		uint64_t next = ALIGN_UP(desc + descsz, align);

		/* Both sizes are 32 bits, so none of these sums can wrap. */
		if (desc + descsz > len)
			return -ENOEXEC;
		if (get_le32(notes + 8) == type && namesz == name_bytes &&
		    !memcmp(notes + sizeof(Elf32_Nhdr), name, name_bytes)) {
			memset(ret, 0, cap);
			memcpy(ret, notes + desc, descsz < cap ? descsz : cap);
			return (int)(descsz < INT32_MAX ? descsz : INT32_MAX);
		}
		if (next >= len)
			break;
		notes += next;
		len -= next;
	}
	return 0;
}

static int search_segment(const struct boot *boot, const struct elf_segment *seg, const char *name,
			  uint32_t type, void *ret, size_t cap)
{
	uint8_t *notes;
	int err;

	if (seg->filesz > NOTES_MAX_BYTES)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged ELF file: %" PRIu64 " bytes of notes", seg->filesz);
	notes = malloc(seg->filesz + 1);
	if (!notes)
		return log_err(-ENOMEM, "ELF notes");
	err = boot_file_read(&boot->kernel, seg->offset, notes, seg->filesz);
	if (!err) {
		err = find_in_notes(notes, seg->filesz, seg->align == 8 ? 8 : 4, name, type, ret,
				    cap);
		if (err < 0)
			file_err(&boot->kernel, err,
				 "damaged ELF file: note longer than its segment");
	}
	free(notes);
	return err;
}

int elf_find_note(const struct boot *boot, const struct elf_image *elf, const char *name,
		  uint32_t type, void *ret, size_t cap)
{
	int n = 0;

	for (unsigned i = 0; !n && i < elf->n; i++)
		if (elf->seg[i].type == PT_NOTE)
			n = search_segment(boot, &elf->seg[i], name, type, ret, cap);
	return n;
}
