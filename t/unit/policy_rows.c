/*
 * t/unit/policy_rows.c: which rows compile, what they read like in canonical
 * form, and what is said of the others.
 */
#include "policy_fixture.h"

#define HEX32 "0123456789abcdef0123456789abcdef"
#define HEX HEX32 HEX32

static const struct good {
	const char *what, *text, *canonical;
} good[] = {
	{ "names are compared without case and trailing dot",
	    "MX.Example.ORG. out encrypt", "mx.example.org out encrypt" },
	{ "words have no case", "* OUT Encrypt MIN=TLS1.3",
	    "* out encrypt min=tls1.3" },
	{ "host and port", "mx.example:25 out verify",
	    "mx.example:25 out verify" },
	{ "address and port", "[2001:DB8::1]:25 out encrypt",
	    "[2001:db8::1]:25 out encrypt" },
	{ "[address] is address", "[192.0.2.1] in encrypt",
	    "192.0.2.1 in encrypt" },
	{ "[IPv6:address] is address", "[IPv6:2001:db8::1] in encrypt",
	    "2001:db8::1 in encrypt" },
	{ "::ffff:a.b.c.d is a.b.c.d", "::ffff:192.0.2.1 in encrypt",
	    "192.0.2.1 in encrypt" },
	{ "a mapped network is an IPv4 one", "::ffff:192.0.2.0/120 in encrypt",
	    "192.0.2.0/24 in encrypt" },
	{ "all bits are an address", "192.0.2.1/32 in encrypt",
	    "192.0.2.1 in encrypt" },
	{ "suffix", ".Example.org both verify", ".example.org both verify" },
	{ "network of IPv6", "2001:db8::/32 in encrypt",
	    "2001:db8::/32 in encrypt" },
	{ "mailbox for rcpt", "User@Example.org rcpt lock",
	    "user@example.org rcpt lock" },
	{ "a domain for from", "example.org from verify",
	    "example.org from verify" },
	{ "A-labels", "xn--bcher-kva.example out encrypt",
	    "xn--bcher-kva.example out encrypt" },
	{ "none going out to loopback", "127.0.0.1 out none",
	    "127.0.0.1 out none" },
	{ "none going out to ::1 and a port", "[::1]:25 out none reuse=no",
	    "[::1]:25 out none reuse=no" },
	{ "a dated exception",
	    "old.example out may until=2027-03-31 reason=\"no TLS yet\"",
	    "old.example out may until=2027-03-31 reason=\"no TLS yet\"" },
	{ "it holds to the end of its last day",
	    "old.example out may until=2026-06-01 reason=x",
	    "old.example out may until=2026-06-01 reason=x" },
	{ "29 February of a leap year",
	    "old.example out may until=2028-02-29 reason=x",
	    "old.example out may until=2028-02-29 reason=x" },
	{ "quotes and backslashes in a reason",
	    "o.example out may until=2027-01-01 reason=\"a \\\"b\\\" \\\\c\"",
	    "o.example out may until=2027-01-01 reason=\"a \\\"b\\\" \\\\c\"" },
	{ "# within quotes and words is no comment",
	    "o.example out lock org=\"A #1\" issuer=CN=b#2 # this is one",
	    "o.example out lock issuer=CN=b#2 org=\"A #1\"" },
	{ "a pin in hex", "* in lock pin=SHA256:" HEX,
	    "* in lock pin=sha256:" HEX },
	{ "a pin in base64",
	    "* in lock pin=sha256:"
	    "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8=",
	    "* in lock pin=sha256:" HEX },
	{ "a pin in base64 without padding",
	    "* in lock pin=sha256:"
	    "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8",
	    "* in lock pin=sha256:" HEX },
	{ "several pins, the key alone",
	    "* in lock chain=no pin=sha256:" HEX ",sha256:" HEX
	    " pin=sha256:" HEX,
	    "* in lock pin=sha256:" HEX " pin=sha256:" HEX " pin=sha256:" HEX
	    " chain=no" },
	{ "several names, by comma or again",
	    "192.0.2.1 in lock match=A.example,.b.example match=192.0.2.1",
	    "192.0.2.1 in lock match=a.example match=.b.example "
	    "match=192.0.2.1" },
	{ "what stands for the next hop",
	    "mx.example out may cert=c auth=a sni=S.example reuse=yes "
	    "until=2027-01-01 reason=r",
	    "mx.example out may cert=c auth=a sni=s.example "
	    "until=2027-01-01 reason=r" },
	{ "observe verify",
	    "* out verify mode=observe until=2027-01-01 reason=try",
	    "* out verify mode=observe until=2027-01-01 reason=try" },
	{ "observe a protocol",
	    "* out encrypt min=tls1.3 mode=observe until=2027-01-01 reason=t",
	    "* out encrypt min=tls1.3 mode=observe until=2027-01-01 "
	    "reason=t" },
	{ "any purpose, dated",
	    "* out verify eku=any until=2027-01-01 reason=t",
	    "* out verify eku=any until=2027-01-01 reason=t" },
	{ "fail and bits", "* both encrypt bits=256 fail=temporary",
	    "* both encrypt bits=256 fail=temporary" },
	{ "letters beyond ASCII in a reason",
	    "* out encrypt reason=\"\xc3\xbc\"",
	    "* out encrypt reason=\xc3\xbc" },
	{ "TLSA records for the next hop", "mx.example out encrypt DANE",
	    "mx.example out encrypt dane" },
	{ "TLSA records beside a name", "bank.example rcpt lock dane",
	    "bank.example rcpt lock dane" },
	{ "the ratchet, and TLSA records, going out alone",
	    "* both verify ratchet dane", "* both verify dane ratchet" },
	{ "a message may ask for less",
	    "mx.example out encrypt tls-optional=YES until=2027-01-01 "
	    "reason=\"their move\"",
	    "mx.example out encrypt tls-optional=yes until=2027-01-01 "
	    "reason=\"their move\"" },
	{ "observe TLSA records",
	    "mx.example out encrypt dane mode=observe until=2027-01-01 "
	    "reason=t",
	    "mx.example out encrypt dane mode=observe until=2027-01-01 "
	    "reason=t" },
	{ "observe the ratchet",
	    "mx.example out encrypt ratchet mode=observe until=2027-01-01 "
	    "reason=t",
	    "mx.example out encrypt ratchet mode=observe until=2027-01-01 "
	    "reason=t" },
	{ "the longest keys there are", "* out encrypt bits=256",
	    "* out encrypt bits=256" },
	{ "tabs between words", "*\tout\tencrypt", "* out encrypt" },
};

