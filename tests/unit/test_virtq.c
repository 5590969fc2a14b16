/* Links: virtio/virtq.o virtio/virtq-packed.o virtio/virtq-split.o hw/ram.o tests/unit/fake-ring.o */

/* What both ring formats have in common, and the split ring. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virtq-rig.h"

#define RAM_BYTES (RIG_MIB * MIB)

static struct rig r;

static const uint64_t formats[] = {
	0,
	FAKE_EVENT_IDX,
	FAKE_INDIRECT,
	FAKE_EVENT_IDX | FAKE_INDIRECT,
	FAKE_PACKED,
	FAKE_PACKED | FAKE_EVENT_IDX,
	FAKE_PACKED | FAKE_INDIRECT,
	FAKE_PACKED | FAKE_EVENT_IDX | FAKE_INDIRECT,
};

/* ---- both formats ---- */

START_TEST(test_init)
{
	static const struct {
		uint64_t size, desc, avail, used;
		int split, packed;
	} table[] = {
		{ 8, 0x1000, 0x2000, 0x3000, 0, 0 },
		{ 1, 0x1000, 0x2000, 0x3000, 0, 0 },
		{ 1024, 0x10000, 0x20000, 0x30000, 0, 0 },
		{ 0, 0x1000, 0x2000, 0x3000, -EINVAL, -EINVAL },
		{ 3, 0x1000, 0x2000, 0x3000, -EINVAL, 0 },
		{ 1025, 0x10000, 0x20000, 0x30000, -EINVAL, -EINVAL },
		{ 2048, 0x10000, 0x20000, 0x30000, -EINVAL, -EINVAL },
		{ 32768, 0x10000, 0x20000, 0x30000, -EINVAL, -EINVAL },
		/* alignment */
		{ 8, 0x1008, 0x2000, 0x3000, -EINVAL, -EINVAL },
		{ 8, 0x1000, 0x2001, 0x3000, -EINVAL, -EINVAL },
		{ 8, 0x1000, 0x2002, 0x3000, 0, -EINVAL },
		{ 8, 0x1000, 0x2000, 0x3002, -EINVAL, -EINVAL },
		/* the last bytes of RAM, and one step further */
		{ 8, RAM_BYTES - 128, 0x2000, 0x3000, 0, 0 },
		{ 8, RAM_BYTES - 112, 0x2000, 0x3000, -EFAULT, -EFAULT },
		{ 8, 0x1000, RAM_BYTES - 22, 0x3000, 0, -EINVAL },
		{ 8, 0x1000, RAM_BYTES - 20, 0x3000, -EFAULT, 0 },
		{ 8, 0x1000, RAM_BYTES - 4, 0x3000, -EFAULT, 0 },
		{ 8, 0x1000, RAM_BYTES, 0x3000, -EFAULT, -EFAULT },
		{ 8, 0x1000, 0x2000, RAM_BYTES - 72, 0, 0 },
		{ 8, 0x1000, 0x2000, RAM_BYTES - 68, -EFAULT, 0 },
		{ 8, 0x1000, 0x2000, RAM_BYTES, -EFAULT, -EFAULT },
		/* the sum wraps */
		{ 8, UINT64_MAX - 15, 0x2000, 0x3000, -EFAULT, -EFAULT },
		{ 8, 0x1000, UINT64_MAX - 3, 0x3000, -EFAULT, -EFAULT },
		{ 8, 0x1000, 0x2000, UINT64_MAX - 3, -EFAULT, -EFAULT },
	};

	fake_init(&r.d, RIG_MIB);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		struct virtq_setup s = {
			.size = (uint16_t)table[i / 2].size,
			.desc = GPA(table[i / 2].desc),
			.avail = GPA(table[i / 2].avail),
			.used = GPA(table[i / 2].used),
			.packed = i % 2,
		};
		int want = i % 2 ? table[i / 2].packed : table[i / 2].split;

		ck_assert_msg(virtq_init(&r.vq, r.d.ram, &s) == want, "line %zu", i / 2);
		if (!want)
			continue;
		/* Nothing touches a ring that is not there. */
		virtq_notify_off(&r.vq);
		ck_assert(!virtq_flush(&r.vq));
		rig_broken(&r, want);
	}
	fake_fini(&r.d);
}
END_TEST

static void check_chain(bool indirect)
{
	struct fake_buf bufs[] = {
		FAKE_OUT(r.buf, 16),
		FAKE_OUT(rig_buf(&r, 100), 7),
		FAKE_IN(rig_buf(&r, 4096), 512),
		FAKE_IN(rig_buf(&r, 200), 1),
	};
	uint32_t written = 0;
	uint64_t token;
	int id = indirect ? fake_add_indirect(&r.q, bufs, 4) : fake_add(&r.q, bufs, 4);

	token = rig_pop(&r, 2, 2);
	ck_assert_uint_eq(r.c.out_bytes, 23);
	ck_assert_uint_eq(r.c.in_bytes, 513);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_ptr_eq(r.c.iov[i].iov_base, fake_at(&r.d, bufs[i].at));
		ck_assert_uint_eq(r.c.iov[i].iov_len, bufs[i].len);
	}
	ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
	/* Given back, but the driver does not see it before the flush. */
	virtq_push(&r.vq, token, 99);
	ck_assert_int_eq(fake_used(&r.q, &written), -1);
	virtq_flush(&r.vq);
	ck_assert_int_eq(fake_used(&r.q, &written), id);
	ck_assert_uint_eq(written, 99);
	ck_assert_int_eq(fake_used(&r.q, &written), -1);
}

