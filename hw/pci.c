/* PCI host bridge, configuration space, INTA; see pci.h. BARs are in hw/pci-bars.c, MSI-X in hw/pci-msix.c. */
#include "lkvm/pci.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/chips.h"
#include "lkvm/event.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/x86/layout.h"
#include "pci-internal.h"

#define ADDRESS_ENABLE 0x80000000U
#define ADDRESS_BUS    0x00ff0000U
#define PORT_ADDRESS   0 /* offsets from PORT_PCI */
#define PORT_RESET     1
#define PORT_DATA      4

#define BRIDGE_VENDOR 0x1b36 /* Red Hat, Inc.: its generic host bridge */
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

#define MULTIFUNCTION 0x80 /* in the header type */

static void put16(uint8_t *at, uint16_t v)
{
	access_put(at, 2, v);
}

static void put32(uint8_t *at, uint32_t v)
{
	access_put(at, 4, v);
}

/* ---- INTA ---- */

/* With MSI-X there is no INTA, and the status register knows nothing of it either. */
static bool intx_asked(struct pci_function *fn)
{
	return fn->ops->intx && fn->ops->intx(fn) && !pci_msix_enabled(fn);
}

/* Under intx_lock, or once no vCPU runs */
static void intx_fd_switch(struct pci_function *fn, bool on)
{
	const struct board *board = fn->board;
	int err;

	if (!fn->has_intx_fd || on == fn->intx_fd_on)
		return;
	err = board->ops->line_fd(board->ctx, fn->intx_fd, fn->resample_fd, fn->gsi, on);
	fn->intx_fd_on = on && !err;
	if (err && ratelimit_ok(&fn->no_irq_warning))
		log_warn("%s: INTA cannot be delivered: %s", fn->name, strerror(-err));
}

void pci_intx_update(struct pci_function *fn)
{
	const struct board *b = fn->board;
	bool up;

	pthread_mutex_lock(&fn->intx_lock);
	up = intx_asked(fn) && !atomic_load(&fn->intx_off);
	if (up != fn->intx_up)
		b->ops->line(b->ctx, fn->gsi, LINE_SOURCE_PCI + fn->devfn, up);
	fn->intx_up = up;
	intx_fd_switch(fn, !atomic_load(&fn->intx_off) && !pci_msix_enabled(fn));
	pthread_mutex_unlock(&fn->intx_lock);
}

static void intx_follow(struct pci_function *fn)
{
	atomic_store(&fn->intx_off,
		     access_get(&fn->config[PCI_COMMAND], 2) & PCI_COMMAND_INTX_DISABLE);
	pci_intx_update(fn);
}

/* ---- bus mastering: PCI Local Bus 3.0, 6.2.2 ---- */

bool pci_is_master(const struct pci_function *fn)
{
	return atomic_load(&fn->is_master);
}

/* Return: true if that changed */
static bool master_follow(struct pci_function *fn)
{
	bool on = fn->config[PCI_COMMAND] & PCI_COMMAND_MASTER;

	if (on == pci_is_master(fn))
		return false;
	atomic_store(&fn->is_master, on);
	pci_msix_follow(fn);
	return true;
}

/* ---- configuration space ---- */

static uint32_t register_read(struct pci_function *fn, unsigned off, unsigned len)
{
	fn->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	if (intx_asked(fn))
		fn->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	return (uint32_t)access_get(&fn->config[off], len);
}

/* Return: true if bus mastering or MSI-X was switched on or off */
static bool register_write(struct pci_function *fn, unsigned off, unsigned len, uint32_t value)
{
	uint32_t mask = (uint32_t)access_get(&fn->writable[off], len);
	uint32_t old = (uint32_t)access_get(&fn->config[off], len);
	const bool msix = pci_msix_enabled(fn);

	access_put(&fn->config[off], len, (old & ~mask) | (value & mask));
	pci_bars_follow(fn);
	pci_msix_config_written(fn);
	intx_follow(fn);
	return master_follow(fn) || msix != pci_msix_enabled(fn);
}

bool pci_config_load(struct pci_function *fn, const uint8_t *config, uint32_t bars)
{
	pci_bars_unmap(fn);
	memcpy(fn->config, config, sizeof(fn->config));
	pci_bars_map(fn, bars);
	pci_msix_config_written(fn);
	intx_follow(fn);
	return master_follow(fn);
}