static const struct bad {
	const char *what, *text, *says;
} bad[] = {
	{ "too few words", "* out", "expected SITE DIRECTION LEVEL" },
	{ "unknown direction", "* sideways encrypt", "expected in, out" },
	{ "unknown level", "* out secure", "expected none, may, encrypt" },
	{ "unknown option", "* out encrypt frob=1", "unknown option" },
	{ "part of an option's word", "* out encrypt dan", "unknown option" },
	{ "dane with a value", "* out encrypt dane=yes",
	    "expected the word alone" },
	{ "dane with an empty value",
	    "* out encrypt dane=", "expected the word alone" },
	{ "dane twice", "* out encrypt dane dane", "stands twice" },
	{ "dane coming in", "a.example in lock dane",
	    "expected out or both or rcpt" },
	{ "dane by sender", "a.example from lock dane",
	    "expected out or both or rcpt" },
	{ "dane without TLS", "127.0.0.1 out none dane",
	    "expected level encrypt or more" },
	{ "dane where TLS is not asked for",
	    "a.example out may dane until=2027-01-01 reason=x",
	    "expected level encrypt or more" },
	{ "dane for an address", "192.0.2.1 out encrypt dane",
	    "can never be met" },
	{ "dane for a network", "192.0.2.0/24 out encrypt dane",
	    "can never be met" },
	{ "dane for an address and port", "[2001:db8::1]:25 out encrypt dane",
	    "can never be met" },
	{ "dane does not bind a lock", "* out lock dane", "binds nothing" },
	{ "ratchet with a value", "* out encrypt ratchet=1",
	    "expected the word alone" },
	{ "ratchet coming in", "a.example in lock ratchet",
	    "expected out or both" },
	{ "ratchet by recipient", "a.example rcpt lock ratchet",
	    "expected out or both" },
	{ "ratchet where TLS is not asked for",
	    "a.example out may ratchet until=2027-01-01 reason=x",
	    "expected level encrypt or more" },
	{ "tls-optional=no",
	    "* out encrypt tls-optional=no until=2027-01-01 reason=x",
	    "expected yes" },
	{ "tls-optional alone",
	    "* out encrypt tls-optional until=2027-01-01 reason=x",
	    "expected tls-optional=VALUE" },
	{ "tls-optional without a date",
	    "* out encrypt tls-optional=yes reason=x", "expected until=" },
	{ "tls-optional without a reason",
	    "* out encrypt tls-optional=yes until=2027-01-01",
	    "expected reason=" },
	{ "tls-optional that is over",
	    "* out encrypt tls-optional=yes until=2026-01-01 reason=x",
	    "until= is past" },
	{ "tls-optional coming in",
	    "* in encrypt tls-optional=yes until=2027-01-01 reason=x",
	    "expected out or both or rcpt" },
	{ "tls-optional where it says nothing",
	    "a.example out may tls-optional=yes until=2027-01-01 reason=x",
	    "expected level encrypt or more" },
	{ "option without value", "* out encrypt min", "expected min=VALUE" },
	{ "option with an empty value",
	    "* out encrypt min=", "expected min=VALUE" },
	{ "option twice", "* out encrypt min=tls1.2 min=tls1.3",
	    "stands twice" },
	{ "TLS 1.1", "* out encrypt min=tls1.1", "expected tls1.2 or" },
	{ "no bits", "* out encrypt bits=0", "expected 40 to 256" },
	{ "more bits than any cipher has", "* in encrypt bits=257",
	    "expected 40 to 256" },
	{ "bits that are no number", "* out encrypt bits=1e2", "expected 40" },
	{ "eku=none", "* out verify eku=none until=2027-01-01 reason=x",
	    "expected any" },
	{ "chain=yes", "* out lock pin=sha256:" HEX " chain=yes",
	    "expected no" },
	{ "reuse=maybe", "* out encrypt reuse=maybe", "expected yes or no" },
	{ "mode=enforce", "* out verify mode=enforce", "expected observe" },
	{ "fail=never", "* out verify fail=never", "expected temporary or" },
	{ "cert coming in", "* in encrypt cert=x", "expected out" },
	{ "auth in both", "* both encrypt auth=x", "expected out" },
	{ "sni for rcpt", "a.example rcpt encrypt sni=x", "expected out" },
	{ "reuse for from", "a.example from encrypt reuse=no", "expected out" },
	{ "port coming in", "a.example:25 in encrypt", "expected out" },
	{ "port in both", "a.example:25 both encrypt", "expected out" },
	{ "port 0", "a.example:0 out encrypt", "expected 1 to 65535" },
	{ "port 65536", "a.example:65536 out encrypt", "expected 1 to" },
	{ "mailbox going out", "u@a.example out encrypt", "expected rcpt" },
	{ "address for from", "192.0.2.1 from encrypt", "expected a domain" },
	{ "* for from", "* from encrypt", "expected a domain" },
	{ "* for rcpt", "* rcpt encrypt", "expected a domain" },
	{ "address for rcpt", "192.0.2.1 rcpt lock", "expected a domain" },
	{ "bits beyond the prefix", "192.0.2.1/24 in encrypt",
	    "expected 192.0.2.0/24" },
	{ "prefix too long", "192.0.2.0/33 in encrypt", "expected 0 to 32" },
	{ "prefix that is no number", "192.0.2.0/+8 in encrypt",
	    "expected 0 to 32" },
	{ "a network wider than all mapped addresses",
	    "::ffff:0.0.0.0/90 in encrypt", "expected" },
	{ "zone of an address", "fe80::1%eth0 in encrypt", "neither" },
	{ "overlong IPv4 octet", "192.0.2.256 in encrypt", "neither" },
	{ "empty label", "a..example out encrypt", "neither" },
	{ "label of 64 octets",
	    "a23456789012345678901234567890123456789012345678901234567890"
	    "1234.example out encrypt",
	    "neither" },
	{ "hyphen at the beginning of a label", "-a.example out encrypt",
	    "neither" },
	{ "wildcard name", "*.example out encrypt", "neither" },
	{ "a dot alone", ". out encrypt", "neither" },
	{ "U-labels get the A-label as a hint",
	    "b\xc3\xbc"
	    "cher.example out encrypt",
	    "expected its A-label form xn--bcher-kva.example" },
	{ "none for another host", "192.0.2.1 out none",
	    "expected an address in 127.0.0.0/8" },
	{ "none for a name", "localhost out none", "expected an address" },
	{ "none for a network", "127.0.0.0/8 out none", "expected an address" },
	{ "may without a date", "a.example out may reason=x",
	    "expected until=" },
	{ "may without a reason", "a.example out may until=2027-01-01",
	    "expected reason=" },
	{ "may by a name coming in",
	    "a.example in may until=2027-01-01 reason=x", "can never decide" },
	{ "may for rcpt", "a.example rcpt may until=2027-01-01 reason=x",
	    "can never decide" },
	{ "may for from", ".a.example from may until=2027-01-01 reason=x",
	    "can never decide" },
	{ "observe without a date", "* out verify mode=observe reason=x",
	    "expected until=" },
	{ "observe without a reason",
	    "* out verify mode=observe until=2027-01-01", "expected reason=" },
	{ "observe nothing",
	    "* out encrypt mode=observe until=2027-01-01 reason=x",
	    "nothing to observe" },
	{ "eku=any without a date", "* out verify eku=any reason=x",
	    "expected until=" },
	{ "eku=any without a reason", "* out verify eku=any until=2027-01-01",
	    "expected reason=" },
	{ "an empty reason",
	    "* out verify eku=any until=2027-01-01 reason=\"\"",
	    "expected reason=VALUE" },
	{ "a reason of blanks",
	    "a.example out may until=2027-01-01 reason=\" \"",
	    "expected a few words" },
	{ "two exceptions, no date",
	    "* both verify eku=any mode=observe reason=x", "expected until=" },
	{ "may in a row for two directions, by address",
	    "192.0.2.1 both may reason=x", "expected until=" },
	{ "until without an exception", "* out verify until=2027-01-01",
	    "without an exception" },
	{ "30 February", "a.example out may until=2027-02-30 reason=x",
	    "expected a day that exists" },
	{ "29 February of 2100", "a.example out may until=2100-02-29 reason=x",
	    "expected a day that exists" },
	{ "date in another form", "a.example out may until=1.3.2027 reason=x",
	    "expected a date such as" },
	{ "date that is past", "a.example out may until=2026-05-31 reason=x",
	    "until= is past" },
	{ "lock on an address", "192.0.2.1 in lock", "binds nothing" },
	{ "lock on a network", "192.0.2.0/24 in lock", "binds nothing" },
	{ "lock on *", "* out lock", "binds nothing" },
	{ "lock on address and port", "192.0.2.1:25 out lock",
	    "binds nothing" },
	{ "pin without lock", "* out verify pin=sha256:" HEX,
	    "expected level lock" },
	{ "match without lock", "* out verify match=a.example",
	    "expected level lock" },
	{ "ca without verify", "* out encrypt ca=x.pem",
	    "expected level verify or more" },
	{ "min with none", "127.0.0.1 out none min=tls1.2",
	    "expected level encrypt" },
	{ "auth with none: never outside TLS", "127.0.0.1 out none auth=x",
	    "expected level may" },
	{ "short pin", "* out lock pin=sha256:0123", "32 octets" },
	{ "long pin", "* out lock pin=sha256:" HEX "00", "32 octets" },
	{ "pin of another digest", "* out lock pin=sha1:" HEX, "sha256:" },
	{ "pin that is no hex",
	    "* out lock pin=sha256:z123456789abcdef" HEX32 "0123456789abcdef",
	    "32 octets" },
	{ "comma without a pin after it", "* out lock pin=sha256:" HEX ",",
	    "comma" },
	{ "chain=no without pin", "a.example out lock chain=no",
	    "without pin=" },
	{ "chain=no with a name",
	    "* out lock chain=no match=a.example pin=sha256:" HEX,
	    "the key alone" },
	{ "match of a network", "* out lock match=192.0.2.0/24",
	    "expected a host name" },
	{ "match of anything", "* out lock match=*", "expected a host name" },
	{ "issuer that is no name", "* out lock issuer=Example",
	    "expected a distinguished name" },
	{ "sni of an address", "a.example out encrypt sni=192.0.2.1",
	    "expected a host name" },
	{ "missing ca file", "a.example out verify ca=nowhere.pem",
	    "nowhere.pem: No such file" },
	{ "ca file without a certificate", "a.example out verify ca=no.pem",
	    "BEGIN CERTIFICATE" },
	{ "crl file that is none", "a.example out verify crl=ca.pem",
	    "BEGIN X509 CRL" },
	{ "ca that is a folder", "a.example out verify ca=.", "no plain file" },
	{ "unknown certificate", "a.example out encrypt cert=nobody",
	    "cert=nobody is unknown" },
	{ "unknown login", "a.example out encrypt auth=nobody",
	    "auth=nobody is unknown" },
	{ "no listener asks for certificates", "192.0.2.1 in verify",
	    "no listener" },
	{ "no listener asks by EHLO, whatever ca=",
	    "a.example in verify ca=ca.pem", "no listener" },
	{ "quote without end", "* out encrypt reason=\"x", "expected \"" },
	{ "CR", "* out encrypt\r", "LF alone" },
	{ "control character", "* out encrypt\x01", "0x01" },
	{ "no UTF-8", "* out encrypt reason=\xff", "UTF-8" },
	{ "overlong UTF-8", "* out encrypt reason=\xc0\xaf", "UTF-8" },
};

