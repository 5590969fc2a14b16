/* The memory balloon; see lkvm/virtio-balloon.h. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "balloon-internal.h"
#include "lkvm/event.h"

/* Reporting of Linux wants 32 at least. */
#define QUEUE_SIZE 128

/* 5.5.2. Which others there are depends on what was negotiated: more() */
enum { INFLATE_QUEUE, DEFLATE_QUEUE, STATS_QUEUE, N_QUEUES = 5 };

/* Of virtio 1.3, which this host's headers may not have yet */
enum {
	STAT_OOM_KILL = 10,
	STAT_ALLOC_STALL,
	STAT_ASYNC_SCAN,
	STAT_DIRECT_SCAN,
	STAT_ASYNC_RECLAIM,
	STAT_DIRECT_RECLAIM,
};
_Static_assert(STAT_DIRECT_RECLAIM < BALLOON_STATS, "each has a place");

static void tell_watcher(struct virtio_balloon *b)
{
	const int fd = atomic_load(&b->watch_fd);

	if (fd >= 0)
		event_signal(fd);
}

/* ---- pages that come and go ---- */

static int by_number(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Of dev->chain. Return: how many there are; 0: none, or the device is broken */
static unsigned take_pages(struct virtio_balloon *b)
{
	struct virtio_dev *dev = &b->dev;
	const struct virtq_chain *chain = dev->chain;
	const unsigned n = (unsigned)(chain->out_bytes / sizeof(b->page[0]));

	if (chain->n_in || chain->out_bytes % sizeof(b->page[0]) || chain->out_bytes > sizeof(b->page)) {
		virtio_break(dev, "a list of pages of %llu bytes, %u writable buffers",
			     (unsigned long long)chain->out_bytes, chain->n_in);
		return 0;
	}
	virtq_read(chain, 0, b->page, chain->out_bytes);
	for (unsigned i = 0; i < n; i++) {
		b->page[i] = le32toh(b->page[i]);
		if (!ram_host(b->ram, GPA((uint64_t)b->page[i] * BALLOON_PAGE_BYTES), BALLOON_PAGE_BYTES)) {
			virtio_break(dev, "page 0x%x is no RAM", b->page[i]);
			return 0;
		}
	}
	return n;
}

/* As few calls as there are runs. That the host keeps a page is no matter to the guest. */
static void drop_pages(struct virtio_balloon *b, unsigned n)
{
	unsigned first = 0;

	qsort(b->page, n, sizeof(b->page[0]), by_number);
	for (unsigned i = 1; i <= n; i++) {
		if (i < n && b->page[i] - b->page[i - 1] <= 1)
			continue;
		ram_drop(b->ram, GPA((uint64_t)b->page[first] * BALLOON_PAGE_BYTES),
			 (b->page[i - 1] - b->page[first] + 1ULL) * BALLOON_PAGE_BYTES);
		first = i;
	}
}

static void inflate(struct virtio_dev *dev, unsigned index)
{
	struct virtio_balloon *b = balloon_of(dev);
	const unsigned n = take_pages(b);

	if (dev->needs_reset)
		return;
	drop_pages(b, n);
	virtio_push(dev, index, dev->chain->token, 0);
}

/* What is touched is there again: 5.5.6, without MUST_TELL_HOST the driver needs not even tell. */
static void deflate(struct virtio_dev *dev, unsigned index)
{
	take_pages(balloon_of(dev));
	if (!dev->needs_reset)
		virtio_push(dev, index, dev->chain->token, 0);
}

/* ---- what is free: 5.5.6.8 ---- */

/* What the driver thinks to be in a free page stays there, or nobody cares; 5.5.6.9 */
static int give_back(struct virtio_balloon *b, gpa_t at, uint64_t bytes)
{
	if (!virtio_has(&b->dev, VIRTIO_BALLOON_F_PAGE_POISON))
		return ram_drop(b->ram, at, bytes);
	return atomic_load(&b->poison) ? -EPERM : ram_discard(b->ram, at, bytes);
}

static void report(struct virtio_dev *dev, unsigned index)
{
	struct virtio_balloon *b = balloon_of(dev);
	const struct virtq_chain *chain = dev->chain;
	gpa_t at;

	if (chain->n_out) {
		virtio_break(dev, "free pages in readable buffers");
		return;
	}
	for (unsigned i = 0; i < chain->n_in; i++) {
		const struct iovec *iov = &chain->iov[i];

		/* Memory beside RAM is not the host's to take: what is here is lent. */
		if (!ram_gpa_of(b->ram, iov->iov_base, &at) && !give_back(b, at, iov->iov_len))
			atomic_fetch_add(&b->reported_bytes, iov->iov_len);
	}
	virtio_push(dev, index, chain->token, 0);
}

/* ---- statistics: 5.5.6.3 ---- */

/* On the worker: the driver fills its buffer and sends it again. */
static void return_buffer(struct virtio_balloon *b)
{
	if (b->dev.parked || !atomic_exchange(&b->asked, false) || !b->has_buffer)
		return;
	b->has_buffer = false;
	virtio_push(&b->dev, STATS_QUEUE, b->buffer, 0);
	virtio_complete(&b->dev, STATS_QUEUE);
}

static void take_stats(struct virtio_balloon *b)
{
	struct virtio_balloon_stat stat;

	pthread_mutex_lock(&b->lock);
	b->stats = 0;
	/* As many as there are kinds; what is behind them is of none that is known here, or comes again. */
	for (unsigned i = 0; i < 2 * BALLOON_STATS; i++) {
		if (virtq_read(b->dev.chain, i * sizeof(stat), &stat, sizeof(stat)) != sizeof(stat))
			break;
		const unsigned tag = le16toh(stat.tag);

		if (tag >= BALLOON_STATS)
			continue;
		b->stats |= 1U << tag;
		b->stat[tag] = le64toh(stat.val);
	}
	b->n_stats++;
	pthread_mutex_unlock(&b->lock);
}

static void stats(struct virtio_dev *dev, unsigned index)
{
	struct virtio_balloon *b = balloon_of(dev);

	(void)index;
	if (b->has_buffer || dev->chain->n_in) {
		virtio_break(dev, b->has_buffer ? "a second buffer for statistics" : "statistics in writable buffers");
		return;
	}
	take_stats(b);
	b->has_buffer = true;
	b->buffer = dev->chain->token;
	tell_watcher(b);
}

static void wants_stats(struct loop_source *src, uint32_t events)
{
	(void)events;
	event_clear(src->fd);
	return_buffer(container_of(src, struct virtio_balloon, ask));
}

/* ---- the device ---- */

static void refuse(struct virtio_dev *dev, unsigned index)
{
	virtio_break(dev, "queue %u is of no feature that was negotiated", index);
}

/*
 * By the text the queue for hints has number 3 and that for free pages 4. Drivers and devices that are around count only
 * those queues that were negotiated, so they may have 2 and 3. Where two could be 3, it is that of free pages if there
 * is a 2, which the text has for statistics only.
 */
static bool is_for_hints(const struct virtio_dev *dev, unsigned index)
{
	const bool stats = virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ);

	if (!virtio_has(dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT) || index == N_QUEUES - 1)
		return false;
	return index == STATS_QUEUE || stats || !virtio_has(dev, VIRTIO_BALLOON_F_REPORTING) ||
	       atomic_load(&dev->queue[STATS_QUEUE].state) == VIRTIO_QUEUE_OFF;
}

