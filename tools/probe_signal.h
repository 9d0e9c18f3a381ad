/*
 * tools/probe_signal.h: a probe that is interrupted ends in good order: scratch
 * files are gone, the terminal is as it was, and then the signal is obeyed.
 */
#ifndef TOOLS_PROBE_SIGNAL_H
#define TOOLS_PROBE_SIGNAL_H

#include <stdatomic.h>

/* When all waiting has to end, by upstream_now_ms; 0: no signal came. */
extern atomic_llong probe_stop_at_ms;

/* SIGHUP, SIGINT and SIGTERM set it; a second one ends us at once. */
void probe_catch_signals(void);

/* Does not return if one came. */
void probe_end_by_signal(void);

#endif
