/* See network.h. By rtnetlink: with it an address of IPv6 is usable at once. */
#include "network.h"

#include "mount.h"
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/stat.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>

#define MAC_BYTES  6
#define INTERFACES 256  /* indices that are looked at */
#define LINK_MS    2000 /* that a link may take to be there */
#define RESOLV     "/etc/resolv.conf"
#define PATH_MOST  4096

/* One family's; IPv6 has all bytes */
struct address {
	uint8_t ip[16], gateway[16];
	uint32_t prefix;
	bool has_ip, has_gateway;
};

struct network {
	uint32_t number;
	uint8_t mac[MAC_BYTES];
	bool has_mac;
	struct address v4, v6;
};

struct request {
	struct nlmsghdr head;
	uint8_t body[256];
};

/* What is there already, of all networks */
struct networks {
	int fd; /* rtnetlink, that also tells of links */
	bool route4, route6;
};

/* ---- a record ---- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Up to the next colon, or the end. Return: whether it is @n bytes, or none (*ret_has) */
static bool take_bytes(const char **at, uint8_t *ret, size_t n, bool *ret_has)
{
	size_t i = 0;

	for (; i < n && digit((*at)[0]) >= 0 && digit((*at)[1]) >= 0; i++, *at += 2)
		ret[i] = (uint8_t)(digit((*at)[0]) << 4 | digit((*at)[1]));
	*ret_has = i == n;
	if (**at == ':')
		return (!i || i == n) && (*at)++;
	return (!i || i == n) && !**at;
}

static bool take_number(const char **at, uint32_t *ret)
{
	return text_number(at, ret) && *(*at)++ == ':';
}

static bool take_address(const char **at, struct address *a, size_t n)
{
	return take_bytes(at, a->ip, n, &a->has_ip) && take_number(at, &a->prefix) &&
	       take_bytes(at, a->gateway, n, &a->has_gateway) && a->prefix <= 8 * n;
}

static bool parse(const char *at, struct network *n)
{
	return take_number(&at, &n->number) && take_bytes(&at, n->mac, MAC_BYTES, &n->has_mac) &&
	       take_address(&at, &n->v4, 4) && take_address(&at, &n->v6, 16);
}

/* ---- rtnetlink ---- */

static void *begin(struct request *r, uint16_t type, uint16_t flags, size_t len)
{
	*r = (struct request){ .head = { .nlmsg_len = (uint32_t)NLMSG_LENGTH(len), .nlmsg_type = type,
					 .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags),
					 .nlmsg_seq = 1 } };
	return r->body;
}

static void add(struct request *r, uint16_t type, const void *data, size_t len)
{
	const struct rtattr attr = { .rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = type };
	uint8_t *at = (uint8_t *)r + NLMSG_ALIGN(r->head.nlmsg_len);

	memcpy(at, &attr, sizeof(attr));
	memcpy(at + RTA_LENGTH(0), data, len);
	r->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_LENGTH(len));
}

/* Behind what links have to tell. Return: 0 or -errno */
static long answer(int fd)
{
	struct {
		struct nlmsghdr head;
		uint8_t body[8192];
	} got;
	struct nlmsgerr err;
	long n;

	do {
		n = SYS(recvfrom, fd, &got, sizeof(got), 0, NULL, NULL);
		if (n < (long)sizeof(got.head))
			return n < 0 ? n : -EPROTO;
	} while (got.head.nlmsg_type != NLMSG_ERROR);
	memcpy(&err, got.body, sizeof(err));
	return err.error;
}

static long ask(int fd, const struct request *r)
{
	const long n = SYS(sendto, fd, r, r->head.nlmsg_len, 0, NULL, 0);

	return n < 0 ? n : answer(fd);
}

static int open_netlink(void)
{
	const struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	const long fd = SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	const long err = fd < 0 ? fd : SYS(bind, fd, &at, sizeof(at));

	if (err < 0)
		complain(err, "open", "rtnetlink");
	return err < 0 ? -1 : (int)fd;
}

