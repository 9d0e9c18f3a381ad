#!/usr/bin/perl
# make bench: what a message costs, in CPU of all of the server's processes.
#
# bench.pl [SCALE] [PART...]: a complete instance on loopback, relaying over TLS
# with a client certificate to a sink that counts.  Part mail:
#   roam    connect, TLS 1.3 handshake, AUTH PLAIN (verifier cached), one
#           message of 4 KiB, relayed; with and without resumption
#   stream  100 messages of 4 KiB a connection, relayed
#   large   10 MiB messages, relayed
#   single  one roam session at a time: how long it takes
#   idle    authenticated TLS sessions that do nothing: their memory
# Part spool: messages accepted a second by the spool alone and by the whole
# server, against one file and its syncs a message on the same disk, with 1, 8,
# 32 and 128 senders; then messages a second into the smarthost, from a queue
# that was full before it came up.
# Part table: a site table of a million rows and one of a thousand: compiled,
# looked up, swapped under load.  Part login: a store with a million users, and
# what a login costs by each mechanism (t/bench/Login.pm).  Without PART: all.
# Figures are CPU milliseconds a message, by role, until the last message is
# at the sink; load and sink are not counted.  They compare within one run
# only.  SCALE multiplies how much is done (make bench BENCH="0.1 login").
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use lib dirname(abs_path(__FILE__)) . '/../lib', dirname(abs_path(__FILE__));
use Cost;
use IPC::Open2;
use Login;
use MIME::Base64;
use POSIX qw(sysconf _SC_PAGESIZE);
use Sallyport::Certs;
use Sallyport::Instance;
use Sallyport::Test qw(build_folder scratch slurp wait_until);
use Time::HiRes qw(time sleep);

package Sink {
	sub new {
		my ($class, @arguments) = @_;
		my $self = bless { settings => { tls => 'starttls' } }, $class;
		$self->{pid} = IPC::Open2::open2($self->{from}, $self->{to},
			@arguments);
		chomp($self->{port} = readline $self->{from});
		return $self;
	}

	sub port {
		return $_[0]{port};
	}

	sub counts {
		my ($self) = @_;
		print { $self->{to} } "\n";
		return split ' ', readline $self->{from};
	}
}

