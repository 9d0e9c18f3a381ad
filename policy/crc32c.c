/*
 * policy/crc32c.c: CRC-32C, by the processor's instruction where there is one
 * (SSE4.2), otherwise by tables, eight octets a step.
 */
#include "crc32c.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* reversed */

/* steps[k][b]: the effect of octet b with k octets of zero after it. */
static uint32_t steps[8][256];
static bool have_instruction;

__attribute__((constructor)) static void
crc32c_prepare(void)
{
	for (unsigned b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		steps[0][b] = crc;
	}
	for (unsigned k = 1; k < 8; k++)
		for (unsigned b = 0; b < 256; b++) {
			uint32_t crc = steps[k - 1][b];

			steps[k][b] = crc >> 8 ^ steps[0][crc & 0xff];
		}
#if defined(__x86_64__)
	__builtin_cpu_init();
	have_instruction = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t
crc32c_by_table(uint32_t seed, const void *data, size_t len)
{
	const unsigned char *at = data;
	uint32_t crc = ~seed;

	for (; len >= 8; at += 8, len -= 8)
		crc = steps[7][(crc ^ at[0]) & 0xff] ^
		      steps[6][(crc >> 8 ^ at[1]) & 0xff] ^
		      steps[5][(crc >> 16 ^ at[2]) & 0xff] ^
		      steps[4][(crc >> 24 ^ at[3]) & 0xff] ^ steps[3][at[4]] ^
		      steps[2][at[5]] ^ steps[1][at[6]] ^ steps[0][at[7]];
	for (; len > 0; at++, len--)
		crc = crc >> 8 ^ steps[0][(crc ^ *at) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t
crc32c_by_instruction(uint32_t seed, const void *data, size_t len)
{
	const unsigned char *at = data;
	uint64_t crc = (uint32_t)~seed;

	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		crc = _mm_crc32_u64(crc, word);
	}
	for (; len > 0; at++, len--)
		crc = _mm_crc32_u8((uint32_t)crc, *at);
	return ~(uint32_t)crc;
}
#endif

uint32_t
crc32c(uint32_t seed, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (have_instruction)
		return crc32c_by_instruction(seed, data, len);
#endif
	return crc32c_by_table(seed, data, len);
}
