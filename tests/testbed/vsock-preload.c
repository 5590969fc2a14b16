/*
 * The host's end of a guest's vsock for a program that was written for AF_VSOCK (LD_PRELOAD=this): its sockets become
 * those UNIX sockets that stand for the guest's at $VSOCK_PATH, as lkvm/vsock.h says. $VSOCK_CID is the guest's. What
 * only AF_VSOCK can do (options, MSG_EOR) it does not get.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FD 1024

static int type_of[MAX_FD]; /* of the sockets that are ours: SOCK_STREAM or SOCK_SEQPACKET */

static int ours(int fd)
{
	return fd >= 0 && fd < MAX_FD ? type_of[fd] : 0;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

/* PATH_PORT for who listens, PATH or PATH.seqpacket for who calls */
static struct sockaddr_un address(const char *suffix, const unsigned *port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const char *path = getenv("VSOCK_PATH");
	const int room = sizeof(un.sun_path);
	int n;

	if (port)
		n = snprintf(un.sun_path, sizeof(un.sun_path), "%s_%u", path ? path : "", *port);
	else
		n = snprintf(un.sun_path, sizeof(un.sun_path), "%s%s", path ? path : "", suffix);
	if (!path || n >= room)
		abort();
	return un;
}

int socket(int domain, int type, int protocol)
{
	const int fd = REAL(socket)(domain == AF_VSOCK ? AF_UNIX : domain, type, protocol);

	if (fd >= 0 && fd < MAX_FD)
		type_of[fd] = domain == AF_VSOCK ? type & 0xf : 0;
	return fd;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_vm vm;
	struct sockaddr_un un;

	if (!ours(fd) || len < sizeof(vm))
		return REAL(bind)(fd, addr, len);
	memcpy(&vm, addr, sizeof(vm));
	un = address(NULL, &vm.svm_port);
	unlink(un.sun_path);
	return REAL(bind)(fd, (struct sockaddr *)&un, sizeof(un));
}

/* A line, or a message; Return: was it "OK ..."? */
static int answered(int fd)
{
	char line[64];
	size_t n = 0;
	ssize_t got;

	do {
		got = recv(fd, line + n, ours(fd) == SOCK_STREAM ? 1 : sizeof(line) - n, 0);
		if (got <= 0)
			return 0;
		n += (size_t)got;
	} while (line[n - 1] != '\n' && n < sizeof(line));
	return !strncmp(line, "OK ", 3);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_vm vm;
	struct sockaddr_un un;
	char line[32];
	int n;

	if (!ours(fd) || len < sizeof(vm))
		return REAL(connect)(fd, addr, len);
	memcpy(&vm, addr, sizeof(vm));
	un = address(ours(fd) == SOCK_STREAM ? "" : ".seqpacket", NULL);
	if (REAL(connect)(fd, (struct sockaddr *)&un, sizeof(un)))
		return -1;
	n = snprintf(line, sizeof(line), "CONNECT %u\n", vm.svm_port);
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) == n && answered(fd))
		return 0;
	errno = ECONNRESET;
	return -1;
}

int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	const char *cid = getenv("VSOCK_CID");
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK };
	int got;

	if (!ours(fd))
		return REAL(accept)(fd, addr, len);
	got = REAL(accept)(fd, NULL, NULL);
	if (got < 0)
		return got;
	if (got < MAX_FD)
		type_of[got] = type_of[fd];
	vm.svm_cid = cid ? (unsigned)strtoul(cid, NULL, 10) : 0;
	if (addr && *len >= sizeof(vm)) {
		memcpy(addr, &vm, sizeof(vm));
		*len = sizeof(vm);
	}
	return got;
}
