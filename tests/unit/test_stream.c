/* Links: util/stream.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "lingering.h"
#include "lkvm/clock.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"

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
	/* Whoever made it non-blocking may take that back. */
	fcntl(in[0], F_SETFL, O_NONBLOCK);
	check_kind(in[0], O_RDONLY, STREAM_POLLED);
	check_read(in[1]);
	fcntl(in[0], F_SETFL, 0);
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

/* ---- what neither is a file nor can be opened again ---- */

/* Devices of memory are as fast as files, and never wait. */
START_TEST(test_memory_devices)
{
	static const struct {
		const char *path;
		ssize_t read, written;
	} devices[] = {
		{ "/dev/null", 0, 100 }, { "/dev/zero", 100, 100 }, { "/dev/full", 100, -ENOSPC },
		{ "/dev/urandom", 100, 100 },
	};
	char buf[100] = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		check_kind(open(devices[i].path, O_RDWR), O_RDONLY, STREAM_FILE);
		ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), devices[i].read);
		ck_assert_int_eq(stream_write(&s, buf, sizeof(buf)), devices[i].written);
	}
}
END_TEST

/* It has nothing: that is told, not waited for. */
static void check_empty(int fd)
{
	char buf[256];

	ck_assert_int_ge(fd, 0);
	check_kind(fd, O_RDONLY, STREAM_POLLED);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EAGAIN);
}

START_TEST(test_events)
{
	const struct itimerspec soon = { .it_value.tv_nsec = 1 };
	uint64_t number = UINT64_MAX - 1;
	int fd = eventfd(0, 0);
	sigset_t set;

	check_empty(fd);
	ck_assert_int_eq(stream_write(&s, &number, sizeof(number)), sizeof(number));
	ck_assert_int_eq(stream_write(&s, &number, sizeof(number)), -EAGAIN);
	ck_assert_int_eq(stream_read(&s, &number, sizeof(number)), sizeof(number));
	ck_assert_uint_eq(number, UINT64_MAX - 1);
	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	check_empty(fd);
	ck_assert_int_eq(timerfd_settime(fd, 0, &soon, NULL), 0);
	while (stream_read(&s, &number, sizeof(number)) == -EAGAIN)
		;
	ck_assert_uint_eq(number, 1);
	check_empty(inotify_init());
	sigemptyset(&set);
	check_empty(signalfd(-1, &set, 0));
}
END_TEST

/* Read to where it would wait. Return: what it says then; 0 is its end */
static ssize_t read_all(const char *path)
{
	char buf[8192];
	ssize_t n;

	stream_open(&s, open(path, O_RDONLY), O_RDONLY);
	if (s.kind == STREAM_NONE)
		return -ENOENT;
	ck_assert_int_eq(s.kind, STREAM_POLLED);
	do
		n = stream_read(&s, buf, sizeof(buf));
	while (n > 0 || n == -EPIPE); /* that record is gone */
	return n;
}

START_TEST(test_kernel_log)
{
	ssize_t n = read_all("/dev/kmsg");

	/* Not everybody may, nor is it everywhere. */
	ck_assert_msg(n == -EAGAIN || n == -ENOENT || n == -EPERM, "/dev/kmsg: %zd", n);
}
END_TEST

/* Regular files that one can wait for: this one is always ready. */
START_TEST(test_file_with_events)
{
	ck_assert_int_eq(read_all("/proc/self/mounts"), 0);
}
END_TEST

/* The wrong end, or only a name: not opened again the other way round. */
START_TEST(test_wrong_direction)
{
	char dir[] = "/tmp/test_stream.XXXXXX", path[64];
	char buf[8];
	int fds[2], fd;

	ck_assert_int_eq(pipe(fds), 0);
	check_kind(fds[1], O_RDONLY, STREAM_POLLED);
	ck_assert_int_eq(stream_write(&s, "x", 1), 1);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EAGAIN); /* room is not data */
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	ck_assert_int_eq(read(fds[0], buf, sizeof(buf)), 1);
	check_kind(fds[0], O_WRONLY, STREAM_POLLED);
	ck_assert_int_lt(stream_write(&s, "x", 1), 0);
	fd = open("/proc/self/exe", O_RDONLY);
	check_kind(fd, O_WRONLY, STREAM_FILE);
	ck_assert_int_eq(stream_write(&s, "x", 1), -EBADF);
	ck_assert(stream_allows(fd, O_RDONLY) && !stream_allows(fd, O_WRONLY));
	fd = open("/dev/null", O_WRONLY);
	check_kind(fd, O_RDONLY, STREAM_FILE);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EBADF);
	ck_assert(!stream_allows(fd, O_RDONLY) && stream_allows(fd, O_WRONLY));
	ck_assert(!stream_allows(-1, O_RDONLY) && !stream_allows(1000, O_RDONLY));
	check_kind(open("/", O_RDONLY), O_RDONLY, STREAM_FILE);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EISDIR);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_PATH);
	ck_assert(!stream_allows(fd, O_RDONLY));
	check_kind(fd, O_RDONLY, STREAM_POLLED);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), -EBADF);
	/* One that is open for both has both. */
	fd = open(path, O_RDWR);
	ck_assert(stream_allows(fd, O_RDONLY) && stream_allows(fd, O_WRONLY));
	check_kind(fd, O_RDONLY, STREAM_NONBLOCK);
	check_read(fd);
	stream_close(&s);
	check_kind(fd, O_WRONLY, STREAM_NONBLOCK);
	ck_assert_uint_ge(write_until_blocked(), PIPE_BUF);
	stream_close(&s);
	unlink(path);
	rmdir(dir);
}
END_TEST

