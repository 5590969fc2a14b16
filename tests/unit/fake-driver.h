/*
 * The driver's side of virtio, for unit tests and fuzzers: guest RAM, split and packed rings, a
 * transport that counts. It follows the text's rules for drivers; tests that break them write to
 * the ring memory themselves.
 *
 *	struct fake_driver d;				ring alone:
 *	fake_init(&d, 16);				struct fake_queue q;
 *	fake_attach(&d, &dev);				fake_queue_init(&q, &d, 8, 0);
 *	fake_probe(&d, features, 8);			virtq_init(&vq, d.ram, &q.setup);
 *	fake_request(&d, 0, bufs, n)			fake_add(&q, bufs, n) ...
 *	virtio_fini(&dev);
 *	fake_fini(&d);
 *
 * What goes wrong with the host aborts. Link tests/unit/fake-ring.o for memory and rings, and
 * tests/unit/fake-driver.o beside it for a device.
 */
#ifndef TESTS_FAKE_DRIVER_H
#define TESTS_FAKE_DRIVER_H

#include "lkvm/virtio.h"

#define FAKE_PACKED    (1ULL << VIRTIO_F_RING_PACKED)
#define FAKE_EVENT_IDX (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define FAKE_INDIRECT  (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define FAKE_VERSION_1 (1ULL << VIRTIO_F_VERSION_1)
#define FAKE_RESET     (1ULL << VIRTIO_F_RING_RESET)

/* A buffer that the driver gives to the device. */
struct fake_buf {
	gpa_t at;
	uint32_t len;
	bool writable; /* by the device */
};

#define FAKE_OUT(at, len) ((struct fake_buf){ at, len, false })
#define FAKE_IN(at, len)  ((struct fake_buf){ at, len, true })

struct fake_driver;

struct fake_queue {
	struct fake_driver *d;
	struct virtq_setup setup;
	/* The rings, for tests that write to them directly; those of the other format are NULL. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver_event, *device_event;

	uint16_t next_avail, next_used; /* split: free running; packed: index */
	bool avail_wrap, used_wrap;
	uint16_t n_free;                    /* descriptors */
	uint16_t added;                     /* entries made visible since fake_must_notify() */
	uint16_t free_desc[VIRTQ_MAX_SIZE]; /* split: a stack; packed: of ids */
	uint16_t n_ids;
	uint16_t id_flip; /* packed: what a buffer id is exclusive or'ed with in the ring */
	uint16_t entries[VIRTQ_MAX_SIZE]; /* by id: descriptors of its chain, 0: free */
	gpa_t table[VIRTQ_MAX_SIZE];      /* by id: its indirect table */
	uint32_t table_len[VIRTQ_MAX_SIZE];
};

struct fake_driver {
	struct ram *ram;
	uint64_t next; /* of fake_alloc() */
	struct virtio_dev *dev;
	uint64_t features;
	struct fake_queue *queue; /* dev->n_queues of them */
	/* The transport's side */
	bool no_notify_fd; /* refuse to take eventfds: notifications go by virtio_notify() */
	int notify_fd[VIRTIO_MAX_QUEUES];                            /* -1: none */
	void (*on_queue_irq)(struct fake_driver *d, unsigned index); /* NULL, or on the worker */
	pthread_mutex_t lock;
	pthread_cond_t irq;
	unsigned queue_irqs[VIRTIO_MAX_QUEUES], config_irqs;
};

/* ---- guest memory ---- */

/* Where blocks of memory may be plugged in the RAM of fake_init(); zeroed: nowhere */
extern struct ram_region fake_region;

/** fake_init() - @mib of guest RAM at address 0 */
void fake_init(struct fake_driver *d, unsigned mib);
/** fake_fini() - after virtio_fini() of the device */
void fake_fini(struct fake_driver *d);
/** fake_alloc() - zeroed guest memory that is never freed; starts above 4 KiB */
gpa_t fake_alloc(struct fake_driver *d, uint64_t bytes, uint64_t align);
/** fake_at() - host pointer to guest memory of fake_alloc() */
void *fake_at(const struct fake_driver *d, gpa_t at);

/* ---- a ring ---- */

/** fake_queue_init() - lay out an empty ring in new guest memory; @features: FAKE_PACKED, ... */
void fake_queue_init(struct fake_queue *q, struct fake_driver *d, uint16_t size, uint64_t features);

/**
 * fake_add(), fake_add_indirect() - make a chain available: in the ring, or in a table
 * Return: its id, or -1 if the ring has not enough free descriptors
 */
int fake_add(struct fake_queue *q, const struct fake_buf *bufs, unsigned n);
int fake_add_indirect(struct fake_queue *q, const struct fake_buf *bufs, unsigned n);

/** fake_used() - take the next used chain; Return: its id, or -1 if there is none */
int fake_used(struct fake_queue *q, uint32_t *ret_written);

/** fake_must_notify() - does the device want to hear of what was added since the last call? */
bool fake_must_notify(struct fake_queue *q);

/** fake_irq_off() - no interrupts please */
void fake_irq_off(struct fake_queue *q);
/** fake_irq_on() - interrupt at the next used descriptor, or (event index) @after further ones */
void fake_irq_on(struct fake_queue *q, uint16_t after);

/* ---- a device ---- */

/** fake_attach() - become the transport and the driver of @dev */
void fake_attach(struct fake_driver *d, struct virtio_dev *dev);
/**
 * fake_move() - the same for @dev, which goes on where another device was: the rings stay as they are
 * The other one is gone.
 */
void fake_move(struct fake_driver *d, struct virtio_dev *dev);
/** fake_negotiate() - reset, up to FEATURES_OK; VERSION_1 is added; Return: accepted? */
bool fake_negotiate(struct fake_driver *d, uint64_t features);
/** fake_setup_queue() - make a ring, tell the device, make it ready */
void fake_setup_queue(struct fake_driver *d, unsigned index, uint16_t size);
/** fake_wait_up() - after DRIVER_OK: until the device is activated, or could not be */
void fake_wait_up(struct fake_driver *d);
/** fake_probe() - all of it, all queues, up to DRIVER_OK; Return: the device is live and good */
bool fake_probe(struct fake_driver *d, uint64_t features, uint16_t size);

/** fake_notify() - as the guest would: by the eventfd if the transport has it */
void fake_notify(struct fake_driver *d, unsigned index);

/**
 * fake_request() - add a chain (indirect where negotiated), notify if needed, wait until it is used
 * Return: bytes written, or -1 if the device broke meanwhile
 * For one request at a time: the next used chain must be this one.
 */
int64_t fake_request(struct fake_driver *d, unsigned index, const struct fake_buf *bufs,
		     unsigned n);

/** fake_wait_used() - wait for a used chain; Return: its id, or -1 if the device needs a reset */
int fake_wait_used(struct fake_driver *d, unsigned index, uint32_t *ret_written);

/** fake_queue_irqs(), fake_config_irqs() - how many so far */
unsigned fake_queue_irqs(struct fake_driver *d, unsigned index);
unsigned fake_config_irqs(struct fake_driver *d);
/** fake_wait_config_irq() - wait until there were @count in all */
void fake_wait_config_irq(struct fake_driver *d, unsigned count);

/** fake_echo() - a device's kick(): the first 64 bytes of each request come back in it */
void fake_echo(struct virtio_dev *dev, unsigned index);

#endif
