/*
 * server/config_table.c: the options of sallyport.conf, with ranges and
 * defaults.
 */
#include "config_table.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "../auth/legacy.h"
#include "../pki/pkcs11.h"
#include "config.h"
#include "config_value.h"
#include "smtp_parse.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define FIELD(s, f) offsetof(struct s, f), sizeof(((struct s *)0)->f)
#define KIB ((uint64_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static const struct word words_confine[] = { { "full", 0 }, { "best", 1 },
	{ NULL, 0 } };
static const struct word words_log[] = { { "syslog", LOG_TO_SYSLOG },
	{ "stderr", LOG_TO_STDERR }, { NULL, 0 } };
static const struct word words_tls[] = { { "implicit", 1 }, { "starttls", 0 },
	{ NULL, 0 } };
static const struct word words_kind[] = { { "submission", LISTENER_SUBMISSION },
	{ "submissions", LISTENER_SUBMISSIONS }, { NULL, 0 } };
static const struct word words_ask[] = { { "none", 0 }, { "ask", 1 },
	{ NULL, 0 } };
static const struct word words_min[] = { { "1.2", 12 }, { "1.3", 13 },
	{ NULL, 0 } };
static const struct word words_role[] = { { "server", CERTIFICATE_SERVER },
	{ "client", CERTIFICATE_CLIENT },
	{ "both", CERTIFICATE_SERVER | CERTIFICATE_CLIENT }, { NULL, 0 } };
static const struct word words_mechanism[] = { { "EXTERNAL",
						   MECHANISM_EXTERNAL },
	{ "SCRAM-SHA-256-PLUS", MECHANISM_SCRAM_SHA_256_PLUS },
	{ "SCRAM-SHA-1-PLUS", MECHANISM_SCRAM_SHA_1_PLUS },
	{ "GSSAPI", MECHANISM_GSSAPI },
	{ "SCRAM-SHA-256", MECHANISM_SCRAM_SHA_256 },
	{ "SCRAM-SHA-1", MECHANISM_SCRAM_SHA_1 },
	{ "OAUTHBEARER", MECHANISM_OAUTHBEARER },
	{ "XOAUTH2", MECHANISM_XOAUTH2 },
	{ "DIGEST-MD5", MECHANISM_DIGEST_MD5 },
	{ "CRAM-MD5", MECHANISM_CRAM_MD5 }, { "PLAIN", MECHANISM_PLAIN },
	{ "LOGIN", MECHANISM_LOGIN }, { NULL, 0 } };
static const struct word words_backend[] = { { "store", BACKEND_STORE },
	{ "pam", BACKEND_PAM }, { "kerberos", BACKEND_KERBEROS },
	{ "token", BACKEND_TOKEN }, { NULL, 0 } };
static const struct word words_legacy[] = {
	{ "auth-in-clear", LEGACY_IN_CLEAR }, { "tls1.2", LEGACY_TLS_1_2 },
	{ "login", LEGACY_LOGIN }, { "unbound", LEGACY_UNBOUND },
	{ "md5", LEGACY_MD5 }, { "sha-1", LEGACY_SHA_1 }, { NULL, 0 }
};

