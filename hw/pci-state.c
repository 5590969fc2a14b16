/*
 * What a guest can observe of PCI: the host bridge's ports, and of each function its configuration
 * space, which of its BARs are decoded, and its MSI-X table. Which function it is comes from how the
 * machine was built, so bits that no guest can write must be what they are already.
 *
 * A function's line and vectors follow what is loaded; a vector that is pending and may be delivered
 * is delivered. What the device behind it wants (INTA) comes with that one's own state.
 */
#include <errno.h>
#include <string.h>

#include "lkvm/state.h"
#include "pci-internal.h"

/* ---- the host bridge ---- */

struct host_state {
	uint32_t address;
	uint32_t reset_control;
};

static const struct state_field host_fields[] = {
	STATE_ONE(struct host_state, address, .bits = ~3U),
	STATE_ONE(struct host_state, reset_control,
		  .bits = 0x0a), /* what reset_control_write() keeps */
};

static int host_save(void *dev, void *ret_state)
{
	struct host_state *st = ret_state;
	struct pci_host *host = dev;

	pthread_mutex_lock(&host->lock);
	*st = (struct host_state){ host->address, host->reset_control };
	pthread_mutex_unlock(&host->lock);
	return 0;
}

static int host_load(void *dev, const void *state)
{
	const struct host_state *st = state;
	struct pci_host *host = dev;

	pthread_mutex_lock(&host->lock);
	host->address = st->address;
	host->reset_control = (uint8_t)st->reset_control;
	pthread_mutex_unlock(&host->lock);
	return 0;
}

const struct state_type pci_host_state_type = {
	STATE_TYPE("pci-host", 1, struct host_state, host_fields),
	.save = host_save,
	.load = host_load,
};

/* ---- a function ---- */

struct function_state {
	uint32_t bars; /* bit n: BAR n is decoded; PCI_ROM_BAR, too */
	uint8_t config[PCI_CONFIG_BYTES];
};

static const struct state_field function_fields[] = {
	STATE_ONE(struct function_state, bars, .max = (1 << PCI_BARS) - 1),
	STATE_ARRAY(struct function_state, config),
};

static int function_save(void *dev, void *ret_state)
{
	struct function_state *st = ret_state;
	struct pci_function *fn = dev;

	pthread_mutex_lock(&fn->host->lock);
	st->bars = pci_bars_on(fn);
	memcpy(st->config, fn->config, sizeof(st->config));
	pthread_mutex_unlock(&fn->host->lock);
	st->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT; /* made up at each read */
	return 0;
}

static bool is_same_function(const struct pci_function *fn, const struct function_state *st)
{
	for (unsigned i = 0; i < PCI_CONFIG_BYTES; i++) {
		uint8_t differs = st->config[i] ^ fn->config[i];

		if (i == PCI_STATUS)
			differs &= (uint8_t)~PCI_STATUS_INTERRUPT;
		if (differs & ~fn->writable[i])
			return false;
	}
	return true;
}

static int function_load(void *dev, const void *state)
{
	const struct function_state *st = state;
	struct pci_function *fn = dev;
	bool same, master_changed = false;

	pthread_mutex_lock(&fn->host->lock);
	same = is_same_function(fn, st);
	if (same)
		master_changed = pci_config_load(fn, st->config, st->bars);
	pthread_mutex_unlock(&fn->host->lock);
	if (master_changed && fn->ops->master)
		fn->ops->master(fn);
	return same ? 0 : -ENODEV;
}

const struct state_type pci_function_state_type = {
	STATE_TYPE("pci-function", 1, struct function_state, function_fields),
	.save = function_save,
	.load = function_load,
};

/* ---- MSI-X ---- */

#define MAX_VECTORS (PCI_MSIX_FLAGS_QSIZE + 1)

struct msix_state {
	uint32_t n;
	uint32_t address[MAX_VECTORS], address_high[MAX_VECTORS], data[MAX_VECTORS];
	uint8_t masked[MAX_VECTORS], pending[MAX_VECTORS];
};

static const struct state_field msix_fields[] = {
	STATE_ONE(struct msix_state, n, .max = MAX_VECTORS),
	STATE_SOME(struct msix_state, address, n),
	STATE_SOME(struct msix_state, address_high, n),
	STATE_SOME(struct msix_state, data, n),
	STATE_SOME(struct msix_state, masked, n, .max = 1),
	STATE_SOME(struct msix_state, pending, n, .max = 1),
};

static int msix_save(void *dev, void *ret_state)
{
	struct msix_state *st = ret_state;
	struct pci_function *fn = dev;

	pthread_mutex_lock(&fn->host->lock);
	st->n = fn->n_vectors;
	for (unsigned i = 0; i < st->n; i++) {
		struct pci_vector *v = &fn->vector[i];

		st->address[i] = v->entry[PCI_MSIX_ENTRY_LOWER_ADDR / 4];
		st->address_high[i] = v->entry[PCI_MSIX_ENTRY_UPPER_ADDR / 4];
		st->data[i] = v->entry[PCI_MSIX_ENTRY_DATA / 4];
		st->masked[i] =
			v->entry[PCI_MSIX_ENTRY_VECTOR_CTRL / 4] & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		st->pending[i] = pci_msix_pending(v);
	}
	pthread_mutex_unlock(&fn->host->lock);
	return 0;
}

static int msix_load(void *dev, const void *state)
{
	const struct msix_state *st = state;
	struct pci_function *fn = dev;

	if (st->n != fn->n_vectors)
		return -ENODEV;
	pthread_mutex_lock(&fn->host->lock);
	for (unsigned i = 0; i < st->n; i++) {
		const uint32_t entry[] = { st->address[i], st->address_high[i], st->data[i],
					   st->masked[i] };

		pci_msix_load(fn, i, entry, st->pending[i]);
	}
	pthread_mutex_unlock(&fn->host->lock);
	return 0;
}

const struct state_type pci_msix_state_type = {
	STATE_TYPE("pci-msix", 1, struct msix_state, msix_fields),
	.save = msix_save,
	.load = msix_load,
};
