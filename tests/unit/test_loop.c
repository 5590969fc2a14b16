/* Links: util/loop.o */
#include "unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "lkvm/loop.h"
#include "lkvm/types.h"

/* A source that counts, and can do something to the loop from within its callback. */
struct probe {
	struct loop_source src;
	struct loop *loop;
	unsigned called;
	uint32_t events;
	bool drain, quit;
	struct loop_source *remove;
};

static void probe_ready(struct loop_source *src, uint32_t events)
{
	struct probe *p = container_of(src, struct probe, src);
	uint64_t value;

	p->called++;
	p->events = events;
	if (p->drain)
		ck_assert_int_eq(read(src->fd, &value, sizeof(value)), sizeof(value));
	if (p->remove)
		loop_del(p->loop, p->remove);
	if (p->quit)
		loop_quit(p->loop);
}

static void probe_init(struct probe *p, struct loop *loop, unsigned value)
{
	*p = (struct probe){ .loop = loop, .src.ready = probe_ready };
	p->src.fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(p->src.fd, 0);
	ck_assert_int_eq(loop_add(loop, &p->src, EPOLLIN), 0);
}

START_TEST(test_once)
{
	struct loop loop;
	struct probe a, b;

	ck_assert_int_eq(loop_init(&loop), 0);
	probe_init(&a, &loop, 1);
	probe_init(&b, &loop, 0);
	a.drain = true;
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(a.called, 1);
	ck_assert_uint_eq(a.events, EPOLLIN);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	ck_assert_int_eq(loop_mod(&loop, &b.src, EPOLLOUT), 0);
	ck_assert_int_eq(loop_once(&loop, 0), 1);
	ck_assert_uint_eq(b.events, EPOLLOUT);
	loop_del(&loop, &b.src);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	ck_assert_uint_eq(a.called, 1);
	ck_assert_uint_eq(b.called, 1);
	loop_fini(&loop);
}
END_TEST

START_TEST(test_errors)
{
	struct rlimit files, no_files;
	struct loop_source file = { .fd = fileno(tmpfile()), .ready = probe_ready };
	struct loop_source none = { .fd = -1, .ready = probe_ready };
	struct loop loop;
	struct probe a;

	ck_assert_int_eq(loop_init(&loop), 0);
	probe_init(&a, &loop, 0);
	ck_assert_int_eq(loop_add(&loop, &a.src, EPOLLIN), -EEXIST);
	ck_assert_int_eq(loop_add(&loop, &file, EPOLLIN), -EPERM);
	ck_assert_int_eq(loop_add(&loop, &none, EPOLLIN), -EBADF);
	loop_del(&loop, &none);
	loop_del(&loop, &file);
	ck_assert_int_eq(loop_mod(&loop, &file, EPOLLIN), -EPERM);
	loop_del(&loop, &a.src);
	ck_assert_int_eq(loop_mod(&loop, &a.src, EPOLLIN), -ENOENT);
	loop_fini(&loop);
	ck_assert_int_eq(loop.epfd, -1);
	loop_fini(&loop);
	ck_assert_int_eq(loop_once(&loop, 0), -EBADF);
	ck_assert_int_eq(loop_run(&loop), -EBADF);

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	no_files = (struct rlimit){ .rlim_cur = 0, .rlim_max = files.rlim_max };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &no_files), 0);
	ck_assert_int_eq(loop_init(&loop), -EMFILE);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	loop_fini(&loop);
}
END_TEST

START_TEST(test_run_quit)
{
	struct loop loop;
	struct probe a;

	ck_assert_int_eq(loop_init(&loop), 0);
	probe_init(&a, &loop, 1);
	a.quit = true;
	ck_assert_int_eq(loop_run(&loop), 0);
	ck_assert_uint_eq(a.called, 1);
	/* A second run starts afresh. */
	ck_assert_int_eq(loop_run(&loop), 0);
	ck_assert_uint_eq(a.called, 2);
	loop_fini(&loop);
}
END_TEST

/* Both are ready in one batch; whichever comes first removes the other, which must stay silent. */
START_TEST(test_remove_pending)
{
	struct loop loop;
	struct probe a, b;

	ck_assert_int_eq(loop_init(&loop), 0);
	probe_init(&a, &loop, 1);
	probe_init(&b, &loop, 1);
	a.remove = &b.src;
	b.remove = &a.src;
	ck_assert_int_eq(loop_once(&loop, -1), 2);
	ck_assert_uint_eq(a.called + b.called, 1);
	loop_fini(&loop);
}
END_TEST

START_TEST(test_remove_self)
{
	struct loop loop;
	struct probe a;

	ck_assert_int_eq(loop_init(&loop), 0);
	probe_init(&a, &loop, 1);
	a.remove = &a.src;
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	ck_assert_uint_eq(a.called, 1);
	loop_fini(&loop);
}
END_TEST

/* More sources than one batch holds: all get their turn. */
START_TEST(test_many)
{
	struct probe probes[3 * LOOP_BATCH];
	struct loop loop;

	ck_assert_int_eq(loop_init(&loop), 0);
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		probe_init(&probes[i], &loop, 1);
		probes[i].drain = true;
	}
	ck_assert_int_eq(loop_once(&loop, -1), LOOP_BATCH);
	ck_assert_int_eq(loop_once(&loop, -1), LOOP_BATCH);
	ck_assert_int_eq(loop_once(&loop, -1), LOOP_BATCH);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++)
		ck_assert_uint_eq(probes[i].called, 1);
	loop_fini(&loop);
}
END_TEST

static void on_alarm(int sig)
{
	(void)sig;
}

/* A signal is no event and no error. */
START_TEST(test_signal)
{
	struct sigaction act = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value.tv_usec = 10000 };
	struct loop loop;

	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(sigaction(SIGALRM, &act, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	ck_assert_int_eq(loop_once(&loop, -1), 0);
	loop_fini(&loop);
}
END_TEST

/* The other end went away: reported without being asked for. */
START_TEST(test_hang_up)
{
	struct loop loop;
	struct probe a = { .loop = &loop, .src.ready = probe_ready };
	int fds[2];

	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(pipe(fds), 0);
	a.src.fd = fds[0];
	ck_assert_int_eq(loop_add(&loop, &a.src, EPOLLIN), 0);
	close(fds[1]);
	ck_assert_int_eq(loop_once(&loop, -1), 1);
	ck_assert_uint_eq(a.events, EPOLLHUP);
	loop_fini(&loop);
}
END_TEST

UNIT_MAIN("loop", test_once, test_errors, test_run_quit, test_remove_pending, test_remove_self,
	  test_many, test_signal, test_hang_up)