static const struct field top_options[] = {
	{ "hostname", T_HOST, FIELD(config, hostname), NULL, 0, 0, NULL },
	{ "realm", T_HOST, FIELD(config, realm), NULL, 0, 0, NULL },
	{ "state", T_PATH, FIELD(config, state), "state", 0, 0, NULL },
	{ "sites", T_PATH, FIELD(config, sites), "sites", 0, 0, NULL },
	{ "routes", T_PATH, FIELD(config, routes), NULL, 0, 0, NULL },
	{ "upstream", T_PATH, FIELD(config, upstream), NULL, 0, 0, NULL },
	{ "system-ca", T_PATH, FIELD(config, system_ca),
	    "/etc/ssl/certs/ca-certificates.crt", 0, 0, NULL },
	{ "resolvers", T_ADDRESSES, FIELD(config, resolvers), "", 1, 0, NULL },
	{ "trust-anchor", T_PATH, FIELD(config, trust_anchor),
	    CONFIG_TRUST_ANCHOR, 0, 0, NULL },

	{ "threads", T_COUNT, FIELD(config, threads), "0", 0, 1024, NULL },
	{ "message-size", T_SIZE, FIELD(config, message_size), "50M", 64 * KIB,
	    4 * GIB, NULL },
	{ "recipients", T_COUNT, FIELD(config, recipients), "100", 1, 10000,
	    NULL },
	{ "sessions", T_COUNT, FIELD(config, sessions), "20000", 1, 1000000,
	    NULL },
	{ "sessions-per-client", T_COUNT, FIELD(config, sessions_per_client),
	    "100", 1, 1000000, NULL },
	{ "auth-tries", T_COUNT, FIELD(config, auth_tries), "3", 1, 20, NULL },
	{ "command-timeout", T_SECONDS, FIELD(config, command_timeout_s), "5m",
	    SECOND, HOUR, NULL },
	{ "data-timeout", T_SECONDS, FIELD(config, data_timeout_s), "5m",
	    SECOND, HOUR, NULL },
	{ "handshake-timeout", T_SECONDS, FIELD(config, handshake_timeout_s),
	    "30s", SECOND, 10 * MINUTE, NULL },
	{ "spool-memory", T_SIZE, FIELD(config, spool_memory), "64M", MIB,
	    64 * GIB, NULL },
	{ "spool-reserve", T_SIZE, FIELD(config, spool_reserve), "64M", 0,
	    1024 * GIB, NULL },
	{ "trace-client", T_SWITCH, FIELD(config, trace_client), "no", 0, 0,
	    NULL },

	{ "auth-failure-delay", T_MILLISECONDS,
	    FIELD(config, auth_failure_delay_ms), "2s", 0, MINUTE, NULL },
	{ "auth-free-failures", T_COUNT, FIELD(config, auth_free_failures),
	    "10", 1, 1000000, NULL },
	{ "scram-iterations", T_COUNT, FIELD(config, scram_iterations), "10000",
	    4096, 10000000, NULL },
	{ "cache-size", T_COUNT, FIELD(config, cache_size), "10000", 0,
	    10000000, NULL },
	{ "cache-ttl", T_SECONDS, FIELD(config, cache_ttl_s), "1h", 0, 7 * DAY,
	    NULL },
	{ "pam-service", T_NAME, FIELD(config, pam_service), "sallyport", 0, 0,
	    NULL },
	{ "pam-realms", T_HOSTS, FIELD(config, pam_realms), "", 0, 0, NULL },
	{ "keytab", T_PATH, FIELD(config, keytab), NULL, 0, 0, NULL },
	{ "kerberos-realms", T_HOSTS, FIELD(config, kerberos_realms), "", 0, 0,
	    NULL },
	{ "helper-deadline", T_MILLISECONDS, FIELD(config, helper_deadline_ms),
	    "30s", 100, 10 * MINUTE, NULL },
	{ "helpers", T_COUNT, FIELD(config, helpers), "32", 1, 1024, NULL },

	{ "require-binding", T_NETWORKS, FIELD(config, require_binding), "", 0,
	    0, NULL },
	{ "legacy", T_BITS, FIELD(config, legacy),
	    "auth-in-clear tls1.2 login md5 sha-1", 0, 0, words_legacy },
	{ "legacy-until", T_DATE, FIELD(config, legacy_until), NULL, 0, 0,
	    NULL },

	{ "relay-threads", T_COUNT, FIELD(config, relay_threads), "16", 1, 256,
	    NULL },
	{ "site-connections", T_COUNT, FIELD(config, site_connections), "0", 0,
	    128, NULL },
	{ "retry-first", T_SECONDS, FIELD(config, retry_first_s), "1m", SECOND,
	    DAY, NULL },
	{ "retry-most", T_SECONDS, FIELD(config, retry_most_s), "1h", SECOND,
	    7 * DAY, NULL },
	{ "expire", T_SECONDS, FIELD(config, expire_s), "5d", SECOND, 60 * DAY,
	    NULL },
	{ "delay-notice", T_SECONDS, FIELD(config, delay_notice_s), "4h", 0,
	    60 * DAY, NULL },
	{ "connect-timeout", T_SECONDS, FIELD(config, connect_timeout_s), "30s",
	    SECOND, 10 * MINUTE, NULL },
	{ "relay-greeting-timeout", T_SECONDS,
	    FIELD(config, relay_timeout.greeting_s), "5m", SECOND, HOUR, NULL },
	{ "relay-command-timeout", T_SECONDS,
	    FIELD(config, relay_timeout.command_s), "5m", SECOND, HOUR, NULL },
	{ "relay-data-timeout", T_SECONDS, FIELD(config, relay_timeout.data_s),
	    "2m", SECOND, HOUR, NULL },
	{ "relay-block-timeout", T_SECONDS,
	    FIELD(config, relay_timeout.block_s), "3m", SECOND, HOUR, NULL },
	{ "relay-end-timeout", T_SECONDS, FIELD(config, relay_timeout.end_s),
	    "10m", SECOND, HOUR, NULL },

	{ "alarm-mail", T_MAILBOX, FIELD(config, alarm_mail), NULL, 0, 0,
	    NULL },
	{ "alarm-command", T_COMMAND, FIELD(config, alarm_command), "", 0, 0,
	    NULL },

	{ "confine", T_WORD, FIELD(config, confine_best), "full", 0, 0,
	    words_confine },
	{ "watch-files", T_SWITCH, FIELD(config, watch_files), "no", 0, 0,
	    NULL },
	{ "log", T_WORD, FIELD(config, log), "syslog", 0, 0, words_log },
	{ "debug", T_SWITCH, FIELD(config, debug), "no", 0, 0, NULL },
	{ "stop-timeout", T_SECONDS, FIELD(config, stop_timeout_s), "20s",
	    SECOND, HOUR, NULL },
	{ "end", T_SWITCH, 0, 0, NULL, 0, 0, NULL },
};

