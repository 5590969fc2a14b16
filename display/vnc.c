/* Where VNC viewers come in: options, the listening socket, and a thread for each; see lkvm/vnc.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/event.h"
#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/types.h"
#include "vnc-internal.h"

#define BACKLOG    16
#define ANY_PORTS  1000 /* that are tried for one that is free */
#define WHERE_BYTES 128

static const struct thread_type viewer_threads = { .name = "vnc", .stack_bytes = 1 * MIB };

/* ---- options ---- */

/* The first line, of which the protocol takes eight bytes */
static int parse_password_file(void *config, const char *option, const char *value)
{
	struct vnc_options *o = config;
	FILE *in = fopen(value, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;

	if (!in) {
		log_err(-errno, "option '--%s': password-file '%s'", option, value);
		return -EINVAL;
	}
	len = getline(&line, &cap, in);
	fclose(in);
	if (len > 0 && line[len - 1] == '\n')
		line[--len] = 0;
	if (len > 0)
		snprintf(o->password, sizeof(o->password), "%.*s", VNC_PASSWORD_BYTES, line);
	free(line);
	if (len <= 0)
		return log_errx(-EINVAL, "option '--%s': password-file '%s' has no password in its first line", option, value);
	if (len > VNC_PASSWORD_BYTES)
		log_warn("--%s: of the password in '%s' the protocol uses the first %d bytes", option, value, VNC_PASSWORD_BYTES);
	return 0;
}

const struct opt_key vnc_keys[] = {
	{ .name = "password-file", .arg = "FILE", .kind = KEY_PARSE, .parse = parse_password_file,
	  .help = "Viewers must know the first line of this file, eight bytes at most" },
	KEYS_END,
};

static int parse_path(struct vnc_options *o, const char *option, const char *path)
{
	if (!*path || strlen(path) >= sizeof(o->path))
		return log_errx(-EINVAL, "option '--%s': the path of a UNIX socket has 1 to %zu bytes", option,
				sizeof(o->path) - 1);
	strcpy(o->path, path);
	return 0;
}

/* [ADDR]:N; an IPv6 address may be in brackets */
static int parse_tcp(struct vnc_options *o, const char *option, char *word)
{
	char *colon = strrchr(word, ':'), *address = word;
	unsigned number = 0;

	if (!colon)
		return log_errx(-EINVAL, "option '--%s': '%s' is neither [ADDRESS]:NUMBER nor unix:PATH", option, word);
	*colon = 0;
	if (*address == '[' && colon[-1] == ']') {
		address++;
		colon[-1] = 0;
	}
	if (strlen(address) >= sizeof(o->address))
		return log_errx(-EINVAL, "option '--%s': address '%s' is too long", option, address);
	o->any_port = !strcmp(colon + 1, "auto");
	if (!o->any_port && options_unsigned(colon + 1, 0, UINT16_MAX - VNC_PORT, &number))
		return log_errx(-EINVAL, "option '--%s': display '%s' is neither a number from 0 to %d nor auto", option, colon + 1,
				UINT16_MAX - VNC_PORT);
	o->port = VNC_PORT + number;
	strcpy(o->address, *address ? address : "127.0.0.1");
	return 0;
}

int vnc_parse(struct vnc_options *ret, const char *option, const char *arg)
{
	char *text = strdup(arg), *rest = text, *word;
	int err;

	*ret = (struct vnc_options){ .wanted = true };
	if (!text)
		return log_err(-ENOMEM, "option '--%s'", option);
	word = keys_word(&rest);
	if (!word)
		err = log_errx(-EINVAL, "option '--%s' wants [ADDRESS]:NUMBER or unix:PATH", option);
	else
		err = strncmp(word, "unix:", 5) ? parse_tcp(ret, option, word) : parse_path(ret, option, word + 5);
	if (!err && rest && *rest)
		err = keys_parse(option, vnc_keys, ret, rest);
	free(text);
	return err;
}

/* ---- the listening socket ---- */

struct vnc {
	struct vnc_setup setup;
	struct vnc_library *lib;
	struct loop_source listener;
	struct vnc_client *first;
	unsigned numbered; /* viewers that there have been */
	bool has_file;     /* a UNIX socket's */
	char where[WHERE_BYTES];
};

/* Return: fd or -errno, not logged */
static int listen_at(const struct sockaddr *at, socklen_t len)
{
	const int one = 1;
	int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;

	if (fd < 0)
		return -errno;
	if (at->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, at, len) || listen(fd, BACKLOG))
		err = -errno;
	if (!err)
		return fd;
	close(fd);
	return err;
}

static int cannot_listen(const char *where, int err)
{
	return log_err(err, "VNC: cannot listen on %s", where);
}

/* Has whoever left this socket's file gone? */
static bool is_dead(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool dead = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) && errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return dead;
}

