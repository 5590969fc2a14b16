/* What a warm start depends on; see lkvm/vm/warm.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/crc32c.h"
#include "lkvm/disk.h"
#include "lkvm/file.h"
#include "lkvm/fs.h"
#include "lkvm/net.h"
#include "lkvm/types.h"
#include "lkvm/version.h"
#include "lkvm/vm/warm.h"
#include "lkvm/x86/cpu-model.h"
#include "lkvm/x86/numa.h"
#include "snapshot-internal.h"

#define RECIPE_VERSION 1
#define CPU_BYTES      4096 /* of /proc/cpuinfo: the first CPU */

/* ---- text ---- */

/* A line; what would end it does not. */
static void put(FILE *f, const char *key, const char *text)
{
	fprintf(f, "%s ", key);
	for (; text && *text; text++)
		if (*text == '\n' || *text == '\\')
			fprintf(f, "\\%02x", *text);
		else
			fputc(*text, f);
	fputc('\n', f);
}

bool warm_recipe_value(const char *recipe, const char *key, char *ret, size_t cap)
{
	const size_t len = strlen(key);

	for (const char *line = recipe; line && *line; line = strchr(line, '\n'), line += !!line) {
		if (strncmp(line, key, len) || line[len] != ' ')
			continue;
		line += len + 1;
		snprintf(ret, cap, "%.*s", (int)strcspn(line, "\n"), line);
		return true;
	}
	return false;
}

/* ---- files ---- */

static unsigned long long ns_of(const struct timespec *t)
{
	return (unsigned long long)t->tv_sec * NS_PER_S + (unsigned long long)t->tv_nsec;
}

/* Which file it is, and when it last changed: that is as good as its contents, ... */
static void put_identity(FILE *f, const char *key, const struct stat *st)
{
	fprintf(f, "%s %llu:%llu %llu %llu %llu", key, (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino, (unsigned long long)st->st_size, ns_of(&st->st_mtim),
		ns_of(&st->st_ctim));
}

/* ... but for one that is written twice within a tick of the clock. */
static int put_contents(FILE *f, int fd, const struct stat *st)
{
	uint32_t sum;
	int err = S_ISREG(st->st_mode) ? file_sample(fd, (uint64_t)st->st_size, &sum) : -EINVAL;

	if (!err)
		fprintf(f, " %08x\n", sum);
	return err;
}

static int put_file(FILE *f, const char *key, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	struct stat st;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : 0;
	if (!err) {
		put_identity(f, key, &st);
		err = put_contents(f, fd, &st);
	}
	close(fd);
	return err;
}

static void put_made(FILE *f, const struct boot_made *made)
{
	fprintf(f, "initramfs %llu %08x\n", (unsigned long long)made->bytes, made->sum(made->ctx));
}

/* ---- the host ---- */

static int read_text(const char *path, char *ret, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, cap - 1);
	err = n < 0 ? -errno : 0;
	close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return err;
}

/* Microcode can be replaced while the host runs. */
static void put_cpu(FILE *f)
{
	static const char *const wanted[] = { "model name", "microcode", "flags" };
	char text[CPU_BYTES];

	if (read_text("/proc/cpuinfo", text, sizeof(text)))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		char *at = strstr(text, wanted[i]);

		if (at)
			fprintf(f, "cpu %.*s\n", (int)strcspn(at, "\n"), at);
	}
}

