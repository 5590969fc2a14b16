/*
 * The 9P device's own: p9.c is the device, p9-state.c saves and loads.
 */
#ifndef P9_INTERNAL_H
#define P9_INTERNAL_H

#include "lkvm/virtio-p9.h"
#include "share-internal.h"

struct virtio_p9 {
	struct virtio_share share;
	struct p9 *p9; /* its server */
	bool read_only;
	struct {
		uint16_t tag_len;
		uint8_t tag[FS_TAG_BYTES];
	} config;
};

static inline struct virtio_p9 *p9_of(struct virtio_dev *dev)
{
	return container_of(dev, struct virtio_p9, share.dev);
}

/* ---- p9-state.c: of a struct virtio_dev that is one ---- */

extern const struct state_type p9_state_type;
/** p9_save_session(), p9_load_session() - for struct virtio_type */
int p9_save_session(struct virtio_dev *dev, struct state_buf *buf);
int p9_load_session(struct virtio_dev *dev, struct state_reader *in);

#endif
