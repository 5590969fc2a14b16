/* Links: kvm-irq.o kvm-slots.o hw/ram.o hw/ram-fault.o hw/ram-log.o hw/ram-plug.o util/log.o */

/* KVM is this file: ioctl() keeps what it was given. */
#include "lkvm/kvm-irq.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lkvm/types.h"
#include "lkvm/x86/layout.h"
#include "unit.h"

#define DEV_FD     50
#define VM_FD      51
#define MAX_ROUTES 64
#define FIXED      40
#define FIRST_MSI  24

static struct {
	int max_routes;
	int fail; /* errno of every VM ioctl */
	unsigned n_set, n_irqfd, n_ioeventfd, n_line;
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entries[MAX_ROUTES];
	} routing;
	struct kvm_irqfd irqfd;
	struct kvm_ioeventfd ioeventfd;
	unsigned line_gsi;
	bool line_level;
	uint8_t elcr[2];
	bool no_chips; /* their ioctls fail */
	unsigned stops, panics;
} kernel = { .max_routes = MAX_ROUTES };

void kvm_stop(void *vm, enum stop_cause cause, uint32_t value)
{
	ck_assert(vm && cause == STOP_RESET && value == 7);
	kernel.stops++;
}

void kvm_note_panic(void *vm)
{
	ck_assert_ptr_nonnull(vm);
	kernel.panics++;
}

/* A chip whose other registers must stay as they are */
static int chip_ioctl(unsigned long request, struct kvm_irqchip *chip)
{
	if (kernel.no_chips) {
		errno = ENXIO;
		return -1;
	}
	ck_assert(chip->chip_id == KVM_IRQCHIP_PIC_MASTER || chip->chip_id == KVM_IRQCHIP_PIC_SLAVE);
	if (request == KVM_GET_IRQCHIP) {
		memset(&chip->chip.pic, 0x5a, sizeof(chip->chip.pic));
		return 0;
	}
	ck_assert(chip->chip.pic.imr == 0x5a && chip->chip.pic.elcr_mask == 0x5a);
	kernel.elcr[chip->chip_id == KVM_IRQCHIP_PIC_SLAVE] = chip->chip.pic.elcr;
	return 0;
}

static int vm_ioctl(unsigned long request, void *arg)
{
	const struct kvm_irq_routing *routing = arg;

	if (kernel.fail) {
		errno = kernel.fail;
		return -1;
	}
	switch (request) {
	case KVM_GET_IRQCHIP:
	case KVM_SET_IRQCHIP:
		return chip_ioctl(request, (struct kvm_irqchip *)arg);
	case KVM_SET_GSI_ROUTING:
		kernel.n_set++;
		ck_assert_uint_le(routing->nr, MAX_ROUTES);
		ck_assert_uint_eq(routing->flags, 0);
		memcpy(&kernel.routing, routing,
		       sizeof(*routing) + routing->nr * sizeof(routing->entries[0]));
		return 0;
	case KVM_IRQFD:
		kernel.n_irqfd++;
		memcpy(&kernel.irqfd, arg, sizeof(kernel.irqfd));
		return 0;
	case KVM_IOEVENTFD:
		kernel.n_ioeventfd++;
		memcpy(&kernel.ioeventfd, arg, sizeof(kernel.ioeventfd));
		return 0;
	default:
		ck_abort_msg("ioctl 0x%lx", request);
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd == VM_FD)
		return vm_ioctl(request, arg);
	ck_assert_int_eq(fd, DEV_FD);
	ck_assert_uint_eq(request, KVM_CHECK_EXTENSION);
	ck_assert_uint_eq((uintptr_t)arg, KVM_CAP_IRQ_ROUTING);
	return kernel.max_routes;
}

static struct kvm kvm = { .dev_fd = DEV_FD, .vm_fd = VM_FD };

void kvm_irq_line(struct kvm *ctx, unsigned gsi, bool level)
{
	ck_assert_ptr_eq(ctx, &kvm);
	kernel.n_line++;
	kernel.line_gsi = gsi;
	kernel.line_level = level;
}

static struct kvm_irq *irq;
static const struct board_ops *ops;

