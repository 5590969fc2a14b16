/*
 * The core of every virtio device: features, status, queues, configuration generation, worker
 * thread. A transport (virtio/pci.c, virtio/mmio.c) feeds it register accesses; a device
 * (virtio/blk.c, ...) is one const struct virtio_type and sees only this header.
 *
 *	            virtio_set_status(): a bit needs those before it, else it stays 0
 *	reset(0) -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK: the worker runs, first activate()
 *	   ^                                 judged here       |
 *	   |                                                  v  virtio_break()
 *	   +-- worker has drained and waits, reset() <--- DEVICE_NEEDS_RESET
 *
 * Threads: registers come from vCPU threads under dev->lock (the core takes it), under which nothing
 * waits. The worker is made with the machine, by the main thread, as a thread may do no more than its
 * maker. It runs dev->loop from DRIVER_OK to the next reset and waits otherwise; it owns the live
 * queues and never takes dev->lock. What the device tells the driver by itself (virtio_break(),
 * virtio_config_begin()) is under dev->event_lock, under which nothing waits, either.
 *
 * Whoever wants the worker to serve a queue, to stop one, to stand still or to end writes that down
 * and asks it (worker.c). What takes time on the host is a state that the driver polls: the status
 * stays as it is until a reset is complete, a queue stays ready until it has stopped. Not all
 * drivers poll, so the vCPU waits a little, but at most a second.
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
#include "lkvm/state.h"
#include "lkvm/thread.h"
#include "lkvm/virtq.h"

#define VIRTIO_MAX_QUEUES 64

struct virtio_dev;

/* What a request asks for, as far as its device can tell at a glance */
struct virtio_asked {
	const char *what; /* "write": static */
	uint64_t bytes;   /* that it moves */
	uint64_t sector;
	bool has_sector;
};

