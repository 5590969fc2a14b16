/* Links: vm/control.o vm/control-stat.o vm/control-exits.o vm/control-memmap.o vm/numa.o x86/tables/numa.o vm/control-regs.o vm/control-clock.o vm/hardware.o kvm-slots.o ipc/folder.o ipc/server.o ipc/client.o ipc/peers.o util/json.o util/loop.o util/log.o hw/bus.o hw/ram.o hw/ram-size.o hw/ram-backing.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o x86/boot/e820.o */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lkvm/console.h"
#include "lkvm/json.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/control.h"
#include "chip-types.h"
#include "lkvm/vm/platform.h"
#include "lkvm/x86/clock.h"
#include "lkvm/x86/cpu.h"
#include "lkvm/x86/state.h"
#include "ram-base.h"
#include "../../vm/vm-internal.h"
#include "lkvm/virtio-vsock.h"
#include "unit.h"

#define MAX_CPUS 255

static struct kvm_cpu cpus[MAX_CPUS];
static struct kvm kvm;
static struct kvm_run run_page; /* all vCPUs' */
static struct ram *ram;
static struct vm_config config;
static struct control ctl;
static struct ipc_reply reply;

/* What the parts below the handlers were asked for, and what they are to say. */
static struct {
	int ioctl_errno; /* 0: ioctls succeed */
	unsigned long ioctl_seen[8];
	int ioctl_fd;
	unsigned n_ioctls;
	bool button_heard;
	uint8_t sysrq;
	bool sysrq_break;
	size_t regs_bytes; /* that fault_print_regs() prints */
	struct walk walk;
	struct clock_guest clock;
	struct rtc_view rtc;
	uint64_t clock_ns;
	bool no_offsets; /* this KVM does not tell them */
	bool busy, outside; /* kvm_pause() was in vain; but all are in handlers of ours */
} fake;

/* Instead of libc's: no vCPU may be in the guest when its state is asked for. */
int ioctl(int fd, unsigned long request, ...)
{
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	if (request == KVM_GET_STATS_FD) { /* this host's KVM has none */
		errno = ENOTTY;
		return -1;
	}
	fake.ioctl_fd = fd;
	fake.ioctl_seen[fake.n_ioctls++ % 8] = request;
	errno = fake.ioctl_errno;
	return fake.ioctl_errno ? -1 : 0;
}

static int change(enum kvm_state from, enum kvm_state to)
{
	if (kvm.state == KVM_STOPPING)
		return -ESHUTDOWN;
	if (kvm.state != from)
		return -EALREADY;
	kvm.state = to;
	return 0;
}

int kvm_pause(struct kvm *vm)
{
	int err;

	ck_assert_ptr_eq(vm, &kvm);
	err = change(KVM_RUNNING, KVM_PAUSED);
	return fake.busy && (!err || err == -EALREADY) ? -EINPROGRESS : err;
}

bool kvm_outside(struct kvm *vm)
{
	ck_assert_ptr_eq(vm, &kvm);
	return fake.outside;
}

void kvm_describe_busy(struct kvm *vm, char *ret, size_t cap)
{
	ck_assert_ptr_eq(vm, &kvm);
	snprintf(ret, cap, "vCPU 0 is busy");
}

int kvm_resume(struct kvm *vm)
{
	ck_assert_ptr_eq(vm, &kvm);
	return change(KVM_PAUSED, KVM_RUNNING);
}

/* The machine's devices stand still at once. */
int vm_hold(struct vm *vm, enum vm_hold why)
{
	ck_assert_ptr_eq(vm, ctl.vm);
	ck_assert_int_eq(why, VM_HOLD_USER);
	return kvm_pause(&kvm);
}

int vm_release(struct vm *vm, enum vm_hold why)
{
	ck_assert_ptr_eq(vm, ctl.vm);
	ck_assert_int_eq(why, VM_HOLD_USER);
	return kvm_resume(&kvm);
}

static unsigned n_forwards;

bool vm_forward(const struct vm *vm, unsigned i, struct ipc_forward *ret)
{
	ck_assert_ptr_eq(vm, ctl.vm);
	*ret = (struct ipc_forward){ .host_port = (uint16_t)(8000 + i), .guest_port = 22 };
	return i < n_forwards;
}

void vm_describe_busy(struct vm *vm, char *ret, size_t cap)
{
	ck_assert_ptr_eq(vm, ctl.vm);
	kvm_describe_busy(&kvm, ret, cap);
}

void kvm_stop(void *vm, enum stop_cause cause, uint32_t value)
{
	ck_assert_ptr_eq(vm, &kvm);
	ck_assert_int_eq(cause, STOP_REQUEST);
	ck_assert_uint_eq(value, 0);
	kvm.state = KVM_STOPPING;
}

int control_exec(struct control *of, const void *body, struct ipc_reply *to)
{
	(void)body;
	ck_assert_ptr_eq(of, &ctl);
	ck_assert_ptr_eq(to, &reply);
	return IPC_LATER;
}

