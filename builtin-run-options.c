/* `lkvm run`: the option table and what turns each option into configuration. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/ipc.h"
#include "lkvm/log.h"
#include "lkvm/run.h"
#include "lkvm/x86/boot.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/layout.h"

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

static int parse_cpus(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	switch (options_unsigned(arg, 0, MAX_VCPUS, &cfg->cpus)) {
	case 0:
		return 0;
	case -ERANGE:
		return log_errx(-EINVAL,
				"Too many CPUs: %s (more than %d need x2APIC ids, which lkvm does not "
				"hand out)", arg, MAX_VCPUS);
	default:
		return log_errx(-EINVAL,
				"Invalid number of CPUs: %s (1 to %d, or 0 for all of the host's)", arg,
				MAX_VCPUS);
	}
}

static int parse_cpu_flags(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	const char *nearest = NULL;
	char *list = strdup(arg), *rest = NULL;
	int err = 0;

	(void)opt;
	free(cfg->cpu_flags_heap);
	cfg->cpu_flags_heap = list;
	cfg->n_cpu_flags = 0;
	for (char *flag = list ? strtok_r(list, ",", &rest) : NULL; flag && !err;
	     flag = strtok_r(NULL, ",", &rest)) {
		err = cpuid_check_flag(flag, &nearest);
		if (err == -EINVAL)
			return log_errx(err, "CPU feature '%s': put + or - in front of its name", flag);
		if (err)
			return log_errx(err, "unknown CPU feature '%s'%s%s%s", flag,
					nearest ? ", did you mean '" : "", nearest ? nearest : "",
					nearest ? "'?" : "");
		if (cfg->n_cpu_flags == CONFIG_MAX_CPU_FLAGS)
			return log_errx(-EINVAL, "more than %d CPU features", CONFIG_MAX_CPU_FLAGS);
		cfg->cpu_flag[cfg->n_cpu_flags++] = flag;
	}
	return list ? 0 : log_err(-ENOMEM, "CPU features");
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
		return log_errx(-EINVAL, "Invalid memory specifier: %s", arg);
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

static int parse_hugepages(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	cfg->ram.hugepages = true;
	if (!arg)
		cfg->ram.hugepage_bytes = 0;
	else if (!strcmp(arg, "2M"))
		cfg->ram.hugepage_bytes = 2 * MIB;
	else if (!strcmp(arg, "1G"))
		cfg->ram.hugepage_bytes = GIB;
	else
		return log_errx(-EINVAL, "huge page size '%s' is neither 2M nor 1G", arg);
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

static int parse_virtio_transport(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	bool pci = !strcmp(arg, "pci"), cmdline = !strcmp(arg, "mmio,cmdline");

	(void)opt;
	if (!pci && !cmdline && strcmp(arg, "mmio"))
		return log_errx(-EINVAL, "virtio transport '%s' is none of pci, mmio, and mmio,cmdline", arg);
	cfg->virtio_mmio = !pci;
	cfg->virtio_mmio_cmdline = cmdline;
	return 0;
}

static bool parse_packed(const char *text, bool *ret)
{
	*ret = !strcmp(text, "packed") || !strcmp(text, "packed=on");
	return *ret || !strcmp(text, "packed=off");
}

/* Is @arg @word, or that with packed rings? */
static bool is_word(const char *arg, const char *word, bool *ret_packed)
{
	size_t len = strlen(word);

	if (strncmp(arg, word, len) != 0)
		return false;
	return !arg[len] || (arg[len] == ',' && parse_packed(arg + len + 1, ret_packed));
}

static int parse_console(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	cfg->console_packed = false;
	cfg->console_virtio = is_word(arg, "virtio", &cfg->console_packed);
	if (cfg->console_virtio || !strcmp(arg, "serial"))
		return 0;
	return log_errx(-EINVAL, "console '%s' is none of serial, virtio, and virtio,packed", arg);
}