static const struct field smarthost_options[] = {
	{ "address", T_HOST_PORT, FIELD(config, smarthost.host), NULL, 0, 0,
	    NULL },
	{ "tls", T_WORD, FIELD(config, smarthost.implicit_tls), NULL, 0, 0,
	    words_tls },
	{ "ca", T_PATH, FIELD(config, smarthost.ca), NULL, 0, 0, NULL },
};

static const struct field listener_options[] = {
	{ "kind", T_WORD, FIELD(config_listener, kind), NULL, 0, 0,
	    words_kind },
	{ "addresses", T_ADDRESSES, FIELD(config_listener, addresses), NULL, 0,
	    0, NULL },
	{ "certificates", T_NAMES, FIELD(config_listener, certificates), NULL,
	    0, 0, NULL },
	{ "client-cert", T_WORD, FIELD(config_listener, ask_client_cert),
	    "none", 0, 0, words_ask },
	{ "client-ca", T_PATH, FIELD(config_listener, client_ca), NULL, 0, 0,
	    NULL },
	{ "client-crl", T_PATH, FIELD(config_listener, client_crl), NULL, 0, 0,
	    NULL },
	{ "implicit-external", T_SWITCH,
	    FIELD(config_listener, implicit_external), "no", 0, 0, NULL },
	{ "tickets", T_SWITCH, FIELD(config_listener, tickets), "yes", 0, 0,
	    NULL },
	{ "min-tls", T_WORD, FIELD(config_listener, min_tls), "1.2", 0, 0,
	    words_min },
	{ "mechanisms", T_BITS, FIELD(config_listener, mechanisms),
	    "EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 "
	    "SCRAM-SHA-1 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
	    0, 0, words_mechanism },
	{ "backends", T_BITS, FIELD(config_listener, backends), "store", 0, 0,
	    words_backend },
};

static const struct field certificate_options[] = {
	{ "chain", T_PATH, FIELD(config_certificate, chain), NULL, 0, 0, NULL },
	{ "key", T_KEY, FIELD(config_certificate, key), NULL, 0, 0, NULL },
	{ "ocsp", T_PATH, FIELD(config_certificate, ocsp), NULL, 0, 0, NULL },
	{ "role", T_WORD, FIELD(config_certificate, roles), "server", 0, 0,
	    words_role },
};

