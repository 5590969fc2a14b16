/* Requests to a running guest; see control.h. */
#include "lkvm/vm/control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/console.h"
#include "lkvm/kvm-cpu.h"
#include "lkvm/kvm.h"
#include "lkvm/session.h"
#include "lkvm/virtio-vsock.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/hold.h"
#include "lkvm/vm/platform.h"
#include "lkvm/x86/cpu.h"
#include "vm-internal.h"

enum ipc_state control_state(struct kvm *kvm)
{
	static const enum ipc_state told[] = {
		[KVM_CREATED] = IPC_CREATED,
		[KVM_RUNNING] = IPC_RUNNING,
		[KVM_PAUSED] = IPC_PAUSED,
		[KVM_STOPPING] = IPC_STOPPING,
	};
	enum kvm_state state;

	pthread_mutex_lock(&kvm->lock);
	state = kvm->state;
	pthread_mutex_unlock(&kvm->lock);
	return told[state];
}

uint64_t control_uptime_ns(const struct control *ctl)
{
	return now_ns() - ctl->start_ns;
}

/* Text goes straight into the answer. */
static FILE *reply_open(struct ipc_reply *reply)
{
	return fmemopen(reply->body, sizeof(reply->body), "w");
}

static int reply_close(FILE *out, struct ipc_reply *reply)
{
	bool all = fflush(out) == 0 && !ferror(out);
	size_t len = (size_t)ftello(out);

	fclose(out);
	/* A full buffer's last byte is lost to the NUL that fmemopen() keeps at the end. */
	if (!all || len >= sizeof(reply->body))
		return -EMSGSIZE;
	reply->len = len;
	return 0;
}

static int tell_busy(struct kvm *kvm, struct ipc_reply *reply)
{
	kvm_describe_busy(kvm, (char *)reply->body, sizeof(reply->body));
	reply->len = strlen((char *)reply->body);
	return -EINPROGRESS;
}

static void thaw(struct kvm *kvm, bool was_running)
{
	if (was_running)
		kvm_resume(kvm);
}

/*
 * Nobody is in the guest from here to thaw(). A vCPU that waits for a device is not, either, and
 * cannot go back.
 */
static int freeze(struct kvm *kvm, bool *ret_thaw, struct ipc_reply *reply)
{
	bool running = control_state(kvm) == IPC_RUNNING;
	int err = kvm_pause(kvm);

	if (err == -EINPROGRESS && !kvm_outside(kvm)) {
		tell_busy(kvm, reply);
		thaw(kvm, running);
		return err;
	}
	if (err && err != -EALREADY && err != -EINPROGRESS)
		return err;
	*ret_thaw = running;
	return 0;
}

int control_freeze(struct control *ctl, bool *ret_thaw, struct ipc_reply *reply)
{
	return freeze(ctl->kvm, ret_thaw, reply);
}

void control_thaw(struct control *ctl, bool was_running)
{
	thaw(ctl->kvm, was_running);
}

static int get_sregs(const struct kvm *kvm, uint32_t cpu, struct kvm_sregs *ret)
{
	if (cpu >= kvm->n_cpus)
		return -ENXIO;
	return ioctl(kvm->cpus[cpu].fd, KVM_GET_SREGS, ret) < 0 ? -errno : 0;
}

/* As many as there is room for */
static void add_forwards(const struct vm *vm, struct ipc_info *info, struct ipc_reply *reply)
{
	struct ipc_forward forward;

	while (sizeof(forward) <= sizeof(reply->body) - reply->len && vm_forward(vm, info->n_forwards, &forward)) {
		memcpy(reply->body + reply->len, &forward, sizeof(forward));
		reply->len += sizeof(forward);
		info->n_forwards++;
	}
}

/* As many words as there is room for */
static void add_command(const struct vm_config *cfg, struct ipc_reply *reply)
{
	char *const *word = cfg->session.wanted ? cfg->session.argv : NULL;

	for (; word && *word; word++) {
		size_t len = strlen(*word) + 1;

		if (len > sizeof(reply->body) - reply->len)
			return;
		memcpy(reply->body + reply->len, *word, len);
		reply->len += len;
	}
}

