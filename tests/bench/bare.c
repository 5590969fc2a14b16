/*
 * bare: the floor under lkvm's figures. It makes the KVM calls that `lkvm run` needs for a flat
 * binary - VM, interrupt chips, timer, one memory slot, vCPUs, CPUID, registers - and nothing else:
 * no control socket, no event loop, no device list. What lkvm takes more than this is its own cost.
 *
 *	bare [-m MB] [-c VCPUS] [-n] [-s] FLAT-BINARY
 *
 * -n leaves out the interrupt chips and the timer; -s prints exit counts on standard error.
 * The machine: 0x64 resets, 0xf4 ends as isa-debug-exit does, 0x3f8 is standard output, 0x3fd says
 * that it is ready, everything else reads all ones. Ends with the guest's status, or 125.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOAD_ADDRESS 0x10000
#define LOAD_SEGMENT 0x1000
#define MAX_CPUID    256
#define COM1         0x3f8
#define COM1_LSR     0x3fd
#define LSR_READY    0x60

struct bare {
	int dev_fd, vm_fd;
	size_t ram_bytes, run_bytes;
	uint8_t *ram;
	unsigned n_cpus;
	bool no_irqchip, count;
	struct kvm_cpuid2 *cpuid;
	uint64_t exits, out_bytes;
	size_t n_out;
	uint8_t out[65536];
};

/* A vCPU for a thread that only waits to be started by the first one. */
struct bare_cpu {
	struct bare *bare;
	int fd;
	struct kvm_run *run;
};

