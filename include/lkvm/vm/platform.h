/*
 * The list of chips and devices of the x86 machine, with address and interrupt of each.
 */
#ifndef LKVM_VM_PLATFORM_H
#define LKVM_VM_PLATFORM_H

#include "lkvm/console.h"
#include "lkvm/kvm.h"
#include "lkvm/board.h"
#include "lkvm/vm/config.h"

struct platform;
struct rtc_view;

/* What the chips are built on. The array of consoles is read by platform_new() only. */
struct platform_env {
	const struct vm_config *config;
	struct kvm *kvm;                /* its buses and RAM */
	struct board board;             /* interrupt lines, and the end */
	struct loop *loop;              /* for their timers */
	struct console *const *console; /* where each of the four serial ports leads; NULL: nowhere */
};

/**
 * platform_new() - build every device of the list and put it on its bus
 * Return: 0, or -errno after one logged line; nothing is left behind
 */
int platform_new(const struct platform_env *env, struct platform **ret);
/** platform_free() - after the last vCPU thread was joined; takes NULL */
void platform_free(struct platform *platform);

/**
 * platform_each_state() - visit every chip that has state, under a name that no other has ("serial1")
 * Return: 0, or what the first @visit() said that was not 0, which ends it
 */
int platform_each_state(struct platform *platform,
			int (*visit)(void *ctx, const char *name, const struct state_type *type, void *dev),
			void *ctx);

/**
 * platform_restored() - tell every chip that wants to know: the machine is a copy, and all of it is loaded
 * Return: 0, or -errno after one logged line
 */
int platform_restored(struct platform *platform);

/** platform_rtc() - what the real-time clock says */
void platform_rtc(struct platform *platform, struct rtc_view *ret);

/** platform_fw_cfg() - the fw_cfg_type instance (fw-cfg.h); NULL: there is none */
void *platform_fw_cfg(struct platform *platform);

/** platform_ramfb() - likewise the ramfb_type instance (ramfb.h) */
void *platform_ramfb(struct platform *platform);

/** platform_power_button() - Return: true if the guest listens to it */
bool platform_power_button(struct platform *platform);

#endif
