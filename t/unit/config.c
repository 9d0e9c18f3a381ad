/*
 * t/unit/config.c: sallyport.conf says what it means, or where it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../auth/legacy.h"
#include "../../server/config.h"
#include "../../server/config_value.h"

#include <cmocka.h> /* last: it has a macro named fail */

static const char good[] =
    "hostname = \"mail.example.org\"\n"                           /* 1 */
    "# a comment\n"                                               /* 2 */
    "smarthost { address = \"smtp.isp.example:465\" }\n"          /* 3 */
    "listener submission {\n"                                     /* 4 */
    "  kind = submission\n"                                       /* 5 */
    "  addresses = { \"127.0.0.1:0\", \"[::1]:0\" }\n"            /* 6 */
    "}\n"                                                         /* 7 */
    "certificate server { chain = tls/s.pem key = \"/k.pem\" }\n" /* 8 */
    "message-size = 10M\n"                                        /* 9 */
    "end = true\n";                                               /* 10 */

static struct config *
parse(const char *text, struct reason *why)
{
	struct config *config = NULL;

	if (!config_parse(&config, "/etc/s/s.conf", text, strlen(text), why))
		return NULL;
	return config;
}

/* good with its first from replaced by to; the caller frees. */
static char *
edited(const char *from, const char *to)
{
	const char *at = strstr(good, from);
	char *text;

	assert_non_null(at);
	assert_true(asprintf(&text, "%.*s%s%s", (int)(at - good), good, to,
			at + strlen(from)) > 0);
	return text;
}

static void
defaults_and_paths(void **state)
{
	struct reason why;
	struct config *c = parse(good, &why);
	const struct config_listener *l;

	(void)state;
	assert_non_null(c);
	assert_string_equal(c->realm, "example.org");
	assert_string_equal(c->state, "/etc/s/state");
	assert_null(c->upstream);
	assert_int_equal(c->resolver_count, 0);
	assert_string_equal(c->trust_anchor, CONFIG_TRUST_ANCHOR);
	assert_int_equal(c->trust_anchor_line, 0);
	assert_string_equal(c->certificates[0].chain, "/etc/s/tls/s.pem");
	assert_string_equal(c->certificates[0].key, "/k.pem");
	assert_int_equal(c->certificates[0].roles, CERTIFICATE_SERVER);
	assert_string_equal(c->smarthost.host, "smtp.isp.example");
	assert_int_equal(c->smarthost.port, 465);
	assert_true(c->smarthost.implicit_tls);
	assert_true(c->message_size == 10 * 1024 * 1024);
	assert_int_equal(c->data_timeout_s, 300);
	assert_int_equal(c->auth_failure_delay_ms, 2000);
	assert_int_equal(c->expire_s, 5 * 86400);
	assert_int_equal(c->delay_notice_s, 4 * 3600);
	assert_int_equal(c->pam_realm_count, 1);
	assert_string_equal(c->pam_realms[0], "example.org");
	l = config_listener(c, "submission");
	assert_non_null(l);
	assert_int_equal(l->address_count, 2);
	assert_string_equal(l->addresses[1], "[::1]:0");
	assert_string_equal(l->certificates[0], "server");
	assert_true(l->tickets);
	assert_int_equal(l->min_tls, 12);
	assert_int_equal(l->mechanisms, MECHANISM_EXTERNAL | MECHANISMS_SCRAM |
					    MECHANISM_PLAIN | MECHANISM_LOGIN);
	assert_false(l->implicit_external);
	assert_int_equal(l->backends, BACKEND_STORE);
	assert_null(config_listener(c, "other"));
	config_free(c);
}

