/*
 * User-mode networking by libslirp: the guest's frames end in sockets of this process, so it reaches what lkvm
 * reaches, without a privilege. The library is opened only when such a network is used.
 *
 *	send() -> slirp_input() ----> sockets of the host
 *	receive() <- frame queue <-- send_packet() <-- slirp_pollfds_poll() <- poll set <- the worker's loop
 *
 * The library names what it waits for each time anew, and walks over all its connections for that. That
 * is done once a turn of the loop (settle()), and only what has changed is a system call. While the guest
 * takes no frames, sockets are not read: their senders wait, and nothing is lost.
 *
 * What the library keeps in variables of its own all its instances share, so they take turns.
 */
#include "slirp-internal.h"

#ifdef HAVE_SLIRP

#include <errno.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <string.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"

#define STOP_BYTES  (SLIRP_QUEUE_BYTES / 2)
#define GO_BYTES    (SLIRP_QUEUE_BYTES / 4)
#define NS_PER_MS   1000000ULL
#define NO_TIMER_MS 1000            /* the library's word for "nothing is due" */
#define SLOW_MS     499             /* its round over all connections */
#define QUIET_MS    (5 * 60 * 1000) /* what it times out by those rounds is over by then */

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void slirp_turn(bool begin)
{
	if (begin)
		pthread_mutex_lock(&turn);
	else
		pthread_mutex_unlock(&turn);
}

/* ---- what the library calls ---- */

static ssize_t send_packet(const void *frame, size_t len, void *ctx)
{
	struct user_net *u = ctx;

	if (!u->loop || !frame_queue_put(&u->queue, frame, len))
		net_dropped(&u->net, false);
	return (ssize_t)len;
}

static void guest_error(const char *text, void *ctx)
{
	log_debug(LOG_DEVICE, "%s: %s", ((struct user_net *)ctx)->net.name, text);
}

static int64_t clock_get_ns(void *ctx)
{
	(void)ctx;
	return (int64_t)now_ns();
}

/* There is one kind of them, and one of that kind. */
static void *timer_new(SlirpTimerId id, void *timer_ctx, void *ctx)
{
	struct user_net *u = ctx;

	(void)id;
	u->ra_ctx = timer_ctx;
	return &u->ra_ms;
}

static void timer_free(void *timer, void *ctx)
{
	(void)ctx;
	*(int64_t *)timer = 0;
}

static void timer_mod(void *timer, int64_t at_ms, void *ctx)
{
	(void)ctx;
	*(int64_t *)timer = at_ms;
}

static void register_fd(int fd, void *ctx)
{
	(void)fd;
	((struct user_net *)ctx)->n_sockets++;
}

static void unregister_fd(int fd, void *ctx)
{
	struct user_net *u = ctx;

	u->n_sockets -= u->n_sockets > 0; /* those that it listens at it has not told of */
	poll_set_forget(&u->fds, fd);
}

static void notify(void *ctx)
{
	(void)ctx; /* it is asked again at the end of the turn in any case */
}

const SlirpCb slirp_callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = register_fd,
	.unregister_poll_fd = unregister_fd,
	.notify = notify,
};

/* ---- what it waits for ---- */