int control_console(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_backtrace(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_sample(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_set_symbols(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_dmesg(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_snapshot(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_kernel(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int control_dump(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_snapshot(of, body, to);
}

int control_link(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

void control_nets_text(const struct control *of, FILE *out)
{
	ck_assert_ptr_eq(of, &ctl);
	fputs("nets\n", out);
}

void control_nets_json(const struct control *of, struct json *json)
{
	ck_assert_ptr_eq(of, &ctl);
	json_str(json, "nets", NULL);
}

int control_balloon(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_snapshot(of, body, to);
}

/* No guest of this test answers. */
int control_balloon_stats(struct control *of, bool json, struct ipc_reply *to)
{
	ck_assert_ptr_eq(of, &ctl);
	(void)json, (void)to;
	return 0;
}

const char *vnc_where(const struct vnc *vnc)
{
	(void)vnc;
	return "127.0.0.1:5901";
}

int control_input(struct control *of, const void *body, struct ipc_reply *to)
{
	(void)of, (void)body, (void)to;
	return 0;
}

int control_screen(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

void control_screen_text(const struct control *of, FILE *out)
{
	ck_assert_ptr_eq(of, &ctl);
	fputs("screen:   of this test\n", out);
}

void control_screen_json(const struct control *of, struct json *json)
{
	ck_assert_ptr_eq(of, &ctl);
	json_str(json, "screen", "of this test");
}

void control_balloon_text(const struct control *of, FILE *out)
{
	ck_assert_ptr_eq(of, &ctl);
	fputs("balloon:  of this test\n", out);
}

void control_balloon_json(const struct control *of, struct json *json)
{
	ck_assert_ptr_eq(of, &ctl);
	json_str(json, "balloon", "of this test");
}

int control_mem(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_snapshot(of, body, to);
}

void control_mem_text(const struct control *of, FILE *out)
{
	ck_assert_ptr_eq(of, &ctl);
	fputs("plugged:  of this test\n", out);
}

void control_mem_json(const struct control *of, struct json *json)
{
	ck_assert_ptr_eq(of, &ctl);
	json_str(json, "mem", "of this test");
}

int control_gdb(struct control *of, const void *body, struct ipc_reply *to)
{
	return control_exec(of, body, to);
}

int clock_look(const struct kvm_fds *fds, struct clock_moment *ret)
{
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	ck_assert_int_eq(fds->vcpu_fd, 1000 + (int)fds->cpu);
	*ret = (struct clock_moment){
		.clock_ns = fake.clock_ns + fds->cpu * 1000000,
		.tsc = 5000000000 + fds->cpu * 2000007,
		.realtime_ns = 1700000000123456789,
		.raw_ns = 7000000001,
	};
	return 0;
}

void clock_guest_look(const struct kvm_fds *fds, struct clock_guest *ret)
{
	ck_assert_ptr_eq(fds->ram, ram);
	*ret = fake.clock;
}

int clock_tsc_offset(const struct kvm_fds *fds, uint64_t *ret)
{
	*ret = 100 - fds->cpu;
	return fake.no_offsets ? -ENXIO : 0;
}

uint32_t clock_tsc_khz(const struct kvm_fds *fds)
{
	(void)fds;
	return 2000000;
}

int64_t clock_ticks(int64_t ns, uint32_t khz)
{
	return ns * khz / 1000000;
}

void platform_rtc(struct platform *platform, struct rtc_view *ret)
{
	ck_assert_ptr_null(platform);
	*ret = fake.rtc;
}

bool platform_power_button(struct platform *platform)
{
	ck_assert_ptr_null(platform);
	return fake.button_heard;
}

void console_send(struct console *con, const uint8_t *buf, size_t len, bool break_first)
{
	ck_assert_ptr_eq(con, ctl.console);
	ck_assert_uint_eq(len, 1);
	fake.sysrq = *buf;
	fake.sysrq_break = break_first;
}

void console_stats(struct console *con, uint64_t *ret_bytes, uint64_t *ret_writes)
{
	ck_assert_ptr_eq(con, ctl.console);
	*ret_bytes = UINT64_MAX;
	*ret_writes = 3;
}

void fault_print_regs(FILE *out, const struct ram *of, unsigned cpu_id, const struct kvm_regs *regs,
		      const struct kvm_sregs *sregs)
{
	(void)regs, (void)sregs;
	ck_assert_ptr_eq(of, ram);
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	for (size_t i = 0; i < fake.regs_bytes; i++)
		putc('r', out);
	if (!fake.regs_bytes)
		fprintf(out, "registers of %u\n", cpu_id);
}

void walk_page_tables(const struct ram *of, const struct kvm_sregs *sregs, uint64_t virt,
		      struct walk *ret)
{
	(void)sregs, (void)virt;
	ck_assert_ptr_eq(of, ram);
	*ret = fake.walk;
}

void fault_print_walk(FILE *out, const struct ram *of, uint64_t virt, const struct walk *walk)
{
	(void)of, (void)walk;
	fprintf(out, "walk of %lx\n", virt);
}

static void start_machine(uint64_t ram_mib, unsigned n_cpus)
{
	static struct ram_config advice;
	struct ram_backing backing = { .fd = -1, .advice = &advice };

	ck_assert_int_eq(ram_new(ram_mib * MIB, &backing, &ram), 0);
	kvm = (struct kvm){ .vm_fd = -1, .n_cpus = n_cpus, .cpus = cpus, .state = KVM_RUNNING };
	kvm_slots_init(&kvm);
	ck_assert_int_eq(kvm_map_ram(&kvm, ram), 0);
	pthread_mutex_init(&kvm.lock, NULL);
	bus_init(&kvm.pio);
	bus_init(&kvm.mmio);
	for (unsigned i = 0; i < n_cpus; i++)
		cpus[i] = (struct kvm_cpu){ .kvm = &kvm, .id = i, .fd = 1000 + (int)i, .run = &run_page };
	config.name = "unit";
	ctl = (struct control){ .kvm = &kvm, .console = (struct console *)&fake, .config = &config };
}

static int ask(enum ipc_op op, const void *body, size_t len)
{
	reply.len = 0;
	return control_handle(&ctl, op, body, len, &reply);
}

static int ask_u32(enum ipc_op op, uint32_t body)
{
	return ask(op, &body, sizeof(body));
}

static const char *text(void)
{
	ck_assert_uint_lt(reply.len, sizeof(reply.body));
	reply.body[reply.len] = '\0';
	return (const char *)reply.body;
}

static void expect_text(const char *part)
{
	ck_assert_msg(strstr(text(), part), "'%s' is not in:\n%s", part, text());
}

/* Every request has a handler, which gets a body of its own length only. */
START_TEST(test_body_lengths)
{
	static const size_t want[IPC_N_OPS] = {
		[IPC_STAT] = 4, [IPC_REGS] = 4, [IPC_REGS_JSON] = 4, [IPC_NMI] = 4, [IPC_SYSRQ] = 1, [IPC_MEMMAP] = 4,
		[IPC_TRANSLATE] = 16, [IPC_EXEC] = sizeof(struct ipc_exec), [IPC_EXEC_SIGNAL] = 4, [IPC_WINSIZE] = 4,
		[IPC_CLOCK] = 4, [IPC_CONSOLE] = sizeof(struct ipc_console), [IPC_SNAPSHOT] = sizeof(struct ipc_snapshot),
		[IPC_DMESG] = sizeof(struct ipc_dmesg), [IPC_BACKTRACE] = sizeof(struct ipc_backtrace),
		[IPC_EXITS] = 4, [IPC_DUMP] = sizeof(struct ipc_dump), [IPC_LINK] = sizeof(struct ipc_link),
		[IPC_BALLOON] = sizeof(struct ipc_size), [IPC_MEM] = sizeof(struct ipc_size),
		[IPC_SCREEN] = sizeof(struct ipc_screen), [IPC_INPUT] = sizeof(struct ipc_input),
	};
	static const uint8_t body[sizeof(struct ipc_input) + 1];

	start_machine(64, 1);
	for (int op = 1; op < IPC_N_OPS; op++)
		for (size_t len = 0; len <= sizeof(body); len++)
			if (len != want[op])
				ck_assert_int_eq(ask((enum ipc_op)op, body, len), -EPROTO);
			else
				ck_assert_int_ne(ask((enum ipc_op)op, body, len), -EPROTO);
}
END_TEST

/* What the last exits were is read beside vCPUs that run. */
START_TEST(test_last_exits)
{
	struct exits_polled polled[2];
	struct ipc_last_exit last[2];

	start_machine(64, 2);
	run_page.mmio.phys_addr = 0xfed00000;
	run_page.mmio.is_write = 1;
	atomic_store(&cpus[1].stats.exits, 7);
	atomic_store(&cpus[1].stats.mmio, 5);
	ck_assert_int_eq(ask(IPC_LAST_EXITS, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(last));
	memcpy(last, reply.body, sizeof(last));
	ck_assert_uint_eq(last[0].address, 0xfed00000);
	ck_assert_uint_eq(last[0].is_write, 1);
	ck_assert_uint_eq(last[1].exits, 7);
	ck_assert_uint_eq(last[1].mmio, 5);
	ck_assert_int_eq(exits_polled(&kvm, polled), 0);
	ck_assert_str_eq(polled[1].text, "");
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	ck_assert_int_eq(ask_u32(IPC_EXITS, 0), 0);
	expect_text("vCPU 1: this host's KVM does not tell");
	ck_assert_int_eq(ask_u32(IPC_EXITS, 1), 0);
	expect_text("\"counters\"");
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
}
END_TEST

/* So many exits come while exits_polled() waits. */
static struct {
	unsigned io, mmio, other;
} meanwhile;

int nanosleep(const struct timespec *want, struct timespec *left)
{
	(void)want, (void)left;
	atomic_fetch_add(&cpus[1].stats.io, meanwhile.io);
	atomic_fetch_add(&cpus[1].stats.mmio, meanwhile.mmio);
	atomic_fetch_add(&cpus[1].stats.exits, meanwhile.io + meanwhile.mmio + meanwhile.other);
	return 0;
}

static void expect_polls(unsigned io, unsigned mmio, unsigned other, const char *want)
{
	struct exits_polled polled[2];

	meanwhile.io = io;
	meanwhile.mmio = mmio;
	meanwhile.other = other;
	ck_assert_int_eq(exits_polled(&kvm, polled), 0);
	ck_assert_str_eq(polled[0].text, "");
	ck_assert_str_eq(polled[1].text, want);
}

START_TEST(test_polls)
{
	const struct bus_range chip = { .base = 0xfed00000, .size = 16, .name = "chip" };

	start_machine(64, 2);
	ck_assert_int_eq(bus_add(&kvm.mmio, &chip), 0);
	run_page.mmio.phys_addr = 0xfed00004;
	expect_polls(0, 3, 9, "reads memory at 0xfed00004 (chip)");
	expect_polls(0, 2, 0, "");
	expect_polls(1, 3, 0, "");
	expect_polls(0, 0, 9, "");
	run_page.io.direction = KVM_EXIT_IO_OUT;
	run_page.io.port = 0x3f8;
	expect_polls(3, 0, 0, "writes port 0x3f8");
}
END_TEST

START_TEST(test_exit_kind)
{
	const struct ipc_last_exit none = { 0 }, io = { .exits = 2, .io = 2, .port = 1 }, no_port = { .exits = 2, .io = 2 },
				   mmio = { .exits = 3, .mmio = 1, .address = 1 },
				   both = { .exits = 9, .io = 3, .mmio = 2 }, other = { .exits = 1 };

	ck_assert_int_eq(ipc_exit_kind(&none, &none), IPC_EXIT_NONE);
	ck_assert_int_eq(ipc_exit_kind(&none, &io), IPC_EXIT_PORT);
	ck_assert_int_eq(ipc_exit_kind(&none, &no_port), IPC_EXIT_SEVERAL);
	ck_assert_int_eq(ipc_exit_kind(&none, &mmio), IPC_EXIT_MEMORY);
	ck_assert_int_eq(ipc_exit_kind(&none, &both), IPC_EXIT_SEVERAL);
	ck_assert_int_eq(ipc_exit_kind(&none, &other), IPC_EXIT_OTHER);
	ck_assert_int_eq(ipc_exit_kind(&io, &both), IPC_EXIT_SEVERAL);
}
END_TEST

/* ---- a socket device, of which only is known that it is there ---- */

static struct virtio_dev vsock;

const struct vsock_host *virtio_vsock_host(const struct virtio_dev *dev)
{
	static const struct vsock_host vsock_host = { .path = { "/run/x.vsock" } };

	ck_assert_ptr_eq(dev, &vsock);
	return &vsock_host;
}

uint32_t virtio_vsock_cid(struct virtio_dev *dev)
{
	ck_assert_ptr_eq(dev, &vsock);
	return 1234;
}

void virtio_vsock_stats(const struct virtio_dev *dev, struct vsock_stats *ret)
{
	ck_assert_ptr_eq(dev, &vsock);
	*ret = (struct vsock_stats){ 1, 22, 333, 4444 };
}

START_TEST(test_vsock)
{
	struct ipc_info info;

	start_machine(64, 1);
	ctl.vsock = &vsock;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	memcpy(&info, reply.body, sizeof(info));
	ck_assert_uint_eq(info.vsock_cid, 1234);
	ck_assert_str_eq(info.vsock_path, "/run/x.vsock");
	ck_assert_int_eq(ask_u32(IPC_STAT, 0), 0);
	ck_assert_ptr_nonnull(strstr(text(), "vsock:    CID 1234, /run/x.vsock; 1 connections, 22 so far, "
						    "333 bytes to the guest, 4444 from it\n\n"));
	ck_assert_int_eq(ask_u32(IPC_STAT, 1), 0);
	ck_assert_ptr_nonnull(strstr(text(), "\"bytes_from_guest\": 4444"));
	ctl.vsock = NULL;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	memcpy(&info, reply.body, sizeof(info));
	ck_assert_uint_eq(info.vsock_cid, 0);
}
END_TEST

START_TEST(test_info)
{
	struct ipc_info info;

	start_machine(3329, 2);
	kvm.state = KVM_PAUSED;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(info));
	memcpy(&info, reply.body, sizeof(info));
	ck_assert_str_eq(info.name, "unit");
	ck_assert_int_eq(info.pid, getpid());
	ck_assert_uint_eq(info.state, KVM_PAUSED);
	ck_assert_uint_eq(info.cpus, 2);
	ck_assert_uint_eq(info.ram_bytes, 3329 * MIB);
	ck_assert_uint_gt(info.uptime_ns, 0);
}
END_TEST

/* Forwards stand between the two, and what does not fit is left out. */
START_TEST(test_info_forwards)
{
	char *words[] = { "ls", NULL };
	struct ipc_forward forward[2];
	struct ipc_info info;

	start_machine(64, 1);
	config.session.argv = words;
	config.session.wanted = true;
	n_forwards = 2;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(info) + sizeof(forward) + 3);
	memcpy(&info, reply.body, sizeof(info));
	memcpy(forward, reply.body + sizeof(info), sizeof(forward));
	ck_assert_uint_eq(info.n_forwards, 2);
	ck_assert_uint_eq(forward[1].host_port, 8001);
	ck_assert_str_eq((char *)reply.body + sizeof(info) + sizeof(forward), "ls");
	n_forwards = UINT32_MAX;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	memcpy(&info, reply.body, sizeof(info));
	ck_assert_uint_eq(info.n_forwards, (IPC_MAX_BODY - sizeof(info)) / sizeof(forward[0]));
	n_forwards = 0;
	config.session = (struct session_config){ 0 };
}
END_TEST

/* Words that do not fit are left out, whole. */
START_TEST(test_info_command)
{
	static char longest[IPC_MAX_BODY - sizeof(struct ipc_info) - 4];
	char *words[] = { "ls", longest, "", NULL };

	start_machine(64, 1);
	memset(longest, 'x', sizeof(longest) - 1);
	config.session.argv = words;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(struct ipc_info)); /* it is no session */
	config.session.wanted = true;
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(reply.body));
	ck_assert_mem_eq(reply.body + sizeof(struct ipc_info), "ls\0xxx", 6);
	ck_assert_uint_eq(reply.body[sizeof(reply.body) - 1], 0);
	words[0] = "ls2";
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(struct ipc_info) + 4 + sizeof(longest));
	words[0] = "ls-2";
	ck_assert_int_eq(ask(IPC_INFO, NULL, 0), 0);
	ck_assert_uint_eq(reply.len, sizeof(struct ipc_info) + 5);
	config.session = (struct session_config){ 0 };
}
END_TEST

START_TEST(test_state_changes)
{
	start_machine(64, 1);
	ck_assert_int_eq(ask(IPC_RESUME, NULL, 0), -EALREADY);
	ck_assert_int_eq(ask(IPC_PAUSE, NULL, 0), 0);
	ck_assert_int_eq(ask(IPC_PAUSE, NULL, 0), -EALREADY);
	ck_assert_int_eq(ask(IPC_RESUME, NULL, 0), 0);
	ck_assert_int_eq(ask(IPC_POWER_BUTTON, NULL, 0), -EAGAIN);
	fake.button_heard = true;
	ck_assert_int_eq(ask(IPC_POWER_BUTTON, NULL, 0), 0);
	ck_assert_int_eq(ask(IPC_STOP, NULL, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_STOPPING);
	ck_assert_int_eq(ask(IPC_PAUSE, NULL, 0), -ESHUTDOWN);
}
END_TEST

START_TEST(test_regs)
{
	start_machine(64, 2);
	ck_assert_int_eq(ask_u32(IPC_REGS, 1), 0);
	ck_assert_str_eq(text(), "registers of 1\n");
	ck_assert_int_eq(fake.ioctl_fd, 1001);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	ck_assert_int_eq(ask_u32(IPC_REGS, 2), -ENXIO);
	ck_assert_uint_eq(reply.len, 0);
	ck_assert_int_eq(ask_u32(IPC_REGS, UINT32_MAX), -ENXIO);
	fake.ioctl_errno = EIO;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), -EIO);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	fake.ioctl_errno = 0;

	kvm.state = KVM_PAUSED; /* by the user: it stays so */
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	kvm.state = KVM_STOPPING;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), -ESHUTDOWN);
}
END_TEST

START_TEST(test_regs_json)
{
	start_machine(64, 2);
	ck_assert_int_eq(ask_u32(IPC_REGS_JSON, 1), 0);
	expect_text("  \"id\": 1,\n");
	expect_text("  \"rip\": \"0x");
	expect_text("  \"cs\": {\"selector\": \"0x");
	expect_text("  \"gdt\": {\"base\": \"0x");
	expect_text("  \"efer\": \"0x");
	ck_assert_int_eq(ask_u32(IPC_REGS_JSON, 2), -ENXIO);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
}
END_TEST

START_TEST(test_clock)
{
	start_machine(64, 2);
	fake.clock_ns = 4000000002;
	fake.rtc.time_s = 1700000000;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	expect_text("host:         2023-11-14 22:13:20.123456789 UTC\n");
	expect_text("host, raw:    7.000000001 s\n");
	expect_text("kvm-clock:    the guest does not use it\n");
	expect_text("time of day:  the guest has not asked for it\n");
	expect_text("RTC:          2023-11-14 22:13:20 UTC, no alarm\n");
	expect_text("PIT:          channel 0 is not set\n");
	expect_text("   0           5000000000    2000000                    0\n");
	expect_text("   1           5002000007    2000000                   -1\n");
	fake.no_offsets = true;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), 0);
	expect_text("   1           5002000007    2000000                    7\n");

	fake.clock = (struct clock_guest){ .used = true, .wall = CLOCK_WALL_TOLD, .wall_ns = 1699999996000000000 };
	fake.rtc = (struct rtc_view){ .time_s = 1700000000, .held = true, .has_alarm = true, .alarm_s = 1700000001 };
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), 0);
	expect_text("kvm-clock:    4.000000002 s\n");
	expect_text("time of day:  2023-11-14 22:13:20.000000002 UTC, 0.123456787 s behind the host's\n");
	expect_text(" UTC (being set), alarm at 2023-11-14 22:13:21\n");
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 1), 0);
	expect_text("  \"realtime_ns\": 1700000000000000002,\n  \"behind_ns\": 123456787,\n");
	expect_text("    {\"id\": 1, \"tsc\": 5002000007, \"tsc_khz\": 2000000, \"tsc_apart\": 7}\n");
	fake.rtc.alarm_s = 0;
	fake.clock.wall_ns += 200000000;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), 0);
	expect_text(" UTC, 0.076543213 s ahead of the host's\n");
	expect_text(", alarm at no time\n");
	fake.clock.wall = CLOCK_WALL_BUSY;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), 0);
	expect_text("time of day:  half written\n");
	fake.clock.wall = CLOCK_WALL_BAD;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 1), 0);
	ck_assert_ptr_null(strstr(text(), "behind"));
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 2), -EINVAL);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	kvm.state = KVM_STOPPING;
	ck_assert_int_eq(ask_u32(IPC_CLOCK, 0), -ESHUTDOWN);
}
END_TEST

