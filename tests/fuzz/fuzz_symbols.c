/* Links: linux/vmcoreinfo.o linux/kallsyms.o linux/symbols-file.o linux/modules.o x86/cpu/walk.o hw/ram.o hw/ram-touched.o */
/* A file that is said to have a kernel's symbols: System.map or ELF. */
#include <sys/mman.h>
#include <unistd.h>

#include "../unit/linux-rig.h"
#include "input.h"

static struct rig rig;
static struct linux_guest guest;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct linux_symbols *symbols = NULL;
	char text[700];
	uint64_t addr;
	int fd;

	if (!rig.ram) {
		rig_start(&rig, false);
		check(linux_judge(rig.ram, GPA(0), rig.note, rig.note_bytes, &guest) == 2);
	}
	fd = memfd_create("symbols", MFD_CLOEXEC);
	check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	if (!linux_symbols_read(&guest, fd, &symbols)) {
		for (uint64_t at = 0; at < 0x1000; at += 0x80)
			linux_symbol_text(symbols, K(0x1000000 + at), text, sizeof(text));
		linux_symbol_find(symbols, "_stext", &addr);
		linux_is_text(symbols, K(0x1000000));
	}
	linux_symbols_free(symbols);
	close(fd);
	return 0;
}
