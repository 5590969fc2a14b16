/* Links: net/forward.o util/options.o util/log.o */

/* Forwards as text: what is taken means the same when it is written out in full. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "lkvm/log.h"
#include "lkvm/net-forward.h"

static void check_again(const struct net_forward *f)
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN], text[128];
	struct net_forward again;

	check(inet_ntop(AF_INET, &f->host, host, sizeof(host)) && inet_ntop(AF_INET, &f->guest, guest, sizeof(guest)));
	snprintf(text, sizeof(text), "%s:%s:%u-%s:%u", f->udp ? "udp" : "tcp", host, f->host_port, guest, f->guest_port);
	check(!net_forward_parse("fuzz", text, &again));
	check(again.udp == f->udp && again.host.s_addr == f->host.s_addr && again.guest.s_addr == f->guest.s_addr);
	check(f->guest_port && again.host_port == f->host_port && again.guest_port == f->guest_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct net_forward f;

	check(text);
	memcpy(text, data, size);
	text[size] = '\0';
	log_hold_errors(true);
	if (!net_forward_parse("fuzz", text, &f))
		check_again(&f);
	if (!net_forward_parse_short("fuzz", text, &f))
		check_again(&f);
	free(text);
	return 0;
}
