/* Links: linux/map.o linux/pages.o linux/early.o linux/vmcoreinfo.o linux/printk.o linux/printk-old.o linux/kallsyms.o linux/modules.o linux/unwind.o linux/activity.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
/*
 * A hostile guest's memory, looked into as Linux's. The input's first byte chooses what kernel there is, the second one
 * how many changes come, each of three bytes where and eight what; then a vCPU's registers; what is left is written
 * over the note. Whatever is there, nothing outside of RAM is looked at, and all loops end.
 */
#include "../unit/linux-rig.h"
#include "input.h"
#include "lkvm/linux/activity.h"
#include "lkvm/linux/early.h"
#include "lkvm/linux/map.h"
#include "lkvm/linux/pages.h"

#define MOST_RECORDS 100000
#define PAGE_STRIDE  8 /* of the pages that one input looks at: all would be a third of its time */

static struct rig rig;
static struct linux_guest guest;
static struct linux_record record;

static void read_log(void)
{
	struct linux_log log;
	uint64_t middle = 0;
	unsigned n = 0;

	if (linux_log_open(&guest, &log))
		return;
	while (!linux_log_next(&log, &record)) {
		check(record.len <= sizeof(record.text) && record.level <= 7);
		check(++n <= MOST_RECORDS);
		if (n == 2)
			middle = linux_log_tell(&log);
	}
	check(!linux_log_open(&guest, &log));
	linux_log_seek(&log, middle);
	for (n = 0; !linux_log_next(&log, &record); n++)
		check(n <= MOST_RECORDS);
}

static void check_text(const char *text, size_t cap)
{
	check(memchr(text, '\0', cap) != NULL);
}

static void unwind(struct input *in)
{
	struct kvm_sregs sregs = { .cs = { .selector = 0x10 } };
	struct linux_symbols *symbols = NULL;
	struct kvm_regs regs = { 0 };
	struct linux_trace trace;
	uint64_t addr;
	char text[700];

	if (linux_symbols_new(&guest, &symbols))
		return;
	regs.rip = K(RIG_CODE + input_le(in, 2));
	regs.rsp = K(RIG_STACK + input_le(in, 2));
	regs.rbp = K(RIG_STACK + input_le(in, 2));
	regs.r10 = input_le(in, 8);
	linux_unwind(symbols, &regs, &sregs, &trace);
	check(trace.n >= 1 && trace.n <= LINUX_FRAMES);
	for (unsigned i = 0; i < trace.n; i++)
		check_text(linux_frame_text(symbols, &trace.frame[i], text, sizeof(text)), sizeof(text));
	check_text(linux_activity(symbols, &trace, &regs, &sregs, false, text, 40), 40);
	linux_symbol_find(symbols, "sys_open", &addr);
	check_text(linux_symbol_text(symbols, RIG_AREA + input_le(in, 2), text, sizeof(text)), sizeof(text));
	linux_symbols_free(symbols);
}

static void look_at_pages(uint64_t first)
{
	struct linux_pages pages;
	const char *missing = NULL;
	uint64_t n;

	if (linux_pages_open(&guest, &pages, &missing)) {
		check(missing != NULL);
		return;
	}
	for (uint64_t pfn = first % PAGE_STRIDE; pfn < RIG_RAM / 4096; pfn += PAGE_STRIDE) {
		const enum linux_page_kind kind = linux_page_kind(&pages, pfn, &n);

		check(kind < LINUX_PAGE_KINDS && n && n <= 1 << 18 && (kind || n == 1));
	}
	linux_page_kind(&pages, UINT64_MAX >> 12, &n);
}

static void make_kernel(void)
{
	rig_kernel(&rig, true);
	for (unsigned i = 0; i < 64; i++) {
		rig_orc(&rig, i, RIG_CODE + 0x40 * i, (int16_t)(8 * (i % 4 + 1)), 0, (uint16_t)(5 | 2 << 8));
		rig_put64(&rig, RIG_STACK + 8 * i, K(RIG_CODE + 0x40 * i + 4));
	}
	rig_module(&rig);
	rig_pages(&rig);
	rig_free_pages(&rig, 1024, 8);
	rig_compound(&rig, 512, 3, 2, RIG_LRU, 1);
}

static void make_logs(bool old)
{
	char text[40];

	if (old) {
		rig_old_log(&rig, 512, 480, 56);
		rig_old_record(&rig, 1, "first");
		rig_old_record(&rig, 0, NULL);
		rig_old_record(&rig, 2, "second");
		rig_old_record(&rig, 2, "third");
		return;
	}
	rig_log(&rig);
	for (unsigned i = 0; i < RIG_COUNT; i++) {
		snprintf(text, sizeof(text), "a record whose number is %u", i);
		rig_record(&rig, 1000 + i, 1 + i % 2, i, text);
	}
	rig_ends(&rig, 1000, 1000 + RIG_COUNT - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size }, cpu;
	const uint8_t kind = input_byte(&in);
	/* Seldom: to copy megabytes, as it does, takes as long as six others. */
	const bool is_early = (kind & 0x34) == 4;
	struct linux_scan scan = { 0 };
	struct linux_map map;
	int err;

	rig_start(&rig, kind & 2);
	make_logs(kind & 1);
	make_kernel();
	if (is_early)
		rig_early(&rig, kind & 8);
	else
		rig_publish(&rig, RIG_NOTE);
	for (unsigned n = input_byte(&in); n && in.at < in.end; n--) {
		const uint64_t at = input_le(&in, 3) & (8 * MIB - 1);

		rig_put64(&rig, at < RIG_RAM - RIG_BASE - 8 ? at : 0, input_le(&in, 8));
	}
	cpu = in;
	in.at += in.end - in.at < 32 ? in.end - in.at : 32;
	size = (size_t)(in.end - in.at);
	memcpy(ram_base(rig.ram) + RIG_NOTE, in.at, size < 4096 ? size : 4096);
	do
		err = is_early ? linux_find_early(&scan, rig.ram, &guest) : linux_find(&scan, rig.ram, &guest);
	while (err == -11);
	if (err)
		return 0;
	check(guest.note_bytes <= LINUX_NOTE_BYTES && strlen(guest.release) < sizeof(guest.release));
	check(linux_is_there(&guest));
	linux_map(&guest, &map);
	check(!map.text_bytes || ram_host(rig.ram, map.text_at, map.text_bytes));
	read_log();
	look_at_pages(input_byte(&cpu));
	unwind(&cpu);
	return 0;
}
