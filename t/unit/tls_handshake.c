/*
 * t/unit/tls_handshake.c: handshakes, resumption, data, and what is refused.
 */
#include "tls_fixture.h"

#include <poll.h>

static struct made ca, ecdsa, other, rsa, ed, client, client_ed;
static struct test_signer ecdsa_signer, other_signer, rsa_signer, ed_signer,
    client_signer, client_ed_signer;
static struct tls_identity *id_ecdsa, *id_other, *id_rsa, *id_ed, *id_client,
    *id_client_ed;

static int
setup(void **state)
{
	(void)state;
	make(&ca, &(struct recipe){ .cn = "CA",
		      .org = "Example Root Ltd",
		      .ca = true });
	make(&ecdsa, &(struct recipe){ .cn = "a",
			 .dns = { "mail.example.test" },
			 .issuer = &ca,
			 .eku = EKU_SERVER });
	make(&other, &(struct recipe){ .cn = "b",
			 .dns = { "*.other.test", "Two.example.test" },
			 .issuer = &ca,
			 .eku = EKU_SERVER });
	make(&rsa, &(struct recipe){ .cn = "c",
		       .dns = { "rsa.example.test" },
		       .issuer = &ca,
		       .pk = GNUTLS_PK_RSA,
		       .eku = EKU_SERVER });
	make(&ed, &(struct recipe){ .cn = "d",
		      .dns = { "ed.example.test" },
		      .issuer = &ca,
		      .pk = GNUTLS_PK_EDDSA_ED25519,
		      .eku = EKU_SERVER });
	make(&client, &(struct recipe){ .cn = "relay",
			  .org = "Example Ltd",
			  .dns = { "Relay.Example.test" },
			  .ip = "192.0.2.7",
			  .email = "Post@Example.Test",
			  .issuer = &ca,
			  .eku = EKU_CLIENT });
	make(&client_ed, &(struct recipe){ .cn = "relay",
			     .dns = { "relay.example.test" },
			     .issuer = &ca,
			     .pk = GNUTLS_PK_EDDSA_ED25519,
			     .eku = EKU_CLIENT });
	id_ecdsa = identity_of(&ecdsa, CERT_FOR_SERVER, &ecdsa_signer);
	id_other = identity_of(&other, CERT_FOR_SERVER, &other_signer);
	id_rsa = identity_of(&rsa, CERT_FOR_SERVER, &rsa_signer);
	id_ed = identity_of(&ed, CERT_FOR_SERVER, &ed_signer);
	id_client = identity_of(&client, CERT_FOR_CLIENT, &client_signer);
	id_client_ed =
	    identity_of(&client_ed, CERT_FOR_CLIENT, &client_ed_signer);
	return 0;
}

static void
drop(struct made *m, struct tls_identity *identity, struct test_signer *signer)
{
	tls_identity_unref(identity);
	tls_key_free(signer->key);
	unmake(m);
}

static int
teardown(void **state)
{
	(void)state;
	drop(&ecdsa, id_ecdsa, &ecdsa_signer);
	drop(&other, id_other, &other_signer);
	drop(&rsa, id_rsa, &rsa_signer);
	drop(&ed, id_ed, &ed_signer);
	drop(&client, id_client, &client_signer);
	drop(&client_ed, id_client_ed, &client_ed_signer);
	unmake(&ca);
	return 0;
}

/* --- a client that is not ours, for what ours does not do -------------- */

struct raw {
	gnutls_session_t s;
	gnutls_certificate_credentials_t cred;
	int rc;
	struct tls_session *server;
	enum tls_io io;
	struct reason why;
	int fd[2];
};

