/*
 * MSI-X: table, pending bits, and the eventfd behind each vector.
 *
 * A vector that may be delivered is an irqfd: signalling it never leaves the kernel. One that may
 * not (masked, MSI-X off, or the function no bus master) is unbound, so what is signalled stays in
 * the eventfd's counter: that is its pending bit, and KVM delivers it when the irqfd is bound
 * again. A vector keeps its route for life, so a guest that rewrites its entries for ever uses up
 * nothing. Spec: PCI Local Bus 3.0, 6.8.2
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
	return pci_is_master(fn) &&
	       (fn->msix_control & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) ==
		       PCI_MSIX_FLAGS_ENABLE &&
	       !(v->entry[ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

static void unbind(struct pci_function *fn, struct pci_vector *v)
{
	const struct machine *m = fn->machine;

	if (v->bound)
		m->ops->irqfd(m->ctx, v->fd, (unsigned)v->gsi, false);
	v->bound = false;
}

static int bind(struct pci_function *fn, struct pci_vector *v)
{
	const struct machine *m = fn->machine;
	uint64_t address = (uint64_t)v->entry[ENTRY_ADDRESS_HIGH] << 32 | v->entry[ENTRY_ADDRESS];
	int err = m->ops->msi_route(m->ctx, &v->gsi, address, v->entry[ENTRY_DATA]);

	if (err || v->bound)
		return err;
	err = m->ops->irqfd(m->ctx, v->fd, (unsigned)v->gsi, true);
	v->bound = !err;
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

/* ---- table and pending bits: whole words ---- */

/* Aligned, so that both words are of one entry. */
static void table_write(struct pci_function *fn, unsigned off, const uint32_t *data, unsigned words)
{
	struct pci_vector *v = &fn->vector[off / ENTRY_BYTES];
	uint32_t new[ENTRY_CONTROL + 1];

	memcpy(new, v->entry, sizeof(new));
	memcpy(&new[off % ENTRY_BYTES / 4], data, words * 4);
	new[ENTRY_CONTROL] &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	if (v->bound && !memcmp(new, v->entry, sizeof(new)))
		return;
	memcpy(v->entry, new, sizeof(new));
	follow(fn, v);
}

static void table_read(const struct pci_function *fn, unsigned off, uint32_t *data, unsigned words)
{
	memcpy(data, &fn->vector[off / ENTRY_BYTES].entry[off % ENTRY_BYTES / 4], words * 4);
}

static bool pending(const struct pci_vector *v)
{
	struct pollfd signalled = { .fd = v->fd, .events = POLLIN };

	return !v->bound && poll(&signalled, 1, 0) > 0;
}

static void pba_read(const struct pci_function *fn, unsigned off, uint32_t *data, unsigned words)
{
	for (unsigned w = 0; w < words; w++) {
		unsigned first = (off + w * 4) * 8;

		data[w] = 0;
		for (unsigned bit = 0; bit < 32 && first + bit < fn->n_vectors; bit++)
			data[w] |= (uint32_t)pending(&fn->vector[first + bit]) << bit;
	}
}

static bool in_table(const struct pci_function *fn, uint64_t off)
{
	return off - fn->msix_table < (uint64_t)fn->n_vectors * ENTRY_BYTES;
}

static bool in_pba(const struct pci_function *fn, uint64_t off)
{
	return off - fn->msix_pba < (fn->n_vectors + 63) / 64 * 8;
}

/* They take aligned accesses of 4 and 8 bytes; others are undefined: ones, ignored. */
static void structures_rw(struct pci_function *fn, uint64_t off, void *data, unsigned len,
			  bool write)
{
	uint32_t words[2];

	if (len < 4 || off % len) {
		if (!write)
			memset(data, 0xff, len);
		return;
	}
	if (write)
		memcpy(words, data, len);
	pthread_mutex_lock(&fn->host->lock);
	if (in_pba(fn, off))
		pba_read(fn, (unsigned)off - fn->msix_pba, words, len / 4); /* a write is none */
	else if (write)
		table_write(fn, (unsigned)off - fn->msix_table, words, len / 4);
	else
		table_read(fn, (unsigned)off - fn->msix_table, words, len / 4);
	pthread_mutex_unlock(&fn->host->lock);
	if (!write)
		memcpy(data, words, len);
}

void pci_bar_rw(struct pci_function *fn, uint64_t off, void *data, unsigned len, bool write)
{
	if (in_table(fn, off) || in_pba(fn, off))
		structures_rw(fn, off, data, len, write);
	else
		fn->ops->bar_rw(fn, off, data, len, write);
}

/* ---- the owner's side ---- */

static int add_cap(struct pci_function *fn, unsigned n_vectors, uint32_t table, uint32_t pba)
{
	const struct {
		uint16_t control;
		uint32_t table, pba; /* of BAR 0: the low bits are its number */
	} __attribute__((packed)) body = { (uint16_t)(n_vectors - 1), table, pba };
	int cap = pci_add_cap(fn, PCI_CAP_ID_MSIX, &body, sizeof(body));

	if (cap < 0)
		return cap;
	fn->msix_cap = (unsigned)cap;
	fn->msix_control = body.control;
	fn->writable[fn->msix_cap + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	return 0;
}

int pci_add_msix(struct pci_function *fn, unsigned n_vectors, unsigned table, unsigned pba)
{
	int err = add_cap(fn, n_vectors, table, pba);

	if (err)
		return err;
	fn->vector = calloc(n_vectors, sizeof(*fn->vector));
	if (!fn->vector)
		return -ENOMEM;
	fn->msix_table = table;
	fn->msix_pba = pba;
	while (fn->n_vectors < n_vectors) {
		struct pci_vector *v = &fn->vector[fn->n_vectors];

		*v = (struct pci_vector){ .gsi = -1, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
		if (v->fd < 0)
			return -errno;
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
			fn->machine->ops->msi_free(fn->machine->ctx, v->gsi);
		close(v->fd);
	}
	free(fn->vector);
	fn->vector = NULL;
	fn->n_vectors = 0;
}

void pci_msix_signal(struct pci_function *fn, unsigned vector)
{
	const uint64_t one = 1;

	/* Cannot fail: KVM or pci_msix_clear() empties the counter long before it is full. */
	if (write(fn->vector[vector].fd, &one, sizeof(one)) < 0)
		log_debug(LOG_DEVICE, "%s: interrupt %u: %s", fn->name, vector, strerror(errno));
}

void pci_msix_clear(struct pci_function *fn)
{
	uint64_t count;

	for (unsigned i = 0; i < fn->n_vectors; i++)
		if (read(fn->vector[i].fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			log_debug(LOG_DEVICE, "%s: interrupt %u: %s", fn->name, i, strerror(errno));
}
