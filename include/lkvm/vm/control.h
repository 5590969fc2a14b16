/*
 * What a running guest can be asked over its control socket: the ipc_handler of `lkvm run`, one
 * function a request. Main thread only.
 *
 * Registers are read, and interrupts injected, while no vCPU is in the guest; a guest that was
 * running goes on afterwards.
 */
#ifndef LKVM_VM_CONTROL_H
#define LKVM_VM_CONTROL_H

#include <stdio.h>

#include "lkvm/ipc.h"
#include "lkvm/vm/snapshot-write.h"

struct console;
struct control_balloon;
struct control_client;
struct control_dump;
struct control_linux;
struct control_mem;
struct control_snapshot;
struct display;
struct json;
struct kvm;
struct kvm_regs;
struct kvm_sregs;
struct linux_guest;
struct linux_symbols;
struct platform;
struct session;
struct virtio_dev;
struct vm;
struct vm_config;
struct vnc;

/* What a vCPU does with a device again and again: "reads port 0x3fd (serial0)", or "" */
struct exits_polled {
	char text[80];
};

struct control {
	struct vm *vm; /* for who makes it stand still */
	struct kvm *kvm;
	struct platform *platform;
	struct console *console; /* NULL: none */
	struct session *session; /* NULL: none, or none yet */
	const struct vm_config *config;
	struct virtio_dev *vsock; /* NULL: none */
	uint64_t start_ns; /* CLOCK_MONOTONIC, when the guest was started */
	struct control_client *console_clients; /* who looks at the console */
	struct control_snapshot *snapshot; /* that is being made; NULL: none */
	struct control_dump *dump; /* likewise */
	struct virtio_dev *balloon; /* NULL: none, or none yet */
	struct control_balloon *balloon_waits; /* who waits for it; NULL: nobody has */
	struct virtio_dev *mem; /* NULL: none, or none yet */
	struct control_mem *mem_waits; /* who waits for it; NULL: nobody has */
	struct display *display; /* NULL: it has no screen */
	struct vnc *vnc; /* likewise */
	struct virtio_dev *keyboard, *tablet; /* NULL: none, or none yet */
	struct ram_children dying; /* what was given up of that, and of dumps */
	struct exits_polled *polled; /* one a vCPU, as a time limit passed; NULL: none has */
	char withheld[80]; /* "blk0: ..." likewise: an interrupt that the guest does not let through; "": none */
	struct control_linux *linux_seen; /* what is known of the guest's kernel; NULL: nobody has asked yet */
	bool is_saved; /* it ends as it was saved: nothing of it moves any more */
};

/**
 * control_handle() - carry out one request; an ipc_handler with a struct control as @ctx
 * Return: 0 or -errno: -EPROTO (length of the body), -EINVAL (what is in it), -ENXIO (no such vCPU),
 *	-EALREADY, -ESHUTDOWN (see kvm_pause()), -EAGAIN (nobody listens to the power button),
 *	-EFAULT (the address is not mapped; the answer tells why), -EMSGSIZE, -EINPROGRESS (a vCPU does
 *	not come out of what it does; the answer tells of what)
 */
int control_handle(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply);

/* The parts of it */

enum ipc_state control_state(struct kvm *kvm); /* under the VM's lock */
uint64_t control_uptime_ns(const struct control *ctl);

