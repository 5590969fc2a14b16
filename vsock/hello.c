/* The lines with which a client of a vsock begins; see lkvm/vsock.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lkvm/vsock.h"

#define WORD "CONNECT "
#define MOST 32 /* bytes of a line; the longest that is one has 19 */

/* A line without its end. Return: 0 or -EPROTO */
static int parse(const char *line, size_t len, uint32_t *ret_port)
{
	const size_t word = sizeof(WORD) - 1;
	uint64_t port = 0;

	if (len <= word || strncasecmp(line, WORD, word))
		return -EPROTO;
	for (size_t i = word; i < len; i++) {
		if (line[i] < '0' || line[i] > '9')
			return -EPROTO;
		port = port * 10 + (uint64_t)(line[i] - '0');
		if (port >= VSOCK_ANY_PORT)
			return -EPROTO;
	}
	*ret_port = (uint32_t)port;
	return 0;
}

static int receive(int fd, void *buf, size_t len, int flags, size_t *ret)
{
	ssize_t n;

	do {
		n = recv(fd, buf, len, flags | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -EPIPE;
	*ret = (size_t)n;
	return 0;
}

/* The end of the line is optional in a message, which has one of its own. */
static int read_message(int fd, uint32_t *ret_port)
{
	char line[MOST];
	size_t n;
	int err = receive(fd, line, sizeof(line), MSG_TRUNC, &n);

	if (err)
		return err;
	if (n > sizeof(line))
		return -EPROTO;
	return parse(line, line[n - 1] == '\n' ? n - 1 : n, ret_port);
}

static int read_line(int fd, uint32_t *ret_port)
{
	char line[MOST];
	const char *end;
	size_t n;
	int err = receive(fd, line, sizeof(line), MSG_PEEK, &n);

	if (err)
		return err;
	end = memchr(line, '\n', n);
	if (!end)
		return n < sizeof(line) ? -EAGAIN : -EPROTO;
	err = receive(fd, line, (size_t)(end + 1 - line), 0, &n);
	return err ? err : parse(line, n - 1, ret_port);
}

int vsock_hello_read(int fd, enum vsock_kind kind, uint32_t *ret_port)
{
	return kind == VSOCK_STREAM ? read_line(fd, ret_port) : read_message(fd, ret_port);
}

static int say(int fd, const char *word, uint32_t port)
{
	char line[MOST];
	int n = snprintf(line, sizeof(line), "%s%u\n", word, port);

	return send(fd, line, (size_t)n, MSG_NOSIGNAL) == n ? 0 : errno ? -errno : -EIO;
}

int vsock_hello_answer(int fd, uint32_t port)
{
	return say(fd, "OK ", port);
}

int vsock_hello_write(int fd, uint32_t port)
{
	return say(fd, WORD, port);
}