static void
raw_open(struct raw *r, struct tls_server *server, bool ask,
    const char *priority, const char *alpn, const gnutls_datum_t *resume)
{
	gnutls_datum_t protocol = { (unsigned char *)alpn,
		alpn ? (unsigned)strlen(alpn) : 0 };
	struct reason why;

	memset(r, 0, sizeof(*r));
	pair(r->fd);
	OK(gnutls_init(&r->s,
	    GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL));
	OK(gnutls_certificate_allocate_credentials(&r->cred));
	OK(gnutls_credentials_set(r->s, GNUTLS_CRD_CERTIFICATE, r->cred));
	OK(gnutls_priority_set_direct(r->s, priority, NULL));
	if (alpn != NULL)
		OK(gnutls_alpn_set_protocols(r->s, &protocol, 1, 0));
	if (resume != NULL)
		OK(gnutls_session_set_data(r->s, resume->data, resume->size));
	gnutls_transport_set_int(r->s, r->fd[1]);
	assert_true(
	    tls_session_accept(&r->server, server, r->fd[0], ask, &why));
	r->rc = GNUTLS_E_AGAIN;
	r->io = TLS_IO_READ;
	for (int i = 0; i < 50; i++) {
		if (r->rc == GNUTLS_E_AGAIN)
			r->rc = gnutls_handshake(r->s);
		if (r->io == TLS_IO_READ || r->io == TLS_IO_WRITE)
			r->io = tls_session_handshake(r->server, &r->why);
	}
}

static void
raw_close(struct raw *r)
{
	gnutls_deinit(r->s);
	gnutls_certificate_free_credentials(r->cred);
	tls_session_free(r->server);
	close(r->fd[0]);
	close(r->fd[1]);
}

#define TLS12 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define TLS13 "NORMAL:-VERS-ALL:+VERS-TLS1.3"

/* --- handshakes ---------------------------------------------------------- */

static void
ours_with_ours_is_tls13(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	unsigned char a[TLS_BINDING_OCTETS], b[TLS_BINDING_OCTETS];
	struct facts of_client, of_server;
	struct ends e;

	(void)state;
	ends_open(&e, server, false,
	    &(struct tls_connect_options){ .sni = "mail.example.test" });
	assert_connected(&e);
	tls_session_facts(e.client, CERT_FOR_SERVER, &of_client);
	tls_session_facts(e.server, CERT_FOR_CLIENT, &of_server);
	assert_true(of_client.tls && of_server.tls);
	assert_int_equal(of_client.version, 13);
	assert_string_equal(of_client.suite, "TLS_AES_256_GCM_SHA384");
	assert_string_equal(of_client.group, "x25519");
	assert_int_equal(of_client.bits, 256);
	assert_false(of_client.resumed);
	assert_true(of_client.peer_cert);
	assert_int_equal(of_client.purpose, PURPOSE_YES);
	assert_memory_equal(of_client.spki, tls_identity_spki(id_ecdsa), 32);
	assert_int_equal(of_client.not_after, NOW + 30 * DAY);
	assert_string_equal(of_client.subject, "CN=a");
	assert_string_equal(of_client.issuer, "O=Example Root Ltd,CN=CA");
	assert_int_equal(of_client.names_len, sizeof("dns:mail.example.test"));
	assert_string_equal(of_client.names, "dns:mail.example.test");
	for (int i = 0; i < FACTS_CHAINS; i++)
		assert_int_equal(of_client.chain[i], CHAIN_UNCHECKED);
	assert_false(of_server.peer_cert);
	assert_int_equal(of_server.purpose, PURPOSE_UNKNOWN);
	assert_null(of_server.names);
	assert_true(tls_session_binding(e.client, a));
	assert_true(tls_session_binding(e.server, b));
	assert_memory_equal(a, b, TLS_BINDING_OCTETS);
	assert_string_equal(tls_session_sni(e.server), "mail.example.test");
	ends_close(&e);
	tls_server_unref(server);
}

