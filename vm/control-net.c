/* The network devices of a running guest: what has passed, and the plug of each; see control.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/json.h"
#include "lkvm/virtio-net.h"
#include "vm-internal.h"

#define MAC_BYTES 18

static struct virtio_dev *device(const struct control *ctl, unsigned index)
{
	return ctl->vm && ctl->vm->virtio ? virtio_list_net(ctl->vm->virtio, index) : NULL;
}

int control_link(struct control *ctl, const void *body, struct ipc_reply *reply)
{
	struct ipc_link req;
	struct virtio_dev *dev;

	(void)reply;
	memcpy(&req, body, sizeof(req));
	if (req.up > 1)
		return -EINVAL;
	dev = device(ctl, req.device);
	if (!dev)
		return -ENODEV;
	virtio_net_set_link(dev, req.up);
	return 0;
}

static const char *mac_text(struct virtio_dev *dev, char ret[MAC_BYTES])
{
	uint8_t mac[NET_MAC_BYTES];

	virtio_net_mac(dev, mac);
	snprintf(ret, MAC_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return ret;
}

static uint64_t read_count(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void control_nets_text(const struct control *ctl, FILE *out)
{
	struct virtio_dev *dev;
	char mac[MAC_BYTES];

	for (unsigned i = 0; (dev = device(ctl, i)); i++) {
		const struct net *net = virtio_net_end(dev);
		const struct net_counters *n = &net->counters;

		fprintf(out, "net%u:     %s %s%s, %s, link %s\n", i, net_kind_name(net->cfg->kind), net->where,
			net->vhost ? " by vhost" : "", mac_text(dev, mac), virtio_net_link(dev) ? "up" : "down");
		fprintf(out, "          sent %" PRIu64 " frames, %" PRIu64 " bytes, dropped %" PRIu64 "; received %" PRIu64
			     " frames, %" PRIu64 " bytes, dropped %" PRIu64 "\n",
			read_count(&n->sent), read_count(&n->sent_bytes), read_count(&n->sent_dropped),
			read_count(&n->received), read_count(&n->received_bytes), read_count(&n->received_dropped));
	}
}

static void one_json(const struct net_counters *n, struct json *json)
{
	json_u64(json, "sent", read_count(&n->sent));
	json_u64(json, "sent_bytes", read_count(&n->sent_bytes));
	json_u64(json, "sent_dropped", read_count(&n->sent_dropped));
	json_u64(json, "received", read_count(&n->received));
	json_u64(json, "received_bytes", read_count(&n->received_bytes));
	json_u64(json, "received_dropped", read_count(&n->received_dropped));
}

void control_nets_json(const struct control *ctl, struct json *json)
{
	struct virtio_dev *dev;
	char mac[MAC_BYTES];

	json_array(json, "nets");
	for (unsigned i = 0; (dev = device(ctl, i)); i++) {
		const struct net *net = virtio_net_end(dev);

		json_object(json, NULL);
		json_str(json, "name", net->name);
		json_str(json, "kind", net_kind_name(net->cfg->kind));
		json_str(json, "end", net->where);
		json_bool(json, "vhost", net->vhost);
		json_str(json, "mac", mac_text(dev, mac));
		json_bool(json, "link", virtio_net_link(dev));
		one_json(&net->counters, json);
		json_end(json);
	}
	json_end(json);
}
