/*
 * Bytes that are compressed in one of the ways that kernels, their modules and their configurations
 * come in, unpacked in memory. x86/boot/decompress.c; any thread. What is unpacked may be hostile.
 */
#ifndef LKVM_X86_UNPACK_H
#define LKVM_X86_UNPACK_H

#include <stddef.h>
#include <stdint.h>

struct unpacked {
	uint8_t *bytes;
	size_t len;
};

/** unpack_name() - "gzip", "xz" ... if this is how bytes begin that are packed so, else NULL */
const char *unpack_name(const void *head, size_t len);

/**
 * unpack() - the first stream in @in; what follows it is not looked at
 * @what, @name: for messages
 * @most:        bytes of output; memory for it is taken only as it is written
 * @ret:         unpacked_free() it
 * Return: 0; -EINVAL it is not packed (not logged); or, after one logged line, -ENOEXEC damaged,
 *	-EFBIG more than @most, -ENOTSUP the library is missing, -ENOMEM
 */
int unpack(const char *what, const char *name, const void *in, size_t len, size_t most,
	   struct unpacked *ret);
void unpacked_free(struct unpacked *u);

#endif
