/*
 * A stage for the boot protocols: guest RAM, files made of bytes, boot_load() with its messages
 * caught. Every test runs in a process of its own, so nothing is given back, only kept in sight of a
 * checker for leaks.
 */
#ifndef TESTS_BOOT_RIG_H
#define TESTS_BOOT_RIG_H

#include <asm/bootparam.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../x86/boot/boot-internal.h"
#include "unit.h"

struct rig {
	struct ram *ram;
	struct boot_config cfg;
	struct boot_entry entry;
	const char *initrd[8];
	char log[8192];
};

static inline void rig_init(struct rig *rig, uint64_t mib)
{
	static struct ram_config advice;
	static struct ram *kept[256];
	static unsigned n;
	struct ram_backing backing = { .fd = -1, .advice = &advice };

	memset(rig, 0, sizeof(*rig));
	ck_assert_int_eq(ram_new(mib * MIB, &backing, &rig->ram), 0);
	ck_assert_uint_lt(n, ARRAY_SIZE(kept));
	kept[n++] = rig->ram;
	rig->cfg.initrd = rig->initrd;
}

/* A file with these bytes, as a path */
static inline const char *rig_file(const void *data, size_t len)
{
	static char path[64][32];
	static unsigned n;
	int fd = memfd_create("file", 0);

	ck_assert_uint_lt(n, 64);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	snprintf(path[n], sizeof(path[n]), "/proc/self/fd/%d", fd);
	return path[n++];
}

static inline void rig_add_initrd(struct rig *rig, const char *path)
{
	rig->initrd[rig->cfg.n_initrds++] = path;
}

/* boot_load(); what it says goes to rig->log */
static inline int rig_load(struct rig *rig)
{
	int saved = dup(STDERR_FILENO);
	int fd = memfd_create("log", 0);
	ssize_t n;
	int err;

	ck_assert(saved >= 0 && fd >= 0);
	dup2(fd, STDERR_FILENO);
	err = boot_load(rig->ram, &rig->cfg, &rig->entry);
	dup2(saved, STDERR_FILENO);
	n = pread(fd, rig->log, sizeof(rig->log) - 1, 0);
	ck_assert_int_ge(n, 0);
	rig->log[n] = '\0';
	close(saved);
	close(fd);
	return err;
}

static inline void rig_load_ok(struct rig *rig)
{
	int err = rig_load(rig);

	ck_assert_msg(!err, "boot_load: %d, %s", err, rig->log);
	ck_assert_msg(!*rig->log, "unexpected message: %s", rig->log);
}

/* The same with one line that has @text in it, a warning */
static inline void rig_load_warns(struct rig *rig, const char *text)
{
	int err = rig_load(rig);

	ck_assert_msg(!err, "boot_load: %d, %s", err, rig->log);
	ck_assert_msg(strstr(rig->log, text), "'%s' is not in: %s", text, rig->log);
	ck_assert_ptr_eq(strchr(rig->log, '\n'), rig->log + strlen(rig->log) - 1);
}

static inline void rig_load_flat(struct rig *rig)
{
	rig_load_warns(rig, "has no known kernel header: taken as a flat binary");
	ck_assert_int_eq(rig->entry.mode, BOOT_REAL);
}

/* It fails with @err and one line that has the file's name and @text in it; the entry is untouched.
 */
static inline void rig_load_fails(struct rig *rig, int err, const char *name, const char *text)
{
	const struct boot_entry before = { .rip = 0x1234 };
	int got;

	rig->entry = before;
	got = rig_load(rig);
	ck_assert_msg(got == err, "%d instead of %d (%s): %s", got, err, text, rig->log);
	ck_assert_msg(strstr(rig->log, text), "'%s' is not in: %s", text, rig->log);
	ck_assert_msg(strstr(rig->log, name), "'%s' is not in: %s", name, rig->log);
	ck_assert_msg(strchr(rig->log, '\n') == rig->log + strlen(rig->log) - 1,
		      "more than one line: %s", rig->log);
	ck_assert_mem_eq(&rig->entry, &before, sizeof(before));
}

