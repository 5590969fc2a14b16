/* Forwarded ports as text; see lkvm/net-forward.h. */
#include "lkvm/net-forward.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lkvm/log.h"
#include "lkvm/options.h"

#define TEXT_BYTES 64 /* longer than any that is right */

/* Ends the word at @end, if that is there. Return: what stands behind it, or NULL */
static char *cut(char *word, char end)
{
	char *at = strchr(word, end);

	if (!at)
		return NULL;
	*at = '\0';
	return at + 1;
}

/* "" is none: *ret stays */
static bool take_address(const char *word, struct in_addr *ret)
{
	return !*word || inet_pton(AF_INET, word, ret) == 1;
}

static bool take_port(const char *word, unsigned min, uint16_t *ret)
{
	unsigned port;

	if (options_unsigned(word, min, UINT16_MAX, &port))
		return false;
	*ret = (uint16_t)port;
	return true;
}

static bool take_protocol(const char *word, bool *ret_udp)
{
	*ret_udp = !strcmp(word, "udp");
	return !*word || *ret_udp || !strcmp(word, "tcp");
}

/* "[ADDR]:PORT" */
static bool take_end(char *word, unsigned min, struct in_addr *ret_address, uint16_t *ret_port)
{
	const char *port = cut(word, ':');

	return port && take_address(word, ret_address) && take_port(port, min, ret_port);
}

/* Split before it is judged: no part's text may be taken for another's. */
static bool parse(char *text, struct net_forward *f)
{
	char *host = cut(text, ':'), *guest = host ? cut(host, '-') : NULL;

	return guest && take_protocol(text, &f->udp) && take_end(host, 0, &f->host, &f->host_port) &&
	       take_end(guest, 1, &f->guest, &f->guest_port);
}

static bool parse_short(char *text, struct net_forward *f)
{
	const char *protocol = cut(text, '/'), *host = text;
	char *guest = cut(text, ':');

	if (guest && strchr(text, '.')) {
		host = guest;
		guest = cut(guest, ':');
		if (!take_address(text, &f->host))
			return false;
	}
	return (!protocol || (*protocol && take_protocol(protocol, &f->udp))) && take_port(host, 0, &f->host_port) &&
	       take_port(guest ? guest : host, 1, &f->guest_port);
}

static int parse_any(const char *option, const char *text, bool (*fn)(char *text, struct net_forward *f),
		     const char *form, struct net_forward *ret)
{
	struct net_forward f = { .host.s_addr = htonl(INADDR_LOOPBACK) };
	char copy[TEXT_BYTES];

	if (strlen(text) >= sizeof(copy) || !fn(strcpy(copy, text), &f))
		return log_errx(-EINVAL, "option '--%s': '%s' is not a forward like %s", option, text, form);
	*ret = f;
	return 0;
}

int net_forward_parse(const char *option, const char *text, struct net_forward *ret)
{
	return parse_any(option, text, parse, "tcp:127.0.0.1:2222-:22", ret);
}

int net_forward_parse_short(const char *option, const char *text, struct net_forward *ret)
{
	return parse_any(option, text, parse_short, "8080:80, 127.0.0.1:8080:80 or 5353:53/udp", ret);
}

const char *net_forward_text(const struct net_forward *f, struct in_addr own, char ret[static NET_FORWARD_TEXT_BYTES])
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &f->host, host, sizeof(host));
	inet_ntop(AF_INET, f->guest.s_addr ? &f->guest : &own, guest, sizeof(guest));
	snprintf(ret, NET_FORWARD_TEXT_BYTES, "%s %s:%u to %s:%u", f->udp ? "udp" : "tcp", host, f->host_port, guest,
		 f->guest_port);
	return ret;
}
