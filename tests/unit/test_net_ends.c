/* Links: net/net.o net/tap.o net/slirp.o net/frame-queue.o net/poll-set.o net/script.o net/switch.o net/switch-folder.o net/pcap.o net/keys.o net/forward.o util/keys.o util/options.o util/log.o util/loop.o */

/* Ends of a network: what -n says of them, a switch between three guests, scripts, what pcap= records. */
#include "unit.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/net-pcap.h"
#include "lkvm/types.h"
#include "../../net/net-internal.h"
#include "own-folder.h"

#define GUESTS 3

static struct net_config cfg[GUESTS + 1];
static struct net *net[GUESTS + 1];
static struct loop loop;
static unsigned woken[GUESTS + 1];

static void on_readable(struct net *n, unsigned pair)
{
	ck_assert_uint_eq(pair, 0);
	for (unsigned i = 0; i <= GUESTS; i++)
		woken[i] += net[i] == n;
}

static void on_writable(struct net *n, unsigned pair)
{
	ck_assert_uint_eq(pair, 0);
	(void)n;
}

static void open_guest(unsigned i, const char *arg)
{
	ck_assert_int_eq(net_config_parse(&cfg[i], "net", arg), 0);
	snprintf(cfg[i].folder, sizeof(cfg[i].folder), "%s", own_folder);
	memcpy(cfg[i].mac, (uint8_t[]){ 2, 0, 0, 0, 1, (uint8_t)(i + 1) }, NET_MAC_BYTES);
	ck_assert_int_eq(net_open(&cfg[i], "net0", &net[i]), 0);
	net[i]->readable = on_readable;
	net[i]->writable = on_writable;
	ck_assert_int_eq(net_attach(net[i], &loop), 0);
}

static void close_guest(unsigned i)
{
	if (!net[i])
		return;
	net_detach(net[i], &loop);
	net_close(net[i]);
	net_config_free(&cfg[i]);
	net[i] = NULL;
}

#define FRAME_BYTES 60
#define LONG_BYTES  9000

/* One of so many, after which others may follow at once */
static void put_frame(unsigned from, const uint8_t *to, uint8_t value, size_t bytes)
{
	uint8_t frame[LONG_BYTES] = { 0 };
	struct virtio_net_hdr_v1 header = { .flags = 1, .csum_start = htole16(20), .csum_offset = htole16(10) };
	struct iovec iov[2] = { { &header, sizeof(header) }, { frame, bytes } };

	while (loop_once(&loop, 0) > 0) /* who has come is let in */
		;
	memcpy(frame, to, NET_MAC_BYTES);
	memcpy(frame + NET_MAC_BYTES, cfg[from].mac, NET_MAC_BYTES);
	frame[bytes - 1] = value;
	ck_assert_int_eq(net_send(net[from], 0, iov, 2, bytes), 0);
}

static void send_frame(unsigned from, const uint8_t *to, uint8_t value)
{
	put_frame(from, to, value, FRAME_BYTES);
	net[from]->ops->flush(net[from]);
}

/* Return: the value of the next frame; -1: there is none */
static int get_frame(unsigned at)
{
	uint8_t frame[NET_HDR_BYTES + LONG_BYTES];
	struct iovec iov = { frame, sizeof(frame) };
	ssize_t n;

	while (loop_once(&loop, 0) > 0)
		;
	n = net_receive(net[at], 0, &iov, 1);
	if (!n)
		return -1;
	ck_assert(n == NET_HDR_BYTES + FRAME_BYTES || n == NET_HDR_BYTES + LONG_BYTES);
	ck_assert_uint_eq(frame[0], 0); /* the checksum is there, as this guest takes no offloads */
	return frame[n - 1];
}

static const uint8_t all[NET_MAC_BYTES] = { 255, 255, 255, 255, 255, 255 };

static void setup(void)
{
	enter_own_folder();
	ck_assert_int_eq(loop_init(&loop), 0);
}

/* All of them on one switch, which knows no place yet */
static void setup_lan(void)
{
	setup();
	for (unsigned i = 0; i < GUESTS; i++)
		open_guest(i, "switch=lan");
}