static void die(const char *what)
{
	fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static int must(int ret, const char *what)
{
	if (ret < 0)
		die(what);
	return ret;
}

static void flush_output(struct bare *b)
{
	for (size_t done = 0; done < b->n_out;) {
		ssize_t n = write(STDOUT_FILENO, b->out + done, b->n_out - done);

		if (n < 0)
			die("write");
		done += (size_t)n;
	}
	b->n_out = 0;
}

static void finish(struct bare *b, int status)
{
	flush_output(b);
	if (b->count)
		fprintf(stderr, "exits %" PRIu64 " bytes %" PRIu64 "\n", b->exits, b->out_bytes);
	_exit(status);
}

static void create_vm(struct bare *b)
{
	b->dev_fd = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	if (ioctl(b->dev_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		die("KVM_GET_API_VERSION");
	b->vm_fd = must(ioctl(b->dev_fd, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
}

/* After the memory slot, as in lkvm: the other way round, the slot waits for what this starts. */
static void create_chips(struct bare *b)
{
	const uint64_t identity = 0xfffbc000;
	const struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	must(ioctl(b->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000UL), "KVM_SET_TSS_ADDR");
	must(ioctl(b->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity), "KVM_SET_IDENTITY_MAP_ADDR");
	if (b->no_irqchip)
		return;
	must(ioctl(b->vm_fd, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	must(ioctl(b->vm_fd, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
}

static void map_ram(struct bare *b)
{
	struct kvm_userspace_memory_region slot = { .memory_size = b->ram_bytes };

	b->ram = mmap(NULL, b->ram_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->ram == MAP_FAILED)
		die("mmap");
	slot.userspace_addr = (uintptr_t)b->ram;
	must(ioctl(b->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
}

static void load(struct bare *b, const char *path)
{
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	ssize_t n = read(fd, b->ram + LOAD_ADDRESS, 0x80000);

	if (n <= 0)
		die(path);
	close(fd);
}

static void get_cpuid(struct bare *b)
{
	b->cpuid = calloc(1, sizeof(*b->cpuid) + MAX_CPUID * sizeof(b->cpuid->entries[0]));
	if (!b->cpuid)
		die("calloc");
	b->cpuid->nent = MAX_CPUID;
	must(ioctl(b->dev_fd, KVM_GET_SUPPORTED_CPUID, b->cpuid), "KVM_GET_SUPPORTED_CPUID");
}

static void create_cpu(struct bare *b, unsigned id, struct bare_cpu *ret)
{
	ret->bare = b;
	ret->fd = must(ioctl(b->vm_fd, KVM_CREATE_VCPU, id), "KVM_CREATE_VCPU");
	ret->run = mmap(NULL, b->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ret->fd, 0);
	if (ret->run == MAP_FAILED)
		die("mmap kvm_run");
	must(ioctl(ret->fd, KVM_SET_CPUID2, b->cpuid), "KVM_SET_CPUID2");
}

static void set_entry(int fd)
{
	struct kvm_sregs sregs;
	const struct kvm_regs regs = { .rflags = 2, .rsp = 0xfff0 };

	must(ioctl(fd, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.selector = LOAD_SEGMENT;
	sregs.cs.base = LOAD_ADDRESS;
	sregs.ds = sregs.cs;
	sregs.ds.type = 3;
	sregs.es = sregs.ss = sregs.ds;
	must(ioctl(fd, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(fd, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void port_out(struct bare *b, uint16_t port, const uint8_t *data, size_t len)
{
	if (port == 0x64 && data[0] == 0xfe)
		finish(b, 0);
	if (port == 0xf4)
		finish(b, (data[0] << 1 | 1) & 0xff);
	if (port != COM1)
		return;
	if (b->n_out + len > sizeof(b->out))
		flush_output(b);
	memcpy(b->out + b->n_out, data, len);
	b->n_out += len;
	b->out_bytes += len;
}

static void handle_io(struct bare *b, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t len = (size_t)run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_OUT)
		port_out(b, run->io.port, data, len);
	else
		memset(data, run->io.port == COM1_LSR ? LSR_READY : 0xff, len);
}

static void run_loop(struct bare_cpu *cpu)
{
	for (;;) {
		if (ioctl(cpu->fd, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			die("KVM_RUN");
		cpu->bare->exits++;
		switch (cpu->run->exit_reason) {
		case KVM_EXIT_IO:
			handle_io(cpu->bare, cpu->run);
			break;
		case KVM_EXIT_MMIO:
			memset(cpu->run->mmio.data, 0xff, sizeof(cpu->run->mmio.data));
			break;
		default:
			fprintf(stderr, "bare: exit reason %u\n", cpu->run->exit_reason);
			finish(cpu->bare, 121);
		}
	}
}

static void *cpu_thread(void *arg)
{
	run_loop(arg);
	return NULL;
}

static void start_others(struct bare *b)
{
	struct bare_cpu *cpus = calloc(b->n_cpus, sizeof(*cpus));

	if (!cpus)
		die("calloc");
	for (unsigned i = 1; i < b->n_cpus; i++) {
		pthread_t thread;

		create_cpu(b, i, &cpus[i]);
		errno = pthread_create(&thread, NULL, cpu_thread, &cpus[i]);
		if (errno)
			die("pthread_create");
	}
}

int main(int argc, char **argv)
{
	static struct bare b = { .ram_bytes = 256UL << 20, .n_cpus = 1 };
	struct bare_cpu boot_cpu;
	int opt;

	while ((opt = getopt(argc, argv, "m:c:ns")) != -1) {
		switch (opt) {
		case 'm': b.ram_bytes = strtoul(optarg, NULL, 10) << 20; break;
		case 'c': b.n_cpus = (unsigned)strtoul(optarg, NULL, 10); break;
		case 'n': b.no_irqchip = true; break;
		case 's': b.count = true; break;
		default: return 125;
		}
	}
	if (optind + 1 != argc)
		return 125;
	create_vm(&b);
	map_ram(&b);
	create_chips(&b);
	load(&b, argv[optind]);
	get_cpuid(&b);
	b.run_bytes = (size_t)must(ioctl(b.dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	create_cpu(&b, 0, &boot_cpu);
	set_entry(boot_cpu.fd);
	start_others(&b);
	run_loop(&boot_cpu);
}