/* from in the good text becomes to; says is in the message. */
static const struct {
	const char *name, *from, *to, *says;
} wrong[] = {
	{ "unknown option", "hostname", "hostnam", ":1: no such option" },
	{ "cut off before end", "end = true\n", "", "cut off" },
	{ "cut off inside a section", "}\ncertificate", "\ncertificate",
	    ":4: the brace opened here" },
	{ "end is not true", "end = true", "end = yes", ":10: end" },
	{ "text after end", "end = true\n", "end = true\nx = 1\n", ":11:" },
	{ "a section after end", "end = true\n", "end = true\nlistener x {\n",
	    ":11:" },
	{ "repeated scalar", "end", "message-size = 2M\nend",
	    ":10: message-size: given twice" },
	{ "repeated list", "  kind", "  addresses = {}\n  kind",
	    ":7: addresses: given twice" },
	{ "repeated title", "end",
	    "listener submission { kind = submissions }\nend",
	    ":10: listener submission: given twice" },
	{ "repeated section", "end", "smarthost { address = \"a.b:1\" }\nend",
	    ":10: smarthost: given twice" },
	{ "variable", "mail.example.org", "${HOME}", ":1: \"${\"" },
	{ "variable in a comment", "a comment", "${HOME}", ":2: \"${\"" },
	{ "append", "message-size =", "message-size +=", ":9:" },
	{ "NUL-like octet", "mail.example", "mail\001example", ":1: octet" },
	{ "host name", "mail.example.org", "-mail", ":1: hostname" },
	{ "size", "10M", "10k", ":9: message-size: \"10k\"" },
	{ "size out of range", "10M", "5G", ":9: message-size" },
	{ "size overflow", "10M", "99999999999999999999G", ":9:" },
	{ "time without unit", "end", "expire = 5\nend", ":10: expire" },
	{ "time too fine", "end", "expire = 1500ms\nend", ":10: expire" },
	{ "count", "end", "recipients = many\nend", ":10: recipients" },
	{ "switch", "end", "debug = perhaps\nend",
	    ":10: debug: \"perhaps\", expected yes or no" },
	{ "port", "127.0.0.1:0", "127.0.0.1:70000", ":6: addresses" },
	{ "address", "127.0.0.1:0", "localhost:587", ":6: addresses" },
	{ "the same address twice", "127.0.0.1:0",
	    "127.0.0.1:5\", "
	    "\"127.0.0.1:5",
	    "each address once" },
	{ "smarthost", "smtp.isp.example:465", "smtp.isp.example:0",
	    ":3: address" },
	{ "no smarthost", "smarthost { address = \"smtp.isp.example:465\" }",
	    "", "no smarthost" },
	{ "no smarthost address", "address = \"smtp.isp.example:465\"", "",
	    ":3: smarthost" },
	{ "no hostname", "hostname = \"mail.example.org\"", "", "no hostname" },
	{ "no kind", "kind = submission", "", "no kind" },
	{ "no title", "listener submission", "listener", "listener" },
	{ "bad title", "listener submission", "listener \"a b\"",
	    "listener \"a b\"" },
	{ "no key", "key = \"/k.pem\"", "", ":8: certificate server: no key" },
	{ "unknown certificate", "  kind", "  certificates = { other }\n  kind",
	    "listener submission: certificate other" },
	{ "no certificate for servers", "key =", "role = client key =",
	    "listener submission: no certificate" },
	{ "mechanism", "  kind", "  mechanisms = { NTLM }\n  kind",
	    ":5: mechanisms: \"NTLM\", expected EXTERNAL, SCRAM-SHA-256" },
	{ "no mechanism left", "  kind",
	    "  mechanisms = { SCRAM-SHA-256 } backends = { pam }\n  kind",
	    "no mechanism that its backends can serve" },
	{ "resolver without a port", "end", "resolvers = { \"::1\" }\nend",
	    ":10: resolvers: \"::1\", expected ADDRESS:PORT" },
	{ "resolver by name", "end", "resolvers = { \"a.b:53\" }\nend",
	    ":10: resolvers" },
	{ "resolver at port 0", "end", "resolvers = { \"[::1]:0\" }\nend",
	    ":10: resolvers: \"[::1]:0\", expected ADDRESS:PORT or "
	    "[IPV6]:PORT, port 1 to 65535" },
	{ "trust anchor", "end", "trust-anchor = \"\"\nend",
	    ":10: trust-anchor" },
	{ "network by name", "end", "require-binding = { \"a.b\" }\nend",
	    ":10: require-binding: \"a.b\", expected an address, or a "
	    "network" },
	{ "network with bits beyond its prefix", "end",
	    "require-binding = { \"0.0.0.0/0\", \"192.0.2.1/24\" }\nend",
	    ":10: require-binding: \"192.0.2.1/24\"" },
	{ "practice", "end", "legacy = { login, ssl3 }\nend",
	    ":10: legacy: \"ssl3\", expected auth-in-clear, tls1.2, login, "
	    "unbound, md5 or sha-1" },
	{ "date", "end", "legacy-until = \"2027-02-29\"\nend",
	    ":10: legacy-until: \"2027-02-29\", expected a date such as "
	    "2027-03-31" },
	{ "retry order", "end", "retry-first = 2h\nend", "retry-most" },
	{ "unclosed string", "\"mail.example.org\"", "\"mail", ":" },
	{ "unclosed comment", "# a comment", "/* a comment",
	    ":2: comment never ends" },
	{ "stray value", "end", "foo\nend", ":10:" },
};

