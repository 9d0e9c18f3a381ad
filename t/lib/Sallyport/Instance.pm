# A real sallyportd in a folder of its own, on ports the kernel gave.
package Sallyport::Instance;

use strict;
use warnings;
use IO::Socket::IP;
use JSON::PP;
use POSIX qw(:sys_wait_h);
use Scalar::Util qw(weaken);
use Sallyport::Certs;
use Sallyport::Client;
use Sallyport::Smarthost;
use Sallyport::Test;
use Test::More;
use Time::HiRes qw(sleep time);

my @all; # weak references, for END

our %password = (alice => 'correct horse', bob => 'battery staple');

# new(scratch => folder, smarthost => Smarthost or undef for a new one with a
# good certificate that demands ours, options => {name => value as written},
# submission => {}, submissions => {} (options of the listeners), sites =>
# text or undef for init's own, init => [further arguments], users => 0,
# senders => {name => [patterns of its sender rights]}, start => 0).
sub new {
	my ($class, %o) = @_;
	my $self = bless { scratch => $o{scratch} // scratch(),
		owner => $$, ports => {} }, $class;
	push @all, $self;
	weaken($all[-1]);
	$self->{folder} = "$self->{scratch}/instance";
	$self->{log} = "$self->{scratch}/log";
	$self->{conf} = "$self->{folder}/sallyport.conf";
	$self->{authority} = $o{authority}
	    // Sallyport::Certs->authority($self->{scratch}, 'upstream');
	$self->{smarthost} = $o{smarthost} // $self->smarthost_new;
	$self->{ports}{$_} = free_port() for qw(submission submissions);
	$self->init(%o);
	$self->option($_ => $o{options}{$_}) for sort keys %{ $o{options} };
	for my $listener (qw(submission submissions)) {
		$self->listener_option($listener, $_ => $o{$listener}{$_})
		    for sort keys %{ $o{$listener} };
	}
	$self->sites($o{sites}) if defined $o{sites};
	if ($o{users} // 1) {
		$self->user_add($_, $password{$_}, @{ $o{senders}{$_} // [] })
		    for sort keys %password;
	}
	$self->start if $o{start} // 1;
	return $self;
}

# One that somebody else has set up: existing(scratch =>, ports => {}).
sub existing {
	my ($class, %o) = @_;
	return bless { owner => $$, folder => "$o{scratch}/instance",
		log => "$o{scratch}/log",
		conf => "$o{scratch}/instance/sallyport.conf", %o }, $class;
}

sub smarthost_new {
	my ($self, %settings) = @_;
	my ($cert, $key) = $self->{authority}->issue('smarthost',
		dns => ['smarthost.example'], ip => ['127.0.0.1']);
	return Sallyport::Smarthost->new("$self->{scratch}/smarthost",
		cert => $cert, key => $key,
		'client-ca' => "$self->{folder}/tls/ca.pem", %settings);
}

sub init {
	my ($self, %o) = @_;
	my ($status, $out, $err) = run({}, program('sallyport'), 'init',
		$self->{folder}, '--hostname', 'mail.example.org',
		'--smarthost', '127.0.0.1:' . $self->{smarthost}->port,
		'--smarthost-ca', $self->{authority}->file,
		'--smarthost-tls', $self->{smarthost}{settings}{tls} eq 'implicit'
		? 'implicit' : 'starttls',
		(map { ("--$_", "127.0.0.1:$self->{ports}{$_}") }
			qw(submission submissions)),
		@{ $o{init} // [] });
	die "sallyport init: exit status $status: $err" if $status;
}

# Top-level option of sallyport.conf; value as it is written there.
sub option {
	my ($self, $name, $value) = @_;
	my $text = slurp($self->{conf});
	$text =~ s/^\Q$name\E\s*=.*\n//m;
	$text =~ s/^(end\s*=\s*true)/$name = $value\n$1/m
	    or die "no end in $self->{conf}";
	$self->conf_write($text);
}

sub section_option {
	my ($self, $kind, $name, $option, $value) = @_;
	my $text = slurp($self->{conf});
	$text =~ /^$kind\s+"?$name"?\s*\{\n/mg
	    or die "no $kind $name in $self->{conf}";
	my $at = pos $text;
	my $end = index $text, "\n}", $at - 1;
	my $body = substr $text, $at, $end - $at;
	$body =~ s/^\s*\Q$option\E\s*=\s*(?:\{[^}]*\}|[^\n]*)\n?//m;
	substr $text, $at, $end - $at, "\t$option = $value\n$body";
	$self->conf_write($text);
}

sub listener_option {
	my ($self, $listener, $option, $value) = @_;
	$self->section_option('listener', $listener, $option, $value);
}

# In place, so that owner and mode stay.
sub conf_write {
	my ($self, $text) = @_;
	spew($self->{conf}, $text);
}

sub sites {
	my ($self, $text) = @_;
	spew("$self->{folder}/sites", $text);
}

# The sallyport command on this instance: (status, stdout, stderr).
sub tool {
	my ($self, @arguments) = @_;
	my $how = ref $arguments[0] ? shift @arguments : {};
	return run($how, program('sallyport'), '-c', $self->{conf}, @arguments);
}

# SIGHUP and what the log says about it; true if it took the new files.
sub reload {
	my ($self) = @_;
	my $pattern = qr/\breload\b.*\bresult=/;
	my $before = () = $self->log_lines($pattern);
	$self->signal('HUP');
	my $line = wait_until {
		my @lines = $self->log_lines($pattern);
		@lines > $before ? $lines[-1] : undef } 30;
	# The roles have been told, but a busy one may not have read it yet: who
	# answers has.
	wait_until {
		my ($status, $out) = $self->tool('status');
		$status || $out !~ / late=/ } 30;
	return $line;
}

# The queue as "sallyport queue list --json" tells it.
sub queue {
	my ($self) = @_;
	my ($status, $out, $err) = $self->tool('queue', 'list', '--json');
	return if $status;
	my $list = eval { decode_json($out) };
	return ref $list eq 'ARRAY' ? @$list
	    : map { decode_json($_) } grep { /\S/ } split /\n/, $out;
}

sub queue_empty {
	my ($self) = @_;
	for my $message ($self->queue) {
		$self->tool('queue', 'remove', $message->{queue});
	}
}

sub user_add {
	my ($self, $name, $password, @senders) = @_;
	my ($status, $out, $err) = $self->tool({ in => "$password\n" },
		'user', 'add', $name, '--password-stdin',
		map { ('--sender', $_) } @senders);
	die "user add $name: exit status $status: $err" if $status;
}

# Start in the foreground and wait for both greetings; false if it ended.
sub start {
	my ($self, %o) = @_;
	my $pid = fork // die "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $self->{log};
		open STDERR, '>>', $self->{log};
		$ENV{ASAN_OPTIONS} = 'detect_leaks=0:allocator_may_return_null=1';
		$ENV{UBSAN_OPTIONS} = 'print_stacktrace=1:halt_on_error=1';
		$ENV{$_} = $o{env}{$_} for keys %{ $o{env} // {} };
		exec @{ $o{before} // [] }, program('sallyportd'), '-c',
		    $self->{conf}, '-F' or POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	$self->{log_start} = -s $self->{log} // 0;
	my $ready = wait_until {
		$self->ended || $self->ready('submission')
		    && $self->ready('submissions')
	} 30;
	return 1 if $ready && $self->{pid};
	$self->show_log if !$o{may_fail};
	die "sallyportd does not start\n" if !$o{may_fail};
	return 0;
}

# Run it where it must not start: its log as one string, or undef if it did.
sub refused {
	my ($self, %o) = @_;
	my ($status, $out, $err) = run({ timeout => 20, env => $o{env} // {} },
		program('sallyportd'), '-c', $self->{conf}, '-F');
	diag("it ended with status $status") if $status != 1;
	return $status == 1 ? $out . $err : undef;
}

sub ready {
	my ($self, $listener) = @_;
	my $client = Sallyport::Client->new(port => $self->{ports}{$listener},
		bare => 1, timeout => 2) or return 0;
	if ($listener eq 'submissions') {
		$client->start_tls or return 0;
	}
	my $greeting = $client->reply // '';
	$client->close;
	return $greeting =~ /^220 /;
}

# Its exit status if it has ended; undef while it lives.
sub ended {
	my ($self) = @_;
	my $pid = $self->{pid} or return $self->{status};
	return if waitpid($pid, WNOHANG) == 0;
	delete $self->{pid};
	return $self->{status} = $? & 127 ? 'signal ' . ($? & 127)
	    : 'status ' . ($? >> 8);
}

# SIGTERM; true if it ended with status 0 in time.
sub stop {
	my ($self, $signal) = @_;
	$self->{pid} or return 1;
	kill $signal // 'TERM', $self->{pid};
	my $status = wait_until { $self->ended } 30;
	if (!$status) {
		kill KILL => $self->{pid};
		waitpid delete $self->{pid}, 0;
		return 0;
	}
	return $status eq 'status 0';
}

sub signal {
	my ($self, $signal) = @_;
	return kill $signal, $self->{pid};
}

# Stop it, and show its log if a test has failed.
sub finish {
	my ($self) = @_;
	local ($?, $@);
	return if $self->{owner} != $$ || $self->{finished}++;
	$self->stop;
	$self->show_log if !Test::More->builder->is_passing;
	delete $self->{smarthost};
}

sub DESTROY {
	$_[0]->finish;
}

# Before the test library itself is taken down.
END {
	$_->finish for grep { defined } @all;
}

sub show_log {
	my ($self) = @_;
	my @lines = split /\n/, slurp($self->{log});
	splice @lines, 0, @lines - 60 if @lines > 60;
	diag("$self->{log}: $_") for @lines;
}

sub log_text {
	my ($self) = @_;
	return slurp($self->{log});
}

sub log_lines {
	my ($self, $pattern) = @_;
	return grep { /$pattern/ } split /\n/, $self->log_text;
}

# Wait for a log line.
sub logged {
	my ($self, $pattern, $seconds) = @_;
	return wait_until { ($self->log_lines($pattern))[-1] } $seconds;
}

# The sanitizers had nothing to say and no role died that nobody had killed:
# tests of their own, so call it last.
sub clean_ok {
	my ($self, %o) = @_;
	my @reports = $self->log_lines(
	    qr/AddressSanitizer|LeakSanitizer|runtime error:|stack smashing/);
	ok(!@reports, 'no sanitizer report')
	    or diag(join "\n", @reports);
	my @died = $o{deaths} ? () : $self->log_lines(qr/ role-died /);
	ok(!@died, 'no role died') or diag(join "\n", @died);
}

# Stop in good order and say so as tests.
sub stop_ok {
	my ($self, %o) = @_;
	ok($self->stop, 'SIGTERM ends it with exit status 0');
	$self->clean_ok(%o);
}

# {role => process id} of the roles that live.
sub roles {
	my ($self) = @_;
	my %roles;
	for my $entry (glob '/proc/[0-9]*') {
		my ($pid) = $entry =~ /(\d+)$/;
		my $stat = slurp("$entry/stat");
		my ($parent) = $stat =~ /.*\) \S (\d+) /s or next;
		next if $parent != ($self->{pid} // 0) && !$roles{$parent};
		my @words = split /\0/, slurp("$entry/cmdline");
		for my $i (0 .. $#words - 1) {
			$roles{ $words[$i + 1] } = $pid
			    if $words[$i] eq '--role';
		}
	}
	return \%roles;
}

# A client that has greeted and, unless tls => 0, is inside TLS after EHLO.
sub client {
	my ($self, %o) = @_;
	my $listener = $o{implicit} ? 'submissions' : 'submission';
	my $client = Sallyport::Client->new(port => $self->{ports}{$listener},
		ca => "$self->{folder}/tls/ca.pem", tls => $o{implicit}, %o)
	    or return;
	return $client if !$client->{greeting} || $o{clear};
	if (!$o{implicit}) {
		$client->ehlo;
		$client->starttls or return;
	}
	$client->ehlo if !$o{silent};
	return $client;
}

# The same, authenticated as alice.
sub authenticated {
	my ($self, %o) = @_;
	my $user = $o{user} // 'alice';
	my $client = $self->client(%o) or return;
	my $reply = $client->plain($user, $o{password} // $password{$user});
	diag("AUTH: $reply") if $reply !~ /^235/;
	return $client;
}

# Wait for so many messages at the smarthost.
sub arrived {
	my ($self, $count, $seconds) = @_;
	return wait_until { $self->{smarthost}->count >= $count } $seconds;
}

sub status {
	my ($self) = @_;
	my ($status, $out, $err) = $self->tool('status', '--json');
	return $status ? {} : decode_json($out);
}

1;
