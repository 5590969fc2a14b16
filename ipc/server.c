/* Control socket: the guest's end; see ipc.h. */
#include "ipc-internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/stream.h"
#include "lkvm/types.h"

#define BACKLOG 128

struct request {
	struct ipc_request head;
	uint8_t body[IPC_MAX_BODY];
};

struct ipc_client {
	struct loop_source src; /* fd -1: a free slot */
	struct ipc_server *server;
	uint64_t used;     /* server->clock at its last request */
	uint8_t *out;      /* the answer that could not be sent at once; nothing is read until it is */
	size_t out_bytes;
	bool last;         /* close once the answer is sent */
	int fds[IPC_MAX_FDS]; /* that came with the request that is being handled; -1: none */
	const struct ipc_late *late; /* NULL: it does not wait for a late answer */
	void *late_ctx;
};

struct ipc_server {
	struct loop *loop;
	struct loop_source listener;
	struct ipc_folder folder;
	char file[IPC_FILE_BYTES];
	ipc_handler handler;
	void *ctx;
	unsigned n_late;
	uint64_t clock; /* counts accepted connections and requests: what is small is long ago */
	struct ipc_client client[IPC_MAX_CLIENTS];
};

static void late_end(struct ipc_client *c, bool gone)
{
	const struct ipc_late *late = c->late;

	if (!late)
		return;
	c->late = NULL;
	c->server->n_late--;
	if (gone)
		late->gone(c->late_ctx);
}

static void client_drop(struct ipc_client *c)
{
	if (c->src.fd < 0)
		return;
	loop_del(c->server->loop, &c->src);
	close(c->src.fd);
	free(c->out);
	c->src.fd = -1;
	c->out = NULL;
	late_end(c, true);
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* Keep what could not be sent; the client has one answer waiting at most. */
static bool client_keep(struct ipc_client *c, const struct iovec *iov, unsigned n)
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

static void client_answer(struct ipc_client *c, int status, struct ipc_reply *reply)
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

static void client_flush(struct ipc_client *c)
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

/* ---- descriptors ---- */

static void fds_close(struct ipc_client *c)
{
	for (unsigned i = 0; i < IPC_MAX_FDS; i++) {
		if (c->fds[i] >= 0)
			stream_close_fd(c->fds[i]);
		c->fds[i] = -1;
	}
}

/* The buffer has room for IPC_MAX_FDS: of more the kernel closes the rest and sets MSG_CTRUNC. */
static void fds_take(struct ipc_client *c, struct msghdr *msg)
{
	for (struct cmsghdr *head = CMSG_FIRSTHDR(msg); head; head = CMSG_NXTHDR(msg, head))
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
			memcpy(c->fds, CMSG_DATA(head), head->cmsg_len - CMSG_LEN(0));
}

int ipc_say(struct ipc_reply *reply, int err, const char *why)
{
	snprintf((char *)reply->body, sizeof(reply->body), "%s", why);
	reply->len = strlen((char *)reply->body);
	return err;
}

int ipc_take_fd(struct ipc_client *client, unsigned i)
{
	int fd = client->fds[i];

	client->fds[i] = -1;
	return fd;
}

int ipc_take_fds(struct ipc_client *client, unsigned first, uint32_t bits, int *ret_fd)
{
	for (; bits; bits >>= 1, ret_fd++) {
		if (!(bits & 1))
			continue;
		if (first >= IPC_MAX_FDS || client->fds[first] < 0)
			return -EPROTO;
		*ret_fd = ipc_take_fd(client, first++);
	}
	return first < IPC_MAX_FDS && client->fds[first] >= 0 ? -EPROTO : 0;
}

static ssize_t request_receive(struct ipc_client *c, struct request *req, int *ret_flags)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(IPC_MAX_FDS * sizeof(int))];
	} rights;
	/* cppcheck-suppress ctuuninitvar; recvmsg() fills it */
	struct iovec iov = { req, sizeof(*req) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof(rights),
	};
	ssize_t n = recvmsg(c->src.fd, &msg, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

	if (n >= 0) {
		fds_take(c, &msg);
		*ret_flags = msg.msg_flags;
	}
	return n;
}

/* ---- requests ---- */

