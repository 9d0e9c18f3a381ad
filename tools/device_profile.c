/*
 * tools/device_profile.c: an Apple configuration profile for a device.
 *
 * Keys are those of Apple's device management reference: TopLevel,
 * com.apple.mail.managed, com.apple.security.pkcs12, com.apple.security.root.
 * A mail account there has no key for a client certificate: the identity is
 * installed beside it.
 */
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "user.h"

enum { UUID_SIZE = 37 };

static void
put_text(FILE *to, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", to);
			break;
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		default:
			fputc(*text, to);
		}
	}
}

static void
put_string(FILE *to, const char *key, const char *value)
{
	fprintf(to, "<key>%s</key><string>", key);
	put_text(to, value);
	fputs("</string>\n", to);
}

static void
put_number(FILE *to, const char *key, unsigned value)
{
	fprintf(to, "<key>%s</key><integer>%u</integer>\n", key, value);
}

static void
put_true(FILE *to, const char *key)
{
	fprintf(to, "<key>%s</key><true/>\n", key);
}

static bool
put_data(FILE *to, const char *key, const gnutls_datum_t *octets)
{
	gnutls_datum_t base64 = { 0 };

	if (gnutls_base64_encode2(octets, &base64) < 0)
		return false;
	fprintf(to, "<key>%s</key><data>%.*s</data>\n", key, (int)base64.size,
	    (const char *)base64.data);
	explicit_bzero(base64.data, base64.size);
	gnutls_free(base64.data);
	return true;
}

/* RFC 9562, version 4. */
static bool
make_uuid(char out[static UUID_SIZE])
{
	unsigned char o[16];
	size_t len = 0;

	if (gnutls_rnd(GNUTLS_RND_NONCE, o, sizeof o) < 0)
		return false;
	o[6] = (unsigned char)((o[6] & 0x0f) | 0x40);
	o[8] = (unsigned char)((o[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof o; i++)
		len += (size_t)sprintf(out + len, "%s%02X",
		    i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", o[i]);
	return true;
}

/* "example.org" is "org.example" in identifiers. */
static void
put_reversed(FILE *to, const char *realm)
{
	const char *end = realm + strlen(realm), *label = end;

	while (label > realm) {
		while (label > realm && label[-1] != '.')
			label--;
		fprintf(to, "%.*s.", (int)(end - label), label);
		end = label > realm ? --label : label;
	}
}

/* It names the device, so that a later profile for that takes the place of this
 * one. */
static void
put_identifier(FILE *to, const struct device_card *card, const char *part)
{
	char local[NAME_LOCAL_MAX + 1];

	name_local(card->login, local);
	fputs("<key>PayloadIdentifier</key><string>", to);
	put_reversed(to, name_realm(card->login));
	fputs("sallyport.", to);
	put_text(to, local);
	fprintf(to, "%s</string>\n", part);
}

/* What every dictionary has. */
static bool
put_payload(FILE *to, const struct device_card *card, const char *type,
    const char *part, const char *name)
{
	char uuid[UUID_SIZE];

	if (!make_uuid(uuid))
		return false;
	put_string(to, "PayloadType", type);
	put_number(to, "PayloadVersion", 1);
	put_identifier(to, card, part);
	put_string(to, "PayloadUUID", uuid);
	put_string(to, "PayloadDisplayName", name);
	return true;
}

static void
put_incoming(FILE *to, const struct device_card *card)
{
	const struct device_server *in = &card->incoming;
	bool is_pop3 = in->port == 110 || in->port == 995;

	/* Its password is not ours to know: it is asked for. */
	put_string(to, "EmailAccountType",
	    is_pop3 ? "EmailTypePOP" : "EmailTypeIMAP");
	put_string(to, "IncomingMailServerAuthentication", "EmailAuthPassword");
	put_string(to, "IncomingMailServerHostName", in->host);
	put_number(to, "IncomingMailServerPortNumber", in->port);
	put_true(to, "IncomingMailServerUseSSL");
	put_string(to, "IncomingMailServerUsername", card->owner);
}

static void
put_outgoing(FILE *to, const struct device_card *card)
{
	const struct device_server *out = &card->servers[0];

	put_string(to, "OutgoingMailServerHostName", out->host);
	put_number(to, "OutgoingMailServerPortNumber", out->port);
	put_true(to, "OutgoingMailServerUseSSL");
	if (card->secret[0] == '\0') {
		put_string(to, "OutgoingMailServerAuthentication",
		    "EmailAuthNone");
		return;
	}
	put_string(to, "OutgoingMailServerAuthentication", "EmailAuthPassword");
	put_string(to, "OutgoingMailServerUsername", card->login);
	put_string(to, "OutgoingPassword", card->secret);
}

static bool
put_mail(FILE *to, const struct device_card *card)
{
	fputs("<dict>\n", to);
	if (!put_payload(to, card, "com.apple.mail.managed", ".mail",
		"Mail account"))
		return false;
	put_string(to, "EmailAccountDescription", card->address);
	put_string(to, "EmailAccountName", card->address);
	put_string(to, "EmailAddress", card->address);
	put_incoming(to, card);
	put_outgoing(to, card);
	fputs("</dict>\n", to);
	return true;
}

/* The passphrase is not in it: who finds the profile has no identity yet. */
static bool
put_identity(FILE *to, const struct device_card *card)
{
	char name[NAME_SIZE + 8];
	bool ok;

	fputs("<dict>\n", to);
	snprintf(name, sizeof name, "%s.p12", card->login);
	ok = put_payload(to, card, "com.apple.security.pkcs12", ".identity",
	    card->login);
	put_string(to, "PayloadCertificateFileName", name);
	ok = ok && put_data(to, "PayloadContent", &card->pkcs12);
	fputs("</dict>\n", to);
	return ok;
}

static bool
put_authority(FILE *to, const struct device_card *card)
{
	bool ok;

	fputs("<dict>\n", to);
	ok = put_payload(to, card, "com.apple.security.root", ".authority",
	    "Certificate authority");
	put_string(to, "PayloadCertificateFileName", "ca.cer");
	ok = ok && put_data(to, "PayloadContent", &card->authority);
	fputs("</dict>\n", to);
	return ok;
}

bool
device_format_profile(const struct device_card *card, FILE *to)
{
	char until[USER_TIME_TEXT];
	bool ok = true;

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	      "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
	      "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
	      "<plist version=\"1.0\">\n<dict>\n<key>PayloadContent</key>\n"
	      "<array>\n",
	    to);
	if (card->authority.size > 0)
		ok = put_authority(to, card);
	if (card->pkcs12.size > 0)
		ok = ok && put_identity(to, card);
	if (card->incoming.port != 0)
		ok = ok && put_mail(to, card);
	fputs("</array>\n", to);
	ok = ok && put_payload(to, card, "Configuration", "", card->login);
	put_string(to, "PayloadOrganization", name_realm(card->owner));
	if (card->until != 0) {
		user_time_print(card->until, until);
		fprintf(to, "<key>RemovalDate</key><date>%s</date>\n", until);
	}
	fputs("</dict>\n</plist>\n", to);
	return ok;
}
