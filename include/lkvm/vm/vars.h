/*
 * --firmware-vars: a file as a chip of flash memory (flash.h) right below the firmware, in which that keeps its
 * variables. What the guest programs is in the file at once, and on the disk at the end; of a machine that goes on from a
 * snapshot it may be in memory alone. While reads see the array the
 * chip is read-only memory of the guest's; while they see something else they come out of it.
 */
#ifndef LKVM_VM_VARS_H
#define LKVM_VM_VARS_H

#include "lkvm/kvm.h"

struct flash;
struct vars;

enum vars_use {
	VARS_WRITE,   /* what the guest programs is in the file, which no other guest may have */
	VARS_PRIVATE, /* it goes with the machine; the file is only read, once */
	VARS_SHOW,    /* nothing is programmed: the machine does not run */
};

/**
 * vars_open() - a file
 * @room: what it must fit in; the rest is the firmware's
 * Return: 0; -errno, logged: "could not open firmware variables 'x': REASON"
 */
int vars_open(const char *path, uint64_t room, enum vars_use use, struct vars **ret);
/** vars_map() - let it answer in @kvm, up to @end; before any vCPU runs. Return: 0; -errno, logged */
int vars_map(struct vars *vars, struct kvm *kvm, gpa_t end);
/** vars_are_private() - is what was programmed in no file? */
bool vars_are_private(const struct vars *vars);
/** vars_data() - what the array is now, @ret_bytes of it; stands still while the vCPUs do, and lives as long as the variables */
const void *vars_data(const struct vars *vars, uint64_t *ret_bytes);
/** vars_flash() - the chip, for its state */
struct flash *vars_flash(struct vars *vars);
/** vars_close() - after the VM was closed, or before vars_map(); what cannot be brought to the disk is logged; takes NULL */
void vars_close(struct vars *vars);

#endif
