/* Links: vm/vmlinux.o */

/* Files with symbols: what is read of them, damaged ones, and where they are looked for. */
#include <elf.h>
#include <errno.h>

#include "lkvm/types.h"
#include "lkvm/vm/vmlinux.h"
#include "own-folder.h"

#define ID "0123456789abcdef0123456789abcdef01234567"

/* An ELF file of four sections: a note with the build ID, symbols, .data..percpu and the sections' names. */
static struct {
	Elf64_Ehdr head;
	Elf64_Shdr section[5];
	struct {
		Elf64_Nhdr other;
		char other_name[8];
		Elf64_Nhdr head;
		char name[4];
		uint8_t id[20];
	} note;
	char names[32];
} file;

static void section(unsigned i, uint32_t type, uint32_t name, size_t at, size_t n, uint64_t addr)
{
	file.section[i] = (Elf64_Shdr){
		.sh_type = type, .sh_name = name, .sh_offset = at, .sh_size = n, .sh_addr = addr,
	};
}

#define AT(member) offsetof(__typeof__(file), member), sizeof(file.member)

static void make(uint64_t percpu)
{
	memset(&file, 0, sizeof(file));
	memcpy(file.head.e_ident, ELFMAG, SELFMAG);
	file.head.e_ident[EI_CLASS] = ELFCLASS64;
	file.head.e_ident[EI_DATA] = ELFDATA2LSB;
	file.head.e_shoff = offsetof(__typeof__(file), section);
	file.head.e_shentsize = sizeof(Elf64_Shdr);
	file.head.e_shnum = ARRAY_SIZE(file.section);
	file.head.e_shstrndx = 4;
	memcpy(file.names, "\0.data..percpu\0.notes", 22);
	section(1, SHT_NOTE, 15, AT(note), 0);
	section(2, SHT_SYMTAB, 0, AT(note), 0);
	section(3, SHT_PROGBITS, 1, AT(note), percpu);
	section(4, SHT_STRTAB, 0, AT(names), 0);
	file.note.other = (Elf64_Nhdr){ .n_namesz = 6, .n_type = 1 };
	file.note.head = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID };
	memcpy(file.note.name, "GNU", 4);
	for (unsigned i = 0; i < 20; i++)
		sscanf(ID + 2 * i, "%2hhx", &file.note.id[i]);
}

static int look(struct vmlinux *ret)
{
	put("file", &file, sizeof(file));
	memset(ret, 0xa5, sizeof(*ret));
	return vmlinux_read("file", ret);
}

static void start(void)
{
	enter_own_folder();
	setenv("HOME", ".", 1);
	unsetenv("DEBUGINFOD_CACHE_PATH");
	make(0);
}

START_TEST(test_read)
{
	struct vmlinux v;

	start();
	ck_assert_int_eq(look(&v), 0);
	ck_assert_str_eq(v.build_id, ID);
	ck_assert(v.has_symbols && v.percpu_at_0);
	make(0xffffffff82000000);
	file.section[2].sh_type = SHT_PROGBITS;
	file.note.head.n_type = 1;
	ck_assert_int_eq(look(&v), 0);
	ck_assert_str_eq(v.build_id, "");
	ck_assert(!v.has_symbols && !v.percpu_at_0);
	ck_assert_int_eq(vmlinux_read("/nonexistent", &v), -ENOENT);
	ck_assert_int_eq(vmlinux_read("/dev/null", &v), -ENOEXEC);
	ck_assert_int_eq(vmlinux_read("/proc/self/exe", &v), 0);
	leave_own_folder();
}
END_TEST

#define DAMAGED(how)                                                                                   \
	do {                                                                                           \
		make(0);                                                                               \
		how;                                                                                   \
		ck_assert_int_eq(look(&v), -ENOEXEC);                                                  \
	} while (0)

