/*
 * pki/name.c: the names a certificate of ours can stand for.
 */
#include "name.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	DNS_NAME_MAX = 253,
	DNS_LABEL_MAX = 63,
	LOCAL_PART_MAX = 64, /* RFC 5321, section 4.5.3.1.1 */
};

static bool
is_label(const char *label, size_t len)
{
	if (len == 0 || len > DNS_LABEL_MAX || label[0] == '-' ||
	    label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!((label[i] >= 'a' && label[i] <= 'z') ||
			(label[i] >= 'A' && label[i] <= 'Z') ||
			(label[i] >= '0' && label[i] <= '9') ||
			label[i] == '-'))
			return false;
	return true;
}

static bool
is_domain(const char *name)
{
	size_t len = strlen(name), label;

	if (len == 0 || len > DNS_NAME_MAX)
		return false;
	for (;;) {
		label = strcspn(name, ".");
		if (!is_label(name, label))
			return false;
		if (name[label] == '\0')
			return true;
		name += label + 1;
	}
}

/* "*." may stand in front (RFC 9525, section 6.3). */
static bool
is_dns_name(const char *name)
{
	return strlen(name) <= DNS_NAME_MAX &&
	       is_domain(strncmp(name, "*.", 2) == 0 ? name + 2 : name);
}

/* What an rfc822Name can hold (RFC 5280, section 4.2.1.6), without quoting. */
static bool
is_mailbox(const char *name)
{
	const char *at = strrchr(name, '@');

	if (at == NULL || at == name || at - name > LOCAL_PART_MAX)
		return false;
	for (const char *c = name; c < at; c++)
		if (*c <= ' ' || *c > '~' ||
		    strchr("()<>[]:;@\\,\"", *c) != NULL)
			return false;
	return is_domain(at + 1);
}

enum pki_name_kind
pki_name_kind(const char *name, unsigned char *address_out, size_t *len_out)
{
	unsigned char octets[16];
	size_t len = 0;

	if (inet_pton(AF_INET, name, octets) == 1)
		len = 4;
	else if (inet_pton(AF_INET6, name, octets) == 1)
		len = 16;
	if (len > 0) {
		if (address_out != NULL)
			memcpy(address_out, octets, len);
		if (len_out != NULL)
			*len_out = len;
		return PKI_NAME_ADDRESS;
	}
	if (is_dns_name(name))
		return PKI_NAME_DNS;
	return is_mailbox(name) ? PKI_NAME_MAILBOX : PKI_NAME_BAD;
}

bool
pki_names_check(const char *const *names, size_t count, size_t most,
    struct reason *why)
{
	if (count == 0 || count > most)
		return fail(why, REASON_RANGE, "%zu names, expected 1 to %zu",
		    count, most);
	for (size_t i = 0; i < count; i++)
		if (pki_name_kind(names[i], NULL, NULL) == PKI_NAME_BAD)
			return fail(why, REASON_SYNTAX,
			    "\"%.100s\": expected a DNS name, an address or a "
			    "mailbox",
			    names[i]);
	return true;
}

/* One name as the library wants it. */
struct alt_name {
	gnutls_x509_subject_alt_name_t type;
	const void *data;
	unsigned len;
	unsigned char address[16];
};

static void
alt_name_make(struct alt_name *out, const char *name)
{
	size_t len = strlen(name);

	out->data = name;
	switch (pki_name_kind(name, out->address, &len)) {
	case PKI_NAME_ADDRESS:
		out->type = GNUTLS_SAN_IPADDRESS;
		out->data = out->address;
		break;
	case PKI_NAME_MAILBOX:
		out->type = GNUTLS_SAN_RFC822NAME;
		break;
	default:
		out->type = GNUTLS_SAN_DNSNAME;
		break;
	}
	out->len = (unsigned)len;
}