/* The device. Const, one a type. Only name, id, queue_size, and kick or watch must be there. */
struct virtio_type {
	const char *name;    /* "blk" */
	uint16_t id;         /* VIRTIO_ID_BLOCK */
	uint16_t queue_size; /* largest that the driver may choose; a power of two */
	/* Do the accepted features go together? All are offered, VERSION_1 is among them. */
	bool (*features_ok)(const struct virtio_dev *dev, uint64_t features);
	/*
	 * On the worker, as its first act after DRIVER_OK: may add sources of its own to dev->loop.
	 * Return: 0 or -errno: the device then needs a reset, and nothing else is called before that.
	 */
	int (*activate)(struct virtio_dev *dev);
	/*
	 * On the worker: queue @index has something, or may have (also once after it went live).
	 * Most devices just call virtio_serve().
	 */
	void (*kick)(struct virtio_dev *dev, unsigned index);
	/*
	 * Instead of kick(), for a device whose own threads serve the queues, one at a time under a lock
	 * of theirs. On the worker: from now on (@on) look for kicks of the eventfd @fd, as kick() would be
	 * called, or no more; one may still be on its way to a thread. Return: 0 or -errno
	 */
	int (*watch)(struct virtio_dev *dev, int fd, bool on);
	/*
	 * On the worker: virtio_queue_irq_fd() may say something else of each queue. For a device that lets
	 * others interrupt for it; else NULL.
	 */
	void (*irqs_moved)(struct virtio_dev *dev);
	/*
	 * Where virtio_pop() is, and only while somebody traces: what does a chain of queue @index ask for?
	 * The driver may write something else there before it is looked at for what is done. @ret_asked says
	 * what every chain does. NULL: no more is known.
	 */
	void (*describe)(unsigned index, const struct virtq_chain *c, struct virtio_asked *ret_asked);
	/*
	 * On the worker, within virtio_serve(): all that there was has been handed over, start it.
	 * May push. The driver has not been asked for notifications again yet: what it adds while
	 * this runs needs none. May be NULL.
	 */
	void (*commit)(struct virtio_dev *dev);
	/*
	 * On the worker, as its last act before a reset (@index -1), or before queue @index alone
	 * is stopped: cancel what has not begun, wait for what has. No completion may come after.
	 * -1: remove the sources that activate() added.
	 */
	void (*drain)(struct virtio_dev *dev, int index);
	/*
	 * On the worker: the device must not touch the guest's memory (@on), nor anything that the
	 * host can see, or may again. On: wait for what has begun; what has not waits. NULL: each
	 * queue is drained. dev->parked tells sources of the device's own that they are to wait, too.
	 */
	void (*hold)(struct virtio_dev *dev, bool on);
	/*
	 * On the worker, before hold() for the whole machine: is there something that was taken off
	 * the rings and comes to its end by itself? Then hold() waits until virtio_idle(). May be NULL.
	 */
	bool (*busy)(const struct virtio_dev *dev);
	/*
	 * On the vCPU thread at every reset, when the worker has ended: forget what the driver
	 * had set up. dev->loop is still there if activate() was called, even if that failed.
	 */
	void (*reset)(struct virtio_dev *dev);
	/*
	 * Device configuration, under dev->lock (read: and dev->event_lock). @width 1, 2, 4 or 8,
	 * aligned, within config_bytes. write may be NULL: read only.
	 */
	uint64_t (*config_read)(struct virtio_dev *dev, unsigned off, unsigned width);
	void (*config_write)(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value);
	/*
	 * On a vCPU's thread, which has found nothing where it looked in dev->shm. Return: has something
	 * changed, so that it may look again? NULL: nothing does.
	 */
	bool (*mend)(struct virtio_dev *dev);
	/*
	 * Of what it has beyond the core, an object of struct virtio_dev; NULL: nothing. Saved while
	 * the device stands still; loaded when it does, after reset(), and after activate() if the
	 * driver has got that far.
	 */
	const struct state_type *state;
	/*
	 * Records behind that one, of what has no bound; as many as it takes. NULL: there are none. Return:
	 * as state_save(); as state_load()
	 */
	int (*save_more)(struct virtio_dev *dev, struct state_buf *buf);
	int (*load_more)(struct virtio_dev *dev, struct state_reader *in);
	/*
	 * While it stands still it may have chains that were popped last of their queue. They are
	 * saved as not popped, and its own state tells how far it is with them.
	 */
	bool retakes;
	/* What a driver lets it write only names memory: it writes to none of it but by ram_drop() and the like */
	bool only_names;
};

/*
 * What a transport does for its device. Any thread; must not wait for a lock under which a vCPU
 * calls a function of this header.
 */
struct virtio_transport_ops {
	void (*queue_irq)(struct virtio_dev *dev, unsigned index);
	void (*config_irq)(struct virtio_dev *dev);
	/*
	 * The eventfd that does what queue_irq() of @index does now, for others to signal; -1: there is none.
	 * Once it is another, virtio_irqs_moved() is called. May be NULL: there never is.
	 */
	int (*queue_irq_fd)(struct virtio_dev *dev, unsigned index);
	/*
	 * Let the guest's notification of @index arrive at @fd without a vCPU exit, or end that
	 * before the fd is closed. A failure only costs speed: the register access then calls
	 * virtio_notify(). May be NULL.
	 */
	int (*notify_fd)(void *transport, unsigned index, int fd, bool on);
	/*
	 * The reset of queue @index (-1: of the device) is complete: forget what the driver had set
	 * up for it. Under dev->lock. May be NULL.
	 */
	void (*reset_done)(void *transport, int index);
	/* How long a vCPU may wait for a reset, where it is polled for only by some drivers. */
	unsigned patience_ms;
	const struct state_type *state; /* of the transport; NULL: it has none */
};

/* Of a queue, and who may change that: */
enum virtio_queue_state {
	VIRTIO_QUEUE_OFF,  /* vCPU; */
	VIRTIO_QUEUE_LIVE, /* vCPU: to STOP; vq is the worker's, */
	VIRTIO_QUEUE_STOP, /* worker: when it has drained it; */
	VIRTIO_QUEUE_DONE, /* vCPU: to OFF. */
};

