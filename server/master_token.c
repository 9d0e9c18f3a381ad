/*
 * server/master_token.c: tokens for logins at smarthosts.
 *
 * Auth says which login it is for; what is opened or run for it is what the
 * upstream file of that configuration names, and nothing else.  The token
 * itself does not come by here: auth reads it from the descriptor it is given.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "master.h"
#include "wire.h"

enum { TOKEN_COMMAND_MS = 30000 };

static void
say(struct master *m, uint64_t number, int fd, const char *text)
{
	unsigned char packet[REASON_TEXT_MAX + 32];
	struct wire_writer w;

	wire_writer_init(&w, packet, sizeof(packet));
	wire_put_u8(&w, MASTER_TOKEN);
	wire_put_u64(&w, number);
	wire_put_string(&w, text);
	role_send(m, ROLE_AUTH, packet, w.len, fd);
}

static const struct token_source *
find_source(const struct master *m, uint32_t configuration, const char *login)
{
	for (size_t i = 0; i <= CONFIGURATIONS_MOST; i++) {
		const struct generation_entry *g = &m->generations[i];

		if (g->number == 0 || g->number != configuration)
			continue;
		for (size_t k = 0; k < g->prepared->source_count; k++)
			if (strcmp(g->prepared->sources[k].login, login) == 0)
				return &g->prepared->sources[k];
	}
	return NULL;
}

/* Start the command; what it prints is to be read from *fd_out. */
static bool
run(struct master *m, const struct token_source *source, int *fd_out,
    struct reason *why)
{
	struct token_program *place = NULL;
	int ends[2];

	for (size_t i = 0; i < TOKEN_PROGRAMS; i++)
		if (m->tokens[i].pid == 0)
			place = &m->tokens[i];
	if (place == NULL)
		return fail(why, REASON_RANGE, "too many commands are running");
	if (!command_is_program(source->path, why))
		return false;
	if (pipe2(ends, O_CLOEXEC) != 0)
		return fail_errno(why, "pipe");
	if (!command_start(m, source->command, -1, ends[1], &place->pid, why)) {
		place->pid = 0;
		close(ends[0]);
		close(ends[1]);
		return false;
	}
	close(ends[1]);
	place->until = master_now() + TOKEN_COMMAND_MS;
	snprintf(place->login, sizeof(place->login), "%s", source->login);
	*fd_out = ends[0];
	return true;
}

void
token_wanted(struct master *m, uint64_t number, uint32_t configuration,
    const char *login)
{
	const struct token_source *source =
	    find_source(m, configuration, login);
	struct reason why = { .text = "no such login" };
	int fd = -1;

	if (source != NULL && source->command[0] == NULL)
		fd = files_open_secret(source->path, &why);
	else if (source != NULL && !m->stopping)
		(void)run(m, source, &fd, &why);
	say(m, number, fd, fd >= 0 ? "" : why.text);
	if (fd >= 0)
		close(fd);
}

bool
token_reaped(struct master *m, pid_t pid, int status)
{
	for (size_t i = 0; i < TOKEN_PROGRAMS; i++) {
		struct token_program *p = &m->tokens[i];

		if (p->pid != pid)
			continue;
		p->pid = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
			log_line(SAY_WARNING, "token-command",
			    "login=%s result=failed exit=%d", p->login,
			    WEXITSTATUS(status));
		else if (WIFSIGNALED(status) && !m->stopping)
			log_line(SAY_WARNING, "token-command",
			    "login=%s result=failed signal=%d", p->login,
			    WTERMSIG(status));
		return true;
	}
	return false;
}

static void
kill_program(struct token_program *p)
{
	kill(-p->pid, SIGKILL);
	kill(p->pid, SIGKILL); /* before its setsid there is no such group */
	p->until = INT64_MAX;
}

int64_t
token_timers(struct master *m, int64_t now)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < TOKEN_PROGRAMS; i++) {
		struct token_program *p = &m->tokens[i];

		if (p->pid != 0 && now >= p->until)
			kill_program(p);
		else if (p->pid != 0 && p->until < next)
			next = p->until;
	}
	return next;
}

void
token_end(struct master *m)
{
	for (size_t i = 0; i < TOKEN_PROGRAMS; i++)
		if (m->tokens[i].pid != 0)
			kill_program(&m->tokens[i]);
}
