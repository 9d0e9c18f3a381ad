/*
 * t/unit/policy_select.c: which rows speak, in each direction, and how they
 * add up.
 */
#include "policy_fixture.h"

#include <arpa/inet.h>

static const char TEXT[] =
    "mx.example:25      out  lock                               \n" /* 1 */
    "mx.example         out  verify cert=c auth=a sni=s.example \n"
    ".example           out  encrypt min=tls1.3 reuse=no        \n"
    ".deep.example      out  verify                             \n"
    "192.0.2.1          out  lock match=a.example               \n" /* 5 */
    "192.0.2.0/24       out  verify                             \n"
    "127.0.0.1          out  none                               \n"
    "*                  out  encrypt                            \n"
    "10.0.0.0/8         in   encrypt min=tls1.3 fail=temporary  \n"
    "10.1.0.0/16        in   verify                             \n" /* 10 */
    "10.1.1.1           in   lock match=peer.example            \n"
    "2001:db8::/32      in   verify                             \n"
    "127.0.0.1          in   none                               \n"
    "*                  in   encrypt                            \n"
    "mail.partner.test  in   lock                               \n" /* 15 */
    ".partner.test      in   verify bits=256                    \n"
    "partner.test       from lock match=mail.partner.test       \n"
    "bank.test          rcpt lock                               \n"
    ".bank.test         rcpt verify                             \n"
    "boss@bank.test     rcpt lock match=boss.test               \n" /* 20 */
    "old.test           out  may until=2026-06-10 reason=r      \n"
    "seen.test          out  lock mode=observe until=2026-06-10 reason=r\n"
    "eku.test           out  verify eku=any until=2026-06-10 reason=r\n"
    "gone.test          both verify fail=permanent              \n"
    "[2001:db8::5]:25   out  verify                             \n" /* 25 */
    "min.test           out  encrypt min=tls1.3 mode=observe "
    "until=2026-06-10 reason=r\n";

static struct table *table;

/* lines: "1" or "10+15"; "0" is the default. */
static const struct out {
	const char *what, *host;
	uint16_t port;
	const char *rcpt; /* or NULL */
	int days;         /* after NOW */
	const char *lines;
	enum level level;
} outs[] = {
	{ "host:port before host", "mx.example", 25, NULL, 0, "1", LEVEL_LOCK },
	{ "host before suffix", "mx.example", 465, NULL, 0, "2", LEVEL_VERIFY },
	{ "case and dot do not matter", "MX.Example.", 465, NULL, 0, "2",
	    LEVEL_VERIFY },
	{ "suffix before *", "other.example", 25, NULL, 0, "3", LEVEL_ENCRYPT },
	{ "a suffix is not itself", "example", 25, NULL, 0, "8",
	    LEVEL_ENCRYPT },
	{ "the longest suffix", "a.b.deep.example", 25, NULL, 0, "4",
	    LEVEL_VERIFY },
	{ "below a longer suffix only", "deep.example", 25, NULL, 0, "3",
	    LEVEL_ENCRYPT },
	{ "half a label is no suffix", "notdeep.example", 25, NULL, 0, "3",
	    LEVEL_ENCRYPT },
	{ "address before network", "192.0.2.1", 25, NULL, 0, "5", LEVEL_LOCK },
	{ "[address] is address", "[192.0.2.1]", 25, NULL, 0, "5", LEVEL_LOCK },
	{ "mapped address is address", "::ffff:192.0.2.1", 25, NULL, 0, "5",
	    LEVEL_LOCK },
	{ "network before *", "192.0.2.2", 25, NULL, 0, "6", LEVEL_VERIFY },
	{ "none for loopback", "127.0.0.1", 25, NULL, 0, "7", LEVEL_NONE },
	{ "address and port", "2001:db8:0::5", 25, NULL, 0, "25",
	    LEVEL_VERIFY },
	{ "address and another port", "2001:db8:0::5", 26, NULL, 0, "8",
	    LEVEL_ENCRYPT },
	{ "a name that is none is under *", "a..b", 25, NULL, 0, "8",
	    LEVEL_ENCRYPT },
	{ "both goes out", "gone.test", 25, NULL, 0, "24", LEVEL_VERIFY },
	{ "rows of in do not speak", "mail.partner.test", 25, NULL, 0, "8",
	    LEVEL_ENCRYPT },
	{ "rcpt by domain adds", "other.test", 25, "a@bank.test", 0, "8+18",
	    LEVEL_LOCK },
	{ "rcpt by mailbox before domain", "other.test", 25, "Boss@BANK.test",
	    0, "8+20", LEVEL_LOCK },
	{ "quotes do not hide a mailbox", "other.test", 25,
	    "\"b\\oss\"@bank.test", 0, "8+20", LEVEL_LOCK },
	{ "rcpt by suffix", "other.test", 25, "<a@x.bank.test>", 0, "8+19",
	    LEVEL_VERIFY },
	{ "the domain is after the last @", "other.test", 25,
	    "\"a@bank.test\"@free.test", 0, "8", LEVEL_ENCRYPT },
	{ "other recipients add nothing", "other.test", 25, "a@free.test", 0,
	    "8", LEVEL_ENCRYPT },
	{ "a malformed recipient adds nothing", "other.test", 25, "bank.test",
	    0, "8", LEVEL_ENCRYPT },
	{ "a level is never lowered by rcpt", "mx.example", 25, "a@x.bank.test",
	    0, "1+19", LEVEL_LOCK },
	{ "an exception until its day", "old.test", 25, NULL, 9, "21",
	    LEVEL_MAY },
	{ "after it the next row speaks", "old.test", 25, NULL, 10, "8",
	    LEVEL_ENCRYPT },
	{ "observing until its day", "seen.test", 25, NULL, 9, "22",
	    LEVEL_LOCK },
	{ "after it the row is enforced", "seen.test", 25, NULL, 10, "22",
	    LEVEL_LOCK },
	{ "after eku=any the row stays", "eku.test", 25, NULL, 10, "23",
	    LEVEL_VERIFY },
};