START_TEST(test_chain)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 8, formats[i]);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
		check_chain(false);
		if (formats[i] & FAKE_INDIRECT)
			check_chain(true);
		check_chain(false);
		rig_fini(&r);
	}
}
END_TEST

/* Chains of 1 to 5 buffers; up to half of them are out, the others come back in another order. */
static void churn(uint16_t size, unsigned rounds)
{
	unsigned seed = size, n_out = 0;
	uint64_t out[VIRTQ_MAX_SIZE];
	uint32_t out_len[VIRTQ_MAX_SIZE];
	uint32_t len[VIRTQ_MAX_SIZE], written;
	int id;

	for (unsigned i = 0; i < rounds; i++) {
		struct fake_buf bufs[5];
		unsigned n = 1 + (seed >> 16) % 5;

		seed = seed * 1103515245 + 12345;
		for (unsigned j = 0; j < n; j++)
			bufs[j] = FAKE_IN(rig_buf(&r, j), n);
		while ((id = fake_add(&r.q, bufs, n)) >= 0)
			len[id] = n * n;
		while (virtq_pop(&r.vq, &r.c) == 1) {
			ck_assert_uint_eq(r.c.in_bytes, r.c.n_in * (r.c.n_in));
			out_len[n_out] = (uint32_t)r.c.in_bytes;
			out[n_out++] = r.c.token;
		}
		ck_assert_int_eq(r.vq.broken, 0);
		while (n_out > size / 4U) {
			unsigned pick = (seed >> 8) % n_out;

			virtq_push(&r.vq, out[pick], out_len[pick]);
			out[pick] = out[--n_out];
			out_len[pick] = out_len[n_out];
			seed = seed * 1103515245 + 12345;
		}
		virtq_flush(&r.vq);
		while ((id = fake_used(&r.q, &written)) >= 0)
			ck_assert_uint_eq(written, len[id]);
	}
}

/* Far beyond 2^16 entries. */
START_TEST(test_wrap)
{
	static const uint16_t sizes[] = { 8, 64, 1024, 7, 33 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (!(sizes[i] & (sizes[i] - 1))) {
			rig_init(&r, sizes[i], FAKE_EVENT_IDX);
			churn(sizes[i], 400000 / sizes[i]);
			rig_fini(&r);
		}
		rig_init(&r, sizes[i], FAKE_EVENT_IDX | FAKE_PACKED);
		churn(sizes[i], 50000 / sizes[i]);
		rig_fini(&r);
	}
}
END_TEST

/* In a packed ring the driver's ids are any 16 bits; here, those above the size, up to 0xffff. */
START_TEST(test_large_ids)
{
	static const uint16_t sizes[] = { 1, 7, 64, 1024 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		rig_init(&r, sizes[i], FAKE_PACKED);
		r.q.id_flip = 0xffff;
		churn(sizes[i], 5000 / sizes[i]);
		rig_fini(&r);
	}
}
END_TEST

static bool aborts_at(uint64_t token)
{
	static const struct rlimit no_core;
	int status;
	pid_t pid = fork();

	if (!pid) {
		setrlimit(RLIMIT_CORE, &no_core);
		close(STDERR_FILENO);
		virtq_push(&r.vq, token, 0);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* A device's bug ends lkvm instead of writing where nothing is out. */
START_TEST(test_push_not_out)
{
	for (unsigned i = 0; i < 2; i++) {
		struct fake_buf bufs[3];
		uint64_t gone, out;

		rig_init(&r, 8, i ? FAKE_PACKED : 0);
		bufs[0] = bufs[1] = bufs[2] = FAKE_OUT(r.buf, 16);
		fake_add(&r.q, bufs, 3);
		fake_add(&r.q, bufs, 1);
		gone = rig_pop(&r, 3, 0);
		out = rig_pop(&r, 1, 0);
		virtq_push(&r.vq, gone, 0);
		ck_assert(aborts_at(gone));
		ck_assert(aborts_at(out & 0xffff));
		ck_assert(aborts_at(out | 0xffff0000));
		ck_assert(aborts_at(out | 1ULL << 32)); /* it was lent nothing */
		ck_assert(i || aborts_at(out | 0xffff));
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_one_entry)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 1, formats[i]);
		for (unsigned j = 0; j < 5; j++) {
			virtq_notify_off(&r.vq);
			rig_round(&r, 1);
			ck_assert(!virtq_notify_on(&r.vq));
		}
		rig_fini(&r);
	}
}
END_TEST

/* The text forbids no buffer of zero bytes: it is as if it were not there, wherever it points. */
START_TEST(test_zero_length)
{
	struct fake_buf bufs[] = {
		FAKE_OUT(GPA(UINT64_MAX), 0), FAKE_OUT(r.buf, 16),         FAKE_OUT(GPA(0), 0),
		FAKE_IN(GPA(1ULL << 40), 0),  FAKE_IN(rig_buf(&r, 16), 4), FAKE_IN(GPA(0), 0),
	};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 8, formats[i]);
		bufs[1].at = r.buf;
		bufs[4].at = rig_buf(&r, 16);
		ck_assert_int_ge(fake_add(&r.q, bufs, 6), 0);
		virtq_push(&r.vq, rig_pop(&r, 1, 1), 4);
		ck_assert_uint_eq(r.c.out_bytes, 16);
		ck_assert_uint_eq(r.c.in_bytes, 4);
		ck_assert_int_ge(fake_add(&r.q, bufs, 1), 0);
		rig_pop(&r, 0, 0);
		rig_fini(&r);
	}
}
END_TEST

