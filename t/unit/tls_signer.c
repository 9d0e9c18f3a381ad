/*
 * t/unit/tls_signer.c: what is signed and for whom: the key, the signer role
 * and its callers.
 *
 * The role's file is part of this program, so that its loop can be stepped
 * without a master.
 */
#include "../../server/signer.c"

#include "../../server/signer_client.h"

#include "tls_fixture.h"

#include <pthread.h>

static struct made ca, ecdsa, rsa, ed, client;

static int
setup(void **state)
{
	(void)state;
	make(&ca, &(struct recipe){ .cn = "CA", .ca = true });
	make(&ecdsa, &(struct recipe){ .cn = "e",
			 .dns = { "e.test" },
			 .issuer = &ca,
			 .eku = EKU_SERVER });
	make(&rsa, &(struct recipe){ .cn = "r",
		       .issuer = &ca,
		       .pk = GNUTLS_PK_RSA,
		       .eku = EKU_SERVER });
	make(&ed, &(struct recipe){ .cn = "d",
		      .issuer = &ca,
		      .pk = GNUTLS_PK_EDDSA_ED25519,
		      .eku = EKU_SERVER });
	make(&client,
	    &(struct recipe){ .cn = "c", .issuer = &ca, .eku = EKU_CLIENT });
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unmake(&ecdsa);
	unmake(&rsa);
	unmake(&ed);
	unmake(&client);
	unmake(&ca);
	return 0;
}

/* --- one key ------------------------------------------------------------- */

static struct tls_key *
key_of_made(const struct made *m)
{
	struct tls_key *key;
	struct reason why = { 0 };

	if (!tls_key_new(&key, &m->key_pem, &why))
		fail_msg("%s", why.text);
	return key;
}

static const unsigned char digest_info_256[] = { 0x30, 0x31, 0x30, 0x0d, 0x06,
	0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	0x04, 0x20 };

