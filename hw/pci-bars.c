/*
 * Base address registers: which of them are decoded where, and what answers there; see pci.h. All that
 * a guest does to them is under the host bridge's lock; accesses are not.
 */
#include <assert.h>

#include "lkvm/access.h"
#include "lkvm/copy.h"
#include "lkvm/types.h"
#include "pci-internal.h"

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)access_get(at, 4);
}

static void put32(uint8_t *at, uint32_t v)
{
	access_put(at, 4, v);
}

/* ---- accesses ---- */

/* Of memory, where there is no slot, or KVM has found none of it: maybe there is none any more. */
static uint64_t memory_read(const struct pci_bar *bar, uint64_t off, unsigned len)
{
	uint64_t value = 0;

	return off < bar->bytes && !copy_read(&value, bar->memory + off, len) ? value : UINT64_MAX;
}

static void memory_write(const struct pci_bar *bar, uint64_t off, unsigned len, uint64_t value)
{
	if (!bar->read_only && off < bar->bytes)
		copy_write(bar->memory + off, &value, len);
}

uint64_t pci_bar_read(struct pci_bar *bar, uint64_t off, unsigned len)
{
	struct pci_function *fn = bar->fn;
	const unsigned n = (unsigned)(bar - fn->bar);

	if (pci_msix_at(fn, n, off))
		return pci_msix_read(fn, off, len);
	if (bar->memory)
		return memory_read(bar, off, len);
	return fn->ops->bar_read(fn, n, off, len);
}

void pci_bar_write(struct pci_bar *bar, uint64_t off, unsigned len, uint64_t value)
{
	struct pci_function *fn = bar->fn;
	const unsigned n = (unsigned)(bar - fn->bar);

	if (pci_msix_at(fn, n, off))
		pci_msix_write(fn, off, len, value);
	else if (bar->memory)
		memory_write(bar, off, len, value);
	else
		fn->ops->bar_write(fn, n, off, len, value);
}

static uint64_t on_read(void *dev, uint64_t off, unsigned len)
{
	return pci_bar_read(dev, off, len);
}

static void on_write(void *dev, uint64_t off, unsigned len, uint64_t value)
{
	pci_bar_write(dev, off, len, value);
}

static const struct bus_ops bar_ops = { on_read, on_write };

/* ---- where they are decoded ---- */

static bool is_rom(const struct pci_bar *bar)
{
	return bar == &bar->fn->bar[PCI_ROM_BAR];
}

static void bar_moved(struct pci_bar *bar, bool on)
{
	struct pci_function *fn = bar->fn;
	const struct board *board = fn->board;

	if (bar->memory && on)
		bar->slot = board->ops->memory_add(board->ctx, fn->name, bar->base, bar->memory,
						   bar->bytes, bar->read_only);
	else if (bar->memory && bar->slot >= 0)
		board->ops->memory_remove(board->ctx, (unsigned)bar->slot);
	if (fn->ops->bar_moved && !is_rom(bar))
		fn->ops->bar_moved(fn, (unsigned)(bar - fn->bar), bar->base, on);
}

static struct bus *bus_of(const struct pci_bar *bar)
{
	return bar->flags & PCI_BAR_IO ? bar->fn->host->pio : bar->fn->host->mmio;
}

static void bar_unmap(struct pci_bar *bar)
{
	if (!bar->on)
		return;
	bar->on = false;
	bar_moved(bar, false);
	bus_remove(bus_of(bar), bar->base);
}

static bool is_reserved(const struct pci_host *host, uint64_t base, uint64_t bytes)
{
	for (unsigned i = 0; i < host->n_reserved; i++)
		if (base < host->reserved[i].base + host->reserved[i].bytes &&
		    host->reserved[i].base < base + bytes)
			return true;
	return false;
}

static uint8_t *bar_register(struct pci_bar *bar)
{
	return &bar->fn->config[is_rom(bar) ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * (bar - bar->fn->bar)];
}

