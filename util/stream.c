/* Standard input and output without blocking; see stream.h. */
#include "lkvm/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_controlling_tty(int fd)
{
	return tcgetpgrp(fd) >= 0;
}

/* Opening the master end of a pseudo terminal would make a new pair. */
static bool is_pty_master(int fd)
{
	unsigned number;

	return ioctl(fd, TIOCGPTN, &number) == 0;
}

static int open_again(int fd, int flags, bool tty)
{
	char path[32];
	int again;

	flags |= O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, flags);
	/* After su(1) the terminal's file belongs to somebody else; this name always opens. */
	if (again < 0 && tty && is_controlling_tty(fd))
		again = open("/dev/tty", flags);
	return again;
}

static void open_waiting(struct stream *s, int fd, int flags, bool tty)
{
	int again = tty && is_pty_master(fd) ? -1 : open_again(fd, flags, tty);

	if (again >= 0) {
		*s = (struct stream){ .kind = STREAM_NONBLOCK, .fd = again, .owned = true };
	} else if (fcntl(fd, F_GETFL) & O_NONBLOCK) {
		*s = (struct stream){ .kind = STREAM_NONBLOCK, .fd = fd };
	} else {
		*s = (struct stream){ .kind = STREAM_POLLED, .fd = fd };
		/* POLLOUT of a pipe is room for PIPE_BUF bytes, that of a terminal for one. */
		s->max_write = tty ? 1 : PIPE_BUF;
	}
}

void stream_open(struct stream *s, int fd, int flags)
{
	struct stat st;
	bool tty;

	*s = (struct stream){ .kind = STREAM_NONE, .fd = -1 };
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	tty = S_ISCHR(st.st_mode) && isatty(fd);
	if (tty || S_ISFIFO(st.st_mode))
		open_waiting(s, fd, flags, tty);
	else
		*s = (struct stream){ .kind = S_ISSOCK(st.st_mode) ? STREAM_SOCKET : STREAM_FILE,
				      .fd = fd };
}

void stream_close(struct stream *s)
{
	if (s->owned)
		close(s->fd);
	*s = (struct stream){ .kind = STREAM_NONE, .fd = -1 };
}

static bool ready(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, 0) == 1;
}

static ssize_t read_once(struct stream *s, void *buf, size_t len)
{
	switch (s->kind) {
	case STREAM_NONE:
		return 0;
	case STREAM_SOCKET:
		return recv(s->fd, buf, len, MSG_DONTWAIT);
	case STREAM_POLLED:
		if (!ready(s->fd, POLLIN)) {
			errno = EAGAIN;
			return -1;
		}
		break;
	case STREAM_FILE:
	case STREAM_NONBLOCK:
		break;
	}
	return read(s->fd, buf, len);
}

static ssize_t write_once(struct stream *s, const void *buf, size_t len)
{
	switch (s->kind) {
	case STREAM_NONE:
		errno = EBADF;
		return -1;
	case STREAM_SOCKET:
		return send(s->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	case STREAM_POLLED:
		if (!ready(s->fd, POLLOUT)) {
			errno = EAGAIN;
			return -1;
		}
		return write(s->fd, buf, len < s->max_write ? len : s->max_write);
	case STREAM_FILE:
	case STREAM_NONBLOCK:
		break;
	}
	return write(s->fd, buf, len);
}

ssize_t stream_read(struct stream *s, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read_once(s, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t stream_write(struct stream *s, const void *buf, size_t len)
{
	ssize_t n;

	do
		n = write_once(s, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}
