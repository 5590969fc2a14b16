/* Links: ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/log.o */
/*
 * Packets to the control socket's server: the input is a list of them, two bytes of length in
 * front of each. Whatever comes, the server answers or closes, and serves the next client.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "lkvm/ipc.h"

static struct loop loop;
static struct ipc_server *server; /* the kernel's epoll has the only other pointer to it */
static char dir[] = "/tmp/lkvm-fuzz-XXXXXX";

/* Who waits for an answer; each has its word, by IPC_RESUME, or leaves. */
static struct ipc_client *waits;

static void on_gone(void *ctx)
{
	check(ctx == &loop && waits);
	waits = NULL;
}

static void on_more(void *ctx, enum ipc_op op, const void *body, size_t len)
{
	struct ipc_client *client = waits;

	check(ctx == &loop && waits && op > 0 && op < IPC_N_OPS && len <= IPC_MAX_BODY);
	if (op != IPC_RESUME)
		return;
	waits = NULL;
	ipc_answer(client, -EFAULT, body, len);
}

static const struct ipc_late late = { on_more, on_gone };

/* An answer of each size, so that some must wait for the client; IPC_PAUSE has a late one. */
static int handler(void *ctx, enum ipc_op op, const void *body, size_t len, struct ipc_reply *reply)
{
	(void)ctx;
	if (op == IPC_PAUSE && !waits) {
		int fd = ipc_take_fd(reply->to, len % IPC_MAX_FDS);

		check(fd < 0); /* none is sent */
		waits = reply->to;
		return ipc_later(reply->to, &late, &loop);
	}
	check(op > 0 && op < IPC_N_OPS && len <= IPC_MAX_BODY);
	reply->len = op == IPC_STAT ? sizeof(reply->body) : len;
	if (op == IPC_STAT)
		memset(reply->body, 'x', sizeof(reply->body));
	else
		memcpy(reply->body, body, len);
	return 0;
}

static void clean_up(void)
{
	char path[sizeof(dir) + sizeof("/fuzz.sock")];

	strcat(strcpy(path, dir), "/fuzz.sock");
	unlink(path);
	rmdir(dir);
}

static void start(void)
{
	check(mkdtemp(dir) && setenv("LKVM_DIR", dir, 1) == 0);
	atexit(clean_up);
	check(loop_init(&loop) == 0);
	check(ipc_server_new(&loop, "fuzz", handler, NULL, &server) == 0);
}

static int client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

	strcat(strcpy(addr.sun_path, dir), "/fuzz.sock");
	check(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

static void pump(void)
{
	int rounds = 0;

	while (loop_once(&loop, 0) > 0)
		check(++rounds < 100000);
}

/* Return: whether a whole answer came */
static bool answered(int fd)
{
	static uint8_t packet[sizeof(struct ipc_answer) + IPC_MAX_BODY];
	struct ipc_answer head;
	ssize_t n = recv(fd, packet, sizeof(packet), 0);

	if (n <= 0)
		return false;
	memcpy(&head, packet, sizeof(head));
	check((size_t)n >= sizeof(head) && head.magic == IPC_MAGIC && head.status <= 0 &&
	      head.body_bytes == (size_t)n - sizeof(head));
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ipc_request good = { IPC_MAGIC, IPC_VERSION, IPC_INFO, 0 };
	int fd, other;

	if (!loop.epfd)
		start();
	fd = client();
	while (size >= 2) {
		size_t len = data[0] | (size_t)(data[1] & 0x0f) << 8;
		bool read_too = data[1] & 0x80;

		data += 2, size -= 2;
		if (len > size)
			len = size;
		if (send(fd, data, len, MSG_NOSIGNAL) < 0)
			break;
		pump();
		if (read_too)
			answered(fd);
		data += len, size -= len;
	}
	other = client();
	check(send(other, &good, sizeof(good), MSG_NOSIGNAL) == sizeof(good));
	pump();
	check(answered(other));
	close(fd);
	close(other);
	pump();
	return 0;
}