static void new_irq(void)
{
	ck_assert_int_eq(kvm_irq_new(&kvm, false, &irq), 0);
	ops = kvm_irq_board(irq).ops;
	ck_assert_ptr_eq(kvm_irq_board(irq).ctx, irq);
}

static int route(int *gsi, uint64_t addr, uint32_t data)
{
	return ops->msi_route(irq, gsi, addr, data);
}

/* What KVM has for @gsi; there must be one entry. */
static const struct kvm_irq_routing_msi *msi_of(int gsi)
{
	const struct kvm_irq_routing_msi *found = NULL;

	for (unsigned i = 0; i < kernel.routing.head.nr; i++) {
		const struct kvm_irq_routing_entry *e = &kernel.routing.entries[i];

		if (e->gsi != (unsigned)gsi)
			continue;
		ck_assert_uint_eq(e->type, KVM_IRQ_ROUTING_MSI);
		ck_assert_ptr_null(found);
		found = &e->u.msi;
	}
	return found;
}

START_TEST(test_fixed_routes)
{
	unsigned pic[2] = { 0, 0 }, ioapic = 0;
	int gsi = -1;

	new_irq();
	ck_assert_uint_eq(kernel.n_set, 0); /* start-up sets none */
	ck_assert_int_eq(route(&gsi, 0xfee00000, 0), 0);
	ck_assert_uint_eq(kernel.routing.head.nr, FIXED + 1);
	for (unsigned i = 0; i < FIXED; i++) {
		const struct kvm_irq_routing_entry *e = &kernel.routing.entries[i];
		unsigned chip = e->u.irqchip.irqchip, pin = e->u.irqchip.pin;

		ck_assert_uint_eq(e->type, KVM_IRQ_ROUTING_IRQCHIP);
		if (chip == KVM_IRQCHIP_IOAPIC) {
			ck_assert_uint_eq(e->gsi, pin);
			ioapic |= 1U << pin;
			continue;
		}
		ck_assert(chip == KVM_IRQCHIP_PIC_MASTER || chip == KVM_IRQCHIP_PIC_SLAVE);
		ck_assert_uint_eq(e->gsi, pin + (chip == KVM_IRQCHIP_PIC_SLAVE ? 8 : 0));
		pic[chip == KVM_IRQCHIP_PIC_SLAVE] |= 1U << pin;
	}
	ck_assert_uint_eq(ioapic, 0xffffff);
	ck_assert(pic[0] == 0xff && pic[1] == 0xff);
	kvm_irq_free(irq);
}
END_TEST

/* Return: the ISA interrupts that @gsi leads to, as bits */
static unsigned isa_irqs_of(unsigned gsi)
{
	unsigned irqs = 0;

	for (unsigned i = 0; i < kernel.routing.head.nr; i++) {
		const struct kvm_irq_routing_entry *e = &kernel.routing.entries[i];
		unsigned chip = e->u.irqchip.irqchip;

		if (e->gsi == gsi && e->type == KVM_IRQ_ROUTING_IRQCHIP && chip != KVM_IRQCHIP_IOAPIC)
			irqs |= 1U << (e->u.irqchip.pin + (chip == KVM_IRQCHIP_PIC_SLAVE ? 8 : 0));
	}
	return irqs;
}

