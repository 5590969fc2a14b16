/*
 * What the devices share that give the guest a folder (s.c, p9.c): requests between the rings and a
 * file server of fs/, on threads. See share-internal.h.
 *
 *	ring -> FREE: PENDING -> a thread: SERVED -> server -> DONE -> worker: push, FREE -> ring
 *
 * The threads (s/NAME.N) are started with the machine and wait for requests. One that waits for a
 * lock stays SERVED without a thread. How many are off the rings is bounded; a queue that is left with
 * requests is served again as soon as there is room.
 */
#include "share-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/event.h"

static void list_init(struct request_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void list_add(struct request_list *list, struct share_request *r)
{
	r->next = NULL;
	*list->last = r;
	list->last = &r->next;
}

static struct share_request *list_take(struct request_list *list)
{
	struct share_request *r = list->first;

	if (r)
		list->first = r->next;
	if (!list->first)
		list->last = &list->first;
	return r;
}

/* ---- the threads ---- */

/* Any of them, and the worker */
static void request_done(struct file_request *req, uint32_t written)
{
	struct share_request *r = container_of(req, struct share_request, req);
	struct virtio_share *s = r->share;
	bool first;

	pthread_mutex_lock(&s->lock);
	first = !s->done.first && !r->direct;
	r->state = DONE;
	r->written = written;
	list_add(&s->done, r);
	pthread_mutex_unlock(&s->lock);
	if (first)
		event_signal(s->finished.fd);
}

enum work { NOTHING, REQUEST, CHORES };

/* With the lock held, which it drops meanwhile. Return: what there was to do */
static enum work work(struct virtio_share *s, struct file_worker *worker, bool chores)
{
	struct share_request *r = s->held ? NULL : list_take(&s->pending);

	if (!r && (s->held || !chores))
		return NOTHING;
	s->n_busy++;
	if (r)
		r->state = SERVED;
	pthread_mutex_unlock(&s->lock);
	if (r)
		s->server->ops->serve(s->server, worker, &r->req);
	else
		s->server->ops->chores(s->server);
	pthread_mutex_lock(&s->lock);
	if (!--s->n_busy) {
		pthread_cond_broadcast(&s->idle);
		if (atomic_load(&s->dev.want_hold))
			event_signal(s->finished.fd); /* the worker waits until nobody is busy */
	}
	return r ? REQUEST : CHORES;
}

/* With the lock held: until there is something to do, or it may be time for @chores. */
static void rest(struct virtio_share *s, int chores)
{
	const struct timespec until = clock_at(now_ms() + FILE_CHORES_MS);

	if (chores && !s->held)
		pthread_cond_timedwait(&s->work, &s->lock, &until);
	else
		pthread_cond_wait(&s->work, &s->lock);
}

static void serve_all(struct virtio_share *s, struct file_worker *worker)
{
	enum work did;
	int chores = 0;

	while (!s->end) {
		did = work(s, worker, chores == 1);
		if (did == NOTHING)
			rest(s, chores);
		chores = s->server->ops->has_chores(s->server);
		if (did == NOTHING && chores)
			chores = 1;
		else if (did == REQUEST && chores == 2)
			pthread_cond_signal(&s->work); /* the next one may keep this thread for long */
	}
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
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < SHARE_THREADS; i++)
		thread_join(s->thread[i], -1);
}

/* ---- the worker: taking requests ---- */

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
	return s->free;
}

