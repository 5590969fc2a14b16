/*
 * Memory slots: what of the guest-physical address space is memory without an exit. The RAM's parts
 * come first, slot 0 and 1; devices put host memory of their own beside them: a frame buffer, a shared
 * file, firmware that the guest may only read.
 *
 * A slot keeps its number while it lives. Slots never overlap. Adding, moving and removing is any
 * thread's (a guest moves a PCI BAR from a vCPU); the host memory must outlive the slot. KVM waits
 * until no vCPU uses what was there, so that a removed slot's memory may be unmapped. "Logged" is one
 * line, but for many in short time.
 */
#ifndef LKVM_KVM_SLOTS_H
#define LKVM_KVM_SLOTS_H

#include <pthread.h>

#include "lkvm/log.h"
#include "lkvm/ram.h"

#define KVM_OTHER_SLOTS 64 /* than those of blocks that come and go */
#define KVM_MAX_SLOTS   (KVM_OTHER_SLOTS + RAM_MAX_BLOCKS)

struct kvm;

struct kvm_slot {
	const char *name; /* not copied; for messages and lists */
	gpa_t at;
	uint64_t bytes; /* 0: the slot is free */
	void *host;     /* page aligned, as @at and @bytes */
	bool read_only; /* the guest's writes go to the bus */
	bool logged;    /* KVM notes which pages the guest writes */
};

struct kvm_slots {
	pthread_mutex_t lock;
	unsigned max; /* what KVM has room for, KVM_MAX_SLOTS at most */
	struct ratelimit refused; /* a guest can put a BAR where no slot can be, as often as it likes */
	struct kvm_slot slot[KVM_MAX_SLOTS];
};

/**
 * kvm_slots_init() - once the VM is there; kvm_slots_fini() - takes a zeroed struct
 * Where it is not (vm_fd < 0: a machine that is only shown), slots are noted and KVM is not asked.
 */
void kvm_slots_init(struct kvm *kvm);
void kvm_slots_fini(struct kvm *kvm);

/**
 * kvm_map_ram() - one slot a RAM part, before all others
 * Blocks that come and go get theirs from who plugs them; is there room for all of them? 0 or -errno, logged
 */
int kvm_map_ram(struct kvm *kvm, struct ram *ram);

/**
 * kvm_slot_add() - let host memory answer in the guest
 * Return: its number; after one logged line -EINVAL (not made of whole pages, or wraps), -EEXIST
 *	(overlaps another), -ENOSPC (no slot left), -ENOTSUP (read-only, and KVM has no such slots),
 *	or KVM's -errno
 */
int kvm_slot_add(struct kvm *kvm, const struct kvm_slot *slot);
/** kvm_slot_move() - to another address, or (-errno, logged as above) leave it where it is */
int kvm_slot_move(struct kvm *kvm, unsigned n, gpa_t at);
/** kvm_slot_remove() - its number is free then; 0, or -errno, logged: then it is still there */
int kvm_slot_remove(struct kvm *kvm, unsigned n);
/** kvm_slot_get() - what slot @n is now; Return: false if it is free */
bool kvm_slot_get(struct kvm *kvm, unsigned n, struct kvm_slot *ret);
/** kvm_slot_flags() - as KVM has them: KVM_MEM_... */
uint32_t kvm_slot_flags(const struct kvm_slot *slot);

/**
 * kvm_slot_log() - let KVM note from now on which pages the guest writes, or no longer
 * For a part of the RAM, ram_log() is the other half. Return: 0 or -errno, logged
 */
int kvm_slot_log(struct kvm *kvm, unsigned n, bool on);
/**
 * kvm_slot_log_take() - the pages of slot @n written since the last call, by the guest and (RAM) by
 * lkvm; then both logs are empty
 * @bitmap: one bit a page, 64 pages a word; bits that are set stay set. Each page that may be written
 *	after the call is in the next answer.
 * Return: 0, -ENOENT if @n is not logged, -ENOMEM, or KVM's -errno; logged
 */
int kvm_slot_log_take(struct kvm *kvm, unsigned n, uint64_t *bitmap);

/* Of a slot that is RAM: as of kvm_slot_log_take(); @written is gone when this returns */
typedef void (*kvm_ram_written_fn)(void *ctx, gpa_t start, uint64_t bytes, const uint64_t *written);

/**
 * kvm_ram_log() - all slots that are RAM now, and ram_log(), are logged from now on, or no more
 * RAM that is plugged later is not. Main thread. Return: 0, or -errno, logged: then nothing is
 */
int kvm_ram_log(struct kvm *kvm, bool on);
/**
 * kvm_ram_log_take() - call @fn for each slot that has been RAM and logged since kvm_ram_log()
 * Nothing is in flight. Return: 0, or -errno of kvm_slot_log_take(), logged; then not for all
 */
int kvm_ram_log_take(struct kvm *kvm, kvm_ram_written_fn fn, void *ctx);

/** kvm_slot_log_words() - how long that bitmap is */
static inline uint64_t kvm_slot_log_words(const struct kvm_slot *slot)
{
	return (slot->bytes / RAM_PAGE_BYTES + 63) / 64;
}

#endif
