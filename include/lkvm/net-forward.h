/*
 * What comes to a port of the host's goes to one of the guest's: `-n user,hostfwd=...` and `-P`, as text.
 */
#ifndef LKVM_NET_FORWARD_H
#define LKVM_NET_FORWARD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_MAX_FORWARDS       64
#define NET_FORWARD_TEXT_BYTES 64

struct net_forward {
	bool udp;
	struct in_addr host, guest;     /* 0.0.0.0: any address of the host's; the guest's own */
	uint16_t host_port, guest_port; /* host_port 0: any free one, which the end writes here */
};

/**
 * net_forward_parse() - hostfwd='s value: [tcp|udp]:[ADDR]:PORT-[ADDR]:PORT
 * Without the first ADDR only programs of the host itself reach it (127.0.0.1), without the second it is the
 * guest's own address; PORT 0 of the host is any free one.
 * Return: 0; -EINVAL, logged with @option's name
 */
int net_forward_parse(const char *option, const char *text, struct net_forward *ret);

/** net_forward_parse_short() - -P's value: [ADDR:]PORT[:PORT][/udp]; one PORT is both; otherwise likewise */
int net_forward_parse_short(const char *option, const char *text, struct net_forward *ret);

/** net_forward_text() - "tcp 127.0.0.1:8080 to 10.0.2.15:80"; @own: of a guest's address that is not given; Return: @ret */
const char *net_forward_text(const struct net_forward *f, struct in_addr own, char ret[static NET_FORWARD_TEXT_BYTES]);

#endif
