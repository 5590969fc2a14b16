/* `lkvm debug`: look into a running guest, or poke it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/builtin.h"
#include "lkvm/guests.h"
#include "lkvm/log.h"

struct debug_config {
	const char *name;
	pid_t pid;
	bool regs, backtrace, has_cpu, has_nmi, sysrq, memmap, clock, json, has_translate;
	unsigned cpu, nmi;
	char key;
	uint64_t virt;
	const char *symbols;
	bool has_link;
	struct ipc_link link;
	char device[16];
};

static int parse_cpu(void *config, const struct opt *opt, const char *arg)
{
	struct debug_config *cfg = config;
	bool nmi = !strcmp(opt->name, "nmi");

	if (options_unsigned(arg, 0, UINT16_MAX, nmi ? &cfg->nmi : &cfg->cpu))
		return log_errx(-EINVAL, "--%s '%s': not the number of a virtual CPU", opt->name, arg);
	*(nmi ? &cfg->has_nmi : &cfg->has_cpu) = true;
	return 0;
}

static int parse_key(void *config, const struct opt *opt, const char *arg)
{
	struct debug_config *cfg = config;

	(void)opt;
	if (arg[0] <= ' ' || arg[0] > '~' || arg[1])
		return log_errx(-EINVAL, "--sysrq '%s': must be one character", arg);
	cfg->sysrq = true;
	cfg->key = arg[0];
	return 0;
}

/* net0=down */
static int parse_link(void *config, const struct opt *opt, const char *arg)
{
	struct debug_config *cfg = config;
	const char *equals = strchrnul(arg, '=');
	const bool up = !strcmp(equals, "=up");

	snprintf(cfg->device, sizeof(cfg->device), "%.*s", (int)(equals - arg), arg);
	if (strncmp(arg, "net", 3) || options_unsigned(cfg->device + 3, 0, UINT16_MAX, &cfg->link.device) ||
	    (!up && strcmp(equals, "=down")))
		return log_errx(-EINVAL, "--%s '%s': must be like net0=down or net0=up", opt->name, arg);
	cfg->link.up = up;
	cfg->has_link = true;
	return 0;
}

static int parse_address(void *config, const struct opt *opt, const char *arg)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	struct debug_config *cfg = config;
	const char *hex = !strncmp(arg, "0x", 2) || !strncmp(arg, "0X", 2) ? arg + 2 : arg;
	size_t len = strlen(hex);

	(void)opt;
	if (len < 1 || len > 16 || strspn(hex, digits) != len)
		return log_errx(-EINVAL, "--translate '%s': not a hexadecimal address of 64 bits", arg);
	cfg->virt = strtoull(hex, NULL, 16);
	cfg->has_translate = true;
	return 0;
}

static const struct opt options[] = {
	{ .kind = OPT_STRING, .short_name = 'n', .name = "name", .arg = "NAME",
	  .help = "The guest; the same as NAME without the option.",
	  .offset = offsetof(struct debug_config, name), .complete = COMPLETE_GUEST },
	{ .kind = OPT_FLAG, .short_name = 'd', .name = "regs",
	  .help = "Registers, code bytes and the page-table walk of RIP of all virtual CPUs. This is "
		  "what is shown if nothing else is asked for. Each is read at a moment of its own; "
		  "pause the guest first where they must fit together.",
	  .offset = offsetof(struct debug_config, regs) },
	{ .kind = OPT_FLAG, .short_name = 'b', .name = "backtrace",
	  .help = "Where each virtual CPU of a Linux guest is, and how it came there, with the names of its kernel's "
		  "functions. Frames with a question mark are guesses: return addresses that lie on the stack.",
	  .offset = offsetof(struct debug_config, backtrace) },
	{ .kind = OPT_STRING, .name = "symbols", .arg = "FILE",
	  .help = "With --backtrace: take the names from System.map, a vmlinux or its debug file, moved to where KASLR has "
		  "put the kernel; also for later backtraces of this guest. Needed only for a kernel without kallsyms.",
	  .offset = offsetof(struct debug_config, symbols), .complete = COMPLETE_FILE },
	{ .kind = OPT_PARSE, .short_name = 'm', .name = "nmi", .arg = "CPU",
	  .help = "Send a non-maskable interrupt to a virtual CPU.", .parse = parse_cpu },
	{ .kind = OPT_PARSE, .short_name = 's', .name = "sysrq", .arg = "CHAR",
	  .help = "Send a break and a character to the console: Linux takes it as a SysRq command.",
	  .parse = parse_key },
	{ .kind = OPT_PARSE, .name = "link", .arg = "NET=up|down",
	  .help = "Pull the plug of a network device out, or put it back in: net0=down. A guest that is saved keeps it "
		  "as it is.",
	  .parse = parse_link },
	{ .kind = OPT_FLAG, .name = "memmap",
	  .help = "Memory slots and what is behind them, the gap, the memory map that the guest was "
		  "told, and the devices on both buses.",
	  .offset = offsetof(struct debug_config, memmap) },
	{ .kind = OPT_FLAG, .name = "clock",
	  .help = "The guest's clocks beside the host's: kvm-clock, time stamp counters, real-time clock, PIT.",
	  .offset = offsetof(struct debug_config, clock) },
	{ .kind = OPT_FLAG, .short_name = 'j', .name = "json",
	  .help = "JSON, with --memmap or --clock (an object), --regs or --backtrace (an array, an object a virtual CPU).",
	  .offset = offsetof(struct debug_config, json) },
	{ .kind = OPT_PARSE, .short_name = 't', .name = "translate", .arg = "ADDRESS",
	  .help = "Translate a guest virtual address, in hexadecimal, through each level of the guest's "
		  "page tables to its guest physical and host virtual address.",
	  .parse = parse_address },
	{ .kind = OPT_PARSE, .short_name = 'c', .name = "cpu", .arg = "CPU",
	  .help = "The virtual CPU for --regs, --backtrace and --translate (for that, 0 by default).",
	  .parse = parse_cpu },
	OPT_END,
};

