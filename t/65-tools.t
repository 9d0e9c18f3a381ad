#!/usr/bin/perl
# The operator's command on a real instance: what it prints, as text and as
# JSON, and its exit statuses, with the server running and without.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP;
use POSIX qw(setsid);
use Sallyport::Instance;
use Sallyport::Test;
use Test::More;

my $instance = Sallyport::Instance->new(start => 0, users => 0,
	options => { 'retry-first' => '"1h"', 'retry-most' => '"2h"' });
my $folder = $instance->{folder};
my $smarthost = $instance->{smarthost};

sub json_ok {
	my ($text, $name) = @_;
	my $value = eval { JSON::PP->new->allow_nonref->decode($text) };
	ok(defined $value, "$name: JSON") or diag($text);
	return $value;
}

subtest 'init' => sub {
	ok(-e "$folder/$_", "$_ is there") for qw(sallyport.conf sites tls/ca.pem
		tls/server.pem tls/server.key tls/client.pem tls/client.key
		state/store/users.kch);
	for my $secret (qw(tls/ca.key tls/server.key tls/client.key
		state/store/users.kch)) {
		is(sprintf('%o', (stat "$folder/$secret")[2] & 0777), '600',
		    "mode of $secret");
	}
	like(slurp("$folder/sites"),
	    qr/^\s*127\.0\.0\.1\S*\s+out\s+lock\b.*cert=client/m,
	    'the smarthost has a row: out, lock, cert=client');
	my ($status, $out, $err) = run({}, program('sallyport'), 'init', $folder,
		'--hostname', 'other.example.org', '--smarthost', '127.0.0.1:1');
	is($status, 1, 'a second init says no');
	like($err, qr/exist/i, 'because it is there');
	unlike(slurp($instance->{conf}), qr/other\.example/, 'and changed nothing');
	for (['no smarthost to use the password at', '--hostname',
			'a.example.org', '--smarthost', 'b.example:25',
			'--password-stdin'],
		['a certificate without key', '--hostname', 'a.example.org',
			'--smarthost', 'b.example:25', '--cert',
			"$folder/tls/server.pem"]) {
		my ($name, @words) = @$_;
		($status) = run({}, program('sallyport'), 'init',
			"$instance->{scratch}/none", @words);
		is($status, 2, "$name: wrong usage");
	}
	($status, $out, $err) = run({}, program('sallyport'), 'init',
		"$instance->{scratch}/none", '--hostname', 'a.example.org',
		'--smarthost', 'b.example:25', '--cert', "$folder/tls/server.pem",
		'--key', "$folder/tls/client.key");
	is($status, 1, 'a key of another certificate: no');
	my $kept = "$instance->{scratch}/kept";
	mkdir $kept;
	spew("$kept/note", "mine\n");
	($status) = run({}, program('sallyport'), 'init', $kept, '--hostname',
		'a.example.org', '--smarthost', 'b.example:25',
		'--smarthost-ca', "$kept/note");
	is($status, 1, 'trust anchors that are none: no');
	is(join(' ', glob "$kept/*"), "$kept/note",
	    'and what was made is taken away again, no more');
	like($err, qr/server\.pem.*client\.key/, 'both are named');
	for (['no hostname', '--smarthost', '127.0.0.1:25'],
		['no smarthost', '--hostname', 'a.example.org']) {
		my ($name, @words) = @$_;
		($status) = run({}, program('sallyport'), 'init',
			"$instance->{scratch}/none", @words);
		is($status, 2, "$name, no terminal to ask on: wrong usage");
	}
	for (['--hostname', '-bad-'], ['--smarthost', '127.0.0.1:99999'],
		['--smarthost-ca', '/nonexistent'], ['--submission', 'nowhere']) {
		my %with = ('--hostname' => 'a.example.org',
			'--smarthost' => '127.0.0.1:25', @$_);
		($status, undef, $err) = run({}, program('sallyport'), 'init',
			"$instance->{scratch}/none", %with);
		cmp_ok($status, '>=', 1, "@$_ is refused");
		ok(!-e "$instance->{scratch}/none/sallyport.conf", 'nothing is made');
	}
};

# Run the command on a terminal of its own and type each answer once its
# prompt is there: (exit status or -signal, what the terminal showed, echo is
# on afterwards).
sub typed {
	my ($answers, @command) = @_;
	open my $master, '+<', '/dev/ptmx' or die "/dev/ptmx: $!";
	my $number = pack 'i', 0;
	ioctl $master, 0x40045431, $number or die "TIOCSPTLCK: $!";
	ioctl $master, 0x80045430, $number or die "TIOCGPTN: $!";
	my $name = '/dev/pts/' . unpack 'i', $number;
	open my $keep, '+<', $name or die "$name: $!";
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		setsid();
		open STDIN, '<', $name;
		open STDOUT, '>', $name;
		open STDERR, '>', $name;
		exec @command or POSIX::_exit(127);
	}
	my ($shown, $at) = ('', 0);
	my @left = @$answers;
	my $take = sub {
		my $in = '';
		vec($in, fileno $master, 1) = 1;
		return select($in, undef, undef, 0)
		    && sysread $master, $shown, 4096, length $shown;
	};
	my $done = wait_until {
		$take->();
		if (@left && substr($shown, $at) =~ /: \z/) {
			$at = length $shown;
			syswrite $master, shift @left;
		}
		waitpid($pid, POSIX::WNOHANG()) == $pid;
	};
	my $status = $?;
	if (!$done) {
		kill KILL => $pid;
		waitpid $pid, 0;
	}
	1 while $take->(); # its last words
	my $modes = POSIX::Termios->new;
	$modes->getattr(fileno $keep);
	return ($status & 127 ? -($status & 127) : $status >> 8, $shown,
		$modes->getlflag & POSIX::ECHO() ? 1 : 0);
}