int
pki_names_to_crt(gnutls_x509_crt_t crt, const char *const *names, size_t count)
{
	struct alt_name name;
	int rc = 0;

	for (size_t i = 0; i < count && rc >= 0; i++) {
		alt_name_make(&name, names[i]);
		rc = gnutls_x509_crt_set_subject_alt_name(crt, name.type,
		    name.data, name.len, GNUTLS_FSAN_APPEND);
	}
	return rc;
}

int
pki_names_to_crq(gnutls_x509_crq_t crq, const char *const *names, size_t count)
{
	struct alt_name name;
	int rc = 0;

	for (size_t i = 0; i < count && rc >= 0; i++) {
		alt_name_make(&name, names[i]);
		rc = gnutls_x509_crq_set_subject_alt_name(crq, name.type,
		    name.data, name.len, GNUTLS_FSAN_APPEND);
	}
	return rc;
}

static int
constrain(gnutls_x509_name_constraints_t constraints, bool permitted,
    gnutls_x509_subject_alt_name_t type, const gnutls_datum_t *name)
{
	return permitted
		   ? gnutls_x509_name_constraints_add_permitted(constraints,
			 type, name)
		   : gnutls_x509_name_constraints_add_excluded(constraints,
			 type, name);
}

bool
pki_name_constrain(gnutls_x509_name_constraints_t constraints, bool permitted,
    const char *text, struct reason *why)
{
	gnutls_datum_t name = { (unsigned char *)(uintptr_t)text,
		(unsigned)strlen(text) };
	gnutls_datum_t network = { 0 };
	int rc;

	if (strchr(text, '/') != NULL) {
		rc = gnutls_x509_cidr_to_rfc5280(text, &network);
		if (rc >= 0)
			rc = constrain(constraints, permitted,
			    GNUTLS_SAN_IPADDRESS, &network);
		gnutls_free(network.data);
	} else if (text[0] == '@' && is_domain(text + 1)) {
		name = (gnutls_datum_t){ name.data + 1, name.size - 1 };
		rc = constrain(constraints, permitted, GNUTLS_SAN_RFC822NAME,
		    &name);
	} else if (is_mailbox(text)) {
		rc = constrain(constraints, permitted, GNUTLS_SAN_RFC822NAME,
		    &name);
	} else if (is_domain(text)) {
		rc = constrain(constraints, permitted, GNUTLS_SAN_DNSNAME,
		    &name);
	} else {
		rc = GNUTLS_E_PARSING_ERROR;
	}
	return rc >= 0 ||
	       fail(why, REASON_SYNTAX,
		   "\"%.100s\": expected a domain, a network, a mailbox or "
		   "@domain",
		   text);
}

static bool
is_permitted(gnutls_x509_name_constraints_t constraints, const char *text)
{
	struct alt_name name;
	gnutls_datum_t data;

	alt_name_make(&name, text);
	data =
	    (gnutls_datum_t){ (unsigned char *)(uintptr_t)name.data, name.len };
	return gnutls_x509_name_constraints_check(constraints, name.type,
		   &data) != 0;
}

bool
pki_names_permitted(gnutls_x509_crt_t authority, const char *const *names,
    size_t count, struct reason *why)
{
	gnutls_x509_name_constraints_t constraints;
	bool ok = true;
	int rc;

	if (gnutls_x509_name_constraints_init(&constraints) < 0)
		return fail(why, REASON_NO_MEMORY, "name constraints");
	rc = gnutls_x509_crt_get_name_constraints(authority, constraints, 0,
	    NULL);
	if (rc < 0 && rc != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		ok = fail(why, REASON_CERT_BAD, "name constraints: %s",
		    gnutls_strerror(rc));
	for (size_t i = 0; rc >= 0 && ok && i < count; i++)
		if (!is_permitted(constraints, names[i]))
			ok = fail(why, REASON_CERT_BAD,
			    "\"%.100s\": the authority may not vouch for that "
			    "name: its name constraints",
			    names[i]);
	gnutls_x509_name_constraints_deinit(constraints);
	return ok;
}
