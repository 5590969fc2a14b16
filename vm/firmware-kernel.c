/*
 * --firmware with --kernel: the kernel, its initrds and its command line, as fw_cfg has them; see vm-internal.h. Which
 * of them is started, and how, is the firmware's business: OVMF starts the kernel as an EFI program. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/rom.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/boot.h"
#include "vm-internal.h"

#define LARGEST      0x7fffffff /* fw_cfg tells sizes in 32 bits */
#define INITRD_ALIGN 4

/* Of a bzImage: how many sectors of it are for real mode, beside the first */
#define SETUP_SECTS  0x1f1
#define SECTOR	     512
#define HEADER	     0x202 /* "HdrS" */

struct blob {
	uint8_t *data;
	uint64_t bytes;
};

static int failed(const char *what, const char *path, int err, const char *why)
{
	return log_errx(err, "%s '%s': %s", what, path, why ? why : strerror(-err));
}

static int append_file(struct blob *blob, const char *what, const char *path, int fd)
{
	const uint64_t at = ALIGN_UP(blob->bytes, INITRD_ALIGN);
	struct stat st;
	uint8_t *data;
	ssize_t n;

	if (fstat(fd, &st))
		return failed(what, path, -errno, NULL);
	if (!S_ISREG(st.st_mode))
		return failed(what, path, -EINVAL, "not a regular file");
	if ((uint64_t)st.st_size > LARGEST || at + (uint64_t)st.st_size > LARGEST)
		return failed(what, path, -EFBIG, "is too large for firmware");
	data = realloc(blob->data, at + (uint64_t)st.st_size + 1);
	if (!data)
		return failed(what, path, -ENOMEM, NULL);
	memset(data + blob->bytes, 0, at - blob->bytes);
	blob->data = data;
	n = file_read(fd, data + at, (uint64_t)st.st_size, 0);
	if (n < 0)
		return failed(what, path, (int)n, NULL);
	blob->bytes = at + (uint64_t)n;
	return 0;
}

static int append(struct blob *blob, const char *what, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;

	if (fd < 0)
		return failed(what, path, -errno, NULL);
	err = append_file(blob, what, path, fd);
	close(fd);
	return err;
}

static int item(void *fw, enum fw_cfg_key size_key, enum fw_cfg_key data_key, const void *data, uint64_t bytes)
{
	int err = fw_cfg_number(fw, size_key, bytes, 4);

	return err ? err : fw_cfg_item(fw, data_key, data, bytes);
}

/* A bzImage is in two parts, which firmware puts together; other EFI programs are in one. */
static uint64_t setup_bytes(const struct blob *kernel)
{
	const unsigned sectors = kernel->bytes > HEADER + 4 && !memcmp(kernel->data + HEADER, "HdrS", 4) ?
					 kernel->data[SETUP_SECTS] + 1U : 0;

	return sectors * SECTOR < kernel->bytes ? sectors * SECTOR : 0;
}

static int tell_kernel(void *fw, const char *path)
{
	struct blob kernel = { 0 };
	int err = append(&kernel, "kernel", path);
	uint64_t setup;

	if (!err && (kernel.bytes < 2 || memcmp(kernel.data, "MZ", 2)))
		err = failed("kernel", path, -ENOEXEC, "is no EFI program, and firmware starts no other");
	setup = err ? 0 : setup_bytes(&kernel);
	if (!err)
		err = item(fw, FW_CFG_SETUP_SIZE, FW_CFG_SETUP_DATA, kernel.data, setup);
	if (!err)
		err = item(fw, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, kernel.data + setup, kernel.bytes - setup);
	free(kernel.data);
	return err;
}

static int tell_initrds(void *fw, const struct vm_config *cfg)
{
	struct blob all = { 0 };
	int err = 0;

	for (unsigned i = 0; !err && i < cfg->n_initrds; i++)
		err = append(&all, "initrd", cfg->initrd[i]);
	if (!err && all.bytes)
		err = item(fw, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, all.data, all.bytes);
	free(all.data);
	return err;
}

static int tell_cmdline(void *fw, const struct vm_config *cfg)
{
	const char *first = cfg->nodefaults ? "" : cfg->console_virtio ? RUN_VIRTIO_CMDLINE : RUN_DEFAULT_CMDLINE;
	const char *rest = cfg->params ? cfg->params : "";
	char *line;
	int err;

	if (asprintf(&line, "%s%s%s", first, *first && *rest ? " " : "", rest) < 0)
		return -ENOMEM;
	err = item(fw, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA, line, strlen(line) + 1);
	free(line);
	return err;
}

int firmware_tell_kernel(const struct vm *vm, void *fw)
{
	const struct vm_config *cfg = vm->cfg;
	char *in_tree = NULL;
	int err;

	if (cfg->kernel == cfg->firmware)
		return 0;
	/* It says its name in itself, and looks for no kernel. */
	if (rom_has(vm->rom, "SeaBIOS (version "))
		return log_errx(-ENOTSUP, "firmware '%s' is a SeaBIOS, which loads no --kernel: it boots what is on a disk",
				cfg->firmware);
	boot_find_in_tree(cfg->kernel, &in_tree);
	err = tell_kernel(fw, in_tree ? in_tree : cfg->kernel);
	free(in_tree);
	if (!err)
		err = tell_initrds(fw, cfg);
	return err ? err : tell_cmdline(fw, cfg);
}
