/* Standard input and output without blocking; see stream.h. */
#include "lkvm/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/major.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lkvm/types.h"

#define PATIENCE_NS   10000000 /* how long a call may wait after poll(2) has promised that it would not */
#define PATIENCE_OVER SIGURG	/* ignored by whoever does not know of it */

/* ---- what a descriptor is ---- */

bool stream_allows(int fd, int flags)
{
	const int has = fcntl(fd, F_GETFL), mode = has & O_ACCMODE;

	return has >= 0 && !(has & O_PATH) && (mode == flags || mode == O_RDWR);
}

/* Of /dev/null and its like poll(2) knows no more than of other devices that cannot be asked. */
static bool is_memory(const struct stat *st)
{
	static const unsigned minors[] = { 3, 5, 7, 9 }; /* null, zero, full, urandom */

	for (size_t i = 0; i < ARRAY_SIZE(minors); i++)
		if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(MEM_MAJOR, minors[i]))
			return true;
	return false;
}

/* There are files to wait for, too: /proc/kmsg, trace_pipe. epoll(7) takes nothing else. */
static bool is_plain_file(int fd, const struct stat *st)
{
	struct epoll_event event = { .events = EPOLLIN };
	bool refused;
	int epfd;

	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode) && !S_ISDIR(st->st_mode))
		return false;
	epfd = epoll_create1(EPOLL_CLOEXEC);
	refused = epfd >= 0 && epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0 && errno == EPERM;
	if (epfd >= 0)
		close(epfd);
	return refused;
}

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

static bool open_waiting(struct stream *s, int fd, int flags, bool tty)
{
	int again = !stream_allows(fd, flags) || (tty && is_pty_master(fd)) ? -1 : open_again(fd, flags, tty);

	if (again < 0)
		return false;
	*s = (struct stream){ .kind = STREAM_NONBLOCK, .fd = again, .owned = true };
	return true;
}

void stream_open(struct stream *s, int fd, int flags)
{
	bool tty, fifo;
	struct stat st;

	*s = (struct stream){ .kind = STREAM_NONE, .fd = -1 };
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	tty = S_ISCHR(st.st_mode) && isatty(fd);
	fifo = S_ISFIFO(st.st_mode);
	if ((tty || fifo) && open_waiting(s, fd, flags, tty))
		return;
	*s = (struct stream){ .kind = STREAM_POLLED, .fd = fd };
	/* POLLOUT of a pipe is room for PIPE_BUF bytes, that of a terminal for one. */
	s->max_write = tty ? 1 : fifo ? PIPE_BUF : SIZE_MAX;
	if (S_ISSOCK(st.st_mode))
		s->kind = STREAM_SOCKET;
	else if (is_memory(&st) || is_plain_file(fd, &st))
		s->kind = STREAM_FILE;
}

/* ---- calls that may wait, but not for long ---- */

static bool ready(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, 0) == 1;
}

struct patience {
	timer_t timer;
	sigset_t before;
};

static void on_patience_over(int sig)
{
	(void)sig;
}

/* From now on a call that waits is interrupted, by the second signal if the first came before it. */
static int patience_begin(struct patience *p)
{
	const struct sigaction act = { .sa_handler = on_patience_over };
	const struct itimerspec when = { { 0, PATIENCE_NS }, { 0, PATIENCE_NS } };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = PATIENCE_OVER };
	sigset_t set;

	event._sigev_un._tid = gettid();
	sigemptyset(&set);
	sigaddset(&set, PATIENCE_OVER);
	if (timer_create(CLOCK_MONOTONIC, &event, &p->timer))
		return -1;
	sigaction(PATIENCE_OVER, &act, NULL);
	pthread_sigmask(SIG_UNBLOCK, &set, &p->before);
	timer_settime(p->timer, 0, &when, NULL);
	return 0;
}

static void patience_end(struct patience *p)
{
	timer_delete(p->timer);
	pthread_sigmask(SIG_SETMASK, &p->before, NULL);
}

/* Exactly one of @in and @out is there. */
static ssize_t polled(const struct stream *s, void *in, const void *out, size_t len)
{
	struct patience patience;
	ssize_t n = -1;
	int err = EAGAIN;

	/* Without memory for a timer it waits for that. */
	if (ready(s->fd, in ? POLLIN : POLLOUT) && !patience_begin(&patience)) {
		n = in ? read(s->fd, in, len) : write(s->fd, out, len < s->max_write ? len : s->max_write);
		err = errno == EINTR ? EAGAIN : errno;
		patience_end(&patience);
	}
	errno = err;
	return n;
}

/* ---- for everybody ---- */

void stream_close_fd(int fd)
{
	struct patience patience;
	bool limited = !patience_begin(&patience);

	close(fd);
	if (limited)
		patience_end(&patience);
}

void stream_close(struct stream *s)
{
	if (s->owned)
		stream_close_fd(s->fd);
	*s = (struct stream){ .kind = STREAM_NONE, .fd = -1 };
}

static ssize_t read_once(const struct stream *s, void *buf, size_t len)
{
	switch (s->kind) {
	case STREAM_NONE:
		return 0;
	case STREAM_SOCKET:
		return recv(s->fd, buf, len, MSG_DONTWAIT);
	case STREAM_POLLED:
		return polled(s, buf, NULL, len);
	case STREAM_FILE:
	case STREAM_NONBLOCK:
		break;
	}
	return read(s->fd, buf, len);
}

static ssize_t write_once(const struct stream *s, const void *buf, size_t len)
{
	switch (s->kind) {
	case STREAM_NONE:
		errno = EBADF;
		return -1;
	case STREAM_SOCKET:
		return send(s->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	case STREAM_POLLED:
		return polled(s, NULL, buf, len);
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
