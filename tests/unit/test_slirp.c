/* Links: net/net.o */

/*
 * The user end as a guest sees it that makes each of its frames by hand. The host's side are sockets of this
 * process. The guest is 10.0.2.15 with fec0::15; what a test waits for has SECONDS. More than 500 lines, as a
 * third of them make frames.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/types.h"
#include "unit.h"

#define SECONDS 20
#define GATEWAY 0x0a000202
#define GUEST   0x0a00020f

static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 1 };
static uint8_t host_mac[6] = { 0x52, 0x55, 0x0a, 0, 2, 2 };

static struct loop loop;
static struct net_config cfg;
static struct net *net;
static unsigned n_readable;

struct frame {
	uint8_t bytes[NET_MAX_FRAME];
	size_t len;
};

static struct frame out, in;

static void readable(struct net *n, unsigned pair)
{
	ck_assert_ptr_eq(n, net);
	ck_assert_uint_eq(pair, 0);
	n_readable++;
}

static int open_end(void)
{
	int err;

	cfg.kind = NET_USER;
	err = net_open(&cfg, "net0", &net);
	if (!err)
		net->readable = readable;
	return err;
}

static void begin(void)
{
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(open_end(), 0);
	ck_assert_int_eq(net_attach(net, &loop), 0);
}

static void end(void)
{
	net_detach(net, &loop);
	net_close(net);
	loop_fini(&loop);
}

static void forward(const char *text)
{
	ck_assert_int_eq(net_forward_parse("toy", text, &cfg.forward[cfg.n_forwards++]), 0);
}

/* ---- frames ---- */

static void send_out(void)
{
	struct virtio_net_hdr_v1 header = { 0 };
	const struct iovec iov[] = { { &header, sizeof(header) }, { out.bytes, 20 }, { out.bytes + 20, out.len - 20 } };

	ck_assert_int_eq(net_send(net, 0, iov, 3, out.len), 0);
	net->ops->flush(net);
}