static void teardown(void)
{
	for (unsigned i = 0; i <= GUESTS; i++)
		close_guest(i);
	loop_fini(&loop);
	leave_own_folder();
}

START_TEST(test_switch)
{
	setup();
	for (unsigned i = 0; i < GUESTS; i++)
		open_guest(i, i == 2 ? "switch,name=lan" : "switch=lan");
	open_guest(GUESTS, "switch=other");
	send_frame(0, all, 1);
	ck_assert_int_eq(get_frame(1), 1);
	ck_assert_int_eq(get_frame(2), 1);
	ck_assert_int_eq(get_frame(0), -1);
	ck_assert_int_eq(get_frame(GUESTS), -1); /* another network */
	ck_assert_uint_ge(woken[1], 1);
	/* One whose place is known gets it alone. */
	send_frame(1, cfg[0].mac, 2);
	ck_assert_int_eq(get_frame(0), 2);
	ck_assert_int_eq(get_frame(2), -1);
	/* One that is not known, everybody */
	send_frame(0, cfg[2].mac, 3);
	ck_assert_int_eq(get_frame(1), 3);
	ck_assert_int_eq(get_frame(2), 3);
	ck_assert_uint_eq(net[0]->addresses.ip.s_addr, htonl(0x0a000101));
	teardown();
}
END_TEST

/* Frames to one whose place is known go together, and stay in order; of those that nobody takes each is counted. */
START_TEST(test_switch_batch)
{
	uint64_t sent;

	setup_lan();
	send_frame(1, all, 1);
	ck_assert_int_eq(get_frame(0), 1);
	ck_assert_int_eq(get_frame(2), 1);
	for (uint8_t i = 0; i < 40; i++)
		put_frame(0, cfg[1].mac, i, FRAME_BYTES);
	for (uint8_t i = 0; i < 32; i++)
		ck_assert_int_eq(get_frame(1), i);
	ck_assert_int_eq(get_frame(1), -1);
	put_frame(0, cfg[1].mac, 40, LONG_BYTES);
	put_frame(0, cfg[1].mac, 41, FRAME_BYTES);
	put_frame(0, cfg[2].mac, 42, FRAME_BYTES); /* to all */
	for (uint8_t i = 32; i <= 42; i++)
		ck_assert_int_eq(get_frame(1), i);
	ck_assert_int_eq(get_frame(2), 42);
	send_frame(2, all, 2);
	ck_assert_int_eq(get_frame(0), 2);
	ck_assert_int_eq(get_frame(1), 2);
	put_frame(0, cfg[1].mac, 43, FRAME_BYTES);
	put_frame(0, cfg[2].mac, 44, FRAME_BYTES);
	ck_assert_int_eq(get_frame(1), 43);
	ck_assert_int_eq(get_frame(2), -1);
	net[0]->ops->flush(net[0]);
	ck_assert_int_eq(get_frame(2), 44);
	sent = net[0]->counters.sent;
	put_frame(0, cfg[1].mac, 45, FRAME_BYTES);
	put_frame(0, cfg[1].mac, 46, FRAME_BYTES);
	close_guest(1);
	net[0]->ops->flush(net[0]);
	ck_assert_uint_eq(net[0]->counters.sent, sent);
	ck_assert_uint_eq(net[0]->counters.sent_bytes, sent * FRAME_BYTES + LONG_BYTES - FRAME_BYTES);
	ck_assert_uint_eq(net[0]->counters.sent_dropped, 2);
	teardown();
}
END_TEST

/* The first one's end does not break the others, and a new one finds them. */
START_TEST(test_switch_first_ends)
{
	setup_lan();
	send_frame(0, all, 1);
	ck_assert_int_eq(get_frame(1), 1);
	ck_assert_int_eq(get_frame(2), 1);
	close_guest(0);
	send_frame(1, cfg[2].mac, 4);
	ck_assert_int_eq(get_frame(2), 4);
	open_guest(0, "switch=lan");
	send_frame(0, all, 5);
	ck_assert_int_eq(get_frame(1), 5);
	ck_assert_int_eq(get_frame(2), 5);
	send_frame(2, all, 6);
	ck_assert_int_eq(get_frame(0), 6);
	ck_assert_int_eq(get_frame(1), 6);
	teardown();
}
END_TEST

