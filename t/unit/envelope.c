/*
 * t/unit/envelope.c: envelopes there and back, and what a compromised writer
 * could send instead.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#undef fail /* ours is in policy/reason.h */

#include <stdlib.h>
#include <string.h>

#include "../../server/envelope.h"

static void
envelope_fill(struct envelope *envelope)
{
	envelope_init(envelope);
	envelope_queue_id(envelope->queue_id);
	envelope->arrival_ms = 1234567890123;
	envelope->reverse_path = strdup("s@y.example");
	envelope->login = strdup("user@example.org");
	envelope->client = strdup("192.0.2.1");
	envelope->listener = strdup("submission");
	envelope->tls = strdup("TLS1.3 TLS_AES_256_GCM_SHA384");
	envelope->session_id = strdup("abcdefghijkl");
	envelope->size = 4711;
	envelope->eight_bit = true;
	envelope->requiretls = true;
	envelope->tls_optional = true;
	envelope->device = true;
	envelope->utf8_header = true;
	envelope->ret = 2;
	envelope->envid = strdup("QQ314159");
	for (int i = 0; i < 40; i++)
		assert_true(envelope_add_recipient(envelope, "a@x.example"));
	envelope->recipients[7].notify = NOTIFY_NEVER;
	envelope->recipients[7].orcpt = strdup("rfc822;b@x.example");
}

static unsigned char *
encode(const struct envelope *envelope, size_t *len_out)
{
	size_t size = envelope_encoded_size(envelope);
	unsigned char *octets = malloc(size);
	struct wire_writer w;

	wire_writer_init(&w, octets, size);
	envelope_encode(envelope, &w);
	assert_false(w.failed);
	assert_int_equal(w.len, size);
	*len_out = size;
	return octets;
}

static void
test_round_trip(void **state)
{
	struct envelope envelope, back;
	unsigned char *octets;
	struct reason why;
	size_t len;

	(void)state;
	envelope_fill(&envelope);
	octets = encode(&envelope, &len);
	assert_true(envelope_decode(&back, octets, len, &why));
	assert_string_equal(back.queue_id, envelope.queue_id);
	assert_true(back.arrival_ms == envelope.arrival_ms);
	assert_string_equal(back.reverse_path, "s@y.example");
	assert_string_equal(back.login, "user@example.org");
	assert_string_equal(back.tls, envelope.tls);
	assert_string_equal(back.session_id, "abcdefghijkl");
	assert_int_equal(back.size, 4711);
	assert_true(back.eight_bit);
	assert_false(back.smtputf8);
	assert_true(back.requiretls);
	assert_true(back.tls_optional);
	assert_true(back.device);
	assert_true(back.utf8_header);
	assert_false(back.notice);
	assert_int_equal(back.ret, 2);
	assert_string_equal(back.envid, "QQ314159");
	assert_int_equal(back.recipient_count, 40);
	assert_int_equal(back.recipients[7].notify, NOTIFY_NEVER);
	assert_string_equal(back.recipients[7].orcpt, "rfc822;b@x.example");
	assert_null(back.recipients[8].orcpt);
	envelope_fini(&back);
	envelope_fini(&envelope);
	free(octets);
}

static void
test_the_last_recipient_is_taken_back(void **state)
{
	struct envelope envelope;

	(void)state;
	envelope_init(&envelope);
	envelope_drop_recipient(&envelope);
	/* Across the places where room is made. */
	for (int i = 0; i < 9; i++) {
		assert_true(envelope_add_recipient(&envelope, "stays@x"));
		assert_true(envelope_add_recipient(&envelope, "goes@x"));
		envelope_drop_recipient(&envelope);
	}
	assert_int_equal(envelope.recipient_count, 9);
	for (int i = 0; i < 9; i++)
		assert_string_equal(envelope.recipients[i].forward_path,
		    "stays@x");
	envelope_fini(&envelope);
}

static void
test_absent_fields(void **state)
{
	struct envelope envelope, back;
	unsigned char *octets;
	struct reason why;
	size_t len;

	(void)state;
	envelope_init(&envelope);
	envelope_queue_id(envelope.queue_id);
	envelope.reverse_path = strdup("");
	assert_true(envelope_add_recipient(&envelope, "a@x.example"));
	octets = encode(&envelope, &len);
	assert_true(envelope_decode(&back, octets, len, &why));
	assert_string_equal(back.reverse_path, "");
	assert_null(back.login);
	assert_null(back.listener);
	assert_null(back.envid);
	envelope_fini(&back);
	envelope_fini(&envelope);
	free(octets);
}

