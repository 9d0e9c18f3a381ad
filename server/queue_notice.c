/*
 * server/queue_notice.c: the mail of an alarm enters the relay's own log.
 */
#include "queue_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "notice.h"

enum { NOTICE_WAIT_MS = 1000 };

static struct log_entry *
notice_entry(const struct notice *notice, struct reason *why)
{
	struct log_entry *entry;
	struct envelope envelope;
	char *octets;
	size_t len;

	if (!notice_make(notice, &envelope, &octets, &len, why))
		return NULL;
	entry = log_message_entry(&envelope, octets, len);
	if (entry == NULL)
		fail(why, REASON_NO_MEMORY, "alarm mail");
	else
		log_line(SAY_NOTE, "alarm-mail", "queue=%s rcpt=%s octets=%zu",
		    envelope.queue_id, notice->mailbox, len);
	free(octets);
	envelope_fini(&envelope);
	return entry;
}

bool
queue_notice(struct queue *queue, const char *text, struct reason *why)
{
	char hostname[sizeof(queue->settings.hostname)];
	char mailbox[ENVELOPE_STRING_MAX];
	struct notice notice = { .hostname = hostname,
		.mailbox = mailbox,
		.now_ms = queue_now_ms(),
		.text = text };
	struct log_entry *entry;
	bool trouble;

	pthread_mutex_lock(&queue->lock);
	snprintf(hostname, sizeof(hostname), "%s", queue->settings.hostname);
	snprintf(mailbox, sizeof(mailbox), "%s",
	    queue->config->alarm_mail != NULL ? queue->config->alarm_mail : "");
	pthread_mutex_unlock(&queue->lock);
	if (mailbox[0] == '\0')
		return fail(why, REASON_ABSENT, "no alarm-mail");
	entry = notice_entry(&notice, why);
	if (entry == NULL)
		return false;
	pthread_mutex_lock(&queue->lock);
	entry->record.number = ++queue->serial;
	log_add(queue, entry);
	trouble = queue->log_trouble;
	pthread_mutex_unlock(&queue->lock);
	/* With a full disk it is written when there is room, if we live. */
	if (trouble || !log_wait(queue, NOTICE_WAIT_MS))
		return fail(why, REASON_TIMEOUT, "not on stable storage yet");
	return true;
}