/* A frame that is to be cut, to who takes it so, and to who does not */
START_TEST(test_switch_offloads)
{
	enum { HEAD = 54, PAYLOAD = 2500, SIZE = 1000 };
	uint8_t frame[HEAD + PAYLOAD] = { [12] = 8, [14] = 0x45, [23] = 6, [46] = 0x50 };
	struct virtio_net_hdr_v1 h = { .flags = 1, .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = htole16(SIZE),
				       .csum_start = htole16(34), .csum_offset = htole16(16) }, bad = h;
	struct iovec iov[2] = { { &h, sizeof(h) }, { frame, sizeof(frame) } };
	uint8_t got[NET_HDR_BYTES + LONG_BYTES];
	struct iovec room = { got, sizeof(got) };

	setup_lan();
	ck_assert_uint_eq(net[0]->offloads, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN);
	ck_assert_int_eq(net[1]->ops->set_offloads(net[1], net[1]->offloads), 0);
	ck_assert_int_eq(net[2]->ops->set_offloads(net[2], NET_CSUM), 0);
	memcpy(frame, all, NET_MAC_BYTES);
	for (unsigned i = 0; i < PAYLOAD; i++)
		frame[HEAD + i] = (uint8_t)i;
	while (loop_once(&loop, 0) > 0)
		;
	ck_assert_int_eq(net_send(net[0], 0, iov, 2, sizeof(frame)), 0);
	ck_assert_int_eq(get_frame(0), -1);
	ck_assert_int_eq(net_receive(net[1], 0, &room, 1), (ssize_t)(NET_HDR_BYTES + sizeof(frame)));
	ck_assert_mem_eq(got, &h, sizeof(h));
	ck_assert_mem_eq(got + NET_HDR_BYTES, frame, sizeof(frame));
	for (unsigned at = 0; at < PAYLOAD; at += SIZE) {
		const unsigned n = at + SIZE < PAYLOAD ? SIZE : PAYLOAD - at;

		ck_assert_int_eq(net_receive(net[2], 0, &room, 1), NET_HDR_BYTES + HEAD + n);
		ck_assert_uint_eq(got[0] | got[1], 0);
		ck_assert_mem_eq(got + NET_HDR_BYTES + HEAD, frame + HEAD + at, n);
	}
	ck_assert_int_eq(get_frame(2), -1);
	/* An lkvm that has not judged: nobody's guest sees it. */
	bad.gso_size = 0;
	iov[0].iov_base = &bad;
	ck_assert_int_eq(net_send(net[0], 0, iov, 2, sizeof(frame)), 0);
	for (unsigned i = 1; i < GUESTS; i++) {
		ck_assert_int_eq(net_receive(net[i], 0, &room, 1), -EMSGSIZE);
		ck_assert_uint_eq(net[i]->counters.received_dropped, 1);
		ck_assert_int_eq(get_frame(i), -1);
	}
	/* Nor is it cut where there is nothing to be cut. */
	iov[0].iov_base = &h;
	frame[14] = 0x46;
	ck_assert_int_eq(net_send(net[0], 0, iov, 2, sizeof(frame)), 0);
	while (loop_once(&loop, 0) > 0)
		;
	ck_assert_int_eq(net_receive(net[2], 0, &room, 1), -EMSGSIZE);
	ck_assert_int_eq(get_frame(2), -1);
	teardown();
}
END_TEST

/* Who was killed leaves his socket: the next one removes it. The last one who leaves removes the folder. */
START_TEST(test_switch_dead)
{
	static const char dead[] = "0123456789abcdef";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char path[256];
	int fd;

	setup();
	open_guest(0, "switch=lan");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.60s/lan.switch/%s", own_folder, dead);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	ck_assert_int_eq(access(addr.sun_path, F_OK), 0);
	open_guest(1, "switch=lan");
	ck_assert_int_ne(access(addr.sun_path, F_OK), 0);
	send_frame(1, all, 1);
	ck_assert_int_eq(get_frame(0), 1);
	close_guest(0);
	close_guest(1);
	snprintf(path, sizeof(path), "%s/lan.switch", own_folder);
	ck_assert_int_ne(access(path, F_OK), 0);
	teardown();
}
END_TEST

