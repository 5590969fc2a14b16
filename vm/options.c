/*
 * `lkvm run`: the option table and what turns each option into configuration.
 * More than 500 lines: half of them are the table.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/disk.h"
#include "lkvm/fs.h"
#include "lkvm/ipc.h"
#include "lkvm/keys.h"
#include "lkvm/log.h"
#include "lkvm/pmem.h"
#include "lkvm/net.h"
#include "lkvm/vm/kernel.h"
#include "lkvm/vm/run.h"
#include "lkvm/vm/snapshot.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

#define TIMEOUT_MAX_S 1000000000

static int parse_initrd(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	if (cfg->n_initrds == CONFIG_MAX_INITRDS)
		return log_errx(-EINVAL, "more than %d initrds", CONFIG_MAX_INITRDS);
	cfg->initrd[cfg->n_initrds++] = arg;
	return 0;
}

static int parse_params(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	size_t old = cfg->params ? strlen(cfg->params) + 1 : 0;
	char *joined = realloc(cfg->params, old + strlen(arg) + 1);

	(void)opt;
	if (!joined)
		return log_err(-ENOMEM, "kernel command line");
	if (old)
		joined[old - 1] = ' ';
	strcpy(joined + old, arg);
	cfg->params = joined;
	return 0;
}

/* The words of a copy of @arg, by @keys; "" is none. They stand for themselves: no KEY_STRING. */
static int parse_list(const struct opt *opt, const struct opt_key *keys, void *config, const char *arg)
{
	char *text = strdup(arg);
	int err;

	if (!text)
		return log_err(-ENOMEM, "option '--%s'", opt->name);
	err = *text ? keys_parse(opt->name, keys, config, text) : 0;
	free(text);
	return err;
}

static int parse_debug(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	int err = parse_list(opt, opt->keys, &cfg->debug_topics, arg);

	if (!err)
		log_set_topics(cfg->debug_topics);
	return err;
}

static int parse_fail_on(void *config, const struct opt *opt, const char *arg)
{
	return parse_list(opt, opt->keys, &((struct vm_config *)config)->fail_on, arg);
}

static int parse_dump_on(void *config, const struct opt *opt, const char *arg)
{
	return dump_on_parse(&((struct vm_config *)config)->dump_on, opt->name, arg);
}

static int parse_dump_exclude(void *config, const struct opt *opt, const char *arg)
{
	return dump_exclude_parse(&((struct vm_config *)config)->dump_on.exclude, opt->name, arg);
}

static int parse_allow(void *config, const struct opt *opt, const char *arg)
{
	return kernel_log_allow_read(&((struct vm_config *)config)->allow, opt->name, arg);
}

static int parse_mem(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	uint64_t bytes;

	(void)opt;
	switch (ram_parse_size(arg, &bytes)) {
	case RAM_SIZE_OK:
		cfg->ram.size_bytes = bytes;
		return 0;
	case RAM_SIZE_SPECIFIER:
		return log_errx(-EINVAL,
				"Invalid memory specifier: %s (a whole number, in MB or with a unit of "
				"B, K, M, G, T or P: 1536, 1536M)", arg);
	case RAM_SIZE_ZERO:
		return log_errx(-EINVAL, "Invalid RAM size: %s", arg);
	case RAM_SIZE_OVERFLOW:
		return log_errx(-EINVAL, "Memory too large: %s", arg);
	case RAM_SIZE_SMALL:
		if (bytes % MIB)
			return log_errx(-EINVAL, "Not enough memory specified: %lluB (min 64MB)",
					(unsigned long long)bytes);
		return log_errx(-EINVAL, "Not enough memory specified: %lluMB (min 64MB)",
				(unsigned long long)(bytes / MIB));
	case RAM_SIZE_PAGES:
		break;
	}
	return log_errx(-EINVAL, "Memory size %s is not a multiple of the page size (4096B)", arg);
}

static const struct opt_value hugepages_values[] = {
	{ "2M", .help = "Pages of 2 MB." },
	{ "1G", .help = "Pages of 1 GB." },
	VALUES_END,
};

static int parse_hugepages(void *config, const struct opt *opt, const char *arg)
{
	static const uint64_t bytes[] = { 2 * MIB, GIB };
	struct vm_config *cfg = config;
	unsigned which;

	cfg->ram.hugepages = true;
	cfg->ram.hugepage_bytes = 0;
	if (!arg)
		return 0;
	if (keys_value(opt->name, opt->values, NULL, arg, &which))
		return -EINVAL;
	cfg->ram.hugepage_bytes = bytes[which];
	return 0;
}

/* Of things that are on by default; the field says that one is not. */
static int parse_on_off(void *config, const struct opt *opt, const char *arg)
{
	bool *off = (bool *)((char *)config + opt->offset);

	if (strcmp(arg, "on") && strcmp(arg, "off"))
		return log_errx(-EINVAL, "option '--%s': '%s' is neither on nor off", opt->name, arg);
	*off = !strcmp(arg, "off");
	return 0;
}

static const struct opt_key transport_keys[] = {
	{ "cmdline", .kind = KEY_FLAG, .offset = offsetof(struct vm_config, virtio_mmio_cmdline),
	  .help = "Announce them by virtio_mmio.device= on its command line, not by ACPI or device tree." },
	KEYS_END,
};
static const struct opt_value transport_values[] = {
	{ "pci", .help = "By PCI." },
	{ "mmio", .keys = transport_keys, .help = "By MMIO, in a machine without PCI." },
	VALUES_END,
};