static bool
names_nobody(void *context, const char *name)
{
	(void)context;
	return strcmp(name, "nobody") != 0;
}

static bool
names_no_listener(void *context, bool by_name, bool has_anchors)
{
	(void)context;
	(void)by_name;
	(void)has_anchors;
	return false;
}

static const struct table_names strict = { NULL, names_nobody, names_nobody,
	names_no_listener };

static bool
note_row(void *context, unsigned line, const char *text)
{
	assert_int_equal(line, 2);
	(void)snprintf(context, 1024, "%s", text);
	return true;
}

static void
test_good(void **state)
{
	const struct good *row = *state;
	char text[1100], got[1024] = "", again[1024] = "";
	struct table *table;
	struct reason why;

	(void)snprintf(text, sizeof(text), "# table\n%s\n", row->text);
	table = table_of(text);
	assert_int_equal(table_rows(table), 1);
	assert_true(table_each(table, note_row, got, &why));
	table_close(table);
	assert_string_equal(got, row->canonical);

	/* What is printed compiles to the same. */
	(void)snprintf(text, sizeof(text), "\n%s\n", got);
	table = table_of(text);
	assert_true(table_each(table, note_row, again, &why));
	table_close(table);
	assert_string_equal(again, row->canonical);
}

static void
test_bad(void **state)
{
	const struct bad *row = *state;
	char text[1024], place[400];
	struct table_source source;

	(void)snprintf(text, sizeof(text), "\n  # comment\n%s\n", row->text);
	(void)snprintf(place, sizeof(place), "%s/sites:3: ", scratch);
	source = source_of(scratch_path("sites"), text);
	source.names = &strict;
	source.past_is_error = true;
	assert_false(table_check(&source, note_said, NULL));
	assert_int_equal(said.errors, 1);
	if (strncmp(said.text, place, strlen(place)) != 0 ||
	    strstr(said.text, row->says) == NULL)
		print_error("said: %sexpected: %s\n", said.text, row->says);
	assert_memory_equal(said.text, place, strlen(place));
	assert_non_null(strstr(said.text, row->says));
}