static int handle_info(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_info info = {
		.pid = getpid(),
		.state = control_state(ctl->kvm),
		.cpus = ctl->kvm->n_cpus,
		.ram_bytes = ram_bytes(ctl->kvm->ram) + ram_plugged_bytes(ctl->kvm->ram),
		.uptime_ns = control_uptime_ns(ctl),
	};

	(void)body;
	snprintf(info.name, sizeof(info.name), "%s", ctl->config->name);
	if (ctl->vsock) {
		info.vsock_cid = virtio_vsock_cid(ctl->vsock);
		snprintf(info.vsock_path, sizeof(info.vsock_path), "%s",
			 virtio_vsock_host(ctl->vsock)->path[VSOCK_STREAM]);
	}
	if (ctl->vnc)
		snprintf(info.vnc, sizeof(info.vnc), "%s", vnc_where(ctl->vnc));
	reply->len = sizeof(info);
	add_forwards(ctl->vm, &info, reply);
	memcpy(reply->body, &info, sizeof(info));
	add_command(ctl->config, reply);
	return 0;
}

static int handle_stop(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	(void)body, (void)reply;
	kvm_stop(ctl->kvm, STOP_REQUEST, 0);
	return 0;
}

static int handle_power_button(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	(void)body, (void)reply;
	return platform_power_button(ctl->platform) ? 0 : -EAGAIN;
}

static int handle_pause(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	int err = vm_hold(ctl->vm, VM_HOLD_USER);

	(void)body;
	if (err != -EINPROGRESS)
		return err;
	vm_describe_busy(ctl->vm, (char *)reply->body, sizeof(reply->body));
	reply->len = strlen((char *)reply->body);
	return err;
}

static int handle_resume(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	(void)body, (void)reply;
	return vm_release(ctl->vm, VM_HOLD_USER);
}

static int text_or_json(struct control *ctl, const void *body, struct ipc_reply *reply,
			void (*show)(const struct control *, bool json, FILE *))
{
	uint32_t want_json;
	FILE *out;

	memcpy(&want_json, body, sizeof(want_json));
	if (want_json > 1)
		return -EINVAL;
	out = reply_open(reply);
	if (!out)
		return -ENOMEM;
	show(ctl, want_json, out);
	return reply_close(out, reply);
}

int control_reply_stat(struct control *ctl, bool json, struct ipc_reply *reply)
{
	const uint32_t body = json;

	return text_or_json(ctl, &body, reply, control_stat);
}

static int handle_stat(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	uint32_t json;
	int late;

	memcpy(&json, body, sizeof(json));
	late = json <= 1 ? control_balloon_stats(ctl, json, reply) : 0;
	return late ? late : text_or_json(ctl, body, reply, control_stat);
}

static int print_regs(struct kvm *kvm, uint32_t cpu, bool json, FILE *out)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	int err = get_sregs(kvm, cpu, &sregs);

	if (err)
		return err;
	if (ioctl(kvm->cpus[cpu].fd, KVM_GET_REGS, &regs) < 0)
		return -errno;
	if (json)
		control_regs_json(out, cpu, &regs, &sregs);
	else
		fault_print_regs(out, kvm->ram, cpu, &regs, &sregs);
	return 0;
}

static int reply_regs(struct control *ctl, const void *body, bool json, struct ipc_reply *reply)
{
	bool was_running;
	uint32_t cpu;
	FILE *out;
	int err = freeze(ctl->kvm, &was_running, reply), too_long;

	if (err)
		return err;
	memcpy(&cpu, body, sizeof(cpu));
	out = reply_open(reply);
	err = out ? print_regs(ctl->kvm, cpu, json, out) : -ENOMEM;
	thaw(ctl->kvm, was_running);
	too_long = out ? reply_close(out, reply) : 0;
	return err ? err : too_long;
}

static int handle_regs(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	return reply_regs(ctl, body, false, reply);
}

static int handle_regs_json(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	return reply_regs(ctl, body, true, reply);
}

static int handle_nmi(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	bool was_running;
	uint32_t cpu;
	int err;

	memcpy(&cpu, body, sizeof(cpu));
	if (cpu >= ctl->kvm->n_cpus)
		return -ENXIO;
	/* A vCPU in the guest would keep the ioctl waiting until its next exit. */
	err = freeze(ctl->kvm, &was_running, reply);
	if (err)
		return err;
	err = ioctl(ctl->kvm->cpus[cpu].fd, KVM_NMI) < 0 ? -errno : 0;
	thaw(ctl->kvm, was_running);
	return err;
}

static int handle_sysrq(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	const uint8_t *key = body;

	(void)reply;
	if (*key <= ' ' || *key > '~')
		return -EINVAL;
	if (!ctl->console)
		return -ENODEV;
	console_send(ctl->console, key, 1, true);
	return 0;
}

static int handle_memmap(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	return text_or_json(ctl, body, reply, control_memmap);
}