subtest 'at a terminal' => sub {
	my @passwd = (program('sallyport'), '-c', $instance->{conf}, 'user',
		'passwd', 'typist');
	$instance->user_add('typist', 'first');
	my ($status, $shown, $echo) = typed(["se cret\n", "se cret\n"], @passwd);
	is($status, 0, 'a password is asked for twice') or diag($shown);
	unlike($shown, qr/se cret/, 'and not shown');
	is($echo, 1, 'echo is on again');
	($status, $shown) = typed(["one\n", "two\n"], @passwd);
	is($status, 1, 'two that differ: no');
	like($shown, qr/differ/, 'and why');
	($status, $shown, $echo) = typed(["se\x03"], @passwd);
	is($status, -2, 'Ctrl-C ends it by that signal');
	is($echo, 1, 'and leaves the echo on');
	my $made = "$instance->{scratch}/asked";
	($status, $shown) = typed(["mail.example.com\n",
		"smtp.isp.example:587\n", "4711\n", "se cret\n", "se cret\n"],
		program('sallyport'), 'init', $made);
	is($status, 0, 'init asks for what was not given') or diag($shown);
	like(slurp("$made/upstream"), qr/"4711" "se cret"/, 'and takes it');
	$instance->tool('user', 'remove', 'typist');
};

subtest 'standard streams' => sub {
	for my $words ('user list --json', 'policy list', 'queue list',
		'cert check', '--help') {
		for my $to ('/dev/full', '&-') {
			my ($status, undef, $err) = run({}, 'sh', '-c',
				"exec \"\$0\" -c \"\$1\" $words >$to",
				program('sallyport'), $instance->{conf});
			is($status, 1, "$words >$to: no");
			like($err, qr/standard output/, 'and why');
		}
	}
	my ($status, undef, $err) = run({}, 'sh', '-c',
		'exec "$0" -c "$1" user add x --password-stdin <&-',
		program('sallyport'), $instance->{conf});
	is($status, 1, 'no standard input: no');
};

