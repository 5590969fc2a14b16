/*
 * A running Linux guest, seen from outside: its kernel is found in its RAM, without its help, and its memory read
 * by the kernel's own addresses. What is in there is the guest's: each value is fetched once and judged, and
 * no loop is longer than what there is of RAM.
 *
 *	RAM -> linux_find() -> struct linux_guest -> linux_read(), linux_key() -> linux/printk.h and the others
 *
 * Nothing here knows KVM's VM or the machine; the guest may run, stand still or be dead. x86-64 only.
 */
#ifndef LKVM_LINUX_GUEST_H
#define LKVM_LINUX_GUEST_H

#include <linux/kvm.h>

#include "lkvm/ram.h"

#define LINUX_NOTE_BYTES 8192
#define LINUX_RELEASE_BYTES 65 /* of struct new_utsname */
#define LINUX_UTS_NAMES 6      /* likewise: system, node, release, version, machine, domain */

struct linux_guest {
	const struct ram *ram;
	struct kvm_sregs sregs; /* as far as walk_read() needs them: paging by the kernel's own tables */
	uint64_t kaslr_offset;  /* what was added to the addresses of its vmlinux */
	uint64_t phys_base;
	char release[LINUX_RELEASE_BYTES];
	bool is_physical;       /* linux/early.c's: addresses are guest-physical; all else of it is not known yet */
	bool is_early;          /* it has no VMCOREINFO yet: the note is made from its symbols */
	gpa_t note_at;          /* where VMCOREINFO's text stands */
	size_t note_bytes;
	char note[LINUX_NOTE_BYTES + 1]; /* the text as it was found; lines of KEY=VALUE */
};

/* ---- linux/vmcoreinfo.c ---- */

/* How far RAM was looked through; zeroed at first. */
struct linux_scan {
	uint64_t next;
	bool has_second;
	struct linux_guest second; /* one that is readable, whose kernel does not confirm its name */
};

/**
 * linux_find() - look on through RAM for Linux
 * Looks only at pages that hold something, and no longer than a few dozen milliseconds at a time. Candidates are
 * judged: their page tables must map themselves, and the kernel's own name of its release should agree.
 * Return: 0: @ret is it; -EAGAIN: not yet, go on; -ENOENT: all was looked through, there is none (or none yet)
 */
int linux_find(struct linux_scan *scan, const struct ram *ram, struct linux_guest *ret);
/** linux_is_there() - is what was found still what is there? Not if the guest has started another kernel. */
bool linux_is_there(const struct linux_guest *guest);

/**
 * linux_judge() - what linux_find() does with a candidate: of @text, which is no string
 * Return: how far it can be trusted: 0: not at all; 1: its page tables are readable; 2: its kernel confirms it
 */
int linux_judge(const struct ram *ram, gpa_t at, const char *text, size_t len, struct linux_guest *ret);

/**
 * linux_key() - a number of VMCOREINFO: "SYMBOL(prb)", "OFFSET(prb_desc.state_var)", "KERNELOFFSET", ...
 * Return: 0, -ENOENT: there is no such key; -EINVAL: it is no number
 */
int linux_key(const struct linux_guest *guest, const char *key, uint64_t *ret);

/** linux_uts() - what uname(2) tells, each with a NUL; Return: 0, -ENOENT: VMCOREINFO does not say where; -EFAULT */
int linux_uts(const struct linux_guest *guest, char ret[LINUX_UTS_NAMES][LINUX_RELEASE_BYTES]);

/** linux_read() - copy from the kernel's virtual addresses, all or nothing; Return: 0 or -EFAULT */
int linux_read(const struct linux_guest *guest, uint64_t virt, void *dst, size_t len);
/** linux_read_u64(), linux_read_u32() - Return: 0 or -EFAULT */
int linux_read_u64(const struct linux_guest *guest, uint64_t virt, uint64_t *ret);
int linux_read_u32(const struct linux_guest *guest, uint64_t virt, uint32_t *ret);

#endif
