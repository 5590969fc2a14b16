/* Eventfds; see event.h. */
#include "lkvm/event.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int event_open(unsigned signals)
{
	int fd = eventfd(signals, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void event_signal(int fd)
{
	const uint64_t one = 1;
	int err = errno;

	/* Fails only when the counter is full: then it is readable anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		errno = err;
}

uint64_t event_clear(int fd)
{
	uint64_t signals;

	return read(fd, &signals, sizeof(signals)) == sizeof(signals) ? signals : 0;
}