static bool bar_wanted(struct pci_bar *bar, uint64_t *ret_base)
{
	const bool io = bar->flags & PCI_BAR_IO;
	const uint8_t *reg;

	if (!bar->bytes || !(bar->fn->config[PCI_COMMAND] & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return false;
	reg = bar_register(bar);
	if (io) {
		*ret_base = get32(reg) & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
		return *ret_base;
	}
	if (is_rom(bar) && !(get32(reg) & PCI_ROM_ADDRESS_ENABLE))
		return false;
	*ret_base = get32(reg) & (uint32_t)(is_rom(bar) ? PCI_ROM_ADDRESS_MASK : PCI_BASE_ADDRESS_MEM_MASK);
	if (bar->flags & PCI_BAR_64)
		*ret_base |= (uint64_t)get32(reg + 4) << 32;
	return true;
}

static void bar_map(struct pci_bar *bar, uint64_t base)
{
	struct pci_function *fn = bar->fn;
	const struct bus_range range = {
		.base = base, .size = bar->bytes, .ops = &bar_ops, .dev = bar, .name = fn->name,
		.gsi = fn->gsi,
	};

	/* Aligned to its size, so it does not wrap. */
	if (!(bar->flags & PCI_BAR_IO) && is_reserved(fn->host, base, bar->bytes))
		return;
	/* On top of the ECAM, a chip or another BAR: who was first keeps the range. */
	if (bus_add(bus_of(bar), &range))
		return;
	bar->base = base;
	bar->on = true;
	bar_moved(bar, true);
}

static void bars_retry_of(struct pci_function *fn)
{
	uint64_t base;

	for (unsigned i = 0; i < PCI_BARS; i++)
		if (!fn->bar[i].on && bar_wanted(&fn->bar[i], &base))
			bar_map(&fn->bar[i], base);
}

/* A range is free: is it where another BAR is to be? */
static void bars_retry(struct pci_host *host)
{
	for (unsigned i = 0; i < PCI_MAX_FUNCTIONS; i++)
		if (host->fn[i])
			bars_retry_of(host->fn[i]);
}

/* Return: is a range free now that was not? */
static bool bar_follow(struct pci_bar *bar)
{
	uint64_t base;
	bool want = bar_wanted(bar, &base), was_on = bar->on;

	if (was_on && want && base == bar->base)
		return false;
	bar_unmap(bar);
	if (want)
		bar_map(bar, base);
	return was_on;
}

void pci_bars_follow(struct pci_function *fn)
{
	bool freed = false;

	for (unsigned i = 0; i < PCI_BARS; i++)
		if (fn->bar[i].bytes)
			freed |= bar_follow(&fn->bar[i]);
	if (freed)
		bars_retry(fn->host);
	if (fn->ops->written)
		fn->ops->written(fn);
}

void pci_decode(struct pci_function *fn)
{
	pthread_mutex_lock(&fn->host->lock);
	fn->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	pci_bars_follow(fn);
	pthread_mutex_unlock(&fn->host->lock);
}

void pci_bars_unmap(struct pci_function *fn)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		bar_unmap(&fn->bar[i]);
}

uint32_t pci_bars_on(const struct pci_function *fn)
{
	uint32_t bars = 0;

	for (unsigned i = 0; i < PCI_BARS; i++)
		bars |= (uint32_t)fn->bar[i].on << i;
	return bars;
}

void pci_bars_map(struct pci_function *fn, uint32_t bars)
{
	uint64_t base;

	for (unsigned i = 0; i < PCI_BARS; i++)
		if (bars >> i & 1 && bar_wanted(&fn->bar[i], &base))
			bar_map(&fn->bar[i], base);
	if (fn->ops->written)
		fn->ops->written(fn);
}

/* ---- building a function ---- */

/* There are 64 KB of ports: the upper half of the register is zeros. */
static void add_io_bar(struct pci_function *fn, unsigned at, uint64_t bytes)
{
	assert(bytes >= 4 && bytes <= 256 && !(bytes & (bytes - 1)));
	put32(&fn->config[at], PCI_BASE_ADDRESS_SPACE_IO);
	put32(&fn->writable[at], 0xffff & (uint32_t) ~(bytes - 1));
	fn->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
}

void pci_add_bar(struct pci_function *fn, unsigned bar, uint64_t bytes, unsigned flags)
{
	const unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;

	assert(bar < PCI_STD_NUM_BARS - !!(flags & PCI_BAR_64) && !fn->bar[bar].bytes);
	fn->bar[bar] = (struct pci_bar){ .fn = fn, .bytes = bytes, .flags = flags, .slot = -1 };
	if (flags == PCI_BAR_IO) {
		add_io_bar(fn, at, bytes);
		return;
	}
	assert(bytes >= 16 && !(bytes & (bytes - 1)) && !(flags & PCI_BAR_IO) &&
	       (flags & PCI_BAR_64 || bytes <= UINT32_MAX));
	put32(&fn->config[at],
	      (flags & PCI_BAR_64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0U) |
		      (flags & PCI_BAR_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0U));
	/* Sizing works by itself: the bits below the size read back as they are. */
	put32(&fn->writable[at], (uint32_t) ~(bytes - 1));
	if (flags & PCI_BAR_64)
		put32(&fn->writable[at + 4], (uint32_t)(~(bytes - 1) >> 32));
}

void pci_bar_memory(struct pci_function *fn, unsigned bar, void *memory, bool read_only)
{
	assert(!fn->bar[bar].on && fn->bar[bar].bytes >= 4096);
	fn->bar[bar].memory = memory;
	fn->bar[bar].read_only = read_only;
}

void pci_add_rom(struct pci_function *fn, void *image, uint64_t bytes)
{
	struct pci_bar *bar = &fn->bar[PCI_ROM_BAR];

	assert(bytes >= 4096 && bytes <= PCI_ROM_MAX && !(bytes & (bytes - 1)) && !bar->bytes);
	*bar = (struct pci_bar){ .fn = fn, .bytes = bytes, .memory = image, .read_only = true, .slot = -1 };
	put32(&fn->writable[PCI_ROM_ADDRESS], (uint32_t) ~(bytes - 1) | PCI_ROM_ADDRESS_ENABLE);
}

/* Return: 0 if there is no room */
static uint64_t take(struct pci_window *window, uint64_t bytes)
{
	uint64_t base = ALIGN_UP(window->next, bytes);

	if (base < window->next || bytes > window->end || base > window->end - bytes)
		return 0;
	window->next = base + bytes;
	return base;
}

/* Memory rather than registers, which may be large: it leaves the gap to others if it can. */
static uint64_t choose(struct pci_host *host, const struct pci_bar *bar)
{
	const unsigned memory = PCI_BAR_64 | PCI_BAR_PREFETCH;
	uint64_t base = (bar->flags & memory) == memory ? take(&host->high, bar->bytes) : 0;

	if (!base)
		base = take(bar->flags & PCI_BAR_IO ? &host->io : &host->low, bar->bytes);
	if (!base && bar->flags & PCI_BAR_64)
		base = take(&host->high, bar->bytes);
	return base;
}

/* What gets no address is decoded nowhere until the guest finds it a place. */
static void place(struct pci_host *host, const struct pci_bar *bar, uint8_t *reg)
{
	uint64_t base = choose(host, bar);

	put32(reg, get32(reg) | (uint32_t)base);
	if (bar->flags & PCI_BAR_64)
		put32(reg + 4, (uint32_t)(base >> 32));
}

void pci_bars_place(struct pci_host *host, struct pci_function *fn)
{
	for (unsigned i = 0; i < PCI_STD_NUM_BARS; i++)
		if (fn->bar[i].bytes)
			place(host, &fn->bar[i], &fn->config[PCI_BASE_ADDRESS_0 + 4 * i]);
}

bool pci_bar_base(const struct pci_function *fn, unsigned bar, uint64_t *ret)
{
	*ret = fn->bar[bar].base;
	return fn->bar[bar].on;
}

bool pci_has_room(const struct pci_function *fn, unsigned bar)
{
	const uint8_t *reg = &fn->config[PCI_BASE_ADDRESS_0 + 4 * bar];
	const uint32_t high = fn->bar[bar].flags & PCI_BAR_64 ? get32(reg + 4) : 0;

	return high || get32(reg) & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
}
