/*
 * vhost-net without the host's kernel: this file plays its ioctls, by the rules that it has for them, and serves a
 * queue when the test says so. Rings are found by what it was told of memory and addresses alone.
 */
#ifndef TESTS_FAKE_VHOST_H
#define TESTS_FAKE_VHOST_H

#include <linux/vhost.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"
#include "lkvm/virtq.h"
#include "net-rig.h"

#define FAKE_TAP 5000 /* + pair: the descriptor of the end */

struct fake_vring {
	unsigned size, base;
	struct vhost_vring_addr at;
	int kick, call, err, backend; /* -1: none */
};

static struct fake_vhost {
	pthread_mutex_t lock;
	uint64_t features; /* that it has */
	unsigned calls, fail_at; /* fail_at: the call of this number fails, once; 0: none */
	struct fake_host {
		int fd;
		uint64_t acked;
		struct vhost_memory_region memory[8];
		unsigned n_regions;
		struct fake_vring ring[2];
	} host[NET_MAX_PAIRS];
	unsigned n;
} fake_vhost = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- ioctls ---- */

static inline int fake_vhost_set(struct fake_host *h, unsigned long request, const void *arg)
{
	const struct vhost_vring_state *state = arg;
	const struct vhost_vring_file *file = arg;
	struct fake_vring *r = &h->ring[state->index];

	ck_assert_uint_lt(state->index, 2);
	switch (request) {
	case VHOST_SET_VRING_NUM:
		if (r->backend >= 0 || !state->num || (state->num & (state->num - 1)))
			return r->backend >= 0 ? -EBUSY : -EINVAL;
		r->size = state->num;
		return 0;
	case VHOST_SET_VRING_BASE:
		r->base = state->num;
		return r->backend >= 0 ? -EBUSY : state->num > 0xffff ? -EINVAL : 0;
	case VHOST_GET_VRING_BASE:
		((struct vhost_vring_state *)(uintptr_t)arg)->num = r->base;
		return 0;
	case VHOST_SET_VRING_ADDR:
		memcpy(&r->at, arg, sizeof(r->at));
		return 0;
	case VHOST_SET_VRING_KICK:
		r->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		r->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		r->err = file->fd;
		return 0;
	case VHOST_NET_SET_BACKEND:
		if (file->fd >= 0 && (!r->at.desc_user_addr || !h->n_regions || !r->size))
			return -EFAULT;
		r->backend = file->fd;
		return 0;
	default:
		ck_abort_msg("vhost ioctl %lx", request);
	}
	return -ENOTTY;
}