static const struct pair {
	const char *what, *text;
	bool stands;
} pairs[] = {
	{ "the same row twice", "* out encrypt\n* out encrypt\n", false },
	{ "the same name in other case",
	    "a.example out encrypt\nA.EXAMPLE. out lock\n", false },
	{ "both and out", "* both encrypt\n* out verify\n", false },
	{ "in and both", "* in encrypt\n* both encrypt\n", false },
	{ "address and its full prefix",
	    "192.0.2.1 in encrypt\n192.0.2.1/32 in verify\n", false },
	{ "address and its mapped form",
	    "192.0.2.1 in encrypt\n::ffff:192.0.2.1 in verify\n", false },
	{ "in and out", "* in encrypt\n* out encrypt\n", true },
	{ "host and suffix", "a.example out encrypt\n.a.example out encrypt\n",
	    true },
	{ "host and host:port",
	    "a.example out encrypt\na.example:25 out encrypt\n", true },
	{ "out and rcpt", "a.example out encrypt\na.example rcpt lock\n",
	    true },
	{ "networks of different length",
	    "192.0.2.0/24 in encrypt\n192.0.2.0/25 in encrypt\n", true },
};

static void
test_pair(void **state)
{
	const struct pair *row = *state;
	struct table_source source =
	    source_of(scratch_path("sites"), row->text);

	assert_int_equal(table_check(&source, note_said, NULL), row->stands);
	if (!row->stands) {
		assert_non_null(strstr(said.text, "sites:2: second row"));
		assert_non_null(strstr(said.text, "line 1"));
	}
}