/* A guest that takes nothing: what has no room is lost, and the others go on. */
START_TEST(test_switch_full)
{
	setup_lan();
	send_frame(1, all, 1);
	while (get_frame(0) != -1 || get_frame(2) != -1)
		;
	for (unsigned i = 0; i < 100000 && !net[0]->counters.sent_dropped; i++)
		send_frame(0, cfg[1].mac, 9);
	ck_assert_uint_ge(net[0]->counters.sent_dropped, 1);
	send_frame(0, cfg[2].mac, 7); /* to all: guest 2's place is not known to guest 0 */
	ck_assert_int_eq(get_frame(2), 7);
	while (get_frame(1) != -1)
		;
	send_frame(0, cfg[1].mac, 8);
	ck_assert_int_eq(get_frame(1), 8);
	teardown();
}
END_TEST

/* A folder that others can look into is not ours. */
START_TEST(test_switch_folder)
{
	char path[256];

	setup();
	snprintf(path, sizeof(path), "%s/lan.switch", own_folder);
	ck_assert_int_eq(mkdir(path, 0755), 0);
	ck_assert_int_eq(chmod(path, 0755), 0);
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "switch=lan"), 0);
	snprintf(cfg[0].folder, sizeof(cfg[0].folder), "%s", own_folder);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -EPERM);
	net_config_free(&cfg[0]);
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "switch"), 0);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -EINVAL);
	net_config_free(&cfg[0]);
	rmdir(path);
	teardown();
}
END_TEST

START_TEST(test_pcap)
{
	char path[256], arg[300];
	uint8_t bytes[512];
	uint32_t word;
	int fd;

	setup();
	snprintf(path, sizeof(path), "%s/pcap", own_folder);
	snprintf(arg, sizeof(arg), "switch=lan,pcap=%s", path);
	open_guest(0, arg);
	open_guest(1, "switch=lan");
	send_frame(0, all, 1);
	send_frame(1, all, 2);
	ck_assert_int_eq(get_frame(0), 2);
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), 24 + 2 * (16 + 60)); /* while it is recorded */
	memcpy(&word, bytes, 4);
	ck_assert_uint_eq(word, 0xa1b23c4d);
	memcpy(&word, bytes + 20, 4);
	ck_assert_uint_eq(word, 1);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(&word, bytes + 24 + i * 76 + 8, 4);
		ck_assert_uint_eq(word, 60);
		ck_assert_mem_eq(bytes + 24 + i * 76 + 16, all, NET_MAC_BYTES);
		ck_assert_uint_eq(bytes[24 + i * 76 + 75], i + 1);
	}
	close(fd);
	close_guest(0);
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "switch=lan,pcap=/dev/null"), 0);
	snprintf(cfg[0].folder, sizeof(cfg[0].folder), "%s", own_folder);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -EINVAL);
	net_config_free(&cfg[0]);
	unlink(path);
	teardown();
}
END_TEST

/* A full disk: one message, and what is recorded ends with a whole frame. */
START_TEST(test_pcap_full)
{
	uint8_t frame[4096] = { 0 };
	const struct iovec iov = { frame, sizeof(frame) };
	const struct rlimit limit = { 10000, 10000 };
	struct pcap *pcap;
	char path[256], error[256];
	struct stat st;

	setup();
	signal(SIGXFSZ, SIG_IGN);
	snprintf(path, sizeof(path), "%s/pcap", own_folder);
	ck_assert_int_eq(pcap_open(path, &pcap), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < 5; i++)
		pcap_write(pcap, &iov, 1, 12, 4000);
	log_last_error(error, sizeof(error));
	ck_assert_ptr_nonnull(strstr(error, "no more frames"));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 24 + 2 * 4016);
	pcap_close(pcap);
	unlink(path);
	teardown();
}
END_TEST