/* A vCPU that does not come out of a device: what can be had is answered, else what it waits for. */
START_TEST(test_busy)
{
	struct ipc_translate req = { .virt = 5 };

	start_machine(64, 1);
	fake.busy = true;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), -EINPROGRESS);
	ck_assert_str_eq(text(), "vCPU 0 is busy");
	ck_assert_int_eq(ask(IPC_TRANSLATE, &req, sizeof(req)), -EINPROGRESS);
	ck_assert_int_eq(ask_u32(IPC_NMI, 0), -EINPROGRESS);
	ck_assert_uint_eq(fake.n_ioctls, 0);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);

	fake.outside = true;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), 0);
	ck_assert_str_eq(text(), "registers of 0\n");
	ck_assert_int_eq(ask_u32(IPC_NMI, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);

	ck_assert_int_eq(ask(IPC_PAUSE, NULL, 0), -EINPROGRESS);
	ck_assert_str_eq(text(), "vCPU 0 is busy");
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	ck_assert_int_eq(ask(IPC_RESUME, NULL, 0), 0);
}
END_TEST

START_TEST(test_reply_length)
{
	start_machine(64, 1);
	fake.regs_bytes = IPC_MAX_BODY - 1;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), 0);
	ck_assert_uint_eq(reply.len, IPC_MAX_BODY - 1);
	ck_assert_uint_eq(reply.body[IPC_MAX_BODY - 2], 'r');
	fake.regs_bytes = 3 * IPC_MAX_BODY;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), -EMSGSIZE);
	fake.regs_bytes = IPC_MAX_BODY;
	ck_assert_int_eq(ask_u32(IPC_REGS, 0), -EMSGSIZE);
	ck_assert_uint_eq(reply.len, 0);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
}
END_TEST

