/* Memory slots: RAM, and what devices put beside it; see kvm-slots.h. */
#include "lkvm/kvm-slots.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lkvm/kvm.h"
#include "lkvm/log.h"

static bool only_shown(const struct kvm *kvm)
{
	return kvm->vm_fd < 0;
}

void kvm_slots_init(struct kvm *kvm)
{
	int most = only_shown(kvm) ? 0 : ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

	/* 32 is what the documentation has every KVM give. */
	kvm->slots = (struct kvm_slots){ .max = most <= 0 ? 32 : (unsigned)most };
	if (kvm->slots.max > KVM_MAX_SLOTS)
		kvm->slots.max = KVM_MAX_SLOTS;
	pthread_mutex_init(&kvm->slots.lock, NULL);
}

void kvm_slots_fini(struct kvm *kvm)
{
	pthread_mutex_destroy(&kvm->slots.lock);
}

uint32_t kvm_slot_flags(const struct kvm_slot *slot)
{
	return (slot->read_only ? KVM_MEM_READONLY : 0U) |
	       (slot->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0U);
}

static bool is_ram(const struct kvm *kvm, const struct kvm_slot *slot)
{
	return ram_host(kvm->ram, slot->at, slot->bytes) == slot->host;
}

_Static_assert(KVM_MAX_SLOTS <= RAM_MAX_BESIDE, "each slot may be one");

/* Devices are to find it, too. Under the lock, which keeps the order. */
static void put_beside_ram(struct kvm *kvm, unsigned n, const struct kvm_slot *slot)
{
	const struct ram_beside beside = { slot->at, slot->bytes, slot->host, slot->read_only };

	if (kvm->ram && !is_ram(kvm, slot))
		ram_beside_set(kvm->ram, n, &beside);
}

