/* A chip of flash memory, as firmware keeps its variables in; see flash.h. */
#include "lkvm/flash.h"

#include <errno.h>
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/state.h"

enum {
	CMD_PROGRAM = 0x10,
	CMD_ERASE = 0x20,
	CMD_PROGRAM_2 = 0x40,
	CMD_CLEAR_STATUS = 0x50,
	CMD_STATUS = 0x70,
	CMD_ID = 0x90,
	CMD_CONFIRM = 0xd0,
	CMD_BUFFER = 0xe8,
	CMD_ARRAY = 0xff,
};

/* What CMD_ID shows at the begin of each block: Intel, a chip of no name; then that the block is not locked */
#define ID_MAKER  0x89
#define ID_DEVICE 0x00

#define NO_COMMANDS (FLASH_ERASE_FAULT | FLASH_PROGRAM_FAULT)

void flash_init(struct flash *f, const uint8_t *data, uint64_t bytes, const struct flash_ops *ops, void *ctx)
{
	*f = (struct flash){ .data = data, .bytes = bytes, .ops = ops, .ctx = ctx };
	pthread_mutex_init(&f->lock, NULL);
}

void flash_fini(struct flash *f)
{
	pthread_mutex_destroy(&f->lock);
}

static void enter(struct flash *f, enum flash_mode mode)
{
	const bool was = f->mode == FLASH_ARRAY, is = mode == FLASH_ARRAY;

	f->mode = mode;
	if (was != is)
		f->ops->array(f->ctx, is);
}

/* What was begun has ended, for good or with @fault. */
static void done(struct flash *f, uint8_t fault)
{
	f->status |= FLASH_READY | fault;
	enter(f, FLASH_STATUS);
}

/* ---- what changes the array ---- */

/* Of each bit, 0 stays 0. @len <= FLASH_BUFFER_BYTES, within a block */
static void program(struct flash *f, uint64_t off, const uint8_t *bytes, size_t len)
{
	uint8_t now[FLASH_BUFFER_BYTES];

	for (size_t i = 0; i < len; i++)
		now[i] = f->data[off + i] & bytes[i];
	done(f, f->ops->store(f->ctx, off, now, len) ? FLASH_PROGRAM_FAULT : 0);
}

static void erase(struct flash *f, uint64_t off)
{
	uint8_t ones[FLASH_BLOCK_BYTES];

	memset(ones, 0xff, sizeof(ones));
	done(f, f->ops->store(f->ctx, off - off % FLASH_BLOCK_BYTES, ones, sizeof(ones)) ? FLASH_ERASE_FAULT : 0);
}

/* ---- the buffer: bytes at the first one's address and behind it, all in one block ---- */

static void begin_buffer(struct flash *f, uint8_t count)
{
	f->count = count + 1U;
	f->filled = 0;
	memset(f->buffer, 0xff, sizeof(f->buffer)); /* which programs nothing */
	enter(f, FLASH_FILL);
}

static bool in_buffer(const struct flash *f, uint64_t off)
{
	return off >= f->start && off - f->start < f->count && off / FLASH_BLOCK_BYTES == f->start / FLASH_BLOCK_BYTES;
}

static void fill(struct flash *f, uint64_t off, uint8_t byte)
{
	if (!f->filled)
		f->start = off;
	if (!in_buffer(f, off)) {
		done(f, NO_COMMANDS);
		return;
	}
	f->buffer[off - f->start] = byte;
	if (++f->filled == f->count)
		enter(f, FLASH_CONFIRM);
}

/* The bytes may have come in any order, but those behind the block's end were refused. */
static void end_buffer(struct flash *f, uint8_t byte)
{
	const uint64_t left = FLASH_BLOCK_BYTES - f->start % FLASH_BLOCK_BYTES;

	if (byte == CMD_CONFIRM)
		program(f, f->start, f->buffer, f->count < left ? f->count : left);
	else
		done(f, NO_COMMANDS);
}

/* ---- accesses ---- */

static void command(struct flash *f, uint8_t byte)
{
	switch (byte) {
	case CMD_PROGRAM:
	case CMD_PROGRAM_2:
		enter(f, FLASH_PROGRAM);
		break;
	case CMD_ERASE:
		enter(f, FLASH_ERASE);
		break;
	case CMD_STATUS:
		enter(f, FLASH_STATUS);
		break;
	case CMD_ID:
		enter(f, FLASH_ID);
		break;
	case CMD_BUFFER:
		enter(f, FLASH_COUNT);
		break;
	case CMD_CLEAR_STATUS:
		f->status = 0;
		enter(f, FLASH_ARRAY);
		break;
	default:
		enter(f, FLASH_ARRAY);
	}
}