START_TEST(test_nmi)
{
	start_machine(64, 2);
	ck_assert_int_eq(ask_u32(IPC_NMI, 1), 0);
	ck_assert_uint_eq(fake.ioctl_seen[0], KVM_NMI);
	ck_assert_int_eq(fake.ioctl_fd, 1001);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	ck_assert_int_eq(ask_u32(IPC_NMI, 2), -ENXIO);
	ck_assert_uint_eq(fake.n_ioctls, 1);
	kvm.state = KVM_PAUSED;
	ck_assert_int_eq(ask_u32(IPC_NMI, 0), 0);
	ck_assert_int_eq(kvm.state, KVM_PAUSED);
	kvm.state = KVM_STOPPING;
	ck_assert_int_eq(ask_u32(IPC_NMI, 0), -ESHUTDOWN);
}
END_TEST

START_TEST(test_sysrq)
{
	static const char bad[] = { 0, '\n', ' ', 0x7f, (char)0x80, (char)0xff };

	start_machine(64, 1);
	for (size_t i = 0; i < sizeof(bad); i++)
		ck_assert_int_eq(ask(IPC_SYSRQ, &bad[i], 1), -EINVAL);
	ck_assert_uint_eq(fake.sysrq, 0);
	ck_assert_int_eq(ask(IPC_SYSRQ, "c", 1), 0);
	ck_assert_uint_eq(fake.sysrq, 'c');
	ck_assert(fake.sysrq_break);
	ctl.console = NULL;
	ck_assert_int_eq(ask(IPC_SYSRQ, "c", 1), -ENODEV);
	ck_assert_int_eq(ask_u32(IPC_STAT, 0), 0);
}
END_TEST