static void more(struct virtio_dev *dev, unsigned index)
{
	if (index == STATS_QUEUE && virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ))
		virtio_serve(dev, index, stats);
	else if (is_for_hints(dev, index))
		virtio_serve(dev, index, balloon_hint);
	else if (virtio_has(dev, VIRTIO_BALLOON_F_REPORTING))
		virtio_serve(dev, index, report);
	else
		virtio_serve(dev, index, refuse);
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	if (index == INFLATE_QUEUE)
		virtio_serve(dev, index, inflate);
	else if (index == DEFLATE_QUEUE)
		virtio_serve(dev, index, deflate);
	else
		more(dev, index);
}

static int activate(struct virtio_dev *dev)
{
	struct virtio_balloon *b = balloon_of(dev);

	return loop_add(&dev->loop, &b->ask, EPOLLIN);
}

static void drain(struct virtio_dev *dev, int index)
{
	struct virtio_balloon *b = balloon_of(dev);

	if (index < 0 || index == STATS_QUEUE)
		b->has_buffer = false;
	if (index < 0)
		loop_del(&dev->loop, &b->ask);
}

/* Nothing is ever in flight, and the buffer for statistics is not touched. */
static void hold(struct virtio_dev *dev, bool on)
{
	if (!on)
		return_buffer(balloon_of(dev));
}

