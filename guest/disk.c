/* See disk.h. What is on the disk is read as far as its magic; the rest is the kernel's to judge. */
#include "disk.h"

#include "module.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <sys/mount.h>

#define PARTITIONS 16
#define MAGIC_MOST 8

/* A disk that cannot be written cannot be repaired either: @read_only is with what its log has not. */
static const struct file_system {
	const char *name, *modules;
	long at;
	size_t len;
	const char magic[MAGIC_MOST];
	const char *read_only;
} known[] = {
	{ "ext4", "/lkvm/fs-ext4", 0x438, 2, "\x53\xef", "noload" },
	{ "xfs", "/lkvm/fs-xfs", 0, 4, "XFSB", "norecovery" },
	{ "btrfs", "/lkvm/fs-btrfs", 0x10040, 8, "_BHRfS_M", "norecovery" },
	{ "squashfs", "/lkvm/fs-squashfs", 0, 4, "hsqs", NULL },
	{ "erofs", "/lkvm/fs-erofs", 0x400, 4, "\xe2\xe1\xf5\xe0", NULL },
};

static bool same(const char *a, const char *b, size_t len)
{
	while (len && *a == *b) {
		a++;
		b++;
		len--;
	}
	return !len;
}

static const struct file_system *detect(const char *device)
{
	long fd = SYS(open, device, O_RDONLY | O_CLOEXEC);
	const struct file_system *found = NULL;
	char magic[MAGIC_MOST];

	for (size_t i = 0; fd >= 0 && !found && i < COUNT(known); i++)
		if (SYS(pread64, fd, magic, known[i].len, known[i].at) == (long)known[i].len &&
		    same(magic, known[i].magic, known[i].len))
			found = &known[i];
	if (fd >= 0)
		SYS(close, fd);
	if (found)
		load_modules(found->modules);
	return found;
}

/* "vda" by its serial number */
static bool find_disk(const char *serial, char name[static 4])
{
	char path[] = "/sys/block/vd?/serial", text[32];
	const size_t len = text_len(serial);

	memcpy(name, "vd?", 4);
	for (name[2] = 'a'; name[2] <= 'z'; name[2]++) {
		path[sizeof("/sys/block/vd") - 1] = name[2];
		if (read_some(path, text, sizeof(text)) >= (long)len && same(text, serial, len))
			return true;
	}
	return false;
}

/* @part: 0 is the disk itself */
static void device_of(const char *name, unsigned part, char ret[static DISK_DEVICE_BYTES])
{
	char digits[NUMBER_BYTES];
	const char *number = part ? number_text(part, digits) : "";

	memcpy(ret, "/dev/", 5);
	memcpy(ret + 5, name, 3);
	memcpy(ret + 8, number, text_len(number) + 1);
}

static void take(const struct file_system *fs, bool read_only, struct disk_root *ret)
{
	ret->type = fs->name;
	ret->options = read_only ? fs->read_only : NULL;
}

static bool has(const char *path)
{
	struct statx st;

	return !SYS(statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st);
}

static bool is_root(const char *device, const struct file_system *fs)
{
	bool is;

	SYS(mkdir, "/root", 0755);
	if (SYS(mount, device, "/root", fs->name, MS_RDONLY, fs->read_only))
		return false;
	is = has("/root/usr") || has("/root/bin");
	SYS(umount2, "/root", 0);
	return is;
}

static long find_partition(const char *name, bool read_only, struct disk_root *ret)
{
	char device[DISK_DEVICE_BYTES];
	unsigned found = 0;

	for (unsigned part = 1; part < PARTITIONS; part++) {
		const struct file_system *fs;

		device_of(name, part, device);
		fs = detect(device);
		if (!fs || !is_root(device, fs))
			continue;
		if (found++)
			return complain(-EINVAL, "more than one root on the disk: also", device);
		memcpy(ret->device, device, sizeof(device));
		take(fs, read_only, ret);
	}
	return found ? 0 : complain(-ENODEV, "no file system that is known and has a root on", name);
}

long disk_find_root(const char *serial, bool read_only, struct disk_root *ret)
{
	const struct file_system *fs;
	char name[4];

	if (!find_disk(serial, name))
		return complain(-ENODEV, "disk", serial);
	device_of(name, 0, ret->device);
	fs = detect(ret->device);
	if (!fs)
		return find_partition(name, read_only, ret);
	take(fs, read_only, ret);
	return 0;
}