static int parse_rng(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;

	(void)opt;
	cfg->rng_packed = false;
	cfg->no_rng = arg && !strcmp(arg, "off");
	if (!arg || cfg->no_rng || is_word(arg, "on", &cfg->rng_packed) ||
	    parse_packed(arg, &cfg->rng_packed))
		return 0;
	return log_errx(-EINVAL, "option '--rng': '%s' is none of on, off, and packed", arg);
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

static int parse_debug(void *config, const struct opt *opt, const char *arg)
{
	(void)config, (void)opt;
	if (log_set_topics(arg))
		return log_errx(-EINVAL, "unknown debug topic in '%s' (known: %s)", arg,
				log_topic_names());
	return 0;
}

#define FIELD(member) .offset = offsetof(struct vm_config, member)

const struct opt run_options[] = {
	{ OPT_GROUP, .help = "Kernel" },
	{ OPT_STRING, 'k', "kernel", "FILE", FIELD(kernel), .complete = COMPLETE_FILE,
	  .help = "Kernel to boot: bzImage, vmlinux (also compressed), multiboot or flat binary." },
	{ OPT_PARSE, 'i', "initrd", "FILE", .parse = parse_initrd, .complete = COMPLETE_FILE,
	  .help = "Initial RAM disk. Given several times, the files are put one behind the other; for "
		  "a multiboot kernel each is a module." },
	{ OPT_PARSE, 'p', "params", "TEXT", .parse = parse_params,
	  .help = "Add to the kernel command line. May be given several times." },
	{ OPT_FLAG, 0, "nodefaults", FIELD(nodefaults),
	  .help = "Leave the default kernel command line out: " RUN_DEFAULT_CMDLINE ".\n"
		  "Each part of it can also be taken back by a later one: with -p cryptomgr.notests=0 "
		  "the self-tests of the kernel's crypto run as usual." },
	{ OPT_GROUP, .help = "Machine" },
	{ OPT_PARSE, 'm', "mem", "SIZE", .parse = parse_mem,
	  .help = "Guest RAM in MB, or with a unit of B, K, M, G, T, P. Default: 64 MB x (CPUs + 3), at "
		  "most 0.8 of the host's RAM." },
	{ OPT_PARSE, 'c', "cpus", "N", .parse = parse_cpus,
	  .help = "Number of virtual CPUs. Default: as many as the host has online." },
	{ OPT_PARSE, 0, "cpu", "FLAGS", .parse = parse_cpu_flags,
	  .help = "CPU features to take away or to insist on: -avx2,+x2apic. Names as in /proc/cpuinfo." },
	{ OPT_PARSE, 0, "name", "NAME", .parse = parse_name,
	  .help = "Name for lkvm list, stop and the like. Default: guest-PID." },
	{ OPT_FLAG, 0, "no-acpi", FIELD(no_acpi),
	  .help = "Tell the guest what the machine has by a device tree and an MP table, not by ACPI." },
	{ OPT_STRING, 0, "dump-dtb", "FILE", FIELD(dump_dtb), .complete = COMPLETE_FILE,
	  .help = "Write the device tree of the machine to this file." },
	{ OPT_PARSE, 0, "debug-exit", "PORT", .arg_optional = true, .parse = parse_debug_exit,
	  .help = "Let the guest end lkvm by writing V to this port (0xf4): exit status (V << 1) | 1." },
	{ OPT_GROUP, .help = "Guest RAM from the host" },
	{ OPT_PARSE, 0, "hugepages", "2M|1G", .arg_optional = true, .parse = parse_hugepages,
	  .complete = COMPLETE_WORDS, .words = "2M 1G",
	  .help = "Make guest RAM of explicit huge pages." },
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
	  .complete = COMPLETE_WORDS, .words = "serial virtio virtio,packed",
	  .help = "What standard input and output are in the guest: the serial port ttyS0, or the virtio "
		  "console hvc0, which is faster and knows the size of the terminal. With virtio the default "
		  "command line has console=hvc0, and ttyS0 still prints to standard output (serial)." },
	{ OPT_PARSE, 0, "tty", "N", .parse = parse_tty,
	  .help = "Connect the guest's ttyS1, 2 or 3 (with --console virtio: hvc1, 2 or 3) to a pseudo "
		  "terminal, and print its name. May be given several times." },
	{ OPT_PARSE, 'd', "disk", "PATH[,KEY...]", .parse = run_parse_disk, .complete = COMPLETE_FILE,
	  .help = "Give the guest a disk: a file, a block device or nbd://HOST. May be given several "
		  "times. Keys: ro, direct, ephemeral, serial=S, format=F, queues=N, packed." },
	{ OPT_PARSE, 0, "virtio-transport", "pci|mmio", .parse = parse_virtio_transport,
	  .complete = COMPLETE_WORDS, .words = "pci mmio mmio,cmdline",
	  .help = "How the guest reaches its virtio devices: by PCI, or by MMIO in a machine without PCI. "
		  "With mmio,cmdline it is told so by virtio_mmio.device= on its command line, not by "
		  "ACPI or device tree (pci)." },
	{ OPT_PARSE, 0, "rng", "on|off|packed", .arg_optional = true, .parse = parse_rng,
	  .complete = COMPLETE_WORDS, .words = "on off packed",
	  .help = "Give the guest the host's random numbers, by a virtio entropy device (on). With "
		  "packed it offers packed rings." },
	{ OPT_GROUP, .help = "Run" },
	{ OPT_UNSIGNED, 0, "timeout", "SECONDS", FIELD(timeout_s), .min = 1, .max = 1000000000,
	  .help = "End the guest after this time, with exit status 124." },
	{ OPT_STRING, 0, "result", "FILE", FIELD(result), .complete = COMPLETE_FILE,
	  .help = "Write how the run ended to this file, as JSON." },
	{ OPT_PARSE, 0, "debug", "TOPICS", .parse = parse_debug,
	  .complete = COMPLETE_WORDS, .words = "boot ram ioport mmio cpu ipc device all",
	  .help = "Print debug messages: boot, ram, ioport, mmio, cpu, ipc, device, all; separated by "
		  "commas." },
	OPT_END,
};

