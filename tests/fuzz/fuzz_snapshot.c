/* Links: vm/snapshot-file.o vm/snapshot-machine.o vm/snapshot-disks.o vm/snapshot-nets.o vm/options-net.o net/keys.o net/forward.o vm/options-disk.o disk/keys.o util/keys.o util/options.o vm/snapshot-fs.o vm/snapshot-cpuid.o vm/snapshot-numa.o vm/snapshot-plug.o vm/snapshot-pmems.o vm/snapshot-identity.o hw/ram.o hw/ram-log.o hw/ram-plug.o util/crc32c.o util/file.o util/file-sample.o util/json.o util/log.o hw/state.o hw/state-show.o hw/ram-size.o disk/format.o */

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
#include "lkvm/json.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/version.h"
#include "lkvm/vm/devices.h"

const char lkvm_version[] = "of the fuzzer";

static char folder[] = "/dev/shm/fuzz-snapshot-XXXXXX";
static FILE *nowhere;

struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index)
{
	(void)list, (void)index;
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
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", folder, SNAPSHOT_STATE);
	unlink(path);
	snprintf(path, sizeof(path), "%s/%s", folder, SNAPSHOT_RAM);
	unlink(path);
	rmdir(folder);
}

static void begin(void)
{
	check(mkdtemp(folder));
	atexit(clean_up);
	put_file(SNAPSHOT_RAM, "", 0);
	nowhere = fopen("/dev/null", "w");
	check(nowhere);
	log_hold_errors(true);
}

static void put_sections(struct input *in)
{
	static const char *const names[] = { "machine", "disk0", "cpuid", "serial0", "folder0", "module-lists" };
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