START_TEST(test_pci_at_the_pics)
{
	static const uint8_t isa_irq[] = ISA_IRQS_PCI;
	unsigned all = 0;
	int gsi = -1;

	ck_assert_int_eq(kvm_irq_new(&kvm, true, &irq), 0);
	ops = kvm_irq_board(irq).ops;
	ck_assert_uint_eq(kernel.n_set, 0);
	ops->line(irq, 4, LINE_SOURCE_CHIP, true); /* KVM's own table will do */
	ops->line(irq, GSI_PCI_FIRST, LINE_SOURCE_PCI, false);
	ck_assert_uint_eq(kernel.n_set, 0);
	ops->line(irq, GSI_PCI_FIRST, LINE_SOURCE_PCI, true);
	ck_assert_uint_eq(kernel.n_set, 1);
	for (unsigned i = 0; i < GSI_PCI_PINS; i++) {
		ck_assert_uint_eq(isa_irqs_of(GSI_PCI_FIRST + i), 1U << isa_irq[i]);
		all |= 1U << isa_irq[i];
	}
	ck_assert_uint_eq(isa_irqs_of(isa_irq[0]), 1U << isa_irq[0]);
	ck_assert_uint_eq((unsigned)(kernel.elcr[0] | kernel.elcr[1] << 8), all);
	ops->line(irq, GSI_PCI_FIRST + 1, LINE_SOURCE_PCI, true);
	ck_assert_int_eq(ops->line_fd(irq, 8, 9, GSI_PCI_FIRST, true), 0);
	ck_assert_uint_eq(kernel.n_set, 1);
	/* An MSI's route is one more. */
	ck_assert_int_eq(route(&gsi, 0xfee00000, 7), 0);
	ck_assert_uint_eq(kernel.routing.head.nr, FIXED + GSI_PCI_PINS + 1);
	ck_assert_uint_eq(msi_of(gsi)->data, 7);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_pci_line_by_fd)
{
	ck_assert_int_eq(kvm_irq_new(&kvm, true, &irq), 0);
	ops = kvm_irq_board(irq).ops;
	ck_assert_int_eq(ops->line_fd(irq, 8, 9, GSI_PCI_FIRST, false), 0);
	ck_assert_uint_eq(kernel.n_set, 0);
	ck_assert_int_eq(ops->line_fd(irq, 8, 9, GSI_PCI_FIRST, true), 0);
	ck_assert_uint_eq(kernel.n_set, 1);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_no_pci)
{
	new_irq();
	ops->line(irq, GSI_PCI_FIRST, LINE_SOURCE_CHIP, true);
	ck_assert_uint_eq(kernel.n_set, 0);
	ck_assert(kernel.elcr[0] == 0 && kernel.elcr[1] == 0);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_routes)
{
	int a = -1, b = -1;

	new_irq();
	ck_assert_int_eq(route(&a, 0x1fee01000, 0x4021), 0);
	ck_assert_int_eq(route(&b, 0xfee02000, 0x4022), 0);
	ck_assert_int_ge(a, FIRST_MSI);
	ck_assert_int_ge(b, FIRST_MSI);
	ck_assert_int_ne(a, b);
	ck_assert_uint_eq(msi_of(a)->address_lo, 0xfee01000);
	ck_assert_uint_eq(msi_of(a)->address_hi, 1);
	ck_assert_uint_eq(msi_of(a)->data, 0x4021);
	ck_assert_uint_eq(msi_of(b)->data, 0x4022);
	/* the same again costs nothing; each part of it is looked at */
	ck_assert_uint_eq(kernel.n_set, 2);
	ck_assert_int_eq(route(&a, 0x1fee01000, 0x4021), 0);
	ck_assert_uint_eq(kernel.n_set, 2);
	ck_assert_int_eq(route(&a, 0x2fee01000, 0x4021), 0);
	ck_assert_int_eq(route(&a, 0x2fee03000, 0x4021), 0);
	ck_assert_int_eq(route(&a, 0x2fee03000, 0x4023), 0);
	ck_assert_uint_eq(kernel.n_set, 5);
	ck_assert_uint_eq(msi_of(a)->address_hi, 2);
	ck_assert_uint_eq(msi_of(a)->address_lo, 0xfee03000);
	ck_assert_uint_eq(msi_of(a)->data, 0x4023);
	ck_assert_uint_eq(kernel.routing.head.nr, FIXED + 2);
	kvm_irq_free(irq);
}
END_TEST

