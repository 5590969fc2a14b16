/*
 * The state of kvm-clock and of time stamp counters; see x86/clock.h.
 *
 * Each vCPU's counter is the host's, scaled, plus an offset. How the offsets differ is saved exactly; where
 * the first counter stands follows from kvm-clock, once that is set: so the counters stay in step, and so do
 * both clocks. KVM, too, takes counters for synchronous only if their offsets are the same.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "lkvm/clock.h"
#include "lkvm/ram.h"
#include "state-internal.h"

#define LOOKS         8
#define TOLERANCE_PPM 250 /* KVM's default: so much less or more need not be scaled */

static uint64_t host_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t clock_ticks(int64_t ns, uint32_t khz)
{
	return (int64_t)((__int128)ns * khz / 1000000);
}

/* The look that took the least time has the best idea of when it was. */
int clock_look(const struct kvm_fds *fds, struct clock_moment *ret)
{
	uint64_t best_ns = UINT64_MAX;

	for (unsigned i = 0; i < LOOKS; i++) {
		struct kvm_clock_data before = { 0 }, after = { 0 };
		struct clock_moment at = { 0 };

		if (ioctl(fds->vm_fd, KVM_GET_CLOCK, &before) < 0)
			return -errno;
		at.realtime_ns = host_ns(CLOCK_REALTIME);
		at.monotonic_ns = host_ns(CLOCK_MONOTONIC);
		if (state_msr(fds, KVM_GET_MSRS, MSR_TSC, &at.tsc) < 1)
			at.tsc = 0;
		at.raw_ns = host_ns(CLOCK_MONOTONIC_RAW);
		if (ioctl(fds->vm_fd, KVM_GET_CLOCK, &after) < 0)
			return -errno;
		at.clock_ns = before.clock + (after.clock - before.clock) / 2;
		if (after.clock - before.clock >= best_ns)
			continue;
		best_ns = after.clock - before.clock;
		*ret = at;
	}
	return 0;
}

static int offset_ioctl(const struct kvm_fds *fds, unsigned long request, uint64_t *offset)
{
	const struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL,
					      .attr = KVM_VCPU_TSC_OFFSET,
					      .addr = (uintptr_t)offset };

	return ioctl(fds->vcpu_fd, request, &attr) < 0 ? -errno : 0;
}

int clock_tsc_offset(const struct kvm_fds *fds, uint64_t *ret)
{
	return offset_ioctl(fds, KVM_GET_DEVICE_ATTR, ret);
}

uint32_t clock_tsc_khz(const struct kvm_fds *fds)
{
	int khz = ioctl(fds->vcpu_fd, KVM_GET_TSC_KHZ);

	return khz < 0 ? 0 : (uint32_t)khz;
}

/* A register that has two numbers, of which a guest may have one only. */
static uint64_t either_msr(const struct kvm_fds *fds, uint32_t index, uint32_t old)
{
	uint64_t value = 0;

	if (state_msr(fds, KVM_GET_MSRS, index, &value) < 1 || !value)
		if (state_msr(fds, KVM_GET_MSRS, old, &value) < 1)
			return 0;
	return value;
}

/* KVM writes it while the vCPU that asks for it waits: one that is half written stays so. */
void clock_guest_look(const struct kvm_fds *fds, struct clock_guest *ret)
{
	const uint64_t at = either_msr(fds, MSR_WALL_NEW, MSR_WALL);
	struct {
		uint32_t version, sec, nsec;
	} wall;

	*ret = (struct clock_guest){ .used = either_msr(fds, MSR_SYSTEM_NEW, MSR_SYSTEM) & 1 };
	if (!at)
		return;
	ret->wall = CLOCK_WALL_BAD;
	if (ram_read(fds->ram, GPA(at), &wall, sizeof(wall)))
		return;
	ret->wall = wall.version & 1 ? CLOCK_WALL_BUSY : CLOCK_WALL_TOLD;
	ret->wall_ns = wall.sec * NS_PER_S + wall.nsec;
}

/* ---- kvm-clock ---- */

struct clock_state {
	uint64_t clock_ns;
	uint64_t realtime_ns; /* the host's UTC at that moment; 0: not known (some of version 1) */
	uint64_t tsc;         /* that of the first vCPU at that moment; 0: not known */
};

static const struct state_field clock_fields[] = {
	STATE_ONE(struct clock_state, clock_ns, .max = INT64_MAX),
	STATE_ONE(struct clock_state, realtime_ns, .max = INT64_MAX),
	STATE_ONE(struct clock_state, tsc, .since = 2),
};

static int clock_save(void *dev, void *ret_state)
{
	struct clock_state *st = ret_state;
	struct clock_moment now = { 0 };
	int err = clock_look(dev, &now);

	st->clock_ns = now.clock_ns;
	st->realtime_ns = now.realtime_ns;
	st->tsc = now.tsc;
	return err;
}

/* How much of @set's time has passed since; KVM knows best where it can say. A host's clock may have gone back. */
static int count_passed(const struct kvm_fds *fds, uint64_t realtime_ns, struct kvm_clock_data *set)
{
	const int flags = ioctl(fds->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK);
	const uint64_t now_real_ns = host_ns(CLOCK_REALTIME);
	struct clock_load *load = fds->clocks;

	if (!realtime_ns) {
		snprintf(load->why, sizeof(load->why), "it does not say when it was saved: --clock saved");
		return -ENOTSUP;
	}
	load->passed_ns = now_real_ns > realtime_ns ? now_real_ns - realtime_ns : 0;
	if (flags > 0 && flags & KVM_CLOCK_REALTIME) {
		set->flags = KVM_CLOCK_REALTIME;
		set->realtime = realtime_ns;
	} else {
		set->clock += load->passed_ns;
	}
	return 0;
}

