/* tools/device_secret.c: secrets for devices, made by us and typed once. */
#include <gnutls/crypto.h>
#include <string.h>

#include "device.h"

bool
device_secret(char out[static DEVICE_SECRET_SIZE], struct reason *why)
{
	/* 32 of them, none that looks like another. */
	static const char digits[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char chance[DEVICE_SECRET_SIZE - 1];

	_Static_assert(sizeof digits == 32 + 1, "five bits a digit");
	if (gnutls_rnd(GNUTLS_RND_KEY, chance, sizeof chance) < 0)
		return fail(why, REASON_INTERNAL, "no random numbers");
	for (size_t i = 0; i < sizeof chance; i++)
		out[i] = i % 5 == 4 ? '-' : digits[chance[i] & 31];
	out[sizeof chance] = '\0';
	explicit_bzero(chance, sizeof chance);
	return true;
}

void
device_card_wipe(struct device_card *card)
{
	if (card->pkcs12.data != NULL)
		explicit_bzero(card->pkcs12.data, card->pkcs12.size);
	gnutls_free(card->pkcs12.data);
	gnutls_free(card->authority.data);
	explicit_bzero(card, sizeof *card);
}