static bool receive(void)
{
	struct virtio_net_hdr_v1 header;
	const struct iovec iov[] = { { &header, 5 }, { (char *)&header + 5, sizeof(header) - 5 },
				     { in.bytes, 33 }, { in.bytes + 33, sizeof(in.bytes) - 33 } };
	const ssize_t n = net_receive(net, 0, iov, 4);

	ck_assert_int_ge(n, 0);
	if (!n)
		return false;
	in.len = (size_t)n - sizeof(header);
	ck_assert_uint_eq(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	ck_assert_uint_eq(header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
	return true;
}

static uint32_t sum_of(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void *start_frame(uint16_t type)
{
	out.len = ETH_HLEN;
	memcpy(out.bytes, host_mac, 6);
	memcpy(out.bytes + 6, guest_mac, 6);
	out.bytes[12] = (uint8_t)(type >> 8);
	out.bytes[13] = (uint8_t)type;
	return out.bytes + ETH_HLEN;
}

/* An IPv4 packet around @len bytes of @protocol, whose checksum is at @sum_at; a pseudo header if it has ports */
static void send_ip(uint32_t to, uint8_t protocol, const void *payload, size_t len, size_t sum_at)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .tot_len = htons((uint16_t)(sizeof(ip) + len)), .ttl = 64,
			    .protocol = protocol, .saddr = htonl(GUEST), .daddr = htonl(to) };
	uint8_t *at = start_frame(ETHERTYPE_IP), *body = at + sizeof(ip);
	uint32_t sum = protocol == IPPROTO_ICMP ? 0 : sum_of(&ip.saddr, 8, protocol + (uint32_t)len);
	uint16_t check;

	ip.check = folded(sum_of(&ip, sizeof(ip), 0));
	memcpy(at, &ip, sizeof(ip));
	memcpy(body, payload, len);
	check = folded(sum_of(body, len, sum));
	memcpy(body + sum_at, &check, sizeof(check));
	out.len += sizeof(ip) + len;
	send_out();
}

static void send_ip6(const char *to, uint8_t protocol, const void *payload, size_t len, size_t sum_at)
{
	struct ip6_hdr ip = { .ip6_flow = htonl(6u << 28), .ip6_plen = htons((uint16_t)len), .ip6_nxt = protocol,
			      .ip6_hlim = 255 };
	uint8_t *at = start_frame(ETHERTYPE_IPV6), *body = at + sizeof(ip);
	uint16_t check;

	inet_pton(AF_INET6, "fec0::15", &ip.ip6_src);
	inet_pton(AF_INET6, to, &ip.ip6_dst);
	memcpy(at, &ip, sizeof(ip));
	memcpy(body, payload, len);
	check = folded(sum_of(body, len, sum_of(&ip.ip6_src, 32, protocol + (uint32_t)len)));
	memcpy(body + sum_at, &check, sizeof(check));
	out.len += sizeof(ip) + len;
	send_out();
}

static void send_udp_bytes(uint32_t to, uint16_t port, const void *bytes, size_t len)
{
	uint8_t packet[64] = { 0 };
	const struct udphdr udp = { .source = htons(7000), .dest = htons(port),
				    .len = htons((uint16_t)(sizeof(udp) + len)) };

	memcpy(packet, &udp, sizeof(udp));
	memcpy(packet + sizeof(udp), bytes, len);
	send_ip(to, IPPROTO_UDP, packet, sizeof(udp) + len, offsetof(struct udphdr, check));
}

static void send_udp(uint32_t to, uint16_t port, const char *text)
{
	send_udp_bytes(to, port, text, strlen(text));
}

static void send_udp6(const char *to, uint16_t port, const char *text)
{
	uint8_t packet[64] = { 0 };
	const struct udphdr udp = { .source = htons(7000), .dest = htons(port),
				    .len = htons((uint16_t)(sizeof(udp) + strlen(text))) };

	memcpy(packet, &udp, sizeof(udp));
	memcpy(packet + sizeof(udp), text, strlen(text));
	send_ip6(to, IPPROTO_UDP, packet, sizeof(udp) + strlen(text), offsetof(struct udphdr, check));
}

static void answer_arp(void)
{
	const struct ether_arp_packet {
		struct arphdr head;
		uint8_t from_mac[6], from[4], to_mac[6], to[4];
	} *ask = (const void *)(in.bytes + ETH_HLEN);
	struct ether_arp_packet answer = { .head = { htons(1), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REPLY) } };

	if (ask->head.ar_op != htons(ARPOP_REQUEST) || ask->to[3] != (uint8_t)GUEST)
		return;
	memcpy(answer.from_mac, guest_mac, 6);
	memcpy(answer.from, ask->to, 4);
	memcpy(answer.to_mac, ask->from_mac, 6);
	memcpy(answer.to, ask->from, 4);
	memcpy(start_frame(ETHERTYPE_ARP), &answer, sizeof(answer));
	out.len += sizeof(answer);
	send_out();
}

static uint16_t type_of(const struct frame *f)
{
	return (uint16_t)(f->bytes[12] << 8 | f->bytes[13]);
}

static const struct iphdr *ip_of(const struct frame *f)
{
	return (const void *)(f->bytes + ETH_HLEN);
}

static const void *body_of(const struct frame *f)
{
	return f->bytes + ETH_HLEN + sizeof(struct iphdr);
}

/* The next frame for which is() holds; others are dropped, but questions for the guest's address answered */
static bool wait_until(bool (*is)(void), int ms)
{
	const int64_t until = now_ms() + ms;

	for (;;) {
		while (receive()) {
			if (type_of(&in) == ETHERTYPE_ARP)
				answer_arp();
			if (is())
				return true;
		}
		if (now_ms() >= until)
			return false;
		loop_once(&loop, (int)(until - now_ms()) + 1);
	}
}

static void wait_for(bool (*is)(void))
{
	ck_assert(wait_until(is, SECONDS * 1000));
}

static bool is_proto(uint8_t protocol)
{
	return type_of(&in) == ETHERTYPE_IP && ip_of(&in)->protocol == protocol;
}

static bool is_icmp(void)
{
	return is_proto(IPPROTO_ICMP);
}

static bool is_udp(void)
{
	return is_proto(IPPROTO_UDP);
}

static bool is_tcp(void)
{
	return is_proto(IPPROTO_TCP);
}

static bool is_ip6(void)
{
	return type_of(&in) == ETHERTYPE_IPV6;
}

/* ---- TCP by hand ---- */

static uint32_t peer, seq, ack;
static uint16_t peer_port, own_port;

