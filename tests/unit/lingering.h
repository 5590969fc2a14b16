/* A socket whose last close(2) waits 40 s for somebody who does not read. */
#ifndef TESTS_UNIT_LINGERING_H
#define TESTS_UNIT_LINGERING_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* Return: the socket; its peer stays open. Or -1: there is no network */
static inline int lingering_socket(void)
{
	static const char much[1 << 16];
	const struct linger linger = { 1, 40 };
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *addr = (struct sockaddr *)&at;
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(at);

	if (bind(listener, addr, len) || listen(listener, 1) || getsockname(listener, addr, &len) ||
	    connect(fd, addr, len) || accept(listener, NULL, NULL) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		return -1;
	close(listener);
	while (send(fd, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	return fd;
}

#endif
