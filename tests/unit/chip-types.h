/* For tests of what knows the chips by vm/hardware.c's rows only: their types, with nothing behind. */
#ifndef TESTS_CHIP_TYPES_H
#define TESTS_CHIP_TYPES_H

#include "lkvm/chips.h"

const struct device_type serial_type, rtc_type, i8042_type, power_type, reset_type, pvpanic_type,
	debug_exit_type, test_device_type, debug_port_type, vmgenid_type, fw_cfg_type, ramfb_type;

#endif
