/* `lkvm run --dry-run`, --verbose: what the machine is; see run.h. */
#include <errno.h>
#include <inttypes.h>

#include "lkvm/disk.h"
#include "lkvm/fs.h"
#include "lkvm/net.h"
#include "lkvm/pmem.h"
#include "lkvm/vm/hardware.h"
#include "lkvm/vm/numa.h"
#include "lkvm/vm/run.h"
#include "lkvm/x86/boot.h"

/* ---- a machine that is shown, and never run: nobody interrupts it ---- */

static int no_notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len, int64_t match, bool on)
{
	(void)ctx, (void)fd, (void)pio, (void)addr, (void)len, (void)match, (void)on;
	return 0;
}

static int no_irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	(void)ctx, (void)fd, (void)gsi, (void)on;
	return 0;
}

static int no_route(void *ctx, int *gsi, uint64_t addr, uint32_t data)
{
	(void)ctx, (void)gsi, (void)addr, (void)data;
	return -ENOSPC;
}

static void no_route_free(void *ctx, int gsi)
{
	(void)ctx, (void)gsi;
}

static void no_line(void *ctx, unsigned gsi, unsigned source, bool level)
{
	(void)ctx, (void)gsi, (void)source, (void)level;
}

static int no_line_fd(void *ctx, int fd, int resample_fd, unsigned gsi, bool on)
{
	(void)ctx, (void)fd, (void)resample_fd, (void)gsi, (void)on;
	return 0;
}

static int no_memory(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes,
		     bool read_only)
{
	(void)ctx, (void)name, (void)addr, (void)host, (void)bytes, (void)read_only;
	return -ENOSPC;
}

static int no_memory_remove(void *ctx, unsigned number)
{
	(void)ctx, (void)number;
	return 0;
}

static void no_stop(void *ctx, enum stop_cause cause, uint32_t value)
{
	(void)ctx, (void)cause, (void)value;
}

static void no_panic(void *ctx)
{
	(void)ctx;
}

struct board run_no_board(void)
{
	static const struct board_ops none = {
		.notify = no_notify,
		.irqfd = no_irqfd,
		.msi_route = no_route,
		.msi_free = no_route_free,
		.line = no_line,
		.line_fd = no_line_fd,
		.memory_add = no_memory,
		.memory_remove = no_memory_remove,
		.stop = no_stop,
		.note_panic = no_panic,
	};

	return (struct board){ .ops = &none };
}

/* ---- what it is ---- */

static void describe_kernel(FILE *out, const struct vm_config *cfg, const struct boot_entry *entry,
			    const char *cmdline)
{
	fprintf(out, "name:     %s\n", cfg->name);
	if (cfg->restore) {
		fprintf(out, "restored: %s\n", cfg->restore);
		return;
	}
	fprintf(out, "kernel:   %s: %s at %#" PRIx64, cfg->kernel, entry->protocol, entry->rip);
	if (*entry->release)
		fprintf(out, ", release %s", entry->release);
	fputc('\n', out);
	for (unsigned i = 0; i < cfg->n_initrds; i++)
		fprintf(out, "initrd:   %s\n", cfg->initrd[i]);
	fprintf(out, "cmdline:  %s\n", cmdline ? cmdline : "");
}

static void describe_disk(FILE *out, unsigned i, const struct disk_config *disk)
{
	fprintf(out, "disk:     blk%u: %s", i, disk->path);
	if (disk->format)
		fprintf(out, ", %s", disk->format);
	fputs(disk->read_only ? ", read-only" : disk->ephemeral ? ", ephemeral" : "", out);
	if (disk->serial)
		fprintf(out, ", serial %s", disk->serial);
	fputc('\n', out);
}

static void describe_folder(FILE *out, unsigned i, const struct fs_config *folder)
{
	fprintf(out, "folder:   %s%u: %s as %s%s", folder->p9 ? "9p" : "fs", i, folder->path, folder->tag,
		folder->read_only ? ", read-only" : "");
	if (!folder->p9)
		fprintf(out, ", cache %s%s", fs_cache_name(folder->cache), folder->dax ? ", dax" : "");
	fputc('\n', out);
}

