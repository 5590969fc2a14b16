/* Links: net/poll-set.o */
#include "../../net/poll-set.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static struct poll_set p;
static int a[2], b[2];

static void begin(void)
{
	ck_assert_int_eq(poll_set_init(&p), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
}

/* What is wanted of a[0] and b[0]. Return: system calls */
static unsigned want(uint32_t of_a, uint32_t of_b)
{
	poll_set_begin(&p);
	if (of_a)
		ck_assert_int_eq(poll_set_add(&p, a[0], of_a), 0);
	if (of_b)
		ck_assert_int_eq(poll_set_add(&p, b[0], of_b), 0);
	return poll_set_end(&p);
}

static bool readable(void)
{
	struct pollfd fd = { .fd = p.epfd, .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

START_TEST(test_changes)
{
	begin();
	ck_assert_uint_eq(want(EPOLLIN, EPOLLIN), 2);
	ck_assert_uint_eq(want(EPOLLIN, EPOLLIN), 0);
	ck_assert(!readable());
	ck_assert_uint_eq(want(EPOLLIN, EPOLLIN | EPOLLOUT), 1);
	ck_assert(readable());
	poll_set_look(&p);
	ck_assert_uint_eq(poll_set_ready(&p, a[0]), 0);
	ck_assert_uint_eq(poll_set_ready(&p, b[0]), EPOLLOUT);
	ck_assert_uint_eq(poll_set_wanted(&p, b[0]), EPOLLIN | EPOLLOUT);
	poll_set_clear(&p);
	ck_assert_uint_eq(poll_set_ready(&p, b[0]), 0);
	ck_assert_uint_eq(want(0, 0), 2);
	ck_assert_uint_eq(want(0, 0), 0);
	ck_assert(!readable());
	ck_assert_uint_eq(poll_set_wanted(&p, b[0]), 0);
	poll_set_fini(&p);
}
END_TEST

/* A peer that has gone tells it of a descriptor of which nothing is wanted only as long as it is watched. */
START_TEST(test_gone)
{
	begin();
	want(EPOLLIN, 0);
	close(a[1]);
	poll_set_look(&p);
	ck_assert_uint_eq(poll_set_ready(&p, a[0]), EPOLLIN | EPOLLHUP);
	want(0, 0);
	ck_assert(!readable());
	poll_set_look(&p);
	ck_assert_uint_eq(poll_set_ready(&p, a[0]), 0);
	poll_set_fini(&p);
}
END_TEST

/* The next descriptor of a number is another one, also where a child process still has the first. */
START_TEST(test_again)
{
	int copy, fd;

	begin();
	want(EPOLLIN, 0);
	copy = dup(a[0]);
	fd = a[0];
	poll_set_forget(&p, fd);
	close(fd);
	ck_assert_int_eq(dup2(b[0], fd), fd);
	ck_assert_int_eq(write(a[1], "x", 1), 1);
	ck_assert(!readable());
	ck_assert_uint_eq(want(EPOLLIN, 0), 1);
	ck_assert(!readable());
	ck_assert_int_eq(write(b[1], "x", 1), 1);
	poll_set_look(&p);
	ck_assert_uint_eq(poll_set_ready(&p, fd), EPOLLIN);
	close(copy);
	poll_set_fini(&p);
}
END_TEST

/* One that was closed without a word */
START_TEST(test_replaced)
{
	begin();
	want(EPOLLIN, 0);
	ck_assert_int_eq(dup2(b[0], a[0]), a[0]);
	want(EPOLLIN | EPOLLPRI, 0);
	ck_assert_int_eq(write(b[1], "x", 1), 1);
	poll_set_look(&p);
	ck_assert_uint_eq(poll_set_ready(&p, a[0]), EPOLLIN);
	poll_set_fini(&p);
}
END_TEST

START_TEST(test_many)
{
	int fd[300];

	begin();
	poll_set_begin(&p);
	for (int i = 0; i < 300; i++) {
		fd[i] = fcntl(a[0], F_DUPFD_CLOEXEC, 0);
		ck_assert_int_eq(poll_set_add(&p, fd[i], EPOLLOUT), 0);
	}
	ck_assert_int_eq(poll_set_add(&p, -1, EPOLLIN), -EBADF);
	ck_assert_uint_eq(poll_set_end(&p), 300);
	poll_set_look(&p);
	ck_assert_uint_eq(p.n_ready, POLL_SET_BATCH);
	ck_assert_uint_eq(poll_set_ready(&p, -1), 0);
	ck_assert_uint_eq(poll_set_ready(&p, 1 << 20), 0);
	poll_set_forget(&p, 1 << 20);
	poll_set_fini(&p);
	ck_assert_int_eq(p.epfd, -1);
}
END_TEST

UNIT_MAIN("poll-set", test_changes, test_gone, test_again, test_replaced, test_many)