static void send_tcp(unsigned flags, const char *text)
{
	uint8_t packet[128] = { 0 };
	struct tcphdr tcp = { .source = htons(own_port), .dest = htons(peer_port), .seq = htonl(seq),
			      .ack_seq = htonl(ack), .doff = 5, .window = htons(60000) };

	((uint8_t *)&tcp)[13] = (uint8_t)flags;
	memcpy(packet, &tcp, sizeof(tcp));
	memcpy(packet + sizeof(tcp), text, strlen(text));
	send_ip(peer, IPPROTO_TCP, packet, sizeof(tcp) + strlen(text), offsetof(struct tcphdr, check));
	seq += (uint32_t)strlen(text) + !!(flags & (TH_SYN | TH_FIN));
}

static unsigned tcp_flags(void)
{
	return ((const uint8_t *)body_of(&in))[13];
}

static const char *tcp_text(size_t *ret_len)
{
	const struct tcphdr *tcp = body_of(&in);

	*ret_len = ntohs(ip_of(&in)->tot_len) - sizeof(struct iphdr) - 4u * tcp->doff;
	return (const char *)tcp + 4 * tcp->doff;
}

/* It brings something new */
static bool is_tcp_news(void)
{
	const struct tcphdr *tcp = body_of(&in);
	size_t len;

	if (!is_tcp())
		return false;
	tcp_text(&len);
	if (!len && !(tcp_flags() & (TH_SYN | TH_FIN | TH_RST)))
		return false;
	ack = ntohl(tcp->seq) + (uint32_t)len + !!(tcp_flags() & (TH_SYN | TH_FIN));
	return true;
}

static bool is_syn(void)
{
	return is_tcp_news() && tcp_flags() == TH_SYN;
}

static void connect_out(uint32_t to, uint16_t port)
{
	peer = to;
	peer_port = port;
	own_port++;
	own_port |= 0x8000;
	seq = 1000;
	ack = 0;
	send_tcp(TH_SYN, "");
	wait_for(is_tcp_news);
}

static void check_text(const char *wanted)
{
	size_t len;
	const char *text;

	wait_for(is_tcp_news);
	text = tcp_text(&len);
	ck_assert_uint_eq(len, strlen(wanted));
	ck_assert_int_eq(memcmp(text, wanted, len), 0);
	send_tcp(TH_ACK, "");
}

/* ---- the host ---- */

static int bound(int family, int type, uint16_t *ret_port)
{
	struct sockaddr_storage at = { .ss_family = (sa_family_t)family };
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int fd = socket(family, type, 0);

	if (family == AF_INET)
		((struct sockaddr_in *)&at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&at)->sin6_addr = in6addr_loopback;
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) || getsockname(fd, (struct sockaddr *)&at, &len)) {
		close(fd);
		return -1;
	}
	*ret_port = ntohs(((struct sockaddr_in *)&at)->sin_port); /* of both at the same place */
	if (type == SOCK_STREAM)
		ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

/* Is there something to read, or a connection? Frames go on meanwhile. */
static bool host_hears(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	const int64_t until = now_ms() + ms;

	while (poll(&p, 1, 1) != 1) {
		if (now_ms() >= until)
			return false;
		loop_once(&loop, 0);
	}
	return true;
}

static void check_read(int fd, const char *wanted)
{
	char got[64];
	ssize_t n;

	ck_assert(host_hears(fd, SECONDS * 1000));
	n = read(fd, got, sizeof(got));
	ck_assert_int_eq(n, (ssize_t)strlen(wanted));
	ck_assert_int_eq(memcmp(got, wanted, (size_t)n), 0);
}

