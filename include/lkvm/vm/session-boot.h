/*
 * What a session boots into: the kernel that the user means, an initramfs with lkvm's own init and the
 * modules that it needs, and the shared folders. Main thread, before the devices are made.
 */
#ifndef LKVM_VM_SESSION_BOOT_H
#define LKVM_VM_SESSION_BOOT_H

#include "lkvm/vm/config.h"
#include "lkvm/x86/boot.h"

struct session_boot;

/**
 * session_boot_new() - choose the kernel, add the folders to @cfg, note what is in the initramfs
 * Return: 0, or -errno after one logged line: -ENOTSUP the kernel lacks something, which is named
 */
int session_boot_new(struct vm_config *cfg, struct session_boot **ret);
/** session_boot_made() - the initramfs; valid until session_boot_loaded() or session_boot_free() */
const struct boot_made *session_boot_made(const struct session_boot *b);
/** session_boot_plan() - what the guest mounts, for session_plan(); as long */
const char *session_boot_plan(const struct session_boot *b, size_t *ret_len);
/** session_boot_loaded() - the guest has its initramfs, or needs none: the modules' memory is given back */
void session_boot_loaded(struct session_boot *b);
void session_boot_free(struct session_boot *b);

#endif