const char run_description[] =
	"Boots a kernel in a new virtual machine and connects its console to standard input and\n"
	"output. Ctrl-a x ends the guest, Ctrl-a ? lists the keys.\n"
	"\n"
	"Without a kernel, the first of these is taken: ./bzImage, arch/x86/boot/bzImage, ./vmlinux,\n"
	"the host's running kernel in /boot, the newest /boot/vmlinuz-*.\n"
	"\n"
	"Exit status:\n"
	"  0     the guest powered off or rebooted, or was stopped\n"
	"  120   the guest's kernel panicked\n"
	"  121   triple fault, or KVM could not run the guest\n"
	"  124   --timeout passed\n"
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

static int default_kernel(struct vm_config *cfg)
{
	if (cfg->kernel)
		return 0;
	if (boot_find_kernel(&cfg->kernel_heap))
		return log_errx(-ENOENT, "no kernel found: name one with -k");
	cfg->kernel = cfg->kernel_heap;
	log_info("booting '%s'", cfg->kernel);
	return 0;
}

enum options_result run_config_parse(const struct command *cmd, int argc, char **argv,
				     struct vm_config *ret)
{
	int operands, dashdash;
	enum options_result result;

	*ret = (struct vm_config){ 0 };
	result = options_parse(cmd, ret, argc, argv, &operands, &dashdash);
	if (result != OPTIONS_OK)
		return result;
	if (dashdash < argc) {
		log_errx(0, "'-- %s': running a command in the guest is not supported by this version",
			 argv[dashdash]);
		return OPTIONS_BAD;
	}
	if (take_operands(ret, argv + operands, dashdash - operands) || default_name(ret) ||
	    default_kernel(ret))
		return OPTIONS_BAD;
	return OPTIONS_OK;
}

void run_config_free(struct vm_config *cfg)
{
	free(cfg->params);
	free(cfg->name_heap);
	free(cfg->kernel_heap);
	free(cfg->cpu_flags_heap);
	run_free_disks(cfg);
}
