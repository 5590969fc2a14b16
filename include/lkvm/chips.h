/*
 * The chips of the machine: one const struct device_type each, listed in x86/platform.c.
 * Offsets that a handler sees start at 0 for the first range of its line in platform.c and go on
 * through the second.
 */
#ifndef LKVM_CHIPS_H
#define LKVM_CHIPS_H

#include "lkvm/device.h"

extern const struct device_type serial_type;     /* hw/serial.c: 16550A, 8 ports; the one with env->index 0 is the console */
extern const struct device_type rtc_type;        /* hw/rtc.c: MC146818 CMOS clock, index and data port */
extern const struct device_type i8042_type;      /* hw/i8042.c: offset 0 data (0x60), offset 1 command and status (0x64) */
extern const struct device_type power_type;      /* hw/power.c: ACPI PM1a, PM timer, reset register */
extern const struct device_type pvpanic_type;    /* hw/pvpanic.c: one port */
extern const struct device_type debug_exit_type; /* hw/debug-exit.c: isa-debug-exit, 4 ports */
extern const struct device_type debug_port_type; /* hw/debug-port.c: env->index 0 is 0x80, 1 is 0xe9, 2 is 0x402; one port each */

/* hw/power.c: register offsets from its base, for the ACPI tables */
#define POWER_PM1_STS 0x00 /* 2 bytes */
#define POWER_PM1_EN  0x02 /* 2 bytes */
#define POWER_PM1_CNT 0x04 /* 2 bytes */
#define POWER_PM_TMR  0x08 /* 4 bytes, 3579545 Hz, 32 bits */
#define POWER_RESET   0x0c /* 1 byte: writing POWER_RESET_VALUE resets */
#define POWER_SIZE    0x10
#define POWER_RESET_VALUE 0x06
#define POWER_SLP_TYP_S5  5

/**
 * power_button() - press the power button (lkvm stop --graceful)
 * @dev: the power_type instance; any thread
 * Sets PWRBTN_STS and raises the SCI where the guest has enabled it.
 * Return: true if the guest has enabled the button's event
 */
bool power_button(void *dev);

#endif