static int connect_in(uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* ---- tests ---- */

START_TEST(test_arp_and_ping)
{
	struct icmphdr icmp = { .type = ICMP_ECHO, .un.echo = { htons(3), htons(4) } };

	begin();
	ck_assert(net->link_up);
	ck_assert_uint_eq(net->mtu, 16384);
	ck_assert_uint_eq(ntohl(net->addresses.ip.s_addr), GUEST);
	ck_assert_uint_eq(ntohl(net->addresses.gateway.s_addr), GATEWAY);
	send_ip(GATEWAY, IPPROTO_ICMP, &icmp, sizeof(icmp), offsetof(struct icmphdr, checksum));
	/* It asks for the guest's address first. */
	ck_assert(n_readable);
	wait_for(is_icmp);
	ck_assert_uint_eq(((const struct icmphdr *)body_of(&in))->type, ICMP_ECHOREPLY);
	ck_assert_uint_eq(ntohl(ip_of(&in)->saddr), GATEWAY);
	ck_assert_mem_eq(in.bytes, guest_mac, 6);
	end();
}
END_TEST

START_TEST(test_dhcp)
{
	uint8_t packet[sizeof(struct udphdr) + 300] = { 0 }, *bootp = packet + sizeof(struct udphdr);
	const struct udphdr udp = { .source = htons(68), .dest = htons(67), .len = htons(sizeof(packet)) };
	const uint8_t options[] = { 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 };
	const uint8_t router[] = { 3, 4, 10, 0, 2, 2 };
	const uint8_t *offer;

	cfg.bootfile = "boot.ipxe";
	begin();
	memcpy(packet, &udp, sizeof(udp));
	bootp[0] = 1;
	bootp[1] = 1;
	bootp[2] = 6;
	memcpy(bootp + 28, guest_mac, 6);
	memcpy(bootp + 236, options, sizeof(options));
	send_ip(INADDR_BROADCAST, IPPROTO_UDP, packet, sizeof(packet), offsetof(struct udphdr, check));
	wait_for(is_udp);
	offer = (const uint8_t *)body_of(&in) + sizeof(struct udphdr);
	ck_assert_uint_eq(offer[0], 2);
	ck_assert_mem_eq(offer + 16, ((uint8_t[]){ 10, 0, 2, 15 }), 4);
	ck_assert_ptr_nonnull(memmem(offer + 240, 60, router, sizeof(router)));
	ck_assert_str_eq((const char *)offer + 108, "boot.ipxe");
	end();
}
END_TEST

START_TEST(test_udp)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	const struct udphdr *udp;
	char text[16];
	uint16_t port;
	int fd;

	begin();
	fd = bound(AF_INET, SOCK_DGRAM, &port);
	send_udp(GATEWAY, port, "question");
	ck_assert(host_hears(fd, SECONDS * 1000));
	ck_assert_int_eq(recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len), 8);
	ck_assert_int_eq(sendto(fd, "answer", 6, 0, (struct sockaddr *)&from, len), 6);
	wait_for(is_udp);
	udp = body_of(&in);
	ck_assert_uint_eq(ntohl(ip_of(&in)->saddr), GATEWAY);
	ck_assert_uint_eq(ntohs(udp->source), port);
	ck_assert_uint_eq(ntohs(udp->dest), 7000);
	ck_assert_mem_eq(udp + 1, "answer", 6);
	close(fd);
	end();
}
END_TEST

START_TEST(test_tcp_out)
{
	uint16_t port;
	int listener, fd;

	begin();
	listener = bound(AF_INET, SOCK_STREAM, &port);
	connect_out(GATEWAY, port);
	ck_assert_uint_eq(tcp_flags(), TH_SYN | TH_ACK);
	send_tcp(TH_ACK, "");
	send_tcp(TH_ACK | TH_PUSH, "hello, host");
	fd = accept(listener, NULL, NULL);
	check_read(fd, "hello, host");
	ck_assert_int_eq(write(fd, "hello, guest", 12), 12);
	check_text("hello, guest");
	shutdown(fd, SHUT_WR);
	wait_for(is_tcp_news);
	ck_assert(tcp_flags() & TH_FIN);
	send_tcp(TH_ACK | TH_PUSH, "still here");
	check_read(fd, "still here");
	send_tcp(TH_ACK | TH_FIN, "");
	check_read(fd, "");
	close(fd);
	close(listener);
	end();
}
END_TEST

START_TEST(test_tcp_refused)
{
	uint16_t port;

	begin();
	close(bound(AF_INET, SOCK_STREAM, &port));
	connect_out(GATEWAY, port);
	ck_assert(tcp_flags() & TH_RST);
	end();
}
END_TEST

