/*
 * t/fuzz/legacy.c: any octets as a report of old practices.
 *
 * What is accepted is written again and must be read alike.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../server/legacy_book.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct legacy_book *book, *again;
	struct reason why;
	char *text, *second;
	size_t len, second_len;

	if (!legacy_book_parse(&book, (const char *)data, size, &why)) {
		assert(why.code == REASON_DAMAGED);
		return 0;
	}
	for (const struct legacy_row *row = NULL;
	     (row = legacy_book_next(book, row)) != NULL;)
		for (const char *c = row->program; *c != '\0'; c++)
			assert(*c >= 0x20 && *c < 0x7f);
	text = legacy_book_print(book, &len);
	assert(text != NULL);
	assert(legacy_book_parse(&again, text, len, &why));
	second = legacy_book_print(again, &second_len);
	assert(second != NULL && len == second_len &&
	       memcmp(text, second, len) == 0);
	legacy_book_free(book);
	legacy_book_free(again);
	free(text);
	free(second);
	return 0;
}
