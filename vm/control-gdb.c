/*
 * `lkvm gdb`: a debugger comes by the control socket, with descriptors that its bytes go through; see control.h.
 * The client waits for the answer, which comes when the debugger has left, or the guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/linux/guest.h"
#include "lkvm/stream.h"
#include "lkvm/vm/config.h"
#include "lkvm/vm/control.h"
#include "lkvm/vm/gdb.h"

struct gdb_link {
	struct control *ctl;
	struct ipc_client *client;
};

static void gone(void *ctx)
{
	struct gdb_link *l = ctx;

	vm_gdb_leave(l->ctl->vm, l);
	free(l);
}

static const struct ipc_late waiting = { .gone = gone };

static void over(void *ctx)
{
	struct gdb_link *l = ctx;

	ipc_answer(l->client, 0, NULL, 0);
	free(l);
}

/* Return: IPC_LATER, or -errno: the descriptors are still the caller's */
static int start(struct gdb_link *l, const int fd[2])
{
	int err = vm_gdb_connect(l->ctl->vm, fd[0], fd[1], over, l);

	if (err)
		return err;
	err = ipc_later(l->client, &waiting, l);
	if (err != IPC_LATER)
		vm_gdb_leave(l->ctl->vm, l); /* which has closed them */
	return err;
}

int control_gdb(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct gdb_link *l = malloc(sizeof(*l));
	int fd[2] = { -1, -1 }, err;

	(void)body;
	if (!l)
		return -ENOMEM;
	*l = (struct gdb_link){ ctl, reply->to };
	err = ipc_take_fds(reply->to, 0, 3, fd);
	if (!err && (!control_is_stream(fd[0], O_RDONLY) || !control_is_stream(fd[1], O_WRONLY)))
		err = -EINVAL;
	if (!err) {
		err = start(l, fd);
		if (err == IPC_LATER)
			return err;
	}
	for (unsigned i = 0; i < 2 && err != -EAGAIN; i++)
		if (fd[i] >= 0)
			stream_close_fd(fd[i]);
	free(l);
	return err;
}

/* ---- which kernel is it? ---- */

/* The line "BUILD-ID=..." of VMCOREINFO */
static void copy_build_id(const struct linux_guest *guest, char ret[64])
{
	static const char key[] = "\nBUILD-ID=";
	const char *line = strstr(guest->note, key);
	size_t n;

	if (!line)
		return;
	line += sizeof(key) - 1;
	n = strspn(line, "0123456789abcdef");
	if (n < 64)
		memcpy(ret, line, n);
}

int control_kernel(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	const char *path = ctl->config->kernel;
	struct ipc_kernel kernel = { 0 };
	const struct linux_guest *guest;
	size_t n = path ? strlen(path) + 1 : 0;
	char *real = NULL;
	int err = control_linux(ctl, &guest);

	(void)body;
	if (err == -EAGAIN)
		return err;
	if (!err) {
		kernel.found = 1;
		kernel.kaslr_offset = guest->kaslr_offset;
		snprintf(kernel.release, sizeof(kernel.release), "%s", guest->release);
		copy_build_id(guest, kernel.build_id);
	}
	real = path ? realpath(path, NULL) : NULL; /* whoever asks may be in another folder */
	if (real) {
		n = strlen(real) + 1;
		path = real;
	}
	memcpy(reply->body, &kernel, sizeof(kernel));
	reply->len = sizeof(kernel);
	if (n && n <= sizeof(reply->body) - sizeof(kernel)) {
		memcpy(reply->body + sizeof(kernel), path, n);
		reply->len += n;
	}
	free(real);
	return 0;
}