static inline int fake_vhost_ioctl(struct fake_host *h, unsigned long request, void *arg)
{
	const struct vhost_memory *memory = arg;

	if (++fake_vhost.calls == fake_vhost.fail_at)
		return -EIO;
	if (request == VHOST_SET_FEATURES) {
		memcpy(&h->acked, arg, sizeof(h->acked));
		return h->acked & ~fake_vhost.features ? -EOPNOTSUPP : 0;
	}
	if (request != VHOST_SET_MEM_TABLE)
		return fake_vhost_set(h, request, arg);
	ck_assert_uint_le(memory->nregions, ARRAY_SIZE(h->memory));
	ck_assert_uint_eq(memory->padding, 0);
	h->n_regions = memory->nregions;
	memcpy(h->memory, memory->regions, h->n_regions * sizeof(h->memory[0]));
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	int ret = -1;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	for (unsigned i = 0; i < fake_vhost.n; i++)
		if (fake_vhost.host[i].fd == fd) {
			pthread_mutex_lock(&fake_vhost.lock);
			ret = fake_vhost_ioctl(&fake_vhost.host[i], request, arg);
			pthread_mutex_unlock(&fake_vhost.lock);
			errno = -ret;
			return ret ? -1 : 0;
		}
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

/* ---- an end that has it ---- */

static inline int fake_vhost_descriptor(const struct net *net, unsigned pair)
{
	(void)net;
	return FAKE_TAP + (int)pair;
}

/* Becomes @net's, of rig_open() */
static inline void fake_vhost_open(struct net *net, uint64_t features)
{
	static struct net_ops ops;

	ops = rig_ops;
	ops.descriptor = fake_vhost_descriptor;
	net->ops = &ops;
	net->vhost = calloc(1, sizeof(*net->vhost));
	net->vhost->features = fake_vhost.features = features;
	net->vhost->n = fake_vhost.n = net->max_pairs;
	for (unsigned i = 0; i < net->max_pairs; i++) {
		struct fake_host *h = &fake_vhost.host[i];

		*h = (struct fake_host){ .fd = event_open(0) };
		for (unsigned k = 0; k < 2; k++)
			h->ring[k].kick = h->ring[k].call = h->ring[k].err = h->ring[k].backend = -1;
		net->vhost->fd[i] = h->fd;
	}
	fake_vhost.calls = fake_vhost.fail_at = 0;
}

/* ---- what the kernel does ---- */

static inline struct fake_vring *fake_vring(unsigned queue)
{
	return &fake_vhost.host[queue / 2].ring[queue & 1];
}

static inline bool fake_vhost_runs(unsigned queue)
{
	bool runs;

	pthread_mutex_lock(&fake_vhost.lock);
	runs = fake_vring(queue)->backend >= 0;
	pthread_mutex_unlock(&fake_vhost.lock);
	return runs;
}

/* Wait until queue @queue is the kernel's, or the worker's */
static inline void fake_vhost_wait(unsigned queue, bool runs)
{
	const int64_t deadline = now_ms() + 10000;

	while (fake_vhost_runs(queue) != runs) {
		ck_assert_msg(now_ms() < deadline, "queue %u", queue);
		poll(NULL, 0, 1);
	}
}

static inline gpa_t fake_vhost_gpa(const struct fake_host *h, uint64_t user)
{
	for (unsigned i = 0; i < h->n_regions; i++)
		if (user - h->memory[i].userspace_addr < h->memory[i].memory_size)
			return GPA(user - h->memory[i].userspace_addr + h->memory[i].guest_phys_addr);
	ck_abort_msg("%lx is not in the table of memory", (unsigned long)user);
	return GPA(0);
}

/*
 * Take a chain off queue @queue, which is the kernel's: its readable bytes come to @out, those of @in go to it.
 * Return: bytes of the chain that were read; -1: there is none
 */
static inline ssize_t fake_vhost_serve(const struct ram *ram, unsigned queue, void *out, size_t room, const void *in,
				       size_t n_in)
{
	const struct fake_host *h = &fake_vhost.host[queue / 2];
	static struct virtq_chain chain;
	static struct virtq vq;
	struct fake_vring *r = fake_vring(queue);
	struct virtq_setup setup;
	ssize_t n = -1;

	pthread_mutex_lock(&fake_vhost.lock);
	ck_assert_int_eq(r->backend, FAKE_TAP + (int)queue / 2);
	setup = (struct virtq_setup){ .size = (uint16_t)r->size,
				      .desc = fake_vhost_gpa(h, r->at.desc_user_addr),
				      .avail = fake_vhost_gpa(h, r->at.avail_user_addr),
				      .used = fake_vhost_gpa(h, r->at.used_user_addr),
				      .event_idx = h->acked >> VIRTIO_RING_F_EVENT_IDX & 1,
				      .indirect = h->acked >> VIRTIO_RING_F_INDIRECT_DESC & 1 };
	ck_assert_int_eq(virtq_init_at(&vq, ram, &setup, (struct virtq_place){ (uint16_t)r->base, true }), 0);
	if (virtq_pop(&vq, &chain) == 1) {
		n = (ssize_t)virtq_read(&chain, 0, out, room);
		ck_assert_uint_eq(virtq_write(&chain, 0, in, n_in), n_in);
		virtq_push(&vq, chain.token, (uint32_t)n_in);
		r->base = (uint16_t)(r->base + 1);
		if (virtq_flush(&vq))
			event_signal(r->call);
		virtq_notify_on(&vq);
	}
	virtq_fini(&vq);
	pthread_mutex_unlock(&fake_vhost.lock);
	return n;
}

#endif