/* The guest's side of a connection that comes to its port 22 */
static void accept_in(void)
{
	const struct tcphdr *tcp = body_of(&in);

	wait_for(is_syn);
	ck_assert_uint_eq(ntohl(ip_of(&in)->daddr), GUEST);
	ck_assert_uint_eq(ntohs(tcp->dest), 22);
	peer = ntohl(ip_of(&in)->saddr);
	peer_port = ntohs(tcp->source);
	own_port = 22;
	seq = 5000;
	send_tcp(TH_SYN | TH_ACK, "");
}

static void check_forward(void)
{
	int fd = connect_in(net->forward[0].host_port);

	accept_in();
	ck_assert_int_eq(write(fd, "knock", 5), 5);
	check_text("knock");
	send_tcp(TH_ACK | TH_PUSH, "enter");
	check_read(fd, "enter");
	close(fd);
	wait_for(is_tcp_news);
	ck_assert(tcp_flags() & TH_FIN);
}

START_TEST(test_forward)
{
	forward("tcp::0-:22");
	forward("udp::0-:53");
	begin();
	ck_assert_uint_eq(net->n_forwards, 2);
	ck_assert_uint_ne(net->forward[0].host_port, 0);
	ck_assert_uint_ne(net->forward[1].host_port, 0);
	ck_assert_uint_eq(cfg.forward[0].host_port, 0);
	check_forward();
	end();
}
END_TEST

START_TEST(test_forward_udp)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct udphdr *udp;
	uint16_t port;
	int fd;

	forward("udp::0-:7000");
	begin();
	fd = bound(AF_INET, SOCK_DGRAM, &port);
	to.sin_port = htons(net->forward[0].host_port);
	ck_assert_int_eq(sendto(fd, "knock", 5, 0, (struct sockaddr *)&to, sizeof(to)), 5);
	wait_for(is_udp);
	udp = body_of(&in);
	ck_assert_uint_eq(ntohs(udp->dest), 7000);
	ck_assert_mem_eq(udp + 1, "knock", 5);
	send_udp(ntohl(ip_of(&in)->saddr), ntohs(udp->source), "enter");
	check_read(fd, "enter");
	end();
}
END_TEST

/* Many at once wait for a guest that is slow, or not there yet */
START_TEST(test_backlog)
{
	int fd[20];

	forward("tcp::0-:22");
	begin();
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = connect_in(net->forward[0].host_port);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
		accept_in();
		close(fd[i]);
	}
	end();
}
END_TEST

static void check_conflict(const char *text, int type)
{
	char wanted[128], why[256], other[64];
	uint16_t port;
	int fd = bound(AF_INET, type, &port);

	cfg = (struct net_config){ 0 };
	snprintf(other, sizeof(other), text, port);
	forward(other);
	log_hold_errors(true);
	ck_assert_int_eq(open_end(), -EADDRINUSE);
	log_last_error(why, sizeof(why));
	snprintf(wanted, sizeof(wanted), "net0: hostfwd: cannot listen on 127.0.0.1:%u: Address already in use", port);
	ck_assert_str_eq(why, wanted);
	cfg.ports_may_move = true;
	ck_assert_int_eq(open_end(), 0);
	ck_assert_uint_ne(net->forward[0].host_port, 0);
	ck_assert_uint_ne(net->forward[0].host_port, port);
	net_close(net);
	close(fd);
}

START_TEST(test_conflict)
{
	check_conflict("tcp::%u-:22", SOCK_STREAM);
	check_conflict("udp::%u-:22", SOCK_DGRAM);
}
END_TEST

#define TFTP 69

static const uint8_t *tftp_answer(const char *request, size_t len)
{
	send_udp_bytes(GATEWAY, TFTP, request, len);
	wait_for(is_udp);
	return (const uint8_t *)body_of(&in) + sizeof(struct udphdr);
}

/* Files of a folder, and no others; of the gateway even where nothing else can be had */
START_TEST(test_tftp)
{
	static const char file[] = "\0\1boot\0octet", outside[] = "\0\1../boot\0octet", missing[] = "\0\1none\0octet";
	char folder[] = "/tmp/lkvm-tftp-XXXXXX", path[64];
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/boot", folder);
	f = fopen(path, "we");
	fputs("a kernel", f);
	fclose(f);
	cfg.tftp = folder;
	cfg.restricted = true;
	begin();
	ck_assert_mem_eq(tftp_answer(file, sizeof(file)), "\0\3\0\1a kernel", 12);
	ck_assert_uint_eq(tftp_answer(outside, sizeof(outside))[1], 5);
	ck_assert_uint_eq(tftp_answer(missing, sizeof(missing))[1], 5);
	end();
	unlink(path);
	rmdir(folder);
}
END_TEST

