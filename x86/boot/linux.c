/*
 * What the Linux boot protocol wants from every kernel, be it a bzImage or a vmlinux: a command
 * line, the initrds as one blob, and the zero page (struct boot_params) that points to them.
 */
#include "boot-internal.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* Between cpio archives; Linux, Documentation/driver-api/early-userspace/buffer-format.rst */
#define INITRD_ALIGN 4

#define LOADER_UNDEFINED   0xff
#define RNG_SEED_BYTES     32
#define VERSION_SETUP_DATA 0x0209

#ifndef SETUP_RNG_SEED
#define SETUP_RNG_SEED 9
#endif

int linux_cmdline_put(struct boot *boot, const struct linux_image *image)
{
	const char *const part[BOOT_CMDLINE_PARTS] = { boot->cfg->default_cmdline,
						       boot->own_cmdline, boot->cfg->cmdline };

	return boot_cmdline_put(boot, part, image->cmdline_bytes);
}

/* First what the kernel brings along, then what was asked for. */
static int open_all(const struct boot *boot, struct boot_file *files, unsigned *ret_n,
		    uint64_t *ret_bytes)
{
	const struct boot_config *cfg = boot->cfg;
	uint64_t total = boot->own_initrd.size_bytes;
	unsigned n = 0;

	if (total)
		files[n++] = boot->own_initrd;
	*ret_n = n;
	for (unsigned i = 0; i < cfg->n_initrds; i++) {
		struct boot_file *file = &files[n];
		int err = boot_file_open(boot->ram, file, "initrd", cfg->initrd[i]);

		if (err)
			return err;
		*ret_n = ++n;
		if (!file->size_bytes)
			log_warn("initrd '%s' is empty", file->name);
		/* Neither is above 2^63, so the sum cannot wrap unseen. */
		total = ALIGN_UP(total, INITRD_ALIGN) + file->size_bytes;
		if (total >> 63)
			return file_err(file, -EFBIG, "is too large");
	}
	if (cfg->made)
		total = ALIGN_UP(total, INITRD_ALIGN) + cfg->made->bytes;
	*ret_bytes = total;
	return 0;
}

/* The highest page with room for @bytes behind it. */
static bool fits(uint64_t from, uint64_t limit, uint64_t bytes, uint64_t *ret_start)
{
	/* The page that the start is rounded down by must be there too. */
	if (limit < from || bytes > limit - from || ALIGN_DOWN(limit - bytes, 4096) < from)
		return false;
	*ret_start = ALIGN_DOWN(limit - bytes, 4096);
	return true;
}

static uint64_t initrd_limit(const struct linux_image *image, uint64_t end)
{
	return end - 1 > image->initrd_max ? image->initrd_max + 1 : end;
}

static int no_place(const struct boot *boot, const struct linux_image *image, const char *name,
		    uint64_t bytes)
{
	uint64_t from = boot_taken_end(boot), most = RAM_GAP_START;
	uint64_t limit = boot_low_end(boot->ram), enough;
	char hint[80];

	if (!image->initrd_anywhere) {
		most = initrd_limit(image, most);
		limit = initrd_limit(image, limit);
	}
	enough = ALIGN_UP(from, 4096) + bytes;
	if (enough > most && image->initrd_anywhere)
		enough = RAM_GAP_START + bytes;
	if (enough > most && !image->initrd_anywhere)
		snprintf(hint, sizeof(hint), "this kernel can take none above %#" PRIx64, most);
	else
		snprintf(hint, sizeof(hint), "-m %" PRIu64 " has room for it",
			 (uint64_t)(ALIGN_UP(enough, MIB) / MIB));
	return log_errx(-EFBIG,
			"initrd '%s': does not fit: %" PRIu64 " bytes in all, %" PRIu64
			" bytes free between the kernel's end %#" PRIx64 " and %#" PRIx64 "; %s",
			name, bytes, limit > from ? limit - from : 0, from, limit, hint);
}

/*
 * As high as possible, below the gap and where the header says; a kernel that can take it anywhere
 * gets it there only if it must.
 */
