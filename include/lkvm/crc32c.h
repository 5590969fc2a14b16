/*
 * CRC-32C (Castagnoli), as iSCSI and ext4 have it. Any thread.
 * Spec: RFC 3720, appendix B.4
 */
#ifndef LKVM_CRC32C_H
#define LKVM_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** crc32c() - of @len bytes; @seed: 0, or of the bytes that come before them */
uint32_t crc32c(uint32_t seed, const void *bytes, size_t len);

#endif