START_TEST(test_damaged)
{
	struct vmlinux v;

	start();
	DAMAGED(file.head.e_ident[0] = 0);
	DAMAGED(file.head.e_ident[EI_CLASS] = ELFCLASS32);
	DAMAGED(file.head.e_ident[EI_DATA] = ELFDATA2MSB);
	DAMAGED(file.head.e_shnum = 0);
	DAMAGED(file.head.e_shnum = 0xffff);
	DAMAGED(file.head.e_shentsize = 1);
	DAMAGED(file.head.e_shstrndx = 5);
	DAMAGED(file.head.e_shoff = UINT64_MAX - 8);
	DAMAGED(file.section[4].sh_offset = UINT64_MAX);
	DAMAGED(file.section[4].sh_size = UINT64_MAX);
	DAMAGED(file.section[4].sh_size = 1 << 30);
	make(0);
	file.section[3].sh_name = UINT32_MAX;
	ck_assert_int_eq(look(&v), 0);
	ck_assert(!v.percpu_at_0);
	make(0);
	for (size_t n = 0; n < sizeof(file); n++) {
		put("short", &file, n);
		ck_assert_int_eq(vmlinux_read("short", &v), -ENOEXEC);
	}
	leave_own_folder();
}
END_TEST

/* A note that says it is longer than its section is none, and so is one that is too long to be shown. */
START_TEST(test_notes)
{
	static const uint32_t bad[] = { 21, 32, 1000, UINT32_MAX, UINT32_MAX - 2 };
	struct vmlinux v;

	start();
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		make(0);
		file.note.head.n_descsz = bad[i];
		ck_assert_int_eq(look(&v), 0);
		ck_assert_str_eq(v.build_id, "");
		make(0);
		file.note.other.n_namesz = bad[i];
		ck_assert_int_eq(look(&v), 0);
		make(0);
		file.note.other.n_descsz = bad[i];
		ck_assert_int_eq(look(&v), 0);
	}
	leave_own_folder();
}
END_TEST

static void check_found(const char *name, const char *image, const char *release, const char *id)
{
	char *got, *path, *want;

	put(name, &file, sizeof(file));
	got = vmlinux_find(".", image, release, id);
	ck_assert_ptr_nonnull(got);
	path = realpath(got, NULL);
	want = realpath(name, NULL);
	ck_assert_str_eq(path, want);
	free(got);
	free(path);
	free(want);
	unlink(name);
	ck_assert_ptr_null(vmlinux_find(".", image, release, id));
}

START_TEST(test_find)
{
	start();
	put("linux/arch/x86/boot/other", &file, 0);
	check_found("linux/vmlinux", "linux/arch/x86/boot/bzImage", "6.1", ID);
	check_found("boot/vmlinux", "boot/vmlinux", "6.1", ID);
	check_found("boot/vmlinux", "boot/vmlinuz-6.1", "6.1", ID);
	check_found("usr/lib/debug/boot/vmlinux-6.1", "boot/vmlinuz-6.1", "6.1", ID);
	check_found("usr/lib/debug/lib/modules/6.1/vmlinux", NULL, "6.1", "");
	check_found("lib/modules/6.1/build/vmlinux", NULL, "6.1", ID);
	check_found("usr/lib/debug/.build-id/01/23456789abcdef0123456789abcdef01234567.debug", NULL, "", ID);
	check_found(".cache/debuginfod_client/" ID "/debuginfo", NULL, "", ID);
	leave_own_folder();
}
END_TEST

/* One of another build, or without symbols, is not it; a release is not a way to other folders. */
START_TEST(test_not_found)
{
	start();
	put("usr/lib/debug/boot/vmlinux-6.1", &file, sizeof(file));
	ck_assert_ptr_null(vmlinux_find(".", NULL, "6.1", "0000" ID));
	ck_assert_ptr_null(vmlinux_find(".", NULL, "x/../vmlinux-6.1", ID));
	ck_assert_ptr_null(vmlinux_find(".", NULL, "", ""));
	ck_assert_ptr_null(vmlinux_find(".", NULL, "", "../../../.."));
	file.section[2].sh_type = SHT_PROGBITS;
	put("usr/lib/debug/boot/vmlinux-6.1", &file, sizeof(file));
	ck_assert_ptr_null(vmlinux_find(".", NULL, "6.1", ID));
	leave_own_folder();
}
END_TEST

UNIT_MAIN("vmlinux", test_read, test_damaged, test_notes, test_find, test_not_found)
