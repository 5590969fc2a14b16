/*
 * The hostile-guest suite: each case breaks one rule of the virtio text (or of PCI's) and says what
 * must come of it. Around each, hostile.c sees to it that another device of the same guest
 * still works, and that the victim does after a reset.
 */
#ifndef GUEST_HOSTILE_H
#define GUEST_HOSTILE_H

#include "virtio.h"

/* A case's line in its table leaves out what the case does not need. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define RAM_END (128ULL << 20) /* the test gives the guest this much */
#define FOUR_GB (1ULL << 32)

/* What a case works on. */
struct trial {
	struct vdev *d;
	struct vring *r; /* its queue 0 */
	uint64_t a, b;   /* from the case's line in its table */
};

struct hostile {
	const char *title; /* section of the text, what the driver does wrong */
	void (*run)(const struct trial *t);
	uint64_t a, b;
	bool raw;          /* only reset the victim before; else it is started by the book */
	uint64_t features; /* with these; 0: all that it offers but other ring formats */
};

struct suite {
	const char *name;
	enum virtio_id victim;
	enum { ON_ANY, ON_PCI, ON_MMIO } on;
	uint64_t must_offer, must_not_offer;
	uint64_t extra; /* feature beside the usual ones */
	const struct hostile *cases;
	unsigned n;
};

#define N_CASES(cases) (sizeof(cases) / sizeof((cases)[0]))

extern const struct suite status_suite, queue_suite, split_suite, packed_suite, pci_config_suite,
	pci_suite, msix_suite, mmio_suite, blk_suite, blk_pci_suite, blk_ro_suite, rng_suite,
	console_suite, console_packed_suite, balloon_suite, balloon_packed_suite, net_suite, net_rss_suite, vsock_suite,
	mem_suite, pmem_suite, pmem_ro_suite, gpu_suite, gpu_packed_suite, input_suite;

/** usual_features() - what a case starts with unless it says otherwise */
uint64_t usual_features(const struct vdev *d);
/** other_device() - the one that must go on working */
struct vdev *other_device(void);
/** peer_device() - of a suite for network devices: another one in the same network, which was started by the book */
struct vdev *peer_device(void);

void expect_failed(const char *where, const char *what, uint64_t got, uint64_t want);

/* Like CHECK() of guest.h, but only the case ends: for functions that return nothing. */
#define EXPECT_EQ(got, want)                                                                       \
	do {                                                                                       \
		uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want);                         \
		if (got_ != want_) {                                                               \
			expect_failed(__FILE__ ":" STRING(__LINE__), #got, got_, want_);           \
			return;                                                                    \
		}                                                                                  \
	} while (0)
#define EXPECT(cond) EXPECT_EQ(!!(cond), true)

/* Cases of several devices */

/* An access of @b bytes at @a of its configuration, of such as there are none */
static inline void case_odd_config(const struct trial *t)
{
	mem_write(t->d->config + t->a, (unsigned)t->b, UINT64_MAX);
	mem_read(t->d->config + t->a, (unsigned)t->b);
	EXPECT(vdev_works(t->d));
}

/* Queue @a */
static inline void case_no_queue(const struct trial *t)
{
	reg_write(t->d, R_QUEUE_SELECT, t->a);
	EXPECT_EQ(reg_read(t->d, R_QUEUE_MAX), 0);
	notify(t->d, (unsigned)t->a);
	EXPECT(vdev_works(t->d));
}

#endif
