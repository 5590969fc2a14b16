/*
 * qemu-nbd as a child of ours, for image formats that are not raw: it gets a listening socket (as
 * systemd's socket activation does it) to which we are connected already, and ends when we
 * disconnect. The socket's name is gone before the server starts, so nobody else can connect.
 *
 * It reads images of strangers, so it is confined: image-graph.c has told it of each file that it may
 * open, and confine.h sees to it that it opens no others, whatever an image makes of it.
 * More than 500 lines: with the key and the walls that only this child has.
 */
#include "disk-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

#include "image.h"
#include "lkvm/clock.h"
#include "lkvm/confine.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define LISTEN_FD   3 /* where the protocol of socket activation wants it */
#define KEY_FD      4
#define KEY_BYTES   65536
#define SAFE_FD     10
#define PATIENCE_MS 10000 /* to write back what a large image has cached */

/* ---- the socket pair: a listening socket, and one that is connected to it ---- */

/* Let @fd listen in a folder of its own below @folder; 0 or -errno */
static int bind_in(int fd, const char *folder, struct sockaddr_un *addr)
{
	char dir[sizeof(addr->sun_path)];
	int err;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (snprintf(dir, sizeof(dir), "%s/lkvm-XXXXXX", folder) > (int)sizeof(dir) - 8)
		return -ENAMETOOLONG;
	if (!mkdtemp(dir)) /* mode 0700: only we can reach what is in it */
		return -errno;
	strcpy(addr->sun_path, dir);
	strcat(addr->sun_path, "/nbd");
	if (!bind(fd, (struct sockaddr *)addr, sizeof(*addr)) && !listen(fd, 1))
		return 0;
	err = -errno;
	unlink(addr->sun_path);
	rmdir(dir);
	return err;
}

/* Return: a listening socket, or -errno */
static int bind_somewhere(struct sockaddr_un *addr)
{
	const char *const folders[] = { getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp",
					"/var/tmp" };
	int err = -ENOENT;

	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++) {
		int fd;

		if (!folders[i] || !*folders[i])
			continue;
		/* A new one each time: what has a name cannot get another one. */
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		err = bind_in(fd, folders[i], addr);
		if (!err)
			return fd;
		close(fd);
	}
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
	struct sockaddr_un addr;
	int listener = bind_somewhere(&addr), connected, err = 0;

	if (listener < 0)
		return listener;
	connected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connected < 0 || connect(connected, (struct sockaddr *)&addr, sizeof(addr)))
		err = -errno;
	unlink_name(&addr);
	if (err) {
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
	char *program; /* heap: its path */
	char *argv[10];
	char *env[5];
	char pid_var[32];
	int listener, log_fd, null_fd, report_fd, key_fd; /* all SAFE_FD or above, or -1 */
	pid_t parent;
	struct image_graph graph;
	struct confine walls;
};

/* What our caller, or a library, left open is not for it. */
static void close_others(int first)
{
	if (!close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC))
		return;
	for (int fd = first, end = (int)sysconf(_SC_OPEN_MAX); fd < end; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* In the child, between fork() and exec(): nothing that takes a lock or memory. */
static int become_server(struct launch *l)
{
	sigset_t none;
	int err;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid(); /* keys of the terminal are not for it */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != l->parent)
		return errno;
	if (dup2(l->null_fd, 0) < 0 || dup2(l->log_fd, 1) < 0 || dup2(l->log_fd, 2) < 0 ||
	    dup2(l->listener, LISTEN_FD) < 0 || (l->key_fd >= 0 && dup2(l->key_fd, KEY_FD) < 0))
		return errno;
	close_others(l->key_fd >= 0 ? KEY_FD + 1 : KEY_FD);
	snprintf(l->pid_var, sizeof(l->pid_var), "LISTEN_PID=%d", (int)getpid());
	err = confine_enter(&l->walls);
	if (err)
		return -err;
	execve(l->program, l->argv, l->env);
	return errno;
}

/* Return: heap, or NULL: it is nowhere in PATH */
static char *find_program(const char *name)
{
	const char *dir = getenv("PATH"), *end;

	for (dir = dir ? dir : "/usr/bin:/bin"; *dir; dir = *end ? end + 1 : end) {
		char *path;

		end = strchrnul(dir, ':');
		if (asprintf(&path, "%.*s/%s", (int)(end - dir), end == dir ? "." : dir, name) < 0)
			return NULL;
		if (!access(path, X_OK))
			return path;
		free(path);
	}
	return NULL;
}

