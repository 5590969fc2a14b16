/* The user end is made: the library, its forwards, its addresses. Main thread; see slirp.c. */
#include "slirp-internal.h"

#include <errno.h>

#include "lkvm/log.h"

#ifdef HAVE_SLIRP

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/socket.h>

#define MOST_MTU     65521 /* that the library knows */
#define BACKLOG      128
#define MOST_SOCKETS 4096

#define LOG_DOMAIN "Slirp"
#define LOG_LEVELS 0xf8 /* all but errors, after which it ends the process */

static const struct lib_symbol symbols[] = { SLIRP_FUNCTIONS(LIB_SYMBOL){ 0 } };
static const struct lib libslirp = { "libslirp.so.0", "libslirp0", symbols, true };

bool net_user_usable(void)
{
	return lib_usable(&libslirp);
}

/* ---- forwards; main thread ---- */

static bool is_known(const struct user_net *u, int fd)
{
	for (unsigned i = 0; i < u->n_listeners; i++)
		if (u->listener[i] == fd)
			return true;
	return false;
}

/* The library does not tell which socket it has opened, but what it waits for. */
static int find_listener(int fd, int events, void *ctx)
{
	struct user_net *u = ctx;

	(void)events;
	if (u->n_listeners < NET_MAX_FORWARDS && !is_known(u, fd))
		u->listener[u->n_listeners++] = fd;
	return -1;
}

static void look_at_listener(struct user_net *u, struct net_forward *f)
{
	const unsigned before = u->n_listeners;
	uint32_t wait_ms = UINT32_MAX;
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	int fd;

	u->lib.slirp_pollfds_fill(u->slirp, &wait_ms, find_listener, u);
	if (u->n_listeners == before)
		return;
	fd = u->listener[before];
	if (!getsockname(fd, (struct sockaddr *)&at, &len))
		f->host_port = ntohs(at.sin_port);
	if (!f->udp)
		listen(fd, BACKLOG); /* instead of one */
}

static int try_forward(struct user_net *u, const struct net_forward *f)
{
	errno = 0;
	if (!u->lib.slirp_add_hostfwd(u->slirp, f->udp, f->host, f->host_port, f->guest, f->guest_port))
		return 0;
	return errno ? -errno : -EADDRINUSE;
}

static int cannot_listen(const struct user_net *u, const struct net_forward *f, int err)
{
	char host[INET_ADDRSTRLEN];
	const char *why = err == -EACCES && f->host_port < 1024 ? " (ports from 1024 on need no privilege)" : "";

	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	return log_errx(err, "%s: hostfwd: cannot listen on %s:%u: %s%s", u->net.name, host, f->host_port, strerror(-err),
			why);
}

static int add_forward(struct user_net *u, struct net_forward *f, bool may_move)
{
	const unsigned wanted = f->host_port;
	int err = try_forward(u, f);

	if (err == -EADDRINUSE && may_move) {
		f->host_port = 0;
		err = try_forward(u, f);
	}
	if (err)
		return cannot_listen(u, f, err);
	look_at_listener(u, f);
	if (wanted && f->host_port != wanted)
		log_warn("%s: hostfwd: port %u is taken: %u instead", u->net.name, wanted, f->host_port);
	return 0;
}

static int add_forwards(struct user_net *u, const struct net_config *cfg)
{
	int err = 0;

	for (unsigned i = 0; !err && i < cfg->n_forwards; i++) {
		u->forward[i] = cfg->forward[i];
		err = add_forward(u, &u->forward[i], cfg->ports_may_move);
		u->net.n_forwards += !err;
	}
	return err;
}

/* ---- life ---- */

static void take_log(const char *domain, int level, const char *text, void *ctx)
{
	(void)level;
	(void)ctx;
	log_debug(LOG_DEVICE, "%s: %s", domain, text);
}

void slirp_close(struct net *net)
{
	struct user_net *u = user_of(net);

	if (u->slirp) {
		slirp_turn(true);
		u->lib.slirp_cleanup(u->slirp);
		slirp_turn(false);
	}
	poll_set_fini(&u->fds);
	frame_queue_fini(&u->queue);
	free(u);
}

static struct in_addr v4(uint32_t host_order)
{
	return (struct in_addr){ htonl(host_order) };
}

/* fec0::@last, as the library's other users have it */
static struct in6_addr v6(uint8_t last)
{
	return (struct in6_addr){ .s6_addr = { 0xfe, 0xc0, [15] = last } };
}