START_TEST(test_no_tftp)
{
	static const char file[] = "\0\1passwd\0octet";
	char text[256];

	log_hold_errors(true);
	cfg.tftp = "/nonsense";
	ck_assert_int_eq(open_end(), -ENOENT);
	log_last_error(text, sizeof(text));
	ck_assert_str_eq(text, "net0: tftp '/nonsense': No such file or directory");
	cfg.tftp = "/dev/null";
	ck_assert_int_eq(open_end(), -ENOTDIR);
	cfg.tftp = NULL;
	begin();
	ck_assert_uint_eq(tftp_answer(file, sizeof(file))[1], 5);
	end();
}
END_TEST

/* No way out but the forwards */
START_TEST(test_restrict)
{
	uint16_t tcp_port, udp_port;
	int listener, fd;

	cfg.restricted = true;
	forward("tcp::0-:22");
	begin();
	listener = bound(AF_INET, SOCK_STREAM, &tcp_port);
	fd = bound(AF_INET, SOCK_DGRAM, &udp_port);
	send_udp(GATEWAY, udp_port, "out");
	ck_assert(!host_hears(fd, 300));
	peer = GATEWAY;
	peer_port = tcp_port;
	own_port = 9000;
	send_tcp(TH_SYN, "");
	ck_assert(!host_hears(listener, 300));
	ck_assert_uint_eq(net->addresses.dns.s_addr, 0);
	check_forward();
	end();
}
END_TEST

START_TEST(test_loopback_off)
{
	static const uint32_t names[] = { GATEWAY, INADDR_LOOPBACK, INADDR_LOOPBACK + 1, INADDR_ANY, INADDR_BROADCAST };
	static const char *const names6[] = { "fec0::2", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1" };
	uint16_t port, port6, tcp_port;
	int fd = bound(AF_INET, SOCK_DGRAM, &port), fd6 = bound(AF_INET6, SOCK_DGRAM, &port6);
	int listener = bound(AF_INET, SOCK_STREAM, &tcp_port);

	cfg.no_loopback = true;
	begin();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		send_udp(names[i], port, "in");
	for (size_t i = 0; i < ARRAY_SIZE(names6); i++) {
		send_udp6(names6[i], port, "in");
		send_udp6(names6[i], port6, "in");
	}
	ck_assert(!host_hears(fd, 300));
	ck_assert(fd6 < 0 || !host_hears(fd6, 100));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		peer = names[i];
		peer_port = tcp_port;
		own_port = (uint16_t)(9000 + i);
		send_tcp(TH_SYN, "");
	}
	ck_assert(!host_hears(listener, 300));
	end();

	/* They all would have come through otherwise: */
	cfg.no_loopback = false;
	begin();
	send_udp(INADDR_LOOPBACK, port, "in");
	check_read(fd, "in");
	end();
}
END_TEST

START_TEST(test_ip6)
{
	struct {
		struct nd_neighbor_solicit ns;
		uint8_t option[8];
	} ask = { .ns.nd_ns_type = ND_NEIGHBOR_SOLICIT, .option = { ND_OPT_SOURCE_LINKADDR, 1 } };
	const struct nd_neighbor_advert *answer = (const void *)(in.bytes + ETH_HLEN + sizeof(struct ip6_hdr));
	uint16_t port;
	int fd;

	begin();
	ck_assert_uint_eq(net->addresses.ip6.s6_addr[15], 0x15);
	memcpy(ask.option + 2, guest_mac, 6);
	inet_pton(AF_INET6, "fec0::2", &ask.ns.nd_ns_target);
	send_ip6("fec0::2", IPPROTO_ICMPV6, &ask, sizeof(ask), offsetof(struct nd_neighbor_solicit, nd_ns_cksum));
	wait_for(is_ip6);
	ck_assert_uint_eq(answer->nd_na_type, ND_NEIGHBOR_ADVERT);
	fd = bound(AF_INET6, SOCK_DGRAM, &port); /* a host without IPv6 has none */
	if (fd >= 0) {
		send_udp6("fec0::2", port, "six");
		check_read(fd, "six");
		close(fd);
	}
	end();
}
END_TEST

