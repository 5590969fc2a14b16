/* PCI host bridge, configuration space, BARs, INTA; see pci.h. MSI-X is in hw/pci-msix.c. */
#include "lkvm/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lkvm/access.h"
#include "lkvm/log.h"
#include "lkvm/types.h"
#include "lkvm/x86/layout.h"
#include "pci-internal.h"

#define ADDRESS_ENABLE 0x80000000U
#define ADDRESS_BUS    0x00ff0000U
#define PORT_ADDRESS   0 /* offsets from PORT_PCI */
#define PORT_DATA      4

#define BRIDGE_VENDOR 0x1b36 /* Red Hat, Inc.: its generic host bridge */
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

#define MULTIFUNCTION 0x80 /* in the header type */

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)access_get(at, 4);
}

static void put16(uint8_t *at, uint16_t v)
{
	access_put(at, 2, v);
}

static void put32(uint8_t *at, uint32_t v)
{
	access_put(at, 4, v);
}

/* ---- BAR 0 ---- */

static void bar_read(void *dev, uint64_t off, void *data, unsigned len)
{
	pci_bar_rw(dev, off, data, len, false);
}

static void bar_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	uint8_t copy[8];

	memcpy(copy, data, len);
	pci_bar_rw(dev, off, copy, len, true);
}

static const struct bus_ops bar_ops = { bar_read, bar_write };

static void bar_unmap(struct pci_function *fn)
{
	if (!fn->bar_on)
		return;
	fn->bar_on = false;
	fn->ops->bar_moved(fn, fn->bar_base, false);
	bus_remove(fn->host->mmio, fn->bar_base);
}

/* Decoded only where there is no RAM, and no chip that is not on the bus. */
static void bar_map(struct pci_function *fn, uint64_t base)
{
	const struct bus_range range = {
		.base = base, .size = fn->bar_bytes, .ops = &bar_ops, .dev = fn, .name = fn->name,
		.gsi = fn->gsi,
	};

	if (base < LAYOUT_PCI_WINDOW || base > LAYOUT_PCI_DECODE_END - fn->bar_bytes)
		return;
	/* On top of the ECAM or of another function's BAR: who was first keeps the range. */
	if (bus_add(fn->host->mmio, &range))
		return;
	fn->bar_base = base;
	fn->bar_on = true;
	fn->ops->bar_moved(fn, base, true);
}

static void bar_follow(struct pci_function *fn)
{
	bool want = fn->config[PCI_COMMAND] & PCI_COMMAND_MEMORY;
	uint64_t base = get32(&fn->config[PCI_BASE_ADDRESS_0]);

	if (fn->bar_on && want && base == fn->bar_base)
		return;
	bar_unmap(fn);
	if (want)
		bar_map(fn, base);
}

/* ---- INTA ---- */

/* With MSI-X there is no INTA, and the status register knows nothing of it either. */
static bool intx_asked(struct pci_function *fn)
{
	return fn->ops->intx && fn->ops->intx(fn) && !pci_msix_enabled(fn);
}

void pci_intx_update(struct pci_function *fn)
{
	const struct machine *m = fn->machine;
	bool up;

	pthread_mutex_lock(&fn->intx_lock);
	up = intx_asked(fn) && !atomic_load(&fn->intx_off);
	if (up != fn->intx_up)
		m->ops->line(m->ctx, fn->gsi, LINE_SOURCE_PCI + fn->devfn, up);
	fn->intx_up = up;
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

static void config_read(struct pci_function *fn, unsigned off, uint8_t *data, unsigned len)
{
	fn->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	if (intx_asked(fn))
		fn->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	memcpy(data, &fn->config[off], len);
}

/* Return: true if bus mastering was switched on or off */
static bool config_write(struct pci_function *fn, unsigned off, const uint8_t *data, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = fn->writable[off + i];

		fn->config[off + i] = (uint8_t)((fn->config[off + i] & ~mask) | (data[i] & mask));
	}
	bar_follow(fn);
	pci_msix_config_written(fn);
	intx_follow(fn);
	return master_follow(fn);
}

void pci_host_config_rw(struct pci_host *host, unsigned devfn, unsigned reg, void *data,
			unsigned len, bool write)
{
	struct pci_function *fn = host->fn[devfn];
	bool master_changed = false;

	if (!write)
		memset(data, 0xff, len);
	if (!fn || reg % len || reg >= PCI_CONFIG_BYTES)
		return;
	if (reg >= PCI_STD_HEADER_SIZEOF && fn->ops->config_rw &&
	    fn->ops->config_rw(fn, reg, data, len, write))
		return;
	pthread_mutex_lock(&host->lock);
	if (write)
		master_changed = config_write(fn, reg, data, len);
	else
		config_read(fn, reg, data, len);
	pthread_mutex_unlock(&host->lock);
	if (master_changed && fn->ops->master)
		fn->ops->master(fn);
}

void pci_config_get(struct pci_function *fn, unsigned off, void *ret, unsigned len)
{
	pthread_mutex_lock(&fn->host->lock);
	memcpy(ret, &fn->config[off], len);
	pthread_mutex_unlock(&fn->host->lock);
}

/* A quadword is two accesses, as the configuration space has no wider registers than 32 bits. */
static void ecam_rw(struct pci_host *host, uint64_t off, uint8_t *data, unsigned len, bool write)
{
	unsigned step = len < 4 ? len : 4;

	for (unsigned i = 0; i < len; i += step)
		pci_host_config_rw(host, (unsigned)((off + i) >> 12), (off + i) & 0xfff, data + i,
				   step, write);
}

static void ecam_read(void *dev, uint64_t off, void *data, unsigned len)
{
	ecam_rw(dev, off, data, len, false);
}