START_TEST(test_stat)
{
	start_machine(64, 2);
	kvm.cpus[1].stats.intr = 17;
	ck_assert_int_eq(ask_u32(IPC_STAT, 0), 0);
	expect_text("name:     unit\n");
	expect_text("state:    running\n");
	expect_text("RAM:      64MB, of which ");
	expect_text("console:  18446744073709551615 bytes in 3 writes\n");
	ck_assert_int_eq(ask_u32(IPC_STAT, 1), 0);
	expect_text("{\n  \"name\": \"unit\",\n");
	expect_text("  \"state\": \"running\",\n");
	expect_text("    {\"id\": 1, \"exits\": 0, \"io\": 0, \"mmio\": 0, \"intr\": 17, "
		    "\"other\": 0}\n  ]\n}\n");
	ck_assert_int_eq(ask_u32(IPC_STAT, 2), -EINVAL);
}
END_TEST

static uint64_t resident_kib(void)
{
	uint64_t bytes = 0;

	ck_assert_int_eq(ask_u32(IPC_STAT, 1), 0);
	ck_assert_int_eq(sscanf(strstr(text(), "\"ram_resident"), "\"ram_resident_bytes\": %lu", &bytes), 1);
	return bytes / KIB;
}

/* Counted are the RAM's pages, in both of its parts, and nothing else of the process. */
START_TEST(test_stat_resident)
{
	char *other = malloc(16 * MIB);

	start_machine(4096, 1);
	memset(other, 1, 16 * MIB);
	ck_assert_uint_eq(resident_kib(), 4); /* ram_new() touches the first page */
	ck_assert_int_eq(madvise(ram_base(ram), 4096 * MIB + RAM_GAP_SIZE, MADV_NOHUGEPAGE), 0);
	memset(ram_base(ram) + MIB, 1, MIB);
	memset(ram_base(ram) + 4 * GIB, 1, MIB);
	ck_assert_uint_eq(resident_kib(), 2048 + 4);
	free(other);
}
END_TEST

