/*
 * The firmware of a machine that is saved: the ROM, its variables, what it is told by fw_cfg, and the option ROMs of
 * devices, each a file of the snapshot, as the guest has them; see snapshot-internal.h. Nothing of what they came from is
 * needed any more, but for variables that were not copied, which are treated as disks are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/file.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/vm/option-rom.h"
#include "lkvm/vm/rom.h"
#include "lkvm/vm/vars.h"
#include "snapshot-internal.h"
#include "vm-internal.h"

#define TOLD "fw-cfg-items" /* the section: a record of each, in the order of the file */

/* ---- tables ---- */

struct firmware_state {
	uint64_t rom_bytes, vars_bytes;   /* no variables: 0 */
	uint64_t device, inode, mtime_ns; /* of the variables' file; like its checksum of one that was not copied */
	uint32_t checksum, path_n;
	uint8_t vars_copied, reserved[7];
	uint8_t path[4096]; /* of the variables */
};

static const struct state_field firmware_fields[] = {
	STATE_ONE(struct firmware_state, rom_bytes, .max = ROM_MAX),
	STATE_ONE(struct firmware_state, vars_bytes, .max = ROM_MAX),
	STATE_ONE(struct firmware_state, device),
	STATE_ONE(struct firmware_state, inode),
	STATE_ONE(struct firmware_state, mtime_ns),
	STATE_ONE(struct firmware_state, checksum),
	STATE_ONE(struct firmware_state, path_n, .max = sizeof(((struct firmware_state *)0)->path)),
	STATE_ONE(struct firmware_state, vars_copied, .max = 1),
	STATE_ARRAY(struct firmware_state, reserved),
	STATE_SOME(struct firmware_state, path, path_n),
};

static const char *firmware_check(const void *state)
{
	const struct firmware_state *st = state;

	if (!st->rom_bytes)
		return "rom_bytes";
	return !st->vars_bytes || state_is_text(st->path, st->path_n) ? NULL : "path";
}

const struct state_type snapshot_firmware_type = {
	STATE_TYPE("firmware", 1, struct firmware_state, firmware_fields),
	.check = firmware_check,
};

struct item_state {
	uint64_t bytes;
	uint32_t key, reserved;
	uint8_t name[FW_CFG_NAME_BYTES];
};

static const struct state_field item_fields[] = {
	STATE_ONE(struct item_state, bytes, .max = INT32_MAX),
	STATE_ONE(struct item_state, key, .max = FW_CFG_FIRST_FILE + FW_CFG_MAX_FILES - 1),
	STATE_ONE(struct item_state, reserved),
	STATE_ARRAY(struct item_state, name),
};

static const char *item_check(const void *state)
{
	const struct item_state *st = state;

	return st->name[sizeof(st->name) - 1] ? "name" : NULL;
}

const struct state_type snapshot_told_type = {
	STATE_TYPE("fw-cfg-item", 1, struct item_state, item_fields),
	.check = item_check,
};

struct option_rom_state {
	uint64_t bytes;
};

static const struct state_field option_rom_fields[] = {
	STATE_ONE(struct option_rom_state, bytes),
};

const struct state_type snapshot_option_rom_type = {
	STATE_TYPE("option-rom", 1, struct option_rom_state, option_rom_fields),
};

static void option_rom_section(char ret[SNAPSHOT_NAME_BYTES], unsigned index)
{
	snprintf(ret, SNAPSHOT_NAME_BYTES, "option-rom%u", index);
}

/* ---- save ---- */

/* What is there and nowhere else is copied in any case. Return: 0 or -errno */
static int describe_vars(struct snapshot_writer *w, const struct vm *vm, bool copy, struct firmware_state *st)
{
	const void *data = vars_data(vm->vars, &st->vars_bytes);
	const char *path = vm->cfg->firmware_vars;
	struct snapshot_identity id;
	int err;

	st->vars_copied = copy || vars_are_private(vm->vars);
	err = snapshot_note_path(st->vars_copied ? strdup(path) : realpath(path, NULL), st->path, sizeof(st->path),
				 &st->path_n);
	if (!err && st->vars_copied)
		return snapshot_add_file(w, SNAPSHOT_VARS, data, st->vars_bytes);
	if (!err)
		err = snapshot_identify((const char *)st->path, &id);
	if (!err) {
		st->device = id.device;
		st->inode = id.inode;
		st->mtime_ns = id.mtime_ns;
		st->checksum = id.checksum;
	}
	return err;
}