/* Return: number of virtual CPUs, or -errno after one logged line */
static int count_cpus(const struct debug_config *cfg, int fd)
{
	static struct ipc_reply reply;
	struct ipc_info info;
	int err = ipc_call(fd, IPC_INFO, NULL, 0, &reply);

	if (!err && reply.len < sizeof(info))
		err = -EPROTO;
	if (err)
		return ipc_failed(cfg->name, cfg->pid, err);
	memcpy(&info, reply.body, sizeof(info));
	if ((cfg->has_cpu && cfg->cpu >= info.cpus) || (cfg->has_nmi && cfg->nmi >= info.cpus))
		return log_errx(-ENXIO, "guest '%s' has no virtual CPU %u: it has %u, from 0", cfg->name,
				cfg->has_cpu && cfg->cpu >= info.cpus ? cfg->cpu : cfg->nmi, info.cpus);
	return (int)info.cpus;
}

static int show_regs(const struct debug_config *cfg, int fd, uint32_t cpu)
{
	return ipc_show(fd, cfg->name, cfg->json ? IPC_REGS_JSON : IPC_REGS, &cpu, sizeof(cpu));
}

/* It takes a while only if RAM has to be looked through for the kernel first. */
static int show_backtrace(const struct debug_config *cfg, int fd, uint32_t cpu)
{
	const struct ipc_backtrace req = { .cpu = cpu, .json = cfg->json };
	struct ipc_reply reply;
	const int err = ipc_call_again(fd, IPC_BACKTRACE, &req, sizeof(req), &reply);

	if (err == -EINPROGRESS)
		return log_errx(err, "guest '%s': %.*s", cfg->name, (int)reply.len, (const char *)reply.body);
	if (!ipc_print(reply.body, reply.len))
		return log_errx(-ENOMEM, "out of memory");
	return err && !reply.len ? ipc_failed(cfg->name, cfg->pid, err) : err;
}

static int send_symbols(const struct debug_config *cfg, int fd)
{
	const int file = open(cfg->symbols, O_RDONLY | O_CLOEXEC);
	struct ipc_reply reply;
	int err;

	if (file < 0)
		return log_err(-errno, "open '%s'", cfg->symbols);
	do
		err = ipc_call_with(fd, IPC_SYMBOLS, NULL, 0, file, &reply);
	while (err == -EAGAIN);
	close(file);
	if (err == -ENODATA || err == -EBADMSG)
		return log_errx(err, "'%s': there are no symbols of a kernel in it", cfg->symbols);
	if (err == -ENOENT)
		return log_errx(err, "guest '%s': there is no Linux in its memory", cfg->name);
	return err ? ipc_failed(cfg->name, cfg->pid, err) : 0;
}

/* Of the one that is meant, or of each */
static int show_cpus(const struct debug_config *cfg, int fd, int cpus,
		     int (*show_one)(const struct debug_config *cfg, int fd, uint32_t cpu))
{
	uint32_t end = cfg->has_cpu ? cfg->cpu + 1 : (uint32_t)cpus;
	int err = 0;

	if (cfg->json)
		puts("[");
	for (uint32_t cpu = cfg->cpu; cpu < end && !err; cpu++) {
		if (cfg->json && cpu > cfg->cpu)
			puts(",");
		err = show_one(cfg, fd, cpu);
	}
	if (cfg->json)
		puts("]");
	return err;
}

