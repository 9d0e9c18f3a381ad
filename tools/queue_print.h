/*
 * tools/queue_print.h: the relay's answers as text.
 */
#ifndef TOOLS_QUEUE_PRINT_H
#define TOOLS_QUEUE_PRINT_H

#include <jansson.h>
#include <stdbool.h>

struct queue_printer {
	bool show;       /* all that is known of a message */
	bool in_content; /* pieces of header and body follow each other */
	bool in_table;   /* a summary's columns are named */
};

/* Print one object of an answer; see server/queue_control.h.  Kinds that are
 * not for a reader are passed over. */
void queue_print(struct queue_printer *printer, const json_t *object);

/* Where a way or an attempt leads: "host:port", "srv:domain" or "none". */
void queue_print_place(const json_t *object);

/* A line: why a leg waits, if no attempt tells that. */
void queue_print_untold(const json_t *object);

#endif