/*
 * What ports and ECAM come down to; @devfn: 0 to 255, @len: 1, 2 or 4. Where there is no function,
 * reads are ones and writes are ignored, just as behind PCI_CONFIG_BYTES and where @reg is not a
 * multiple of @len. Return: NULL there.
 */
static struct pci_function *function_at(struct pci_host *host, unsigned devfn, unsigned reg,
					unsigned len)
{
	return reg % len || reg >= PCI_CONFIG_BYTES ? NULL : host->fn[devfn];
}

static bool through_window(struct pci_function *fn, unsigned reg, unsigned len, uint64_t *ret_off)
{
	return reg >= PCI_STD_HEADER_SIZEOF && fn->ops->config_window &&
	       fn->ops->config_window(fn, reg, len, ret_off);
}

static uint64_t config_read(struct pci_host *host, unsigned devfn, unsigned reg, unsigned len)
{
	struct pci_function *fn = function_at(host, devfn, reg, len);
	uint64_t off;
	uint32_t value;

	if (!fn)
		return UINT64_MAX;
	if (through_window(fn, reg, len, &off))
		return pci_bar_read(&fn->bar[0], off, len);
	pthread_mutex_lock(&host->lock);
	value = register_read(fn, reg, len);
	pthread_mutex_unlock(&host->lock);
	return value;
}

static void config_write(struct pci_host *host, unsigned devfn, unsigned reg, unsigned len, uint32_t value)
{
	struct pci_function *fn = function_at(host, devfn, reg, len);
	bool switched;
	uint64_t off;

	if (!fn)
		return;
	if (through_window(fn, reg, len, &off)) {
		pci_bar_write(&fn->bar[0], off, len, value);
		return;
	}
	pthread_mutex_lock(&host->lock);
	switched = register_write(fn, reg, len, value);
	pthread_mutex_unlock(&host->lock);
	if (switched && fn->ops->master)
		fn->ops->master(fn);
}

struct pci_function *pci_function_at(struct pci_host *host, unsigned devfn)
{
	return host->fn[devfn];
}

const char *pci_withheld(struct pci_host *host, unsigned *ret_vector)
{
	const char *name = NULL;

	pthread_mutex_lock(&host->lock);
	for (unsigned i = 0; !name && i < PCI_MAX_FUNCTIONS; i++)
		if (host->fn[i] && pci_msix_withheld(host->fn[i], ret_vector))
			name = host->fn[i]->name;
	pthread_mutex_unlock(&host->lock);
	return name;
}

void pci_config_get(struct pci_function *fn, unsigned off, void *ret, unsigned len)
{
	pthread_mutex_lock(&fn->host->lock);
	memcpy(ret, &fn->config[off], len);
	pthread_mutex_unlock(&fn->host->lock);
}

/* A quadword is two accesses, as the configuration space has no wider registers than 32 bits. */
static uint64_t ecam_read(void *dev, uint64_t off, unsigned len)
{
	if (len == 8)
		return (uint32_t)ecam_read(dev, off, 4) | ecam_read(dev, off + 4, 4) << 32;
	return config_read(dev, (unsigned)(off >> 12), off & 0xfff, len);
}

static void ecam_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	if (len == 8) {
		ecam_write(dev, off, 4, (uint32_t)value);
		ecam_write(dev, off + 4, 4, value >> 32);
		return;
	}
	config_write(dev, (unsigned)(off >> 12), off & 0xfff, len, (uint32_t)value);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write };

/* The address register takes 32-bit accesses only; a byte within it is another register. */
static uint64_t port_read(void *dev, uint64_t off, unsigned len)
{
	struct pci_host *host = dev;
	uint32_t address;
	uint8_t reset;

	pthread_mutex_lock(&host->lock);
	address = host->address;
	reset = host->reset_control;
	pthread_mutex_unlock(&host->lock);
	if (off == PORT_RESET && len == 1)
		return reset;
	if (off < PORT_DATA)
		return off == PORT_ADDRESS && len == 4 ? address : UINT64_MAX;
	if (!(address & ADDRESS_ENABLE) || address & ADDRESS_BUS)
		return UINT64_MAX;
	return config_read(host, address >> 8 & 0xff, (address & 0xff) + (unsigned)off - PORT_DATA,
			   len);
}

static void port_reset(struct pci_host *host, uint8_t value)
{
	bool now;

	pthread_mutex_lock(&host->lock);
	now = reset_control_write(&host->reset_control, value);
	pthread_mutex_unlock(&host->lock);
	if (now)
		board_stop(&host->board, STOP_RESET, 0);
}

