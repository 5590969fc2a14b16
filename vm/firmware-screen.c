/*
 * --firmware with a screen: a frame buffer that it may show (ramfb.h), and for SeaBIOS, which draws nothing by itself, the
 * option ROM by which it does, as a file of fw_cfg; see vm-internal.h. Main thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/ramfb.h"
#include "lkvm/types.h"
#include "lkvm/vm/rom.h"
#include "vm-internal.h"

#define ROM_NAME    "vgabios-ramfb.bin"
#define ROM_LARGEST 0x20000 /* from 0xc0000 to 0xe0000 is what a BIOS puts them to */

#define UNIT   512
#define LENGTH 2 /* in an image: in units, one byte */

static int failed(const char *path, int err, const char *why)
{
	return log_errx(err, "could not load option ROM '%s': %s", path, why ? why : strerror(-err));
}

static int add_rom(void *fw, const char *path, int fd)
{
	uint8_t *data;
	struct stat st;
	ssize_t n;
	int err = 0;

	if (fstat(fd, &st))
		return failed(path, -errno, NULL);
	if (!S_ISREG(st.st_mode))
		return failed(path, -EINVAL, "not a regular file");
	if (st.st_size > ROM_LARGEST)
		return failed(path, -EFBIG, "it is larger than 128 KiB");
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return failed(path, -ENOMEM, NULL);
	n = file_read(fd, data, (size_t)st.st_size, 0);
	if (n < 0)
		err = failed(path, (int)n, NULL);
	else if (n < UNIT || data[0] != 0x55 || data[1] != 0xaa || data[LENGTH] * UNIT > n)
		err = failed(path, -EINVAL, "it is no option ROM");
	else if (fw_cfg_file(fw, "vgaroms/" ROM_NAME, data, (size_t)n))
		err = failed(path, -ENOMEM, NULL);
	free(data);
	return err;
}

static int open_rom(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Beside the firmware, or where distributions have it. Return: the file, and its path, heap; -ENOENT, or -ENOMEM, logged */
static int find_rom(const char *firmware, char **ret_path)
{
	static const char *const folders[] = { "/usr/share/seabios/", "/usr/share/qemu/", "/usr/share/seavgabios/" };
	const char *name = strrchr(firmware, '/');
	int fd = -ENOENT;

	for (size_t i = 0; fd < 0 && i <= ARRAY_SIZE(folders); i++) {
		char *path;

		if (asprintf(&path, "%.*s%s" ROM_NAME, i || !name ? 0 : (int)(name + 1 - firmware), firmware,
			     i ? folders[i - 1] : "") < 0)
			return log_err(-ENOMEM, ROM_NAME);
		fd = open_rom(path);
		if (fd < 0)
			free(path);
		else
			*ret_path = path;
	}
	return fd < 0 ? -ENOENT : fd;
}

/* OVMF does without. */
static void miss_rom(const struct vm *vm)
{
	if (rom_has(vm->rom, "SeaBIOS (version "))
		log_warn("firmware '%s' shows nothing on the screen: " ROM_NAME " is missing (Debian package seabios)",
			 vm->cfg->firmware);
}

static int offer_rom(const struct vm *vm, void *fw)
{
	const char *wanted = vm->cfg->gpu.rom;
	char *found = NULL;
	int fd = wanted ? open_rom(wanted) : find_rom(vm->cfg->firmware, &found), err;

	if (fd < 0 && wanted)
		return failed(wanted, fd, NULL);
	if (fd == -ENOENT)
		miss_rom(vm);
	err = fd >= 0 ? add_rom(fw, wanted ? wanted : found, fd) : fd == -ENOENT ? 0 : fd;
	if (fd >= 0)
		close(fd);
	free(found);
	return err;
}

int firmware_tell_screen(const struct vm *vm, void *fw)
{
	int err;

	if (!vm->display)
		return 0;
	err = ramfb_attach(platform_ramfb(vm->platform), fw, vm->display);
	if (err)
		return log_err(err, RAMFB_FILE);
	return vm->cfg->snapshot ? 0 : offer_rom(vm, fw); /* what was there is there again */
}