static int clock_load(void *dev, const void *state)
{
	const struct kvm_fds *fds = dev;
	const struct clock_state *st = state;
	struct kvm_clock_data set = { .clock = st->clock_ns };
	int err = 0;

	if (fds->clocks) {
		fds->clocks->clock_ns = st->clock_ns;
		fds->clocks->tsc = st->tsc;
		if (fds->clocks->host)
			err = count_passed(fds, st->realtime_ns, &set);
	}
	if (err)
		return err;
	return ioctl(fds->vm_fd, KVM_SET_CLOCK, &set) < 0 ? -errno : 0;
}

const struct state_type kvm_clock_state_type = {
	STATE_TYPE("kvm-clock", 2, struct clock_state, clock_fields),
	.save = clock_save,
	.load = clock_load,
};

/* ---- time stamp counter: its frequency, and its offset; the counter itself is an MSR ---- */

struct tsc_state {
	uint32_t khz; /* 0: this KVM does not tell */
	uint32_t has_offset;
	uint64_t offset; /* what counts is by how much it is another vCPU's */
};

static const struct state_field tsc_fields[] = {
	STATE_ONE(struct tsc_state, khz, .max = INT32_MAX),
	STATE_ONE(struct tsc_state, has_offset, .since = 2, .max = 1),
	STATE_ONE(struct tsc_state, offset, .since = 2),
};

static int tsc_save(void *dev, void *ret_state)
{
	struct tsc_state *st = ret_state;

	st->khz = clock_tsc_khz(dev);
	st->has_offset = !clock_tsc_offset(dev, &st->offset);
	return 0;
}

static bool is_close(uint32_t khz, uint32_t host_khz)
{
	const uint64_t apart = khz > host_khz ? khz - host_khz : host_khz - khz;

	return apart * 1000000 <= (uint64_t)host_khz * TOLERANCE_PPM;
}

/*
 * Another frequency is scaled, or refused: a KVM that cannot scale lets a counter that is to be faster jump
 * now and then, which no guest expects.
 */
static int set_khz(const struct kvm_fds *fds, uint32_t khz)
{
	const uint32_t host_khz = clock_tsc_khz(fds);

	if (!khz || khz == host_khz)
		return 0;
	if (!is_close(khz, host_khz) && ioctl(fds->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0) {
		if (fds->clocks)
			snprintf(fds->clocks->why, sizeof(fds->clocks->why),
				 "its time stamp counter has %u kHz, this host's %u kHz, which its KVM cannot "
				 "scale", khz, host_khz);
		return -ENOTSUP;
	}
	return ioctl(fds->vcpu_fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0 ? -errno : 0;
}

static int tsc_load(void *dev, const void *state)
{
	const struct kvm_fds *fds = dev;
	const struct tsc_state *st = state;

	if (fds->clocks) {
		fds->clocks->khz = st->khz;
		fds->clocks->has_offset = st->has_offset;
		fds->clocks->offset = st->offset;
	}
	return set_khz(fds, st->khz);
}

const struct state_type kvm_tsc_state_type = {
	STATE_TYPE("cpu-tsc", 2, struct tsc_state, tsc_fields),
	.save = tsc_save,
	.load = tsc_load,
};

/* The first counter has gone on by as much as kvm-clock; the others go with it. */
static int find_shift(const struct kvm_fds *fds, struct clock_load *load)
{
	struct clock_moment now;
	uint64_t offset, want;
	int err = clock_look(fds, &now);

	if (!err)
		err = clock_tsc_offset(fds, &offset);
	if (err)
		return err;
	want = load->tsc + (uint64_t)clock_ticks((int64_t)(now.clock_ns - load->clock_ns), load->khz);
	load->shift = offset + (want - now.tsc) - load->offset;
	return 0;
}

/*
 * KVM takes a write of the time stamp counter that is less than a second off for an attempt to make
 * the vCPUs agree, and drops it. A guest's counter must not go back.
 */
static int tsc_forward(const struct kvm_fds *fds, uint64_t least)
{
	uint64_t now = 0, offset = 0;

	if (state_msr(fds, KVM_GET_MSRS, MSR_TSC, &now) < 1 || now >= least || clock_tsc_offset(fds, &offset))
		return 0; /* Linux before 5.16 has nothing better */
	offset += least - now;
	return offset_ioctl(fds, KVM_SET_DEVICE_ATTR, &offset);
}

/* Without offsets, as those before version 2 are */
static int load_value(const struct kvm_fds *fds, uint64_t saved)
{
	const struct clock_load *load = fds->clocks;
	uint64_t value = saved;
	int done;

	if (load)
		value += (uint64_t)clock_ticks((int64_t)load->passed_ns, load->khz);
	saved = value;
	done = state_msr(fds, KVM_SET_MSRS, MSR_TSC, &value);
	if (done < 1)
		return done < 0 ? done : -ENOTSUP;
	return tsc_forward(fds, saved);
}

int clock_load_tsc(const struct kvm_fds *fds, uint64_t saved)
{
	struct clock_load *load = fds->clocks;
	uint64_t offset;
	int err;

	if (!load || !load->tsc || !load->khz || !load->has_offset || clock_tsc_offset(fds, &offset))
		return load_value(fds, saved);
	err = fds->cpu ? 0 : find_shift(fds, load);
	if (err)
		return err;
	offset = load->offset + load->shift;
	return offset_ioctl(fds, KVM_SET_DEVICE_ATTR, &offset);
}
