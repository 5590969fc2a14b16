/* Interrupts and notifications that stay in the kernel: machine_ops on KVM; see machine.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/kvm-irq.h"
#include "lkvm/log.h"

/* As KVM_CREATE_IRQCHIP sets it up: GSIs 0 to 15 lead to PICs and IOAPIC, 16 to 23 to that only. */
#define PIC_PINS     8
#define ISA_GSIS     16
#define IOAPIC_PINS  24
#define FIXED_ROUTES (ISA_GSIS + IOAPIC_PINS)

struct kvm_irq {
	struct kvm *kvm;
	pthread_mutex_t lock; /* the routes */
	unsigned max_msis;
	uint8_t *msi_used;             /* by GSI - IOAPIC_PINS */
	struct kvm_irq_routing *table; /* fixed routes, then one a used MSI, in no order */
	pthread_mutex_t line_lock;
	uint64_t line_sources[IOAPIC_PINS][LINE_SOURCES / 64]; /* who holds each line up */
};

static void add_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

/* The first KVM_SET_GSI_ROUTING replaces KVM's own table, so ours begins with the same routes. */
static void add_fixed_routes(struct kvm_irq_routing *table)
{
	for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		add_pin(table, gsi, KVM_IRQCHIP_IOAPIC, gsi);
		if (gsi < PIC_PINS)
			add_pin(table, gsi, KVM_IRQCHIP_PIC_MASTER, gsi);
		else if (gsi < ISA_GSIS)
			add_pin(table, gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - PIC_PINS);
	}
}

int kvm_irq_new(struct kvm *kvm, struct kvm_irq **ret)
{
	int routes = ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING);
	struct kvm_irq *irq;

	if (routes <= FIXED_ROUTES)
		return log_errx(-ENOTSUP, "this host's KVM lacks KVM_CAP_IRQ_ROUTING");
	irq = calloc(1, sizeof(*irq));
	if (!irq)
		return log_err(-ENOMEM, "interrupt routes");
	pthread_mutex_init(&irq->lock, NULL);
	pthread_mutex_init(&irq->line_lock, NULL);
	irq->kvm = kvm;
	irq->max_msis = (unsigned)routes - FIXED_ROUTES;
	irq->msi_used = calloc(irq->max_msis, 1);
	irq->table =
		calloc(1, sizeof(*irq->table) + (size_t)routes * sizeof(irq->table->entries[0]));
	if (!irq->msi_used || !irq->table) {
		kvm_irq_free(irq);
		return log_err(-ENOMEM, "interrupt routes");
	}
	add_fixed_routes(irq->table);
	*ret = irq;
	return 0;
}

void kvm_irq_free(struct kvm_irq *irq)
{
	if (!irq)
		return;
	pthread_mutex_destroy(&irq->line_lock);
	pthread_mutex_destroy(&irq->lock);
	free(irq->msi_used);
	free(irq->table);
	free(irq);
}