static void
what_is_wrong_is_refused_with_its_place(void **state)
{
	int bad = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		char *text = edited(wrong[i].from, wrong[i].to);
		struct reason why = { .text = "" };
		struct config *c = parse(text, &why);

		if (c != NULL || strstr(why.text, wrong[i].says) == NULL ||
		    strncmp(why.text, "/etc/s/s.conf:", 14) != 0) {
			print_error("%s: %s\n", wrong[i].name,
			    c != NULL ? "accepted" : why.text);
			bad++;
		}
		config_free(c);
		free(text);
	}
	assert_int_equal(bad, 0);
}

/* A file that was cut anywhere is not taken for a whole one. */
static void
every_cut_is_refused(void **state)
{
	struct config *c;

	(void)state;
	for (size_t len = 0; len + 2 <= strlen(good); len++) {
		if (config_parse(&c, "/c", good, len, NULL))
			fail_msg("accepted when cut at %zu", len);
	}
}

static void
unserved_mechanisms_are_removed(void **state)
{
	char *text = edited("  kind", "  backends = { pam }\n  kind");
	struct config *c = parse(text, NULL);

	(void)state;
	free(text);
	assert_non_null(c);
	assert_int_equal(c->listeners[0].mechanisms,
	    MECHANISM_PLAIN | MECHANISM_LOGIN);
	assert_int_equal(c->listeners[0].unserved,
	    MECHANISM_EXTERNAL | MECHANISMS_SCRAM);
	config_free(c);
}

/* Whether the file names it is known, and where: prepare.c says so. */
static void
names_in_dns(void **state)
{
	char *text =
	    edited("end", "resolvers = { \"192.0.2.1:53\", \"[::1]:5353\" }\n"
			  "trust-anchor = /usr/share/dns/root.key\nend");
	struct config *c = parse(text, NULL);

	(void)state;
	free(text);
	assert_non_null(c);
	assert_int_equal(c->resolver_count, 2);
	assert_string_equal(c->resolvers[0], "192.0.2.1:53");
	assert_string_equal(c->resolvers[1], "[::1]:5353");
	assert_string_equal(c->trust_anchor, CONFIG_TRUST_ANCHOR);
	assert_int_equal(c->trust_anchor_line, 11);
	config_free(c);
}

