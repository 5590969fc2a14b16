/* Links: util/stream.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "lkvm/stream.h"

#define NOBODY 65534

static struct stream s;

static void check_kind(int fd, int flags, enum stream_kind kind)
{
	int before = fcntl(fd, F_GETFL);

	stream_open(&s, fd, flags);
	ck_assert_int_eq(s.kind, kind);
	ck_assert_int_eq(fcntl(fd, F_GETFL), before);
	ck_assert_int_eq(s.owned, s.fd != fd && s.fd >= 0);
}

/* No descriptor is to be had for a second open. Return: the limit to go back to. */
static struct rlimit forbid_opens(void)
{
	struct rlimit before, limit;
	int next = dup(0);

	ck_assert_int_ge(next, 0);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return before;
}

static void open_pty(int *ret_master, int *ret_slave)
{
	struct termios raw;

	ck_assert_int_eq(openpty(ret_master, ret_slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(*ret_slave, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
}

/* Write until it would block, which is told, not done. Return: bytes. */
static size_t write_until_blocked(void)
{
	static const char chunk[10000];
	size_t total = 0;

	for (;;) {
		ssize_t n = stream_write(&s, chunk, sizeof(chunk));

		if (n == -EAGAIN)
			return total;
		ck_assert_int_gt(n, 0);
		total += (size_t)n;
		ck_assert_uint_lt(total, 100000000);
	}
}

static void check_read(int writer)
{
	char buf[8];

	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EAGAIN);
	ck_assert_int_eq(write(writer, "hello", 5), 5);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EAGAIN);
}

START_TEST(test_kinds)
{
	int fds[2], master, slave;

	ck_assert_int_eq(pipe(fds), 0);
	check_kind(fds[1], O_WRONLY, STREAM_NONBLOCK);
	ck_assert(s.owned);
	stream_close(&s);
	check_kind(fds[0], O_RDONLY, STREAM_NONBLOCK);
	stream_close(&s);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	check_kind(fds[0], O_WRONLY, STREAM_SOCKET);
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	check_kind(slave, O_WRONLY, STREAM_NONBLOCK);
	stream_close(&s);
	check_kind(memfd_create("file", 0), O_WRONLY, STREAM_FILE);
	check_kind(open("/dev/null", O_RDWR), O_RDONLY, STREAM_FILE);
	check_kind(open("/", O_RDONLY), O_RDONLY, STREAM_FILE);
	check_kind(-1, O_RDONLY, STREAM_NONE);
	check_kind(1000, O_WRONLY, STREAM_NONE);
}
END_TEST

/* The master's file would open as a new pair. */
START_TEST(test_pty_master)
{
	int master, slave;

	open_pty(&master, &slave);
	check_kind(master, O_WRONLY, STREAM_POLLED);
	ck_assert_uint_eq(s.max_write, 1);
	check_read(slave);
}
END_TEST

START_TEST(test_none)
{
	char buf[1];

	stream_open(&s, -1, O_RDONLY);
	ck_assert_int_eq(stream_read(&s, buf, 1), 0);
	ck_assert_int_eq(stream_write(&s, buf, 1), -EBADF);
	stream_close(&s);
	stream_close(&s);
}
END_TEST

START_TEST(test_close_leaves_the_given_fd)
{
	int fds[2], own;

	ck_assert_int_eq(pipe(fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	own = s.fd;
	stream_close(&s);
	ck_assert_int_eq(fcntl(own, F_GETFD), -1);
	ck_assert_int_ge(fcntl(fds[1], F_GETFD), 0);
	stream_close(&s);
	ck_assert_int_ge(fcntl(fds[1], F_GETFD), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	stream_close(&s);
	ck_assert_int_ge(fcntl(fds[1], F_GETFD), 0);
}
END_TEST

START_TEST(test_nothing_blocks)
{
	int fds[2], master, slave;

	ck_assert_int_eq(pipe(fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	ck_assert_uint_ge(write_until_blocked(), PIPE_BUF);
	stream_close(&s);
	ck_assert_int_eq(pipe(fds), 0);
	stream_open(&s, fds[0], O_RDONLY);
	check_read(fds[1]);
	stream_close(&s);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	ck_assert_uint_ge(write_until_blocked(), PIPE_BUF);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream_open(&s, fds[1], O_RDONLY);
	check_read(fds[0]);

	open_pty(&master, &slave);
	stream_open(&s, slave, O_WRONLY);
	ck_assert_uint_gt(write_until_blocked(), 100);
	stream_close(&s);
	open_pty(&master, &slave);
	stream_open(&s, slave, O_RDONLY);
	check_read(master);
	stream_close(&s);
}
END_TEST

/* The same where no second open is possible: poll first, small pieces. */
START_TEST(test_nothing_blocks_polled)
{
	int in[2], out[2], master, slave, master2, slave2;
	struct rlimit before;

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	open_pty(&master, &slave);
	open_pty(&master2, &slave2);
	before = forbid_opens();
	check_kind(out[1], O_WRONLY, STREAM_POLLED);
	ck_assert_uint_ge(write_until_blocked(), PIPE_BUF);
	check_kind(in[0], O_RDONLY, STREAM_POLLED);
	check_read(in[1]);
	check_kind(slave, O_WRONLY, STREAM_POLLED);
	ck_assert_uint_gt(write_until_blocked(), 100);
	check_kind(slave2, O_RDONLY, STREAM_POLLED);
	check_read(master2);
	/* Whoever made it non-blocking has our case solved. */
	fcntl(in[0], F_SETFL, O_NONBLOCK);
	check_kind(in[0], O_RDONLY, STREAM_NONBLOCK);
	ck_assert(!s.owned);
	check_read(in[1]);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

START_TEST(test_ends)
{
	char buf[8];
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(fds), 0);
	stream_open(&s, fds[0], O_RDONLY);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	close(fds[1]);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), 1);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), 0);
	stream_close(&s);
	ck_assert_int_eq(pipe(fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	close(fds[0]);
	ck_assert_int_eq(stream_write(&s, "x", 1), -EPIPE);
	stream_close(&s);
	signal(SIGPIPE, SIG_DFL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	stream_open(&s, fds[1], O_WRONLY);
	close(fds[0]);
	ck_assert_int_eq(stream_write(&s, "x", 1), -EPIPE);
}
END_TEST

/* A FIFO whose reader has left cannot be opened for writing; its write says why. */
START_TEST(test_fifo_without_reader)
{
	char dir[] = "/tmp/test_stream.XXXXXX", path[64];
	int fd, reader;

	signal(SIGPIPE, SIG_IGN);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	reader = open(path, O_RDONLY | O_NONBLOCK);
	fd = open(path, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	close(reader);
	check_kind(fd, O_WRONLY, STREAM_POLLED);
	ck_assert_int_eq(stream_write(&s, "x", 1), -EPIPE);
	unlink(path);
	rmdir(dir);
}
END_TEST

/* Runs as leader of a session on its own terminal, whose file it is not allowed to open. */
static int foreign_terminal(int slave)
{
	if (login_tty(slave) < 0 || fchmod(0, 0) < 0)
		return 1;
	if (geteuid() == 0 && seteuid(NOBODY) < 0)
		return 2;
	if (open("/proc/self/fd/0", O_RDWR | O_NOCTTY) >= 0)
		return 3;
	stream_open(&s, 1, O_WRONLY);
	if (s.kind != STREAM_NONBLOCK || !s.owned)
		return 4;
	return stream_write(&s, "through\n", 8) == 8 ? 0 : 5;
}

START_TEST(test_terminal_after_su)
{
	int master, slave, status;
	char buf[8];
	pid_t pid;

	open_pty(&master, &slave);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(foreign_terminal(slave));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status %#x", status);
	ck_assert_int_eq(read(master, buf, sizeof(buf)), 8);
	ck_assert_mem_eq(buf, "through\n", 8);
}
END_TEST

UNIT_MAIN("stream", test_kinds, test_pty_master, test_none, test_close_leaves_the_given_fd,
	  test_nothing_blocks, test_nothing_blocks_polled, test_ends, test_fifo_without_reader,
	  test_terminal_after_su)