/* Interrupts without event index: a flag, and nothing to tell when nothing was pushed. */
START_TEST(test_interrupt_flag)
{
	for (unsigned i = 0; i < 2; i++) {
		rig_init(&r, 8, i ? FAKE_PACKED : 0);
		ck_assert(!virtq_flush(&r.vq));
		ck_assert(rig_round(&r, 1));
		ck_assert(!virtq_flush(&r.vq));
		fake_irq_off(&r.q);
		ck_assert(!rig_round(&r, 3));
		fake_irq_on(&r.q, 0);
		ck_assert(rig_round(&r, 3));
		rig_fini(&r);
	}
}
END_TEST

/* With event index: an interrupt if and only if the asked for entry is in the batch. */
START_TEST(test_interrupt_event)
{
	for (unsigned i = 0; i < 2; i++) {
		rig_init(&r, 8, FAKE_EVENT_IDX | (i ? FAKE_PACKED : 0));
		for (unsigned round = 0; round < 12000; round++) {
			unsigned n = 1 + round % 7, after = round / 7 % 8;

			fake_irq_on(&r.q, (uint16_t)after);
			ck_assert_msg(rig_round(&r, n) == (after < n), "format %u round %u", i,
				      round);
			fake_irq_off(&r.q);
			ck_assert(!rig_round(&r, n));
		}
		rig_fini(&r);
	}
}
END_TEST

/* Notifications: off, and on again without losing a chain that came in between. */
START_TEST(test_notify)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 8, formats[i]);
		for (unsigned round = 0; round < 30; round++) {
			ck_assert(!virtq_notify_on(&r.vq));
			ck_assert_int_ge(rig_add(&r), 0);
			ck_assert(fake_must_notify(&r.q));
			virtq_notify_off(&r.vq);
			rig_pop(&r, 1, 0);
			virtq_push(&r.vq, r.c.token, 0);
			for (unsigned n = 0; n < 1 + round % 3; n++)
				ck_assert_int_ge(rig_add(&r), 0);
			ck_assert(!fake_must_notify(&r.q));
			ck_assert(virtq_notify_on(&r.vq));
			while (virtq_pop(&r.vq, &r.c) == 1)
				virtq_push(&r.vq, r.c.token, 0);
			ck_assert(!virtq_notify_on(&r.vq));
			virtq_flush(&r.vq);
			for (uint32_t written; fake_used(&r.q, &written) >= 0;)
				;
		}
		rig_fini(&r);
	}
}
END_TEST

/* Off at a time when one was asked for and has not come yet: the driver is not to send it. */
START_TEST(test_notify_taken_back)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 8, formats[i]);
		for (unsigned round = 0; round < 30; round++) {
			ck_assert(!virtq_notify_on(&r.vq));
			virtq_notify_off(&r.vq);
			for (unsigned n = 0; n < 1 + round % 3; n++) {
				ck_assert_int_ge(rig_add(&r), 0);
				ck_assert(!fake_must_notify(&r.q));
			}
			ck_assert(virtq_notify_on(&r.vq));
			while (virtq_pop(&r.vq, &r.c) == 1)
				virtq_push(&r.vq, r.c.token, 0);
			virtq_flush(&r.vq);
			for (uint32_t written; fake_used(&r.q, &written) >= 0;)
				;
		}
		rig_fini(&r);
	}
}
END_TEST

/* ---- a chain's bytes ---- */

/* Of 3 + 4 + 5 readable and 1 + 2 + 6 writable bytes. */
static void make_pieces(struct virtq_chain *c, char *out, char *in)
{
	static const unsigned len[] = { 3, 4, 5, 1, 2, 6 };
	unsigned at = 0;

	*c = (struct virtq_chain){ .n_out = 3, .n_in = 3, .out_bytes = 12, .in_bytes = 9 };
	for (unsigned i = 0; i < 6; i++) {
		if (i == 3)
			at = 0;
		c->iov[i] = (struct iovec){ (i < 3 ? out : in) + at, len[i] };
		at += len[i];
	}
}

START_TEST(test_read_write)
{
	char out[] = "abcdefghijkl", in[10], want[10], got[16];

	make_pieces(&r.c, out, in);
	for (unsigned off = 0; off < 15; off++)
		for (unsigned len = 0; len < 15; len++) {
			unsigned n_out = off >= 12 ? 0 : len < 12 - off ? len : 12 - off;
			unsigned n_in = off >= 9 ? 0 : len < 9 - off ? len : 9 - off;

			memset(got, '.', sizeof(got));
			ck_assert_uint_eq(virtq_read(&r.c, off, got, len), n_out);
			ck_assert(!memcmp(got, out + off, n_out));
			ck_assert_int_eq(got[n_out], '.');

			memset(in, '.', sizeof(in));
			memset(want, '.', sizeof(want));
			if (n_in)
				memcpy(want + off, out, n_in);
			ck_assert_uint_eq(virtq_write(&r.c, off, out, len), n_in);
			ck_assert(!memcmp(in, want, sizeof(in)));
		}
	ck_assert_uint_eq(virtq_read(&r.c, UINT64_MAX, got, 4), 0);
	ck_assert_uint_eq(virtq_write(&r.c, UINT64_MAX, got, 4), 0);
}
END_TEST

static void check_slice(bool writable, const char *base, unsigned off, unsigned len)
{
	struct iovec iov[3];
	int n = virtq_slice(&r.c, writable, off, len, iov, 3);

	if (off + len > (writable ? 9 : 12)) {
		ck_assert_int_eq(n, -ENODATA);
		return;
	}
	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(n == 0, len == 0);
	for (int i = 0; i < n; i++) {
		ck_assert_ptr_eq(iov[i].iov_base, base + off);
		ck_assert_uint_gt(iov[i].iov_len, 0);
		off += (unsigned)iov[i].iov_len;
		len -= (unsigned)iov[i].iov_len;
	}
	ck_assert_uint_eq(len, 0);
}