START_TEST(test_stat_largest)
{
	start_machine(64, MAX_CPUS);
	for (unsigned i = 0; i < MAX_CPUS; i++)
		memset(&cpus[i].stats, 0xff, sizeof(cpus[i].stats));
	ck_assert_int_eq(ask_u32(IPC_STAT, 0), 0);
	ck_assert_int_eq(ask_u32(IPC_STAT, 1), 0);
	ck_assert_str_eq(text() + reply.len - 4, "]\n}\n");
}
END_TEST

static void add_range(struct bus *bus, uint64_t base, uint64_t size, const char *name,
		      unsigned gsi)
{
	const struct bus_range range = { .base = base, .size = size, .name = name, .gsi = gsi };

	ck_assert_int_eq(bus_add(bus, &range), 0);
}

START_TEST(test_memmap)
{
	char slot[96];

	start_machine(3329, 1);
	add_range(&kvm.pio, 0x3f8, 8, "serial", 4);
	add_range(&kvm.pio, 0x80, 1, "post", 0);
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 0), 0);
	expect_text("RAM: 3329MB\n");
	expect_text("\n  0x0000d0000000-0x0000ffffffff\n");
	snprintf(slot, sizeof(slot), "0x000100000000-0x0001000fffff  1MB  %p  0x0  anonymous, private\n",
		 (void *)(ram_base(ram) + 4 * GIB));
	expect_text(slot);
	expect_text("  0x03f8-0x03ff  serial, GSI 4\n");
	expect_text("  0x0080-0x0080  post\n");
	expect_text("  0x0000fec00000-0x0000fec00fff  IOAPIC (KVM)\n");
	/* KVM's and ours are one list, in order */
	expect_text("\n  0x0020-0x0021  PIC (KVM)\n");
	ck_assert(strstr(text(), "  0x0020-") < strstr(text(), "  0x03f8-"));
	ck_assert(strstr(text(), "  0x03f8-") < strstr(text(), "  0x04d0-"));

	config.ram.path = "/a \"file\""; /* shared without --mem-share */
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 0), 0);
	expect_text("  0x0  file /a \"file\", shared\n");
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 1), 0);
	expect_text("{\n  \"ram_bytes\": 3490709504,\n"
		    "  \"slots\": [\n    {\"slot\": 0, \"start\": \"0x0\", \"size_bytes\": 3489660928, ");
	snprintf(slot, sizeof(slot), "\"host\": \"%p\", \"flags\": 0, \"name\": \"RAM\", ",
		 (void *)(ram_base(ram) + 4 * GIB));
	expect_text(slot);
	expect_text("\"backing\": \"file\", \"path\": \"/a \\\"file\\\"\", \"shared\": true}\n  ],\n"
		    "  \"gap\": {\n    \"start\": \"0xd0000000\",\n    \"size_bytes\": 805306368\n  },\n"
		    "  \"e820_map\": [\n");
	expect_text("    {\"start\": \"0x3f8\", \"size_bytes\": 8, \"name\": \"serial\", \"gsi\": 4},\n");
	expect_text("\"name\": \"post\"},\n");
	expect_text("    {\"start\": \"0xfec00000\", \"size_bytes\": 4096, \"name\": \"IOAPIC (KVM)\"},\n");
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 2), -EINVAL);
}
END_TEST