/* ---- an interface ---- */

static size_t put(char *path, const char *a, const char *b, const char *c)
{
	const char *const parts[] = { a, b, c };
	size_t len = 0;

	for (size_t i = 0; i < COUNT(parts); i++) {
		memcpy(path + len, parts[i], text_len(parts[i]) + 1);
		len += text_len(parts[i]);
	}
	return len;
}

static bool is_virtio(const char *name)
{
	char path[64 + IFNAMSIZ];

	put(path, "/sys/class/net/", name, "/device/features");
	return !SYS(access, path, 0);
}

/* The @number-th of virtio; they have their indices in the order of the devices. Return: its index, or 0 */
static int find(uint32_t number, char ret_name[static IFNAMSIZ])
{
	const long fd = SYS(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };
	int found = 0;

	for (int i = 1; fd >= 0 && !found && i < INTERFACES; i++) {
		ifr.ifr_ifindex = i;
		if (!SYS(ioctl, fd, SIOCGIFNAME, &ifr) && is_virtio(ifr.ifr_name) && !number--)
			found = i;
	}
	if (fd >= 0)
		SYS(close, fd);
	memcpy(ret_name, ifr.ifr_name, IFNAMSIZ);
	return found;
}

static long set_link(int fd, int index, const uint8_t *mac, unsigned flags)
{
	struct request r;
	struct ifinfomsg *link = begin(&r, RTM_NEWLINK, 0, sizeof(*link));

	link->ifi_index = index;
	link->ifi_flags = link->ifi_change = flags;
	if (mac)
		add(&r, IFLA_ADDRESS, mac, MAC_BYTES);
	return ask(fd, &r);
}

static bool has_carrier(const char *name)
{
	char path[64 + IFNAMSIZ], carrier[4];

	put(path, "/sys/class/net/", name, "/carrier");
	return read_some(path, carrier, sizeof(carrier)) > 0 && *carrier == '1';
}

/* What is sent before that is lost, and asked for a second later only. */
static void wait_for_link(int fd, const char *name)
{
	const uint64_t until = clock_ns(CLOCK_MONOTONIC) + LINK_MS * NS_PER_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t event[8192];
	uint64_t now;

	while (!has_carrier(name) && (now = clock_ns(CLOCK_MONOTONIC)) < until)
		if (SYS(poll, &p, 1, (until - now) / NS_PER_MS + 1) == 1)
			SYS(recvfrom, fd, event, sizeof(event), MSG_DONTWAIT, NULL, NULL);
}

static long add_address(int fd, int index, uint8_t family, const struct address *a, size_t n)
{
	const uint32_t flags = IFA_F_NODAD | IFA_F_PERMANENT;
	struct request r;
	struct ifaddrmsg *address = begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*address));

	address->ifa_family = family;
	address->ifa_prefixlen = (uint8_t)a->prefix;
	address->ifa_index = (uint32_t)index;
	add(&r, IFA_LOCAL, a->ip, n);
	add(&r, IFA_ADDRESS, a->ip, n);
	if (family == AF_INET6)
		add(&r, IFA_FLAGS, &flags, sizeof(flags));
	return ask(fd, &r);
}

static long add_route(int fd, int index, uint8_t family, const struct address *a, size_t n)
{
	struct request r;
	struct rtmsg *route = begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*route));

	route->rtm_family = family;
	route->rtm_table = RT_TABLE_MAIN;
	route->rtm_protocol = RTPROT_BOOT;
	route->rtm_scope = RT_SCOPE_UNIVERSE;
	route->rtm_type = RTN_UNICAST;
	add(&r, RTA_GATEWAY, a->gateway, n);
	add(&r, RTA_OIF, &index, sizeof(index));
	return ask(fd, &r);
}

