/*
 * tools/probe_signal.c: interruption as a deadline that is over.
 */
#include "probe_signal.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

atomic_llong probe_stop_at_ms;

static volatile sig_atomic_t caught;

static void
on_signal(int signo)
{
	caught = signo;
	atomic_store(&probe_stop_at_ms, 1);
}

void
probe_catch_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action = { .sa_handler = on_signal,
		.sa_flags = (int)SA_RESETHAND };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

void
probe_end_by_signal(void)
{
	if (caught == 0)
		return;
	(void)fflush(stdout);
	signal(caught, SIG_DFL);
	raise(caught);
}