static void reset(struct virtio_dev *dev)
{
	struct virtio_balloon *b = balloon_of(dev);

	b->has_buffer = false;
	atomic_store(&b->asked, false);
	atomic_store(&b->actual, 0);
	atomic_store(&b->poison, 0);
	pthread_mutex_lock(&b->lock);
	b->stats = 0;
	pthread_mutex_unlock(&b->lock);
	balloon_hint_reset(b);
	tell_watcher(b);
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	const struct virtio_balloon *b = balloon_of(dev);
	const struct virtio_balloon_config config = {
		.num_pages = htole32(atomic_load(&b->target)),
		.actual = htole32(atomic_load(&b->actual)),
		.free_page_hint_cmd_id = htole32(atomic_load(&b->hints.command)),
		.poison_val = htole32(atomic_load(&b->poison)),
	};
	uint64_t value = 0;

	memcpy(&value, (const char *)&config + off, width);
	return le64toh(value);
}

static void config_write(struct virtio_dev *dev, unsigned off, unsigned width, uint64_t value)
{
	struct virtio_balloon *b = balloon_of(dev);

	if (width != sizeof(uint32_t))
		return;
	if (off == offsetof(struct virtio_balloon_config, actual)) {
		atomic_store(&b->actual, (uint32_t)value);
		tell_watcher(b);
	} else if (off == offsetof(struct virtio_balloon_config, poison_val) &&
		   virtio_has(dev, VIRTIO_BALLOON_F_PAGE_POISON)) {
		atomic_store(&b->poison, (uint32_t)value);
		if (value)
			balloon_hint_poison(b);
	}
}

static const struct virtio_type balloon_type = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.queue_size = QUEUE_SIZE,
	.activate = activate,
	.kick = kick,
	.drain = drain,
	.hold = hold,
	.reset = reset,
	.config_read = config_read,
	.config_write = config_write,
	.state = &balloon_state_type,
	.retakes = true,
	.only_names = true,
};

const struct opt_key virtio_balloon_keys[] = {
	{ "packed", .kind = KEY_FLAG, .offset = offsetof(struct virtio_balloon_options, packed),
	  .help = "Offer packed virtqueues, for the development of drivers." },
	KEYS_END,
};

int virtio_balloon_new(struct ram *ram, const char *name, const struct virtio_balloon_options *options,
		       struct virtio_dev **ret)
{
	struct virtio_balloon *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return -ENOMEM;
	b->ram = ram;
	b->ask = (struct loop_source){ event_open(0), wants_stats };
	b->watch_fd = b->hints.told_fd = -1;
	pthread_mutex_init(&b->lock, NULL);
	b->dev.type = &balloon_type;
	b->dev.name = name;
	b->dev.ram = ram;
	b->dev.n_queues = N_QUEUES;
	b->dev.config_bytes = sizeof(struct virtio_balloon_config);
	b->dev.device_features = 1ULL << VIRTIO_BALLOON_F_STATS_VQ | 1ULL << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				 1ULL << VIRTIO_BALLOON_F_PAGE_POISON | 1ULL << VIRTIO_BALLOON_F_REPORTING |
				 1ULL << VIRTIO_BALLOON_F_FREE_PAGE_HINT;
	if (options->packed)
		b->dev.device_features |= 1ULL << VIRTIO_F_RING_PACKED;
	err = virtio_init(&b->dev);
	if (!err && b->ask.fd < 0)
		err = b->ask.fd;
	if (err) {
		virtio_balloon_free(&b->dev);
		return err;
	}
	*ret = &b->dev;
	return 0;
}