START_TEST(test_slice)
{
	char out[12], in[9];
	struct iovec iov[3];

	make_pieces(&r.c, out, in);
	for (unsigned off = 0; off < 15; off++)
		for (unsigned len = 0; len < 15; len++) {
			check_slice(false, out, off, len);
			check_slice(true, in, off, len);
		}
	ck_assert_int_eq(virtq_slice(&r.c, false, 2, 2, iov, 1), -E2BIG);
	ck_assert_int_eq(virtq_slice(&r.c, false, 3, 4, iov, 1), 1);
	ck_assert_int_eq(virtq_slice(&r.c, false, 2, 6, iov, 2), -E2BIG);
	ck_assert_int_eq(virtq_slice(&r.c, true, 0, 9, iov, 3), 3);
	ck_assert_int_eq(virtq_slice(&r.c, true, UINT64_MAX, 2, iov, 3), -ENODATA);
	ck_assert_int_eq(virtq_slice(&r.c, true, 2, UINT64_MAX, iov, 3), -ENODATA);
}
END_TEST

/* ---- split ring: what a driver must not do ---- */

/* Three descriptors, 0 -> 1 -> 2, not available yet: out 16, out 16, in 16. */
static void make_three(void)
{
	for (uint16_t i = 0; i < 3; i++)
		r.q.desc[i] = (struct vring_desc){
			.addr = r.buf.v,
			.len = 16,
			.flags = i < 2 ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE,
			.next = i + 1,
		};
}

static void publish(uint16_t head)
{
	r.q.avail->ring[r.q.next_avail++ % r.q.setup.size] = head;
	r.q.avail->idx = r.q.next_avail;
}

START_TEST(test_split_malformed)
{
	static const struct {
		uint16_t at, flags, next, len;
		int want;
	} table[] = {
		{ 2, VRING_DESC_F_WRITE, 0, 16, 1 },
		{ 2, 0, 0, 16, 1 },
		{ 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2, 16, 1 },
		{ 0, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1, 16,
		  -EPROTO },                              /* readable after it */
		{ 2, VRING_DESC_F_NEXT, 0, 16, -EPROTO }, /* loops */
		{ 2, VRING_DESC_F_NEXT, 0, 0, -EPROTO },  /* of nothing */
		{ 2, VRING_DESC_F_NEXT, 2, 16, -EPROTO },
		{ 0, VRING_DESC_F_NEXT, 0, 16, -EPROTO },
		{ 1, VRING_DESC_F_NEXT, 8, 16, -EPROTO }, /* outside the table */
		{ 1, VRING_DESC_F_NEXT, 0xffff, 16, -EPROTO },
		{ 1, 0, 8, 16, 1 },      /* next does not count */
		{ 1, 0xff18, 8, 16, 1 }, /* nor do unknown flags */
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 8, FAKE_INDIRECT);
		make_three();
		r.q.desc[table[i].at].flags = table[i].flags;
		r.q.desc[table[i].at].next = table[i].next;
		for (unsigned j = 0; j < 3; j++)
			r.q.desc[j].len = table[i].len;
		publish(0);
		if (table[i].want == 1)
			ck_assert_msg(virtq_pop(&r.vq, &r.c) == 1, "line %zu", i);
		else
			rig_broken(&r, table[i].want);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_split_head)
{
	static const struct {
		uint16_t head;
		int want;
	} table[] = { { 7, 1 }, { 8, -EPROTO }, { 0xffff, -EPROTO } };

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 8, 0);
		r.q.desc[7] = (struct vring_desc){ r.buf.v, 16, 0, 0 };
		publish(table[i].head);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), table[i].want);
		rig_fini(&r);
	}
}
END_TEST

/* The same head twice, while it is out; after it was pushed it may come again. */
START_TEST(test_split_head_twice)
{
	uint64_t token;

	rig_init(&r, 8, 0);
	make_three();
	publish(0);
	virtq_push(&r.vq, rig_pop(&r, 2, 1), 0);
	virtq_flush(&r.vq);
	publish(0);
	token = rig_pop(&r, 2, 1);
	publish(0);
	rig_broken(&r, -EPROTO);
	/* What is out still goes back. */
	virtq_push(&r.vq, token, 5);
	virtq_flush(&r.vq);
	ck_assert_uint_eq(r.q.used->idx, 2);
	rig_fini(&r);
}
END_TEST

