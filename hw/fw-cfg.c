/*
 * fw_cfg, by which firmware asks what the machine is made of; see fw-cfg.h. Accesses come from vCPU threads, a DMA
 * request is carried out before the access that starts it ends.
 */
#include "lkvm/fw-cfg.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/chips.h"
#include "lkvm/ram.h"
#include "lkvm/state.h"
#include "lkvm/types.h"

#define ITEMS (FW_CFG_FIRST_FILE + FW_CFG_MAX_FILES)

#define HAS_PORTS 1 /* in FW_CFG_ID */
#define HAS_DMA   2

#define DMA_SIGNATURE 0x51454d5520434647ULL /* "QEMU CFG", the first byte highest, as all of DMA's */

/* What a request says to do, and how it went */
#define DMA_ERROR  0x01
#define DMA_READ   0x02
#define DMA_SKIP   0x04
#define DMA_SELECT 0x08 /* the item whose number is in the upper half */
#define DMA_WRITE  0x10

/* So many zeros at most follow an item: a request must not keep a vCPU for long. */
#define DMA_MOST_ZEROS 0x100000

struct item {
	uint8_t *data;
	size_t len;
	void (*written)(void *ctx); /* NULL: it is read-only, and data is ours */
	void *ctx;
};

struct dma_request {
	uint32_t control, length;
	uint64_t address;
};

struct list_entry {
	uint32_t len; /* the highest byte first, */
	uint16_t key; /* here too */
	uint16_t reserved;
	char name[FW_CFG_NAME_BYTES];
};

struct fw_cfg {
	pthread_mutex_t lock;
	struct ram *ram;
	struct item item[ITEMS]; /* constant once a vCPU runs, but for what is in those that may be written to */
	struct {
		uint32_t n; /* the highest byte first */
		struct list_entry entry[FW_CFG_MAX_FILES];
	} list;
	unsigned n_files;
	/* What the guest has set */
	uint16_t selected;
	size_t at; /* in the item; at its end at most */
	uint32_t dma_high;
};

/* ---- what there is ---- */

static void throw_away(struct item *item)
{
	if (!item->written)
		free(item->data);
	*item = (struct item){ 0 };
}

static int put(struct fw_cfg *fw, unsigned key, const void *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, len);
	throw_away(&fw->item[key]);
	fw->item[key] = (struct item){ .data = copy, .len = len };
	return 0;
}

int fw_cfg_item(void *dev, enum fw_cfg_key key, const void *data, size_t len)
{
	return put(dev, key, data, len);
}

int fw_cfg_number(void *dev, enum fw_cfg_key key, uint64_t value, unsigned bytes)
{
	const uint64_t little = htole64(value);

	return put(dev, key, &little, bytes);
}

/* The next file, whose item is there */
static int list_file(struct fw_cfg *fw, const char *name)
{
	const unsigned n = fw->n_files, key = FW_CFG_FIRST_FILE + n;
	const size_t len = fw->item[key].len;
	struct list_entry *entry = &fw->list.entry[n];

	entry->len = htobe32((uint32_t)len);
	entry->key = htobe16((uint16_t)key);
	strcpy(entry->name, name);
	fw->n_files = n + 1;
	fw->list.n = htobe32(fw->n_files);
	return put(fw, FW_CFG_FILES, &fw->list, sizeof(fw->list.n) + fw->n_files * sizeof(*entry));
}

/* Return: 0 or why there can be no file of that name */
static int judge_name(const struct fw_cfg *fw, const char *name)
{
	if (fw->n_files == FW_CFG_MAX_FILES)
		return -ENOSPC;
	return strlen(name) >= FW_CFG_NAME_BYTES ? -ENAMETOOLONG : 0;
}

int fw_cfg_file(void *dev, const char *name, const void *data, size_t len)
{
	struct fw_cfg *fw = dev;
	int err = judge_name(fw, name);

	if (!err)
		err = put(fw, FW_CFG_FIRST_FILE + fw->n_files, data, len);
	return err ? err : list_file(fw, name);
}

/* Of a machine that goes on there is one already. */
static int take_over(struct item *old, const struct item *item)
{
	if (old->len != item->len)
		return -EINVAL;
	memcpy(item->data, old->data, old->len);
	throw_away(old);
	*old = *item;
	return 0;
}

