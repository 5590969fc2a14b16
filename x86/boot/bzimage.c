/*
 * Linux bzImage, and what else wears its header (memtest86+, iPXE).
 *
 *	| boot sector, setup code             | 32/64-bit code and payload     | signature
 *	| (setup_sects + 1) * 512 bytes       | syssize * 16 bytes             |
 *	     0x1f1 struct setup_header         0x000 32-bit entry
 *	     0x200 real-mode entry             0x200 64-bit entry
 *
 * The setup part is real-mode code that asks a BIOS; it is skipped wherever there is another entry,
 * and its questions are answered by the zero page instead.
 * Spec: Linux, Documentation/arch/x86/boot.rst
 */
#include "boot-internal.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>

#define HEADER_AT offsetof(struct boot_params, hdr)
#define MAGIC_AT  0x202
#define MAGIC     0x53726448 /* "HdrS" */
#define ENTRY64   0x200
#define KERNEL_VERSION_BASE 0x200 /* what its offset counts from */

/* The first version of the protocol in which a field means something */
#define V_CMDLINE_PTR  0x0202
#define V_INITRD_MAX   0x0203
#define V_SYSSIZE      0x0204
#define V_RELOCATABLE  0x0205
#define V_CMDLINE_SIZE 0x0206
#define V_INIT_SIZE    0x020a
#define V_XLOADFLAGS   0x020c

#define OLD_INITRD_MAX   0x37ffffff
#define OLD_CMDLINE_SIZE 255

/* Real mode: setup code, heap and stack share one segment */
#define ENTRY_REAL        0x200
#define SETUP_MAX         0x8000
#define REAL_STACK_TOP    0xfff0
#define REAL_HEADER_BYTES offsetof(struct setup_header, initrd_addr_max)

struct bzimage {
	struct setup_header hdr;
	uint64_t setup_bytes; /* offset of the protected-mode part in the file */
	uint64_t code_bytes;  /* its length */
	uint64_t load;        /* and its place in memory */
	uint64_t end;         /* of the memory that it needs to unpack itself and start */
	struct linux_image image;
};

static bool bzimage_match(const struct boot *boot)
{
	return boot->head_len >= MAGIC_AT + 4 && get_le32(boot->head + MAGIC_AT) == MAGIC;
}

static bool has_entry64(const struct setup_header *hdr)
{
	return hdr->version >= V_XLOADFLAGS && hdr->xloadflags & XLF_KERNEL_64;
}

/* The header ends where its own jump leads to; what is behind is code, whatever the version. */
static void read_header(const struct boot *boot, struct setup_header *ret)
{
	size_t end = MAGIC_AT + boot->head[MAGIC_AT - 1];

	if (end > HEADER_AT + sizeof(*ret))
		end = HEADER_AT + sizeof(*ret);
	memset(ret, 0, sizeof(*ret));
	memcpy(ret, boot->head + HEADER_AT, end - HEADER_AT);
}