static void
binding_is_equal_under_tls12(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	unsigned char a[TLS_BINDING_OCTETS];
	gnutls_datum_t b;
	struct facts facts;
	struct raw r;

	(void)state;
	raw_open(&r, server, false, TLS12, NULL, NULL);
	assert_int_equal(r.io, TLS_IO_DONE);
	assert_int_equal(r.rc, 0);
	OK(gnutls_session_channel_binding(r.s, GNUTLS_CB_TLS_EXPORTER, &b));
	assert_true(tls_session_binding(r.server, a));
	assert_memory_equal(a, b.data, TLS_BINDING_OCTETS);
	tls_session_facts(r.server, CERT_FOR_CLIENT, &facts);
	assert_int_equal(facts.version, 12);
	assert_string_equal(facts.suite,
	    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
	gnutls_free(b.data);
	raw_close(&r);
	tls_server_unref(server);
}

/* Every kind of key, in another process's place, under both versions. */
static void
remote_key(struct tls_identity *identity, struct test_signer *signer,
    const char *priority)
{
	struct tls_server *server = server_of(&identity, 1, NULL, 12);
	unsigned before = signer->calls;
	struct raw r;

	raw_open(&r, server, false, priority, NULL, NULL);
	if (r.io != TLS_IO_DONE || r.rc != 0)
		fail_msg("server: %s; client: %s", r.why.text,
		    gnutls_strerror(r.rc));
	assert_int_equal(signer->calls, before + 1);
	raw_close(&r);
	tls_server_unref(server);
}

static void
remote_keys_sign_under_tls13(void **state)
{
	(void)state;
	remote_key(id_ecdsa, &ecdsa_signer, TLS13);
	remote_key(id_rsa, &rsa_signer, TLS13);
	remote_key(id_ed, &ed_signer, TLS13);
}

static void
remote_keys_sign_under_tls12(void **state)
{
	(void)state;
	remote_key(id_ecdsa, &ecdsa_signer, TLS12);
	remote_key(id_rsa, &rsa_signer, TLS12);
	remote_key(id_rsa, &rsa_signer,
	    TLS12 ":-SIGN-ALL:+SIGN-RSA-SHA256:+SIGN-RSA-SHA512");
	remote_key(id_rsa, &rsa_signer, TLS12 ":-SIGN-ALL:+SIGN-RSA-SHA384");
	remote_key(id_ed, &ed_signer, TLS12);
	remote_key(id_ed, &ed_signer, TLS12 ":-GROUP-ALL:+GROUP-SECP384R1");
}

static void
signer_away_fails_one_handshake(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	struct ends e;

	(void)state;
	ecdsa_signer.away = true;
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	ecdsa_signer.away = false;
	assert_int_equal(e.server_io, TLS_IO_FAILED);
	assert_int_equal(e.server_why.code, REASON_AWAY);
	assert_int_equal(e.client_io, TLS_IO_FAILED);
	ends_close(&e);
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	ends_close(&e);
	tls_server_unref(server);
}

static void
sni_chooses_the_certificate(void **state)
{
	static const struct {
		const char *sni;
		bool is_other;
	} rows[] = {
		{ NULL, false },
		{ "mail.example.test", false },
		{ "two.example.test", true },
		{ "TWO.example.test", true },
		{ "x.other.test", true },
		{ "y.x.other.test", false },
		{ "other.test", false },
		{ "unknown.example", false },
	};
	struct tls_identity *both[] = { id_ecdsa, id_other };
	struct tls_server *server = server_of(both, 2, NULL, 12);
	struct facts facts;
	struct ends e;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ends_open(&e, server, false,
		    &(struct tls_connect_options){ .sni = rows[i].sni });
		assert_connected(&e);
		tls_session_facts(e.client, CERT_FOR_SERVER, &facts);
		assert_memory_equal(facts.spki,
		    tls_identity_spki(rows[i].is_other ? id_other : id_ecdsa),
		    32);
		ends_close(&e);
	}
	tls_server_unref(server);
}

/* --- client certificates ---------------------------------------------------
 */

