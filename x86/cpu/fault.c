/*
 * The state of a vCPU that cannot go on, or that somebody asks for, as text: registers, the code at its
 * instruction pointer, and what its page tables say of that. On the vCPU's own thread (kvm-cpu.c) or the
 * main thread (`lkvm debug`), while it is not in the guest.
 */
#include "lkvm/x86/cpu.h"

#include <inttypes.h>

#define CR0_PE   (1ULL << 0)
#define CR0_PG   (1ULL << 31)
#define CR4_PSE  (1ULL << 4)
#define CR4_PAE  (1ULL << 5)
#define CR4_LA57 (1ULL << 12)
#define EFER_LMA (1ULL << 10)

#define CODE_LINE   16
#define CODE_BEFORE 16
#define CODE_AFTER  32 /* from RIP on */

static bool in_64_bit_code(const struct kvm_sregs *sregs)
{
	return sregs->efer & EFER_LMA && sregs->cs.l;
}

static const char *code_size(const struct kvm_sregs *sregs)
{
	if (!(sregs->cr0 & CR0_PE))
		return "real mode";
	if (in_64_bit_code(sregs))
		return "64-bit code";
	return sregs->cs.db ? "32-bit code" : "16-bit code";
}

static const char *paging(const struct kvm_sregs *sregs)
{
	if (!(sregs->cr0 & CR0_PG))
		return "no paging";
	if (sregs->efer & EFER_LMA)
		return sregs->cr4 & CR4_LA57 ? "5-level paging" : "4-level paging";
	if (sregs->cr4 & CR4_PAE)
		return "PAE paging";
	return sregs->cr4 & CR4_PSE ? "32-bit paging with 4 MB pages" : "32-bit paging";
}

static void print_general(FILE *out, const struct kvm_regs *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} reg[] = {
		{ "rip", r->rip }, { "rflags", r->rflags }, { "rax", r->rax }, { "rbx", r->rbx },
		{ "rcx", r->rcx }, { "rdx", r->rdx },       { "rsi", r->rsi }, { "rdi", r->rdi },
		{ "rsp", r->rsp }, { "rbp", r->rbp },       { "r8", r->r8 },   { "r9", r->r9 },
		{ "r10", r->r10 }, { "r11", r->r11 },       { "r12", r->r12 }, { "r13", r->r13 },
		{ "r14", r->r14 }, { "r15", r->r15 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(reg); i++)
		fprintf(out, "  %-6s %016" PRIx64 "%s", reg[i].name, reg[i].value,
			i % 2 ? "\n" : "");
}

static void print_control(FILE *out, const struct kvm_sregs *s)
{
	fprintf(out, "  cr0    %016" PRIx64 "  cr2    %016" PRIx64 "\n", (uint64_t)s->cr0,
		(uint64_t)s->cr2);
	fprintf(out, "  cr3    %016" PRIx64 "  cr4    %016" PRIx64 "\n", (uint64_t)s->cr3,
		(uint64_t)s->cr4);
	fprintf(out, "  efer   %016" PRIx64 "  apic   %016" PRIx64 "\n", (uint64_t)s->efer,
		(uint64_t)s->apic_base);
}

static void print_segment(FILE *out, const char *name, const struct kvm_segment *s)
{
	fprintf(out, "  %-4s %04x base %016" PRIx64 " limit %08" PRIx32 " type %x dpl %u%s%s%s%s\n",
		name, s->selector, (uint64_t)s->base, s->limit, s->type, s->dpl,
		s->unusable ? " unusable" : "", s->present ? "" : " absent", s->l ? " 64-bit" : "",
		s->db ? " 32-bit" : "");
}

static void print_segments(FILE *out, const struct kvm_sregs *s)
{
	print_segment(out, "cs", &s->cs);
	print_segment(out, "ss", &s->ss);
	print_segment(out, "ds", &s->ds);
	print_segment(out, "es", &s->es);
	print_segment(out, "fs", &s->fs);
	print_segment(out, "gs", &s->gs);
	print_segment(out, "tr", &s->tr);
	print_segment(out, "ldt", &s->ldt);
	fprintf(out, "  gdt       base %016" PRIx64 " limit %08x\n", (uint64_t)s->gdt.base,
		s->gdt.limit);
	fprintf(out, "  idt       base %016" PRIx64 " limit %08x\n", (uint64_t)s->idt.base,
		s->idt.limit);
}

/* The linear address of the next instruction; 64-bit code has no segments. */
static uint64_t linear_rip(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	if (in_64_bit_code(sregs))
		return regs->rip;
	return (uint32_t)(sregs->cs.base + regs->rip);
}