/* Guest memory */
static inline void *rig_at(struct rig *rig, uint64_t at, uint64_t len)
{
	void *host;

	ck_assert_int_eq(ram_window(rig->ram, GPA(at), len, 1, &host), 0);
	return host;
}

static inline const char *rig_string(struct rig *rig, uint64_t at)
{
	const char *s = rig_at(rig, at, 256);

	ck_assert_ptr_nonnull(memchr(s, 0, 256));
	return s;
}

static inline void rig_pattern(uint8_t *p, size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
}

/* A bzImage */

#define BZ_CODE_BYTES 4096

struct bz {
	struct setup_header hdr;
	size_t code_bytes; /* of them in the file */
	size_t file_bytes; /* 0: all */
	const char *version_text; /* where hdr.kernel_version points, if that is in the setup part */
};

/* What a modern kernel says of itself */
static inline struct bz bz_default(void)
{
	return (struct bz){
		.hdr = {
			.setup_sects = 1,
			.syssize = BZ_CODE_BYTES / 16,
			.boot_flag = 0xaa55,
			.jump = 0x6aeb,
			.header = 0x53726448,
			.version = 0x020f,
			.loadflags = LOADED_HIGH,
			.code32_start = 0x100000,
			.initrd_addr_max = 0x7fffffff,
			.kernel_alignment = 0x200000,
			.relocatable_kernel = 1,
			.xloadflags = XLF_KERNEL_64,
			.cmdline_size = 2047,
			.pref_address = 0x1000000,
			.init_size = 0x800000,
		},
		.code_bytes = BZ_CODE_BYTES,
	};
}

static inline const char *bz_file(const struct bz *bz)
{
	static uint8_t img[256 * 512 + 65536];
	unsigned sects = bz->hdr.setup_sects ? bz->hdr.setup_sects : 4;
	size_t setup = (sects + 1) * 512;

	memset(img, 0xcc, setup);
	memcpy(img + 0x1f1, &bz->hdr, sizeof(bz->hdr));
	if (bz->version_text && bz->hdr.kernel_version && 0x200U + bz->hdr.kernel_version < setup)
		snprintf((char *)img + 0x200 + bz->hdr.kernel_version,
			 setup - 0x200 - bz->hdr.kernel_version + 1, "%s", bz->version_text);
	rig_pattern(img + setup, bz->code_bytes, 1);
	return rig_file(img, bz->file_bytes ? bz->file_bytes : setup + bz->code_bytes);
}

/* An ELF file: header, program headers, then whatever the test puts at FILE_AT */

#include <elf.h>

#define ELF_DATA_AT 0x1000

struct elf_file {
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdr[8];
	uint8_t data[8192]; /* from ELF_DATA_AT on */
	size_t data_bytes;
	bool is32;
	size_t file_bytes; /* 0: all */
};

static inline void elf_init(struct elf_file *f, uint64_t entry)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->ehdr.e_ident, ELFMAG, SELFMAG);
	f->ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	f->ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	f->ehdr.e_ident[EI_VERSION] = EV_CURRENT;
	f->ehdr.e_type = ET_EXEC;
	f->ehdr.e_machine = EM_X86_64;
	f->ehdr.e_version = EV_CURRENT;
	f->ehdr.e_entry = entry;
	f->ehdr.e_phoff = sizeof(Elf64_Ehdr);
	f->ehdr.e_phentsize = sizeof(Elf64_Phdr);
	f->data_bytes = sizeof(f->data);
	rig_pattern(f->data, sizeof(f->data), 2);
}

