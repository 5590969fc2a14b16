/* Control socket: the folder, the server at the guest's end, the client; see ipc.h. */
#include "lkvm/ipc.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/kvm.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define SUFFIX       ".sock"
#define FILE_BYTES   (IPC_NAME_MAX + sizeof(SUFFIX))
#define BACKLOG      64
#define TIMEOUT_S    10
#define DIED         "guest '%s' has died; its control socket was removed"

/* The folder */

struct folder {
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

bool ipc_name_valid(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(name);

	return len >= 1 && len <= IPC_NAME_MAX && strspn(name, allowed) == len &&
	       strcmp(name, ".") && strcmp(name, "..");
}

static const char *env_path(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static int folder_path(struct folder *folder)
{
	const char *own = env_path("LKVM_DIR"), *xdg = env_path("XDG_RUNTIME_DIR");
	const size_t cap = sizeof(folder->path);
	size_t len;

	if (own)
		len = (size_t)snprintf(folder->path, cap, "%s", own);
	else if (xdg && *xdg == '/')
		len = (size_t)snprintf(folder->path, cap, "%s/lkvm", xdg);
	else
		len = (size_t)snprintf(folder->path, cap, "/tmp/lkvm-%u", geteuid());
	if (len >= cap)
		return log_errx(-ENAMETOOLONG, "control folder '%s...': the path is too long for a socket",
				folder->path);
	/* "link/" would get around O_NOFOLLOW */
	while (len > 1 && folder->path[len - 1] == '/')
		folder->path[--len] = '\0';
	return 0;
}

/* Nobody else may have put anything in there, or be able to. */
static int folder_check(const struct folder *folder, bool create)
{
	/* root may look after the guests of a user whose folder it names */
	bool foreign_ok = !create && geteuid() == 0 && env_path("LKVM_DIR");
	struct stat st;

	if (fstat(folder->fd, &st) < 0)
		return log_err(-errno, "control folder '%s'", folder->path);
	if (st.st_uid != geteuid() && !foreign_ok)
		return log_errx(-EPERM, "control folder '%s' belongs to user %u, not to user %u; "
				"name another one by LKVM_DIR", folder->path, st.st_uid, geteuid());
	if ((st.st_mode & 0777) != 0700)
		return log_errx(-EPERM, "control folder '%s' has mode %04o, must have 0700",
				folder->path, st.st_mode & 0777);
	return 0;
}

static int folder_open_fd(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void folder_close(struct folder *folder)
{
	if (folder->fd >= 0)
		close(folder->fd);
	folder->fd = -1;
}

/* Return: 0; -ENOENT, not logged, if there is none and @create is false; -errno after one logged line */
static int folder_open(struct folder *folder, bool create)
{
	int err = folder_path(folder);

	folder->fd = -1;
	if (err)
		return err;
	folder->fd = folder_open_fd(folder->path);
	if (folder->fd == -ENOENT && create) {
		if (mkdir(folder->path, 0700) < 0 && errno != EEXIST)
			return log_err(-errno, "make control folder '%s'", folder->path);
		folder->fd = folder_open_fd(folder->path);
	}
	if (folder->fd == -ENOENT && !create)
		return -ENOENT;
	if (folder->fd == -ENOTDIR || folder->fd == -ELOOP)
		return log_errx(-EPERM, "control folder '%s' is a symbolic link or no folder",
				folder->path);
	if (folder->fd < 0)
		return log_err(folder->fd, "control folder '%s'", folder->path);
	err = folder_check(folder, create);
	if (err)
		folder_close(folder);
	return err;
}

static void folder_lock(const struct folder *folder)
{
	while (flock(folder->fd, LOCK_EX) < 0 && errno == EINTR)
		;
}

static void folder_unlock(const struct folder *folder)
{
	flock(folder->fd, LOCK_UN);
}

/* Return: 0 or -ENAMETOOLONG: a path is never cut */
static int socket_address(const struct folder *folder, const char *file, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", folder->path, file);
	return (size_t)n < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Without SOCK_NONBLOCK in @flags, everything done with the socket ends after TIMEOUT_S. */
static int socket_connect(const struct sockaddr_un *addr, int flags)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	int err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/*
 * Under the folder's lock: remove the socket if no process listens on it any more.
 * Return: 0 if the name is free now; -EEXIST if it is alive; -ENOTSOCK; -errno
 */
static int remove_dead(const struct folder *folder, const char *file, const struct sockaddr_un *addr)
{
	int fd = socket_connect(addr, SOCK_NONBLOCK);
	struct stat st;

	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN) /* -EAGAIN: alive, with a full backlog */
		return -EEXIST;
	if (fd == -ENOENT)
		return 0;
	if (fd != -ECONNREFUSED)
		return fd;
	/* connect() says the same of a plain file, which is not ours to remove */
	if (fstatat(folder->fd, file, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return unlinkat(folder->fd, file, 0) < 0 && errno != ENOENT ? -errno : 0;
}

/* The server */

struct request {
	struct ipc_request head;
	uint8_t body[IPC_MAX_BODY];
};

struct client {
	struct loop_source src; /* fd -1: a free slot */
	struct ipc_server *server;
	uint64_t used;     /* server->clock at its last request */
	uint8_t *out;      /* the answer that could not be sent at once; nothing is read until it is */
	size_t out_bytes;
	bool last;         /* close once the answer is sent */
};

struct ipc_server {
	struct loop *loop;
	struct loop_source listener;
	struct folder folder;
	char file[FILE_BYTES];
	ipc_handler handler;
	void *ctx;
	uint64_t clock; /* counts accepted connections and requests: what is small is long ago */
	struct client client[IPC_MAX_CLIENTS];
};

static void client_drop(struct client *c)
{
	if (c->src.fd < 0)
		return;
	loop_del(c->server->loop, &c->src);
	close(c->src.fd);
	free(c->out);
	c->src.fd = -1;
	c->out = NULL;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Keep what could not be sent; the client has one answer waiting at most. */
static bool client_keep(struct client *c, const struct iovec *iov, unsigned n)
{
	c->out_bytes = 0;
	c->out = malloc(sizeof(struct ipc_answer) + IPC_MAX_BODY);
	if (!c->out)
		return false;
	for (unsigned i = 0; i < n; i++) {
		memcpy(c->out + c->out_bytes, iov[i].iov_base, iov[i].iov_len);
		c->out_bytes += iov[i].iov_len;
	}
	return loop_mod(c->server->loop, &c->src, EPOLLOUT) == 0;
}

static void client_answer(struct client *c, int status, struct ipc_reply *reply)
{
	struct ipc_answer head = {
		.magic = IPC_MAGIC,
		.status = status,
		.body_bytes = reply ? (uint32_t)reply->len : 0,
	};
	struct iovec iov[] = { { &head, sizeof(head) }, { NULL, head.body_bytes } };
	unsigned n = head.body_bytes ? 2 : 1;
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	bool sent, kept;

	if (reply)
		iov[1].iov_base = reply->body;
	sent = sendmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	kept = !sent && would_block() && client_keep(c, iov, n);
	if (!kept && (!sent || c->last))
		client_drop(c);
}

static void client_flush(struct client *c)
{
	if (send(c->src.fd, c->out, c->out_bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (!would_block())
			client_drop(c);
		return;
	}
	free(c->out);
	c->out = NULL;
	if (c->last || loop_mod(c->server->loop, &c->src, EPOLLIN) < 0)
		client_drop(c);
}

static int request_check(const struct request *req, size_t len)
{
	if (len < sizeof(req->head) || req->head.magic != IPC_MAGIC)
		return -EPROTO;
	if (req->head.version != IPC_VERSION)
		return -EPROTONOSUPPORT;
	if (req->head.op == 0 || req->head.op >= IPC_N_OPS)
		return -EOPNOTSUPP;
	if (len > sizeof(*req))
		return -EMSGSIZE;
	return req->head.body_bytes == len - sizeof(req->head) ? 0 : -EPROTO;
}

static void client_request(struct client *c)
{
	struct ipc_server *server = c->server;
	struct ipc_reply reply;
	struct request req;
	ssize_t n = recv(c->src.fd, &req, sizeof(req), MSG_DONTWAIT | MSG_TRUNC);
	int err;

	if (n < 0) {
		if (!would_block())
			client_drop(c);
		return;
	}
	c->used = ++server->clock;
	err = request_check(&req, (size_t)n);
	if (err) {
		log_debug(LOG_IPC, "bad request of %zd bytes: %s", n, strerror(-err));
		c->last = true;
		client_answer(c, err, NULL);
		return;
	}
	reply.len = 0;
	err = server->handler(server->ctx, req.head.op, req.body, req.head.body_bytes, &reply);
	assert(reply.len <= IPC_MAX_BODY);
	log_debug(LOG_IPC, "request %u: %d", req.head.op, err);
	client_answer(c, err, &reply);
}

static void client_ready(struct loop_source *src, uint32_t events)
{
	struct client *c = container_of(src, struct client, src);

	if (c->out)
		client_flush(c);
	else if (events & EPOLLIN) /* also of a client that has left since: it may have asked for a stop */
		client_request(c);
	else
		client_drop(c);
}

static struct client *client_longest_idle(struct ipc_server *server)
{
	struct client *oldest = NULL;

	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++) {
		struct client *c = &server->client[i];

		if (c->src.fd >= 0 && (!oldest || c->used < oldest->used))
			oldest = c;
	}
	return oldest;
}

static struct client *client_slot(struct ipc_server *server)
{
	struct client *c;

	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++)
		if (server->client[i].src.fd < 0)
			return &server->client[i];
	c = client_longest_idle(server);
	client_drop(c);
	return c;
}

static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

static void client_start(struct ipc_server *server, int fd)
{
	struct client *c = client_slot(server);

	*c = (struct client){
		.src = { .fd = fd, .ready = client_ready },
		.server = server,
		.used = ++server->clock,
	};
	if (!peer_allowed(fd)) {
		c->last = true;
		client_answer(c, -EPERM, NULL);
		client_drop(c);
	} else if (loop_add(server->loop, &c->src, EPOLLIN) < 0) {
		client_drop(c);
	}
}

/* Out of file descriptors, which accept() tells before it looks whether anyone waits. */
static bool make_room(struct ipc_server *server)
{
	struct pollfd waiting = { .fd = server->listener.fd, .events = POLLIN };
	struct client *idle = client_longest_idle(server);

	if (!idle || poll(&waiting, 1, 0) != 1)
		return false;
	client_drop(idle);
	return true;
}

/* Return: whether there may be more to accept */
static bool accept_one(struct ipc_server *server)
{
	int fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		return make_room(server);
	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED;
	client_start(server, fd);
	return true;
}

/*
 * The listener is edge triggered: when the process is out of file descriptors, a connection that
 * cannot be accepted must not keep the loop busy.
 */
#define LISTENER_EVENTS (EPOLLIN | EPOLLET)

static void listener_ready(struct loop_source *src, uint32_t events)
{
	struct ipc_server *server = container_of(src, struct ipc_server, listener);

	(void)events;
	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++)
		if (!accept_one(server))
			return;
	/* Others in the loop have their turn; this arms it again. */
	loop_mod(server->loop, src, LISTENER_EVENTS);
}

/* Under the folder's lock: bind and listen, so that outside of it every bound socket listens. */
static int claim_locked(struct ipc_server *server, const struct sockaddr_un *addr)
{
	int fd = server->listener.fd;
	int err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

	if (err == -EADDRINUSE) {
		err = remove_dead(&server->folder, server->file, addr);
		if (err)
			return err;
		err = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	}
	if (!err && listen(fd, BACKLOG) < 0) {
		err = -errno;
		unlinkat(server->folder.fd, server->file, 0);
	}
	return err;
}

static int server_claim(struct ipc_server *server, const char *name)
{
	struct sockaddr_un addr;
	int err;

	snprintf(server->file, sizeof(server->file), "%s" SUFFIX, name);
	if (socket_address(&server->folder, server->file, &addr) < 0)
		return log_errx(-ENAMETOOLONG, "control socket '%s/%s': the path is longer than %zu bytes",
				server->folder.path, server->file, sizeof(addr.sun_path) - 1);
	server->listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listener.fd < 0)
		return log_err(-errno, "control socket '%s'", addr.sun_path);
	folder_lock(&server->folder);
	err = claim_locked(server, &addr);
	folder_unlock(&server->folder);
	if (err == -EEXIST)
		return log_errx(err, "a guest named '%s' is running already", name);
	return err ? log_err(err, "control socket '%s'", addr.sun_path) : 0;
}

static struct ipc_server *server_alloc(struct loop *loop, ipc_handler handler, void *ctx)
{
	struct ipc_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	server->loop = loop;
	server->handler = handler;
	server->ctx = ctx;
	server->folder.fd = -1;
	server->listener = (struct loop_source){ .fd = -1, .ready = listener_ready };
	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++)
		server->client[i].src.fd = -1;
	return server;
}

/* All but the socket's name, which may be another guest's. */
static void server_close(struct ipc_server *server)
{
	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++)
		client_drop(&server->client[i]);
	if (server->listener.fd >= 0) {
		loop_del(server->loop, &server->listener);
		close(server->listener.fd);
	}
	folder_close(&server->folder);
	free(server);
}

int ipc_server_new(struct loop *loop, const char *name, ipc_handler handler, void *ctx,
		   struct ipc_server **ret)
{
	struct ipc_server *server;
	int err;

