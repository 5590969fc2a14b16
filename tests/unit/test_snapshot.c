/* Links: vm/snapshot-file.o vm/snapshot-machine.o vm/snapshot-disks.o vm/snapshot-nets.o vm/options-net.o net/keys.o net/forward.o vm/options-disk.o disk/keys.o util/keys.o util/options.o vm/snapshot-fs.o vm/snapshot-cpuid.o vm/snapshot-numa.o vm/snapshot-plug.o vm/snapshot-pmems.o vm/snapshot-firmware.o vm/rom.o vm/vars.o hw/flash.o hw/fw-cfg.o hw/bus.o kvm-slots.o vm/snapshot-identity.o hw/ram.o hw/ram-discard.o hw/ram-log.o hw/ram-plug.o util/crc32c.o util/file.o util/file-sample.o util/json.o util/log.o hw/state.o hw/state-show.o hw/ram-size.o disk/format.o */
/* The file of a snapshot's state: what is written is read, and no byte of it can be another. */
#include <errno.h>
#include <string.h>

#include "../../vm/snapshot-internal.h"
#include "../../vm/vm-internal.h"
#include "lkvm/chips.h"
#include "lkvm/disk.h"
#include "lkvm/flash.h"
#include "lkvm/fs.h"
#include "lkvm/fw-cfg.h"
#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/options.h"
#include "lkvm/pmem.h"
#include "lkvm/version.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/devices.h"
#include "lkvm/vm/option-rom.h"
#include "lkvm/vm/rom.h"
#include "lkvm/vm/run.h"
#include "lkvm/vm/vars.h"
#include "own-folder.h"
#include "state.h"
#include "unit.h"

struct thing_state {
	uint32_t a, b;
};

static const struct state_field thing_fields[] = {
	STATE_ONE(struct thing_state, a),
	STATE_ONE(struct thing_state, b, .max = 7),
};

static const struct state_type thing_type = { STATE_TYPE("thing", 1, struct thing_state, thing_fields) };

const char lkvm_version[] = "of the test";

static struct disk a_disk = { .size_bytes = 8192 };

struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index)
{
	(void)list, (void)index;
	return &a_disk;
}

static void *fw_cfg;
static struct option_rom option_rom; /* of network 1 */

void *platform_fw_cfg(struct platform *p)
{
	(void)p;
	return fw_cfg;
}

const struct option_rom *virtio_list_rom(const struct virtio_list *list, unsigned index)
{
	(void)list;
	return index == 1 ? &option_rom : NULL;
}

static void make_folder(void)
{
	enter_own_folder();
	put(SNAPSHOT_RAM, "", 0);
	log_hold_errors(true);
}

static void add_thing(struct snapshot_writer *w, const char *section, uint32_t a, uint32_t b)
{
	const struct thing_state st = { a, b };

	ck_assert_int_eq(snapshot_begin(w, section), 0);
	ck_assert_int_eq(state_pack(&w->buf, &thing_type, &st), 0);
}

static void make_state(struct snapshot_writer *w)
{
	*w = (struct snapshot_writer){ 0 };
	add_thing(w, "one", 1, 2);
	ck_assert_int_eq(snapshot_begin(w, "empty"), 0);
	add_thing(w, "two", 3, 4);
	ck_assert_int_eq(snapshot_end(w), 0);
}

static void assert_thing(struct snapshot *snap, const char *section, uint32_t a, uint32_t b)
{
	struct thing_state st;

	ck_assert_int_eq(snapshot_take(snap, section, &thing_type, &st), 0);
	ck_assert_uint_eq(st.a, a);
	ck_assert_uint_eq(st.b, b);
}

START_TEST(test_sections)
{
	struct snapshot_writer w;
	struct state_reader in;
	struct snapshot *snap;

	make_folder();
	make_state(&w);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), 0);
	ck_assert_str_eq(snapshot_path(snap), own_folder);
	ck_assert_str_eq(snapshot_unused(snap), "one");
	assert_thing(snap, "two", 3, 4);
	assert_thing(snap, "one", 1, 2);
	ck_assert_str_eq(snapshot_unused(snap), "empty");
	ck_assert_int_eq(snapshot_find(snap, "empty", &in), 0);
	ck_assert_ptr_eq(in.at, in.end);
	ck_assert_ptr_null(snapshot_unused(snap));
	ck_assert_int_eq(snapshot_find(snap, "three", &in), -ENOENT);
	/* Each only once: two devices of one state would be one too many. */
	ck_assert_int_eq(snapshot_find(snap, "one", &in), -ENOENT);
	snapshot_close(snap);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

