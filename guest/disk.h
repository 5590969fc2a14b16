/* The root on a disk (`lkvm run --root IMAGE`): which device it is, and which file system it has. */
#ifndef GUEST_DISK_H
#define GUEST_DISK_H

#include <stdbool.h>

#define DISK_DEVICE_BYTES 32

struct disk_root {
	char device[DISK_DEVICE_BYTES]; /* "/dev/vda1" */
	const char *type, *options;     /* NULL: none */
};

/*
 * The disk with this serial number, or the only one of its partitions that has /usr or /bin. Loads the
 * modules of the file systems that it finds (/lkvm/fs-NAME, as /lkvm/modules). Complains; 0 or -errno
 */
long disk_find_root(const char *serial, bool read_only, struct disk_root *ret);

#endif
