/*
 * MSI-X: table, pending bits, and the eventfd behind each vector.
 *
 * A vector that may be delivered is an irqfd: signalling it never leaves the kernel. One that may
 * not (masked, MSI-X off, or the function no bus master) is unbound, so what is signalled stays in
 * the eventfd's counter, and from there becomes the pending bit, once somebody needs to know. Thus
 * who signals takes no lock and knows of none of this. A vector keeps its route for life, so a guest
 * that rewrites its entries for ever uses up nothing. Spec: PCI Local Bus 3.0, 6.8.2
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lkvm/access.h"
#include "lkvm/event.h"
#include "lkvm/log.h"
#include "pci-internal.h"

#define ENTRY_BYTES PCI_MSIX_ENTRY_SIZE
enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL };

bool pci_msix_enabled(const struct pci_function *fn)
{
	return atomic_load(&fn->msix_on);
}

/* ---- vectors ---- */

static bool deliverable(const struct pci_function *fn, const struct pci_vector *v)
{
	return atomic_load(&fn->is_master) &&
	       (fn->msix_control & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) ==
		       PCI_MSIX_FLAGS_ENABLE &&
	       !(v->entry[ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

bool pci_msix_pending(struct pci_vector *v)
{
	if (!v->bound && event_clear(v->fd))
		atomic_store(&v->pending, true);
	return atomic_load(&v->pending);
}

bool pci_msix_withheld(struct pci_function *fn, unsigned *ret_vector)
{
	for (unsigned i = 0; i < fn->n_vectors && pci_msix_enabled(fn); i++)
		if (pci_msix_pending(&fn->vector[i]) && !deliverable(fn, &fn->vector[i])) {
			*ret_vector = i;
			return true;
		}
	return false;
}

static void unbind(struct pci_function *fn, struct pci_vector *v)
{
	const struct board *b = fn->board;

	if (v->bound)
		b->ops->irqfd(b->ctx, v->fd, (unsigned)v->gsi, false);
	v->bound = false;
}

static int bind(struct pci_function *fn, struct pci_vector *v)
{
	const struct board *b = fn->board;
	uint64_t address = (uint64_t)v->entry[ENTRY_ADDRESS_HIGH] << 32 | v->entry[ENTRY_ADDRESS];
	int err = b->ops->msi_route(b->ctx, &v->gsi, address, v->entry[ENTRY_DATA]);

	if (err || v->bound)
		return err;
	/* KVM delivers what the eventfd has counted by now, but leaves it there to be found again. */
	pci_msix_pending(v);
	err = b->ops->irqfd(b->ctx, v->fd, (unsigned)v->gsi, true);
	v->bound = !err;
	if (v->bound && atomic_exchange(&v->pending, false))
		event_signal(v->fd);
	return err;
}

/* What the host cannot do leaves a vector pending; the guest's next write to it tries again. */
static void follow(struct pci_function *fn, struct pci_vector *v)
{
	int err;

	if (!deliverable(fn, v)) {
		unbind(fn, v);
		return;
	}
	err = bind(fn, v);
	if (!err)
		return;
	unbind(fn, v);
	if (ratelimit_ok(&fn->no_irq_warning))
		log_warn("%s: interrupt %td cannot be delivered: %s", fn->name, v - fn->vector,
			 strerror(-err));
}

void pci_msix_follow(struct pci_function *fn)
{
	for (unsigned i = 0; i < fn->n_vectors; i++)
		follow(fn, &fn->vector[i]);
}

void pci_msix_config_written(struct pci_function *fn)
{
	uint16_t control;

	if (!fn->n_vectors)
		return;
	memcpy(&control, &fn->config[fn->msix_cap + PCI_MSIX_FLAGS], sizeof(control));
	if (control == fn->msix_control)
		return;
	fn->msix_control = control;
	atomic_store(&fn->msix_on, control & PCI_MSIX_FLAGS_ENABLE);
	pci_msix_follow(fn);
}

/* ---- table and pending bits: they take aligned accesses of 4 and 8 bytes ---- */

/* Aligned, so that both words are of one entry. */
static void table_write(struct pci_function *fn, unsigned off, unsigned len, uint64_t value)
{
	struct pci_vector *v = &fn->vector[off / ENTRY_BYTES];
	uint32_t new[ENTRY_CONTROL + 1];

	memcpy(new, v->entry, sizeof(new));
	access_put(&new[off % ENTRY_BYTES / 4], len, value);
	new[ENTRY_CONTROL] &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	if (v->bound && !memcmp(new, v->entry, sizeof(new)))
		return;
	memcpy(v->entry, new, sizeof(new));
	follow(fn, v);
}

static uint64_t table_read(const struct pci_function *fn, unsigned off, unsigned len)
{
	return access_get(&fn->vector[off / ENTRY_BYTES].entry[off % ENTRY_BYTES / 4], len);
}

static uint64_t pba_read(struct pci_function *fn, unsigned off, unsigned len)
{
	uint64_t value = 0;

	for (unsigned bit = 0; bit < len * 8 && off * 8 + bit < fn->n_vectors; bit++)
		value |= (uint64_t)pci_msix_pending(&fn->vector[off * 8 + bit]) << bit;
	return value;
}

static bool in_table(const struct pci_function *fn, uint64_t off)
{
	return off - fn->msix_table < (uint64_t)fn->n_vectors * ENTRY_BYTES;
}

static bool in_pba(const struct pci_function *fn, uint64_t off)
{
	return off - fn->msix_pba < (fn->n_vectors + 63) / 64 * 8;
}

bool pci_msix_at(const struct pci_function *fn, unsigned bar, uint64_t off)
{
	return bar == fn->msix_bar && (in_table(fn, off) || in_pba(fn, off));
}

uint64_t pci_msix_read(struct pci_function *fn, uint64_t off, unsigned len)
{
	uint64_t value;

	if (len < 4 || off % len)
		return UINT64_MAX;
	pthread_mutex_lock(&fn->host->lock);
	if (in_pba(fn, off))
		value = pba_read(fn, (unsigned)off - fn->msix_pba, len);
	else
		value = table_read(fn, (unsigned)off - fn->msix_table, len);
	pthread_mutex_unlock(&fn->host->lock);
	return value;
}

void pci_msix_write(struct pci_function *fn, uint64_t off, unsigned len, uint64_t value)
{
	if (len < 4 || off % len || in_pba(fn, off))
		return;
	pthread_mutex_lock(&fn->host->lock);
	table_write(fn, (unsigned)off - fn->msix_table, len, value);
	pthread_mutex_unlock(&fn->host->lock);
}

void pci_msix_load(struct pci_function *fn, unsigned vector, const uint32_t *entry, bool pending)
{
	struct pci_vector *v = &fn->vector[vector];

	unbind(fn, v);
	memcpy(v->entry, entry, sizeof(v->entry));
	event_clear(v->fd);
	atomic_store(&v->pending, pending);
	follow(fn, v);
}

/* ---- the owner's side ---- */

int pci_msix_init(struct pci_function *fn, unsigned n_vectors, unsigned table, unsigned pba)
{
	fn->vector = calloc(n_vectors, sizeof(*fn->vector));
	if (!fn->vector)
		return -ENOMEM;
	fn->msix_table = table;
	fn->msix_pba = pba;
	while (fn->n_vectors < n_vectors) {
		struct pci_vector *v = &fn->vector[fn->n_vectors];

		*v = (struct pci_vector){ .gsi = -1, .fd = event_open(0) };
		if (v->fd < 0)
			return v->fd;
		v->entry[ENTRY_CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
		fn->n_vectors++;
	}
	return 0;
}

void pci_msix_fini(struct pci_function *fn)
{
	for (unsigned i = 0; i < fn->n_vectors; i++) {
		struct pci_vector *v = &fn->vector[i];

		unbind(fn, v);
		if (v->gsi >= 0)
			fn->board->ops->msi_free(fn->board->ctx, v->gsi);
		close(v->fd);
	}
	free(fn->vector);
	fn->vector = NULL;
	fn->n_vectors = 0;
}

int pci_msix_fd(const struct pci_function *fn, unsigned vector)
{
	return fn->vector[vector].fd;
}

void pci_msix_signal(struct pci_function *fn, unsigned vector)
{
	event_signal(fn->vector[vector].fd);
}

void pci_msix_clear(struct pci_function *fn)
{
	for (unsigned i = 0; i < fn->n_vectors; i++) {
		event_clear(fn->vector[i].fd);
		atomic_store(&fn->vector[i].pending, false);
	}
}
