/* Control socket, the commands' end: several guests at once; see ipc.h. */
#include "ipc-internal.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/types.h"

#define CONNECT_MS 1000 /* for all guests together whose backlog is full */
#define RETRY_MS   10

/* ---- finding them ---- */

/* NAME.sock? Cuts the suffix off. */
static bool name_of(char *file)
{
	size_t len = strlen(file), suffix = strlen(IPC_SUFFIX);

	if (len <= suffix || strcmp(file + len - suffix, IPC_SUFFIX))
		return false;
	file[len - suffix] = '\0';
	return ipc_name_valid(file);
}

static bool known(const struct ipc_peers *peers, const char *name)
{
	for (unsigned i = 0; i < peers->n; i++)
		if (!strcmp(peers->list[i].name, name))
			return true;
	return false;
}

static int add(struct ipc_peers *peers, const char *name)
{
	struct ipc_peer *list = reallocarray(peers->list, peers->n + 1, sizeof(*list));

	if (!list)
		return log_err(-ENOMEM, "guest '%s'", name);
	peers->list = list;
	list[peers->n] = (struct ipc_peer){ .fd = -1, .err = -EAGAIN };
	snprintf(list[peers->n].name, sizeof(list[peers->n].name), "%s", name);
	peers->n++;
	return 0;
}

/* All that are not connected yet. Return: how many have a full backlog, so that it is worth waiting */
static unsigned connect_each(struct ipc_peers *peers, unsigned first, const struct ipc_folder *folder)
{
	unsigned waiting = 0;

	for (unsigned i = first; i < peers->n; i++) {
		struct ipc_peer *p = &peers->list[i];
		char file[IPC_FILE_BYTES];
		int fd;

		if (p->err != -EAGAIN)
			continue;
		snprintf(file, sizeof(file), "%s" IPC_SUFFIX, p->name);
		fd = ipc_connect_file(folder, file, SOCK_NONBLOCK);
		p->err = fd < 0 ? fd : 0;
		if (fd >= 0) {
			p->fd = fd;
			p->pid = ipc_peer_pid(fd);
		}
		waiting += p->err == -EAGAIN;
	}
	return waiting;
}

static void connect_all(struct ipc_peers *peers, unsigned first, const struct ipc_folder *folder)
{
	const int64_t until = now_ms() + CONNECT_MS;

	while (connect_each(peers, first, folder) && now_ms() < until)
		poll(NULL, 0, RETRY_MS);
	for (unsigned i = first; i < peers->n; i++)
		if (peers->list[i].err == -EAGAIN)
			peers->list[i].err = -ETIMEDOUT;
}

/* What is no guest's socket, or is gone already, was never there. */
static void forget_missing(struct ipc_peers *peers, unsigned first)
{
	unsigned n = first;

	for (unsigned i = first; i < peers->n; i++)
		if (peers->list[i].err != -ENOENT && peers->list[i].err != -ENOTSOCK)
			peers->list[n++] = peers->list[i];
	peers->n = n;
}

int ipc_peers_find(struct ipc_peers *peers, const char *pattern)
{
	struct ipc_folder folder;
	struct dirent **entries;
	unsigned first = peers->n;
	int err = ipc_folder_open(&folder, false);
	int n;

	if (err)
		return err == -ENOENT ? 0 : err;
	n = scandir(folder.path, &entries, NULL, alphasort);
	if (n < 0)
		err = log_err(-errno, "control folder '%s'", folder.path);
	for (int i = 0; i < n; i++) {
		char *name = entries[i]->d_name;

		if (!err && name_of(name) && !known(peers, name) &&
		    (!pattern || !fnmatch(pattern, name, 0)))
			err = add(peers, name);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	connect_all(peers, first, &folder);
	forget_missing(peers, first);
	ipc_folder_close(&folder);
	return err ? err : (int)(peers->n - first);
}

void ipc_peers_free(struct ipc_peers *peers)
{
	for (unsigned i = 0; i < peers->n; i++) {
		if (peers->list[i].fd >= 0)
			close(peers->list[i].fd);
		free(peers->list[i].body);
	}
	free(peers->list);
	*peers = (struct ipc_peers){ 0 };
}

/* ---- asking them ---- */

static void ask(struct ipc_peer *p, enum ipc_op op, const void *body, size_t len)
{
	int err;

	if (p->fd < 0 || p->skip)
		return;
	err = ipc_send(p->fd, op, body, len, NULL, 0);
	/* A server that has refused us and left: its answer is still there. */
	p->asked = !err || err == -EPIPE || err == -ECONNRESET;
	p->err = err == -EAGAIN ? -ETIMEDOUT : err;
}

static void receive(struct ipc_peer *p)
{
	static struct ipc_reply reply;

	reply.len = 0;
	p->asked = false;
	p->err = ipc_receive(p->fd, &reply);
	free(p->body);
	p->len = 0;
	p->body = malloc(reply.len + 1);
	if (!p->body) {
		p->err = -ENOMEM;
		return;
	}
	memcpy(p->body, reply.body, reply.len);
	p->body[reply.len] = '\0';
	p->len = reply.len;
}

/* An answer that comes later after all would be taken for that to the next request. */
static void give_up(struct ipc_peer *p)
{
	p->asked = false;
	p->err = -ETIMEDOUT;
	close(p->fd);
	p->fd = -1;
}

/* Return: whether there is anybody left to wait for; an fd of -1 waits for nothing */
static bool fill(struct pollfd *fds, const struct ipc_peers *peers)
{
	bool waiting = false;

	for (unsigned i = 0; i < peers->n; i++) {
		fds[i] = (struct pollfd){ .fd = peers->list[i].asked ? peers->list[i].fd : -1,
					  .events = POLLIN };
		waiting |= peers->list[i].asked;
	}
	return waiting;
}

static void collect(struct ipc_peers *peers, struct pollfd *fds, int timeout_ms)
{
	const int64_t until = now_ms() + timeout_ms;
	int64_t look = now_ms() + IPC_LOOK_MS, now;

	while (fill(fds, peers)) {
		now = now_ms();
		poll(fds, peers->n, (int)(look < until ? look > now ? look - now : 0 :
					  until > now ? until - now : 0));
		now = now_ms();
		for (unsigned i = 0; i < peers->n; i++) {
			struct ipc_peer *p = &peers->list[i];

			if (!p->asked)
				continue;
			if (fds[i].revents)
				receive(p);
			else if (now >= until || (now >= look && ipc_is_stopped(p->pid)))
				give_up(p);
		}
		if (now >= look)
			look = now + IPC_LOOK_MS;
	}
}

int ipc_peers_ask(struct ipc_peers *peers, enum ipc_op op, const void *body, size_t len, int timeout_ms)
{
	struct pollfd *fds = calloc(peers->n + 1, sizeof(*fds));

	if (!fds)
		return log_err(-ENOMEM, "ask the guests");
	for (unsigned i = 0; i < peers->n; i++)
		ask(&peers->list[i], op, body, len);
	collect(peers, fds, timeout_ms);
	free(fds);
	return 0;
}

int ipc_peer_failed(const struct ipc_peer *p)
{
	if (p->err == -EINPROGRESS)
		return log_errx(p->err, "guest '%s': %s", p->name, p->body ? (const char *)p->body : "");
	return ipc_failed(p->name, p->pid, p->err);
}

bool ipc_peer_stopped(const struct ipc_peer *p)
{
	return p->err == -ETIMEDOUT && ipc_is_stopped(p->pid);
}
