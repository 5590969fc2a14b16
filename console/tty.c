/* The user's terminal; see tty.h. */
#include "lkvm/console/tty.h"

#include <errno.h>
#include <stdatomic.h>
#include <termios.h>
#include <unistd.h>

#include "lkvm/log.h"

/* Signal handlers have no context: what they must restore can only be found here. */
static struct termios saved;
static int raw_fd;
static atomic_bool raw_on;

bool tty_in_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	return group < 0 ? errno == ENOTTY : group == getpgrp();
}

int tty_raw(int fd)
{
	struct termios raw;

	/* While raw_on is set the terminal may be raw by our own doing: keep what was saved. */
	if (!atomic_load(&raw_on) && tcgetattr(fd, &saved) < 0)
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	/* Not TCSADRAIN: a terminal whose output is stopped must not stop us. */
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return -errno;
	raw_fd = fd;
	atomic_store(&raw_on, true);
	log_set_raw(isatty(STDERR_FILENO));
	return 0;
}

void tty_restore(void)
{
	int err = errno;

	if (atomic_exchange(&raw_on, false)) {
		if (tty_in_foreground(raw_fd))
			tcsetattr(raw_fd, TCSANOW, &saved);
		log_set_raw(false);
	}
	errno = err;
}
