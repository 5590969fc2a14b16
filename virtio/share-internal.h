/*
 * A device that gives the guest a folder: fs.c and p9.c say what it is to the guest, share.c takes the
 * requests off its rings and has a file server (lkvm/fs.h) serve them, several at a time.
 */
#ifndef SHARE_INTERNAL_H
#define SHARE_INTERNAL_H

#include "lkvm/fs.h"
#include "lkvm/types.h"
#include "lkvm/virtio.h"

#define SHARE_QUEUE_SIZE    VIRTQ_MAX_SIZE /* in Linux it limits how much one request can carry */
#define SHARE_MOST_REQUESTS 64             /* out of the rings at a time; each has 16 KiB */
#define SHARE_THREADS       8

enum request_state { FREE, PENDING, SERVED, DONE };

struct share_request {
	struct file_request req;
	struct virtio_share *share;
	struct share_request *next;
	enum request_state state;
	bool direct; /* on the worker, which will look by itself */
	unsigned queue;
	uint32_t written;
	struct virtq_chain *chain;
};

struct request_list {
	struct share_request *first, **last;
};

struct virtio_share {
	struct virtio_dev dev;
	struct file_server *server; /* NULL: the device is only shown */
	struct loop_source finished; /* eventfd: some are DONE */
	bool watched;
	struct thread *thread[SHARE_THREADS];

	/* The worker's */
	struct share_request *all[SHARE_MOST_REQUESTS], *free;
	unsigned n_all;
	uint64_t starved; /* queues that were left because there was no room */
	bool cut_short;   /* the queue that is being served has more */

	pthread_mutex_t lock; /* of all that follows, and of the states */
	pthread_cond_t work, idle;
	struct request_list pending, done;
	unsigned n_begun, n_failed; /* threads */
	unsigned n_busy;            /* threads that are at work */
	bool held, end;
};

static inline struct virtio_share *share_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_share, dev);
}

/**
 * virtio_share_init() - all that virtio_init() wants is set in s->dev
 * @server: taken over, also on failure; NULL: a device that is only shown
 * On failure, too, it is to be followed by virtio_share_fini().
 */
int virtio_share_init(struct virtio_share *s, struct file_server *server);
void virtio_share_fini(struct virtio_share *s);

/* For struct virtio_type */
int share_activate(struct virtio_dev *dev);
void share_kick(struct virtio_dev *dev, unsigned index);
void share_commit(struct virtio_dev *dev);
void share_drain(struct virtio_dev *dev, int index);
void share_hold(struct virtio_dev *dev, bool on);
bool share_busy(const struct virtio_dev *dev);
void share_reset(struct virtio_dev *dev);

#define SHARE_OPS                                                                                  \
	.queue_size = SHARE_QUEUE_SIZE, .activate = share_activate, .kick = share_kick,            \
	.commit = share_commit, .drain = share_drain, .hold = share_hold, .busy = share_busy,           \
	.reset = share_reset

#endif
