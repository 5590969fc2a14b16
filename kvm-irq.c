/* Interrupts and notifications that stay in the kernel: board_ops on KVM; see board.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/kvm-irq.h"
#include "lkvm/log.h"
#include "lkvm/x86/layout.h"

/* As KVM_CREATE_IRQCHIP sets it up: GSIs 0 to 15 lead to PICs and IOAPIC, 16 to 23 to that only. */
#define PIC_PINS     8
#define ISA_GSIS     16
#define IOAPIC_PINS  24

static const uint8_t pci_isa_irq[GSI_PCI_PINS] = ISA_IRQS_PCI;

struct kvm_irq {
	struct kvm *kvm;
	bool has_pci;
	pthread_mutex_t lock; /* the routes */
	bool table_set;       /* until then KVM has its own */
	unsigned n_fixed;     /* routes; the rest are MSIs */
	unsigned max_msis;
	uint8_t *msi_used;             /* by GSI - IOAPIC_PINS */
	struct kvm_irq_routing *table; /* fixed routes, then one a used MSI, in no order */
	pthread_mutex_t line_lock;
	void (*drive)(struct kvm_irq *irq, unsigned gsi, unsigned source, bool level);
	kvm_irq_watch_fn watch; /* of drive_watched() */
	void *watch_ctx;
	/* Who holds each line up: set anew by each device whose state is loaded. */
	uint64_t line_sources[IOAPIC_PINS][LINE_SOURCES / 64];
};

static void add_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

static void add_pic_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned isa_irq)
{
	bool slave = isa_irq >= PIC_PINS;

	add_pin(table, gsi, slave ? KVM_IRQCHIP_PIC_SLAVE : KVM_IRQCHIP_PIC_MASTER,
		isa_irq % PIC_PINS);
}

/* The first KVM_SET_GSI_ROUTING replaces KVM's own table, so ours begins with the same routes. */
static void add_fixed_routes(struct kvm_irq *irq)
{
	for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++) {
		add_pin(irq->table, gsi, KVM_IRQCHIP_IOAPIC, gsi);
		if (gsi < ISA_GSIS)
			add_pic_pin(irq->table, gsi, gsi);
	}
	for (unsigned i = 0; i < GSI_PCI_PINS && irq->has_pci; i++)
		add_pic_pin(irq->table, GSI_PCI_FIRST + i, pci_isa_irq[i]);
}

static int set_table(struct kvm_irq *irq)
{
	if (ioctl(irq->kvm->vm_fd, KVM_SET_GSI_ROUTING, irq->table) < 0)
		return -errno;
	irq->table_set = true;
	return 0;
}

static int set_elcr(const struct kvm *kvm, unsigned chip_id, unsigned elcr)
{
	struct kvm_irqchip chip = { .chip_id = chip_id };

	if (ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &chip) < 0)
		return log_err(-errno, "KVM_GET_IRQCHIP");
	chip.chip.pic.elcr = (uint8_t)elcr;
	if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
		return log_err(-errno, "KVM_SET_IRQCHIP");
	return 0;
}

/* What firmware does: a guest that finds the number in a function's registers expects it done. */
static int set_level_triggered(const struct kvm *kvm)
{
	unsigned irqs = 0;
	int err;

	for (unsigned i = 0; i < GSI_PCI_PINS; i++)
		irqs |= 1U << pci_isa_irq[i];
	err = set_elcr(kvm, KVM_IRQCHIP_PIC_MASTER, irqs & 0xff);
	return err ? err : set_elcr(kvm, KVM_IRQCHIP_PIC_SLAVE, irqs >> PIC_PINS);
}

static int fill(struct kvm_irq *irq, unsigned routes)
{
	irq->max_msis = routes - irq->n_fixed;
	irq->msi_used = calloc(irq->max_msis, 1);
	irq->table = calloc(1, sizeof(*irq->table) + routes * sizeof(irq->table->entries[0]));
	if (!irq->msi_used || !irq->table)
		return log_err(-ENOMEM, "interrupt routes");
	add_fixed_routes(irq);
	return irq->has_pci ? set_level_triggered(irq->kvm) : 0;
}

static void drive(struct kvm_irq *irq, unsigned gsi, unsigned source, bool level)
{
	(void)source;
	kvm_irq_line(irq->kvm, gsi, level);
}

static void drive_watched(struct kvm_irq *irq, unsigned gsi, unsigned source, bool level)
{
	irq->watch(irq->watch_ctx, gsi, source, level);
	drive(irq, gsi, source, level);
}

void kvm_irq_watch(struct kvm_irq *irq, kvm_irq_watch_fn watch, void *ctx)
{
	pthread_mutex_lock(&irq->line_lock);
	irq->watch = watch;
	irq->watch_ctx = ctx;
	irq->drive = watch ? drive_watched : drive;
	pthread_mutex_unlock(&irq->line_lock);
}

