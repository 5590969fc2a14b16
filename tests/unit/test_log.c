/* Links: util/log.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

/* Standard error becomes a pipe; each test has a process of its own. */
static int log_fd;

static void capture(void)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	log_fd = fds[0];
}

/* All that was logged since the last call. */
static const char *logged(void)
{
	static char text[65536];
	ssize_t n = read(log_fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

START_TEST(test_levels)
{
	capture();
	ck_assert_int_eq(log_err(-ENOENT, "open '%s'", "/x"), -ENOENT);
	ck_assert_str_eq(logged(), "lkvm: open '/x': No such file or directory\n");
	ck_assert_int_eq(log_err(0, "nothing"), 0);
	ck_assert_str_eq(logged(), "lkvm: nothing\n");
	ck_assert_int_eq(log_errx(-EINVAL, "bad %d", 5), -EINVAL);
	ck_assert_str_eq(logged(), "lkvm: bad 5\n");
	log_warn("careful %s", "now");
	ck_assert_str_eq(logged(), "lkvm: warning: careful now\n");
	log_info("hello");
	ck_assert_str_eq(logged(), "lkvm: hello\n");
}
END_TEST

START_TEST(test_last_error)
{
	char text[64], small[8];

	capture();
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "");
	log_err(-ENOENT, "open '%s'", "/x\n");
	log_warn("no failure");
	log_info("nor is this");
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "open '/x?': No such file or directory");
	log_last_error(small, sizeof(small));
	ck_assert_str_eq(small, "open '/");
	ck_assert_str_eq(logged(), "lkvm: open '/x?': No such file or directory\n"
				   "lkvm: warning: no failure\nlkvm: nor is this\n");

	log_hold_errors(true);
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "");
	log_errx(-EINVAL, "held");
	log_info("said");
	ck_assert_str_eq(logged(), "lkvm: said\n");
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "held");
	log_hold_errors(false);
	log_errx(-EINVAL, "again");
	ck_assert_str_eq(logged(), "lkvm: again\n");
}
END_TEST

START_TEST(test_topics)
{
	capture();
	log_debug(LOG_RAM, "off");
	ck_assert_str_eq(logged(), "");
	log_set_topics(LOG_RAM | LOG_CPU);
	ck_assert(log_topic_on(LOG_RAM) && log_topic_on(LOG_CPU) && !log_topic_on(LOG_BOOT));
	log_debug(LOG_RAM, "slot %d", 1);
	ck_assert_str_eq(logged(), "lkvm: debug: slot 1\n");
	log_debug(LOG_BOOT, "off");
	ck_assert_str_eq(logged(), "");
	log_set_topics(0);
	ck_assert(!log_topic_on(LOG_RAM));
}
END_TEST

/* Each topic has a key, and one key has all. */
START_TEST(test_topic_keys)
{
	unsigned seen = 0, n = 0;
	const struct opt_key *key = log_topic_keys;

	for (; key[1].name; key++, n++) {
		ck_assert_int_eq(key->kind, KEY_BITS);
		ck_assert(!(seen & key->bits));
		seen |= key->bits;
	}
	ck_assert_uint_eq(n, 7);
	ck_assert_uint_eq(seen, 0x7f);
	ck_assert_str_eq(key->name, "all");
	ck_assert_uint_eq(key->bits & seen, seen);
}
END_TEST

START_TEST(test_raw)
{
	capture();
	log_set_raw(true);
	log_info("a");
	ck_assert_str_eq(logged(), "lkvm: a\r\n");
	log_set_raw(false);
	log_info("a");
	ck_assert_str_eq(logged(), "lkvm: a\n");
}
END_TEST

/* A long message is cut, but it stays one line, and the line end is never lost. */
START_TEST(test_long)
{
	static char text[3000];

	capture();
	for (size_t len = 1000; len < 1030; len++) {
		const char *line;

		memset(text, 'x', len);
		text[len] = '\0';
		log_set_raw(len % 2);
		log_err(-ENOENT, "%s", text);
		line = logged();
		ck_assert_uint_le(strlen(line), 1024);
		ck_assert_uint_ge(strlen(line), 1000);
		ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
		ck_assert_int_eq(line[strlen(line) - 2] == '\r', len % 2);
		ck_assert_ptr_null(strchr(line, '?'));
	}
	memset(text, 'x', sizeof(text) - 1);
	log_warn("%s", text);
	ck_assert_uint_le(strlen(logged()), 1024);
}
END_TEST

/* One message is one line, and the guest cannot talk to the terminal through it. */
START_TEST(test_control_characters)
{
	capture();
	log_info("a\nb\rc\td\033[2Je\177f\001");
	ck_assert_str_eq(logged(), "lkvm: a?b?c?d?[2Je?f?\n");
	log_set_raw(true);
	log_info("gr\303\274n\n");
	ck_assert_str_eq(logged(), "lkvm: gr\303\274n?\r\n");
	log_set_raw(false);
	log_info("\302\2332J \342\200\256evil");
	ck_assert_str_eq(logged(), "lkvm: ?2J ?evil\n");
}
END_TEST

START_TEST(test_closed_stderr)
{
	close(STDERR_FILENO);
	ck_assert_int_eq(log_err(-EIO, "nobody reads this"), -EIO);
}
END_TEST

#define THREADS 4
#define LINES   100

static void *log_lines(void *letter)
{
	for (int i = 0; i < LINES; i++)
		log_info("%.60s", (const char *)letter);
	return NULL;
}

