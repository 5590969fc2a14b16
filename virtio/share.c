/*
 * What the devices share that give the guest a folder (fs.c, p9.c): requests between the rings and a
 * file server of fs/, on threads. See share-internal.h.
 *
 *	ring -> a thread: take() -> server -> request_done(): push, interrupt -> ring
 *
 * The threads (fs/NAME.N) are started with the machine, wait for kicks, and are the ones who touch the
 * rings, under the lock. A kick wakes one of them, which serves what it finds; should there be more than
 * one request, it wakes another one first, as each may take long. So a request that comes alone costs no
 * change of threads but that of the kick. One that waits for a lock is served without a thread. Under the lock
 * nothing waits for the host, unless a request's own buffers are in a window into files: virtq-loan.c.
 */
#include "share-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"

/* ---- taking requests, and giving them back: with the lock held ---- */

static struct share_request *request_new(struct virtio_share *s)
{
	struct share_request *r = s->n_all < SHARE_MOST_REQUESTS ? calloc(1, sizeof(*r)) : NULL;

	if (!r)
		return NULL;
	r->chain = malloc(sizeof(*r->chain));
	if (!r->chain) {
		free(r);
		return NULL;
	}
	r->share = s;
	s->all[s->n_all++] = r;
	return r;
}

static bool has_room(struct virtio_share *s)
{
	if (!s->free)
		s->free = request_new(s);
	s->starved = !s->free;
	return s->free;
}

static void wake_one(struct virtio_share *s)
{
	if (!s->woken)
		event_signal(s->wake);
	s->woken = true;
}

/*
 * Who has served a request looks at all queues again, and before anybody else could have woken up: what the
 * guest does with the reply, at once if it shares this CPU, need not kick.
 */
static void look_again(struct virtio_share *s)
{
	for (unsigned i = 0; i < s->dev.n_queues; i++)
		virtio_notify_not(&s->dev, i);
}

static void give_back(struct share_request *r, uint32_t written)
{
	struct virtio_share *s = r->share;

	virtio_push(&s->dev, r->queue, r->chain->token, written);
	r->is_served = false;
	r->next = s->free;
	s->free = r;
	if (s->starved)
		wake_one(s);
}

/* Any thread */
static void request_done(struct file_request *req, uint32_t written)
{
	struct share_request *r = container_of(req, struct share_request, req);
	struct virtio_share *s = r->share;

	if (r->quick) {
		give_back(r, written);
		return;
	}
	pthread_mutex_lock(&s->lock);
	if (pthread_equal(r->thread, pthread_self()))
		look_again(s);
	give_back(r, written);
	virtio_complete(&s->dev, r->queue);
	pthread_mutex_unlock(&s->lock);
}

/* Return: false: there is none, and there will be a kick for the next */
static bool find(struct virtio_share *s, unsigned index)
{
	do {
		if (!s->held && has_room(s) && virtio_pop(&s->dev, index))
			return true;
	} while (!s->held && !s->starved && virtio_notify_me(&s->dev, index));
	return false;
}

static struct share_request *pop(struct virtio_share *s, unsigned index)
{
	struct share_request *r;

	if (!find(s, index))
		return NULL;
	r = s->free;
	s->free = r->next;
	r->chain = virtio_keep(&s->dev, r->chain);
	r->queue = index;
	r->req = (struct file_request){
		.out = r->chain->iov,
		.n_out = r->chain->n_out,
		.in = r->chain->iov + r->chain->n_out,
		.n_in = r->chain->n_in,
		.done = request_done,
	};
	return r;
}

static void complete_all(struct virtio_share *s)
{
	for (unsigned i = 0; s->n_quick && i < s->dev.n_queues; i++)
		virtio_complete(&s->dev, i);
	s->n_quick = 0;
}

/*
 * Nobody waits for what is served quickly: the driver is told of it with the next reply, which saves it an
 * interrupt. Return: one that is to be served; NULL: there is none left
 */
static struct share_request *take(struct virtio_share *s, unsigned index)
{
	struct share_request *r;

	while ((r = pop(s, index))) {
		r->quick = true;
		if (!s->server->ops->quick(s->server, &r->req))
			break;
		if (++s->n_quick >= SHARE_MOST_QUICK)
			complete_all(s);
	}
	if (r)
		r->quick = false;
	return r;
}

/* ---- the threads, with the lock held ---- */