/* Under the lock. With no bytes: the slot goes. */
static int set(struct kvm *kvm, unsigned n, const struct kvm_slot *slot)
{
	const struct kvm_userspace_memory_region region = {
		.slot = n,
		.flags = kvm_slot_flags(slot),
		.guest_phys_addr = slot->at.v,
		.memory_size = slot->bytes,
		.userspace_addr = (uintptr_t)slot->host,
	};

	if (!only_shown(kvm) && ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	kvm->slots.slot[n] = *slot;
	put_beside_ram(kvm, n, slot);
	return 0;
}

/* One line, if there were not many: then as below. Under the lock. */
static int refuse(struct kvm_slots *slots, int err, const struct kvm_slot *slot, const char *why)
{
	if (!ratelimit_ok(&slots->refused))
		return err;
	return log_errx(err, "memory of %s, %llu bytes at 0x%llx: %s", slot->name,
			(unsigned long long)slot->bytes, (unsigned long long)slot->at.v, why);
}

static int try_set(struct kvm *kvm, unsigned n, const struct kvm_slot *slot)
{
	int err = set(kvm, n, slot);

	if (!err || !ratelimit_ok(&kvm->slots.refused))
		return err;
	return log_err(err, "KVM_SET_USER_MEMORY_REGION of %s, %llu bytes at 0x%llx", slot->name,
		       (unsigned long long)slot->bytes, (unsigned long long)slot->at.v);
}

static bool overlap(const struct kvm_slot *a, const struct kvm_slot *b)
{
	return a->bytes && b->bytes && a->at.v < b->at.v + b->bytes && b->at.v < a->at.v + a->bytes;
}

/* Under the lock: may slot @n be this one? */
static int judge(struct kvm_slots *slots, unsigned n, const struct kvm_slot *slot)
{
	const uint64_t all = slot->at.v | slot->bytes | (uintptr_t)slot->host;

	if (!slot->bytes || all & (RAM_PAGE_BYTES - 1))
		return refuse(slots, -EINVAL, slot, "not made of whole pages");
	if (slot->at.v + slot->bytes < slot->at.v)
		return refuse(slots, -EINVAL, slot, "no such addresses");
	for (unsigned i = 0; i < slots->max; i++)
		if (i != n && overlap(slot, &slots->slot[i]))
			return refuse(slots, -EEXIST, slot, "other memory is there");
	return 0;
}

static int check_read_only(struct kvm *kvm, const struct kvm_slot *slot)
{
	if (!slot->read_only || only_shown(kvm) ||
	    ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0)
		return 0;
	return refuse(&kvm->slots, -ENOTSUP, slot, "this host's KVM lacks KVM_CAP_READONLY_MEM");
}

static int find_free(struct kvm_slots *slots, const struct kvm_slot *slot)
{
	for (unsigned i = 0; i < slots->max; i++)
		if (!slots->slot[i].bytes)
			return (int)i;
	return refuse(slots, -ENOSPC, slot, "no memory slot is left");
}

/* Under the lock */
static int add(struct kvm *kvm, const struct kvm_slot *slot)
{
	int err = check_read_only(kvm, slot);
	int n = err ? err : find_free(&kvm->slots, slot);

	if (n >= 0)
		err = judge(&kvm->slots, (unsigned)n, slot);
	if (n >= 0 && !err)
		err = try_set(kvm, (unsigned)n, slot);
	return err ? err : n;
}

int kvm_slot_add(struct kvm *kvm, const struct kvm_slot *slot)
{
	int ret;

	pthread_mutex_lock(&kvm->slots.lock);
	ret = add(kvm, slot);
	pthread_mutex_unlock(&kvm->slots.lock);
	return ret;
}

int kvm_slot_move(struct kvm *kvm, unsigned n, gpa_t at)
{
	struct kvm_slot slot;
	int err;

	pthread_mutex_lock(&kvm->slots.lock);
	slot = kvm->slots.slot[n];
	slot.at = at;
	err = judge(&kvm->slots, n, &slot);
	if (!err)
		err = try_set(kvm, n, &slot);
	pthread_mutex_unlock(&kvm->slots.lock);
	return err;
}

int kvm_slot_remove(struct kvm *kvm, unsigned n)
{
	struct kvm_slot slot;
	int err;

	pthread_mutex_lock(&kvm->slots.lock);
	slot = kvm->slots.slot[n];
	slot.bytes = 0;
	err = try_set(kvm, n, &slot);
	pthread_mutex_unlock(&kvm->slots.lock);
	return err;
}

bool kvm_slot_get(struct kvm *kvm, unsigned n, struct kvm_slot *ret)
{
	if (n >= kvm->slots.max)
		return false;
	pthread_mutex_lock(&kvm->slots.lock);
	*ret = kvm->slots.slot[n];
	pthread_mutex_unlock(&kvm->slots.lock);
	return ret->bytes;
}

/* Better now than when the guest is asked to plug the last of them. */
static int check_room(const struct kvm *kvm, const struct ram *ram)
{
	const struct ram_region *region = ram_region(ram);
	const uint64_t n = region->bytes ? region->bytes / region->block_bytes : 0;

	if (!n || only_shown(kvm) || n + KVM_OTHER_SLOTS <= kvm->slots.max)
		return 0;
	return log_errx(-ENOSPC, "--mem-max: %llu blocks need as many memory slots, and this host's KVM has %u in all",
			(unsigned long long)n, kvm->slots.max);
}

int kvm_map_ram(struct kvm *kvm, struct ram *ram)
{
	unsigned n;
	const struct ram_part *part = ram_parts(ram, &n);
	const int err = check_room(kvm, ram);

	if (err)
		return err;

	for (unsigned i = 0; i < n; i++, part++) {
		const struct kvm_slot slot = {
			.name = "RAM",
			.at = part->start,
			.bytes = part->size_bytes,
			.host = ram_host(ram, part->start, part->size_bytes),
		};
		int got = kvm_slot_add(kvm, &slot);

		if (got < 0)
			return got;
	}
	kvm->ram = ram;
	return 0;
}

/* Under the lock */
static int set_logged(struct kvm *kvm, unsigned n, bool on)
{
	struct kvm_slot slot = kvm->slots.slot[n];

	slot.logged = on;
	return try_set(kvm, n, &slot);
}

int kvm_slot_log(struct kvm *kvm, unsigned n, bool on)
{
	int err;

	pthread_mutex_lock(&kvm->slots.lock);
	err = set_logged(kvm, n, on);
	pthread_mutex_unlock(&kvm->slots.lock);
	return err;
}

/* KVM's answer replaces what is in its buffer, so it gets one of its own. */
static int take_kvm_log(struct kvm *kvm, unsigned n, uint64_t words, uint64_t *bitmap)
{
	uint64_t *got = calloc(words, sizeof(*got));
	struct kvm_dirty_log log = { .slot = n, .dirty_bitmap = got };
	int err = got ? 0 : -ENOMEM;

	if (!err && ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		err = -errno;
	for (uint64_t i = 0; !err && i < words; i++)
		bitmap[i] |= got[i];
	free(got);
	return err ? log_err(err, "KVM_GET_DIRTY_LOG of slot %u", n) : 0;
}

int kvm_slot_log_take(struct kvm *kvm, unsigned n, uint64_t *bitmap)
{
	struct kvm_slot slot;
	int err;

	if (!kvm_slot_get(kvm, n, &slot) || !slot.logged)
		return log_errx(-ENOENT, "memory slot %u keeps no log", n);
	err = take_kvm_log(kvm, n, kvm_slot_log_words(&slot), bitmap);
	if (!err && kvm->ram && is_ram(kvm, &slot))
		ram_log_take(kvm->ram, slot.at, slot.bytes, bitmap);
	return err;
}

/* ---- all RAM ---- */

/* A slot may come or go at any time: blocks that are plugged. */
static int log_ram(struct kvm *kvm, unsigned n, bool on)
{
	const struct kvm_slot *slot = &kvm->slots.slot[n];
	int err = 0;

	pthread_mutex_lock(&kvm->slots.lock);
	if (slot->bytes && is_ram(kvm, slot) && slot->logged != on)
		err = set_logged(kvm, n, on);
	pthread_mutex_unlock(&kvm->slots.lock);
	return err;
}

int kvm_ram_log(struct kvm *kvm, bool on)
{
	int err = ram_log(kvm->ram, on);

	if (err)
		return log_err(err, "log of what is written to RAM");
	for (unsigned n = 0; n < kvm->slots.max && !(err && on); n++)
		err = log_ram(kvm, n, on);
	if (err && on)
		kvm_ram_log(kvm, false);
	return err;
}

int kvm_ram_log_take(struct kvm *kvm, kvm_ram_written_fn fn, void *ctx)
{
	struct kvm_slot slot;
	int err = 0;

	for (unsigned n = 0; !err && n < kvm->slots.max; n++) {
		uint64_t *written;

		if (!kvm_slot_get(kvm, n, &slot) || !slot.logged || !is_ram(kvm, &slot))
			continue;
		written = calloc(kvm_slot_log_words(&slot), sizeof(*written));
		err = written ? kvm_slot_log_take(kvm, n, written) : log_err(-ENOMEM, "log of memory slot %u", n);
		if (!err)
			fn(ctx, slot.at, slot.bytes, written);
		free(written);
	}
	return err;
}
