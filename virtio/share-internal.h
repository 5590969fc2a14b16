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
#define SHARE_MOST_QUICK    32 /* replies that nobody waits for and that the driver is not told of yet */

struct share_request {
	struct file_request req;
	struct virtio_share *share;
	struct share_request *next; /* free ones */
	bool is_served;
	bool quick; /* served under the lock, by who took it */
	unsigned queue;
	pthread_t thread; /* who serves it */
	struct virtq_chain *chain;
};

struct virtio_share {
	struct virtio_dev dev;
	struct file_server *server;  /* NULL: the device is only shown */
	struct loop_source finished; /* eventfd in the worker's loop: nobody is at work */
	bool watched;
	struct thread *thread[SHARE_THREADS];
	int epoll; /* where the threads wait: kicks, and wake */
	int wake;  /* eventfd: one of them is to look at everything */

	pthread_mutex_t lock; /* of all that follows, and of the rings */
	pthread_cond_t idle;
	struct share_request *all[SHARE_MOST_REQUESTS], *free;
	unsigned n_all;
	unsigned n_quick; /* since the driver was told of all */
	unsigned n_begun, n_failed; /* threads */
	unsigned n_busy;            /* threads that are at work */
	bool woken;                 /* one is on its way, and will look at everything */
	bool starved;               /* something was left because there was no room */
	enum file_chores timed;     /* one of those that wait does these, SOON or LATER; NONE: nobody */
	int64_t chores_ms;          /* when those for later are to be done */
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
int share_watch(struct virtio_dev *dev, int fd, bool on);
void share_drain(struct virtio_dev *dev, int index);
void share_hold(struct virtio_dev *dev, bool on);
bool share_busy(const struct virtio_dev *dev);
void share_reset(struct virtio_dev *dev);

#define SHARE_OPS                                                                                  \
	.queue_size = SHARE_QUEUE_SIZE, .activate = share_activate, .watch = share_watch,          \
	.drain = share_drain, .hold = share_hold, .busy = share_busy, .reset = share_reset

#endif
