/* Links: vm/vm.o */
/* A whole machine as an object: several in one process, and nothing of them stays. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define UNIT_SECONDS 600

#include "../../vm/vm-internal.h"
#include "lkvm/clock.h"
#include "lkvm/disk.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/version.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/vm.h"
#include "lkvm/x86/layout.h"
#include "unit.h"

#define TRIAL_OK 0x2a /* x86/cpu/trial.S */
#define PAIRS	 50   /* of machines */
#define WARM_UP	 20
#define MIN_CHUNK 32 /* what glibc takes for the smallest allocation */

const char lkvm_version[] = "1.2-test";

extern const uint8_t trial_real[], trial_real_end[];

struct one {
	struct vm_config cfg;
	struct run_result result;
	struct vm *vm;
	unsigned ended;
};

static int load(void *ctx, struct ram *ram, struct boot_entry *ret)
{
	(void)ctx;
	*ret = (struct boot_entry){
		.mode = BOOT_REAL,
		.rsp = 0xfff0,
		.gdt = LAYOUT_GDT,
		.real_segment = LAYOUT_FLAT >> 4,
	};
	return ram_write(ram, GPA(LAYOUT_FLAT), trial_real, (size_t)(trial_real_end - trial_real));
}

static void ended(void *ctx)
{
	struct one *one = ctx;

	ck_assert_int_eq(one->result.cause, STOP_DEBUG_EXIT);
	one->ended++;
}

/* All kinds of devices but disks, which need files. */
static void build(struct one *one, const char *name)
{
	const struct vm_setup setup = {
		.config = &one->cfg,
		.result = &one->result,
		.in_fd = -1,
		.out_fd = -1,
		.ctx = one,
		.load = load,
		.ended = ended,
	};

	*one = (struct one){
		.cfg = {
			.name = name,
			.cpus = 1,
			.ram.size_bytes = 8 * MIB,
			.has_debug_exit = true,
			.debug_exit_port = PORT_DEBUG_EXIT,
			.limit[LIMIT_RUN].ns = 30 * NS_PER_S,
			.console_virtio = true,
			.test_device = true,
		},
	};
	ck_assert_int_eq(vm_new(&setup, &one->vm), 0);
	ck_assert_int_eq(vm_build(one->vm), 0);
}

static void end(struct one *one)
{
	ck_assert_int_eq(vm_end(one->vm), 0);
	vm_free(one->vm);
	free(one->result.fault);
}

static void run_and_end(struct one *one)
{
	ck_assert_int_eq(vm_run(one->vm), 0);
	end(one);
	ck_assert_int_eq(one->result.cause, STOP_DEBUG_EXIT);
	ck_assert_uint_eq(one->result.value, TRIAL_OK);
	ck_assert_uint_eq(one->ended, 1);
}

/* Both are there at the same time; the one that came last ends first. */
static void pair(void)
{
	struct one *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));

	build(a, "first");
	build(b, "second");
	run_and_end(b);
	run_and_end(a);
	free(a);
	free(b);
}

static char folder[] = "/tmp/lkvm-machines-XXXXXX";

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(setenv("LKVM_DIR", folder, 1), 0);
}

START_TEST(test_hundred_machines_leave_nothing)
{
	unsigned fds, threads;
	size_t bytes;

	make_folder();
	/* What the C library keeps once it was used. */
	for (unsigned i = 0; i < WARM_UP; i++)
		pair();
	fds = unit_entries("/proc/self/fd");
	threads = unit_entries("/proc/self/task");
	bytes = mallinfo2().uordblks;
	for (unsigned i = 0; i < PAIRS; i++)
		pair();
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), fds);
	ck_assert_uint_eq(unit_entries("/proc/self/task"), threads);
	/* glibc's caches of each thread count as used and still grow by a chunk now and then: a leak grows by
	   one each time. */
	ck_assert_uint_lt(mallinfo2().uordblks, bytes + PAIRS * MIN_CHUNK);
	ck_assert_int_eq(unlinkat(AT_FDCWD, folder, AT_REMOVEDIR), 0);
}
END_TEST

/* Taken apart before it ran. */
START_TEST(test_never_run)
{
	struct one a;

	make_folder();
	build(&a, "never");
	end(&a);
	ck_assert_int_eq(a.result.cause, STOP_NONE);
	ck_assert_uint_eq(a.ended, 0);
	ck_assert_int_eq(unlinkat(AT_FDCWD, folder, AT_REMOVEDIR), 0);
}
END_TEST

/* Two of one name: the second is told so, the first runs on. */
START_TEST(test_same_name)
{
	struct one a, b;

	make_folder();
	build(&a, "twin");
	b = a;
	b.result = (struct run_result){ 0 };
	ck_assert_int_eq(vm_new(&(struct vm_setup){ .config = &b.cfg, .result = &b.result, .in_fd = -1,
						    .out_fd = -1, .load = load }, &b.vm), 0);
	ck_assert_int_eq(vm_build(b.vm), -EEXIST);
	ck_assert_int_eq(vm_end(b.vm), 0);
	vm_free(b.vm);
	run_and_end(&a);
}
END_TEST