/* What devices have beside the RAM is among the slots, whatever hole it fills. */
START_TEST(test_memmap_device_slots)
{
	static uint8_t memory[2 * 4096] __attribute__((aligned(4096)));
	struct kvm_slot slot = { .name = "fb", .at = GPA(0xd0000000), .bytes = 4096, .host = memory };
	char line[128];

	start_machine(64, 1);
	ck_assert_int_eq(kvm_slot_add(&kvm, &slot), 1);
	slot = (struct kvm_slot){ "rom", GPA(0x200000000), 4096, memory + 4096, true, true };
	ck_assert_int_eq(kvm_slot_add(&kvm, &slot), 2);
	ck_assert_int_eq(kvm_slot_remove(&kvm, 1), 0);
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 0), 0);
	snprintf(line, sizeof(line), "\n  0x000200000000-0x000200000fff  0.003MB  %p  0x3  rom, read-only\n",
		 (void *)(memory + 4096));
	expect_text(line);
	ck_assert_ptr_null(strstr(text(), "0x0000d0000000-0x0000d0000fff"));
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 1), 0);
	expect_text("    {\"slot\": 2, \"start\": \"0x200000000\", \"size_bytes\": 4096, \"host\": ");
	expect_text("\"flags\": 3, \"name\": \"rom\", \"backing\": null, \"path\": null, \"shared\": null}\n  ],");
	ck_assert_ptr_null(strstr(text(), "\"slot\": 1,"));
}
END_TEST