/* The index may run ahead by what the driver has free: not by what is out or not flushed. */
START_TEST(test_split_index)
{
	static const struct {
		uint16_t popped, pushed, ahead;
		int want;
	} table[] = {
		{ 0, 0, 8, 1 },
		{ 0, 0, 9, -EPROTO },
		{ 0, 0, 0xffff, -EPROTO },
		{ 0, 0, 0x8000, -EPROTO },
		{ 2, 0, 6, 1 },
		{ 2, 0, 7, -EPROTO },
		{ 2, 2, 6, 1 },
		{ 2, 2, 7, -EPROTO },
		{ 2, 1, 0xffff, -EPROTO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t token[2];

		rig_init(&r, 8, 0);
		for (uint16_t j = 0; j < 8; j++) {
			r.q.desc[j] = (struct vring_desc){ r.buf.v, 16, 0, 0 };
			r.q.avail->ring[j] = j;
		}
		r.q.avail->idx = table[i].popped;
		for (uint16_t j = 0; j < table[i].popped; j++)
			token[j] = rig_pop(&r, 1, 0);
		for (uint16_t j = 0; j < table[i].pushed; j++)
			virtq_push(&r.vq, token[j], 0);
		r.q.avail->idx = (uint16_t)(table[i].popped + table[i].ahead);
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == table[i].want, "line %zu", i);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_split_address)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
		int want;
	} table[] = {
		{ 0, 1, 1 },
		{ 0, RAM_BYTES, 1 },
		{ RAM_BYTES - 1, 1, 1 },
		{ RAM_BYTES - 1, 2, -EFAULT },
		{ RAM_BYTES, 1, -EFAULT },
		{ 0, RAM_BYTES + 1, -EFAULT },
		{ 0, UINT32_MAX, -EFAULT },
		{ RAM_GAP_START, 16, -EFAULT },
		{ UINT64_MAX, 1, -EFAULT },
		{ UINT64_MAX, 2, -EFAULT },
		{ UINT64_MAX - 15, 16, -EFAULT },
	};

	for (size_t i = 0; i < 2 * ARRAY_SIZE(table); i++) {
		const bool packed = i % 2;
		struct fake_buf buf = FAKE_IN(GPA(table[i / 2].addr), table[i / 2].len);

		rig_init(&r, 8, packed ? FAKE_PACKED : 0);
		fake_add(&r.q, &buf, 1);
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == table[i / 2].want, "line %zu", i / 2);
		rig_fini(&r);
	}
}
END_TEST

/* ---- indirect tables ---- */

static gpa_t table_at;

/* A table of @n readable buffers in a chain, behind a descriptor of the ring that is made
 * available. */
static struct vring_desc *make_table(uint16_t n)
{
	struct vring_desc *table;

	rig_init(&r, 8, FAKE_INDIRECT);
	table_at = fake_alloc(&r.d, 16UL * n + 64, 16);
	table = fake_at(&r.d, table_at);
	for (uint16_t i = 0; i < n; i++)
		table[i] = (struct vring_desc){ r.buf.v + i, 16, i + 1 < n ? VRING_DESC_F_NEXT : 0,
						i + 1 };
	r.q.desc[0] = (struct vring_desc){ table_at.v, 16U * n, VRING_DESC_F_INDIRECT, 0 };
	publish(0);
	return table;
}

START_TEST(test_split_table)
{
	struct vring_desc *table;

	make_table(3);
	rig_pop(&r, 3, 0);
	rig_fini(&r);

	/* WRITE on the descriptor of the table is ignored. */
	make_table(3);
	r.q.desc[0].flags |= VRING_DESC_F_WRITE;
	rig_pop(&r, 3, 0);
	rig_fini(&r);

	/* Any alignment will do. */
	table = make_table(3);
	memmove((char *)table + 1, table, 48);
	r.q.desc[0].addr++;
	rig_pop(&r, 3, 0);
	ck_assert_ptr_eq(r.c.iov[2].iov_base, fake_at(&r.d, rig_buf(&r, 2)));
	rig_fini(&r);

	/* Not all of the table need be used. */
	make_table(3)[1].flags = 0;
	rig_pop(&r, 2, 0);
	rig_fini(&r);

	/* Direct descriptors, then one table. */
	make_table(3);
	make_three();
	r.q.desc[2] = (struct vring_desc){ table_at.v, 48, VRING_DESC_F_INDIRECT, 0 };
	rig_pop(&r, 5, 0);
	rig_fini(&r);
}
END_TEST