/* A boot of the host has one kernel, KVM and CPU; and what was not written when it crashed is not used. */
static int put_host(FILE *f)
{
	char boot[64];
	int err = read_text("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));

	if (err)
		return err;
	boot[strcspn(boot, "\n")] = '\0';
	put(f, "host", boot);
	put_cpu(f);
	return 0;
}

static int put_lkvm(FILE *f)
{
	struct stat st;

	put(f, "version", lkvm_version);
	if (stat("/proc/self/exe", &st))
		return -errno;
	put_identity(f, "lkvm", &st);
	fputc('\n', f);
	return 0;
}

/* ---- the machine ---- */

static int put_machine(FILE *f, const struct vm_config *cfg)
{
	struct state_buf buf = { 0 };
	int err = snapshot_pack_machine(cfg, &buf);

	fputs("machine ", f);
	for (size_t i = 0; i < buf.len; i++)
		fprintf(f, "%02x", buf.data[i]);
	fprintf(f, "\nram %llu\ncpus %u\n", (unsigned long long)cfg->ram.size_bytes, cfg->cpus);
	state_buf_free(&buf);
	if (cfg->numa)
		fprintf(f, "numa %u %08x\n", cfg->numa->n, crc32c(0, cfg->numa, sizeof(*cfg->numa)));
	if (cfg->cpu.model)
		fprintf(f, "cpu-model %08x\n", cpu_model_checksum(cfg->cpu.model));
	for (unsigned i = 0; i < cfg->cpu.n_features; i++)
		fprintf(f, "feature %c%s\n", cfg->cpu.feature[i].on ? '+' : '-', cfg->cpu.feature[i].name);
	if (cfg->has_gpu)
		fprintf(f, "screen %ux%u\n", cfg->gpu.width, cfg->gpu.height);
	put(f, "params", cfg->params);
	return err;
}

/* Not which folder of the host it is: nothing of it is known yet. */
static void put_folder(FILE *f, const struct fs_config *fs)
{
	put(f, "folder", fs->tag);
	fprintf(f, "folder-is %d %d %d %d %d %llu\n", fs->read_only, fs->p9, fs->one_mount, (int)fs->cache, fs->dax,
		(unsigned long long)fs->window_bytes);
}

/* Its contents may be much: snapshot_take_same() looks at some. */
static int put_disk(FILE *f, const struct disk_config *disk)
{
	struct stat st;

	put(f, "disk", disk->path);
	put(f, "disk-serial", disk->serial);
	put(f, "disk-format", disk->format);
	fprintf(f, "disk-is %d %d %u\n", disk->direct, disk->packed, disk->queues);
	if (stat(disk->path, &st))
		return -errno;
	put_identity(f, "disk-file", &st);
	fputc('\n', f);
	return 0;
}

/* Not where it leads: that is known when the guest goes on. A driver that has come up keeps its address. */
static void put_net(FILE *f, const struct net_config *net)
{
	fprintf(f, "net %d %d %d %d %u %u", (int)net->kind, net->packed, net->rss, net->vhost, net->mtu,
		net->queues);
	for (unsigned i = 0; net->has_mac && i < NET_MAC_BYTES; i++)
		fprintf(f, "%c%02x", i ? ':' : ' ', net->mac[i]);
	fputc('\n', f);
}

static int put_all(FILE *f, const struct vm_config *cfg, const struct boot_made *made)
{
	int err;

	fprintf(f, "recipe %d\n", RECIPE_VERSION);
	err = put_lkvm(f);
	if (!err)
		err = put_host(f);
	put(f, "kernel", cfg->kernel);
	if (!err)
		err = put_file(f, "kernel-file", cfg->kernel);
	put_made(f, made);
	for (unsigned i = 0; !err && i < cfg->n_initrds; i++)
		err = put_file(f, "initrd-file", cfg->initrd[i]);
	if (!err)
		err = put_machine(f, cfg);
	for (unsigned i = 0; i < cfg->n_folders; i++)
		put_folder(f, &cfg->folders[i]);
	for (unsigned i = 0; !err && i < cfg->n_disks; i++)
		err = put_disk(f, &cfg->disks[i]);
	for (unsigned i = 0; i < cfg->n_nets; i++)
		put_net(f, &cfg->nets[i]);
	return err;
}

int warm_recipe(const struct vm_config *cfg, const struct boot_made *made, char **ret)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int err = f ? put_all(f, cfg, made) : -errno;

	if (f && fclose(f) && !err)
		err = -ENOMEM;
	if (!err && len >= WARM_RECIPE_BYTES)
		err = -E2BIG;
	if (err)
		free(text);
	else
		*ret = text;
	return err;
}

/* ---- what does not go ---- */

static const char *disk_unsafe(const struct disk_config *disk)
{
	if (!disk->read_only)
		return "a disk can be written";
	return disk_format(disk) && !strcmp(disk_format(disk), "raw") ? NULL : "a disk is no raw image";
}

/* Others on that wire know a guest by its address, which its driver has read by then. */
static const char *net_unsafe(const struct net_config *net)
{
	if (net->has_mac || net->kind == NET_USER || net->kind == NET_PASST)
		return NULL;
	return "a network where its address matters, without mac=";
}

const char *warm_unsafe(const struct vm_config *cfg)
{
	const struct {
		bool is;
		const char *why;
	} all[] = {
		{ cfg->warm == WARM_OFF, "--warm=off" },
		{ cfg->log, "--log is to have what the kernel prints while it boots" },
		{ cfg->dump_dtb, "--dump-dtb" },
		{ cfg->verbose, "--verbose" },
		{ cfg->n_pmems, "--pmem" },
		{ cfg->mem_max, "--mem-max" },
		{ cfg->tty[1] || cfg->tty[2] || cfg->tty[3], "--tty" },
		{ cfg->ram.path || cfg->ram.share || cfg->ram.hugetlbfs || cfg->ram.hugepages || cfg->ram.prealloc,
		  "RAM of a file, shared, of huge pages, or allocated at once" },
	};
	const char *why = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].is)
			return all[i].why;
	for (unsigned i = 0; !why && i < cfg->n_disks; i++)
		why = disk_unsafe(&cfg->disks[i]);
	for (unsigned i = 0; !why && i < cfg->n_nets; i++)
		why = net_unsafe(&cfg->nets[i]);
	return why;
}
