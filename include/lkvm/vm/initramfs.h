/*
 * An initramfs made in memory: a cpio archive in the "newc" format that Linux unpacks at start-up.
 * Files are noted first; then it is known how large the archive is and what its checksum is, and it is
 * written in one go, straight to where it shall be, which may be guest RAM. Main thread.
 * Spec: Linux, Documentation/driver-api/early-userspace/buffer-format.rst
 */
#ifndef LKVM_VM_INITRAMFS_H
#define LKVM_VM_INITRAMFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct initramfs_file {
	char *name;
	mode_t mode; /* with the type, as st_mode */
	dev_t device;
	const void *bytes;
	uint32_t len;
};

struct initramfs {
	struct initramfs_file *files;
	unsigned n;
};

/* Zeroed is empty. */
void initramfs_free(struct initramfs *fs);

/**
 * initramfs_add() - a regular file, or a symbolic link to what @bytes say
 * The folders that @name lies in are made (0755) unless they are there.
 * @name:  "lib/modules/x.ko": without a slash in front, no "." and ".."
 * @mode:  S_IFREG | 0644
 * @bytes: borrowed until the archive is written
 * Return: 0, -EINVAL (the name), -EEXIST, -EFBIG (4 GB) or -ENOMEM; not logged
 */
int initramfs_add(struct initramfs *fs, const char *name, mode_t mode, const void *bytes, size_t len);

/** initramfs_add_node() - a folder (@device is 0) or a device node */
int initramfs_add_node(struct initramfs *fs, const char *name, mode_t mode, dev_t device);

/** initramfs_bytes() - how long the archive is */
uint64_t initramfs_bytes(const struct initramfs *fs);

/** initramfs_write() - all of it to @dst: initramfs_bytes(), every one of which is written */
void initramfs_write(const struct initramfs *fs, void *dst);

/** initramfs_sum() - CRC-32C of what initramfs_write() would write */
uint32_t initramfs_sum(const struct initramfs *fs);

#endif