static void write_byte(struct flash *f, uint64_t off, uint8_t byte)
{
	switch (f->mode) {
	case FLASH_PROGRAM:
		program(f, off, &byte, 1);
		break;
	case FLASH_ERASE:
		if (byte == CMD_CONFIRM)
			erase(f, off);
		else
			done(f, NO_COMMANDS);
		break;
	case FLASH_COUNT:
		begin_buffer(f, byte);
		break;
	case FLASH_FILL:
		fill(f, off, byte);
		break;
	case FLASH_CONFIRM:
		end_buffer(f, byte);
		break;
	case FLASH_ARRAY:
	case FLASH_STATUS:
	case FLASH_ID:
		command(f, byte);
		break;
	}
}

void flash_write(void *flash, uint64_t off, unsigned len, uint64_t value)
{
	struct flash *f = flash;

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < len; i++)
		write_byte(f, off + i, (uint8_t)(value >> 8 * i));
	pthread_mutex_unlock(&f->lock);
}

static uint8_t id_byte(uint64_t off)
{
	switch (off % FLASH_BLOCK_BYTES) {
	case 0:
		return ID_MAKER;
	case 1:
		return ID_DEVICE;
	default:
		return 0;
	}
}

static uint8_t read_byte(const struct flash *f, uint64_t off)
{
	switch (f->mode) {
	case FLASH_ARRAY:
		return f->data[off];
	case FLASH_ID:
		return id_byte(off);
	default:
		return f->status;
	}
}

uint64_t flash_read(void *flash, uint64_t off, unsigned len)
{
	struct flash *f = flash;
	uint8_t bytes[8] = { 0 };

	pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < len; i++)
		bytes[i] = read_byte(f, off + i);
	pthread_mutex_unlock(&f->lock);
	return access_get(bytes, len);
}

/* ---- state ---- */

struct flash_state {
	uint64_t start;
	uint32_t count, filled;
	uint32_t mode, status;
	uint8_t buffer[FLASH_BUFFER_BYTES];
};

static const struct state_field state_fields[] = {
	STATE_ONE(struct flash_state, start),
	STATE_ONE(struct flash_state, count, .max = FLASH_BUFFER_BYTES),
	STATE_ONE(struct flash_state, filled, .max = FLASH_BUFFER_BYTES),
	STATE_ONE(struct flash_state, mode, .max = FLASH_CONFIRM),
	STATE_ONE(struct flash_state, status, .bits = FLASH_READY | NO_COMMANDS),
	STATE_ARRAY(struct flash_state, buffer),
};

/* There is always something to come before the buffer is to be confirmed, and nothing then. */
static const char *state_check(const void *state)
{
	const struct flash_state *st = state;

	if (st->filled > st->count || (st->mode == FLASH_FILL && st->filled == st->count))
		return "filled";
	return st->mode == FLASH_CONFIRM && (!st->count || st->filled < st->count) ? "count" : NULL;
}

static int state_save_flash(void *flash, void *ret_state)
{
	struct flash_state *st = ret_state;
	struct flash *f = flash;

	pthread_mutex_lock(&f->lock);
	*st = (struct flash_state){
		.start = f->start, .count = f->count, .filled = f->filled, .mode = f->mode, .status = f->status,
	};
	memcpy(st->buffer, f->buffer, sizeof(st->buffer));
	pthread_mutex_unlock(&f->lock);
	return 0;
}

static int state_load_flash(void *flash, const void *state)
{
	const struct flash_state *st = state;
	struct flash *f = flash;

	if (st->start >= f->bytes)
		return -ENODEV;
	pthread_mutex_lock(&f->lock);
	f->start = st->start;
	f->count = st->count;
	f->filled = st->filled;
	f->status = (uint8_t)st->status;
	memcpy(f->buffer, st->buffer, sizeof(f->buffer));
	enter(f, (enum flash_mode)st->mode);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

const struct state_type flash_state_type = {
	STATE_TYPE("flash", 1, struct flash_state, state_fields),
	.check = state_check,
	.save = state_save_flash,
	.load = state_load_flash,
};
