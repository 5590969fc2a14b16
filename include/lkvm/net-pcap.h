/*
 * `pcap=FILE`: what passes a network device, as a file that tshark, tcpdump and the like read, also while it grows:
 * each frame is written at once, as a whole.
 */
#ifndef LKVM_NET_PCAP_H
#define LKVM_NET_PCAP_H

#include <stddef.h>
#include <sys/uio.h>

struct pcap;

/** pcap_open() - a new file, or an old one's place; Return: 0, or -errno, logged */
int pcap_open(const char *path, struct pcap **ret);
/**
 * pcap_write() - @bytes of a frame, which begins @skip bytes into @iov
 * Where there is no room any more that is said once, and no more is recorded: what is there stays whole.
 */
void pcap_write(struct pcap *pcap, const struct iovec *iov, unsigned n_iov, size_t skip, size_t bytes);
/** pcap_close() - takes NULL */
void pcap_close(struct pcap *pcap);

#endif