static SlirpConfig config_of(const struct net_config *cfg, unsigned mtu)
{
	return (SlirpConfig){
		.version = 4,
		.restricted = cfg->restricted,
		.in_enabled = true,
		.vnetwork = v4(0x0a000200),
		.vnetmask = v4(0xffffff00),
		.vhost = v4(0x0a000202),
		.vnameserver = v4(0x0a000203),
		.vdhcp_start = v4(0x0a00020f),
		.in6_enabled = true,
		.vprefix_addr6 = v6(0),
		.vprefix_len = 64,
		.vhost6 = v6(2),
		.vnameserver6 = v6(3),
		.if_mtu = mtu < MOST_MTU ? mtu : MOST_MTU,
		.if_mru = mtu < MOST_MTU ? mtu : MOST_MTU,
		.disable_host_loopback = cfg->no_loopback,
		.tftp_path = cfg->tftp,
		.bootfile = cfg->bootfile,
	};
}

/* The library passes questions on to the first server of each family that the host has. */
static bool has_server(int family)
{
	char line[256], word[128];
	struct in6_addr any;
	FILE *f = fopen("/etc/resolv.conf", "re");
	bool has = false;

	while (f && !has && fgets(line, sizeof(line), f))
		has = sscanf(line, "nameserver %127[^% \t\n]", word) == 1 && inet_pton(family, word, &any) == 1;
	if (f)
		fclose(f);
	return has;
}

static struct net_addresses addresses(const SlirpConfig *s)
{
	struct net_addresses a = {
		.ip = s->vdhcp_start,
		.gateway = s->vhost,
		.prefix = 24,
		.ip6 = v6(0x15),
		.gateway6 = s->vhost6,
		.prefix6 = s->vprefix_len,
	};

	if (s->restricted)
		return a;
	if (has_server(AF_INET6))
		a.dns6 = s->vnameserver6;
	if (has_server(AF_INET) || !has_server(AF_INET6))
		a.dns = s->vnameserver;
	return a;
}

/* lkvm itself needs some, for folders and for who asks it something. */
static unsigned most_sockets(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur / 2 > MOST_SOCKETS)
		return MOST_SOCKETS;
	return (unsigned)files.rlim_cur / 2;
}

static int load(struct user_net *u, const char *name)
{
	char why[128];
	void *handle;
	int err = lib_open(&libslirp, &u->lib, &handle);

	if (!err) {
		lib_close(handle);
		return 0;
	}
	lib_why(&libslirp, err, why, sizeof(why));
	return log_errx(err, "%s: %s", name, why);
}

static int start(struct user_net *u, const struct net_config *cfg)
{
	SlirpConfig s = config_of(cfg, u->net.mtu);
	int err = 0;

	slirp_turn(true);
	u->lib.g_log_set_handler(LOG_DOMAIN, LOG_LEVELS, take_log, NULL);
	u->slirp = u->lib.slirp_new(&s, &slirp_callbacks, u);
	if (u->slirp)
		err = add_forwards(u, cfg);
	else
		err = log_errx(-ENOMEM, "%s: libslirp does not start", u->net.name);
	slirp_turn(false);
	u->net.addresses = addresses(&s);
	return err;
}

/* The library looks for it only when a guest asks, and says nothing. */
static int judge_tftp(const char *folder, const char *name)
{
	struct stat st;

	if (!folder)
		return 0;
	if (stat(folder, &st))
		return log_err(-errno, "%s: tftp '%s'", name, folder);
	return S_ISDIR(st.st_mode) ? 0 : log_err(-ENOTDIR, "%s: tftp '%s'", name, folder);
}

int user_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	struct user_net *u;
	int err = judge_tftp(cfg->tftp, name);

	if (err)
		return err;
	u = calloc(1, sizeof(*u));
	if (!u)
		return log_err(-ENOMEM, "%s", name);
	u->fds.epfd = u->events.fd = -1;
	u->net.ops = &slirp_ops;
	u->net.name = name;
	u->net.cfg = cfg;
	u->net.mtu = cfg->mtu ? cfg->mtu : NET_USER_MTU;
	u->net.link_up = true;
	u->guard = (struct slirp_guard){ .no_loopback = cfg->no_loopback, .most_sockets = most_sockets() };
	u->net.forward = u->forward;
	snprintf(u->net.where, sizeof(u->net.where), "10.0.2.15");
	err = load(u, name);
	if (!err) {
		err = poll_set_init(&u->fds);
		if (!err)
			err = frame_queue_init(&u->queue, SLIRP_QUEUE_BYTES);
		err = err ? log_err(err, "%s", name) : start(u, cfg);
	}
	if (err)
		slirp_close(&u->net);
	else
		*ret = &u->net;
	return err;
}

#else

bool net_user_usable(void)
{
	return false;
}

int user_open(const struct net_config *cfg, const char *name, struct net **ret)
{
	(void)cfg;
	(void)ret;
	return log_errx(-ENOSYS, "%s: this lkvm was built without libslirp (Debian package libslirp-dev, 4.7 or newer)", name);
}

#endif