struct virtio_queue {
	/* Set by the driver through the transport, under dev->lock; frozen while ready */
	uint16_t size;
	uint64_t desc, avail, used;
	bool ready;  /* until it has stopped */
	bool forget; /* when it has stopped: back to what it was after the reset of the device */
	struct virtq_watch *watch; /* set while it is not live; NULL: nobody looks on */
	atomic_uint state;
	/* The worker's, from LIVE to DONE */
	bool watched; /* its kicks are */
	struct virtq vq;
	struct loop_source kick; /* eventfd behind the guest's notification; -1: not live */
	struct virtio_dev *dev;
	unsigned index;
};

/* Memory of the device's own that the driver reaches by its addresses: 2.10. One region is all so far. */
struct virtio_shm {
	uint64_t bytes; /* a power of two, a page at least; 0: the device has none */
	uint8_t id;     /* by which the driver knows it */
	bool read_only; /* to the guest */
	bool bar_only;  /* not the driver's, but of those who know PCI's addresses only: where there is room, below 4 GB */
	void *host;     /* page aligned, there for as long as vCPUs run; NULL: the device is only shown */
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
	struct virtio_shm shm;
	const struct virtio_transport_ops *transport_ops;
	void *transport;

	pthread_mutex_t lock;
	bool resetting;                      /* asked for, not complete */
	int64_t patience_ms, patience_at_ms; /* how long vCPUs may wait for holds, since when */
	atomic_uint status;                  /* without NEEDS_RESET */
	struct virtio_queue *queue;          /* n_queues of them */

	pthread_mutex_t event_lock; /* innermost */
	atomic_bool needs_reset;
	atomic_uint config_generation;
	bool config_held;    /* the driver is told of no change, */
	bool config_changed; /* of which there is one */
	struct ratelimit broken_warning;

	bool activated; /* dev->loop is there */
	bool live;      /* the worker runs it, is about to, or has just come out of it */
	struct thread *worker;
	sem_t go; /* what it waits for: run dev->loop once, or be gone */
	atomic_bool gone;
	struct loop loop;          /* the worker's */
	struct virtq_chain *chain; /* the worker's scratch */
	atomic_bool parked;        /* the worker's: nothing is taken off the rings, */
	bool standing;             /* and the device stands still */

	/* What the worker is asked for, and what it has done. */
	struct loop_source call; /* eventfd: something of these has changed */
	atomic_bool asked;       /* likewise, for who looks without a system call */
	atomic_uint want_hold;   /* 1 << enum virtio_hold */
	atomic_bool want_end;
	atomic_bool last; /* the machine ends: nobody waits for answers */
	atomic_bool is_up; /* activated */
	atomic_bool is_held, has_ended;
	pthread_mutex_t done_lock; /* innermost: of this condition, no data */
	pthread_cond_t done;
};

/* ---- for devices ---- */

/**
 * virtio_init() - make the core of a device
 * @dev: embedded in the device; type, name, ram, device_features, n_queues, config_bytes, shm are set
 * VIRTIO_F_VERSION_1, RING_RESET, INDIRECT_DESC and EVENT_IDX are added to the features;
 * RING_PACKED is offered only if the caller has set it.
 * Return: 0 or -errno, not logged; virtio_fini() in either case
 */
int virtio_init(struct virtio_dev *dev);
/**
 * virtio_dev_start() - make the worker; main thread, before a driver can set DRIVER_OK
 * Without it a driver gets no answer.
 * Return: 0 or -errno of thread_new(), not logged
 */
int virtio_dev_start(struct virtio_dev *dev);
/** virtio_fini() - joins the worker if there is one */
void virtio_fini(struct virtio_dev *dev);

