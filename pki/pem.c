/*
 * pki/pem.c: what is wrong with a file that should hold certificates, a key and
 * so on in PEM (RFC 7468).
 *
 * A file may be anything: nothing of it but labels of plain text gets into a
 * message.
 */
#include "pem.h"

#include <stdio.h>
#include <string.h>

enum { LABEL_SIZE = 40 };

#define BEGIN_MARK "-----BEGIN "
#define END_MARK "-----END "

static const char *const wanted_names[] = {
	[PEM_CERTIFICATE] = "certificates",
	[PEM_ANCHORS] = "trust anchors",
	[PEM_KEY] = "a private key",
	[PEM_REQUEST] = "a certificate request",
	[PEM_CRL] = "revocation lists",
};

/* How to make PEM of DER. */
static const char *const openssl_verbs[] = {
	[PEM_CERTIFICATE] = "x509",
	[PEM_ANCHORS] = "x509",
	[PEM_KEY] = "pkey",
	[PEM_REQUEST] = "req",
	[PEM_CRL] = "crl",
};

/* What labels stand for; the first that fits. */
static const struct {
	const char *label; /* what it ends in */
	enum pem_kind kind;
	bool is_kind; /* else it is nothing that is ever wanted */
	const char *name;
} labels[] = {
	{ "TRUSTED CERTIFICATE", PEM_CERTIFICATE, false,
	    "a certificate in OpenSSL's own form (\"openssl x509 -in FILE\" "
	    "makes a plain one of it)" },
	{ "CERTIFICATE REQUEST", PEM_REQUEST, true, "a certificate request" },
	{ "CERTIFICATE", PEM_CERTIFICATE, true, "a certificate" },
	{ "X509 CRL", PEM_CRL, true, "a revocation list" },
	{ "PRIVATE KEY", PEM_KEY, true, "a private key" },
	{ "PUBLIC KEY", PEM_KEY, false, "a public key" },
	{ "PARAMETERS", PEM_KEY, false, "parameters" },
	{ "PKCS7", PEM_CERTIFICATE, false,
	    "PKCS#7 (\"openssl pkcs7 -print_certs -in FILE\" takes the "
	    "certificates out)" },
};

enum { LABELS = sizeof(labels) / sizeof(labels[0]) };

/* --- blocks -------------------------------------------------------------- */

struct text {
	const char *at, *end;
};

struct block {
	char label[LABEL_SIZE]; /* cut, printable */
	const char *begin;      /* its first octet in the file */
	struct text body;       /* between the two lines */
	bool is_whole;          /* its END is there ... */
	bool is_matched;        /* ... and has the same label */
};

static const char *
find(struct text in, const char *what)
{
	if (in.at == in.end)
		return NULL;
	return memmem(in.at, (size_t)(in.end - in.at), what, strlen(what));
}

/* What follows up to the dashes; false if that is no label. */
static bool
take_label(struct text *in, char out[static LABEL_SIZE])
{
	size_t len = 0;

	while (in->at < in->end && *in->at >= ' ' && *in->at <= '~' &&
	       *in->at != '-') {
		if (len + 1 < LABEL_SIZE)
			out[len++] = *in->at;
		in->at++;
	}
	out[len] = '\0';
	return len > 0 && in->end - in->at >= 5 &&
	       memcmp(in->at, "-----", 5) == 0;
}

/* The next one after in->at, which goes behind it; false if there is none. */
static bool
next_block(struct text *in, struct block *out)
{
	char label[LABEL_SIZE];
	struct text after;
	const char *end;

	do {
		out->begin = find(*in, BEGIN_MARK);
		if (out->begin == NULL)
			return false;
		in->at = out->begin + strlen(BEGIN_MARK);
	} while (!take_label(in, out->label));
	in->at += 5;
	out->body = *in;
	end = find(*in, "-----");
	out->is_whole = out->is_matched = false;
	if (end == NULL)
		return true;
	out->body.end = in->at = end;
	after = (struct text){ end, in->end };
	if (find(after, END_MARK) != end)
		return true;
	after.at = end + strlen(END_MARK);
	out->is_whole = true;
	out->is_matched =
	    take_label(&after, label) && strcmp(label, out->label) == 0;
	in->at = after.at;
	return true;
}

static int
label_of(const struct block *block)
{
	size_t len = strlen(block->label);

	for (int i = 0; i < LABELS; i++) {
		size_t tail = strlen(labels[i].label);

		if (tail <= len &&
		    strcmp(block->label + len - tail, labels[i].label) == 0)
			return i;
	}
	return -1;
}

static enum pem_kind
kind_in_file(enum pem_kind kind)
{
	return kind == PEM_ANCHORS ? PEM_CERTIFICATE : kind;
}

static bool
is_of(const struct block *block, enum pem_kind kind)
{
	int i = label_of(block);

	return i >= 0 && labels[i].is_kind &&
	       labels[i].kind == kind_in_file(kind);
}

bool
pem_has(const gnutls_datum_t *file, enum pem_kind kind)
{
	struct text in = { (const char *)file->data,
		(const char *)file->data + file->size };
	struct block block;

	while (next_block(&in, &block))
		if (is_of(&block, kind))
			return true;
	return false;
}

/* --- what is wrong ------------------------------------------------------- */