static void
client_certificate_fills_the_facts(void **state)
{
	static const char names[] = "dns:relay.example.test\0"
				    "ip:192.0.2.7\0"
				    "email:Post@example.test";
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	struct facts facts;
	struct ends e;

	(void)state;
	ends_open(&e, server, true,
	    &(struct tls_connect_options){ .identity = id_client });
	assert_connected(&e);
	tls_session_facts(e.server, CERT_FOR_CLIENT, &facts);
	assert_true(facts.peer_cert);
	assert_int_equal(facts.purpose, PURPOSE_YES);
	assert_memory_equal(facts.spki, tls_identity_spki(id_client), 32);
	assert_string_equal(facts.organisation, "Example Ltd");
	assert_string_equal(facts.issuer_organisation, "Example Root Ltd");
	assert_int_equal(facts.names_len, sizeof(names));
	assert_memory_equal(facts.names, names, sizeof(names));
	/* Asked again for another purpose. */
	tls_session_facts(e.server, CERT_FOR_SERVER, &facts);
	assert_int_equal(facts.purpose, PURPOSE_OTHER);
	ends_close(&e);

	ends_open(&e, server, true, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	tls_session_facts(e.server, CERT_FOR_CLIENT, &facts);
	assert_false(facts.peer_cert);
	ends_close(&e);

	ends_open(&e, server, false,
	    &(struct tls_connect_options){ .identity = id_client });
	assert_connected(&e);
	tls_session_facts(e.server, CERT_FOR_CLIENT, &facts);
	assert_false(facts.peer_cert);
	ends_close(&e);
	tls_server_unref(server);
}

static void
ed25519_client_is_shown_under_tls13_only(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	gnutls_certificate_credentials_t cred;
	gnutls_session_t s;
	struct tls_session *session;
	struct reason why = { 0 };
	enum tls_io io = TLS_IO_READ;
	struct facts facts;
	struct ends e;
	unsigned count = 9;
	int fd[2], rc = GNUTLS_E_AGAIN;

	(void)state;
	assert_true(tls_identity_needs_tls13(id_client_ed));
	ends_open(&e, server, true,
	    &(struct tls_connect_options){ .identity = id_client_ed });
	assert_connected(&e);
	tls_session_facts(e.server, CERT_FOR_CLIENT, &facts);
	assert_memory_equal(facts.spki, tls_identity_spki(id_client_ed), 32);
	ends_close(&e);
	tls_server_unref(server);

	/* A server that speaks TLS 1.2 alone. */
	pair(fd);
	OK(gnutls_init(&s, GNUTLS_SERVER | GNUTLS_NONBLOCK));
	OK(gnutls_certificate_allocate_credentials(&cred));
	OK(gnutls_certificate_set_x509_key_mem(cred, &ecdsa.pem, &ecdsa.key_pem,
	    GNUTLS_X509_FMT_PEM));
	OK(gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, cred));
	OK(gnutls_priority_set_direct(s, TLS12, NULL));
	gnutls_certificate_server_set_request(s, GNUTLS_CERT_REQUEST);
	gnutls_transport_set_int(s, fd[0]);
	assert_true(tls_session_connect(&session,
	    &(struct tls_connect_options){ .identity = id_client_ed }, fd[1],
	    &why));
	for (int i = 0; i < 50; i++) {
		if (io == TLS_IO_READ)
			io = tls_session_handshake(session, &why);
		if (rc == GNUTLS_E_AGAIN)
			rc = gnutls_handshake(s);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(io, TLS_IO_DONE);
	assert_null(gnutls_certificate_get_peers(s, &count));
	tls_session_free(session);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(cred);
	close(fd[0]);
	close(fd[1]);
}

/* Without a SAN there is no name: the CN is nobody's. */
static void
common_name_gives_no_names(void **state)
{
	struct made cn_only;
	struct test_signer signer;
	struct tls_identity *identity;
	struct tls_server *server;
	struct facts facts;
	struct ends e;

	(void)state;
	make(&cn_only, &(struct recipe){ .cn = "mail.example.test",
			   .issuer = &ca,
			   .eku = EKU_SERVER });
	identity = identity_of(&cn_only, CERT_FOR_SERVER, &signer);
	server = server_of(&identity, 1, NULL, 12);
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	tls_session_facts(e.client, CERT_FOR_SERVER, &facts);
	assert_string_equal(facts.subject, "CN=mail.example.test");
	assert_null(facts.names);
	assert_int_equal(facts.names_len, 0);
	ends_close(&e);
	tls_server_unref(server);
	drop(&cn_only, identity, &signer);
}

static void
identity_fits_by_its_eku(void **state)
{
	static const struct {
		enum eku eku;
		enum cert_purpose side;
		bool fits;
	} rows[] = {
		{ EKU_SERVER, CERT_FOR_SERVER, true },
		{ EKU_SERVER, CERT_FOR_CLIENT, false },
		{ EKU_BOTH, CERT_FOR_CLIENT, true },
		{ EKU_NONE, CERT_FOR_CLIENT, false },
		{ EKU_OTHER, CERT_FOR_SERVER, false },
	};
	struct tls_identity *identity;
	struct test_signer signer;
	struct made m;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		make(&m, &(struct recipe){ .cn = "x",
			     .dns = { "x.test" },
			     .issuer = &ca,
			     .eku = rows[i].eku });
		identity = identity_of(&m, rows[i].side, &signer);
		assert_int_equal(tls_identity_fits(identity), rows[i].fits);
		assert_int_equal(tls_identity_not_after(identity),
		    NOW + 30 * DAY);
		drop(&m, identity, &signer);
	}
}

