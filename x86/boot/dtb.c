/* The device tree of what has been loaded: for Linux, and for --dump-dtb. */
#include "boot-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/x86/fdt.h"

int boot_dtb_build(const struct boot *boot, void **ret, size_t *ret_bytes)
{
	const struct fdt_config cfg = {
		.hardware = boot->cfg->hardware,
		.ram = boot->ram,
		.bootargs = boot->cmdline,
		.initrd_start = boot->initrd.start,
		.initrd_bytes = boot->initrd.size_bytes,
	};
	const char *why;
	int err = fdt_build(&cfg, ret, ret_bytes, &why);

	if (why)
		return log_errx(err, "device tree: libfdt says: %s", why);
	return err ? log_err(err, "device tree") : 0;
}

static int write_file(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "we");
	int err = 0;

	if (!f)
		return -errno;
	if (fwrite(data, 1, bytes, f) != bytes)
		err = -errno;
	if (fclose(f) && !err)
		err = -errno;
	return err;
}

int boot_dtb_dump(const struct boot *boot)
{
	size_t bytes;
	void *dtb;
	int err = boot_dtb_build(boot, &dtb, &bytes);

	if (err)
		return err;
	err = write_file(boot->cfg->dump_dtb, dtb, bytes);
	free(dtb);
	return err ? log_err(err, "write device tree '%s'", boot->cfg->dump_dtb) : 0;
}
