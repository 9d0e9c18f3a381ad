/*
 * t/unit/device.c: a device's login in the forms that mail programs read.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#undef fail /* ours is in policy/reason.h */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/device.h"

static void
test_secret(void **state)
{
	unsigned seen[256] = { 0 };
	char secret[DEVICE_SECRET_SIZE], last[DEVICE_SECRET_SIZE] = "";
	struct reason why;

	(void)state;
	for (int i = 0; i < 500; i++) {
		assert_true(device_secret(secret, &why));
		assert_int_equal(strlen(secret), 34);
		assert_string_not_equal(secret, last);
		strcpy(last, secret);
		for (size_t c = 0; c < strlen(secret); c++) {
			if (c % 5 == 4)
				assert_int_equal(secret[c], '-');
			else
				seen[(unsigned char)secret[c]]++;
		}
	}
	/* All 32 and no others, each of 14000/32 = 437 times or so. */
	for (int c = 0; c < 256; c++) {
		if (c != '\0' && strchr("abcdefghijkmnpqrstuvwxyz23456789", c))
			assert_in_range(seen[c], 300, 600);
		else
			assert_int_equal(seen[c], 0);
	}
}

static void
test_incoming(void **state)
{
	static const struct {
		const char *text, *host; /* NULL: refused */
		uint16_t port;
		bool implicit_tls;
	} rows[] = {
		{ "imap.example.org", "imap.example.org", 993, true },
		{ "imap.example.org:143", "imap.example.org", 143, false },
		{ "pop.example.org:110", "pop.example.org", 110, false },
		{ "pop.example.org:995", "pop.example.org", 995, true },
		{ "192.0.2.1:1993", "192.0.2.1", 1993, true },
		{ "[2001:db8::1]", "2001:db8::1", 993, true },
		{ "[2001:db8::1]:143", "2001:db8::1", 143, false },
		{ "", NULL, 0, false },
		{ ":993", NULL, 0, false },
		{ "imap.example.org:", NULL, 0, false },
		{ "imap.example.org:0", NULL, 0, false },
		{ "imap.example.org:65536", NULL, 0, false },
		{ "imap example", NULL, 0, false },
		{ "<imap>", NULL, 0, false },
		{ "-imap", NULL, 0, false },
		{ "[2001:db8::1", NULL, 0, false },
		{ "[2001:db8::1]x", NULL, 0, false },
		{ "[]", NULL, 0, false },
		{ "2001:db8::1", NULL, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct device_server server;
		struct reason why;
		bool ok = device_incoming(&server, rows[i].text, &why);

		if (ok != (rows[i].host != NULL))
			print_error("\"%s\"\n", rows[i].text);
		assert_true(ok == (rows[i].host != NULL));
		if (!ok)
			continue;
		assert_string_equal(server.host, rows[i].host);
		assert_int_equal(server.port, rows[i].port);
		assert_true(server.implicit_tls == rows[i].implicit_tls);
	}
}

/* A host that is as long as one can be, and one that is longer. */
static void
test_incoming_bound(void **state)
{
	char text[DEVICE_HOST_MAX + 2];
	struct device_server server;
	struct reason why;

	(void)state;
	memset(text, 'a', sizeof text);
	text[DEVICE_HOST_MAX] = '\0';
	assert_true(device_incoming(&server, text, &why));
	text[DEVICE_HOST_MAX] = 'a';
	text[DEVICE_HOST_MAX + 1] = '\0';
	assert_false(device_incoming(&server, text, &why));
}

static struct device_card
card_of(void)
{
	struct device_card card = {
		.login = "o'neil&<x>+phone@example.org",
		.owner = "o'neil&<x>@example.org",
		.label = "phone",
		.address = "o'neil&<x>@example.org",
		.secret = "abcd-efgh",
		.server_count = 2,
		.servers = { { "mail.example.org", 587, false },
		    { "mail.example.org", 2587, false } },
	};

	return card;
}

static char *
format(bool (*put)(const struct device_card *, FILE *),
    const struct device_card *card)
{
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	assert_true(put(card, to));
	assert_int_equal(fclose(to), 0);
	return text;
}

static bool
put_uri(const struct device_card *card, FILE *to)
{
	device_format_uri(card, to);
	return true;
}

static bool
put_text(const struct device_card *card, FILE *to)
{
	device_format_text(card, NULL, to);
	return true;
}

static bool
put_json(const struct device_card *card, FILE *to)
{
	return device_format_json(card, "f.p12", to);
}

/* What ends or splits a URI is escaped; "+" would be a blank. */
static void
test_uri(void **state)
{
	struct device_card card = card_of();
	char *text;

	(void)state;
	strcpy(card.login, "a?b/c#d%e=f+phone@example.org");
	strcpy(card.address, "a?b/c#d%e=f+x@example.org");
	text = format(put_uri, &card);
	assert_string_equal(text,
	    "dclogin:a%3Fb%2Fc%23d%25e%3Df+x@example.org?p=&v=1"
	    "&sh=mail.example.org&sp=587&ss=starttls"
	    "&su=a%3Fb%2Fc%23d%25e%3Df%2Bphone%40example.org&spw=abcd-efgh");
	free(text);
	strcpy(card.address, "m\xc3\xbcller@example.org");
	text = format(put_uri, &card);
	assert_non_null(strstr(text, "dclogin:m%C3%BCller@example.org?"));
	free(text);
}

static void
test_thunderbird(void **state)
{
	struct device_card card = card_of();
	struct reason why;
	char *text;

	(void)state;
	assert_true(
	    device_incoming(&card.incoming, "pop.example.org:110", &why));
	text = format(device_format_thunderbird, &card);
	assert_string_equal(text,
	    "[1,[1,1],[1,\"pop.example.org\",110,2,1,\"o'neil&<x>@example."
	    "org\"],"
	    "[[[0,\"mail.example.org\",587,2,1,\"o'neil&<x>+phone@example."
	    "org\","
	    "\"abcd-efgh\"],"
	    "[\"o'neil&<x>@example.org\",\"o'neil&<x>@example.org\"]]]]");
	free(text);
}

/* A name that would be mark-up is text. */
static void
test_profile(void **state)
{
	struct device_card card = card_of();
	struct reason why;
	char *text;

	(void)state;
	assert_true(device_incoming(&card.incoming, "imap.example.org", &why));
	text = format(device_format_profile, &card);
	assert_non_null(strstr(text,
	    "<key>OutgoingMailServerUsername</key><string>o'neil&amp;&lt;x&gt;"
	    "+phone@example.org</string>"));
	assert_null(strstr(text, "<x>"));
	assert_non_null(strstr(text,
	    "<string>org.example.sallyport.o'neil&amp;&lt;x&gt;+phone.mail"
	    "</string>"));
	assert_null(strstr(text, "RemovalDate"));
	free(text);
	card.until = 1806451200;
	text = format(device_format_profile, &card);
	assert_non_null(strstr(text,
	    "<key>RemovalDate</key><date>2027-03-31T00:00:00Z</date>"));
	free(text);
}

static void
test_json(void **state)
{
	struct device_card card = card_of();
	char *text = format(put_json, &card);
	json_t *object = json_loads(text, 0, NULL);

	(void)state;
	assert_non_null(object);
	assert_string_equal(
	    json_string_value(json_object_get(object, "secret")), "abcd-efgh");
	assert_int_equal(json_array_size(json_object_get(object, "servers")),
	    2);
	assert_null(json_object_get(object, "file"));
	assert_null(json_object_get(object, "until"));
	json_decref(object);
	free(text);
	/* With a certificate there is no secret. */
	card.secret[0] = '\0';
	card.pkcs12 = (gnutls_datum_t){ (unsigned char *)card.label, 5 };
	strcpy(card.passphrase, "ijkm-npqr");
	text = format(put_json, &card);
	object = json_loads(text, 0, NULL);
	assert_null(json_object_get(object, "secret"));
	assert_string_equal(
	    json_string_value(json_object_get(object, "passphrase")),
	    "ijkm-npqr");
	assert_string_equal(json_string_value(json_object_get(object, "file")),
	    "f.p12");
	json_decref(object);
	free(text);
}

static void
test_text(void **state)
{
	struct device_card card = card_of();
	char *text = format(put_text, &card);

	(void)state;
	assert_string_equal(text,
	    "login:      o'neil&<x>+phone@example.org\n"
	    "secret:     abcd-efgh\n"
	    "send from:  o'neil&<x>@example.org\n"
	    "server:     mail.example.org, port 587, STARTTLS\n"
	    "server:     mail.example.org, port 2587, STARTTLS\n");
	free(text);
}

/* A square with a light margin; more than a code can hold is refused. */
static void
test_qr(void **state)
{
	char *text = NULL, *long_text = malloc(4000), *line, *rest;
	struct reason why;
	size_t len = 0, lines = 0;
	FILE *to;

	(void)state;
	to = open_memstream(&text, &len);
	assert_true(device_qr_text("dclogin:a@b", false, to, &why));
	fclose(to);
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		lines++;
		/* Full blocks at both sides, each of three octets. */
		assert_memory_equal(line, "\u2588\u2588\u2588\u2588", 12);
		assert_memory_equal(line + strlen(line) - 12,
		    "\u2588\u2588\u2588\u2588", 12);
	}
	/* Version 1 has 21 modules a side, and 8 of margin. */
	assert_int_equal(lines, 15);
	free(text);
	/* On a light terminal too. */
	to = open_memstream(&text, &len);
	assert_true(device_qr_text("dclogin:a@b", true, to, &why));
	fclose(to);
	assert_memory_equal(text, "\033[97;40m\u2588", 11);
	assert_string_equal(text + len - 5, "\033[0m\n");
	free(text);
	memset(long_text, 'x', 3999);
	long_text[3999] = '\0';
	to = open_memstream(&text, &len);
	assert_false(device_qr_text(long_text, false, to, &why));
	assert_int_equal(why.code, REASON_RANGE);
	assert_false(device_qr_svg(long_text, to, &why));
	fclose(to);
	assert_int_equal(len, 0);
	free(text);
	free(long_text);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_incoming),
		cmocka_unit_test(test_incoming_bound),
		cmocka_unit_test(test_uri),
		cmocka_unit_test(test_thunderbird),
		cmocka_unit_test(test_profile),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_qr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
