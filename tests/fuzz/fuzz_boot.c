/* Links: x86/boot/boot.o x86/boot/file.o x86/boot/find.o x86/boot/linux.o x86/boot/dtb.o x86/boot/judge.o x86/boot/place.o x86/tables/fdt.o x86/boot/tables.o x86/boot/bzimage.o x86/boot/decompress.o x86/boot/decompress-codecs.o x86/boot/e820.o x86/boot/elf.o x86/boot/flat.o x86/boot/multiboot.o x86/boot/multiboot2.o x86/boot/uki.o x86/boot/vmlinux.o hw/ram.o util/log.o */
/*
 * The bytes of a kernel file to boot_load(). Whatever they are, nothing is written outside of guest
 * RAM (the sanitizers and the guards around it), nor where the ACPI tables go; a kernel that is
 * accepted starts in RAM, and one that is refused leaves the entry state as it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/ram-base.h"
#include "input.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/layout.h"

#define RAM_BYTES (64 * MIB)

static struct ram *ram;
static char kernel[32], initrd[40];
static int kernel_fd;

static int make_file(char path[32])
{
	int fd = memfd_create("file", 0);

	check(fd >= 0);
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

static void start(void)
{
	static struct ram_config advice = { .no_thp = true };
	struct ram_backing backing = { .fd = -1, .advice = &advice };

	check(ram_new(RAM_BYTES, &backing, &ram) == 0);
	kernel_fd = make_file(kernel);
	check(write(make_file(initrd), "KEY=VALUE\n", 10) == 10);
}

/* Usually in low RAM, but anywhere that the kernel is not */
static void check_own(uint64_t at, uint64_t len)
{
	check(!at || (at >= LAYOUT_LOW && at <= RAM_BYTES - len &&
		      (at + len <= LAYOUT_EBDA || at >= LAYOUT_HIGH)));
}

static void check_entry(const struct boot_entry *entry)
{
	check(entry->protocol && entry->rsp);
	check(memchr(entry->release, 0, sizeof(entry->release)));
	if (entry->mode == BOOT_REAL) {
		check(entry->real_segment == LAYOUT_FLAT >> 4 && entry->rip <= 0x200);
		return;
	}
	check(entry->rip < RAM_BYTES && entry->rsp >= 4096 && entry->rsp <= RAM_BYTES);
	check_own(entry->rsi, 4096);
	check_own(entry->gdt, BOOT_GDT_ENTRIES * 8);
	check_own(entry->page_tables, BOOT_PAGE_TABLES_BYTES);
	check(entry->gdt && !entry->page_tables == (entry->mode != BOOT_LONG64));
	check(!entry->rbx || (entry->rbx >= LAYOUT_BOOT_INFO && entry->rbx < LAYOUT_BOOT_INFO_END));
}

static void check_untouched(uint64_t from, uint64_t to)
{
	static const uint8_t zeros[0x1000];

	for (uint64_t at = from; at < to; at += sizeof(zeros)) {
		uint64_t n = to - at < sizeof(zeros) ? to - at : sizeof(zeros);
		void *host;

		check(ram_window(ram, GPA(at), n, 1, &host) == 0);
		check(!memcmp(host, zeros, n));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *const initrds[] = { initrd, initrd };
	/* Something that depends on the input, so that all the ways are walked */
	struct boot_config cfg = {
		.kernel = kernel,
		.initrd = initrds,
		.n_initrds = size % 3,
		.cmdline = size & 4 ? "root=/dev/vda" : NULL,
		.default_cmdline = size & 8 ? "console=ttyS0" : NULL,
		.rsdp = GPA(LAYOUT_BIOS),
		.want_release = size & 16,
	};
	const struct boot_entry before = { .rip = 0x1234 };
	struct boot_entry entry = before;

	if (!ram)
		start();
	check(ftruncate(kernel_fd, 0) == 0);
	check(pwrite(kernel_fd, data, size, 0) == (ssize_t)size);
	if (boot_load(ram, &cfg, &entry))
		check(!memcmp(&entry, &before, sizeof(entry)));
	else
		check_entry(&entry);
	check_untouched(LAYOUT_EBDA, LAYOUT_BOOT_INFO);
	check(madvise(ram_base(ram), RAM_BYTES, MADV_DONTNEED) == 0);
	return 0;
}
