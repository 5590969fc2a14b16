/*
 * --firmware-vars: a file as a chip of flash memory (flash.h) right below the firmware, in which that keeps its
 * variables. What the guest programs is in the file at once, and on the disk at the end. While reads see the array the
 * chip is read-only memory of the guest's; while they see something else they come out of it.
 */
#ifndef LKVM_VM_VARS_H
#define LKVM_VM_VARS_H

#include "lkvm/kvm.h"

struct vars;

/**
 * vars_open() - a file, which no other guest may have then
 * @room: what it must fit in; the rest is the firmware's
 * @to_be_shown: it is not written to, and others may have it
 * Return: 0; -errno, logged: "could not open firmware variables 'x': REASON"
 */
int vars_open(const char *path, uint64_t room, bool to_be_shown, struct vars **ret);
/** vars_map() - let it answer in @kvm, up to @end; before any vCPU runs. Return: 0; -errno, logged */
int vars_map(struct vars *vars, struct kvm *kvm, gpa_t end);
/** vars_close() - after the VM was closed, or before vars_map(); what cannot be brought to the disk is logged; takes NULL */
void vars_close(struct vars *vars);

#endif
