/*
 * server/master.h: the process that starts and watches all others.
 *
 *   master.c           the loop, signals, start and stop
 *   master_state.c     lock, folders and system users
 *   master_listen.c    listening sockets, by bind or from the service manager
 *   master_log.c       the roles' pipes, to stderr or syslog
 *   master_spawn.c     starting a role
 *   master_role.c      roles' packets, restart
 *   master_reload.c    numbered configurations: prepare, commit, retire
 *   master_control.c   the master's own control socket
 *   master_alarm.c     alarms, to mail and program; what ends soon
 *   master_command.c   the program alarms are handed to
 *   master_files.c     files that change while they are in use
 *   master_staple.c    OCSP responses for our certificates
 *   master_token.c     tokens for upstream logins
 *   master_environment.c  what a role gets of our environment
 *
 * One thread.  It talks to nobody outside, and reads of a role's packets only
 * numbers it compares and text it escapes.
 */
#ifndef SERVER_MASTER_H
#define SERVER_MASTER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../policy/reason.h"
#include "alarm.h"
#include "config.h"
#include "expiry.h"
#include "log.h"
#include "messages.h"
#include "prepare.h"
#include "watch.h"

enum {
	CONFIGURATIONS_MOST = 8,    /* live at once */
	CONFIGURATIONS_BEHIND = 12, /* older ones are left by all */
	LISTENINGS_MOST = 256,      /* listening sockets */
	ASKERS_MOST = 16,           /* status and reload requests at once */
	READY_TIMEOUT_MS = 20000,
	PREPARE_TIMEOUT_MS = 60000,
	STATUS_TIMEOUT_MS = 2000,
	TICKET_KEY_OCTETS = 64,
	ALARM_PROGRAMS = 2, /* of alarm-command, at once */
	TOKEN_PROGRAMS = 8, /* that print a token, at once */
	TICKET_KEY_MS = 12 * 3600 * 1000,
	DESCRIPTORS_FROM = 16, /* ours stay clear of a role's 3, 4 and 5 */
};

/* What an epoll event points at. */
enum watched { WATCHED_SIGNALS, WATCHED_CHANNEL, WATCHED_LOG, WATCHED_CONTROL, WATCHED_FILES };
struct watched_fd {
	enum watched kind;
	enum role role; /* of channel and log */
};

enum role_state {
	ROLE_IS_AWAY,     /* not running; restart_at says when it will be */
	ROLE_IS_STARTING, /* running, ROLE_READY has not come */
	ROLE_IS_WAITING,  /* confined; configurations are not all prepared */
	ROLE_IS_UP,
	ROLE_IS_STOPPED, /* said ROLE_STOPPED */
};

/* What reads the log lines of one role. */
struct log_pipe {
	int fd; /* -1: none */
	struct watched_fd watch;
	char line[LOG_LINE_MAX + 1];
	size_t len;
	bool overlong; /* the rest of this line is dropped */
};

struct role_process {
	enum role_state state;
	pid_t pid;
	int channel; /* -1: none */
	struct watched_fd watch;
	struct log_pipe log;
	uint64_t start_id;
	int64_t started_at, restart_at, state_until; /* monotonic ms */
	unsigned deaths;                             /* in a row */
	unsigned restarts;
	unsigned awaiting; /* ROLE_PREPARED answers still to come */
	char *status;      /* JSON of the last ROLE_STATUS, or NULL */
};

/* A numbered configuration in use, or being prepared. */
struct generation_entry {
	uint32_t number; /* 0: free */
	struct prepared *prepared;
	bool used_by[ROLES]; /* session and relay: not said ROLE_UNUSED */
};

struct listening {
	int fd;
	char name[64];    /* of the listener */
	char address[64]; /* as configured; "" from the service manager */
	char bound[64];   /* as the kernel says */
	uint32_t number;  /* newest configuration that wants it */
	bool inherited;
};

struct ticket_key {
	char listener[64]; /* "": free */
	unsigned char key[TICKET_KEY_OCTETS];
};

enum reload_stage {
	RELOAD_NONE,
	RELOAD_SERVANTS, /* signer, auth, helpers, lookup prepare */
	RELOAD_SPEAKERS, /* session, relay prepare */
};

