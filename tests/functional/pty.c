/*
 * pty [STEP]... -- CMD [ARG]...: run CMD as the leader of a session on a terminal of its own, and
 * do what the steps say, in order:
 *
 *	expect TEXT     wait until CMD has written TEXT, after what was expected before
 *	send TEXT       type it
 *	raw, cooked     wait until the terminal is in this mode
 *	size COLSxROWS  give the terminal this size; as the first step: before CMD starts
 *	kill NUMBER     send the signal to CMD
 *	shell COMMAND   run it elsewhere, until it succeeds
 *
 * Then CMD has to end. What it wrote goes to standard output. The exit status is CMD's own, 128+n
 * if signal n ended it; 97: a step failed or took more than 20 s ($PTY_SECONDS), 98: the terminal's
 * settings were not restored. Both are explained on standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

#define STATUS_STEP      97
#define STATUS_SETTINGS  98
#define TRANSCRIPT_BYTES 65536

static int master, slave;
static int limit_s = 20;
static pid_t child;
static char transcript[TRANSCRIPT_BYTES + 1];
static size_t length, expected; /* of it: received, and before which everything was expected */

static void __attribute__((noreturn)) fail(const char *step, const char *text)
{
	fprintf(stderr, "pty: %s %s: does not happen; the terminal shows:\n%s\n", step, text,
		transcript);
	kill(-child, SIGKILL);
	exit(STATUS_STEP);
}

/* When it is full all of it is forgotten: a step waits for what comes soon. */
static void keep(const char *buf, size_t n)
{
	if (length + n > TRANSCRIPT_BYTES) {
		length = 0;
		expected = 0;
	}
	memcpy(transcript + length, buf, n);
	length += n;
	transcript[length] = '\0';
}

/* Take what there is, or wait a little for it. */
static void listen_to_child(void)
{
	struct pollfd pfd = { .fd = master, .events = POLLIN };
	char buf[4096];
	ssize_t n;

	if (poll(&pfd, 1, 10) != 1)
		return;
	n = read(master, buf, sizeof(buf));
	if (n <= 0)
		return;
	if (write(STDOUT_FILENO, buf, (size_t)n) != n)
		exit(STATUS_STEP);
	for (ssize_t i = 0; i < n; i++)
		if (!buf[i])
			buf[i] = '?';
	keep(buf, (size_t)n);
}

static bool seen(const char *text)
{
	const char *at = strstr(transcript + expected, text);

	if (at)
		expected = (size_t)(at - transcript) + strlen(text);
	return at;
}

static bool in_mode(bool raw)
{
	struct termios t;

	return tcgetattr(slave, &t) == 0 && !(t.c_lflag & (ICANON | ISIG)) == raw &&
	       !(t.c_oflag & OPOST) == raw;
}

static bool set_size(const char *text)
{
	struct winsize size = { 0 };

	return sscanf(text, "%hux%hu", &size.ws_col, &size.ws_row) == 2 &&
	       ioctl(master, TIOCSWINSZ, &size) == 0;
}

static bool happened(const char *step, const char *text)
{
	if (!strcmp(step, "expect"))
		return seen(text);
	if (!strcmp(step, "send"))
		return write(master, text, strlen(text)) == (ssize_t)strlen(text);
	if (!strcmp(step, "size"))
		return set_size(text);
	if (!strcmp(step, "shell"))
		return system(text) == 0;
	if (!strcmp(step, "kill"))
		return kill(child, atoi(text)) == 0;
	return in_mode(!strcmp(step, "raw"));
}

static void do_step(const char *step, const char *text)
{
	time_t deadline = time(NULL) + limit_s;

	while (!happened(step, text)) {
		if (time(NULL) > deadline)
			fail(step, text);
		listen_to_child();
	}
}

static int wait_for_end(void)
{
	time_t deadline = time(NULL) + limit_s;
	int status;

	while (waitpid(child, &status, WNOHANG) != child) {
		if (time(NULL) > deadline)
			fail("the end", "of the command");
		listen_to_child();
	}
	listen_to_child();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool same_settings(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && !memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc));
}

static void start(char **cmd)
{
	child = fork();
	if (child)
		return;
	close(master);
	if (login_tty(slave) == 0)
		execvp(cmd[0], cmd);
	perror(cmd[0]);
	_exit(127);
}

/* Return: where the command starts in @argv, 0 if it does not. */
static int find_command(char **argv)
{
	for (int i = 1; argv[i]; i++)
		if (!strcmp(argv[i], "--") && argv[i + 1])
			return i + 1;
	return 0;
}

int main(int argc, char **argv)
{
	struct termios before, after;
	int cmd = find_command(argv), first = 1, status;

	(void)argc;
	if (!cmd || openpty(&master, &slave, NULL, NULL, NULL) || tcgetattr(slave, &before)) {
		fprintf(stderr, "usage: pty [STEP]... -- CMD [ARG]...\n");
		return STATUS_STEP;
	}
	if (getenv("PTY_SECONDS"))
		limit_s = atoi(getenv("PTY_SECONDS"));
	if (!strcmp(argv[first], "size")) {
		do_step(argv[first], argv[first + 1]);
		first += 2;
	}
	start(argv + cmd);
	for (int i = first; i < cmd - 1; i++) {
		bool mode = !strcmp(argv[i], "raw") || !strcmp(argv[i], "cooked");

		do_step(argv[i], mode ? "" : argv[i + 1]);
		i += !mode;
	}
	status = wait_for_end();
	if (tcgetattr(slave, &after) || !same_settings(&before, &after)) {
		fprintf(stderr, "pty: the terminal's settings were not restored\n");
		return STATUS_SETTINGS;
	}
	return status;
}
