/*
 * server/alarm.h: which alarms somebody is told about, and what waits to be
 * told.
 *
 * The master sees every line of every role.  A role may be compromised, and a
 * trouble may repeat itself a thousand times a second: the same text is told
 * once an hour, no role has more than ALARM_OF_ROLE of the hour, and there
 * are at most ALARM_AN_HOUR of them altogether; one more line says how many
 * were left out.  The log has them all.
 *
 * Times are milliseconds of any clock that does not go back.  Threads: one.
 */
#ifndef SERVER_ALARM_H
#define SERVER_ALARM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"
#include "messages.h"

enum {
	ALARM_AN_HOUR = 20,
	ALARM_OF_ROLE = 12,
	ALARM_WAITING = 64,                 /* told, and not taken yet */
	ALARM_TEXT_MAX = LOG_LINE_MAX + 96, /* with time and role, and NUL */
};

/* What has been told within the last hour. */
struct alarm_filter {
	struct {
		char *text; /* NULL: free */
		enum role role;
		int64_t at;
	} told[ALARM_AN_HOUR];
	uint64_t left_out;       /* since that was told last */
	enum role left_out_role; /* whose the last of them was */
};

enum alarm_fate {
	ALARM_TOLD,
	ALARM_REPEATED, /* the same was told within the hour */
	ALARM_LEFT_OUT, /* too many, or no memory */
};

/* A zeroed filter is ready. */
enum alarm_fate alarm_judge(struct alarm_filter *filter, enum role role,
    const char *text, int64_t now_ms);
/* How many were left out, once there is room to tell it; 0: nothing to tell
 * now.  Whoever asks tells it. */
uint64_t alarm_left_out(struct alarm_filter *filter, int64_t now_ms);
/* When to ask that again; INT64_MAX: nothing was left out. */
int64_t alarm_left_out_at(const struct alarm_filter *filter);
void alarm_filter_fini(struct alarm_filter *filter);

/* Alarms on their way to one place, oldest first. */
struct alarm_queue {
	struct alarm_waiting {
		uint64_t number; /* never 0 */
		char *text;
		bool sent; /* and not known to have arrived */
	} waiting[ALARM_WAITING];
	size_t count;
	uint64_t last_number;
	uint64_t dropped; /* for want of room or memory */
};

/* Copies text.  Where there is no room the oldest goes that was not sent. */
void alarm_queue_add(struct alarm_queue *queue, const char *text);
/* The oldest that was not sent, or NULL; borrowed until the next call. */
struct alarm_waiting *alarm_queue_next(struct alarm_queue *queue);
/* It has arrived; false if there is none of that number. */
bool alarm_queue_arrived(struct alarm_queue *queue, uint64_t number);
/* Who was to take them is gone: what had not arrived is sent again. */
void alarm_queue_again(struct alarm_queue *queue);
void alarm_queue_fini(struct alarm_queue *queue);

#endif
