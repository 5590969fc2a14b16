/* `lkvm run -n KIND,key=value`, `-P PORT:PORT`: what a network is, from the command line. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/vm/run.h"

static int add_net(struct vm_config *cfg, const char *option, const char *arg)
{
	struct net_config *nets = reallocarray(cfg->nets, cfg->n_nets + 1, sizeof(*nets));

	if (!nets)
		return log_err(-ENOMEM, "option '--%s'", option);
	cfg->nets = nets;
	if (cfg->n_nets == NET_MAX_DEVICES)
		return log_errx(-EINVAL, "option '--%s': more than %d networks", option, NET_MAX_DEVICES);
	return net_config_parse(&nets[cfg->n_nets++], option, arg);
}

int run_parse_net(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	int ret = add_net(cfg, opt->name, arg);

	if (ret > 0)
		run_free_nets(cfg);
	return ret < 0 ? ret : 0;
}

/* ---- -P ---- */

int run_parse_port(void *config, const struct opt *opt, const char *arg)
{
	struct vm_config *cfg = config;
	struct net_forward *ports = reallocarray(cfg->ports, cfg->n_ports + 1, sizeof(*ports));

	if (!ports)
		return log_err(-ENOMEM, "option '--%s'", opt->name);
	cfg->ports = ports;
	return net_forward_parse_short(opt->name, arg, &ports[cfg->n_ports++]);
}

/* As if it had been said by -n: a snapshot has that text. */
static int append(struct net_config *net, const struct net_forward *f)
{
	char host[INET_ADDRSTRLEN], *arg;

	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	if (asprintf(&arg, "%s,hostfwd=%s:%s:%u-:%u", *net->arg ? net->arg : "user", f->udp ? "udp" : "tcp", host,
		     f->host_port, f->guest_port) < 0)
		return log_err(-ENOMEM, "option '--port'");
	free(net->arg);
	net->arg = arg;
	net->forward[net->n_forwards++] = *f;
	return 0;
}

static struct net_config *find_user_net(const struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_nets; i++)
		if (cfg->nets[i].kind == NET_USER || cfg->nets[i].kind == NET_PASST)
			return &cfg->nets[i];
	return NULL;
}

int run_take_ports(struct vm_config *cfg)
{
	struct net_config *net = find_user_net(cfg);
	int err = cfg->n_ports && !net ? add_net(cfg, "port", NULL) : 0;

	if (err)
		return err;
	net = find_user_net(cfg);
	for (unsigned i = 0; !err && i < cfg->n_ports; i++)
		err = net->n_forwards < NET_MAX_FORWARDS ?
			      append(net, &cfg->ports[i]) :
			      log_errx(-EINVAL, "option '--port': more than %d forwards", NET_MAX_FORWARDS);
	return err;
}

void run_free_ports(struct vm_config *cfg)
{
	free(cfg->ports);
	cfg->ports = NULL;
	cfg->n_ports = 0;
}

void run_free_nets(struct vm_config *cfg)
{
	for (unsigned i = 0; i < cfg->n_nets; i++)
		net_config_free(&cfg->nets[i]);
	free(cfg->nets);
	cfg->nets = NULL;
	cfg->n_nets = 0;
}