START_TEST(test_split_bad_table)
{
	static const struct {
		uint64_t addr; /* 0: the table */
		uint32_t len;
		uint16_t flags;
		int want;
	} table[] = {
		{ 0, 0, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 8, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 47, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 49, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 32, VRING_DESC_F_INDIRECT, -EPROTO }, /* its chain leaves it */
		{ 0, 16 * 1024, VRING_DESC_F_INDIRECT, 1 },
		{ 0, 16 * 1025, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 0xfffffff0, VRING_DESC_F_INDIRECT, -EPROTO },
		{ 0, 48, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, -EPROTO },
		{ RAM_BYTES - 16, 48, VRING_DESC_F_INDIRECT, -EFAULT },
		{ UINT64_MAX - 15, 48, VRING_DESC_F_INDIRECT, -EFAULT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		make_table(3);
		r.q.desc[0].len = table[i].len;
		r.q.desc[0].flags = table[i].flags;
		if (table[i].addr)
			r.q.desc[0].addr = table[i].addr;
		ck_assert_msg(virtq_pop(&r.vq, &r.c) == table[i].want, "line %zu", i);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_split_table_contents)
{
	struct vring_desc *table = make_table(3);

	table[2].flags = VRING_DESC_F_INDIRECT; /* a table in a table */
	rig_broken(&r, -EPROTO);
	rig_fini(&r);

	make_table(3)[2].flags = VRING_DESC_F_NEXT; /* next is 3 */
	rig_broken(&r, -EPROTO);
	rig_fini(&r);

	table = make_table(3);
	table[2].flags = VRING_DESC_F_NEXT;
	table[2].next = 0;
	rig_broken(&r, -EPROTO);
	rig_fini(&r);

	make_table(3)[0].flags |= VRING_DESC_F_WRITE;
	rig_broken(&r, -EPROTO);
	rig_fini(&r);

	make_table(3)[1].addr = RAM_BYTES;
	rig_broken(&r, -EFAULT);
	rig_fini(&r);

	/* The table is the ring, so it contains itself. */
	make_table(1);
	r.q.desc[0].addr = r.q.setup.desc.v;
	r.q.desc[0].len = 16 * 8;
	rig_broken(&r, -EPROTO);
	rig_fini(&r);
}
END_TEST

START_TEST(test_table_without_feature)
{
	for (unsigned i = 0; i < 2; i++) {
		struct fake_buf buf;

		rig_init(&r, 8, i ? FAKE_PACKED : 0);
		buf = FAKE_OUT(r.buf, 16);
		fake_add_indirect(&r.q, &buf, 1);
		rig_broken(&r, -EPROTO);
		rig_fini(&r);
	}
}
END_TEST

/* 1024 buffers are a chain, 1025 are not. */
START_TEST(test_most_buffers)
{
	make_table(1024);
	rig_pop(&r, 1024, 0);
	rig_fini(&r);

	make_table(1024);
	make_three();
	r.q.desc[0].next = 2;
	r.q.desc[2] = (struct vring_desc){ table_at.v, 16 * 1024, VRING_DESC_F_INDIRECT, 0 };
	rig_broken(&r, -EPROTO);
	rig_fini(&r);
}
END_TEST

/* 2^32 bytes are a chain, one more is not. */
START_TEST(test_most_bytes)
{
	for (unsigned i = 0; i < 4; i++) {
		struct fake_buf bufs[257];

		rig_init(&r, 8, FAKE_INDIRECT | (i & 2 ? FAKE_PACKED : 0));
		for (unsigned j = 0; j < 257; j++)
			bufs[j] =
				j < 100 ? FAKE_OUT(GPA(0), RAM_BYTES) : FAKE_IN(GPA(0), RAM_BYTES);
		bufs[256].len = i & 1;
		ck_assert_int_ge(fake_add_indirect(&r.q, bufs, 257), 0);
		if (i & 1) {
			rig_broken(&r, -EPROTO);
		} else {
			rig_pop(&r, 100, 156);
			ck_assert_uint_eq(r.c.out_bytes + r.c.in_bytes, 1ULL << 32);
		}
		rig_fini(&r);
	}
}
END_TEST

/* ---- split ring: events ---- */

static uint16_t avail_event(void)
{
	uint16_t value;

	memcpy(&value, &r.q.used->ring[r.q.setup.size], sizeof(value));
	return value;
}

/*
 * Near the end of the 16 bits: @from is the used index before the batch, @n its length, @event what
 * the driver wrote.
 */
START_TEST(test_split_event_table)
{
	static const struct {
		uint16_t from, n, event;
		bool want;
	} table[] = {
		{ 0, 1, 0, true },
		{ 0, 1, 1, false },
		{ 0, 1, 0xffff, false },
		{ 0, 4, 3, true },
		{ 0, 4, 4, false },
		{ 0xffff, 1, 0xffff, true },
		{ 0xffff, 1, 0, false },
		{ 0xffff, 1, 0xfffe, false },
		{ 0xfffe, 4, 0xfffd, false },
		{ 0xfffe, 4, 0xfffe, true },
		{ 0xfffe, 4, 0xffff, true },
		{ 0xfffe, 4, 0, true },
		{ 0xfffe, 4, 1, true },
		{ 0xfffe, 4, 2, false },
		{ 0x7fff, 2, 0x8000, true },
		{ 0x7fff, 2, 0x8001, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint16_t from = table[i].from;

		rig_init(&r, 8, FAKE_EVENT_IDX);
		r.vq.next_avail = r.vq.seen_avail = r.vq.next_used = from;
		r.q.next_avail = r.q.next_used = r.q.avail->idx = r.q.used->idx = from;
		r.q.avail->ring[8] = table[i].event;
		r.q.avail->flags = VRING_AVAIL_F_NO_INTERRUPT; /* does not count now */
		ck_assert_msg(rig_round(&r, table[i].n) == table[i].want, "line %zu", i);
		ck_assert_uint_eq(r.q.used->idx, (uint16_t)(from + table[i].n));
		virtq_notify_off(&r.vq);
		ck_assert_uint_eq(r.q.used->flags, 0);
		ck_assert(!virtq_notify_on(&r.vq));
		ck_assert_uint_eq(avail_event(), (uint16_t)(from + table[i].n));
		rig_fini(&r);
	}
}
END_TEST

/* Without event index the other word is not looked at and not written. */
START_TEST(test_split_no_event)
{
	rig_init(&r, 8, 0);
	r.q.avail->ring[8] = 77;
	ck_assert(rig_round(&r, 1));
	virtq_notify_off(&r.vq);
	ck_assert_uint_eq(r.q.used->flags, VRING_USED_F_NO_NOTIFY);
	virtq_notify_on(&r.vq);
	ck_assert_uint_eq(r.q.used->flags, 0);
	ck_assert_uint_eq(avail_event(), 0);
	rig_fini(&r);
}
END_TEST

/* ---- a guest that changes a descriptor while it is read ---- */

static atomic_bool stop_flipping;

static void *flip(void *arg)
{
	struct vring_desc *desc = arg;

	while (!atomic_load(&stop_flipping)) {
		__atomic_store_n(&desc->len, 16, __ATOMIC_RELAXED);
		__atomic_store_n(&desc->len, UINT32_MAX, __ATOMIC_RELAXED);
		__atomic_store_n(&desc->addr, 1ULL << 40, __ATOMIC_RELAXED);
		__atomic_store_n(&desc->addr, r.buf.v, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Each descriptor is fetched once: whatever is judged good is what is used. */
START_TEST(test_fetch_once)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		bool indirect = formats[i] & FAKE_INDIRECT;
		pthread_t thread;
		void *desc;
		unsigned good = 0, bad = 0;

		if (indirect) {
			desc = make_table(1);
		} else {
			rig_init(&r, 8, formats[i]);
			desc = fake_at(&r.d, r.q.setup.desc);
			rig_add(&r);
		}
		atomic_store(&stop_flipping, false);
		ck_assert_int_eq(pthread_create(&thread, NULL, flip, desc), 0);
		for (unsigned n = 0; n < 300000 && (n < 3000 || !good || !bad); n++) {
			struct virtq_setup s = r.q.setup;

			virtq_init(&r.vq, r.d.ram, &s);
			if (virtq_pop(&r.vq, &r.c) == 1) {
				ck_assert_ptr_eq(r.c.iov[0].iov_base, fake_at(&r.d, r.buf));
				ck_assert_uint_eq(r.c.iov[0].iov_len, 16);
				good++;
			} else {
				ck_assert_int_eq(r.vq.broken, -EFAULT);
				bad++;
			}
		}
		atomic_store(&stop_flipping, true);
		pthread_join(thread, NULL);
		ck_assert_uint_gt(good, 0);
		ck_assert_uint_gt(bad, 0);
		rig_fini(&r);
	}
}
END_TEST

/* ---- a log of what is written ---- */

#define LOG_PAGES (RIG_MIB * MIB / 4096)

/* Two requests of a driver, and what is in the log then */
static void run_logged(uint64_t *ret_log)
{
	const struct fake_buf bufs[] = { FAKE_OUT(rig_buf(&r, 0), 5000),
					 FAKE_IN(rig_buf(&r, 16 * KIB + 100), 5000) };

	ck_assert_int_eq(ram_log(r.d.ram, true), 0);
	virtq_notify_off(&r.vq);
	for (unsigned i = 0; i < 2; i++) {
		fake_add(&r.q, bufs, 2);
		rig_pop(&r, 1, 1);
		ck_assert_uint_eq(virtq_write(&r.c, 0, "written", 7), 7);
		virtq_push(&r.vq, r.c.token, 7);
		virtq_flush(&r.vq);
	}
	virtq_notify_on(&r.vq);
	memset(ret_log, 0, LOG_PAGES / 8);
	ram_log_take(r.d.ram, GPA(0), RIG_MIB * MIB, ret_log);
}

static bool in_log(const uint64_t *log, gpa_t at)
{
	return log[at.v / 4096 / 64] >> at.v / 4096 % 64 & 1;
}

/* Who looks on: numbers of chains that are out, and what it has heard */
static struct {
	struct virtq_watch watch;
	unsigned n_popped, n_pushed, n_ended, last;
	uint32_t written;
} looker;

static unsigned look_popped(struct virtq_watch *watch, const struct virtq_chain *c)
{
	ck_assert_ptr_eq(watch, &looker.watch);
	ck_assert(c->out_bytes == 16 && c->n_out == 1);
	looker.n_popped++;
	return VIRTQ_MAX_SIZE + 1 - looker.n_popped;
}

static void look_pushed(struct virtq_watch *watch, unsigned number, uint32_t written)
{
	ck_assert_ptr_eq(watch, &looker.watch);
	looker.n_pushed++;
	looker.last = number;
	looker.written = written;
}

static void look_ended(struct virtq_watch *watch)
{
	ck_assert_ptr_eq(watch, &looker.watch);
	looker.n_ended++;
}

/* Chains are those that they would be, in any order; no one looks on after the end, nor at another ring. */
START_TEST(test_watch)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		uint64_t token[3];

		memset(&looker, 0, sizeof(looker));
		looker.watch = (struct virtq_watch){ look_popped, look_pushed, look_ended };
		rig_init(&r, 8, formats[i]);
		virtq_watch(&r.vq, &looker.watch);
		for (unsigned n = 0; n < 3; n++)
			rig_add(&r);
		for (unsigned n = 0; n < 3; n++)
			token[n] = rig_pop(&r, 1, 0);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
		ck_assert_uint_eq(looker.n_popped, 3);
		ck_assert_int_eq(virtq_push(&r.vq, token[1], 5), 0);
		ck_assert(looker.n_pushed == 1 && looker.last == VIRTQ_MAX_SIZE - 1 && looker.written == 5);
		ck_assert_int_eq(virtq_push(&r.vq, token[0], 0), 0);
		ck_assert(looker.n_pushed == 2 && looker.last == VIRTQ_MAX_SIZE && looker.written == 0);
		virtq_flush(&r.vq);
		virtq_watch(&r.vq, NULL);
		ck_assert_int_eq(virtq_push(&r.vq, token[2], 0), 0);
		rig_add(&r);
		ck_assert_int_eq(virtq_push(&r.vq, rig_pop(&r, 1, 0), 0), 0);
		ck_assert(looker.n_popped == 3 && looker.n_pushed == 2);
		virtq_watch(&r.vq, &looker.watch);
		virtq_fini(&r.vq);
		virtq_fini(&r.vq);
		ck_assert_uint_eq(looker.n_ended, 1);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_log)
{
	static uint64_t log[LOG_PAGES / 64];

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 64, formats[i]);
		run_logged(log);
		ck_assert(!in_log(log, rig_buf(&r, 0)));
		for (unsigned page = 4; page < 6; page++)
			ck_assert(in_log(log, rig_buf(&r, page * 4 * KIB + 100)));
		ck_assert(in_log(log, r.q.setup.used));
		if (formats[i] & FAKE_PACKED)
			ck_assert(in_log(log, r.q.setup.desc));
		rig_fini(&r);
	}
}
END_TEST

/* Nor are buffers that a device will not write to; and that goes on with the ring. */
START_TEST(test_log_of_names)
{
	static uint64_t log[LOG_PAGES / 64];

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		rig_init(&r, 8, formats[i]);
		r.vq.setup.only_names = true;
		virtq_put_back(&r.vq);
		run_logged(log);
		ck_assert(!in_log(log, rig_buf(&r, 16 * KIB + 100)));
		ck_assert(in_log(log, r.q.setup.used));
		rig_fini(&r);
	}
}
END_TEST

