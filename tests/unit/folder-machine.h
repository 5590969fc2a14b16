/* A machine (virtio-machine.h) with a device that shares a folder of the test's own, and memory for a request. */
#ifndef TESTS_FOLDER_MACHINE_H
#define TESTS_FOLDER_MACHINE_H

#include "folder.h"
#include "lkvm/fs.h"
#include "virtio-machine.h"

#define ROOM 4096 /* for a request, and for its reply */

static struct fs_config cfg;
static gpa_t out, in;

static inline void folder_machine_new(const struct machine_device *device, unsigned kind, uint64_t features)
{
	folder_make();
	cfg = (struct fs_config){ .path = folder, .tag = "share" };
	machine_new(device, kind, 8);
	out = fake_alloc(&drv, ROOM, 8);
	in = fake_alloc(&drv, ROOM, 8);
	machine_probe(features, 64);
}

static inline void folder_machine_free(void)
{
	machine_free();
	folder_remove();
}

#endif
