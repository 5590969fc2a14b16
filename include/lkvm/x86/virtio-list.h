/*
 * The machine's virtio devices: which there are, and how they are attached. Main thread, while no
 * vCPU runs.
 */
#ifndef LKVM_X86_VIRTIO_LIST_H
#define LKVM_X86_VIRTIO_LIST_H

#include "lkvm/bus.h"
#include "lkvm/config.h"
#include "lkvm/machine.h"

struct virtio_list;

/* What devices and transports are made from; copied, but not what it points to. */
struct virtio_env {
	const struct vm_config *config;
	struct ram *ram;
	struct bus *pio, *mmio;
	struct machine machine;
	struct console *const *console; /* CONFIG_TTYS of them: the ports of a virtio console */
};

/**
 * virtio_list_new() - make every device of the list in x86/virtio-list.c that @env->config wants
 * No thread is started: a device's worker runs from the driver's DRIVER_OK to its reset.
 * Return: 0, or -errno after one logged line; nothing is left behind
 */
int virtio_list_new(const struct virtio_env *env, struct virtio_list **ret);
struct virtio_mmio_place;

/** virtio_list_mmio() - where the devices are, with --virtio-transport mmio; else *@ret_n is 0 */
const struct virtio_mmio_place *virtio_list_mmio(const struct virtio_list *list, unsigned *ret_n);

/** virtio_list_free() - drain and stop all devices; takes NULL */
void virtio_list_free(struct virtio_list *list);

#endif