static int find_place(const struct boot *boot, const struct linux_image *image, const char *name,
		      uint64_t bytes, uint64_t *ret_start)
{
	const struct ram *ram = boot->ram;
	uint64_t from = boot_taken_end(boot), low_end = boot_low_end(ram);
	unsigned n;
	const struct ram_part *part = ram_parts(ram, &n);

	if (fits(from, initrd_limit(image, low_end), bytes, ret_start))
		return 0;
	if (image->initrd_anywhere && fits(from, low_end, bytes, ret_start))
		return 0;
	for (unsigned i = 1; i < n && image->initrd_anywhere; i++)
		if (fits(part[i].start.v, part[i].start.v + part[i].size_bytes, bytes, ret_start))
			return 0;
	return no_place(boot, image, name, bytes);
}

/* Zeros up to where the next one begins */
static int pad(const struct boot *boot, uint64_t *at)
{
	static const uint8_t zeros[INITRD_ALIGN];
	uint64_t next = ALIGN_UP(*at, INITRD_ALIGN);
	int err = ram_write(boot->ram, GPA(*at), zeros, next - *at);

	*at = next;
	return err;
}

static int write_made(const struct boot *boot, uint64_t at)
{
	const struct boot_made *made = boot->cfg->made;
	void *dst;
	int err = ram_window(boot->ram, GPA(at), made->bytes, 1, &dst);

	if (err)
		return log_err(err, "%s", made->name);
	made->write(made->ctx, dst);
	log_debug(LOG_BOOT, "%s at %#" PRIx64 ", %" PRIu64 " bytes", made->name, at, made->bytes);
	return 0;
}

static int load_all(const struct boot *boot, const struct boot_file *files, unsigned n,
		    uint64_t start)
{
	uint64_t at = start;
	int err;

	for (unsigned i = 0; i < n; i++) {
		err = pad(boot, &at);
		if (!err)
			err = boot_file_to_ram(&files[i], 0, boot->ram, GPA(at),
					       files[i].size_bytes);
		if (err)
			return err;
		log_debug(LOG_BOOT, "initrd '%s' at %#" PRIx64 ", %" PRIu64 " bytes", files[i].name,
			  at, files[i].size_bytes);
		at += files[i].size_bytes;
	}
	if (!boot->cfg->made)
		return 0;
	err = pad(boot, &at);
	return err ? err : write_made(boot, at);
}

int linux_initrd_load(struct boot *boot, const struct linux_image *image)
{
	const struct boot_config *cfg = boot->cfg;
	struct linux_initrd initrd = { 0, 0 };
	struct boot_file *files;
	unsigned n = 0;
	int err;

	files = calloc(cfg->n_initrds + 1, sizeof(*files));
	if (!files)
		return log_err(-ENOMEM, "initrds");
	err = open_all(boot, files, &n, &initrd.size_bytes);
	if (!err && initrd.size_bytes)
		err = find_place(boot, image, cfg->made ? cfg->made->name : files[n - 1].name,
				 initrd.size_bytes, &initrd.start);
	if (!err && initrd.size_bytes)
		err = boot_take(boot, initrd.start, initrd.size_bytes, "initrd");
	if (!err && initrd.size_bytes)
		err = load_all(boot, files, n, initrd.start);
	while (n)
		boot_file_close(&files[--n]);
	free(files);
	if (!err)
		boot->initrd = initrd;
	boot->took_made = !err;
	return err;
}

/* Put a node in front of the chain that the kernel walks. */
static int add_setup_data(struct boot *boot, struct setup_header *hdr, uint32_t type,
			  const void *data, uint32_t len)
{
	struct setup_data *node;
	void *host;
	gpa_t at;
	int err = boot_info_alloc(boot, sizeof(*node) + len, 8, &at, &host);

	if (err)
		return err;
	node = host;
	node->next = hdr->setup_data;
	node->type = type;
	node->len = len;
	memcpy(node->data, data, len);
	hdr->setup_data = at.v;
	return 0;
}

