/* Links: util/event.o */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "unit.h"

static bool readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

START_TEST(test_signals_add_up)
{
	int fd = event_open(0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert(!readable(fd));
	ck_assert_uint_eq(event_clear(fd), 0);
	event_signal(fd);
	event_signal(fd);
	ck_assert(readable(fd));
	ck_assert_uint_eq(event_clear(fd), 2);
	ck_assert(!readable(fd));
	ck_assert_uint_eq(event_clear(fd), 0);
	close(fd);
	fd = event_open(1);
	ck_assert(readable(fd));
	ck_assert_uint_eq(event_clear(fd), 1);
	close(fd);
}
END_TEST

/* Nobody is made to wait, and a signal handler does not spoil what it has interrupted. */
START_TEST(test_full)
{
	const uint64_t most = 0xfffffffffffffffeULL;
	int fd = event_open(0);

	ck_assert_int_eq(write(fd, &most, sizeof(most)), sizeof(most));
	errno = ENOSPC;
	event_signal(fd);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_uint_eq(event_clear(fd), most);
	close(fd);
	event_signal(fd);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_uint_eq(event_clear(fd), 0);
}
END_TEST

START_TEST(test_no_descriptor)
{
	struct rlimit files, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = (struct rlimit){ 0, files.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(event_open(0), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}
END_TEST

UNIT_MAIN("event", test_signals_add_up, test_full, test_no_descriptor)