static void
hash_forms_are_an_allow_list(void **state)
{
	const struct {
		const char *name;
		const struct made *made;
		unsigned algorithm;
		bool is_data;
		size_t len;
		bool allowed;
	} rows[] = {
		{ "P-256", &ecdsa, GNUTLS_SIGN_ECDSA_SECP256R1_SHA256, false,
		    32, true },
		{ "ECDSA of TLS 1.2", &ecdsa, GNUTLS_SIGN_ECDSA_SHA256, false,
		    32, true },
		{ "short hash", &ecdsa, GNUTLS_SIGN_ECDSA_SHA256, false, 31,
		    false },
		{ "long hash", &ecdsa, GNUTLS_SIGN_ECDSA_SHA256, false, 33,
		    false },
		{ "no hash", &ecdsa, GNUTLS_SIGN_ECDSA_SHA256, false, 0,
		    false },
		{ "SHA-1", &ecdsa, GNUTLS_SIGN_ECDSA_SHA1, false, 20, false },
		{ "data for ECDSA", &ecdsa, GNUTLS_SIGN_ECDSA_SHA256, true, 32,
		    false },
		{ "RSA with an ECDSA key", &ecdsa,
		    GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, false, 32, false },
		{ "RSA-PSS", &rsa, GNUTLS_SIGN_RSA_PSS_RSAE_SHA256, false, 32,
		    true },
		{ "RSA-PSS SHA-512", &rsa, GNUTLS_SIGN_RSA_PSS_RSAE_SHA512,
		    false, 64, true },
		{ "RSA PKCS#1 hash", &rsa, GNUTLS_SIGN_RSA_SHA256, false, 32,
		    false },
		{ "raw RSA without DigestInfo", &rsa, GNUTLS_SIGN_RSA_RAW,
		    false, 51, false },
		{ "raw RSA of anything", &rsa, GNUTLS_SIGN_RSA_RAW, false, 100,
		    false },
		{ "Ed25519 of anything", &ed, GNUTLS_SIGN_EDDSA_ED25519, true,
		    146, false },
		{ "Ed25519 of a hash", &ed, GNUTLS_SIGN_EDDSA_ED25519, false,
		    32, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tls_key *key = key_of_made(rows[i].made);
		struct tls_sign_request request = { .algorithm =
							rows[i].algorithm,
			.is_data = rows[i].is_data,
			.input_len = rows[i].len };
		unsigned char signature[TLS_SIGNATURE_MAX];
		size_t len = sizeof(signature);
		struct reason why = { 0 };
		bool ok = tls_key_sign(key, CERT_FOR_SERVER, &request,
		    signature, &len, &why);

		if (ok != rows[i].allowed)
			fail_msg("%s: %s", rows[i].name,
			    ok ? "signed" : why.text);
		if (!ok)
			assert_int_equal(why.code, REASON_PROTOCOL);
		tls_key_free(key);
	}
}

static bool
signs(const struct tls_key *key, enum cert_purpose side,
    const struct tls_sign_request *request)
{
	unsigned char signature[TLS_SIGNATURE_MAX];
	size_t len = sizeof(signature);

	return tls_key_sign(key, side, request, signature, &len, NULL);
}

static void
digest_info_is_the_one_raw_form(void **state)
{
	struct tls_key *key = key_of_made(&rsa);
	struct tls_sign_request request = { .algorithm = GNUTLS_SIGN_RSA_RAW,
		.input_len = 51 };

	(void)state;
	memcpy(request.input, digest_info_256, sizeof(digest_info_256));
	assert_true(signs(key, CERT_FOR_SERVER, &request));
	request.input_len = 50;
	assert_false(signs(key, CERT_FOR_SERVER, &request));
	request.input_len = 51;
	for (size_t i = 0; i < sizeof(digest_info_256); i++) {
		request.input[i] ^= 1;
		assert_false(signs(key, CERT_FOR_SERVER, &request));
		request.input[i] ^= 1;
	}
	tls_key_free(key);
}

/* A client's key cannot be made to speak for a server, nor the reverse. */
static void
ed25519_signs_for_its_side_only(void **state)
{
	struct tls_key *key = key_of_made(&ed);
	struct tls_sign_request request = { .algorithm =
						GNUTLS_SIGN_EDDSA_ED25519,
		.is_data = true };

	(void)state;
	memset(request.input, ' ', 64);
	memcpy(request.input + 64, "TLS 1.3, client CertificateVerify", 34);
	request.input_len = 64 + 34 + 48;
	assert_true(signs(key, CERT_FOR_CLIENT, &request));
	assert_false(signs(key, CERT_FOR_SERVER, &request));
	request.input_len--;
	assert_false(signs(key, CERT_FOR_CLIENT, &request));
	request.input_len++;
	memcpy(request.input + 64, "TLS 1.3, server CertificateVerify", 34);
	assert_true(signs(key, CERT_FOR_SERVER, &request));
	assert_false(signs(key, CERT_FOR_CLIENT, &request));
	request.input[3] = 'x';
	assert_false(signs(key, CERT_FOR_SERVER, &request));

	memset(&request.input, 7, sizeof(request.input));
	memcpy(request.input + 64, "\3\0\x1d\x20", 4);
	request.input_len = 64 + 4 + 32;
	assert_true(signs(key, CERT_FOR_SERVER, &request));
	assert_false(signs(key, CERT_FOR_CLIENT, &request));
	request.input_len++;
	assert_false(signs(key, CERT_FOR_SERVER, &request));
	tls_key_free(key);
}

static void
bad_keys_are_refused(void **state)
{
	gnutls_datum_t rubbish = { (unsigned char *)"rubbish", 7 };
	struct tls_key *key;
	struct made weak;
	struct reason why;

	(void)state;
	make(&weak, &(struct recipe){ .cn = "w",
			.issuer = &ca,
			.pk = GNUTLS_PK_RSA,
			.bits = 1024 });
	assert_false(tls_key_new(&key, &weak.key_pem, &why));
	assert_int_equal(why.code, REASON_CERT_WEAK);
	assert_false(tls_key_new(&key, &weak.pem, &why));
	assert_int_equal(why.code, REASON_SYNTAX);
	assert_false(tls_key_new(&key, &rubbish, &why));
	assert_int_equal(why.code, REASON_SYNTAX);
	unmake(&weak);
}

/* As a token has it: nothing is known but what it signs. */
static gnutls_privkey_t
elsewhere(const struct made *m)
{
	gnutls_privkey_t key;

	assert_int_equal(gnutls_privkey_init(&key), 0);
	assert_int_equal(gnutls_privkey_import_x509_raw(key, &m->key_pem,
			     GNUTLS_X509_FMT_PEM, NULL, 0),
	    0);
	return key;
}

static void
keys_elsewhere_are_tried(void **state)
{
	const struct made *all[] = { &ecdsa, &rsa, &ed, &client };
	const size_t count = sizeof(all) / sizeof(all[0]);

	(void)state;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			gnutls_privkey_t key = elsewhere(all[i]);
			unsigned char spki[SPKI_OCTETS];
			gnutls_datum_t public;
			struct tls_key *taken;
			struct reason why;

			assert_true(
			    cert_public_key(&all[j]->pem, &public, &why));
			assert_true(
			    cert_key_spki(&all[j]->key_pem, spki, &why));
			if (i == j) {
				assert_true(
				    tls_key_take(&taken, key, &public, &why));
				assert_memory_equal(tls_key_spki(taken), spki,
				    SPKI_OCTETS);
				tls_key_free(taken);
			} else {
				assert_false(
				    tls_key_take(&taken, key, &public, &why));
				assert_int_equal(why.code, REASON_CERT_BAD);
				gnutls_privkey_deinit(key);
			}
			gnutls_free(public.data);
		}
}

