/* Pseudo terminals; see pty.h. */
#include "lkvm/console/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static int open_slave(struct pty *pty)
{
	struct termios raw;

	if (grantpt(pty->master) < 0 || unlockpt(pty->master) < 0)
		return -errno;
	if (ptsname_r(pty->master, pty->name, sizeof(pty->name)))
		return -errno;
	pty->slave = open(pty->name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->slave < 0 || tcgetattr(pty->slave, &raw) < 0)
		return -errno;
	cfmakeraw(&raw); /* or the host would echo what the guest prints back to it */
	return tcsetattr(pty->slave, TCSANOW, &raw) < 0 ? -errno : 0;
}

int pty_open(struct pty *ret)
{
	struct pty pty = { .master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC),
			   .slave = -1 };
	int err = pty.master < 0 ? -errno : open_slave(&pty);

	if (err) {
		pty_close(&pty);
		return err;
	}
	*ret = pty;
	return 0;
}

void pty_close(struct pty *pty)
{
	if (pty->slave >= 0)
		close(pty->slave);
	if (pty->master >= 0)
		close(pty->master);
	pty->master = pty->slave = -1;
}
