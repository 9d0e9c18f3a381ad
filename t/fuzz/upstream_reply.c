/*
 * t/fuzz/upstream_reply.c: replies of a hostile upstream, whole and in pieces.
 *
 * Fed octet by octet a reply must come out as it does at once.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../server/upstream_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
begin(struct upstream_reply *reply, struct upstream_extensions *extensions)
{
	memset(extensions, 0, sizeof(*extensions));
	upstream_reply_init(reply);
	reply->line = upstream_extensions_line;
	reply->context = extensions;
}

static void
check(const struct upstream_reply *reply,
    const struct upstream_extensions *extensions)
{
	assert(memchr(reply->text, '\0', sizeof(reply->text)) != NULL);
	for (const char *c = reply->text; *c != '\0'; c++)
		assert(*c >= 0x20 && *c < 0x7f);
	assert(memchr(reply->status, '\0', sizeof(reply->status)) != NULL);
	assert(memchr(extensions->mechanisms, '\0',
		   sizeof(extensions->mechanisms)) != NULL);
	assert(reply->lines <= REPLY_LINES_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct upstream_extensions extensions, other;
	struct upstream_reply reply, pieces;
	enum reply_step step, last = REPLY_MORE;
	size_t used, at = 0, end;

	begin(&reply, &extensions);
	step = upstream_reply_feed(&reply, data, size, &used);
	assert(used <= size);
	check(&reply, &extensions);
	begin(&pieces, &other);
	for (end = 1; end <= size && last == REPLY_MORE; end++) {
		size_t taken;

		last =
		    upstream_reply_feed(&pieces, data + at, end - at, &taken);
		at += taken;
	}
	check(&pieces, &other);
	assert(last == step);
	if (step == REPLY_DONE) {
		assert(at == used && reply.code == pieces.code);
		assert(strcmp(reply.text, pieces.text) == 0);
	}
	return 0;
}
