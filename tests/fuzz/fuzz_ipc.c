/* Links: vm/control-console.o console/console.o console/scan.o console/keys.o console/tty.o util/stream.o ipc/folder.o ipc/server.o ipc/client.o util/loop.o util/log.o */
/*
 * Packets to the control socket's server: the input is a list of them, two bytes in front of each: its
 * length, how many descriptors go with it, and whether the answer is read. Whatever comes, the server
 * answers or closes, and serves the next client. IPC_CONSOLE leads to a console, whose guest prints what
 * it is sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"
#include "lkvm/console.h"
#include "lkvm/ipc.h"
#include "lkvm/kvm.h"
#include "lkvm/vm/control.h"

static struct loop loop;
static struct ipc_server *server; /* the kernel's epoll has the only other pointer to it */
static char dir[] = "/tmp/lkvm-fuzz-XXXXXX";

/* ---- the console ---- */

static struct kvm kvm;
static struct control ctl = { .kvm = &kvm };

void kvm_stop(void *of, enum stop_cause cause, uint32_t value)
{
	(void)value;
	check(of == &kvm && cause == STOP_REQUEST);
}

static size_t console_input(void *dev, const uint8_t *buf, size_t len)
{
	check(dev == &kvm && buf && len > 0);
	return len;
}

static void console_resize(void *dev, uint16_t cols, uint16_t rows)
{
	(void)cols, (void)rows;
	check(dev == &kvm);
}

static void make_console(void)
{
	const struct console_config cfg = { .in_fd = -1, .out_fd = -1, .loop = &loop };
	const struct console_device device = { .input = console_input, .resize = console_resize, .dev = &kvm };

	check(console_new(&cfg, &ctl.console) == 0);
	console_attach(ctl.console, &device);
	check(console_start(ctl.console) == 0);
}

/* ---- the server ---- */

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
	if (op == IPC_CONSOLE && len == sizeof(struct ipc_console))
		return control_console(&ctl, body, reply);
	if (op == IPC_PAUSE && !waits) {
		int fd = ipc_take_fd(reply->to, len % IPC_MAX_FDS);

		if (fd >= 0)
			close(fd);
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
	signal(SIGPIPE, SIG_IGN);
	check(loop_init(&loop) == 0);
	make_console();
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

/*
 * Descriptors of all kinds, by the packet's own bytes before its last word: files, ends of pipes, one with nobody at the other
 * end, sockets, a folder, what can be neither read nor written.
 */
static int some_fd(uint8_t kind, int pipes[2])
{
	switch (kind % 8) {
	case 0:
		return open("/dev/null", O_RDWR);
	case 1:
		return open("/dev/full", O_RDWR);
	case 2:
		return open("/", O_RDONLY | O_DIRECTORY);
	case 3:
		return open("/dev/null", O_PATH);
	case 4:
		return socket(AF_UNIX, SOCK_STREAM, 0);
	case 5:
		return open("/dev/null", O_RDONLY);
	default:
		return dup(pipes[kind % 2]);
	}
}

/* Return: whether it went out */
static bool send_packet(int fd, const uint8_t *data, size_t len, unsigned n_fds)
{
	union {
		struct cmsghdr head;
		uint8_t bytes[CMSG_SPACE(7 * sizeof(int))];
	} rights = { .head = { .cmsg_len = CMSG_LEN(n_fds * sizeof(int)), .cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[7], pipes[2];
	ssize_t n;

	check(pipe2(pipes, O_NONBLOCK) == 0);
	for (unsigned i = 0; i < n_fds; i++)
		check((fds[i] = some_fd(i + 5 <= len ? data[len - 5 - i] : 0, pipes)) >= 0);
	if (n_fds) {
		memcpy(CMSG_DATA(&rights.head), fds, n_fds * sizeof(int));
		msg.msg_control = &rights;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	close(pipes[0]);
	close(pipes[1]);
	return n >= 0;
}

/* What comes out of the ring goes to the clients of the console; its timer waits a millisecond. */
static void print(const uint8_t *data, size_t len)
{
	console_put(ctl.console, data, len);
	console_drain(ctl.console, -1, 0);
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
		if (!send_packet(fd, data, len, data[-1] >> 4 & 7))
			break;
		pump();
		print(data, len);
		if (read_too)
			answered(fd);
		data += len, size -= len;
	}
	if (size) { /* an odd byte is left: the guest ends; /dev/null can be read at once: nobody is waited for */
		int now = open("/dev/null", O_RDONLY);

		control_end_consoles(&ctl, now);
		close(now);
	}
	other = client();
	check(send(other, &good, sizeof(good), MSG_NOSIGNAL) == sizeof(good));
	pump();
	check(answered(other));
	close(fd);
	close(other);
	pump();
	check(!ctl.console_clients);
	return 0;
}