static long add_family(int fd, int index, uint8_t family, const struct address *a, bool *has_route)
{
	const size_t n = family == AF_INET ? 4 : 16;
	long err = a->has_ip ? add_address(fd, index, family, a, n) : 0;

	if (err || !a->has_gateway || *has_route)
		return err;
	*has_route = true;
	return add_route(fd, index, family, a, n);
}

static long configure(struct networks *all, const struct network *n)
{
	char name[IFNAMSIZ];
	const int index = find(n->number, name);
	long err = index ? 0 : -ENODEV;

	/* One that goes on from a saved guest has that one's address. */
	if (!err && n->has_mac)
		err = set_link(all->fd, index, n->mac, 0);
	if (!err)
		err = set_link(all->fd, index, NULL, IFF_UP);
	if (!err)
		err = add_family(all->fd, index, AF_INET, &n->v4, &all->route4);
	if (!err && !SYS(access, "/proc/sys/net/ipv6", 0)) /* a kernel may be without it */
		err = add_family(all->fd, index, AF_INET6, &n->v6, &all->route6);
	if (!err)
		wait_for_link(all->fd, name);
	return err;
}

/* ---- /etc/resolv.conf ---- */

static long write_file(const char *path, const char *text)
{
	const long fd = SYS(open, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	const long n = fd < 0 ? fd : SYS(write, fd, text, text_len(text));

	if (fd >= 0)
		SYS(close, fd);
	return n < 0 ? n : 0;
}

/* Is /etc the root's own, and no share? */
static bool is_in_root(void)
{
	struct statx root, etc;

	return !SYS(statx, AT_FDCWD, "/", 0, STATX_INO, &root) && !SYS(statx, AT_FDCWD, "/etc", 0, STATX_INO, &etc) &&
	       root.stx_dev_major == etc.stx_dev_major && root.stx_dev_minor == etc.stx_dev_minor;
}

/* A link to where a daemon would have it, in /run, which is empty, and no part of the disk */
static long follow(const char *text)
{
	char link[PATH_MOST] = "";
	const long n = SYS(readlink, RESOLV, link, sizeof(link) - 1);
	const char *path = n > 0 && text_behind(link, "../run/") ? link + 2 : link;
	size_t parent = 0;

	if (n < 0 || !text_behind(path, "/run/"))
		return -ENOENT;
	for (size_t i = 0; path[i]; i++)
		if (path[i] == '/')
			parent = i;
	link[path - link + (long)parent] = '\0';
	make_folder(path);
	link[path - link + (long)parent] = '/';
	return write_file(path, text);
}

/* Over what is there: of a disk that is written nothing changes. */
static long cover(const char *text)
{
	static const char *const path = "/dev/shm/lkvm.resolv.conf";
	long err = write_file(path, text);

	if (!err)
		err = SYS(mount, path, RESOLV, NULL, MS_BIND, NULL);
	SYS(unlink, path);
	return err == -ENOENT ? follow(text) : err;
}

static void set_resolver(const char *text, bool scratch)
{
	long err;

	SYS(mkdir, "/etc", 0755);
	if (scratch && is_in_root()) {
		SYS(unlink, RESOLV); /* perhaps a link to where a daemon of the host's has it */
		err = write_file(RESOLV, text);
	} else {
		err = cover(text);
	}
	if (err)
		complain(err, "write", RESOLV);
}

/* ---- all of it ---- */

static void take_network(struct networks *all, const char *text)
{
	struct network n = { 0 };
	long err;

	if (all->fd == -1)
		all->fd = open_netlink();
	if (all->fd < 0)
		return;
	err = parse(text, &n) ? configure(all, &n) : -EINVAL;
	if (err)
		complain(err, "network", text);
}

void network_records(const char *records, size_t len, bool scratch)
{
	struct networks all = { .fd = -1 };
	const char *value;

	for (size_t i = 0; i < len; i += text_len(records + i) + 1) {
		if ((value = text_behind(records + i, "net=")))
			take_network(&all, value);
		else if ((value = text_behind(records + i, "resolv=")))
			set_resolver(value, scratch);
	}
	close_fd(&all.fd);
}
