/*
 * Between the raw back end and the kernel's AIO: counts calls, refuses, shortens or holds back what
 * a test says. In place of libaio's functions, which then do the work.
 */
#ifndef TESTS_AIO_H
#define TESTS_AIO_H

#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
	atomic_uint submits, requests, flushes, getevents;
	/* io_submit(): how many calls fail with this errno; at most that many requests (0: no
	 * limit) */
	atomic_uint fail_submits;
	int submit_errno;
	unsigned submit_most;
	/* Completions: how many end with this result instead of theirs; one byte count of a short
	 * one */
	atomic_uint fail_events;
	long event_result;
	size_t transfer_most; /* cuts transfers down to so many bytes, in the request itself */
	int only_op;          /* what of this applies to one opcode only; -1: to all */
	unsigned refused_modes; /* of fallocate(), which */
	int fallocate_errno;    /* 0: works */
	atomic_bool hold;     /* completions are not shown to who does not wait for them */
	unsigned take_most;   /* of them at a time; 0: no limit */
	unsigned looks;       /* whether there is one, by now */
	unsigned looks_until; /* there is, each time; 0: there never is */
} aio = { .only_op = -1 };

static bool aio_meant(const struct iocb *cb)
{
	return aio.only_op < 0 || cb->aio_lio_opcode == aio.only_op;
}

/* Keeps at least one byte, and changes only what the kernel will look at. */
static void aio_shorten(struct iocb *cb)
{
	static struct iovec cut[256];
	static unsigned next;
	struct iovec *iov = cb->u.c.buf;

	if (cb->aio_lio_opcode != IO_CMD_PREADV && cb->aio_lio_opcode != IO_CMD_PWRITEV)
		return;
	if (!cb->u.c.nbytes || (cb->u.c.nbytes == 1 && iov->iov_len <= aio.transfer_most))
		return;
	cut[next] = *iov;
	if (cut[next].iov_len > aio.transfer_most)
		cut[next].iov_len = aio.transfer_most;
	cb->u.c.buf = &cut[next];
	cb->u.c.nbytes = 1;
	next = (next + 1) % 256;
}

int io_submit(io_context_t ctx, long n, struct iocb **cbs)
{
	long ret;

	aio.submits++;
	if (aio.fail_submits && aio_meant(cbs[0])) {
		aio.fail_submits--;
		return aio.submit_errno;
	}
	if (aio.submit_most && n > aio.submit_most)
		n = aio.submit_most;
	for (long i = 0; i < n; i++) {
		aio.requests++;
		aio.flushes += cbs[i]->aio_lio_opcode == IO_CMD_FDSYNC;
		if (aio.transfer_most)
			aio_shorten(cbs[i]);
	}
	ret = syscall(SYS_io_submit, ctx, n, cbs);
	return ret < 0 ? -errno : (int)ret;
}

static int aio_fake_results(struct io_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		if (!aio.fail_events || !aio_meant(events[i].obj))
			continue;
		aio.fail_events--;
		events[i].res = (unsigned long)aio.event_result;
	}
	return n;
}

int io_getevents(io_context_t ctx, long min, long n, struct io_event *events,
		 struct timespec *timeout)
{
	long ret;

	aio.getevents++;
	ret = syscall(SYS_io_getevents, ctx, min, n, events, timeout);
	return ret < 0 ? -errno : aio_fake_results(events, (int)ret);
}

/* In place of disk/raw-ring.c */
unsigned raw_take_events(io_context_t ctx, struct io_event *events, unsigned max);
unsigned raw_take_events(io_context_t ctx, struct io_event *events, unsigned max)
{
	struct timespec now = { 0 };
	long ret = 0;

	if (aio.take_most && max > aio.take_most)
		max = aio.take_most;
	if (!aio.hold)
		ret = syscall(SYS_io_getevents, ctx, 0, max, events, &now);
	return ret > 0 ? (unsigned)aio_fake_results(events, (int)ret) : 0;
}

bool raw_has_events(io_context_t ctx);
bool raw_has_events(io_context_t ctx)
{
	(void)ctx;
	aio.looks++;
	return aio.looks_until && aio.looks % aio.looks_until == 0;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	errno = (unsigned)mode & aio.refused_modes ? EOPNOTSUPP : aio.fallocate_errno;
	return errno ? -1 : (int)syscall(SYS_fallocate, fd, mode, off, len);
}

#endif