/* --- tickets ---------------------------------------------------------------
 */

/* The client's ticket after a first connection; data NULL if none came. */
static void
get_ticket(struct tls_server *server, bool ask, const char *priority,
    gnutls_datum_t *ticket)
{
	size_t put, got;
	char c = 0;
	struct raw r;

	ticket->data = NULL;
	raw_open(&r, server, ask, priority, NULL, NULL);
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.io, TLS_IO_DONE);
	assert_int_equal(tls_session_write(r.server, "x", 1, &put, &r.why),
	    TLS_IO_DONE);
	/* The tickets come first. */
	for (int i = 0; i < 4 && c != 'x'; i++)
		gnutls_record_recv(r.s, &c, 1);
	assert_int_equal(c, 'x');
	assert_int_equal(tls_session_read(r.server, &c, 1, &got, &r.why),
	    TLS_IO_READ);
	if (gnutls_session_get_flags(r.s) & GNUTLS_SFLAGS_SESSION_TICKET)
		OK(gnutls_session_get_data2(r.s, ticket));
	raw_close(&r);
}

static bool
resumes(struct tls_server *server, bool ask, const char *priority,
    const gnutls_datum_t *ticket)
{
	struct facts facts;
	struct raw r;

	raw_open(&r, server, ask, priority, NULL, ticket);
	assert_int_equal(r.rc, 0);
	assert_int_equal(r.io, TLS_IO_DONE);
	tls_session_facts(r.server, CERT_FOR_CLIENT, &facts);
	assert_int_equal(facts.resumed, gnutls_session_is_resumed(r.s) != 0);
	raw_close(&r);
	return facts.resumed;
}

static void
tickets(const char *priority)
{
	unsigned char key[TLS_TICKET_KEY_OCTETS],
	    other_key[TLS_TICKET_KEY_OCTETS];
	struct tls_server *one, *two, *stranger, *without;
	gnutls_datum_t ticket;

	memset(key, 7, sizeof(key));
	memset(other_key, 8, sizeof(other_key));
	one = server_of(&id_ecdsa, 1, key, 12);
	two = server_of(&id_ecdsa, 1, key, 12);
	stranger = server_of(&id_ecdsa, 1, other_key, 12);
	without = server_of(&id_ecdsa, 1, NULL, 12);

	get_ticket(one, false, priority, &ticket);
	assert_non_null(ticket.data);
	assert_true(resumes(two, false, priority, &ticket));
	assert_false(resumes(stranger, false, priority, &ticket));
	assert_false(resumes(without, false, priority, &ticket));
	/* Not where a certificate is asked for, not even with a ticket. */
	assert_false(resumes(two, true, priority, &ticket));
	gnutls_free(ticket.data);

	get_ticket(one, true, priority, &ticket);
	assert_null(ticket.data);
	get_ticket(without, false, priority, &ticket);
	assert_null(ticket.data);
	tls_server_unref(one);
	tls_server_unref(two);
	tls_server_unref(stranger);
	tls_server_unref(without);
}

static void
tickets_under_tls13(void **state)
{
	(void)state;
	tickets(TLS13);
}

static void
tickets_under_tls12(void **state)
{
	(void)state;
	tickets(TLS12);
}

/* --- refusals --------------------------------------------------------------
 */

