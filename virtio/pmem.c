/* Persistent memory; see lkvm/virtio-pmem.h. */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_pmem.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/types.h"
#include "lkvm/virtio-pmem.h"

#define QUEUE_SIZE 64
#define FAILED     1 /* 5.19.6.1 */

struct virtio_pmem {
	struct virtio_dev dev;
	struct board board;
	struct pmem *pmem;
	int slot; /* of the board's memory; -1: none */
	struct virtio_pmem_config config;
	/* The worker's: who waits for one flush */
	unsigned n;
	struct {
		uint64_t token;
		struct iovec answer[sizeof(uint32_t)];
		unsigned n_answer;
	} waits[QUEUE_SIZE];
};

static struct virtio_pmem *pmem_of(const struct virtio_dev *dev)
{
	return container_of((struct virtio_dev *)(uintptr_t)dev, struct virtio_pmem, dev);
}

/* One for all that came until now. */
static void commit(struct virtio_dev *dev)
{
	struct virtio_pmem *p = pmem_of(dev);
	uint32_t result;

	if (!p->n)
		return;
	result = htole32(pmem_flush(p->pmem) ? FAILED : 0);
	for (unsigned i = 0; i < p->n; i++) {
		for (unsigned j = 0, at = 0; j < p->waits[i].n_answer; at += (unsigned)p->waits[i].answer[j++].iov_len)
			memcpy(p->waits[i].answer[j].iov_base, (const char *)&result + at, p->waits[i].answer[j].iov_len);
		virtio_push(dev, 0, p->waits[i].token, sizeof(result));
	}
	p->n = 0;
}

static void handle(struct virtio_dev *dev, unsigned index)
{
	struct virtio_pmem *p = pmem_of(dev);
	const struct virtq_chain *chain = dev->chain;
	const uint32_t failed = htole32(FAILED);
	struct virtio_pmem_req req;

	if (chain->out_bytes != sizeof(req) || chain->in_bytes != sizeof(struct virtio_pmem_resp)) {
		virtio_break(dev, "a request of %llu bytes with room for %llu", (unsigned long long)chain->out_bytes,
			     (unsigned long long)chain->in_bytes);
		return;
	}
	virtq_read(chain, 0, &req, sizeof(req));
	if (le32toh(req.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH) {
		virtq_write(chain, 0, &failed, sizeof(failed));
		virtio_push(dev, index, chain->token, sizeof(failed));
		return;
	}
	if (p->n == QUEUE_SIZE)
		commit(dev);
	p->waits[p->n].token = chain->token;
	/* As many buffers as there are bytes, at most */
	p->waits[p->n].n_answer = (unsigned)virtq_slice(chain, true, 0, sizeof(uint32_t), p->waits[p->n].answer, sizeof(uint32_t));
	p->n++;
}

static void kick(struct virtio_dev *dev, unsigned index)
{
	virtio_serve(dev, index, handle);
}

static void drain(struct virtio_dev *dev, int index)
{
	(void)index;
	commit(dev);
}

static uint64_t config_read(struct virtio_dev *dev, unsigned off, unsigned width)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)&pmem_of(dev)->config + off, width);
	return le64toh(value);
}

static bool mend(struct virtio_dev *dev)
{
	return pmem_mend(pmem_of(dev)->pmem);
}

static const struct virtio_type pmem_type = {
	.name = "pmem",
	.id = VIRTIO_ID_PMEM,
	.queue_size = QUEUE_SIZE,
	.kick = kick,
	.commit = commit,
	.drain = drain,
	.config_read = config_read,
	.mend = mend,
};

static int put_in_guest(struct virtio_pmem *p, gpa_t at, uint64_t bytes)
{
	if (!p->pmem)
		return 0;
	p->slot = p->board.ops->memory_add(p->board.ctx, p->dev.name, at.v, p->pmem->host, bytes, p->pmem->cfg.read_only);
	return p->slot < 0 ? p->slot : 0;
}

int virtio_pmem_new(const struct ram *ram, const char *name, const struct board *board, struct pmem *pmem, gpa_t at,
		    uint64_t bytes, struct virtio_dev **ret)
{
	struct virtio_pmem *p = calloc(1, sizeof(*p));
	int err;

	if (!p) {
		pmem_close(pmem);
		return -ENOMEM;
	}
	p->board = *board;
	p->pmem = pmem;
	p->slot = -1;
	p->config.start = htole64(at.v);
	p->config.size = htole64(bytes);
	p->dev.type = &pmem_type;
	p->dev.name = name;
	p->dev.ram = ram;
	p->dev.n_queues = 1;
	p->dev.config_bytes = sizeof(p->config);
	err = virtio_init(&p->dev);
	if (!err)
		err = put_in_guest(p, at, bytes);
	if (err)
		virtio_pmem_free(&p->dev);
	else
		*ret = &p->dev;
	return err;
}

void virtio_pmem_free(struct virtio_dev *dev)
{
	struct virtio_pmem *p;

	if (!dev)
		return;
	p = pmem_of(dev);
	virtio_fini(dev);
	if (p->slot >= 0)
		p->board.ops->memory_remove(p->board.ctx, (unsigned)p->slot);
	pmem_close(p->pmem);
	free(p);
}
