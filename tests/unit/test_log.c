/* Links: util/log.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

START_TEST(test_topics)
{
	capture();
	log_debug(LOG_RAM, "off");
	ck_assert_str_eq(logged(), "");
	ck_assert_int_eq(log_set_topics("ram,cpu"), 0);
	ck_assert(log_topic_on(LOG_RAM) && log_topic_on(LOG_CPU) && !log_topic_on(LOG_BOOT));
	log_debug(LOG_RAM, "slot %d", 1);
	ck_assert_str_eq(logged(), "lkvm: debug: slot 1\n");
	log_debug(LOG_BOOT, "off");
	ck_assert_str_eq(logged(), "");

	static const char *const bad[] = { "nonsense", "boot,nonsense", "boot,,ram", ",", "bootx", "boo" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(log_set_topics(bad[i]), -EINVAL);
		ck_assert(log_topic_on(LOG_RAM) && !log_topic_on(LOG_BOOT));
	}
	ck_assert_str_eq(logged(), "");
	ck_assert_int_eq(log_set_topics("all"), 0);
	ck_assert(log_topic_on(LOG_BOOT) && log_topic_on(LOG_DEVICE));
	ck_assert_int_eq(log_set_topics(NULL), 0);
	ck_assert(!log_topic_on(LOG_RAM));
	ck_assert_int_eq(log_set_topics(""), 0);
}
END_TEST

/* Every name that is told can be used, and stands for one topic of its own. */
START_TEST(test_topic_names)
{
	char names[256], *save = NULL;
	unsigned seen = 0, n = 0;

	ck_assert_str_eq(log_topic_names(), log_topic_names());
	snprintf(names, sizeof(names), "%s", log_topic_names());
	for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		ck_assert_int_eq(log_set_topics(name), 0);
		for (unsigned bit = 0; strcmp(name, "all") && bit < 7; bit++) {
			if (!log_topic_on((enum log_topic)(1U << bit)))
				continue;
			ck_assert(!(seen & (1U << bit)));
			seen |= 1U << bit;
			n++;
		}
	}
	ck_assert_uint_eq(n, 7);
	ck_assert_uint_eq(seen, 0x7f);
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

UNIT_MAIN("log", test_levels, test_topics, test_topic_names, test_raw, test_long,
	  test_control_characters, test_closed_stderr, test_threads, test_ratelimit)