/* A guest that takes nothing: what it is sent waits in the host's sockets, or is lost and counted, and comes then. */
START_TEST(test_slow_guest)
{
	static char block[60000];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	unsigned got = 0;
	uint16_t port;
	int fd;

	begin();
	fd = bound(AF_INET, SOCK_DGRAM, &port);
	send_udp(GATEWAY, port, "x");
	ck_assert(host_hears(fd, SECONDS * 1000));
	ck_assert_int_eq(recvfrom(fd, block, sizeof(block), 0, (struct sockaddr *)&from, &len), 1);
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(sendto(fd, block, sizeof(block), 0, (struct sockaddr *)&from, len), sizeof(block));
		for (unsigned turn = 0; turn < 4; turn++)
			loop_once(&loop, 0);
		if (!i)
			while (receive()) /* the question for the guest's address */
				answer_arp();
	}
	while (wait_until(is_udp, 100))
		got++;
	/* More than the queue holds, less than all */
	ck_assert_uint_gt(got, 16);
	ck_assert_uint_lt(got, 200);
	ck_assert_int_eq(sendto(fd, "end", 3, 0, (struct sockaddr *)&from, len), 3);
	wait_for(is_udp);
	ck_assert_mem_eq((const uint8_t *)body_of(&in) + sizeof(struct udphdr), "end", 3);
	close(fd);
	end();
}
END_TEST

START_TEST(test_small_buffer)
{
	char room[NET_HDR_BYTES + 20];
	const struct iovec iov = { room, sizeof(room) };
	struct icmphdr icmp = { .type = ICMP_ECHO };

	begin();
	send_ip(GATEWAY, IPPROTO_ICMP, &icmp, sizeof(icmp), offsetof(struct icmphdr, checksum));
	ck_assert_int_eq(net_receive(net, 0, &iov, 1), -EMSGSIZE);
	ck_assert_uint_eq(net->counters.received_dropped, 1);
	end();
}
END_TEST

/* Nothing wakes the worker of a guest that does nothing; a driver that starts anew finds the end as new. */
START_TEST(test_idle)
{
	begin();
	ck_assert_int_eq(loop_once(&loop, 1200), 0);
	net_detach(net, &loop);
	ck_assert_int_eq(net_attach(net, &loop), 0);
	ck_assert_int_eq(loop_once(&loop, 0), 0);
	end();
}
END_TEST

/* A guest that opens whatever it can leaves lkvm descriptors of its own. */
START_TEST(test_many_sockets)
{
	const struct rlimit few = { 80, 80 };
	unsigned before;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	begin();
	before = unit_entries("/proc/self/fd");
	peer = GATEWAY;
	peer_port = 9;
	for (unsigned i = 0; i < 200; i++) {
		own_port = (uint16_t)(10000 + i);
		send_tcp(TH_SYN, "");
	}
	ck_assert_uint_le(unit_entries("/proc/self/fd"), before + 40);
	end();
}
END_TEST

/* Frames that are none */
START_TEST(test_junk)
{
	begin();
	for (size_t len = 21; len < 120; len++) {
		memset(out.bytes, 0, sizeof(out.bytes));
		start_frame(len & 1 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
		memset(out.bytes + ETH_HLEN, (int)len * 7, 100);
		out.bytes[ETH_HLEN] = len & 1 ? 0x45 : 0x60;
		out.len = len;
		send_out();
	}
	end();
}
END_TEST

START_TEST(test_nothing_left)
{
	unsigned fds;

	forward("tcp::0-:22");
	begin();
	end();
	fds = unit_entries("/proc/self/fd");
	for (int i = 0; i < 3; i++) {
		begin();
		check_forward();
		end();
	}
	ck_assert_uint_eq(unit_entries("/proc/self/fd"), fds);
}
END_TEST

UNIT_MAIN("slirp", test_arp_and_ping, test_dhcp, test_udp, test_tcp_out, test_tcp_refused, test_forward, test_forward_udp,
	  test_backlog, test_conflict, test_tftp, test_no_tftp, test_restrict, test_loopback_off, test_ip6, test_slow_guest,
	  test_small_buffer, test_idle, test_many_sockets, test_junk, test_nothing_left)