static void port_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	struct pci_host *host = dev;
	uint32_t address;

	if (off == PORT_RESET && len == 1) {
		port_reset(host, (uint8_t)value);
		return;
	}
	pthread_mutex_lock(&host->lock);
	if (off == PORT_ADDRESS && len == 4)
		host->address = (uint32_t)value & ~3U;
	address = host->address;
	pthread_mutex_unlock(&host->lock);
	if (off >= PORT_DATA && (address & ADDRESS_ENABLE) && !(address & ADDRESS_BUS))
		config_write(host, address >> 8 & 0xff,
			     (address & 0xff) + (unsigned)off - PORT_DATA, len, (uint32_t)value);
}

static const struct bus_ops port_ops = { port_read, port_write };

/* ---- building a function ---- */

void pci_init(struct pci_function *fn, uint16_t vendor, uint16_t device, uint32_t class_code,
	      uint8_t revision)
{
	pthread_mutex_init(&fn->intx_lock, NULL);
	put16(&fn->config[PCI_VENDOR_ID], vendor);
	put16(&fn->config[PCI_DEVICE_ID], device);
	put32(&fn->config[PCI_CLASS_REVISION], class_code << 8 | revision);
	put16(&fn->writable[PCI_COMMAND],
	      PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	fn->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	fn->writable[PCI_INTERRUPT_LINE] = 0xff;
	fn->caps_end = PCI_STD_HEADER_SIZEOF;
}

int pci_add_cap(struct pci_function *fn, uint8_t id, const void *body, unsigned len)
{
	unsigned at = fn->caps_end, total = (unsigned)ALIGN_UP(PCI_CAP_FLAGS + len, 4);
	unsigned last = PCI_CAPABILITY_LIST;

	if (total > PCI_CONFIG_BYTES - at)
		return -ENOSPC;
	while (fn->config[last])
		last = fn->config[last] + (unsigned)PCI_CAP_LIST_NEXT;
	fn->config[last] = (uint8_t)at;
	fn->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fn->config[at] = id;
	memcpy(&fn->config[at + PCI_CAP_FLAGS], body, len);
	fn->caps_end = at + total;
	return (int)at;
}

int pci_add_msix(struct pci_function *fn, unsigned n_vectors, unsigned bar, unsigned table,
		 unsigned pba)
{
	const struct {
		uint16_t control;
		uint32_t table, pba; /* the low bits are the BAR's number */
	} __attribute__((packed)) body = { (uint16_t)(n_vectors - 1), table | bar, pba | bar };
	int cap = pci_add_cap(fn, PCI_CAP_ID_MSIX, &body, sizeof(body));

	if (cap < 0)
		return cap;
	fn->msix_cap = (unsigned)cap;
	fn->msix_bar = bar;
	fn->msix_control = body.control;
	fn->writable[fn->msix_cap + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	return pci_msix_init(fn, n_vectors, table, pba);
}

int pci_add_intx_fd(struct pci_function *fn, int *ret_fd, int *ret_resample_fd)
{
	int fd = event_open(0), resample_fd = event_open(0);

	if (fd < 0 || resample_fd < 0) {
		close(fd < 0 ? resample_fd : fd);
		return fd < 0 ? fd : resample_fd;
	}
	fn->has_intx_fd = true;
	*ret_fd = fn->intx_fd = fd;
	*ret_resample_fd = fn->resample_fd = resample_fd;
	return 0;
}

void pci_host_expect(struct pci_host *host, unsigned n)
{
	const unsigned first = host->piix[0].host ? 2 : 1, devices = PCI_MAX_FUNCTIONS / 8 - first; /* beside the bridge's */
	bool all = n > devices * 8;

	host->per_device = all ? 8 : n <= devices ? 1 : (n + devices - 1) / devices;
	host->first_devfn = all ? 1 : first << 3;
}

static int next_slot(const struct pci_host *host)
{
	for (unsigned devfn = host->first_devfn; devfn < PCI_MAX_FUNCTIONS; devfn++)
		if ((devfn & 7) < host->per_device && !host->fn[devfn])
			return (int)devfn;
	return -ENOSPC;
}

void pci_plug_in(struct pci_host *host, struct pci_function *fn, unsigned devfn)
{
	static const uint8_t isa_irq[GSI_PCI_PINS] = ISA_IRQS_PCI;
	const unsigned intx = (devfn >> 3) % GSI_PCI_PINS;

	fn->host = host;
	fn->board = &host->board;
	fn->devfn = (uint8_t)devfn;
	if (fn->ops->intx || fn->has_intx_fd) {
		fn->gsi = GSI_PCI_FIRST + intx;
		fn->config[PCI_INTERRUPT_PIN] = 1;
		/* A number of the PICs: who has an IOAPIC is told the other by tables. */
		fn->config[PCI_INTERRUPT_LINE] = isa_irq[intx];
	}
	/* Function 0 tells whether there are others. */
	if (devfn & 7)
		host->fn[devfn & ~7U]->config[PCI_HEADER_TYPE] |= MULTIFUNCTION;
	pci_bars_place(host, fn);
	intx_fd_switch(fn, true);
	host->fn[devfn] = fn;
}

int pci_add(struct pci_host *host, struct pci_function *fn)
{
	int slot = next_slot(host);

	if (slot >= 0)
		pci_plug_in(host, fn, (unsigned)slot);
	return slot < 0 ? slot : 0;
}

int pci_add_to_bridge(struct pci_host *host, struct pci_function *fn)
{
	if (host->fn[1])
		return -ENOSPC;
	pci_plug_in(host, fn, 1);
	return 0;
}

void pci_fini(struct pci_function *fn)
{
	if (fn->host) {
		pci_bars_unmap(fn);
		intx_fd_switch(fn, false);
		fn->host->fn[fn->devfn] = NULL;
	}
	pci_msix_fini(fn);
	if (fn->has_intx_fd) {
		close(fn->intx_fd);
		close(fn->resample_fd);
	}
	fn->has_intx_fd = false;
	fn->host = NULL;
	pthread_mutex_destroy(&fn->intx_lock);
}

/* ---- the host bridge ---- */

static const struct pci_ops bridge_ops; /* it has no BAR and no interrupt */

static int add_ranges(struct pci_host *host, struct bus *pio, struct bus *mmio)
{
	const struct bus_range ports = { .base = PORT_PCI, .size = 8, .ops = &port_ops, .dev = host, .name = "pci" };
	const struct bus_range ecam = {
		.base = LAYOUT_ECAM, .size = LAYOUT_ECAM_BYTES, .ops = &ecam_ops, .dev = host, .name = "pci-ecam"
	};
	int err = bus_add(pio, &ports);

	if (err)
		return err;
	err = bus_add(mmio, &ecam);
	if (err)
		bus_remove(pio, PORT_PCI);
	else
		host->pio = pio;
	host->has_ecam = !err;
	return err;
}

void pci_host_reserve(struct pci_host *host, uint64_t base, uint64_t bytes)
{
	assert(host->n_reserved < PCI_MAX_RESERVED);
	host->reserved[host->n_reserved].base = base;
	host->reserved[host->n_reserved++].bytes = bytes;
}

void pci_host_window64(struct pci_host *host, uint64_t base, uint64_t bytes)
{
	host->high = (struct pci_window){ base, base + bytes };
}

int pci_host_new(struct bus *pio, struct bus *mmio, const struct board *board, struct pci_host **ret)
{
	struct pci_host *host = calloc(1, sizeof(*host));
	int err;

	if (!host)
		return log_err(-ENOMEM, "PCI host bridge");
	pthread_mutex_init(&host->lock, NULL);
	host->mmio = mmio;
	host->board = *board;
	host->low = (struct pci_window){ LAYOUT_PCI_WINDOW, LAYOUT_PCI_WINDOW_END };
	host->io = (struct pci_window){ PORT_PCI_WINDOW, PORT_PCI_WINDOW_END };
	pci_host_expect(host, 1);
	pci_init(&host->bridge, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS, 0);
	memset(host->bridge.writable, 0, sizeof(host->bridge.writable));
	host->bridge.ops = &bridge_ops;
	host->fn[0] = &host->bridge;
	err = add_ranges(host, pio, mmio);
	if (err) {
		pci_host_free(host);
		return log_err(err, "PCI host bridge");
	}
	*ret = host;
	return 0;
}

void pci_host_free(struct pci_host *host)
{
	if (!host)
		return;
	if (host->pio) {
		bus_remove(host->pio, PORT_PCI);
		if (host->has_ecam)
			bus_remove(host->mmio, LAYOUT_ECAM);
	}
	pci_fini(&host->piix[0]);
	pci_fini(&host->piix[1]);
	pci_fini(&host->bridge);
	pthread_mutex_destroy(&host->lock);
	free(host);
}