/* What asks vCPUs by ioctls: in the guest they would keep those waiting until their next exit. */
static int frozen_text_or_json(struct control *ctl, const void *body, struct ipc_reply *reply,
			       void (*show)(const struct control *, bool json, FILE *))
{
	bool was_running;
	int err = freeze(ctl->kvm, &was_running, reply);

	if (err)
		return err;
	err = text_or_json(ctl, body, reply, show);
	thaw(ctl->kvm, was_running);
	return err;
}

static int handle_clock(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	return frozen_text_or_json(ctl, body, reply, control_clock);
}

static int handle_exits(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	return frozen_text_or_json(ctl, body, reply, control_exits);
}

static int handle_translate(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_translate req;
	struct kvm_sregs sregs;
	bool was_running;
	struct walk walk;
	FILE *out;
	int err = freeze(ctl->kvm, &was_running, reply);

	if (err)
		return err;
	memcpy(&req, body, sizeof(req));
	err = get_sregs(ctl->kvm, req.cpu, &sregs);
	if (!err)
		walk_page_tables(ctl->kvm->ram, &sregs, req.virt, &walk);
	thaw(ctl->kvm, was_running);
	if (err)
		return err;
	out = reply_open(reply);
	if (!out)
		return -ENOMEM;
	fault_print_walk(out, ctl->kvm->ram, req.virt, &walk);
	err = reply_close(out, reply);
	return err || walk.mapped ? err : -EFAULT;
}

/* To somebody who waits for nothing; see ipc_later(). */
static int handle_not_waiting(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	(void)ctl, (void)body, (void)reply;
	return -ESRCH;
}

static const struct {
	int (*handle)(struct control *ctl, const void *body, struct ipc_reply *reply);
	size_t body_bytes;
} requests[IPC_N_OPS] = {
	[IPC_INFO] = { handle_info, 0 },
	[IPC_STOP] = { handle_stop, 0 },
	[IPC_POWER_BUTTON] = { handle_power_button, 0 },
	[IPC_PAUSE] = { handle_pause, 0 },
	[IPC_RESUME] = { handle_resume, 0 },
	[IPC_STAT] = { handle_stat, sizeof(uint32_t) },
	[IPC_REGS] = { handle_regs, sizeof(uint32_t) },
	[IPC_REGS_JSON] = { handle_regs_json, sizeof(uint32_t) },
	[IPC_NMI] = { handle_nmi, sizeof(uint32_t) },
	[IPC_SYSRQ] = { handle_sysrq, 1 },
	[IPC_MEMMAP] = { handle_memmap, sizeof(uint32_t) },
	[IPC_CLOCK] = { handle_clock, sizeof(uint32_t) },
	[IPC_TRANSLATE] = { handle_translate, sizeof(struct ipc_translate) },
	[IPC_EXEC] = { control_exec, sizeof(struct ipc_exec) },
	[IPC_EXEC_SIGNAL] = { handle_not_waiting, sizeof(uint32_t) },
	[IPC_WINSIZE] = { handle_not_waiting, sizeof(struct session_winsize) },
	[IPC_CONSOLE] = { control_console, sizeof(struct ipc_console) },
	[IPC_BREAK] = { handle_not_waiting, 0 },
	[IPC_SNAPSHOT] = { control_snapshot, sizeof(struct ipc_snapshot) },
	[IPC_EXITS] = { handle_exits, sizeof(uint32_t) },
	[IPC_LAST_EXITS] = { control_last_exits, 0 },
	[IPC_SYMBOLS] = { control_set_symbols, 0 },
	[IPC_SAMPLE] = { control_sample, 0 },
	[IPC_BACKTRACE] = { control_backtrace, sizeof(struct ipc_backtrace) },
	[IPC_DMESG] = { control_dmesg, sizeof(struct ipc_dmesg) },
	[IPC_GDB] = { control_gdb, 0 },
	[IPC_KERNEL] = { control_kernel, 0 },
	[IPC_DUMP] = { control_dump, sizeof(struct ipc_dump) },
	[IPC_LINK] = { control_link, sizeof(struct ipc_link) },
	[IPC_BALLOON] = { control_balloon, sizeof(struct ipc_size) },
	[IPC_MEM] = { control_mem, sizeof(struct ipc_size) },
	[IPC_SCREEN] = { control_screen, sizeof(struct ipc_screen) },
	[IPC_INPUT] = { control_input, sizeof(struct ipc_input) },
};

int control_handle(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	if (len != requests[op].body_bytes)
		return -EPROTO;
	return requests[op].handle(ctx, body, reply);
}