/* What is only read is in no log: the ring's part of the driver stands on a page of its own. */
START_TEST(test_log_of_a_ring)
{
	static uint64_t log[LOG_PAGES / 64];

	for (unsigned packed = 0; packed < 2; packed++) {
		rig_init(&r, 64, packed ? FAKE_PACKED : 0);
		r.q.setup.used = fake_alloc(&r.d, 4096, 4096);
		r.q.used = fake_at(&r.d, r.q.setup.used);
		r.q.device_event = fake_at(&r.d, r.q.setup.used);
		ck_assert_int_eq(virtq_init(&r.vq, r.d.ram, &r.q.setup), 0);
		run_logged(log);
		ck_assert(in_log(log, r.q.setup.used));
		ck_assert_int_eq(in_log(log, r.q.setup.desc), packed);
		rig_fini(&r);
	}
}
END_TEST

/* The device's side is thrown away and goes on in another, the driver's does not notice. */
static void go_on_in_another(void)
{
	const struct virtq_place place = virtq_place(&r.vq);

	memset(&r.vq, 0xa5, sizeof(r.vq));
	ck_assert_int_eq(virtq_init_at(&r.vq, r.d.ram, &r.q.setup, place), 0);
	ck_assert(virtq_rests(&r.vq));
	ck_assert_uint_eq(virtq_place(&r.vq).next, place.next);
	ck_assert_int_eq(virtq_place(&r.vq).wrap, place.wrap);
}