START_TEST(test_memmap_largest)
{
	static uint8_t memory[4096] __attribute__((aligned(4096)));

	start_machine(64, 1);
	for (unsigned i = 1; i < kvm.slots.max; i++)
		ck_assert_int_eq(kvm_slot_add(&kvm, &(struct kvm_slot){
			.name = "a device of some name", .at = GPA(0x3ffff0000000 + 0x1000ULL * i),
			.bytes = sizeof(memory), .host = memory, .read_only = true }), (int)i);
	for (unsigned i = 0; i < BUS_MAX_RANGES; i++) {
		add_range(&kvm.pio, 0x1000 + 0x10ULL * i, 0x10, "a device of some name", 10);
		add_range(&kvm.mmio, 0x3fffff000000 + 0x1000ULL * i, 0x1000, "a device of some name",
			  23);
	}
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 0), 0);
	ck_assert_int_eq(ask_u32(IPC_MEMMAP, 1), 0);
	ck_assert_str_eq(text() + reply.len - 4, "]\n}\n");
}
END_TEST

START_TEST(test_translate)
{
	struct ipc_translate req = { .virt = 0xffff888000001234, .cpu = 1 };

	start_machine(64, 2);
	fake.walk = (struct walk){ .mapped = true, .gpa = GPA(0x1234), .page_bytes = 4096 };
	ck_assert_int_eq(ask(IPC_TRANSLATE, &req, sizeof(req)), 0);
	ck_assert_int_eq(fake.ioctl_fd, 1001);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	expect_text("walk of ffff888000001234\n");

	fake.walk.mapped = false;
	ck_assert_int_eq(ask(IPC_TRANSLATE, &req, sizeof(req)), -EFAULT);
	ck_assert_str_eq(text(), "walk of ffff888000001234\n");
	req.cpu = 2;
	ck_assert_int_eq(ask(IPC_TRANSLATE, &req, sizeof(req)), -ENXIO);
	ck_assert_int_eq(kvm.state, KVM_RUNNING);
	kvm.state = KVM_STOPPING;
	ck_assert_int_eq(ask(IPC_TRANSLATE, &req, sizeof(req)), -ESHUTDOWN);
}
END_TEST

UNIT_MAIN("control", test_vsock, test_body_lengths, test_last_exits, test_polls, test_exit_kind, test_info, test_info_forwards, test_info_command, test_state_changes, test_regs, test_regs_json, test_clock, test_busy,
	  test_reply_length, test_nmi, test_sysrq, test_stat, test_stat_resident, test_stat_largest,
	  test_memmap, test_memmap_device_slots, test_memmap_largest, test_translate)