int fw_cfg_writable(void *dev, const char *name, const struct fw_cfg_writable *file)
{
	struct fw_cfg *fw = dev;
	const struct item item = { file->data, file->len, file->written, file->ctx };
	int err = judge_name(fw, name);

	for (unsigned n = 0; n < fw->n_files; n++)
		if (!strcmp(fw->list.entry[n].name, name))
			return take_over(&fw->item[FW_CFG_FIRST_FILE + n], &item);
	if (err)
		return err;
	fw->item[FW_CFG_FIRST_FILE + fw->n_files] = item;
	return list_file(fw, name);
}

/* ---- of a machine that is saved, or goes on ---- */

bool fw_cfg_next(void *dev, unsigned key, struct fw_cfg_item *ret)
{
	const struct fw_cfg *fw = dev;

	while (key < ITEMS && (key == FW_CFG_FILES || !fw->item[key].data))
		key++;
	if (key >= ITEMS)
		return false;
	*ret = (struct fw_cfg_item){
		.key = key,
		.name = key < FW_CFG_FIRST_FILE ? "" : fw->list.entry[key - FW_CFG_FIRST_FILE].name,
		.data = fw->item[key].data,
		.len = fw->item[key].len,
	};
	return true;
}

int fw_cfg_put_back(void *dev, const struct fw_cfg_item *item)
{
	struct fw_cfg *fw = dev;
	const unsigned n = item->key - FW_CFG_FIRST_FILE; /* of a file */

	if (item->key < FW_CFG_FIRST_FILE)
		return item->key == FW_CFG_FILES || *item->name ? -EINVAL : put(fw, item->key, item->data, item->len);
	if (n > fw->n_files || !*item->name)
		return -EINVAL;
	if (n == fw->n_files)
		return fw_cfg_file(fw, item->name, item->data, item->len);
	if (strcmp(fw->list.entry[n].name, item->name) || be32toh(fw->list.entry[n].len) != item->len)
		return -EINVAL;
	if (!fw->item[item->key].written)
		return put(fw, item->key, item->data, item->len);
	memcpy(fw->item[item->key].data, item->data, item->len);
	return 0;
}

/* ---- what the guest does; under the lock ---- */

static const struct item *selected(const struct fw_cfg *fw)
{
	static const struct item none;

	return fw->selected < ITEMS ? &fw->item[fw->selected] : &none;
}

static void take(struct fw_cfg *fw, uint16_t key)
{
	fw->selected = key;
	fw->at = 0;
}

/* Behind an item there are zeros. */
static uint8_t next_byte(struct fw_cfg *fw)
{
	const struct item *item = selected(fw);

	return fw->at < item->len ? item->data[fw->at++] : 0;
}

/* Return: false where the guest has no such memory, or wants too many zeros */
static bool dma_read(struct fw_cfg *fw, gpa_t to, uint32_t len)
{
	static const uint8_t zeros[4096];
	const struct item *item = selected(fw);
	const size_t left = item->len - fw->at, n = len < left ? len : left;

	if (len - n > DMA_MOST_ZEROS || !ram_host(fw->ram, to, len))
		return false;
	if (n && ram_write(fw->ram, to, item->data + fw->at, n))
		return false;
	fw->at += n;
	for (uint32_t done = (uint32_t)n; done < len;) {
		const uint32_t step = len - done < sizeof(zeros) ? len - done : (uint32_t)sizeof(zeros);

		if (ram_write(fw->ram, GPA(to.v + done), zeros, step))
			return false;
		done += step;
	}
	return true;
}

/* All of it or nothing. Return: false where that is not in the file, or the guest has no such memory */
static bool dma_write(struct fw_cfg *fw, gpa_t from, uint32_t len)
{
	const struct item *item = selected(fw);

	if (!item->written || len > item->len - fw->at || ram_read(fw->ram, from, item->data + fw->at, len))
		return false;
	fw->at += len;
	item->written(item->ctx);
	return true;
}

static bool dma_carry_out(struct fw_cfg *fw, uint32_t control, uint32_t len, gpa_t to)
{
	if (control & DMA_SELECT)
		take(fw, (uint16_t)(control >> 16));
	if (control & DMA_READ)
		return dma_read(fw, to, len);
	if (control & DMA_WRITE)
		return dma_write(fw, to, len);
	if (control & DMA_SKIP) {
		const size_t left = selected(fw)->len - fw->at;

		fw->at += len < left ? len : left;
	}
	return true;
}