static void
refused_handshakes(void **state)
{
	static const struct {
		const char *name, *priority, *alpn;
		unsigned min;
		enum reason_code code; /* REASON_NONE: let in */
	} rows[] = {
		{ "TLS 1.1", "NORMAL:-VERS-ALL:+VERS-TLS1.1", NULL, 12,
		    REASON_PROTOCOL_TOO_OLD },
		{ "TLS 1.2 where 1.3 is asked", TLS12, NULL, 13,
		    REASON_HANDSHAKE_FAILED },
		{ "TLS 1.3 where it is asked", TLS13, NULL, 13, REASON_NONE },
		{ "TLS 1.2 without extended master secret",
		    TLS12 ":%NO_SESSION_HASH", NULL, 12,
		    REASON_HANDSHAKE_FAILED },
		{ "CBC only", TLS12 ":-CIPHER-ALL:+AES-128-CBC", NULL, 12,
		    REASON_HANDSHAKE_FAILED },
		{ "RSA key exchange only", TLS12 ":-KX-ALL:+RSA", NULL, 12,
		    REASON_HANDSHAKE_FAILED },
		{ "SHA-1 signatures only", TLS12 ":-SIGN-ALL:+SIGN-ECDSA-SHA1",
		    NULL, 12, REASON_HANDSHAKE_FAILED },
		{ "ALPN of another protocol", TLS13, "http/1.1", 12,
		    REASON_HANDSHAKE_FAILED },
		{ "ALPN of another protocol under TLS 1.2", TLS12, "h2", 12,
		    REASON_HANDSHAKE_FAILED },
		{ "ALPN smtp", TLS13, "smtp", 12, REASON_NONE },
	};
	struct tls_server *server;
	struct raw r;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		server = server_of(&id_ecdsa, 1, NULL, rows[i].min);
		raw_open(&r, server, false, rows[i].priority, rows[i].alpn,
		    NULL);
		if (rows[i].code == REASON_NONE &&
		    (r.io != TLS_IO_DONE || r.rc != 0))
			fail_msg("%s: %s", rows[i].name, r.why.text);
		if (rows[i].code != REASON_NONE &&
		    (r.io != TLS_IO_FAILED || r.why.code != rows[i].code))
			fail_msg("%s: io %d, code %d, %s", rows[i].name,
			    (int)r.io, (int)r.why.code, r.why.text);
		raw_close(&r);
		tls_server_unref(server);
	}
}

static void
not_tls_at_all(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	struct tls_session *session;
	struct reason why = { 0 };
	int fd[2];

	(void)state;
	pair(fd);
	assert_true(tls_session_accept(&session, server, fd[0], false, &why));
	assert_int_equal(write(fd[1], "EHLO example.test\r\n", 19), 19);
	assert_int_equal(tls_session_handshake(session, &why), TLS_IO_FAILED);
	assert_int_equal(why.code, REASON_HANDSHAKE_FAILED);
	tls_session_bye(session);
	tls_session_free(session);
	close(fd[0]);
	close(fd[1]);
	pair(fd);
	assert_true(tls_session_accept(&session, server, fd[0], false, &why));
	assert_int_equal(tls_session_handshake(session, &why), TLS_IO_READ);
	close(fd[1]);
	assert_int_equal(tls_session_handshake(session, &why), TLS_IO_FAILED);
	tls_session_free(session);
	close(fd[0]);
	tls_server_unref(server);
}

static void
renegotiation_is_refused(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	struct raw r;
	size_t got;
	char c;

	(void)state;
	raw_open(&r, server, false, TLS12, NULL, NULL);
	assert_int_equal(r.io, TLS_IO_DONE);
	gnutls_handshake(r.s);
	assert_int_equal(tls_session_read(r.server, &c, 1, &got, &r.why),
	    TLS_IO_FAILED);
	assert_non_null(strstr(r.why.text, "renegotiation"));
	raw_close(&r);
	tls_server_unref(server);
}

static void
server_without_identity(void **state)
{
	struct tls_server_options options = { .min = 12 };
	struct tls_server *server;
	struct reason why;

	(void)state;
	assert_false(tls_server_new(&server, &options, &why));
	assert_int_equal(why.code, REASON_ABSENT);
}

