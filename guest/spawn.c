/* See spawn.h. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>

#define START_FD 3 /* in the child, behind its streams */

/* Both ends of all: [0] is init's */
struct wires {
	int start[2], in[2], out[2][2];
};

/* @mine: which end of the pipe is init's; pair[0] will be that. */
static long make_pipe(int pair[2], int mine)
{
	int fd[2];
	long err = SYS(pipe2, fd, O_CLOEXEC);

	if (err)
		return err;
	pair[0] = fd[mine];
	pair[1] = fd[!mine];
	return 0;
}

static long make_pipes(struct wires *w, bool input)
{
	long err = input ? make_pipe(w->in, 1) : 0;

	for (int i = 0; !err && i < 2; i++)
		err = make_pipe(w->out[i], 0);
	if (!err && input)
		set_nonblocking(w->in[0]);
	for (int i = 0; !err && i < 2; i++)
		set_nonblocking(w->out[i][0]);
	return err;
}

static long open_fd(int *ret, const char *path, int flags)
{
	long fd = SYS(open, path, flags | O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return fd;
	*ret = (int)fd;
	return 0;
}

/* init has the master twice: it stops to write when the input ends, and goes on to read. */
static long make_terminal(struct wires *w, const struct session_winsize *window)
{
	const struct winsize size = { .ws_row = window->rows, .ws_col = window->columns };
	char path[16 + NUMBER_BYTES] = "/dev/pts/", digits[NUMBER_BYTES];
	const int open = 0;
	const char *number;
	unsigned n = 0;
	long err = open_fd(&w->out[0][0], "/dev/pts/ptmx", O_NONBLOCK), fd;

	if (err == -ENOENT)
		err = open_fd(&w->out[0][0], "/dev/ptmx", O_NONBLOCK);
	if (!err)
		err = SYS(ioctl, w->out[0][0], TIOCSPTLCK, &open);
	if (!err)
		err = SYS(ioctl, w->out[0][0], TIOCGPTN, &n);
	if (err)
		return err;
	if (size.ws_row || size.ws_col)
		SYS(ioctl, w->out[0][0], TIOCSWINSZ, &size);
	fd = SYS(fcntl, w->out[0][0], F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	w->in[0] = (int)fd;
	number = number_text(n, digits);
	memcpy(path + text_len(path), number, text_len(number) + 1);
	return open_fd(&w->out[0][1], path, 0);
}

static void cut(struct wires *w, int end)
{
	close_fd(&w->start[end]);
	close_fd(&w->in[end]);
	close_fd(&w->out[0][end]);
	close_fd(&w->out[1][end]);
}

static void take_streams(const struct wires *w, const struct session_exec *how)
{
	const bool terminal = how->flags & SESSION_TTY;

	SYS(dup2, terminal ? w->out[0][1] : w->in[1], 0);
	SYS(dup2, w->out[0][1], 1);
	SYS(dup2, w->out[!terminal][1], 2);
	if (terminal)
		SYS(ioctl, 0, TIOCSCTTY, 0);
	if (how->flags & SESSION_NO_STDIN)
		SYS(close, 0);
	if (w->start[1] != START_FD)
		SYS(dup3, w->start[1], START_FD, O_CLOEXEC);
	/* No pipe of another command may live longer for this one. (Before Linux 5.9 until it execs.) */
	SYS(close_range, START_FD + 1, ~0u, 0);
}

static _Noreturn void become(const struct words *words, const struct wires *w, const struct session_exec *how)
{
	const uint64_t none = 0;
	struct failure failure;
	struct start_error error;

	SYS(setsid);
	take_streams(w, how);
	SYS(rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
	words_exec(words, &failure);
	error = (struct start_error){ (uint32_t)failure.status, (uint32_t)-failure.err };
	SYS(write, START_FD, &error, sizeof(error));
	SYS(exit_group, failure.status);
	__builtin_unreachable();
}

long spawn(const struct words *words, const struct session_exec *how, struct ends *ret)
{
	struct wires w = { { -1, -1 }, { -1, -1 }, { { -1, -1 }, { -1, -1 } } };
	long rc = make_pipe(w.start, 0);

	if (!rc)
		rc = how->flags & SESSION_TTY ? make_terminal(&w, &how->window) :
						make_pipes(&w, !(how->flags & SESSION_NO_STDIN));
	if (!rc)
		rc = SYS(fork);
	if (!rc)
		become(words, &w, how);
	cut(&w, 1);
	if (rc < 0) {
		cut(&w, 0);
		return rc;
	}
	if (how->flags & SESSION_NO_STDIN)
		close_fd(&w.in[0]);
	*ret = (struct ends){ w.start[0], w.in[0], { w.out[0][0], w.out[1][0] } };
	return rc;
}
