/* Links: linux/vmcoreinfo.o linux/kallsyms.o linux/symbols-file.o linux/modules.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "linux-rig.h"
#include "unit.h"

#define MOVED 0x1000000 /* as the rig's KERNELOFFSET says */

static struct rig rig;
static struct linux_guest guest;
static struct linux_symbols *symbols;

static int load(const void *bytes, size_t len)
{
	int fd = memfd_create("symbols", MFD_CLOEXEC), err;

	if (!rig.ram) {
		rig_start(&rig, false);
		ck_assert_int_eq(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest), 2);
	}
	linux_symbols_free(symbols);
	symbols = NULL;
	ck_assert_int_eq(write(fd, bytes, len), (int)len);
	err = linux_symbols_read(&guest, fd, &symbols);
	close(fd);
	return err;
}

static void expect(uint64_t addr, const char *want)
{
	char text[700];

	ck_assert_str_eq(linux_symbol_text(symbols, addr, text, sizeof(text)), want);
}

START_TEST(test_map)
{
	static const char map[] =
		"0000000000000000 D cpu_number\n"
		"ffffffff80000200 t second\n"
		"no line of it\nffffffff\n ffffffff80000300\n"
		"ffffffff80000000 T _stext\n"
		"ffffffff80000000 T _text\n"
		"ffffffff80000400 T _etext\r\n"
		"ffffffff80000500 D _end";
	uint64_t addr;

	ck_assert_int_eq(load(map, sizeof(map) - 1), 0);
	expect(K(MOVED + 0x10), "_stext+0x10/0x200");
	expect(K(MOVED + 0x210), "second+0x10/0x200");
	expect(K(0x10), "0xffffffff80000010");
	ck_assert_int_eq(linux_symbol_find(symbols, "_etext", &addr), 0);
	ck_assert_uint_eq(addr, K(MOVED + 0x400));
	ck_assert(linux_is_text(symbols, K(MOVED + 0x3ff)));
	ck_assert(!linux_is_text(symbols, K(MOVED + 0x400)));
	ck_assert_int_eq(linux_symbol_find(symbols, "cpu_number", &addr), -ENOENT);
	ck_assert_int_eq(load("", 0), -ENOENT);
	ck_assert_int_eq(load("ffffffff80000000 T \n", 20), -ENOENT);
}
END_TEST

static struct {
	Elf64_Ehdr head;
	Elf64_Shdr section[3];
	Elf64_Sym symbol[4];
	char names[32];
} elf;

static void make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	memcpy(elf.head.e_ident, ELFMAG, SELFMAG);
	elf.head.e_ident[EI_CLASS] = ELFCLASS64;
	elf.head.e_machine = EM_X86_64;
	elf.head.e_shoff = offsetof(typeof(elf), section);
	elf.head.e_shentsize = sizeof(Elf64_Shdr);
	elf.head.e_shnum = 3;
	elf.section[1] = (Elf64_Shdr){ .sh_type = SHT_SYMTAB, .sh_offset = offsetof(typeof(elf), symbol),
				       .sh_size = sizeof(elf.symbol), .sh_link = 2 };
	elf.section[2] = (Elf64_Shdr){ .sh_type = SHT_STRTAB, .sh_offset = offsetof(typeof(elf), names),
				       .sh_size = sizeof(elf.names) };
	memcpy(elf.names, "\0first\0second\0file", 19);
	elf.symbol[1] = (Elf64_Sym){ .st_name = 7, .st_info = STT_FUNC, .st_shndx = 1, .st_value = K(0x300) };
	elf.symbol[2] = (Elf64_Sym){ .st_name = 1, .st_info = STT_FUNC, .st_shndx = 1, .st_value = K(0x100) };
	elf.symbol[3] = (Elf64_Sym){ .st_name = 14, .st_info = STT_FILE, .st_shndx = 1, .st_value = K(0x200) };
}

START_TEST(test_elf)
{
	make_elf();
	ck_assert_int_eq(load(&elf, sizeof(elf)), 0);
	expect(K(MOVED + 0x101), "first+0x1/0x200");
}
END_TEST

START_TEST(test_damaged_elf)
{
	const struct {
		void *at;
		uint64_t value;
		int want;
	} damage[] = {
		{ &elf.section[1].sh_offset, 1ULL << 62, -EBADMSG }, { &elf.section[1].sh_size, 1ULL << 40, -EBADMSG },
		{ &elf.section[2].sh_size, 1 << 20, -EBADMSG },      { &elf.section[2].sh_size, 7, 0 },
		{ &elf.section[2].sh_size, 0, -ENOENT },	     { &elf.head.e_shoff, UINT64_MAX, -EBADMSG },
		{ &elf.section[1].sh_type, SHT_PROGBITS, -ENOENT },  { &elf.symbol[1], 0xffffffff, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(damage); i++) {
		make_elf();
		memcpy(damage[i].at, &damage[i].value, i == 6 ? 4 : 8);
		ck_assert_msg(load(&elf, sizeof(elf)) == damage[i].want, "damage %zu", i);
	}
	make_elf();
	elf.section[1].sh_link = 3;
	ck_assert_int_eq(load(&elf, sizeof(elf)), -ENOENT);
	make_elf();
	elf.head.e_ident[EI_CLASS] = ELFCLASS32;
	ck_assert_int_eq(load(&elf, sizeof(elf)), -EBADMSG);
	make_elf();
	elf.head.e_shnum = 0xffff;
	ck_assert_int_eq(load(&elf, sizeof(elf)), -EBADMSG);
}
END_TEST

UNIT_MAIN("symbols-file", test_map, test_elf, test_damaged_elf)
