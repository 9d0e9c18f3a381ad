/*
 * t/fuzz/config.c: sallyport.conf from anybody: it parses or says where not.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *octets, size_t len)
{
	struct config *config;
	struct reason why;

	if (!config_parse(&config, "/etc/fuzz.conf", (const char *)octets, len,
		&why)) {
		assert(strncmp(why.text, "/etc/fuzz.conf:", 15) == 0);
		return 0;
	}
	assert(config->listener_count > 0);
	for (size_t i = 0; i < config->listener_count; i++)
		assert(config_certificate(config,
			   config->listeners[i].certificates[0]) != NULL);
	config_free(config);
	return 0;
}
