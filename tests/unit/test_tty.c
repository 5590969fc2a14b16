/* Links: console/tty.o util/log.o */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "lkvm/console/tty.h"
#include "lkvm/log.h"

static int master, slave;
static struct termios before;

static void new_terminal(void)
{
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
}

static bool is_raw(void)
{
	struct termios t;

	return tcgetattr(slave, &t) == 0 && !(t.c_lflag & (ICANON | ISIG | ECHO | IEXTEN)) &&
	       !(t.c_oflag & OPOST) && !(t.c_iflag & (ICRNL | IXON | ISTRIP | INLCR)) &&
	       t.c_cc[VMIN] == 1 && t.c_cc[VTIME] == 0;
}

static bool is_as_before(void)
{
	struct termios t;

	return tcgetattr(slave, &t) == 0 && t.c_iflag == before.c_iflag &&
	       t.c_oflag == before.c_oflag && t.c_cflag == before.c_cflag &&
	       t.c_lflag == before.c_lflag && !memcmp(t.c_cc, before.c_cc, sizeof(t.c_cc));
}

START_TEST(test_raw_and_back)
{
	new_terminal();
	tty_restore(); /* nothing to restore yet */
	ck_assert(is_as_before());
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(tty_raw(slave), 0);
		ck_assert(is_raw());
		tty_restore();
		ck_assert(is_as_before());
	}
	/* Restoring once more must not undo what the user has set since. */
	ck_assert_int_eq(tty_raw(slave), 0);
	tty_restore();
	before.c_lflag &= ~(tcflag_t)ECHO;
	ck_assert_int_eq(tcsetattr(slave, TCSANOW, &before), 0);
	tty_restore();
	ck_assert(is_as_before());
}
END_TEST

/* After SIGCONT the terminal may still be raw, or have been changed by the shell. */
START_TEST(test_raw_again)
{
	new_terminal();
	ck_assert_int_eq(tty_raw(slave), 0);
	ck_assert_int_eq(tty_raw(slave), 0);
	tty_restore();
	ck_assert(is_as_before());
	ck_assert_int_eq(tty_raw(slave), 0);
	ck_assert_int_eq(tcsetattr(slave, TCSANOW, &before), 0);
	ck_assert_int_eq(tty_raw(slave), 0);
	ck_assert(is_raw());
	tty_restore();
	ck_assert(is_as_before());
}
END_TEST

START_TEST(test_not_a_terminal)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(tty_raw(fds[0]), -ENOTTY);
	ck_assert_int_eq(tty_raw(1000), -EBADF);
	tty_restore();
	ck_assert(!tty_in_foreground(1000));
}
END_TEST

START_TEST(test_output_waiting)
{
	new_terminal();
	ck_assert_int_eq(tcflow(slave, TCOOFF), 0);
	ck_assert_int_eq(tty_raw(slave), 0); /* returns although nothing can be written */
	tty_restore();
	ck_assert(is_as_before());
}
END_TEST

/* Messages end in CR LF while the terminal that they go to is raw, and only then. */
static void expect_message(const char *want)
{
	char buf[64];
	ssize_t n;

	log_info("x");
	n = read(master, buf, sizeof(buf) - 1);
	ck_assert_int_gt(n, 0);
	buf[n] = '\0';
	ck_assert_str_eq(buf, want);
}

START_TEST(test_messages)
{
	int fds[2], err = dup(2);
	char buf[64];

	new_terminal();
	dup2(slave, 2);
	expect_message("lkvm: x\r\n"); /* by the terminal's own doing */
	ck_assert_int_eq(tty_raw(slave), 0);
	expect_message("lkvm: x\r\n");
	tty_restore();
	expect_message("lkvm: x\r\n"); /* not CR CR LF */
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(tty_raw(slave), 0);
	dup2(fds[1], 2);
	ck_assert_int_eq(tty_raw(slave), 0);
	log_info("x");
	ck_assert_int_eq(read(fds[0], buf, sizeof(buf)), 8); /* no CR in a file */
	tty_restore();
	dup2(err, 2);
}
END_TEST

static void on_fault(int sig)
{
	(void)sig;
	tty_restore();
	_exit(0);
}

START_TEST(test_restore_in_signal_handler)
{
	int status;
	pid_t pid;

	new_terminal();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		signal(SIGUSR1, on_fault);
		if (tty_raw(slave) || !is_raw())
			_exit(1);
		raise(SIGUSR1);
		_exit(2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(is_as_before());
}
END_TEST

START_TEST(test_restore_keeps_errno)
{
	new_terminal();
	ck_assert_int_eq(tty_raw(slave), 0);
	close(slave);
	errno = ERANGE;
	tty_restore();
	ck_assert_int_eq(errno, ERANGE);
}
END_TEST

/* Leader of a session with the terminal as its controlling one; in front and then behind. */
static int session(void)
{
	pid_t child;
	int status;

	if (login_tty(slave) < 0)
		return 1;
	slave = 0;
	if (!tty_in_foreground(0))
		return 2;
	child = fork();
	if (!child) {
		setpgid(0, 0);
		if (tty_in_foreground(0))
			_exit(11);
		/* Raw by whoever is in front: a background process must leave it so. */
		signal(SIGTTOU, SIG_IGN);
		if (tty_raw(0))
			_exit(12);
		tty_restore();
		_exit(is_raw() ? 0 : 13);
	}
	if (waitpid(child, &status, 0) != child)
		return 3;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 4;
}

START_TEST(test_foreground)
{
	int status;
	pid_t pid;

	new_terminal();
	ck_assert(tty_in_foreground(slave)); /* not our controlling terminal */
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(session());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(!status, "status %#x", status);
}
END_TEST

UNIT_MAIN("tty", test_raw_and_back, test_raw_again, test_not_a_terminal, test_output_waiting,
	  test_messages, test_restore_in_signal_handler, test_restore_keeps_errno, test_foreground)