/* A guest may name bits 14:8 of an APIC id in bits 11:5: KVM has them above the lower half. */
START_TEST(test_msi_wide_ids)
{
	int a = -1;

	new_irq();
	ck_assert_int_eq(route(&a, 0xfee2bfe0, 1), 0); /* only where that was announced */
	ck_assert_uint_eq(msi_of(a)->address_lo, 0xfee2bfe0);
	ck_assert_uint_eq(msi_of(a)->address_hi, 0);
	kvm.wide_ids = true;
	ck_assert_int_eq(route(&a, 0xfee2b02c, 1), 0); /* CPU 0x12b; bits 4:0 stay */
	ck_assert_uint_eq(msi_of(a)->address_lo, 0xfee2b00c);
	ck_assert_uint_eq(msi_of(a)->address_hi, 0x100);
	ck_assert_int_eq(route(&a, 0xfeeffff0, 1), 0);
	ck_assert_uint_eq(msi_of(a)->address_lo, 0xfeeff010);
	ck_assert_uint_eq(msi_of(a)->address_hi, 0x7f00);
	kvm.wide_ids = false;
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_routes_end)
{
	int gsi[MAX_ROUTES - FIXED + 1], again = -1;
	const unsigned n = MAX_ROUTES - FIXED;

	new_irq();
	for (unsigned i = 0; i < n; i++) {
		gsi[i] = -1;
		ck_assert_int_eq(route(&gsi[i], i, i), 0);
	}
	gsi[n] = -1;
	ck_assert_int_eq(route(&gsi[n], 1, 1), -ENOSPC);
	ck_assert_int_eq(gsi[n], -1);
	ops->msi_free(irq, gsi[3]);
	ck_assert_int_eq(route(&gsi[3], 1, 1), -ENOENT); /* not his any more */
	ck_assert_int_eq(route(&again, 77, 77), 0);
	ck_assert_int_eq(again, gsi[3]);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(msi_of(gsi[i])->data, i == 3 ? 77 : i);
	for (unsigned i = 0; i < n; i++)
		ops->msi_free(irq, gsi[i]);
	ops->msi_free(irq, gsi[0]); /* twice: nothing */
	again = -1;
	ck_assert_int_eq(route(&again, 1, 1), 0);
	ck_assert_uint_eq(kernel.routing.head.nr, FIXED + 1);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_kvm_refuses_routes)
{
	int a = -1, b = -1;

	new_irq();
	ck_assert_int_eq(route(&a, 1, 1), 0);
	kernel.fail = EINVAL;
	ck_assert_int_eq(route(&b, 2, 2), -EINVAL);
	ck_assert_int_eq(b, -1);
	ck_assert_int_eq(route(&a, 3, 3), -EINVAL);
	kernel.fail = 0;
	/* What was refused is neither in the next table nor taken to be there. */
	ck_assert_int_eq(route(&b, 4, 4), 0);
	ck_assert_uint_eq(kernel.routing.head.nr, FIXED + 2);
	ck_assert_uint_eq(msi_of(a)->data, 1);
	ck_assert_uint_eq(msi_of(b)->data, 4);
	ck_assert_int_eq(route(&a, 3, 3), 0);
	ck_assert_uint_eq(msi_of(a)->data, 3);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_irqfd)
{
	new_irq();
	ck_assert_int_eq(ops->irqfd(irq, 9, 30, true), 0);
	ck_assert(kernel.irqfd.fd == 9 && kernel.irqfd.gsi == 30 && kernel.irqfd.flags == 0);
	ck_assert_int_eq(ops->irqfd(irq, 9, 30, false), 0);
	ck_assert_uint_eq(kernel.irqfd.flags, KVM_IRQFD_FLAG_DEASSIGN);
	kernel.fail = EBUSY;
	ck_assert_int_eq(ops->irqfd(irq, 9, 30, true), -EBUSY);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_ioeventfd)
{
	const struct kvm_ioeventfd *e = &kernel.ioeventfd;

	new_irq();
	ck_assert_int_eq(ops->notify(irq, 9, false, 0xd0002004, 0, -1, true), 0);
	ck_assert(e->fd == 9 && e->addr == 0xd0002004 && e->len == 0 && e->flags == 0);
	ck_assert_int_eq(ops->notify(irq, 9, false, 0xe1000050, 4, 3, true), 0);
	ck_assert(e->len == 4 && e->datamatch == 3);
	ck_assert_uint_eq(e->flags, KVM_IOEVENTFD_FLAG_DATAMATCH);
	ck_assert_int_eq(ops->notify(irq, 9, true, 0x510, 2, -1, false), 0);
	ck_assert_uint_eq(e->flags, KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN);
	kernel.fail = ENOSPC;
	ck_assert_int_eq(ops->notify(irq, 9, true, 0x510, 2, -1, true), -ENOSPC);
	kvm_irq_free(irq);
}
END_TEST