static int describe_told(struct snapshot_writer *w, void *fw)
{
	int err = snapshot_begin(w, TOLD);
	struct fw_cfg_item item;

	for (unsigned key = 0; !err && fw_cfg_next(fw, key, &item); key = item.key + 1) {
		struct item_state st = { .bytes = item.len, .key = item.key };

		strcpy((char *)st.name, item.name);
		err = state_pack(&w->buf, &snapshot_told_type, &st);
		if (!err)
			err = snapshot_add_file(w, SNAPSHOT_TOLD, item.data, item.len);
	}
	return err;
}

static int describe_option_roms(struct snapshot_writer *w, const struct vm *vm)
{
	int err = 0;

	for (unsigned i = 0; !err && i < vm->cfg->n_nets; i++) {
		const struct option_rom *rom = virtio_list_rom(vm->virtio, i);
		const struct option_rom_state st = { rom ? rom->bytes : 0 };
		char section[SNAPSHOT_NAME_BYTES], part[SNAPSHOT_PART_BYTES];

		if (!rom)
			continue;
		option_rom_section(section, i);
		snapshot_rom_name(part, i);
		err = snapshot_put(w, section, &snapshot_option_rom_type, &st);
		if (!err)
			err = snapshot_add_file(w, part, rom->data, rom->bytes);
	}
	return err;
}

int snapshot_describe_firmware(struct snapshot_writer *w, const struct vm *vm, bool copy)
{
	struct firmware_state *st;
	int err = 0;

	if (!vm->rom)
		return 0;
	st = calloc(1, sizeof(*st));
	if (!st)
		return -ENOMEM;
	st->rom_bytes = rom_bytes(vm->rom);
	if (vm->vars)
		err = describe_vars(w, vm, copy, st);
	if (!err)
		err = snapshot_add_file(w, SNAPSHOT_FIRMWARE, rom_data(vm->rom), st->rom_bytes);
	if (!err)
		err = snapshot_put(w, "firmware", &snapshot_firmware_type, st);
	free(st);
	if (!err)
		err = describe_told(w, platform_fw_cfg(vm->platform));
	return err ? err : describe_option_roms(w, vm);
}

/* ---- the configuration from it ---- */

/* Return: 0 or -errno, logged */
static int take_part(const struct vm_config *cfg, const char *part, uint64_t bytes, char **ret_path)
{
	int err = snapshot_check_part(cfg->snapshot, part, bytes, "what it is a copy of");

	if (!err && asprintf(ret_path, "%s/%s", cfg->restore, part) < 0) {
		*ret_path = NULL;
		err = log_err(-ENOMEM, "'%s'", cfg->restore);
	}
	return err;
}

static int check_unchanged(const char *path, const struct firmware_state *st)
{
	const struct snapshot_identity was = {
		.size_bytes = st->vars_bytes, .device = st->device, .inode = st->inode, .mtime_ns = st->mtime_ns,
		.checksum = st->checksum,
	};

	return snapshot_check_unchanged(path, &was, "firmware variables", "they were");
}

static int take_vars(struct vm_config *cfg, const struct firmware_state *st)
{
	int err;

	if (st->vars_copied) {
		err = take_part(cfg, SNAPSHOT_VARS, st->vars_bytes, &cfg->vars_heap);
	} else {
		err = check_unchanged((const char *)st->path, st);
		cfg->vars_heap = err ? NULL : strdup((const char *)st->path);
	}
	if (!err && !cfg->vars_heap)
		err = log_err(-ENOMEM, "firmware variables '%s'", st->path);
	cfg->firmware_vars = cfg->vars_heap;
	cfg->vars_private = st->vars_copied && !cfg->disks_rw;
	return err;
}

