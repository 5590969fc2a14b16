/* A ring with both its sides, for the tests of virtio/virtq*.c. */
#ifndef TESTS_VIRTQ_RIG_H
#define TESTS_VIRTQ_RIG_H

#include "unit.h"

#include <string.h>

#include "fake-driver.h"

#define RIG_MIB 16

struct rig {
	struct fake_driver d;
	struct fake_queue q;
	struct virtq vq;
	struct virtq_chain c;
	gpa_t buf; /* 64 KiB */
};

static inline void rig_init(struct rig *r, uint16_t size, uint64_t features)
{
	fake_init(&r->d, RIG_MIB);
	r->buf = fake_alloc(&r->d, 64 * KIB, 1);
	fake_queue_init(&r->q, &r->d, size, features);
	ck_assert_int_eq(virtq_init(&r->vq, r->d.ram, &r->q.setup), 0);
}

static inline void rig_fini(struct rig *r)
{
	virtq_fini(&r->vq);
	fake_fini(&r->d);
}

static inline gpa_t rig_buf(const struct rig *r, uint64_t off)
{
	return GPA(r->buf.v + off);
}

/* The next chain is there and has this many buffers. Return: its token */
static inline uint64_t rig_pop(struct rig *r, unsigned n_out, unsigned n_in)
{
	ck_assert_int_eq(virtq_pop(&r->vq, &r->c), 1);
	ck_assert_uint_eq(r->c.n_out, n_out);
	ck_assert_uint_eq(r->c.n_in, n_in);
	return r->c.token;
}

static inline void rig_broken(struct rig *r, int err)
{
	ck_assert_int_eq(virtq_pop(&r->vq, &r->c), err);
	/* and stays so */
	ck_assert_int_eq(virtq_pop(&r->vq, &r->c), err);
	ck_assert(!virtq_notify_on(&r->vq));
}

/* One chain of one readable buffer; Return: its id */
static inline int rig_add(struct rig *r)
{
	struct fake_buf buf = FAKE_OUT(r->buf, 16);

	return fake_add(&r->q, &buf, 1);
}

/* @n chains go round: added, popped, pushed, flushed, taken back. Return: what the flush said */
static inline bool rig_round(struct rig *r, unsigned n)
{
	uint32_t written;
	bool irq;

	for (unsigned i = 0; i < n; i++)
		ck_assert_int_ge(rig_add(r), 0);
	for (unsigned i = 0; i < n; i++)
		virtq_push(&r->vq, rig_pop(r, 1, 0), 0);
	irq = virtq_flush(&r->vq);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_ge(fake_used(&r->q, &written), 0);
	return irq;
}

#endif