int kvm_irq_new(struct kvm *kvm, bool has_pci, struct kvm_irq **ret)
{
	const unsigned n_fixed = ISA_GSIS + IOAPIC_PINS + (has_pci ? GSI_PCI_PINS : 0);
	int routes = ioctl(kvm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQ_ROUTING), err;
	struct kvm_irq *irq;

	if (routes <= (int)n_fixed)
		return log_errx(-ENOTSUP, "this host's KVM lacks KVM_CAP_IRQ_ROUTING");
	irq = calloc(1, sizeof(*irq));
	if (!irq)
		return log_err(-ENOMEM, "interrupt routes");
	pthread_mutex_init(&irq->lock, NULL);
	pthread_mutex_init(&irq->line_lock, NULL);
	irq->kvm = kvm;
	irq->has_pci = has_pci;
	irq->n_fixed = n_fixed;
	irq->drive = drive;
	err = fill(irq, (unsigned)routes);
	if (err) {
		kvm_irq_free(irq);
		return err;
	}
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

static int notify(void *ctx, int fd, bool pio, uint64_t addr, unsigned len, int64_t match,
		  bool on)
{
	struct kvm_irq *irq = ctx;
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

static int irqfd(void *ctx, int fd, unsigned gsi, bool on)
{
	struct kvm_irq *irq = ctx;
	struct kvm_irqfd bind = { .fd = (uint32_t)fd,
				  .gsi = gsi,
				  .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

	return ioctl(irq->kvm->vm_fd, KVM_IRQFD, &bind) < 0 ? -errno : 0;
}

/*
 * Before INTA of PCI is used for the first time. Most machines never do, so it is not done when they start:
 * a new table costs a grace period. If KVM refuses it, the IOAPIC still has the interrupt.
 */
static void lead_to_pics(struct kvm_irq *irq, unsigned gsi)
{
	int err;

	if (!irq->has_pci || gsi < GSI_PCI_FIRST)
		return;
	pthread_mutex_lock(&irq->lock);
	err = irq->table_set ? 0 : set_table(irq);
	pthread_mutex_unlock(&irq->lock);
	if (err)
		log_debug(LOG_DEVICE, "KVM_SET_GSI_ROUTING: %s", strerror(-err));
}

static int line_fd(void *ctx, int fd, int resample_fd, unsigned gsi, bool on)
{
	struct kvm_irq *irq = ctx;
	struct kvm_irqfd bind = { .fd = (uint32_t)fd,
				  .gsi = gsi,
				  .resamplefd = (uint32_t)resample_fd,
				  .flags = on ? KVM_IRQFD_FLAG_RESAMPLE : KVM_IRQFD_FLAG_DEASSIGN };

	if (on)
		lead_to_pics(irq, gsi);
	return ioctl(irq->kvm->vm_fd, KVM_IRQFD, &bind) < 0 ? -errno : 0;
}

static int memory_add(void *ctx, const char *name, uint64_t addr, void *host, uint64_t bytes,
		      bool read_only)
{
	const struct kvm_slot slot = { .name = name,
				       .at = GPA(addr),
				       .bytes = bytes,
				       .host = host,
				       .read_only = read_only };

	return kvm_slot_add(((struct kvm_irq *)ctx)->kvm, &slot);
}

static int memory_remove(void *ctx, unsigned number)
{
	return kvm_slot_remove(((struct kvm_irq *)ctx)->kvm, number);
}

static struct kvm_irq_routing_entry *find_msi(struct kvm_irq *irq, unsigned gsi)
{
	for (unsigned i = irq->n_fixed; i < irq->table->nr; i++)
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
	err = set_table(irq);
	if (!err) {
		*gsi = use;
		return 0;
	}
	e->u.msi = old;
	if (*gsi < 0)
		drop_msi(irq, (unsigned)use);
	return err;
}

/*
 * A guest that found KVM_FEATURE_MSI_EXT_DEST_ID writes bits 14:8 of the APIC id where an interrupt
 * remapper would have an index; KVM wants them with the upper ones, in the address' upper half.
 */
#define MSI_EXT_ID_MASK  0xfe0u
#define MSI_EXT_ID_SHIFT 35

static uint64_t msi_address(const struct kvm_irq *irq, uint64_t addr)
{
	if (!irq->kvm->wide_ids)
		return addr;
	return (addr & ~(uint64_t)MSI_EXT_ID_MASK) | (addr & MSI_EXT_ID_MASK) << MSI_EXT_ID_SHIFT;
}

static int msi_route(void *ctx, int *gsi, uint64_t addr, uint32_t data)
{
	struct kvm_irq *irq = ctx;
	int err;

	pthread_mutex_lock(&irq->lock);
	err = msi_route_locked(irq, gsi, msi_address(irq, addr), data);
	pthread_mutex_unlock(&irq->lock);
	return err;
}

/* The route stays in KVM's table until the next change: nothing is bound to it any more. */
static void msi_free(void *ctx, int gsi)
{
	struct kvm_irq *irq = ctx;

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

static void line(void *ctx, unsigned gsi, unsigned source, bool level)
{
	struct kvm_irq *irq = ctx;
	uint64_t *word = &irq->line_sources[gsi][source / 64], bit = 1ULL << (source % 64);
	bool old;

	if (level)
		lead_to_pics(irq, gsi);
	/* Held over the ioctl: changes reach KVM in the order in which they were decided. */
	pthread_mutex_lock(&irq->line_lock);
	old = line_level(irq, gsi);
	*word = level ? *word | bit : *word & ~bit;
	if (line_level(irq, gsi) != old)
		irq->drive(irq, gsi, source, !old);
	pthread_mutex_unlock(&irq->line_lock);
}

static void stop(void *ctx, enum stop_cause cause, uint32_t value)
{
	kvm_stop(((struct kvm_irq *)ctx)->kvm, cause, value);
}

static void note_panic(void *ctx)
{
	kvm_note_panic(((struct kvm_irq *)ctx)->kvm);
}

static const struct board_ops ops = {
	.notify = notify,
	.irqfd = irqfd,
	.msi_route = msi_route,
	.msi_free = msi_free,
	.line = line,
	.line_fd = line_fd,
	.memory_add = memory_add,
	.memory_remove = memory_remove,
	.stop = stop,
	.note_panic = note_panic,
};

struct board kvm_irq_board(struct kvm_irq *irq)
{
	return (struct board){ &ops, irq };
}