static const struct {
	int slirp;
	uint32_t epoll;
} event_bits[] = {
	{ SLIRP_POLL_IN, EPOLLIN },   { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
	{ SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static int add_poll(int fd, int events, void *ctx)
{
	uint32_t wanted = 0;

	for (size_t i = 0; i < ARRAY_SIZE(event_bits); i++)
		if (events & event_bits[i].slirp)
			wanted |= event_bits[i].epoll;
	return poll_set_add(&((struct user_net *)ctx)->fds, fd, wanted) ? -1 : fd;
}

/*
 * What it has not asked for it is not told: it reads where there is an error, and must not if it has no room.
 * An error that comes where it waits to write is for the writing to find.
 */
static int get_revents(int fd, void *ctx)
{
	const struct poll_set *fds = &((struct user_net *)ctx)->fds;
	uint32_t ready = poll_set_ready(fds, fd);
	int events = 0;

	if (ready && !(poll_set_wanted(fds, fd) & EPOLLIN))
		ready = EPOLLOUT;
	for (size_t i = 0; i < ARRAY_SIZE(event_bits); i++)
		if (ready & event_bits[i].epoll)
			events |= event_bits[i].slirp;
	return events;
}

/* The first time of two, where 0 is none */
static int64_t sooner(int64_t a, int64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* @wait_ms: as the library has it. A guest that does nothing costs nothing. */
static void set_timer(struct user_net *u, uint32_t wait_ms)
{
	const int64_t now = now_ms();
	const bool due = wait_ms < SLOW_MS || (wait_ms < NO_TIMER_MS && now - u->active_ms < QUIET_MS);
	const int64_t at_ms = sooner(u->ra_ms, due ? now + wait_ms : 0);

	if (at_ms && (!u->timer.at_ns || u->timer.at_ns > (uint64_t)at_ms * NS_PER_MS))
		timer_set(&u->timer, (uint64_t)at_ms * NS_PER_MS);
}

static void ask(struct user_net *u)
{
	uint32_t wait_ms = UINT32_MAX;

	slirp_turn(true);
	poll_set_begin(&u->fds);
	u->lib.slirp_pollfds_fill(u->slirp, &wait_ms, add_poll, u);
	poll_set_end(&u->fds);
	slirp_turn(false);
	u->dirty = false;
	set_timer(u, wait_ms);
}

/* How long the queue has become, or is no more */
static void mind_queue(struct user_net *u)
{
	const size_t used = frame_queue_used(&u->queue);
	const bool stop = used > (u->stopped ? GO_BYTES : STOP_BYTES);

	if (stop == u->stopped)
		return;
	u->stopped = stop;
	loop_mod(u->loop, &u->events, stop ? 0 : EPOLLIN);
}

/* The end of a turn in which the library was called; not from within send() or receive() */
static void settle(struct user_net *u)
{
	ask(u);
	mind_queue(u);
	if (!u->hungry || !frame_queue_used(&u->queue))
		return;
	u->hungry = false;
	u->net.readable(&u->net, 0);
}

/* Let it do what is due, and what is ready. */
static void run(struct user_net *u)
{
	slirp_turn(true);
	if (u->ra_ms && u->ra_ms <= now_ms()) {
		u->ra_ms = 0;
		u->lib.slirp_handle_timer(u->slirp, SLIRP_TIMER_RA, u->ra_ctx);
	}
	u->lib.slirp_pollfds_poll(u->slirp, 0, get_revents, u);
	poll_set_clear(&u->fds);
	slirp_turn(false);
	u->learned = false;
	settle(u);
}

static void ready(struct loop_source *src, uint32_t events)
{
	struct user_net *u = container_of(src, struct user_net, events);

	(void)events;
	if (u->dirty)
		ask(u);
	u->active_ms = now_ms();
	poll_set_look(&u->fds);
	run(u);
}

static void fired(struct timer *timer)
{
	run(container_of(timer, struct user_net, timer));
}

/* ---- what the device calls ---- */

static int user_attach(struct net *net, struct loop *loop)
{
	struct user_net *u = user_of(net);
	int err;

	timer_init(&u->timer, loop, CLOCK_MONOTONIC, fired);
	u->loop = loop;
	u->active_ms = now_ms();
	u->stopped = false;
	u->hungry = true;
	u->events = (struct loop_source){ .fd = u->fds.epfd, .ready = ready };
	err = timer_open(&u->timer);
	if (!err)
		err = loop_add(loop, &u->events, EPOLLIN);
	if (err)
		return log_err(err, "%s", net->name);
	ask(u);
	return 0;
}

/* Connections stay: a driver that is loaded anew, or another kernel, finds that they are of no use to it. */
static void user_detach(struct net *net, struct loop *loop)
{
	struct user_net *u = user_of(net);

	loop_del(loop, &u->events);
	timer_fini(&u->timer);
	frame_queue_clear(&u->queue);
	u->hungry = false;
	u->loop = NULL;
}

static int user_send(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	struct user_net *u = user_of(net);
	const size_t len = net_gather(iov, n_iov, NET_HDR_BYTES, u->frame, sizeof(u->frame));

	(void)pair;
	if (!guard_passes(&u->guard, u->frame, len, u->n_sockets, now_ms()))
		return -EPERM;
	slirp_turn(true);
	u->lib.slirp_input(u->slirp, u->frame, (int)len);
	slirp_turn(false);
	u->dirty = true;
	u->learned |= guard_teaches(u->frame, len);
	return 0;
}

static void user_flush(struct net *net)
{
	struct user_net *u = user_of(net);

	if (!u->dirty)
		return;
	u->active_ms = now_ms();
	if (u->learned)
		run(u);
	else
		settle(u);
}

static size_t bytes_of(const struct iovec *iov, unsigned n_iov)
{
	size_t bytes = 0;

	while (n_iov--)
		bytes += iov++->iov_len;
	return bytes;
}

static ssize_t user_receive(struct net *net, unsigned pair, const struct iovec *iov, unsigned n_iov)
{
	struct user_net *u = user_of(net);
	const struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	const size_t len = frame_queue_next(&u->queue);

	(void)pair;
	u->hungry = !len;
	if (!len)
		return 0;
	if (bytes_of(iov, n_iov) < NET_HDR_BYTES + len) {
		frame_queue_drop(&u->queue);
		return -EMSGSIZE;
	}
	net_scatter(iov, n_iov, 0, &header, sizeof(header));
	frame_queue_take(&u->queue, iov, n_iov, NET_HDR_BYTES);
	mind_queue(u);
	return (ssize_t)(NET_HDR_BYTES + len);
}

const struct net_ops slirp_ops = {
	.attach = user_attach,
	.detach = user_detach,
	.send = user_send,
	.flush = user_flush,
	.receive = user_receive,
	.close = slirp_close,
};

#endif
