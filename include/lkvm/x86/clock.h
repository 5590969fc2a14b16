/*
 * The clocks that KVM has: kvm-clock, and each vCPU's time stamp counter. A guest may read either and
 * expects both to say the same, so they are noted at one moment, and go on from there together.
 *
 * Main thread, while the vCPUs are parked.
 */
#ifndef LKVM_X86_CLOCK_H
#define LKVM_X86_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_fds;

/* What the clocks say at one moment, up to some microseconds */
struct clock_moment {
	uint64_t clock_ns;    /* kvm-clock */
	uint64_t tsc;         /* of the vCPU; 0: KVM does not tell */
	uint64_t realtime_ns; /* the host's CLOCK_REALTIME */
	uint64_t raw_ns;      /* its CLOCK_MONOTONIC_RAW, */
	uint64_t monotonic_ns; /* and its CLOCK_MONOTONIC */
};

/** clock_look() - @fds: with a vCPU; Return: 0 or -errno */
int clock_look(const struct kvm_fds *fds, struct clock_moment *ret);

/** clock_tsc_offset() - of a vCPU, to the host's (scaled) counter; Return: 0, or -errno: Linux before 5.16 */
int clock_tsc_offset(const struct kvm_fds *fds, uint64_t *ret);

/* What the guest has of kvm-clock */
struct clock_guest {
	bool used; /* this vCPU's kernel has switched it on */
	enum { CLOCK_WALL_NONE, CLOCK_WALL_BAD, CLOCK_WALL_BUSY, CLOCK_WALL_TOLD } wall;
	uint64_t wall_ns; /* told: the time of day when kvm-clock was 0, as its kernel had it last */
};

/** clock_guest_look() - @fds: with RAM and a vCPU; whatever the guest has written there */
void clock_guest_look(const struct kvm_fds *fds, struct clock_guest *ret);

/** clock_tsc_khz() - of a vCPU; 0: KVM does not tell */
uint32_t clock_tsc_khz(const struct kvm_fds *fds);

/** clock_ticks() - how many ticks of a counter of @khz are @ns, which may be negative */
int64_t clock_ticks(int64_t ns, uint32_t khz);

/*
 * A machine's clocks as they are loaded, in this order: kvm-clock, then of each vCPU, the first one first,
 * cpu-tsc and the MSRs.
 */
struct clock_load {
	bool host; /* the caller's: the time since it was saved counts, by the host's CLOCK_REALTIME */
	char why[160]; /* after -ENOTSUP: what does not fit */
	/* The rest is for who loads them. */
	uint64_t clock_ns, tsc; /* that were saved; tsc 0: not known */
	uint64_t passed_ns;     /* the time that counts */
	uint32_t khz;           /* of this vCPU, */
	uint64_t offset;        /* and its TSC's, where it was saved; */
	bool has_offset;
	uint64_t shift;         /* what comes on top of each */
};

#endif