/* Past dates are an error for the operator's own check, and must not keep a
 * server from starting. */
static void
test_past_date_at_start(void **state)
{
	struct table_source source = source_of(scratch_path("sites"),
	    "a.example out may until=2026-05-31 reason=x\n"
	    "b.example out verify mode=observe until=2026-05-31 reason=x\n"
	    "c.example out verify eku=any until=2026-05-31 reason=x\n"
	    "d.example out verify tls-optional=yes until=2026-05-31 reason=x\n"
	    "192.0.2.0/24 in may until=2026-05-31 reason=x\n");

	(void)state;
	assert_true(table_check(&source, note_said, NULL));
	assert_int_equal(said.warnings, 5);
	assert_non_null(strstr(said.text, "until= is past"));
	source.past_is_error = true;
	assert_false(table_check(&source, note_said, NULL));
	assert_int_equal(said.errors, 5);
}

/* Lines of the row that can never decide; "" where all may. */
static const struct cover {
	const char *what, *text, *says;
} covers[] = {
	{ "both halves of a network",
	    "192.0.2.0/24 in encrypt\n192.0.2.0/25 in verify ca=ca.pem\n"
	    "192.0.2.128/25 in encrypt\n",
	    "sites:1: the row can never decide" },
	{ "one half of a network",
	    "192.0.2.0/24 in encrypt\n192.0.2.0/25 in encrypt\n", "" },
	{ "the halves in another direction",
	    "192.0.2.0/24 in encrypt\n192.0.2.0/25 out encrypt\n"
	    "192.0.2.128/25 out encrypt\n",
	    "" },
	{ "parts of parts, whatever their order",
	    "2001:db8::/127 in encrypt\n2001:db8::2 in encrypt\n"
	    "2001:db8::3 in encrypt\n2001:db8::/126 in encrypt\n",
	    "sites:4: the row can never decide" },
	{ "a dated part ends",
	    "192.0.2.0/31 in encrypt\n192.0.2.0 in encrypt\n"
	    "192.0.2.1 in may until=2027-01-01 reason=x\n",
	    "" },
	{ "none is as if absent coming in",
	    "127.0.0.0/31 in encrypt\n127.0.0.0 in none\n"
	    "127.0.0.1 in encrypt\n",
	    "" },
	{ "none speaks going out",
	    "127.0.0.0/31 out encrypt\n127.0.0.0 out none\n"
	    "127.0.0.1 out encrypt\n",
	    "sites:1: the row can never decide" },
	{ "one direction of two is left",
	    "192.0.2.0/31 both encrypt\n192.0.2.0 in encrypt\n"
	    "192.0.2.1 both encrypt\n",
	    "" },
	{ "no direction of two is left",
	    "192.0.2.0/31 both encrypt\n192.0.2.0 in encrypt\n"
	    "192.0.2.0 out encrypt\n192.0.2.1 both encrypt\n",
	    "sites:1: the row can never decide" },
	{ "all addresses, and * coming in",
	    "0.0.0.0/0 in encrypt\n::/1 in encrypt\n8000::/1 in encrypt\n"
	    "* in encrypt\n",
	    "sites:4: the row can never decide" },
	{ "IPv4 alone, and * coming in", "0.0.0.0/0 in encrypt\n* in encrypt\n",
	    "" },
	{ "all addresses, and * going out, where names are, too",
	    "0.0.0.0/0 out encrypt\n::/0 out encrypt\n* out encrypt\n", "" },
};