static void work_begin(struct virtio_share *s)
{
	s->n_busy++;
	pthread_mutex_unlock(&s->lock);
}

static void work_end(struct virtio_share *s)
{
	pthread_mutex_lock(&s->lock);
	if (--s->n_busy)
		return;
	pthread_cond_broadcast(&s->idle);
	if (atomic_load(&s->dev.want_hold))
		event_signal(s->finished.fd); /* the worker waits until nobody is busy */
}

/* Return: of all queues; NULL: there is none, and there will be a kick for the next */
static struct share_request *take_any(struct virtio_share *s)
{
	struct share_request *r = NULL;

	for (unsigned i = 0; !r && i < s->dev.n_queues; i++)
		r = take(s, i);
	if (!r)
		complete_all(s);
	return r;
}

static void serve_one(struct virtio_share *s, struct file_worker *worker, struct share_request *r)
{
	r->is_served = true;
	r->thread = pthread_self();
	if (virtio_notify_me(&s->dev, r->queue))
		wake_one(s);
	work_begin(s);
	s->server->ops->serve(s->server, worker, &r->req);
	work_end(s);
}

static void do_chores(struct virtio_share *s)
{
	s->chores_ms = now_ms() + FILE_LATER_MS;
	work_begin(s);
	s->server->ops->chores(s->server);
	work_end(s);
}

/* Return: in how many ms is there a chore? -1: there is none */
static int chores_in_ms(const struct virtio_share *s, enum file_chores chores)
{
	const int64_t left = s->chores_ms - now_ms();

	if (chores == FILE_CHORES_SOON)
		return FILE_SOON_MS;
	if (chores == FILE_CHORES_LATER)
		return left < 0 ? 0 : (int)left;
	return chores == FILE_CHORES_NOW ? 0 : -1;
}

/*
 * Until a kick. One of those who rest looks after locks that are waited for, and the like. If a request
 * comes that may keep it for long, another one does; for what is not so urgent that one need not be woken.
 */
static void rest(struct virtio_share *s)
{
	const enum file_chores chores = s->held ? FILE_CHORES_NONE : s->server->ops->has_chores(s->server);
	const int ms = chores_in_ms(s, chores);
	const bool timed = ms > 0 && (s->timed == FILE_CHORES_NONE || chores < s->timed);
	struct epoll_event event;
	int n;

	if (!ms) {
		do_chores(s);
		return;
	}
	s->timed = timed ? chores : s->timed;
	pthread_mutex_unlock(&s->lock);
	n = epoll_wait(s->epoll, &event, 1, timed ? ms : -1);
	pthread_mutex_lock(&s->lock);
	s->woken = false;
	if (!timed)
		return;
	if (s->timed == chores)
		s->timed = FILE_CHORES_NONE;
	if (n > 0 && chores == FILE_CHORES_SOON)
		wake_one(s);
	else if (n > 0)
		return;
	else if (!s->held)
		do_chores(s);
}

static void serve_all(struct virtio_share *s, struct file_worker *worker)
{
	struct share_request *r;

	while (!s->end) {
		r = take_any(s);
		if (r)
			serve_one(s, worker, r);
		else
			rest(s);
	}
	event_signal(s->wake); /* for the next one */
}

static void thread_main(void *arg)
{
	struct virtio_share *s = arg;
	struct file_worker *worker = file_worker_new();

	pthread_mutex_lock(&s->lock);
	s->n_begun++;
	s->n_failed += !worker;
	pthread_cond_broadcast(&s->idle);
	if (worker)
		serve_all(s, worker);
	pthread_mutex_unlock(&s->lock);
	file_worker_free(worker);
}

static int threads_start(struct virtio_share *s)
{
	static const struct thread_type type = { .name = "fs", .stack_bytes = 128 * KIB };
	unsigned started = 0;
	char name[32];
	int err = 0;

	for (; !err && started < SHARE_THREADS; started += !err) {
		snprintf(name, sizeof(name), "%s.%u", s->dev.name, started);
		err = thread_new(&type, name, thread_main, s, &s->thread[started]);
	}
	pthread_mutex_lock(&s->lock);
	while (s->n_begun < started)
		pthread_cond_wait(&s->idle, &s->lock);
	if (!err && s->n_failed)
		err = -ENOMEM;
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void threads_end(struct virtio_share *s)
{
	pthread_mutex_lock(&s->lock);
	s->end = true;
	pthread_mutex_unlock(&s->lock);
	event_signal(s->wake);
	for (unsigned i = 0; i < SHARE_THREADS; i++)
		thread_join(s->thread[i], -1);
}

/* ---- on the worker ---- */

int share_watch(struct virtio_dev *dev, int fd, bool on)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	return epoll_ctl(share_of(dev)->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event) < 0 ? -errno : 0;
}