int ipc_later(struct ipc_client *client, const struct ipc_late *late, void *ctx)
{
	if (client->server->n_late == IPC_MAX_LATE)
		return -EAGAIN;
	client->server->n_late++;
	client->late = late;
	client->late_ctx = ctx;
	return IPC_LATER;
}

void ipc_answer(struct ipc_client *client, int status, const void *body, size_t len)
{
	struct ipc_reply reply;

	assert(client->late && len <= IPC_MAX_BODY);
	late_end(client, false);
	reply.len = len;
	if (len)
		memcpy(reply.body, body, len);
	client->last = true;
	client_answer(client, status, &reply);
}

static void client_refuse(struct ipc_client *c, size_t len, int err)
{
	log_debug(LOG_IPC, "bad request of %zu bytes: %s", len, strerror(-err));
	if (c->late) {
		client_drop(c);
		return;
	}
	c->last = true;
	client_answer(c, err, NULL);
}

static void client_handle(struct ipc_client *c, const struct request *req)
{
	struct ipc_server *server = c->server;
	struct ipc_reply reply;
	int err;

	if (c->late) {
		if (c->late->more)
			c->late->more(c->late_ctx, req->head.op, req->body, req->head.body_bytes);
		return;
	}
	reply.len = 0;
	reply.to = c;
	err = server->handler(server->ctx, req->head.op, req->body, req->head.body_bytes, &reply);
	assert(reply.len <= IPC_MAX_BODY);
	log_debug(LOG_IPC, "request %u: %d", req->head.op, err);
	if (err != IPC_LATER)
		client_answer(c, err, &reply);
}

static void client_request(struct ipc_client *c)
{
	struct request req;
	int flags, err;
	ssize_t n = request_receive(c, &req, &flags);

	if (n < 0) {
		if (!would_block())
			client_drop(c);
		return;
	}
	c->used = ++c->server->clock;
	err = request_check(&req, (size_t)n);
	if (!err && flags & MSG_CTRUNC)
		err = -EMFILE;
	if (err)
		client_refuse(c, (size_t)n, err);
	else
		client_handle(c, &req);
	fds_close(c);
}

static void client_ready(struct loop_source *src, uint32_t events)
{
	struct ipc_client *c = container_of(src, struct ipc_client, src);

	if (c->out)
		client_flush(c);
	else if (events & EPOLLIN) /* also of a client that has left since: it may have asked for a stop */
		client_request(c);
	else
		client_drop(c);
}

static struct ipc_client *client_longest_idle(struct ipc_server *server)
{
	struct ipc_client *oldest = NULL;

	for (unsigned i = 0; i < IPC_MAX_CLIENTS; i++) {
		struct ipc_client *c = &server->client[i];

		if (c->src.fd >= 0 && !c->late && (!oldest || c->used < oldest->used))
			oldest = c;
	}
	return oldest;
}

static struct ipc_client *client_slot(struct ipc_server *server)
{
	struct ipc_client *c;

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
	struct ipc_client *c = client_slot(server);

	*c = (struct ipc_client){
		.src = { .fd = fd, .ready = client_ready },
		.server = server,
		.used = ++server->clock,
		.fds = { -1, -1, -1, -1 },
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
	struct ipc_client *idle = client_longest_idle(server);

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
		err = ipc_remove_dead(&server->folder, server->file);
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

	snprintf(server->file, sizeof(server->file), "%s" IPC_SUFFIX, name);
	if (ipc_socket_address(&server->folder, server->file, &addr) < 0)
		return log_errx(-ENAMETOOLONG, "control socket '%s/%s': the path is longer than %zu bytes",
				server->folder.path, server->file, sizeof(addr.sun_path) - 1);
	server->listener.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->listener.fd < 0)
		return log_err(-errno, "control socket '%s'", addr.sun_path);
	if (!ipc_folder_lock(&server->folder))
		return log_errx(-ETIMEDOUT, "control folder '%s': another process holds its lock (it may be "
				"stopped)", server->folder.path);
	err = claim_locked(server, &addr);
	ipc_folder_unlock(&server->folder);
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
	ipc_folder_close(&server->folder);
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
	err = ipc_folder_open(&server->folder, true);
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