static void
unordered_chain_is_refused(void **state)
{
	gnutls_datum_t pem = { .size = ca.pem.size + ecdsa.pem.size };
	struct tls_identity *identity;
	struct reason why;

	(void)state;
	pem.data = malloc(pem.size);
	assert_non_null(pem.data);
	memcpy(pem.data, ca.pem.data, ca.pem.size);
	memcpy(pem.data + ca.pem.size, ecdsa.pem.data, ecdsa.pem.size);
	assert_false(tls_identity_new(&identity, &pem, CERT_FOR_SERVER,
	    test_sign, NULL, &why));
	assert_int_equal(why.code, REASON_CERT_BAD);
	free(pem.data);
}

/* --- data ------------------------------------------------------------------
 */

static void
one_write_is_one_record(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	char text[500];
	unsigned char wire[1024];
	struct ends e;
	size_t put, got;
	ssize_t n;

	(void)state;
	memset(text, 'x', sizeof(text));
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	assert_int_equal(tls_session_write(e.server, text, sizeof(text), &put,
			     &e.server_why),
	    TLS_IO_DONE);
	assert_int_equal(put, sizeof(text));
	n = recv(e.fd[1], wire, sizeof(wire), MSG_PEEK);
	assert_true(n > (ssize_t)sizeof(text));
	assert_int_equal(wire[3] * 256 + wire[4] + 5, n);
	/* What is decrypted and not read yet is pending. */
	assert_int_equal(
	    tls_session_read(e.client, text, 100, &got, &e.client_why),
	    TLS_IO_DONE);
	assert_int_equal(got, 100);
	assert_true(tls_session_pending(e.client));
	assert_int_equal(
	    tls_session_read(e.client, text, 500, &got, &e.client_why),
	    TLS_IO_DONE);
	assert_int_equal(got, 400);
	assert_false(tls_session_pending(e.client));
	ends_close(&e);
	tls_server_unref(server);
}

enum { BULK = 300000 };

/* Write until it waits, read a little, and so on; small_records: the peer
 * limits what one record may hold (RFC 8449). */
static void
bulk(bool small_records)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	unsigned char *out = malloc(BULK), *in = malloc(BULK);
	size_t sent = 0, received = 0, put, rounds = 0;
	gnutls_certificate_credentials_t cred;
	struct tls_session *session;
	struct reason why = { 0 };
	enum tls_io io = TLS_IO_READ;
	gnutls_session_t s;
	int fd[2], rc = GNUTLS_E_AGAIN, small = 4096;
	ssize_t n;

	assert_true(out != NULL && in != NULL);
	for (size_t i = 0; i < BULK; i++)
		out[i] = (unsigned char)(i * 2654435761u >> 13);
	pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	OK(gnutls_init(&s, GNUTLS_CLIENT | GNUTLS_NONBLOCK));
	OK(gnutls_certificate_allocate_credentials(&cred));
	OK(gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, cred));
	OK(gnutls_priority_set_direct(s, "NORMAL", NULL));
	if (small_records)
		OK(gnutls_record_set_max_recv_size(s, 777));
	gnutls_transport_set_int(s, fd[1]);
	assert_true(tls_session_accept(&session, server, fd[0], false, &why));
	for (int i = 0; i < 50; i++) {
		if (rc == GNUTLS_E_AGAIN)
			rc = gnutls_handshake(s);
		if (io == TLS_IO_READ || io == TLS_IO_WRITE)
			io = tls_session_handshake(session, &why);
	}
	assert_int_equal(io, TLS_IO_DONE);
	while (received < BULK) {
		assert_true(++rounds < 100000);
		if (sent < BULK) {
			io = tls_session_write(session, out + sent, BULK - sent,
			    &put, &why);
			assert_true(io == TLS_IO_DONE || io == TLS_IO_WRITE);
			sent += put;
			assert_true(io == TLS_IO_WRITE || sent == BULK);
		}
		n = gnutls_record_recv(s, in + received, BULK - received);
		assert_true(n > 0 || n == GNUTLS_E_AGAIN);
		if (n > 0)
			received += (size_t)n;
	}
	assert_int_equal(received, BULK);
	assert_memory_equal(in, out, BULK);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(cred);
	tls_session_free(session);
	close(fd[0]);
	close(fd[1]);
	free(out);
	free(in);
	tls_server_unref(server);
}

