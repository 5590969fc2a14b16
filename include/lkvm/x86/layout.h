/*
 * The x86 machine's fixed addresses, in one place: what start-up puts where in guest memory, and
 * what several chips share. Ports and interrupts of a chip: vm/hardware.c. docs: README, "The guest's memory map".
 */
#ifndef LKVM_X86_LAYOUT_H
#define LKVM_X86_LAYOUT_H

/*
 * Low memory, guest physical. Up to LAYOUT_CMDLINE these are the usual places: what a kernel lies
 * on goes elsewhere (x86/boot/place.c).
 */
#define LAYOUT_LOW         0x00000500 /* below: real-mode vectors and BIOS data */
#define LAYOUT_GDT         0x00000500 /* boot GDT */
#define LAYOUT_ZERO_PAGE   0x00007000 /* struct boot_params, one page */
#define LAYOUT_STACK_TOP   0x00009000 /* for guests entered without a stack of their own */
#define LAYOUT_PAGE_TABLES 0x0000a000 /* identity map of the first 4 GB: 6 pages */
#define LAYOUT_FLAT        0x00010000 /* flat binaries: 0x1000:0 */
#define LAYOUT_CMDLINE     0x00020000 /* kernel command line, up to LAYOUT_CMDLINE_MAX bytes */
#define LAYOUT_CMDLINE_MAX 0x00010000
#define LAYOUT_EBDA        0x0009fc00 /* 1 KB: MP floating pointer; end of low RAM in e820 */
#define LAYOUT_NUMA        0x000c0000 /* ACPI's tables of NUMA; in no memory map, as a card's ROM would be */
#define LAYOUT_BIOS        0x000e0000 /* RSDP, ACPI and MP tables; reserved in e820 */
#define LAYOUT_BIOS_END    0x000f0000
/*
 * PVH start info, multiboot info, setup_data. Reserved in e820 as well: a kernel that finds its
 * setup_data in RAM cuts that RAM into pieces for it.
 */
#define LAYOUT_BOOT_INFO     0x000f0000
#define LAYOUT_BOOT_INFO_END 0x000fff00
#define LAYOUT_SMBIOS        0x000fff00 /* entry point: kernels look for it in this segment */
#define LAYOUT_RESET_VECTOR  0x000ffff0 /* f000:fff0: a guest that jumps there wants a reset */
#define LAYOUT_HIGH        0x00100000 /* 1 MB */

/* In the gap */
#define LAYOUT_PCI_WINDOW     0xd0000000 /* BARs, as lkvm and its tables place them */
#define LAYOUT_PCI_WINDOW_END 0xe0000000ULL
/* With firmware it places them: from one of these on, whichever is the first behind RAM, or the gap's begin */
#define LAYOUT_FIRMWARE_WINDOWS { 0x80000000, 0xc0000000 }
#define LAYOUT_ECAM           0xe0000000 /* configuration space of bus 0 */
#define LAYOUT_ECAM_BYTES     0x00100000
#define LAYOUT_VIRTIO_MMIO    0xe1000000 /* one page a device: virtio-mmio.h */
#define LAYOUT_CHIPS     0xfec00000    /* from here to 4 GB no BAR is decoded: below, and KVM's pages */
#define LAYOUT_CHIPS_END 0x100000000ULL
#define LAYOUT_IOAPIC   0xfec00000
#define LAYOUT_VMGENID  0xfec10000 /* with a page of its own: it can be cached */
#define LAYOUT_LAPIC    0xfee00000
#define LAYOUT_TEST_DEVICE 0xff000000 /* --test-device: 64 KB */
#define LAYOUT_IDENTITY 0xfeffc000 /* KVM_SET_IDENTITY_MAP_ADDR, 1 page: below the largest firmware */
#define LAYOUT_TSS      0xfeffd000 /* KVM_SET_TSS_ADDR, 3 pages */
#define LAYOUT_FIRMWARE_START 0xfffffff0 /* where a CPU begins that was reset */

/*
 * Above RAM, for BARs that have no room in the gap: from a whole GB on to the end of what the host's CPUs
 * address, but no more than guests with 4-level page tables surely map. hw_window64()
 */
#define LAYOUT_PCI_WINDOW64_ALIGN (1ULL << 30)
#define LAYOUT_PCI_WINDOW64_MAX   (1ULL << 40)

/* Ports and interrupts of more than one row of vm/hardware.c, which has all others */
#define PORT_PCI     0xcf8
#define PORT_RESET_CONTROL 0xcf9 /* within the former */
#define PORT_PCI_WINDOW     0xc000 /* BARs of ports, as lkvm and its tables place them */
#define PORT_PCI_WINDOW_END 0x10000
#define PORT_POWER      0x600
#define PORT_POWER_PIIX 0xb000 /* with firmware, which expects it there or puts it there */
#define PORT_DEBUG_EXIT 0xf4 /* default of --debug-exit */

/*
 * Interrupts for virtio over MMIO: the pins above the ISA interrupts (a machine with it has no PCI,
 * which else has them), then those of ISA that no chip here uses. A guest that finds the devices on
 * its command line knows ISA interrupts only: for it, the second part.
 */
#define GSIS_VIRTIO_MMIO     { 16, 17, 18, 19, 20, 21, 22, 23, 5, 10, 11, 6, 14, 15 }
#define GSIS_VIRTIO_MMIO_ISA 8 /* where the second part begins */

/* INTA of PCI device n is GSI_PCI_FIRST + n % GSI_PCI_PINS: the IOAPIC pins above the ISA interrupts */
#define GSI_PCI_FIRST 16
#define GSI_PCI_PINS  8
/* The same at the PICs, for a guest without IOAPIC: those of ISA that no chip here uses, set to level */
#define ISA_IRQS_PCI { 7, 10, 11, 5, 14, 15, 6, 12 }

#define MAX_VCPUS 4096 /* what a KVM takes at most; x86/topology.h has their APIC ids */

#endif