static const struct in {
	const char *what, *address;
	const char *ehlo, *from; /* or NULL */
	const char *lines;
	enum level level;
	bool permanent;
} ins[] = {
	{ "longest prefix: address", "10.1.1.1", NULL, NULL, "11", LEVEL_LOCK,
	    true },
	{ "longest prefix: /16", "10.1.1.2", NULL, NULL, "10", LEVEL_VERIFY,
	    true },
	{ "longest prefix: /8", "10.2.0.1", NULL, NULL, "9", LEVEL_ENCRYPT,
	    false },
	{ "IPv6 network", "2001:db8::7", NULL, NULL, "12", LEVEL_VERIFY, true },
	{ "mapped address", "::ffff:10.1.1.1", NULL, NULL, "11", LEVEL_LOCK,
	    true },
	{ "IPv4-compatible is not mapped", "::10.1.1.1", NULL, NULL, "14",
	    LEVEL_ENCRYPT, true },
	{ "*", "198.51.100.1", NULL, NULL, "14", LEVEL_ENCRYPT, true },
	{ "none is absent on submission", "127.0.0.1", NULL, NULL, "14",
	    LEVEL_ENCRYPT, true },
	{ "EHLO adds", "198.51.100.1", "mail.partner.test", NULL, "14+15",
	    LEVEL_LOCK, true },
	{ "EHLO by suffix", "198.51.100.1", "X.Partner.Test.", NULL, "14+16",
	    LEVEL_VERIFY, true },
	{ "EHLO never lowers", "10.1.1.1", "x.partner.test", NULL, "11+16",
	    LEVEL_LOCK, true },
	{ "unknown EHLO adds nothing", "10.2.0.1", "unknown.test", NULL, "9",
	    LEVEL_ENCRYPT, false },
	{ "EHLO of an address adds nothing", "10.2.0.1", "[10.1.1.1]", NULL,
	    "9", LEVEL_ENCRYPT, false },
	{ "EHLO of * adds nothing", "10.2.0.1", "*", NULL, "9", LEVEL_ENCRYPT,
	    false },
	{ "malformed EHLO adds nothing", "10.2.0.1", "..", NULL, "9",
	    LEVEL_ENCRYPT, false },
	{ "empty EHLO adds nothing", "10.2.0.1", "", NULL, "9", LEVEL_ENCRYPT,
	    false },
	{ "from adds", "198.51.100.1", NULL, "u@partner.test", "14+17",
	    LEVEL_LOCK, true },
	{ "the null reverse-path adds nothing", "198.51.100.1", NULL, "", "14",
	    LEVEL_ENCRYPT, true },
	{ "both comes in, by EHLO", "10.2.0.1", "gone.test", NULL, "9+24",
	    LEVEL_VERIFY, true },
	{ "fail=permanent wins over temporary", "10.2.0.1", "gone.test",
	    "u@partner.test", "9+24+17", LEVEL_LOCK, true },
};