static bool read_virt(const struct ram *ram, const struct kvm_sregs *sregs, uint64_t virt,
		      uint8_t *ret)
{
	struct walk walk;

	walk_page_tables(ram, sregs, virt, &walk);
	return walk.mapped && !ram_read(ram, walk.gpa, ret, 1);
}

/*
 * Each byte by its own walk: the line may cross into a page that is not there. All but 64-bit code
 * goes on at 0 behind 4 GB.
 */
static void print_code_line(FILE *out, const struct ram *ram, const struct kvm_sregs *sregs,
			    uint64_t virt, bool at_rip)
{
	const uint64_t mask = in_64_bit_code(sregs) ? UINT64_MAX : UINT32_MAX;
	uint8_t byte;

	virt &= mask;
	fprintf(out, "%s %016" PRIx64 ":", at_rip ? ">" : " ", virt);
	for (unsigned i = 0; i < CODE_LINE; i++)
		if (read_virt(ram, sregs, (virt + i) & mask, &byte))
			fprintf(out, " %02x", byte);
		else
			fputs(" ??", out);
	fputc('\n', out);
}

static void print_code(FILE *out, const struct ram *ram, const struct kvm_sregs *sregs,
		       uint64_t rip)
{
	fputs("code\n", out);
	if (rip >= CODE_BEFORE)
		print_code_line(out, ram, sregs, rip - CODE_BEFORE, false);
	for (unsigned i = 0; i < CODE_AFTER; i += CODE_LINE)
		print_code_line(out, ram, sregs, rip + i, i == 0);
}

void fault_print_general(FILE *out, unsigned cpu_id, const struct kvm_regs *regs,
			 const struct kvm_sregs *sregs)
{
	fprintf(out, "vCPU %u: %s, %s\n", cpu_id, code_size(sregs), paging(sregs));
	print_general(out, regs);
}

void fault_print_regs(FILE *out, const struct ram *ram, unsigned cpu_id,
		      const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	const uint64_t rip = linear_rip(regs, sregs);
	struct walk walk;

	fault_print_general(out, cpu_id, regs, sregs);
	print_control(out, sregs);
	print_segments(out, sregs);
	print_code(out, ram, sregs, rip);
	walk_page_tables(ram, sregs, rip, &walk);
	fault_print_walk(out, ram, rip, &walk);
}

bool fault_after_reset(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	return regs->rip == 0xfff0 && sregs->cs.selector == 0xf000 && sregs->cs.base == 0xffff0000 &&
	       !(sregs->cr0 & CR0_PE);
}

/* SDM volume 3, table 4-20: the bits that all levels have; "large" is PAT in a PTE. */
static void print_step(FILE *out, const struct walk_step *step)
{
	static const struct {
		unsigned bit;
		const char *name;
	} flags[] = {
		{ 0, "present" },  { 1, "writable" },    { 2, "user" },  { 3, "write-through" },
		{ 4, "uncached" }, { 5, "accessed" },    { 6, "dirty" }, { 7, "large" },
		{ 8, "global" },   { 63, "no-execute" },
	};

	fprintf(out, "  %-5s at %016" PRIx64 ": %016" PRIx64, step->level, step->at.v, step->entry);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (step->entry >> flags[i].bit & 1)
			fprintf(out, " %s", flags[i].name);
	fputc('\n', out);
}

static void print_size(FILE *out, uint64_t bytes)
{
	static const char unit[] = "KMG";
	unsigned i = 0;

	for (bytes /= KIB; bytes >= KIB && i < 2; i++)
		bytes /= KIB;
	fprintf(out, "%" PRIu64 " %cB page", bytes, unit[i]);
}

/* Where a table could not be read, step[n] has its address. */
static void print_why_not(FILE *out, const struct walk *walk)
{
	const struct walk_step *next = walk->n < WALK_MAX ? &walk->step[walk->n] : NULL;

	if (next && next->level)
		fprintf(out, "  %-5s at %016" PRIx64 "\n", next->level, next->at.v);
	fprintf(out, "  not mapped: %s\n", walk->why);
}

void fault_print_walk(FILE *out, const struct ram *ram, uint64_t virt, const struct walk *walk)
{
	void *host;

	fprintf(out, "virtual %016" PRIx64 "\n", virt);
	for (unsigned i = 0; i < walk->n; i++)
		print_step(out, &walk->step[i]);
	if (!walk->mapped) {
		print_why_not(out, walk);
		return;
	}
	fprintf(out, "  physical %016" PRIx64 ", ", walk->gpa.v);
	if (walk->n)
		print_size(out, walk->page_bytes);
	else
		fputs("no paging", out);
	if (ram_window(ram, walk->gpa, 1, 1, &host))
		fputs(", not RAM\n", out);
	else
		fprintf(out, ", host %p\n", host);
}