/* Someone at the control socket who waits. */
struct asker {
	int fd; /* -1: free */
	bool wants_reload;
	int64_t until;
};

/* A running alarm-command. */
struct alarm_program {
	pid_t pid; /* 0: none */
	int64_t until;
	bool killed;
};

/* A running command that prints a token. */
struct token_program {
	pid_t pid; /* 0: none */
	int64_t until;
	char login[64 + 1];
};

struct alarms {
	struct alarm_filter filter;
	struct alarm_queue mails, commands;
	struct alarm_program programs[ALARM_PROGRAMS];
	struct expiry *expiry; /* NULL: not open yet */
	int64_t look_at;       /* at what ends soon */
	uint64_t raised, repeated, left_out, mailed, commanded, failed;
};

/* Files of the configuration, and whether they have changed. */
struct files {
	struct watch_list in_force, tried; /* with watch-files */
	int64_t read_from;                 /* as in watch_new */
	struct watch *watch;               /* NULL: there are none */
	int fd;                            /* in the loop; -1: none */
	struct watched_fd fd_watch;
	bool is_deaf;    /* the kernel tells nothing */
	bool is_pending; /* something happened, and may go on */
	uint64_t stamp;  /* at the last look */
	int64_t since, quiet_since, look_at;
	int64_t paid_until; /* for reloads that were begun */
};

struct master {
	const char *conf_path; /* absolute */
	bool foreground;
	int ready_fd; /* tells the starting process; -1: none */

	bool confining; /* started as root */
	bool running;   /* all roles have been up once */
	bool stopping, stop_now;
	bool failed; /* the start did not succeed */
	int64_t stop_until;

	int exe;  /* this program's image, for roles started later */
	int lock; /* of the state folder; every role has it open too */
	int epoll, signals;
	struct watched_fd signals_watch, control_watch;
	int control[ROLES]; /* listening control sockets, -1: none */

	unsigned session_threads, relay_threads;
	struct role_process roles[ROLES];
	struct generation_entry generations[CONFIGURATIONS_MOST + 1];
	struct generation_entry *current;
	uint32_t last_number;

	enum reload_stage reload_stage;
	struct generation_entry *reloading;
	int64_t reload_until;
	bool reload_again;   /* asked for while one was under way */
	bool reload_retried; /* this is the second try of one */

	struct listening listenings[LISTENINGS_MOST];
	size_t listening_count;
	struct ticket_key *ticket_keys; /* locked memory */
	int64_t ticket_keys_until;

	struct asker askers[ASKERS_MOST];
	uint64_t status_number;
	unsigned status_awaiting; /* bits of roles */

	struct files files;
	int64_t staples_look_at; /* at the ends of OCSP responses */
	struct alarms alarms;
	struct token_program tokens[TOKEN_PROGRAMS];
};

/* All times: CLOCK_MONOTONIC in milliseconds. */
int64_t master_now(void);