static int inject_nmi(const struct debug_config *cfg, int fd)
{
	uint32_t cpu = cfg->nmi;

	return ipc_show(fd, cfg->name, IPC_NMI, &cpu, sizeof(cpu));
}

static int show(const struct debug_config *cfg, int fd, enum ipc_op op)
{
	uint32_t json = cfg->json;

	return ipc_show(fd, cfg->name, op, &json, sizeof(json));
}

static int translate(const struct debug_config *cfg, int fd)
{
	struct ipc_translate req = { .virt = cfg->virt, .cpu = cfg->cpu };

	return ipc_show(fd, cfg->name, IPC_TRANSLATE, &req, sizeof(req));
}

static int set_link(const struct debug_config *cfg, int fd)
{
	struct ipc_reply reply;
	const int err = ipc_call(fd, IPC_LINK, &cfg->link, sizeof(cfg->link), &reply);

	if (err == -ENODEV)
		return log_errx(err, "guest '%s' has no network device '%s'", cfg->name, cfg->device);
	return err ? ipc_failed(cfg->name, cfg->pid, err) : 0;
}

static int carry_out(const struct debug_config *cfg, int fd)
{
	int cpus = count_cpus(cfg, fd);
	int err = cpus < 0 ? cpus : 0;

	if (!err && cfg->has_nmi)
		err = inject_nmi(cfg, fd);
	if (!err && cfg->sysrq)
		err = ipc_show(fd, cfg->name, IPC_SYSRQ, &cfg->key, 1);
	if (!err && cfg->has_link)
		err = set_link(cfg, fd);
	if (!err && cfg->memmap)
		err = show(cfg, fd, IPC_MEMMAP);
	if (!err && cfg->clock)
		err = show(cfg, fd, IPC_CLOCK);
	if (!err && cfg->has_translate)
		err = translate(cfg, fd);
	if (!err && cfg->regs)
		err = show_cpus(cfg, fd, cpus, show_regs);
	if (!err && cfg->symbols)
		err = send_symbols(cfg, fd);
	if (!err && cfg->backtrace)
		err = show_cpus(cfg, fd, cpus, show_backtrace);
	return err;
}

static int check(const struct debug_config *cfg)
{
	const unsigned n = (unsigned)cfg->memmap + cfg->regs + cfg->clock + cfg->backtrace;

	if (cfg->symbols && !cfg->backtrace)
		return log_errx(-EINVAL, "debug: --symbols is for --backtrace");
	if (!cfg->json || (n == 1 && !cfg->has_translate && !cfg->has_nmi && !cfg->sysrq && !cfg->has_link))
		return 0;
	return log_errx(-EINVAL, "debug: --json is for --memmap, --clock, --regs or --backtrace, one of them");
}

static int run(const struct command *cmd, int argc, char **argv)
{
	enum options_result result;
	struct debug_config cfg = { 0 };
	struct ipc_peers guest = { 0 };
	int first, status;

	result = options_parse(cmd, &cfg, argc, argv, &first, NULL);
	if (result != OPTIONS_OK)
		return options_status(result);
	cfg.regs |= !cfg.has_nmi && !cfg.sysrq && !cfg.has_link && !cfg.memmap && !cfg.clock && !cfg.has_translate &&
		    !cfg.backtrace;
	if (check(&cfg))
		return EXIT_USAGE;
	status = guests_choose_one(cmd->name, cfg.name, argv + first, argc - first, &guest);
	if (status == EXIT_SUCCESS) {
		cfg.name = guest.list[0].name;
		cfg.pid = guest.list[0].pid;
		status = carry_out(&cfg, guest.list[0].fd) ? EXIT_FAILURE : EXIT_SUCCESS;
		if (fflush(stdout)) {
			log_err(-errno, "write to standard output");
			status = EXIT_FAILURE;
		}
	}
	ipc_peers_free(&guest);
	return status;
}

const struct command debug_command = {
	.name = "debug",
	.summary = "Look into a running guest",
	.operands = "NAME",
	.operand_complete = COMPLETE_GUEST,
	.description = "Shows the state of a running or paused guest, or interrupts it. The virtual CPUs "
		       "are halted for the moment that it takes to read their registers.",
	.opts = options,
	.run = run,
};
