/*
 * Standard input and output without blocking and without O_NONBLOCK on them: that flag belongs to
 * the open file, which lkvm shares with the shell and with other programs of the pipeline.
 *
 *	pipe, terminal       opened a second time through /proc/self/fd, with O_NONBLOCK
 *	socket               MSG_DONTWAIT
 *	file, /dev/null      as it is: never waits for a peer, and a second open would lose the offset
 *	open refused, the    poll(2) first, then no more bytes than that promised room for. It may have
 *	rest: device, event  promised too much, as others read and write there too, and not every device
 *			     knows: a call that waits all the same is interrupted after 10 ms.
 */
#ifndef LKVM_STREAM_H
#define LKVM_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum stream_kind {
	STREAM_NONE, /* closed or not given: reads are at the end, writes fail */
	STREAM_FILE,
	STREAM_SOCKET,
	STREAM_NONBLOCK, /* an open file of our own */
	STREAM_POLLED,
};

struct stream {
	enum stream_kind kind;
	int fd; /* to poll, read and write: the given one or our own */
	bool owned;
	size_t max_write; /* STREAM_POLLED: what fits after POLLOUT */
};

/**
 * stream_open() - use @fd without blocking; @fd stays the caller's and stays open as long
 * @flags: O_RDONLY or O_WRONLY
 * Cannot fail: a bad @fd gives STREAM_NONE.
 */
void stream_open(struct stream *s, int fd, int flags);
void stream_close(struct stream *s);

/**
 * stream_close_fd() - close what somebody else has made, who may be gone by now
 * The last close(2) of a socket with SO_LINGER, or of a terminal, waits for what was written to it; we do
 * not for long.
 */
void stream_close_fd(int fd);

/** stream_allows() - is @fd open for this? @flags: O_RDONLY or O_WRONLY */
bool stream_allows(int fd, int flags);

/**
 * stream_read() - Return: bytes, 0 at the end, -EAGAIN or another -errno
 * -EAGAIN is also to be had from what epoll(7) does not take, as it has no event: then try again soon.
 */
ssize_t stream_read(struct stream *s, void *buf, size_t len);
/**
 * stream_write() - SIGPIPE must be ignored
 * Return: bytes, often less than @len; -EAGAIN, as stream_read(), or another -errno
 */
ssize_t stream_write(struct stream *s, const void *buf, size_t len);

#endif
