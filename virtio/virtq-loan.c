/*
 * Buffers in memory beside RAM: the window into files of a virtio-fs device, which the host's owner of a
 * file, or the driver, may take away while a request is in flight. What is touched there would end the
 * process. So the device is lent memory for them, and what is in it is copied by who finds out.
 *
 *	pop   virtq_lend() for each, virtq_lend_chain(): map, copy what the device is to read
 *	push  virtq_take_back(): copy what it has written, unmap
 *
 * All of it lies in one mapping, zeros at first: the driver sees nothing that was there before, and the
 * host gets it back at once. A queue lends VIRTQ_MAX_LOAN bytes at most; a chain for which not enough is
 * left stays in the ring until others have come back.
 */
#include "virtq-ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* One buffer, as the driver has it. */
struct part {
	gpa_t at;
	uint32_t len;
	uint32_t i; /* its place in the chain */
};

struct loan {
	uint8_t *memory; /* all buffers behind one another */
	size_t bytes;
	uint64_t in_bytes; /* of the chain */
	unsigned n;
	struct lent {
		gpa_t at;
		uint32_t len;
		bool writable;
		uint64_t from; /* writable: which of the chain's writable bytes is its first */
	} lent[];
};

/* Made when the first loan is. */
struct virtq_lender {
	uint64_t bytes; /* lent */
	unsigned n;     /* of the chain that is being built */
	struct part part[VIRTQ_MAX_SEGS];
	struct loan *loan[VIRTQ_MAX_SIZE];
};

int virtq_lend(struct virtq *q, unsigned i, uint64_t addr, uint32_t len, bool writable)
{
	if (!ram_beside_has(q->ram, GPA(addr), len, writable))
		return -EFAULT;
	if (!q->lender)
		q->lender = calloc(1, sizeof(*q->lender));
	if (!q->lender)
		return -ENOMEM;
	q->lender->part[q->lender->n++] = (struct part){ GPA(addr), len, i };
	return 0;
}

/* ---- making one ---- */

static int loan_new(const struct virtq_lender *lender, uint64_t bytes, struct loan **ret)
{
	struct loan *loan = malloc(sizeof(*loan) + lender->n * sizeof(loan->lent[0]));

	if (!loan)
		return -ENOMEM;
	*loan = (struct loan){ .bytes = bytes, .n = lender->n };
	loan->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (loan->memory == MAP_FAILED) {
		free(loan);
		return -ENOMEM;
	}
	*ret = loan;
	return 0;
}

static void loan_free(struct loan *loan)
{
	if (!loan)
		return;
	munmap(loan->memory, loan->bytes);
	free(loan);
}

/* The chain's buffers that wait for memory get it; @loan knows what they are. */
static void hand_out(const struct virtq_lender *lender, struct loan *loan, struct virtq_chain *c)
{
	uint8_t *next = loan->memory;
	uint64_t from = 0;
	unsigned n = 0;

	loan->in_bytes = c->in_bytes;
	for (unsigned i = 0; i < c->n_out + c->n_in; i++) {
		const bool writable = i >= c->n_out;

		if (n < lender->n && lender->part[n].i == i) {
			loan->lent[n] = (struct lent){ lender->part[n].at, lender->part[n].len, writable, from };
			c->iov[i].iov_base = next;
			next += lender->part[n++].len;
		}
		from += writable ? c->iov[i].iov_len : 0;
	}
}

static bool is_last(const struct loan *loan, const struct lent *lent)
{
	return lent->writable && lent->from + lent->len == loan->in_bytes;
}

/* The last byte too: it will be copied back, and the device need not have written it. */
static int copy_in(const struct virtq *q, const struct loan *loan)
{
	uint8_t *memory = loan->memory;
	int err = 0;

	for (unsigned i = 0; !err && i < loan->n; memory += loan->lent[i++].len) {
		const struct lent *lent = &loan->lent[i];
		const uint32_t skip = lent->writable ? lent->len - 1 : 0;

		if (!lent->writable || is_last(loan, lent))
			err = ram_beside_read(q->ram, GPA(lent->at.v + skip), memory + skip, lent->len - skip);
	}
	return err;
}

/* No more chains are out than the ring has entries. */
static unsigned free_number(const struct virtq_lender *lender)
{
	unsigned n = 0;

	while (lender->loan[n])
		n++;
	return n;
}

static uint64_t all_bytes(const struct virtq_lender *lender)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < lender->n; i++)
		bytes += lender->part[i].len;
	return bytes;
}

static int lend(struct virtq *q, struct virtq_chain *c)
{
	struct virtq_lender *lender = q->lender;
	const uint64_t bytes = all_bytes(lender);
	struct loan *loan;
	unsigned n;
	int err;

	if (bytes > VIRTQ_MAX_LOAN)
		return -E2BIG;
	if (bytes > VIRTQ_MAX_LOAN - lender->bytes)
		return -EAGAIN;
	err = loan_new(lender, bytes, &loan);
	if (err)
		return err;
	hand_out(lender, loan, c);
	err = copy_in(q, loan);
	if (err) {
		loan_free(loan);
		return err;
	}
	n = free_number(lender);
	lender->loan[n] = loan;
	lender->bytes += bytes;
	c->token = LOAN_TOKEN(n + 1);
	return 0;
}

int virtq_lend_chain(struct virtq *q, struct virtq_chain *c)
{
	int err = lend(q, c);

	q->lender->n = 0;
	return err;
}

/* ---- and its end ---- */

/* The first @written bytes, and the last one. */
static int copy_back_one(const struct virtq *q, const struct loan *loan, const struct lent *lent,
			 const uint8_t *memory, uint64_t written)
{
	uint64_t len = written > lent->from ? written - lent->from : 0;
	int err = 0;

	if (len > lent->len)
		len = lent->len;
	if (len)
		err = ram_beside_write(q->ram, lent->at, memory, len);
	if (!err && len < lent->len && is_last(loan, lent))
		err = ram_beside_write(q->ram, GPA(lent->at.v + lent->len - 1), memory + lent->len - 1, 1);
	return err;
}

static int copy_back(const struct virtq *q, const struct loan *loan, uint64_t written)
{
	const uint8_t *memory = loan->memory;
	int err = 0;

	for (unsigned i = 0; !err && i < loan->n; memory += loan->lent[i++].len)
		if (loan->lent[i].writable)
			err = copy_back_one(q, loan, &loan->lent[i], memory, written);
	return err;
}

int virtq_take_back(struct virtq *q, unsigned number, uint32_t written)
{
	struct virtq_lender *lender = q->lender;
	const bool starved = q->starved;
	struct loan *loan;
	int err;

	assert(lender && number <= VIRTQ_MAX_SIZE && lender->loan[number - 1]);
	loan = lender->loan[number - 1];
	err = copy_back(q, loan, written);
	lender->loan[number - 1] = NULL;
	lender->bytes -= loan->bytes;
	loan_free(loan);
	q->starved = false;
	if (err)
		q->broken = err;
	return err ? err : starved;
}

void virtq_fini(struct virtq *q)
{
	for (unsigned i = 0; q->lender && i < VIRTQ_MAX_SIZE; i++)
		loan_free(q->lender->loan[i]);
	free(q->lender);
	q->lender = NULL;
	if (q->watch)
		q->watch->ended(q->watch);
	q->watch = NULL;
}