static void request_free(struct virtio_share *s, struct share_request *r)
{
	r->state = FREE;
	r->next = s->free;
	s->free = r;
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	struct virtio_share *s = share_of(dev);
	struct share_request *r = s->free; /* more() saw it */

	s->free = r->next;
	r->chain = virtio_keep(dev, r->chain);
	r->queue = index;
	r->req = (struct file_request){
		.out = r->chain->iov,
		.n_out = r->chain->n_out,
		.in = r->chain->iov + r->chain->n_out,
		.n_in = r->chain->n_in,
		.done = request_done,
	};
	r->direct = true;
	if (s->server->ops->quick(s->server, &r->req))
		return;
	r->direct = false;
	pthread_mutex_lock(&s->lock);
	r->state = PENDING;
	list_add(&s->pending, r);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

static bool more(struct virtio_dev *dev, unsigned index)
{
	struct virtio_share *s = share_of(dev);

	(void)index;
	s->cut_short = atomic_load(&dev->asked) || !has_room(s);
	return !s->cut_short;
}

void share_kick(struct virtio_dev *dev, unsigned index)
{
	struct virtio_share *s = share_of(dev);

	s->cut_short = false;
	virtio_serve_while(dev, index, more, handle);
	if (!s->cut_short)
		return;
	if (has_room(s))
		virtio_again(dev, index);
	else
		s->starved |= 1ULL << index;
}

/* ---- and giving them back ---- */

static void push_done(struct virtio_share *s)
{
	struct share_request *r, *next;
	uint64_t queues = 0;

	pthread_mutex_lock(&s->lock);
	r = s->done.first;
	list_init(&s->done);
	pthread_mutex_unlock(&s->lock);
	for (; r; r = next) {
		next = r->next;
		virtio_push(&s->dev, r->queue, r->chain->token, r->written);
		queues |= 1ULL << r->queue;
		request_free(s, r);
	}
	for (unsigned i = 0; i < s->dev.n_queues; i++)
		if (queues >> i & 1)
			virtio_complete(&s->dev, i);
}

static void feed(struct virtio_share *s)
{
	for (unsigned i = 0; i < s->dev.n_queues; i++) {
		if (!(s->starved >> i & 1) || !has_room(s))
			continue;
		s->starved &= ~(1ULL << i);
		share_kick(&s->dev, i);
	}
}

static void some_finished(struct loop_source *src, uint32_t events)
{
	struct virtio_share *s = container_of(src, struct virtio_share, finished);

	(void)events;
	event_clear(src->fd);
	push_done(s);
	feed(s);
	virtio_idle(&s->dev);
}

/* What the worker did itself; and somebody has to close what was forgotten. */
void share_commit(struct virtio_dev *dev)
{
	struct virtio_share *s = share_of(dev);

	push_done(s);
	if (!s->server->ops->has_chores(s->server))
		return;
	pthread_mutex_lock(&s->lock);
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
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
		if (s->all[i]->state == SERVED && of_queue(&s->all[i]->req, &index))
			return true;
	return false;
}

/* What has not begun is not asked for any more. */
static void drop_pending(struct virtio_share *s, int index)
{
	struct request_list all = s->pending;
	struct share_request *r = all.first, *next;

	list_init(&s->pending);
	for (; r; r = next) {
		next = r->next;
		if (!of_queue(&r->req, &index)) {
			list_add(&s->pending, r);
			continue;
		}
		if (s->server->ops->drop)
			s->server->ops->drop(s->server, &r->req);
		request_free(s, r);
	}
}

/* One that is being served may begin to wait for a lock only now: so they are cancelled again. */
void share_drain(struct virtio_dev *dev, int index)
{
	struct virtio_share *s = share_of(dev);

	pthread_mutex_lock(&s->lock);
	drop_pending(s, index);
	while (is_served(s, index)) {
		const struct timespec until = clock_at(now_ms() + FILE_CHORES_MS);

		pthread_mutex_unlock(&s->lock);
		s->server->ops->cancel(s->server, of_queue, &index);
		pthread_mutex_lock(&s->lock);
		if (is_served(s, index))
			pthread_cond_timedwait(&s->idle, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	push_done(s);
	if (index >= 0) {
		s->starved &= ~(1ULL << index);
		return;
	}
	s->starved = 0;
	loop_del(&dev->loop, &s->finished);
	s->watched = false;
	s->server->ops->reset(s->server);
}

bool share_busy(const struct virtio_dev *dev)
{
	struct virtio_share *s = share_of((struct virtio_dev *)(uintptr_t)dev);
	bool ret;

	pthread_mutex_lock(&s->lock);
	ret = s->pending.first || s->n_busy;
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
		pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	push_done(s);
	if (!on)
		feed(s);
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

static int conds_init(struct virtio_share *s)
{
	list_init(&s->pending);
	list_init(&s->done);
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->work);
	clock_cond_init(&s->idle);
	s->finished.ready = some_finished;
	s->finished.fd = event_open(0);
	return s->finished.fd < 0 ? s->finished.fd : 0;
}

int virtio_share_init(struct virtio_share *s, struct file_server *server)
{
	int err, err2;

	s->server = server;
	err = conds_init(s);
	err2 = virtio_init(&s->dev);
	if (!err)
		err = err2;
	return !err && server ? threads_start(s) : err;
}

void virtio_share_fini(struct virtio_share *s)
{
	virtio_fini(&s->dev);
	threads_end(s);
	for (unsigned i = 0; i < s->n_all; i++) {
		free(s->all[i]->chain);
		free(s->all[i]);
	}
	if (s->server)
		s->server->ops->free(s->server);
	if (s->finished.fd >= 0)
		close(s->finished.fd);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
}