static void ecam_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	uint8_t copy[8];

	memcpy(copy, data, len);
	ecam_rw(dev, off, copy, len, true);
}

static const struct bus_ops ecam_ops = { ecam_read, ecam_write };

/* The address register takes 32-bit accesses only; bytes within it (0xcf9) are other chipsets'. */
static void port_address(struct pci_host *host, uint64_t off, void *data, unsigned len, bool write)
{
	if (off != PORT_ADDRESS || len != 4) {
		if (!write)
			memset(data, 0xff, len);
		return;
	}
	pthread_mutex_lock(&host->lock);
	if (write)
		host->address = get32(data) & ~3U;
	else
		put32(data, host->address);
	pthread_mutex_unlock(&host->lock);
}

static void port_data(struct pci_host *host, unsigned off, void *data, unsigned len, bool write)
{
	uint32_t address;

	pthread_mutex_lock(&host->lock);
	address = host->address;
	pthread_mutex_unlock(&host->lock);
	if ((address & ADDRESS_ENABLE) && !(address & ADDRESS_BUS))
		pci_host_config_rw(host, address >> 8 & 0xff, (address & 0xff) + off, data, len,
				   write);
	else if (!write)
		memset(data, 0xff, len);
}

static void port_rw(struct pci_host *host, uint64_t off, void *data, unsigned len, bool write)
{
	if (off < PORT_DATA)
		port_address(host, off, data, len, write);
	else
		port_data(host, (unsigned)off - PORT_DATA, data, len, write);
}

static void port_read(void *dev, uint64_t off, void *data, unsigned len)
{
	port_rw(dev, off, data, len, false);
}

static void port_write(void *dev, uint64_t off, const void *data, unsigned len)
{
	uint8_t copy[8];

	memcpy(copy, data, len);
	port_rw(dev, off, copy, len, true);
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

void pci_set_bar(struct pci_function *fn, uint32_t bytes)
{
	fn->bar_bytes = bytes;
	/* Sizing works by itself: the bits below the size read back as zero. */
	put32(&fn->writable[PCI_BASE_ADDRESS_0], ~(bytes - 1));
}

void pci_host_expect(struct pci_host *host, unsigned n)
{
	const unsigned devices = PCI_MAX_FUNCTIONS / 8 - 1; /* beside the bridge's */
	bool all = n > devices * 8;

	host->per_device = all ? 8 : n <= devices ? 1 : (n + devices - 1) / devices;
	host->first_devfn = all ? 1 : 1 << 3;
}

static int next_slot(const struct pci_host *host)
{
	for (unsigned devfn = host->first_devfn; devfn < PCI_MAX_FUNCTIONS; devfn++)
		if ((devfn & 7) < host->per_device && !host->fn[devfn])
			return (int)devfn;
	return -ENOSPC;
}

static uint64_t alloc_bar(struct pci_host *host, uint32_t bytes)
{
	uint64_t base = ALIGN_UP(host->next_bar, bytes);

	if (base > LAYOUT_PCI_WINDOW_END - bytes)
		return 0; /* decoded nowhere until the guest finds it a place */
	host->next_bar = base + bytes;
	return base;
}

int pci_add(struct pci_host *host, struct pci_function *fn)
{
	int slot = next_slot(host);

	if (slot < 0)
		return slot;
	fn->host = host;
	fn->machine = &host->machine;
	fn->devfn = (uint8_t)slot;
	fn->gsi = GSI_PCI_FIRST + (fn->devfn >> 3) % GSI_PCI_PINS;
	fn->config[PCI_INTERRUPT_PIN] = 1;
	fn->config[PCI_INTERRUPT_LINE] = (uint8_t)fn->gsi;
	/* Function 0 tells whether there are others. */
	if (slot & 7)
		host->fn[slot & ~7]->config[PCI_HEADER_TYPE] |= MULTIFUNCTION;
	if (fn->bar_bytes)
		put32(&fn->config[PCI_BASE_ADDRESS_0], (uint32_t)alloc_bar(host, fn->bar_bytes));
	host->fn[slot] = fn;
	return 0;
}

void pci_fini(struct pci_function *fn)
{
	if (fn->host) {
		bar_unmap(fn);
		fn->host->fn[fn->devfn] = NULL;
	}
	pci_msix_fini(fn);
	fn->host = NULL;
	pthread_mutex_destroy(&fn->intx_lock);
}

/* ---- the host bridge ---- */

static const struct pci_ops bridge_ops; /* it has no BAR and no interrupt */

static int add_ranges(struct pci_host *host, struct bus *pio, struct bus *mmio)
{
	const struct bus_range ports = {
		.base = PORT_PCI, .size = 8, .ops = &port_ops, .dev = host, .name = "pci"
	};
	const struct bus_range ecam = { .base = LAYOUT_ECAM,
					.size = LAYOUT_ECAM_BYTES,
					.ops = &ecam_ops,
					.dev = host,
					.name = "pci-ecam" };
	int err = bus_add(pio, &ports);

	if (err)
		return err;
	err = bus_add(mmio, &ecam);
	if (err)
		bus_remove(pio, PORT_PCI);
	else
		host->pio = pio;
	return err;
}

int pci_host_new(struct bus *pio, struct bus *mmio, const struct machine *machine,
		 struct pci_host **ret)
{
	struct pci_host *host = calloc(1, sizeof(*host));
	int err;

	if (!host)
		return log_err(-ENOMEM, "PCI host bridge");
	pthread_mutex_init(&host->lock, NULL);
	host->mmio = mmio;
	host->machine = *machine;
	host->next_bar = LAYOUT_PCI_WINDOW;
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
		bus_remove(host->mmio, LAYOUT_ECAM);
	}
	pci_fini(&host->bridge);
	pthread_mutex_destroy(&host->lock);
	free(host);
}