START_TEST(test_options)
{
	static const struct {
		const char *arg;
		int ret;
	} table[] = {
		{ NULL, 0 }, { "", 0 }, { "user", 0 }, { "mac=02:00:00:00:00:01", 0 }, { "packed", 0 }, { "+packed", 0 },
		{ "none", 1 }, { "none,mtu=1500", -EINVAL }, { "tap", 0 }, { "tap,ifname=tap0,queues=8", 0 },
		{ "tap,queues=9", -EINVAL }, { "tap,queues=0", -EINVAL }, { "tap,mtu=1280", 0 }, { "tap,mtu=1279", -EINVAL },
		{ "tap,mtu=65535", 0 }, { "tap,mtu=65536", -EINVAL }, { "tap=tap0", -EINVAL }, { "tap,fd=x", -EINVAL },
		{ "tap,fd=3", 0 }, { "tap,ifname=a/b", -EINVAL }, { "tap,ifname=sixteen-letters-", -EINVAL },
		{ "tap,ifname=..", -EINVAL }, { "switch=lan", 0 }, { "switch=a/b", -EINVAL }, { "switch=", -EINVAL },
		{ "switch,name=lan", 0 }, { "switch=lan,queues=2,rss", 0 }, { "rss", 0 }, { "bridge", -EINVAL },
		{ "mac=02:00:00:00:00", -EINVAL }, { "mac=03:00:00:00:00:01", -EINVAL }, { "mac=00:00:00:00:00:00", -EINVAL },
		{ "mac=02:00:00:00:00:01:", -EINVAL }, { "mac=2:0:0:0:0:1", -EINVAL }, { "mac=02:00:00:00:00:+1", -EINVAL },
		{ "tap,", -EINVAL },
	};
	struct net_config c;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_msg(net_config_parse(&c, "net", table[i].arg) == table[i].ret, "%s", table[i].arg);
		net_config_free(&c);
	}
	ck_assert_int_eq(net_config_parse(&c, "net", "tap,ifname=t0,mac=02:aB:00:00:00:01"), 0);
	ck_assert_int_eq(c.kind, NET_TAP);
	ck_assert_str_eq(c.ifname, "t0");
	ck_assert_uint_eq(c.mac[1], 0xab);
	ck_assert_str_eq(c.arg, "tap,ifname=t0,mac=02:aB:00:00:00:01");
	net_config_free(&c);
}
END_TEST

START_TEST(test_script)
{
	char path[256];
	FILE *f;

	setup();
	snprintf(path, sizeof(path), "%s/script", own_folder);
	f = fopen(path, "w");
	fputs("#!/bin/sh\nread -r x && exit 9\n[ \"$1\" = good ] && exit 0\n[ \"$1\" = kill ] && kill -9 $$\nexit 7\n", f);
	fchmod(fileno(f), 0755);
	fclose(f);
	ck_assert_int_eq(net_script("net0", path, "good"), 0);
	ck_assert_int_eq(net_script("net0", path, "bad"), -ECHILD);
	ck_assert_int_eq(net_script("net0", path, "kill"), -ECHILD);
	unlink(path);
	ck_assert_int_eq(net_script("net0", path, "good"), -ENOENT);
	teardown();
}
END_TEST

static void put_program(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", own_folder, name);
	f = fopen(path, "w");
	fputs(text, f);
	fchmod(fileno(f), 0755);
	fclose(f);
}

/* So many large frames to a passt that does not read yet: all of them come in the end, though no other is sent. */
static void all_come(unsigned n)
{
	const struct virtio_net_hdr_v1 header = { .flags = 0 };
	static uint8_t frame[NET_MAX_FRAME], got[NET_HDR_BYTES + NET_MAX_FRAME];
	struct iovec iov[2] = { { (void *)&header, sizeof(header) }, { frame, sizeof(frame) } }, to = { got, sizeof(got) };
	unsigned sent = 0, received = 0;

	unlink("go");
	open_guest(0, "passt");
	while (sent < n && !net[0]->ops->send(net[0], 0, iov, 2))
		sent++;
	close(open("go", O_CREAT | O_WRONLY, 0600));
	for (unsigned i = 0; received < sent && i < 10000; i++) {
		loop_once(&loop, 1);
		while (net_receive(net[0], 0, &to, 1) > 0)
			received++;
	}
	ck_assert_uint_eq(received, sent);
	close_guest(0);
}

