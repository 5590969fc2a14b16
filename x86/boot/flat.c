/* A flat binary: small test programs, started in real mode at 0x1000:0 with nothing around them. */
#include "boot-internal.h"

#include <errno.h>
#include <inttypes.h>

#define FLAT_MAX  (LAYOUT_EBDA - LAYOUT_FLAT)
#define STACK_TOP 0xfff0 /* in the program's own segment */

static bool flat_match(const struct boot *boot)
{
	(void)boot;
	return true;
}

static int flat_load(struct boot *boot)
{
	const struct boot_file *file = &boot->kernel;
	int err;

	if (!file->size_bytes)
		return file_err(file, -ENOEXEC, "is empty");
	if (file->size_bytes > FLAT_MAX)
		return file_err(file, -EFBIG,
				"is no known kernel format, and with %" PRIu64
				" bytes too large for a flat binary (at most %d)",
				file->size_bytes, FLAT_MAX);
	if (boot->cfg->made)
		return file_err(file, -ENOEXEC, "has no known kernel header, and takes no %s as a flat binary",
				boot->cfg->made->name);
	if (boot->cfg->n_initrds)
		return log_errx(-ENOEXEC,
				"initrd '%s': kernel '%s' is a flat binary and takes none",
				boot->cfg->initrd[0], file->name);
	if (boot->cfg->cmdline && *boot->cfg->cmdline)
		log_warn("kernel '%s' is a flat binary and gets no command line", file->name);
	log_warn("kernel '%s' has no known kernel header: taken as a flat binary", file->name);
	err = boot_file_to_ram(file, 0, boot->ram, GPA(LAYOUT_FLAT), file->size_bytes);
	if (err)
		return err;
	*boot->entry = (struct boot_entry){
		.mode = BOOT_REAL,
		.real_segment = LAYOUT_FLAT >> 4,
		.rsp = STACK_TOP,
		.protocol = "flat binary, real mode",
	};
	return 0;
}

const struct boot_protocol flat_protocol = { flat_match, flat_load };
