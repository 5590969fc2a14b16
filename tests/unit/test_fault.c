/* Links: x86/cpu/fault.o x86/cpu/walk.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
#include <stdio.h>
#include <string.h>

#include "lkvm/x86/cpu.h"
#include "ram-base.h"
#include "unit.h"

static struct ram *ram;
static char *text;
static size_t text_bytes;

static void ram_start(void)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	ck_assert_int_eq(ram_new(2 * MIB, &backing, &ram), 0);
}

static void put64(uint64_t at, uint64_t v)
{
	ck_assert_int_eq(ram_write(ram, GPA(at), &v, sizeof(v)), 0);
}

static FILE *new_text(void)
{
	free(text);
	return open_memstream(&text, &text_bytes);
}

static const char *print_regs(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	FILE *out = new_text();

	fault_print_regs(out, ram, 3, regs, sregs);
	fclose(out);
	return text;
}

static const char *print_walk(uint64_t virt, const struct kvm_sregs *sregs)
{
	FILE *out = new_text();
	struct walk walk;

	walk_page_tables(ram, sregs, virt, &walk);
	fault_print_walk(out, ram, virt, &walk);
	fclose(out);
	return text;
}

static void check_has(const char *all, const char *part)
{
	ck_assert_msg(strstr(all, part) != NULL, "no \"%s\" in:\n%s", part, all);
}

/* Long mode, kernel code in the last mapped page before a hole */
static const struct kvm_sregs long_mode = {
	.cs = { .selector = 0x10,
		.base = 0xdead0000,
		.limit = 0xffffffff,
		.type = 0xb,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1 },
	.ss = { .selector = 0x18, .limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .db = 1 },
	.fs = { .base = 0x7f0000001000, .unusable = 1, .dpl = 3 },
	.tr = { .selector = 0x40,
		.base = 0xfffffe0000003000,
		.limit = 0x206f,
		.type = 0xb,
		.present = 1 },
	.gdt = { .base = 0xfffffe0000001000, .limit = 0x7f },
	.idt = { .base = 0xfffffe0000000000, .limit = 0xfff },
	.cr0 = 0x80050033,
	.cr2 = 0xffffffff81200000,
	.cr3 = 0x1000,
	.cr4 = 0x20,
	.efer = 0xd01,
	.apic_base = 0xfee00900,
};

static void map_kernel(void)
{
	put64(0x1000 + 8 * 511, 0x2063);
	put64(0x2000 + 8 * 510, 0x3063);
	put64(0x3000 + 8 * 8, 0x4063);
	put64(0x4000 + 8 * 511, 0x8000000000005163); /* 0xffffffff811ff000 */
}