START_TEST(test_passt_is_slow)
{
	char path[256];

	setup();
	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", own_folder);
	setenv("PATH", path, 1);
	put_program("passt", "#!/bin/sh\nuntil [ -e go ]; do sleep 0.01; done\nexec cat <&3 >&3\n");
	for (unsigned n = 2; n < 6; n++)
		all_come(n);
	setenv("PATH", "/usr/bin:/bin", 1);
	teardown();
}
END_TEST

/* A passt that sends back what it gets, and notes what it was told */
START_TEST(test_passt)
{
	const struct virtio_net_hdr_v1 header = { .flags = 0 };
	static uint8_t frame[NET_MAX_FRAME], got[NET_HDR_BYTES + NET_MAX_FRAME];
	struct iovec iov[2] = { { (void *)&header, sizeof(header) }, { frame, 0 } }, to = { got, sizeof(got) };
	char path[256], words[512] = "";
	unsigned sent = 0, received = 0;
	FILE *f;

	setup();
	snprintf(path, sizeof(path), "%s:/usr/bin:/bin", own_folder);
	setenv("PATH", path, 1);
	put_program("passt", "#!/bin/sh\necho \"$*\" >words\nexec cat <&3 >&3\n");
	open_guest(0, "passt,hostfwd=tcp::8080-:80,hostfwd=udp:0.0.0.0:53-:5353,loopback=off");
	f = fopen("words", "r");
	ck_assert_ptr_nonnull(fgets(words, sizeof(words), f));
	fclose(f);
	ck_assert_ptr_nonnull(strstr(words, " --no-map-gw -t 127.0.0.1/8080:80 -u 0.0.0.0/53:5353"));
	/* More than the socket takes at once; each comes back whole. */
	while (received < 200) {
		iov[1].iov_len = 60 + (sent * 977) % (NET_MAX_FRAME - 60);
		memset(frame, (int)sent, iov[1].iov_len);
		if (sent < 200 && !net[0]->ops->send(net[0], 0, iov, 2))
			sent++;
		while (loop_once(&loop, 0) > 0)
			;
		for (ssize_t n; received < sent && (n = net_receive(net[0], 0, &to, 1)); received++) {
			ck_assert_int_eq(n, NET_HDR_BYTES + 60 + (received * 977) % (NET_MAX_FRAME - 60));
			ck_assert_uint_eq(got[NET_HDR_BYTES], (uint8_t)received);
			ck_assert_uint_eq(got[n - 1], (uint8_t)received);
		}
	}
	close_guest(0);
	/* It ends later: then it is lost, and what it has said last comes first. */
	put_program("passt", "#!/bin/sh\necho 'Segmentation fault' >&2\nread line <&3\nexit 1\n");
	open_guest(0, "passt");
	frame[0] = '\n';
	iov[1].iov_len = 60;
	ck_assert_int_eq(net[0]->ops->send(net[0], 0, iov, 2), 0);
	while (!net[0]->broken) {
		ck_assert_int_eq(net_receive(net[0], 0, &to, 1), 0);
		poll(NULL, 0, 1);
	}
	close_guest(0);
	put_program("passt", "#!/bin/sh\necho 'Failed to bind port 1' >&2\nexit 1\n");
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "passt"), 0);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -ECHILD);
	log_last_error(words, sizeof(words));
	ck_assert_str_eq(words, "net0: passt has ended: Failed to bind port 1");
	net_config_free(&cfg[0]);
	setenv("PATH", own_folder, 1);
	unlink("passt");
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "passt"), 0);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -ENOENT);
	net_config_free(&cfg[0]);
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "passt,restrict"), 0);
	ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -EINVAL);
	net_config_free(&cfg[0]);
	setenv("PATH", "/usr/bin:/bin", 1);
	teardown();
}
END_TEST

/* ---- a tap, where the host lets us make one ---- */