static const struct field token_options[] = {
	{ "issuer", T_STRING, FIELD(config, token.issuer), NULL, 0, 0, NULL },
	{ "audience", T_STRING, FIELD(config, token.audience), NULL, 0, 0,
	    NULL },
	{ "keys", T_PATH, FIELD(config, token.keys), NULL, 0, 0, NULL },
	{ "introspection", T_ENDPOINT, FIELD(config, token.introspection), NULL,
	    0, 0, NULL },
	{ "introspection-login", T_PATH, FIELD(config, token.login), NULL, 0, 0,
	    NULL },
	{ "introspection-ca", T_PATH, FIELD(config, token.ca), NULL, 0, 0,
	    NULL },
	{ "claim", T_STRING, FIELD(config, token.claim), "email", 0, 0, NULL },
	{ "scope", T_STRING, FIELD(config, token.scope), NULL, 0, 0, NULL },
	{ "realms", T_HOSTS, FIELD(config, token.realms), "", 0, 0, NULL },
	{ "openid-configuration", T_STRING,
	    FIELD(config, token.openid_configuration), NULL, 0, 0, NULL },
};

const struct section config_sections[SECTIONS] = {
	{ "", top_options, COUNT(top_options), false },
	{ "smarthost", smarthost_options, COUNT(smarthost_options), false },
	{ "listener", listener_options, COUNT(listener_options), true },
	{ "certificate", certificate_options, COUNT(certificate_options),
	    true },
	{ "token", token_options, COUNT(token_options), false },
};

bool
config_option(size_t i, const char **section_out, const char **name_out,
    const char **default_out)
{
	for (size_t s = 0; s < (size_t)SECTIONS; s++) {
		const struct field *o;

		if (i >= config_sections[s].count) {
			i -= config_sections[s].count;
			continue;
		}
		o = &config_sections[s].fields[i];
		*section_out = config_sections[s].name;
		*name_out = o->name;
		*default_out = o->standard == NULL ? "" : o->standard;
		return true;
	}
	return false;
}

/* "none or ask", for messages. */
static const char *
words_print(const struct word *words, char *out, size_t capacity)
{
	size_t at = 0;

	out[0] = '\0';
	for (; words->word != NULL; words++) {
		int n = snprintf(out + at, capacity - at, "%s%s",
		    at == 0                 ? ""
		    : words[1].word == NULL ? " or "
					    : ", ",
		    words->word);

		if (n < 0 || (size_t)n >= capacity - at)
			break;
		at += (size_t)n;
	}
	return out;
}

static const struct word *
word_find(const struct word *words, const char *text)
{
	for (; words->word != NULL; words++)
		if (strcmp(words->word, text) == 0)
			return words;
	return NULL;
}

/* What a value of o has to look like, for messages. */
void
field_expected(const struct field *o, char *out, size_t capacity)
{
	char words[256];

	switch (o->type) {
	case T_HOST:
	case T_HOSTS:
		snprintf(out, capacity, "a host name");
		break;
	case T_NAME:
	case T_NAMES:
		snprintf(out, capacity, "letters, digits, - and _, at most 63");
		break;
	case T_PATH:
		snprintf(out, capacity, "a path of printable characters");
		break;
	case T_KEY:
		snprintf(out, capacity,
		    "a path, or a PKCS#11 URL with token=, object= and "
		    "pin-source=FILE");
		break;
	case T_COUNT:
		snprintf(out, capacity, "%ju to %ju", (uintmax_t)o->least,
		    (uintmax_t)o->most);
		break;
	case T_SIZE:
		snprintf(out, capacity,
		    "a size such as 512K, 50M or 1G, %ju to %ju octets",
		    (uintmax_t)o->least, (uintmax_t)o->most);
		break;
	case T_SECONDS:
	case T_MILLISECONDS:
		snprintf(out, capacity,
		    "a time such as 200ms, 30s, 5m, 2h or 5d, %ju to %ju %s",
		    (uintmax_t)(o->type == T_SECONDS ? o->least / 1000
						     : o->least),
		    (uintmax_t)(o->type == T_SECONDS ? o->most / 1000
						     : o->most),
		    o->type == T_SECONDS ? "s" : "ms");
		break;
	case T_SWITCH:
		snprintf(out, capacity, "yes or no");
		break;
	case T_WORD:
	case T_BITS:
		snprintf(out, capacity, "%s",
		    words_print(o->words, words, sizeof(words)));
		break;
	case T_HOST_PORT:
		snprintf(out, capacity,
		    "HOST:PORT, ADDRESS:PORT or [IPV6]:PORT, port 1 to "
		    "65535, or srv:DOMAIN");
		break;
	case T_MAILBOX:
		snprintf(out, capacity,
		    "a mailbox such as postmaster@example.org");
		break;
	case T_DATE:
		snprintf(out, capacity, "a date such as 2027-03-31");
		break;
	case T_NETWORKS:
		snprintf(out, capacity,
		    "an address, or a network such as 192.0.2.0/24 or "
		    "2001:db8::/32");
		break;
	case T_STRING:
		snprintf(out, capacity,
		    "printable ASCII without blanks, at most 512 octets");
		break;
	case T_ENDPOINT:
		snprintf(out, capacity,
		    "a URL, https://HOST/..., or http with an address of this "
		    "host");
		break;
	case T_COMMAND:
		snprintf(out, capacity,
		    "a program and its arguments, of printable characters");
		break;
	case T_ADDRESSES:
		snprintf(out, capacity,
		    "ADDRESS:PORT or [IPV6]:PORT, port %ju to 65535",
		    (uintmax_t)o->least);
		break;
	}
}

