/* tools/device_format.c: a device's login for people and for mail programs. */
#include <jansson.h>
#include <string.h>

#include "../policy/hex.h"
#include "../server/config_value.h"
#include "device.h"
#include "user.h"

void
device_format_text(const struct device_card *card, const char *file, FILE *to)
{
	char until[VALUE_END], key[PIN_TEXT];

	fprintf(to, "login:      %s\n", card->login);
	if (card->secret[0] != '\0')
		fprintf(to, "secret:     %s\n", card->secret);
	if (card->pkcs12.data != NULL) {
		pin_print(key, card->key);
		fprintf(to, "key:        %s\n", key);
		fprintf(to, "passphrase: %s\n", card->passphrase);
	}
	if (file != NULL)
		fprintf(to, "file:       %s\n", file);
	fprintf(to, "send from:  %s\n", card->address);
	if (card->until != 0) {
		value_end_print(card->until, until);
		fprintf(to, "until:      %s\n", until);
	}
	for (size_t i = 0; i < card->server_count; i++)
		fprintf(to, "server:     %s, port %u, %s\n",
		    card->servers[i].host, (unsigned)card->servers[i].port,
		    card->servers[i].implicit_tls ? "TLS from the start"
						  : "STARTTLS");
}

static json_t *
servers_json(const struct device_card *card)
{
	json_t *servers = json_array();

	for (size_t i = 0; i < card->server_count; i++)
		json_array_append_new(servers,
		    json_pack("{s:s, s:i, s:s}", "host", card->servers[i].host,
			"port", (int)card->servers[i].port, "tls",
			card->servers[i].implicit_tls ? "implicit"
						      : "starttls"));
	return servers;
}

bool
device_format_json(const struct device_card *card, const char *file, FILE *to)
{
	char until[VALUE_END], key[PIN_TEXT];
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:o}", "login",
	    card->login, "owner", card->owner, "label", card->label, "address",
	    card->address, "servers", servers_json(card));
	bool ok;

	if (card->secret[0] != '\0')
		json_object_set_new(object, "secret",
		    json_string(card->secret));
	if (card->pkcs12.data != NULL) {
		pin_print(key, card->key);
		json_object_set_new(object, "key", json_string(key));
		json_object_set_new(object, "passphrase",
		    json_string(card->passphrase));
		json_object_set_new(object, "file", json_string(file));
	}
	if (card->until != 0) {
		value_end_print(card->until, until);
		json_object_set_new(object, "until", json_string(until));
	}
	ok = object != NULL && json_dumpf(object, to, JSON_COMPACT) == 0;
	fputc('\n', to);
	json_decref(object);
	return ok;
}

/* RFC 3986, section 2.3: all but unreserved characters; keep stands as it
 * is. */
static void
put_percent(FILE *to, const char *text, const char *keep)
{
	static const char unreserved[] = "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789-._~";

	for (; *text != '\0'; text++) {
		if (strchr(unreserved, *text) != NULL ||
		    strchr(keep, *text) != NULL)
			fputc(*text, to);
		else
			fprintf(to, "%%%02X", (unsigned)(unsigned char)*text);
	}
}

static void
put_parameter(FILE *to, const char *name, const char *value)
{
	fprintf(to, "&%s=", name);
	put_percent(to, value, "");
}

void
device_format_uri(const struct device_card *card, FILE *to)
{
	const struct device_server *in = &card->incoming;
	const struct device_server *out = &card->servers[0];

	/* p, which has to be there, is the password of incoming mail: not one
	 * that we know, and the device's is no business of that server. */
	fputs("dclogin:", to);
	put_percent(to, card->address, "@+");
	fputs("?p=&v=1", to);
	if (in->port != 0) {
		put_parameter(to, "ih", in->host);
		fprintf(to, "&ip=%u&is=%s", (unsigned)in->port,
		    in->implicit_tls ? "ssl" : "starttls");
		put_parameter(to, "iu", card->owner);
	}
	put_parameter(to, "sh", out->host);
	fprintf(to, "&sp=%u&ss=%s", (unsigned)out->port,
	    out->implicit_tls ? "ssl" : "starttls");
	put_parameter(to, "su", card->login);
	put_parameter(to, "spw", card->secret);
}

/* Numbers of the format's version 1. */
enum { THUNDERBIRD_STARTTLS = 2, THUNDERBIRD_TLS = 3 };
enum { THUNDERBIRD_IMAP, THUNDERBIRD_POP3 };
enum { THUNDERBIRD_SMTP = 0, THUNDERBIRD_PASSWORD = 1 };

static int
thunderbird_security(const struct device_server *server)
{
	return server->implicit_tls ? THUNDERBIRD_TLS : THUNDERBIRD_STARTTLS;
}

bool
device_format_thunderbird(const struct device_card *card, FILE *to)
{
	const struct device_server *in = &card->incoming;
	const struct device_server *out = &card->servers[0];
	bool is_pop3 = in->port == 110 || in->port == 995;
	json_t *root = json_pack("[i, [i, i], [i, s, i, i, i, s], "
				 "[[[i, s, i, i, i, s, s], [s, s]]]]",
	    1, 1, 1, is_pop3 ? THUNDERBIRD_POP3 : THUNDERBIRD_IMAP, in->host,
	    (int)in->port, thunderbird_security(in), THUNDERBIRD_PASSWORD,
	    card->owner, THUNDERBIRD_SMTP, out->host, (int)out->port,
	    thunderbird_security(out), THUNDERBIRD_PASSWORD, card->login,
	    card->secret, card->address, card->address);
	bool ok = root != NULL && json_dumpf(root, to, JSON_COMPACT) == 0;

	json_decref(root);
	return ok;
}