static void
test_cover(void **state)
{
	const struct cover *row = *state;
	struct table_source source =
	    source_of(scratch_path("sites"), row->text);
	bool stands = row->says[0] == '\0';

	assert_int_equal(table_check(&source, note_said, NULL), stands);
	assert_int_equal(said.errors, !stands);
	assert_non_null(strstr(said.text, row->says));
}

static void
test_warned(void **state)
{
	struct table_source source = source_of(scratch_path("sites"),
	    "a.example rcpt lock tls-optional=yes until=2027-01-01 reason=x\n");

	(void)state;
	assert_true(table_check(&source, note_said, NULL));
	assert_int_equal(said.warnings, 1);
	assert_non_null(strstr(said.text, "sites:1: tls-optional=yes in a row "
					  "that only adds"));
}

static void
test_cut_off(void **state)
{
	struct table_source source =
	    source_of(scratch_path("sites"), "* out encrypt\n* in encry");

	(void)state;
	assert_false(table_check(&source, note_said, NULL));
	assert_non_null(strstr(said.text, "sites:2: last line is cut off"));
}

static void
test_fifty_errors(void **state)
{
	char text[2048] = "";
	struct table_source source;

	(void)state;
	for (int i = 0; i < 200; i++)
		strcat(text, "x\n");
	source = source_of(scratch_path("sites"), text);
	assert_false(table_check(&source, note_said, NULL));
	assert_int_equal(said.errors, 50);
}

