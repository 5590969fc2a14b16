/* Links: net/gso.o net/net.o */

/*
 * A frame behind its header, as another lkvm may have put both into a switch. The first two bytes say which offloads may be
 * asked for, and which ones the guest takes; the third one how much room it has.
 */
#include <string.h>

#include "input.h"
#include "lkvm/net-gso.h"
#include "lkvm/net.h"

#define OFFLOADS (NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_USO)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t out[NET_HDR_BYTES + NET_MAX_FRAME];
	struct virtio_net_hdr_v1 h;
	struct gso gso = { .frame = NULL };
	size_t bytes, parts = 0;
	uint8_t *buf;

	if (size < 3 + NET_HDR_BYTES || size - 3 > NET_HDR_BYTES + NET_MAX_FRAME)
		return 0;
	bytes = size - 3 - NET_HDR_BYTES;
	memcpy(&h, data + 3, sizeof(h));
	if (!gso_judge(&h, bytes, data[0] & OFFLOADS))
		return 0;
	buf = malloc(size - 3); /* of its size, so that a sanitizer sees what is beside it */
	check(buf != NULL);
	memcpy(buf, data + 3, size - 3);
	memcpy(buf, &h, sizeof(h));
	if (!gso_begin(&gso, buf, bytes, data[1] & OFFLOADS))
		for (; gso_left(&gso); parts++) {
			const struct iovec iov[] = { { out, 5 }, { out + 5, NET_HDR_BYTES + data[2] * 256u } };
			const ssize_t n = gso_next(&gso, iov, 2);

			check(n < 0 || (size_t)n <= iov[0].iov_len + iov[1].iov_len);
			check(n < 0 || (size_t)n >= NET_HDR_BYTES + NET_MIN_FRAME);
		}
	check(parts <= bytes);
	free(buf);
	return 0;
}