static void
lines_of(const struct demand *demand, char out[static 64])
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < demand->row_count; i++)
		len += (size_t)snprintf(out + len, 64 - len, "%s%u",
		    i > 0 ? "+" : "", demand->rows[i].line);
}

static void
test_out(void **state)
{
	const struct out *row = *state;
	time_t now = NOW + row->days * (time_t)DAY;
	struct demand *demand = demand_new();
	struct reason why;
	char lines[64];

	assert_true(demand_out(demand, table, row->host, row->port, now, &why));
	if (row->rcpt != NULL)
		assert_true(
		    demand_add_rcpt(demand, table, row->rcpt, now, &why));
	lines_of(demand, lines);
	assert_string_equal(lines, row->lines);
	assert_int_equal(demand->level, row->level);
	assert_int_equal(demand->side, SIDE_OUT);
	demand_free(demand);
}

static struct sockaddr_storage
peer_of(const char *address)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };

	if (inet_pton(AF_INET, address,
		&((struct sockaddr_in *)&peer)->sin_addr) == 1)
		return peer;
	peer.ss_family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, address,
			     &((struct sockaddr_in6 *)&peer)->sin6_addr),
	    1);
	return peer;
}

static void
test_in(void **state)
{
	const struct in *row = *state;
	struct sockaddr_storage peer = peer_of(row->address);
	struct demand *demand = demand_new();
	struct reason why;
	char lines[64];

	assert_true(demand_in(demand, table, &peer, NOW, &why));
	if (row->ehlo != NULL)
		assert_true(
		    demand_add_ehlo(demand, table, row->ehlo, NOW, &why));
	if (row->from != NULL)
		assert_true(
		    demand_add_from(demand, table, row->from, NOW, &why));
	lines_of(demand, lines);
	assert_string_equal(lines, row->lines);
	assert_int_equal(demand->level, row->level);
	assert_int_equal(demand->permanent, row->permanent);
	assert_int_equal(demand_wants_certificate(demand),
	    row->level >= LEVEL_VERIFY);
	demand_free(demand);
}

static void
test_no_table(void **state)
{
	struct sockaddr_storage peer = peer_of("127.0.0.1");
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_in(demand, NULL, &peer, NOW, &why));
	assert_int_equal(demand->level, LEVEL_ENCRYPT);
	assert_true(demand_add_ehlo(demand, NULL, "a.example", NOW, &why));
	assert_true(demand_out(demand, NULL, "127.0.0.1", 25, NOW, &why));
	assert_true(demand_add_rcpt(demand, NULL, "a@b.example", NOW, &why));
	assert_int_equal(demand->level, LEVEL_ENCRYPT);
	assert_int_equal(demand->row_count, 1);
	demand_free(demand);
}

static void
test_default(void **state)
{
	struct table *small = table_of("a.example out verify\n");
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, small, "b.example", 25, NOW, &why));
	assert_int_equal(demand->level, LEVEL_ENCRYPT);
	assert_int_equal(demand->rows[0].line, 0);
	demand_free(demand);
	table_close(small);
}

/* cert, auth, sni and reuse come from the row for the next hop alone. */
static void
test_next_hop(void **state)
{
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, table, "mx.example", 465, NOW, &why));
	assert_string_equal(demand->cert, "c");
	assert_string_equal(demand->auth, "a");
	assert_string_equal(demand->sni, "s.example");
	assert_true(demand->reuse);
	assert_true(demand_out(demand, table, "x.example", 465, NOW, &why));
	assert_null(demand->cert);
	assert_null(demand->auth);
	assert_null(demand->sni);
	assert_false(demand->reuse);
	demand_free(demand);
}

