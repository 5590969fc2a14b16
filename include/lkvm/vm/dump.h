/*
 * A dump: a guest's RAM and registers as a file for crash, drgn, gdb and makedumpfile.
 *
 *	ELF header | PT_NOTE, a PT_LOAD an area of RAM, one of the kernel's image | notes | RAM, page for page
 *
 * The notes, as QEMU writes them: NT_PRSTATUS of each vCPU, "QEMU" of each with its segments and control registers,
 * and VMCOREINFO if there is a Linux. Pages of zeros are holes, and so are those that are left out.
 */
#ifndef LKVM_VM_DUMP_H
#define LKVM_VM_DUMP_H

#include <linux/kvm.h>

#include "lkvm/ipc.h"
#include "lkvm/keys.h"
#include "lkvm/linux/map.h"
#include "lkvm/state.h"

struct vm;

/* ---- vm/dump-elf.c: what is in it ---- */

struct dump_cpu {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint64_t kernel_gs_base;
};

struct dump_source {
	const struct ram *ram;
	const struct dump_cpu *cpus;
	unsigned n_cpus;
	const struct linux_guest *guest; /* NULL: there is none, or it has no VMCOREINFO */
	struct linux_map map;            /* of that */
	const struct dump_exclude *exclude; /* NULL: nothing is left out; stays until all is written */
};

/* The registers of a vCPU as debuggers of QEMU's guests know them: version 1 */
struct dump_qemu_segment {
	uint32_t selector, limit;
	uint32_t flags; /* as the upper half of a descriptor has them */
	uint32_t pad;
	uint64_t base;
};

struct dump_qemu_cpu {
	uint32_t version, size;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags;
	struct dump_qemu_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
	uint64_t kernel_gs_base;
};

/**
 * dump_notes() - append them
 * @ret_vmcoreinfo: where in @buf the text of VMCOREINFO begins; 0: there is none
 * Return: 0 or -ENOMEM
 */
int dump_notes(const struct dump_source *src, struct state_buf *buf, size_t *ret_vmcoreinfo);
/** dump_elf_head() - append all that stands before RAM (ram_file_at()): whole pages; Return: 0 or -ENOMEM */
int dump_elf_head(const struct dump_source *src, struct state_buf *buf);

/* ---- vm/dump-exclude.c: which pages are left out ---- */

struct dump_exclude; /* vm/dump-exclude.h */

/* What makedumpfile -d calls them */
enum { DUMP_NO_ZERO = 1, DUMP_NO_CACHE = 2 | 4, DUMP_NO_USER = 8, DUMP_NO_FREE = 16, DUMP_NO_ALL = 31 };

/* ---- vm/dump-make.c: of a machine. Main thread ---- */

enum dump_compress { DUMP_ELF, DUMP_ZSTD, DUMP_LZO, DUMP_ZLIB }; /* all but the first: vm/dump-kdump.h */

struct dump_making;

struct dump_made {
	uint64_t pause_ns;  /* that the guest stood still */
	uint64_t ram_bytes; /* that were not zero */
	bool has_linux;     /* the dump tells what kernel it is of */
	struct ipc_dump_pages left_out;
};

struct dump_make_config {
	struct vm *vm;
	int folder_fd;    /* the making's from now on; the folder in which the file is made, */
	const char *name; /* by this name: there is nothing of it yet */
	bool has_ended;   /* its vCPUs run no more; a dump of all pages is better than none then */
	enum dump_compress compress;
	unsigned exclude; /* DUMP_NO_*: -ENODATA if the guest does not tell which these are */
	/* It is there, or, with err, is not. @why: what has failed, in words. Once; then only dump_make_free() */
	void (*over)(void *ctx, int err, const char *why, const struct dump_made *made);
	void *ctx;
};

/**
 * dump_make_start() - note registers, and have the rest written by a child, while the guest runs on
 * It stands still longer where its RAM is shared: until that was written.
 * Return: 0; -EAGAIN: RAM is being looked through for Linux, call it again, with another folder_fd; -errno, and
 *	@ret_why (of @cap bytes) says why, or is empty; then nothing is left of it
 */
int dump_make_start(const struct dump_make_config *cfg, struct dump_making **ret, char *ret_why, size_t cap);
/** dump_make_free() - what is not there yet never will be, and the machine goes on; takes NULL */
void dump_make_free(struct dump_making *d);

/* ---- vm/dump-end.c: --dump-on ---- */

enum { DUMP_ON_PANIC = 1, DUMP_ON_TIMEOUT = 2, DUMP_ON_FAULT = 4 };

struct dump_on {
	unsigned ends;    /* which of them; 0: none */
	unsigned exclude; /* DUMP_NO_* */
	const char *path;
};

/** dump_on_end() - write it if the run has ended so; the vCPUs run no more. A failure is logged */
void dump_on_end(struct vm *vm);

/* ---- vm/dump-options.c ---- */

extern const struct opt_key dump_on_keys[]; /* of an unsigned: their names */

/** dump_on_parse() - ENDS:FILE; @arg stays; Return: 0, or -errno, logged */
int dump_on_parse(struct dump_on *ret, const char *option, const char *arg);
extern const struct opt_key dump_exclude_keys[]; /* of an unsigned: their names */

/** dump_exclude_parse() - KIND,...; Return: 0, or -errno, logged */
int dump_exclude_parse(unsigned *ret, const char *option, const char *arg);
/** dump_exclude_text() - how many of each; Return: @buf, of @cap bytes */
const char *dump_exclude_text(const struct ipc_dump_pages *n, char *buf, size_t cap);

#endif