static struct {
	unsigned n, gsi, source, n_line;
	bool level;
} seen;

static void look_on(void *ctx, unsigned gsi, unsigned source, bool level)
{
	ck_assert_ptr_eq(ctx, &seen);
	seen.n++;
	seen.gsi = gsi;
	seen.source = source;
	seen.level = level;
	seen.n_line = kernel.n_line;
}

/* Who watches hears of each change in front of KVM, and of no others. */
START_TEST(test_watch)
{
	new_irq();
	ops->line(irq, 4, LINE_SOURCE_CHIP + 1, true);
	kvm_irq_watch(irq, look_on, &seen);
	ops->line(irq, 4, LINE_SOURCE_CHIP, true);
	ops->line(irq, 4, LINE_SOURCE_CHIP + 1, false);
	ck_assert_uint_eq(seen.n, 0);
	ops->line(irq, 4, LINE_SOURCE_CHIP, false);
	ck_assert(seen.n == 1 && seen.gsi == 4 && seen.source == LINE_SOURCE_CHIP && !seen.level && seen.n_line == 1);
	ck_assert(kernel.n_line == 2 && !kernel.line_level);
	ops->line(irq, 17, 3, true);
	ck_assert(seen.n == 2 && seen.gsi == 17 && seen.source == 3 && seen.level && seen.n_line == 2);
	kvm_irq_watch(irq, NULL, NULL);
	ops->line(irq, 17, 3, false);
	ck_assert(seen.n == 2 && kernel.n_line == 4);
	kvm_irq_free(irq);
}
END_TEST

/* A line is up while any of those who share it holds it up, and KVM hears of changes only. */
START_TEST(test_shared_lines)
{
	static const unsigned source[] = { 0, 63, 64, 255, LINE_SOURCE_CHIP, LINE_SOURCES - 1 };

	new_irq();
	for (size_t i = 0; i < ARRAY_SIZE(source); i++) {
		ops->line(irq, 17, source[i], true);
		ck_assert_uint_eq(kernel.n_line, 1);
	}
	ck_assert(kernel.line_gsi == 17 && kernel.line_level);
	for (size_t i = 0; i < ARRAY_SIZE(source); i++) {
		ck_assert(kernel.line_level);
		ops->line(irq, 17, source[i], false);
		ops->line(irq, 17, source[i], false);
	}
	ck_assert(!kernel.line_level);
	ck_assert_uint_eq(kernel.n_line, 2);
	ops->line(irq, 23, 8, true);
	ck_assert(kernel.line_gsi == 23 && kernel.line_level);
	ck_assert_uint_eq(kernel.n_line, 3);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_endings)
{
	new_irq();
	ops->stop(irq, STOP_RESET, 7);
	ck_assert_uint_eq(kernel.stops, 1);
	ops->note_panic(irq);
	ck_assert_uint_eq(kernel.panics, 1);
	kvm_irq_free(irq);
}
END_TEST

START_TEST(test_host_without_routing)
{
	kernel.max_routes = FIXED;
	ck_assert_int_eq(kvm_irq_new(&kvm, false, &irq), -ENOTSUP);
	kernel.max_routes = FIXED + GSI_PCI_PINS;
	ck_assert_int_eq(kvm_irq_new(&kvm, true, &irq), -ENOTSUP);
	kernel.max_routes = 0;
	ck_assert_int_eq(kvm_irq_new(&kvm, false, &irq), -ENOTSUP);
	kernel.max_routes = MAX_ROUTES;
	kernel.no_chips = true;
	ck_assert_int_eq(kvm_irq_new(&kvm, true, &irq), -ENXIO);
	ck_assert_ptr_null(irq);
	kvm_irq_free(NULL);
}
END_TEST

UNIT_MAIN("kvm-irq", test_fixed_routes, test_pci_at_the_pics,
	  test_pci_line_by_fd, test_no_pci, test_routes, test_msi_wide_ids, test_routes_end, test_kvm_refuses_routes,
	  test_irqfd, test_ioeventfd, test_shared_lines, test_watch, test_endings, test_host_without_routing)
