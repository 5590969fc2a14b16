/*
 * The x86 machine's fixed addresses, in one place: what start-up puts where in guest memory, and
 * which port or interrupt belongs to which chip. docs: README, "The guest's memory map".
 */
#ifndef LKVM_X86_LAYOUT_H
#define LKVM_X86_LAYOUT_H

/* Low memory, guest physical */
#define LAYOUT_GDT         0x00000500 /* boot GDT */
#define LAYOUT_ZERO_PAGE   0x00007000 /* struct boot_params, one page */
#define LAYOUT_STACK_TOP   0x00009000 /* for guests entered without a stack of their own */
#define LAYOUT_PAGE_TABLES 0x0000a000 /* identity map of the first 4 GB: 6 pages */
#define LAYOUT_FLAT        0x00010000 /* flat binaries: 0x1000:0 */
#define LAYOUT_CMDLINE     0x00020000 /* kernel command line, up to LAYOUT_CMDLINE_MAX bytes */
#define LAYOUT_CMDLINE_MAX 0x00010000
#define LAYOUT_EBDA        0x0009fc00 /* 1 KB: MP floating pointer; end of low RAM in e820 */
#define LAYOUT_BIOS        0x000e0000 /* RSDP, ACPI and MP tables; reserved in e820 */
#define LAYOUT_BIOS_END    0x000f0000
/*
 * PVH start info, multiboot info, setup_data. Reserved in e820 as well: a kernel that finds its
 * setup_data in RAM cuts that RAM into pieces for it.
 */
#define LAYOUT_BOOT_INFO     0x000f0000
#define LAYOUT_BOOT_INFO_END 0x00100000
#define LAYOUT_HIGH        0x00100000 /* 1 MB */

/* In the gap */
#define LAYOUT_PCI_WINDOW     0xd0000000 /* BARs, as lkvm and its tables place them */
#define LAYOUT_PCI_WINDOW_END 0xe0000000ULL
#define LAYOUT_PCI_DECODE_END 0xfec00000ULL /* firmware places them up to the IOAPIC */
#define LAYOUT_ECAM           0xe0000000 /* configuration space of bus 0 */
#define LAYOUT_ECAM_BYTES     0x00100000
#define LAYOUT_VIRTIO_MMIO    0xe1000000 /* one page a device: virtio-mmio.h */
#define LAYOUT_IOAPIC   0xfec00000
#define LAYOUT_LAPIC    0xfee00000
#define LAYOUT_IDENTITY 0xfffbc000 /* KVM_SET_IDENTITY_MAP_ADDR, 1 page */
#define LAYOUT_TSS      0xfffbd000 /* KVM_SET_TSS_ADDR, 3 pages */

/* Ports and interrupts */
#define PORT_COM1 0x3f8
#define PORT_COM2 0x2f8
#define PORT_COM3 0x3e8
#define PORT_COM4 0x2e8
#define PORT_RTC  0x70
#define PORT_I8042_DATA 0x60
#define PORT_I8042_CMD  0x64
#define PORT_PCI     0xcf8
#define PORT_POWER   0x600
#define PORT_PVPANIC 0x505
#define PORT_DEBUG_EXIT 0xf4 /* default of --debug-exit */

#define GSI_KEYBOARD 1
#define GSI_COM2 3
#define GSI_COM1 4
#define GSI_RTC  8
#define GSI_SCI  9

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

#define MAX_VCPUS 255 /* xAPIC ids 0..254; more needs x2APIC */

#endif