	if (!ipc_name_valid(name))
		return log_errx(-EINVAL, "invalid guest name '%s': 1 to %u of A-Z a-z 0-9 . _ -", name,
				IPC_NAME_MAX);
	server = server_alloc(loop, handler, ctx);
	if (!server)
		return log_err(-ENOMEM, "control socket of '%s'", name);
	err = folder_open(&server->folder, true);
	if (!err)
		err = server_claim(server, name);
	if (err) {
		server_close(server);
		return err;
	}
	err = loop_add(loop, &server->listener, LISTENER_EVENTS);
	if (err) {
		ipc_server_free(server);
		return log_err(err, "watch control socket of '%s'", name);
	}
	*ret = server;
	return 0;
}

void ipc_server_unlink_now(const struct ipc_server *server)
{
	if (server)
		unlinkat(server->folder.fd, server->file, 0);
}

void ipc_server_free(struct ipc_server *server)
{
	if (!server)
		return;
	/* Before the listener closes: nobody may find it dead and take the name for free. */
	ipc_server_unlink_now(server);
	server_close(server);
}

/* The client */

const char *ipc_state_name(uint32_t state)
{
	static const char *const names[] = {
		[KVM_CREATED] = "created",
		[KVM_RUNNING] = "running",
		[KVM_PAUSED] = "paused",
		[KVM_STOPPING] = "stopping",
	};

	return state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* Return: fd; -ENOENT; -ECONNREFUSED if it was dead and was removed; -errno */
static int connect_file(const struct folder *folder, const char *file)
{
	struct sockaddr_un addr;
	int err = socket_address(folder, file, &addr);
	int fd;

	if (err)
		return err;
	fd = socket_connect(&addr, 0);
	if (fd == -ECONNREFUSED) {
		folder_lock(folder);
		err = remove_dead(folder, file, &addr);
		folder_unlock(folder);
		/* alive: it was between bind() and listen(), or a new guest has the name */
		fd = err == -EEXIST ? socket_connect(&addr, 0) : err ? err : -ECONNREFUSED;
	}
	return fd == -EAGAIN ? -ETIMEDOUT : fd;
}

static pid_t peer_pid(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 ? cred.pid : 0;
}

int ipc_connect(const char *name, pid_t *ret_pid)
{
	struct folder folder;
	char file[FILE_BYTES];
	int fd;

	if (!ipc_name_valid(name))
		return log_errx(-EINVAL, "invalid guest name '%s'", name);
	fd = folder_open(&folder, false);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (!fd) {
		snprintf(file, sizeof(file), "%s" SUFFIX, name);
		fd = connect_file(&folder, file);
		folder_close(&folder);
	}
	if (fd == -ENOENT)
		return log_errx(fd, "no guest named '%s' is running", name);
	if (fd == -ECONNREFUSED)
		return log_errx(fd, DIED, name);
	if (fd < 0)
		return log_err(fd, "connect to guest '%s'", name);
	*ret_pid = peer_pid(fd);
	return fd;
}

static int call_send(int fd, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_request head = {
		.magic = IPC_MAGIC,
		.version = IPC_VERSION,
		.op = (uint16_t)op,
		.body_bytes = (uint32_t)len,
	};
	struct iovec iov[] = { { &head, sizeof(head) }, { (void *)(uintptr_t)body, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* A server that has refused us and closed is seen as an error once; its answer is still there. */
static ssize_t call_recv(int fd, struct msghdr *msg)
{
	bool reset = false;

	for (;;) {
		ssize_t n = recvmsg(fd, msg, 0);

		if (n >= 0)
			return n;
		if (errno != EINTR && (errno != ECONNRESET || reset))
			return -errno;
		reset |= errno == ECONNRESET;
	}
}

int ipc_call(int fd, enum ipc_op op, const void *body, size_t len, struct ipc_reply *ret)
{
	struct ipc_answer head;
	struct iovec iov[] = { { &head, sizeof(head) }, { ret ? ret->body : NULL, ret ? IPC_MAX_BODY : 0 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ret ? 2 : 1 };
	int err = call_send(fd, op, body, len);
	ssize_t n;

	if (err == -EAGAIN)
		return -ETIMEDOUT;
	if (err && err != -EPIPE && err != -ECONNRESET)
		return err;
	n = call_recv(fd, &msg);
	if (n <= 0)
		return n == -EAGAIN ? -ETIMEDOUT : n ? (int)n : -ECONNRESET;
	if ((size_t)n < sizeof(head) || head.magic != IPC_MAGIC || (msg.msg_flags & MSG_TRUNC) ||
	    head.body_bytes != (size_t)n - sizeof(head) || head.status > 0)
		return -EPROTO;
	if (ret)
		ret->len = head.body_bytes;
	return head.status;
}

int ipc_show(int fd, const char *name, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_reply reply;
	int err;

	reply.len = 0;
	err = ipc_call(fd, op, body, len, &reply);
	fwrite(reply.body, 1, reply.len, stdout);
	if (fflush(stdout))
		return log_err(-errno, "write to standard output");
	return err && !reply.len ? log_err(err, "guest '%s'", name) : err;
}

static int is_socket_name(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name), suffix = strlen(SUFFIX);
	char name[FILE_BYTES];

	if (len <= suffix || len >= sizeof(name) || strcmp(entry->d_name + len - suffix, SUFFIX))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(len - suffix), entry->d_name);
	return ipc_name_valid(name);
}

/* Return: 1 for a guest, 0 for none, or what @fn wants the walk to end with in @ret_end */
static int visit(const struct folder *folder, char *file,
		 int (*fn)(void *ctx, const char *name, int fd, pid_t pid), void *ctx, int *ret_end)
{
	int fd = connect_file(folder, file);

	file[strlen(file) - strlen(SUFFIX)] = '\0';
	if (fd == -ECONNREFUSED)
		log_warn(DIED, file);
	if (fd == -ENOENT || fd == -ECONNREFUSED || fd == -ENOTSOCK)
		return 0;
	*ret_end = fn(ctx, file, fd, fd >= 0 ? peer_pid(fd) : 0);
	if (fd >= 0)
		close(fd);
	return 1;
}

int ipc_for_each(int (*fn)(void *ctx, const char *name, int fd, pid_t pid), void *ctx)
{
	struct folder folder;
	struct dirent **entries;
	int err = folder_open(&folder, false);
	int n, end = 0, guests = 0;

	if (err)
		return err == -ENOENT ? 0 : err;
	n = scandir(folder.path, &entries, is_socket_name, alphasort);
	if (n < 0)
		err = log_err(-errno, "control folder '%s'", folder.path);
	for (int i = 0; i < n; i++) {
		if (!end)
			guests += visit(&folder, entries[i]->d_name, fn, ctx, &end);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	folder_close(&folder);
	return err ? err : end ? end : guests;
}