static void make_env(struct launch *l)
{
	unsigned n = 0;

	l->env[n++] = "PATH=/usr/bin:/bin";
	l->env[n++] = "LC_ALL=C";
	l->env[n++] = "LISTEN_FDS=1";
	l->env[n++] = l->pid_var;
}

static void make_argv(struct launch *l, const struct disk_config *cfg)
{
	unsigned n = 0;

	l->argv[n++] = "qemu-nbd";
	l->argv[n++] = "--discard=unmap";
	l->argv[n++] = cfg->direct ? "--cache=none" : "--cache=writeback";
	if (cfg->read_only)
		l->argv[n++] = "--read-only";
	if (cfg->key_file) {
		_Static_assert(KEY_FD == 4, "the number in the path");
		l->argv[n++] = "--object=secret,id=" DISK_KEY_ID ",file=/proc/self/fd/4";
	}
	l->argv[n++] = "--";
	l->argv[n] = l->graph.node;
}

/* ---- its walls ---- */

/* Return: 0, also where it is not there or not ours to read; -errno after one logged line */
static int allow(struct confine *walls, const char *path, unsigned access,
		 const struct disk_config *cfg)
{
	int err = confine_allow(walls, path, access);

	if (!err || err == -ENOENT || err == -ENOTDIR || err == -EACCES)
		return 0;
	return log_err(err, "disk '%s': open '%.300s' for qemu-nbd", cfg->path, path);
}

/* The program and what the dynamic linker and its libraries read */
static int allow_program(struct confine *walls, const char *program, const struct disk_config *cfg)
{
	static const struct {
		const char *path;
		unsigned access;
	} places[] = {
		{ "/lib", CONFINE_EXEC },
		{ "/lib64", CONFINE_EXEC },
		{ "/usr/lib", CONFINE_EXEC },
		{ "/usr/lib64", CONFINE_EXEC },
		{ "/usr/local/lib", CONFINE_EXEC },
		{ "/usr/local/lib64", CONFINE_EXEC },
		{ "/nix/store", CONFINE_EXEC },
		{ "/gnu/store", CONFINE_EXEC },
		{ "/etc/ld.so.cache", CONFINE_READ },
		{ "/etc/gnutls", CONFINE_READ },
		{ "/etc/gcrypt", CONFINE_READ },
		{ "/etc/crypto-policies", CONFINE_READ },
		{ "/usr/share/crypto-policies", CONFINE_READ },
		{ "/etc/ssl/openssl.cnf", CONFINE_READ },
		{ "/dev/urandom", CONFINE_READ },
		{ "/dev/null", CONFINE_READ | CONFINE_WRITE },
	};
	int err = allow(walls, program, CONFINE_EXEC, cfg);

	for (unsigned i = 0; !err && i < ARRAY_SIZE(places); i++)
		err = allow(walls, places[i].path, places[i].access, cfg);
	return err;
}

static int make_walls(struct launch *l, const struct disk_config *cfg)
{
	int err = confine_init(&l->walls);

	if (err)
		log_warn("disk '%s': no Landlock in this kernel (%s): should the image turn qemu-nbd "
			 "against its user, files are not out of its reach",
			 cfg->path, strerror(-err));
	err = allow_program(&l->walls, l->program, cfg);
	for (unsigned i = 0; !err && i < l->graph.n_files; i++) {
		const struct image_file *file = &l->graph.files[i];

		err = confine_allow(&l->walls, file->path,
				    CONFINE_READ | (file->writes ? CONFINE_WRITE : 0));
		if (err)
			log_err(err, "disk '%s': open '%.300s' for qemu-nbd", cfg->path, file->path);
	}
	return err;
}

/* ---- the key ---- */

