/*
 * What is told of a machine's networks: to who asks, which ports are forwarded; to a session's guest, the records net=
 * and resolv= of its plan (guest/network.h). Those are not of what is saved for a warm start, as the ends are new
 * ones then. Main thread.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/net.h"
#include "lkvm/virtio-net.h"
#include "vm-internal.h"

static void put_hex(FILE *plan, const void *bytes, size_t n)
{
	for (const uint8_t *at = bytes; n--; at++)
		fprintf(plan, "%02x", *at);
}

/* @n bytes, or nothing where they are zeros */
static void put_address(FILE *plan, const void *address, size_t n)
{
	static const uint8_t zeros[16];

	if (memcmp(address, zeros, n))
		put_hex(plan, address, n);
}

static void put_net(FILE *plan, unsigned number, const uint8_t mac[NET_MAC_BYTES], const struct net_addresses *a)
{
	fprintf(plan, "net=%u:", number);
	put_hex(plan, mac, NET_MAC_BYTES);
	fputc(':', plan);
	put_address(plan, &a->ip, sizeof(a->ip));
	fprintf(plan, ":%u:", a->prefix);
	put_address(plan, &a->gateway, sizeof(a->gateway));
	fputc(':', plan);
	put_address(plan, &a->ip6, sizeof(a->ip6));
	fprintf(plan, ":%u:", a->prefix6);
	put_address(plan, &a->gateway6, sizeof(a->gateway6));
	fputc('\0', plan);
}

static void put_servers(FILE *resolv, const struct net_addresses *a)
{
	char text[INET6_ADDRSTRLEN];

	if (a->dns.s_addr)
		fprintf(resolv, "nameserver %s\n", inet_ntop(AF_INET, &a->dns, text, sizeof(text)));
	if (a->dns6.s6_addr[0])
		fprintf(resolv, "nameserver %s\n", inet_ntop(AF_INET6, &a->dns6, text, sizeof(text)));
}

/* The host's is of no use to a guest with networks of its own: it may name 127.0.0.1. */
static void put_resolv(FILE *plan, const struct vm *vm)
{
	struct virtio_dev *dev;

	fputs("resolv=# of lkvm's networks\n", plan);
	for (unsigned i = 0; (dev = virtio_list_net(vm->virtio, i)); i++)
		put_servers(plan, &virtio_net_end(dev)->addresses);
	fputc('\0', plan);
}

static void put_records(FILE *plan, const struct vm *vm)
{
	struct virtio_dev *dev;
	bool any = false;

	for (unsigned i = 0; (dev = virtio_list_net(vm->virtio, i)); i++) {
		const struct net *net = virtio_net_end(dev);
		uint8_t mac[NET_MAC_BYTES];

		/* A guest that goes on may have another's. */
		virtio_net_mac(dev, mac);
		if (net->cfg->has_mac)
			memcpy(mac, net->cfg->mac, sizeof(mac));
		put_net(plan, i, mac, &net->addresses);
		any |= net->addresses.ip.s_addr || net->addresses.ip6.s6_addr[0];
	}
	if (any)
		put_resolv(plan, vm);
}

int vm_session_plan(const struct vm *vm, char **ret, size_t *ret_len)
{
	size_t len;
	const char *boot = session_boot_plan(vm->session_boot, &len);
	FILE *plan = open_memstream(ret, ret_len);

	if (!plan)
		return -errno;
	fwrite(boot, 1, len, plan);
	put_records(plan, vm);
	return fclose(plan) ? -errno : 0;
}

bool vm_forward(const struct vm *vm, unsigned i, struct ipc_forward *ret)
{
	struct virtio_dev *dev;

	for (unsigned n = 0; vm->virtio && (dev = virtio_list_net(vm->virtio, n)); n++) {
		const struct net *net = virtio_net_end(dev);
		const struct net_forward *f;

		if (i >= net->n_forwards) {
			i -= net->n_forwards;
			continue;
		}
		f = &net->forward[i];
		*ret = (struct ipc_forward){ f->udp, f->host.s_addr,
					     f->guest.s_addr ? f->guest.s_addr : net->addresses.ip.s_addr, f->host_port,
					     f->guest_port };
		return true;
	}
	return false;
}