START_TEST(test_threads)
{
	static char texts[THREADS][61];
	pthread_t threads[THREADS];
	const char *line;
	unsigned n = 0;

	capture();
	for (int i = 0; i < THREADS; i++) {
		memset(texts[i], 'a' + i, 60);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, log_lines, texts[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (line = logged(); *line; line += 67, n++) {
		ck_assert_uint_eq(strcspn(line, "\n"), 66);
		ck_assert_uint_eq(strspn(line + 6, (char[]){ line[6], '\0' }), 60);
	}
	ck_assert_uint_eq(n, THREADS * LINES);
}
END_TEST

/* A pipe that blocks, filled to its last byte: as full as a reader that stands still leaves it. */
static void capture_full(void)
{
	static const char filler[4096];
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
	while (write(fds[1], filler, sizeof(filler)) > 0)
		;
	ck_assert_int_eq(fcntl(fds[1], F_SETFL, 0), 0);
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	log_fd = fds[0];
}

static void discard(int fd)
{
	static char buf[65536];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static int flags_of_stderr(void)
{
	return fcntl(STDERR_FILENO, F_GETFL);
}

/* Nobody reads: no message waits, and the first one that goes out again says how many did not. */
START_TEST(test_full_pipe)
{
	capture_full();
	log_set_patience(0);
	for (int i = 0; i < 3; i++)
		log_warn("lost %d", i);
	ck_assert_int_eq(flags_of_stderr() & O_NONBLOCK, 0);
	discard(log_fd);
	log_info("here");
	ck_assert_str_eq(logged(), "lkvm: 3 messages were lost: standard error was full\n"
				   "lkvm: here\n");
	log_info("there");
	ck_assert_str_eq(logged(), "lkvm: there\n");
	log_set_raw(true);
	log_text("a\nb\n", 4);
	ck_assert_str_eq(logged(), "a\nb\n");
}
END_TEST

START_TEST(test_full_socket)
{
	static const char filler[1000];
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	while (send(fds[1], filler, sizeof(filler), MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_set_patience(0);
	log_info("lost");
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	discard(fds[0]);
	log_fd = fds[0];
	log_info("here");
	ck_assert_str_eq(logged(), "lkvm: 1 message was lost: standard error was full\n"
				   "lkvm: here\n");
}
END_TEST

/* Ctrl-S, or a terminal emulator that hangs. */
START_TEST(test_full_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios raw;
	const char *text;

	ck_assert_int_ge(master, 0);
	ck_assert(grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(slave, 0);
	ck_assert_int_eq(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(slave, TCSANOW, &raw), 0);
	ck_assert_int_eq(dup2(slave, STDERR_FILENO), STDERR_FILENO);
	log_set_patience(0);
	for (int i = 0; i < 20000; i++)
		log_info("a line that a terminal which nobody reads takes so and so many of");
	ck_assert_int_eq(flags_of_stderr() & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	discard(master);
	log_fd = master;
	log_info("here");
	for (text = logged(); !strstr(text, "lkvm: here\n"); text = logged())
		ck_assert(*text);
	ck_assert_ptr_nonnull(strstr(text, "messages were lost: standard error was full\nlkvm: here\n"));
	ck_assert(text[0] == '\n' || !strncmp(text, "lkvm:", 5));
}
END_TEST

static void *read_late(void *unused)
{
	static char full[65536];

	(void)unused;
	usleep(50000);
	/* All that was there, in one call: another would read the message that comes then. */
	ck_assert_int_eq(read(log_fd, full, sizeof(full)), sizeof(full));
	return NULL;
}

/* A reader that is only slow gets the message; one that stands still delays us once. */
START_TEST(test_patience)
{
	pthread_t reader;
	uint64_t start;

	capture_full();
	log_set_patience(20000);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_late, NULL), 0);
	log_info("here");
	pthread_join(reader, NULL);
	ck_assert_str_eq(logged(), "lkvm: here\n");

	capture_full();
	log_set_patience(100);
	start = now_ns();
	for (int i = 0; i < 50; i++)
		log_info("lost");
	ck_assert_uint_ge(now_ns() - start, 90 * 1000000);
	ck_assert_uint_lt(now_ns() - start, 4000 * 1000000ULL);
}
END_TEST

/* A reader that has left is no reader that stands still. */
START_TEST(test_reader_left)
{
	capture_full();
	close(log_fd);
	log_set_patience(-1);
	log_info("nobody");
	log_set_patience(20000);
	log_info("nobody");
}
END_TEST

START_TEST(test_ratelimit)
{
	struct ratelimit rl = { 0 };

	for (int i = 0; i < 5; i++)
		ck_assert(ratelimit_ok(&rl));
	for (int i = 0; i < 100; i++)
		ck_assert(!ratelimit_ok(&rl));
	/* As if 11 seconds had passed. */
	rl.window_start_ns -= 11 * 1000000000ULL;
	for (int i = 0; i < 5; i++)
		ck_assert(ratelimit_ok(&rl));
	ck_assert(!ratelimit_ok(&rl));
	/* 9 seconds are not enough. */
	rl.window_start_ns -= 9 * 1000000000ULL;
	ck_assert(!ratelimit_ok(&rl));
}
END_TEST

UNIT_MAIN("log", test_levels, test_last_error, test_topics, test_topic_keys, test_raw, test_long,
	  test_control_characters, test_closed_stderr, test_threads, test_full_pipe, test_full_socket,
	  test_full_terminal, test_patience, test_reader_left, test_ratelimit)