sub users {
	my ($status, $out, $err) = $instance->tool('user', 'list', '--json');
	is($status, 0, 'user list --json') or diag($err);
	return join ' ', sort map { ref $_ ? $_->{name} // $_->{user} // $_->{login} : $_ }
	    @{ json_ok($out, 'user list') // [] };
}

sub user_commands {
	my ($when) = @_;
	my ($status, $out, $err);
	is(users(), '', "$when: nobody yet");
	$instance->user_add('alice', 'correct horse');
	$instance->user_add('bob@example.com', 'battery staple');
	is(users(), 'alice@example.org bob@example.com', "$when: both are listed");
	($status, $out) = $instance->tool('user', 'list');
	like($out, qr/alice\@example\.org/, "$when: as text too");
	($status, $out, $err) = $instance->tool({ in => "x\n" }, 'user', 'add',
		'alice', '--password-stdin');
	is($status, 1, "$when: a second alice: no");
	like($err, qr/alice.*already/i, "$when: and why");
	($status, $out) = $instance->tool('user', 'show', 'alice');
	is($status, 0, "$when: show");
	like($out, qr/SCRAM-SHA-256/, "$when: what alice can do");
	($status, $out) = $instance->tool('user', 'show', '--json', 'alice');
	json_ok($out, "$when: user show");
	unlike($out, qr/correct horse/, "$when: not the password");
	($status) = $instance->tool('user', 'show', 'zoe');
	is($status, 1, "$when: show of nobody: no");
	($status) = $instance->tool('user', 'remove', 'zoe');
	is($status, 1, "$when: remove of nobody: no");
	($status) = $instance->tool({ in => "\n" }, 'user', 'add', 'carol',
		'--password-stdin');
	cmp_ok($status, '>=', 1, "$when: an empty password: no");
	($status) = $instance->tool({ in => "x\n" }, 'user', 'add', 'a b@@c',
		'--password-stdin');
	cmp_ok($status, '>=', 1, "$when: a name that is none: no");
	($status) = $instance->tool({ in => "new one\n" }, 'user', 'passwd', 'alice',
		'--password-stdin');
	is($status, 0, "$when: passwd");
	($status) = $instance->tool('user', 'remove', $_), is($status, 0,
	    "$when: remove $_") for qw(alice bob@example.com);
	is(users(), '', "$when: nobody left");
}

subtest 'user, server not running' => sub { user_commands('stopped') };
{
	my ($status) = $instance->tool('status');
	is($status, 1, 'status of a server that does not run: no');
	my ($listed, $out) = $instance->tool('queue', 'list', '--json');
	is($listed, 0, 'queue list reads the files');
	rename "$folder/state/run/in", "$folder/state/run/away";
	($listed, $out) = $instance->tool('queue', 'list');
	is($listed, 1, 'queue list without them: no');
	unlike($out, qr/empty/, 'which is not an empty queue');
	rename "$folder/state/run/away", "$folder/state/run/in";
}
$instance->start;
subtest 'user, server running' => sub { user_commands('running') };

subtest 'status' => sub {
	my ($status, $out, $err) = $instance->tool('status');
	is($status, 0, 'status') or diag($err);
	like($out, qr/$_/, "names $_") for qw(session signer auth relay lookup);
	my ($json_status, $json) = $instance->tool('status', '--json');
	json_ok($json, 'status --json');
	my $relay = $instance->roles->{relay};
	kill STOP => $relay;
	($status, $out) = $instance->tool('status');
	kill CONT => $relay;
	is($status, 0, 'a process that does not answer');
	like($out, qr/^relay .*\blate=true/m, 'is said to be late');
	unlike($out, qr/^session .*\blate=/m, 'the others are not');
	ok(wait_until { ($instance->tool('status'))[1] !~ /late=/ },
		'until it answers');
};

subtest 'queue' => sub {
	$instance->user_add('alice', 'correct horse');
	$smarthost->fault(mail => '451 4.3.0 come back later');
	my $c = $instance->authenticated;
	my @ids;
	for my $n (1 .. 2) {
		like($c->transaction(message(subject => "queued $n")), qr/^250 /,
		    'accepted');
	}
	ok(wait_until { $instance->log_lines(qr/\bdeferred\b/) >= 2 }, 'deferred');
	my @queue = $instance->queue;
	is(@queue, 2, 'queue list --json: both');
	my ($status, $out, $err) = $instance->tool('queue', 'list');
	like($out, qr/$queue[0]{queue}/, 'queue list');
	($status, $out, $err) = $instance->tool('queue', 'show', $queue[0]{queue});
	is($status, 0, 'queue show') or diag($err);
	like($out, qr/bob\@example\.net/, 'the recipient');
	like($out, qr/come back later/, 'and what the smarthost said');
	($status, $out) = $instance->tool('queue', 'show', '--json', $queue[0]{queue});
	json_ok($out, 'queue show');
	for my $verb (qw(show remove flush)) {
		($status) = $instance->tool('queue', $verb, 'no-such-id');
		is($status, 1, "queue $verb of none: no");
	}
	($status, $out, $err) = $instance->tool('queue', 'remove', $queue[0]{queue});
	is($status, 0, 'queue remove') or diag($err);
	is(scalar(my @left = $instance->queue), 1, 'one is left');
	is($smarthost->count, 0, 'nothing was delivered so far');
	$smarthost->fault();
	($status, $out, $err) = $instance->tool('queue', 'flush');
	is($status, 0, 'queue flush') or diag($err);
	ok($instance->arrived(1), 'the other one is delivered');
	ok(wait_until { my @none = $instance->queue; @none == 0 }, 'the queue is empty');
	is($smarthost->count, 1, 'the removed one is not');
	ok($instance->stop, 'stop');
	is(scalar(my @after = $instance->queue), 0, 'empty without a server as well');
	$instance->start;
};

subtest 'cert' => sub {
	my ($status, $out, $err) = $instance->tool('cert', 'show',
		"$folder/tls/server.pem");
	is($status, 0, 'cert show') or diag($err);
	like($out, qr/mail\.example\.org/, 'its name');
	($status, $out) = $instance->tool('cert', 'show', '--json',
		"$folder/tls/client.pem");
	json_ok($out, 'cert show');
	($status) = $instance->tool('cert', 'show', "$folder/nowhere.pem");
	is($status, 1, 'cert show of no file: no');
	($status) = $instance->tool('cert', 'check', '--next');
	is($status, 2, 'an option of another command: wrong usage');
	($status, $out, $err) = $instance->tool('cert', 'frobnicate');
	is($status, 2, 'an unknown command: wrong usage');
	like($err, qr/frobnicate/, 'it is named');
	($status, $out, $err) = run({}, 'openssl', 'verify', '-purpose',
		'sslserver', '-verify_hostname', 'mail.example.org', '-CAfile',
		"$folder/tls/ca.pem", "$folder/tls/server.pem");
	is($status, 0, 'openssl accepts server.pem') or diag($out, $err);
	($status, $out, $err) = run({}, 'openssl', 'verify', '-purpose',
		'sslclient', '-CAfile', "$folder/tls/ca.pem",
		"$folder/tls/client.pem");
	is($status, 0, 'and client.pem as a client\'s') or diag($out, $err);
};

$instance->stop_ok;
done_testing;