static int notify(void *machine, int fd, bool pio, uint64_t addr, unsigned len, int64_t match,
		  bool on)
{
	struct kvm_irq *irq = machine;
	struct kvm_ioeventfd event = {
		.datamatch = match < 0 ? 0 : (uint64_t)match,
		.addr = addr,
		.len = len,
		.fd = fd,
		.flags = (pio ? KVM_IOEVENTFD_FLAG_PIO : 0U) |
			 (match < 0 ? 0U : KVM_IOEVENTFD_FLAG_DATAMATCH) |
			 (on ? 0U : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(irq->kvm->vm_fd, KVM_IOEVENTFD, &event) < 0 ? -errno : 0;
}

static int irqfd(void *machine, int fd, unsigned gsi, bool on)
{
	struct kvm_irq *irq = machine;
	struct kvm_irqfd bind = { .fd = (uint32_t)fd,
				  .gsi = gsi,
				  .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

	return ioctl(irq->kvm->vm_fd, KVM_IRQFD, &bind) < 0 ? -errno : 0;
}

static struct kvm_irq_routing_entry *find_msi(struct kvm_irq *irq, unsigned gsi)
{
	for (unsigned i = FIXED_ROUTES; i < irq->table->nr; i++)
		if (irq->table->entries[i].gsi == gsi)
			return &irq->table->entries[i];
	return NULL;
}

static int alloc_msi(struct kvm_irq *irq)
{
	for (unsigned i = 0; i < irq->max_msis; i++) {
		if (irq->msi_used[i])
			continue;
		irq->msi_used[i] = 1;
		irq->table->entries[irq->table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = IOAPIC_PINS + i,
			.type = KVM_IRQ_ROUTING_MSI,
		};
		return (int)(IOAPIC_PINS + i);
	}
	return -ENOSPC;
}

static void drop_msi(struct kvm_irq *irq, unsigned gsi)
{
	struct kvm_irq_routing_entry *e = find_msi(irq, gsi);

	if (!e)
		return;
	*e = irq->table->entries[--irq->table->nr];
	irq->msi_used[gsi - IOAPIC_PINS] = 0;
}

static bool msi_is(const struct kvm_irq_routing_msi *msi, uint64_t addr, uint32_t data)
{
	return msi->address_lo == (uint32_t)addr && msi->address_hi == addr >> 32 &&
	       msi->data == data;
}

static int msi_route_locked(struct kvm_irq *irq, int *gsi, uint64_t addr, uint32_t data)
{
	int use = *gsi < 0 ? alloc_msi(irq) : *gsi;
	struct kvm_irq_routing_entry *e = use < 0 ? NULL : find_msi(irq, (unsigned)use);
	struct kvm_irq_routing_msi old;
	int err;

	if (!e)
		return use < 0 ? use : -ENOENT;
	if (*gsi >= 0 && msi_is(&e->u.msi, addr, data))
		return 0; /* unmasked again, most likely: a new table costs a grace period */
	old = e->u.msi;
	e->u.msi = (struct kvm_irq_routing_msi){ .address_lo = (uint32_t)addr,
						 .address_hi = (uint32_t)(addr >> 32),
						 .data = data };
	if (ioctl(irq->kvm->vm_fd, KVM_SET_GSI_ROUTING, irq->table) >= 0) {
		*gsi = use;
		return 0;
	}
	err = -errno;
	e->u.msi = old;
	if (*gsi < 0)
		drop_msi(irq, (unsigned)use);
	return err;
}

static int msi_route(void *machine, int *gsi, uint64_t addr, uint32_t data)
{
	struct kvm_irq *irq = machine;
	int err;

	pthread_mutex_lock(&irq->lock);
	err = msi_route_locked(irq, gsi, addr, data);
	pthread_mutex_unlock(&irq->lock);
	return err;
}

/* The route stays in KVM's table until the next change: nothing is bound to it any more. */
static void msi_free(void *machine, int gsi)
{
	struct kvm_irq *irq = machine;

	pthread_mutex_lock(&irq->lock);
	drop_msi(irq, (unsigned)gsi);
	pthread_mutex_unlock(&irq->lock);
}

static bool line_level(const struct kvm_irq *irq, unsigned gsi)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < LINE_SOURCES / 64; i++)
		all |= irq->line_sources[gsi][i];
	return all;
}

static void line(void *machine, unsigned gsi, unsigned source, bool level)
{
	struct kvm_irq *irq = machine;
	uint64_t *word = &irq->line_sources[gsi][source / 64], bit = 1ULL << (source % 64);
	bool old;

	/* Held over the ioctl: changes reach KVM in the order in which they were decided. */
	pthread_mutex_lock(&irq->line_lock);
	old = line_level(irq, gsi);
	*word = level ? *word | bit : *word & ~bit;
	if (line_level(irq, gsi) != old)
		kvm_irq_line(irq->kvm, gsi, !old);
	pthread_mutex_unlock(&irq->line_lock);
}

static const struct machine_ops ops = {
	.notify = notify,
	.irqfd = irqfd,
	.msi_route = msi_route,
	.msi_free = msi_free,
	.line = line,
};

struct machine kvm_irq_machine(struct kvm_irq *irq)
{
	return (struct machine){ &ops, irq };
}
