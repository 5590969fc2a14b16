/*
 * Building blocks of the firmware tables: an append-only byte buffer, and on top of it an encoder
 * for ACPI's machine language. Used by x86/tables/acpi.c and x86/tables/mptable.c on the main thread.
 *
 * Every function may be called on a full buffer and then does nothing, so that a table is written
 * without a test after each step and bytebuf_full() is asked once, at the end.
 *
 * Adding a device to the DSDT:
 *
 *	size_t dev = aml_device(b, "COM1");
 *
 *	aml_name(b, "_HID");
 *	aml_eisa_id(b, "PNP0501");
 *	size_t crs = aml_crs(b);
 *
 *	aml_crs_io(b, 0x3f8, 8);
 *	aml_crs_irq(b, 4);
 *	aml_crs_end(b, crs);
 *	aml_end(b, dev);
 */
#ifndef LKVM_X86_AML_H
#define LKVM_X86_AML_H

#include "lkvm/types.h"

#define BYTEBUF_MAX_ALIGN 64

struct bytebuf {
	uint8_t *data; /* @cap bytes */
	size_t cap;
	size_t len; /* more than @cap once something did not fit */
};

/** bytebuf_put() - append @n bytes; Return: offset at which they stand */
size_t bytebuf_put(struct bytebuf *b, const void *bytes, size_t n);
/** bytebuf_align() - append zeros up to a multiple of @align, a power of two; Return: offset there
 */
size_t bytebuf_align(struct bytebuf *b, size_t align);
/** bytebuf_full() - did anything not fit? */
bool bytebuf_full(const struct bytebuf *b);
/** bytebuf_sum() - sum of @n bytes from @at modulo 256: 0 for a table with a right checksum */
uint8_t bytebuf_sum(const struct bytebuf *b, size_t at, size_t n);

/*
 * Objects that contain others: each returns a mark for its aml_end(). @name is one name segment:
 * exactly 4 of A-Z, 0-9 and _.
 */
size_t aml_scope(struct bytebuf *b, const char *name);
size_t aml_device(struct bytebuf *b, const char *name);
size_t aml_package(struct bytebuf *b, uint8_t n_elements);
size_t aml_method(struct bytebuf *b, const char *name, uint8_t n_args);
void aml_end(struct bytebuf *b, size_t mark);

/** aml_name() - Name (@name, ...): the data object that comes next is its value */
void aml_name(struct bytebuf *b, const char *name);
void aml_int(struct bytebuf *b, uint64_t value);
void aml_string(struct bytebuf *b, const char *text);
/** aml_notify() - within a method: the object that is called so, here or further up, has changed */
void aml_notify(struct bytebuf *b, const char *name, uint8_t value);
/** aml_eisa_id() - "PNP0501": three capitals and four upper-case hexadecimal digits */
void aml_eisa_id(struct bytebuf *b, const char *id);

/** aml_crs() - Name (_CRS, ResourceTemplate () {...}); Return: mark for aml_crs_end() */
size_t aml_crs(struct bytebuf *b);
void aml_crs_io(struct bytebuf *b, uint16_t port, uint8_t n_ports);
/** aml_crs_irq() - an ISA interrupt, 0..15: edge triggered, active high, not shared */
void aml_crs_irq(struct bytebuf *b, unsigned irq);
/** aml_crs_memory() - a fixed range of memory addresses below 4 GB */
void aml_crs_memory(struct bytebuf *b, uint32_t base, uint32_t bytes);
/** aml_crs_edge() - any GSI: edge triggered, active high, shared */
void aml_crs_edge(struct bytebuf *b, uint32_t gsi);
/** aml_crs_bus(), ..._ports(), ..._window() - what a PCI bridge passes on: bus numbers, ports, memory */
void aml_crs_bus(struct bytebuf *b, uint8_t first, uint8_t last);
void aml_crs_ports(struct bytebuf *b, uint16_t first, uint16_t last);
void aml_crs_window(struct bytebuf *b, uint32_t first, uint32_t last);
void aml_crs_window64(struct bytebuf *b, uint64_t first, uint64_t last);
void aml_crs_end(struct bytebuf *b, size_t mark);

#endif
