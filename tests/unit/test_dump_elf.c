/* Links: vm/dump-elf.o linux/map.o linux/vmcoreinfo.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o hw/state.o */
/* What a dump begins with, read back; and where a kernel's page tables say that its memory is. */
#include <elf.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include "linux-rig.h"
#include "lkvm/vm/dump.h"
#include "unit.h"

static const struct ram_config plain;
static struct linux_guest guest;

static struct ram *make_ram(uint64_t bytes)
{
	struct ram_backing backing = { .fd = -1, .advice = &plain };
	struct ram *ram;

	ck_assert_int_eq(ram_new(bytes, &backing, &ram), 0);
	return ram;
}

/* Each byte differs from its neighbours. */
static struct dump_cpu make_cpu(uint8_t seed)
{
	struct dump_cpu cpu = { .kernel_gs_base = 0xffff888000000000ULL + seed };

	for (size_t i = 0; i < sizeof(cpu.regs); i++)
		((uint8_t *)&cpu.regs)[i] = (uint8_t)(seed + i);
	cpu.sregs.cs = (struct kvm_segment){
		.base = 0x1000, .limit = 0xfffff, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	cpu.sregs.ss = (struct kvm_segment){ .selector = 0x18, .type = 3, .dpl = 3, .db = 1, .avl = 1, .present = 1,
					     .unusable = 1 };
	cpu.sregs.fs.base = 0x7f0000000000;
	cpu.sregs.gs.base = 0xffff888007000000;
	cpu.sregs.gs.selector = 0x2b;
	cpu.sregs.idt = (struct kvm_dtable){ .base = 0xfffffe0000000000, .limit = 0xfff };
	cpu.sregs.cr0 = 0x80050033, cpu.sregs.cr2 = 2, cpu.sregs.cr3 = 0x1234000, cpu.sregs.cr4 = 0x6f0;
	return cpu;
}

/* The note number @n; fails if there are fewer */
static const void *find_note(const struct state_buf *head, unsigned n, const char *name, uint32_t type, size_t bytes)
{
	const Elf64_Ehdr *elf = (const Elf64_Ehdr *)head->data;
	const Elf64_Phdr *phdr = (const Elf64_Phdr *)(head->data + elf->e_phoff);
	const uint8_t *at = head->data + phdr->p_offset, *end = at + phdr->p_filesz;

	ck_assert_uint_eq(phdr->p_type, PT_NOTE);
	for (;;) {
		const Elf64_Nhdr *note = (const Elf64_Nhdr *)at;

		ck_assert(at < end);
		at += sizeof(*note);
		if (!n--) {
			ck_assert_str_eq((const char *)at, name);
			ck_assert_uint_eq(note->n_namesz, strlen(name) + 1);
			ck_assert_uint_eq(note->n_type, type);
			ck_assert_uint_eq(note->n_descsz, bytes);
			return at + ALIGN_UP(note->n_namesz, 4);
		}
		at += ALIGN_UP(note->n_namesz, 4) + ALIGN_UP(note->n_descsz, 4);
	}
}

START_TEST(test_registers)
{
	const struct dump_cpu cpus[] = { make_cpu(1), make_cpu(100) };
	struct ram *ram = make_ram(64 * MIB);
	const struct dump_source src = { .ram = ram, .cpus = cpus, .n_cpus = 2 };
	struct state_buf head = { 0 };

	ck_assert_int_eq(dump_elf_head(&src, &head), 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct elf_prstatus *status =
			find_note(&head, i, "CORE", NT_PRSTATUS, sizeof(struct elf_prstatus));
		const struct dump_qemu_cpu *q = find_note(&head, 2 + i, "QEMU", 0, 440);
		struct user_regs_struct regs;
		const struct kvm_regs *r = &cpus[i].regs;

		memcpy(&regs, status->pr_reg, sizeof(regs));
		ck_assert_int_eq(status->pr_pid, (int)i + 1);
		ck_assert_uint_eq(regs.rax, r->rax);
		ck_assert_uint_eq(regs.rdi, r->rdi);
		ck_assert_uint_eq(regs.r15, r->r15);
		ck_assert_uint_eq(regs.rip, r->rip);
		ck_assert_uint_eq(regs.rsp, r->rsp);
		ck_assert_uint_eq(regs.eflags, r->rflags);
		ck_assert_uint_eq(regs.cs, 0x10);
		ck_assert_uint_eq(regs.gs, 0x2b);
		ck_assert_uint_eq(regs.fs_base, 0x7f0000000000);
		ck_assert_uint_eq(regs.gs_base, 0xffff888007000000);
		ck_assert_uint_eq(q->version, 1);
		ck_assert_uint_eq(q->size, 440);
		ck_assert_uint_eq(q->rbx, r->rbx);
		ck_assert_uint_eq(q->rbp, r->rbp);
		ck_assert_uint_eq(q->r8, r->r8);
		ck_assert_uint_eq(q->rip, r->rip);
		ck_assert_uint_eq(q->cs.flags, 11 << 8 | 1 << 12 | 1 << 15 | 1 << 21 | 1 << 23);
		ck_assert_uint_eq(q->cs.limit, 0xfffff);
		ck_assert_uint_eq(q->cs.base, 0x1000);
		ck_assert_uint_eq(q->ss.flags, 3 << 8 | 3 << 13 | 1 << 20 | 1 << 22); /* not present: unusable */
		ck_assert_uint_eq(q->idt.base, 0xfffffe0000000000);
		ck_assert_uint_eq(q->idt.limit, 0xfff);
		ck_assert_uint_eq(q->cr[0], 0x80050033);
		ck_assert_uint_eq(q->cr[2], 2);
		ck_assert_uint_eq(q->cr[3], 0x1234000);
		ck_assert_uint_eq(q->cr[4], 0x6f0);
		ck_assert_uint_eq(q->kernel_gs_base, cpus[i].kernel_gs_base);
	}
	state_buf_free(&head);
	ram_free(ram);
}
END_TEST

START_TEST(test_loads)
{
	static const struct dump_cpu cpu;
	struct ram *ram = make_ram(3329 * MIB); /* a MiB above the gap */
	struct dump_source src = { .ram = ram, .cpus = &cpu, .n_cpus = 1 };

	for (int with_map = 0; with_map <= 1; with_map++) {
		struct state_buf head = { 0 };
		const Elf64_Ehdr *elf;
		const Elf64_Phdr *load;

		if (with_map)
			src.map = (struct linux_map){ 0xffff888000000000, 0xffffffff81000000, GPA(16 * MIB), 4 * MIB };
		ck_assert_int_eq(dump_elf_head(&src, &head), 0);
		ck_assert_uint_eq(head.len % RAM_PAGE_BYTES, 0);
		elf = (const Elf64_Ehdr *)head.data;
		ck_assert(!memcmp(elf->e_ident, ELFMAG "\2\1\1", 7));
		ck_assert_uint_eq(elf->e_type, ET_CORE);
		ck_assert_uint_eq(elf->e_machine, EM_X86_64);
		ck_assert_uint_eq(elf->e_phnum, 3U + (unsigned)with_map);
		load = (const Elf64_Phdr *)(head.data + elf->e_phoff) + 1;
		if (with_map) {
			ck_assert_uint_eq(load->p_vaddr, 0xffffffff81000000);
			ck_assert_uint_eq(load->p_paddr, 16 * MIB);
			ck_assert_uint_eq(load->p_offset, head.len + 16 * MIB);
			ck_assert_uint_eq(load->p_filesz, 4 * MIB);
			load++;
		}
		ck_assert_uint_eq(load->p_type, PT_LOAD);
		ck_assert_uint_eq(load->p_vaddr, with_map ? 0xffff888000000000 : 0);
		ck_assert_uint_eq(load->p_paddr, 0);
		ck_assert_uint_eq(load->p_offset, head.len);
		ck_assert_uint_eq(load->p_filesz, RAM_GAP_START);
		load++;
		ck_assert_uint_eq(load->p_vaddr, with_map ? 0xffff888100000000 : 0);
		ck_assert_uint_eq(load->p_paddr, RAM_GAP_END);
		ck_assert_uint_eq(load->p_offset, head.len + RAM_GAP_START);
		ck_assert_uint_eq(load->p_filesz, MIB);
		ck_assert_uint_eq(load->p_memsz, MIB);
		state_buf_free(&head);
	}
	ram_free(ram);
}
END_TEST

/* ---- with a kernel ---- */

static struct rig rig;

static void start(bool five)
{
	struct linux_scan scan = { 0 };

	rig_start(&rig, five);
	rig_key(&rig, "SYMBOL(_stext)=%llx", (unsigned long long)K(0x1000));
	rig_publish(&rig, RIG_NOTE);
	while (linux_find(&scan, rig.ram, &guest))
		;
}

START_TEST(test_vmcoreinfo)
{
	static const struct dump_cpu cpu;
	struct dump_source src = { .cpus = &cpu, .n_cpus = 1, .guest = &guest };
	struct state_buf head = { 0 }, notes = { 0 };
	size_t at;

	start(false);
	src.ram = rig.ram;
	ck_assert_int_eq(dump_elf_head(&src, &head), 0);
	ck_assert(!memcmp(find_note(&head, 2, "VMCOREINFO", 0, rig.note_bytes), rig.note, rig.note_bytes));
	ck_assert_int_eq(dump_notes(&src, &notes, &at), 0);
	ck_assert(!memcmp(notes.data + at, rig.note, rig.note_bytes));
	state_buf_free(&head);
	state_buf_free(&notes);
	ram_free(rig.ram);
	rig.ram = NULL;
}
END_TEST

#define DIRECT_PGD (RIG_FREE)
#define DIRECT_PUD (RIG_FREE + 0x1000)

/* The direct map begins with the third GB of where the tables begin to have something. */
START_TEST(test_map)
{
	struct linux_map map;

	for (int five = 0; five <= 1; five++) {
		const unsigned entry = 273;

		start(five);
		linux_map(&guest, &map);
		ck_assert_uint_eq(map.direct, 0);
		ck_assert_uint_eq(map.text, K(0));
		ck_assert_uint_eq(map.text_at.v, RIG_BASE);
		ck_assert_uint_eq(map.text_bytes, RIG_SPAN);
		if (five) {
			rig_put64(&rig, RIG_P5D + entry * 8, (RIG_BASE + DIRECT_PGD) | 3);
			rig_put64(&rig, DIRECT_PGD + 5 * 8, (RIG_BASE + DIRECT_PUD) | 3);
		} else {
			rig_put64(&rig, RIG_PGD + entry * 8, (RIG_BASE + DIRECT_PUD) | 3);
		}
		/* Something else that is as large */
		rig_put64(&rig, DIRECT_PUD + 1 * 8, 0x40000000ULL | 0x83);
		rig_put64(&rig, DIRECT_PUD + 2 * 8, 0x83);
		linux_map(&guest, &map);
		ck_assert_uint_eq(map.direct, five ? 0xff11000000000000 + 5 * (1ULL << 39) + 2 * (1ULL << 30) :
						     0xffff888080000000);
	}
	ram_free(rig.ram);
	rig.ram = NULL;
}
END_TEST

/* Tables that are full of themselves: it ends. */
START_TEST(test_endless_map)
{
	struct linux_map map;

	start(true);
	for (unsigned i = 256; i < 511; i++) {
		rig_put64(&rig, RIG_P5D + i * 8, (RIG_BASE + DIRECT_PGD) | 3);
		rig_put64(&rig, DIRECT_PGD + i * 8, (RIG_BASE + DIRECT_PUD) | 3);
		rig_put64(&rig, DIRECT_PUD + i * 8, (RIG_BASE + DIRECT_PUD) | 3);
	}
	linux_map(&guest, &map);
	ck_assert_uint_eq(map.direct, 0);
	ram_free(rig.ram);
	rig.ram = NULL;
}
END_TEST

UNIT_MAIN("dump_elf", test_registers, test_loads, test_vmcoreinfo, test_map, test_endless_map)