/**
 * virtio_dev_stop_begin(), virtio_dev_stop_wait() - the machine's end: main thread
 * begin asks the worker to end what is in flight and does not wait, so that all devices do it at the
 * same time; wait waits for it and joins the worker. vCPUs that still run do no harm, but could make
 * the device live again between these two. A device that stands still does so to its end: what is on its
 * rings stays there.
 * @deadline_ms: of now_ms()
 * Return: true: virtio_fini() will not wait; false: something is still in flight, and it would
 */
void virtio_dev_stop_begin(struct virtio_dev *dev);
bool virtio_dev_stop_wait(struct virtio_dev *dev, int64_t deadline_ms);

/**
 * virtio_dev_hold_begin(), virtio_dev_hold_wait() - the whole machine stands still: main thread, when
 * no vCPU runs
 * begin asks and does not wait, so that all devices do it at the same time. What was taken off the
 * rings comes to its end first, but for what waits for bus mastering. Once wait has said yes, the device
 * changes no byte of the guest's or of a host's file and interrupts nobody until virtio_dev_hold_end();
 * what comes from outside meanwhile is kept, as far as there is room for it.
 * @deadline_ms: of now_ms()
 * Return: does it stand? If not, ask again or call virtio_dev_hold_end().
 */
void virtio_dev_hold_begin(struct virtio_dev *dev);
bool virtio_dev_hold_wait(struct virtio_dev *dev, int64_t deadline_ms);
/** virtio_dev_hold_end() - go on, unless there is another reason to stand still */
void virtio_dev_hold_end(struct virtio_dev *dev);

/*
 * State (state.h): main thread, from virtio_dev_hold_wait() to virtio_dev_hold_end(). Nothing is in
 * flight then: the worker takes nothing off the rings, what it had taken has come to its end (busy(),
 * drain()) and was given back, or will be taken again (retakes). So what the driver has made available
 * and has not got back is on its rings. What cannot come to an end makes saving fail.
 */
extern const struct state_type virtio_state_type; /* of a struct virtio_dev: the core and its queues */
/**
 * virtio_dev_save() - append the records of the core, the transport and the device, and what it has more
 * Return: 0; -EBUSY: it does not stand still, or it has requests that wait for bus mastering or for a
 *	lock, or a driver waits for a reset of it; else of state_save(). @buf is then as before.
 */
int virtio_dev_save(struct virtio_dev *dev, struct state_buf *buf);
/**
 * virtio_dev_load() - the way back, into a device that is as new or has run; of a PCI function its own
 * state comes before
 * Return: 0, or -errno of state_load() with in->why:
 *	-ENODEV  of another device, or with features that this one does not offer
 *	-EINVAL, -EFAULT, -ERANGE  of virtq_init_at()
 *	-EBUSY   it does not stand still, or what it had in flight does not end
 * Behind the first record of three, a failure leaves a device that is to be reset or thrown away.
 */
int virtio_dev_load(struct virtio_dev *dev, struct state_reader *in);

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
 * @handle: dev->chain has the request; pushes it now, or keeps it or its token and pushes later. Not
 * called again once the device is broken.
 * A driver that adds as fast as we take does not keep the worker here: after a ring full the rest
 * is left for the next turn of the loop.
 */
void virtio_serve(struct virtio_dev *dev, unsigned index,
		  void (*handle)(struct virtio_dev *dev, unsigned index));

/** virtio_queue_irq_fd() - worker: an eventfd for who interrupts for queue @index in our place; -1: there is none now */
int virtio_queue_irq_fd(struct virtio_dev *dev, unsigned index);
/**
 * virtio_queue_moved() - worker: somebody else has served split queue @index up to @next, an index that runs freely
 * Nothing of it is out.
 */
void virtio_queue_moved(struct virtio_dev *dev, unsigned index, uint16_t next);

/** virtio_idle() - worker: busy() may say something else now */
void virtio_idle(struct virtio_dev *dev);

/** virtio_is_live() - worker: has the driver set up queue @index, and not stopped it? */
bool virtio_is_live(const struct virtio_dev *dev, unsigned index);

/** virtio_again() - worker: kick() again, in the next turn of the loop */
void virtio_again(struct virtio_dev *dev, unsigned index);

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

