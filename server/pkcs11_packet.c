/*
 * server/pkcs11_packet.c: packets to and from a process with a key in a token,
 * as the asking side has them.
 */
#include <string.h>

#include "messages.h"
#include "pkcs11_worker.h"

void
pkcs11_put_open(struct wire_writer *w, const struct pkcs11_work *work)
{
	wire_put_u8(w, PKCS11_OPEN);
	wire_put_string(w, work->url);
	wire_put_string(w, work->pin);
	wire_put_bytes(w, work->public.data, work->public.size);
}

void
pkcs11_put_sign(struct wire_writer *w,
    const unsigned char tag[static PKCS11_TAG_OCTETS], enum cert_purpose side,
    const struct tls_sign_request *request)
{
	wire_put_u8(w, PKCS11_SIGN);
	wire_put_raw(w, tag, PKCS11_TAG_OCTETS);
	wire_put_u8(w, (uint8_t)side);
	wire_put_u32(w, request->algorithm);
	wire_put_u8(w, request->is_data);
	wire_put_raw(w, request->spki, SPKI_OCTETS);
	wire_put_bytes(w, request->input, request->input_len);
}

bool
pkcs11_get_opened(struct wire_reader *r, struct reason *why)
{
	uint32_t code = wire_get_u32(r);

	if (!wire_get_string(r, why->text, sizeof(why->text)) ||
	    !wire_reader_done(r) || code >= REASON_CODES)
		return false;
	why->code = (enum reason_code)code;
	return true;
}

bool
pkcs11_get_signed(struct wire_reader *r,
    unsigned char tag[static PKCS11_TAG_OCTETS],
    unsigned char signature[static TLS_SIGNATURE_MAX], size_t *len_out,
    struct reason *why)
{
	gnutls_datum_t octets;

	wire_get_raw(r, tag, PKCS11_TAG_OCTETS);
	octets = wire_get_bytes(r, TLS_SIGNATURE_MAX);
	if (!pkcs11_get_opened(r, why))
		return false;
	memcpy(signature, octets.data, octets.size);
	*len_out = octets.size;
	return true;
}
