/*
 * tools/device_enrol.c: "sallyport device enrol": a login of a device's own.
 *
 * All that can fail is done before the store is asked, and the file comes
 * before it: a login that nobody has a secret for is of no use.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../auth/rights.h"
#include "../pki/authority.h"
#include "../pki/cert.h"
#include "../pki/file.h"
#include "../pki/pkcs12.h"
#include "device.h"
#include "user.h"

enum {
	CERTIFICATE_DAYS = 825, /* more is refused by some mail clients */
	DAY_S = 86400,
};

/* The first pattern that is an address and its user's too; else the user's
 * own.  What the device will not have is said. */
static void
choose_address(struct device_card *card, const struct entry *device,
    const struct entry *owner)
{
	const struct rights rights = { owner->name, owner->rights,
		owner->rights_len };

	for (size_t i = 0; i < device->rights_len;
	     i += strlen(device->rights + i) + 1) {
		const char *pattern = device->rights + i;

		if (strchr(pattern, '*') != NULL || pattern[0] == '@')
			continue;
		if (rights_match(&rights, pattern) == NULL)
			fprintf(stderr,
			    "sallyport: %s may not send from %s, and so its "
			    "device may not\n",
			    owner->name, pattern);
		else if (card->address[0] == '\0')
			strncpy(card->address, pattern,
			    sizeof card->address - 1);
	}
	if (card->address[0] == '\0')
		strncpy(card->address, card->owner, sizeof card->address - 1);
}

/* Before a certificate is made for nothing. */
static bool
look_at_owner(struct device_card *card, const struct entry *device,
    const struct config *config, struct reason *why)
{
	struct entry owner;
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok = user_access_show(access, card->owner, &owner, why);
	user_access_close(access);
	if (ok && entry_has_device(&owner, card->label))
		ok = fail(why, REASON_EXISTS,
		    "%s: there is such a device already", card->login);
	if (ok)
		choose_address(card, device, &owner);
	explicit_bzero(&owner, sizeof owner);
	return ok;
}

static bool
name_device(struct device_card *card, struct entry *entry, const char *owner,
    const char *label, const struct config *config, struct reason *why)
{
	if (!name_parse(card->owner, owner, config->realm, why))
		return false;
	if (!entry_label_is_valid(label))
		return fail(why, REASON_SYNTAX,
		    "\"%.80s\": expected letters, digits, \"-\" and \"_\", at "
		    "most %d",
		    label, ENTRY_LABEL_MAX);
	if (!entry_device_name(card->owner, label, card->login))
		return fail(why, REASON_RANGE,
		    "%s+%s: too long for a login name", card->owner, label);
	strcpy(card->label, label);
	card->until = entry->until;
	strcpy(entry->name, card->login);
	strcpy(entry->owner, card->owner);
	entry->kind = ENTRY_DEVICE;
	entry->enabled = true;
	return true;
}

static bool
make_secret(struct device_card *card, struct entry *entry,
    const struct config *config, struct reason *why)
{
	return device_secret(card->secret, why) &&
	       verifier_make(entry->verifiers, card->secret,
		   config->scram_iterations, why);
}

/* A certificate of no use after the device's end need not last longer. */
static unsigned
days_for(const struct entry *entry)
{
	int64_t days = CERTIFICATE_DAYS;

	if (entry->until != 0)
		days = (entry->until - time(NULL) + DAY_S - 1) / DAY_S;
	return days < CERTIFICATE_DAYS ? (unsigned)(days < 1 ? 1 : days)
				       : (unsigned)CERTIFICATE_DAYS;
}

static bool
take_key(struct entry *entry, const gnutls_datum_t *chain_pem,
    struct reason *why)
{
	gnutls_x509_crt_t *chain;
	unsigned count;
	bool ok;

	if (!cert_chain_parse(chain_pem, &chain, &count, why))
		return false;
	ok = cert_spki(chain[0], entry->keys[0], why);
	entry->key_count = 1;
	cert_chain_free(chain, count);
	return ok;
}

static bool
make_certificate(struct device_card *card, struct entry *entry,
    const struct config *config, struct reason *why)
{
	const char *const names[] = { card->login };
	const struct authority_request request = {
		.names = names,
		.name_count = 1,
		.role = ISSUE_CLIENT,
		.days = days_for(entry),
	};
	const struct pki_passphrase passphrase = { tool_passphrase, NULL };
	gnutls_datum_t chain = { 0 }, key = { 0 };
	struct authority *authority;
	char folder[PATH_MAX];
	bool ok;

	snprintf(folder, sizeof folder, "%s/tls", config->folder);
	if (!authority_open(&authority, folder, &passphrase, why))
		return false;
	ok = device_secret(card->passphrase, why) &&
	     authority_issue_new(authority, &request, &chain, &key, why) &&
	     take_key(entry, &chain, why) &&
	     pkcs12_make(&chain, &key, card->login, card->passphrase,
		 &card->pkcs12, why);
	authority_close(authority);
	memcpy(card->key, entry->keys[0], SPKI_OCTETS);
	pki_octets_wipe(&chain);
	pki_octets_wipe(&key);
	return ok;
}

static bool
put_qr(const char *text, bool as_svg, FILE *to, struct reason *why)
{
	return as_svg ? device_qr_svg(text, to, why)
		      : device_qr_text(text, isatty(STDOUT_FILENO), to, why);
}

