/*
 * vhost-net: a part of the host's kernel that moves frames between a tap and the guest's memory by itself, for
 * `-n tap,vhost=on`. Here it is opened; of the guest's rings and memory virtio/net-kernel.c tells it.
 */
#include "net-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lkvm/log.h"

#define VHOST_PATH "/dev/vhost-net"
#define INSTEAD    "; without vhost=on lkvm moves the frames"

static int open_failed(const char *name, int err)
{
	if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		return log_errx(err, "%s: vhost=on: this host has no %s (modprobe vhost_net)" INSTEAD, name, VHOST_PATH);
	if (err == -EACCES || err == -EPERM)
		return log_errx(err, "%s: vhost=on: no right to read and write %s, which is root's, or a group's" INSTEAD, name,
				VHOST_PATH);
	return log_err(err, "%s: vhost=on: open %s", name, VHOST_PATH);
}

/* What all of them know: they are of one kernel. */
static int open_one(struct net *net)
{
	struct net_vhost *vhost = net->vhost;
	const int fd = open(VHOST_PATH, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return open_failed(net->name, -errno);
	vhost->fd[vhost->n++] = fd;
	if (ioctl(fd, VHOST_SET_OWNER, NULL) || ioctl(fd, VHOST_GET_FEATURES, &vhost->features))
		return log_err(-errno, "%s: vhost=on: set up %s", net->name, VHOST_PATH);
	return 0;
}

int net_vhost_open(struct net *net)
{
	int err = 0;

	net->vhost = calloc(1, sizeof(*net->vhost));
	if (!net->vhost)
		return log_err(-ENOMEM, "%s", net->name);
	for (unsigned i = 0; !err && i < net->max_pairs; i++)
		err = open_one(net);
	return err;
}

void net_vhost_close(struct net_vhost *vhost)
{
	if (!vhost)
		return;
	while (vhost->n)
		close(vhost->fd[--vhost->n]);
	free(vhost);
}