/* --- the role ------------------------------------------------------------- */

static const char conf[] =
    "hostname = \"mail.example.org\"\n"
    "realm = \"example.org\"\n"
    "smarthost { address = \"smtp.isp.example:465\" tls = implicit }\n"
    "listener submission { kind = submission\n"
    "  addresses = { \"127.0.0.1:587\" } certificates = { \"server\" } }\n"
    "certificate server { chain = \"s.pem\" key = \"s.key\" role = server }\n"
    "certificate client { chain = \"c.pem\" key = \"c.key\" role = client }\n"
    "end = true\n";

/* As the master would give it: sealed and opened again. */
static struct bundle *
bundle_of(const struct made *server_key, const struct made *client_key)
{
	gnutls_datum_t text = { (unsigned char *)conf, sizeof(conf) - 1 };
	struct bundle *bundle = bundle_new(), *opened = NULL;
	struct reason why = { 0 };
	int fd;

	assert_non_null(bundle);
	if (!bundle_add(bundle, BUNDLE_CONF, "/x/sallyport.conf", &text,
		&why) ||
	    !bundle_add(bundle, BUNDLE_KEY, "server", &server_key->key_pem,
		&why) ||
	    !bundle_add(bundle, BUNDLE_KEY, "client", &client_key->key_pem,
		&why) ||
	    !bundle_seal(bundle, &fd, &why) || !bundle_open(&opened, fd, &why))
		fail_msg("%s", why.text);
	bundle_free(bundle);
	return opened;
}

static void
signer_begin(struct signer *signer)
{
	memset(signer, 0, sizeof(*signer));
	signer->epoll = epoll_create1(EPOLL_CLOEXEC);
	assert_true(signer->epoll >= 0);
}

static void
signer_prepare(struct signer *signer, uint32_t number,
    const struct made *server_key, const struct made *client_key)
{
	struct bundle *bundle = bundle_of(server_key, client_key);
	struct reason why = { 0 };

	if (!prepare(signer, number, bundle, &why))
		fail_msg("%s", why.text);
	bundle_free(bundle);
}

static void
signer_end(struct signer *signer)
{
	while (signer->askers != NULL)
		drop_asker(signer, signer->askers);
	signer_keys_free(&signer->keys);
	close(signer->epoll);
}

/* A channel of that peer; our end. */
static int
connect_as(struct signer *signer, enum role role, unsigned index)
{
	struct reason why;
	int fd[2];

	assert_true(channel_pair(fd, false, &why));
	peer(signer, role, index, fd[1]);
	return fd[0];
}

static size_t
request_of(unsigned char *out, const struct made *m, uint64_t number)
{
	unsigned char spki[SPKI_OCTETS], hash[32] = { 1, 2, 3 };
	struct wire_writer w;
	struct reason why;

	assert_true(cert_spki(m->crt, spki, &why));
	wire_writer_init(&w, out, REQUEST_MAX);
	wire_put_u8(&w, SIGNER_SIGN);
	wire_put_u64(&w, number);
	wire_put_u32(&w, GNUTLS_SIGN_ECDSA_SHA256);
	wire_put_u8(&w, 0);
	wire_put_raw(&w, spki, SPKI_OCTETS);
	wire_put_bytes(&w, hash, sizeof(hash));
	return w.len;
}