static void describe_pmem(FILE *out, const struct vm_config *cfg, unsigned i)
{
	const struct pmem_config *pmem = &cfg->pmems[i];
	char mb[24];

	fprintf(out, "pmem:     pmem%u: %s, %s at %#" PRIx64 "%s\n", i, pmem->path,
		ram_mb_text(pmem->bytes, mb, sizeof(mb)), hw_pmem_at(cfg, i).v, pmem->read_only ? ", read-only" : "");
}

static void describe_net(FILE *out, unsigned i, const struct net_config *net)
{
	fprintf(out, "network:  net%u: %s", i, net_kind_name(net->kind));
	if (net->switch_name || net->ifname)
		fprintf(out, " %s", net->switch_name ? net->switch_name : net->ifname);
	if (net->queues > 1)
		fprintf(out, ", %u pairs of queues", net->queues);
	if (net->mtu)
		fprintf(out, ", MTU %u", net->mtu);
	if (net->vhost)
		fprintf(out, ", vhost");
	if (net->rss)
		fprintf(out, ", RSS");
	fputc('\n', out);
}

static void describe_cpus(FILE *out, const struct vm_config *cfg)
{
	const struct cpu_topology *t = &cfg->topology;

	fprintf(out, "CPUs:     %u", cfg->cpus);
	if (t->cores != cfg->cpus)
		fprintf(out, ", sockets=%u,dies=%u,cores=%u,threads=%u", t->sockets, t->dies, t->cores, t->threads);
	fputc('\n', out);
}

static void describe_nodes(FILE *out, const struct numa *numa)
{
	char mb[24];

	for (unsigned i = 0; i < numa->n; i++) {
		const char *before = ", CPUs ";

		fprintf(out, "node:     %u: %s", i, ram_mb_text(numa->bytes[i], mb, sizeof(mb)));
		for (unsigned cpu = 0; cpu < numa->n_cpus; cpu++)
			if (numa->node[cpu] == i) {
				fprintf(out, "%s%u", before, cpu);
				before = " ";
			}
		fputc('\n', out);
	}
}

static void describe_devices(FILE *out, const struct vm_config *cfg)
{
	unsigned n_of[2] = { 0 }; /* folders by virtio-fs, by 9P */

	describe_cpus(out, cfg);
	if (cfg->numa)
		describe_nodes(out, cfg->numa);
	fprintf(out, "tables:   %s\n", cfg->no_acpi ? "MP table, device tree" : "ACPI, MP table");
	fprintf(out, "virtio:   over %s\n", cfg->virtio_mmio ? "MMIO" : "PCI");
	for (unsigned i = 0; i < cfg->n_disks; i++)
		describe_disk(out, i, &cfg->disks[i]);
	for (unsigned i = 0; i < cfg->n_folders; i++)
		describe_folder(out, n_of[cfg->folders[i].p9]++, &cfg->folders[i]);
	for (unsigned i = 0; i < cfg->n_nets; i++)
		describe_net(out, i, &cfg->nets[i]);
	for (unsigned i = 0; i < cfg->n_pmems; i++)
		describe_pmem(out, cfg, i);
	fprintf(out, "console:  %s\n", cfg->console_virtio ? "hvc0, and ttyS0" : "ttyS0");
	for (unsigned n = 1; n < CONFIG_TTYS; n++)
		if (cfg->tty[n])
			fprintf(out, "terminal: %s%u\n", cfg->console_virtio ? "hvc" : "ttyS", n);
}

void run_describe(FILE *out, const struct control *machine, const struct boot_entry *entry,
		  const char *cmdline)
{
	describe_kernel(out, machine->config, entry, cmdline);
	describe_devices(out, machine->config);
	control_memmap(machine, false, out);
}
