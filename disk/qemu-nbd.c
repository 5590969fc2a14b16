/*
 * qemu-nbd as a child of ours, for image formats that are not raw: it gets a listening socket (as
 * systemd's socket activation does it) to which we are connected already, and ends when we
 * disconnect. The socket's name is gone before the server starts, so nobody else can connect.
 */
#include "disk-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/types.h"

#define LISTEN_FD   3 /* where the protocol of socket activation wants it */
#define SAFE_FD     10
#define PATIENCE_MS 10000 /* to write back what a large image has cached */

/* ---- the socket pair: a listening socket, and one that is connected to it ---- */

static int bind_in(const char *folder, int fd, struct sockaddr_un *addr)
{
	char dir[sizeof(addr->sun_path)];
	int err = 0;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (snprintf(dir, sizeof(dir), "%s/lkvm-XXXXXX", folder) > (int)sizeof(dir) - 8)
		return -ENAMETOOLONG;
	if (!mkdtemp(dir)) /* mode 0700: only we can reach what is in it */
		return -errno;
	strcpy(addr->sun_path, dir);
	strcat(addr->sun_path, "/nbd");
	if (bind(fd, (struct sockaddr *)addr, sizeof(*addr)) || listen(fd, 1))
		err = -errno;
	if (err) {
		unlink(addr->sun_path);
		rmdir(dir);
	}
	return err;
}

static int bind_somewhere(int fd, struct sockaddr_un *addr)
{
	const char *const folders[] = { getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp",
					"/var/tmp" };
	int err = -ENOENT;

	for (unsigned i = 0; err && i < ARRAY_SIZE(folders); i++)
		if (folders[i] && *folders[i])
			err = bind_in(folders[i], fd, addr);
	return err;
}

static void unlink_name(struct sockaddr_un *addr)
{
	unlink(addr->sun_path);
	*strrchr(addr->sun_path, '/') = '\0';
	rmdir(addr->sun_path);
}

/* Return: 0 and both sockets, or -errno and none */
static int make_sockets(int *ret_listener, int *ret_connected)
{
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;
	int err = listener < 0 || connected < 0 ? -errno : bind_somewhere(listener, &addr);

	if (!err) {
		if (connect(connected, (struct sockaddr *)&addr, sizeof(addr)))
			err = -errno;
		unlink_name(&addr);
	}
	if (err) {
		if (listener >= 0)
			close(listener);
		if (connected >= 0)
			close(connected);
		return err;
	}
	*ret_listener = listener;
	*ret_connected = connected;
	return 0;
}

/* ---- the child ---- */

struct launch {
	char *argv[10];
	char **env;
	char *path;   /* heap: of the image, so that qemu takes it for a file name */
	char *format; /* heap */
	char pid_var[32];
	int listener, log_fd, null_fd, report_fd; /* all SAFE_FD or above */
	pid_t parent;
};

/* In the child, between fork() and exec(): nothing that takes a lock or memory. */
static int become_server(struct launch *l)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid(); /* keys of the terminal are not for it */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != l->parent)
		return errno;
	if (dup2(l->null_fd, 0) < 0 || dup2(l->log_fd, 1) < 0 || dup2(l->log_fd, 2) < 0 ||
	    dup2(l->listener, LISTEN_FD) < 0)
		return errno;
	snprintf(l->pid_var, sizeof(l->pid_var), "LISTEN_PID=%d", (int)getpid());
	execvpe(l->argv[0], l->argv, l->env);
	return errno;
}

static int make_env(struct launch *l)
{
	unsigned n = 0, used = 0;

	while (environ[n])
		n++;
	l->env = calloc(n + 3, sizeof(*l->env));
	if (!l->env)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		if (strncmp(environ[i], "LISTEN_", 7) != 0)
			l->env[used++] = environ[i];
	l->env[used++] = "LISTEN_FDS=1";
	l->env[used] = l->pid_var;
	return 0;
}

static int make_argv(struct launch *l, const struct disk_config *cfg, const char *format)
{
	unsigned n = 0;

	/* "a:b" would be protocol a. */
	if (asprintf(&l->path, "%s%s", cfg->path[0] == '/' ? "" : "./", cfg->path) < 0)
		l->path = NULL;
	if (asprintf(&l->format, "--format=%s", format) < 0)
		l->format = NULL;
	if (!l->path || !l->format)
		return -ENOMEM;
	l->argv[n++] = "qemu-nbd";
	l->argv[n++] = l->format;
	l->argv[n++] = "--discard=unmap";
	l->argv[n++] = cfg->direct ? "--cache=none" : "--cache=writeback";
	if (cfg->read_only)
		l->argv[n++] = "--read-only";
	l->argv[n++] = "--";
	l->argv[n] = l->path;
	return 0;
}

