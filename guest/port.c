/* Finds the port by its name in sysfs, and waits by the kernel's events if it is not there yet. See port.h. */
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "lkvm/session.h"
#include "sys.h"

#define PORTS       "/sys/class/virtio-ports/"
#define WAIT_MS     10000
#define LOOK_MS     10 /* in between, where the kernel has no such events */
#define EVENT_BYTES 8192

int port_listen(void)
{
	const struct sockaddr_nl all = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	long fd = SYS(socket, AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && SYS(bind, fd, &all, sizeof(all))) {
		SYS(close, fd);
		return -1;
	}
	return fd < 0 ? -1 : (int)fd;
}

/* as getdents64(2) has it */
struct folder_entry {
	uint64_t inode;
	int64_t offset;
	uint16_t bytes;
	uint8_t type;
	char name[];
};

/* PREFIX NAME SUFFIX. False: it is too long */
static bool make_path(char *path, size_t bytes, const char *prefix, const char *name, const char *suffix)
{
	const size_t a = text_len(prefix), b = text_len(name), c = text_len(suffix);

	if (a + b + c >= bytes)
		return false;
	memcpy(path, prefix, a);
	memcpy(path + a, name, b);
	memcpy(path + a + b, suffix, c + 1);
	return true;
}

static bool is_ours(const char *device)
{
	char path[128], name[sizeof(SESSION_PORT) + 1];
	const char *rest;

	if (!make_path(path, sizeof(path), PORTS, device, "/name") || read_some(path, name, sizeof(name)) < 0)
		return false;
	rest = text_behind(name, SESSION_PORT);
	return rest && (!*rest || *rest == '\n');
}

static int open_device(const char *device)
{
	char path[128];
	long fd;

	if (!make_path(path, sizeof(path), "/dev/", device, ""))
		return -1;
	fd = SYS(open, path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -1 : (int)fd;
}

/* Return: its descriptor, -1: it is not there (yet) */
static int look(void)
{
	_Alignas(struct folder_entry) char buf[4096];
	long dir = SYS(open, PORTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = 0;
	int fd = -1;

	if (dir < 0)
		return -1;
	while (fd < 0 && (n = SYS(getdents64, dir, buf, sizeof(buf))) > 0) {
		const struct folder_entry *e;

		for (long i = 0; fd < 0 && i < n; i += e->bytes) {
			e = (const void *)(buf + i);
			if (e->name[0] != '.' && is_ours(e->name))
				fd = open_device(e->name);
		}
	}
	SYS(close, dir);
	return fd;
}

/* Until the kernel tells of something */
static void wait_event(int events, uint64_t left_ms)
{
	struct pollfd fd = { .fd = events, .events = POLLIN };
	char event[EVENT_BYTES];

	SYS(poll, &fd, 1, events < 0 && left_ms > LOOK_MS ? LOOK_MS : left_ms);
	while (SYS(recvfrom, events, event, sizeof(event), MSG_DONTWAIT, NULL, NULL) > 0)
		;
}

/* It has a name before it is open at the other end; only an edge tells of that. */
static long wait_open(int fd, uint64_t left_ms)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	long epoll = SYS(epoll_create1, EPOLL_CLOEXEC);
	bool open = false;

	if (epoll < 0)
		return epoll;
	SYS(epoll_ctl, epoll, EPOLL_CTL_ADD, fd, &event);
	while (!open && SYS(epoll_wait, epoll, &event, 1, left_ms) > 0)
		open = !(event.events & EPOLLHUP);
	SYS(close, epoll);
	return open ? 0 : -ENOTCONN;
}

int port_open(int events)
{
	const uint64_t until_ms = clock_ns(CLOCK_MONOTONIC) / NS_PER_MS + WAIT_MS;
	uint64_t now_ms;
	long err;
	int fd;

	while ((fd = look()) < 0) {
		now_ms = clock_ns(CLOCK_MONOTONIC) / NS_PER_MS;
		if (now_ms >= until_ms) {
			complain(-ENODEV, "port", SESSION_PORT);
			return -1;
		}
		wait_event(events, until_ms - now_ms);
	}
	err = wait_open(fd, WAIT_MS);
	if (!err)
		return fd;
	complain(err, "port", SESSION_PORT);
	close_fd(&fd);
	return -1;
}
