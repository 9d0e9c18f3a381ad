/*
 * tls/der.c: two parts of a certificate as the octets they came in (X.690,
 * RFC 5280, section 4.1).
 *
 * TLSA records and signatures are about these very octets, which the library
 * gives back only as it would encode them itself.
 */
#include "internal.h"

enum {
	TAG_SEQUENCE = 0x30,
	TAG_VERSION = 0xa0,
	LENGTH_OCTETS_MAX = 3, /* 16 MiB, more than any certificate */
	FIELDS_BEFORE_KEY = 5, /* serial, algorithm, issuer, dates, subject */
};

/* The element at the beginning of in, which is moved behind it. */
static bool
element(gnutls_datum_t *in, unsigned char *tag_out, gnutls_datum_t *whole_out,
    gnutls_datum_t *content_out)
{
	size_t head = 2, len;

	if (in->size < 2)
		return false;
	len = in->data[1];
	if (len >= 0x80) {
		size_t octets = len & 0x7f;

		if (octets == 0 || octets > LENGTH_OCTETS_MAX ||
		    in->size < 2 + octets)
			return false;
		len = 0;
		for (size_t i = 0; i < octets; i++)
			len = len << 8 | in->data[2 + i];
		head += octets;
	}
	if (len > in->size - head)
		return false;
	*tag_out = in->data[0];
	*whole_out = (gnutls_datum_t){ in->data, (unsigned)(head + len) };
	*content_out = (gnutls_datum_t){ in->data + head, (unsigned)len };
	in->data += head + len;
	in->size -= (unsigned)(head + len);
	return true;
}

static bool
sequence(gnutls_datum_t *in, gnutls_datum_t *whole_out,
    gnutls_datum_t *content_out)
{
	unsigned char tag;

	return element(in, &tag, whole_out, content_out) && tag == TAG_SEQUENCE;
}

bool
tls_der_parts(const gnutls_datum_t *certificate, gnutls_datum_t *tbs_out,
    gnutls_datum_t *spki_out)
{
	gnutls_datum_t in = *certificate, whole, content, fields;
	unsigned char tag;
	int skip = FIELDS_BEFORE_KEY;

	if (!sequence(&in, &whole, &content) ||
	    !sequence(&content, tbs_out, &fields) ||
	    !element(&fields, &tag, &whole, &content))
		return false;
	/* Version 1 leaves it out: what was read is the serial number. */
	if (tag != TAG_VERSION)
		skip--;
	for (; skip > 0; skip--)
		if (!element(&fields, &tag, &whole, &content))
			return false;
	return sequence(&fields, spki_out, &content);
}
