/*
 * Files that no protocol fits. What a file clearly is, is better said than run: whatever is left over
 * is taken as a flat binary, and the user is told.
 */
#include "boot-internal.h"

#include <errno.h>

static const struct {
	size_t at;
	const char *magic;
	size_t len;
	const char *is;
} foreign[] = {
	/* Kernels for other machines, or packed for a firmware */
	{ 0x38, "ARMd", 4, "a Linux kernel for arm64, but this machine is x86-64" },
	{ 0x38, "RSC\x05", 4, "a Linux kernel for riscv, but this machine is x86-64" },
	{ 0x38, "\xcd\x23\x82\x81", 4, "a Linux kernel for another machine than x86-64" },
	{ 0x24, "\x18\x28\x6f\x01", 4, "a Linux kernel for arm, but this machine is x86-64" },
	{ 0, "\x27\x05\x19\x56", 4, "a U-Boot image, which no x86 kernel comes in" },
	{ 0, "\xd0\x0d\xfe\xed", 4, "a device tree or FIT image, not a kernel" },
	{ 0, "ANDROID!", 8, "an Android boot image, not a kernel" },
	{ 0, "\xcf\xfa\xed\xfe", 4, "a Mach-O program, not a kernel" },
	{ 0, "\xfe\xed\xfa\xcf", 4, "a Mach-O program, not a kernel" },
	/* Archives and packages */
	{ 0, "!<arch>\ndebian", 14, "a Debian package, not a kernel: unpack it with dpkg -x" },
	{ 0, "!<arch>\n", 8, "an archive of ar, not a kernel" },
	{ 0, "\xed\xab\xee\xdb", 4, "an RPM package, not a kernel" },
	{ 257, "ustar", 5, "a tar archive, not a kernel" },
	{ 0, "07070", 5, "a cpio archive (an initrd?), not a kernel" },
	{ 0, "\xc7\x71", 2, "a cpio archive (an initrd?), not a kernel" },
	{ 0, "PK\x03\x04", 4, "a zip archive, not a kernel" },
	{ 0, "7z\xbc\xaf\x27\x1c", 6, "a 7z archive, not a kernel" },
	{ 0, "Rar!\x1a\x07", 6, "a rar archive, not a kernel" },
	/* Disks and file systems */
	{ 0x8001, "CD001", 5, "an ISO image, not a kernel: -d takes disks" },
	{ 0, "QFI\xfb", 4, "a qcow2 disk image, not a kernel: -d takes disks" },
	{ 0, "KDMV", 4, "a vmdk disk image, not a kernel: -d takes disks" },
	{ 0, "vhdxfile", 8, "a vhdx disk image, not a kernel: -d takes disks" },
	{ 0, "conectix", 8, "a vpc disk image, not a kernel: -d takes disks" },
	{ 0x40, "\x7f\x10\xda\xbe", 4, "a vdi disk image, not a kernel: -d takes disks" },
	{ 0, "hsqs", 4, "a squashfs file system, not a kernel: -d takes disks" },
	{ 0, "XFSB", 4, "an XFS file system, not a kernel: -d takes disks" },
	{ 0x438, "\x53\xef", 2, "an ext file system, not a kernel: -d takes disks" },
	{ 512, "EFI PART", 8, "a disk image, not a kernel: -d takes disks" },
	{ 510, "\x55\xaa", 2, "a boot sector or disk image, not a kernel: -d takes disks" },
	/* Other things that lie about */
	{ 0, "MZ", 2, "an EFI or DOS program, which this machine does not run" },
	{ 0, "\x1f\x9d", 2, "compressed with compress, an old way: unpack it first" },
	{ 0, "LZIP", 4, "compressed with lzip: unpack it first" },
	{ 0, "#!", 2, "a script, not a kernel" },
	{ 0, "%PDF-", 5, "a PDF document, not a kernel" },
	{ 0, "\x89PNG\r\n", 6, "a PNG picture, not a kernel" },
	{ 0, "\xff\xd8\xff", 3, "a JPEG picture, not a kernel" },
	{ 0, "SQLite format 3", 16, "an SQLite database, not a kernel" },
};

static bool is_text_control(uint8_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\b' || c == 0x1b;
}

/* Length of the UTF-8 character that @c begins, 0 if none begins so */
static size_t utf8_length(uint8_t c)
{
	if (c < 0x80)
		return c >= 0x20 || is_text_control(c) ? c != 0x7f : 0;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* No code is that clean: characters and line ends only, as far as we have read. */
static bool is_text(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		size_t n = utf8_length(*p);

		if (!n)
			return false;
		/* The last one may be cut where our reading ended. */
		if (n > (size_t)(end - p) && len < BOOT_HEAD_BYTES)
			return false;
		for (p++; --n && p < end; p++)
			if ((*p & 0xc0) != 0x80)
				return false;
	}
	return len > 0;
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return len > 0;
}

static const char *find_foreign(const struct boot *boot)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if (boot->head_len >= foreign[i].at + foreign[i].len &&
		    !memcmp(boot->head + foreign[i].at, foreign[i].magic, foreign[i].len))
			return foreign[i].is;
	if (is_text(boot->head, boot->head_len))
		return "a text file, not a kernel";
	if (is_zero(boot->head, boot->head_len))
		return "nothing but zeros, not a kernel";
	return NULL;
}

int boot_judge_unknown(const struct boot *boot, const char *packed)
{
	const struct boot_file *file = &boot->kernel;
	const char *is = find_foreign(boot);

	if (is && packed)
		return file_err(file, -ENOEXEC, "is compressed with %s, and in it is %s", packed, is);
	if (is)
		return file_err(file, -ENOEXEC, "is %s", is);
	if (packed)
		return file_err(file, -ENOEXEC,
				"is compressed with %s, and what is in it has no known kernel header",
				packed);
	return 0;
}
