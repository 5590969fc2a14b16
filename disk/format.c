/*
 * What an image is: its user says so, by `format=` or by the name of the file. Content alone must
 * not decide: a guest could write the header of a qcow2 image with a backing file into its raw
 * disk, and would read that file of the host's after the next start.
 */
#include "disk-internal.h"

#include <string.h>
#include <unistd.h>

#include "lkvm/types.h"

static const char *const formats[] = {
	"raw", "qcow2", "qcow", "qed", "vmdk", "vhdx", "vdi", "vpc"
};

static const struct {
	const char *extension, *format;
} extensions[] = {
	{ ".qcow2", "qcow2" }, { ".qcow", "qcow" }, { ".qed", "qed" }, { ".vmdk", "vmdk" },
	{ ".vhdx", "vhdx" },   { ".vdi", "vdi" },   { ".vhd", "vpc" },
};

static const struct {
	const char *format, *magic;
	uint8_t off, len;
} headers[] = {
	{ "qcow2", "QFI\xfb", 0, 4 },
	{ "qed", "QED\0", 0, 4 },
	{ "vmdk", "KDMV", 0, 4 },
	{ "vmdk", "COWD", 0, 4 },
	{ "vmdk", "# Disk DescriptorFile", 0, 21 },
	{ "vhdx", "vhdxfile", 0, 8 },
	{ "vpc", "conectix", 0, 8 },
	{ "vdi", "\x7f\x10\xda\xbe", 64, 4 },
	{ "bochs", "Bochs Virtual HD Image", 0, 22 },
	{ "parallels", "WithoutFreeSpace", 0, 16 },
	{ "parallels", "WithouFreSpacExt", 0, 16 },
	{ "dmg", "koly", 0, 4 },
};

static const char *const schemes[] = { "nbd", "nbds", "nbd+unix", "nbds+unix" };

static bool is_uri(const char *path)
{
	for (unsigned i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t len = strlen(schemes[i]);

		if (!strncmp(path, schemes[i], len) && !strncmp(path + len, "://", 3))
			return true;
	}
	return false;
}

bool disk_foreign_uri(const char *path)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-";
	size_t len = strspn(path, letters);

	return len && !strncmp(path + len, "://", 3) && !is_uri(path) && access(path, F_OK);
}

const char *disk_format_names(void)
{
	return "raw, qcow2, qcow, qed, vmdk, vhdx, vdi, vpc";
}

static const char *find_format(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++)
		if (!strcmp(name, formats[i]))
			return formats[i];
	return NULL;
}

bool disk_format_known(const char *format)
{
	return find_format(format);
}

const char *disk_format(const struct disk_config *cfg)
{
	const char *dot = strrchr(cfg->path, '.');

	if (is_uri(cfg->path))
		return !cfg->format || !strcmp(cfg->format, "raw") ? "nbd" : NULL;
	if (cfg->format)
		return find_format(cfg->format);
	for (unsigned i = 0; dot && i < ARRAY_SIZE(extensions); i++)
		if (!strcasecmp(dot, extensions[i].extension))
			return extensions[i].format;
	return "raw";
}

const char *disk_foreign_header(const void *header, size_t len)
{
	for (unsigned i = 0; i < ARRAY_SIZE(headers); i++) {
		size_t end = (size_t)headers[i].off + headers[i].len;

		if (len >= end && !memcmp((const char *)header + headers[i].off, headers[i].magic,
					  headers[i].len))
			return headers[i].format;
	}
	return NULL;
}
