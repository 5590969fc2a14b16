/* Requests and interrupts of a virtio device, as events; see virtio-trace.h. */
#include "lkvm/virtio-trace.h"

#include <errno.h>
#include <stdlib.h>

#include "lkvm/clock.h"
#include "lkvm/types.h"

/* A request that was popped and not pushed. */
struct traced_request {
	uint64_t id; /* 0: none */
	const char *what;
};

/* Its owner is the queue's: one thread at a time. */
struct traced_queue {
	struct virtq_watch watch;
	struct virtio_trace *trace;
	unsigned index;
	unsigned search; /* where a free request may be */
	struct traced_request request[VIRTQ_MAX_SIZE];
};

struct virtio_trace {
	struct virtio_transport_ops ops; /* the transport's, but for the interrupts */
	const struct virtio_transport_ops *real;
	struct virtio_dev *dev;
	struct trace_track *requests, *interrupts;
	_Atomic(uint64_t) next_id; /* of all queues */
	struct traced_queue *queue;
};

static void put(struct trace_track *track, const struct virtio_dev *dev, struct trace_event *event)
{
	event->at_ns = now_ns();
	trace_device(event, dev->name);
	trace_put(track, event);
}

/* ---- interrupts ---- */

static const struct trace_kind queue_interrupt = { "interrupt", TRACE_INSTANT, { { "queue", false } } };
static const struct trace_kind config_interrupt = { "interrupt", TRACE_INSTANT, { { NULL, false } } };

static struct virtio_trace *trace_of(const struct virtio_dev *dev)
{
	return (struct virtio_trace *)container_of(dev->transport_ops, struct virtio_trace, ops);
}

static void queue_irq(struct virtio_dev *dev, unsigned index)
{
	struct virtio_trace *trace = trace_of(dev);
	struct trace_event event = { .kind = &queue_interrupt, .what = "interrupt", .arg = { index } };

	put(trace->interrupts, dev, &event);
	trace->real->queue_irq(dev, index);
}

static void config_irq(struct virtio_dev *dev)
{
	struct virtio_trace *trace = trace_of(dev);
	struct trace_event event = { .kind = &config_interrupt, .what = "configuration interrupt" };

	put(trace->interrupts, dev, &event);
	trace->real->config_irq(dev);
}

/* ---- requests ---- */

static const struct trace_kind request_begin = {
	"request", TRACE_BEGIN, { { "queue", false }, { "bytes", false } },
};
static const struct trace_kind disk_request_begin = {
	"request", TRACE_BEGIN, { { "queue", false }, { "bytes", false }, { "sector", false } },
};
static const struct trace_kind request_end = { "request", TRACE_END, { { "written", false } } };
static const struct trace_kind request_cancelled = { "request", TRACE_END, { { "cancelled", false } } };

/* No more chains are out than the ring has entries. */
static unsigned free_number(struct traced_queue *q)
{
	while (q->request[q->search % VIRTQ_MAX_SIZE].id)
		q->search++;
	return q->search++ % VIRTQ_MAX_SIZE;
}

static unsigned popped(struct virtq_watch *watch, const struct virtq_chain *c)
{
	struct traced_queue *q = container_of(watch, struct traced_queue, watch);
	const struct virtio_dev *dev = q->trace->dev;
	struct virtio_asked asked = { .what = "request", .bytes = c->out_bytes + c->in_bytes };
	const unsigned number = free_number(q);
	struct traced_request *r = &q->request[number];
	struct trace_event event;

	if (dev->type->describe)
		dev->type->describe(q->index, c, &asked);
	*r = (struct traced_request){ atomic_fetch_add(&q->trace->next_id, 1), asked.what };
	event = (struct trace_event){
		.kind = asked.has_sector ? &disk_request_begin : &request_begin,
		.what = asked.what,
		.extent = r->id,
		.arg = { q->index, asked.bytes, asked.sector },
	};
	put(q->trace->requests, dev, &event);
	return number + 1;
}

static void end(struct traced_queue *q, struct traced_request *r, const struct trace_kind *kind, uint64_t arg)
{
	struct trace_event event = { .kind = kind, .what = r->what, .extent = r->id, .arg = { arg } };

	put(q->trace->requests, q->trace->dev, &event);
	r->id = 0;
}

static void pushed(struct virtq_watch *watch, unsigned number, uint32_t written)
{
	struct traced_queue *q = container_of(watch, struct traced_queue, watch);

	end(q, &q->request[number - 1], &request_end, written);
}

static void ended(struct virtq_watch *watch)
{
	struct traced_queue *q = container_of(watch, struct traced_queue, watch);

	for (unsigned i = 0; i < VIRTQ_MAX_SIZE; i++)
		if (q->request[i].id)
			end(q, &q->request[i], &request_cancelled, 1);
}

/* ---- life ---- */

static void attach(struct virtio_trace *trace)
{
	struct virtio_dev *dev = trace->dev;

	trace->real = dev->transport_ops;
	trace->ops = *dev->transport_ops;
	trace->ops.queue_irq = queue_irq;
	trace->ops.config_irq = config_irq;
	for (unsigned i = 0; i < dev->n_queues; i++) {
		trace->queue[i] = (struct traced_queue){ .watch = { popped, pushed, ended }, .trace = trace, .index = i };
		dev->queue[i].watch = &trace->queue[i].watch;
	}
	virtio_attach(dev, &trace->ops, dev->transport);
}

int virtio_trace_new(struct virtio_dev *dev, unsigned number, struct trace_track *requests,
		     struct trace_track *interrupts, struct virtio_trace **ret)
{
	struct virtio_trace *trace = calloc(1, sizeof(*trace));

	if (!trace)
		return -ENOMEM;
	trace->queue = calloc(dev->n_queues, sizeof(*trace->queue));
	if (!trace->queue) {
		free(trace);
		return -ENOMEM;
	}
	trace->dev = dev;
	trace->requests = requests;
	trace->interrupts = interrupts;
	/* A viewer knows a request by category and id alone. Those of a device are apart from all others'. */
	atomic_init(&trace->next_id, (number + 1ULL) << 48);
	attach(trace);
	*ret = trace;
	return 0;
}

void virtio_trace_free(struct virtio_trace *trace)
{
	struct virtio_dev *dev;

	if (!trace)
		return;
	dev = trace->dev;
	for (unsigned i = 0; i < dev->n_queues; i++) {
		dev->queue[i].watch = NULL;
		if (dev->queue[i].vq.watch)
			virtq_watch(&dev->queue[i].vq, NULL);
	}
	virtio_attach(dev, trace->real, dev->transport);
	free(trace->queue);
	free(trace);
}