/* Where there is no request nothing can be answered. */
static void dma(struct fw_cfg *fw, gpa_t at)
{
	struct dma_request request;
	uint32_t result;
	bool ok;

	if (ram_read(fw->ram, at, &request, sizeof(request)))
		return;
	ok = dma_carry_out(fw, be32toh(request.control), be32toh(request.length), GPA(be64toh(request.address)));
	result = htobe32(ok ? 0 : DMA_ERROR);
	ram_write(fw->ram, at, &result, sizeof(result));
}

/* ---- ports ---- */

static uint64_t fw_cfg_read(void *dev, uint64_t off, unsigned len)
{
	struct fw_cfg *fw = dev;
	uint64_t value = UINT64_MAX;

	if (off >= FW_CFG_DMA && off + len <= FW_CFG_PORTS) {
		const uint64_t bytes = htobe64(DMA_SIGNATURE);

		memcpy(&value, (const uint8_t *)&bytes + (off - FW_CFG_DMA), len);
	} else if (off == FW_CFG_DATA) {
		pthread_mutex_lock(&fw->lock);
		value = bus_byte(next_byte(fw));
		pthread_mutex_unlock(&fw->lock);
	}
	return value;
}

static void fw_cfg_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct fw_cfg *fw = dev;

	pthread_mutex_lock(&fw->lock);
	if (off == FW_CFG_SELECT && len == 2) {
		take(fw, (uint16_t)value);
	} else if (off == FW_CFG_DMA && len == 4) {
		fw->dma_high = be32toh((uint32_t)value);
	} else if (off == FW_CFG_DMA + 4 && len == 4) {
		const uint64_t at = (uint64_t)fw->dma_high << 32 | be32toh((uint32_t)value);

		fw->dma_high = 0;
		dma(fw, GPA(at));
	}
	pthread_mutex_unlock(&fw->lock);
}

static int fw_cfg_init(void *dev, const struct device_env *env)
{
	struct fw_cfg *fw = dev;
	int err;

	pthread_mutex_init(&fw->lock, NULL);
	fw->ram = env->ram;
	err = fw_cfg_item(fw, FW_CFG_SIGNATURE, "QEMU", 4);
	if (!err)
		err = fw_cfg_number(fw, FW_CFG_ID, HAS_PORTS | HAS_DMA, 4);
	return err ? err : fw_cfg_item(fw, FW_CFG_FILES, &fw->list, sizeof(fw->list.n));
}

static void fw_cfg_fini(void *dev)
{
	struct fw_cfg *fw = dev;

	for (unsigned i = 0; i < ITEMS; i++)
		throw_away(&fw->item[i]);
	pthread_mutex_destroy(&fw->lock);
}

/* ---- state ---- */

struct fw_cfg_state {
	uint64_t at;
	uint32_t selected, dma_high;
};

static const struct state_field state_fields[] = {
	STATE_ONE(struct fw_cfg_state, at),
	STATE_ONE(struct fw_cfg_state, selected, .max = UINT16_MAX),
	STATE_ONE(struct fw_cfg_state, dma_high),
};

static int save(void *dev, void *ret_state)
{
	struct fw_cfg *fw = dev;

	pthread_mutex_lock(&fw->lock);
	*(struct fw_cfg_state *)ret_state = (struct fw_cfg_state){ fw->at, fw->selected, fw->dma_high };
	pthread_mutex_unlock(&fw->lock);
	return 0;
}

/* The place is in the item that is there. */
static int load(void *dev, const void *state)
{
	const struct fw_cfg_state *st = state;
	struct fw_cfg *fw = dev;
	const size_t len = st->selected < ITEMS ? fw->item[st->selected].len : 0;

	if (st->at > len)
		return -ENODEV;
	pthread_mutex_lock(&fw->lock);
	fw->at = st->at;
	fw->selected = (uint16_t)st->selected;
	fw->dma_high = st->dma_high;
	pthread_mutex_unlock(&fw->lock);
	return 0;
}

static const struct state_type state_type = {
	STATE_TYPE("fw-cfg", 1, struct fw_cfg_state, state_fields),
	.save = save,
	.load = load,
};

const struct device_type fw_cfg_type = {
	.name = "fw-cfg",
	.size = sizeof(struct fw_cfg),
	.io = { .read = fw_cfg_read, .write = fw_cfg_write },
	.init = fw_cfg_init,
	.fini = fw_cfg_fini,
	.state = &state_type,
};
