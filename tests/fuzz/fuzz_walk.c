/* Links: x86/cpu/walk.o x86/cpu/fault.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o */
/*
 * Page tables of a hostile guest. The input is CR0, CR3, CR4, EFER, CS's flags, RIP and an address,
 * and what comes then is memory from CR3 on: the walk ends within its levels, looks at RAM only,
 * and the report can be printed.
 */
#include <stdlib.h>
#include <string.h>

#include "../unit/ram-base.h"
#include "input.h"
#include "lkvm/x86/cpu.h"

#define RAM_BYTES (256 * KIB)

struct __attribute__((packed)) walk_input {
	uint64_t cr0, cr3, cr4, efer, rip, virt;
	uint8_t cs_l, cs_db;
};

static struct ram *ram;
static FILE *null;

static void start(void)
{
	static const struct ram_config plain;
	struct ram_backing backing = { .fd = -1, .advice = &plain };

	check(!ram_new(RAM_BYTES, &backing, &ram));
	null = fopen("/dev/null", "w");
	check(null);
}

static void check_walk(const struct walk *walk, const struct kvm_sregs *sregs, uint64_t virt)
{
	uint64_t entry = 0;

	check(walk->n <= WALK_MAX);
	check(walk->mapped == !walk->why);
	for (unsigned i = 0; i < walk->n; i++) {
		check(walk->step[i].level);
		check(!ram_read(ram, walk->step[i].at, &entry, 4));
		check((uint32_t)entry == (uint32_t)walk->step[i].entry);
		check((walk->step[i].entry & 1) || (i == walk->n - 1 && !walk->mapped));
	}
	if (!walk->mapped)
		return;
	check((walk->n == 0) == !(sregs->cr0 >> 31 & 1));
	check(walk->gpa.v >> 52 == 0);
	check(walk->page_bytes >= 4096 && !(walk->page_bytes & (walk->page_bytes - 1)));
	check(!((walk->gpa.v ^ virt) & (walk->page_bytes - 1) & UINT32_MAX));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kvm_sregs sregs = { 0 };
	struct kvm_regs regs = { 0 };
	struct walk_input in;
	struct walk walk;

	if (!ram)
		start();
	if (size < sizeof(in) || size > sizeof(in) + 64 * KIB)
		return -1;
	memcpy(&in, data, sizeof(in));
	memset(ram_base(ram), 0, RAM_BYTES);
	memcpy(ram_base(ram) + (in.cr3 & 0x1ffe0), data + sizeof(in), size - sizeof(in));
	sregs.cr0 = in.cr0;
	sregs.cr3 = in.cr3;
	sregs.cr4 = in.cr4;
	sregs.efer = in.efer;
	sregs.cs.l = in.cs_l & 1;
	sregs.cs.db = in.cs_db & 1;
	regs.rip = in.rip;
	walk_page_tables(ram, &sregs, in.virt, &walk);
	check_walk(&walk, &sregs, in.virt);
	fault_print_walk(null, ram, in.virt, &walk);
	fault_print_regs(null, ram, 0, &regs, &sregs);
	return 0;
}