void virtio_balloon_free(struct virtio_dev *dev)
{
	struct virtio_balloon *b;

	if (!dev)
		return;
	b = balloon_of(dev);
	virtio_fini(dev);
	if (b->ask.fd >= 0)
		close(b->ask.fd);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* ---- for who asks: main thread ---- */

void virtio_balloon_set(struct virtio_dev *dev, uint64_t bytes)
{
	virtio_config_begin(dev);
	atomic_store(&balloon_of(dev)->target, (unsigned)(bytes / BALLOON_PAGE_BYTES));
	virtio_config_end(dev);
}

void virtio_balloon_view(struct virtio_dev *dev, struct balloon_view *ret)
{
	struct virtio_balloon *b = balloon_of(dev);
	const uint64_t actual = atomic_load(&b->actual) * (uint64_t)BALLOON_PAGE_BYTES;

	*ret = (struct balloon_view){
		.ram_bytes = ram_bytes(b->ram),
		.target_bytes = atomic_load(&b->target) * (uint64_t)BALLOON_PAGE_BYTES,
		.reported_bytes = atomic_load(&b->reported_bytes),
		.driver = (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK) && !dev->needs_reset,
	};
	ret->actual_bytes = actual < ret->ram_bytes ? actual : ret->ram_bytes;
	ret->answers = ret->driver && virtio_has(dev, VIRTIO_BALLOON_F_STATS_VQ);
	pthread_mutex_lock(&b->lock);
	ret->n_stats = b->n_stats;
	ret->stats = b->stats;
	memcpy(ret->stat, b->stat, sizeof(ret->stat));
	pthread_mutex_unlock(&b->lock);
}

void virtio_balloon_ask(struct virtio_dev *dev)
{
	struct virtio_balloon *b = balloon_of(dev);

	atomic_store(&b->asked, true);
	event_signal(b->ask.fd);
}

void virtio_balloon_watch(struct virtio_dev *dev, int fd)
{
	atomic_store(&balloon_of(dev)->watch_fd, fd);
}

const char *virtio_balloon_stat_name(unsigned tag)
{
	static const char *const names[BALLOON_STATS] = {
		[VIRTIO_BALLOON_S_SWAP_IN] = "swap_in_bytes",
		[VIRTIO_BALLOON_S_SWAP_OUT] = "swap_out_bytes",
		[VIRTIO_BALLOON_S_MAJFLT] = "major_faults",
		[VIRTIO_BALLOON_S_MINFLT] = "minor_faults",
		[VIRTIO_BALLOON_S_MEMFREE] = "free_bytes",
		[VIRTIO_BALLOON_S_MEMTOT] = "total_bytes",
		[VIRTIO_BALLOON_S_AVAIL] = "available_bytes",
		[VIRTIO_BALLOON_S_CACHES] = "cache_bytes",
		[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "huge_page_allocations",
		[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "huge_page_failures",
		[STAT_OOM_KILL] = "oom_kills",
		[STAT_ALLOC_STALL] = "allocation_stalls",
		[STAT_ASYNC_SCAN] = "scanned_pages",
		[STAT_DIRECT_SCAN] = "directly_scanned_pages",
		[STAT_ASYNC_RECLAIM] = "reclaimed_pages",
		[STAT_DIRECT_RECLAIM] = "directly_reclaimed_pages",
	};

	return tag < BALLOON_STATS ? names[tag] : NULL;
}