static bool
is_path(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len >= PATH_MAX)
		return false;
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static bool
is_key(const char *text)
{
	struct pkcs11_url url;

	if (!pkcs11_is_url(text))
		return is_path(text);
	if (!pkcs11_url_parse(&url, text, NULL))
		return false;
	pkcs11_url_free(&url);
	return true;
}

static bool
in_range(const struct field *o, uint64_t v)
{
	return v >= o->least && v <= o->most;
}

/* A number, duration, switch or word as what is stored for it. */
bool
field_number(const struct field *o, const char *text, uint64_t *out)
{
	const struct word *w;
	bool on;

	switch (o->type) {
	case T_COUNT:
		return value_count(text, out) && in_range(o, *out);
	case T_SIZE:
		return value_size(text, out) && in_range(o, *out);
	case T_MILLISECONDS:
		return value_duration(text, out) && in_range(o, *out);
	case T_SECONDS:
		if (!value_duration(text, out) || !in_range(o, *out) ||
		    *out % 1000 != 0)
			return false;
		*out /= 1000;
		return true;
	case T_SWITCH:
		if (!value_switch(text, &on))
			return false;
		*out = on;
		return true;
	case T_DATE:
		return value_date(text, out);
	case T_WORD:
	case T_BITS:
		w = word_find(o->words, text);
		if (w == NULL)
			return false;
		*out = w->value;
		return true;
	default:
		return false;
	}
}

/* LOCAL@DOMAIN as RCPT takes it. */
static bool
is_mailbox(const char *text)
{
	char args[SMTP_PATH_MAX + 8];
	struct smtp_path path;
	struct slice rest;

	if (snprintf(args, sizeof(args), "TO:<%s>", text) >= (int)sizeof(args))
		return false;
	return smtp_parse_rcpt(slice_of(args), &path, &rest) ==
		   SMTP_SYNTAX_OK &&
	       path.domain.len > 0 && rest.len == 0 &&
	       path.mailbox.len == strlen(text);
}

static unsigned
port_of(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;

	return ntohs(
	    address->ss_family == AF_INET6 ? six->sin6_port : four->sin_port);
}

bool
field_is_valid(const struct field *o, const char *text)
{
	struct sockaddr_storage address;
	struct network network;
	socklen_t address_len;
	char host[254];
	uint16_t port;
	uint64_t number;
	bool srv;

	switch (o->type) {
	case T_HOST:
	case T_HOSTS:
		return value_is_host(text);
	case T_NAME:
	case T_NAMES:
		return value_is_name(text);
	case T_PATH:
		return is_path(text);
	case T_KEY:
		return is_key(text);
	case T_MAILBOX:
		return is_mailbox(text);
	case T_STRING:
		return value_is_word(text);
	case T_ENDPOINT:
		return value_is_endpoint(text);
	case T_COMMAND:
		return is_path(text); /* a word of it, bounded like one */
	case T_NETWORKS:
		return network_parse(&network, text, NULL);
	case T_HOST_PORT:
		return value_next_hop(text, host, &port, &srv);
	case T_ADDRESSES:
		return value_address(text, &address, &address_len) &&
		       port_of(&address) >= o->least;
	default:
		return field_number(o, text, &number);
	}
}

const char *
mechanism_name(unsigned bit)
{
	for (const struct word *w = words_mechanism; w->word != NULL; w++)
		if (w->value == bit)
			return w->word;
	return NULL;
}