/* Whatever byte is another, and wherever it ends */
START_TEST(test_damage)
{
	struct snapshot_writer w;
	struct snapshot *snap;

	make_folder();
	make_state(&w);
	for (size_t i = 0; i < w.buf.len; i++) {
		const uint8_t was = w.buf.data[i];

		for (unsigned bit = 0; bit < 8; bit++) {
			w.buf.data[i] = (uint8_t)(was ^ 1 << bit);
			put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
			ck_assert_msg(snapshot_open(own_folder, &snap) == -EBADMSG, "byte %zu, bit %u", i, bit);
		}
		w.buf.data[i] = was;
	}
	for (size_t len = 0; len < w.buf.len; len++) {
		put(SNAPSHOT_STATE, w.buf.data, len);
		ck_assert_msg(snapshot_open(own_folder, &snap) == -EBADMSG, "%zu bytes", len);
	}
	ck_assert_int_eq(state_buf_add(&w.buf, "", 1), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), -EBADMSG);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

/* Right sums do not make it right. */
START_TEST(test_hostile)
{
	struct snapshot_writer w = { 0 };
	struct thing_state st;
	struct snapshot *snap;

	make_folder();
	add_thing(&w, "one", 1, 8); /* more than it can be */
	add_thing(&w, "two", 1, 2);
	ck_assert_int_eq(state_buf_add(&w.buf, "x", 1), 0); /* behind its record */
	ck_assert_int_eq(snapshot_begin(&w, "three"), 0);
	ck_assert_int_eq(state_buf_add(&w.buf, "no record", 9), 0);
	ck_assert_int_eq(snapshot_begin(&w, "four"), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), 0);
	ck_assert_int_eq(snapshot_take(snap, "one", &thing_type, &st), -ERANGE);
	ck_assert_int_eq(snapshot_take(snap, "two", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "three", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "four", &thing_type, &st), -EBADMSG);
	ck_assert_int_eq(snapshot_take(snap, "five", &thing_type, &st), -EBADMSG);
	snapshot_close(snap);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

START_TEST(test_not_there)
{
	struct snapshot *snap;

	make_folder();
	ck_assert_int_eq(snapshot_open("/nowhere", &snap), -ENOENT);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), -EBADMSG);
	ck_assert_int_eq(snapshot_open("/dev/null", &snap), -ENOTDIR);
	leave_own_folder();
}
END_TEST

START_TEST(test_tables)
{
	state_test_table(&snapshot_machine_type);
	state_test_table(&snapshot_disk_type);
	state_test_table(&snapshot_folder_type);
	state_test_table(&snapshot_lists_type);
	state_test_table(&snapshot_network_type);
	state_test_table(&snapshot_numa_type);
	state_test_table(&snapshot_persistent_type);
	state_test_table(&snapshot_plug_type);
	state_test_table(&snapshot_firmware_type);
	state_test_table(&snapshot_told_type);
	state_test_table(&snapshot_option_rom_type);
	state_test_table(&snapshot_cpuid_type);
}
END_TEST

static void assert_folder(const struct fs_config *got, const struct fs_config *want, const char *path)
{
	ck_assert_str_eq(got->path, path);
	ck_assert_str_eq(got->tag, want->tag);
	ck_assert_int_eq(got->read_only, want->read_only);
	ck_assert_int_eq(got->p9, want->p9);
	ck_assert_int_eq(got->one_mount, want->one_mount);
	ck_assert_int_eq(got->dax, want->dax);
	ck_assert_int_eq(got->cache, want->cache);
}

