/* Links: vm/warm-recipe.o vm/warm-cache.o vm/snapshot-folder.o util/crc32c.o util/file.o util/file-sample.o hw/state.o hw/state-show.o util/json.o hw/ram-size.o disk/format.o */
#include "lkvm/vm/warm.h"
#include "lkvm/x86/numa.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/crc32c.h"
#include "lkvm/disk.h"
#include "lkvm/fs.h"
#include "lkvm/net.h"
#include "lkvm/x86/boot.h"
#include "own-folder.h"
#include "state.h"

const char lkvm_version[] = "1 (test)";

/* vm/snapshot-machine.c's, which says more */
int snapshot_pack_machine(const struct vm_config *cfg, struct state_buf *buf);
int snapshot_pack_machine(const struct vm_config *cfg, struct state_buf *buf)
{
	return state_buf_add(buf, &cfg->no_acpi, sizeof(cfg->no_acpi));
}

static char kernel[] = "kernel"; /* in the test's folder */

static void setup(void)
{
	enter_own_folder();
	put_text(kernel, "a kernel");
}

static char made_text[] = "initramfs";

static uint32_t sum_made(const void *ctx)
{
	return crc32c(0, ctx, sizeof(made_text));
}

static struct boot_made made = { .bytes = sizeof(made_text), .sum = sum_made, .ctx = made_text };

static char *recipe_of(const struct vm_config *cfg)
{
	char *text;

	ck_assert_int_eq(warm_recipe(cfg, &made, &text), 0);
	return text;
}

static void expect_same(const struct vm_config *a, const char *text, bool same)
{
	char *other = recipe_of(a), key[2][WARM_KEY_BYTES];

	warm_key(text, key[0]);
	warm_key(other, key[1]);
	ck_assert_int_eq(!strcmp(text, other), same);
	ck_assert_int_eq(!strcmp(key[0], key[1]), same);
	free(other);
}

static struct numa nodes;

/* All that makes another guest makes another recipe, and nothing else does. */
START_TEST(test_recipe)
{
	struct fs_config share = { .path = "/a", .tag = "tag" }, *const folders = &share;
	struct net_config net = { .kind = NET_USER }, *const nets = &net;
	struct disk_config disk = { .path = kernel, .read_only = true }, *const disks = &disk;
	struct vm_config cfg = { .kernel = kernel, .cpus = 2, .ram.size_bytes = 64 << 20 };
	char *text, value[200];

	setup();
	text = recipe_of(&cfg);
	expect_same(&cfg, text, true);
	ck_assert(warm_recipe_value(text, "kernel", value, sizeof(value)));
	ck_assert_str_eq(value, kernel);
	ck_assert(warm_recipe_value(text, "cpus", value, sizeof(value)));
	ck_assert_str_eq(value, "2");
	ck_assert(!warm_recipe_value(text, "nothing", value, sizeof(value)));
	cfg.name = "other", cfg.session.user = "other";
	expect_same(&cfg, text, true);
#define DIFFERS(change, back)              \
	do {                               \
		change;                    \
		expect_same(&cfg, text, false); \
		back;                      \
		expect_same(&cfg, text, true);  \
	} while (0)
	DIFFERS(cfg.cpus = 3, cfg.cpus = 2);
	DIFFERS(cfg.ram.size_bytes = 65 << 20, cfg.ram.size_bytes = 64 << 20);
	DIFFERS(cfg.numa = &nodes, cfg.numa = NULL);
	DIFFERS(cfg.no_acpi = true, cfg.no_acpi = false);
	DIFFERS(cfg.params = (char[]){ "quiet" }, cfg.params = NULL);
	DIFFERS(made_text[0] = 'I', made_text[0] = 'i');
	DIFFERS(cfg.has_gpu = true, cfg.has_gpu = false);
	DIFFERS((cfg.initrd[0] = kernel, cfg.n_initrds = 1), cfg.n_initrds = 0);
	DIFFERS((cfg.cpu.feature[0].name = "avx", cfg.cpu.n_features = 1), cfg.cpu.n_features = 0);
	DIFFERS((cfg.folders = folders, cfg.n_folders = 1), cfg.n_folders = 0);
	DIFFERS((cfg.disks = disks, cfg.n_disks = 1), cfg.n_disks = 0);
	DIFFERS((cfg.nets = nets, cfg.n_nets = 1), cfg.n_nets = 0);
	free(text);
	cfg.nets = nets;
	cfg.n_folders = cfg.n_disks = cfg.n_nets = 1;
	text = recipe_of(&cfg);
	share.path = "/b"; /* which folder it is, the guest cannot know yet */
	expect_same(&cfg, text, true);
	DIFFERS(share.tag = "other", share.tag = "tag");
	DIFFERS(share.read_only = true, share.read_only = false);
	DIFFERS(share.p9 = true, share.p9 = false);
	DIFFERS(share.dax = true, share.dax = false);
	DIFFERS(share.cache = FS_CACHE_NONE, share.cache = FS_CACHE_AUTO);
	DIFFERS(disk.serial = "serial", disk.serial = NULL);
	DIFFERS(disk.packed = true, disk.packed = false);
	net.n_forwards = 1; /* nor where it leads */
	net.restricted = true;
	expect_same(&cfg, text, true);
	DIFFERS(net.mtu = 1500, net.mtu = 0);
	DIFFERS(net.packed = true, net.packed = false);
	DIFFERS(net.queues = 2, net.queues = 0);
	DIFFERS(net.kind = NET_PASST, net.kind = NET_USER);
	DIFFERS((net.has_mac = true, net.mac[5] = 1), net.has_mac = false);
	free(text);
	cfg.has_gpu = true; /* without a size it has that of the device */
	text = recipe_of(&cfg);
	cfg.vnc.wanted = true;
	expect_same(&cfg, text, true);
	DIFFERS(cfg.gpu.width = 800, cfg.gpu.width = 0);
	free(text);
	leave_own_folder();
}
END_TEST

