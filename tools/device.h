/*
 * tools/device.h: what the files of "sallyport device" share.
 *
 * A card is what a person or a program has to know to use a device's login; it
 * holds secrets, and who makes one wipes it.
 */
#ifndef TOOLS_DEVICE_H
#define TOOLS_DEVICE_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "../auth/entry.h"
#include "tool.h"

enum {
	DEVICE_SECRET_SIZE = 7 * 4 + 6 + 1, /* 7 groups of 4, and hyphens */
	DEVICE_SERVERS_MAX = 8,
	DEVICE_HOST_MAX = 253,
};

struct device_server {
	char host[DEVICE_HOST_MAX + 1];
	uint16_t port; /* 0: there is none */
	bool implicit_tls;
};

struct device_card {
	char login[NAME_SIZE], owner[NAME_SIZE];
	char label[ENTRY_LABEL_MAX + 1];
	char address[ENTRY_RIGHT_MAX + 1]; /* to send from */
	char secret[DEVICE_SECRET_SIZE];   /* "" with a certificate */
	int64_t until;                     /* Unix seconds, 0: no end */
	/* Where it can log in, what fits it best first. */
	size_t server_count;
	struct device_server servers[DEVICE_SERVERS_MAX];
	struct device_server incoming; /* port 0: not given */
	gnutls_datum_t authority;      /* DER of ours, if the first server's
					  certificate is by it; or no octets */
	/* With a certificate: */
	gnutls_datum_t pkcs12;
	char passphrase[DEVICE_SECRET_SIZE];
	unsigned char key[SPKI_OCTETS];
};

void device_card_wipe(struct device_card *card);

/* device_secret.c */

/* 140 random bits as people can type them: lower case letters and digits
 * without 0, 1, l and o, in groups.  False: no random numbers. */
bool device_secret(char out[static DEVICE_SECRET_SIZE], struct reason *why);

/* device_server.c */

/* HOST[:PORT], or [ADDRESS]:PORT, of incoming mail: 993 unless given; 143 and
 * 110 begin with STARTTLS, all else with TLS. */
bool device_incoming(struct device_server *out, const char *text,
    struct reason *why);

/* The listeners that will let such a login in; false if there are none. */
bool device_servers(struct device_card *card, const struct config *config,
    bool by_certificate, struct reason *why);

/* Our own authority, for the clients that have to be told of it. */
bool device_authority(struct device_card *card, const struct config *config,
    struct reason *why);

/* device_format.c; to is written to, and its errors are the caller's. */

void device_format_text(const struct device_card *card, const char *file,
    FILE *to);
bool device_format_json(const struct device_card *card, const char *file,
    FILE *to);

/* "dclogin:", which Delta Chat reads. */
void device_format_uri(const struct device_card *card, FILE *to);

/* What Thunderbird for Android reads from a QR code; needs incoming. */
bool device_format_thunderbird(const struct device_card *card, FILE *to);

/* device_profile.c: an Apple configuration profile, with a mail account if
 * there is incoming, and an identity if there is a certificate. */
bool device_format_profile(const struct device_card *card, FILE *to);

/* device_qr.c: text as a QR code, of half blocks for a terminal, or as SVG. */

/* colours: escape sequences make it dark on light on any terminal. */
bool device_qr_text(const char *text, bool colours, FILE *to,
    struct reason *why);
bool device_qr_svg(const char *text, FILE *to, struct reason *why);

/* device_enrol.c */

enum device_format {
	DEVICE_TEXT,
	DEVICE_JSON,
	DEVICE_PROFILE,
	DEVICE_URI,
	DEVICE_QR,
	DEVICE_THUNDERBIRD,
	DEVICE_PKCS12,
	DEVICE_FORMATS
};

struct device_enrolment {
	enum device_format format;
	bool certificate;
	const char *output; /* file, or NULL */
	struct entry entry; /* its settings; name and owner are filled */
	struct device_server incoming;
};

enum tool_status device_enrol(const struct config *config, const char *owner,
    const char *label, struct device_enrolment *enrolment);

/* device_sent.c: what a login has sent, newest last. */
enum tool_status device_sent(const struct config *config, const char *login,
    bool json);

#endif
