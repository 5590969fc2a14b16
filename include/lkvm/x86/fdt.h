/*
 * The machine as a flattened device tree: for Linux guests without ACPI, which get it as SETUP_DTB,
 * and for people and tools (--dump-dtb). It tells the same as the ACPI tables, from the same
 * struct hardware. Main thread, before any vCPU runs.
 *
 * It is built only where one of these two is asked for. A kernel that knows device trees and ACPI
 * and got both would find every device twice, and some versions of Linux then take the CPUs from the
 * tree although ACPI has told about them; so the guest gets one of them.
 *
 * Where Linux has an x86 binding, that one is used (Documentation/devicetree/bindings/x86,
 * .../interrupt-controller/intel,ce4100-*): compatible strings name the first machine that had it.
 */
#ifndef LKVM_X86_FDT_H
#define LKVM_X86_FDT_H

#include "lkvm/ram.h"
#include "lkvm/x86/hardware.h"

struct fdt_config {
	const struct hardware *hardware;
	const struct ram *ram;
	const char *bootargs; /* NULL: none */
	uint64_t initrd_start, initrd_bytes; /* bytes 0: none */
};

/**
 * fdt_build() - make the device tree
 * @ret: heap, free() it
 * Return: 0, -ENOMEM, or -EINVAL if libfdt refuses something (@ret_why: what it says, else NULL)
 * Spec: Devicetree Specification 0.4, 2 to 5
 */
int fdt_build(const struct fdt_config *cfg, void **ret, size_t *ret_bytes, const char **ret_why);

#endif