static bool
is_ascii(const char *text)
{
	while (*text != '\0' && (unsigned char)*text < 0x80)
		text++;
	return *text == '\0';
}

/* What a client's camera reads. */
static bool
put_code(const struct device_enrolment *e, const struct device_card *card,
    FILE *to, struct reason *why)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out;
	bool ok;

	/* It would pass over the account and not say why. */
	if (e->format == DEVICE_THUNDERBIRD && !is_ascii(card->address))
		return fail(why, REASON_RANGE,
		    "%s: Thunderbird's codes take addresses in ASCII only",
		    card->address);
	out = open_memstream(&text, &len);
	ok = out != NULL;
	if (ok && e->format == DEVICE_QR)
		device_format_uri(card, out);
	else if (ok)
		ok = device_format_thunderbird(card, out);
	if (out == NULL || fclose(out) != 0 || !ok)
		ok = fail(why, REASON_NO_MEMORY, "QR code");
	ok = ok && put_qr(text, e->output != NULL, to, why);
	if (text != NULL)
		explicit_bzero(text, len);
	free(text);
	return ok;
}

static bool
put_payload(const struct device_enrolment *e, const struct device_card *card,
    FILE *to, struct reason *why)
{
	bool ok = true;

	switch (e->format) {
	case DEVICE_TEXT:
	case DEVICE_PKCS12:
		device_format_text(card, e->certificate ? e->output : NULL, to);
		break;
	case DEVICE_JSON:
		ok = device_format_json(card, e->certificate ? e->output : NULL,
		    to);
		break;
	case DEVICE_URI:
		device_format_uri(card, to);
		fputc('\n', to);
		break;
	case DEVICE_PROFILE:
		ok = device_format_profile(card, to);
		break;
	case DEVICE_QR:
	case DEVICE_THUNDERBIRD:
		return put_code(e, card, to, why);
	case DEVICE_FORMATS:
		return false;
	}
	return ok || fail(why, REASON_NO_MEMORY, "%s", card->login);
}

/* In memory, because nothing is to be said before the store has it. */
static bool
make_payload(const struct device_enrolment *e, const struct device_card *card,
    gnutls_datum_t *out, struct reason *why)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	bool ok;

	if (to == NULL)
		return fail(why, REASON_NO_MEMORY, "%s", card->login);
	ok = put_payload(e, card, to, why);
	if (fclose(to) != 0)
		ok = fail(why, REASON_NO_MEMORY, "%s", card->login);
	*out = (gnutls_datum_t){ (unsigned char *)text, (unsigned)len };
	return ok;
}

/* Is the PKCS#12 file what --output names, and the payload for the reader? */
static bool
writes_pkcs12(const struct device_enrolment *e)
{
	return e->certificate && e->format != DEVICE_PROFILE;
}

static bool
write_output(const struct device_enrolment *e, const struct device_card *card,
    const gnutls_datum_t *payload, struct reason *why)
{
	const gnutls_datum_t *octets =
	    writes_pkcs12(e) ? &card->pkcs12 : payload;

	return e->output == NULL || pki_file_write(e->output, octets->data,
					octets->size, PKI_KEY_MODE, false, why);
}

static bool
ask_store(const struct config *config, struct entry *entry, struct reason *why)
{
	struct user_access *access;
	bool ok;

	if (!user_access_open(&access, config, why))
		return false;
	ok =
	    user_access_ask(access, CONTROL_USER_ENROL, entry, NULL, NULL, why);
	user_access_close(access);
	return ok;
}

/* The file says the rest. */
static void
print_where(const struct device_enrolment *e, const struct device_card *card)
{
	printf("login:      %s\nfile:       %s\n", card->login, e->output);
	if (e->certificate)
		printf("passphrase: %s\n", card->passphrase);
}

static bool
enrol(const struct config *config, struct device_enrolment *e,
    struct device_card *card, gnutls_datum_t *payload, struct reason *why)
{
	card->incoming = e->incoming;
	if (!look_at_owner(card, &e->entry, config, why) ||
	    !device_servers(card, config, e->certificate, why) ||
	    !device_authority(card, config, why) ||
	    !(e->certificate ? make_certificate(card, &e->entry, config, why)
			     : make_secret(card, &e->entry, config, why)) ||
	    !make_payload(e, card, payload, why) ||
	    !write_output(e, card, payload, why))
		return false;
	if (ask_store(config, &e->entry, why))
		return true;
	if (e->output != NULL)
		unlink(e->output);
	return false;
}

enum tool_status
device_enrol(const struct config *config, const char *owner, const char *label,
    struct device_enrolment *e)
{
	struct device_card card = { 0 };
	gnutls_datum_t payload = { 0 };
	struct reason why = { 0 };
	bool ok = name_device(&card, &e->entry, owner, label, config, &why) &&
		  enrol(config, e, &card, &payload, &why);

	if (!ok)
		tool_error(&why);
	else if (e->output == NULL || writes_pkcs12(e))
		fwrite(payload.data, 1, payload.size, stdout);
	else
		print_where(e, &card);
	pki_octets_wipe(&payload);
	device_card_wipe(&card);
	explicit_bzero(&e->entry, sizeof e->entry);
	return ok ? TOOL_DONE : TOOL_NO;
}
