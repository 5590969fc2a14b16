/*
 * GSI routing, irqfd and ioeventfd of a VM, behind the board_ops that transports and PCI use.
 *
 * KVM's routing table is set as a whole. Ours begins with the routes that KVM_CREATE_IRQCHIP makes, and
 * those of PCI's INTA to the PICs; a message-signalled interrupt takes one more, for as long as its owner keeps it: what a guest
 * writes into its MSI-X table changes a route and never adds one.
 */
#ifndef LKVM_KVM_IRQ_H
#define LKVM_KVM_IRQ_H

#include "lkvm/kvm.h"
#include "lkvm/board.h"

struct kvm_irq;

/**
 * kvm_irq_new() - after kvm_create_irqchip()
 * @has_pci: INTA of PCI leads to the PICs too, by ISA_IRQS_PCI, level-triggered
 * Return: 0 or -errno, logged
 */
int kvm_irq_new(struct kvm *kvm, bool has_pci, struct kvm_irq **ret);
/** kvm_irq_free() - after all its users; takes NULL */
void kvm_irq_free(struct kvm_irq *irq);

/* The level of @gsi changes, because of @source (board.h). Any thread; under a lock, so in this order. */
typedef void (*kvm_irq_watch_fn)(void *ctx, unsigned gsi, unsigned source, bool level);
/** kvm_irq_watch() - call @watch in front of each change of a line; NULL: no more; any thread */
void kvm_irq_watch(struct kvm_irq *irq, kvm_irq_watch_fn watch, void *ctx);

/** kvm_irq_board() - what transports get; valid as long as @irq */
struct board kvm_irq_board(struct kvm_irq *irq);

#endif
