/* Links: vm/snapshot-file.o vm/snapshot-machine.o vm/snapshot-disks.o vm/snapshot-nets.o vm/options-net.o net/keys.o net/forward.o vm/options-disk.o disk/keys.o util/keys.o util/options.o vm/snapshot-fs.o vm/snapshot-cpuid.o vm/snapshot-numa.o vm/snapshot-plug.o vm/snapshot-pmems.o vm/snapshot-firmware.o vm/rom.o vm/vars.o hw/flash.o hw/fw-cfg.o hw/bus.o kvm-slots.o vm/snapshot-identity.o hw/ram.o hw/ram-discard.o hw/ram-log.o hw/ram-plug.o util/crc32c.o util/file.o util/file-sample.o util/json.o util/log.o hw/state.o hw/state-show.o hw/ram-size.o disk/format.o */

/*
 * A snapshot's state as an enemy would write it. The first byte: 0: the rest is the file as it is; else the
 * rest are sections whose checksums are right: a byte that chooses the name, a length, and the records.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../vm/snapshot-internal.h"
#include "input.h"
#include "lkvm/chips.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/version.h"
#include "lkvm/vm/devices.h"
#include "lkvm/vm/platform.h"

#define TOLD_BYTES 13

const char lkvm_version[] = "of the fuzzer";

static char folder[] = "/dev/shm/fuzz-snapshot-XXXXXX";
static FILE *nowhere;

struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index)
{
	(void)list, (void)index;
	abort();
}

const struct option_rom *virtio_list_rom(const struct virtio_list *list, unsigned index)
{
	(void)list, (void)index;
	abort();
}

void *platform_fw_cfg(struct platform *p)
{
	(void)p;
	abort();
}

static void put_file(const char *name, const void *bytes, size_t len)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	check(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static void clean_up(void)
{
	static const char *const parts[] = { SNAPSHOT_STATE, SNAPSHOT_RAM,  SNAPSHOT_FIRMWARE,
					     SNAPSHOT_VARS,  SNAPSHOT_TOLD, "rom0" };
	char path[64];

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, parts[i]);
		unlink(path);
	}
	rmdir(folder);
}

static void begin(void)
{
	static const uint8_t zeros[4096];

	check(mkdtemp(folder));
	atexit(clean_up);
	put_file(SNAPSHOT_RAM, "", 0);
	put_file(SNAPSHOT_FIRMWARE, zeros, 4096);
	put_file(SNAPSHOT_VARS, zeros, 4096);
	put_file(SNAPSHOT_TOLD, zeros, TOLD_BYTES);
	put_file("rom0", zeros, 512);
	nowhere = fopen("/dev/null", "w");
	check(nowhere);
	log_hold_errors(true);
}

static void put_sections(struct input *in)
{
	static const char *const names[] = { "machine", "disk0", "cpuid", "serial0", "folder0", "module-lists",
					     "firmware", "fw-cfg-items", "option-rom0" };
	struct snapshot_writer w = { 0 };

	while (in->at < in->end) {
		const char *name = names[input_byte(in) % ARRAY_SIZE(names)];
		const size_t wish = (size_t)input_le(in, 2), left = (size_t)(in->end - in->at);
		const size_t len = wish < left ? wish : left;

		check(!snapshot_begin(&w, name) && !state_buf_add(&w.buf, in->at, len));
		in->at += len;
	}
	if (!snapshot_end(&w))
		put_file(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
}

/* Of a machine with firmware: what is taken of it is so long as it says, and files of other machines are only looked at. */
static void use_firmware(struct snapshot *snap)
{
	static const struct device_env nothing;
	struct vm_config cfg = { .restore = folder, .snapshot = snap };
	void *fw = calloc(1, fw_cfg_type.size);
	struct fw_cfg_item item;

	check(fw && !fw_cfg_type.init(fw, &nothing));
	if (!snapshot_take_firmware(&cfg))
		check(!cfg.firmware || cfg.firmware == cfg.firmware_heap);
	snapshot_take_option_rom(&cfg, 0);
	snapshot_take_told(snap, fw);
	for (unsigned key = 0; fw_cfg_next(fw, key, &item); key = item.key + 1)
		check(strlen(item.name) < FW_CFG_NAME_BYTES && item.len <= TOLD_BYTES);
	fw_cfg_type.fini(fw);
	free(fw);
	free(cfg.firmware_heap);
	free(cfg.vars_heap);
}

static void use(struct snapshot *snap)
{
	static union {
		uint64_t align;
		uint8_t room[1 << 16];
	} st;
	struct kvm_cpuid2 *table = NULL;
	struct json json;

	check(snapshot_machine_type.size <= sizeof(st) && snapshot_disk_type.size <= sizeof(st) &&
	      snapshot_folder_type.size <= sizeof(st) && snapshot_lists_type.size <= sizeof(st));
	json_init(&json, nowhere);
	snapshot_json(snap, &json);
	snapshot_print(snap, nowhere);
	snapshot_take(snap, "machine", &snapshot_machine_type, &st);
	snapshot_take(snap, "disk0", &snapshot_disk_type, &st);
	snapshot_take(snap, "folder0", &snapshot_folder_type, &st);
	snapshot_take(snap, "module-lists", &snapshot_lists_type, &st);
	if (!snapshot_take_cpuid(snap, &table))
		check(table->nent <= 512);
	free(table);
	use_firmware(snap);
	snapshot_unused(snap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, data + len };
	struct snapshot *snap;

	if (!nowhere)
		begin();
	if (!input_byte(&in))
		put_file(SNAPSHOT_STATE, in.at, (size_t)(in.end - in.at));
	else
		put_sections(&in);
	if (!snapshot_open(folder, &snap)) {
		use(snap);
		snapshot_close(snap);
	}
	return 0;
}