static int parse_virtio_transport(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned which = 0;
	int err;

	cfg->virtio_mmio_cmdline = false;
	err = keys_value(opt->name, opt->values, cfg, arg, &which);
	cfg->virtio_mmio = which;
	return err;
}

static const struct opt_value console_values[] = {
	{ "serial", .help = "The serial port ttyS0." },
	{ "virtio", .keys = virtio_console_keys,
	  .help = "The virtio console hvc0, which is faster and knows the size of the terminal." },
	VALUES_END,
};

static int parse_console(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned which = 0;
	int err;

	cfg->hvc = (struct virtio_console_options){ 0 };
	err = keys_value(opt->name, opt->values, &cfg->hvc, arg, &which);
	cfg->console_virtio = which;
	return err;
}

static const struct opt_value rng_values[] = {
	{ "on", .keys = virtio_rng_keys, .implied = true, .help = "There is one." },
	{ "off", .help = "There is none." },
	VALUES_END,
};

static int parse_rng(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned which = 0;
	int err;

	cfg->rng = (struct virtio_rng_config){ 0 };
	err = arg ? keys_value(opt->name, opt->values, &cfg->rng, arg, &which) : 0;
	cfg->no_rng = which;
	return err;
}

/* [CID][,KEY...] */
static int parse_vsock(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	char *text = strdup(arg ? arg : ""), *rest = text;

	free(cfg->vsock_heap); /* what an earlier one points to */
	cfg->vsock_heap = text;
	cfg->vsock = (struct vsock_config){ 0 };
	cfg->has_vsock = true;
	if (!text)
		return log_err(-ENOMEM, "option '--%s'", opt->name);
	if (*text >= '0' && *text <= '9') {
		const char *cid = keys_word(&rest);

		if (options_unsigned(cid, VSOCK_FIRST_CID, VSOCK_LAST_CID, &cfg->vsock.cid))
			return log_errx(-EINVAL, "option '--%s': '%s' is not a guest's CID (%u to %u)", opt->name, cid,
					VSOCK_FIRST_CID, VSOCK_LAST_CID);
	}
	return rest && *rest ? keys_parse(opt->name, opt->keys, &cfg->vsock, rest) : 0;
}

static const struct opt_value balloon_values[] = {
	{ "on", .keys = virtio_balloon_keys, .implied = true, .help = "There is one." },
	{ "off", .help = "There is none." },
	VALUES_END,
};

static int parse_balloon(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned which = 0;
	int err;

	cfg->balloon = (struct virtio_balloon_options){ 0 };
	err = arg ? keys_value(opt->name, opt->values, &cfg->balloon, arg, &which) : 0;
	cfg->no_balloon = which;
	return err;
}

/* [WIDTHxHEIGHT][,KEY...] */
static int parse_gpu(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	char *text = strdup(arg ? arg : ""), *rest = text;
	int err = 0;

	free(cfg->gpu_heap); /* what an earlier one points to */
	cfg->gpu_heap = text;
	cfg->has_gpu = true;
	cfg->gpu = (struct virtio_gpu_options){ 0 };
	if (!text)
		return log_err(-ENOMEM, "option '--%s'", opt->name);
	if (*text >= '0' && *text <= '9')
		err = virtio_gpu_size(&cfg->gpu, opt->name, keys_word(&rest));
	if (!err && rest && *rest)
		err = keys_parse(opt->name, opt->keys, &cfg->gpu, rest);
	return err;
}

/* Who looks needs something to look at. */
static int parse_vnc(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	cfg->has_gpu = true;
	return vnc_parse(&cfg->vnc, opt->name, arg);
}

static int parse_tty(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned n;

	(void)opt;
	if (options_unsigned(arg, 1, CONFIG_TTYS - 1, &n))
		return log_errx(-EINVAL, "'%s' is not the number of a terminal (1 to %d)", arg,
				CONFIG_TTYS - 1);
	cfg->tty[n] = true;
	return 0;
}

static int parse_debug_exit(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	char *end = NULL;
	unsigned long port = PORT_DEBUG_EXIT;

	(void)opt;
	if (arg) {
		errno = 0;
		port = strtoul(arg, &end, 0);
		if (errno || *end || arg[0] < '0' || arg[0] > '9' || port > 0xfffc)
			return log_errx(-EINVAL, "'%s' is not an I/O port (0 to 0xfffc)", arg);
	}
	cfg->has_debug_exit = true;
	cfg->debug_exit_port = (uint16_t)port;
	return 0;
}

static int parse_gdb(void *config, const struct opt *opt, const char *arg)
{
	(void)opt;
	return gdb_config_parse(&((struct vm_config *)config)->gdb, arg);
}

static int parse_name(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	if (!ipc_name_valid(arg))
		return log_errx(-EINVAL, "'%s' is not a guest name (1 to %d of A-Z a-z 0-9 . _ -)", arg,
				IPC_NAME_MAX);
	cfg->name = arg;
	return 0;
}