START_TEST(test_recipe_file)
{
	struct vm_config cfg = { .kernel = kernel };
	const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	char *text;

	setup();
	utimensat(AT_FDCWD, kernel, times, 0);
	text = recipe_of(&cfg);
	put_text(kernel, "A kernel");
	utimensat(AT_FDCWD, kernel, times, 0);
	expect_same(&cfg, text, false);
	free(text);
	cfg.kernel = "/nowhere";
	ck_assert_int_eq(warm_recipe(&cfg, &made, &text), -ENOENT);
	cfg.kernel = "/dev/null";
	ck_assert_int_eq(warm_recipe(&cfg, &made, &text), -EINVAL);
	leave_own_folder();
}
END_TEST

/* No text makes a line of another key. */
START_TEST(test_recipe_lines)
{
	char params[] = "quiet\nkernel x", value[100], *text;
	struct vm_config cfg = { .kernel = kernel, .params = params };

	setup();
	text = recipe_of(&cfg);
	ck_assert(warm_recipe_value(text, "params", value, sizeof(value)));
	ck_assert_str_eq(value, "quiet\\0akernel x");
	free(text);
	cfg.params = malloc(WARM_RECIPE_BYTES);
	memset(cfg.params, 'x', WARM_RECIPE_BYTES - 1);
	cfg.params[WARM_RECIPE_BYTES - 1] = '\0';
	ck_assert_int_eq(warm_recipe(&cfg, &made, &text), -E2BIG);
	free(cfg.params);
	leave_own_folder();
}
END_TEST

START_TEST(test_unsafe)
{
	struct disk_config disk = { .path = "/image", .read_only = true };
	struct vm_config cfg = { .disks = &disk, .n_disks = 1 };

	ck_assert_ptr_null(warm_unsafe(&cfg));
#define UNSAFE(change, back)                            \
	do {                                            \
		change;                                 \
		ck_assert_ptr_nonnull(warm_unsafe(&cfg)); \
		back;                                   \
		ck_assert_ptr_null(warm_unsafe(&cfg));  \
	} while (0)
	UNSAFE(cfg.warm = WARM_OFF, cfg.warm = WARM_REFRESH);
	UNSAFE(cfg.log = "file", cfg.log = NULL);
	UNSAFE(cfg.tty[2] = true, cfg.tty[2] = false);
	UNSAFE(cfg.ram.share = true, cfg.ram.share = false);
	UNSAFE(cfg.ram.path = "file", cfg.ram.path = NULL);
	UNSAFE(disk.read_only = false, disk.read_only = true);
	UNSAFE(disk.path = "nbd://host", disk.path = "/image");
	UNSAFE(disk.path = "/image.qcow2", disk.path = "/image"); /* it may name other files */
	UNSAFE(disk.format = "qcow2", disk.format = NULL);
}
END_TEST

UNIT_MAIN("warm recipe", test_recipe, test_recipe_file, test_recipe_lines, test_unsafe)
