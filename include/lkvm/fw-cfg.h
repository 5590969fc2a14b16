/*
 * fw_cfg: through two ports, or by DMA, firmware reads what the machine is made of, as numbered items and files that
 * have names. But for files that say so everything is read-only to the guest. It is there with --firmware only. What the
 * guest has set is its state; what can be read is saved beside that (vm/snapshot-firmware.c), and there again before the state is loaded.
 *
 * hw/fw-cfg.c; items are added by the main thread before any vCPU runs, and stay until the device's end.
 * Spec: QEMU's docs/specs/fw_cfg
 */
#ifndef LKVM_FW_CFG_H
#define LKVM_FW_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Offsets of the device's ports: selector, data, address of a DMA request */
#define FW_CFG_PORTS  12
#define FW_CFG_SELECT 0
#define FW_CFG_DATA   1
#define FW_CFG_DMA    4

#define FW_CFG_NAME_BYTES 56 /* of a file, with a NUL */
#define FW_CFG_MAX_FILES  32

enum fw_cfg_key {
	FW_CFG_SIGNATURE = 0x00,
	FW_CFG_ID = 0x01,
	FW_CFG_UUID = 0x02,
	FW_CFG_RAM_BYTES = 0x03,
	FW_CFG_NO_GRAPHICS = 0x04,
	FW_CFG_CPUS = 0x05,
	FW_CFG_KERNEL_SIZE = 0x08,
	FW_CFG_INITRD_SIZE = 0x0b,
	FW_CFG_MAX_CPUS = 0x0f,
	FW_CFG_KERNEL_DATA = 0x11, /* what follows the setup */
	FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_SIZE = 0x14,
	FW_CFG_CMDLINE_DATA = 0x15, /* with its NUL */
	FW_CFG_SETUP_SIZE = 0x17,
	FW_CFG_SETUP_DATA = 0x18, /* what of a bzImage is for real mode */
	FW_CFG_FILES = 0x19, /* their list */
	FW_CFG_FIRST_FILE = 0x20,
};

/**
 * fw_cfg_item() - a number's item, below FW_CFG_FIRST_FILE, from now on: a copy of @len bytes
 * @dev: the fw_cfg_type instance. Return: 0 or -ENOMEM
 */
int fw_cfg_item(void *dev, enum fw_cfg_key key, const void *data, size_t len);
/** fw_cfg_number() - the same of @bytes (2, 4 or 8), the lowest first */
int fw_cfg_number(void *dev, enum fw_cfg_key key, uint64_t value, unsigned bytes);
/**
 * fw_cfg_file() - one more file; firmware finds it by @name
 * Return: 0, -ENOMEM, -ENOSPC (there are FW_CFG_MAX_FILES), -ENAMETOOLONG
 */
int fw_cfg_file(void *dev, const char *name, const void *data, size_t len);

/* A file that the guest may write to, by DMA: all of it or a part, but not beyond its end */
struct fw_cfg_writable {
	uint8_t *data; /* the file itself, no copy; stays the caller's */
	size_t len;
	void (*written)(void *ctx); /* after each write, on the vCPU's thread; one call at a time */
	void *ctx;
};

/**
 * fw_cfg_writable() - one more file, or the one of that name, whose contents go to @file->data then
 * Return: as fw_cfg_file(); -EINVAL: that one is longer or shorter
 */
int fw_cfg_writable(void *dev, const char *name, const struct fw_cfg_writable *file);

struct fw_cfg_item {
	unsigned key;
	const char *name; /* of a file; else "" */
	const void *data;
	size_t len;
};

/** fw_cfg_next() - the first item from @key on, but for the list of files; Return: false: there is none */
bool fw_cfg_next(void *dev, unsigned key, struct fw_cfg_item *ret);
/**
 * fw_cfg_put_back() - an item of fw_cfg_next(), of another machine; those with files in the same order
 * A file that the machine has already, by the same name and key, gets these contents.
 * Return: 0; -EINVAL: there can be no such item; as fw_cfg_file()
 */
int fw_cfg_put_back(void *dev, const struct fw_cfg_item *item);

#endif
