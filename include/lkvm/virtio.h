/*
 * The core of every virtio device: features, status, queues, configuration generation, worker
 * thread. A transport (virtio/pci.c, virtio/mmio.c) feeds it register accesses; a device
 * (virtio/blk.c, ...) is one const struct virtio_type and sees only this header.
 *
 *	            virtio_set_status(): a bit needs those before it, else it stays 0
 *	reset(0) -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK: activate(), the worker starts
 *	   ^                                 judged here       |
 *	   |                                                  v  virtio_break()
 *	   +------------ reset(), worker joined <------ DEVICE_NEEDS_RESET
 *
 * Threads: registers come from vCPU threads under dev->lock (virtio.c takes it). The worker owns
 * the live queues and never takes that lock, so a reset may join it while holding it. What the
 * device tells the driver by itself (virtio_break(), virtio_config_begin()) is under
 * dev->event_lock, under which nothing waits.
 */
#ifndef LKVM_VIRTIO_H
#define LKVM_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "lkvm/log.h"
#include "lkvm/loop.h"
#include "lkvm/virtq.h"

#define VIRTIO_MAX_QUEUES 64

struct virtio_dev;

/* The device. Const, one a type. Only name, id, queue_size and kick must be there. */
struct virtio_type {
	const char *name;    /* "blk" */
	uint16_t id;         /* VIRTIO_ID_BLOCK */
	uint16_t queue_size; /* largest that the driver may choose; a power of two */
	/* Do the accepted features go together? All are offered, VERSION_1 is among them. */
	bool (*features_ok)(const struct virtio_dev *dev, uint64_t features);
	/*
	 * On the vCPU thread that sets DRIVER_OK, before the worker runs: may add sources of its
	 * own to dev->loop. Return: 0 or -errno: the device then needs a reset.
	 */
	int (*activate)(struct virtio_dev *dev);
	/*
	 * On the worker: queue @index has something, or may have (also once after it went live).
	 * Most devices just call virtio_serve().
	 */
	void (*kick)(struct virtio_dev *dev, unsigned index);
	/*
	 * On the worker, within virtio_serve(): all that there was has been handed over, start it.
	 * May push. The driver has not been asked for notifications again yet: what it adds while
	 * this runs needs none. May be NULL.
	 */
	void (*commit)(struct virtio_dev *dev);
	/*
	 * On the worker, as its last act before it ends (@index -1), or before queue @index alone
	 * is stopped: wait for every request in flight. No completion may come after. -1: remove
	 * the sources that activate() added.
	 */
	void (*drain)(struct virtio_dev *dev, int index);
	/*
	 * On the vCPU thread at every reset, after the worker was joined: forget what the driver
	 * had set up. dev->loop is still there if activate() was called, even if that failed.
	 */
	void (*reset)(struct virtio_dev *dev);
	/*
	 * Device configuration, under dev->lock (read: and dev->event_lock). @width 1, 2, 4 or 8,
	 * aligned, within config_bytes. write may be NULL: read only.
	 */
	uint64_t (*config_read)(struct virtio_dev *dev, unsigned off, unsigned width);
	void (*config_write)(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value);
};

/*
 * What a transport does for its device. Any thread; must not wait for a lock under which a vCPU
 * calls a function of this header.
 */
struct virtio_transport_ops {
	void (*queue_irq)(void *transport, unsigned index);
	void (*config_irq)(void *transport);
	/*
	 * Let the guest's notification of @index arrive at @fd without a vCPU exit, or end that
	 * before the fd is closed. A failure only costs speed: the register access then calls
	 * virtio_notify(). May be NULL.
	 */
	int (*notify_fd)(void *transport, unsigned index, int fd, bool on);
};

struct virtio_queue {
	/* Set by the driver through the transport, under dev->lock; frozen while ready */
	uint16_t size;
	uint64_t desc, avail, used;
	bool ready;
	bool live; /* the worker serves it: no longer while the device is held */
	/* Live: the worker's */
	struct virtq vq;
	struct loop_source kick; /* eventfd behind the guest's notification; -1: not live */
	struct virtio_dev *dev;
	unsigned index;
};

struct virtio_dev {
	const struct virtio_type *type;
	const char *name; /* for messages: "blk0" */
	const struct ram *ram;
	uint64_t device_features; /* offered */
	uint64_t driver_features; /* accepted; final once FEATURES_OK is set */
	bool foreign_features;    /* the driver accepted some that no device has: bits 64 and up */
	unsigned n_queues;
	unsigned config_bytes;
	const struct virtio_transport_ops *transport_ops;
	void *transport;

	pthread_mutex_t lock;
	bool held;                  /* virtio_hold() */
	atomic_uint status;         /* without NEEDS_RESET */
	struct virtio_queue *queue; /* n_queues of them */

	pthread_mutex_t event_lock; /* innermost */
	atomic_bool needs_reset;
	atomic_uint config_generation;
	struct ratelimit broken_warning;

	bool activated; /* dev->loop is there */
	bool live;      /* the worker runs */
	pthread_t worker;
	struct loop loop;          /* the worker's */
	struct virtq_chain *chain; /* the worker's scratch */
	/* A vCPU thread asks the worker to do something and waits. */
	struct loop_source call; /* eventfd */
	int (*call_fn)(struct virtio_dev *dev, unsigned index);
	unsigned call_index;
	int call_ret;
	sem_t called;
};

