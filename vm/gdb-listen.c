/* Where gdb's clients come from: --gdb, and the socket that it asks for; see lkvm/vm/gdb.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/options.h"
#include "lkvm/vm/gdb.h"

/* ---- the socket ---- */

static bool is_socket(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISSOCK(st.st_mode);
}

/* A socket that nobody listens at any more is in the way. Return: 0: it is not now; -errno */
static int make_way(const char *path, const struct sockaddr_un *addr)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) || errno == EAGAIN)
		err = -EADDRINUSE;
	else if (errno == ECONNREFUSED)
		err = !is_socket(path) ? -EADDRINUSE : unlink(path) ? -errno : 0;
	close(fd);
	return err;
}

static int bind_unix(const struct gdb_config *cfg)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const size_t n = strlen(cfg->path);
	int fd, err;

	if (n >= sizeof(addr.sun_path))
		return log_err(-ENAMETOOLONG, "gdb: '%s'", cfg->path);
	memcpy(addr.sun_path, cfg->path, n);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return log_err(-errno, "gdb: socket");
	err = make_way(cfg->path, &addr);
	if (!err && bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	if (!err && chmod(cfg->path, 0600))
		err = -errno;
	if (err) {
		close(fd);
		return log_err(err, "gdb: cannot listen on '%s'", cfg->path);
	}
	return fd;
}

static int tcp_address(const struct gdb_config *cfg, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, cfg->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)cfg->port);
		*ret_len = sizeof(*v4);
		return 0;
	}
	if (inet_pton(AF_INET6, cfg->host, &v6->sin6_addr) != 1)
		return -EINVAL;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)cfg->port);
	*ret_len = sizeof(*v6);
	return 0;
}

static int bind_tcp(const struct gdb_config *cfg)
{
	struct sockaddr_storage addr;
	socklen_t len;
	int err = tcp_address(cfg, &addr, &len), on = 1, fd = -1;

	if (!err) {
		fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		err = fd < 0 ? -errno : 0;
	}
	if (!err) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		err = bind(fd, (struct sockaddr *)&addr, len) ? -errno : 0;
	}
	if (!err)
		return fd;
	if (fd >= 0)
		close(fd);
	return log_err(err, "gdb: cannot listen on %s:%u", cfg->host, cfg->port);
}

/* Port 0 is any: which one it has become has to be said. */
static void say_where(int fd, const struct gdb_config *cfg)
{
	struct sockaddr_in6 addr = { 0 }; /* the port stands at the same place in an address of IPv4 */
	socklen_t len = sizeof(addr);

	if (cfg->where == GDB_UNIX) {
		log_info("gdb: listening on '%s'", cfg->path);
		return;
	}
	getsockname(fd, (struct sockaddr *)&addr, &len);
	log_info("gdb: listening on %s:%u", cfg->host, ntohs(addr.sin6_port));
}

int gdb_listen(const struct gdb_config *cfg)
{
	const int fd = cfg->where == GDB_UNIX ? bind_unix(cfg) : bind_tcp(cfg);
	int err;

	if (fd < 0)
		return fd;
	err = listen(fd, 1) ? -errno : 0;
	if (err) {
		close(fd);
		return log_err(err, "gdb: listen");
	}
	say_where(fd, cfg);
	return fd;
}

/* ---- --gdb ---- */

static int parse_tcp(struct gdb_config *cfg, const char *arg)
{
	const char *colon = strrchr(arg, ':');
	struct sockaddr_storage addr;
	socklen_t len;
	size_t n;

	if (!colon || options_unsigned(colon + 1, 0, UINT16_MAX, &cfg->port))
		return -EINVAL;
	n = (size_t)(colon - arg);
	if (n >= 2 && arg[0] == '[' && arg[n - 1] == ']') /* IPv6 */
		cfg->host = strndup(arg + 1, n - 2);
	else
		cfg->host = n ? strndup(arg, n) : strdup("127.0.0.1");
	return cfg->host ? tcp_address(cfg, &addr, &len) : -ENOMEM;
}

void gdb_config_free(struct gdb_config *cfg)
{
	free(cfg->path);
	free(cfg->host);
	cfg->path = cfg->host = NULL;
}

int gdb_config_parse(struct gdb_config *cfg, const char *arg)
{
	int err = -EINVAL;

	gdb_config_free(cfg);
	if (!arg)
		arg = "tcp::" GDB_DEFAULT_PORT;
	if (!strncmp(arg, "tcp:", 4)) {
		cfg->where = GDB_TCP;
		err = parse_tcp(cfg, arg + 4);
	} else if (!strncmp(arg, "unix:", 5) && arg[5]) {
		cfg->where = GDB_UNIX;
		cfg->path = strdup(arg + 5);
		err = cfg->path ? 0 : -ENOMEM;
	}
	if (err == -EINVAL)
		return log_errx(err, "--gdb '%s': must be unix:PATH or tcp:[ADDR]:PORT", arg);
	return err ? log_err(err, "--gdb") : 0;
}