static void
dates(void **state)
{
	static const struct {
		const char *text;
		int64_t over; /* -1: refused */
	} rows[] = {
		{ "2027-03-31", 1806537600 }, /* 2027-04-01T00:00:00Z */
		{ "2028-02-29", 1835481600 },
		{ "2000-01-01", 946771200 },
		{ "2999-12-31", 32503680000 },
		{ "2027-02-29", -1 },
		{ "2027-04-31", -1 },
		{ "2027-13-01", -1 },
		{ "2027-00-01", -1 },
		{ "2027-01-00", -1 },
		{ "1999-12-31", -1 },
		{ "3000-01-01", -1 },
		{ "2027-3-31", -1 },
		{ "2027-03-31 ", -1 },
		{ "2027/03/31", -1 },
		{ "", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char printed[VALUE_END];
		uint64_t over = 7;
		bool ok = value_date(rows[i].text, &over);

		if (ok != (rows[i].over >= 0) ||
		    (ok && over != (uint64_t)rows[i].over) ||
		    (!ok && over != 7))
			fail_msg("\"%s\": %d %ju", rows[i].text, ok,
			    (uintmax_t)over);
		if (!ok)
			continue;
		value_end_print(rows[i].over, printed);
		assert_string_equal(printed, rows[i].text);
	}
}

static void
ends_are_days_or_seconds(void **state)
{
	static const struct {
		const char *text;
		int64_t over;        /* -1: refused */
		const char *printed; /* NULL: as text */
	} rows[] = {
		{ "2027-03-31", 1806537600, NULL },
		{ "2027-03-31T00:00:00Z", 1806451200, "2027-03-30" },
		{ "2027-03-31T00:00:01Z", 1806451201, NULL },
		{ "2027-03-31T12:34:56Z", 1806496496, NULL },
		{ "2027-03-31T23:59:59Z", 1806537599, NULL },
		{ "2027-04-01T00:00:00Z", 1806537600, "2027-03-31" },
		{ "2027-03-31T24:00:00Z", -1, NULL },
		{ "2027-03-31T23:60:00Z", -1, NULL },
		{ "2027-03-31T23:59:60Z", -1, NULL },
		{ "2027-02-29T12:00:00Z", -1, NULL },
		{ "2027-03-31T12:00:00", -1, NULL },
		{ "2027-03-31T12:00:00Z ", -1, NULL },
		{ " 2027-03-31T12:00:0Z", -1, NULL },
		{ "2027-03-31 12:00:00Z", -1, NULL },
		{ " 2027-03-3", -1, NULL },
		{ "", -1, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *printed = rows[i].printed;
		char again[VALUE_END];
		int64_t over = -1;
		bool ok = value_end(rows[i].text, &over);

		if (ok != (rows[i].over >= 0) || over != rows[i].over)
			fail_msg("\"%s\": %d %jd", rows[i].text, ok,
			    (intmax_t)over);
		if (!ok)
			continue;
		value_end_print(over, again);
		assert_string_equal(again,
		    printed != NULL ? printed : rows[i].text);
	}
}

static void
where_binding_is_required(void **state)
{
	char *text = edited("end",
	    "require-binding = { \"192.0.2.0/24\", \"2001:db8::/32\" }\nend");
	struct config *c = parse(good, NULL);

	(void)state;
	assert_false(config_requires_binding(c, "192.0.2.1"));
	config_free(c);
	c = parse(text, NULL);
	free(text);
	assert_non_null(c);
	assert_true(config_requires_binding(c, "192.0.2.1"));
	assert_true(config_requires_binding(c, "::ffff:192.0.2.1"));
	assert_true(config_requires_binding(c, "2001:db8:1::1"));
	assert_false(config_requires_binding(c, "192.0.3.1"));
	assert_false(config_requires_binding(c, "::1"));
	config_free(c);
}

static void
old_practices(void **state)
{
	char *text = edited("end",
	    "legacy = { unbound, login }\nlegacy-until = \"2027-03-31\"\nend");
	struct config *c = parse(good, NULL);

	(void)state;
	/* What needs a server and client that bind has to be asked for. */
	assert_int_equal(c->legacy, LEGACY_ALL & ~LEGACY_UNBOUND);
	assert_int_equal(c->legacy_until, 0);
	config_free(c);
	c = parse(text, NULL);
	free(text);
	assert_non_null(c);
	assert_int_equal(c->legacy, LEGACY_LOGIN | LEGACY_UNBOUND);
	assert_int_equal(c->legacy_until, 1806537600);
	config_free(c);
	/* The words are those of auth/legacy.h. */
	for (unsigned bit = 1; bit < LEGACY_ALL; bit <<= 1) {
		char word[LEGACY_TEXT], line[LEGACY_TEXT + 32];

		legacy_print(bit, word);
		snprintf(line, sizeof(line), "legacy = { %s }\nend", word);
		text = edited("end", line);
		c = parse(text, NULL);
		free(text);
		assert_non_null(c);
		assert_int_equal(c->legacy, bit);
		config_free(c);
	}
}

static void
host_and_port(void **state)
{
	static const struct {
		const char *text, *host; /* host NULL: refused */
		uint16_t port;
	} rows[] = {
		{ "Smtp.Example:25", "smtp.example", 25 },
		{ "smtp.example", "smtp.example", 0 },
		{ "192.0.2.1:25", "192.0.2.1", 25 },
		{ "[2001:DB8::1]:25", "2001:db8::1", 25 },
		{ "[2001:db8::1]", "2001:db8::1", 0 },
		{ "2001:db8::1", "2001:db8::1", 0 },
		{ "smtp.example:", NULL, 0 },
		{ "smtp.example:0", NULL, 0 },
		{ "smtp.example:65536", NULL, 0 },
		{ "smtp.example:2 5", NULL, 0 },
		{ "[smtp.example]:25", NULL, 0 },
		{ "smtp..example:25", NULL, 0 },
		{ "1.2.3:25", NULL, 0 },
		{ ":25", NULL, 0 },
		{ "", NULL, 0 },
		{ "[]", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char host[254] = "";
		uint16_t port = 0;
		bool ok = value_host_port(rows[i].text, host, &port);

		if (ok != (rows[i].host != NULL) ||
		    (ok && (strcmp(host, rows[i].host) != 0 ||
			       port != rows[i].port)))
			fail_msg("\"%s\": %d %s %u", rows[i].text, ok, host,
			    port);
	}
}

static void
next_hops(void **state)
{
	static const struct {
		const char *text, *host; /* host NULL: refused */
		uint16_t port;
		bool srv;
	} rows[] = {
		{ "Smtp.Example:25", "smtp.example", 25, false },
		{ "srv:Smtp.Example", "smtp.example", 0, true },
		{ "SRV:example", "example", 0, true },
		{ "srv:25", "srv", 25, false }, /* a host of that name */
		{ "srv", "srv", 0, false },
		{ "srv:", NULL, 0, false },
		{ "srv:smtp.example:25", NULL, 0, false },
		{ "srv:192.0.2.1", NULL, 0, false },
		{ "srv:[2001:db8::1]", NULL, 0, false },
		{ "srv:a..b", NULL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char host[254] = "";
		uint16_t port = 0;
		bool srv = false, ok;

		ok = value_next_hop(rows[i].text, host, &port, &srv);
		if (ok != (rows[i].host != NULL) ||
		    (ok && (strcmp(host, rows[i].host) != 0 ||
			       port != rows[i].port || srv != rows[i].srv)))
			fail_msg("\"%s\": %d %s %u %d", rows[i].text, ok,
			    host, port, srv);
	}
}

/* A row that a name selects needs a listener that asks everybody; a row
 * without ca= needs one with anchors. */
static void
who_can_verify_clients(void **state)
{
	static const struct {
		const char *listener;
		bool by_address, by_address_ca, by_name, by_name_ca;
	} rows[] = {
		{ "", false, true, false, false },
		{ "  client-cert = ask\n", false, true, false, true },
		{ "  client-ca = ca.pem\n", true, true, false, false },
		{ "  client-cert = ask\n  client-ca = ca.pem\n", true, true,
		    true, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct reason why;
		struct config *c;
		char *text, *to;

		assert_true(asprintf(&to, "  kind = submission\n%s",
				rows[i].listener) > 0);
		text = edited("  kind = submission\n", to);
		c = parse(text, &why);
		assert_non_null(c);
		if (config_can_verify_clients(c, false, false) !=
			rows[i].by_address ||
		    config_can_verify_clients(c, false, true) !=
			rows[i].by_address_ca ||
		    config_can_verify_clients(c, true, false) !=
			rows[i].by_name ||
		    config_can_verify_clients(c, true, true) !=
			rows[i].by_name_ca)
			fail_msg("\"%s\"", rows[i].listener);
		config_free(c);
		free(text);
		free(to);
	}
}

/* The name of a ".It Ic NAME" line, or NULL. */
static char *
manual_option(char *line)
{
	static const char macro[] = ".It Ic ";

	if (strncmp(line, macro, strlen(macro)) != 0)
		return NULL;
	line += strlen(macro);
	line[strcspn(line, " \n")] = '\0';
	return line;
}

static bool
is_option(const char *word)
{
	const char *section, *name, *standard;

	for (size_t i = 0; config_option(i, &section, &name, &standard); i++)
		if (strcmp(name, word) == 0)
			return true;
	return false;
}

/* Is there an entry for name, and its default, if any, after it? */
static bool
is_documented(const char *page, const char *name, const char *standard)
{
	char entry[80], value[80];
	const char *at = page;

	snprintf(entry, sizeof(entry), "\n.It Ic %s\n", name);
	/* sections may have options of one name: any may be it */
	snprintf(value, sizeof(value), "\n.Li %s%s", standard,
	    strchr(standard, ' ') != NULL ? "" : " ");
	while ((at = strstr(at, entry)) != NULL) {
		const char *next = strstr(at + strlen(entry), "\n.It ");
		const char *found = strstr(at, value);

		if (*standard == '\0' ||
		    (found != NULL && (next == NULL || found < next)))
			return true;
		at += strlen(entry);
	}
	return false;
}

static void
options_and_manual_agree(void **state)
{
	static char page[65536];
	const char *section, *name, *standard;
	FILE *f = fopen("man/sallyport.conf.5", "r");
	char line[256], *word;

	(void)state;
	if (f == NULL) {
		print_message("# not tried: not run from the repository\n");
		return;
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		strncat(page, line, sizeof(page) - strlen(page) - 1);
		word = manual_option(line);
		if (word != NULL && !is_option(word))
			fail_msg("%s is in the manual alone", word);
	}
	fclose(f);
	for (size_t i = 0; config_option(i, &section, &name, &standard); i++)
		if (!is_documented(page, name, standard))
			fail_msg("%s %s, default \"%s\": not in the manual",
			    section, name, standard);
}

/* A listener with the backend, and a section; NULL: no refusal. */
static const struct {
	const char *what, *section, *refused;
} token_rows[] = {
	{ "keys",
	    "token { issuer = \"https://i.example\" audience = us keys = k }",
	    NULL },
	{ "endpoint",
	    "token { introspection = \"https://i.example/x\" "
	    "introspection-login = l }",
	    NULL },
	{ "endpoint on this host",
	    "token { introspection = \"http://127.0.0.1:8080/\" "
	    "introspection-login = l }",
	    NULL },
	{ "no section", "", ":7: listener submission: backend token" },
	{ "neither", "token { issuer = i }", ":8: token: expected either" },
	{ "both", "token { introspection = \"https://i.example/x\" keys = k }",
	    ":8: token: expected either" },
	{ "keys of anybody", "token { audience = us keys = k }",
	    ":8: token: no issuer" },
	{ "keys for anybody", "token { issuer = i keys = k }",
	    ":8: token: no audience" },
	{ "keys and a login",
	    "token { issuer = i audience = us keys = k introspection-login = l "
	    "}",
	    ":8: token: introspection-login" },
	{ "endpoint without login",
	    "token { introspection = \"https://i.example/x\" }",
	    ":8: token: no introspection-login" },
	{ "endpoint in clear",
	    "token { introspection = \"http://i.example/x\" "
	    "introspection-login = l }",
	    ":8: introspection: " },
	{ "endpoint in clear at another host",
	    "token { introspection = \"http://192.0.2.1/x\" "
	    "introspection-login = l }",
	    ":8: introspection: " },
	{ "endpoint with a user",
	    "token { introspection = \"https://127.0.0.1@i.example/\" "
	    "introspection-login = l }",
	    ":8: introspection: " },
	{ "two sections",
	    "token { introspection = \"https://i.example/x\" "
	    "introspection-login = l }\n"
	    "token { introspection = \"https://i.example/x\" "
	    "introspection-login = l }",
	    ":9: " },
};

static void
tokens(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(token_rows) / sizeof(*token_rows); i++) {
		struct reason why = { 0 };
		char *with = edited("  kind = submission\n",
		    "  kind = submission backends = { token }\n");
		char *text, *place = strstr(with, "certificate server");
		struct config *c;

		assert_true(asprintf(&text, "%.*s%s\n%s", (int)(place - with),
				with, token_rows[i].section, place) > 0);
		c = parse(text, &why);
		if ((c != NULL) != (token_rows[i].refused == NULL) ||
		    (c == NULL &&
			strstr(why.text, token_rows[i].refused) == NULL))
			fail_msg("%s: %s", token_rows[i].what,
			    c != NULL ? "taken" : why.text);
		if (c != NULL) {
			assert_int_equal(c->listeners[0].mechanisms,
			    MECHANISMS_TOKEN);
			assert_string_equal(c->token.claim, "email");
			assert_int_equal(c->token.realm_count, 1);
			assert_string_equal(c->token.realms[0], "example.org");
		}
		config_free(c);
		free(text);
		free(with);
	}
}

/* Where nobody has asked for them, nobody misses them. */
static void
token_mechanisms_without_backend(void **state)
{
	struct reason why;
	struct config *c = parse(good, &why);
	char *text;

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->listeners[0].unserved, 0);
	assert_int_equal(c->listeners[0].mechanisms & MECHANISMS_TOKEN, 0);
	config_free(c);
	text = edited("  kind = submission\n",
	    "  kind = submission mechanisms = { PLAIN, XOAUTH2 }\n");
	c = parse(text, &why);
	assert_non_null(c);
	assert_int_equal(c->listeners[0].unserved, MECHANISM_XOAUTH2);
	config_free(c);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_paths),
		cmocka_unit_test(what_is_wrong_is_refused_with_its_place),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(unserved_mechanisms_are_removed),
		cmocka_unit_test(tokens),
		cmocka_unit_test(token_mechanisms_without_backend),
		cmocka_unit_test(names_in_dns),
		cmocka_unit_test(dates),
		cmocka_unit_test(ends_are_days_or_seconds),
		cmocka_unit_test(where_binding_is_required),
		cmocka_unit_test(old_practices),
		cmocka_unit_test(host_and_port),
		cmocka_unit_test(next_hops),
		cmocka_unit_test(who_can_verify_clients),
		cmocka_unit_test(options_and_manual_agree),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