/* Out of the way of the child's low numbers, whatever is open here. Return: 0 or -errno */
static int raise_fd(int fd, int *ret)
{
	*ret = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
	return *ret < 0 ? -errno : 0;
}

/* Return: 0, or -errno why it could not be started */
static int launch(struct launch *l, struct qemu_nbd *server)
{
	int report[2], err = 0;
	ssize_t len;

	if (pipe2(report, O_CLOEXEC))
		return -errno;
	err = raise_fd(report[1], &l->report_fd);
	close(report[1]);
	l->parent = getpid();
	server->pid = err ? -1 : fork();
	if (!server->pid) {
		err = become_server(l);
		len = write(l->report_fd, &err, sizeof(err));
		_exit(len < 0);
	}
	if (server->pid < 0) {
		err = err ? err : -errno;
		server->pid = 0;
	}
	if (l->report_fd >= 0)
		close(l->report_fd);
	/* Closed by a successful exec: then there is nothing to read. */
	if (!err && read(report[0], &err, sizeof(err)) == sizeof(err))
		err = -err;
	close(report[0]);
	return err;
}

static int prepare_and_launch(struct launch *l, const struct disk_config *cfg, const char *format,
			      struct qemu_nbd *server)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = make_argv(l, cfg, format);

	if (!err)
		err = make_env(l);
	if (!err)
		err = raise_fd(null_fd, &l->null_fd);
	if (!err)
		err = raise_fd(server->log_fd, &l->log_fd);
	if (!err)
		err = launch(l, server);
	if (null_fd >= 0)
		close(null_fd);
	if (l->null_fd >= 0)
		close(l->null_fd);
	if (l->log_fd >= 0)
		close(l->log_fd);
	free(l->path);
	free(l->format);
	free(l->env);
	return err;
}

int qemu_nbd_start(const struct disk_config *cfg, const char *format, struct qemu_nbd *ret)
{
	struct launch l = { .listener = -1, .log_fd = -1, .null_fd = -1, .report_fd = -1 };
	int listener, connected, err;

	*ret = (struct qemu_nbd){ .name = cfg->path,
				  .log_fd = memfd_create("qemu-nbd", MFD_CLOEXEC) };
	if (ret->log_fd < 0)
		return log_err(-errno, "disk '%s': memory for messages", cfg->path);
	err = make_sockets(&listener, &connected);
	if (err)
		return log_err(err, "disk '%s': socket for qemu-nbd", cfg->path);
	err = raise_fd(listener, &l.listener);
	if (!err)
		err = prepare_and_launch(&l, cfg, format, ret);
	if (l.listener >= 0)
		close(l.listener);
	close(listener);
	if (!err)
		return connected;
	close(connected);
	if (err == -ENOENT)
		return log_errx(
			err,
			"disk '%s': format %s needs qemu-nbd, which is not installed (Debian: "
			"qemu-utils)",
			cfg->path, format);
	return log_err(err, "disk '%s': start qemu-nbd", cfg->path);
}

const char *qemu_nbd_words(const struct qemu_nbd *server, char *buf, size_t len)
{
	ssize_t n = server->log_fd < 0 ? 0 : pread(server->log_fd, buf, len - 1, 0);
	char *line;

	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
		n--;
	buf[n > 0 ? n : 0] = '\0';
	line = strrchr(buf, '\n');
	return line ? line + 1 : buf;
}

/* ---- the end ---- */

static bool wait_child(pid_t pid, int patience_ms)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	int n = p.fd < 0 ? 1 : poll(&p, 1, patience_ms);

	if (p.fd >= 0)
		close(p.fd);
	return n > 0 && waitpid(pid, NULL, 0) == pid;
}

void qemu_nbd_wait(struct qemu_nbd *server)
{
	if (server->pid > 0 && !wait_child(server->pid, PATIENCE_MS)) {
		log_warn("disk '%s': qemu-nbd does not end; killing it", server->name);
		kill(server->pid, SIGKILL);
		wait_child(server->pid, -1);
	}
	server->pid = 0;
}

void qemu_nbd_stop(struct qemu_nbd *server)
{
	qemu_nbd_wait(server);
	if (server->log_fd >= 0)
		close(server->log_fd);
	server->log_fd = -1;
}
