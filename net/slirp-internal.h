/*
 * The user end's own: slirp-open.c makes it, on the main thread; slirp.c is what goes on then, on the worker. In an
 * lkvm without libslirp there is no HAVE_SLIRP, and nothing of either.
 */
#ifndef NET_SLIRP_INTERNAL_H
#define NET_SLIRP_INTERNAL_H

#include "net-internal.h"

#if __has_include(<slirp/libslirp.h>) && !defined(LKVM_STATIC)
#include <slirp/libslirp.h>
#if SLIRP_CHECK_VERSION(4, 7, 0)
#define HAVE_SLIRP
#endif
#endif

#ifdef HAVE_SLIRP

#include "frame-queue.h"
#include "lkvm/lib.h"
#include "lkvm/timer.h"
#include "lkvm/types.h"
#include "poll-set.h"
#include "slirp-guard.h"

#define SLIRP_QUEUE_BYTES (2 * MIB)

/* GLib's, which the library brings along: it prints what it has to say on standard error. */
unsigned g_log_set_handler(const char *domain, int levels,
			   void (*fn)(const char *domain, int level, const char *text, void *ctx), void *ctx);

#define SLIRP_FUNCTIONS(X)                                                                         \
	X(slirp_new)                                                                               \
	X(slirp_cleanup)                                                                           \
	X(slirp_input)                                                                             \
	X(slirp_pollfds_fill)                                                                      \
	X(slirp_pollfds_poll)                                                                      \
	X(slirp_handle_timer)                                                                      \
	X(slirp_add_hostfwd)                                                                       \
	X(g_log_set_handler)

struct user_net {
	struct net net;
	struct {
		SLIRP_FUNCTIONS(LIB_FIELD)
	} lib;
	Slirp *slirp;
	struct net_forward forward[NET_MAX_FORWARDS];
	int listener[NET_MAX_FORWARDS]; /* its socket; the library's */
	unsigned n_listeners;

	struct loop *loop; /* attached to */
	struct poll_set fds;
	struct loop_source events; /* of those; -1: not in the loop */
	struct timer timer;
	int64_t active_ms; /* when something has happened last */
	int64_t ra_ms;     /* when the library's one timer is due; 0: it is not set */
	void *ra_ctx;
	struct slirp_guard guard;
	unsigned n_sockets; /* of connections */
	struct frame_queue queue;
	bool stopped; /* the queue is long: sockets are not read */
	bool hungry;  /* the device waits for a frame */
	bool learned; /* the library has been told where the guest is: frames of its own may have waited for that */
	bool dirty;   /* the library has been given something since it was last asked what it waits for */
	uint8_t frame[NET_MAX_FRAME];
};

extern const SlirpCb slirp_callbacks;
extern const struct net_ops slirp_ops;

/** slirp_turn() - begin, or end, calling the library: what it keeps in variables of its own all instances share */
void slirp_turn(bool begin);
/** slirp_close() - in slirp-open.c; of a half-made one, too */
void slirp_close(struct net *net);

static inline struct user_net *user_of(struct net *net)
{
	return container_of(net, struct user_net, net);
}

#endif
#endif
