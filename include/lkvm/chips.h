/*
 * The chips of the machine: one const struct device_type each, listed in vm/hardware.c.
 * Offsets that a handler sees start at 0 for the first range of its row in hardware.c and go on
 * through the second, then the memory.
 */
#ifndef LKVM_CHIPS_H
#define LKVM_CHIPS_H

#include "lkvm/device.h"

extern const struct device_type serial_type;     /* hw/serial.c: 16550A, 8 ports */
extern const struct device_type rtc_type;        /* hw/rtc.c: MC146818 CMOS clock, index and data port */
extern const struct device_type i8042_type;      /* hw/i8042.c: offset 0 data (0x60), offset 1 command and status (0x64) */
extern const struct device_type power_type;      /* hw/power.c: ACPI PM1a, PM timer, reset register */
extern const struct device_type reset_type;      /* hw/reset.c: offset 0 is port 0x92, offset 1 is 0xcf9 */
extern const struct device_type pvpanic_type;    /* hw/pvpanic.c: one port */
extern const struct device_type debug_exit_type; /* hw/debug-exit.c: isa-debug-exit, 4 ports */
extern const struct device_type test_device_type; /* hw/test-device.c: 12 ports, a port each GSI, memory */
extern const struct device_type vmgenid_type;    /* hw/vmgenid.c: the generation ID, memory */
extern const struct device_type fw_cfg_type;     /* hw/fw-cfg.c: what firmware is told, FW_CFG_PORTS ports */
extern const struct device_type ramfb_type;      /* hw/ramfb.c: a frame buffer in RAM, without ports; see ramfb.h */
extern const struct device_type debug_port_type; /* hw/debug-port.c: config: struct debug_port_config; one port */

/* hw/vmgenid.c */
#define VMGENID_BYTES 16

/* hw/test-device.c: its ranges */
#define TEST_DEVICE_PORTS  12
#define TEST_DEVICE_LINES  24
#define TEST_DEVICE_MEMORY 0x10000

/* hw/debug-port.c */
struct debug_port_config {
	const char *name; /* for messages: "0x80" */
	uint8_t present;  /* what a guest that looks for the port expects to read */
};

/* hw/power.c: register offsets from its base, for the ACPI tables */
#define POWER_PM1_STS 0x00 /* 2 bytes */
#define POWER_PM1_EN  0x02 /* 2 bytes */
#define POWER_PM1_CNT 0x04 /* 2 bytes */
#define POWER_PM_TMR  0x08 /* 4 bytes, 3579545 Hz, 32 bits */
#define POWER_RESET   0x0c /* 1 byte: writing POWER_RESET_VALUE resets */
#define POWER_SIZE    0x10
#define POWER_RESET_VALUE 0x06
#define POWER_SLP_TYP_S5  5

/* NULL: a chip of no maker */
struct power_config {
	bool piix; /* to firmware it is a PIIX4, whose S5 is 0: both are S5 then */
};

/**
 * reset_control_write() - hw/reset.c: a byte is written to 0xcf9
 * @reg: what the register keeps and reads back
 * Return: true if that resets the machine
 */
bool reset_control_write(uint8_t *reg, uint8_t value);

/** PVPANIC_EVENTS, pvpanic_event() - hw/pvpanic.c: what a pvpanic reads, and the byte written to it */
#define PVPANIC_EVENTS (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)
void pvpanic_event(const struct board *board, uint8_t events);

/* hw/rtc.c: what the clock says, in seconds as of time(2) */
struct rtc_view {
	int64_t time_s;
	bool held;       /* the guest is setting it */
	bool has_alarm;  /* whose interrupt is on: the next is at ... */
	int64_t alarm_s; /* ... 0: never */
};

/** rtc_look() - @dev: the rtc_type instance; any thread */
void rtc_look(void *dev, struct rtc_view *ret);

/**
 * power_button() - press the power button (lkvm stop --graceful)
 * @dev: the power_type instance; any thread
 * Sets PWRBTN_STS and raises the SCI where the guest has enabled it.
 * Return: true if the guest has enabled the button's event
 */
bool power_button(void *dev);

#endif