/** control_stat() - vm/control-stat.c: state, memory, console and exit counters */
void control_stat(const struct control *ctl, bool json, FILE *out);
/** control_reply_stat() - the same as an answer; Return: 0 or -errno */
int control_reply_stat(struct control *ctl, bool json, struct ipc_reply *reply);
/** control_balloon() - vm/control-balloon.c: how large it is, or is to be. Return: as an ipc_handler */
int control_balloon(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_balloon_stats() - have the guest send its statistics, before control_reply_stat()
 * Return: IPC_LATER: that is the answer; 0: there is nothing to wait for
 */
int control_balloon_stats(struct control *ctl, bool json, struct ipc_reply *reply);
/** control_balloon_text(), control_balloon_json() - its part of control_stat() */
void control_balloon_text(const struct control *ctl, FILE *out);
void control_balloon_json(const struct control *ctl, struct json *json);
/** control_end_balloon() - the device goes: who waits for it has waited in vain */
void control_end_balloon(struct control *ctl);
/** control_mem() - vm/control-mem.c: how much memory is plugged, or is to be. Return: as an ipc_handler */
int control_mem(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_mem_text(), control_mem_json() - its part of control_stat() */
void control_mem_text(const struct control *ctl, FILE *out);
void control_mem_json(const struct control *ctl, struct json *json);
/** control_end_mem() - the device goes: who waits for it has waited in vain */
void control_end_mem(struct control *ctl);
/** control_screen() - vm/control-screen.c: a picture of what it shows. Return: as an ipc_handler */
int control_screen(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_screen_text(), control_screen_json() - its part of control_stat() */
void control_screen_text(const struct control *ctl, FILE *out);
void control_screen_json(const struct control *ctl, struct json *json);
/** control_input() - vm/control-input.c: keys and the pointer. Return: as an ipc_handler */
int control_input(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_exits() - vm/control-exits.c: KVM's own counters of each vCPU; no vCPU is in the guest */
void control_exits(const struct control *ctl, bool json, FILE *out);
/**
 * exits_polled() - what the vCPUs come out for again and again, of a few milliseconds, which are waited for
 * @ret: one a vCPU; Return: 0 or -ENOMEM
 */
int exits_polled(const struct kvm *kvm, struct exits_polled *ret);
/** control_last_exits() - of each vCPU; no vCPU is asked or stopped for it. Return: as an ipc_handler */
int control_last_exits(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_link() - vm/control-net.c: the plug of a network device. Return: as an ipc_handler */
int control_link(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_nets_text(), control_nets_json() - vm/control-net.c: of control_stat(), a network device each */
void control_nets_text(const struct control *ctl, FILE *out);
void control_nets_json(const struct control *ctl, struct json *json);
/** control_memmap() - vm/control-memmap.c: RAM, gap, slots, e820, devices */
void control_memmap(const struct control *ctl, bool json, FILE *out);
/** control_clock() - vm/control-clock.c: the guest's clocks and the host's; no vCPU is in the guest */
void control_clock(const struct control *ctl, bool json, FILE *out);
/** control_regs_json() - vm/control-regs.c: the registers of a vCPU that is not in the guest */
void control_regs_json(FILE *out, uint32_t cpu, const struct kvm_regs *regs, const struct kvm_sregs *sregs);
/**
 * control_freeze(), control_thaw() - nobody is in the guest in between
 * @ret_thaw: for control_thaw(): it ran before
 * Return: 0, -ESHUTDOWN; -EINPROGRESS: a vCPU does not come out, as @reply tells
 */
int control_freeze(struct control *ctl, bool *ret_thaw, struct ipc_reply *reply);
void control_thaw(struct control *ctl, bool was_running);
/** control_backtrace() - vm/control-backtrace.c: where a vCPU is, and how it came there. Return: as an ipc_handler */
int control_backtrace(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_sample() - vm/control-profile.c: the stacks of all vCPUs, short. Return: as an ipc_handler */
int control_sample(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_exec() - vm/control-exec.c: run a command for the client, who waits until it has ended
 * Return: as an ipc_handler
 */
int control_exec(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_console() - vm/control-console.c: show the client the console, until the guest ends or he leaves
 * Return: as an ipc_handler
 */
int control_console(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_is_stream() - a descriptor of a client's: to read or write it waits for nobody but a pipe's or socket's peer */
bool control_is_stream(int fd, int mode);
/**
 * control_gdb() - vm/control-gdb.c: let the client debug the guest, until he leaves
 * Return: as an ipc_handler
 */
int control_gdb(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_kernel() - vm/control-gdb.c: what the guest's kernel is, for who looks for its symbols; likewise */
int control_kernel(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_snapshot() - vm/control-snapshot.c: save the guest; the client waits until that is done
 * Return: as an ipc_handler
 */
int control_snapshot(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_dump() - vm/control-dump.c: write a dump; the client waits until that is done
 * Return: as an ipc_handler
 */
int control_dump(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_end_dump() - the guest has ended: one that is not there will not be */
void control_end_dump(struct control *ctl);
/** control_no_snapshot() - why the guest cannot be saved at this time; NULL: it can */
const char *control_no_snapshot(const struct control *ctl);
/** control_end_snapshot() - the guest has ended: what is not saved will not be */
void control_end_snapshot(struct control *ctl);
/**
 * control_linux() - vm/control-linux.c: the Linux in the guest's RAM
 * Looks for it, a while at a time; what was found is kept, and checked again each time.
 * Return: 0; -EAGAIN: ask again; -ENOENT: there is none, or none yet; -ENOMEM
 */
int control_linux(struct control *ctl, const struct linux_guest **ret);
/** control_linux_told() - only one that tells of itself: one that it has to be found by its looks takes longer; likewise */
int control_linux_told(struct control *ctl, const struct linux_guest **ret);
/** control_linux_seen() - the one that was found the last time, which may be gone by now; NULL: none was, or nobody asked */
const struct linux_guest *control_linux_seen(const struct control *ctl);
/**
 * control_symbols() - of its kernel: as control_linux(), and kept as that is
 * @ret: NULL: the kernel does not tell
 * Return: as control_linux()
 */
int control_symbols(struct control *ctl, const struct linux_symbols **ret);
/** control_set_symbols() - those of a client's file, until another kernel is found. Return: as an ipc_handler */
int control_set_symbols(struct control *ctl, const void *body, struct ipc_reply *reply);
/** control_end_linux() - forget it */
void control_end_linux(struct control *ctl);
/** control_dmesg() - vm/control-dmesg.c: a piece of the kernel's log, whatever the guest does. Return: as an ipc_handler */
int control_dmesg(struct control *ctl, const void *body, struct ipc_reply *reply);
/**
 * control_end_consoles() - the guest has ended: those who look have its last words, and are told
 * Waits for them a second at most, or until @interrupt_fd becomes readable, which is not read here.
 */
void control_end_consoles(struct control *ctl, int interrupt_fd);

#endif