/* Ask for a signature with m's key; 1 yes, 0 no, -1 the channel was closed. */
static int
ask(struct signer *signer, int fd, const struct made *m)
{
	static uint64_t number = 1000;
	unsigned char packet[REQUEST_MAX], out[ANSWER_MAX];
	struct wire_reader r;
	gnutls_datum_t octets;
	uint8_t ok;
	size_t len = request_of(packet, m, ++number);

	assert_int_equal(channel_send(fd, packet, len, -1), CHANNEL_DONE);
	run_events(signer, -1);
	if (channel_recv(fd, out, sizeof(out), &len, NULL) != CHANNEL_DONE)
		return -1;
	wire_reader_init(&r, out, len);
	assert_int_equal(wire_get_u8(&r), SIGNER_SIGNED);
	assert_int_equal(wire_get_u64(&r), number);
	ok = wire_get_u8(&r);
	octets = wire_get_bytes(&r, TLS_SIGNATURE_MAX);
	assert_true(wire_reader_done(&r));
	assert_int_equal(ok, octets.size > 0);
	return ok;
}

static void
each_role_has_its_keys(void **state)
{
	struct signer signer;
	int session, relay;

	(void)state;
	signer_begin(&signer);
	signer_prepare(&signer, 1, &ecdsa, &client);
	session = connect_as(&signer, ROLE_SESSION, 0);
	relay = connect_as(&signer, ROLE_RELAY, 0);
	assert_int_equal(ask(&signer, session, &ecdsa), 1);
	assert_int_equal(ask(&signer, session, &client), 0);
	assert_int_equal(ask(&signer, relay, &client), 1);
	assert_int_equal(ask(&signer, relay, &ecdsa), 0);
	assert_int_equal(ask(&signer, relay, &ca), 0);
	assert_int_equal(signer.signatures, 2);
	assert_int_equal(signer.refused, 3);
	close(session);
	close(relay);
	signer_end(&signer);
}

static void
keys_are_the_union_until_retired(void **state)
{
	struct signer signer;
	struct made next;
	int session;

	(void)state;
	make(&next,
	    &(struct recipe){ .cn = "n", .issuer = &ca, .eku = EKU_SERVER });
	signer_begin(&signer);
	session = connect_as(&signer, ROLE_SESSION, 3);
	assert_int_equal(ask(&signer, session, &ecdsa), 0);
	signer_prepare(&signer, 1, &ecdsa, &client);
	signer_prepare(&signer, 2, &next, &client);
	commit(&signer, 2);
	assert_int_equal(ask(&signer, session, &ecdsa), 1);
	assert_int_equal(ask(&signer, session, &next), 1);
	retire(&signer, 1);
	assert_int_equal(ask(&signer, session, &ecdsa), 0);
	assert_int_equal(ask(&signer, session, &next), 1);
	close(session);
	signer_end(&signer);
	unmake(&next);
}

static void
refused_configuration_leaves_nothing(void **state)
{
	struct bundle *bundle;
	struct signer signer;
	struct reason why;
	struct made weak;

	(void)state;
	make(&weak, &(struct recipe){ .cn = "w",
			.issuer = &ca,
			.pk = GNUTLS_PK_RSA,
			.bits = 1024 });
	bundle = bundle_of(&ecdsa, &weak);
	signer_begin(&signer);
	assert_false(prepare(&signer, 1, bundle, &why));
	assert_non_null(strstr(why.text, "certificate client"));
	assert_null(signer.keys.first);
	assert_int_equal(signer.number_count, 0);
	bundle_free(bundle);
	signer_end(&signer);
	unmake(&weak);
}

static void
new_channel_replaces_the_old(void **state)
{
	struct signer signer;
	int first, second;
	char c;

	(void)state;
	signer_begin(&signer);
	signer_prepare(&signer, 1, &ecdsa, &client);
	first = connect_as(&signer, ROLE_SESSION, 0);
	second = connect_as(&signer, ROLE_SESSION, 0);
	assert_int_equal(signer.asker_count, 1);
	assert_int_equal(recv(first, &c, 1, 0), 0);
	assert_int_equal(ask(&signer, second, &ecdsa), 1);
	close(second);
	run_events(&signer, -1);
	assert_int_equal(signer.asker_count, 0);
	/* Nobody else is a peer of the signer. */
	close(first);
	first = connect_as(&signer, ROLE_AUTH, 0);
	assert_int_equal(signer.asker_count, 0);
	close(first);
	signer_end(&signer);
}