static int listen_unix(struct vnc *vnc)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd;

	snprintf(vnc->where, sizeof(vnc->where), "unix:%s", vnc->setup.options->path);
	strcpy(at.sun_path, vnc->setup.options->path);
	fd = listen_at((const struct sockaddr *)&at, sizeof(at));
	if (fd == -EADDRINUSE && is_dead(&at) && !unlink(at.sun_path))
		fd = listen_at((const struct sockaddr *)&at, sizeof(at));
	if (fd < 0)
		return cannot_listen(vnc->where, fd);
	vnc->has_file = true;
	return fd;
}

static int listen_tcp(struct vnc *vnc)
{
	const struct vnc_options *o = vnc->setup.options;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	const char *form = strchr(o->address, ':') ? "[%s]:%u" : "%s:%u";
	struct addrinfo *list;
	char service[12];
	int fd = -EADDRINUSE;

	for (unsigned port = o->port; fd == -EADDRINUSE && port < o->port + (o->any_port ? ANY_PORTS : 1); port++) {
		int err;

		snprintf(vnc->where, sizeof(vnc->where), form, o->address, port);
		snprintf(service, sizeof(service), "%u", port);
		err = getaddrinfo(o->address, service, &hints, &list);
		if (err)
			return log_errx(-EINVAL, "VNC: cannot listen on %s: %s", vnc->where, gai_strerror(err));
		fd = listen_at(list->ai_addr, list->ai_addrlen);
		freeaddrinfo(list);
	}
	return fd < 0 ? cannot_listen(vnc->where, fd) : fd;
}

/* ---- viewers ---- */

static void run_client(void *arg)
{
	struct vnc_client *c = arg;

	vnc_client_serve(c);
	atomic_store(&c->gone, true);
}

static void free_client(struct vnc_client *c)
{
	thread_join(c->thread, -1);
	if (c->guard >= 0)
		close(c->guard);
	free(c);
}

static void reap(struct vnc *vnc)
{
	struct vnc_client **at = &vnc->first;

	while (*at) {
		struct vnc_client *c = *at;

		if (!atomic_load(&c->gone)) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free_client(c);
	}
}

unsigned vnc_viewers(struct vnc *vnc)
{
	unsigned n = 0;

	reap(vnc);
	for (const struct vnc_client *c = vnc->first; c; c = c->next)
		n++;
	return n;
}

/* Takes over @sock. Return: 0 or -errno, not logged */
static int add_client(struct vnc *vnc, int sock)
{
	struct vnc_client *c = calloc(1, sizeof(*c));
	char name[12];
	int err;

	if (!c) {
		close(sock);
		return -ENOMEM;
	}
	c->setup = &vnc->setup;
	c->lib = vnc->lib;
	c->sock = sock;
	c->guard = fcntl(sock, F_DUPFD_CLOEXEC, 0);
	snprintf(name, sizeof(name), "%u", vnc->numbered++);
	err = c->guard < 0 ? -errno : thread_new(&viewer_threads, name, run_client, c, &c->thread);
	if (err) {
		close(sock);
		free_client(c);
		return err;
	}
	c->next = vnc->first;
	vnc->first = c;
	return 0;
}

static void accepted(struct loop_source *src, uint32_t events)
{
	struct vnc *vnc = container_of(src, struct vnc, listener);
	int sock = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), err;

	(void)events;
	if (sock < 0)
		return;
	if (vnc_viewers(vnc) == VNC_MAX_CLIENTS) {
		log_warn("VNC: there are %d viewers, one more is sent away", VNC_MAX_CLIENTS);
		close(sock);
		return;
	}
	err = add_client(vnc, sock);
	if (err)
		log_err(err, "VNC: viewer");
}

/* ---- the server ---- */

int vnc_new(const struct vnc_setup *setup, struct vnc **ret)
{
	struct vnc *vnc = calloc(1, sizeof(*vnc));
	int err;

	if (!vnc)
		return log_err(-ENOMEM, "VNC");
	vnc->setup = *setup;
	vnc->listener = (struct loop_source){ -1, accepted };
	err = vnc_library_open(&vnc->lib);
	if (!err) {
		vnc->listener.fd = *setup->options->path ? listen_unix(vnc) : listen_tcp(vnc);
		err = vnc->listener.fd < 0 ? vnc->listener.fd : loop_add(setup->loop, &vnc->listener, EPOLLIN);
	}
	if (err) {
		vnc_free(vnc);
		return err;
	}
	*ret = vnc;
	return 0;
}

void vnc_unlink_now(const struct vnc *vnc)
{
	if (vnc && vnc->has_file)
		unlink(vnc->setup.options->path);
}

void vnc_free(struct vnc *vnc)
{
	if (!vnc)
		return;
	if (vnc->listener.fd >= 0) {
		loop_del(vnc->setup.loop, &vnc->listener);
		close(vnc->listener.fd);
	}
	vnc_unlink_now(vnc);
	for (const struct vnc_client *c = vnc->first; c; c = c->next)
		shutdown(c->guard, SHUT_RDWR);
	while (vnc->first) {
		struct vnc_client *c = vnc->first;

		vnc->first = c->next;
		free_client(c);
	}
	vnc_library_close(vnc->lib);
	free(vnc);
}

const char *vnc_where(const struct vnc *vnc)
{
	return vnc->where;
}
