/* A device that stands still is saved, loaded from that, and goes on. */
#ifndef TESTS_FUZZ_HOLD_H
#define TESTS_FUZZ_HOLD_H

#include "input.h"
#include "lkvm/state.h"
#include "lkvm/virtio.h"

static inline void save_and_load(struct virtio_dev *dev)
{
	struct state_buf buf = { 0 };
	struct state_reader in;

	virtio_dev_hold_begin(dev);
	while (!virtio_dev_hold_wait(dev, INT64_MAX))
		;
	check(!virtio_dev_save(dev, &buf));
	in = (struct state_reader){ .at = buf.data, .end = buf.data + buf.len };
	check(!virtio_dev_load(dev, &in));
	check(in.at == in.end);
	virtio_dev_hold_end(dev);
	state_buf_free(&buf);
}

#endif
