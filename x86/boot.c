/* Boot protocols: look at the kernel file, and let the protocol that it belongs to load it. */
#include "boot-internal.h"

#include <errno.h>
#include <inttypes.h>

/* The first match loads. Magic numbers decide, so a damaged file never becomes something else. */
static const struct boot_protocol *const protocols[] = {
	&bzimage_protocol,
	&multiboot_protocol,
	&vmlinux_protocol,
	&flat_protocol,
};

/* Files that are clearly something else: better named than started as a flat binary. */
static const struct {
	size_t at;
	const char *magic;
	size_t len;
	const char *is;
} foreign[] = {
	{ 0x38, "ARMd", 4, "a Linux kernel for arm64, but this machine is x86-64" },
	{ 0x38, "RSC\x05", 4, "a Linux kernel for riscv, but this machine is x86-64" },
	{ 0x24, "\x18\x28\x6f\x01", 4, "a Linux kernel for arm, but this machine is x86-64" },
	{ 0, "MZ", 2, "an EFI program, which needs firmware; a bzImage would do" },
	{ 0, "\x27\x05\x19\x56", 4, "a U-Boot image, which no x86 kernel comes in" },
	{ 0, "QFI\xfb", 4, "a qcow2 disk image, not a kernel" },
	{ 0, "!<arch>\n", 8, "an archive (a Debian package?), not a kernel" },
	{ 0, "070701", 6, "a cpio archive (an initrd?), not a kernel" },
	{ 0, "BZh", 3, "compressed with bzip2: unpack it first" },
	{ 0, "\x89LZO\0\r\n", 7, "compressed with lzop: unpack it first" },
};

static int judge_foreign(const struct boot *boot)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (boot->head_len >= foreign[i].at + foreign[i].len &&
		    !memcmp(boot->head + foreign[i].at, foreign[i].magic, foreign[i].len))
			return file_err(&boot->kernel, -ENOEXEC, "is %s", foreign[i].is);
	return 0;
}

static int read_head(struct boot *boot)
{
	uint64_t size = boot->kernel.size_bytes;

	boot->head_len = size < sizeof(boot->head) ? size : sizeof(boot->head);
	memset(boot->head, 0, sizeof(boot->head));
	return boot_file_read(&boot->kernel, 0, boot->head, boot->head_len);
}

/* Once only: what is packed twice is not a kernel. */
static int unpack(struct boot *boot)
{
	const char *packed = decompress_name(boot);
	int err;

	if (!packed)
		return 0;
	err = decompress_kernel(boot);
	if (!err)
		err = read_head(boot);
	if (!err && decompress_name(boot))
		err = file_err(&boot->kernel, -ENOEXEC, "is compressed with %s inside of %s",
			       decompress_name(boot), packed);
	return err;
}

static const struct boot_protocol *find_protocol(const struct boot *boot)
{
	size_t i = 0;

	/* The last one, flat, matches everything. */
	while (!protocols[i]->match(boot))
		i++;
	return protocols[i];
}

static int load(struct boot *boot)
{
	const struct boot_protocol *protocol;
	int err = read_head(boot);

	if (!err)
		err = unpack(boot);
	if (err)
		return err;
	protocol = find_protocol(boot);
	if (protocol == &flat_protocol)
		err = judge_foreign(boot);
	if (!err)
		err = protocol->load(boot);
	if (!err && boot->cfg->dump_dtb)
		err = boot_dtb_dump(boot);
	if (!err)
		err = boot_tables_put(boot->ram, boot->entry->mode);
	return err;
}

int boot_load(struct ram *ram, const struct boot_config *cfg, struct boot_entry *ret)
{
	struct boot_entry entry = { 0 };
	struct boot boot = {
		.ram = ram, .cfg = cfg, .entry = &entry, .info_next = LAYOUT_BOOT_INFO
	};
	int err;

	if (boot_low_end(ram) < LAYOUT_HIGH)
		return log_errx(-EFBIG, "kernel '%s': guest RAM of %" PRIu64 " bytes is below 1 MB",
				cfg->kernel, boot_low_end(ram));
	err = boot_file_open(&boot.kernel, "kernel", cfg->kernel);
	if (err)
		return err;
	err = load(&boot);
	boot_file_close(&boot.kernel);
	if (err)
		return err;
	log_debug(LOG_BOOT, "kernel '%s': %s at %#" PRIx64, cfg->kernel, entry.protocol, entry.rip);
	*ret = entry;
	return 0;
}