/* As timeout(1) has it, but for the whole number. */
static int parse_timeout(void *config, const struct opt *opt, const char *arg)
{
	static const struct {
		char suffix;
		uint64_t seconds;
	} units[] = { { '\0', 1 }, { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	struct vm_config *cfg = config;
	const unsigned which = *opt->name == 'b' ? LIMIT_BOOT : *opt->name == 'i' ? LIMIT_IDLE : LIMIT_RUN;
	size_t digits = strspn(arg, "0123456789");
	char number[16];
	unsigned value;

	for (size_t i = 0; i < ARRAY_SIZE(units) && digits < sizeof(number); i++) {
		if (arg[digits] != units[i].suffix || (arg[digits] && arg[digits + 1]))
			continue;
		snprintf(number, sizeof(number), "%.*s", (int)digits, arg);
		if (options_unsigned(number, 1, TIMEOUT_MAX_S, &value) ||
		    value > TIMEOUT_MAX_S / units[i].seconds)
			break;
		cfg->limit[which].text = arg;
		cfg->limit[which].ns = value * units[i].seconds * NS_PER_S;
		return 0;
	}
	return log_errx(-EINVAL,
			"option '--%s': '%s' is not a time (90, 90s, 5m, 2h, 1d; 1 to %d seconds)",
			opt->name, arg, TIMEOUT_MAX_S);
}

/* "00112233-4455-6677-8899-aabbccddeeff"; in SMBIOS the first three fields are little endian */
static bool read_uuid(const char *s, uint8_t ret[16])
{
	static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

	for (unsigned i = 0; i < ARRAY_SIZE(order); i++, s += 2) {
		if ((i == 4 || i == 6 || i == 8 || i == 10) && *s++ != '-')
			return false;
		if (!isxdigit((unsigned char)s[0]) || !isxdigit((unsigned char)s[1]) ||
		    sscanf(s, "%2hhx", &ret[order[i]]) != 1)
			return false;
	}
	return !*s;
}

static int parse_uuid(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	cfg->has_uuid = read_uuid(arg, cfg->uuid);
	return cfg->has_uuid ? 0 : log_errx(-EINVAL, "'%s' is not a UUID", arg);
}

static int parse_escape(void *config, const struct opt *opt, const char *arg)
{
	return console_keys_parse(&((struct vm_config *)config)->keys, opt->name, arg);
}

static const struct opt_value disks_values[] = {
	{ "overlay", .help = "What is written to them is gone at the end: the snapshot stays as it is." },
	{ "rw", .help = "The snapshot's own are written, which is good for this one run." },
	VALUES_END,
};

static int parse_disks(void *config, const struct opt *opt, const char *arg)
{
	unsigned which = 0;
	int err = keys_value(opt->name, opt->values, NULL, arg, &which);

	((struct vm_config *)config)->disks_rw = which;
	return err;
}

const struct opt_value run_clock_values[] = {
	{ "saved", .help = "They go on from where they were. The time of day is late by as long as the guest was not "
			   "there, until it sets it." },
	{ "host", .help = "They have counted the time since, by the host's time of day, as if the guest had run and "
			  "done nothing." },
	VALUES_END,
};

static int parse_clock(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	unsigned which = 0;
	int err = keys_value(opt->name, opt->values, NULL, arg, &which);

	cfg->clock_given = true;
	cfg->clock_host = which;
	return err;
}

static const struct opt_value warm_values[] = {
	{ "on", .help = "Where that is safe. Otherwise, and whenever something is wrong with the cache, it boots." },
	{ "off", .help = "It boots, and nothing is saved." },
	{ "refresh", .help = "It boots, and is saved anew: with another place of the kernel in memory (KASLR), for example." },
	VALUES_END,
};

static int parse_warm(void *config, const struct opt *opt, const char *arg)
{
	unsigned which = WARM_ON;
	int err = arg ? keys_value(opt->name, opt->values, NULL, arg, &which) : 0;

	((struct vm_config *)config)->warm = (enum config_warm)which;
	return err;
}

#define FIELD(member) .offset = offsetof(struct vm_config, member)

const struct opt run_options[] = {
	{ OPT_GROUP, .help = "Kernel" },
	{ OPT_STRING, 'k', "kernel", "FILE", FIELD(kernel), .complete = COMPLETE_FILE,
	  .help = "Kernel to boot: bzImage, vmlinux (also compressed), unified kernel image, multiboot 1 "
		  "or 2, flat binary; from a file or a pipe, or the folder that one was built in. Or the "
		  "release of one in /boot, as uname -r prints it." },
	{ OPT_PARSE, 'i', "initrd", "FILE", .parse = parse_initrd, .complete = COMPLETE_FILE,
	  .help = "Initial RAM disk, from a file or a pipe. Given several times, the files are put one behind the other; for "
		  "a multiboot kernel each is a module." },
	{ OPT_PARSE, 'p', "params", "TEXT", .parse = parse_params,
	  .help = "Add to the kernel command line. May be given several times." },
	{ OPT_FLAG, 0, "nodefaults", FIELD(nodefaults),
	  .help = "Leave the default kernel command line out: " RUN_DEFAULT_CMDLINE ".\n"
		  "Each part of it can also be taken back by a later one: with -p cryptomgr.notests=0 "
		  "the self-tests of the kernel's crypto run as usual." },
	{ OPT_STRING, 0, "restore", "DIR", FIELD(restore), .complete = COMPLETE_DIR,
	  .help = "Boot nothing: go on from what lkvm snapshot has saved in this folder. The machine is as it was; "
		  "options that say otherwise are refused." },
	{ OPT_PARSE, 0, "disks", "overlay|rw", .parse = parse_disks, .complete = COMPLETE_WORDS,
	  .values = disks_values,
	  .help = "With --restore: how its disks are used (overlay)." },
	{ OPT_PARSE, 0, "clock", "saved|host", .parse = parse_clock, .complete = COMPLETE_WORDS,
	  .values = run_clock_values,
	  .help = "With --restore: what the guest's clocks that run by themselves, kvm-clock and time stamp "
		  "counters, have made of the time since it was saved (saved). The real-time clock chip tells the "
		  "host's time in either case." },
	{ OPT_GROUP, .help = "Machine" },
	{ OPT_PARSE, 'm', "mem", "SIZE", .parse = parse_mem,
	  .help = "Guest RAM in MB, or with a unit of B, K, M, G, T, P. Default: 64 MB x (CPUs + 3), at "
		  "most 0.8 of the host's RAM." },
	{ OPT_PARSE, 0, "mem-max", "SIZE", .parse = run_parse_mem_max,
	  .help = "Let the guest have so much memory at most, in place of what --mem gives it: lkvm mem plugs and unplugs "
		  "it while the guest runs." },
	{ OPT_PARSE, 'c', "cpus", "N[,KEY...]", .parse = run_parse_cpus, .keys = run_topology_keys,
	  .help = "Number of virtual CPUs, and how they are arranged. Default: as many as the host has online, as cores of "
		  "one socket." },
	{ OPT_PARSE, 0, "numa", "KEY,...", .parse = run_parse_numa, .complete = COMPLETE_LIST, .keys = run_numa_keys,
	  .help = "Give the guest a NUMA node. May be given several times. See NUMA nodes." },
	{ OPT_PARSE, 0, "pin", "LIST", .parse = run_parse_pin,
	  .help = "Let virtual CPU n run on the n-th of these CPUs of the host only, 0-3,8 for example; behind the last "
		  "comes the first again." },
	{ OPT_PARSE, 0, "cpu", "[FILE,]FEATURES", .parse = run_parse_cpu,
	  .complete = COMPLETE_LIST, .keys = cpu_keys,
	  .help = "CPU features to take away or to insist on: -avx2,+x2apic. With FILE, which `lkvm check --cpu-json` "
		  "prints, the CPU is the one in there, on any host that has all of it. Its name has a slash in it or "
		  "ends in .json; features may be left out behind it." },
	{ OPT_PARSE, 0, "name", "NAME", .parse = parse_name,
	  .help = "Name for lkvm list, stop and the like. Default: guest-PID." },
	{ OPT_PARSE, 0, "uuid", "UUID", .parse = parse_uuid,
	  .help = "The machine's UUID, which the guest finds by SMBIOS." },
	{ OPT_STRING, 0, "firmware", "FILE", FIELD(firmware), .complete = COMPLETE_FILE,
	  .help = "Run firmware, SeaBIOS or OVMF for example: it boots a disk, or the kernel. See Firmware." },
	{ OPT_STRING, 0, "firmware-vars", "FILE", FIELD(firmware_vars), .complete = COMPLETE_FILE,
	  .help = "Where firmware keeps its variables: a copy of OVMF_VARS.fd for example. It is written to." },
	{ OPT_FLAG, 0, "no-acpi", FIELD(no_acpi),
	  .help = "Tell the guest what the machine has by a device tree and an MP table, not by ACPI." },
	{ OPT_STRING, 0, "dump-dtb", "FILE", FIELD(dump_dtb), .complete = COMPLETE_FILE,
	  .help = "Write the device tree of the machine to this file." },
	{ OPT_PARSE, 0, "debug-exit", "PORT", .arg_optional = true, .parse = parse_debug_exit,
	  .help = "Let the guest end lkvm by writing V to this port (0xf4): exit status (V << 1) | 1." },
	{ OPT_PARSE, 0, "gdb", "unix:PATH|tcp:[ADDR]:PORT", .arg_optional = true, .parse = parse_gdb,
	  .help = "Let gdb connect there (tcp::" GDB_DEFAULT_PORT "; without ADDR only from this host, port 0 is any "
		  "free one). `lkvm gdb` needs no such option." },
	{ OPT_FLAG, 0, "gdb-wait", FIELD(gdb.wait),
	  .help = "Do not run the guest's first instruction before a debugger lets it." },
	{ OPT_FLAG, 0, "gdb-on-panic", FIELD(gdb.on_panic),
	  .help = "When the guest panics, resets or cannot go on, wait for a debugger in place of ending." },
	{ OPT_FLAG, 0, "test-device", FIELD(test_device),
	  .help = "Give the guest a device for tests of instructions and interrupts: ports and memory that "
		  "read back, ports that raise interrupt lines." },
	{ OPT_GROUP, .help = "Guest RAM from the host" },
	{ OPT_PARSE, 0, "hugepages", "2M|1G", .arg_optional = true, .parse = parse_hugepages,
	  .complete = COMPLETE_WORDS, .values = hugepages_values,
	  .help = "Make guest RAM of explicit huge pages, of the host's default size or this one." },
	{ OPT_STRING, 0, "hugetlbfs", "PATH", FIELD(ram.hugetlbfs), .complete = COMPLETE_DIR,
	  .help = "Make guest RAM of a file in this hugetlbfs mount point." },
	{ OPT_STRING, 0, "mem-path", "PATH", FIELD(ram.path), .complete = COMPLETE_FILE,
	  .help = "Use this file as guest RAM, or an unnamed one in this folder." },
	{ OPT_FLAG, 0, "mem-share", FIELD(ram.share),
	  .help = "Let other processes map guest RAM." },
	{ OPT_FLAG, 0, "mem-prealloc", FIELD(ram.prealloc),
	  .help = "Allocate all of guest RAM before the guest starts." },
	{ OPT_PARSE, 0, "mem-merge", "on|off", FIELD(ram.no_merge), .parse = parse_on_off,
	  .complete = COMPLETE_WORDS, .words = "on off",
	  .help = "Let the host merge equal pages (on)." },
	{ OPT_PARSE, 0, "mem-thp", "on|off", FIELD(ram.no_thp), .parse = parse_on_off,
	  .complete = COMPLETE_WORDS, .words = "on off",
	  .help = "Let the host use transparent huge pages (on)." },
	{ OPT_PARSE, 0, "mem-dontfork", "on|off", FIELD(ram.fork), .parse = parse_on_off,
	  .complete = COMPLETE_WORDS, .words = "on off",
	  .help = "Keep guest RAM out of child processes (on)." },
	{ OPT_PARSE, 0, "mem-dontdump", "on|off", FIELD(ram.dump), .parse = parse_on_off,
	  .complete = COMPLETE_WORDS, .words = "on off",
	  .help = "Keep guest RAM out of core dumps (on)." },
	{ OPT_GROUP, .help = "Devices" },
	{ OPT_PARSE, 0, "console", "serial|virtio[,packed]", .parse = parse_console,
	  .complete = COMPLETE_WORDS, .values = console_values,
	  .help = "What standard input and output are in the guest (serial). With virtio the default "
		  "command line has console=hvc0, and ttyS0 still prints to standard output." },
	{ OPT_PARSE, 0, "tty", "N", .parse = parse_tty,
	  .help = "Connect the guest's ttyS1, 2 or 3 (with --console virtio: hvc1, 2 or 3) to a pseudo "
		  "terminal, and print its name. May be given several times." },
	{ OPT_PARSE, 'd', "disk", "PATH[,KEY...]", .parse = run_parse_disk,
	  .complete = COMPLETE_FILE_LIST, .keys = disk_keys,
	  .help = "Give the guest a disk: a file, a block device or nbd://HOST. May be given several "
		  "times." },
	{ OPT_PARSE, 0, "fs", "DIR,TAG[,KEY...]", .parse = run_parse_fs,
	  .complete = COMPLETE_FILE_LIST, .keys = fs_keys,
	  .help = "Share a folder with the guest, which mounts it by mount -t virtiofs TAG. May be given "
		  "several times." },
	{ OPT_PARSE, 0, "9p", "DIR,TAG[,KEY...]", .parse = run_parse_9p,
	  .complete = COMPLETE_FILE_LIST, .keys = p9_keys,
	  .help = "Share a folder by 9P, for kernels without virtiofs: mount -t 9p -o "
		  "trans=virtio,version=9p2000.L TAG. May be given several times." },
	{ OPT_PARSE, 0, "pmem", "FILE[,ro]", .parse = run_parse_pmem, .complete = COMPLETE_FILE_LIST, .keys = pmem_keys,
	  .help = "Give the guest a file as persistent memory, /dev/pmem0. May be given several times." },
	{ OPT_PARSE, 'n', "net", "KIND[,KEY...]", .arg_optional = true, .arg_next = true, .parse = run_parse_net,
	  .complete = COMPLETE_WORDS, .values = net_values,
	  .help = "Give the guest a network device: user, tap, switch=NAME, passt (user). May be given several times.\n"
		  "A command, or a shell, finds addresses, routes and name servers set up." },
	{ OPT_PARSE, 'P', "port", "[ADDR:]PORT[:PORT][/udp]", .parse = run_parse_port,
	  .help = "Forward a port of this host to one of the guest's: 8080:80. May be given several times.\n"
		  "Short for hostfwd= of the first user network, which there is then in any case. 0 is any free "
		  "port, which `lkvm list` tells. Without ADDR only programs on this host reach it." },
	{ OPT_PARSE, 0, "virtio-transport", "pci|mmio", .parse = parse_virtio_transport,
	  .complete = COMPLETE_WORDS, .values = transport_values,
	  .help = "How the guest reaches its virtio devices (pci)." },
	{ OPT_PARSE, 0, "rng", "on|off|packed", .arg_optional = true, .parse = parse_rng,
	  .complete = COMPLETE_WORDS, .values = rng_values,
	  .help = "Give the guest the host's random numbers, by a virtio entropy device (on)." },
	{ OPT_PARSE, 0, "vsock", "CID[,KEY...]", .arg_optional = true, .number_follows = true, .parse = parse_vsock,
	  .complete = COMPLETE_LIST, .keys = vsock_keys,
	  .help = "Connect the guest's AF_VSOCK to UNIX sockets of the host, as lkvm-vsock(1) says. CID is the guest's "
		  "number (one that its name always has)." },
	{ OPT_PARSE, 0, "balloon", "on|off|packed", .arg_optional = true, .parse = parse_balloon,
	  .complete = COMPLETE_WORDS, .values = balloon_values,
	  .help = "Let the guest give memory back to the host that it does not use, by a virtio balloon (on)." },
	{ OPT_FLAG, 0, "no-balloon", FIELD(no_balloon), .help = "The same as --balloon=off." },
	{ OPT_PARSE, 0, "gpu", "WIDTHxHEIGHT[,KEY...]", .arg_optional = true, .parse = parse_gpu,
	  .complete = COMPLETE_LIST, .keys = virtio_gpu_keys,
	  .help = "Give the guest a screen (1024x768), a keyboard and a pointer, by virtio-gpu and virtio-input. `lkvm screenshot` "
		  "shows what is on it." },
	{ OPT_PARSE, 0, "vnc", "[ADDRESS]:N|unix:PATH[,KEY...]", .parse = parse_vnc, .keys = vnc_keys,
	  .help = "Show the screen to VNC viewers, at TCP port 5900 + N (auto: the first that is free) of 127.0.0.1, unless there is "
		  "another ADDRESS. Implies --gpu." },
	{ OPT_GROUP, .help = "Command" },
	{ OPT_PARSE, 0, "root", "DIR|IMAGE[,KEY...]", .parse = run_parse_root,
	  .complete = COMPLETE_FILE_LIST, .keys = disk_keys,
	  .help = "Folder or disk that is the command's root, read-only with a writable layer in guest memory "
		  "(/).\n"
		  "An image is as that of --disk, but read-only; with ro=off there is no layer, and the image is "
		  "written. See Disks as roots." },
	{ OPT_PARSE, 0, "rw", "DIR[:AT]", .parse = run_parse_share, .complete = COMPLETE_DIR,
	  .help = "Let the command write to this folder of the host, which it has at the same place, or at "
		  "another one. May be given several times." },
	{ OPT_PARSE, 0, "ro", "DIR[:AT]", .parse = run_parse_share, .complete = COMPLETE_DIR,
	  .help = "Show the command this folder too, read-only. May be given several times." },
	{ OPT_PARSE, 0, "hide", "PATH", .parse = run_parse_hide, .complete = COMPLETE_FILE,
	  .help = "Do not show the command what is there. May be given several times." },
	{ OPT_STRING, 0, "cwd", "DIR", FIELD(session.cwd), .complete = COMPLETE_DIR,
	  .help = "Folder that the command starts in. Default: the current one; with --root /." },
	{ OPT_STRING, 0, "user", "NAME", FIELD(session.user),
	  .help = "User that the command runs as (root), by the guest's /etc/passwd, or a number." },
	{ OPT_PARSE, 0, "env", "NAME[=VALUE]", .parse = run_parse_env,
	  .help = "Put this into the command's environment, which otherwise has PATH, TERM, HOME and the "
		  "language only. May be given several times." },
	{ OPT_PARSE, 0, "overlay-size", "SIZE", .parse = run_parse_overlay,
	  .help = "Most that the writable layer over the root may hold. Default: half of the guest's RAM." },
	{ OPT_PARSE, 0, "dax", "on|off", .parse = run_parse_dax, .complete = COMPLETE_WORDS, .words = "on off",
	  .help = "Let the command use the host's page cache itself, where its kernel has virtio-fs with "
		  "FUSE_DAX (off). As the key of --fs, for all of its folders." },
	{ OPT_PARSE, 0, "warm", "on|off|refresh", .arg_optional = true, .parse = parse_warm,
	  .complete = COMPLETE_WORDS, .values = warm_values,
	  .help = "Go on from where an earlier run with the same kernel and machine was ready for its command, in "
		  "place of booting (on). lkvm warm lists what is saved for that." },
	{ OPT_STRING, 0, "kernel-log", "FILE", FIELD(session.kernel_log), .complete = COMPLETE_FILE,
	  .help = "Write the log of the command's kernel to this file; - is standard error." },
	{ OPT_GROUP, .help = "Run" },
	{ OPT_FLAG, 0, "detach", FIELD(detach),
	  .help = "Print the guest's name and end once it runs: where it runs commands, once it takes one. It "
		  "goes on in the background, until its command or lkvm stop ends it." },
	{ OPT_FLAG, 0, "dry-run", FIELD(dry_run),
	  .help = "Print what the machine would be: kernel, command line, devices, memory map. Nothing "
		  "is started, opened for writing or made." },
	{ OPT_FLAG, 0, "verbose", FIELD(verbose),
	  .help = "Print the same on standard error, and run it." },
	{ OPT_STRING, 0, "log", "FILE", FIELD(log), .complete = COMPLETE_FILE,
	  .help = "Write a copy of what the guest prints on its console to this file." },
	{ OPT_PARSE, 0, "escape", "none|^KEY", .parse = parse_escape,
	  .complete = COMPLETE_WORDS, .words = "none ^a ^]",
	  .help = "The key before lkvm's own keys on a terminal (^a). With none all keys are the guest's." },
	{ OPT_PARSE, 0, "timeout", "TIME", .parse = parse_timeout,
	  .help = "End the guest after this time, with exit status 124: seconds, or a number with s, m, h "
		  "or d." },
	{ OPT_PARSE, 0, "boot-timeout", "TIME", .parse = parse_timeout,
	  .help = "Likewise if the guest is not ready for its command by then." },
	{ OPT_PARSE, 0, "idle-timeout", "TIME", .parse = parse_timeout,
	  .help = "Likewise if neither the console nor the command has printed anything for so long." },
	{ OPT_PARSE, 0, "fail-on", "KINDS", .parse = parse_fail_on,
	  .complete = COMPLETE_LIST, .keys = kernel_log_keys,
	  .help = "Exit status 123 if the guest's kernel has printed a message of one of these kinds, "
		  "whatever came of it. May be given several times." },
	{ OPT_PARSE, 0, "allow", "FILE", .parse = parse_allow, .complete = COMPLETE_FILE,
	  .help = "But not if a line of that message matches one of the extended regular expressions in "
		  "this file, one a line; # begins a comment. May be given several times." },
	{ OPT_FLAG, 0, "ktap", FIELD(ktap),
	  .help = "Read results of tests, as KTAP, from the kernel's log and the command's standard output; "
		  "sum them up, and if one has failed end with status 1 in place of 0." },
	{ OPT_STRING, 0, "junit", "FILE", FIELD(junit), .complete = COMPLETE_FILE,
	  .help = "Likewise, and write them to this file as JUnit XML; - is standard output." },
	{ OPT_UNSIGNED, 0, "reset-status", "N", FIELD(reset_status), .max = 255,
	  .help = "Exit status if the guest resets the machine without an orderly reboot (0)." },
	{ OPT_FLAG, 0, "no-end-on-halt", FIELD(no_end_on_halt),
	  .help = "Go on when the guest's kernel says that it has halted." },
	{ OPT_UNSIGNED, 0, "stop-timeout", "SECONDS", FIELD(stop_timeout_s), .min = 1, .max = 86400,
	  .help = "What still hangs so long after the end of the guest, a disk on a server that does not "
		  "answer for example, is named and left behind (10)." },
	{ OPT_FLAG, 0, "no-socket", FIELD(no_socket),
	  .help = "Make no control socket: lkvm list, stop and the like do not see this guest." },
	{ OPT_STRING, 0, "result", "FILE", FIELD(result), .complete = COMPLETE_FILE,
	  .help = "Write how the run ended to this file, as JSON: lkvm-json(5). - is standard output." },
	{ OPT_STRING, 0, "report", "DIR", FIELD(report), .complete = COMPLETE_DIR,
	  .help = "If the run ends by a time limit, a fault or a panic, write to this folder what is known of it: dmesg "
		  "(the kernel's log, from its memory), backtraces, memory-map, console." },
	{ OPT_STRING, 0, "trace", "FILE", FIELD(trace), .complete = COMPLETE_FILE,
	  .help = "Write to this file when the guest's CPUs left it and what for, what it asked of its devices, and when "
		  "they interrupted it, as JSON for Perfetto and chrome://tracing." },
	{ OPT_PARSE, 0, "dump-on", "ENDS:FILE", .parse = parse_dump_on, .complete = COMPLETE_LIST, .keys = dump_on_keys,
	  .help = "If the run ends in one of these ways, write the guest's memory and registers to this file, which does "
		  "not exist yet, as lkvm-dump(1) does." },
	{ OPT_PARSE, 0, "dump-exclude", "KINDS", .parse = parse_dump_exclude, .complete = COMPLETE_LIST,
	  .keys = dump_exclude_keys,
	  .help = "Leave these pages out of it. Where the guest does not tell which they are, all are in it." },
	{ OPT_PARSE, 0, "debug", "TOPICS", .parse = parse_debug,
	  .complete = COMPLETE_LIST, .keys = log_topic_keys,
	  .help = "Print debug messages of these topics, or with -TOPIC not." },
	OPT_END,
};

const char run_description[] =
	"Boots a kernel in a new virtual machine and connects its console to standard input and\n"
	"output. Ctrl-a x ends the guest, Ctrl-a ? lists the keys.\n"
	"\n"
	"Without a kernel, the first of these is taken: ./bzImage, arch/x86/boot/bzImage, ./vmlinux,\n"
	"the host's running kernel in /boot, the newest /boot/vmlinuz-*.\n"
	"\n"
	"Behind -- stands a command: it runs in the guest as root, in the host's own file tree, which it can "
	"read and not change, and its exit status is that of lkvm run.\n"
	"\n"
	"Exit status:\n"
	"  0     the guest powered off, halted or rebooted, or was stopped\n"
	"  1     a test has failed, with --ktap\n"
	"  120   the guest's kernel panicked\n"
	"  121   triple fault, or KVM could not run the guest\n"
	"  122   the guest ended before the command behind -- did\n"
	"  123   its kernel has printed what --fail-on forbids\n"
	"  124   --timeout, --boot-timeout or --idle-timeout passed\n"
	"  125   lkvm itself failed: bad options, host error\n"
	"  128+n lkvm was ended by signal n";

static int take_operands(struct vm_config *cfg, char **operands, int n)
{
	if (n && !cfg->kernel) {
		cfg->kernel = operands[0];
		operands++, n--;
	}
	if (n)
		return log_errx(-EINVAL, "unexpected argument '%s'", operands[0]);
	return 0;
}

static int default_name(struct vm_config *cfg)
{
	if (!cfg->name) {
		if (asprintf(&cfg->name_heap, "guest-%d", (int)getpid()) < 0)
			return log_err(-ENOMEM, "guest name");
		cfg->name = cfg->name_heap;
	}
	return 0;
}

/* Its standard streams are /dev/null. */
static int check_detach(const struct vm_config *cfg)
{
	const char *log = cfg->session.kernel_log;

	if (cfg->detach && ((log && !strcmp(log, "-")) || (cfg->result && !strcmp(cfg->result, "-"))))
		return log_errx(-EINVAL, "--detach leaves the guest no standard output: --%s must be a file",
				log && !strcmp(log, "-") ? "kernel-log" : "result");
	return 0;
}

static int check_allow(const struct vm_config *cfg)
{
	if (cfg->allow.n && !cfg->fail_on)
		return log_errx(-EINVAL, "--allow excepts from --fail-on, which is not there");
	return 0;
}

static int restore(struct vm_config *cfg)
{
	int err;

	if (!cfg->restore && cfg->clock_given)
		return log_errx(-EINVAL, "--clock is about those of --restore");
	if (!cfg->restore)
		return cfg->disks_rw ? log_errx(-EINVAL, "--disks is about those of --restore") : 0;
	err = snapshot_open(cfg->restore, &cfg->snapshot);
	return err ? err : snapshot_take_config(cfg);
}

/* What is not loaded, or not there, where firmware looks for what it boots. */
static int check_firmware(const struct vm_config *cfg)
{
	const struct {
		bool given;
		const char *option;
	} all[] = {
		{ cfg->n_initrds && !cfg->kernel, "--initrd without --kernel" },
		{ cfg->params && !cfg->kernel, "--params without --kernel" },
		{ cfg->nodefaults && !cfg->kernel, "--nodefaults without --kernel" },
		{ cfg->session.wanted, "a command" },
		{ cfg->virtio_mmio, "--virtio-transport mmio" },
		{ cfg->dump_dtb, "--dump-dtb" },
		{ cfg->test_device, "--test-device" },
	};

	for (size_t i = 0; cfg->firmware && !cfg->restore && i < ARRAY_SIZE(all); i++)
		if (all[i].given)
			return log_errx(-EINVAL, "--firmware does not go with %s", all[i].option);
	for (unsigned i = 0; !cfg->firmware && !cfg->restore && i < cfg->n_nets; i++)
		if (cfg->nets[i].rom)
			return log_errx(-EINVAL, "option '--net': rom is for who boots by --firmware");
	if (cfg->gpu.rom && !cfg->firmware && !cfg->restore)
		return log_errx(-EINVAL, "option '--gpu': rom is for who boots by --firmware");
	if (cfg->firmware_vars && !cfg->firmware && !cfg->restore)
		return log_errx(-EINVAL, "--firmware-vars are those of --firmware");
	return 0;
}

static int default_kernel(struct vm_config *cfg)
{
	if (cfg->snapshot)
		return 0;
	if (cfg->session.wanted)
		return 0; /* session_boot_new() */
	if (cfg->firmware && !cfg->kernel) {
		cfg->kernel = cfg->firmware;
		return 0;
	}
	if (cfg->kernel) {
		if (!kernel_of_release(cfg->kernel, &cfg->kernel_heap))
			cfg->kernel = cfg->kernel_heap;
		return 0;
	}
	if (boot_find_kernel(&cfg->kernel_heap))
		return log_errx(-ENOENT, "no kernel found: name one with -k");
	cfg->kernel = cfg->kernel_heap;
	return 0;
}

/* Does the command line say what the kernel is to boot into? Then that is no session of ours. */
static bool has_root(const struct vm_config *cfg)
{
	static const char *const words[] = { "root=", "init=", "rdinit=" };
	bool found = cfg->n_initrds || cfg->n_disks || cfg->n_pmems || cfg->nodefaults;

	for (size_t i = 0; !found && cfg->params && i < ARRAY_SIZE(words); i++)
		for (const char *at = cfg->params; !found && (at = strstr(at, words[i])); at++)
			found = at == cfg->params || at[-1] == ' ';
	return found;
}

/* A Linux, and nothing for it to boot into: it gets the host's tree. */
static int default_session(struct vm_config *cfg, bool named)
{
	int is_linux = 0;

	if (cfg->snapshot)
		return run_take_shell(cfg);
	if (cfg->session.wanted || cfg->firmware)
		return 0;
	if (!has_root(cfg))
		is_linux = kernel_is_linux(cfg->kernel);
	if (is_linux < 0)
		return is_linux;
	if (!is_linux) {
		if (!named)
			log_info("booting '%s'", cfg->kernel);
		return 0;
	}
	cfg->session.wanted = true;
	return run_take_command(cfg, NULL, 0);
}

/* Standard output is the console's, or the command's. */
static int check_trace(const struct vm_config *cfg)
{
	if (cfg->trace && (!*cfg->trace || !strcmp(cfg->trace, "-")))
		return log_errx(-EINVAL, "--trace needs the name of a file, not '%s'", cfg->trace);
	return 0;
}

static int check_limits(const struct vm_config *cfg)
{
	if (cfg->limit[LIMIT_BOOT].ns && !cfg->session.wanted)
		return log_errx(-EINVAL, "--boot-timeout is for a guest with a command: nobody knows when another is up");
	return 0;
}

enum options_result run_config_parse(const struct command *cmd, int argc, char **argv,
				     struct vm_config *ret)
{
	int operands, dashdash;
	enum options_result result;
	bool named;

	*ret = (struct vm_config){ 0 };
	result = options_parse(cmd, ret, argc, argv, &operands, &dashdash);
	if (result != OPTIONS_OK)
		return result;
	if (take_operands(ret, argv + operands, dashdash - operands) || default_name(ret) ||
	    run_take_command(ret, argv + dashdash, argc - dashdash) || run_take_ports(ret) || check_allow(ret) ||
	    check_detach(ret))
		return OPTIONS_BAD;
	ret->ktap |= ret->junit != NULL;
	named = ret->kernel;
	if (check_firmware(ret) || restore(ret) || default_kernel(ret) || default_session(ret, named) || check_limits(ret) ||
	    check_trace(ret))
		return OPTIONS_BAD;
	return OPTIONS_OK;
}

void run_config_free(struct vm_config *cfg)
{
	free(cfg->params);
	snapshot_close(cfg->snapshot);
	free(cfg->name_heap);
	free(cfg->kernel_heap);
	free(cfg->vsock_heap);
	free(cfg->gpu_heap);
	free(cfg->firmware_heap);
	free(cfg->vars_heap);
	kernel_log_allow_free(&cfg->allow);
	run_free_disks(cfg);
	run_free_folders(cfg);
	run_free_nets(cfg);
	run_free_ports(cfg);
	run_free_pmems(cfg);
	run_free_session(cfg);
	run_free_numa(cfg);
	free(cfg->pin);
	gdb_config_free(&cfg->gdb);
}