/* @lists as they come back to a machine of @n_folders; Return: of snapshot_take_lists() */
static int take_lists(const struct session_lists *lists, unsigned n_folders, struct session_lists *ret)
{
	struct vm_config cfg = { .restore = own_folder, .n_folders = n_folders };
	struct snapshot_writer w = { 0 };
	struct state_reader in;
	int err;

	ck_assert_int_eq(snapshot_begin(&w, "first"), 0);
	ck_assert_int_eq(snapshot_describe_lists(&w, lists), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
	ck_assert_int_eq(snapshot_open(own_folder, &cfg.snapshot), 0);
	ck_assert_int_eq(snapshot_find(cfg.snapshot, "first", &in), 0);
	err = snapshot_take_lists(&cfg);
	ck_assert_ptr_null(snapshot_unused(cfg.snapshot));
	snapshot_close(cfg.snapshot);
	*ret = cfg.session.lists;
	return err;
}

/* Once, whoever looked at the same time */
START_TEST(test_written)
{
	struct snapshot_writer w = { 0 };
	struct snapshot *snap;

	make_folder();
	ck_assert_int_eq(snapshot_begin(&w, "first"), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
	ck_assert_int_eq(snapshot_open(own_folder, &snap), 0);
	ck_assert_int_eq(snapshot_check_written(snap), 0);
	ck_assert_int_eq(snapshot_note_written(snap), 0);
	ck_assert_int_eq(snapshot_check_written(snap), -ESTALE);
	ck_assert_int_eq(snapshot_note_written(snap), -ESTALE);
	snapshot_close(snap);
	leave_own_folder();
}
END_TEST

#define PLUG_RAM (64 * MIB)

/* A machine whose memory may be plugged as @was says, and that has blocks 1 and 2; Return: of snapshot_take_plug() */
static int take_plug(const struct vm_config *was, struct vm_config *cfg)
{
	struct ram_backing backing = { .fd = -1, .advice = &was->ram };
	struct snapshot_writer w = { 0 };
	struct state_reader in;
	struct ram *ram;
	int err;

	ck_assert_int_eq(ram_new(PLUG_RAM, &backing, &ram), 0);
	if (was->ram.region.bytes)
		ck_assert_int_eq(ram_plug(ram, 1, 2), 0);
	ck_assert_int_eq(snapshot_begin(&w, "first"), 0);
	ck_assert_int_eq(snapshot_describe_plug(&w, was, ram), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	ram_free(ram);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
	cfg->restore = own_folder;
	ck_assert_int_eq(snapshot_open(own_folder, &cfg->snapshot), 0);
	ck_assert_int_eq(snapshot_find(cfg->snapshot, "first", &in), 0);
	err = snapshot_take_plug(cfg, PLUG_RAM);
	snapshot_skip_plug(cfg->snapshot);
	ck_assert_ptr_null(snapshot_unused(cfg->snapshot));
	snapshot_close(cfg->snapshot);
	return err;
}

START_TEST(test_plug)
{
	const struct vm_config none = { .ram.size_bytes = PLUG_RAM };
	struct vm_config was = { .mem_max = PLUG_RAM + 6 * MIB,
				 .ram = { .size_bytes = PLUG_RAM, .region = { 4 * GIB, 8 * MIB, 2 * MIB } } };
	struct vm_config cfg = { 0 };
	struct ram_region good = was.ram.region;

	make_folder();
	ck_assert_int_eq(take_plug(&none, &cfg), 0);
	ck_assert(!cfg.mem_max && !cfg.ram.region.bytes);
	cfg.mem_max = GIB;
	ck_assert_int_eq(take_plug(&none, &cfg), -EINVAL);
	ck_assert_int_eq(take_plug(&was, &cfg), -EINVAL);
	cfg.mem_max = was.mem_max;
	ck_assert_int_eq(take_plug(&was, &cfg), 0);
	cfg = (struct vm_config){ 0 };
	ck_assert_int_eq(take_plug(&was, &cfg), 0);
	ck_assert_uint_eq(cfg.mem_max, was.mem_max);
	ck_assert(!memcmp(&cfg.ram.region, &was.ram.region, sizeof(was.ram.region)));
	ck_assert_uint_eq(cfg.ram.plugged[0], 6);
	/* What cannot be */
	was.mem_max = PLUG_RAM;
	ck_assert_int_lt(take_plug(&was, &cfg), 0);
	was.mem_max = PLUG_RAM + 10 * MIB;
	ck_assert_int_lt(take_plug(&was, &cfg), 0);
	was.mem_max = PLUG_RAM + 6 * MIB + 4096;
	ck_assert_int_lt(take_plug(&was, &cfg), 0);
	was.mem_max = PLUG_RAM + 6 * MIB;
	was.ram.region.block_bytes = MIB;
	ck_assert_int_lt(take_plug(&was, &cfg), 0);
	was.ram.region = good;
	was.ram.region.start = 2 * GIB;
	ck_assert_int_lt(take_plug(&was, &cfg), 0);
	leave_own_folder();
}
END_TEST

START_TEST(test_lists)
{
	const struct session_lists lists = { .modules = (char *)"/lib/modules/1", .built = true, .folder = 1, .ino = 5 };
	struct session_lists got;

	make_folder();
	ck_assert_int_eq(take_lists(&(struct session_lists){ 0 }, 2, &got), 0);
	ck_assert_ptr_null(got.modules);
	ck_assert_int_eq(take_lists(&lists, 2, &got), 0);
	ck_assert_str_eq(got.modules, lists.modules);
	ck_assert(got.built && got.folder == 1 && got.ino == 5);
	free(got.modules);
	ck_assert_int_eq(take_lists(&lists, 1, &got), -EBADMSG); /* it has no second folder */
	ck_assert_ptr_null(got.modules);
	leave_own_folder();
}
END_TEST

/* By a path that is right from anywhere, and what they are to the guest */
START_TEST(test_folders)
{
	const struct fs_config folders[] = {
		{ .path = ".", .tag = "here", .read_only = true, .dax = true, .cache = FS_CACHE_ALWAYS },
		{ .path = "/", .tag = "a-tag-of-thirty-six-characters-12345", .p9 = true, .one_mount = true },
	};
	struct vm_config cfg = { 0 };
	struct snapshot_writer w = { 0 };

	make_folder();
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(snapshot_describe_folder(&w, &folders[i], i), 0);
	ck_assert_int_eq(snapshot_describe_folder(&w, &(struct fs_config){ .path = "gone", .tag = "t" }, 2), -ENOENT);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	ck_assert_int_eq(snapshot_open(own_folder, &cfg.snapshot), 0);
	ck_assert_int_eq(snapshot_take_folders(&cfg, 3), -EBADMSG); /* it has no third */
	ck_assert_uint_eq(cfg.n_folders, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_folder(&cfg.folders[i], &folders[i], i ? "/" : own_folder);
		free((char *)cfg.folders[i].path);
	}
	free(cfg.folders);
	snapshot_close(cfg.snapshot);
	state_buf_free(&w.buf);
	leave_own_folder();
}
END_TEST

/* ---- persistent memory ---- */

/* Return: of snapshot_take_pmems(), of a machine with two of them */
static int take_pmems(struct vm_config *ret)
{
	int err;

	*ret = (struct vm_config){ .restore = own_folder };
	ck_assert_int_eq(snapshot_open(own_folder, &ret->snapshot), 0);
	err = snapshot_take_pmems(ret);
	snapshot_close(ret->snapshot);
	return err;
}

static void free_pmems(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_pmems; i++)
		free((char *)cfg->pmems[i].path);
	free(cfg->pmems);
}

/* They stay where they are, and must be what they were; what the guest writes to cannot. */
START_TEST(test_pmems)
{
	static const char zeros[8192];
	const struct pmem_config pmems[] = { { .path = "one", .read_only = true }, { .path = "./two", .read_only = true } },
				 writes = { .path = "one" }, gone = { .path = "gone", .read_only = true };
	const struct timespec times[] = { { .tv_sec = 5 }, { .tv_sec = 5 } };
	struct snapshot_writer w = { 0 };
	struct vm_config cfg;
	char path[80];

	make_folder();
	put("one", zeros, sizeof(zeros));
	put("two", zeros, 100);
	ck_assert_int_eq(snapshot_describe_pmem(&w, &writes, 0), -EOPNOTSUPP);
	ck_assert_int_eq(snapshot_describe_pmem(&w, &gone, 0), -ENOENT);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(snapshot_describe_pmem(&w, &pmems[i], i), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
	ck_assert_int_eq(take_pmems(&cfg), 0);
	ck_assert_uint_eq(cfg.n_pmems, 2);
	snprintf(path, sizeof(path), "%s/two", own_folder);
	ck_assert_str_eq(cfg.pmems[1].path, path);
	ck_assert(cfg.pmems[0].read_only && cfg.pmems[1].read_only);
	ck_assert_uint_eq(cfg.pmems[0].bytes, PMEM_UNIT);
	free_pmems(&cfg);
	/* Another size, another time, another file, none */
	ck_assert_int_eq(truncate("two", 101), 0);
	ck_assert_int_eq(take_pmems(&cfg), -ESTALE);
	free_pmems(&cfg);
	put("two", zeros, 100);
	ck_assert_int_eq(utimensat(AT_FDCWD, "two", times, 0), 0);
	ck_assert_int_eq(take_pmems(&cfg), -ESTALE);
	free_pmems(&cfg);
	ck_assert_int_eq(unlink("two"), 0);
	ck_assert_int_eq(take_pmems(&cfg), -ENOENT);
	free_pmems(&cfg);
	leave_own_folder();
}
END_TEST

/* ---- firmware ---- */

#define ROM_BYTES  0x10000
#define VARS_BYTES 0x2000

static void put_bytes(const char *path, uint8_t byte, size_t len)
{
	uint8_t *data = malloc(len);

	memset(data, byte, len);
	put(path, data, len);
	free(data);
}

static void *new_fw_cfg(void)
{
	static const struct device_env nothing;
	void *fw = calloc(1, fw_cfg_type.size);

	ck_assert_int_eq(fw_cfg_type.init(fw, &nothing), 0);
	return fw;
}

static void free_fw_cfg(void *fw)
{
	fw_cfg_type.fini(fw);
	free(fw);
}

static void (*spoil)(struct state_buf *buf); /* what an enemy does to the last section; NULL: nothing */

/* What has been noted becomes the snapshot. */
static void put_all(struct snapshot_writer *w)
{
	if (spoil)
		spoil(&w->buf);
	ck_assert_int_eq(snapshot_end(w), 0);
	put(SNAPSHOT_STATE, w->buf.data, w->buf.len);
	for (unsigned i = 0; i < w->n_pieces; i++) {
		const struct snapshot_piece *p = &w->pieces[i];
		const bool more = i && !strcmp(p->part, w->pieces[i - 1].part);
		FILE *out = fopen(p->part, more ? "ae" : "we");

		ck_assert(out && fwrite(p->data, 1, p->bytes, out) == p->bytes && !fclose(out));
	}
	state_buf_free(&w->buf);
	free(w->pieces);
}

/* A machine with firmware, whose variables were written */
static void save_firmware(enum vars_use use, bool copy)
{
	struct net_config nets[2] = { { .arg = NULL } };
	struct vm_config cfg = { .firmware = "rom", .firmware_vars = "vars", .nets = nets, .n_nets = 2 };
	struct vm vm = { .cfg = &cfg };
	struct kvm kvm = { .vm_fd = -1 };
	struct snapshot_writer w = { 0 };

	kvm_slots_init(&kvm);
	bus_init(&kvm.mmio);
	if (spoil)
		cfg.n_nets = 0;
	put_bytes("rom", 'r', ROM_BYTES);
	put_bytes("vars", 'v', VARS_BYTES);
	fw_cfg = new_fw_cfg();
	ck_assert_int_eq(fw_cfg_number(fw_cfg, FW_CFG_CPUS, 3, 2), 0);
	ck_assert_int_eq(fw_cfg_item(fw_cfg, FW_CFG_INITRD_DATA, "", 0), 0);
	ck_assert_int_eq(fw_cfg_file(fw_cfg, "etc/one", "11", 2), 0);
	ck_assert_int_eq(fw_cfg_file(fw_cfg, "two", "2", 1), 0);
	option_rom = (struct option_rom){ (uint8_t *)"option", 6 };
	ck_assert_int_eq(rom_load(cfg.firmware, &vm.rom), 0);
	ck_assert_int_eq(vars_open(cfg.firmware_vars, ROM_MAX - ROM_BYTES, use, &vm.vars), 0);
	ck_assert_int_eq(vars_map(vm.vars, &kvm, GPA(GIB)), 0);
	flash_write(vars_flash(vm.vars), 7, 1, 0x10); /* a command, and what becomes of it */
	flash_write(vars_flash(vm.vars), 7, 1, 0);
	ck_assert_int_eq(snapshot_describe_firmware(&w, &vm, copy), 0);
	put_all(&w);
	bus_fini(&kvm.mmio);
	kvm_slots_fini(&kvm);
	vars_close(vm.vars);
	rom_free(vm.rom);
	free_fw_cfg(fw_cfg);
}

/* Return: of snapshot_take_firmware(); then end_take() */
static int begin_take(struct vm_config *ret, bool disks_rw)
{
	*ret = (struct vm_config){ .restore = own_folder, .disks_rw = disks_rw };
	ck_assert_int_eq(snapshot_open(own_folder, &ret->snapshot), 0);
	return snapshot_take_firmware(ret);
}

static void end_take(struct vm_config *cfg)
{
	snapshot_close(cfg->snapshot);
	free(cfg->firmware_heap);
	free(cfg->vars_heap);
}

static int take_firmware(void)
{
	struct vm_config cfg;
	int err = begin_take(&cfg, false);

	end_take(&cfg);
	return err;
}

static void make_name_long(struct state_buf *buf)
{
	uint8_t *name = memmem(buf->data, buf->len, "etc/one", sizeof("etc/one"));

	ck_assert_ptr_nonnull(name);
	memset(name, 'a', FW_CFG_NAME_BYTES);
}

static char byte_of(const char *path, off_t at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char byte;

	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	close(fd);
	return byte;
}

/* All is there without what it came from, and what the guest then writes is its own, or the snapshot's. */
START_TEST(test_firmware)
{
	struct fw_cfg_item item;
	struct vm_config cfg;
	unsigned n = 0;

	make_folder();
	save_firmware(VARS_WRITE, true);
	ck_assert_int_eq(unlink("rom") | unlink("vars"), 0);
	ck_assert_int_eq(begin_take(&cfg, false), 0);
	ck_assert_int_eq(byte_of(cfg.firmware, ROM_BYTES - 1), 'r');
	ck_assert_int_eq(byte_of(cfg.firmware_vars, 6), 'v');
	ck_assert_int_eq(byte_of(cfg.firmware_vars, 7), 0);
	ck_assert(cfg.vars_private);
	ck_assert_int_eq(snapshot_take_option_rom(&cfg, 0), 0);
	ck_assert_int_eq(snapshot_take_option_rom(&cfg, 1), 1);
	fw_cfg = new_fw_cfg();
	ck_assert_int_eq(snapshot_take_told(cfg.snapshot, fw_cfg), 0);
	ck_assert_ptr_null(snapshot_unused(cfg.snapshot));
	for (unsigned key = 0; fw_cfg_next(fw_cfg, key, &item); key = item.key + 1)
		n++;
	ck_assert_uint_eq(n, 6); /* signature and id, too */
	ck_assert(fw_cfg_next(fw_cfg, FW_CFG_CPUS, &item) && item.len == 2 && *(const char *)item.data == 3);
	ck_assert(fw_cfg_next(fw_cfg, FW_CFG_INITRD_DATA, &item) && item.key == FW_CFG_INITRD_DATA && !item.len);
	ck_assert(fw_cfg_next(fw_cfg, FW_CFG_FIRST_FILE + 1, &item) && item.len == 1 && !strcmp(item.name, "two"));
	free_fw_cfg(fw_cfg);
	end_take(&cfg);
	ck_assert_int_eq(begin_take(&cfg, true), 0);
	ck_assert(!cfg.vars_private);
	end_take(&cfg);
	leave_own_folder();
}
END_TEST

/* Where they are not to be copied they stay where they are, and must be what they were; what is in no file is copied. */
START_TEST(test_vars_stay)
{
	struct vm_config cfg;
	char path[80];

	make_folder();
	snprintf(path, sizeof(path), "%s/vars", own_folder);
	save_firmware(VARS_WRITE, false);
	ck_assert_int_lt(access(SNAPSHOT_VARS, F_OK), 0);
	ck_assert_int_eq(begin_take(&cfg, false), 0);
	ck_assert_str_eq(cfg.firmware_vars, path);
	ck_assert(!cfg.vars_private);
	end_take(&cfg);
	put_bytes("vars", 'v', VARS_BYTES);
	ck_assert_int_eq(take_firmware(), -ESTALE);
	ck_assert_int_eq(unlink("vars"), 0);
	ck_assert_int_eq(take_firmware(), -ENOENT);
	save_firmware(VARS_PRIVATE, false);
	ck_assert_int_eq(byte_of(SNAPSHOT_VARS, 7), 0);
	ck_assert_int_eq(byte_of("vars", 7), 'v');
	ck_assert_int_eq(take_firmware(), 0);
	leave_own_folder();
}
END_TEST

/* What is longer, shorter, a link, or not there */
START_TEST(test_firmware_damaged)
{
	static const struct {
		const char *part;
		size_t bytes;
	} parts[] = { { SNAPSHOT_FIRMWARE, ROM_BYTES }, { SNAPSHOT_VARS, VARS_BYTES } };
	struct vm_config cfg;

	make_folder();
	for (unsigned i = 0; i < 2; i++) {
		save_firmware(VARS_WRITE, true);
		ck_assert_int_eq(truncate(parts[i].part, (off_t)parts[i].bytes - 1), 0);
		ck_assert_int_eq(take_firmware(), -EBADMSG);
		ck_assert_int_eq(truncate(parts[i].part, (off_t)parts[i].bytes + 1), 0);
		ck_assert_int_eq(take_firmware(), -EBADMSG);
		ck_assert_int_eq(unlink(parts[i].part), 0);
		ck_assert_int_eq(take_firmware(), -ENOENT);
		ck_assert_int_eq(symlink(i ? "vars" : "rom", parts[i].part), 0);
		ck_assert_int_eq(take_firmware(), -EBADMSG);
		ck_assert_int_eq(unlink(parts[i].part), 0);
	}
	save_firmware(VARS_WRITE, true);
	ck_assert_int_eq(truncate("rom1", 5), 0);
	ck_assert_int_eq(begin_take(&cfg, false), 0);
	ck_assert_int_eq(snapshot_take_option_rom(&cfg, 1), -EBADMSG);
	end_take(&cfg);
	leave_own_folder();
}
END_TEST

/* Return: of snapshot_take_told(), with what is in the folder */
static int take_told(void)
{
	struct vm_config cfg;
	void *fw = new_fw_cfg();
	int err;

	ck_assert_int_eq(begin_take(&cfg, false), 0);
	err = snapshot_take_told(cfg.snapshot, fw);
	end_take(&cfg);
	free_fw_cfg(fw);
	return err;
}

START_TEST(test_told_damaged)
{
	static const char bytes[] = { 'Q', 'E', 'M', 'U', 3, 0, 0, 0, 3, 0, '1', '1', '2', 'x' };
	const size_t len = sizeof(bytes) - 1;

	make_folder();
	save_firmware(VARS_WRITE, true);
	ck_assert_int_eq(take_told(), 0);
	put(SNAPSHOT_TOLD, bytes, len);
	ck_assert_int_eq(take_told(), 0);
	for (size_t n = 0; n < len; n++) {
		put(SNAPSHOT_TOLD, bytes, n);
		ck_assert_int_eq(take_told(), -EBADMSG);
	}
	put(SNAPSHOT_TOLD, bytes, len + 1);
	ck_assert_int_eq(take_told(), -EBADMSG);
	ck_assert_int_eq(rename(SNAPSHOT_TOLD, "elsewhere"), 0);
	ck_assert_int_eq(take_told(), -ENOENT);
	ck_assert_int_eq(symlink("elsewhere", SNAPSHOT_TOLD), 0);
	ck_assert_int_eq(take_told(), -ELOOP);
	ck_assert_int_eq(unlink(SNAPSHOT_TOLD) | mkdir(SNAPSHOT_TOLD, 0700), 0);
	ck_assert_int_eq(take_told(), -EBADMSG);
	ck_assert_int_eq(rmdir(SNAPSHOT_TOLD), 0);
	spoil = make_name_long;
	save_firmware(VARS_WRITE, true);
	ck_assert_int_eq(take_told(), -ERANGE);
	leave_own_folder();
}
END_TEST

/* ---- disks ---- */

static void save_disks(struct disk_config *disks, unsigned n)
{
	struct vm_config cfg = { .disks = disks, .n_disks = n };
	const struct vm vm = { .cfg = &cfg };
	struct snapshot_writer w = { 0 };

	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(snapshot_describe_disk(&w, &vm, i, i == 0), 0);
	ck_assert_int_eq(snapshot_end(&w), 0);
	put(SNAPSHOT_STATE, w.buf.data, w.buf.len);
	state_buf_free(&w.buf);
}

/* With what the user says of them; Return: of snapshot_take_disks() */
static int take_disks(struct vm_config *ret, const char *const *said, unsigned n)
{
	const struct opt opt = { .name = "disk" };
	int err;

	*ret = (struct vm_config){ .restore = own_folder };
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(run_parse_disk(ret, &opt, said[i]), 0);
	ck_assert_int_eq(snapshot_open(own_folder, &ret->snapshot), 0);
	err = snapshot_take_disks(ret, 2);
	snapshot_close(ret->snapshot);
	return err;
}

/* The user may say what they are, and where those are that were not copied; nothing else. */
START_TEST(test_disks)
{
	static const struct {
		const char *said[3];
		int err;
	} all[] = {
		{ { NULL }, 0 },
		{ { "one" }, 0 },
		{ { "one,direct", "two,key-file=k" }, 0 },
		{ { "one", "./two,ephemeral,packed,queues=3,serial=s" }, 0 },
		{ { "two" }, -EINVAL },
		{ { "one", "one" }, -ESTALE },
		{ { "one", "gone" }, -ENOENT },
		{ { "one", "two", "three" }, -EINVAL },
		{ { "one,ro" }, -EINVAL },
		{ { "one,packed" }, -EINVAL },
		{ { "one,queues=2" }, -EINVAL },
		{ { "one,serial=s" }, -EINVAL },
		{ { "one,format=qcow2" }, -EINVAL },
		{ { "one,backing" }, -EINVAL },
	};
	struct disk_config disks[] = {
		{ .path = "one" },
		{ .path = "two", .packed = true, .queues = 3, .serial = "s", .direct = true },
	};
	static const char zeros[8192];
	struct vm_config cfg;

	make_folder();
	put("one", zeros, sizeof(zeros));
	put("two", zeros, sizeof(zeros));
	put("disk0", zeros, sizeof(zeros));
	save_disks(disks, 2);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		unsigned n = 0;

		while (n < 3 && all[i].said[n])
			n++;
		ck_assert_msg(take_disks(&cfg, all[i].said, n) == all[i].err, "%zu", i);
		if (!all[i].err) {
			ck_assert_uint_eq(cfg.n_disks, 2);
			ck_assert(cfg.disks[0].ephemeral && !cfg.disks[0].direct);
			ck_assert_str_eq(cfg.disks[1].serial, "s");
			ck_assert(cfg.disks[1].direct && cfg.disks[1].packed);
			ck_assert_int_eq(cfg.disks[1].ephemeral, i == 3);
			ck_assert_int_eq(!!cfg.disks[1].key_file, i == 2);
		}
		run_free_disks(&cfg);
	}
	leave_own_folder();
}
END_TEST

UNIT_MAIN("snapshot", test_sections, test_damage, test_hostile, test_not_there, test_tables, test_written, test_plug,
	  test_lists, test_folders, test_pmems, test_firmware, test_vars_stay, test_firmware_damaged, test_told_damaged, test_disks)
