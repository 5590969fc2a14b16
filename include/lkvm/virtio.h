/*
 * The core of every virtio device: features, status, queues, configuration generation, worker
 * thread. A transport (virtio/pci.c, virtio/mmio.c) feeds it register accesses; a device
 * (virtio/blk.c, ...) is one const struct virtio_type and sees only this header.
 *
 *	            virtio_set_status()
 *	reset(0) -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK: virtio_activate(), worker starts
 *	   ^                                  (refused: the bit stays 0)      |
 *	   |                                                                  v  bad ring, bad request
 *	   +---------------- virtio_reset(), worker joined <-------- DEVICE_NEEDS_RESET
 *
 * Threads: registers come from vCPU threads under dev->lock (virtio.c takes it). The worker owns the
 * live queues and never takes that lock, so a reset may join it while holding it. What the worker
 * shares with register accesses is atomic: status bit NEEDS_RESET, configuration generation.
 */
#ifndef LKVM_VIRTIO_H
#define LKVM_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdatomic.h>

#include "lkvm/log.h"
#include "lkvm/loop.h"
#include "lkvm/virtq.h"

#define VIRTIO_MAX_QUEUES 64

struct virtio_dev;

/* The device. Const, one a type. */
struct virtio_type {
	const char *name; /* "blk" */
	uint16_t id;      /* VIRTIO_ID_BLOCK */
	uint16_t queue_size; /* largest that the driver may choose */
	/*
	 * Called on the vCPU thread that sets DRIVER_OK (or enables a queue later), before the worker
	 * runs. Return: 0 or -errno: the device then needs a reset.
	 */
	int (*activate)(struct virtio_dev *dev);
	/* On the worker: queue @index has something, or may have. */
	void (*kick)(struct virtio_dev *dev, unsigned index);
	/*
	 * On the worker, as its last act before it ends (or before one queue is reset, @index; -1: all):
	 * wait for every request in flight. No completion may come after.
	 */
	void (*drain)(struct virtio_dev *dev, int index);
	/* On the vCPU thread, after the worker was joined: forget what the driver had set up. */
	void (*reset)(struct virtio_dev *dev);
	/*
	 * Device configuration, under dev->lock. @width 1, 2, 4 or 8, aligned, within config_bytes.
	 * write may be NULL: read only.
	 */
	uint64_t (*config_read)(struct virtio_dev *dev, unsigned off, unsigned width);
	void (*config_write)(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value);
};

/* What a transport does for its device. Any thread, no locks taken that a vCPU holds for long. */
struct virtio_transport_ops {
	void (*queue_irq)(void *transport, unsigned index);
	void (*config_irq)(void *transport);
	/* Let the guest's notification of @index arrive at @fd without a vCPU exit, or end that. */
	int (*notify_fd)(void *transport, unsigned index, int fd, bool on);
};

struct virtio_queue {
	/* Set by the driver through the transport, under dev->lock */
	uint16_t size;
	uint64_t desc, avail, used;
	bool ready;
	/* Live: the worker's */
	struct virtq vq;
	struct loop_source kick; /* eventfd behind the guest's notification */
	struct virtio_dev *dev;
	unsigned index;
};

struct virtio_dev {
	const struct virtio_type *type;
	const char *name; /* for messages: "blk0" */
	const struct ram *ram;
	uint64_t device_features; /* offered */
	uint64_t driver_features; /* accepted */
	unsigned n_queues;
	unsigned config_bytes;
	const struct virtio_transport_ops *transport_ops;
	void *transport;

	pthread_mutex_t lock;
	uint8_t status;                 /* without NEEDS_RESET */
	atomic_bool needs_reset;
	atomic_uint config_generation;
	struct virtio_queue *queue;     /* n_queues of them */

	bool live; /* the worker runs */
	pthread_t worker;
	struct loop loop;                /* the worker's */
	struct loop_source stop;         /* eventfd: time to drain and end */
	struct virtq_chain *chain;       /* the worker's scratch */
	struct ratelimit broken_warning;
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
 * virtio_complete() - worker: publish what was pushed on queue @index, interrupt if the driver wants it
 */
void virtio_complete(struct virtio_dev *dev, unsigned index);

/**
 * virtio_break() - the driver broke a rule: set DEVICE_NEEDS_RESET, tell it, warn once in a while
 * The VM and all other devices go on. Any thread.
 */
void virtio_break(struct virtio_dev *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** virtio_config_changed() - the device's configuration changed by itself: new generation, interrupt */
void virtio_config_changed(struct virtio_dev *dev);

/** virtio_pop() - virtq_pop() into dev->chain that breaks the device on error; Return: true for a chain */
bool virtio_pop(struct virtio_dev *dev, unsigned index);

/* ---- for transports; each takes dev->lock ---- */

void virtio_attach(struct virtio_dev *dev, const struct virtio_transport_ops *ops, void *transport);
uint8_t virtio_get_status(struct virtio_dev *dev);
/** virtio_set_status() - 0 resets; DRIVER_OK starts the worker; see the drawing above */
void virtio_set_status(struct virtio_dev *dev, uint8_t status);
uint32_t virtio_get_features(struct virtio_dev *dev, uint32_t select);
/** virtio_set_features() - ignored once FEATURES_OK is set */
void virtio_set_features(struct virtio_dev *dev, uint32_t select, uint32_t value);
uint64_t virtio_config_read(struct virtio_dev *dev, uint64_t off, unsigned width);
void virtio_config_write(struct virtio_dev *dev, uint64_t off, unsigned width, uint64_t value);

enum virtio_queue_field {
	VIRTIO_QUEUE_SIZE, /* written: ignored if 0, too large, not a power of two (split), or live */
	VIRTIO_QUEUE_READY, /* 1 makes it live after DRIVER_OK, too; 0 is ignored (PCI) or stops it (MMIO) */
	VIRTIO_QUEUE_DESC,
	VIRTIO_QUEUE_AVAIL,
	VIRTIO_QUEUE_USED,
	VIRTIO_QUEUE_RESET, /* VIRTIO_F_RING_RESET: writing 1 drains and forgets the queue; reads 0 when done */
};
/** virtio_queue_get(), virtio_queue_set() - @index out of range reads 0 and ignores writes */
uint64_t virtio_queue_get(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field);
void virtio_queue_set(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field,
		      uint64_t value);
/** virtio_notify() - a notification that came by a register access after all (no ioeventfd) */
void virtio_notify(struct virtio_dev *dev, unsigned index);

#endif