static void some_finished(struct loop_source *src, uint32_t events)
{
	struct virtio_share *s = container_of(src, struct virtio_share, finished);

	(void)events;
	event_clear(src->fd);
	virtio_idle(&s->dev);
}

/* ---- standing still ---- */

static bool of_queue(const struct file_request *req, void *index)
{
	const struct share_request *r = container_of((void *)(uintptr_t)req, struct share_request, req);

	return *(int *)index < 0 || r->queue == (unsigned)*(int *)index;
}

/* With the lock held */
static bool is_served(const struct virtio_share *s, int index)
{
	for (unsigned i = 0; i < s->n_all; i++)
		if (s->all[i]->is_served && of_queue(&s->all[i]->req, &index))
			return true;
	return false;
}

/* One that is being served may begin to wait for a lock only now: so they are cancelled again. */
void share_drain(struct virtio_dev *dev, int index)
{
	struct virtio_share *s = share_of(dev);

	pthread_mutex_lock(&s->lock);
	complete_all(s);
	while (is_served(s, index)) {
		const struct timespec until = clock_at(now_ms() + FILE_SOON_MS);

		pthread_mutex_unlock(&s->lock);
		s->server->ops->cancel(s->server, of_queue, &index);
		pthread_mutex_lock(&s->lock);
		if (is_served(s, index))
			pthread_cond_timedwait(&s->idle, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	if (index >= 0)
		return;
	loop_del(&dev->loop, &s->finished);
	s->watched = false;
	s->server->ops->reset(s->server);
}

bool share_busy(const struct virtio_dev *dev)
{
	struct virtio_share *s = share_of((struct virtio_dev *)(uintptr_t)dev);
	bool ret;

	pthread_mutex_lock(&s->lock);
	ret = s->n_busy;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

/* Those who wait for locks go on waiting: nobody looks whether they may have them. */
void share_hold(struct virtio_dev *dev, bool on)
{
	struct virtio_share *s = share_of(dev);

	pthread_mutex_lock(&s->lock);
	s->held = on;
	while (on && s->n_busy)
		pthread_cond_wait(&s->idle, &s->lock);
	if (!on)
		wake_one(s);
	pthread_mutex_unlock(&s->lock);
}

/* ---- set-up ---- */

int share_activate(struct virtio_dev *dev)
{
	struct virtio_share *s = share_of(dev);
	int err;

	pthread_mutex_lock(&s->lock);
	s->held = dev->parked;
	pthread_mutex_unlock(&s->lock);
	err = s->server ? loop_add(&dev->loop, &s->finished, EPOLLIN) : -ENODEV;
	s->watched = !err;
	return err;
}
void share_reset(struct virtio_dev *dev)
{
	struct virtio_share *s = share_of(dev);

	if (s->watched)
		loop_del(&dev->loop, &s->finished);
	s->watched = false;
}

static int waits_init(struct virtio_share *s)
{
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->idle);
	s->finished.ready = some_finished;
	s->finished.fd = event_open(0);
	s->wake = event_open(0);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0)
		return -errno;
	if (s->finished.fd < 0 || s->wake < 0)
		return s->wake < 0 ? s->wake : s->finished.fd;
	return share_watch(&s->dev, s->wake, true);
}

int virtio_share_init(struct virtio_share *s, struct file_server *server)
{
	int err, err2;

	s->server = server;
	err = waits_init(s);
	err2 = virtio_init(&s->dev);
	if (!err)
		err = err2;
	return !err && server ? threads_start(s) : err;
}

void virtio_share_fini(struct virtio_share *s)
{
	const int fds[] = { s->finished.fd, s->wake, s->epoll };

	threads_end(s);
	virtio_fini(&s->dev);
	for (unsigned i = 0; i < s->n_all; i++) {
		free(s->all[i]->chain);
		free(s->all[i]);
	}
	if (s->server)
		s->server->ops->free(s->server);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
}
