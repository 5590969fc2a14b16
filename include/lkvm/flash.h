/*
 * A chip of flash memory: an array of bytes that a guest reads as memory, and changes by commands that it writes to
 * any of its addresses. Bits go from 1 to 0 one by one, and back to 1 for a block at once.
 *
 *	         FF, 50, any other           10, 40 data
 *	ARRAY <------------------- STATUS <-------------- PROGRAM
 *	  |                          ^ ^ ^
 *	  | 70, 90, and what follows | | +---- ERASE    20, then D0
 *	  +--------------------------+ +------ COUNT    E8, number - 1, so many bytes, D0
 *
 * Only in ARRAY reads see the array; the others show the status of what was done last. Of Intel's command set (28F)
 * there is what OVMF's driver of QEMU's flash uses, with what it needs to know the chip by: 50 clears the ready bit,
 * too. A chip of 8 bits: a wider access is one a byte, the lowest address first.
 *
 * hw/flash.c; accesses come from any vCPU thread.
 */
#ifndef LKVM_FLASH_H
#define LKVM_FLASH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH_BLOCK_BYTES  4096
#define FLASH_BUFFER_BYTES 256

#define FLASH_READY	  0x80 /* what was begun has ended */
#define FLASH_ERASE_FAULT 0x20
#define FLASH_PROGRAM_FAULT 0x10 /* both: the commands were none */

enum flash_mode { FLASH_ARRAY, FLASH_STATUS, FLASH_ID, FLASH_PROGRAM, FLASH_ERASE, FLASH_COUNT, FLASH_FILL, FLASH_CONFIRM };

struct state_type;

/* Both with the chip's lock held, on the thread of the guest's access */
struct flash_ops {
	/* @len bytes at @off, all within a block, become these; Return: 0, -errno: they stay, and the guest is told */
	int (*store)(void *ctx, uint64_t off, const void *bytes, size_t len);
	/* Reads see the array from now on, or no longer. */
	void (*array)(void *ctx, bool on);
};

struct flash {
	pthread_mutex_t lock;
	const uint8_t *data; /* the array, which store() changes */
	uint64_t bytes;
	const struct flash_ops *ops;
	void *ctx;
	enum flash_mode mode;
	uint8_t status;
	/* Of a write to the buffer: its first address, how many bytes are to come, and how many there were */
	uint64_t start;
	unsigned count, filled;
	uint8_t buffer[FLASH_BUFFER_BYTES];
};

/** flash_init() - in ARRAY mode; @data and @bytes (whole blocks) must outlive it; flash_fini() - takes a zeroed one */
void flash_init(struct flash *f, const uint8_t *data, uint64_t bytes, const struct flash_ops *ops, void *ctx);
void flash_fini(struct flash *f);
/** flash_read(), flash_write() - one access of 1 to 8 bytes that lies within the chip, as struct bus_ops */
uint64_t flash_read(void *flash, uint64_t off, unsigned len);
void flash_write(void *flash, uint64_t off, unsigned len, uint64_t value);

/* Of a struct flash, but for the array. load() gives -ENODEV where it is a larger chip's. */
extern const struct state_type flash_state_type;

#endif