static int take_files(struct vm_config *cfg, const struct firmware_state *st)
{
	int err = take_part(cfg, SNAPSHOT_FIRMWARE, st->rom_bytes, &cfg->firmware_heap);

	cfg->firmware = cfg->firmware_heap;
	return err || !st->vars_bytes ? err : take_vars(cfg, st);
}

int snapshot_take_firmware(struct vm_config *cfg)
{
	struct firmware_state *st = malloc(sizeof(*st));
	int err = st ? snapshot_take_any(cfg->snapshot, "firmware", &snapshot_firmware_type, st) :
		       log_err(-ENOMEM, "firmware");

	if (err == -ENOENT)
		err = 0; /* it has none */
	else if (!err)
		err = take_files(cfg, st);
	free(st);
	return err;
}

int snapshot_take_option_rom(const struct vm_config *cfg, unsigned i)
{
	char section[SNAPSHOT_NAME_BYTES], part[SNAPSHOT_PART_BYTES];
	struct option_rom_state st;
	int err;

	option_rom_section(section, i);
	err = snapshot_take_any(cfg->snapshot, section, &snapshot_option_rom_type, &st);
	if (err == -ENOENT)
		return 0;
	snapshot_rom_name(part, i);
	if (!err)
		err = snapshot_check_part(cfg->snapshot, part, st.bytes, "what it is a copy of");
	return err ? err : 1;
}

/* ---- what firmware is told ---- */

static int damaged(const struct snapshot *snap, const char *why)
{
	return log_errx(-EBADMSG, "snapshot '%s' is damaged: '%s': %s", snapshot_path(snap), SNAPSHOT_TOLD, why);
}

static int put_back(const struct snapshot *snap, int fd, uint64_t at, const struct item_state *st, void *fw)
{
	struct fw_cfg_item item = { st->key, (const char *)st->name, NULL, st->bytes };
	void *data = malloc(st->bytes + 1);
	ssize_t n = data ? file_read(fd, data, st->bytes, at) : -ENOMEM;
	int err = n < 0 ? (int)n : 0;

	item.data = data;
	if (!err)
		err = (uint64_t)n < st->bytes ? -EBADMSG : fw_cfg_put_back(fw, &item);
	free(data);
	if (err == -EINVAL || err == -ENOSPC)
		return damaged(snap, "there can be no such item");
	if (err == -EBADMSG)
		return damaged(snap, "it is cut short");
	return err ? log_err(err, "'%s/%s'", snapshot_path(snap), SNAPSHOT_TOLD) : 0;
}

static int put_back_all(struct snapshot *snap, struct state_reader *in, int fd, uint64_t bytes, void *fw)
{
	struct item_state st;
	uint64_t at = 0;
	int err = 0;

	while (!err && in->at < in->end) {
		err = state_unpack(in, &snapshot_told_type, &st);
		if (err)
			return snapshot_bad(snap, TOLD, in, err);
		if (st.bytes > bytes - at)
			return damaged(snap, "it is cut short");
		err = put_back(snap, fd, at, &st, fw);
		at += st.bytes;
	}
	return err || at == bytes ? err : damaged(snap, "there is something behind the last item");
}

int snapshot_take_told(struct snapshot *snap, void *fw)
{
	struct state_reader in;
	struct stat st;
	int fd, err;

	if (snapshot_find(snap, TOLD, &in))
		return log_errx(-EBADMSG, "snapshot '%s' is damaged: it has no '%s'", snapshot_path(snap), TOLD);
	fd = openat(snapshot_folder(snap), SNAPSHOT_TOLD, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return log_err(-errno, "open '%s/%s'", snapshot_path(snap), SNAPSHOT_TOLD);
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		err = damaged(snap, "it is no file");
	else
		err = put_back_all(snap, &in, fd, (uint64_t)st.st_size, fw);
	close(fd);
	return err;
}