static unsigned
line_of(const gnutls_datum_t *file, const char *at)
{
	unsigned line = 1;

	for (const char *c = (const char *)file->data; c < at; c++)
		line += *c == '\n';
	return line;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_base64(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

static bool
is_encrypted(const struct block *block)
{
	return strncmp(block->label, "ENCRYPTED", 9) == 0 ||
	       find(block->body, "4,ENCRYPTED") != NULL; /* RFC 1421 */
}

/* False after saying what is wrong with one that stands in the file. */
static bool
look_at_block(const gnutls_datum_t *file, const struct block *block, char *out,
    size_t size)
{
	unsigned line = line_of(file, block->begin);
	size_t count = 0;

	if (!block->is_whole || !block->is_matched) {
		snprintf(out, size,
		    "the %s that begins in line %u has no line \"" END_MARK
		    "%s-----\": is the file cut off?",
		    block->label, line, block->label);
		return false;
	}
	if (is_encrypted(block))
		return true; /* with lines of another kind in it */
	for (const char *c = block->body.at; c < block->body.end; c++) {
		count += is_base64(*c);
		if (is_base64(*c) || is_blank(*c))
			continue;
		snprintf(out, size, "line %u is damaged: it is no base64",
		    line_of(file, c));
		return false;
	}
	if (count == 0 || count % 4 != 0) {
		snprintf(out, size,
		    "the %s that begins in line %u is damaged: some of its "
		    "base64 is missing",
		    block->label, line);
		return false;
	}
	return true;
}

/* A SEQUENCE that says how long it is; of short files it has to be true, as
 * text may begin with "0". */
static bool
is_der(const gnutls_datum_t *file)
{
	const unsigned char *d = file->data;

	if (file->size < 3 || d[0] != 0x30)
		return false;
	if (d[1] < 0x80)
		return file->size == d[1] + 2U;
	return d[1] >= 0x81 && d[1] <= 0x84;
}

/* It has no block at all. */
static void
look_at_octets(const gnutls_datum_t *file, enum pem_kind wanted, char *out,
    size_t size)
{
	struct text all = { (const char *)file->data,
		(const char *)file->data + file->size };
	const unsigned char *d = file->data;
	unsigned blank = 0;

	while (blank < file->size && is_blank((char)d[blank]))
		blank++;
	if (blank == file->size)
		snprintf(out, size, "the file is empty");
	/* SEQUENCE { INTEGER 3, SEQUENCE ...: RFC 7292, section 4. */
	else if (file->size > 8 && d[0] == 0x30 &&
		 memmem(d, 8, "\2\1\3\x30", 4) != NULL)
		snprintf(out, size,
		    "it is PKCS#12: \"openssl pkcs12 -in FILE -nodes\" takes "
		    "apart what is in it");
	else if (is_der(file))
		snprintf(out, size,
		    "it is DER: \"openssl %s -inform DER -in FILE\" makes PEM "
		    "of it",
		    openssl_verbs[wanted]);
	else if (file->size > 1 && ((d[0] == 0xff && d[1] == 0xfe) ||
				       (d[0] == 0xfe && d[1] == 0xff)))
		snprintf(out, size, "it is text in UTF-16, expected ASCII");
	else if (find(all, "-----END ") != NULL)
		snprintf(out, size,
		    "its beginning is missing: there is no line \"" BEGIN_MARK
		    "...-----\"");
	else
		snprintf(out, size,
		    "it is none: there is no line \"" BEGIN_MARK "...-----\"");
}

/* Blocks, but none that is wanted; first is one of them. */
static void
look_at_other(const struct block *first, char *out, size_t size)
{
	int i = label_of(first);

	if (i >= 0)
		snprintf(out, size, "it holds %s", labels[i].name);
	else
		snprintf(out, size, "it holds %s", first->label);
}

static void
look(const gnutls_datum_t *file, enum pem_kind wanted, int rc, char *out,
    size_t size)
{
	struct text in = { (const char *)file->data,
		(const char *)file->data + file->size };
	struct block block, first = { .label = "" };
	unsigned found = 0;

	while (next_block(&in, &block)) {
		if (first.label[0] == '\0')
			first = block;
		if (!is_of(&block, wanted))
			continue;
		found++;
		if (!look_at_block(file, &block, out, size))
			return;
		if (wanted == PEM_KEY && is_encrypted(&block)) {
			snprintf(out, size,
			    "it is encrypted: \"openssl pkey -in FILE\" makes "
			    "one of it that opens without a passphrase");
			return;
		}
	}
	if (first.label[0] == '\0')
		look_at_octets(file, wanted, out, size);
	else if (found == 0)
		look_at_other(&first, out, size);
	else
		snprintf(out, size,
		    "it is damaged, though its base64 is whole (%s)",
		    rc < 0 ? gnutls_strerror(rc) : "nothing in it");
}

bool
pem_fail(struct reason *why, enum reason_code code, const gnutls_datum_t *file,
    enum pem_kind wanted, int rc)
{
	char text[REASON_TEXT_MAX];

	if (rc == GNUTLS_E_MEMORY_ERROR)
		return fail(why, REASON_NO_MEMORY, "%s", wanted_names[wanted]);
	look(file, wanted, rc, text, sizeof(text));
	return fail(why, code, "expected %s in PEM, but %s",
	    wanted_names[wanted], text);
}