/* A terminal that waits up to 25 s for a second byte promises to be ready at the first. */
START_TEST(test_poll_promises_too_much)
{
	uint64_t begin = now_ns();
	struct termios slow;
	struct rlimit before;
	int master, slave;
	char buf[8];

	open_pty(&master, &slave);
	ck_assert_int_eq(tcgetattr(slave, &slow), 0);
	slow.c_cc[VMIN] = 2;
	slow.c_cc[VTIME] = 255;
	ck_assert_int_eq(tcsetattr(slave, TCSANOW, &slow), 0);
	before = forbid_opens();
	check_kind(slave, O_RDONLY, STREAM_POLLED);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert_int_eq(write(master, "x", 1), 1);
	ck_assert_int_eq(stream_read(&s, buf, sizeof(buf)), 1);
	ck_assert_uint_lt(now_ns() - begin, 10 * NS_PER_S);
}
END_TEST

/* Run up to the end of its next poll(2), and no further. */
static void until_polled(pid_t pid)
{
	struct user_regs_struct regs;
	int status, signal = 0, ends = 0;

	while (ends < 2) { /* its begin is a stop, too */
		ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, signal), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFSTOPPED(status));
		signal = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
		ck_assert_int_eq(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
		ends += !signal && regs.orig_rax == SYS_poll;
	}
	ck_assert_int_eq((int)regs.rax, 1);
}

/* Its own error status, so that it is seen what is wrong; 0: it was told that it would have to wait */
static int try_stream(int fd, int flags)
{
	static char buf[PIPE_BUF];
	ssize_t n;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return 1;
	forbid_opens();
	stream_open(&s, fd, flags);
	if (s.kind != STREAM_POLLED)
		return 2;
	raise(SIGSTOP);
	n = flags == O_RDONLY ? stream_read(&s, buf, sizeof(buf)) : stream_write(&s, buf, sizeof(buf));
	return n == -EAGAIN ? 0 : 3;
}

/* Another process with the same pipe is faster: between poll(2) and what that was called for. */
static void check_race(int fds[2], int flags)
{
	static char much[1 << 20];
	struct stream other;
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(try_stream(fds[flags == O_WRONLY], flags));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSTOPPED(status), "status %#x", status);
	until_polled(pid);
	stream_open(&other, fds[flags == O_WRONLY], flags);
	ck_assert_int_eq(other.kind, STREAM_NONBLOCK);
	ck_assert_int_gt(flags == O_RDONLY ? stream_read(&other, much, sizeof(much)) :
					     stream_write(&other, much, sizeof(much)), 0);
	do { /* of signals it is to hear */
		ck_assert_int_eq(ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status)), 0);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	} while (WIFSTOPPED(status));
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "status %#x", status);
}

START_TEST(test_shared_pipe)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], "hello", 5), 5);
	check_race(fds, O_RDONLY);
	check_race(fds, O_WRONLY);
}
END_TEST

START_TEST(test_close_that_waits)
{
	uint64_t begin = now_ns();
	int fd = lingering_socket();

	if (fd < 0)
		return;
	check_kind(fd, O_WRONLY, STREAM_SOCKET);
	ck_assert_int_eq(stream_write(&s, "x", 1), -EAGAIN);
	stream_close(&s);
	stream_close_fd(fd);
	ck_assert_uint_lt(now_ns() - begin, 20 * NS_PER_S);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

UNIT_MAIN("stream", test_kinds, test_pty_master, test_none, test_close_leaves_the_given_fd,
	  test_nothing_blocks, test_nothing_blocks_polled, test_ends, test_fifo_without_reader,
	  test_terminal_after_su, test_memory_devices, test_events, test_kernel_log,
	  test_file_with_events, test_wrong_direction,
	  test_poll_promises_too_much, test_shared_pipe, test_close_that_waits)