/* A row for both directions has them for its out half alone. */
static void
test_further_demands(void **state)
{
	struct table *own = table_of("peer.example both verify dane ratchet\n"
				     "bank.test rcpt encrypt dane\n"
				     "192.0.2.1 both encrypt ratchet\n");
	struct sockaddr_storage peer = { .ss_family = AF_INET };
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, own, "peer.example", 25, NOW, &why));
	assert_true(demand->dane && demand->ratchet);
	assert_true(demand_in(demand, own, &peer, NOW, &why));
	assert_true(demand_add_ehlo(demand, own, "peer.example", NOW, &why));
	assert_int_equal(demand->row_count, 2);
	assert_false(demand->dane || demand->ratchet);

	assert_true(demand_out(demand, own, "mx.example", 25, NOW, &why));
	assert_false(demand->dane);
	assert_true(demand_add_rcpt(demand, own, "u@bank.test", NOW, &why));
	assert_true(demand->dane);
	assert_int_equal(demand->anchors, 0); /* DANE alone identifies */

	/* The ratchet looks at the chain at any level. */
	assert_true(demand_out(demand, own, "192.0.2.1", 25, NOW, &why));
	assert_int_equal(demand->anchors, 1);
	assert_int_equal(demand->best.level, LEVEL_NONE);
	inet_pton(AF_INET, "192.0.2.1",
	    &((struct sockaddr_in *)&peer)->sin_addr);
	assert_true(demand_in(demand, own, &peer, NOW, &why));
	assert_int_equal(demand->anchors, 0);
	demand_free(demand);
	table_close(own);
}

static void
test_ended_is_told(void **state)
{
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, table, "old.test", 25,
	    NOW + 10 * (time_t)DAY, &why));
	assert_int_equal(demand->ended_line, 21);
	assert_true(demand_out(demand, table, "seen.test", 25,
	    NOW + 10 * (time_t)DAY, &why));
	assert_int_equal(demand->ended_line, 22);
	assert_false(demand->observe);
	assert_true(demand_out(demand, table, "seen.test", 25, NOW, &why));
	assert_int_equal(demand->ended_line, 0);
	assert_true(demand->observe);
	assert_true(demand_out(demand, table, "eku.test", 25,
	    NOW + 10 * (time_t)DAY, &why));
	assert_false(demand->rows[0].eku_any);
	demand_free(demand);
}

/* What the names are compared with, where match= does not say. */
static void
test_references(void **state)
{
	struct table *own = table_of("mx.example out lock\n"
				     ".sub.example both lock\n"
				     "mx.example:25 out lock\n"
				     "* out lock issuer=CN=x\n"
				     "h.example out lock org=x\n"
				     "bank.test rcpt lock\n"
				     "p.example in lock\n");
	struct sockaddr_storage peer = peer_of("192.0.2.1");
	struct demand *demand = demand_new();
	struct reason why;

	(void)state;
	assert_true(demand_out(demand, own, "mx.example", 465, NOW, &why));
	assert_string_equal(demand->rows[0].match, "mx.example");
	assert_true(demand_out(demand, own, "MX.example", 25, NOW, &why));
	assert_string_equal(demand->rows[0].match, "mx.example");
	assert_true(demand_out(demand, own, "a.sub.example", 25, NOW, &why));
	assert_string_equal(demand->rows[0].match, "a.sub.example");
	assert_true(demand_out(demand, own, "h.example", 25, NOW, &why));
	assert_string_equal(demand->rows[0].match, "h.example");
	assert_true(demand_out(demand, own, "z.example", 25, NOW, &why));
	assert_null(demand->rows[0].match);
	assert_true(demand_add_rcpt(demand, own, "u@bank.test", NOW, &why));
	assert_string_equal(demand->rows[1].match, "z.example");

	/* Coming in it is never what the client claimed. */
	assert_true(demand_in(demand, own, &peer, NOW, &why));
	assert_true(demand_add_ehlo(demand, own, "a.sub.example", NOW, &why));
	assert_string_equal(demand->rows[1].match, ".sub.example");
	assert_true(demand_in(demand, own, &peer, NOW, &why));
	assert_true(demand_add_ehlo(demand, own, "P.Example", NOW, &why));
	assert_string_equal(demand->rows[1].match, "p.example");
	demand_free(demand);
	table_close(own);
}

