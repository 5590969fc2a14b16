/*
 * The list of chips and devices of the x86 machine, with address and interrupt of each.
 */
#ifndef LKVM_X86_PLATFORM_H
#define LKVM_X86_PLATFORM_H

#include "lkvm/config.h"
#include "lkvm/console.h"
#include "lkvm/kvm.h"

struct platform;

/**
 * platform_new() - build every device of the list and put it on its bus
 * @console: where each of the four serial ports leads; NULL: nowhere
 * @kvm: its buses, interrupt lines and kvm_stop() are what the devices get
 * Return: 0, or -errno after one logged line; nothing is left behind
 */
int platform_new(struct kvm *kvm, const struct vm_config *cfg, struct console *const *console,
		 struct platform **ret);
/** platform_free() - after the last vCPU thread was joined; takes NULL */
void platform_free(struct platform *platform);

/** platform_power_button() - Return: true if the guest listens to it */
bool platform_power_button(struct platform *platform);

#endif