static void
broken_packets_end_their_channel(void **state)
{
	unsigned char good[REQUEST_MAX], packet[REQUEST_MAX + 100];
	struct signer signer;
	size_t good_len;
	int fd;

	(void)state;
	signer_begin(&signer);
	signer_prepare(&signer, 1, &ecdsa, &client);
	good_len = request_of(good, &ecdsa, 1);
	assert_true(good_len <= REQUEST_MAX);
	/* Row 0 to good_len - 1: cut there; then one octet more, too long
	 * altogether, another type, and is-data that is no truth value. */
	for (size_t i = 1; i < good_len + 4; i++) {
		size_t len = i < good_len ? i : good_len;

		memset(packet, 0, sizeof(packet));
		memcpy(packet, good, good_len);
		if (i == good_len)
			len = good_len + 1;
		else if (i == good_len + 1)
			len = sizeof(packet);
		else if (i == good_len + 2)
			packet[0] = SIGNER_SIGNED;
		else if (i == good_len + 3)
			packet[13] = 2;
		fd = connect_as(&signer, ROLE_SESSION, 0);
		assert_int_equal(channel_send(fd, packet, len, -1),
		    CHANNEL_DONE);
		run_events(&signer, -1);
		if (signer.asker_count != 0)
			fail_msg("variant %zu was taken", i);
		close(fd);
	}
	assert_int_equal(signer.signatures, 0);
	signer_end(&signer);
}

/* --- its callers -----------------------------------------------------------
 */

/* Runs the role until the last channel is closed. */
static void *
run_signer(void *context)
{
	struct signer *signer = context;

	while (!is_over(signer))
		run_events(signer, -1);
	return NULL;
}

static void
handshake_with_the_real_signer(void **state)
{
	struct tls_identity *identity;
	struct tls_server *server;
	struct signer signer;
	struct reason why = { 0 };
	pthread_t thread;
	struct ends e;
	int fd[2];

	(void)state;
	signer_begin(&signer);
	signer_prepare(&signer, 1, &ecdsa, &client);
	assert_true(channel_pair(fd, false, &why));
	peer(&signer, ROLE_SESSION, 5, fd[1]);
	stop(&signer, 20000);
	assert_int_equal(pthread_create(&thread, NULL, run_signer, &signer), 0);
	if (!tls_identity_new(&identity, &ecdsa.pem, CERT_FOR_SERVER,
		signer_sign, NULL, &why))
		fail_msg("%s", why.text);
	server = server_of(&identity, 1, NULL, 12);

	/* No channel yet. */
	signer_client_use(5);
	assert_false(signer_client_alive(5));
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_int_equal(e.server_io, TLS_IO_FAILED);
	assert_int_equal(e.server_why.code, REASON_AWAY);
	ends_close(&e);

	signer_client_set(5, fd[0]);
	assert_true(signer_client_alive(5));
	ends_open(&e, server, false, &(struct tls_connect_options){ 0 });
	assert_connected(&e);
	ends_close(&e);

	signer_client_set(5, -1);
	assert_false(signer_client_alive(5));
	pthread_join(thread, NULL);
	tls_server_unref(server);
	tls_identity_unref(identity);
	signer_end(&signer);
}

static bool
call(void)
{
	struct tls_sign_request request = { .algorithm =
						GNUTLS_SIGN_ECDSA_SHA256,
		.input_len = 32 };
	unsigned char signature[TLS_SIGNATURE_MAX];
	size_t len = sizeof(signature);

	return signer_sign(NULL, &request, signature, &len) && len == 3 &&
	       memcmp(signature, "sig", 3) == 0;
}

/* A signer of few words: what it does with one request. */
struct strange_signer {
	int fd;
	bool echo_stale, answer, say_no, close, replace;
	uint64_t number_seen;
};

static void
answer_with(int fd, uint64_t number, bool ok)
{
	unsigned char out[64];
	struct wire_writer w;

	wire_writer_init(&w, out, sizeof(out));
	wire_put_u8(&w, SIGNER_SIGNED);
	wire_put_u64(&w, number);
	wire_put_u8(&w, ok);
	wire_put_bytes(&w, "sig", ok ? 3 : 0);
	channel_send(fd, out, w.len, -1);
}

static void *
run_strange(void *context)
{
	struct strange_signer *s = context;
	unsigned char packet[REQUEST_MAX];
	struct request request;
	size_t len;

	if (channel_recv(s->fd, packet, sizeof(packet), &len, NULL) !=
		CHANNEL_DONE ||
	    !request_decode(packet, len, &request))
		return NULL;
	s->number_seen = request.number;
	if (s->echo_stale)
		answer_with(s->fd, request.number - 1, true);
	if (s->replace)
		signer_client_set(6, -1);
	if (s->answer)
		answer_with(s->fd, request.number, !s->say_no);
	if (s->close)
		close(s->fd);
	return NULL;
}