static void
test_anchors(void **state)
{
	struct table *own = table_of(
	    "a.example out verify ca=ca.pem crl=crl.pem\n"
	    "b.example out verify\n"
	    "c.example out encrypt\n"
	    "k.example out lock chain=no pin=sha256:"
	    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"
	    "bank.test rcpt verify\n"
	    "own.test rcpt verify ca=own.pem\n");
	struct demand *demand = demand_new();
	struct reason why;
	char path[300];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/ca.pem", scratch);
	assert_true(demand_out(demand, own, "a.example", 25, NOW, &why));
	assert_int_equal(demand->anchors, 1);
	assert_string_equal(demand->anchor[0], path);
	/* A row by recipient has the anchors of the next hop's row... */
	assert_true(demand_add_rcpt(demand, own, "u@bank.test", NOW, &why));
	assert_int_equal(demand->anchors, 1);
	assert_int_equal(demand->rows[1].anchors, 0);
	/* ... unless it names its own: then both must hold. */
	assert_true(demand_add_rcpt(demand, own, "u@own.test", NOW, &why));
	assert_int_equal(demand->anchors, 2);
	assert_int_equal(demand->rows[2].anchors, 1);
	assert_string_equal(demand->crl[1], "");

	assert_true(demand_out(demand, own, "b.example", 25, NOW, &why));
	assert_string_equal(demand->anchor[0], "");
	assert_true(demand_out(demand, own, "c.example", 25, NOW, &why));
	assert_int_equal(demand->anchors, 0);
	assert_true(demand_add_rcpt(demand, own, "u@bank.test", NOW, &why));
	assert_string_equal(demand->anchor[0], "");
	assert_true(demand_out(demand, own, "k.example", 25, NOW, &why));
	assert_int_equal(demand->anchors, 0);
	demand_free(demand);
	table_close(own);
}

/* Many recipients of one domain are one row; too many rows are refused, not
 * forgotten. */
static void
test_bounds(void **state)
{
	char text[4096] = "* out encrypt\n", one[80];
	struct demand *demand = demand_new();
	struct table *many;
	struct reason why;
	int i;

	(void)state;
	for (i = 0; i < 30; i++) {
		(void)snprintf(one, sizeof(one), "d%d.test rcpt lock\n", i);
		strcat(text, one);
	}
	many = table_of(text);
	assert_true(demand_out(demand, many, "mx.example", 25, NOW, &why));
	for (i = 0; i < 100; i++)
		assert_true(
		    demand_add_rcpt(demand, many, "u@d1.test", NOW, &why));
	assert_int_equal(demand->row_count, 2);
	for (i = 2; i < 30; i++) {
		(void)snprintf(one, sizeof(one), "u@d%d.test", i);
		if (!demand_add_rcpt(demand, many, one, NOW, &why))
			break;
	}
	assert_int_equal(demand->row_count, DEMAND_ROWS);
	assert_int_equal(why.code, REASON_RANGE);
	demand_free(demand);
	table_close(many);
}

static int
setup(void **state)
{
	static const char pem[] =
	    "-----BEGIN CERTIFICATE-----\n-----BEGIN X509 CRL-----\n";

	if (scratch_make(state) != 0)
		return 1;
	scratch_file("ca.pem", pem, strlen(pem));
	scratch_file("own.pem", pem, strlen(pem));
	scratch_file("crl.pem", pem, strlen(pem));
	table = table_of(TEXT);
	return 0;
}

static int
teardown(void **state)
{
	table_close(table);
	return scratch_remove(state);
}

int
main(void)
{
	struct CMUnitTest tests[ROWS(outs) + ROWS(ins) + 8];
	size_t n = 0;

	for (size_t i = 0; i < ROWS(outs); i++)
		tests[n++] = row_test(outs[i].what, test_out, &outs[i]);
	for (size_t i = 0; i < ROWS(ins); i++)
		tests[n++] = row_test(ins[i].what, test_in, &ins[i]);
	tests[n++] = row_test("no table: encrypt", test_no_table, NULL);
	tests[n++] = row_test("no row: encrypt", test_default, NULL);
	tests[n++] = row_test("cert, auth, sni, reuse", test_next_hop, NULL);
	tests[n++] = row_test("dane and ratchet are for the next hop",
	    test_further_demands, NULL);
	tests[n++] = row_test("ended exceptions", test_ended_is_told, NULL);
	tests[n++] =
	    row_test("what names are compared with", test_references, NULL);
	tests[n++] = row_test("sets of trust anchors", test_anchors, NULL);
	tests[n++] = row_test("many recipients", test_bounds, NULL);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("select", tests, setup, teardown);
}