/* master.c */
struct master_options {
	const char *conf_path; /* absolute */
	bool foreground;       /* log to stderr whatever the file says */
	int ready_fd;          /* an octet goes here when ready; -1: none */
};
/* Exit status for main. */
int master_main(const struct master_options *options);
/* Before the first time all roles are up: give up, with a message. */
void master_start_failed(struct master *m, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool master_watch(struct master *m, int fd, struct watched_fd *watch);

/* master_state.c */
const char *state_user(enum role role);
/* Names the missing ones. */
bool state_check_users(struct reason *why);
bool state_make_folders(const char *state, bool confining, struct reason *why);
/* Hold the folder alone; waits some seconds for roles of a master that died. */
bool state_lock(const char *state, int *fd_out, struct reason *why);
/* Remove compiled tables that no configuration in use names. */
void state_sweep_tables(struct master *m);

/* master_listen.c */
void listen_inherit(struct master *m);
/* Bind what configuration g wants and is not there.  An address in use is
 * tried again for patience_ms, which holds up all else. */
bool listen_bind(struct master *m, const struct generation_entry *g,
    unsigned patience_ms, struct reason *why);
/* Send the sockets of g to the session role. */
void listen_send(struct master *m, const struct generation_entry *g);
/* Close what the current configuration does not want. */
void listen_sweep(struct master *m);

/* master_log.c */
void master_log_target(enum log_target target, bool copy_to_stderr);
void log_pipe_read(struct master *m, enum role role);
void log_pipe_close(struct master *m, enum role role);

/* master_spawn.c */
void role_run(struct master *m, enum role role);

/* master_environment.c */
/* For execve; borrowed until the next call. */
char **role_environment(void);

/* master_role.c */
void role_packets(struct master *m, enum role role);
/* A child ended. */
void role_reaped(struct master *m, pid_t pid, int status);
void role_send(struct master *m, enum role role, const void *packet, size_t len,
    int fd);
void role_send_number(struct master *m, enum role role, enum message type,
    uint32_t number);
void role_send_generation(struct master *m, enum role role,
    const struct generation_entry *g);
/* Give it what it waits for, if that is there. */
void role_advance(struct master *m, enum role role);
/* Restarts and deadlines; the next time something is due, or INT64_MAX. */
int64_t role_timers(struct master *m, int64_t now);
bool role_is_speaker(enum role role); /* session, relay */

/* master_reload.c */
bool reload_first(struct master *m, struct reason *why);
void reload_begin(struct master *m);
void reload_answered(struct master *m, enum role role, uint32_t number, bool ok,
    const char *text);
void reload_role_died(struct master *m, enum role role);
void reload_unused(struct master *m, enum role role, uint32_t number);
void reload_timer(struct master *m, int64_t now);
void ticket_keys_make(struct master *m, const struct config *config);
void ticket_keys_renew(struct master *m);
void ticket_keys_send(struct master *m);

/* master_control.c */
void control_packets(struct master *m);
void control_status(struct master *m, enum role role, uint64_t number,
    const char *json);
void control_reload_done(struct master *m, bool ok, const char *text);
void control_timer(struct master *m, int64_t now);

/* master_alarm.c */
/* A line at level alarm, as it stands in the log after the level. */
void alarm_line(struct master *m, enum role role, const char *line);
/* A configuration has come into force. */
void alarm_configured(struct master *m);
/* The relay has that alarm's mail on stable storage, or is gone. */
void alarm_kept(struct master *m, uint64_t number);
void alarm_relay_gone(struct master *m);
/* Do what is due; when there is more, or INT64_MAX. */
int64_t alarm_timers(struct master *m, int64_t now);
json_t *alarm_status(const struct master *m); /* for "sallyport status" */
void alarm_end(struct master *m);

/* master_command.c */
/* Could alarm-command be run?  why has file and line. */
bool command_check(const struct config *config, struct reason *why);
/* Can this be run as the user that commands are run as? */
bool command_is_program(const char *path, struct reason *why);
/*
 * Run a program with as little as an alarm-command: its standard input and
 * output are these (-1: /dev/null), which the caller closes.  It is a child to
 * be reaped, in a session of its own.
 */
bool command_start(const struct master *m, const char *const *argv, int input,
    int output, pid_t *pid_out, struct reason *why);
/* Start it with text on its standard input; false: enough of them run.  What
 * goes wrong is logged. */
bool command_run(struct master *m, const char *text);
/* False if that child was none of them. */
bool command_reaped(struct master *m, pid_t pid, int status);
int64_t command_timers(struct master *m, int64_t now);
void command_end(struct master *m);

/* master_files.c */
/* All files are about to be read: where to note which, for watch-files. */
struct watch_list *files_tried(struct master *m);
/* They are in force, or were refused. */
void files_configured(struct master *m, bool is_in_force);
void files_happened(struct master *m);
int64_t files_timer(struct master *m, int64_t now);
void files_end(struct master *m);

/* master_staple.c */
/* To the session role, after configuration g itself. */
void staples_send(struct master *m, const struct generation_entry *g);
/* The file has changed. */
void staples_refresh(struct master *m, const char *path);
int64_t staples_timer(struct master *m, int64_t now);

/* master_token.c */
/* Auth wants the token of an upstream login. */
void token_wanted(struct master *m, uint64_t number, uint32_t configuration,
    const char *login);
/* False if that child was none of its commands. */
bool token_reaped(struct master *m, pid_t pid, int status);
int64_t token_timers(struct master *m, int64_t now);
void token_end(struct master *m);

#endif