static void
test_long_line(void **state)
{
	static char text[8192];
	struct table_source source;

	(void)state;
	memset(text, 'a', 5000);
	text[5000] = '\n';
	source = source_of(scratch_path("sites"), text);
	assert_false(table_check(&source, note_said, NULL));
	assert_non_null(strstr(said.text, "expected at most 4096"));
}

/* Files count from the table's folder, and are told for shipping. */
static void
test_files(void **state)
{
	char expected[300];
	struct table *table =
	    table_of("a.example out verify ca=ca.pem crl=crl.pem\n"
		     "b.example out verify ca=ca.pem\n");

	(void)state;
	assert_int_equal(table_file_count(table), 2);
	(void)snprintf(expected, sizeof(expected), "%s/ca.pem", scratch);
	assert_string_equal(table_file(table, 0), expected);
	(void)snprintf(expected, sizeof(expected), "%s/crl.pem", scratch);
	assert_string_equal(table_file(table, 1), expected);
	assert_null(table_file(table, 2));
	table_close(table);
}

static int
setup(void **state)
{
	static const char ca[] = "-----BEGIN CERTIFICATE-----\n";
	static const char crl[] = "-----BEGIN X509 CRL-----\n";

	if (scratch_make(state) != 0)
		return 1;
	scratch_file("ca.pem", ca, strlen(ca));
	scratch_file("crl.pem", crl, strlen(crl));
	scratch_file("no.pem", "nothing", 7);
	return 0;
}

int
main(void)
{
	struct CMUnitTest
	    tests[ROWS(good) + ROWS(bad) + ROWS(pairs) + ROWS(covers) + 6];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(good); i++)
		tests[n++] = row_test(good[i].what, test_good, &good[i]);
	for (size_t i = 0; i < ROWS(bad); i++)
		tests[n++] = row_test(bad[i].what, test_bad, &bad[i]);
	for (size_t i = 0; i < ROWS(pairs); i++)
		tests[n++] = row_test(pairs[i].what, test_pair, &pairs[i]);
	for (size_t i = 0; i < ROWS(covers); i++)
		tests[n++] = row_test(covers[i].what, test_cover, &covers[i]);
	tests[n++] =
	    row_test("warned of: tls-optional by recipient", test_warned, NULL);
	tests[n++] = row_test("a past date does not keep from starting",
	    test_past_date_at_start, NULL);
	tests[n++] = row_test("a cut last line", test_cut_off, NULL);
	tests[n++] = row_test("fifty errors, no more", test_fifty_errors, NULL);
	tests[n++] = row_test("a line too long", test_long_line, NULL);
	tests[n++] = row_test("files that rows name", test_files, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("rows", tests, setup,
	    scratch_remove);
}