/* Return: fd of a copy in memory, so that the key is nobody's argument and its file stays ours */
static int read_key(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to, err;
	char key[KEY_BYTES];
	size_t len = 0;
	ssize_t n;

	if (from < 0)
		return -errno;
	while ((n = read(from, key + len, sizeof(key) - len)) > 0)
		len += (size_t)n;
	err = n < 0 ? -errno : len == 0 ? -ENODATA : len == sizeof(key) ? -EFBIG : 0;
	close(from);
	to = err ? -1 : memfd_create("key", MFD_CLOEXEC);
	if (!err && (to < 0 || write(to, key, len) != (ssize_t)len))
		err = -errno;
	explicit_bzero(key, sizeof(key));
	if (err && to >= 0)
		close(to);
	return err ? err : to;
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

static int take_key(struct launch *l, const struct disk_config *cfg)
{
	int fd, err;

	if (!cfg->key_file)
		return 0;
	fd = read_key(cfg->key_file);
	if (fd < 0)
		return log_err(fd, "disk '%s': key-file '%s'", cfg->path, cfg->key_file);
	err = raise_fd(fd, &l->key_fd);
	close(fd);
	return err ? log_err(err, "disk '%s': key", cfg->path) : 0;
}

static int start_failed(const struct disk_config *cfg, int err)
{
	return log_err(err, "disk '%s': start qemu-nbd", cfg->path);
}

/* Return: 0, or -errno after one logged line */
static int prepare(struct launch *l, const struct disk_config *cfg, const char *format)
{
	int err;

	l->program = find_program("qemu-nbd");
	if (!l->program)
		return log_errx(-ENOENT,
				"disk '%s': format %s needs qemu-nbd, which is not installed (Debian: "
				"qemu-utils)",
				cfg->path, format);
	err = image_graph_make(cfg, format, &l->graph);
	if (!err)
		err = make_walls(l, cfg);
	if (!err)
		err = take_key(l, cfg);
	make_env(l);
	make_argv(l, cfg);
	return err;
}

static int raise_and_launch(struct launch *l, int listener, const struct disk_config *cfg,
			    struct qemu_nbd *server)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	int err = raise_fd(null_fd, &l->null_fd);

	if (!err)
		err = raise_fd(listener, &l->listener);
	if (!err)
		err = raise_fd(server->log_fd, &l->log_fd);
	if (!err)
		err = launch(l, server);
	if (null_fd >= 0)
		close(null_fd);
	return err ? start_failed(cfg, err) : 0;
}

static void launch_free(struct launch *l)
{
	const int fds[] = { l->listener, l->null_fd, l->log_fd, l->key_fd };

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	confine_fini(&l->walls);
	image_graph_free(&l->graph);
	free(l->program);
}

/* With sockets that are there. Return: 0, or -errno after one logged line */
static int start(const struct disk_config *cfg, const char *format, int listener, struct qemu_nbd *ret)
{
	struct launch l = { .listener = -1, .log_fd = -1, .null_fd = -1, .report_fd = -1, .key_fd = -1,
			    .walls = { .ruleset_fd = -1 } };
	int err = prepare(&l, cfg, format);

	if (!err)
		err = raise_and_launch(&l, listener, cfg, ret);
	launch_free(&l);
	return err;
}

int qemu_nbd_start(const struct disk_config *cfg, const char *format, struct qemu_nbd *ret)
{
	int listener, connected, err;

	*ret = (struct qemu_nbd){ .name = cfg->path,
				  .log_fd = memfd_create("qemu-nbd", MFD_CLOEXEC) };
	if (ret->log_fd < 0)
		return log_err(-errno, "disk '%s': memory for messages", cfg->path);
	err = make_sockets(&listener, &connected);
	if (err)
		return log_err(err, "disk '%s': socket for qemu-nbd", cfg->path);
	err = start(cfg, format, listener, ret);
	close(listener);
	if (!err)
		return connected;
	close(connected);
	return err;
}

/* Our json:{...} in the place of a file's name tells a user nothing. */
static const char *without_node(char *line)
{
	char *from = strstr(line, "'json:{"), *to = NULL;

	for (char *at = from; at && (at = strstr(at, "}': ")); at++)
		to = at;
	return to ? to + strlen("}': ") : line;
}

const char *qemu_nbd_words(const struct qemu_nbd *server, char *buf, size_t len)
{
	off_t end = server->log_fd < 0 ? 0 : lseek(server->log_fd, 0, SEEK_END);
	off_t from = end < (off_t)len ? 0 : end - (off_t)len + 1;
	ssize_t n = server->log_fd < 0 ? 0 : pread(server->log_fd, buf, len - 1, from);
	char *line;

	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
		n--;
	buf[n > 0 ? n : 0] = '\0';
	line = strrchr(buf, '\n');
	return without_node(line ? line + 1 : buf);
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

void qemu_nbd_leave(struct qemu_nbd *server)
{
	if (!server->until_ms)
		server->until_ms = now_ms() + PATIENCE_MS;
}

static int patience_ms(struct qemu_nbd *server)
{
	int64_t left;

	qemu_nbd_leave(server);
	left = server->until_ms - now_ms();
	return left > 0 ? (int)left : 0;
}

void qemu_nbd_wait(struct qemu_nbd *server)
{
	if (server->pid > 0 && !wait_child(server->pid, patience_ms(server))) {
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

bool disk_images_usable(void)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (!disk_nbd_usable())
		return false;
	for (size_t len; path && *path; path += len + (path[len] == ':')) {
		len = strcspn(path, ":");
		snprintf(file, sizeof(file), "%.*s/qemu-nbd", (int)len, path);
		if (!access(file, X_OK))
			return true;
	}
	return false;
}