static bool open_tap(const char *more)
{
	char arg[300];
	int err;

	snprintf(arg, sizeof(arg), "tap,ifname=lkt%d%s", getpid() % 100000000, more);
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", arg), 0);
	err = net_open(&cfg[0], "net0", &net[0]);
	if (err == -EPERM || err == -ENOENT || err == -EACCES) {
		printf("# SKIP tap interfaces: they need CAP_NET_ADMIN and /dev/net/tun\n");
		net_config_free(&cfg[0]);
		return false;
	}
	ck_assert_int_eq(err, 0);
	net[0]->readable = on_readable;
	net[0]->writable = on_writable;
	ck_assert_int_eq(net_attach(net[0], &loop), 0);
	return true;
}

/* The host's side of the interface, for frames of our own kind */
static int wire_open(void)
{
	const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x88b5));
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5),
				  .sll_ifindex = (int)if_nametoindex(net[0]->where) };

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* The next frame of our kind: the host's kernel has some of its own. Return: as net_receive() */
static ssize_t get_from_wire(uint8_t *bytes, size_t room)
{
	struct iovec iov = { bytes, room };
	ssize_t n;

	do {
		n = net_receive(net[0], 0, &iov, 1);
	} while (n > 0 && (bytes[NET_HDR_BYTES + 12] != 0x88 || bytes[NET_HDR_BYTES + 13] != 0xb5));
	return n;
}

START_TEST(test_tap)
{
	uint8_t frame[1500] = { 0 }, got[2048];
	const struct virtio_net_hdr_v1 header = { .flags = 0 };
	struct iovec iov[2] = { { (void *)&header, sizeof(header) }, { frame, sizeof(frame) } };
	int wire;

	setup();
	if (open_tap(",mtu=9000")) {
		ck_assert_uint_eq(net[0]->mtu, 9000);
		ck_assert_uint_eq(net[0]->offloads & (NET_CSUM | NET_TSO4), NET_CSUM | NET_TSO4);
		wire = wire_open();
		memset(frame, 0xff, NET_MAC_BYTES);
		frame[12] = 0x88;
		frame[13] = 0xb5;
		frame[1499] = 7;
		/* One for which there is no room is gone, and the next one comes. */
		ck_assert_int_eq(write(wire, frame, sizeof(frame)), sizeof(frame));
		frame[20] = 1;
		ck_assert_int_eq(write(wire, frame, sizeof(frame)), sizeof(frame));
		ck_assert_int_eq(get_from_wire(got, 1000), -EMSGSIZE);
		ck_assert_int_eq(get_from_wire(got, sizeof(got)), NET_HDR_BYTES + 1500);
		ck_assert_mem_eq(got + NET_HDR_BYTES, frame, sizeof(frame));
		ck_assert_int_eq(get_from_wire(got, sizeof(got)), 0);
		/* and the other way */
		ck_assert_int_eq(net_send(net[0], 0, iov, 2, sizeof(frame)), 0);
		ck_assert_int_eq(read(wire, got, sizeof(got)), sizeof(frame));
		ck_assert_mem_eq(got, frame, sizeof(frame));
		close(wire);
		close_guest(0);
	}
	teardown();
}
END_TEST

START_TEST(test_tap_queues)
{
	char name[32];

	setup();
	if (open_tap(",queues=4")) {
		ck_assert_uint_eq(net[0]->max_pairs, 4);
		for (unsigned i = 1; i <= 4; i++)
			ck_assert_int_eq(net[0]->ops->set_pairs(net[0], i), 0);
		ck_assert_int_eq(net[0]->ops->set_pairs(net[0], 1), 0);
		ck_assert_int_eq(net[0]->ops->set_offloads(net[0], NET_CSUM | NET_TSO4 | NET_TSO6), 0);
		ck_assert_int_eq(net[0]->ops->set_offloads(net[0], 0), 0);
		snprintf(name, sizeof(name), "%.20s", net[0]->where);
		close_guest(0);
		ck_assert_uint_eq(if_nametoindex(name), 0);
	}
	teardown();
}
END_TEST