/* ---- for devices ---- */

/**
 * virtio_init() - make the core of a device
 * @dev: embedded in the device; type, name, ram, device_features, n_queues, config_bytes are set
 * VIRTIO_F_VERSION_1, RING_RESET, INDIRECT_DESC and EVENT_IDX are added to the features;
 * RING_PACKED is offered only if the caller has set it.
 * Return: 0 or -errno, not logged; virtio_fini() in either case
 */
int virtio_init(struct virtio_dev *dev);
/** virtio_fini() - joins the worker if there is one */
void virtio_fini(struct virtio_dev *dev);

bool virtio_has(const struct virtio_dev *dev, unsigned feature_bit);

/**
 * virtio_complete() - worker: publish what was pushed on queue @index, interrupt if that is wanted
 */
void virtio_complete(struct virtio_dev *dev, unsigned index);

/**
 * virtio_break() - the driver broke a rule: set DEVICE_NEEDS_RESET, tell it, warn once in a while
 * No queue is served any more until the reset; what is in flight may still complete. The VM and all
 * other devices go on. Any thread.
 */
void virtio_break(struct virtio_dev *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), cold));

/**
 * virtio_config_begin(), virtio_config_end() - around a change that the device makes by itself
 * The driver reads the old values or the new ones with a new generation, and gets an interrupt. Any
 * thread; not from config_write(), whose changes are the driver's own.
 */
void virtio_config_begin(struct virtio_dev *dev);
void virtio_config_end(struct virtio_dev *dev);

/**
 * virtio_serve() - the usual kick(): hand every chain of queue @index to @handle, complete, and ask
 * for the next notification
 * @handle: dev->chain has the request; pushes it now or keeps its token and pushes later. Not called
 * again once the device is broken.
 * A driver that adds as fast as we take does not keep the worker here: after a ring full the rest
 * is left for the next turn of the loop.
 */
void virtio_serve(struct virtio_dev *dev, unsigned index,
		  void (*handle)(struct virtio_dev *dev, unsigned index));

/**
 * virtio_serve_while() - worker: virtio_serve() that stops as soon as @more says no
 * For a device that has nothing to fill buffers with, or nowhere to put what is in them. It is not
 * notified of the queue any more, either: it calls this again once @more says yes.
 */
void virtio_serve_while(struct virtio_dev *dev, unsigned index,
			bool (*more)(struct virtio_dev *dev, unsigned index),
			void (*handle)(struct virtio_dev *dev, unsigned index));

/**
 * virtio_pop() - worker: virtq_pop() into dev->chain; an error breaks the device
 * Return: true for a chain; false also if the queue is not live or the device is broken
 */
bool virtio_pop(struct virtio_dev *dev, unsigned index);

/* ---- for transports; each takes dev->lock ---- */

void virtio_attach(struct virtio_dev *dev, const struct virtio_transport_ops *ops, void *transport);
/**
 * virtio_hold() - keep the device off the guest's memory, or no longer
 * When it returns with @on, nothing is in flight, and the queues stay as they are until they are
 * served again.
 */
void virtio_hold(struct virtio_dev *dev, bool on);
uint8_t virtio_get_status(struct virtio_dev *dev);
/** virtio_set_status() - 0 resets; DRIVER_OK starts the worker; see the drawing above */
void virtio_set_status(struct virtio_dev *dev, uint8_t status);
uint32_t virtio_get_features(struct virtio_dev *dev, uint32_t select);
/** virtio_get_driver_features() - what virtio_set_features() has set */
uint32_t virtio_get_driver_features(struct virtio_dev *dev, uint32_t select);
/** virtio_set_features() - ignored once FEATURES_OK is set */
void virtio_set_features(struct virtio_dev *dev, uint32_t select, uint32_t value);
/** virtio_config_read() - 0 outside the configuration, if misaligned, or not 1, 2, 4 or 8 wide */
uint64_t virtio_config_read(struct virtio_dev *dev, uint64_t off, unsigned width);
void virtio_config_write(struct virtio_dev *dev, uint64_t off, unsigned width, uint64_t value);

enum virtio_queue_field {
	VIRTIO_QUEUE_MAX_SIZE, /* read only */
	VIRTIO_QUEUE_SIZE,     /* written: ignored if 0, too large, not a power of two (split) */
	VIRTIO_QUEUE_READY, /* 1: live now or at DRIVER_OK; 0: drained and stopped (not for PCI) */
	VIRTIO_QUEUE_DESC,
	VIRTIO_QUEUE_AVAIL,
	VIRTIO_QUEUE_USED,
	VIRTIO_QUEUE_RESET, /* if negotiated, 1 drains and forgets the queue; reads 0: done */
};
/**
 * virtio_queue_get(), virtio_queue_set() - @index out of range reads 0 and ignores writes
 * Size and addresses cannot be written while the queue is ready.
 */
uint64_t virtio_queue_get(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field);
void virtio_queue_set(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field,
		      uint64_t value);
/** virtio_notify() - a notification that came by a register access after all (no ioeventfd) */
void virtio_notify(struct virtio_dev *dev, unsigned index);

#endif