/* ---- standing still ---- */

#define HOLDS	   1000
#define DISK_BYTES (128 * KIB)
#define HAMMER_RAM (64 * MIB)
#define PART_BYTES (2 * MIB)

/* Where the guest writes: the program, and 16 MB on the rings and buffers of its driver, whose balloon takes a page at 48. */
static const uint32_t parts[] = { 0, 16 * MIB };

/* All that must not change. */
struct picture {
	uint8_t ram[ARRAY_SIZE(parts)][PART_BYTES], disk[DISK_BYTES];
	uint64_t exits[4], console_bytes, console_writes;
};

static struct hammer {
	struct one one;
	struct loop_source tick; /* always ready */
	uint8_t *ram;
	int disk;
	unsigned holds, moved;
	struct picture before, after;
} hammer;

static void take(struct picture *p)
{
	struct kvm *kvm = &hammer.one.vm->kvm;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		memcpy(p->ram[i], hammer.ram + parts[i], PART_BYTES);
	ck_assert_int_eq(pread(hammer.disk, p->disk, sizeof(p->disk), 0), sizeof(p->disk));
	for (unsigned i = 0; i < kvm->n_cpus; i++)
		p->exits[i] = atomic_load(&kvm->cpus[i].stats.exits);
	console_stats(hammer.one.vm->console, &p->console_bytes, &p->console_writes);
}

/* It was held often, and did work in between, with all that it has: on a busy host that takes longer. */
static bool seen_enough(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(hammer.after.exits); i++)
		if (hammer.after.exits[i] < 1000)
			return false;
	return hammer.holds >= HOLDS && hammer.moved >= HOLDS / 2 && hammer.after.console_bytes >= 1000;
}

static void hold_once(struct loop_source *src, uint32_t events)
{
	struct vm *vm = hammer.one.vm;

	(void)src, (void)events;
	if (seen_enough())
		return; /* it is ending */
	usleep((useconds_t)(random() % 3000));
	ck_assert_int_eq(vm_hold(vm, VM_HOLD_TEST), 0);
	take(&hammer.before);
	usleep(100);
	hammer.moved += memcmp(&hammer.before, &hammer.after, sizeof(hammer.before)) != 0;
	take(&hammer.after);
	ck_assert_int_eq(memcmp(&hammer.before, &hammer.after, sizeof(hammer.before)), 0);
	ck_assert_int_eq(vm_release(vm, VM_HOLD_TEST), 0);
	hammer.holds++;
	if (seen_enough())
		vm_stop(vm, STOP_REQUEST, 0);
}

static void make_hammer(struct disk_config *disk, char *path)
{
	static char kernel[4096];

	snprintf(kernel, sizeof(kernel), "%s/hammer.mb", getenv("GUESTS"));
	make_folder();
	sprintf(path, "%s/disk", folder);
	hammer.disk = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(hammer.disk, DISK_BYTES), 0);
	*disk = (struct disk_config){ .path = path, .format = "raw" };
	hammer.one.cfg = (struct vm_config){
		.name = "hammer",
		.kernel = kernel,
		.params = "disk=131072",
		.nodefaults = true,
		.cpus = 4,
		.ram.size_bytes = HAMMER_RAM,
		.console_virtio = true,
		.disks = disk,
		.n_disks = 1,
	};
}

/* Four processors, a disk, a console and the entropy device, all busy: held at any moment, all stand still. */
START_TEST(test_held_machine_stands_still)
{
	struct disk_config disk;
	char path[sizeof(folder) + 8];
	struct vm_setup setup = { .config = &hammer.one.cfg, .result = &hammer.one.result, .in_fd = -1 };
	struct vm *vm;
	void *ram;

	make_hammer(&disk, path);
	setup.out_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(vm_new(&setup, &vm), 0);
	hammer.one.vm = vm;
	ck_assert_int_eq(vm_build(vm), 0);
	ck_assert_int_eq(ram_window(vm->ram, GPA(0), HAMMER_RAM, 1, &ram), 0);
	hammer.ram = ram;
	hammer.tick = (struct loop_source){ eventfd(1, EFD_CLOEXEC), hold_once };
	ck_assert_int_eq(loop_add(&vm->loop, &hammer.tick, EPOLLIN), 0);
	ck_assert_int_eq(vm_run(vm), 0);
	end(&hammer.one);
	ck_assert_int_eq(hammer.one.result.cause, STOP_REQUEST);
	ck_assert(seen_enough());
	ck_assert_uint_ne(hammer.after.disk[DISK_BYTES / 2], 0);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

UNIT_MAIN("machine", test_hundred_machines_leave_nothing, test_never_run, test_same_name,
	  test_held_machine_stands_still)