my $scale = ($ARGV[0] // '') =~ /^[0-9.]+$/ ? shift @ARGV : 1;
my %part = map { $_ => 1 } @ARGV ? @ARGV : qw(table mail spool login);
my $programs = build_folder() . '/t/bench';
my ($instance, $sink);

# The sink is started too, unless another time is better: call what is returned.
sub set_up {
	my (%o) = @_;
	my $folder = scratch();
	my $authority = Sallyport::Certs->authority($folder, 'upstream');
	my ($cert, $key) = $authority->issue('sink', dns => ['sink.example'],
		ip => ['127.0.0.1']);
	# The sink wants the authority that init makes, init the sink's port.
	my $port = Sallyport::Test::free_port();
	$instance = Sallyport::Instance->new(scratch => $folder, start => 0,
		authority => $authority,
		smarthost => bless({ port => $port,
			settings => { tls => 'starttls' } }, 'Sink'),
		options => { 'sessions' => 30000,
			'sessions-per-client' => 30000,
			'auth-failure-delay' => '"2s"',
			%{ $o{options} // {} } });
	my $start = sub {
		$sink = Sink->new("$programs/sink", $cert, $key,
			"$instance->{folder}/tls/ca.pem", $port);
	};
	$start->() if !$o{later};
	$instance->start;
	return $start;
}

sub load {
	my (@arguments) = @_;
	my $pid = open2(my $out, my $in, "$programs/load", @arguments);
	print $in encode_base64("\0alice\0$Sallyport::Instance::password{alice}",
		''), "\n";
	return ($pid, $out, $in);
}

sub measure {
	my ($name, $listener, $sessions, $messages, $size, $threads, @words) = @_;
	$sessions = int($sessions * $scale) || 1;
	my @warm = load($instance->{ports}{$listener}, $threads, 1, 1024,
		$threads, @words);
	readline $warm[1];
	waitpid $warm[0], 0;
	sleep 0.5;
	my ($before, $count) = (cpu($instance), ($sink->counts)[0]);
	my $began = time;
	my ($pid, $out, $in) = load($instance->{ports}{$listener}, $sessions,
		$messages, $size, $threads, @words);
	my $line = readline $out;
	waitpid $pid, 0;
	die "$name: load failed\n" if $? || !defined $line;
	my $total = $sessions * $messages;
	wait_until { ($sink->counts)[0] >= $count + $total } 120
	    or die "$name: not all messages arrived\n";
	my $seconds = time - $began;
	sleep 0.3;
	my $after = cpu($instance);
	my %per = map { $_ => ($after->{$_} - $before->{$_}) / $total } @roles;
	my $all = 0;
	$all += $_ for values %per;
	my (undef, undef, $p50, $p99) = split ' ', $line;
	printf "%-14s %7d %8.3f  %s %9.0f %8.2f %8.2f\n", $name, $total, $all,
	    join(' ', map { sprintf '%7.3f', $per{$_} }
		qw(session signer auth relay master)), $total / $seconds, $p50,
	    $p99;
	return $all;
}

sub resident {
	my ($pid) = @_;
	my @pages = split ' ', slurp("/proc/$pid/statm");
	return $pages[1] * sysconf(_SC_PAGESIZE) / 1024;
}

sub idle {
	my $wanted = int(5000 * $scale);
	my $pid = $instance->roles->{session};
	my $before = resident($pid);
	my @client = load($instance->{ports}{submissions}, $wanted, 0, 1024, 4,
		'implicit', 'idle');
	die "idle: load failed\n" if (readline $client[1]) !~ /READY/;
	sleep 2;
	my $cpu = cpu($instance)->{session};
	my $kib = resident($pid) - $before;
	sleep 5;
	printf "idle: %d sessions, %.1f KiB each, %.0f ms CPU in 5 s, "
	    . "%d threads\n", $wanted, $kib / $wanted,
	    cpu($instance)->{session} - $cpu, scalar(() = glob "/proc/$pid/task/*");
	close $client[2];
	waitpid $client[0], 0;
}

# A million rows beside a thousand.
sub tables {
	my $rows = int(1_000_000 * $scale);
	$rows = 1000 if $rows < 1000;
	system("$programs/table", scratch(), $rows, 1000) == 0
	    or die "table: failed\n";
}

sub mail {
	set_up();
	printf "%-14s %7s %8s  %s %9s %8s %8s\n", 'workload', 'msgs', 'CPU ms',
	    join(' ', map { sprintf '%7s', $_ } qw(session signer auth relay master)),
	    'msgs/s', 'p50 ms', 'p99 ms';
	my $roam = measure('roam', 'submissions', 2000, 1, 4096, 8, 'implicit');
	my $resumed = measure('roam resumed', 'submissions', 2000, 1, 4096, 8,
		'implicit', 'resume');
	measure('roam starttls', 'submission', 2000, 1, 4096, 8);
	my $stream = measure('stream', 'submissions', 100, 100, 4096, 8, 'implicit');
	measure('stream 32', 'submissions', 128, 100, 4096, 32, 'implicit');
	measure('large', 'submissions', 10, 2, 10 << 20, 2, 'implicit');
	measure('single', 'submissions', 200, 1, 4096, 1, 'implicit');
	printf "ratios: roam/stream %.1f, resumed/roam %.2f\n", $roam / $stream,
	    $resumed / $roam;
	idle();
	$instance->stop or die "sallyportd did not stop\n";
}

# What one file and one sync a message, the spool, and the server accept.
sub accepted {
	my $seconds = 4 * $scale;
	my %rate;
	printf "%-9s %10s %8s  %10s %8s %8s  %10s\n", 'senders', 'one file/s',
	    'CPU ms', 'spool/s', 'CPU ms', 'syncs', 'server/s';
	for my $senders (1, 8, 32, 128) {
		my $folder = scratch();
		my $line = qx("$programs/commit" "$folder" 4096 $seconds $senders);
		die "commit: failed\n" if $?;
		my (undef, @figures) = split ' ', $line;
		my $each = int(($senders == 1 ? 500 : 4000 / $senders) * $scale)
		    || 1;
		my ($pid, $out, $in) = load($instance->{ports}{submissions},
			$senders, $each, 4096, $senders, 'implicit');
		my ($messages, $took) = split ' ', readline $out;
		waitpid $pid, 0;
		die "load: failed\n" if $? || !$took;
		$rate{all} += $messages;
		printf "%-9d %10.0f %8.3f  %10.0f %8.3f %8.3f  %10.0f\n", $senders,
		    @figures, $messages / $took;
	}
	return $rate{all};
}

# Accept while the smarthost is away, then drain.
sub spool {
	my $start_sink = set_up(later => 1,
		options => { 'retry-first' => '"1h"', 'retry-most' => '"1h"' });
	my $queued = accepted();
	$start_sink->();
	my $before = cpu($instance);
	my $began = time;
	$instance->tool('queue', 'flush');
	my @counts;
	wait_until { @counts = $sink->counts; $counts[0] >= $queued } 300
	    or die "drain: $counts[0] of $queued messages arrived\n";
	my $seconds = time - $began;
	my $after = cpu($instance);
	my $cpu = 0;
	$cpu += $after->{$_} - $before->{$_} for @roles;
	printf "drain: %d messages in %.2f s, %.0f/s, over %d connections with "
	    . "%d full handshakes, %.3f CPU ms each\n", $queued, $seconds,
	    $queued / $seconds, @counts[1, 2], $cpu / $queued;
	$instance->stop or die "sallyportd did not stop\n";
}

tables() if $part{table};
mail() if $part{mail};
spool() if $part{spool};
Login::logins($scale) if $part{login};
