/*
 * policy/crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), against
 * accidents only: it proves nothing about who wrote the octets.
 */
#ifndef POLICY_CRC32C_H
#define POLICY_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * seed  0 for the standard checksum, or the result for the octets before, so
 *       that crc32c(crc32c(0, a), b) is the checksum of a followed by b.
 *
 * Threads: any.
 */
uint32_t crc32c(uint32_t seed, const void *data, size_t len);

/* The same without the processor's own instruction, for its test. */
uint32_t crc32c_by_table(uint32_t seed, const void *data, size_t len);

#endif
