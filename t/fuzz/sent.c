/* t/fuzz/sent.c: a line of relay/sent, as the tool reads it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/queue_sent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sent_message message;

	if (!sent_parse((const char *)data, size, &message))
		return 0;
	if (strlen(message.queue_id) == 0 || message.time < 0 ||
	    json_array_size(message.recipients) > SENT_RECIPIENTS ||
	    json_array_size(message.recipients) > message.recipient_count)
		abort();
	json_decref(message.object);
	return 0;
}
