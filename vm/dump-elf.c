/* The ELF file of a dump; see lkvm/vm/dump.h. Nothing here knows the machine. */
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/user.h>

#include "lkvm/types.h"
#include "lkvm/vm/dump.h"

#define QEMU_VERSION 1
#define MOST_LOADS   (RAM_MAX_AREAS + 1)

/* ---- notes ---- */

static int pad_to(struct state_buf *buf, size_t from, size_t align)
{
	static const uint8_t zeros[RAM_PAGE_BYTES];
	const size_t over = (buf->len - from) % align;

	return over ? state_buf_add(buf, zeros, align - over) : 0;
}

static int add_note(struct state_buf *buf, const char *name, uint32_t type, const void *text, size_t bytes)
{
	const Elf64_Nhdr head = { (Elf64_Word)strlen(name) + 1, (Elf64_Word)bytes, type };
	const size_t from = buf->len;
	int err = state_buf_add(buf, &head, sizeof(head));

	if (!err)
		err = state_buf_add(buf, name, head.n_namesz);
	if (!err)
		err = pad_to(buf, from, 4);
	if (!err)
		err = state_buf_add(buf, text, bytes);
	return err ? err : pad_to(buf, from, 4);
}

static int add_prstatus(struct state_buf *buf, const struct dump_cpu *cpu, unsigned i)
{
	const struct kvm_regs *r = &cpu->regs;
	const struct kvm_sregs *s = &cpu->sregs;
	const struct user_regs_struct regs = {
		.r15 = r->r15, .r14 = r->r14, .r13 = r->r13, .r12 = r->r12, .rbp = r->rbp, .rbx = r->rbx,
		.r11 = r->r11, .r10 = r->r10, .r9 = r->r9, .r8 = r->r8, .rax = r->rax, .rcx = r->rcx,
		.rdx = r->rdx, .rsi = r->rsi, .rdi = r->rdi, .orig_rax = ~0ULL, .rip = r->rip,
		.cs = s->cs.selector, .eflags = r->rflags, .rsp = r->rsp, .ss = s->ss.selector,
		.fs_base = s->fs.base, .gs_base = s->gs.base, .ds = s->ds.selector, .es = s->es.selector,
		.fs = s->fs.selector, .gs = s->gs.selector,
	};
	struct elf_prstatus status = { .pr_pid = (pid_t)i + 1 };

	_Static_assert(sizeof(regs) == sizeof(status.pr_reg), "elf_gregset_t is user_regs_struct");
	memcpy(status.pr_reg, &regs, sizeof(regs));
	return add_note(buf, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static struct dump_qemu_segment segment(const struct kvm_segment *s)
{
	return (struct dump_qemu_segment){
		.selector = s->selector,
		.limit = s->limit,
		.flags = (uint32_t)s->type << 8 | (uint32_t)s->s << 12 | (uint32_t)s->dpl << 13 |
			 (uint32_t)(s->present && !s->unusable) << 15 | (uint32_t)s->avl << 20 |
			 (uint32_t)s->l << 21 | (uint32_t)s->db << 22 | (uint32_t)s->g << 23,
		.base = s->base,
	};
}

static struct dump_qemu_segment table(const struct kvm_dtable *t)
{
	return (struct dump_qemu_segment){ .limit = t->limit, .base = t->base };
}

static int add_qemu(struct state_buf *buf, const struct dump_cpu *cpu)
{
	const struct kvm_regs *r = &cpu->regs;
	const struct kvm_sregs *s = &cpu->sregs;
	const struct dump_qemu_cpu note = {
		.version = QEMU_VERSION, .size = sizeof(note),
		.rax = r->rax, .rbx = r->rbx, .rcx = r->rcx, .rdx = r->rdx, .rsi = r->rsi, .rdi = r->rdi,
		.rsp = r->rsp, .rbp = r->rbp, .r8 = r->r8, .r9 = r->r9, .r10 = r->r10, .r11 = r->r11,
		.r12 = r->r12, .r13 = r->r13, .r14 = r->r14, .r15 = r->r15, .rip = r->rip, .rflags = r->rflags,
		.cs = segment(&s->cs), .ds = segment(&s->ds), .es = segment(&s->es), .fs = segment(&s->fs),
		.gs = segment(&s->gs), .ss = segment(&s->ss), .ldt = segment(&s->ldt), .tr = segment(&s->tr),
		.gdt = table(&s->gdt), .idt = table(&s->idt),
		.cr = { s->cr0, 0, s->cr2, s->cr3, s->cr4 },
		.kernel_gs_base = cpu->kernel_gs_base,
	};

	return add_note(buf, "QEMU", 0, &note, sizeof(note));
}

int dump_notes(const struct dump_source *src, struct state_buf *buf, size_t *ret_vmcoreinfo)
{
	const struct linux_guest *guest = src->guest;
	int err = 0;

	*ret_vmcoreinfo = 0;
	for (unsigned i = 0; !err && i < src->n_cpus; i++)
		err = add_prstatus(buf, &src->cpus[i], i);
	for (unsigned i = 0; !err && i < src->n_cpus; i++)
		err = add_qemu(buf, &src->cpus[i]);
	if (err || !guest)
		return err;
	err = add_note(buf, "VMCOREINFO", 0, guest->note, guest->note_bytes);
	*ret_vmcoreinfo = buf->len - (guest->note_bytes + 3) / 4 * 4;
	return err;
}

/* ---- the rest ---- */

static Elf64_Phdr load(const struct ram *ram, uint64_t virt, gpa_t at, uint64_t bytes)
{
	return (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W | PF_X,
		.p_offset = ram_file_at(ram, at),
		.p_vaddr = virt,
		.p_paddr = at.v,
		.p_filesz = bytes,
		.p_memsz = bytes,
	};
}

/* Those of kdump: the image, by its own addresses, and RAM by those of the direct map */
static unsigned make_loads(const struct dump_source *src, Elf64_Phdr loads[MOST_LOADS])
{
	const struct linux_map *map = &src->map;
	struct ram_part area[RAM_MAX_AREAS];
	const unsigned n_areas = ram_areas(src->ram, area);
	unsigned n = 0;

	if (map->text_bytes)
		loads[n++] = load(src->ram, map->text, map->text_at, map->text_bytes);
	for (unsigned i = 0; i < n_areas; i++)
		loads[n++] = load(src->ram, map->direct ? map->direct + area[i].start.v : 0, area[i].start, area[i].size_bytes);
	return n;
}

static Elf64_Ehdr elf_header(unsigned n_phdrs)
{
	return (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)n_phdrs,
	};
}

static int add_head(struct state_buf *buf, const struct state_buf *notes, Elf64_Phdr *loads, unsigned n)
{
	const Elf64_Ehdr header = elf_header(n + 1);
	const size_t from = buf->len, notes_at = sizeof(header) + (n + 1) * sizeof(*loads);
	const Elf64_Phdr note = {
		.p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = notes->len, .p_memsz = notes->len, .p_align = 4,
	};
	int err = state_buf_add(buf, &header, sizeof(header));

	for (unsigned i = 0; i < n; i++)
		loads[i].p_offset += (notes_at + notes->len + RAM_PAGE_BYTES - 1) / RAM_PAGE_BYTES * RAM_PAGE_BYTES;
	if (!err)
		err = state_buf_add(buf, &note, sizeof(note));
	if (!err)
		err = state_buf_add(buf, loads, n * sizeof(*loads));
	if (!err)
		err = state_buf_add(buf, notes->data, notes->len);
	return err ? err : pad_to(buf, from, RAM_PAGE_BYTES);
}

int dump_elf_head(const struct dump_source *src, struct state_buf *buf)
{
	Elf64_Phdr loads[MOST_LOADS];
	struct state_buf notes = { 0 };
	const unsigned n = make_loads(src, loads);
	size_t vmcoreinfo;
	int err = dump_notes(src, &notes, &vmcoreinfo);

	if (!err)
		err = add_head(buf, &notes, loads, n);
	state_buf_free(&notes);
	return err;
}