static void
bulk_arrives_whole(void **state)
{
	(void)state;
	bulk(false);
}

static void
bulk_arrives_whole_in_small_records(void **state)
{
	(void)state;
	bulk(true);
}

static void
close_notify_and_truncation_differ(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	struct ends e;
	size_t got;
	char c;

	(void)state;
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	tls_session_bye(e.client);
	assert_int_equal(tls_session_read(e.server, &c, 1, &got, &e.server_why),
	    TLS_IO_EOF);
	ends_close(&e);
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	shutdown(e.fd[1], SHUT_RDWR);
	assert_int_equal(tls_session_read(e.server, &c, 1, &got, &e.server_why),
	    TLS_IO_TRUNCATED);
	ends_close(&e);
	tls_server_unref(server);
}

/* After a key update data may follow that the first read does not give. */
static void
key_update_loses_nothing(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	enum tls_io io = TLS_IO_READ;
	struct raw r;
	size_t got = 0, put;
	char text[8] = "";

	(void)state;
	raw_open(&r, server, false, TLS13, NULL, NULL);
	assert_int_equal(r.io, TLS_IO_DONE);
	OK(gnutls_session_key_update(r.s, GNUTLS_KU_PEER));
	assert_int_equal(gnutls_record_send(r.s, "after", 5), 5);
	for (int i = 0; i < 4 && io == TLS_IO_READ; i++)
		io = tls_session_read(r.server, text, sizeof(text), &got,
		    &r.why);
	assert_int_equal(io, TLS_IO_DONE);
	assert_int_equal(got, 5);
	assert_memory_equal(text, "after", 5);
	assert_int_equal(tls_session_write(r.server, "back", 4, &put, &r.why),
	    TLS_IO_DONE);
	for (int i = 0; i < 4; i++)
		if (gnutls_record_recv(r.s, text, sizeof(text)) == 4)
			break;
	assert_memory_equal(text, "back", 4);
	raw_close(&r);
	tls_server_unref(server);
}

static void
key_update_flood_ends(void **state)
{
	struct tls_server *server = server_of(&id_ecdsa, 1, NULL, 12);
	enum tls_io io = TLS_IO_READ;
	struct raw r;
	size_t got;
	char c;
	int i;

	(void)state;
	raw_open(&r, server, false, TLS13, NULL, NULL);
	assert_int_equal(r.io, TLS_IO_DONE);
	for (i = 0; i < 1000 && io == TLS_IO_READ; i++) {
		if (gnutls_session_key_update(r.s, 0) < 0)
			break;
		io = tls_session_read(r.server, &c, 1, &got, &r.why);
	}
	assert_int_equal(io, TLS_IO_FAILED);
	raw_close(&r);
	tls_server_unref(server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ours_with_ours_is_tls13),
		cmocka_unit_test(binding_is_equal_under_tls12),
		cmocka_unit_test(remote_keys_sign_under_tls13),
		cmocka_unit_test(remote_keys_sign_under_tls12),
		cmocka_unit_test(signer_away_fails_one_handshake),
		cmocka_unit_test(sni_chooses_the_certificate),
		cmocka_unit_test(client_certificate_fills_the_facts),
		cmocka_unit_test(ed25519_client_is_shown_under_tls13_only),
		cmocka_unit_test(common_name_gives_no_names),
		cmocka_unit_test(identity_fits_by_its_eku),
		cmocka_unit_test(tickets_under_tls13),
		cmocka_unit_test(tickets_under_tls12),
		cmocka_unit_test(refused_handshakes),
		cmocka_unit_test(not_tls_at_all),
		cmocka_unit_test(renegotiation_is_refused),
		cmocka_unit_test(server_without_identity),
		cmocka_unit_test(unordered_chain_is_refused),
		cmocka_unit_test(one_write_is_one_record),
		cmocka_unit_test(bulk_arrives_whole),
		cmocka_unit_test(bulk_arrives_whole_in_small_records),
		cmocka_unit_test(close_notify_and_truncation_differ),
		cmocka_unit_test(key_update_loses_nothing),
		cmocka_unit_test(key_update_flood_ends),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
