/* What passes a network, as a file; see net-pcap.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lkvm/clock.h"
#include "lkvm/log.h"
#include "lkvm/net.h"
#include "lkvm/net-pcap.h"

/* The format's own: draft-ietf-opsawg-pcap. In this byte order, times in nanoseconds. */
#define PCAP_MAGIC    0xa1b23c4dU
#define PCAP_ETHERNET 1
#define PCAP_SNAPLEN  262144

struct file_head {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zero[2], snaplen, link;
};

struct frame_head {
	uint32_t s, ns, bytes, of;
};

struct pcap {
	int fd;
	const char *path;
	uint64_t at; /* where the next frame begins */
	bool failed;
};

static void fail(struct pcap *pcap, int err)
{
	pcap->failed = true;
	log_err(err, "write '%s': no more frames are recorded", pcap->path);
	/* Half a frame at the end would be one that is damaged. */
	if (ftruncate(pcap->fd, (off_t)pcap->at))
		log_err(-errno, "cut '%s' behind the last whole frame", pcap->path);
}

static void put(struct pcap *pcap, const struct iovec *iov, unsigned n, size_t bytes)
{
	ssize_t written;

	do {
		written = writev(pcap->fd, iov, (int)n);
	} while (written < 0 && errno == EINTR);
	if (written == (ssize_t)bytes)
		pcap->at += bytes;
	else
		fail(pcap, written < 0 ? -errno : -ENOSPC);
}

void pcap_write(struct pcap *pcap, const struct iovec *iov, unsigned n_iov, size_t skip, size_t bytes)
{
	const uint64_t now = realtime_ns();
	const struct frame_head head = { (uint32_t)(now / NS_PER_S), (uint32_t)(now % NS_PER_S), (uint32_t)bytes,
					 (uint32_t)bytes };
	struct iovec out[NET_MAX_IOV + 1] = { { (void *)&head, sizeof(head) } };
	unsigned n = 1;

	for (size_t left = bytes; n_iov-- && left && !pcap->failed && n < NET_MAX_IOV; iov++) {
		const size_t off = skip < iov->iov_len ? skip : iov->iov_len, rest = iov->iov_len - off;

		skip -= off;
		if (!rest)
			continue;
		out[n].iov_base = (char *)iov->iov_base + off;
		out[n].iov_len = rest < left ? rest : left;
		left -= out[n++].iov_len;
	}
	if (!pcap->failed)
		put(pcap, out, n, sizeof(head) + bytes);
}

static int begin(struct pcap *pcap)
{
	const struct file_head head = { .magic = PCAP_MAGIC, .major = 2, .minor = 4, .snaplen = PCAP_SNAPLEN,
					.link = PCAP_ETHERNET };
	struct stat st;

	if (fstat(pcap->fd, &st) || (S_ISREG(st.st_mode) && ftruncate(pcap->fd, 0)))
		return log_err(-errno, "'%s'", pcap->path);
	if (!S_ISREG(st.st_mode))
		return log_errx(-EINVAL, "'%s' is not a file that frames can be recorded in", pcap->path);
	if (write(pcap->fd, &head, sizeof(head)) != (ssize_t)sizeof(head))
		return log_err(-errno, "write '%s'", pcap->path);
	pcap->at = sizeof(head);
	return 0;
}

int pcap_open(const char *path, struct pcap **ret)
{
	struct pcap *pcap = calloc(1, sizeof(*pcap));
	int err;

	if (!pcap)
		return log_err(-ENOMEM, "'%s'", path);
	pcap->path = path;
	/* What passes is for its user alone. */
	pcap->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
	err = pcap->fd < 0 ? log_err(-errno, "create '%s'", path) : begin(pcap);
	if (err)
		pcap_close(pcap);
	else
		*ret = pcap;
	return err;
}

void pcap_close(struct pcap *pcap)
{
	if (!pcap)
		return;
	if (pcap->fd >= 0)
		close(pcap->fd);
	free(pcap);
}