/* So many pairs of queues, and one way to the host; who steers is lkvm, or the host's kernel. */
START_TEST(test_rss)
{
	static const struct {
		const char *arg, *why;
	} refused[] = {
		{ "switch=lan,queues=2", "queues= of a network of kind switch goes with rss only" },
		{ "user,queues=2", "queues= of a network of kind user goes with rss only" },
		{ "tap,rss,vhost=on", "rss does not go with vhost=on" },
		{ "tap,fd=3,queues=2", "without rss, with queues=" },
	};
	char words[300];

	setup();
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		ck_assert_int_eq(net_config_parse(&cfg[0], "net", refused[i].arg), 0);
		ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -EINVAL);
		log_last_error(words, sizeof(words));
		ck_assert_msg(strstr(words, refused[i].why), "%s", words);
		net_config_free(&cfg[0]);
	}
	ck_assert_int_eq(net_config_parse(&cfg[0], "net", "switch=lan,queues=2,rss"), 0);
	ck_assert_int_eq(net_none(&cfg[0], "net0", &net[0]), 0);
	ck_assert_uint_eq(net[0]->max_pairs, 1);
	ck_assert_uint_eq(net[0]->steered, 2);
	net_close(net[0]);
	net_config_free(&cfg[0]);
	if (open_tap(",queues=4,rss")) {
		ck_assert_uint_eq(net[0]->max_pairs, 1);
		ck_assert_uint_eq(net[0]->steered, 4);
		close_guest(0);
	}
	teardown();
}
END_TEST

/* Where vhost-net cannot be used, the message says what is missing; where it can, one is open for each pair. */
START_TEST(test_tap_vhost)
{
	char arg[300], words[300];
	int err;

	setup();
	if (open_tap("")) {
		close_guest(0);
		snprintf(arg, sizeof(arg), "tap,ifname=lkt%d,queues=2,vhost=on", getpid() % 100000000);
		ck_assert_int_eq(net_config_parse(&cfg[0], "net", arg), 0);
		err = net_open(&cfg[0], "net0", &net[0]);
		log_last_error(words, sizeof(words));
		if (err) {
			ck_assert_msg(strstr(words, "(modprobe vhost_net)") || strstr(words, "no right to"), "%s", words);
			net_config_free(&cfg[0]);
		} else {
			ck_assert_uint_eq(net[0]->vhost->n, 2);
			ck_assert(net[0]->vhost->features >> VIRTIO_F_VERSION_1 & 1);
			net[0]->readable = on_readable;
			ck_assert_int_eq(net_attach(net[0], &loop), 0);
			close_guest(0);
		}
	}
	teardown();
}
END_TEST

/* Programs set it up and take it down; if the first one fails there is no end. */
START_TEST(test_tap_script)
{
	char arg[200], line[64] = "";
	uint8_t got[2048];
	FILE *f;

	setup();
	put_program("up", "#!/bin/sh\necho \"up $1\" >said\n");
	put_program("down", "#!/bin/sh\necho \"down $1\" >said\n");
	put_program("bad", "#!/bin/sh\nexit 3\n");
	snprintf(arg, sizeof(arg), ",script=%s/up,downscript=%s/down", own_folder, own_folder);
	if (open_tap(arg)) {
		f = fopen("said", "r");
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
		fclose(f);
		ck_assert_int_eq(strncmp(line, "up lkt", 6), 0);
		ck_assert_int_eq(get_from_wire(got, sizeof(got)), 0);
		close_guest(0);
		f = fopen("said", "r");
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
		fclose(f);
		ck_assert_int_eq(strncmp(line, "down lkt", 8), 0);
		snprintf(arg, sizeof(arg), "tap,script=%s/bad,downscript=%s/down", own_folder, own_folder);
		unlink("said");
		ck_assert_int_eq(net_config_parse(&cfg[0], "net", arg), 0);
		ck_assert_int_eq(net_open(&cfg[0], "net0", &net[0]), -ECHILD);
		ck_assert_int_ne(access("said", F_OK), 0);
		net_config_free(&cfg[0]);
	}
	teardown();
}
END_TEST

UNIT_MAIN("net-ends", test_tap, test_tap_queues, test_rss, test_tap_vhost, test_tap_script, test_passt, test_passt_is_slow, test_options, test_switch, test_switch_batch, test_switch_offloads, test_switch_first_ends, test_switch_dead, test_switch_full,
	  test_switch_folder, test_pcap, test_pcap_full, test_script)