static inline void elf_make32(struct elf_file *f)
{
	f->is32 = true;
	f->ehdr.e_ident[EI_CLASS] = ELFCLASS32;
	f->ehdr.e_machine = EM_386;
	f->ehdr.e_phoff = sizeof(Elf32_Ehdr);
	f->ehdr.e_phentsize = sizeof(Elf32_Phdr);
}

/* @off: into data */
static inline Elf64_Phdr *elf_add(struct elf_file *f, uint32_t type, uint64_t off, uint64_t vaddr,
				  uint64_t paddr, uint64_t filesz, uint64_t memsz)
{
	Elf64_Phdr *p = &f->phdr[f->ehdr.e_phnum++];

	*p = (Elf64_Phdr){ .p_type = type,
			   .p_offset = ELF_DATA_AT + off,
			   .p_vaddr = vaddr,
			   .p_paddr = paddr,
			   .p_filesz = filesz,
			   .p_memsz = memsz,
			   .p_align = 4 };
	return p;
}

/* What tells that it is Linux, if it is linked so */
static inline void elf_banner(struct elf_file *f, size_t off, const char *text)
{
	memcpy(f->data + off, text, strlen(text) + 1);
}

#define ELF_BANNER "Linux version 6.1.0-x (me@here) #1"

/* One note into data; returns where the next one goes */
static inline size_t elf_note(struct elf_file *f, size_t off, const char *name, uint32_t type,
			      const void *desc, uint32_t len)
{
	uint32_t words[3] = { (uint32_t)strlen(name) + 1, len, type };

	memcpy(f->data + off, words, sizeof(words));
	off += sizeof(words);
	memcpy(f->data + off, name, words[0]);
	off = ALIGN_UP(off + words[0], 4);
	memcpy(f->data + off, desc, len);
	return ALIGN_UP(off + len, 4);
}

static inline void elf_headers32(const struct elf_file *f, uint8_t *img)
{
	const Elf64_Ehdr *e = &f->ehdr;
	Elf32_Ehdr ehdr = { .e_type = e->e_type,
			    .e_machine = e->e_machine,
			    .e_version = e->e_version,
			    .e_entry = (uint32_t)e->e_entry,
			    .e_phoff = (uint32_t)e->e_phoff,
			    .e_phentsize = e->e_phentsize,
			    .e_phnum = e->e_phnum };

	memcpy(ehdr.e_ident, e->e_ident, sizeof(ehdr.e_ident));
	memcpy(img, &ehdr, sizeof(ehdr));
	for (unsigned i = 0; i < ARRAY_SIZE(f->phdr); i++) {
		const Elf64_Phdr *p = &f->phdr[i];
		Elf32_Phdr phdr = { .p_type = p->p_type,
				    .p_offset = (uint32_t)p->p_offset,
				    .p_vaddr = (uint32_t)p->p_vaddr,
				    .p_paddr = (uint32_t)p->p_paddr,
				    .p_filesz = (uint32_t)p->p_filesz,
				    .p_memsz = (uint32_t)p->p_memsz,
				    .p_align = (uint32_t)p->p_align };

		memcpy(img + sizeof(ehdr) + i * sizeof(phdr), &phdr, sizeof(phdr));
	}
}

static inline size_t elf_bytes(const struct elf_file *f, uint8_t img[ELF_DATA_AT + 8192])
{
	memset(img, 0, ELF_DATA_AT);
	if (f->is32) {
		elf_headers32(f, img);
	} else {
		memcpy(img, &f->ehdr, sizeof(f->ehdr));
		memcpy(img + sizeof(f->ehdr), f->phdr, sizeof(f->phdr));
	}
	memcpy(img + ELF_DATA_AT, f->data, f->data_bytes);
	return f->file_bytes ? f->file_bytes : ELF_DATA_AT + f->data_bytes;
}

static inline const char *elf_path(const struct elf_file *f)
{
	static uint8_t img[ELF_DATA_AT + sizeof(f->data)];

	return rig_file(img, elf_bytes(f, img));
}

#endif