START_TEST(test_long_mode)
{
	static const struct kvm_regs regs = {
		.rip = 0xffffffff811ffff4,
		.rflags = 0x10086,
		.rax = 0x1122334455667788,
		.rsp = 0xffffc90000003e80,
		.r15 = 15,
	};
	char want[3000];

	ram_start();
	map_kernel();
	memset(ram_base(ram) + 0x5fe4, 0x90, 16);
	memcpy(ram_base(ram) + 0x5ff4, "\x0f\x0b\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", 12);
	snprintf(want, sizeof(want),
		 "vCPU 3: 64-bit code, 4-level paging\n"
		 "  rip    ffffffff811ffff4  rflags 0000000000010086\n"
		 "  rax    1122334455667788  rbx    0000000000000000\n"
		 "  rcx    0000000000000000  rdx    0000000000000000\n"
		 "  rsi    0000000000000000  rdi    0000000000000000\n"
		 "  rsp    ffffc90000003e80  rbp    0000000000000000\n"
		 "  r8     0000000000000000  r9     0000000000000000\n"
		 "  r10    0000000000000000  r11    0000000000000000\n"
		 "  r12    0000000000000000  r13    0000000000000000\n"
		 "  r14    0000000000000000  r15    000000000000000f\n"
		 "  cr0    0000000080050033  cr2    ffffffff81200000\n"
		 "  cr3    0000000000001000  cr4    0000000000000020\n"
		 "  efer   0000000000000d01  apic   00000000fee00900\n"
		 "  cs   0010 base 00000000dead0000 limit ffffffff type b dpl 0 64-bit\n"
		 "  ss   0018 base 0000000000000000 limit ffffffff type 3 dpl 0 32-bit\n"
		 "  ds   0000 base 0000000000000000 limit 00000000 type 0 dpl 0 absent\n"
		 "  es   0000 base 0000000000000000 limit 00000000 type 0 dpl 0 absent\n"
		 "  fs   0000 base 00007f0000001000 limit 00000000 type 0 dpl 3 unusable absent\n"
		 "  gs   0000 base 0000000000000000 limit 00000000 type 0 dpl 0 absent\n"
		 "  tr   0040 base fffffe0000003000 limit 0000206f type b dpl 0\n"
		 "  ldt  0000 base 0000000000000000 limit 00000000 type 0 dpl 0 absent\n"
		 "  gdt       base fffffe0000001000 limit 0000007f\n"
		 "  idt       base fffffe0000000000 limit 00000fff\n"
		 "code\n"
		 "  ffffffff811fffe4: 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90 90\n"
		 "> ffffffff811ffff4: 0f 0b 01 02 03 04 05 06 07 08 09 0a ?? ?? ?? ??\n"
		 "  ffffffff81200004: ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ?? ??\n"
		 "virtual ffffffff811ffff4\n"
		 "  PML4E at 0000000000001ff8: 0000000000002063 present writable accessed dirty\n"
		 "  PDPTE at 0000000000002ff0: 0000000000003063 present writable accessed dirty\n"
		 "  PDE   at 0000000000003040: 0000000000004063 present writable accessed dirty\n"
		 "  PTE   at 0000000000004ff8: 8000000000005163 present writable accessed dirty"
		 " global no-execute\n"
		 "  physical 0000000000005ff4, 4 KB page, host %p\n",
		 (void *)(ram_base(ram) + 0x5ff4));
	ck_assert_str_eq(print_regs(&regs, &long_mode), want);
}
END_TEST

START_TEST(test_real_mode)
{
	struct kvm_sregs sregs = { .cs = { .selector = 0x1000, .base = 0x10000, .present = 1 } };
	struct kvm_regs regs = { .rip = 2 };

	ram_start();
	memcpy(ram_base(ram) + 0x10000, "\xfa\xf4\xeb\xfd", 4);
	print_regs(&regs, &sregs);
	check_has(text, "vCPU 3: real mode, no paging\n");
	check_has(text, "  000000000000fff2: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 fa f4\n");
	check_has(text, "> 0000000000010002: eb fd 00 ");
	check_has(text,
		  "virtual 0000000000010002\n  physical 0000000000010002, no paging, host 0x");
	/* The first bytes of memory: there is nothing in front of them. */
	sregs.cs.base = 0;
	print_regs(&regs, &sregs);
	check_has(text, "code\n> 0000000000000002: 00 ");
	/* The sum is cut to 32 bits; nothing is there. */
	sregs.cs.base = 0xffff0000;
	regs.rip = 0xfff0;
	print_regs(&regs, &sregs);
	check_has(text, "> 00000000fffffff0: ?? ");
	check_has(text, "  0000000000000000: 00 "); /* and goes on at 0 */
	regs.rip = 0xfff8;
	print_regs(&regs, &sregs);
	check_has(text, "> 00000000fffffff8: ?? ?? ?? ?? ?? ?? ?? ?? 00 ");
	regs.rip = 0xfff0;
	print_regs(&regs, &sregs);
	check_has(text, "  physical 00000000fffffff0, no paging, not RAM\n");
	regs.rip = 0x10000;
	print_regs(&regs, &sregs);
	check_has(text, "virtual 0000000000000000\n");
}
END_TEST