static int judge_header(const struct boot *boot, const struct setup_header *hdr)
{
	const struct boot_file *file = &boot->kernel;
	uint32_t align = hdr->kernel_alignment;

	if (hdr->boot_flag != 0xaa55)
		return file_err(file, -ENOEXEC, "damaged bzImage: boot flag %#x instead of 0xaa55",
				hdr->boot_flag);
	if (hdr->version >> 8 != 2 || hdr->version < V_CMDLINE_PTR)
		return file_err(file, -ENOEXEC,
				"boot protocol %u.%02u, but only 2.02 (Linux 2.4) to 2.x is known",
				hdr->version >> 8, hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return file_err(file, -ENOEXEC,
				"is a zImage, which loads below 1 MB: not supported");
	if (hdr->version >= V_RELOCATABLE && hdr->relocatable_kernel &&
	    (!align || align & (align - 1)))
		return file_err(file, -ENOEXEC,
				"damaged bzImage: kernel_alignment %#x is not a power of two",
				align);
	return 0;
}

/* Where the parts of the file are, checked against the file. */
static int judge_size(const struct boot *boot, struct bzimage *bz)
{
	const struct boot_file *file = &boot->kernel;
	unsigned sects = bz->hdr.setup_sects ? bz->hdr.setup_sects : 4;
	uint64_t want = (uint64_t)bz->hdr.syssize * 16;
	uint64_t rest;

	bz->setup_bytes = (sects + 1) * 512;
	if (bz->setup_bytes >= file->size_bytes)
		return file_err(file, -ENOEXEC,
				"truncated bzImage: setup of %" PRIu64 " bytes, file of %" PRIu64,
				bz->setup_bytes, file->size_bytes);
	rest = file->size_bytes - bz->setup_bytes;
	if (bz->hdr.version < V_SYSSIZE || !want)
		want = rest;
	/* syssize counts paragraphs; the last one need not be full. */
	if (want >= 16 && rest <= want - 16)
		return file_err(file, -ENOEXEC,
				"truncated bzImage: kernel of %" PRIu64 " bytes, file has %" PRIu64
				" of them",
				want, rest);
	/* What follows (a signature, say) is not part of the kernel. */
	bz->code_bytes = want < rest ? want : rest;
	return 0;
}

/* Choose the load address and check that the kernel can also unpack itself there. */
static int place(struct boot *boot, struct bzimage *bz)
{
	const struct setup_header *hdr = &bz->hdr;
	bool knows_size = hdr->version >= V_INIT_SIZE;
	uint64_t runs_at = knows_size ? hdr->pref_address : LAYOUT_HIGH;
	uint64_t need = knows_size ? hdr->init_size : 0;
	int err;

	if (need < bz->code_bytes)
		need = bz->code_bytes;
	/* Not relocatable: it is loaded at 1 MB and moves itself to where it runs. */
	bz->load = LAYOUT_HIGH;
	if (hdr->version >= V_RELOCATABLE && hdr->relocatable_kernel) {
		if (runs_at < LAYOUT_HIGH)
			runs_at = LAYOUT_HIGH;
		if (runs_at < boot_low_end(boot->ram))
			runs_at = ALIGN_UP(runs_at, hdr->kernel_alignment);
		bz->load = runs_at;
	}
	err = boot_claim(boot, bz->load, bz->code_bytes);
	return err ? err : boot_claim(boot, runs_at, need);
}

static void set_limits(const struct boot *boot, struct bzimage *bz)
{
	const struct setup_header *hdr = &bz->hdr;

	bz->end = boot_taken_end(boot);
	bz->image.initrd_anywhere = has_entry64(hdr) && hdr->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G;
	bz->image.initrd_max = hdr->version >= V_INITRD_MAX ? hdr->initrd_addr_max : OLD_INITRD_MAX;
	bz->image.cmdline_bytes =
		hdr->version >= V_CMDLINE_SIZE ? hdr->cmdline_size : OLD_CMDLINE_SIZE;
}

/*
 * No 32-bit entry: iPXE has only the setup code. It is put where it may run, but it will call a
 * BIOS, so this is the last resort.
 */
static int enter_real(struct boot *boot, const struct bzimage *bz)
{
	struct setup_header hdr = bz->hdr;
	int err;

	if (bz->setup_bytes > SETUP_MAX)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged bzImage: setup of %" PRIu64 " bytes, at most %d can run",
				bz->setup_bytes, SETUP_MAX);
	hdr.type_of_loader = 0xff;
	hdr.loadflags |= CAN_USE_HEAP;
	hdr.heap_end_ptr = REAL_STACK_TOP - 0x1000 - 0x200; /* counts from 0x200 */
	hdr.cmd_line_ptr = (uint32_t)boot->cmdline_at;
	hdr.ramdisk_image = (uint32_t)boot->initrd.start;
	hdr.ramdisk_size = (uint32_t)boot->initrd.size_bytes;
	err = boot_file_to_ram(&boot->kernel, 0, boot->ram, GPA(LAYOUT_FLAT), bz->setup_bytes);
	if (err)
		return err;
	memcpy(boot_low(boot->ram, LAYOUT_FLAT + HEADER_AT, REAL_HEADER_BYTES), &hdr,
	       REAL_HEADER_BYTES);
	log_warn("kernel '%s' starts in real mode only and may ask for a BIOS, which is not here",
		 boot->kernel.name);
	*boot->entry = (struct boot_entry){
		.mode = BOOT_REAL,
		.real_segment = LAYOUT_FLAT >> 4,
		.rip = ENTRY_REAL,
		.rsp = REAL_STACK_TOP,
		.protocol = "bzImage, real-mode entry",
	};
	return 0;
}

static int enter_protected(struct boot *boot, const struct bzimage *bz)
{
	struct setup_header hdr = bz->hdr;
	bool entry64 = has_entry64(&hdr);

	if (entry64 && bz->code_bytes <= ENTRY64)
		return file_err(&boot->kernel, -ENOEXEC,
				"damaged bzImage: 64-bit entry behind its end, %" PRIu64 " bytes",
				bz->code_bytes);
	*boot->entry = (struct boot_entry){
		.mode = entry64 ? BOOT_LONG64 : BOOT_PROTECTED32,
		.rip = bz->load + (entry64 ? ENTRY64 : 0),
		.protocol = entry64 ? "bzImage, 64-bit entry" : "bzImage, 32-bit entry",
	};
	hdr.code32_start = (uint32_t)bz->load;
	return linux_params_put(boot, &hdr);
}

static int load_parts(struct boot *boot, struct bzimage *bz)
{
	int err = linux_cmdline_put(boot, &bz->image);

	if (!err)
		err = linux_initrd_load(boot, &bz->image);
	if (!err)
		err = boot_file_to_ram(&boot->kernel, bz->setup_bytes, boot->ram, GPA(bz->load),
				       bz->code_bytes);
	if (err)
		return err;
	log_debug(LOG_BOOT, "kernel at [%#" PRIx64 ", %#" PRIx64 "), needs RAM up to %#" PRIx64,
		  bz->load, bz->load + bz->code_bytes, bz->end);
	if (!has_entry64(&bz->hdr) && !bz->hdr.code32_start)
		return enter_real(boot, bz);
	return enter_protected(boot, bz);
}

/* "6.1.0-18-amd64 (builder) #1 SMP ...": its first word. A header without it is as good. */
static int read_release(struct boot *boot, const struct bzimage *bz)
{
	char *release = boot->entry->release;
	const size_t most = sizeof(boot->entry->release) - 1;
	uint64_t at = KERNEL_VERSION_BASE + (uint64_t)bz->hdr.kernel_version;
	int err;

	if (!bz->hdr.kernel_version || at >= bz->setup_bytes)
		return 0;
	err = boot_file_read(&boot->kernel, at, release,
			     bz->setup_bytes - at < most ? bz->setup_bytes - at : most);
	release[strcspn(release, " \n")] = '\0';
	return err;
}

static int bzimage_load(struct boot *boot)
{
	struct bzimage bz = { 0 };
	int err;

	read_header(boot, &bz.hdr);
	err = judge_header(boot, &bz.hdr);
	if (!err)
		err = judge_size(boot, &bz);
	if (!err)
		err = place(boot, &bz);
	if (err)
		return err;
	set_limits(boot, &bz);
	err = load_parts(boot, &bz);
	return err ? err : read_release(boot, &bz);
}

const struct boot_protocol bzimage_protocol = { bzimage_match, bzimage_load };