/* At each place of a ring, and over more than one lap; split: over the end of the indexes, too */
START_TEST(test_place)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		const bool packed = formats[f] & FAKE_PACKED;

		rig_init(&r, packed ? 5 : 4, formats[f]);
		for (unsigned i = 0; !packed && i < 65530; i++)
			rig_round(&r, 1);
		for (unsigned i = 0; i < 23; i++) {
			go_on_in_another();
			ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
			rig_round(&r, 1 + i % 4);
		}
		rig_fini(&r);
	}
}
END_TEST

/* What is out and was popped last is popped again. */
START_TEST(test_place_with_some_out)
{
	struct fake_buf bufs[2];
	uint32_t written;

	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
		rig_init(&r, 8, formats[f]);
		rig_round(&r, 7); /* over the end of the ring */
		bufs[0] = bufs[1] = FAKE_OUT(r.buf, 16);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_ge(fake_add(&r.q, bufs, 2), 0);
		rig_pop(&r, 2, 0);
		rig_pop(&r, 2, 0);
		ck_assert(!virtq_rests(&r.vq));
		go_on_in_another();
		for (unsigned i = 0; i < 2; i++)
			virtq_push(&r.vq, rig_pop(&r, 2, 0), 0);
		ck_assert_int_eq(virtq_pop(&r.vq, &r.c), 0);
		virtq_flush(&r.vq);
		for (unsigned i = 0; i < 2; i++)
			ck_assert_int_ge(fake_used(&r.q, &written), 0);
		rig_round(&r, 3);
		rig_fini(&r);
	}
}
END_TEST

START_TEST(test_bad_place)
{
	static const struct {
		uint64_t features;
		struct virtq_place place;
		int err;
	} table[] = {
		{ 0, { 0xffff, true }, 0 },        { 0, { 0, false }, -ERANGE },
		{ FAKE_PACKED, { 7, true }, 0 },   { FAKE_PACKED, { 7, false }, 0 },
		{ FAKE_PACKED, { 8, true }, -ERANGE }, { FAKE_PACKED, { 0xffff, false }, -ERANGE },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		rig_init(&r, 8, table[i].features);
		ck_assert_int_eq(virtq_init_at(&r.vq, r.d.ram, &r.q.setup, table[i].place),
				 table[i].err);
		if (table[i].err)
			rig_broken(&r, table[i].err);
		r.q.setup.used = GPA(RAM_BYTES - 3);
		ck_assert_int_ne(virtq_init_at(&r.vq, r.d.ram, &r.q.setup, VIRTQ_BEGIN), 0);
		r.q.setup.used = GPA(RAM_BYTES);
		ck_assert_int_eq(virtq_init_at(&r.vq, r.d.ram, &r.q.setup, VIRTQ_BEGIN), -EFAULT);
		rig_fini(&r);
	}
}
END_TEST

UNIT_MAIN("virtq", test_place, test_place_with_some_out, test_bad_place, test_log, test_log_of_names, test_watch, test_log_of_a_ring, test_init, test_chain, test_wrap, test_large_ids, test_push_not_out,
	  test_one_entry, test_zero_length, test_interrupt_flag, test_interrupt_event, test_notify,
	  test_notify_taken_back,
	  test_read_write, test_slice, test_split_malformed, test_split_head, test_split_head_twice,
	  test_split_index, test_split_address, test_split_table, test_split_bad_table,
	  test_split_table_contents, test_table_without_feature, test_most_buffers, test_most_bytes,
	  test_split_event_table, test_split_no_event, test_fetch_once)