/* A later version's field is skipped. */
static void
test_unknown_tag(void **state)
{
	static const unsigned char later[] = { 200, 0, 0, 0, 3, 'x', 'y', 'z' };
	struct envelope envelope, back;
	unsigned char *octets, *longer;
	struct reason why;
	size_t len;

	(void)state;
	envelope_fill(&envelope);
	octets = encode(&envelope, &len);
	longer = malloc(len + sizeof(later));
	memcpy(longer, later, sizeof(later));
	memcpy(longer + sizeof(later), octets, len);
	assert_true(envelope_decode(&back, longer, len + sizeof(later), &why));
	assert_int_equal(back.recipient_count, 40);
	envelope_fini(&back);
	envelope_fini(&envelope);
	free(octets);
	free(longer);
}

/* Cut at any octet: refused, or at a field's end, without the last fields. */
static void
test_cut(void **state)
{
	struct envelope envelope, back;
	unsigned char *octets;
	struct reason why;
	size_t len, whole = 0;

	(void)state;
	envelope_fill(&envelope);
	octets = encode(&envelope, &len);
	for (size_t cut = 0; cut < len; cut++) {
		/* Of its own size, so that a sanitizer sees a read beyond. */
		unsigned char *part = malloc(cut + 1);

		memcpy(part, octets, cut);
		if (envelope_decode(&back, part, cut, &why)) {
			whole++;
			assert_true(back.recipient_count < 40);
			envelope_fini(&back);
		}
		free(part);
	}
	assert_int_equal(whole, 39);
	envelope_fini(&envelope);
	free(octets);
}

static bool
decodes_with(const char *queue_id, const char *reverse, const char *forward)
{
	struct envelope envelope, back;
	unsigned char *octets;
	struct reason why;
	size_t len;
	bool ok;

	envelope_init(&envelope);
	strcpy(envelope.queue_id, queue_id);
	envelope.reverse_path = strdup(reverse);
	assert_true(envelope_add_recipient(&envelope, forward));
	octets = encode(&envelope, &len);
	ok = envelope_decode(&back, octets, len, &why);
	if (ok)
		envelope_fini(&back);
	envelope_fini(&envelope);
	free(octets);
	return ok;
}

static void
test_hostile_strings(void **state)
{
	char path[ENVELOPE_STRING_MAX + 2];

	(void)state;
	assert_true(decodes_with("ABC123", "a@b", "c@d"));
	/* These would end a command or a field. */
	assert_false(decodes_with("ABC123", "a@b>\r\nRCPT TO:<x@y", "c@d"));
	assert_false(decodes_with("ABC123", "a@b", "c@d\nBcc: x"));
	assert_false(decodes_with("ABC123", "a@b", "c\x7f@d"));
	assert_false(decodes_with("../x", "a@b", "c@d"));
	assert_false(decodes_with("", "a@b", "c@d"));
	assert_false(decodes_with("ABC123", "a@b", ""));
	memset(path, 'x', sizeof(path));
	path[ENVELOPE_STRING_MAX] = '\0';
	assert_true(decodes_with("ABC123", "a@b", path));
	path[ENVELOPE_STRING_MAX] = 'x';
	path[ENVELOPE_STRING_MAX + 1] = '\0';
	assert_false(decodes_with("ABC123", "a@b", path));
}

static void
test_queue_id(void **state)
{
	char ids[200][QUEUE_ID_SIZE];

	(void)state;
	for (int i = 0; i < 200; i++) {
		envelope_queue_id(ids[i]);
		assert_int_equal(strlen(ids[i]), QUEUE_ID_SIZE - 1);
		assert_int_equal(strspn(ids[i], "0123456789ABCDEFGHIJKLMNOPQRS"
						"TUVWXYZ"),
		    QUEUE_ID_SIZE - 1);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ids[i], ids[j]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_the_last_recipient_is_taken_back),
		cmocka_unit_test(test_absent_fields),
		cmocka_unit_test(test_unknown_tag),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_hostile_strings),
		cmocka_unit_test(test_queue_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