START_TEST(test_names_of_modes)
{
	static const struct {
		uint64_t cr0, cr4, efer;
		int l, db;
		const char *want;
	} mode[] = {
		{ 0, 0, 0, 0, 0, "real mode, no paging\n" },
		{ 1, 0, 0, 0, 0, "16-bit code, no paging\n" },
		{ 1, 0x20, 0, 0, 1, "32-bit code, no paging\n" },
		{ 0x80000001, 0, 0, 0, 1, "32-bit code, 32-bit paging\n" },
		{ 0x80000001, 0x10, 0, 0, 1, "32-bit code, 32-bit paging with 4 MB pages\n" },
		{ 0x80000001, 0x30, 0, 0, 1, "32-bit code, PAE paging\n" },
		{ 0x80000001, 0x20, 0x500, 0, 1, "32-bit code, 4-level paging\n" },
		{ 0x80000001, 0x20, 0x500, 1, 0, "64-bit code, 4-level paging\n" },
		{ 0x80000001, 0x1020, 0x500, 1, 0, "64-bit code, 5-level paging\n" },
		{ 0x80000001, 0x20, 0x100, 1, 1, "32-bit code, PAE paging\n" }, /* LME, not LMA */
	};

	ram_start();
	for (size_t i = 0; i < ARRAY_SIZE(mode); i++) {
		struct kvm_sregs sregs = { .cr0 = mode[i].cr0,
					   .cr4 = mode[i].cr4,
					   .efer = mode[i].efer };
		const struct kvm_regs regs = { 0 };

		sregs.cs.l = (uint8_t)mode[i].l;
		sregs.cs.db = (uint8_t)mode[i].db;
		check_has(print_regs(&regs, &sregs), mode[i].want);
	}
}
END_TEST

START_TEST(test_walks)
{
	struct kvm_sregs sregs = long_mode;

	ram_start();
	map_kernel();
	ck_assert_str_eq(print_walk(0x800000000000, &sregs), "virtual 0000800000000000\n"
							     "  not mapped: not canonical\n");
	ck_assert_str_eq(print_walk(0, &sregs), "virtual 0000000000000000\n"
						"  PML4E at 0000000000001000: 0000000000000000\n"
						"  not mapped: not present\n");
	sregs.cr3 = 0x200000;
	ck_assert_str_eq(print_walk(0, &sregs), "virtual 0000000000000000\n"
						"  PML4E at 0000000000200000\n"
						"  not mapped: table not in RAM\n");
	sregs.cr3 = 0x1000;
	put64(0x1000, 0x2007);
	put64(0x2000, 0xe7); /* 1 GB */
	print_walk(0x3fffffff, &sregs);
	check_has(text, " present writable user accessed dirty large\n");
	check_has(text, "  physical 000000003fffffff, 1 GB page, not RAM\n");
	put64(0x2000, 0x301f);
	put64(0x3000, 0xe7);
	print_walk(0x1fffff, &sregs);
	check_has(text, " present writable user write-through uncached\n");
	check_has(text, "  physical 00000000001fffff, 2 MB page, host 0x");
}
END_TEST

START_TEST(test_after_reset)
{
	const struct kvm_regs regs = { .rip = 0xfff0 };
	const struct kvm_sregs reset = { .cs = { .selector = 0xf000, .base = 0xffff0000 },
					 .cr0 = 0x60000010 };
	struct kvm_regs r = regs;
	struct kvm_sregs s = reset;

	ck_assert(fault_after_reset(&r, &s));
	r.rip = 0xfff1;
	ck_assert(!fault_after_reset(&r, &s));
	r = regs;
	s.cs.base = 0xf0000; /* a guest that jumped there */
	ck_assert(!fault_after_reset(&r, &s));
	s = reset;
	s.cs.selector = 0;
	ck_assert(!fault_after_reset(&r, &s));
	s = reset;
	s.cr0 |= 1;
	ck_assert(!fault_after_reset(&r, &s));
}
END_TEST

UNIT_MAIN("fault", test_long_mode, test_real_mode, test_names_of_modes, test_walks,
	  test_after_reset)
