/*
 * The machine's virtio devices: which there are, and how they are attached. Main thread, while no
 * vCPU runs.
 */
#ifndef LKVM_VM_DEVICES_H
#define LKVM_VM_DEVICES_H

#include "lkvm/bus.h"
#include "lkvm/board.h"
#include "lkvm/virtio-console.h"
#include "lkvm/vm/config.h"

struct boot_framebuffer;
struct disk;
struct display;
struct option_rom;
struct pci_host;
struct virtio_dev;
struct virtio_list;

/* What devices and transports are made from; copied, but not what it points to. */
struct virtio_env {
	const struct vm_config *config;
	struct ram *ram;
	struct bus *pio, *mmio;
	struct board board;
	bool to_be_shown; /* the machine will not run: disks are not opened */
	struct display *display;        /* what its gpu draws on; NULL: it has none */
	struct virtio_port session;     /* where the session's port leads to */
	struct console *const *console; /* CONFIG_TTYS of them: the ports of a virtio console */
};

/**
 * virtio_list_new() - make every device of the list in vm/devices.c that @env->config wants
 * Each has its worker then, which waits for the driver's DRIVER_OK; not if it is only to be shown.
 * Return: 0, or -errno after one logged line; nothing is left behind
 */
int virtio_list_new(const struct virtio_env *env, struct virtio_list **ret);

struct virtio_mmio_place;

/** virtio_list_mmio() - where the devices are, with --virtio-transport mmio; else *@ret_n is 0 */
const struct virtio_mmio_place *virtio_list_mmio(const struct virtio_list *list, unsigned *ret_n);

/**
 * virtio_list_stop_begin(), virtio_list_stop_wait() - virtio_dev_stop_begin(), ..._wait() of all
 * @deadline_ms: of now_ms()
 * Return: NULL: all have stopped; or "blk0", the first one that has not: virtio_list_free() would
 * wait for it
 */
void virtio_list_stop_begin(struct virtio_list *list);
const char *virtio_list_stop_wait(struct virtio_list *list, int64_t deadline_ms);

/**
 * virtio_list_hold_begin(), virtio_list_hold_wait(), virtio_list_hold_end() - virtio_dev_hold_begin(),
 * ... of all, while the vCPUs are parked
 * @deadline_ms: of now_ms()
 * Return: NULL: all stand still; or "blk0", the first one that does not
 */
void virtio_list_hold_begin(struct virtio_list *list);
const char *virtio_list_hold_wait(struct virtio_list *list, int64_t deadline_ms);
void virtio_list_hold_end(struct virtio_list *list);

/** virtio_list_each() - visit every device, by its name; Return: 0, or the first error of @visit(), which ends it */
int virtio_list_each(struct virtio_list *list,
		     int (*visit)(void *ctx, const char *name, struct virtio_dev *dev), void *ctx);
/** virtio_list_pci() - the bus that they are on; NULL: MMIO */
struct pci_host *virtio_list_pci(const struct virtio_list *list);
/** virtio_list_disk() - @index: below the configuration's n_disks */
struct disk *virtio_list_disk(const struct virtio_list *list, unsigned index);
/** virtio_list_balloon() - the memory balloon; NULL: there is none */
struct virtio_dev *virtio_list_balloon(const struct virtio_list *list);
/** virtio_list_framebuffer() - that of the gpu, before the vCPUs start; zeros: there is none, or no place for it */
struct boot_framebuffer virtio_list_framebuffer(const struct virtio_list *list);
/** virtio_list_gpu() - NULL: there is none */
struct virtio_dev *virtio_list_gpu(const struct virtio_list *list);
/** virtio_list_keyboard(), virtio_list_tablet() - NULL: there is none */
struct virtio_dev *virtio_list_keyboard(const struct virtio_list *list);
struct virtio_dev *virtio_list_tablet(const struct virtio_list *list);
/** virtio_list_mem() - the memory device; NULL: there is none */
struct virtio_dev *virtio_list_mem(const struct virtio_list *list);

/** virtio_list_net() - the network device with this number (virtio-net.h); NULL: there are not so many */
struct virtio_dev *virtio_list_net(const struct virtio_list *list, unsigned index);
/** virtio_list_rom() - the option ROM of the network device with this number; NULL: it has none */
const struct option_rom *virtio_list_rom(const struct virtio_list *list, unsigned index);
/** virtio_list_vsock() - the socket device, or NULL; also of a @list of NULL */
struct virtio_dev *virtio_list_vsock(const struct virtio_list *list);

/** virtio_list_mend() - a vCPU has found nothing in a device's memory: struct virtio_type's mend() of all */
bool virtio_list_mend(struct virtio_list *list);

/** virtio_list_free() - drain and stop all devices; takes NULL */
void virtio_list_free(struct virtio_list *list);

#endif