/* With this the kernel's random generator is ready before the first process asks. */
static int add_rng_seed(struct boot *boot, struct setup_header *hdr)
{
	uint8_t seed[RNG_SEED_BYTES];

	if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return log_err(-errno, "getrandom");
	return add_setup_data(boot, hdr, SETUP_RNG_SEED, seed, sizeof(seed));
}

static int add_device_tree(struct boot *boot, struct setup_header *hdr)
{
	size_t bytes;
	void *dtb;
	int err = boot_dtb_build(boot, &dtb, &bytes);

	if (err)
		return err;
	err = add_setup_data(boot, hdr, SETUP_DTB, dtb, (uint32_t)bytes);
	free(dtb);
	return err;
}

static int add_all_setup_data(struct boot *boot, struct setup_header *hdr)
{
	int err;

	if (hdr->version < VERSION_SETUP_DATA)
		return 0;
	err = add_rng_seed(boot, hdr);
	if (!err && boot->cfg->pass_dtb)
		err = add_device_tree(boot, hdr);
	return err;
}

static void fill_e820(const struct ram *ram, struct boot_params *params)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(ram, map);

	for (unsigned i = 0; i < n; i++)
		params->e820_table[i] =
			(struct boot_e820_entry){ map[i].start, map[i].size_bytes, map[i].type };
	params->e820_entries = (uint8_t)n;
}

/* As a boot loader that has set a VESA mode: efifb's fields are the same but for the size, which is in units of 64 KB. */
static void fill_screen(const struct boot_framebuffer *f, struct screen_info *screen)
{
	if (!f->width)
		return;
	screen->orig_video_isVGA = VIDEO_TYPE_VLFB;
	screen->lfb_base = (uint32_t)f->at;
	screen->ext_lfb_base = (uint32_t)(f->at >> 32);
	screen->lfb_width = (uint16_t)f->width;
	screen->lfb_height = (uint16_t)f->height;
	screen->lfb_depth = 32;
	screen->lfb_linelength = (uint16_t)(f->width * 4);
	screen->lfb_size = (uint32_t)(ALIGN_UP((uint64_t)f->width * f->height * 4, 64 * KIB) / (64 * KIB));
	screen->red_size = screen->green_size = screen->blue_size = screen->rsvd_size = 8;
	screen->red_pos = 16;
	screen->green_pos = 8;
	screen->rsvd_pos = 24;
	/* Of VESA it says that there are no VGA registers either. */
	screen->capabilities = VIDEO_CAPABILITY_64BIT_BASE;
}

static void fill_initrd(const struct linux_initrd *initrd, struct boot_params *params)
{
	params->hdr.ramdisk_image = (uint32_t)initrd->start;
	params->hdr.ramdisk_size = (uint32_t)initrd->size_bytes;
	params->ext_ramdisk_image = (uint32_t)(initrd->start >> 32);
	params->ext_ramdisk_size = (uint32_t)(initrd->size_bytes >> 32);
}

int linux_params_put(struct boot *boot, const struct setup_header *hdr)
{
	/* All else stays zero, the sentinel above all. */
	struct boot_params params = { .hdr = *hdr };
	int err;

	params.hdr.type_of_loader = LOADER_UNDEFINED;
	params.hdr.cmd_line_ptr = (uint32_t)boot->cmdline_at;
	params.hdr.setup_data = 0;
	params.acpi_rsdp_addr = boot->cfg->rsdp.v; /* padding before 2.14 */
	fill_e820(boot->ram, &params);
	fill_screen(&boot->cfg->framebuffer, &params.screen_info);
	fill_initrd(&boot->initrd, &params);
	err = add_all_setup_data(boot, &params.hdr);
	if (!err)
		err = boot_alloc(boot, "zero page", LAYOUT_ZERO_PAGE, sizeof(params), 4096,
				 &boot->entry->rsi);
	if (err)
		return err;
	memcpy(boot_low(boot->ram, boot->entry->rsi, sizeof(params)), &params, sizeof(params));
	return 0;
}