/**
 * virtio_notify_me() - ask for kicks of queue @index again, which virtio_serve() does by itself
 * Return: is there something already? Then no kick may come for it.
 */
bool virtio_notify_me(struct virtio_dev *dev, unsigned index);
/** virtio_notify_not() - no kicks of queue @index are needed for now: virtio_notify_me() will be called */
void virtio_notify_not(struct virtio_dev *dev, unsigned index);

/** virtio_pushed() - of virtio_push() alone: what virtq_push() has said is not 0 */
void virtio_pushed(struct virtio_dev *dev, unsigned index, int ret) __attribute__((cold));

/**
 * virtio_push() - worker: give a chain of queue @index back
 * @token: of dev->chain, or of a chain that was popped before and is still out
 * The driver sees it at the next virtio_complete(), which virtio_serve() calls at its end.
 */
static inline void virtio_push(struct virtio_dev *dev, unsigned index, uint64_t token,
			       uint32_t written)
{
	int ret = virtq_push(&dev->queue[index].vq, token, written);

	if (__builtin_expect(ret, 0))
		virtio_pushed(dev, index, ret);
}

/**
 * virtio_put_back() - worker: what is out of queue @index is not used any more, and will be popped again
 * All of it was popped after what was pushed. For a device that takes buffers before it needs them.
 */
void virtio_put_back(struct virtio_dev *dev, unsigned index);

/**
 * virtio_keep() - worker: keep dev->chain beyond the next virtio_pop()
 * @spare: becomes the core's in its place, whatever is in it
 * Who needs no more than the token keeps that, and calls nothing.
 * Return: the chain, now the caller's, to push and to free
 */
struct virtq_chain *virtio_keep(struct virtio_dev *dev, struct virtq_chain *spare);

/* ---- for transports; each takes dev->lock ---- */

void virtio_attach(struct virtio_dev *dev, const struct virtio_transport_ops *ops, void *transport);

/* Why a device stands still. It does as long as there is a reason. */
enum virtio_hold {
	VIRTIO_HOLD_MASTER, /* the driver has taken bus mastering away */
	VIRTIO_HOLD_PAUSE,  /* virtio_dev_hold_begin() */
	VIRTIO_HOLD_TEST,   /* a unit test's */
};

/**
 * virtio_hold() - keep the device off the guest's memory for a reason, or no longer for this one
 * On, it begins nothing more; the queues stay as they are until they are served again.
 * Waits for what is in flight, but for a second at most: then that ends later, which is what hardware
 * does, too.
 */
void virtio_hold(struct virtio_dev *dev, enum virtio_hold why, bool on);
/** virtio_get_status() - not 0 while a reset is not complete */
uint8_t virtio_get_status(struct virtio_dev *dev);
/**
 * virtio_set_status() - 0 resets; DRIVER_OK starts the worker; see the drawing above
 * Until a reset is complete, what is set is ignored.
 */
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
	VIRTIO_QUEUE_READY, /* 1: live now or at DRIVER_OK; 0: drained and stopped; reads 1 till then */
	VIRTIO_QUEUE_DESC,
	VIRTIO_QUEUE_AVAIL,
	VIRTIO_QUEUE_USED,
	VIRTIO_QUEUE_RESET, /* if negotiated, 1 drains and forgets the queue; reads 1 till then */
};
/**
 * virtio_queue_get(), virtio_queue_set() - @index out of range reads 0 and ignores writes
 * Size and addresses cannot be written while the queue is ready.
 */
uint64_t virtio_queue_get(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field);
void virtio_queue_set(struct virtio_dev *dev, unsigned index, enum virtio_queue_field field,
		      uint64_t value);
/** virtio_irqs_moved() - what queue_irq_fd() says is another */
void virtio_irqs_moved(struct virtio_dev *dev);
/** virtio_notify() - a notification that came by a register access after all (no ioeventfd) */
void virtio_notify(struct virtio_dev *dev, unsigned index);

#endif
