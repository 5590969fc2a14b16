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
/** crc32c_by_cpu(), crc32c_by_table() - the two ways to it; the first one needs SSE4.2 */
uint32_t crc32c_by_cpu(uint32_t seed, const void *bytes, size_t len);
uint32_t crc32c_by_table(uint32_t seed, const void *bytes, size_t len);

#endif