static bool
call_strange(struct strange_signer *s)
{
	pthread_t thread;
	struct reason why;
	bool ok;
	int fd[2];

	assert_true(channel_pair(fd, false, &why));
	s->fd = fd[1];
	signer_client_set(6, fd[0]);
	signer_client_use(6);
	assert_true(signer_client_alive(6));
	assert_int_equal(pthread_create(&thread, NULL, run_strange, s), 0);
	ok = call();
	pthread_join(thread, NULL);
	return ok;
}

static void
answers_with_another_number_are_dropped(void **state)
{
	struct strange_signer s = { .answer = true };

	(void)state;
	assert_true(call_strange(&s));
	close(s.fd);
	s = (struct strange_signer){ .echo_stale = true,
		.answer = true,
		.say_no = true };
	/* Only the second answer counts, and it says no. */
	assert_false(call_strange(&s));
	assert_true(signer_client_alive(6));
	close(s.fd);
	assert_false(signer_client_alive(6));
	signer_client_set(6, -1);
}

static void
signer_that_dies_is_not_alive(void **state)
{
	struct strange_signer s = { .close = true };

	(void)state;
	assert_false(call_strange(&s));
	assert_false(signer_client_alive(6));
	assert_false(call());
}

static void
replaced_channel_ends_the_call(void **state)
{
	struct strange_signer s = { .replace = true };
	long long before = now_ms();

	(void)state;
	assert_false(call_strange(&s));
	assert_true(now_ms() - before < SIGNER_CLIENT_TIMEOUT_MS);
	assert_false(signer_client_alive(6));
	close(s.fd);
}

static void
silent_signer_costs_two_seconds(void **state)
{
	struct strange_signer s = { 0 };
	long long before = now_ms();

	(void)state;
	assert_false(call_strange(&s));
	assert_true(now_ms() - before >= SIGNER_CLIENT_TIMEOUT_MS);
	assert_true(now_ms() - before < 2 * SIGNER_CLIENT_TIMEOUT_MS);
	/* It may only be slow: the channel is kept. */
	assert_true(signer_client_alive(6));
	answer_with(s.fd, s.number_seen, true);
	signer_client_set(6, -1);
	close(s.fd);
}

static void *
call_without_channel(void *result)
{
	*(bool *)result = call();
	return NULL;
}

static void
thread_without_channel_gets_no(void **state)
{
	bool result = true;
	pthread_t thread;

	(void)state;
	assert_int_equal(
	    pthread_create(&thread, NULL, call_without_channel, &result), 0);
	pthread_join(thread, NULL);
	assert_false(result);
	assert_false(signer_client_alive(SIGNER_CLIENT_CHANNELS));
	assert_false(signer_client_alive(7));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_forms_are_an_allow_list),
		cmocka_unit_test(digest_info_is_the_one_raw_form),
		cmocka_unit_test(ed25519_signs_for_its_side_only),
		cmocka_unit_test(bad_keys_are_refused),
		cmocka_unit_test(keys_elsewhere_are_tried),
		cmocka_unit_test(each_role_has_its_keys),
		cmocka_unit_test(keys_are_the_union_until_retired),
		cmocka_unit_test(refused_configuration_leaves_nothing),
		cmocka_unit_test(new_channel_replaces_the_old),
		cmocka_unit_test(broken_packets_end_their_channel),
		cmocka_unit_test(handshake_with_the_real_signer),
		cmocka_unit_test(answers_with_another_number_are_dropped),
		cmocka_unit_test(signer_that_dies_is_not_alive),
		cmocka_unit_test(replaced_channel_ends_the_call),
		cmocka_unit_test(silent_signer_costs_two_seconds),
		cmocka_unit_test(thread_without_channel_gets_no),
	};
	int master[2];
	struct reason why;

	/* What the role says to its master is not read by anybody; the pair
	 * may have got the role's descriptor itself. */
	if (!channel_pair(master, false, &why) ||
	    fcntl(master[0], F_DUPFD_CLOEXEC, 20) < 0 ||
	    dup2(master[1], ROLE_MASTER_FD) < 0)
		return 1;
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
