/* The guest's networks, as the plan has them: addresses, routes, name servers. No DHCP: lkvm knows them. */
#ifndef GUEST_NETWORK_H
#define GUEST_NETWORK_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What the plan has among its records:
 *
 *	net=N:MAC:IP:PREFIX:GATEWAY:IP6:PREFIX6:GATEWAY6     of the N-th virtio network device, from 0 on
 *	resolv=TEXT                                          /etc/resolv.conf
 *
 * Addresses are hexadecimal, all digits, or empty: there is none. The first device that has a gateway has the
 * default route of its family. What fails is told on the console; the session goes on.
 *
 * @scratch: the root is a layer of memory, which may be changed; else nothing of it is
 */
void network_records(const char *records, size_t len, bool scratch);

#endif
