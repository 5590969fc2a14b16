/*
 * lkvm's own init for guests, a static program (guest/init.c): what it reads in the initramfs that it
 * comes in stands there.
 */
#ifndef LKVM_VM_GUEST_INIT_H
#define LKVM_VM_GUEST_INIT_H

#include <stdint.h>

extern const uint8_t guest_init[], guest_init_end[];

#endif
